//! One run, told as its phases. See the drawing in the module above.
//!
//! ```text
//!  Checked ──▶ Prepared ──▶ Created ──▶ Proven ──▶ Equipped ──▶ Running ──▶ Ended ──▶ removed, told
//!  nothing     this machine the engine  the fence  the services the agent   the agent
//!  exists      knows of it  has helpers stands     answer       works       is over
//! ```
//! Each phase is a type that the next one consumes, so none can be had out of order: nothing but a
//! [`Proven`](proven::Proven) starts services, nothing but an [`Equipped`](services::Equipped)
//! starts an agent, and only the guard's word that it serves the sockets
//! of a fence that proved itself makes one. Whatever fails on the way removes everything.

mod account;
mod agent_end;
mod agent_streams;
pub(crate) mod attempts;
pub(crate) mod begun;
mod checked;
pub(crate) mod checks;
mod conclusion;
mod configuration;
mod container_end;
mod create;
mod created;
mod detached;
mod early_signal;
mod ended;
mod events;
mod exit_status;
mod fence_input;
mod guard_link;
mod home;
mod host;
mod image_faults;
mod limits_met;
mod prepared;
mod proven;
mod ready;
pub(crate) mod removal;
mod request;
mod resolvers;
mod running;
pub(crate) mod runtime;
mod services;
pub(crate) mod shared_fence;
mod stopping;
pub(crate) mod summary;
mod system_calls;
mod waiting;

use self::begun::{Beginning, Entry};
use self::checked::{Checked, Gathered};
use self::created::Created;
use self::early_signal::EarlySignal;
use self::events::EventFiles;
use self::prepared::{Prepared, RunPlan};
use self::removal::{GuardAtRemoval, Removal};
pub(crate) use self::request::RunRequest;
use self::running::Running;
use crate::supervisor::engine::Engine;
use crate::supervisor::forward::ForwardRequest;
use crate::supervisor::inventory::{Extent, homes};
use crate::supervisor::records::history::RunEnding;
use crate::supervisor::records::homes::HeldHome;
use crate::supervisor::records::runs::Held;
use crate::supervisor::signals::Signals;
use crate::supervisor::signals::interrupt::until_signal;
use crate::supervisor::spec::image::Images;
use crate::term::{Failure, trace};

/// Runs the agent to its end; the exit status for the program.
pub(crate) async fn run(
    engine: &Engine,
    images: &Images,
    request: RunRequest,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    // Nothing has been created yet, so an engine that has gone silent is simply left.
    let checked = until_signal(signals, Checked::check(engine, &images.agent, &request)).await?;
    let step = trace::step("covers written");
    let Prepared { plan, gathered, forwards, events, mut record, mut history, said, mut aftermath, mut home } =
        checked.prepare(engine, images, request)?;
    drop(step);
    // From here on things exist, and all of them are removed, whatever comes.
    let early = EarlySignal::default();
    let starting = start(&plan, gathered, forwards, events, &mut record, &early);
    let outcome = match early.follow(signals, engine, starting).await {
        Ok(running) => {
            let mut entry = Entry::closed(&mut history, running.user.clone());
            if let Some(said) = said {
                let begun = detached::has_begun(&plan).await;
                if begun == Some(Beginning::Runs) {
                    entry.open();
                }
                if begun != Some(Beginning::NotStarted) {
                    detached::leave(plan.workflow.id, said, signals);
                }
            }
            home.iter_mut().for_each(HeldHome::keep);
            let _step = trace::step("agent ran, files put back");
            Ok(running.supervise(signals, entry).await.close(&mut aftermath).await)
        }
        Err(failure) => Err(failure),
    };
    crate::term::renew_kept_talk();
    let step = trace::step("removed");
    let log_is_whole = outcome.as_ref().is_ok_and(ended::Closed::log_is_whole);
    let guard = if log_is_whole { GuardAtRemoval::Ended } else { GuardAtRemoval::Unknown };
    let keeps = plan.agent.keep && outcome.is_ok();
    let extent = if keeps { Extent::AroundAgent } else { Extent::Whole };
    let removed = removal::of_run(engine, &plan.workflow, Removal { guard, extent }).await;
    let kept = if keeps { Some(removal::has_kept(engine, &plan.workflow).await) } else { None };
    let late = aftermath.filter(|_| removed.is_ok()).map(|left| conclusion::settle_late(&plan, left));
    if let Some(mut unused) = home.filter(HeldHome::is_new) {
        // No agent has used it: its name is to be free again. While its volume is there, so is its
        // record.
        unused.keep();
        homes::remove_home(engine, unused).await.unwrap_or_else(|failure| failure.tell());
    }
    drop(step);
    trace::print_timings();
    let how = outcome.as_ref().ok().map(|closed| closed.end.how);
    let concluded = conclusion::conclude(&plan, outcome, removed, late, kept);
    let status = concluded.as_ref().map_or_else(|failure| failure.exit, |status| *status);
    history.over(RunEnding::now(Some(status), how));
    concluded
}

/// Brings a run to the point where its agent works.
async fn start<'a>(
    plan: &'a RunPlan,
    gathered: Gathered,
    forwards: ForwardRequest,
    events: EventFiles,
    record: &mut Held,
    early: &EarlySignal,
) -> Result<Running<'a>, Failure> {
    let created = Created::create(plan, gathered, events).await?;
    let proven = created.prove(record).await?;
    let connected = proven.forward(forwards).await?.carry_to_this_machine().await?;
    let equipped = connected.start_services(early).await?;
    equipped.start_agent(early).await
}
