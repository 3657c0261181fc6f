//! One connection of a forward, at the agent's end.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::host::relay::relay;
use crate::wire::carrier::Conversation;
use crate::wire::forward::{AgentPort, Answer};

/// The agent's server takes a connection within this time.
const DIALLING: Duration = Duration::from_secs(10);
/// Bytes that the kernel holds each way for a connection: the agent may send without end while
/// nobody reads.
const KERNEL_BUFFER: u32 = 128 << 10;
/// The addresses that are dialled, in this order. A server on `localhost` may have one of them.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Dials the port that a conversation names, and carries bytes to its end.
pub(super) async fn carry(mut conversation: Conversation) -> io::Result<()> {
    let port = AgentPort::try_from(conversation.read_u16().await?).map_err(io::Error::other)?;
    let Ok(server) = dial(port).await else {
        conversation.write_u8(Answer::Refused.byte()).await?;
        return conversation.shutdown().await;
    };
    conversation.write_u8(Answer::Connected.byte()).await?;
    relay(server, conversation).await
}

/// Connects to the agent's port on loopback.
async fn dial(port: AgentPort) -> io::Result<TcpStream> {
    let mut refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    for address in LOOPBACK {
        match timeout(DIALLING, connect(SocketAddr::new(address, port.get()))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => refused = error,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
    Err(refused)
}

async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_recv_buffer_size(KERNEL_BUFFER)?;
    socket.set_send_buffer_size(KERNEL_BUFFER)?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
