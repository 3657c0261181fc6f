//! The moment from which an agent's container may be entered: its first program has seen every
//! cover in its place, and has begun the agent's command.
//!
//! ```text
//!  started ─▶ init asks the fence ─┬─ not every cover is there ─▶ it ends: nobody enters
//!                                  └─ the command runs ─▶ history: works ─▶ `exec`, `attach`
//! ```
//! Until then a program in that container would see files that are not covered, and could speak to
//! the fence in the init's place. Time proves nothing: a service may take the fence's place before
//! the init, and keep it waiting for as long as it likes. An engine that does not list a
//! container's processes has no such moment.

use std::time::Duration;

use bollard::models::ContainerTopResponse;
use bollard::query_parameters::TopOptionsBuilder;
use tokio::time::sleep;

use super::container_end::last_words;
use super::exit_status;
use super::prepared::RunPlan;
use crate::supervisor::engine::Engine;
use crate::supervisor::records::history::HistoryWriter;
use crate::supervisor::spec::workflow::Role;
use crate::wire::init::{self, InitPlace};

/// The time between two looks at first. An engine that is slow is asked less often.
const STEP: Duration = Duration::from_millis(25);
const LONGEST_STEP: Duration = Duration::from_millis(400);

/// Outcome of an agent's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// Its command runs, or has run.
    Runs,
    /// Its init could not start the command.
    NotStarted,
}

/// The record of a run, for what may enter its agent's container.
pub(super) struct Entry<'h> {
    history: &'h mut HistoryWriter,
    user: Option<String>,
    is_open: bool,
}

impl<'h> Entry<'h> {
    /// Begins with a container that nobody may enter. `user`: the agent's number and group.
    pub(super) fn closed(history: &'h mut HistoryWriter, user: Option<String>) -> Entry<'h> {
        Entry { history, user, is_open: false }
    }

    /// Lets `exec` and `attach` enter.
    pub(super) fn open(&mut self) {
        if !self.is_open {
            self.is_open = true;
            self.history.works(self.user.take());
        }
    }
}

/// Waits until the agent's command runs, or the init has ended. The init of a run without covers
/// checks nothing; whether its command could be started is found in the same way.
pub(super) async fn until_begun(plan: &RunPlan) -> Beginning {
    let agent = plan.workflow.object(Role::Agent);
    let mut step = STEP;
    loop {
        let looked = plan.engine.inspect_container(&agent, None).await;
        let state = looked.ok().and_then(|about| about.state).unwrap_or_default();
        if state.running == Some(false) {
            let said = async || last_words(&plan.engine, &agent).await;
            let told_by = plan.engine.dialect.unstartable_command;
            let status = exit_status::of_agent(told_by, state.exit_code.unwrap_or(0), said).await;
            return match status {
                126 | 127 => Beginning::NotStarted,
                _ => Beginning::Runs,
            };
        }
        // It may end just now, which is seen in the next round.
        if command_runs(&plan.engine, &agent).await == Some(true) {
            return Beginning::Runs;
        }
        sleep(step).await;
        step = (step * 2).min(LONGEST_STEP);
    }
}

/// State of the way into a container that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// It may be entered.
    Open,
    /// Its covers are not checked yet, or nobody can tell at the moment.
    Starting,
    /// The engine does not show whether they are.
    Unlisted,
}

/// Tells whether a container that runs may be entered, by what its engine shows.
pub(crate) async fn entrance(engine: &Engine, agent: &str) -> Entrance {
    let Ok(about) = engine.inspect_container(agent, None).await else { return Entrance::Starting };
    let first = about.config.and_then(|config| config.entrypoint).unwrap_or_default();
    match first.first().is_some_and(|first| InitPlace::read(first).is_some()) {
        true => entrance_by(command_runs(engine, agent).await),
        false => Entrance::Open,
    }
}

fn entrance_by(command_runs: Option<bool>) -> Entrance {
    match command_runs {
        Some(true) => Entrance::Open,
        Some(false) => Entrance::Starting,
        None => Entrance::Unlisted,
    }
}

/// Tells whether the engine shows the agent's command among the processes of its container; none
/// where it lists no processes.
async fn command_runs(engine: &Engine, agent: &str) -> Option<bool> {
    let columns = engine.dialect.process_columns;
    let columns = columns.map(|columns| TopOptionsBuilder::new().ps_args(columns).build());
    let processes = engine.api.top_processes(agent, columns).await;
    processes.ok().filter(|listed| listed.processes.is_some()).map(|listed| shows_command(&listed))
}

/// Tells whether nothing is checked before the agent's command runs.
pub(super) fn is_unchecked(plan: &RunPlan) -> bool {
    plan.agent.by_init.is_none()
}

/// Tells whether an engine's list of processes has one besides the inits. A process that an init
/// has started has the init's words until it becomes the command.
fn shows_command(listed: &ContainerTopResponse) -> bool {
    let rows = listed.processes.iter().flatten();
    let mut commands = rows.filter_map(|row| row.last());
    let Some(first) = commands.next() else { return false };
    commands.any(|command| command != first && !init::begins(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_whose_processes_nobody_lists_is_not_entered() {
        assert_eq!(entrance_by(Some(true)), Entrance::Open);
        assert_eq!(entrance_by(Some(false)), Entrance::Starting);
        assert_eq!(entrance_by(None), Entrance::Unlisted);
    }

    #[test]
    fn a_command_is_told_from_the_inits() {
        let listed = |commands: &[&str]| ContainerTopResponse {
            titles: Some(vec!["PID".to_owned(), "CMD".to_owned()]),
            processes: Some(commands.iter().map(|cmd| vec!["1".to_owned(), (*cmd).to_owned()]).collect()),
        };
        let (init, own) =
            ("/sbin/docker-init -- sh", "/.ringfence-00112233445566778899aabbccddeeff ask go sh");
        for (commands, begun) in [
            (&[][..], false),
            (&[init], false),
            (&[init, init], false),
            (&[own, own], false),
            (&["/sbin/docker-init -- /.ringfence-00112233445566778899aabbccddeeff sh", own], false),
            (&[own], false),
            (&[own, "sh"], true),
            (&[init, "sh"], true),
            (&[init, own, "sh -c true"], true),
        ] {
            assert_eq!(shows_command(&listed(commands)), begun, "{commands:?}");
        }
    }
}
