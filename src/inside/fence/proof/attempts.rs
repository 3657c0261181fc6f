//! Ways out that are tried, each with the refusal that it must meet, and the controls beside them.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use netpolicy::ruleset::{DNS_PORT, GATE_PORT, Permit};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, connect, getsockopt,
    recv, recvfrom, send, sendto, setsockopt, socket, sockopt,
};
use rustix::net::SendFlags;

use crate::inside::fence::device::END;
use crate::inside::fence::links::Surroundings;
use crate::inside::fence::sockets::FenceSockets;

/// An address of nobody's that stands for the internet, and one for a name server out there.
pub(super) const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

const FOREIGN_DNS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 9), 53);

/// Docker's resolver, inside the namespace.
const ENGINE_DNS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

const DATAGRAM: &[u8] = b"ringfence: proof of the fence";

/// A refusal takes microseconds; this is for a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(2);

/// Outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The packet went out, or got an answer.
    Passed,
    /// No answer came.
    Silence,
    /// The kernel said no.
    Refused(Errno),
}

/// Outcome that an attempt must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// A reset, at once: programs must not hang.
    Reset,
    /// `EPERM`: only a rule says that, so this shows that the rules are there.
    ForbiddenByRule,
    /// Any refusal of the kernel: the rules', or that it has no such way.
    Denied,
    /// No connection; with a device named the reset cannot find its socket, so silence is good too.
    NoConnection,
    /// The packet arrives: a control.
    Reached,
}

/// One attempt, judged.
pub(super) struct Attempt {
    pub(super) name: String,
    pub(super) expect: Expect,
    pub(super) outcome: Outcome,
}

impl Attempt {
    pub(super) fn doubt(&self) -> Option<String> {
        let good = match (self.expect, self.outcome) {
            (Expect::Reset, Outcome::Refused(errno)) => errno == Errno::ECONNREFUSED,
            (Expect::ForbiddenByRule, Outcome::Refused(errno)) => errno == Errno::EPERM,
            (Expect::Denied | Expect::NoConnection, Outcome::Refused(errno)) => is_no(errno),
            (Expect::NoConnection, Outcome::Silence) | (Expect::Reached, Outcome::Passed) => true,
            _ => false,
        };
        (!good).then(|| format!("{}: {:?}, but must be {:?}", self.name, self.outcome, self.expect))
    }
}

/// Refusals, as against mistakes of the attempt itself.
fn is_no(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EPERM
            | Errno::EACCES
            | Errno::ECONNREFUSED
            | Errno::ENETUNREACH
            | Errno::EHOSTUNREACH
            | Errno::ENETDOWN
            | Errno::EADDRNOTAVAIL
            | Errno::EAFNOSUPPORT
            | Errno::EPROTONOSUPPORT
            | Errno::ENODEV
    )
}

