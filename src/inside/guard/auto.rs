//! Other ports: dialled at once, and the agent's first bytes are looked at before they pass.
//!
//! ```text
//!  dial ─▶ who speaks first?
//!            server: its bytes pass at once; ──┐ (then anything but TLS, HTTP and HTTP's relatives passes)
//!            agent: its first bytes ───────────┴▶ ClientHello: SNI = name │ HTTP/1: as on an HTTP port │ HTTP/2: refused │
//!                                                 closed list: bytes      │ anything else: refused
//! ```

pub(crate) mod opening;
mod protocols;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use netpolicy::decide::{Reason, Target};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use self::opening::{FirstLine, Line, Opening};
use self::protocols::Here;
use super::gate::{Link, Onward, Refusal};
use super::io::write_all;
use super::limits::{Limit, Room};
use super::tls::PATIENCE;
use super::{http, shape, tls};
use crate::wire::event::Kind;

/// The most that is read to tell what it is.
const LONGEST: usize = 16 * 1024;
/// Time that unknown bytes wait for a server that speaks first: a client may have been quicker than
/// the server's greeting.
const GREETING: Duration = Duration::from_secs(1);
/// Time that bytes which could still become a request are held back behind a server that spoke
/// first. A person who types into such a dialogue wants to see an echo.
const HOLD: Duration = Duration::from_millis(50);

/// The beginning of a connection whose protocol is not known yet.
struct Beginning<'a> {
    link: &'a Arc<Link>,
    agent: &'a TcpStream,
    server: &'a TcpStream,
    room: Room,
    /// Bytes from the agent.
    start: Vec<u8>,
    /// Number of these bytes that the server has got.
    passed: usize,
    server_spoke: bool,
    server_ended: bool,
    agent_ended: bool,
    /// The first line behind an opening of the closed list.
    line: Option<FirstLine>,
}

/// Latest step of a connection.
enum Step {
    Agent,
    Server,
    Over,
}

/// Dials, and looks at the first bytes of a connection whose protocol is not known.
pub(crate) async fn open(link: &Arc<Link>, agent: &Arc<TcpStream>) -> Result<Onward, Refusal> {
    let server = link.connect().await?;
    let mut beginning = Beginning {
        link,
        agent,
        server: &server,
        room: link.guard.limits.undecided(),
        start: Vec::new(),
        passed: 0,
        server_spoke: false,
        server_ended: false,
        agent_ended: false,
        line: None,
    };
    let opening = beginning.look().await;
    let Beginning { room, start, passed, server_spoke, .. } = beginning;
    drop(room);
    let refused = |kind, reason| {
        // A server that got the beginning of something must not take its end for the whole.
        let _ = server.set_zero_linger();
        Err(Refusal::new(kind, reason))
    };
    let bytes = match opening {
        Err(Failure::Refused(refusal)) => {
            let _ = server.set_zero_linger();
            return Err(refusal);
        }
        Err(Failure::Broken(error)) => return reset(agent, &server, error),
        Ok(Opening::Http2) => return refused(Kind::Http, Reason::Http2),
        // No HTTP server speaks before it is asked.
        Ok(Opening::Http) if server_spoke || passed > 0 => return refused(Kind::Http, Reason::Protocol),
        Ok(Opening::Kin) => return refused(Kind::Http, Reason::Protocol),
        Ok(Opening::Tls) if passed > 0 => return refused(Kind::Tls, Reason::Protocol),
        Ok(Opening::Http) => return Box::pin(http::carry(link, agent, start, Some(server))).await,
        Ok(Opening::Tls) => {
            let hello = tls::read_hello(agent, start, link.guard.limits.undecided()).await?;
            tls::permits(link, &hello)?;
            hello.bytes
        }
        Ok(Opening::Known | Opening::Unknown | Opening::Unsure) => start,
    };
    if let Err(error) = write_all(&server, &bytes[passed..]).await {
        return reset(agent, &server, error);
    }
    link.sent(bytes.len() - passed);
    Ok(Onward::Bytes(server))
}

/// Reason for which a beginning has no end.
enum Failure {
    /// The gate refuses the connection.
    Refused(Refusal),
    /// One side broke off.
    Broken(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Broken(error)
    }
}

fn refusal(kind: Kind, reason: Reason) -> Failure {
    Failure::Refused(Refusal::new(kind, reason))
}

