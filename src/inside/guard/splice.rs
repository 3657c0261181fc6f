//! Bytes from one connection to the other without a copy through this process.
//!
//! ```text
//!  agent ──splice──▶ pipe ──splice──▶ server        an end becomes shutdown(Write) on the other side,
//!  agent ◀──splice── pipe ◀──splice── server        an error becomes a reset of both
//!                     │ ▲
//!                     └─┴─ lent while bytes move, given back empty: a connection that waits holds none
//! ```
//! A few bytes at a time are read and written: two calls and no pipe, where splicing costs pages of
//! a pipe for each message. What fills the buffer is taken for a stream, and goes through a pipe.
//!
//! When conditions come to bear on a connection it stops between two bytes, and [`super::shape`]
//! goes on.
//!
//! With every pipe lent (slow readers hold theirs) bytes are peeked at, sent, and then taken by
//! exactly what was sent: slower, but nothing has to be kept either.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The most bytes that one splice moves.
const CHUNK: usize = 1 << 20;
/// The pipe of a connection that carries much.
const WIDE: usize = 1 << 20;
/// Bytes after which a connection carries much.
const MUCH: u64 = 1 << 20;
/// Pipes at once. Two descriptors each, and pages out of what the kernel lets a user have.
const PIPES: usize = 256;
/// Empty pipes that are kept for the next who needs one. Few, since all guards of a machine are one
/// user to the kernel.
const KEPT: usize = 4;
/// Bytes that are copied at once where no pipe is left. The buffer is on the stack, and only while
/// it is copied.
const COPIED: usize = 16 * 1024;
/// Bytes of a message that is read and written: most requests and small answers. What a reader that
/// stands still does not take of it is held in memory, so it bounds what a connection can hold.
const MESSAGE: usize = 4 * 1024;

/// Bytes of a connection, counted as they pass.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Bytes from the agent.
    pub(crate) out: AtomicU64,
    /// Bytes to the agent.
    pub(crate) back: AtomicU64,
}

impl Counts {
    /// Returns the sum of both counts: it changes while anything moves.
    pub(crate) fn sum(&self) -> u64 {
        self.out.load(Ordering::Relaxed).wrapping_add(self.back.load(Ordering::Relaxed))
    }
}

/// A pipe and whether it was made wide; not again where that failed.
#[derive(Debug)]
struct Pipe {
    exit: OwnedFd,
    entry: OwnedFd,
    widened: bool,
}

/// The pipes of a guard.
#[derive(Debug)]
pub(crate) struct Pipes {
    most: usize,
    stock: Mutex<Stock>,
}

#[derive(Debug, Default)]
struct Stock {
    empty: Vec<Pipe>,
    lent: usize,
}

/// A pipe on loan. What comes back with bytes in it is closed, never lent to another connection.
struct Lent<'a> {
    pipes: &'a Pipes,
    pipe: Option<Pipe>,
    inside: usize,
}

impl Default for Pipes {
    fn default() -> Pipes {
        Pipes::at_most(PIPES)
    }
}

impl Pipes {
    /// Makes a store of at most so many pipes at once.
    fn at_most(most: usize) -> Pipes {
        Pipes { most, stock: Mutex::default() }
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lends a pipe, if one is left and the kernel has one.
    fn lend(&self) -> Option<Lent<'_>> {
        let mut stock = self.stock();
        if stock.lent >= self.most {
            return None;
        }
        let pipe = match stock.empty.pop() {
            Some(pipe) => pipe,
            None => {
                let (exit, entry) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
                Pipe { exit, entry, widened: false }
            }
        };
        stock.lent += 1;
        Some(Lent { pipes: self, pipe: Some(pipe), inside: 0 })
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut stock = self.pipes.stock();
        stock.lent -= 1;
        if let Some(pipe) = self.pipe.take().filter(|_| self.inside == 0 && stock.empty.len() < KEPT) {
            stock.empty.push(pipe);
        }
    }
}

