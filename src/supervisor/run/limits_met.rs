//! The limits that an agent met: in words for the person, and as events.

use tokio::time::timeout;

use super::agent_end::{AgentEnd, FENCE_ENDED};
use super::prepared::RunPlan;
use super::removal::ENGINE_LIMIT;
use crate::supervisor::engine::Engine;
use crate::supervisor::live;
use crate::supervisor::spec::limits;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::supervisor::watch::Watch;
use crate::wire::event::{How, Observation};

/// Exit status of a process that the kernel killed (SIGKILL).
const KILLED: u8 = 128 + 9;

/// Adds the limits that show only now to those that ended the run, and has the guard write all of
/// them down.
///
/// Processes that end for want of memory are the kernel's doing. Where it took the agent with them,
/// the run was ended by a limit, and its status says so; an agent that went on keeps its own.
pub(super) async fn account(plan: &RunPlan, watch: &Watch, mut ended: AgentEnd) -> AgentEnd {
    let RunPlan { engine, workflow, agent, .. } = plan;
    let limits = &agent.limits;
    if ran_out_of_memory(engine, workflow).await {
        let mut what = format!(
            "the agent reached its memory limit of {} (--memory, or container.memory of a policy): \
             the kernel ended one of its processes",
            limits::bytes(limits.memory)
        );
        if ended.status == KILLED && ended.why.is_none() {
            ended.status = FENCE_ENDED;
            ended.how = How::MemoryLimit;
            what.push_str(", and the run with it");
        }
        ended.reached.push((Observation::MemoryLimit, what));
    }
    if watch.processes_were_short() {
        let what = format!(
            "the agent had all of the {} processes and threads that it may have (--pids, or container.pids of a policy): \
             it could start no more",
            limits.pids
        );
        ended.reached.push((Observation::PidsLimit, what));
    }
    // A guard that is gone writes nothing any more; the person is told all the same.
    let helpers = workflow.helpers();
    let noted = live::note(engine, &helpers, ended.reached.clone());
    let _ = timeout(ENGINE_LIMIT, noted).await;
    ended
}

async fn ran_out_of_memory(engine: &Engine, workflow: &Workflow) -> bool {
    let agent = workflow.object(Role::Agent);
    let asked = timeout(ENGINE_LIMIT, engine.inspect_container(&agent, None)).await;
    asked.ok().and_then(Result::ok).and_then(|agent| agent.state?.oom_killed).unwrap_or(false)
}
