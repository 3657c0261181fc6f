//! `ringfence events`: the decision log of a workflow or of a file.
//!
//! ```text
//!  file, state directory ──▶ all lines ─┬─ --verify: is the chain whole, and does it end in the digest?
//!  guard's log (engine) ──▶ as it grows ┴─ --denied? ─▶ as it was written, or a row and what would permit it
//! ```

pub(super) mod feed;
mod rows;
mod verify;

use std::path::Path;

use self::feed::EventFeed;
use self::rows::Rows;
use crate::cli::EventsArgs;
use crate::host::open;
use crate::supervisor::engine::Engine;
use crate::supervisor::inventory::WorkflowSummary;
use crate::supervisor::records::{events, history};
use crate::supervisor::{engine, inventory};
use crate::term::{Failure, Warning};
use crate::wire::event::Line;
use crate::wire::{Role, WorkflowId};

/// Exit status when a log cannot be read.
const CANNOT: u8 = 2;
/// Ending of a log's name.
const ENDING: &str = ".jsonl";
/// The largest log that is read.
const LARGEST_LOG: u64 = 4 << 30;

/// Prints the events, refusals only with `--denied`; with `--verify` checks the chain instead.
pub(crate) async fn events(engine_host: Option<&str>, args: EventsArgs) -> Result<u8, Failure> {
    if args.follow {
        return follow(engine_host, &args).await;
    }
    let log = read(engine_host, &args.source).await?;
    if args.verify {
        return verify::verify(&log.bytes, args.digest.as_deref(), args.json);
    }
    log.check_events(&args.source)?;
    let Log { bytes, live, .. } = log;
    let text = String::from_utf8_lossy(&bytes);
    let mut rows = Rows::new(live);
    let unread = text.lines().filter(|line| Line::read(line.as_bytes()).is_none()).count();
    let out: String = text.lines().filter_map(|line| shown(line, &args, &mut rows)).collect();
    show(&out, &args)?;
    if unread > 0 {
        crate::term::warn(Warning::EventsUnread(unread));
    }
    Ok(0)
}

/// Prints a text. Lines as they were written are for programs, unless a person looks at them.
fn show(text: &str, args: &EventsArgs) -> Result<(), Failure> {
    if args.json { crate::term::print_document(text) } else { crate::term::print(text) }
}

/// Returns the text to print for a line, if any.
fn shown(text: &str, args: &EventsArgs, rows: &mut Rows) -> Option<String> {
    let line = Line::read(text.as_bytes())?;
    if args.denied && !line.event.is_denied() {
        return None;
    }
    Some(if args.json { format!("{text}\n") } else { rows.of(&line) })
}

/// Prints the events of a workflow from its start, and goes on until its guard ends.
async fn follow(engine_host: Option<&str>, args: &EventsArgs) -> Result<u8, Failure> {
    if is_file(&args.source) {
        return Err(Failure::new(
            CANNOT,
            format!("--follow takes a run that is alive, and {} is a file", args.source),
        )
        .hint("leave --follow out, or read the file with `tail -f`"));
    }
    let engine = engine::connect(engine_host).await?;
    let all = inventory::workflows(&engine).await?;
    let found = inventory::pick(&all, &args.source)?;
    let Some(guard) = found.container(Role::Guard) else {
        return Err(Failure::new(CANNOT, format!("the guard of {} is gone", found.id))
            .hint(format!("look for saved events: ringfence events {}", found.id)));
    };
    let mut rows = Rows::new(true);
    let mut feed = EventFeed::of(&engine, found.id, guard);
    while let Some(whole) = feed.next().await? {
        let text = String::from_utf8_lossy(&whole);
        let out: String = text.lines().filter_map(|line| shown(line, args, &mut rows)).collect();
        show(&out, args)?;
    }
    Ok(0)
}

/// A log.
pub(super) struct Log {
    /// Its lines.
    pub(super) bytes: Vec<u8>,
    /// Tells whether its workflow still runs.
    pub(super) live: bool,
    /// Tells whether it is ringfence's own: a file that a person names may be anybody's, and so may
    /// the containers of a run that this machine has no record of.
    pub(super) is_own: bool,
    /// Run that the log was found by; none for a file. What its lines say may be anybody's word.
    pub(super) run: Option<WorkflowId>,
}

