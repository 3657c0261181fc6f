//! The namespaces of the measurements: a server, a name server, and redirects to the proxies.
//!
//! ```text
//!  load, proxies, name server ──veth──▶ bridge ──veth──▶ server
//! ```

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use integration::command::{ip, until};
use nix::sched::{CloneFlags, unshare};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::load::{ANSWER, HTTP_ANSWER, MESSAGE, hello_length};

/// Address of the server.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// The name server, which knows one name.
pub(crate) const DNS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 53), 53));

/// Port of the server that nobody looks into.
pub(crate) const BYTES: u16 = 5001;

/// The namespaces: this process's, and by their threads the bridge's and the server's. They end
/// with this process.
pub(crate) struct World {
    bridge: i32,
}

/// Range of virtual addresses of a proxy.
pub(crate) fn network(number: u8) -> String {
    format!("25.{number}.0.0/16")
}

/// Address that leads to a proxy.
pub(crate) fn virtual_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(25, number, 0, 1)
}

impl World {
    /// Moves this thread, and those that it starts, into a namespace of its own, and starts the
    /// servers in another, behind a bridge as an engine's networks have it.
    pub(crate) fn make() -> Result<World> {
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace of its own needs root")?;
        let (bridge, server) = (
            namespace(|| {
                loop {
                    std::thread::park()
                }
            })?,
            namespace(serve)?,
        );
        ip("link set lo up")?;
        ip("address add 198.51.100.53/32 dev lo")?;
        ip("route add local 25.0.0.0/8 dev lo")?;
        for (device, name, other) in [("own", "p0", None), ("far", "p1", Some(server))] {
            ip(&format!("link add {device} type veth peer name {name}"))?;
            ip(&format!("link set {name} netns {bridge}"))?;
            if let Some(other) = other {
                ip(&format!("link set {device} netns {other}"))?;
            }
        }
        for words in [
            "link add bridge type bridge",
            "link set bridge up",
            "link set p0 master bridge up",
            "link set p1 master bridge up",
        ] {
            ip_in(bridge, words)?;
        }
        ip("address add 198.51.100.1/24 dev own")?;
        ip("link set own up")?;
        ip_in(server, "address add 198.51.100.10/24 dev far")?;
        ip_in(server, "link set far up")?;
        let dns = UdpSocket::bind(DNS)?;
        std::thread::spawn(move || answer(&dns));
        until("the server answers", Duration::from_secs(10), || {
            std::net::TcpStream::connect((SERVER, 80)).is_ok()
        })?;
        nft("add table ip bench; add chain ip bench out { type nat hook output priority -100; }")?;
        Ok(World { bridge })
    }

    /// Makes the way to the server and back a link of 1 Gbit/s.
    pub(crate) fn slow(&self) -> Result<()> {
        for (thread, device) in [(self.bridge, "p0"), (self.bridge, "p1")] {
            let words = format!(
                "-t {thread} -n tc qdisc add dev {device} root tbf rate 1gbit burst 128k latency 50ms"
            );
            let done = Command::new("nsenter").args(words.split(' ')).status()?;
            ensure!(done.success(), "nsenter {words}: {done}");
        }
        Ok(())
    }

    /// Leads the addresses of a proxy to its sockets: for TLS, for HTTP and for bytes.
    pub(crate) fn redirect(&self, number: u8, [tls, http, bytes]: [u16; 3]) -> Result<()> {
        let chain = format!("to{number}");
        let network = network(number);
        nft(&format!(
            "add chain ip bench {chain}; flush chain ip bench {chain}; \
             add rule ip bench {chain} tcp dport 443 redirect to :{tls}; \
             add rule ip bench {chain} tcp dport 80 redirect to :{http}; \
             add rule ip bench {chain} tcp dport {BYTES} redirect to :{bytes}"
        ))?;
        let rules = Command::new("nft").args(["list", "chain", "ip", "bench", "out"]).output()?;
        if String::from_utf8_lossy(&rules.stdout).contains(&format!("jump {chain}\n")) {
            return Ok(());
        }
        nft(&format!("add rule ip bench out ip daddr {network} jump {chain}"))
    }

    /// Leads what a user's processes send to a proxy's addresses to the server: Squid dials where
    /// its client wanted to go.
    pub(crate) fn let_out(&self, number: u8, user: &str) -> Result<()> {
        let network = network(number);
        // Such an address is one of this machine's own until then, and would be the source too.
        nft(&format!(
            "add chain ip bench after {{ type nat hook postrouting priority 100; }}; \
             add rule ip bench after ip saddr {network} oifname own masquerade; \
             insert rule ip bench out meta skuid {user} ip daddr {network} dnat to {SERVER}"
        ))
    }
}

/// Starts a thread in a network namespace of its own; the thread's number.
fn namespace(work: impl FnOnce() + Send + 'static) -> Result<i32> {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let made = unshare(CloneFlags::CLONE_NEWNET).map(|()| nix::unistd::gettid().as_raw());
        let is_made = made.is_ok();
        tell.send(made).ok();
        if is_made {
            work();
        }
    });
    Ok(told.recv().context("a thread ended early")??)
}

fn ip_in(thread: i32, words: &str) -> Result<()> {
    let done = Command::new("nsenter")
        .args(["-t", &thread.to_string(), "-n", "ip"])
        .args(words.split(' '))
        .status()?;
    ensure!(done.success(), "ip {words}: {done}");
    Ok(())
}

/// Serves for ever, in the namespace of this thread.
fn serve() {
    let serve = || -> Result<()> {
        ip("link set lo up")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let mut listeners = Vec::new();
            for port in [443, 80, BYTES] {
                listeners.push((port, listener(port)?));
            }
            for (port, listener) in listeners {
                tokio::task::spawn_local(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        match port {
                            443 => _ = tokio::task::spawn_local(serve_tls(stream)),
                            80 => _ = tokio::task::spawn_local(serve_http(stream)),
                            _ => _ = tokio::task::spawn_local(serve_bytes(stream)),
                        }
                    }
                });
            }
            std::future::pending::<Result<()>>().await
        })
    };
    if let Err(error) = serve() {
        eprintln!("bench-net: the server ended: {error:#}");
    }
}

/// Listens at every address, for thousands that come at once.
fn listener(port: u16) -> Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::UNSPECIFIED, port).into())?;
    Ok(socket.listen(4096)?)
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
    serve_bytes(stream).await
}

/// Answers each message; sends a stream, or takes one, where the message wants that.
async fn serve_bytes(mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut message = [0; MESSAGE.len()];
    loop {
        stream.read_exact(&mut message).await.ok()?;
        let mut left = usize::from(u16::from_be_bytes([message[1], message[2]])) << 20;
        match message[0] {
            b'S' => {
                let part = vec![7; 1 << 18];
                while left > 0 {
                    stream.write_all(&part).await.ok()?;
                    left -= part.len();
                }
            }
            b'U' => {
                let mut part = vec![0; 1 << 18];
                while left > 0 {
                    let read = stream.read(&mut part).await.ok().filter(|read| *read > 0)?;
                    left = left.saturating_sub(read);
                }
                stream.write_all(&ANSWER).await.ok()?;
            }
            _ => stream.write_all(&ANSWER).await.ok()?,
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
