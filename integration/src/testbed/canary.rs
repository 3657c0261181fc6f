//! Listeners that nobody may reach. Each keeps what it heard; a test fails when one heard anything.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::netns::{Netns, Networks};

/// The canaries' own port: nothing else uses it.
pub const PORT: u16 = 47_001;
/// A server of the host that listens on its loopback only.
pub const LOOPBACK_PORT: u16 = 47_002;
/// A name server that is not the guard's upstream.
pub const FOREIGN_DNS: &str = "198.51.100.54";

/// One thing that a canary heard.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Which canary.
    pub canary: String,
    /// The address of the speaker.
    pub from: SocketAddr,
    /// The first bytes, as text.
    pub bytes: String,
}

/// All canaries.
#[derive(Debug, Clone, Default)]
pub struct Canaries {
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Canaries {
    /// Starts them: on every address of the host, on the internet, the intranet and the metadata
    /// service.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub fn start(networks: &Networks) -> Result<Self> {
        let canaries = Self::default();
        let here = |address: &str, port| bind(address, port);
        canaries.listen("host", here("0.0.0.0", PORT)?);
        canaries.listen("host-v6", here("::", PORT)?);
        canaries.listen("host-loopback", here("127.0.0.1", LOOPBACK_PORT)?);
        let there = |namespace: &Netns, address: &str, port| namespace.inside(|| bind(address, port));
        canaries.listen("internet", there(&networks.internet, "0.0.0.0", PORT)?);
        canaries.listen("foreign-dns", there(&networks.internet, FOREIGN_DNS, 53)?);
        canaries.listen("intranet", there(&networks.intranet, "0.0.0.0", PORT)?);
        canaries.listen("intranet-web", there(&networks.intranet, "10.99.0.6", 443)?);
        canaries.listen("metadata", there(&networks.intranet, "169.254.169.254", 80)?);
        Ok(canaries)
    }

    /// Takes what was heard since the last call.
    pub fn take(&self) -> Vec<Heard> {
        // What is on its way still counts.
        thread::sleep(Duration::from_millis(50));
        self.heard.lock().map(|mut heard| std::mem::take(&mut *heard)).unwrap_or_default()
    }

    fn listen(&self, name: &'static str, (tcp, udp): (TcpListener, UdpSocket)) {
        let canaries = self.clone();
        thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                let Ok(from) = stream.peer_addr() else { continue };
                let to = stream.local_addr().map(|address| address.to_string()).unwrap_or_default();
                // The connection itself is already too much; the bytes come when they come.
                canaries.note(format!("{name} tcp {to}"), from, b"");
                let canaries = canaries.clone();
                thread::spawn(move || {
                    stream.set_read_timeout(Some(Duration::from_secs(1))).ok();
                    let mut buffer = [0; 256];
                    if let Ok(length @ 1..) = stream.read(&mut buffer) {
                        canaries.note(format!("{name} tcp {to}"), from, &buffer[..length]);
                    }
                });
            }
        });
        let canaries = self.clone();
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                canaries.note(format!("{name} udp"), from, &buffer[..length.min(256)]);
            }
        });
    }

    fn note(&self, canary: String, from: SocketAddr, bytes: &[u8]) {
        if let Ok(mut heard) = self.heard.lock() {
            heard.push(Heard { canary, from, bytes: String::from_utf8_lossy(bytes).into_owned() });
        }
    }
}

fn bind(address: &str, port: u16) -> Result<(TcpListener, UdpSocket)> {
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage};
    use nix::sys::socket::{bind, listen, setsockopt, socket, sockopt};

    let ip: IpAddr = address.parse()?;
    let target = SockaddrStorage::from(SocketAddr::new(ip, port));
    let family = if ip.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let make = |kind| -> Result<std::os::fd::OwnedFd> {
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
        if ip.is_ipv6() {
            // The IPv4 canary has the port too.
            setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
        }
        if kind == SockType::Stream {
            setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        }
        bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &target)
            .with_context(|| format!("a canary's port is taken: {address}:{port}"))?;
        Ok(socket)
    };
    let tcp = make(SockType::Stream)?;
    listen(&tcp, Backlog::new(64)?)?;
    Ok((tcp.into(), make(SockType::Datagram)?.into()))
}
