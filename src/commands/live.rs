//! `ringfence allow`, `deny`, `net`, `reload`: words into one change of a workflow that runs.
//!
//! ```text
//!  HOST[:PORT], CONDITION…, policies ──▶ Change ──supervisor::control──▶ made: how it stands now │ refused: status 1 and the reason
//! ```

use netpolicy::diagnostic::render;
use netpolicy::edit::Permission;
use netpolicy::host::HostPattern;
use netpolicy::load::rule_from_command_line;
use netpolicy::policy::Rule;

use super::save::PolicyEdit;
use super::save::target::PolicyFile;
use crate::cli::live::{AllowArgs, DenyArgs, NetArgs, RecordArgs, ReloadArgs};
use crate::layers::record::Record;
use crate::layers::{self, Wanted};
use crate::supervisor::engine::Engine;
use crate::supervisor::inventory::WorkflowSummary;
use crate::supervisor::live::{self, Outcome};
use crate::supervisor::spec::workflow::Helpers;
use crate::supervisor::{engine, inventory};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;
use crate::wire::conditions::Condition;
use crate::wire::control::{Change, State};

/// The policy does not permit the change.
const REFUSED: u8 = 1;
/// Answer to a `restore` that opens nothing.
const NOTHING_TO_RESTORE: &str = "restore changes nothing: the run has had no network from its start (--network denied); \
     start another run with --policy or --allow";

/// Permits a host, as a rule of the run. With `--save` a policy file gets it too, after a person
/// has agreed; a change that the run refuses is not saved.
pub(crate) async fn allow(engine_host: Option<&str>, args: AllowArgs) -> Result<u8, Failure> {
    let rule = rule("--allow", "ringfence allow", &args.host)?;
    let Some(file) = &args.save else {
        return make(engine_host, &args.workflow, Change::Allow(rule.into()), args.record, args.json).await;
    };
    let name = Permission::of_rule(&rule).map_err(|by_hand| {
        Failure::new(COULD_NOT_RUN, format!("{} is not saved, and nothing was changed", args.host))
            .caused_by(&by_hand)
            .hint("without --save it is permitted until the run ends")
    })?;
    let (engine, to) = running(engine_host, &args.workflow, args.record).await?;
    let file = match file {
        Some(file) => PolicyFile::named(file)?,
        None => {
            PolicyFile::of_run(&record(to.id).map_err(|failure| failure.hint("name the file: --save FILE"))?)?
        }
    };
    let edit = PolicyEdit::plan(file, &[name])?;
    if !edit.is_empty() && !edit.agreed(args.yes)? {
        crate::term::talk("nothing was changed");
        return Ok(REFUSED);
    }
    let done = make_on(&engine, &to, Change::Allow(rule.into()), args.json).await?;
    match edit.is_empty() {
        true => crate::term::talk(format_args!("{} permits it already", edit.shown())),
        false => edit.write()?,
    }
    Ok(done)
}

/// Reads which policy files a run came from.
fn record(id: WorkflowId) -> Result<Record, Failure> {
    Record::of_workflow(id)?.ok_or_else(|| {
        Failure::new(
            COULD_NOT_RUN,
            format!("this machine did not start {id}, so it cannot tell which policies it has"),
        )
    })
}

/// Refuses a host, or everything.
pub(crate) async fn deny(engine_host: Option<&str>, args: DenyArgs) -> Result<u8, Failure> {
    let change = match &args.host {
        Some(host) => Change::Deny(rule("--deny", "ringfence deny", host)?.into()),
        None => Change::Conditions { set: vec![Condition::Deny], host: None },
    };
    make(engine_host, &args.workflow, change, args.record, args.json).await
}

/// Reads the layers anew, without the project's: the agent may have written to it.
pub(crate) async fn reload(engine_host: Option<&str>, args: ReloadArgs) -> Result<u8, Failure> {
    let (engine, to) = running(engine_host, &args.workflow, args.record).await?;
    let given = super::policy::wanted(&args.policy, None);
    let wanted = if given == Wanted::default() {
        let record = record(to.id)
            .map_err(|failure| failure.hint("name them: --policy, --allow, --deny, --gitlab"))?;
        // Relative paths count from the run's directory, wherever the reload is typed.
        std::env::set_current_dir(&record.directory).map_err(|error| {
            Failure::new(COULD_NOT_RUN, format!("the run was started in {}", record.directory.display()))
                .caused_by(&error)
        })?;
        Wanted { project: None, ..record.wanted }
    } else {
        given
    };
    let loaded = layers::load(&wanted)?;
    layers::warn(&loaded);
    make_on(&engine, &to, Change::Reload(loaded.policy.into()), args.json).await
}

