//! Progress of the run towards its end, by the messages of those who start and end it.
//!
//! ```text
//!  supervisor ──stdin: Word, a line──▶ agent-ended, once        stdin ends before that ──▶ supervisor-lost
//!  stop ──control: stop-asked──▶ what ends after that was stopped
//! ```

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Guard;
use super::attached::Heard;
use super::events::Events;
use crate::wire::event::{AgentEnded, How, Lifecycle, Note, Observation};

/// A supervisor that ends in order removes its guard within this time, and is not lost.
const GRACE: Duration = Duration::from_secs(2);

/// Messages about the end of the run so far.
#[derive(Debug, Default)]
pub(crate) struct Life {
    stop_asked: AtomicBool,
    agent_ended: AtomicBool,
}

impl Life {
    /// Writes a note down; `false` where that has to be known and cannot be. What follows a note of
    /// a signature cannot be taken back, so that its line must be out of the process first.
    pub(crate) async fn note(&self, events: &Events, note: Note) -> bool {
        if note.reason.known() == Some(&Observation::SshSigned) {
            if events.is_full() || !events.takes_lines().await {
                return false;
            }
            events.write_through(note).await;
            return true;
        }
        if note.reason.known() == Some(&Observation::StopAsked) {
            self.stop_asked.store(true, Ordering::SeqCst);
        }
        events.write(note);
        true
    }

    /// Writes down how the agent ended, by the first who says it. An agent that ended after a
    /// person asked for that was stopped.
    pub(crate) fn agent_ended(&self, events: &Events, mut ended: AgentEnded) {
        if self.agent_ended.swap(true, Ordering::SeqCst) {
            return;
        }
        let exited = ended.how.known() == Some(&How::Exited);
        if exited && self.stop_asked.load(Ordering::SeqCst) {
            ended.how = How::Stopped.into();
        }
        events.write(Lifecycle::AgentEnded(ended));
    }

    /// Writes down that nobody supervises an agent whose end nobody told of.
    fn lost(&self, events: &Events) {
        if !self.agent_ended.load(Ordering::SeqCst) {
            events
                .write(Note::new(Observation::SupervisorLost, "the supervisor has gone; the agent goes on"));
        }
    }
}

/// Listens to the supervisor until it is gone.
pub(crate) fn listen(guard: &Arc<Guard>, stdin: impl AsFd) {
    let hearing = Arc::clone(guard);
    guard.attached.watch(stdin, move |heard| match heard {
        Heard::Ended(ended) => hearing.life.agent_ended(&hearing.events, ended),
        Heard::Gone => {
            let guard = Arc::clone(&hearing);
            tokio::spawn(async move {
                tokio::time::sleep(GRACE).await;
                guard.life.lost(&guard.events);
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::events::tests::{Log, workflow};
    use super::*;

    fn ended(how: How) -> AgentEnded {
        AgentEnded { how: how.into(), exit_status: Some(143) }
    }

    fn logged() -> (Life, Events, Log) {
        let log = Log::default();
        (Life::default(), Events::new(workflow(), Box::new(log.clone())), log)
    }

    #[test]
    fn the_end_is_told_once_and_by_the_first() {
        let (life, events, log) = logged();
        life.agent_ended(&events, ended(How::TimeLimit));
        life.agent_ended(&events, ended(How::SupervisorLost));
        life.lost(&events);
        let lines = log.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!((&lines[0]["how"], &lines[0]["exit_status"]), (&"time-limit".into(), &143.into()));
    }

    #[tokio::test]
    async fn an_agent_that_ends_when_asked_was_stopped() {
        let (life, events, log) = logged();
        life.note(&events, Note::new(Observation::StopAsked, "by me")).await;
        life.agent_ended(&events, ended(How::Exited));
        let reasons: Vec<_> =
            log.lines().iter().map(|line| (line["reason"].clone(), line["how"].clone())).collect();
        assert_eq!(reasons[0].0, "stop-asked");
        assert_eq!(reasons[1], ("agent-ended".into(), "stopped".into()));
        // A limit stays one, even when a person wants the end too.
        let (life, events, log) = logged();
        life.note(&events, Note::new(Observation::StopAsked, "by me")).await;
        life.agent_ended(&events, ended(How::TimeLimit));
        assert_eq!(log.lines()[1]["how"], "time-limit");
    }

    /// A reader that takes nothing.
    struct Stuck;

    impl std::io::Write for Stuck {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::WouldBlock.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_signature_is_out_of_the_process_before_the_guard_says_so() {
        let (life, events, log) = logged();
        let signed = || Note::new(Observation::SshSigned, "a login");
        assert!(life.note(&events, signed()).await);
        assert_eq!(log.lines()[0]["reason"], "ssh-signed");
        let stuck = Events::new(workflow(), Box::new(Stuck));
        assert!(life.note(&stuck, Note::new(Observation::StopAsked, "by me")).await, "others do not wait");
        let noted = tokio::time::timeout(Duration::from_secs(3600), life.note(&stuck, signed())).await;
        assert!(noted.is_err(), "{noted:?}");
    }

    #[test]
    fn a_supervisor_that_goes_without_a_word_is_lost() {
        let (life, events, log) = logged();
        life.lost(&events);
        life.agent_ended(&events, ended(How::SupervisorLost));
        assert_eq!(log.lines()[0]["reason"], "supervisor-lost");
        assert_eq!(log.lines()[1]["how"], "supervisor-lost");
    }
}
