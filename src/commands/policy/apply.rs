//! `ringfence policy apply`: names that a run was refused, chosen by a person, into a policy file.
//!
//! ```text
//!  events ──refusals──▶ names that a file can permit, and the rest with its reason
//!  numbers on a terminal, or --name ──▶ save::PolicyEdit ──▶ shown, agreed, written
//! ```

mod choice;
mod refusals;

use netpolicy::edit::Permission;
use netpolicy::host::HostPattern;
use netpolicy::load::rule_from_flag;
use netpolicy::lookalike::lookalike;
use netpolicy::policy::{Layer, Matcher, Origin, Policy, Rule};

use self::choice::chosen;
use self::refusals::Refusals;
use crate::cli::policy::ApplyArgs;
use crate::commands::ask;
use crate::commands::events::{self, Log};
use crate::commands::save::target::PolicyFile;
use crate::commands::save::{PolicyEdit, known_names, listed, verdict};
use crate::layers::record::Record;
use crate::layers::{self, Wanted};
use crate::term::{self, COULD_NOT_RUN, Failure};
use crate::wire::event::{Event, Lifecycle, Line, Ruling};

/// A person said no, or chose nothing.
const NOT_WRITTEN: u8 = 1;
/// A name that another layer refuses, and the reason.
pub(super) type HeldBack = (Permission, String);

/// Names that are listed.
const LISTED: usize = 100;

/// Lists what a run was refused, has a person choose, and writes the names.
pub(crate) async fn apply(engine_host: Option<&str>, args: ApplyArgs) -> Result<u8, Failure> {
    let log = events::read(engine_host, &args.source)
        .await
        .map_err(|failure| Failure { exit: COULD_NOT_RUN, ..failure })?;
    let file = match &args.file {
        Some(path) => PolicyFile::named(path)?,
        None => of_log(&log)?,
    };
    let refusals = Refusals::of(&log.bytes);
    let names = match args.names.as_slice() {
        [] => choose(&refusals, &file)?,
        names => {
            let others = others(&file)?;
            names.iter().map(|text| named(text, &refusals, &others)).collect::<Result<_, _>>()?
        }
    };
    if names.is_empty() {
        term::talk("nothing was written");
        return Ok(if refusals.names.is_empty() { 0 } else { NOT_WRITTEN });
    }
    let edit = PolicyEdit::plan(file, &names)?;
    if edit.is_empty() {
        term::talk(format_args!("{} permits {} already", edit.shown(), listed(&names)));
        return Ok(0);
    }
    if !edit.agreed(args.yes)? {
        term::talk("nothing was written");
        return Ok(NOT_WRITTEN);
    }
    edit.write()?;
    if let Some(id) = log.run.filter(|_| log.live) {
        let commands: Vec<String> = names.iter().map(|name| format!("ringfence allow {id} {name}")).collect();
        term::talk(format_args!("for the run that goes on: {}", commands.join("; ")));
    }
    Ok(0)
}

fn first(log: &Log) -> Option<Line> {
    log.bytes.split(|byte| *byte == b'\n').find_map(Line::read)
}

/// Returns the policy file of the run that a log is about. Only ringfence's own log is believed:
/// another file may be the agent's.
fn of_log(log: &Log) -> Result<PolicyFile, Failure> {
    let own = log.run.filter(|_| log.is_own);
    if let Some(record) = own.map(Record::of_workflow).transpose()?.flatten() {
        return PolicyFile::of_run(&record);
    }
    let line = first(log).filter(|line| own == Some(line.workflow));
    let project = line.and_then(|line| match line.event {
        Event::Lifecycle(Lifecycle::Start(start)) => start.project,
        _ => None,
    });
    match project {
        Some(project) => Ok(PolicyFile::of_project(project.as_ref())),
        None => Err(Failure::new(COULD_NOT_RUN, "nothing says which policy file is meant")
            .hint("name it behind the run: ringfence policy apply EVENTS FILE")),
    }
}

/// Reads a name of the command line, which must be one that the run was refused, and that no other
/// layer refuses whatever the file says.
fn named(text: &str, refusals: &Refusals, others: &Policy) -> Result<Permission, Failure> {
    let rule = rule_from_flag("--name", text).map_err(|found| {
        let mut failure = Failure::new(COULD_NOT_RUN, format!("`{text}` cannot be used"));
        failure.causes.push(netpolicy::diagnostic::render(std::slice::from_ref(&found)));
        failure
    })?;
    let name = Permission::of_rule(&rule).map_err(|by_hand| {
        Failure::new(COULD_NOT_RUN, format!("{text} is not written")).caused_by(&by_hand)
    })?;
    if !refusals.names.iter().any(|(known, _)| *known == name) {
        return Err(Failure::new(COULD_NOT_RUN, format!("the run was not refused {name}"))
            .hint("see what it was refused: ringfence events ID --denied"));
    }
    match held(others, &name) {
        None => Ok(name),
        Some(why) => {
            Err(Failure::new(COULD_NOT_RUN, format!("{name} would be refused all the same ({why})"))
                .hint("change that layer first; nothing was written"))
        }
    }
}

