//! Plain TCP services of the internet: one that echoes, one that speaks first, as SSH does.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::dns::SERVICES;
use super::netns::Netns;

/// What the server that speaks first says.
pub const BANNER: &str = "SSH-2.0-testbed\r\n";
/// The port of the echo.
pub const ECHO_PORT: u16 = 7777;

/// Starts both.
///
/// # Errors
/// When a port cannot be bound.
pub fn start(internet: &Netns) -> Result<()> {
    serve(internet, ECHO_PORT, |mut stream| {
        let mut buffer = [0; 16 << 10];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
    })?;
    serve(internet, 22, |mut stream| {
        stream.write_all(BANNER.as_bytes()).ok();
        // It stays until the client leaves.
        std::io::copy(&mut stream, &mut std::io::sink()).ok();
    })
}

fn serve(internet: &Netns, port: u16, talk: fn(TcpStream)) -> Result<()> {
    let listener = internet
        .inside(|| TcpListener::bind((SERVICES, port)).with_context(|| format!("{SERVICES}:{port}")))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(Duration::from_secs(600))).ok();
            thread::spawn(move || talk(stream));
        }
    });
    Ok(())
}