impl Log {
    /// Refuses a file in which not one line is an event: it is no log.
    ///
    /// # Errors
    /// When it is such a file. A run's own log may be empty as yet.
    pub(super) fn check_events(&self, source: &str) -> Result<(), Failure> {
        if self.run.is_some()
            || self.bytes.split(|byte| *byte == b'\n').any(|line| Line::read(line).is_some())
        {
            return Ok(());
        }
        Err(Failure::new(CANNOT, format!("{source} is no log: not one line of it is an event"))
            .hint("name the file of `run --events`, or a workflow's id"))
    }

    /// Makes the log that the state directory has of a run.
    fn kept(id: WorkflowId, bytes: Vec<u8>, live: bool) -> Log {
        Log { bytes, live, is_own: true, run: Some(id) }
    }

    /// Makes the log that containers on the engine gave.
    fn of_containers(found: &WorkflowSummary, bytes: Vec<u8>) -> Log {
        Log { bytes, live: found.guard == "running", is_own: found.is_recorded(), run: Some(found.id) }
    }
}

/// Tells whether a word is a file's. An agent could have left a file that is called like a
/// workflow.
fn is_file(source: &str) -> bool {
    source.contains('/') || source.ends_with(ENDING) || open::is_standard_input(Path::new(source))
}

/// Reads the log of a workflow, or of a file.
pub(super) async fn read(engine_host: Option<&str>, source: &str) -> Result<Log, Failure> {
    let path = Path::new(source);
    if is_file(source) {
        return read_file(path, false);
    }
    // A workflow that still runs has its newest events on the engine; one that ended, in the state
    // directory.
    if let Ok(engine) = engine::connect(engine_host).await {
        let all = inventory::workflows(&engine).await?;
        if let Ok(found) = inventory::pick(&all, source)
            && let Some(log) = of_engine(&engine, found).await?
        {
            return Ok(log);
        }
    }
    if let Some(run) = history::find(&history::all()?, source).ok().flatten()
        && !events::parts(run.begun.id)?.is_empty()
    {
        return Ok(Log::kept(run.begun.id, events::read(run.begun.id)?, false));
    }
    let ended: Vec<_> = events::runs()?
        .into_iter()
        .filter(|id| !source.is_empty() && id.to_string().starts_with(source))
        .collect();
    match ended.as_slice() {
        [one] => Ok(Log::kept(*one, events::read(*one)?, false)),
        [] if path.symlink_metadata().is_ok() => read_file(path, false),
        [] => Err(Failure::new(CANNOT, format!("no events of `{source}` are here"))
            .hint("give a workflow's id, its name or an events file; `ringfence ps --all` lists the runs")),
        _ => Err(Failure::new(CANNOT, format!("`{source}` may mean {} workflows", ended.len()))
            .hint("give more of the id")),
    }
}

/// Reads the guard's log from the engine, and saves it where this machine made the workflow.
async fn of_engine(engine: &Engine, found: &WorkflowSummary) -> Result<Option<Log>, Failure> {
    if found.is_recorded() {
        let saved = inventory::save_events(engine, found).await?;
        return (saved != inventory::Saved::Nothing)
            .then(|| events::read(found.id).map(|bytes| Log::of_containers(found, bytes)))
            .transpose();
    }
    Ok(inventory::read_events(engine, found).await?.map(|bytes| Log::of_containers(found, bytes)))
}

fn read_file(path: &Path, live: bool) -> Result<Log, Failure> {
    open::read(path, LARGEST_LOG)
        .map(|bytes| Log { bytes, live, is_own: false, run: None })
        .map_err(|refused| refused.explain(Failure::new(CANNOT, format!("cannot read {}", path.display()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::inventory::{Recorded, tests::found};

    #[test]
    fn containers_without_a_record_are_not_believed() {
        let stranger = found("aa010000");
        let known = WorkflowSummary { recorded: Recorded::Here { locked: true }, ..found("aa010000") };
        let log = Log::of_containers(&stranger, Vec::new());
        assert_eq!((log.is_own, log.run), (false, Some(stranger.id)));
        assert!(Log::of_containers(&known, Vec::new()).is_own);
    }
}
