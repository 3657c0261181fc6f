//! Connections that the guard asks for, one by one.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::permissions::Denial;
use super::{LOOK, Permissions};
use crate::host::relay::relay_until;
use crate::wire::carrier::Conversation;
use crate::wire::host_loopback::{LoopbackAnswer, LoopbackRequest};

/// The guard says what it wants within this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// A server on the loopback takes a connection within this time.
const DIALLING: Duration = Duration::from_secs(5);

/// Decides about one connection, and carries it to its end, or until it is permitted no more.
pub(super) async fn carry(
    mut conversation: Conversation,
    permissions: &Permissions,
    is_full: bool,
) -> io::Result<()> {
    let request = timeout(PATIENCE, LoopbackRequest::read(&mut conversation)).await??;
    let server = match (is_full, permissions.addresses(&request)) {
        (true, _) => Err(LoopbackAnswer::Full),
        (false, Err(Denial::CannotTell)) => Err(LoopbackAnswer::CannotTell),
        (false, Err(Denial::NotPermitted)) => Err(LoopbackAnswer::NotPermitted),
        (false, Ok(addresses)) => dial(addresses, request.port).await.map_err(|_| LoopbackAnswer::Refused),
    };
    let answer = server.as_ref().err().copied().unwrap_or(LoopbackAnswer::Connected);
    conversation.write_u8(answer.byte()).await?;
    conversation.flush().await?;
    match server {
        Ok(server) => relay_until(server, conversation, revoked(permissions, &request)).await,
        Err(_) => conversation.shutdown().await,
    }
}

/// Waits until a connection is permitted no more. The guard ends it by itself, unless the guard is
/// somebody else's.
async fn revoked(permissions: &Permissions, request: &LoopbackRequest) {
    let mut unknown = 0;
    loop {
        match permissions.addresses(request) {
            Ok(_) => unknown = 0,
            Err(Denial::NotPermitted) => return,
            // A change may be half written just now.
            Err(Denial::CannotTell) if unknown == 0 => unknown = 1,
            Err(Denial::CannotTell) => return,
        }
        sleep(LOOK).await;
    }
}

/// Connects to a port of this machine's loopback, at the addresses that were decided about.
async fn dial(addresses: Vec<IpAddr>, port: u16) -> io::Result<TcpStream> {
    let mut refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    for address in addresses {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use netpolicy::host::HostName;
    use netpolicy::load::rule_from_command_line;
    use netpolicy::policy::Policy;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, UnixStream};
    use tokio::task::JoinSet;

    use super::*;
    use crate::wire::WorkflowId;
    use crate::wire::carrier;

    #[tokio::test]
    async fn what_is_denied_ends_though_the_guard_holds_on_to_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let rule = |flag, text: &str| Arc::new(rule_from_command_line(flag, text).unwrap());
        let allow = format!("host.docker.internal:{port}/loopback");
        let mut policy = Policy { allow: vec![rule("--allow", &allow)], ..Policy::nothing() };
        let permissions = Permissions::new(WorkflowId::random().unwrap(), policy.clone());

        let (near, far) = UnixStream::pair().unwrap();
        let (opener, driver) = carrier::opening(near);
        let (mut accepted, far_driver) = carrier::accepting(far);
        let mut driving = JoinSet::new();
        driving.spawn(driver);
        driving.spawn(far_driver);
        let carrying = permissions.clone();
        let carried = tokio::spawn(async move {
            let conversation = accepted.next().await.unwrap();
            carry(conversation, &carrying, false).await
        });

        let mut guard = opener.open().await.unwrap();
        let request = LoopbackRequest { name: HostName::parse("host.docker.internal").unwrap(), port };
        request.write(&mut guard).await.unwrap();
        assert_eq!(guard.read_u8().await.unwrap(), LoopbackAnswer::Connected.byte());
        let (mut server, _) = listener.accept().await.unwrap();
        // The control: it lasts for longer than the time between two looks.
        sleep(LOOK * 2).await;
        guard.write_all(b"ask").await.unwrap();
        guard.flush().await.unwrap();
        server.read_exact(&mut [0; 3]).await.unwrap();

        policy.deny.push(rule("--deny", "host.docker.internal"));
        permissions.replace(policy);
        let seen = timeout(LOOK * 10, server.read_u8()).await.expect("it ends");
        assert_eq!(seen.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(carried.await.unwrap().is_err());
        assert!(guard.read_u8().await.is_err(), "the guard's side ends too");
    }
}
