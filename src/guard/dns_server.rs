//! The DNS filter: whatever the agent sends to port 53 of any address arrives here.
//!
//! ```text
//!  UDP datagram ────────────┐
//!  TCP, length and message ─┴─▶ dns::read ─▶ names ──(a wildcard's name)──▶ upstream: exists?
//!                                  answer ◀────┘
//! ```

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use netpolicy::decide::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Guard;
use super::dns::{self, Answer, Asked, Read, Subject};
use super::events::{Decision, Event, Kind, LONG_WHILE, MOMENT, Sameness};
use super::names::Found;

/// Questions over UDP that may wait for the upstream at once.
const WAITING: usize = 64;
/// Connections at once.
const CONNECTIONS: usize = 64;
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(30);
/// How long the rest of a message may take once it began, or an answer to be taken.
const MESSAGE: Duration = Duration::from_secs(10);

/// What a question leads to: at once, or after the upstream was asked.
enum Step {
    /// Say nothing.
    Silence,
    /// Send this.
    Now(Vec<u8>),
    /// Ask first.
    Later(Box<Asked>, netpolicy::decide::Verdict),
}

/// Takes one question as far as it goes without waiting.
fn step(guard: &Guard, bytes: &[u8], limit: Option<usize>) -> Step {
    let asked = match dns::read(bytes) {
        Read::Silence => return Step::Silence,
        Read::Wrong(answer) => return Step::Now(answer),
        Read::Asked(asked) => asked,
    };
    let limit = limit.unwrap_or(asked.payload);
    if let Some(reason) = guard.closed() {
        return Step::Now(finish(guard, &asked, Answer::Refused(reason), None, limit));
    }
    let (answer, found) = match &asked.subject {
        Subject::Root => (Answer::NoData(1), None),
        Subject::NoHost => (Answer::Refused(Reason::NotAllowed), None),
        Subject::Reverse(address) => (asked.answer_reverse(*address, guard.names.name_of(*address)), None),
        Subject::Name(name) => match guard.names.find(name) {
            Found::Ask(verdict) => return Step::Later(asked, verdict),
            found => (asked.answer(&found), Some(found)),
        },
    };
    Step::Now(finish(guard, &asked, answer, found.as_ref(), limit))
}

/// A step that ends in silence, not in the end of the guard, when some bytes should find a fault in a parser.
fn survive(step: impl FnOnce() -> Step) -> Step {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(step)).unwrap_or(Step::Silence)
}

/// Asks the upstream about a wildcard's name, then answers.
async fn later(
    guard: &Guard,
    asked: &Asked,
    verdict: netpolicy::decide::Verdict,
    limit: Option<usize>,
) -> Vec<u8> {
    let found = match &asked.subject {
        Subject::Name(name) => guard.names.ask(name, verdict, &guard.outside).await,
        _ => Found::Unknown,
    };
    finish(guard, asked, asked.answer(&found), Some(&found), limit.unwrap_or(asked.payload))
}

/// Records an answer and makes its bytes.
fn finish(guard: &Guard, asked: &Asked, answer: Answer, found: Option<&Found>, limit: usize) -> Vec<u8> {
    record(guard, asked, &answer, found);
    asked.write(&answer, limit)
}

