//! Other ports: dialled at once, and the agent's first bytes are looked at as they pass.
//!
//! ```text
//!  dial ─▶ who speaks first?
//!            server: its bytes pass at once; ──┐
//!            agent: its first bytes ───────────┴▶ ClientHello: SNI = name │ HTTP/1: as on an HTTP port │
//!                                                 HTTP/2: refused         │ anything else: bytes
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use netpolicy::decide::Reason;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::events::Kind;
use super::gate::{Link, Onward, Refusal};
use super::io::write_all;
use super::{http, shape, tls};

/// The most that is read to tell what it is.
const LONGEST: usize = 16 * 1024;
/// The longest method of a request that is waited for.
const METHOD: usize = 32;

/// What the first bytes of an agent are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speech {
    /// Too short to tell.
    Unsure,
    /// The beginning of a TLS handshake.
    Tls,
    /// A request of HTTP/1.
    Http,
    /// The preface of HTTP/2.
    Http2,
    /// Something else.
    Other,
}

/// How long bytes that could still become a request are held back. A client sends its request line in one piece,
/// so only a protocol whose first message looks like the beginning of one meets this.
const HOLD: Duration = Duration::from_millis(50);

/// Dials, and looks at the first bytes of a connection whose protocol is not known.
pub async fn open(link: &Arc<Link>, agent: &Arc<TcpStream>) -> Result<Onward, Refusal> {
    let server = link.connect().await?;
    let mut room = link.guard.limits.undecided();
    let mut start = Vec::new();
    // How much of `start` the server has got already: what was held long enough passes, and what follows is still
    // looked at. Whatever completes a request, or a ClientHello, that began so is refused before it passes.
    let mut passed = 0;
    let mut server_spoke = false;
    let mut server_ended = false;
    let mut held_until: Option<Instant> = None;
    let speech = loop {
        match tell(&start) {
            // A server that has answered takes it for no request: those are answered when they are whole.
            Speech::Unsure if server_spoke && !start.is_empty() => break Speech::Other,
            Speech::Unsure => {}
            speech => break speech,
        }
        if start.len() >= LONGEST {
            return Err(Refusal::new(Kind::Connect, Reason::Malformed));
        }
        // Buffers live on the stack, between two waits: a connection may wait here for hours.
        let next = tokio::select! {
            ready = agent.readable() => ready.map(|()| Next::Agent),
            ready = server.readable(), if !server_ended => ready.map(|()| Next::Server),
            () = until_or_never(held_until) => Ok(Next::Held),
        };
        let step = match next {
            Err(error) => Err(error),
            Ok(Next::Agent) => match take(agent) {
                // What there is, is all there will be: a server may take it for a request all the same.
                Ok(Some(more)) if more.is_empty() => {
                    start.push(b'\n');
                    let whole = tell(&start);
                    start.pop();
                    if matches!(whole, Speech::Http | Speech::Http2) {
                        let _ = server.set_zero_linger();
                        return Err(Refusal::new(Kind::Http, Reason::Malformed));
                    }
                    break Speech::Other;
                }
                Ok(Some(more)) => {
                    if !room.grow(more.len()) {
                        return Err(Refusal::new(Kind::Connect, Reason::Limit));
                    }
                    start.extend_from_slice(&more);
                    held_until = Some(Instant::now() + HOLD);
                    Ok(())
                }
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            },
            Ok(Next::Server) => match take(&server) {
                // What the agent sends is looked at all the same.
                Ok(Some(more)) if more.is_empty() => {
                    server_ended = true;
                    rustix::net::shutdown(&**agent, rustix::net::Shutdown::Write).map_err(Into::into)
                }
                Ok(Some(more)) => {
                    server_spoke = true;
                    shape::toll(link, more.len()).await;
                    let written = write_all(agent, &more).await;
                    link.counts.back.fetch_add(more.len() as u64, Ordering::Relaxed);
                    written
                }
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            },
            Ok(Next::Held) => {
                held_until = None;
                let written = write_all(&server, &start[passed..]).await;
                link.sent(start.len() - passed);
                passed = start.len();
                written
            }
        };
        if let Err(error) = step {
            return reset(agent, &server, error);
        }
    };
    match speech {
        Speech::Http2 => return Err(Refusal::new(Kind::Http, Reason::Http2)),
        // No HTTP server speaks before it is asked, and no client sends its request line in pieces.
        Speech::Http if server_spoke || passed > 0 => return Err(Refusal::new(Kind::Http, Reason::Protocol)),
        Speech::Tls if passed > 0 => return Err(Refusal::new(Kind::Tls, Reason::Protocol)),
        Speech::Http => {
            drop(room);
            return Box::pin(http::carry(link, agent, start, Some(server))).await;
        }
        Speech::Tls => {
            drop(room);
            let hello = tls::read_hello(agent, start, link.guard.limits.undecided()).await?;
            tls::permits(link, &hello)?;
            start = hello.bytes;
        }
        Speech::Other | Speech::Unsure => {}
    }
    if let Err(error) = write_all(&server, &start[passed..]).await {
        return reset(agent, &server, error);
    }
    link.sent(start.len() - passed);
    Ok(Onward::Bytes(server))
}

