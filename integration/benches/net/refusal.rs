//! Time until the agent knows of a refusal: in a namespace with the routes and the ruleset of a
//! fence, and a guard at its sockets.
//!
//! ```text
//!  agent ──▶ an address, a port that nobody permits ──▶ ruleset: reset
//!        ──▶ a name that nobody permits ──▶ DNS filter: NXDOMAIN
//!        ──▶ a permitted name, another in the ClientHello ──▶ gate: alert
//! ```

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration::cargo::Beside;
use integration::command::ip;
use integration::performance::Row;
use integration::ringfence::Ringfence;
use integration::testbed::setup;
use netpolicy::policy::Policy;
use netpolicy::ruleset::{self, ConnectionBounds, Cut, DNS_PORT, FencePlan, GATE_PORT};
use netpolicy::virtual_names::VirtualNames;
use nix::sched::{CloneFlags, unshare};

use crate::gate::load::hello;
use crate::gate::{policy, world};
use crate::guard::Guard;
use crate::load::{latencies_of, question};
use crate::process::Cores;
use crate::rows::{aimed, at_most, quantile, row};
use crate::{Bench, spread};

/// Address of the agent.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// An address that nobody permits.
const DENIED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// NXDOMAIN.
const NO_NAME: u8 = 3;

/// Measures each kind of refusal.
///
/// # Errors
/// When the fence cannot be made, or something is not refused.
pub(crate) fn measure(bench: &Bench<'_>) -> Result<Vec<Row>> {
    setup::base(bench.say)?;
    let executable = Ringfence::find(Beside::Nothing)?;
    let policy = policy(0)?;
    fence(&policy)?;
    spread()?;
    let _guard = Guard::at_ports(&executable, &policy, Cores::One, [GATE_PORT, DNS_PORT])?;
    let times = if bench.quick { 200 } else { 2_000 };
    let permitted = world::virtual_address(0);
    let repeated = |once: &dyn Fn() -> Result<f64>| (0..times).map(|_| once()).collect::<Result<Vec<f64>>>();
    (bench.say)("connects");
    let address = repeated(&|| refused((DENIED, 443).into()))?;
    let port = repeated(&|| refused((permitted, 22).into()))?;
    (bench.say)("names");
    let names: Vec<Vec<u8>> =
        (0..times).map(|number| question(&format!("n{number}.denied.example"))).collect::<Result<_>>()?;
    let names = latencies_of((OWN, 53).into(), &names, NO_NAME)?;
    (bench.say)("another name in the ClientHello");
    let hello = hello("other.bench.test");
    let other = (0..times.min(1_000)).map(|_| alerted(permitted, &hello)).collect::<Result<Vec<f64>>>()?;
    let mut rows = Vec::new();
    for (what, figures) in [
        ("connect to an address that nobody permits", address),
        ("connect to a port that nobody permits", port),
        ("question about a name that nobody permits", names),
        ("another name in the ClientHello", other),
    ] {
        let worst = quantile(&figures, 0.99);
        let of = |what: &str, figures| row(what, "µs", &[("ringfence".to_owned(), figures)]);
        let whole = of(what, figures)?;
        let is_first = rows.is_empty();
        rows.push(if is_first { aimed(whole, "refusal", |row| at_most(row, 1000.0)) } else { whole });
        rows.push(of(&format!("{what}, 99 of 100"), vec![worst])?);
    }
    Ok(rows)
}

/// Makes this process's network a fence, but for the proof and the lock of devices.
fn fence(policy: &Policy) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("a network namespace of its own needs root")?;
    for words in [
        "link set lo up",
        "link add eth0 type veth peer name far",
        "link set far up",
        "address add 10.0.0.2/24 dev eth0",
        "link set eth0 up",
        "route flush table main",
        "route replace local default dev lo src 10.0.0.2 table local",
    ] {
        ip(words)?;
    }
    let plan = FencePlan {
        own: OWN,
        permits: ruleset::permits(policy, &VirtualNames::new(policy)),
        links: vec!["eth0".to_owned()],
        cut: Cut::Nothing,
        connections: ConnectionBounds::MOST,
    };
    let mut nft = Command::new("nft").args(["-j", "-f", "-"]).stdin(Stdio::piped()).spawn()?;
    let rules = ruleset::ruleset(&plan).to_json()?;
    nft.stdin.take().context("nft has an input")?.write_all(rules.as_bytes())?;
    let done = nft.wait()?;
    ensure!(done.success(), "nft: {done}");
    Ok(())
}

/// Connects to what refuses; the time, in microseconds.
fn refused(to: SocketAddr) -> Result<f64> {
    let began = Instant::now();
    let tried = TcpStream::connect_timeout(&to, Duration::from_secs(5));
    let took = began.elapsed().as_secs_f64() * 1e6;
    match tried {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(took),
        other => bail!("{to} does not refuse: {other:?}"),
    }
}

/// Sends a ClientHello and waits for the alert; the time from the connect, in microseconds.
fn alerted(at: Ipv4Addr, hello: &[u8]) -> Result<f64> {
    let began = Instant::now();
    let mut stream = TcpStream::connect((at, 443))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(hello)?;
    let mut alert = [0; 7];
    stream.read_exact(&mut alert).context("no alert")?;
    ensure!(alert[0] == 0x15 && alert[6] == 49, "another answer: {alert:?}");
    Ok(began.elapsed().as_secs_f64() * 1e6)
}