impl Beginning<'_> {
    /// Reads until it is sure what the connection is. What may pass as bytes is [`Opening::Known`]
    /// or [`Opening::Unknown`] then.
    async fn look(&mut self) -> Result<Opening, Failure> {
        let mut since = Instant::now();
        let mut last = Opening::Unsure;
        loop {
            if self.line.is_some() {
                return self.watch().await;
            }
            let opening = self.opening();
            if opening != last || self.server_spoke {
                (last, since) = (opening, Instant::now());
            }
            let wait = match opening {
                Opening::Known => {
                    self.line = Some(FirstLine::default());
                    continue;
                }
                // A range of addresses has no name that could be another one.
                Opening::Unknown if self.server_spoke || self.is_range() => return Ok(Opening::Unknown),
                Opening::Unknown => Some(GREETING),
                // The agent says nothing, and perhaps never will.
                Opening::Unsure if self.start.is_empty() && self.agent_ended => return Ok(Opening::Unknown),
                Opening::Unsure if self.start.len() == self.passed => None,
                Opening::Unsure if self.server_spoke => Some(HOLD),
                Opening::Unsure => Some(PATIENCE),
                decided => return Ok(decided),
            };
            if self.start.len() >= LONGEST {
                return Err(refusal(Kind::Connect, Reason::Protocol));
            }
            let reading = opening == Opening::Unsure && !self.agent_ended;
            let silent = self.start.is_empty();
            match self.step(wait.map(|wait| since + wait), reading).await? {
                Step::Over if opening == Opening::Unsure && self.server_spoke => self.pass().await?,
                Step::Over => return Err(refusal(Kind::Connect, Reason::Protocol)),
                Step::Agent if silent => since = Instant::now(),
                Step::Agent | Step::Server => {}
            }
        }
    }

    /// Judges the bytes so far.
    fn opening(&mut self) -> Opening {
        let link = self.link;
        let here = Here { target: &link.target, port: link.port };
        let opening = opening::of(&self.start, self.server_spoke, here);
        if !self.agent_ended || opening != Opening::Unsure || self.start.is_empty() {
            return opening;
        }
        // What there is, is all there will be: some server may take its end for the end of a line.
        self.start.push(b'\n');
        let whole = opening::of(&self.start, self.server_spoke, here);
        self.start.pop();
        match whole {
            Opening::Http | Opening::Http2 | Opening::Kin => Opening::Kin,
            _ => Opening::Unknown,
        }
    }

    /// Passes bytes on behind an opening of the closed list, until the server answers or the first
    /// line turns out to be no request. A server that waits for the end of a line has answered
    /// nothing.
    async fn watch(&mut self) -> Result<Opening, Failure> {
        loop {
            let more = &self.start[self.passed..];
            match self.line.as_mut().map(|line| line.take(more)) {
                Some(Line::Request) => return Err(refusal(Kind::Http, Reason::Protocol)),
                Some(Line::Open) => self.pass().await?,
                Some(Line::Plain) | None => return Ok(Opening::Known),
            }
            if self.agent_ended || self.server_spoke || self.server_ended {
                return Ok(Opening::Known);
            }
            self.step(None, true).await?;
        }
    }

    /// Waits for bytes of either side, or until a time. The server's pass at once.
    async fn step(&mut self, until: Option<Instant>, reading: bool) -> Result<Step, Failure> {
        // Buffers live on the stack, between two waits: a connection may wait here for hours.
        let step = tokio::select! {
            ready = self.agent.readable(), if reading => ready.map(|()| Step::Agent)?,
            ready = self.server.readable(), if !self.server_ended => ready.map(|()| Step::Server)?,
            () = until_or_never(until) => Step::Over,
        };
        match step {
            Step::Agent => match take(self.agent)? {
                Some(more) if more.is_empty() => self.agent_ended = true,
                Some(more) if !self.room.grow(more.len()) => {
                    return Err(Failure::Refused(Refusal::at_limit(Kind::Connect, Limit::Undecided)));
                }
                Some(more) => self.start.extend_from_slice(&more),
                None => {}
            },
            Step::Server => match take(self.server)? {
                Some(more) if more.is_empty() => {
                    self.server_ended = true;
                    rustix::net::shutdown(self.agent, rustix::net::Shutdown::Write)
                        .map_err(io::Error::from)?;
                }
                Some(more) => {
                    self.server_spoke = true;
                    shape::toll(self.link, more.len()).await;
                    let written = write_all(self.agent, &more).await;
                    self.link.counts.back.fetch_add(more.len() as u64, Ordering::Relaxed);
                    written?;
                }
                None => {}
            },
            Step::Over => {}
        }
        Ok(step)
    }

    /// Passes on what has come.
    async fn pass(&mut self) -> Result<(), Failure> {
        let more = &self.start[self.passed..];
        let written = write_all(self.server, more).await;
        self.link.sent(more.len());
        self.passed = self.start.len();
        Ok(written?)
    }

    fn is_range(&self) -> bool {
        matches!(self.link.target, Target::Address(_))
    }
}

/// Reads without waiting. Returns nothing when there is nothing to read yet, and no bytes at the
/// end.
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

#[cfg(test)]
pub(crate) use self::opening::tests::{judged, openings, passes};
