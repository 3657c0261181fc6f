//! The floor's addresses: those of the engine's machine, however little the supervisor sees of it,
//! and as they are now.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::{bounded, ip, until};
use integration::ringfence::Running;
use integration::testbed::Testbed;
use integration::testbed::canary::PORT;
use integration::testbed::engine::variants::Product;
use integration::testbed::netns::{HOST_LAN, HOST_LINK};

use crate::failing::{container, talking_agent_by};
use crate::leftovers::only_the_uplink;
use crate::{Test, attempts, expect, expect_status, skip};

pub(crate) const TESTS: &[Test] = &[
    ("a supervisor that does not see the engine's machine", elsewhere),
    ("the machine gets an address while the agent is connected to it", changes),
    ("the helper in the host's network dies", helper_dies),
];

const NOT_OURS: &str = "the engine is not ours, so its machine gets no further addresses";

/// Ways in which an address may be the machine's: a second one, a tunnel's, one of a range.
const FURTHER: [(&str, &str); 3] = [
    ("addr add 10.98.1.9/32 dev lo", "addr delete 10.98.1.9/32 dev lo"),
    ("addr add 10.98.7.1 peer 10.98.7.2/32 dev lo", "addr delete 10.98.7.1 peer 10.98.7.2/32 dev lo"),
    ("route add local 10.98.8.0/24 dev lo", "route delete local 10.98.8.0/24 dev lo"),
];

/// The supervisor is in a network namespace without anything, as one on another machine or in a
/// container is.
fn elsewhere(bed: &Testbed) -> Result<()> {
    if !bed.engine.is_private() {
        return skip(NOT_OURS);
    }
    let rules = format!(
        "  allow:
    - {{cidr: 10.98.0.0/16, ports: [{PORT}], private: [10.98.0.0/16], protocol: tcp}}
    - {{cidr: 10.99.0.0/24, ports: [443], private: [10.99.0.0/24], protocol: tcp}}"
    );
    let policy = bed.ringfence.policy(&rules)?;
    let of_the_host = [HOST_LAN, HOST_LINK, "10.98.1.9", "10.98.7.1", "10.98.8.7"];
    let mut list: Vec<String> = of_the_host.iter().map(|address| format!("tcp {address}:{PORT}")).collect();
    list.push("tcp 10.99.0.5:443".to_owned());
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let events = bed.fresh_directory("elsewhere")?.join("events.jsonl");
    let mut command = bed.ringfence.behind("unshare", ["--net"]);
    command.args(["run", "--policy"]).arg(&policy).arg("--events").arg(&events);
    command.arg(&bed.images.agent).args(attempts(&list));
    let added = FURTHER.iter().try_for_each(|(add, _)| ip(add).map(|_| ()));
    let output = added.and_then(|()| bounded(&mut command, b"", Duration::from_secs(120)));
    for (_, delete) in FURTHER {
        ip(delete).ok();
    }
    let output = output?;
    ensure!(output.status.success(), "{output:?}");
    // The canaries judge. The log says why, and beside it a neighbour that is not the machine is
    // reached.
    let log = std::fs::read_to_string(&events)?;
    for address in of_the_host {
        let refused = log.lines().any(|line| {
            line.contains(&format!("\"address\":\"{address}\"")) && line.contains("\"host-address\"")
        });
        ensure!(refused, "{address} is refused as the machine's own: {log}");
    }
    let reached = log.lines().any(|line| line.contains("10.99.0.5") && line.contains("\"phase\":\"open\""));
    ensure!(reached, "the control is reached: {log}\n{output:?}");
    let table = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max")?;
    let told = format!("\"table\":{}", table.trim());
    ensure!(log.contains(&told), "the helper tells the size of the machine's connection table: {log}");
    only_the_uplink(bed)
}

/// An echo that counts who came.
fn echo(listener: TcpListener) -> Arc<AtomicUsize> {
    let came = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&came);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
    came
}

