//! The namespace of the measurements: a server, a name server, and redirects to the proxies.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use nix::sched::{CloneFlags, unshare};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::load::{ANSWER, HTTP_ANSWER, MESSAGE, STREAM, hello_length};

/// Address of the server.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// The name server, which knows one name.
pub(super) const DNS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 53), 53));

/// The namespace. It ends with this process.
pub(super) struct World;

/// Range of virtual addresses of a proxy.
pub(super) fn network(number: u8) -> String {
    format!("25.{number}.0.0/16")
}

/// Address that leads to a proxy.
pub(super) fn virtual_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(25, number, 0, 1)
}

impl World {
    /// Moves this thread, and those that it starts, into a namespace of its own.
    pub(super) fn make() -> Result<World> {
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace of its own needs root")?;
        for words in [
            "link set lo up",
            "address add 198.51.100.10/32 dev lo",
            "address add 198.51.100.53/32 dev lo",
            "route add local 25.0.0.0/8 dev lo",
        ] {
            let done = Command::new("ip").args(words.split(' ')).status()?;
            ensure!(done.success(), "ip {words}: {done}");
        }
        nft("add table ip bench; add chain ip bench out { type nat hook output priority -100; }")?;
        Ok(World)
    }

    /// Leads the addresses of a proxy to its socket.
    pub(super) fn redirect(&self, number: u8, tls: u16, http: u16) -> Result<()> {
        let chain = format!("to{number}");
        let network = network(number);
        nft(&format!(
            "add chain ip bench {chain}; flush chain ip bench {chain}; \
             add rule ip bench {chain} tcp dport 443 redirect to :{tls}; \
             add rule ip bench {chain} tcp dport 80 redirect to :{http}"
        ))?;
        let rules = Command::new("nft").args(["list", "chain", "ip", "bench", "out"]).output()?;
        if String::from_utf8_lossy(&rules.stdout).contains(&network) {
            return Ok(());
        }
        nft(&format!("add rule ip bench out ip daddr {network} jump {chain}"))
    }

    /// Starts the servers, on threads of their own.
    pub(super) fn serve(&self) -> Result<()> {
        let dns = UdpSocket::bind(DNS)?;
        std::thread::spawn(move || answer(&dns));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let [tls, http] = [443, 80].map(|port| runtime.block_on(TcpListener::bind((SERVER, port))));
        let (tls, http) = (tls?, http?);
        runtime.spawn(async move {
            while let Ok((stream, _)) = tls.accept().await {
                tokio::spawn(serve_tls(stream));
            }
        });
        runtime.spawn(async move {
            while let Ok((stream, _)) = http.accept().await {
                tokio::spawn(serve_http(stream));
            }
        });
        // The servers live as long as the process.
        std::mem::forget(runtime);
        Ok(())
    }
}

fn nft(rules: &str) -> Result<()> {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().context("nft has an input")?.write_all(rules.replace("; ", "\n").as_bytes())?;
    let done = child.wait()?;
    ensure!(done.success(), "nft: {done}: {rules}");
    Ok(())
}

/// Answers each question about an IPv4 address with the server's, and others with nothing.
fn answer(socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
        let Ok(bytes) = reply(&buffer[..length]) else { continue };
        socket.send_to(&bytes, peer).ok();
    }
}

fn reply(question: &[u8]) -> Result<Vec<u8>> {
    let question = Message::from_vec(question)?;
    let Some(query) = question.queries.first() else { bail!("no question") };
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.add_query(query.clone());
    if query.query_type() == RecordType::A {
        answer.add_answer(Record::from_rdata(query.name().clone(), 60, RData::A(A(SERVER))));
    }
    Ok(answer.to_vec()?)
}

/// Reads a ClientHello and answers it; then answers each message, or sends a stream.
async fn serve_tls(mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut hello = vec![0; hello_length()];
    stream.read_exact(&mut hello).await.ok()?;
    stream.write_all(&ANSWER).await.ok()?;
    let mut message = [0; MESSAGE.len()];
    loop {
        stream.read_exact(&mut message).await.ok()?;
        if message[0] == b'S' {
            let part = vec![7; 1 << 18];
            for _ in 0..STREAM / part.len() {
                stream.write_all(&part).await.ok()?;
            }
        } else {
            stream.write_all(&ANSWER).await.ok()?;
        }
    }
}

/// Answers each request of a kept connection.
async fn serve_http(mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let (mut buffer, mut held) = ([0; 4096], 0);
    loop {
        let read = stream.read(&mut buffer[held..]).await.ok().filter(|read| *read > 0)?;
        held += read;
        if buffer[..held].ends_with(b"\r\n\r\n") {
            stream.write_all(HTTP_ANSWER).await.ok()?;
            held = 0;
        }
    }
}
