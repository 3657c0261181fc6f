//! The attacker: tries one way out of a fence after the other and prints a JSON line for each.
//!
//! `probe ATTEMPT [-- ATTEMPT]…`, an attempt being one of
//!
//! ```text
//!  tcp A:P              a plain connection            dontroute-tcp DEV A:P   bound to a device, without routes
//!  udp A:P              a datagram                    dontroute-udp DEV A:P
//!  more DEV A:P         MSG_MORE, then bound to a     broadcast DEV P         to everybody on the link
//!                       device, then sent             multicast DEV A:P       to a group
//!  tcp6 [A%DEV]:P       link-local IPv6               raw, packet, icmp A     sockets that need privilege
//!  dns A NAME           a question to any server      tls-hello A:P NAME      a ClientHello for any name
//!  median A:P N         N connections: the median     echo A:P TEXT           what comes back
//!  begin                says so                       loop A:P SECONDS        connects again and again
//! ```
//!
//! `ok` means that the attempt got through as far as this side can tell; the judges are outside.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage,
    connect, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(2);

/// Tries all attempts; the lines go to standard output.
///
/// # Errors
/// When an attempt is not understood. An attempt that fails is a result, not an error.
pub fn main(arguments: &[String]) -> Result<()> {
    for attempt in arguments.split(|argument| argument == "--") {
        let words: Vec<&str> = attempt.iter().map(String::as_str).collect();
        let began = Instant::now();
        let result = attempt_one(&words);
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut line = json!({"attempt": words.join(" "), "ok": result.is_ok(), "micros": micros});
        match result {
            Ok(Value::Null) => {}
            Ok(detail) => line["detail"] = detail,
            Err(error) => {
                if error.downcast_ref::<Misunderstood>().is_some() {
                    return Err(error);
                }
                line["error"] = format!("{error:#}").into();
            }
        }
        println!("{line}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

#[derive(Debug)]
struct Misunderstood(String);

impl std::fmt::Display for Misunderstood {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "no such attempt: {}", self.0)
    }
}

impl std::error::Error for Misunderstood {}

fn attempt_one(words: &[&str]) -> Result<Value> {
    // What is sent is the attempt itself, so that a canary's log says which one got through.
    let payload = words.join(" ");
    let payload = payload.as_bytes();
    match *words {
        ["begin"] => Ok(Value::Null),
        ["tcp", to] => {
            let mut stream = TcpStream::connect_timeout(&address(to)?, LIMIT)?;
            stream.write_all(payload)?;
            Ok(Value::Null)
        }
        ["echo", to, text] => {
            let mut stream = TcpStream::connect_timeout(&address(to)?, LIMIT)?;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.write_all(text.as_bytes())?;
            let mut buffer = [0; 1024];
            let length = stream.read(&mut buffer)?;
            if length == 0 {
                bail!("closed");
            }
            Ok(String::from_utf8_lossy(&buffer[..length]).into())
        }
        ["udp", to] => {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.send_to(payload, address(to)?)?;
            Ok(Value::Null)
        }
        ["dontroute-tcp", device, to] => {
            let socket = plain(SockType::Stream)?;
            bind_to(&socket, device)?;
            setsockopt(&socket, sockopt::DontRoute, &true)?;
            setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(1, 0))?;
            connect(socket.as_raw_fd(), &SockaddrStorage::from(address(to)?))?;
            Ok(Value::Null)
        }
        ["dontroute-udp", device, to] => {
            let socket = plain(SockType::Datagram)?;
            bind_to(&socket, device)?;
            setsockopt(&socket, sockopt::DontRoute, &true)?;
            sendto(socket.as_raw_fd(), payload, &SockaddrStorage::from(address(to)?), MsgFlags::empty())?;
            Ok(Value::Null)
        }
        ["more", device, to] => {
            // Corked data is routed once, by lo; then the socket is bound to the device and the
            // rest sent.
            let socket = plain(SockType::Datagram)?;
            let to = SockaddrStorage::from(address(to)?);
            sendto(socket.as_raw_fd(), payload, &to, MsgFlags::from_bits_retain(nix::libc::MSG_MORE))?;
            bind_to(&socket, device)?;
            setsockopt(&socket, sockopt::DontRoute, &true)?;
            sendto(socket.as_raw_fd(), payload, &to, MsgFlags::empty())?;
            Ok(Value::Null)
        }
        ["broadcast", device, port] => {
            let socket = plain(SockType::Datagram)?;
            setsockopt(&socket, sockopt::Broadcast, &true)?;
            bind_to(&socket, device)?;
            let to = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::BROADCAST, port.parse()?));
            sendto(socket.as_raw_fd(), payload, &to, MsgFlags::empty())?;
            Ok(Value::Null)
        }
        ["multicast", device, to] => {
            let socket = plain(SockType::Datagram)?;
            bind_to(&socket, device)?;
            sendto(socket.as_raw_fd(), payload, &SockaddrStorage::from(address(to)?), MsgFlags::empty())?;
            Ok(Value::Null)
        }
        ["tcp6", device, to] => {
            let SocketAddr::V6(mut to) = address(to)? else { bail!("not an IPv6 address") };
            to.set_scope_id(nix::net::if_::if_nametoindex(device)?);
            let socket = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(1, 0))?;
            connect(socket.as_raw_fd(), &SockaddrIn6::from(to))?;
            Ok(Value::Null)
        }
        ["raw"] => {
            socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Icmp)?;
            Ok(Value::Null)
        }
        ["packet"] => {
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll)?;
            Ok(Value::Null)
        }
        ["icmp", to] => {
            // A ping socket: open to users on many machines.
            let socket =
                socket(AddressFamily::Inet, SockType::Datagram, SockFlag::empty(), SockProtocol::Icmp)?;
            let to = SocketAddrV4::new(to.parse()?, 0);
            sendto(socket.as_raw_fd(), &[8, 0, 0, 0, 0, 1, 0, 1], &SockaddrIn::from(to), MsgFlags::empty())?;
            Ok(Value::Null)
        }
        ["dns", server, name] => ask(server, name),
        ["tls-hello", to, name] => hello(to, name),
        ["median", to, count] => {
            let to = address(to)?;
            let mut times = Vec::new();
            for _ in 0..count.parse::<usize>()? {
                let began = Instant::now();
                if TcpStream::connect_timeout(&to, LIMIT).is_ok() {
                    bail!("connected");
                }
                times.push(u64::try_from(began.elapsed().as_micros())?);
            }
            times.sort_unstable();
            Ok(json!({"median": times[times.len() / 2], "worst": times.last()}))
        }
        ["loop", to, seconds] => connect_for(&address(to)?, Duration::from_secs(seconds.parse()?)),
        _ => Err(Misunderstood(words.join(" ")).into()),
    }
}