/// Sets conditions, ends them, or says how the network stands.
pub(crate) async fn net(engine_host: Option<&str>, args: NetArgs) -> Result<u8, Failure> {
    match wish(&args.conditions)? {
        Some(change) => make(engine_host, &args.workflow, change, args.record, args.json).await,
        None => {
            let (engine, to) = running(engine_host, &args.workflow, args.record).await?;
            let state = live::state(&engine, &to).await?;
            show(&state, args.json)?;
            Ok(0)
        }
    }
}

/// Reads a rule as the command line of `run` does, with the command as its origin.
fn rule(flag: &str, command: &str, text: &str) -> Result<Rule, Failure> {
    let mut rule = rule_from_command_line(flag, text).map_err(|error| {
        let mut failure = Failure::new(COULD_NOT_RUN, format!("`{text}` cannot be used"));
        failure.causes.push(render(std::slice::from_ref(&error)));
        failure
    })?;
    rule.origin.file = command.to_owned();
    Ok(rule)
}

/// Reads the change that the words of `net` ask for; nothing without a word.
fn wish(words: &[String]) -> Result<Option<Change>, Failure> {
    let wrong = |what: String| {
        Failure::new(COULD_NOT_RUN, what)
            .hint("see the conditions and their forms with `ringfence net --help`")
    };
    let (mut set, mut host, mut restore) = (Vec::new(), None, false);
    for word in words {
        if let Some(name) = word.strip_prefix("host=") {
            let pattern = HostPattern::parse(name).map_err(|error| wrong(format!("`{word}`: {error}")))?;
            if host.replace(pattern).is_some() {
                return Err(wrong(
                    "host= is given twice; it concerns all conditions of a command".to_owned(),
                ));
            }
        } else if word == "restore" {
            restore = true;
        } else {
            set.push(word.parse::<Condition>().map_err(|error| wrong(error.to_string()))?);
        }
    }
    match (set.is_empty(), restore) {
        (false, false) => Ok(Some(Change::Conditions { set, host })),
        (true, true) => Ok(Some(Change::Restore { host })),
        (false, true) => {
            Err(wrong("restore ends conditions, so it stands alone or with host=NAME".to_owned()))
        }
        (true, false) if host.is_some() => Err(wrong("host= needs a condition, or restore".to_owned())),
        (true, false) => Ok(None),
    }
}

async fn make(
    engine_host: Option<&str>,
    workflow: &str,
    change: Change,
    record: RecordArgs,
    json: bool,
) -> Result<u8, Failure> {
    let (engine, to) = running(engine_host, workflow, record).await?;
    make_on(&engine, &to, change, json).await
}

/// Permits a host, as `ringfence allow ID HOST` does. Returns how the network stands, in words.
pub(super) async fn permit(engine_host: Option<&str>, workflow: &str, host: &str) -> Result<String, Failure> {
    let rule = rule("--allow", "ringfence allow", host)?;
    let (engine, to) = running(engine_host, workflow, RecordArgs::default()).await?;
    Ok(in_words(&made(&engine, &to, Change::Allow(rule.into())).await?))
}

async fn make_on(engine: &Engine, to: &Helpers, change: Change, json: bool) -> Result<u8, Failure> {
    let is_restore = matches!(change, Change::Restore { .. });
    let state = made(engine, to, change).await?;
    show(&state, json)?;
    if is_restore && state.denied_from_start {
        crate::term::talk(NOTHING_TO_RESTORE);
    }
    Ok(0)
}

/// Makes a change. Returns how the network stands.
async fn made(engine: &Engine, to: &Helpers, change: Change) -> Result<State, Failure> {
    let wanted = change.to_string();
    match live::change(engine, to, change).await? {
        Outcome::Made(state) => Ok(state),
        Outcome::Refused(why) => {
            let mut failure = Failure::new(REFUSED, format!("`{wanted}` is refused; nothing was changed"));
            failure.causes.push(why);
            Err(failure)
        }
    }
}

/// Returns the engine, and the helpers of the workflow that is meant.
async fn running(
    engine_host: Option<&str>,
    workflow: &str,
    record: RecordArgs,
) -> Result<(Engine, Helpers), Failure> {
    let (engine, found) = found(engine_host, workflow, record).await?;
    Ok((engine, helpers(&found)?))
}

