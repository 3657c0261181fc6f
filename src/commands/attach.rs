//! `ringfence attach`: the person's terminal, for an agent that runs.
//!
//! ```text
//!  stdin ─▶ the agent, until the detach keys    output ─▶ stdout, stderr    INT, TERM, QUIT ─▶ the agent
//!  the keys, a hang-up ─▶ the agent goes on     its end ─▶ its status, as `ringfence wait` prints it
//! ```

use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{AttachContainerOptions, KillContainerOptions};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cli::ways::AttachArgs;
use crate::commands::meant::{AllRuns, MeantRun, WorkingAgent};
use crate::commands::wait;
use crate::host::account;
use crate::supervisor::engine;
use crate::supervisor::live;
use crate::supervisor::signals::{SIGHUP, Signals, signal_name, status_of_signal};
use crate::supervisor::streams::{self, CarryOutcome, FarTerminal, Input, RawTerminal};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::event::Observation;

/// An engine knows within this time after the end of an agent's streams that the agent has ended.
const END_IS_KNOWN: Duration = Duration::from_secs(5);

/// Attaches until the agent ends or is left; its status, or 0.
pub(crate) async fn attach(engine_host: Option<&str>, args: AttachArgs) -> Result<u8, Failure> {
    let runs = AllRuns::gather(engine_host).await?;
    let run = runs.meant(&args.run)?;
    let agent = run.working_agent(args.record).await?;
    let WorkingAgent { engine, container, helpers } = &agent;
    let about = engine.inspect_container(container, None).await;
    let about = about.map_err(|error| engine::refused(format!("cannot attach to {}", run.id), &error))?;
    let streams = Streams::of(&about, args.no_stdin, has_own_input(run, &about))?;
    streams.tell();
    let note = vec![(Observation::Attached, format!("by {}", account::caller_in_words()))];
    live::note(engine, helpers, note).await?;
    let mut signals = Signals::new()?;
    match carry(&agent, streams, &args, &mut signals).await? {
        AttachmentEnd::Left => {
            crate::term::talk(format_args!("left {}, which goes on", run.id));
            Ok(0)
        }
        AttachmentEnd::HungUp => Ok(status_of_signal(SIGHUP)),
        AttachmentEnd::OfStream(carried) => {
            carried.lost.iter().for_each(crate::term::essential);
            tokio::select! {
                status = status(run, &agent) => status,
                // The agent has ended: the signal is for the one who waits.
                number = signals.next() => Ok(status_of_signal(number)),
            }
        }
    }
}

/// Streams that the agent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Streams {
    terminal: bool,
    stdin: bool,
    /// Tells whether the input is left to the terminal that the run was started from.
    input_is_elsewhere: bool,
}

/// Tells whether an agent's input ends with the first attachment to it, which is then its run's
/// own.
fn has_own_input(run: MeantRun<'_>, about: &ContainerInspectResponse) -> bool {
    let once = about.config.as_ref().and_then(|config| config.stdin_once).unwrap_or(false);
    once || run.history.is_some_and(|run| !run.begun.detached)
}

impl Streams {
    /// Decides. `has_own_input`: the engine would end the agent's input with this attachment, save
    /// that of a terminal.
    fn of(about: &ContainerInspectResponse, no_stdin: bool, has_own_input: bool) -> Result<Streams, Failure> {
        let config = about.config.as_ref();
        let terminal = config.and_then(|config| config.tty).unwrap_or(false);
        let stdin = config.and_then(|config| config.open_stdin).unwrap_or(false) && !no_stdin;
        let input_is_elsewhere = stdin && !terminal && has_own_input;
        let stdin = stdin && !input_is_elsewhere;
        if terminal && stdin && !streams::stdin_is_terminal() {
            return Err(Failure::new(COULD_NOT_RUN, "the agent has a terminal, and stdin is none")
                .hint("attach from a terminal, or with --no-stdin"));
        }
        Ok(Streams { terminal, stdin, input_is_elsewhere })
    }

    /// Tells whether the keys are heard by which an agent is left: this terminal is the agent's
    /// then.
    fn has_keys(self) -> bool {
        self.terminal && self.stdin
    }