/// Lists all attempts of the proof.
pub(super) fn attempts(
    surroundings: &Surroundings,
    held: &FenceSockets,
    permits: &[Permit],
) -> io::Result<Vec<Attempt>> {
    let device = surroundings.device.as_str();
    let index = if_nametoindex(device)?;
    let neighbours = surroundings.neighbours();
    let refused = |address: Ipv4Addr| SocketAddrV4::new(address, refused_port(permits, address));
    let mut connections = Vec::new();
    let mut done = Vec::new();
    let mut now = |name: String, expect, outcome| done.push(Attempt { name, expect, outcome });

    for address in neighbours.iter().copied().chain([ELSEWHERE, ENGINE_DNS]) {
        let to = refused(address);
        connections.push(Connecting::to(format!("TCP to {to}"), Expect::Reset, to.into(), None)?);
        now(format!("UDP to {to}"), Expect::ForbiddenByRule, datagram(to, |_| Ok(())));
        now(format!("ping to {address}"), Expect::Denied, ping(address));
    }
    for port in [GATE_PORT, DNS_PORT] {
        let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        connections.push(Connecting::to(
            format!("TCP straight to the guard's {to}"),
            Expect::Reset,
            to.into(),
            None,
        )?);
    }
    let straight = SocketAddrV4::new(Ipv4Addr::LOCALHOST, DNS_PORT);
    now(
        format!("UDP straight to the guard's {straight}"),
        Expect::ForbiddenByRule,
        datagram(straight, |_| Ok(())),
    );

    let broadcasts = [Ipv4Addr::BROADCAST, surroundings.subnet.broadcast()];
    // Both ends of the cable: an agent can name either.
    for device in [device, END] {
        for address in neighbours.iter().copied().chain([ELSEWHERE]) {
            // Port 53 too: what is redirected elsewhere must not slip out here.
            for to in [refused(address), SocketAddrV4::new(address, 53)] {
                let name = format!("by {device}, unrouted, to {to}");
                connections.push(Connecting::to(
                    format!("TCP {name}"),
                    Expect::NoConnection,
                    to.into(),
                    Some(device),
                )?);
                now(format!("UDP {name}"), Expect::Denied, datagram(to, |fd| by_device(fd, device)));
            }
            let to = refused(address);
            now(
                format!("UDP, rerouted to {device} when half sent, to {to}"),
                Expect::Denied,
                half_sent(to, device),
            );
        }
        for address in broadcasts {
            let to = refused(address);
            let outcome = datagram(to, |fd| {
                setsockopt(fd, sockopt::Broadcast, &true)?;
                setsockopt(fd, sockopt::BindToDevice, &OsString::from(device))
            });
            now(format!("broadcast by {device} to {to}"), Expect::Denied, outcome);
        }
    }
    for address in broadcasts {
        let to = refused(address);
        now(
            format!("broadcast to {to}"),
            Expect::Denied,
            datagram(to, |fd| setsockopt(fd, sockopt::Broadcast, &true)),
        );
    }
    let to = refused(Ipv4Addr::new(224, 0, 0, 1));
    let outcome = datagram(to, |fd| {
        rustix::net::sockopt::set_ip_multicast_if(fd, &surroundings.own)
            .map_err(|e| Errno::from_raw(e.raw_os_error()))
    });
    now(format!("multicast by {device} to {to}"), Expect::Denied, outcome);

    let link_local = SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 9, 0, index);
    connections.push(Connecting::to(
        format!("TCP to {link_local}"),
        Expect::NoConnection,
        link_local.into(),
        None,
    )?);
    let all_nodes = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 9, 0, index);
    for to in [link_local, all_nodes] {
        now(format!("UDP to {to}"), Expect::Denied, datagram6(to));
    }

    now(format!("DNS over UDP to {FOREIGN_DNS}"), Expect::Reached, dns_udp(held));
    now(format!("DNS over TCP to {FOREIGN_DNS}"), Expect::Reached, redirected(FOREIGN_DNS, &held.dns_tcp));
    for to in permitted(permits) {
        now(format!("permitted TCP to {to}"), Expect::Reached, redirected(to, &held.gate));
    }
    let own_server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let to = own_server.local_addr()?;
    connections.push(Connecting::to(
        format!("TCP to a server of the agent at {to}"),
        Expect::Reached,
        to,
        None,
    )?);

    done.extend(settle(connections));
    Ok(done)
}

/// Returns a port of `address` that nobody permitted.
pub(super) fn refused_port(permits: &[Permit], address: Ipv4Addr) -> u16 {
    let permitted = |port: u16| permits.iter().any(|permit| permit.holds(&address, port));
    (9..=u16::MAX).find(|port| *port != 53 && !permitted(*port)).unwrap_or(9)
}

/// Returns one address and port of the first and of the last permission; port 53 is the DNS
/// filter's whatever is permitted.
pub(super) fn permitted(permits: &[Permit]) -> Vec<SocketAddrV4> {
    let pairs: Vec<_> = permits.iter().filter(|permit| permit.port != 53).collect();
    let mut chosen: Vec<_> = pairs.first().into_iter().chain(pairs.last()).collect();
    chosen.dedup();
    chosen.iter().map(|permit| SocketAddrV4::new(permit.range.network(), permit.port)).collect()
}