impl Lent<'_> {
    /// Moves bytes from the connection into the pipe, which is empty: only the connection can
    /// block.
    fn push(&mut self, from: &TcpStream) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let taken =
            from.try_io(Interest::READABLE, || Ok(splice(from, None, &pipe.entry, None, CHUNK, flags)?))?;
        self.inside += taken;
        Ok(taken)
    }

    /// Moves bytes from the pipe into the connection.
    fn pull(&mut self, to: &TcpStream) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let (left, flags) = (self.inside, SpliceFlags::MOVE | SpliceFlags::NONBLOCK);
        let given =
            to.try_io(Interest::WRITABLE, || match splice(&pipe.exit, None, to, None, left, flags)? {
                0 => Err(io::ErrorKind::WriteZero.into()),
                given => Ok(given),
            })?;
        self.inside -= given;
        Ok(given)
    }

    /// Takes everything out of the pipe again, into memory.
    fn take_out(&mut self) -> io::Result<Vec<u8>> {
        let Some(pipe) = &self.pipe else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let mut all = vec![0; self.inside];
        let mut taken = 0;
        while taken < all.len() {
            match rustix::io::read(&pipe.exit, &mut all[taken..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => taken += length,
            }
        }
        self.inside = 0;
        Ok(all)
    }

    /// Makes the pipe wide, once. Over the user's share of pipe memory it stays narrow.
    fn widen(&mut self) {
        if let Some(pipe) = self.pipe.as_mut().filter(|pipe| !pipe.widened) {
            pipe.widened = true;
            let _ = fcntl_setpipe_size(&pipe.entry, WIDE);
        }
    }
}

/// Reason for which carrying ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// Both directions have ended.
    Ended,
    /// Carrying was told to stop. These bytes were taken, and are still to be given.
    Stopped {
        /// Bytes from the agent.
        to_server: Vec<u8>,
        /// Bytes from the server.
        to_agent: Vec<u8>,
    },
}

/// Carries both directions until both have ended, or `stop` does. On an error both connections are
/// set to be reset.
pub(crate) async fn both<F: Future<Output = ()>>(
    agent: &TcpStream,
    server: &TcpStream,
    counts: &Counts,
    pipes: &Pipes,
    stop: impl Fn() -> F,
) -> io::Result<Carried> {
    let out = one(agent, server, &counts.out, pipes, stop());
    let moved = match tokio::try_join!(out, one(server, agent, &counts.back, pipes, stop())) {
        Ok((End::Reached, End::Reached)) => return Ok(Carried::Ended),
        Ok((out, back)) if out.stopped() || back.stopped() => {
            return Ok(Carried::Stopped { to_server: out.left(), to_agent: back.left() });
        }
        Ok(_) => io::ErrorKind::ConnectionReset.into(),
        Err(error) => error,
    };
    let _ = agent.set_zero_linger();
    let _ = server.set_zero_linger();
    Err(moved)
}

/// State of a direction.
enum End {
    /// The direction has ended, and its reader knows.
    Reached,
    /// The direction's reader is gone, so that nothing more can be carried. Bytes that this side
    /// sent before are still carried the other way.
    Gone,
    /// The direction was told to stop; these bytes were taken and not yet given.
    Stopped(Vec<u8>),
    NotYet,
}

impl End {
    fn stopped(&self) -> bool {
        matches!(self, End::Stopped(_))
    }

    fn left(self) -> Vec<u8> {
        if let End::Stopped(left) = self { left } else { Vec::new() }
    }
}

