//! Ports of this machine, taken before anything of a run exists and opened when its fence stands.
//!
//! A socket that is bound and does not listen has its port and hears nobody.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;
use tokio::net::{TcpListener, TcpSocket};

use super::mapping::{Loopback, Mapping};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::forward::AgentPort;

/// Forwards of one command.
const MOST: usize = 64;
/// Connections that the kernel keeps until they are taken.
const WAITING: u32 = 256;
/// Bytes that the kernel holds for a reader that stands still: an agent may send without end.
const KERNEL_BUFFER: u32 = 256 << 10;
/// Attempts to find a port that is free at both addresses.
const TRIES: usize = 16;

/// A port of this machine that is taken.
#[derive(Debug)]
pub(crate) struct Reserved {
    /// Addresses.
    pub(crate) at: Loopback,
    /// The port here.
    pub(crate) local: u16,
    /// The port of the agent.
    pub(crate) agent: AgentPort,
    sockets: Vec<TcpSocket>,
    /// A socket that keeps others from the port at the address that was not asked for. It never
    /// listens.
    beside: Option<TcpSocket>,
}

/// A port of this machine at which connections arrive.
#[derive(Debug)]
pub(super) struct Opened {
    /// The port of the agent.
    pub(super) agent: AgentPort,
    /// A socket for each address.
    pub(super) listeners: Vec<TcpListener>,
    /// The port at the other address, where nobody listens.
    pub(super) beside: Option<TcpSocket>,
}

/// Takes the ports of this machine.
///
/// # Errors
/// When one is in use, is not this user's to take, or is asked for twice.
pub(crate) fn reserve(mappings: &[Mapping]) -> Result<Vec<Reserved>, Failure> {
    if mappings.len() > MOST {
        let what = format!("{} ports are to be forwarded, and one command forwards {MOST}", mappings.len());
        return Err(Failure::new(COULD_NOT_RUN, what).hint("forward the others with `ringfence forward`"));
    }
    for (index, mapping) in mappings.iter().enumerate() {
        let meets = |other: &&Mapping| other.local == mapping.local && other.at.meets(mapping.at);
        if mapping.local != 0 && mappings[..index].iter().any(|other| meets(&other)) {
            let what = format!("port {} of this machine is to lead to two ports of the agent", mapping.local);
            return Err(Failure::new(COULD_NOT_RUN, what)
                .hint(format!("name each local port once, or let one be chosen: 0:{}", mapping.agent)));
        }
    }
    mappings.iter().map(|mapping| Reserved::take(*mapping)).collect()
}

/// Takes the ports that somebody else has named, each at both addresses of loopback: where one
/// address was asked for, nobody listens at the other. What dials `localhost` is not led past a
/// server of the person's that has the port at the other address.
///
/// # Errors
/// When one is in use at either address, is not this user's to take, or is asked for twice.
pub(crate) fn reserve_whole(mappings: &[Mapping]) -> Result<Vec<Reserved>, Failure> {
    let mut all = reserve(mappings)?;
    for (reserved, mapping) in all.iter_mut().zip(mappings) {
        let other = match mapping.at {
            Loopback::Both => continue,
            Loopback::V4 => Loopback::V6,
            Loopback::V6 => Loopback::V4,
        };
        let is_taken = |by: &Mapping| by.local == reserved.local && by.at.meets(other);
        if mappings.iter().any(is_taken) {
            continue;
        }
        for address in other.addresses() {
            match bind_alone(SocketAddr::new(*address, reserved.local)) {
                Ok(socket) => reserved.beside = Some(socket),
                Err(error) if is_absent(*address, &error) => {}
                Err(error) => return Err(refused(Mapping { at: other, ..*mapping }, &error)),
            }
        }
    }
    Ok(all)
}

impl Reserved {
    /// Takes the port that a mapping names, or a free one.
    pub(super) fn take(mapping: Mapping) -> Result<Reserved, Failure> {
        let Mapping { at, local, agent } = mapping;
        let tries = if local == 0 { TRIES } else { 1 };
        let mut last = None;
        for _ in 0..tries {
            match bind_all(at, local) {
                Ok((local, sockets)) => return Ok(Reserved { at, local, agent, sockets, beside: None }),
                // A port that is free at one address may be taken at the other.
                Err(error) => last = Some(error),
            }
        }
        Err(refused(mapping, &last.unwrap_or_else(|| ErrorKind::AddrInUse.into())))
    }

    /// Lets connections come.
    ///
    /// # Errors
    /// When another program has begun to listen there meanwhile.
    pub(super) fn listen(self) -> Result<Opened, Failure> {
        let Reserved { at, local, agent, sockets, beside } = self;
        let listeners: io::Result<Vec<_>> =
            sockets.into_iter().map(|socket| socket.listen(WAITING)).collect();
        let listeners = listeners.map_err(|error| refused(Mapping { at, local, agent }, &error))?;
        Ok(Opened { agent, listeners, beside })
    }

