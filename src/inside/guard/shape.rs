//! Conditions on the bytes of a connection: delayed, narrowed, cut short or held.
//!
//! ```text
//!  agent ──────────────▶ bandwidth ───────────────▶ server      what the server says waits its time in a line,
//!  agent ◀── line (due) ◀── bandwidth ◀───────────── server      so that latency costs no bandwidth
//! ```
//! A wrapper around the agent's side of a connection, passed through untouched while no condition
//! concerns it. The task that polls it is polled again at every change (see
//! [`super::live::revoked`]), so bytes that are held need no waker of their own.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use netpolicy::decide::Target;
use netpolicy::host::HostName;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::gate::Link;
use super::io::Replay;
use super::live;
use super::splice::{self, Carried};
use crate::wire::conditions::{Effect, Latency};

/// The most that passes at once.
const CHUNK: usize = 16 * 1024;
/// The least that passes at once: less would be more headers than bytes.
const CRUMB: usize = 256;
/// Bytes that wait in the line of one connection, and of all.
const LINE: usize = 1 << 20;
const LINES: usize = 32 << 20;
/// Parts of a second: under a bandwidth, the bytes of one part pass at once.
const SLICES: u64 = 50;

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Direction {
    Out,
    Back,
}

/// Pace that connections under the same conditions share.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Time at which the next bytes may pass, for each bandwidth by its position among the
    /// conditions.
    next: Mutex<HashMap<(usize, Direction), Instant>>,
    /// Bytes in all lines.
    waiting: AtomicUsize,
}

impl Pace {
    /// Begins anew: the conditions have changed.
    pub(crate) fn forget(&self) {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Reserves time for bytes that passed, and returns when their sender may go on.
    fn reserve(&self, position: usize, way: Direction, bits_a_second: u64, bytes: usize) -> Instant {
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = next.entry((position, way)).or_insert(now);
        *at = (*at).max(now) + Duration::from_secs_f64(bytes as f64 * 8.0 / bits_a_second as f64);
        *at
    }
}

/// The agent's side of a connection, under the conditions of the moment.
pub(crate) struct Shaped<T> {
    link: Arc<Link>,
    inner: T,
    seen: Option<u64>,
    shape: Option<Box<Shape>>,
}

/// State of a connection under conditions.
struct Shape {
    effect: Effect,
    left: Option<u64>,
    out: Pause,
    back: Pause,
    line: Line,
}

/// A wait, when there is one.
#[derive(Default)]
struct Pause(Option<Pin<Box<Sleep>>>);

impl Pause {
    fn until(&mut self, time: Instant) {
        self.0 = (time > Instant::now()).then(|| Box::pin(sleep_until(time)));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.0 {
            ready!(sleep.as_mut().poll(context));
            self.0 = None;
        }
        Poll::Ready(())
    }
}

/// Bytes on their way to the agent, each with its time.
struct Line {
    link: Arc<Link>,
    parts: VecDeque<(Instant, Vec<u8>)>,
    given: usize,
    held: usize,
    last: Instant,
    pause: Pause,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.link.guard.live.pace.waiting.fetch_sub(self.held, Ordering::Relaxed);
    }
}

impl Line {
    fn has_room(&self, bytes: usize) -> bool {
        let all = self.link.guard.live.pace.waiting.load(Ordering::Relaxed);
        // An empty line takes a little even when the others are full, or it would never move.
        self.parts.is_empty() || (self.held + bytes <= LINE && all + bytes <= LINES)
    }

    fn push(&mut self, bytes: &[u8], latency: Option<Latency>) {
        let delay = latency.map_or(Duration::ZERO, of_the_moment);
        self.last = self.last.max(Instant::now() + delay);
        self.held += bytes.len();
        self.link.guard.live.pace.waiting.fetch_add(bytes.len(), Ordering::Relaxed);
        self.parts.push_back((self.last, bytes.to_vec()));
    }

