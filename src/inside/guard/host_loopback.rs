//! The way to servers on the loopback of the supervisor's machine: the supervisor dials them.
//!
//! ```text
//!  gate ─ permitted? ─▶ a pair of sockets in this process ═ conversation ═╗
//!  gate ─ permitted? ─▶ …                                                 ╬═ unix socket ═ `guard carry` ═ engine's exec ═ supervisor
//!                                               control: READY, beats  ═══╝                                 permitted? ─▶ 127.0.0.1:PORT
//! ```
//! Nothing listens for it where another container could connect. Without a supervisor that carries
//! there is no way, and its end ends every connection. The supervisor decides once more, by the
//! same function, so that a guard that is somebody else's reaches no other port.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use netpolicy::decide::Reason;
use netpolicy::host::HostName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::Guard;
use super::attached::Attached;
use super::gate::Refusal;
use super::limits::Limit;
use crate::host::relay::relay;
use crate::inside::exec_stream;
use crate::term::Failure;
use crate::wire::carrier::{self, Conversation, Opener};
use crate::wire::event::Kind;
use crate::wire::host_loopback::{CONNECTIONS, LoopbackAnswer, LoopbackRequest, SOCKET};
use crate::wire::upkeep::{BEAT, READY, SILENCE};

/// The supervisor answers within this time, its dial included.
const ANSWER: Duration = Duration::from_secs(15);
/// A supervisor that is attached has opened the way within this time of a permission.
const OPENING: Duration = Duration::from_secs(3);
/// The time between two looks whether it has.
const STEP: Duration = Duration::from_millis(50);

/// The way to the supervisor's loopback, while a supervisor carries it.
#[derive(Debug)]
pub(crate) struct HostLoopback {
    opener: RwLock<Option<Opener>>,
    room: Arc<Semaphore>,
}

impl Default for HostLoopback {
    fn default() -> HostLoopback {
        HostLoopback { opener: RwLock::default(), room: Arc::new(Semaphore::new(CONNECTIONS)) }
    }
}

impl HostLoopback {
    /// Connects to a permitted port of the loopback.
    pub(super) async fn connect(
        &self,
        name: &HostName,
        port: u16,
        attached: &Attached,
    ) -> Result<TcpStream, Refusal> {
        let failed = |error: String| Refusal::failed(Reason::ConnectFailed, error);
        let opener = self.opener_of(attached).await.ok_or_else(|| failed(NOBODY_CARRIES.to_owned()))?;
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            return Err(Refusal::at_limit(Kind::Connect, Limit::Loopback));
        };
        let request = LoopbackRequest { name: name.clone(), port };
        let begun = timeout(ANSWER, begin(&opener, &request)).await;
        let conversation = match begun.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok((conversation, LoopbackAnswer::Connected)) => conversation,
            Ok((_, answer)) => return Err(failed(in_words(answer, port))),
            Err(error) => return Err(failed(format!("the supervisor does not answer: {error}"))),
        };
        let (near, far) = pair().await.map_err(|error| failed(error.to_string()))?;
        tokio::spawn(async move {
            // A break of either side is a reset of the other.
            let _ = relay(far, conversation).await;
            drop(place);
        });
        Ok(near)
    }

    /// Returns the way. A supervisor that is there opens it shortly after the first permission.
    async fn opener_of(&self, attached: &Attached) -> Option<Opener> {
        let began = Instant::now();
        loop {
            let opener = self.opener.read().unwrap_or_else(PoisonError::into_inner).clone();
            let may_come = attached.now() == Some(true) && began.elapsed() < OPENING;
            if opener.is_some() || !may_come {
                return opener;
            }
            sleep(STEP).await;
        }
    }
}

const NOBODY_CARRIES: &str = "no supervisor carries connections to the loopback of its machine: it has ended, \
     cannot reach the guard (it warns of that), or runs on another machine than the one where this was permitted";

