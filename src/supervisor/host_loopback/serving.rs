//! One stream to the guard, and the connections that come by it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::Permissions;
use crate::host::relay::relay;
use crate::supervisor::engine::Engine;
use crate::supervisor::exec_stream;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::carrier::{self, Accepted, CarrierError, Conversation};
use crate::wire::host_loopback::{BEAT, BEATS, CONNECTIONS, LoopbackAnswer, LoopbackRequest, READY};

/// The guard is ready within this time, and says what it wants within this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// A server on the loopback takes a connection within this time.
const DIALLING: Duration = Duration::from_secs(5);
/// The addresses that are dialled, in this order. A server on `localhost` may have one of them.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// A stream by which the guard opens conversations.
#[derive(Debug)]
pub(super) struct Carrier {
    accepted: Accepted,
    control: Conversation,
    driving: JoinSet<Result<(), CarrierError>>,
}

impl Carrier {
    /// Starts the program in the guard's container, and waits until the guard takes connections.
    ///
    /// # Errors
    /// When the engine does not start it, or the guard does not answer.
    pub(super) async fn open(engine: &Engine, guard: &str) -> Result<Carrier, Failure> {
        let what = "the carrying of connections to this machine's loopback";
        let (program, stream) = exec_stream::open(engine, guard, ["guard", "carry"], None, what).await?;
        let (mut accepted, driver) = carrier::accepting(stream);
        let mut driving = JoinSet::new();
        driving.spawn(driver);
        match timeout(PATIENCE, greeting(&mut accepted)).await {
            Ok(Ok(control)) => Ok(Carrier { accepted, control, driving }),
            _ => {
                let what = format!("the guard does not take {what}");
                let mut failure = Failure::new(COULD_NOT_RUN, what);
                failure.causes.extend(program.said.all());
                Err(failure)
            }
        }
    }

    /// Serves until the guard, or the stream to it, is gone. Every connection ends then.
    pub(super) async fn serve(self, permissions: &Permissions) {
        let Carrier { mut accepted, mut control, mut driving } = self;
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut beats = interval(BEATS);
        loop {
            tokio::select! {
                _ = driving.join_next() => return,
                _ = beats.tick() => {
                    let beaten = async { control.write_u8(BEAT).await?; control.flush().await };
                    if timeout(PATIENCE, beaten).await.is_err() {
                        return;
                    }
                }
                Some(_) = connections.join_next() => {}
                conversation = accepted.next() => {
                    let Some(conversation) = conversation else { return };
                    let place = Arc::clone(&room).try_acquire_owned().ok();
                    let permissions = permissions.clone();
                    connections.spawn(async move {
                        let _ = carry(conversation, &permissions, place.is_none()).await;
                        drop(place);
                    });
                }
            }
        }
    }
}

/// Takes the first conversation, by which the guard says that it is ready.
async fn greeting(accepted: &mut Accepted) -> io::Result<Conversation> {
    let mut control = accepted.next().await.ok_or(io::ErrorKind::UnexpectedEof)?;
    match control.read_u8().await? {
        READY => Ok(control),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Decides about one connection, and carries it to its end.
async fn carry(mut conversation: Conversation, permissions: &Permissions, is_full: bool) -> io::Result<()> {
    let request = timeout(PATIENCE, LoopbackRequest::read(&mut conversation)).await??;
    let server = match (is_full, permissions.permits(&request)) {
        (true, _) => Err(LoopbackAnswer::Full),
        (false, false) => Err(LoopbackAnswer::NotPermitted),
        (false, true) => dial(request.port).await.map_err(|_| LoopbackAnswer::Refused),
    };
    let answer = server.as_ref().err().copied().unwrap_or(LoopbackAnswer::Connected);
    conversation.write_u8(answer.byte()).await?;
    conversation.flush().await?;
    match server {
        Ok(server) => relay(server, conversation).await,
        Err(_) => conversation.shutdown().await,
    }
}

/// Connects to a port of this machine's loopback.
async fn dial(port: u16) -> io::Result<TcpStream> {
    let mut refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    for address in LOOPBACK {
        match timeout(DIALLING, TcpStream::connect(SocketAddr::new(address, port))).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => refused = error,
            Err(_) => refused = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(refused)
}
