//! The moment from which an agent's container may be entered: its first program has seen every
//! cover in its place, and has become the agent's command.
//!
//! ```text
//!  started ─▶ init asks the fence ─┬─ not every cover is there ─▶ it ends: nobody enters
//!                                  └─ the command runs ─▶ history: works ─▶ `exec`, `attach`
//! ```
//! Until then a program in that container would see files that are not covered, and could speak to
//! the fence in the init's place.

use std::time::{Duration, Instant};

use bollard::models::ContainerTopResponse;
use bollard::query_parameters::TopOptionsBuilder;
use tokio::time::sleep;

use super::container_end::last_words;
use super::exit_status;
use super::prepared::RunPlan;
use crate::supervisor::engine::Engine;
use crate::supervisor::records::history::HistoryWriter;
use crate::supervisor::spec::workflow::Role;
use crate::wire::init;

/// The time between two looks at first. An engine that is slow is asked less often.
const STEP: Duration = Duration::from_millis(25);
const LONGEST_STEP: Duration = Duration::from_millis(400);
/// An init that runs for so long has become the command, whatever the engine shows: each of its
/// waits for the fence has a limit of 20 s. Some engines cannot list processes.
const SURELY: Duration = Duration::from_secs(120);

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
    let (mut step, began) = (STEP, Instant::now());
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
        let is_sure = state.running == Some(true) && began.elapsed() > SURELY;
        if is_sure || command_runs(&plan.engine, &agent).await {
            return Beginning::Runs;
        }
        sleep(step).await;
        step = (step * 2).min(LONGEST_STEP);
    }
}

/// Tells whether a container that runs may be entered, where this machine has no history of its
/// run.
pub(crate) async fn may_be_entered(engine: &Engine, agent: &str) -> bool {
    let Ok(about) = engine.inspect_container(agent, None).await else { return false };
    let first = about.config.and_then(|config| config.entrypoint).unwrap_or_default();
    first != [init::PLACE] || command_runs(engine, agent).await
}

/// Tells whether the engine shows the agent's command among the processes of its container.
async fn command_runs(engine: &Engine, agent: &str) -> bool {
    let columns = engine.dialect.process_columns;
    let columns = columns.map(|columns| TopOptionsBuilder::new().ps_args(columns).build());
    let processes = engine.api.top_processes(agent, columns).await;
    processes.is_ok_and(|processes| shows_command(&processes))
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
    commands.any(|command| command != first && !command.starts_with(init::PLACE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_from_the_inits() {
        let listed = |commands: &[&str]| ContainerTopResponse {
            titles: Some(vec!["PID".to_owned(), "CMD".to_owned()]),
            processes: Some(commands.iter().map(|cmd| vec!["1".to_owned(), (*cmd).to_owned()]).collect()),
        };
        let (init, own) = ("/sbin/docker-init -- sh", "/run/ringfence/init sh");
        for (commands, begun) in [
            (&[][..], false),
            (&[init], false),
            (&[init, init], false),
            (&[own, own], false),
            (&["/sbin/docker-init -- /run/ringfence/init sh", own], false),
            (&[init, "sh"], true),
            (&[init, own, "sh -c true"], true),
        ] {
            assert_eq!(shows_command(&listed(commands)), begun, "{commands:?}");
        }
    }
}