/// Connects every 50 ms and prints a line when what happens changes.
fn connect_for(to: &SocketAddr, time: Duration) -> Result<Value> {
    let end = Instant::now() + time;
    let mut last = None;
    while Instant::now() < end {
        // A connection that is accepted and closed without an answer did not work.
        let works = TcpStream::connect_timeout(to, LIMIT).and_then(|mut stream| {
            stream.set_read_timeout(Some(LIMIT))?;
            stream.write_all(b"?")?;
            stream.read_exact(&mut [0])
        });
        let works = works.is_ok();
        if last != Some(works) {
            println!("{}", if works { "open" } else { "shut" });
            std::io::stdout().flush()?;
            last = Some(works);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(json!({"open": last}))
}

fn ask(server: &str, name: &str) -> Result<Value> {
    use hickory_proto::op::{Message, Query};
    use hickory_proto::rr::{Name, RData, RecordType};

    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(Name::from_ascii(format!("{name}."))?, RecordType::A));
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(LIMIT))?;
    let to: SocketAddr =
        if server.contains(':') { server.parse()? } else { format!("{server}:53").parse()? };
    socket.send_to(&question.to_vec()?, to)?;
    let mut buffer = [0; 4096];
    let (length, _) = socket.recv_from(&mut buffer)?;
    let answer = Message::from_vec(&buffer[..length])?;
    let addresses: Vec<String> = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(address.0.to_string()),
            _ => None,
        })
        .collect();
    Ok(json!({"code": answer.metadata.response_code.to_string(), "addresses": addresses}))
}

/// Sends a real ClientHello for `name`; ok when a ServerHello comes back.
fn hello(to: &str, name: &str) -> Result<Value> {
    use std::sync::Arc;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let server = rustls::pki_types::ServerName::try_from(name.to_owned())?;
    let mut client = rustls::ClientConnection::new(Arc::new(config), server)?;
    let mut stream = TcpStream::connect_timeout(&address(to)?, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    client.write_tls(&mut stream)?;
    let mut head = [0; 6];
    stream.read_exact(&mut head)?;
    match head {
        // Handshake, ServerHello.
        [22, _, _, _, _, 2] => Ok(Value::Null),
        [21, ..] => {
            let mut description = [0];
            stream.read_exact(&mut description)?;
            bail!("alert {}", description[0])
        }
        other => bail!("not TLS: {other:?}"),
    }
}

fn plain(kind: SockType) -> Result<OwnedFd> {
    Ok(socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?)
}

fn bind_to(socket: &OwnedFd, device: &str) -> Result<()> {
    setsockopt(socket, sockopt::BindToDevice, &device.into()).with_context(|| format!("bind to {device}"))
}

fn address(text: &str) -> Result<SocketAddr> {
    text.parse().with_context(|| format!("{text} is no address with a port"))
}
