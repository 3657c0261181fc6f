//! The DNS filter beside dnsmasq and unbound, all answering the same names from what they hold,
//! each on the same core.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use integration::cargo::Beside;
use integration::command::until;
use integration::ringfence::Ringfence;
use integration::testbed::setup;
use netpolicy::host::HostPattern;
use netpolicy::policy::{Layer, Matcher, Origin, Policy, Rule};

use crate::guard::Guard;
use crate::load::{Throughput, flood, latencies, question};
use crate::process::{CORE, Process, installed, pinned};
use crate::{Row, median, spread};

/// Names that are asked again and again.
const HOT: usize = 1000;
/// Names that are asked once.
const ONCE: usize = 2000;
/// Questions of one flood.
const QUESTIONS: usize = 50_000;
const ROUNDS: usize = 5;

/// One that answers.
struct Server {
    name: &'static str,
    at: SocketAddr,
    pid: u32,
    /// Ends with it.
    _life: Box<dyn std::any::Any>,
}

/// Measures all that are there.
///
/// # Errors
/// When a server does not start or does not answer.
pub(crate) fn measure(say: &dyn Fn(&str)) -> Result<Vec<Row>> {
    setup::base(say)?;
    say("building ringfence");
    let executable = Ringfence::find(Beside::Nothing)?;
    spread()?;
    let names: Vec<String> = (0..HOT + ONCE).map(|number| format!("n{number}.bench.test")).collect();
    let guard = Guard::start(&executable, &policy(&names)?, CORE)?;
    let own = Server { name: "ringfence", at: guard.dns, pid: guard.pid(), _life: Box::new(guard) };
    let mut servers = vec![own];
    for start in [dnsmasq, unbound] {
        servers.extend(start(&names, say)?);
    }

    let asked: Vec<Vec<u8>> = names.iter().map(|name| question(name)).collect::<Result<_>>()?;
    say("a name never asked before");
    let first = servers
        .iter()
        .map(|server| latencies(server.at, &asked[HOT..]).map(median))
        .collect::<Result<Vec<_>>>()?;
    say("names that are asked again");
    let hot: Vec<Vec<u8>> = (0..QUESTIONS).map(|number| asked[number * 7 % HOT].clone()).collect();
    let again = floods(&servers, |_| Ok(hot.clone()), 0)?;
    say("names that nobody permits, each another");
    let refused = floods(&servers, refusals, 3)?;

    let best = |figures: &[f64]| figures[1..].iter().copied().fold(f64::NAN, f64::max);
    let row = |what: &str, figures: &[f64], target| Row {
        what: what.to_owned(),
        own: figures[0],
        others: ["dnsmasq", "unbound"]
            .map(|name| {
                let at = servers.iter().position(|server| server.name == name);
                (name, at.map(|at| figures[at]))
            })
            .into(),
        target,
    };
    let (core, clock) = again;
    Ok(vec![
        row(
            "dns answers a second of one core",
            &core,
            // Without anybody to compare with nothing is reached.
            Some(("≥ 1.5× the better".to_owned(), core[0] >= 1.5 * best(&core))),
        ),
        row("dns answers a second by the clock", &clock, None),
        row("dns refusals a second of one core, each another name", &refused.0, None),
        row(
            "dns latency of a name never asked before, µs",
            &first,
            Some(("≤ 200 µs".to_owned(), first[0] <= 200.0)),
        ),
    ])
}

/// Floods the servers by turns; the medians by core and by clock.
fn floods(
    servers: &[Server],
    questions: impl Fn(usize) -> Result<Vec<Vec<u8>>>,
    code: u8,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut figures: Vec<Vec<Throughput>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..ROUNDS {
        let questions = questions(round)?;
        for (server, figures) in servers.iter().zip(&mut figures) {
            figures.push(flood(server.at, server.pid, &questions, code)?);
        }
    }
    let medians = |of: fn(&Throughput) -> f64| {
        figures.iter().map(|figures| median(figures.iter().map(of).collect())).collect()
    };
    Ok((medians(|figure| figure.by_core), medians(|figure| figure.by_clock)))
}

/// Questions for names below the servers' own zone that are not there.
fn refusals(round: usize) -> Result<Vec<Vec<u8>>> {
    (0..QUESTIONS).map(|number| question(&format!("r{round}-{number}.bench.test"))).collect()
}

fn policy(names: &[String]) -> Result<Policy> {
    let mut policy = Policy::nothing();
    policy.network_denied = false;
    for name in names {
        let origin = Origin { layer: Layer::Run, file: "bench.yml".to_owned(), line: 1, text: name.clone() };
        let matcher = Matcher::Host(HostPattern::parse(name)?);
        policy.allow.push(Arc::new(Rule::new(matcher, vec![443], origin)));
    }
    Ok(policy)
}

fn dnsmasq(names: &[String], say: &dyn Fn(&str)) -> Result<Option<Server>> {
    let records: String = names
        .iter()
        .enumerate()
        .map(|(number, name)| format!("host-record={name},{}\n", address(number)))
        .collect();
    let at = free()?;
    let config = format!(
        "port={}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\nno-poll\nlocal=/test/\n\
         local-ttl=60\nuser=root\nlog-facility=/dev/null\npid-file=\n{records}",
        at.port()
    );
    start("dnsmasq", "dnsmasq-base", &["--keep-in-foreground", "-C"], &config, at, say)
}

fn unbound(names: &[String], say: &dyn Fn(&str)) -> Result<Option<Server>> {
    let records: String = names
        .iter()
        .enumerate()
        .map(|(number, name)| format!("  local-data: \"{name}. 60 IN A {}\"\n", address(number)))
        .collect();
    let at = free()?;
    let config = format!(
        "server:\n  interface: 127.0.0.1\n  port: {}\n  do-daemonize: no\n  use-syslog: no\n  logfile: /dev/null\n  \
         username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  num-threads: 1\n  module-config: \"iterator\"\n  \
         local-zone: \"test.\" static\n{records}remote-control:\n  control-enable: no\n",
        at.port()
    );
    start("unbound", "unbound", &["-d", "-c"], &config, at, say)
}

/// Starts one of the others on the servers' core, if it is installed.
fn start(
    program: &'static str,
    package: &str,
    options: &[&str],
    config: &str,
    at: SocketAddr,
    say: &dyn Fn(&str),
) -> Result<Option<Server>> {
    let Some(executable) = installed(program, package, say) else { return Ok(None) };
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("config");
    fs::write(&file, config)?;
    let child = pinned(&executable).args(options).arg(&file).spawn()?;
    let process = Process::new(child, directory);
    let server = Server { name: program, at, pid: process.pid(), _life: Box::new(process) };
    let probe = question("n0.bench.test")?;
    until(&format!("{program} answers"), Duration::from_secs(60), || {
        latencies(at, std::slice::from_ref(&probe)).is_ok()
    })?;
    Ok(Some(server))
}

/// A port that was free a moment ago.
fn free() -> Result<SocketAddr> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?)
}

fn address(number: usize) -> IpAddr {
    let low = u32::try_from(number).unwrap_or(0) + 1;
    Ipv4Addr::from(u32::from(Ipv4Addr::new(25, 0, 0, 0)) + low).into()
}
