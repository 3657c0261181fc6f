//! TLS connections: the ClientHello must carry the name before anything is dialled.
//!
//! ```text
//!  agent ──bytes (kept)──▶ ClientHello ──SNI = name?──▶ dial ──kept bytes, then splice──▶ server
//!             │                 └─ no: alert access_denied, nothing dialled
//!             └─ none: closed by the agent: nothing was asked; silent for too long: refused
//! ```

use std::io;
use std::time::Duration;

use netpolicy::decide::{Reason, Target};
use netpolicy::host::HostName;
use rustls::server::Acceptor;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::gate::{Link, Manner, Onward, Refusal};
use super::io::{drain, write_all};
use super::limits::{Limit, Room};
use crate::wire::event::Kind;

/// The most that a ClientHello may take, records and all.
const LONGEST: usize = 16 * 1024;
/// Time limit for a ClientHello, from its first byte.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Time limit for the first byte, as servers have it. Clients open connections that they may need,
/// and a busy one does not use them for a while.
const SILENCE: Duration = Duration::from_secs(60);
/// `access_denied`.
pub(super) const ACCESS_DENIED: u8 = 49;
/// `internal_error`.
pub(super) const INTERNAL_ERROR: u8 = 80;
/// `unrecognized_name`.
pub(super) const UNRECOGNIZED_NAME: u8 = 112;
/// First byte of a handshake record.
pub(super) const HANDSHAKE: u8 = 0x16;

/// A ClientHello, and everything that came with it.
#[derive(Debug)]
pub(crate) struct Hello {
    /// All bytes so far: they are for the server.
    pub(crate) bytes: Vec<u8>,
    /// The name that it asks for, lower case.
    pub(crate) name: Option<HostName>,
}

/// Looks at a connection to a TLS port, and opens its way to the server.
pub(crate) async fn open(link: &Link, agent: &TcpStream) -> Result<Onward, Refusal> {
    if !asks(agent).await? {
        return Ok(Onward::Done);
    }
    let hello = read_hello(agent, Vec::new(), link.guard.limits.undecided()).await?;
    permits(link, &hello)?;
    let server = link.connect().await.map_err(|refusal| refusal.in_tls())?;
    write_all(&server, &hello.bytes)
        .await
        .map_err(|error| Refusal::failed(Reason::ConnectFailed, error.to_string()).in_tls())?;
    link.sent(hello.bytes.len());
    Ok(Onward::Bytes(server))
}

/// Refuses a ClientHello that does not ask for the name of its connection. A range of addresses has
/// no name to compare.
pub(crate) fn permits(link: &Link, hello: &Hello) -> Result<(), Refusal> {
    let refused = |reason| Err(Refusal::new(Kind::Tls, reason).manner(Manner::Alert(ACCESS_DENIED)));
    match (&link.target, &hello.name) {
        (Target::Address(_), _) => Ok(()),
        (Target::Name(_), None) => refused(Reason::NoSni),
        (Target::Name(name), Some(asked)) if name == asked => Ok(()),
        (Target::Name(_), Some(_)) => refused(Reason::SniMismatch),
    }
}

/// Waits for the first byte of a connection; `false` when the agent ended it without one. Such a
/// connection has asked for nothing, and nobody was refused.
async fn asks(agent: &TcpStream) -> Result<bool, Refusal> {
    match timeout(SILENCE, agent.peek(&mut [0])).await {
        Ok(peeked) => Ok(peeked.is_ok_and(|length| length > 0)),
        Err(_) => Err(Refusal::new(Kind::Tls, Reason::Silent)),
    }
}

/// Reads a ClientHello over however many segments and records it takes.
pub(super) async fn read_hello(agent: &TcpStream, start: Vec<u8>, mut room: Room) -> Result<Hello, Refusal> {
    let until = Instant::now() + PATIENCE;
    let full = || Refusal::at_limit(Kind::Tls, Limit::Undecided);
    if !room.grow(start.len()) {
        return Err(full());
    }
    let mut bytes = start;
    let mut acceptor = Acceptor::default();
    let mut given = 0;
    loop {
        if bytes.first().is_some_and(|&first| first != HANDSHAKE) {
            return Err(Refusal::new(Kind::Tls, Reason::NotTls));
        }
        if let Some(name) = take(&mut acceptor, &bytes[given..])? {
            return Ok(Hello { bytes, name });
        }
        given = bytes.len();
        let left = LONGEST.saturating_sub(given);
        if left == 0 {
            return Err(malformed());
        }
        tokio::select! {
            ready = agent.readable() => ready.map_err(|_| not_whole(&bytes))?,
            () = sleep_until(until) => return Err(not_whole(&bytes)),
        }
        let mut part = [0; 4096];
        let part = &mut part[..left.min(4096)];
        match agent.try_read(part) {
            Ok(0) => return Err(not_whole(&bytes)),
            Ok(length) if !room.grow(length) => return Err(full()),
            Ok(length) => bytes.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(not_whole(&bytes)),
        }
    }
}

/// Gives bytes to the parser; the name that is asked for once the ClientHello is whole.
fn take(acceptor: &mut Acceptor, mut bytes: &[u8]) -> Result<Option<Option<HostName>>, Refusal> {
    while !bytes.is_empty() {
        match acceptor.read_tls(&mut bytes) {
            Ok(0) | Err(_) => return Err(malformed()),
            Ok(_) => {}
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                return Ok(Some(hello.server_name().and_then(|name| HostName::parse(name).ok())));
            }
            Err(_) => return Err(malformed()),
        }
    }
    Ok(None)
}

/// Refuses bytes that begin like TLS and are none.
fn malformed() -> Refusal {
    Refusal::new(Kind::Tls, Reason::Malformed).manner(Manner::Alert(ACCESS_DENIED))
}