/// Puts an answer into the log: a permitted name once in a while, refusals once a moment.
fn record(guard: &Guard, asked: &Asked, answer: &Answer, found: Option<&Found>) {
    let (verdict, reason, window) = match (answer, found) {
        (Answer::Refused(reason), _) => (Decision::Deny, *reason, MOMENT),
        (Answer::Failed, _) => (Decision::Deny, Reason::ResolveFailed, MOMENT),
        (_, Some(Found::Virtual(_) | Found::Missing)) => (Decision::Allow, Reason::Allowed, LONG_WHILE),
        // Ancestors, localhost, reverse: nothing is decided.
        _ => return,
    };
    let host = match &asked.subject {
        Subject::Name(name) => Some(name.clone()),
        _ => None,
    };
    let address = match &asked.subject {
        Subject::Reverse(address) => Some((*address).into()),
        _ => dns::shown(answer),
    };
    // The two address types come together: one event for both.
    let kind = match asked.kind() {
        RecordType::A | RecordType::AAAA => RecordType::A,
        other => other,
    };
    let same = Sameness {
        kind: Kind::Dns,
        host: host.clone(),
        address: if host.is_some() { None } else { address },
        port: Some(u16::from(kind)),
        protocol: u8::from(verdict == Decision::Allow),
        reason: "",
    };
    guard.events.write_folded(same, window, || {
        let event = Event {
            kind: Kind::Dns,
            verdict: Some(verdict),
            reason: Some(reason.to_string()),
            host: host.map(|name| name.to_string()),
            address,
            ..Event::default()
        };
        match found {
            Some(Found::Refused(verdict)) => event.by(verdict),
            _ => event,
        }
    });
}

/// Answers datagrams for ever; an error on the socket is waited out.
pub async fn serve_udp(socket: UdpSocket, guard: Arc<Guard>) {
    let socket = Arc::new(socket);
    let waiting = Arc::new(Semaphore::new(WAITING));
    let mut buffer = vec![0; 4096];
    loop {
        let (length, sender) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(_) => {
                // An ICMP answer to what was sent before, or no memory: neither is the end.
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
        };
        match survive(|| step(&guard, &buffer[..length], None)) {
            Step::Silence => {}
            Step::Now(answer) => send(&socket, &answer, sender).await,
            Step::Later(asked, verdict) => {
                let Ok(permit) = Arc::clone(&waiting).try_acquire_owned() else {
                    let answer = asked.write(&Answer::Failed, asked.payload);
                    send(&socket, &answer, sender).await;
                    continue;
                };
                let (socket, guard) = (Arc::clone(&socket), Arc::clone(&guard));
                tokio::spawn(async move {
                    let answer = later(&guard, &asked, verdict, None).await;
                    send(&socket, &answer, sender).await;
                    drop(permit);
                });
            }
        }
    }
}

/// Sends an answer to who asked; the asker asks again if it is lost.
async fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    if !answer.is_empty() {
        let _ = socket.send_to(answer, to).await;
    }
}

/// Answers on connections for ever.
pub async fn serve_tcp(listener: TcpListener, guard: Arc<Guard>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            let _ = stream.set_zero_linger();
            continue;
        };
        let guard = Arc::clone(&guard);
        tokio::spawn(async move {
            // However it ends, it ends: the asker sees the end of the connection.
            let _ = converse(stream, &guard).await;
            drop(permit);
        });
    }
}

/// Answers the questions of one connection in their order.
async fn converse(mut stream: TcpStream, guard: &Guard) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut message = Vec::new();
    loop {
        let Some(first) = in_time(IDLE, first_byte(&mut stream)).await? else { return Ok(()) };
        in_time(MESSAGE, async {
            let length = u16::from_be_bytes([first, stream.read_u8().await?]);
            message.resize(usize::from(length), 0);
            stream.read_exact(&mut message).await
        })
        .await?;
        let answer = match step(guard, &message, Some(usize::from(u16::MAX))) {
            Step::Silence => return Ok(()),
            Step::Now(answer) => answer,
            Step::Later(asked, verdict) => later(guard, &asked, verdict, Some(usize::from(u16::MAX))).await,
        };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
        let mut framed = Vec::with_capacity(answer.len() + 2);
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(&answer);
        in_time(MESSAGE, stream.write_all(&framed)).await?;
    }
}

/// The first byte of a message, or nothing at the end.
async fn first_byte(stream: &mut TcpStream) -> io::Result<Option<u8>> {
    let mut byte = [0];
    Ok((stream.read(&mut byte).await? == 1).then_some(byte[0]))
}

/// An operation that may take so long.
async fn in_time<T>(limit: Duration, operation: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, operation).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