const MOVING: &str = "10.99.0.88";
const STAYS: &str = "import socket
s = socket.create_connection(('10.99.0.88', 7788), 5); s.sendall(b'x'); s.recv(1); print('up', flush=True)
try:
    s.settimeout(30); print('end' if s.recv(1) == b'' else 'bytes', flush=True)
except ConnectionResetError: print('reset', flush=True)
except TimeoutError: print('open', flush=True)
try:
    s = socket.create_connection(('10.99.0.88', 7788), 5); s.sendall(b'x'); s.settimeout(5)
    print('again' if s.recv(1) else 'shut', flush=True)
except OSError: print('shut', flush=True)";

/// As with DHCP, a VPN that comes up, or an address that fails over.
fn changes(bed: &Testbed) -> Result<()> {
    if !bed.engine.is_private() {
        return skip(NOT_OURS);
    }
    let intranet = format!("/run/netns/rf{}-corp", std::process::id());
    let listener = thread::spawn(move || -> Result<TcpListener> {
        let namespace = std::fs::File::open(&intranet).with_context(|| intranet.clone())?;
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
        Ok(TcpListener::bind((MOVING, 7788))?)
    });
    let there = echo(listener.join().ok().context("a thread panicked")??);
    let rule = "  allow:\n    - {cidr: 10.99.0.0/24, ports: [7788], private: [10.99.0.0/24], protocol: tcp}";
    let policy = bed.ringfence.policy(rule)?;
    let mut running = bed.ringfence.start(&policy, &[], &bed.images.agent, &["python3", "-c", STAYS])?;
    running.wait_for_line("up", Duration::from_secs(60))?;
    // Docker's bridges are seen from here, so no helper is needed; `elsewhere` has one.
    ensure!(
        bed.engine.product() == Product::Podman || container(bed, "host").is_err(),
        "a helper where the supervisor sees the network"
    );
    ip(&format!("addr add {MOVING}/32 dev lo"))?;
    let tested = (|| -> Result<_> {
        let here = echo(TcpListener::bind((MOVING, 7788))?);
        running.wait_for_line("reset", Duration::from_secs(20))?;
        running.wait_for_line("shut", Duration::from_secs(20))?;
        Ok(here.load(Ordering::SeqCst))
    })();
    ip(&format!("addr delete {MOVING}/32 dev lo")).ok();
    let outcome = running.finish(Duration::from_secs(60))?;
    ensure!(tested? == 0, "nobody came to the machine\n{}", outcome.shown());
    ensure!(there.load(Ordering::SeqCst) == 1, "it was reached while it was a neighbour");
    expect_status(&outcome, 0)?;
    let reason = [("reason", "host-address"), ("address", MOVING), ("verdict", "deny")];
    expect(outcome.has_event(&reason), "the log says why", &outcome)?;
    expect(outcome.has_event(&[("reason", "host-addresses")]), "and that something changed", &outcome)
}

fn is_open(running: &Running) -> bool {
    running.lines().last().is_some_and(|line| line == "open")
}

/// Another takes its place; where none can, the run ends. The supervisor is in a network without
/// anything: else it would see the engine's by itself.
fn helper_dies(bed: &Testbed) -> Result<()> {
    let running = talking_agent_by(bed, bed.ringfence.behind("unshare", ["--net"]))?;
    let mut last = String::new();
    for death in 0..4 {
        let mut helper = String::new();
        until("there is a helper", Duration::from_secs(30), || {
            helper = container(bed, "host").unwrap_or_default();
            !helper.is_empty() && helper != last
        })?;
        ensure!(is_open(&running), "death {death}: {:?}", running.lines());
        bed.engine.try_docker(&["kill", "--signal", "KILL", &helper])?;
        last = helper;
    }
    let outcome = running.finish(Duration::from_secs(60))?;
    expect_status(&outcome, 123)?;
    let said = "nothing says any more which addresses the engine's machine has";
    expect(outcome.stderr.contains(said), "it says why", &outcome)?;
    only_the_uplink(bed)
}
