//! Conditions on loopback, at real connections through the gate.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::inside::guard::Guard;
use crate::inside::guard::tests::{connect, echo, eventually, guard_with, policy};
use crate::wire::control::{Change, ControlAnswer};

fn set(guard: &Guard, words: &[&str]) {
    let set = words.iter().map(|word| word.parse().unwrap()).collect();
    let answer = guard.live.make(guard, &Change::Conditions { set, host: None }).0;
    assert!(matches!(answer, ControlAnswer::Good(_)), "{answer:?}");
}

fn restore(guard: &Guard) {
    guard.live.make(guard, &Change::Restore { host: None });
}

/// Starts a server that sends so many bytes on every connection, each with its place's value, and
/// waits for the end.
async fn source(bytes: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                stream.write_all(&body(bytes)).await.ok();
                stream.shutdown().await.ok();
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
            });
        }
    });
    address
}

fn body(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn latency_delays_each_answer_and_no_byte_is_lost_or_out_of_order() {
    let (guard, _log) = guard_with(policy(), Some(echo().await), None);
    let mut agent = connect(&guard, "raw.example", 443).await;
    // Open before the condition comes.
    agent.write_all(b"x").await.unwrap();
    agent.read_u8().await.unwrap();
    set(&guard, &["latency=100ms±40ms"]);
    for _ in 0..3 {
        let begin = Instant::now();
        agent.write_all(b"x").await.unwrap();
        agent.read_u8().await.unwrap();
        let took = begin.elapsed().as_millis();
        assert!((55..400).contains(&took), "{took} ms");
    }
    // Many bytes take hardly longer than one: they wait beside each other.
    let begin = Instant::now();
    let (mut read, mut write) = agent.split();
    let all = body(600_000);
    let (written, heard) = tokio::join!(write.write_all(&all), async {
        let mut heard = vec![0; all.len()];
        read.read_exact(&mut heard).await.unwrap();
        heard
    });
    written.unwrap();
    assert!(heard == all);
    assert!(begin.elapsed().as_millis() < 3000, "{:?}", begin.elapsed());
    restore(&guard);
    let begin = Instant::now();
    agent.write_all(b"x").await.unwrap();
    agent.read_u8().await.unwrap();
    assert!(begin.elapsed().as_millis() < 55, "{:?}", begin.elapsed());
    agent.shutdown().await.unwrap();
    assert_eq!(agent.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(guard.live.pace.waiting.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_bandwidth_is_shared_by_all_and_kept() {
    // 50 kB at 800 kbit/s, that is 100 kB/s: half a second, twice for two that share it.
    let (guard, _log) = guard_with(policy(), Some(source(50_000).await), None);
    set(&guard, &["bandwidth=800kbit"]);
    let begin = Instant::now();
    let mut agents = [connect(&guard, "raw.example", 443).await, connect(&guard, "gitlab.com", 22).await];
    let [one, other] = &mut agents;
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let (one, other) = tokio::join!(one.read_to_end(&mut a), other.read_to_end(&mut b));
    one.unwrap();
    other.unwrap();
    let took = begin.elapsed().as_secs_f64();
    assert!(a == body(50_000) && b == a);
    // The first bytes of an unnamed protocol pass while it is looked at.
    assert!((0.85..1.6).contains(&took), "{took} s");
}

#[tokio::test]
async fn a_connection_is_reset_after_its_bytes() {
    let (guard, log) = guard_with(policy(), Some(source(400_000).await), None);
    set(&guard, &["reset-after=64KiB"]);
    let mut agent = connect(&guard, "raw.example", 443).await;
    let mut all = Vec::new();
    let error = agent.read_to_end(&mut all).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(all, body(65_536));
    eventually(|| log.lines().iter().any(|line| line["phase"] == "close")).await;
    let lines = log.lines();
    assert!(lines.iter().any(|line| line["reason"] == "cut" && line["host"] == "raw.example"), "{lines:?}");
    let closed = lines.iter().find(|line| line["phase"] == "close").unwrap();
    assert_eq!(closed["bytes_in"], 65_536);
    restore(&guard);
    let mut agent = connect(&guard, "raw.example", 443).await;
    let mut all = Vec::new();
    agent.read_to_end(&mut all).await.unwrap();
    assert!(all == body(400_000));
}

#[tokio::test]
async fn a_cut_holds_both_ways_and_restore_lets_go() {
    let (guard, _log) = guard_with(policy(), Some(echo().await), None);
    let mut agent = connect(&guard, "raw.example", 443).await;
    agent.write_all(b"x").await.unwrap();
    agent.read_u8().await.unwrap();
    set(&guard, &["cut"]);
    agent.write_all(b"y").await.unwrap();
    let silence = tokio::time::timeout(Duration::from_millis(300), agent.read_u8()).await;
    assert!(silence.is_err(), "{silence:?}");
    restore(&guard);
    let heard = tokio::time::timeout(Duration::from_secs(2), agent.read_u8()).await.unwrap().unwrap();
    assert_eq!(heard, b'y');
}

#[tokio::test]
async fn a_name_without_conditions_keeps_its_splice() {
    let (guard, _log) = guard_with(policy(), Some(source(3 << 20).await), None);
    let host = Some(netpolicy::host::HostPattern::parse("gitlab.com").unwrap());
    let set = vec!["bandwidth=8kbit".parse().unwrap(), "latency=5s".parse().unwrap()];
    guard.live.make(&guard, &Change::Conditions { set, host });
    let begin = Instant::now();
    let mut agent = connect(&guard, "raw.example", 443).await;
    let mut all = Vec::new();
    agent.read_to_end(&mut all).await.unwrap();
    assert!(all == body(3 << 20) && begin.elapsed().as_secs() < 3);
}

#[tokio::test]
async fn http_answers_are_shaped_too() {
    use crate::inside::guard::tests::{head, web};
    let (guard, _log) = guard_with(policy(), Some(web(false).await), None);
    let mut agent = connect(&guard, "gitlab.com", 80).await;
    let mut request = async || {
        let begin = Instant::now();
        agent.write_all(b"GET / HTTP/1.1\r\nHost: gitlab.com\r\n\r\n").await.unwrap();
        assert!(head(&mut agent).await.starts_with("HTTP/1.1 200"));
        head(&mut agent).await;
        begin.elapsed().as_millis()
    };
    let before = request().await;
    assert!(before < 100, "{before} ms");
    set(&guard, &["latency=150ms"]);
    let took = request().await;
    assert!((150..600).contains(&took), "{took} ms");
    restore(&guard);
    let after = request().await;
    assert!(after < 100, "{after} ms");
}
