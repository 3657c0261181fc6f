//! The moment at which a supervisor leaves its caller: the agent runs, and nobody looks any more.
//!
//! ```text
//!  has the init become the command? ─ ended with 126, 127 ─▶ told in the foreground
//!    │ yes
//!  talk ─▶ output/ID.txt    session: its own    the id ─▶ the waiting `ringfence run -d`    0, 1, 2 ─▶ /dev/null
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::time::Duration;

use bollard::models::ContainerTopResponse;
use bollard::query_parameters::TopOptionsBuilder;
use tokio::time::{sleep, timeout};

use super::container_end::last_words;
use super::exit_status;
use super::prepared::RunPlan;
use crate::host::descriptors;
use crate::supervisor::signals::Signals;
use crate::supervisor::spec::workflow::Role;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::{WorkflowId, init};

/// An init has started its program within this time, or nobody can tell.
const BEGINS: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(25);

/// Tells whether the agent's command could be started. Its container's init runs before that is
/// known, and ends with 126 or 127 where it could not; the words of that are told. Nobody watches
/// over the agent meanwhile, so an engine that is slow or silent is not waited for.
pub(super) async fn has_begun(plan: &RunPlan) -> bool {
    let agent = plan.workflow.object(Role::Agent);
    if timeout(BEGINS, begins(plan, &agent)).await.unwrap_or(true) {
        return true;
    }
    let words = timeout(BEGINS, last_words(&plan.engine, &agent)).await;
    words.into_iter().flatten().for_each(crate::term::essential);
    false
}

/// Looks until the command runs, or the init has ended.
async fn begins(plan: &RunPlan, agent: &str) -> bool {
    let columns = plan.engine.dialect.process_columns;
    let columns = columns.map(|columns| TopOptionsBuilder::new().ps_args(columns).build());
    loop {
        let looked = plan.engine.inspect_container(agent, None).await;
        let state = looked.ok().and_then(|about| about.state).unwrap_or_default();
        if state.running == Some(false) {
            let said = async || last_words(&plan.engine, agent).await;
            let told_by = plan.engine.dialect.unstartable_command;
            let status = exit_status::of_agent(told_by, state.exit_code.unwrap_or(0), said).await;
            return !matches!(status, 126 | 127);
        }
        // It may end just now, which is seen in the next round.
        let processes = plan.engine.api.top_processes(agent, columns.clone()).await;
        if processes.is_ok_and(|processes| shows_command(&processes)) {
            return true;
        }
        sleep(STEP).await;
    }
}

/// Tells whether an engine's list of processes has one besides the inits. A process that an init
/// has started has the init's words until it becomes the command.
fn shows_command(listed: &ContainerTopResponse) -> bool {
    let rows = listed.processes.iter().flatten();
    let mut commands = rows.filter_map(|row| row.last());
    let Some(first) = commands.next() else { return false };
    commands.any(|command| command != first && !command.starts_with(init::PLACE))
}

/// Leaves the caller. `said` is the file for what the supervisor says from now on.
/// The agent runs: whatever fails here is told, and the run goes on.
pub(super) fn leave(id: WorkflowId, said: File, signals: &mut Signals) {
    crate::term::talk(format_args!(
        "running in the background; output, and what is said at the end: ringfence logs {id}; end it: ringfence stop {id}"
    ));
    crate::term::keep_talk(said);
    signals.leave_terminal();
    // It fails where this process leads a group already, to which the terminal sends nothing.
    let _ = nix::unistd::setsid();
    // The caller may have gone; the agent runs all the same, and `ringfence ps` shows it.
    let _ = writeln!(io::stdout(), "{id}").and_then(|()| io::stdout().flush());
    if let Err(error) = let_go() {
        Failure::new(COULD_NOT_RUN, "cannot let go of the caller's streams").caused_by(&error).tell();
    }
}

fn let_go() -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    descriptors::close_inherited();
    Ok(())
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
