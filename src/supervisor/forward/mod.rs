//! Forwards: connections from this machine's loopback to ports of the agent.
//!
//! ```text
//!  browser ─▶ 127.0.0.1:LOCAL ─▶ serving ═╗                          ╔═▶ helper ─▶ 127.0.0.1:PORT of the agent
//!  browser ─▶ [::1]:LOCAL ─────▶ serving ═╬═ carrier, by engine's exec ═╬═▶ helper ─▶ …
//!                                  control ─╝  beats, questions         ╚═▶ helper
//! ```
//! Nothing is published on the engine, and the agent has no way out by it: the helper opens no
//! conversation. Each port is in the decision log before it is opened.

mod auto;
mod helper;
mod mapping;
mod reserved;
mod serving;

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::interval;

use self::auto::Auto;
use self::helper::{Control, Helper};
pub(crate) use self::mapping::{Loopback, Mapping, Publish};
pub(crate) use self::reserved::{Reserved, reserve, reserve_whole};
use self::serving::{Room, serve};
use crate::host::account;
use crate::supervisor::engine::Engine;
use crate::supervisor::exec_stream;
use crate::supervisor::live;
use crate::supervisor::spec::workflow::Helpers;
use crate::term::Failure;
use crate::wire::event::Observation;
use crate::wire::forward::BEATS;

/// Last bytes of an agent that has ended arrive within this time.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// Ports that a run is asked to forward, taken on this machine.
#[derive(Debug, Default)]
pub(crate) struct ForwardRequest {
    /// The ports.
    pub(crate) ports: Vec<Reserved>,
    /// Tells whether whatever the agent listens on is forwarded too.
    pub(crate) auto: bool,
    /// Tells whether the agent has the screen, so that nothing is said while it works.
    pub(crate) silent: bool,
}

impl ForwardRequest {
    /// Takes the ports that a command line asks for.
    ///
    /// # Errors
    /// When one is in use, is not this user's to take, or is asked for twice.
    pub(crate) fn take(publish: &[Publish], silent: bool) -> Result<ForwardRequest, Failure> {
        let one = |publish: &Publish| match publish {
            Publish::One(mapping) => Some(*mapping),
            Publish::Auto => None,
        };
        let mappings: Vec<Mapping> = publish.iter().filter_map(one).collect();
        let auto = publish.contains(&Publish::Auto);
        Ok(ForwardRequest { ports: reserve(&mappings)?, auto, silent })
    }

    /// Tells whether nothing is to be forwarded.
    pub(crate) fn is_empty(&self) -> bool {
        self.ports.is_empty() && !self.auto
    }
}

/// Forwards of one run, as long as this value lives.
#[derive(Debug)]
pub(crate) struct Forwarding {
    exec: String,
    tasks: JoinSet<()>,
    room: Room,
    lost: Option<Lost>,
}

/// Word that the forwards are lost, and why.
pub(crate) type Lost = oneshot::Receiver<Failure>;

impl Forwarding {
    /// Starts a helper, has the guard write down what is forwarded, and opens the ports.
    ///
    /// # Errors
    /// When one of these fails; nothing is forwarded then.
    pub(crate) async fn begin(
        engine: &Engine,
        to: &Helpers,
        request: ForwardRequest,
    ) -> Result<Forwarding, Failure> {
        let ForwardRequest { ports, auto, silent } = request;
        let leave = ports.iter().map(|port| port.agent).collect();
        let notes = ports.iter().map(|port| (Observation::Forward, in_words(port))).collect();
        let (helper, ()) = tokio::try_join!(Helper::start(engine, &to.fence), live::note(engine, to, notes))?;
        let opened: Result<Vec<_>, Failure> = ports.into_iter().map(Reserved::listen).collect();
        let Helper { opener, control, mut line } = helper;
        let (room, mut tasks) = (Room::new(), JoinSet::new());
        for port in opened? {
            tasks.spawn(serve(port, opener.clone(), room.clone()));
        }
        match auto {
            true => {
                let (engine, helpers) = (engine.clone(), to.clone());
                let auto = Auto { engine, helpers, opener, room: room.clone(), leave, speaks: !silent };
                tasks.spawn(auto.follow(control));
            }
            false => _ = tasks.spawn(keep(control)),
        }
        let (exec, (tell, lost)) = (line.program.exec.clone(), oneshot::channel());
        tasks.spawn(async move {
            // Nobody may be left to hear it.
            let _ = tell.send(line.until_lost().await);
        });
        Ok(Forwarding { exec, tasks, room, lost: Some(lost) })
    }

    /// Takes the word that comes when the forwards are lost; once.
    pub(crate) fn take_lost(&mut self) -> Option<Lost> {
        self.lost.take()
    }

    /// Lets the last bytes of an agent that has ended arrive.
    pub(crate) async fn drain(&self) {
        self.room.until_empty(LAST_BYTES).await;
    }

    /// Ends the forwards, and waits until the helper is gone.
    pub(crate) async fn end(mut self, engine: &Engine) {
        self.tasks.shutdown().await;
        exec_stream::until_gone(engine, &self.exec).await;
    }
}

/// Waits until forwards are lost, and says why. Forwards that were ended are not lost.
pub(crate) async fn until_lost(lost: Option<Lost>) -> Failure {
    let said = match lost {
        Some(lost) => lost.await.ok(),
        None => None,
    };
    match said {
        Some(failure) => failure,
        None => std::future::pending().await,
    }
}

/// Says again and again that this supervisor lives. A helper that does not listen is lost, which
/// the carrier notices.
async fn keep(mut control: Control) {
    let mut beats = interval(BEATS);
    loop {
        beats.tick().await;
        if control.beat().await.is_err() {
            return;
        }
    }
}

/// Says for the log what is forwarded, and for whom.
fn in_words(port: &Reserved) -> String {
    format!("{} to the agent's port {}, for {}", port.shown(), port.agent, account::caller_in_words())
}
