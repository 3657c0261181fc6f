//! DNS over UDP: datagrams in batches, on a thread of its own, so that a busy gate makes no name
//! wait.
//!
//! ```text
//!  poll ─▶ recvmmsg ─▶ each: memo, else step ─▶ sendmmsg
//!                               └─(a wildcard's name)──▶ a task: ask, then send
//! ```

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use super::memo::Memo;
use super::{DnsReply, Guard, Step, full, later, step};
use crate::inside::guard::dns;

/// Questions that may wait for the upstream at once.
const WAITING: usize = 64;
/// Datagrams that are taken at once.
const BATCH: usize = 32;
/// Room for one of them. What is longer is no question.
const SLOT: usize = 2048;

/// Answers datagrams until it is dropped. It ends by itself only when it cannot go on.
pub(crate) async fn serve_udp(socket: UdpSocket, guard: Arc<Guard>) {
    // The thread ends with the write end.
    let Ok((stopped, _stop)) = pipe_with(PipeFlags::CLOEXEC) else { return };
    let (running, ended) = oneshot::channel::<()>();
    let server = Server {
        socket: Arc::new(socket),
        guard,
        runtime: Handle::current(),
        waiting: Arc::new(Semaphore::new(WAITING)),
        memo: Memo::default(),
    };
    let thread = std::thread::Builder::new().name("dns".to_owned()).stack_size(512 * 1024).spawn(move || {
        server.run(&stopped);
        drop(running);
    });
    if thread.is_ok() {
        let _ = ended.await;
    }
}

/// State of the thread.
struct Server {
    socket: Arc<UdpSocket>,
    guard: Arc<Guard>,
    runtime: Handle,
    waiting: Arc<Semaphore>,
    memo: Memo,
}

/// Answers that wait to be sent: their bytes, one after the other, and to whom up to where.
#[derive(Default)]
struct Outbox {
    bytes: Vec<u8>,
    ends: Vec<(usize, SocketAddrAny)>,
}

impl Server {
    fn run(mut self, stopped: &OwnedFd) {
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let mut space = Box::new([[0; SLOT]; BATCH]);
        let mut outbox = Outbox::default();
        while wait(&self.socket, stopped) {
            let mut slots = space.each_mut().map(|slot| [IoSliceMut::new(slot)]);
            let received = recvmmsg(
                self.socket.as_raw_fd(),
                &mut headers,
                slots.iter_mut(),
                MsgFlags::MSG_DONTWAIT,
                None,
            );
            let Ok(received) = received else {
                // An ICMP answer to what was sent before, or no memory: neither is the end.
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            let now = Instant::now();
            self.memo.renew(self.guard.names.generation());
            let open = self.guard.closed().is_none();
            for datagram in received {
                let (Some(sender), Some(question)) = (datagram.address, datagram.iovs().next()) else {
                    continue;
                };
                // What did not fit is taken for its header alone, which promises more than is
                // there.
                let cut = datagram.flags.contains(MsgFlags::MSG_TRUNC);
                let question = if cut { &question[..dns::HEADER] } else { question };
                let sender = SocketAddrV4::new(sender.ip(), sender.port());
                if !(open && self.memo.answer(question, now, &self.guard.events, &mut outbox.bytes)) {
                    self.long_way(question, sender, now, &mut outbox.bytes);
                }
                outbox.close(sender);
            }
            outbox.send(&self.socket);
        }
    }

    /// Answers a question that is not remembered.
    fn long_way(&mut self, question: &[u8], sender: SocketAddrV4, now: Instant, out: &mut Vec<u8>) {
        match survive(|| step(&self.guard, question, None)) {
            Step::Silence | Step::Unanswered => {}
            Step::Now(DnsReply { bytes, lasting }) => {
                out.extend_from_slice(&bytes);
                if let Some(lasting) = lasting {
                    self.memo.keep(question, &bytes, lasting, now);
                }
            }
            Step::Later(asked, verdict) => {
                // Silence: the asker asks again, and by then there is room.
                let Ok(permit) = Arc::clone(&self.waiting).try_acquire_owned() else {
                    full(&self.guard, format!("{WAITING} questions at once that wait for the upstream"));
                    return;
                };
                let (socket, guard) = (Arc::clone(&self.socket), Arc::clone(&self.guard));
                self.runtime.spawn(async move {
                    let answer = later(&guard, &asked, verdict, None).await;
                    // The asker asks again if it is lost.
                    let _ = socket.send_to(&answer, sender);
                    drop(permit);
                });
            }
        }
    }
}

/// Runs a step that ends in silence, not in the end of the guard, when some bytes should find a
/// fault in a parser.
fn survive(step: impl FnOnce() -> Step) -> Step {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(step)).unwrap_or(Step::Silence)
}

/// Waits for datagrams; `false` when it is to stop.
fn wait(socket: &UdpSocket, stopped: &OwnedFd) -> bool {
    let mut both = [PollFd::new(socket, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
    match poll(&mut both, None::<&Timespec>) {
        Ok(_) => both[1].revents().is_empty(),
        Err(error) => error == Errno::INTR,
    }
}

impl Outbox {
    /// Ends an answer; one without a byte is none.
    fn close(&mut self, to: SocketAddrV4) {
        let begin = self.ends.last().map_or(0, |(end, _)| *end);
        if self.bytes.len() > begin {
            self.ends.push((self.bytes.len(), to.as_any()));
        }
    }

    /// Sends all; who gets none asks again.
    fn send(&mut self, socket: &UdpSocket) {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        let slices: Vec<_> = begins
            .zip(&self.ends)
            .map(|(begin, (end, _))| [IoSlice::new(&self.bytes[begin..*end])])
            .collect();
        let mut nothing: Vec<_> = slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let mut messages: Vec<_> = slices
            .iter()
            .zip(&self.ends)
            .zip(&mut nothing)
            .map(|((slice, (_, to)), nothing)| MMsgHdr::new_with_addr(to, slice, nothing))
            .collect();
        let mut rest = &mut messages[..];
        while !rest.is_empty() {
            // An error is the first one's: it is left out.
            let done = match sendmmsg(socket, rest, SendFlags::DONTWAIT) {
                Ok(sent) => sent.max(1),
                Err(Errno::INTR) => 0,
                Err(_) => 1,
            };
            rest = &mut rest[done..];
        }
        self.bytes.clear();
        self.ends.clear();
    }
}
