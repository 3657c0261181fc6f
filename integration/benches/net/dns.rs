//! The DNS filter beside dnsmasq and unbound, all answering the same names from what they hold,
//! each on the same core.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use integration::cargo::Beside;
use integration::command::{run, until};
use integration::performance::Row;
use integration::ringfence::Ringfence;
use integration::testbed::setup;
use netpolicy::host::HostPattern;
use netpolicy::policy::{Layer, Matcher, Origin, Policy, Rule};

use crate::guard::Guard;
use crate::load::{Throughput, flood, latencies, processor_time, question};
use crate::process::{Cores, Process, installed, pinned};
use crate::rows::{Better, Series, aimed, at_most, beside, ratio};
use crate::{BEFORE, Bench, spread};

/// Names that are asked again and again.
const HOT: usize = 1000;
/// Names that are asked once.
const ONCE: usize = 2000;
/// Questions of one flood.
const QUESTIONS: usize = 50_000;
/// The others, by their names.
const PEERS: [&str; 2] = ["dnsmasq", "unbound"];

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
pub(crate) fn measure(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let say = bench.say;
    setup::base(say)?;
    say("building ringfence");
    let executable = Ringfence::find(Beside::Nothing)?;
    spread()?;
    let names: Vec<String> = (0..HOT + ONCE).map(|number| format!("n{number}.bench.test")).collect();
    let mut servers = vec![guard("ringfence", &executable, &names)?];
    if let Some(before) = std::env::var_os(BEFORE) {
        servers.push(guard("ringfence before", Path::new(&before), &names)?);
    }
    for start in [dnsmasq, unbound] {
        servers.extend(start(&names, say)?);
    }

    let asked: Vec<Vec<u8>> = names.iter().map(|name| question(name)).collect::<Result<_>>()?;
    say("a name never asked before");
    let first = servers
        .iter()
        .map(|server| Ok((server.name.to_owned(), latencies(server.at, &asked[HOT..])?)))
        .collect::<Result<Vec<Series>>>()?;
    say("names that are asked again");
    let rounds = if bench.quick { 3 } else { 9 };
    let hot: Vec<Vec<u8>> = (0..QUESTIONS).map(|number| asked[number * 7 % HOT].clone()).collect();
    let (core, clock) = floods(&servers, rounds, |_| Ok(hot.clone()), 0)?;
    say("names that nobody permits, each another");
    let (refused, _) = floods(&servers, rounds, refusals, 3)?;
    let compared = |what, series: &[Series]| beside(what, "a second", series, &PEERS, Better::More);
    let is_met = |row: &Row| ratio(row, |ratio| ratio >= 1.5);
    let mut rows = vec![
        aimed(compared("answers of one core", &core)?, "dns", is_met),
        compared("answers by the clock", &clock)?,
        compared("refusals of one core, each another name", &refused)?,
        aimed(beside("a name never asked before", "µs", &first, &PEERS, Better::Less)?, "dns-first", |row| {
            at_most(row, 200.0)
        }),
    ];
    if let Some(program) = installed("dnsperf", "dnsperf", say) {
        say("dnsperf");
        let (core, clock) = dnsperf(&program, &servers, &names[..HOT], bench.quick)?;
        rows.push(compared("answers of one core, dnsperf", &core)?);
        rows.push(compared("answers by the clock, dnsperf", &clock)?);
    }
    Ok(rows)
}

/// Starts a guard that permits the names.
fn guard(name: &'static str, executable: &Path, names: &[String]) -> Result<Server> {
    let guard = Guard::start(executable, &policy(names)?, Cores::One)?;
    Ok(Server { name, at: guard.dns, pid: guard.pid(), _life: Box::new(guard) })
}

/// Lets `dnsperf` ask the servers by turns; answers a second of one core, and by the clock.
fn dnsperf(
    program: &Path,
    servers: &[Server],
    names: &[String],
    quick: bool,
) -> Result<(Vec<Series>, Vec<Series>)> {
    let directory = tempfile::tempdir()?;
    let questions = directory.path().join("questions");
    fs::write(&questions, names.iter().map(|name| format!("{name} A\n")).collect::<String>())?;
    let (rounds, seconds) = if quick { (1, "2") } else { (4, "4") };
    let empty = || servers.iter().map(|server| (server.name.to_owned(), Vec::new())).collect::<Vec<Series>>();
    let (mut cores, mut clocks) = (empty(), empty());
    for _ in 0..rounds {
        for (server, (core, clock)) in servers.iter().zip(cores.iter_mut().zip(&mut clocks)) {
            let spent = processor_time(server.pid)?;
            let port = server.at.port().to_string();
            let said = run(
                &program.display().to_string(),
                &["-s", "127.0.0.1", "-p", &port, "-d", &questions.display().to_string(), "-l", seconds],
                Duration::from_secs(60),
            )?;
            let spent = (processor_time(server.pid)? - spent).as_secs_f64();
            let field = |name: &str| {
                let line = said.lines().find(|line| line.trim_start().starts_with(name));
                line.and_then(|line| line.split_whitespace().nth(2)?.parse::<f64>().ok())
            };
            let answers =
                field("Queries completed:").context("dnsperf does not say how many answers came")?;
            clock.1.push(rate(&said).context("dnsperf says no rate")?);
            core.1.push(answers / spent);
        }
    }
    Ok((cores, clocks))
}

/// Reads the rate in what `dnsperf` says.
fn rate(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.trim_start().starts_with("Queries per second:"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// Floods the servers by turns; answers a second of one core, and by the clock.
fn floods(
    servers: &[Server],
    rounds: usize,
    questions: impl Fn(usize) -> Result<Vec<Vec<u8>>>,
    code: u8,
) -> Result<(Vec<Series>, Vec<Series>)> {
    let mut figures: Vec<(String, Vec<Throughput>)> =
        servers.iter().map(|server| (server.name.to_owned(), Vec::new())).collect();
    for round in 0..rounds {
        let questions = questions(round)?;
        for (server, (_, figures)) in servers.iter().zip(&mut figures) {
            figures.push(flood(server.at, server.pid, &questions, code)?);
        }
    }
    let of = |of: fn(&Throughput) -> f64| {
        figures.iter().map(|(name, figures)| (name.clone(), figures.iter().map(of).collect())).collect()
    };
    Ok((of(|figure| figure.by_core), of(|figure| figure.by_clock)))
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
    let child = pinned(&executable, Cores::One).args(options).arg(&file).spawn()?;
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
