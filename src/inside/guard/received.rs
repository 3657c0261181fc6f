//! The sockets of the fence, as they come over the unix socket.
//!
//! ```text
//!  fence ──one JSON line + descriptors (SCM_RIGHTS)──▶ counted, each looked at ──▶ Sockets
//! ```

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketType, netlink, recvmsg,
    sockopt,
};

use crate::wire::handover::{HandedSocket, Handover};

/// The longest line that is read.
const LINE: usize = 4096;
/// Time limit for the line.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sockets that the guard serves on; all of them live in the fence.
pub(crate) struct Sockets {
    /// Permitted connections.
    pub(crate) gate: TcpListener,
    /// DNS over TCP.
    pub(crate) dns_tcp: TcpListener,
    /// DNS over UDP.
    pub(crate) dns_udp: UdpSocket,
    /// Copies of refused packets, where the kernel has them.
    pub(crate) nflog: Option<OwnedFd>,
}

/// Reason for which a handover is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandedError {
    /// The connection failed.
    #[error("cannot read the handover")]
    Read(#[from] io::Error),
    /// The line is not one.
    #[error("the handover's line cannot be understood")]
    Line(#[from] serde_json::Error),
    /// The connection ended before the line did, or the line is too long.
    #[error("the handover is not one short line")]
    NoLine,
    /// Another version.
    #[error("the handover has version {0}, not 1")]
    Version(u8),
    /// Names and descriptors do not match.
    #[error("{said} sockets announced, {came} came")]
    Count {
        /// Names in the line.
        said: usize,
        /// Descriptors beside it.
        came: usize,
    },
    /// A socket is not what it is called.
    #[error("the socket {0:?} is not of its kind")]
    Kind(HandedSocket),
    /// A socket came twice or not at all.
    #[error("the socket {0:?} did not come exactly once")]
    Missing(HandedSocket),
}

/// Reads one handover. On any doubt every descriptor that came is closed.
pub(crate) fn receive(stream: &UnixStream) -> Result<Sockets, HandedError> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let until = Instant::now() + PATIENCE;
    let mut line: Vec<u8> = Vec::new();
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    while !line.contains(&b'\n') {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = [0; LINE];
        let received =
            recvmsg(stream, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
                .map_err(io::Error::from)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(came) = message {
                descriptors.extend(came);
            }
        }
        line.extend_from_slice(&buffer[..received.bytes]);
        if received.bytes == 0 || line.len() > LINE || Instant::now() > until {
            return Err(HandedError::NoLine);
        }
    }
    stream.set_read_timeout(None)?;
    sort(&serde_json::from_slice(&line)?, descriptors)
}

/// Gives each descriptor its role, after a look at it.
fn sort(handover: &Handover, descriptors: Vec<OwnedFd>) -> Result<Sockets, HandedError> {
    if handover.v != 1 {
        return Err(HandedError::Version(handover.v));
    }
    if handover.sockets.len() != descriptors.len() {
        return Err(HandedError::Count { said: handover.sockets.len(), came: descriptors.len() });
    }
    let (mut gate, mut dns_tcp, mut dns_udp, mut nflog) = (None, None, None, None);
    for (&role, descriptor) in handover.sockets.iter().zip(descriptors) {
        if !is(role, &descriptor).unwrap_or(false) {
            return Err(HandedError::Kind(role));
        }
        let place = match role {
            HandedSocket::Gate => &mut gate,
            HandedSocket::DnsTcp => &mut dns_tcp,
            HandedSocket::DnsUdp => &mut dns_udp,
            HandedSocket::Nflog => &mut nflog,
        };
        if place.replace(descriptor).is_some() {
            return Err(HandedError::Missing(role));
        }
    }
    let must = |role, socket: Option<OwnedFd>| socket.ok_or(HandedError::Missing(role));
    let sockets = Sockets {
        gate: must(HandedSocket::Gate, gate)?.into(),
        dns_tcp: must(HandedSocket::DnsTcp, dns_tcp)?.into(),
        dns_udp: must(HandedSocket::DnsUdp, dns_udp)?.into(),
        nflog,
    };
    sockets.gate.set_nonblocking(true)?;
    sockets.dns_tcp.set_nonblocking(true)?;
    sockets.dns_udp.set_nonblocking(true)?;
    Ok(sockets)
}

/// Tells whether a descriptor is the kind of socket that its role says.
fn is(role: HandedSocket, descriptor: &OwnedFd) -> rustix::io::Result<bool> {
    let family = sockopt::socket_domain(descriptor)?;
    let kind = sockopt::socket_type(descriptor)?;
    Ok(match role {
        HandedSocket::Gate | HandedSocket::DnsTcp => {
            family == AddressFamily::INET
                && kind == SocketType::STREAM
                && sockopt::socket_acceptconn(descriptor)?
        }
        HandedSocket::DnsUdp => family == AddressFamily::INET && kind == SocketType::DGRAM,
        HandedSocket::Nflog => {
            family == AddressFamily::NETLINK
                && sockopt::socket_protocol(descriptor)? == Some(netlink::NETFILTER)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, Write};
    use std::os::fd::AsFd;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;

    /// Sends a line with sockets and reads it back.
    fn through(line: &str, sockets: &[&dyn AsFd]) -> Result<Sockets, HandedError> {
        let (here, there) = UnixStream::pair().unwrap();
        let fds: Vec<_> = sockets.iter().map(|socket| socket.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        let (first, rest) = line.as_bytes().split_at(line.len() / 2);
        sendmsg(&here, &[IoSlice::new(first)], &mut control, SendFlags::empty()).unwrap();
        (&here).write_all(rest).unwrap();
        drop(here);
        receive(&there)
    }

    fn tcp() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    fn udp() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    const LINE3: &str = "{\"v\":1,\"own\":\"198.18.0.2\",\"sockets\":[\"gate\",\"dns-tcp\",\"dns-udp\"]}\n";

    #[test]
    fn sockets_arrive_in_their_roles() {
        let (gate, dns) = (tcp(), tcp());
        let sockets = through(LINE3, &[&gate, &dns, &udp()]).unwrap();
        assert_eq!(sockets.gate.local_addr().unwrap(), gate.local_addr().unwrap());
        assert_eq!(sockets.dns_tcp.local_addr().unwrap(), dns.local_addr().unwrap());
        assert!(sockets.nflog.is_none());
    }

    #[test]
    fn doubtful_handovers_are_refused() {
        assert!(matches!(through(LINE3, &[&tcp(), &tcp()]), Err(HandedError::Count { said: 3, came: 2 })));
        assert!(matches!(through(LINE3, &[&tcp(), &udp(), &udp()]), Err(HandedError::Kind(_))));
        assert!(matches!(through(LINE3, &[&tcp(), &tcp(), &udp(), &udp()]), Err(HandedError::Count { .. })));
        let twice = LINE3.replace("dns-tcp", "gate");
        assert!(matches!(through(&twice, &[&tcp(), &tcp(), &udp()]), Err(HandedError::Missing(_))));
        let later = LINE3.replace("\"v\":1", "\"v\":2");
        assert!(matches!(through(&later, &[&tcp(), &tcp(), &udp()]), Err(HandedError::Version(2))));
        assert!(matches!(through("{}\n", &[&tcp()]), Err(HandedError::Line(_))));
        assert!(matches!(through("no line", &[&tcp()]), Err(HandedError::NoLine)));
    }
}