/// Refuses a ClientHello that ended, or stopped, before it was whole.
fn not_whole(bytes: &[u8]) -> Refusal {
    if bytes.is_empty() { Refusal::new(Kind::Tls, Reason::NotTls) } else { malformed() }
}

/// Ends a TLS connection with a fatal alert that the agent has the time to read.
pub(super) async fn alert(agent: &TcpStream, description: u8) {
    let record = [0x15, 3, 3, 0, 2, 2, description];
    if write_all(agent, &record).await.is_ok() {
        drain(agent).await;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::inside::guard::limits::Limits;
    use crate::inside::guard::splice::tests::pair;

    /// Returns the length, in so many bytes, and the content.
    pub(crate) fn vector(size: usize, content: &[u8]) -> Vec<u8> {
        let mut all = content.len().to_be_bytes()[8 - size..].to_vec();
        all.extend_from_slice(content);
        all
    }

    /// Returns a `server_name` extension's content: each name with its type.
    pub(crate) fn names(names: &[(u8, &[u8])]) -> Vec<u8> {
        let list: Vec<u8> =
            names.iter().flat_map(|(kind, name)| [vec![*kind], vector(2, name)].concat()).collect();
        vector(2, &list)
    }

    /// Returns a ClientHello of TLS 1.2 form with these extensions besides the usual ones, in
    /// records of a version, of at most `record` bytes.
    pub(crate) fn hello_with(extensions: &[(u16, Vec<u8>)], version: [u8; 2], record: usize) -> Vec<u8> {
        let usual =
            [(10, vector(2, &[0, 29])), (13, vector(2, &[4, 3, 8, 4])), (43, vector(1, &[3, 4, 3, 3]))];
        let extensions: Vec<u8> = extensions
            .iter()
            .chain(&usual)
            .flat_map(|(kind, content)| [kind.to_be_bytes().to_vec(), vector(2, content)].concat())
            .collect();
        let mut body = vec![3, 3];
        body.extend([9; 32]);
        body.extend(vector(1, &[]));
        body.extend(vector(2, &[0x13, 1, 0xc0, 0x2f]));
        body.extend(vector(1, &[0]));
        body.extend(vector(2, &extensions));
        let mut handshake = vec![1];
        handshake.extend(vector(3, &body));
        handshake
            .chunks(record)
            .flat_map(|part| [&[HANDSHAKE, version[0], version[1]][..], &vector(2, part)].concat())
            .collect()
    }

    /// Returns a ClientHello that asks for a name, in records of at most `record` bytes.
    pub(crate) fn hello(name: Option<&str>, record: usize, padding: usize) -> Vec<u8> {
        let mut extensions = Vec::new();
        if let Some(name) = name {
            extensions.push((0, names(&[(0, name.as_bytes())])));
        }
        extensions.push((21, vec![0; padding]));
        hello_with(&extensions, [3, 1], record)
    }

    /// Parses bytes that arrive in such pieces: returns a name, no name, nothing yet, or a refusal.
    pub(crate) fn parsed(bytes: &[u8], pieces: &[usize]) -> Result<Option<Option<HostName>>, Reason> {
        let mut acceptor = Acceptor::default();
        let (mut rest, mut pieces) = (bytes, pieces.iter().cycle());
        while !rest.is_empty() {
            let size = pieces.next().copied().unwrap_or(usize::MAX).clamp(1, rest.len());
            let (piece, later) = rest.split_at(size);
            rest = later;
            if let Some(name) = take(&mut acceptor, piece).map_err(|refusal| refusal.reason)? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    async fn read(bytes: Vec<u8>, step: usize) -> Result<Hello, Refusal> {
        let (mut agent, near) = pair().await;
        agent.set_nodelay(true).unwrap();
        let writer = tokio::spawn(async move {
            for part in bytes.chunks(step) {
                if agent.write_all(part).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            agent.shutdown().await.ok();
            agent
        });
        let result = read_hello(
            &near,
            Vec::new(),
            Limits::new(1 << 16, netpolicy::ruleset::ConnectionBounds::MOST).undecided(),
        )
        .await;
        writer.await.unwrap();
        result
    }

    #[tokio::test]
    async fn a_hello_is_read_however_it_is_cut() {
        for (record, step, padding) in
            [(16_000, 16_000, 0), (16_000, 1, 0), (50, 7, 0), (1000, 1000, 12_000), (1, 3, 0)]
        {
            let bytes = hello(Some("GitLab.com"), record, padding);
            let read = read(bytes.clone(), step).await.unwrap();
            assert_eq!(read.name.unwrap().as_str(), "gitlab.com", "{record} {step}");
            assert_eq!(read.bytes, bytes[..read.bytes.len()]);
        }
    }

    #[tokio::test]
    async fn what_is_no_hello_is_refused_with_its_reason() {
        let reason = |result: Result<Hello, Refusal>| result.unwrap_err().reason;
        assert_eq!(reason(read(b"GET / HTTP/1.1\r\n\r\n".to_vec(), 100).await), Reason::NotTls);
        assert_eq!(reason(read(b"SSH-2.0-x\r\n".to_vec(), 1).await), Reason::NotTls);
        assert_eq!(reason(read(Vec::new(), 1).await), Reason::NotTls);
        assert_eq!(reason(read(vec![0x16; 600], 100).await), Reason::Malformed);
        assert_eq!(
            reason(read(hello(Some("a.example"), 16_000, 0)[..60].to_vec(), 9).await),
            Reason::Malformed
        );
        let long = hello(Some("a.example"), 16_000, 17_000);
        assert_eq!(reason(read(long, 4000).await), Reason::Malformed);
        assert!(read(hello(None, 16_000, 0), 100).await.unwrap().name.is_none());
    }
}
