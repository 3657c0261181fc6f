//! The guard's control socket: the one way to change what it enforces, and the agent has no path to
//! it.
//!
//! ```text
//!  `ringfence guard control` (same container, same user) ──Request, a line──▶ its turn? ─▶ live ──Answer, a line──▶
//! ```
//! It lies in the volume of fence and guard, open to the guard's user alone; who connects is asked
//! for once more. What comes over it is a person's wish, made with the engine's API, and still
//! bounded in size, number and time.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedMutexGuard, Semaphore};
use tokio::time::timeout;

use super::Guard;
use crate::wire::control::{ControlAnswer, LONGEST, Request, TURN};
use crate::wire::live_rules::LiveRules;

/// Connections at once. Each may hold a request of the longest.
const CONNECTIONS: usize = 4;
/// Time that a change waits for the one before it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers for ever.
pub(crate) async fn serve(listener: UnixListener, guard: Arc<Guard>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let own = rustix::process::geteuid().as_raw();
        if !stream.peer_cred().is_ok_and(|peer| peer.uid() == own) {
            continue;
        }
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let guard = Arc::clone(&guard);
        tokio::spawn(async move {
            // However it ends, what was made is made, and the turn is free again.
            let _ = timeout(TURN, converse(stream, &guard)).await;
            drop(permit);
        });
    }
}

/// State of one control connection.
#[derive(Default)]
struct Session {
    turn: Option<OwnedMutexGuard<()>>,
    before: Option<LiveRules>,
}

async fn converse(mut stream: UnixStream, guard: &Guard) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut session = Session::default();
    loop {
        let mut line = Vec::new();
        (&mut read).take(LONGEST).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Ok(());
        }
        let answer = match serde_json::from_slice(&line) {
            _ if line.last() != Some(&b'\n') => {
                ControlAnswer::Failed(format!("the request is no line of at most {} MiB", LONGEST >> 20))
            }
            Ok(request) => session.answer(request, guard).await,
            Err(error) => {
                ControlAnswer::Failed(format!("the guard does not understand the request: {error}"))
            }
        };
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        write.write_all(&text).await?;
        if line.last() != Some(&b'\n') {
            // The end, or no end in sight: what follows is no request.
            return Ok(());
        }
    }
}

impl Session {
    async fn answer(&mut self, request: Request, guard: &Guard) -> ControlAnswer {
        if !matches!(
            request,
            Request::State
                | Request::Noted(..)
                | Request::Ended(..)
                | Request::Host(..)
                | Request::Resolvers(..)
        ) && self.turn.is_none()
        {
            match timeout(PATIENCE, Arc::clone(&guard.live.turn).lock_owned()).await {
                Ok(turn) => self.turn = Some(turn),
                Err(_) => {
                    return ControlAnswer::Failed(
                        "somebody else is changing this workflow just now".to_owned(),
                    );
                }
            }
        }
        match request {
            Request::State => guard.live.state(guard),
            Request::Propose(change) => guard.live.propose(guard, &change),
            Request::Make(change) => {
                let (answer, before) = guard.live.make(guard, &change);
                self.before = before;
                answer
            }
            Request::Noted(note) => match guard.life.note(&guard.events, note).await {
                true => guard.live.state(guard),
                false => ControlAnswer::Failed("the log takes no more lines".to_owned()),
            },
            Request::Ended(ended) => {
                guard.life.agent_ended(&guard.events, ended);
                guard.live.state(guard)
            }
            // No person's wish: it waits for nobody's turn.
            Request::Host(network) => match network.check() {
                Ok(()) => guard.live.host(guard, network),
                Err(error) => ControlAnswer::Failed(format!("that is no machine's network: {error}")),
            },
            Request::Resolvers(servers) => guard.live.resolvers(guard, &servers),
            Request::TakeBack => match self.before.take() {
                Some(before) => guard.live.take_back(guard, before),
                None => ControlAnswer::Failed("there is nothing to take back".to_owned()),
            },
        }
    }
}