/// What happens next.
enum Next {
    Agent,
    Server,
    Held,
}

/// What there is to read without a wait: nothing yet, or bytes, none of them at the end.
fn take(stream: &TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = [0; 4096];
    match stream.try_read(&mut buffer) {
        Ok(length) => Ok(Some(buffer[..length].to_vec())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Passes the error of one side on to both.
fn reset(agent: &TcpStream, server: &TcpStream, error: io::Error) -> Result<Onward, Refusal> {
    let _ = agent.set_zero_linger();
    let _ = server.set_zero_linger();
    Refusal::ended(error).map(|()| Onward::Done)
}

/// Waits until a time, if there is one.
async fn until_or_never(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Tells what the first bytes are. Servers skip empty lines before a request, so they are skipped here.
fn tell(bytes: &[u8]) -> Speech {
    match bytes {
        [] | [0x14..=0x18] => return Speech::Unsure,
        // Some servers skip records of other types before the ClientHello: all of them count as TLS.
        [0x14..=0x18, 3, ..] => return Speech::Tls,
        _ => {}
    }
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n' | b' ' | b'\t')).count();
    let text = &bytes[blank..];
    let token = text.iter().take_while(|byte| is_token(**byte)).count();
    if token == text.len() {
        return if token <= METHOD { Speech::Unsure } else { Speech::Other };
    }
    if token == 0 || token > METHOD || !matches!(text[token], b' ' | b'\t') {
        return Speech::Other;
    }
    // Some servers end a line at a lone CR, so that ends one here too.
    let ends = |pair: &[u8]| pair[0] == b'\n' || (pair[0] == b'\r' && pair[1] != b'\n');
    let end = text.windows(2).position(ends).or_else(|| text.ends_with(b"\n").then(|| text.len() - 1));
    let line = &text[..end.unwrap_or(text.len())];
    let method = line[..token].to_ascii_uppercase();
    const METHODS: [&[u8]; 10] =
        [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT", b"PRI"];
    let known = METHODS.contains(&&method[..]);
    // Bytes that no request line has make it something else at once, unless it has begun as requests do.
    let strange = |byte: &u8| *byte == 0 || (*byte < b' ' && !matches!(byte, b'\t' | b'\r'));
    if !known && line.iter().any(strange) {
        return Speech::Other;
    }
    if end.is_none() {
        return Speech::Unsure;
    }
    if method == b"PRI" {
        return Speech::Http2;
    }
    let versioned = line.to_ascii_uppercase().windows(5).any(|part| part == b"HTTP/");
    if versioned || known { Speech::Http } else { Speech::Other }
}

/// Whether a byte may be in the method of a request.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Whether bytes count as TLS or HTTP, whether they count as something else; neither, when it cannot be told yet.
    pub fn told(bytes: &[u8]) -> (bool, bool) {
        let speech = tell(bytes);
        (matches!(speech, Speech::Tls | Speech::Http | Speech::Http2), speech == Speech::Other)
    }

    #[test]
    fn first_bytes_are_told_apart() {
        for (bytes, speech) in [
            (&b""[..], Speech::Unsure),
            (b"\x16", Speech::Unsure),
            (b"\x16\x03", Speech::Tls),
            (b"\x16\x04", Speech::Other),
            (b"\x15\x03\x03\0\x02", Speech::Tls),
            (b" GET / HTTP/1.1\r\n", Speech::Http),
            (b"GET", Speech::Unsure),
            (b"GET / HT", Speech::Unsure),
            (b"GET / HTTP/1.1\r\n", Speech::Http),
            (b"\r\n\nget / http/1.1\n", Speech::Http),
            (b"GET /\r\n", Speech::Http),
            (b"FOO x HTTP/1.1\r\nHost", Speech::Http),
            (b"GET\t/ HTTP/1.1\n", Speech::Http),
            (b"GET / HTTP/1.1\rHost: x\r\r", Speech::Http),
            (b"GET / HTTP/1.1\r", Speech::Unsure),
            (b"PRI * HTTP/2.0\r\n\r\nSM", Speech::Http2),
            (b"SSH-2.0-OpenSSH_9\r\n", Speech::Other),
            (b"EHLO me\r\n", Speech::Other),
            (b"EHLO me", Speech::Unsure),
            (b"*1\r\n$4\r\nPING\r\n", Speech::Other),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Speech::Other),
            (b"USER \0", Speech::Other),
            // A known method stays one whatever follows: there are servers that do not mind a NUL.
            (b"GET /\0", Speech::Unsure),
            (b"GET /\0 HTTP/1.1\r\n", Speech::Http),
            (b"GETX /\0 HTTP/1.1\r\n", Speech::Other),
        ] {
            assert_eq!(tell(bytes), speech, "{}", bytes.escape_ascii());
        }
    }
}