fn tcp(family: AddressFamily) -> nix::Result<OwnedFd> {
    socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
}

fn udp(family: AddressFamily) -> nix::Result<OwnedFd> {
    socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
}

fn sent(result: nix::Result<usize>) -> Outcome {
    match result {
        Ok(_) => Outcome::Passed,
        Err(errno) => Outcome::Refused(errno),
    }
}

/// Binds a socket to this device, whatever the routes say.
fn by_device(fd: &OwnedFd, device: &str) -> nix::Result<()> {
    setsockopt(fd, sockopt::BindToDevice, &OsString::from(device))?;
    setsockopt(fd, sockopt::DontRoute, &true)
}

/// A connection that is being made.
struct Connecting {
    name: String,
    expect: Expect,
    state: Result<OwnedFd, Errno>,
}

impl Connecting {
    fn to(name: String, expect: Expect, to: SocketAddr, device: Option<&str>) -> io::Result<Self> {
        let start = || -> nix::Result<OwnedFd> {
            let fd = tcp(if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 })?;
            if let Some(device) = device {
                by_device(&fd, device)?;
            }
            let started = match to {
                SocketAddr::V4(to) => connect(fd.as_raw_fd(), &SockaddrIn::from(to)),
                SocketAddr::V6(to) => connect(fd.as_raw_fd(), &SockaddrIn6::from(to)),
            };
            match started {
                Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
                Err(errno) => Err(errno),
            }
        };
        match start() {
            Err(errno) if !is_no(errno) => Err(errno.into()),
            state => Ok(Connecting { name, expect, state }),
        }
    }

    /// Reads the outcome so far.
    fn outcome(&self) -> Outcome {
        let fd = match &self.state {
            Ok(fd) => fd,
            Err(errno) => return Outcome::Refused(*errno),
        };
        let mut ready = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut ready, PollTimeout::ZERO) {
            Ok(0) => Outcome::Silence,
            Ok(_) => match getsockopt(fd, sockopt::SocketError) {
                Ok(0) => Outcome::Passed,
                Ok(errno) => Outcome::Refused(Errno::from_raw(errno)),
                Err(errno) => Outcome::Refused(errno),
            },
            Err(errno) => Outcome::Refused(errno),
        }
    }
}

