//! Work that a key asks for: the code of `ringfence allow` and `ringfence stop`, on a thread of
//! its own, so that the view goes on. One at a time; a view that ends waits for it.

use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::commands::{live, on_engine, stop};
use crate::dashboard::{Effect, Message};
use crate::supervisor::signals::Signals;
use crate::term::{COULD_NOT_RUN, Failure};

/// Work, and the way to tell its outcome.
pub(super) struct Work {
    engine_host: Option<String>,
    send: mpsc::Sender<Message>,
    under_way: Option<oneshot::Receiver<String>>,
}

impl Work {
    pub(super) fn new(engine_host: Option<&str>, send: mpsc::Sender<Message>) -> Work {
        Work { engine_host: engine_host.map(str::to_owned), send, under_way: None }
    }

    /// Returns the way to send news to the view.
    pub(super) fn news(&self) -> mpsc::Sender<Message> {
        self.send.clone()
    }

    /// Begins a work.
    pub(super) fn begin(&mut self, effect: &Effect) {
        let (engine, effect, send) = (self.engine_host.clone(), effect.clone(), self.send.clone());
        let (done, under_way) = oneshot::channel();
        self.under_way = Some(under_way);
        let work = move || {
            let (title, outcome) = carry_out(engine.as_deref(), &effect);
            let text = outcome.unwrap_or_else(|failure| failure.to_string());
            // The view shows it, or has ended and reads it from `finish`.
            let _ = send.blocking_send(Message::Answered { title, text: text.clone() });
            let _ = done.send(text);
        };
        if let Err(error) = thread::Builder::new().name("work".to_owned()).spawn(work) {
            let text = Failure::new(COULD_NOT_RUN, "cannot begin").caused_by(&error).to_string();
            self.under_way = None;
            // There is room but where news flood the view, which then goes on without this.
            let _ = self.send.try_send(Message::Answered { title: "not done".to_owned(), text });
        }
    }

    /// Notes that the view has shown the outcome.
    pub(super) fn told(&mut self) {
        self.under_way = None;
    }

    /// Waits for work whose outcome the view has not shown, and tells it. A signal ends the wait:
    /// what the work had begun, `ringfence gc` ends.
    pub(super) async fn finish(&mut self, signals: &mut Signals) {
        let Some(mut under_way) = self.under_way.take() else { return };
        crate::term::talk("waiting for the work that was begun; Ctrl-C leaves it");
        tokio::select! {
            _ = signals.next() => {}
            outcome = &mut under_way => {
                if let Ok(text) = outcome {
                    crate::term::essential_lines(text);
                }
            }
        }
    }
}

/// Does what was asked for; the title of the answer, and the answer.
fn carry_out(engine_host: Option<&str>, effect: &Effect) -> (String, Result<String, Failure>) {
    match effect {
        Effect::Permit { id, host } => {
            (format!("allow {host}"), on_engine(live::permit(engine_host, &id.to_string(), host)))
        }
        Effect::Stop { id } => {
            let stopped = on_engine(stop::stop_one(engine_host, *id));
            (
                format!("stop {id}"),
                stopped.map(|()| format!("{id} is stopped, and what was its own is removed")),
            )
        }
        Effect::Redraw | Effect::Quit => (String::new(), Ok(String::new())),
    }
}
