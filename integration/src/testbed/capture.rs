//! The judge of the wire: every frame that the devices of a network namespace see, with the device
//! it came by.
//!
//! A guard's frames arrive at a bridge of the host. An agent's could arrive at the other end of the
//! fence's only cable, in the fence's own namespace. None may.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType};
use nix::sys::socket::{recvfrom, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;

/// `PACKET_OUTGOING` of linux/if_packet.h: the host itself sent the frame.
const OUTGOING: u8 = 4;

/// A frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// When it was seen.
    pub at: Instant,
    device: usize,
    bytes: Vec<u8>,
}

impl Frame {
    /// Tells whether these bytes are in its beginning.
    #[must_use]
    pub fn has(&self, bytes: &[u8]) -> bool {
        self.bytes.windows(bytes.len()).any(|part| part == bytes)
    }
}

impl std::fmt::Display for Frame {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |index: usize| self.bytes.get(index).copied().unwrap_or_default();
        let kind = u16::from_be_bytes([at(12), at(13)]);
        let v4 = |index| Ipv4Addr::new(at(index), at(index + 1), at(index + 2), at(index + 3));
        match kind {
            0x0800 => write!(formatter, "IPv4 {} -> {} protocol {}", v4(26), v4(30), at(23)),
            0x0806 => write!(formatter, "ARP {} asks for {}", v4(28), v4(38)),
            _ => write!(formatter, "ethertype {kind:#06x}, {} bytes", self.bytes.len()),
        }
    }
}

/// A capture that runs until it is dropped.
#[derive(Debug)]
pub struct Capture {
    namespace: Option<u32>,
    frames: Arc<Mutex<Vec<Frame>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Runs `work` in the network namespace of a process, or in this one.
fn within<T: Send>(process: Option<u32>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let Some(process) = process else { return work() };
    let path = format!("/proc/{process}/ns/net");
    thread::scope(|scope| {
        let entered = scope.spawn(|| {
            let namespace = File::open(&path).with_context(|| format!("cannot open {path}"))?;
            setns(namespace, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {path}"))?;
            work()
        });
        entered.join().map_err(|_| anyhow!("a thread in {path} panicked"))?
    })
}

impl Capture {
    /// Starts it on every device of the host.
    ///
    /// # Errors
    /// When there may be no packet socket.
    pub fn start() -> Result<Self> {
        Self::start_in(None)
    }

    /// Starts it on every device of the network namespace that a process is in.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or there may be no packet socket.
    pub fn start_inside(process: u32) -> Result<Self> {
        Self::start_in(Some(process))
    }

    fn start_in(namespace: Option<u32>) -> Result<Self> {
        let socket = within(namespace, || {
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
                .context("cannot open a packet socket")
        })?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 50_000))?;
        setsockopt(&socket, sockopt::RcvBuf, &(8 << 20)).ok();
        let (frames, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (sink, stopped) = (frames.clone(), stop.clone());
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, Some(from))) = recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) else {
                    continue;
                };
                if from.pkttype() == OUTGOING {
                    continue;
                }
                let bytes = buffer[..length.min(128)].to_vec();
                if let Ok(mut frames) = sink.lock() {
                    frames.push(Frame { at: Instant::now(), device: from.ifindex(), bytes });
                }
            }
        });
        Ok(Self { namespace, frames, stop, thread: Some(thread) })
    }

    /// The frames that came in by any device since a moment.
    #[must_use]
    pub fn since(&self, since: Instant) -> Vec<Frame> {
        thread::sleep(Duration::from_millis(100));
        let frames = self.frames.lock().map(|frames| frames.clone()).unwrap_or_default();
        frames.into_iter().filter(|frame| frame.at >= since).collect()
    }

    /// The frames that came in by a device since a moment. Ask while the device exists.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn came_by(&self, device: &str, since: Instant) -> Result<Vec<Frame>> {
        let index =
            within(self.namespace, || if_nametoindex(device).with_context(|| format!("no device {device}")))?;
        thread::sleep(Duration::from_millis(100));
        let frames = self.frames.lock().map(|frames| frames.clone()).unwrap_or_default();
        Ok(frames
            .into_iter()
            .filter(|frame| {
                frame.at >= since && u32::try_from(frame.device).is_ok_and(|device| device == index)
            })
            .collect())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
