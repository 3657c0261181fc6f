//! The sockets that the guard serves, opened where the agent is.
//!
//! ```text
//!  open ─▶ (proof) ─▶ forget_the_proof ─▶ handed over ─▶ shut, while no guard is there ─▶ open again ─▶ handed over …
//! ```
//!
//! The fence keeps a copy of each for as long as it lives: a closed port would be free for the
//! agent to take, a shut one is not. For the same reason `SO_REUSEADDR` is on only while a socket
//! listens: the kernel shares a port between two such sockets as long as neither listens. (It must
//! be on then: connections of a dead guard linger on the port.)

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use netlink_packet_netfilter::nflog::{ConfigCmd, ConfigFlags, ConfigMode, ConfigNla, ULogMessage};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netpolicy::ruleset::{DNS_PORT, GATE_PORT, NFLOG_GROUP, NFLOG_REST};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, Shutdown, SockFlag, SockProtocol, SockType, SockaddrIn, bind, connect,
    listen, recv, setsockopt, shutdown, socket, sockopt,
};

use super::failed;
use crate::host::netlink::Netlink;
use crate::inside::output;
use crate::term::Failure;
use crate::wire::handover::HandedSocket;

/// Connections that may wait while the guard is busy; the kernel's `somaxconn` bounds it further.
const BACKLOG: i32 = 4096;
/// Bytes that the log keeps of each refused packet: enough for its addresses and ports.
const LOGGED: u32 = 128;
/// Packets beyond the rate that are told of together.
const BATCH: u32 = 64;
/// Room for logged packets and for questions that wait. More is dropped by the kernel, and counted.
const WAITING: usize = 1 << 20;
/// Address at which nothing listens.
const DEAD: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);

/// The sockets, held.
pub(crate) struct FenceSockets {
    /// TCP: permitted connections.
    pub(crate) gate: OwnedFd,
    /// TCP: port 53.
    pub(crate) dns_tcp: OwnedFd,
    /// UDP: port 53.
    pub(crate) dns_udp: OwnedFd,
    /// Refused packets, where the kernel can log them.
    pub(crate) nflog: Option<OwnedFd>,
}

/// Opens them all. Only the log may be missing.
pub(crate) fn open() -> Result<FenceSockets, Failure> {
    let at = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let opened = |port| failed::<io::Error>(format!("cannot open {}", at(port)));
    let nflog = match log() {
        Ok(fd) => Some(fd),
        Err(error) => {
            output::complain("fence", format_args!("refused packets cannot be logged: {error}"));
            None
        }
    };
    Ok(FenceSockets {
        gate: listening(at(GATE_PORT)).map_err(opened(GATE_PORT))?,
        dns_tcp: listening(at(DNS_PORT)).map_err(opened(DNS_PORT))?,
        dns_udp: datagrams(at(DNS_PORT)).map_err(opened(DNS_PORT))?,
        nflog,
    })
}

fn listening(at: SocketAddrV4) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(at))?;
    start_listening(&fd)?;
    Ok(fd)
}

fn start_listening(fd: &OwnedFd) -> io::Result<()> {
    setsockopt(fd, sockopt::ReuseAddr, &true)?;
    listen(fd, Backlog::new(BACKLOG)?)?;
    Ok(())
}

fn datagrams(at: SocketAddrV4) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&fd, sockopt::RcvBuf, &WAITING)?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(at))?;
    Ok(fd)
}

/// Binds the log groups: the start of each refused packet, sent at once; and of those beyond the
/// rate, many together. They are numbered, so that what gets lost on the way can be counted.
fn log() -> io::Result<OwnedFd> {
    let netlink = Netlink::open(SockProtocol::NetlinkNetFilter)?;
    for (group, together) in [(NFLOG_GROUP, 1), (NFLOG_REST, BATCH)] {
        let wishes = vec![
            ConfigNla::Cmd(ConfigCmd::Bind),
            ConfigNla::Mode(ConfigMode::new_packet(LOGGED)),
            ConfigNla::QThresh(together),
            ConfigNla::Flags(ConfigFlags::SEQ),
        ];
        let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, group);
        netlink.ask(NetfilterMessage::new(header, ULogMessage::Config(wishes)), 0)?;
    }
    let fd = netlink.into_fd();
    setsockopt(&fd, sockopt::RcvBuf, &WAITING)?;
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(fd)
}

impl FenceSockets {
    /// Returns the sockets to hand over, in the order of the line that goes with them.
    pub(crate) fn handed(&self) -> Vec<(HandedSocket, BorrowedFd<'_>)> {
        let mut handed = vec![
            (HandedSocket::Gate, self.gate.as_fd()),
            (HandedSocket::DnsTcp, self.dns_tcp.as_fd()),
            (HandedSocket::DnsUdp, self.dns_udp.as_fd()),
        ];
        handed.extend(self.nflog.as_ref().map(|fd| (HandedSocket::Nflog, fd.as_fd())));
        handed
    }

    /// Throws away what the proof left behind, so that the guard reports only what the agent did.
    pub(super) fn forget_the_proof(&self) {
        for listener in [&self.gate, &self.dns_tcp] {
            while rustix::net::accept(listener).is_ok() {}
        }
        drain(&self.dns_udp);
        if let Some(nflog) = &self.nflog {
            drain(nflog);
        }
    }

    /// Refuses at once, with the ports still taken.
    pub(super) fn shut(&self) -> Result<(), Failure> {
        let shut = || -> nix::Result<()> {
            for listener in [&self.gate, &self.dns_tcp] {
                match shutdown(listener.as_raw_fd(), Shutdown::Both) {
                    // Was shut already.
                    Ok(()) | Err(Errno::ENOTCONN) => {}
                    Err(errno) => return Err(errno),
                }
                setsockopt(listener, sockopt::ReuseAddr, &false)?;
            }
            connect(self.dns_udp.as_raw_fd(), &SockaddrIn::from(DEAD))
        };
        shut().map_err(failed("cannot shut the sockets that the guard left"))
    }

    /// Takes connections and questions again, none of those that came meanwhile.
    pub(super) fn open_again(&self) -> Result<(), Failure> {
        let again = || -> io::Result<()> {
            drain(&self.dns_udp);
            rustix::net::connect_unspec(&self.dns_udp)?;
            start_listening(&self.gate)?;
            start_listening(&self.dns_tcp)
        };
        again().map_err(failed("cannot open the sockets again"))
    }
}

/// Reads until nothing is left. An overrun of the log is one more thing to forget.
fn drain(fd: &OwnedFd) {
    let mut unread = [0; 512];
    loop {
        match recv(fd.as_raw_fd(), &mut unread, MsgFlags::MSG_DONTWAIT) {
            Ok(_) | Err(Errno::ENOBUFS | Errno::ECONNREFUSED | Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}
