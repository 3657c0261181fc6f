//! Questions to a DNS server, many at once or one after the other, and what they cost it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name, RecordType};

/// Questions under way at once.
const WINDOW: usize = 64;

/// A question for the address of a name, as a stub resolver sends it.
pub(crate) fn question(name: &str) -> Result<Vec<u8>> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name)?, RecordType::A));
    message.set_edns(Edns::new());
    Ok(message.to_vec()?)
}

/// The speed of answering.
pub(crate) struct Throughput {
    /// Answers a second by the clock.
    pub(crate) by_clock: f64,
    /// Answers a second of the server's processor time: what one core gives that nobody else uses.
    pub(crate) by_core: f64,
}

/// Asks all of these, [`WINDOW`] at once.
///
/// # Errors
/// When answers are missing or bad.
pub(crate) fn flood(server: SocketAddr, pid: u32, questions: &[Vec<u8>], code: u8) -> Result<Throughput> {
    let socket = client(server)?;
    let mut buffer = [0; 2048];
    let spent = processor_time(pid)?;
    let began = Instant::now();
    let (mut sent, mut answered) = (0, 0);
    while answered < questions.len() {
        while sent < questions.len() && sent - answered < WINDOW {
            socket.send(&questions[sent])?;
            sent += 1;
        }
        // As many as are there, at least one.
        socket.set_nonblocking(false)?;
        let mut length = socket.recv(&mut buffer).context("an answer is missing")?;
        socket.set_nonblocking(true)?;
        loop {
            if length < 12 || buffer[3] & 15 != code {
                bail!("a bad answer from {server}: {:?}", &buffer[..length]);
            }
            answered += 1;
            match socket.recv(&mut buffer) {
                Ok(next) => length = next,
                Err(_) => break,
            }
        }
    }
    let took = began.elapsed().as_secs_f64();
    let spent = (processor_time(pid)? - spent).as_secs_f64();
    let answers = answered as f64;
    Ok(Throughput { by_clock: answers / took, by_core: answers / spent })
}

/// Asks one after the other about names that are there; how long each took, in microseconds.
///
/// # Errors
/// When an answer is missing or bad.
pub(crate) fn latencies(server: SocketAddr, questions: &[Vec<u8>]) -> Result<Vec<f64>> {
    latencies_of(server, questions, 0)
}

/// Asks one after the other, where the answers have this code.
///
/// # Errors
/// When an answer is missing or bad.
pub(crate) fn latencies_of(server: SocketAddr, questions: &[Vec<u8>], code: u8) -> Result<Vec<f64>> {
    let socket = client(server)?;
    let mut buffer = [0; 2048];
    let mut times = Vec::with_capacity(questions.len());
    for question in questions {
        let began = Instant::now();
        socket.send(question)?;
        let length = socket.recv(&mut buffer).context("an answer is missing")?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
        if length < 12 || buffer[3] & 15 != code {
            bail!("a bad answer from {server}");
        }
    }
    Ok(times)
}

fn client(server: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(socket)
}

/// Adds up the processor time that all threads of a process have used.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let mut all = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        all += text.split_whitespace().next().context("no schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(all))
}
