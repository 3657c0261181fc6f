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

use tokio::time::timeout;

use super::begun::{self, Beginning};
use super::container_end::last_words;
use super::prepared::RunPlan;
use crate::host::descriptors;
use crate::supervisor::signals::Signals;
use crate::supervisor::spec::workflow::Role;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;

/// The command has begun within this time, or the caller is left all the same.
const BEGINS: Duration = Duration::from_secs(5);

/// Waits for the agent's command, and tells the words of an init that could not start it. Nobody
/// watches over the agent meanwhile, so an engine that is slow or silent is not waited for: then
/// nothing is known.
pub(super) async fn has_begun(plan: &RunPlan) -> Option<Beginning> {
    let begun = timeout(BEGINS, begun::until_begun(plan)).await.ok();
    if begun == Some(Beginning::NotStarted) {
        let agent = plan.workflow.object(Role::Agent);
        let words = timeout(BEGINS, last_words(&plan.engine, &agent)).await;
        words.into_iter().flatten().for_each(crate::term::essential);
    }
    begun
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