/// Lists everything, and has a person choose on the terminal.
fn choose(refusals: &Refusals, file: &PolicyFile) -> Result<Vec<Permission>, Failure> {
    let others = others(file)?;
    let (mut offered, mut rest) = (Vec::new(), refusals.others());
    for (name, attempts) in &refusals.names {
        match held(&others, name) {
            None => offered.push((name, attempts)),
            Some(why) => rest.push(format!("{:>5} × {name}  ({why})", attempts.count)),
        }
    }
    let mut text = format!("refused, and {} can permit it:\n", term::line(&file.shown()));
    let known = known_names(&others);
    for (number, (name, attempts)) in offered.iter().take(LISTED).enumerate() {
        let mark =
            lookalike(&name.host, &known).map(|mark| format!("   look twice: {mark}")).unwrap_or_default();
        let entry = name.entry();
        text.push_str(&format!(
            "{:>4}  {:>5} × since {}  - {entry}{mark}\n",
            number + 1,
            attempts.count,
            attempts.first
        ));
    }
    if offered.is_empty() {
        text = "no name was refused that a policy file can permit\n".to_owned();
    } else if offered.len() > LISTED {
        text.push_str(&format!("      and {} more, which --name chooses\n", offered.len() - LISTED));
    }
    if !rest.is_empty() {
        text.push_str("not offered:\n");
        rest.iter().take(LISTED).for_each(|line| text.push_str(&format!("{line}\n")));
    }
    term::essential_lines(text);
    if offered.is_empty() {
        return Ok(Vec::new());
    }
    let answer = ask::answer(
        "which of them? numbers such as 1 3, or nothing: ",
        "choose with --name HOST[:PORT], and give --yes; nothing was written",
    )?;
    let numbers = chosen(&answer, offered.len().min(LISTED)).map_err(|word| {
        Failure::new(COULD_NOT_RUN, format!("`{word}` is no number of the list"))
            .hint("nothing was written; write numbers with blanks between them")
    })?;
    Ok(numbers.into_iter().filter_map(|number| Some(offered.get(number)?.0.clone())).collect())
}

/// Returns the policy of the layers that hold whatever a file of this layer says. A file of the
/// project counts as approved.
fn others(file: &PolicyFile) -> Result<Policy, Failure> {
    let wanted = Wanted { network_denied: true, ..Wanted::default() };
    let policy = layers::load(&wanted)?.policy;
    Ok(Policy { network_denied: false, project_trusted: file.is_of_project(), ..policy })
}

/// Parts names into those that a file can permit, and those that another layer refuses, each with
/// the reason.
pub(super) fn offered(
    file: &PolicyFile,
    names: Vec<Permission>,
) -> Result<(Vec<Permission>, Vec<HeldBack>), Failure> {
    let others = others(file)?;
    let (mut offered, mut refused) = (Vec::new(), Vec::new());
    for name in names {
        match held(&others, &name) {
            None => offered.push(name),
            Some(why) => refused.push((name, why)),
        }
    }
    Ok((offered, refused))
}

/// Says what would refuse a name although a file permitted it; nothing where nothing would.
fn held(others: &Policy, name: &Permission) -> Option<String> {
    let layer = if others.project_trusted { Layer::Project } else { Layer::Run };
    let matcher = Matcher::Host(HostPattern::Exact(name.host.clone()));
    let text = Rule::text(&matcher, &[name.port]);
    let origin = Origin { layer, file: String::new(), line: 0, text };
    let mut policy = others.clone();
    policy.allow.push(Rule::new(matcher, vec![name.port], origin).into());
    let found = verdict(&policy, name);
    (!found.allowed).then(|| match Ruling::from(&found).to_string() {
        rule if rule.is_empty() => found.reason.to_string(),
        rule => format!("{}: {rule}", found.reason),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::WorkflowId;

    fn name(text: &str) -> Permission {
        Permission::of_rule(&rule_from_flag("--allow", text).unwrap()).unwrap()
    }

    fn strong(network: &str) -> Policy {
        let text = format!("version: 1\nnetwork:\n{network}\n");
        let mut read = |_: &str| Ok(text.clone());
        netpolicy::load::load("org.yml", Layer::Organisation, crate::host::clock::today(), &mut read)
            .unwrap()
            .policy
    }

    #[test]
    fn only_a_log_of_ringfences_own_says_which_project_is_meant() {
        let id: WorkflowId = "00aa0001".parse().unwrap();
        let start = r#"{"v":1,"seq":1,"time":"2026-11-30T09:00:00.000Z","workflow":"00aa0001","kind":"lifecycle","reason":"start","project":"/p"}"#;
        let of = |is_own, run| {
            let log = Log { bytes: format!("{start}\n").into_bytes(), live: false, is_own, run };
            of_log(&log).map(|file| file.shown()).map_err(|failure| failure.message)
        };
        assert_eq!(of(true, Some(id)).unwrap(), "/p/.ringfence.yml");
        for (is_own, run) in [(false, Some(id)), (false, None), (true, Some("00aa0002".parse().unwrap()))] {
            assert_eq!(of(is_own, run).unwrap_err(), "nothing says which policy file is meant");
        }
    }

    #[test]
    fn a_name_that_a_stronger_layer_refuses_is_told_with_its_reason() {
        let policy = strong("  ceiling: [.test]\n  deny: [bad.test]");
        assert_eq!(held(&policy, &name("a.test")), None);
        let outside = held(&policy, &name("a.example")).unwrap();
        assert!(outside.starts_with("outside-ceiling"), "{outside}");
        let denied = held(&policy, &name("bad.test")).unwrap();
        assert!(denied.starts_with("denied-by-rule: bad.test (organisation, org.yml:"), "{denied}");
        // The project's file counts within the same ceilings.
        let project = Policy { project_trusted: true, ..policy };
        assert_eq!(held(&project, &name("a.test")), None);
        assert!(held(&project, &name("a.example")).is_some());
    }
}
