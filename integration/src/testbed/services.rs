//! Plain TCP services of the internet: one that echoes, one that holds many connections, some that
//! speak first, one that resets, one that speaks WebSocket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::libc::linger;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use super::dns::SERVICES;
use super::netns::Netns;

/// The line that the server that speaks first sends.
pub const BANNER: &str = "SSH-2.0-testbed\r\n";
/// The port of the echo.
pub const ECHO_PORT: u16 = 7777;
/// An echo for ten thousand connections, one byte at a time.
pub const HOLD_PORT: u16 = 7778;
/// A server that answers a first byte with some of its own, and a reset.
pub const RESET_PORT: u16 = 7779;
/// A mail server, as far as its first lines.
pub const MAIL_PORT: u16 = 2525;
/// The port of the WebSocket server.
pub const WEBSOCKET_PORT: u16 = 80;

/// The services' log.
#[derive(Debug, Clone, Default)]
pub struct Services {
    echoed: Arc<Mutex<Vec<Echoed>>>,
}

/// A connection to the echo that has ended.
#[derive(Debug, Clone)]
pub struct Echoed {
    /// Bytes that came.
    pub bytes: u64,
    /// True when it ended with a reset.
    pub reset: bool,
}

impl Services {
    /// Starts them all.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub fn start(internet: &Netns) -> Result<Self> {
        let services = Self::default();
        let log = services.clone();
        serve(internet, ECHO_PORT, move |stream| log.echo(stream))?;
        serve(internet, 22, |mut stream| {
            stream.write_all(BANNER.as_bytes()).ok();
            // It stays until the client leaves.
            std::io::copy(&mut stream, &mut std::io::sink()).ok();
        })?;
        serve(internet, MAIL_PORT, mail)?;
        serve(internet, RESET_PORT, |mut stream| {
            let mut first = [0];
            if stream.read_exact(&mut first).is_ok() {
                stream.write_all(b"last words").ok();
                // What was said must be on its way before the reset.
                thread::sleep(Duration::from_millis(100));
                setsockopt(&stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 }).ok();
            }
        })?;
        serve(internet, WEBSOCKET_PORT, |stream| {
            let Ok(mut socket) = tungstenite::accept(stream) else { return };
            while let Ok(message) = socket.read() {
                if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                    break;
                }
            }
        })?;
        let listener = listen(internet, HOLD_PORT)?;
        thread::spawn(move || hold(&listener));
        Ok(services)
    }

    /// The connections to the echo that ended so far.
    #[must_use]
    pub fn echoed(&self) -> Vec<Echoed> {
        self.echoed.lock().map(|log| log.clone()).unwrap_or_default()
    }

    fn echo(&self, mut stream: TcpStream) {
        let mut buffer = [0; 16 << 10];
        let mut bytes = 0;
        let reset = loop {
            match stream.read(&mut buffer) {
                Ok(0) => break false,
                Ok(length) => {
                    bytes += length as u64;
                    if stream.write_all(&buffer[..length]).is_err() {
                        break true;
                    }
                }
                Err(_) => break true,
            }
        };
        if let Ok(mut log) = self.echoed.lock() {
            log.push(Echoed { bytes, reset });
        }
    }
}

/// Greets, and says yes to every line.
fn mail(mut stream: TcpStream) {
    stream.write_all(b"220 mail.test ESMTP\r\n").ok();
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() {
        line.push(byte[0]);
        if byte[0] == b'\n' {
            let answer: &[u8] = if line.starts_with(b"QUIT") { b"221 bye\r\n" } else { b"250 yes\r\n" };
            if stream.write_all(answer).is_err() || line.starts_with(b"QUIT") {
                return;
            }
            line.clear();
        }
    }
}

/// Keeps every connection, in one thread, and sends back what comes.
fn hold(listener: &TcpListener) {
    listener.set_nonblocking(true).ok();
    let mut held: Vec<TcpStream> = Vec::new();
    loop {
        let mut waits: Vec<PollFd> = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        waits.extend(held.iter().map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN)));
        if poll(&mut waits, PollTimeout::NONE).is_err() {
            return;
        }
        let ready: Vec<bool> = waits.iter().map(|wait| wait.any().unwrap_or(false)).collect();
        let mut answers = ready[1..].iter();
        let mut buffer = [0; 4096];
        held.retain_mut(|stream| {
            if !answers.next().copied().unwrap_or(false) {
                return true;
            }
            match stream.read(&mut buffer) {
                Ok(length @ 1..) => stream.write_all(&buffer[..length]).is_ok(),
                Ok(_) => false,
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            }
        });
        while let Ok((stream, _)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                held.push(stream);
            }
        }
    }
}

fn listen(internet: &Netns, port: u16) -> Result<TcpListener> {
    internet.inside(|| TcpListener::bind((SERVICES, port)).with_context(|| format!("{SERVICES}:{port}")))
}

fn serve(internet: &Netns, port: u16, talk: impl Fn(TcpStream) + Send + Sync + 'static) -> Result<()> {
    let listener = listen(internet, port)?;
    let talk = Arc::new(talk);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(Duration::from_secs(600))).ok();
            let talk = talk.clone();
            thread::spawn(move || talk(stream));
        }
    });
    Ok(())
}
