//! Corporate proxies: they answer CONNECT, know names of their own, and keep what they were asked.
//!
//! ```text
//!  3128 open │ 3129 wants credentials │ 3130 forbids everything │ 3131 never answers      on the intranet
//! ```

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::addresses;
use super::netns::Netns;

pub use super::addresses::{PROXY as ADDRESS, PROXY_INNER as INNER};

/// Takes everybody.
pub const OPEN: u16 = 3128;
/// Takes a client that shows [`CREDENTIALS`].
pub const GUARDED: u16 = 3129;
/// Forbids every target.
pub const FORBIDDING: u16 = 3130;
/// Says nothing.
pub const SILENT: u16 = 3131;
/// The credentials that [`GUARDED`] wants to see.
pub const CREDENTIALS: &str = "agent:s3cret-of-the-proxy";
/// [`CREDENTIALS`], as they travel.
const BASIC: &str = "Basic YWdlbnQ6czNjcmV0LW9mLXRoZS1wcm94eQ==";
/// One CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The proxy's port.
    pub port: u16,
    /// `name:port`.
    pub target: String,
    /// The credentials that it was shown.
    pub authorization: Option<String>,
}

/// The running proxies.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    log: Arc<Mutex<Vec<Asked>>>,
}

impl Proxies {
    /// Starts those of the intranet.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub fn start(intranet: &Netns) -> Result<Self> {
        let proxies = Self::default();
        for port in [OPEN, GUARDED, FORBIDDING, SILENT] {
            let listener = intranet
                .inside(|| TcpListener::bind((ADDRESS, port)).with_context(|| format!("{ADDRESS}:{port}")))?;
            // What it dials must leave from its own namespace.
            let proxies = proxies.clone();
            intranet.inside_for_life(move || proxies.serve(&listener, port))?;
        }
        Ok(proxies)
    }

    /// One more, open, on an address of the machine itself.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub fn start_here(&self, at: SocketAddr) -> Result<()> {
        let listener = TcpListener::bind(at).with_context(|| at.to_string())?;
        let proxies = self.clone();
        thread::spawn(move || proxies.serve(&listener, at.port()));
        Ok(())
    }

    /// Takes what they were asked since the last call.
    pub fn take(&self) -> Vec<Asked> {
        self.log.lock().map(|mut log| std::mem::take(&mut *log)).unwrap_or_default()
    }

    fn serve(&self, listener: &TcpListener, port: u16) {
        for stream in listener.incoming().flatten() {
            let proxies = self.clone();
            // A thread inherits the namespace of the one that makes it.
            thread::spawn(move || proxies.converse(stream, port));
        }
    }

    fn converse(&self, mut stream: TcpStream, port: u16) -> Option<()> {
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && head.len() < 16 << 10 {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let target = head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
        let authorization = head.lines().find_map(|line| {
            line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"))
        });
        let authorization = authorization.map(|(_, value)| value.to_owned());
        let welcome = port != GUARDED || authorization.as_deref() == Some(BASIC);
        self.log.lock().ok()?.push(Asked { port, target: target.clone(), authorization });
        let mut say = |text: &str| stream.write_all(format!("HTTP/1.1 {text}\r\n\r\n").as_bytes()).ok();
        if port == SILENT {
            thread::sleep(Duration::from_secs(30));
            return None;
        }
        if !welcome {
            return say("407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"corp\"");
        }
        if port == FORBIDDING {
            return say("403 Forbidden");
        }
        let Some(server) = resolve(&target)
            .and_then(|address| TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok())
        else {
            return say("502 Bad Gateway");
        };
        say("200 Connection established")?;
        let (mut there, mut back) = (stream.try_clone().ok()?, server.try_clone().ok()?);
        thread::spawn(move || {
            std::io::copy(&mut there, &mut back).ok();
            back.shutdown(Shutdown::Write).ok();
        });
        let mut server = server;
        std::io::copy(&mut server, &mut stream).ok();
        stream.shutdown(Shutdown::Write).ok();
        Some(())
    }
}

/// As the proxies see the world: the internet's names, and one of their own.
fn resolve(target: &str) -> Option<SocketAddr> {
    let (name, port) = target.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let address = if name == INNER { addresses::SHARED } else { addresses::of(name)?.first()? };
    Some(SocketAddr::new(address.parse().ok()?, port))
}