/// Returns the engine, and the workflow that is meant, where a person may act on it.
pub(super) async fn found(
    engine_host: Option<&str>,
    workflow: &str,
    record: RecordArgs,
) -> Result<(Engine, WorkflowSummary), Failure> {
    let engine = engine::connect(engine_host).await?;
    let all = inventory::workflows(&engine).await?;
    let found = inventory::pick(&all, workflow)?;
    if !found.is_recorded() && !record.without_record {
        let what = format!("this machine has no record of workflow {}, so nothing was changed", found.id);
        return Err(Failure::new(COULD_NOT_RUN, what).hint(
            "use the machine that started it; if it is yours and was started elsewhere, look at it with `ringfence ps` and add --without-record",
        ));
    }
    Ok((engine, found.clone()))
}

/// Returns the helpers of a workflow whose guard runs.
pub(super) fn helpers(found: &WorkflowSummary) -> Result<Helpers, Failure> {
    found.helpers().filter(|_| found.guard == "running").ok_or_else(|| {
        let what = format!("the guard of {} does not run ({})", found.id, found.guard);
        Failure::new(COULD_NOT_RUN, what)
            .hint("start a new run: without the guard everything is refused, and nothing can be changed")
    })
}

fn show(state: &State, json: bool) -> Result<(), Failure> {
    if json { crate::term::print_json(state) } else { crate::term::print(&in_words(state)) }
}

fn in_words(state: &State) -> String {
    let network = match (&state.closed, state.conditions.0.is_empty()) {
        (Some(reason), _) if state.denied_from_start => {
            format!("everything is refused ({reason}), from the run's start to its end")
        }
        (Some(reason), _) => format!("everything is refused ({reason})"),
        (None, true) => "as the policy says".to_owned(),
        (None, false) => "as the policy says, under conditions".to_owned(),
    };
    let mut text = format!("{}: {network}\n", state.workflow);
    let mut row = |what: &str, value: &str| text.push_str(&format!("  {what:<12} {value}\n"));
    row("policy", &state.digest);
    state.allowed.iter().for_each(|rule| row("allowed", rule));
    state.denied.iter().for_each(|rule| row("denied", rule));
    state.conditions().for_each(|condition| row("condition", &condition));
    row("connections", &state.connections.to_string());
    row("events", &state.events.to_string());
    if let Some(supervised) = state.supervised {
        row("supervisor", if supervised { "attached" } else { "gone" });
    }
    if let Some(deadline) = state.deadline_unix_ms {
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(deadline);
        row("until", &humantime::format_rfc3339_seconds(at).to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        match wish(&words) {
            Ok(Some(change)) => change.to_string(),
            Ok(None) => "how does it stand?".to_owned(),
            Err(failure) => failure.message,
        }
    }

    #[test]
    fn words_become_one_change() {
        assert_eq!(said(&[]), "how does it stand?");
        assert_eq!(said(&["cut"]), "net cut");
        assert_eq!(
            said(&["host=*.a.test", "latency=200ms+-50ms", "bandwidth=1mbit"]),
            "net latency=200ms±50ms bandwidth=1mbit host=*.a.test"
        );
        assert_eq!(said(&["restore"]), "net restore");
        assert_eq!(said(&["restore", "host=a.test"]), "net restore host=a.test");
    }

    #[test]
    fn a_run_that_was_denied_from_the_start_says_so() {
        let state = |denied_from_start| State {
            workflow: "0000002a".to_owned(),
            digest: "sha256:d".to_owned(),
            closed: Some(netpolicy::decide::Reason::NetworkDenied),
            denied_from_start,
            deadline_unix_ms: None,
            connections: 0,
            events: 1,
            allowed: Vec::new(),
            denied: Vec::new(),
            conditions: Default::default(),
            supervised: None,
        };
        assert!(in_words(&state(true)).contains("from the run's start to its end"));
        assert!(!in_words(&state(false)).contains("start"));
    }

    #[test]
    fn what_is_meant_otherwise_is_said() {
        for words in [
            &["restore", "cut"][..],
            &["host=a.test"],
            &["cut", "host=a.test", "host=b.test"],
            &["cut", "host=*"],
            &["slow"],
        ] {
            assert!(!said(words).starts_with("net "), "{words:?}: {}", said(words));
        }
    }

    #[test]
    fn a_rule_is_read_as_run_reads_it() {
        let rule = rule("--allow", "ringfence allow", "A.test:8443").unwrap();
        assert_eq!(
            (rule.origin.text.as_str(), rule.origin.file.as_str()),
            ("a.test:8443", "ringfence allow")
        );
        assert!(super::rule("--allow", "ringfence allow", "*.com").is_err());
    }
}