/// Waits for those that must be answered; those for which silence is good had the same time.
fn settle(connections: Vec<Connecting>) -> Vec<Attempt> {
    let deadline = Instant::now() + PATIENCE;
    let mut done: Vec<Attempt> = Vec::new();
    let (mut waiting, mut silent): (Vec<_>, Vec<_>) =
        connections.into_iter().partition(|c| c.expect != Expect::NoConnection);
    while !waiting.is_empty() && Instant::now() < deadline {
        let mut still = Vec::new();
        for connection in waiting {
            match connection.outcome() {
                Outcome::Silence => still.push(connection),
                outcome => {
                    done.push(Attempt { name: connection.name, expect: connection.expect, outcome });
                }
            }
        }
        waiting = still;
        if !waiting.is_empty() {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    silent.append(&mut waiting);
    done.extend(silent.into_iter().map(|c| Attempt { outcome: c.outcome(), name: c.name, expect: c.expect }));
    done
}

/// Sends a datagram to `to` from a socket that `prepare` changed before.
fn datagram(to: SocketAddrV4, prepare: impl FnOnce(&OwnedFd) -> nix::Result<()>) -> Outcome {
    let send = || -> nix::Result<usize> {
        let fd = udp(AddressFamily::Inet)?;
        prepare(&fd)?;
        sendto(fd.as_raw_fd(), DATAGRAM, &SockaddrIn::from(to), MsgFlags::empty())
    };
    sent(send())
}

fn datagram6(to: SocketAddrV6) -> Outcome {
    let send = || -> nix::Result<usize> {
        let fd = udp(AddressFamily::Inet6)?;
        sendto(fd.as_raw_fd(), DATAGRAM, &SockaddrIn6::from(to), MsgFlags::empty())
    };
    sent(send())
}

/// Sends a datagram in two halves: the first is routed to `lo`, and the socket is bound to the
/// device before the second. The output hook still sees `lo`.
fn half_sent(to: SocketAddrV4, device: &str) -> Outcome {
    let send = || -> nix::Result<usize> {
        let fd = udp(AddressFamily::Inet)?;
        let errno = |e: rustix::io::Errno| Errno::from_raw(e.raw_os_error());
        rustix::net::sendto(&fd, DATAGRAM, SendFlags::MORE, &to).map_err(errno)?;
        setsockopt(&fd, sockopt::BindToDevice, &OsString::from(device))?;
        sendto(fd.as_raw_fd(), DATAGRAM, &SockaddrIn::from(to), MsgFlags::empty())
    };
    sent(send())
}

/// Sends an echo request from the kind of socket that needs no capability.
fn ping(to: Ipv4Addr) -> Outcome {
    const ECHO: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, 1];
    let send = || -> nix::Result<usize> {
        let fd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
        sendto(fd.as_raw_fd(), &ECHO, &SockaddrIn::from(SocketAddrV4::new(to, 0)), MsgFlags::empty())
    };
    sent(send())
}

/// Waits until there is something to read.
fn readable(fd: BorrowedFd<'_>) -> nix::Result<()> {
    let limit = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::ZERO);
    match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], limit)? {
        0 => Err(Errno::ETIMEDOUT),
        _ => Ok(()),
    }
}

fn reached(arrived: nix::Result<bool>) -> Outcome {
    match arrived {
        Ok(true) => Outcome::Passed,
        Ok(false) | Err(Errno::ETIMEDOUT) => Outcome::Silence,
        Err(errno) => Outcome::Refused(errno),
    }
}

/// Asks a foreign name server: the question must arrive at our socket, and our answer must seem to
/// come from there.
fn dns_udp(held: &FenceSockets) -> Outcome {
    let there_and_back = || -> nix::Result<bool> {
        let asking = udp(AddressFamily::Inet)?;
        connect(asking.as_raw_fd(), &SockaddrIn::from(FOREIGN_DNS))?;
        send(asking.as_raw_fd(), DATAGRAM, MsgFlags::empty())?;
        readable(held.dns_udp.as_fd())?;
        let mut bytes = [0; DATAGRAM.len() + 1];
        let (length, from) = recvfrom::<SockaddrIn>(held.dns_udp.as_raw_fd(), &mut bytes)?;
        let Some(from) = from.filter(|_| bytes.get(..length) == Some(DATAGRAM)) else { return Ok(false) };
        sendto(held.dns_udp.as_raw_fd(), DATAGRAM, &from, MsgFlags::empty())?;
        readable(asking.as_fd())?;
        let length = recv(asking.as_raw_fd(), &mut bytes, MsgFlags::empty())?;
        Ok(bytes.get(..length) == Some(DATAGRAM))
    };
    reached(there_and_back())
}

/// Connects to `to`: the connection must arrive at our listener, which can tell where it was going.
fn redirected(to: SocketAddrV4, listener: &OwnedFd) -> Outcome {
    let arrive = || -> nix::Result<bool> {
        let asking = tcp(AddressFamily::Inet)?;
        match connect(asking.as_raw_fd(), &SockaddrIn::from(to)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno),
        }
        readable(listener.as_fd())?;
        let accepted = rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC)
            .map_err(|e| Errno::from_raw(e.raw_os_error()))?;
        let meant = getsockopt(&accepted, sockopt::OriginalDst)?;
        let meant =
            SocketAddrV4::new(u32::from_be(meant.sin_addr.s_addr).into(), u16::from_be(meant.sin_port));
        Ok(meant == to)
    };
    reached(arrive())
}
