//! Connections that arrive at this machine's loopback, carried to the agent one by one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::reserved::Opened;
use crate::host::relay::{relay, reset};
use crate::wire::carrier::{CONVERSATIONS, Conversation, Opener};
use crate::wire::forward::{AgentPort, Answer};

/// Connections at once of one forward. One conversation more is about the forward itself.
const CONNECTIONS: usize = CONVERSATIONS - 1;
/// Time after which a socket that gave an error is asked again: this process may have too many
/// files open.
const AGAIN: Duration = Duration::from_millis(100);

/// Room for connections, shared by all ports of one forward.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Semaphore>);

impl Room {
    pub(super) fn new() -> Room {
        Room(Arc::new(Semaphore::new(CONNECTIONS)))
    }

    /// Waits until no connection is open, for a while at most.
    pub(super) async fn until_empty(&self, limit: Duration) {
        let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
        let _ = timeout(limit, self.0.acquire_many(all)).await;
    }
}

/// Carries the connections of one port until this future is dropped. Connections that are open
/// then go on.
pub(super) async fn serve(opened: Opened, opener: Opener, room: Room) {
    let Opened { agent, listeners, beside: _beside } = opened;
    let mut accepting: JoinSet<()> = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, agent, opener.clone(), room.clone()));
    }
    while accepting.join_next().await.is_some() {}
}

/// Takes connections, and waits with each until there is room for it; further ones wait in the
/// kernel.
async fn accept(listener: TcpListener, agent: AgentPort, opener: Opener, room: Room) {
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            sleep(AGAIN).await;
            continue;
        };
        let Ok(place) = Arc::clone(&room.0).acquire_owned().await else { return };
        tokio::spawn(carry(tcp, agent, opener.clone(), place));
    }
}

/// Carries one connection to its end.
async fn carry(tcp: TcpStream, agent: AgentPort, opener: Opener, place: OwnedSemaphorePermit) {
    let begun = begin(&tcp, agent, &opener).await;
    match begun {
        Ok(conversation) => _ = relay(tcp, conversation).await,
        Err(_) => reset(&tcp),
    }
    drop(place);
}

/// Has the agent's port dialled.
async fn begin(tcp: &TcpStream, agent: AgentPort, opener: &Opener) -> io::Result<Conversation> {
    tcp.set_nodelay(true)?;
    let mut conversation = opener.open().await?;
    conversation.write_u16(agent.get()).await?;
    conversation.flush().await?;
    match Answer::read(conversation.read_u8().await?) {
        Some(Answer::Connected) => Ok(conversation),
        Some(Answer::Refused) => Err(io::ErrorKind::ConnectionRefused.into()),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}