    /// Says where a forward leads.
    pub(crate) fn in_words(&self) -> String {
        format!("{} leads to port {} of the agent", self.shown(), self.agent)
    }

    /// Returns the place as a person types it.
    pub(crate) fn shown(&self) -> String {
        format!("{}:{}", self.at, self.local)
    }
}

/// Binds a socket at each address, all at one port. An address that this machine does not have is
/// left out, where another one is there.
fn bind_all(at: Loopback, local: u16) -> io::Result<(u16, Vec<TcpSocket>)> {
    let (mut port, mut sockets) = (local, Vec::new());
    for address in at.addresses() {
        match bind(SocketAddr::new(*address, port)) {
            Ok(socket) => {
                port = socket.local_addr()?.port();
                sockets.push(socket);
            }
            Err(error) if !sockets.is_empty() && is_absent(*address, &error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((port, sockets))
}

fn bind(at: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of a forward that has just ended do not hold the port. One that listens does.
    socket.set_reuseaddr(true)?;
    // Each connection inherits it.
    socket.set_send_buffer_size(KERNEL_BUFFER)?;
    socket.bind(at)?;
    Ok(socket)
}

/// Binds a socket so that nobody else can have its port while it does not listen.
fn bind_alone(at: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(at)?;
    Ok(socket)
}

/// Tells whether this machine has no such address.
fn is_absent(address: IpAddr, error: &io::Error) -> bool {
    address.is_ipv6()
        && (matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported)
            || error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32))
}

/// Makes the failure of a port that cannot be taken, with what to do.
fn refused(mapping: Mapping, error: &io::Error) -> Failure {
    let Mapping { at, local, agent } = mapping;
    let failure = Failure::new(COULD_NOT_RUN, format!("cannot listen on {at}:{local}")).caused_by(error);
    match error.kind() {
        ErrorKind::AddrInUse => failure.hint(format!(
            "another program listens there: name another port, such as {}:{agent}, or let a free one be chosen: 0:{agent}",
            local.checked_add(10_000).unwrap_or(local / 2 + 1024),
        )),
        ErrorKind::PermissionDenied => {
            failure.hint(format!("ports below 1024 are for root: name a higher one, such as {}:{agent}", 8000 + local % 1000))
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(text: &str) -> Mapping {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_reserved_port_hears_nobody_until_it_is_opened() {
        let reserved = Reserved::take(mapping("0:3000")).unwrap();
        let at = ("127.0.0.1", reserved.local);
        assert!(std::net::TcpStream::connect(at).is_err());
        let opened = reserved.listen().unwrap();
        assert!(std::net::TcpStream::connect(at).is_ok());
        assert_eq!(opened.agent.get(), 3000);
    }

    #[tokio::test]
    async fn a_named_port_is_taken_at_the_other_address_and_nobody_listens_there() {
        let Ok(server) = std::net::TcpListener::bind(("::1", 0)) else { return };
        let port = server.local_addr().unwrap().port();
        let asked = [mapping(&format!("127.0.0.1:{port}:3000"))];
        assert!(reserve(&asked).is_ok(), "the address alone is free");
        assert!(reserve_whole(&asked).unwrap_err().message.contains("[::1]"));
        drop(server);
        let reserved = reserve_whole(&asked).unwrap().remove(0);
        let opened = reserved.listen().unwrap();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(std::net::TcpStream::connect(("::1", port)).is_err(), "nobody listens");
        assert!(std::net::TcpListener::bind(("::1", port)).is_err(), "and nobody else can");
        drop(opened);
        let both = [mapping(&format!("127.0.0.1:{port}:1")), mapping(&format!("[::1]:{port}:1"))];
        assert!(reserve_whole(&both).is_ok(), "both were named");
    }

    #[tokio::test]
    async fn a_port_in_use_is_refused_with_what_to_do_at_either_address() {
        for address in ["127.0.0.1", "::1"] {
            let Ok(other) = std::net::TcpListener::bind((address, 0)) else { continue };
            let port = other.local_addr().unwrap().port();
            let failure = reserve(&[mapping(&format!("{port}:3000"))]).unwrap_err();
            assert!(failure.hint.as_ref().unwrap().contains("0:3000"), "{failure}");
        }
        let failure = reserve(&[mapping("8080:1"), mapping("127.0.0.1:8080:2")]).unwrap_err();
        assert!(failure.message.contains("two ports"), "{failure}");
        assert!(reserve(&[mapping("0:1"), mapping("0:2")]).is_ok());
    }
}