/// Carries one direction to its end. A side that has gone is noticed while the other is waited for:
/// its keepalive, or its reset, ends a connection on which nothing else would ever move.
async fn one(
    from: &TcpStream,
    to: &TcpStream,
    count: &AtomicU64,
    pipes: &Pipes,
    stop: impl Future<Output = ()>,
) -> io::Result<End> {
    let mut stop = pin!(stop);
    let mut streams = false;
    loop {
        tokio::select! {
            biased;
            () = stop.as_mut() => return Ok(End::Stopped(Vec::new())),
            ready = from.readable() => ready?,
            _ = to.ready(Interest::ERROR) => return Ok(End::Gone),
        }
        let before = count.load(Ordering::Relaxed);
        let moved = match streams.then(|| pipes.lend()) {
            None => message(from, to, count, stop.as_mut()).await,
            Some(Some(pipe)) => through(pipe, from, to, count, stop.as_mut()).await,
            Some(None) => past(from, to, count, stop.as_mut()).await,
        };
        streams = count.load(Ordering::Relaxed).wrapping_sub(before) >= MESSAGE as u64;
        match moved {
            Ok(End::Reached) => {
                return rustix::net::shutdown(to, Shutdown::Write)
                    .or_else(gone_already)
                    .map(|()| End::Reached);
            }
            Ok(End::NotYet) => {}
            Ok(end) => return Ok(end),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits until one side can be written to, and no longer than the other is there; `false` when it
/// is to stop instead.
async fn writable(
    to: &TcpStream,
    from: &TcpStream,
    stop: Pin<&mut impl Future<Output = ()>>,
) -> io::Result<bool> {
    tokio::select! {
        biased;
        () = stop => Ok(false),
        ready = to.writable() => ready.map(|()| true),
        _ = from.ready(Interest::ERROR) => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

/// Carries one message: reads it and writes it. What the other side does not take at once is kept
/// until it does.
async fn message(
    from: &TcpStream,
    to: &TcpStream,
    count: &AtomicU64,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> io::Result<End> {
    let (mut sent, mut rest) = match pass(from, to)? {
        (0, None) => return Ok(End::Reached),
        (sent, rest) => (sent, rest.unwrap_or_default()),
    };
    loop {
        count.fetch_add(sent as u64, Ordering::Relaxed);
        if rest.is_empty() {
            break;
        }
        if !writable(to, from, stop.as_mut()).await? {
            return Ok(End::Stopped(rest));
        }
        sent = match to.try_write(&rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            done => done?,
        };
        rest.drain(..sent);
    }
    // A connection that always has more must not keep the others of its thread waiting.
    tokio::task::consume_budget().await;
    Ok(End::NotYet)
}

/// Reads up to a message and writes it; how much of it was written, and the rest. Both are nothing
/// at the end. The buffer is on the stack: it would be part of every connection that waits.
fn pass(from: &TcpStream, to: &TcpStream) -> io::Result<(usize, Option<Vec<u8>>)> {
    let mut buffer = [0; MESSAGE];
    let taken = from.try_read(&mut buffer)?;
    let bytes = &buffer[..taken];
    if bytes.is_empty() {
        return Ok((0, None));
    }
    match to.try_write(bytes) {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        Ok(sent) if sent == taken => Ok((sent, None)),
        Ok(sent) => Ok((sent, Some(bytes[sent..].to_vec()))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok((0, Some(bytes.to_vec()))),
        Err(error) => Err(error),
    }
}

/// Carries through a pipe, for as long as bytes come without a wait.
async fn through(
    mut pipe: Lent<'_>,
    from: &TcpStream,
    to: &TcpStream,
    count: &AtomicU64,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> io::Result<End> {
    loop {
        if stop.as_mut().now_or_never().is_some() {
            return Ok(End::Stopped(Vec::new()));
        }
        if pipe.push(from)? == 0 {
            return Ok(End::Reached);
        }
        while pipe.inside > 0 {
            match pipe.pull(to) {
                Ok(given) => {
                    if count.fetch_add(given as u64, Ordering::Relaxed) > MUCH {
                        pipe.widen();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !writable(to, from, stop.as_mut()).await? {
                        return pipe.take_out().map(End::Stopped);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        // A connection that always has more must not keep the others of its thread waiting.
        tokio::task::consume_budget().await;
    }
}

/// Carries past the pipes: looks at the bytes that are there, sends them as far as it goes, and
/// takes only that many.
async fn past(
    from: &TcpStream,
    to: &TcpStream,
    count: &AtomicU64,
    stop: Pin<&mut impl Future<Output = ()>>,
) -> io::Result<End> {
    if !writable(to, from, stop).await? {
        return Ok(End::Stopped(Vec::new()));
    }
    let moved = from.try_io(Interest::READABLE, || {
        let mut buffer = [0; COPIED];
        let (seen, _) = recv(from, &mut buffer[..], RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
        if seen == 0 {
            return Ok(Some(0));
        }
        let sent = to.try_io(Interest::WRITABLE, || {
            Ok(send(to, &buffer[..seen], SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
        });
        let sent = match sent {
            Ok(sent) => sent,
            // Not the reader's readiness is over, but the writer's.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut left = sent;
        while left > 0 {
            let (taken, _) = recv(from, &mut buffer[..left], RecvFlags::DONTWAIT)?;
            if taken == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= taken;
        }
        Ok(Some(sent))
    })?;
    match moved {
        Some(0) => Ok(End::Reached),
        Some(sent) => {
            count.fetch_add(sent as u64, Ordering::Relaxed);
            tokio::task::consume_budget().await;
            Ok(End::NotYet)
        }
        None => Ok(End::NotYet),
    }
}

/// Ignores the error of an end that nobody is there to hear of.
fn gone_already(error: rustix::io::Errno) -> io::Result<()> {
    if error == rustix::io::Errno::NOTCONN { Ok(()) } else { Err(error.into()) }
}

#[cfg(test)]
pub(crate) mod tests;