    /// Gives the agent what is due; ready when nothing waits any more.
    fn poll_empty<T: AsyncWrite + Unpin>(
        &mut self,
        to: &mut T,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some((due, bytes)) = self.parts.front() {
            if *due > Instant::now() && self.pause.0.is_none() {
                self.pause.until(*due);
            }
            ready!(self.pause.poll(context));
            let written = ready!(Pin::new(&mut *to).poll_write(context, &bytes[self.given..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.given += written;
            if self.given == bytes.len() {
                self.held -= bytes.len();
                self.link.guard.live.pace.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                (self.given, _) = (0, self.parts.pop_front());
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Draws a delay, anywhere within the jitter.
fn of_the_moment(latency: Latency) -> Duration {
    let mut random = [0; 4];
    // Without random bytes it is the same delay each time.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    let part = f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX);
    (latency.delay + latency.jitter.mul_f64(2.0 * part)).saturating_sub(latency.jitter)
}

/// Returns the name of a connection.
pub(crate) fn name(link: &Link) -> Option<&HostName> {
    match &link.target {
        Target::Name(name) => Some(name),
        Target::Address(_) => None,
    }
}

/// Delays a server that speaks first, for as long as nobody knows the agent's protocol.
pub(super) async fn toll(link: &Link, bytes: usize) {
    let mut delayed = false;
    loop {
        let mut changes = link.guard.live.changed();
        let effect = link.guard.live.effect(name(link));
        let until = if effect.cut || effect.reset_after.is_some_and(|most| link.counts.sum() >= most) {
            if !effect.cut {
                link.standing.ended.notify_one();
            }
            None
        } else if let (Some(latency), false) = (effect.latency, delayed) {
            delayed = true;
            Some(Instant::now() + of_the_moment(latency))
        } else if let Some((position, bits)) = effect.bandwidth {
            let until = link.guard.live.pace.reserve(position, Direction::Back, bits, bytes);
            sleep_until(until).await;
            return;
        } else {
            return;
        };
        tokio::select! {
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
            _ = changes.changed() => {}
        }
    }
}

/// Carries a connection's bytes: by splice until conditions concern it, through [`Shaped`] from
/// then on.
pub(crate) async fn carry(link: &Arc<Link>, agent: &Arc<TcpStream>, server: TcpStream) -> io::Result<()> {
    match splice::both(agent, &server, &link.counts, &link.guard.pipes, || live::shaped(link)).await? {
        Carried::Ended => Ok(()),
        Carried::Stopped { to_server, to_agent } => {
            Box::pin(copy(link, agent, server, to_server, &to_agent)).await
        }
    }
}

async fn copy(
    link: &Arc<Link>,
    agent: &Arc<TcpStream>,
    mut server: TcpStream,
    to_server: Vec<u8>,
    to_agent: &[u8],
) -> io::Result<()> {
    let side = Replay::new(to_server, Arc::clone(agent), Arc::clone(&link.counts));
    let mut side = Shaped::new(Arc::clone(link), side).already_said(to_agent);
    let copied = tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut side, &mut server) => copied.map(drop),
        // An agent that is gone for good, while the server is silent.
        _ = agent.ready(Interest::ERROR) => Err(io::ErrorKind::ConnectionReset.into()),
    };
    if copied.is_err() {
        let _ = agent.set_zero_linger();
        let _ = server.set_zero_linger();
    }
    copied
}

impl<T> Shaped<T> {
    /// Returns the agent's side as it was.
    pub(crate) fn into_inner(self) -> T {
        self.inner
    }

    /// Wraps a connection's agent, under the conditions that concern the connection.
    pub(crate) fn new(link: Arc<Link>, inner: T) -> Shaped<T> {
        Shaped { link, inner, seen: None, shape: None }
    }

    /// Adds bytes that the server sent before the conditions came, and that the agent has not got:
    /// they come first.
    pub(super) fn already_said(mut self, bytes: &[u8]) -> Shaped<T> {
        self.look();
        if !bytes.is_empty() {
            let shape = self.shape.get_or_insert_with(|| Box::new(Shape::new(&self.link)));
            shape.line.push(bytes, None);
        }
        self
    }

    /// Follows the conditions when they have changed.
    fn look(&mut self) {
        let version = self.link.guard.live.version();
        if self.seen == Some(version) {
            return;
        }
        self.seen = Some(version);
        let effect = self.link.guard.live.effect(name(&self.link));
        if effect.shapes() || self.shape.is_some() {
            let shape = self.shape.get_or_insert_with(|| Box::new(Shape::new(&self.link)));
            if shape.effect.reset_after != effect.reset_after {
                shape.left = effect.reset_after;
            }
            shape.effect = effect;
            (shape.out, shape.back) = (Pause::default(), Pause::default());
        }
    }
}

impl Shape {
    fn new(link: &Arc<Link>) -> Shape {
        let line = Line {
            link: Arc::clone(link),
            parts: VecDeque::new(),
            given: 0,
            held: 0,
            last: Instant::now(),
            pause: Pause::default(),
        };
        Shape { effect: Effect::default(), left: None, out: Pause::default(), back: Pause::default(), line }
    }

    /// Returns the number of bytes that may pass at once.
    fn portion(&self, wanted: usize) -> usize {
        let slice = self.effect.bandwidth.map_or(CHUNK, |(_, bits)| {
            usize::try_from(bits / 8 / SLICES).unwrap_or(CHUNK).clamp(CRUMB, CHUNK)
        });
        let left = self.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        wanted.min(slice).min(left)
    }

    /// Counts bytes that passed, and waits for as long as they take.
    fn passed(&mut self, way: Direction, bytes: usize) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(bytes as u64);
        }
        if let Some((position, bits)) = self.effect.bandwidth {
            let until = self.line.link.guard.live.pace.reserve(position, way, bits, bytes);
            match way {
                Direction::Out => self.out.until(until),
                Direction::Back => self.back.until(until),
            }
        }
    }

    /// Tells whether bytes may pass now. When no more may pass, the connection is ended, once the
    /// agent has its part.
    fn poll_may_pass<T: AsyncWrite + Unpin>(
        &mut self,
        way: Direction,
        to: &mut T,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.effect.cut {
            return Poll::Pending;
        }
        if self.left == Some(0) {
            ready!(self.line.poll_empty(to, context))?;
            self.line.link.standing.ended.notify_one();
            return Poll::Pending;
        }
        match way {
            Direction::Out => self.out.poll(context),
            Direction::Back => self.back.poll(context),
        }
        .map(Ok)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Shaped<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.look();
        let Some(shape) = &mut this.shape else {
            return Pin::new(&mut this.inner).poll_read(context, buffer);
        };
        ready!(shape.poll_may_pass(Direction::Out, &mut this.inner, context))?;
        let portion = shape.portion(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(portion));
        ready!(Pin::new(&mut this.inner).poll_read(context, &mut part))?;
        let length = part.filled().len();
        buffer.advance(length);
        shape.passed(Direction::Out, length);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Shaped<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.look();
        let Some(shape) = &mut this.shape else {
            return Pin::new(&mut this.inner).poll_write(context, bytes);
        };
        ready!(shape.poll_may_pass(Direction::Back, &mut this.inner, context))?;
        let bytes = &bytes[..shape.portion(bytes.len())];
        let length = if shape.effect.latency.is_none() && shape.line.parts.is_empty() {
            ready!(Pin::new(&mut this.inner).poll_write(context, bytes))?
        } else {
            let emptied = shape.line.poll_empty(&mut this.inner, context);
            if let Poll::Ready(Err(error)) = emptied {
                return Poll::Ready(Err(error));
            }
            if !shape.line.has_room(bytes.len()) {
                return Poll::Pending;
            }
            shape.line.push(bytes, shape.effect.latency);
            bytes.len()
        };
        shape.passed(Direction::Back, length);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.look();
        if let Some(shape) = &mut this.shape {
            if shape.effect.cut {
                return Poll::Pending;
            }
            ready!(shape.line.poll_empty(&mut this.inner, context))?;
        }
        Pin::new(&mut this.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(context))?;
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[cfg(test)]
#[path = "shape/tests.rs"]
mod tests;