    /// Tells the person what is typed for nothing.
    fn tell(self) {
        if self.input_is_elsewhere {
            crate::term::talk(
                "no input is sent: the agent's is that of `ringfence run -i`, and would end with this attachment",
            );
        }
        if streams::stdin_is_terminal() && !self.has_keys() {
            crate::term::talk(
                "the detach keys are not heard here, and Ctrl-C goes to the agent: close this terminal to leave",
            );
        }
    }
}

/// End of an attachment.
enum AttachmentEnd {
    /// The person typed the detach keys.
    Left,
    /// The person's terminal has gone.
    HungUp,
    /// The agent's streams ended.
    OfStream(CarryOutcome),
}

/// Carries the streams until their end.
async fn carry(
    agent: &WorkingAgent<'_>,
    has: Streams,
    args: &AttachArgs,
    signals: &mut Signals,
) -> Result<AttachmentEnd, Failure> {
    let WorkingAgent { engine, container, .. } = agent;
    let keys = args.detach_keys.clone().unwrap_or_default();
    let options = AttachContainerOptions {
        stream: true,
        stdin: has.stdin,
        stdout: true,
        stderr: true,
        // An engine looks for keys of its own, for docker's usual ones unless it is told others.
        detach_keys: Some(keys.to_string()),
        ..Default::default()
    };
    let attached = engine.api.attach_container(container, Some(options)).await;
    let attached = attached.map_err(|error| engine::refused("cannot attach to the agent", &error))?;
    let _terminal = has.has_keys().then(RawTerminal::enter);
    let sizing = has.terminal.then(|| {
        let far = FarTerminal::Container((*container).to_owned());
        tokio::spawn(streams::redraw_and_follow_size((*engine).clone(), far))
    });
    let input = match has.stdin {
        true => Input::Attached(has.has_keys().then_some(keys)),
        false => Input::Nothing,
    };
    let (over, has_ended) = watch::channel(false);
    let carrying = streams::carry(attached, input, has_ended, None);
    tokio::pin!(carrying);
    let mut waiting = engine.api.wait_container(container, None).boxed();
    let mut waits = true;
    let end = loop {
        tokio::select! {
            carried = &mut carrying => break match carried.detached {
                true => AttachmentEnd::Left,
                false => AttachmentEnd::OfStream(carried),
            },
            // The stream may bring the last words after that.
            _ = waiting.next(), if waits => {
                waits = false;
                over.send_replace(true);
            }
            number = signals.next() => match number {
                SIGHUP => break AttachmentEnd::HungUp,
                number => {
                    let options = KillContainerOptions { signal: signal_name(number).to_owned() };
                    // The agent may have ended just now, which is seen in the next round.
                    let _ = engine.api.kill_container(container, Some(options)).await;
                }
            }
        }
    };
    if let Some(sizing) = sizing {
        sizing.abort();
    }
    Ok(end)
}

/// Returns the status of an agent whose streams have ended.
async fn status(run: MeantRun<'_>, agent: &WorkingAgent<'_>) -> Result<u8, Failure> {
    // Podman ends the streams a moment before it knows that the agent has ended.
    let mut waiting = agent.engine.api.wait_container(agent.container, None).boxed();
    if timeout(END_IS_KNOWN, waiting.next()).await.is_err() {
        let id = run.id;
        return Err(Failure::new(
            COULD_NOT_RUN,
            format!("the engine ended the attachment, and {id} goes on"),
        )
        .hint(format!("attach again: ringfence attach {id}")));
    }
    wait::status_of(run).await.map(|status| u8::try_from(status).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stdin_is_attached_where_the_agent_has_one() {
        let about = |config: serde_json::Value| -> ContainerInspectResponse {
            serde_json::from_value(serde_json::json!({ "Config": config })).unwrap()
        };
        let open = about(serde_json::json!({"OpenStdin": true, "Tty": false}));
        let streams = |about: &ContainerInspectResponse, no_stdin, has_own_input| {
            let of = Streams::of(about, no_stdin, has_own_input).unwrap();
            (of.terminal, of.stdin, of.input_is_elsewhere)
        };
        assert_eq!(streams(&open, false, false), (false, true, false));
        assert_eq!(streams(&open, true, false), (false, false, false));
        assert_eq!(streams(&open, false, true), (false, false, true));
        let terminal = about(serde_json::json!({"OpenStdin": false, "Tty": true}));
        assert_eq!(streams(&terminal, false, true), (true, false, false));
        let nothing = ContainerInspectResponse::default();
        assert_eq!(streams(&nothing, false, true), (false, false, false));
    }
}