fn in_words(answer: LoopbackAnswer, port: u16) -> String {
    match answer {
        LoopbackAnswer::Connected => "connected".to_owned(),
        LoopbackAnswer::Refused => {
            format!("refused: nothing listens on port {port} of the loopback of the supervisor's machine")
        }
        LoopbackAnswer::NotPermitted => {
            "the supervisor does not know of this permission: give it on the machine on which the run was started"
                .to_owned()
        }
        LoopbackAnswer::CannotTell => {
            "the supervisor cannot read what was changed of this run on its machine, so it carries nothing: start a new run there"
                .to_owned()
        }
        LoopbackAnswer::Full => "the supervisor carries as many connections as it can".to_owned(),
    }
}

/// Asks the supervisor for a connection.
async fn begin(opener: &Opener, request: &LoopbackRequest) -> io::Result<(Conversation, LoopbackAnswer)> {
    let mut conversation = opener.open().await?;
    request.write(&mut conversation).await?;
    let answer = LoopbackAnswer::read(conversation.read_u8().await?);
    answer.map(|answer| (conversation, answer)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Makes two connected sockets of this process, with the ends and resets of TCP. Nobody else is in
/// this network namespace, whose loopback no other container reaches; a stranger would be noticed.
async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (near, (far, from)) =
        tokio::try_join!(TcpStream::connect(listener.local_addr()?), listener.accept())?;
    if near.local_addr()? != from {
        return Err(io::Error::other("another program came in between"));
    }
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    Ok((near, far))
}

/// Waits for supervisors that carry, for ever. The latest one counts.
pub(super) async fn serve(listener: UnixListener, guard: Arc<Guard>) {
    let mut serving = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let own = rustix::process::geteuid().as_raw();
        if !stream.peer_cred().is_ok_and(|peer| peer.uid() == own) {
            continue;
        }
        serving.shutdown().await;
        serving.spawn(attend(stream, Arc::clone(&guard)));
    }
}

/// Lets connections go by a supervisor, until it ends or falls silent.
async fn attend(stream: UnixStream, guard: Arc<Guard>) {
    let (opener, driver) = carrier::opening(stream);
    let _closed = Closing(&guard.host_loopback);
    tokio::select! {
        _ = driver => {}
        _ = hold(opener, &guard.host_loopback) => {}
    }
}

/// Closes the way when it is dropped.
struct Closing<'g>(&'g HostLoopback);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        *self.0.opener.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Opens the way, and keeps it open while the supervisor says that it lives.
async fn hold(opener: Opener, way: &HostLoopback) -> io::Result<()> {
    let mut control = opener.open().await?;
    control.write_u8(READY).await?;
    control.flush().await?;
    *way.opener.write().unwrap_or_else(PoisonError::into_inner) = Some(opener);
    while timeout(SILENCE, control.read_u8()).await?? == BEAT {}
    Ok(())
}

/// Runs `ringfence guard carry`, inside the guard's container: carries the supervisor's bytes to
/// the guard and the guard's to the supervisor, until one of them ends.
pub(crate) fn carry() -> Result<(), Failure> {
    let failed = |doing: &str, error: &io::Error| Failure::new(1, format!("carry: {doing}")).caused_by(error);
    let carried = exec_stream::block_on(async {
        let guard = UnixStream::connect(SOCKET).await;
        let (mut from, mut to) = guard.map_err(|error| failed("no guard answers here", &error))?.into_split();
        let mut output =
            exec_stream::output().map_err(|error| failed("cannot write to the supervisor", &error))?;
        let mut input = exec_stream::input();
        tokio::select! {
            ended = tokio::io::copy(&mut input, &mut to) => ended,
            ended = tokio::io::copy(&mut from, &mut output) => ended,
        }
        .map_err(|error| failed("the stream to the supervisor is broken", &error))
    });
    carried.map_err(|error| failed("cannot start the runtime", &error))?.map(drop)
}

#[cfg(test)]
mod tests;
