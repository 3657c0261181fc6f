//! Things that no policy permits: every address where the host answers, the intranet, metadata,
//! tricks below the routes. The judges are the canaries and a capture on the host's side of the
//! workflow's network.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use integration::testbed::Testbed;
use integration::testbed::canary::{FOREIGN_DNS, LOOPBACK_PORT, PORT};
use integration::testbed::capture::Capture;
use integration::testbed::netns::{HOST_LAN, HOST_LINK};

use crate::{Test, attempts, expect, expect_status, probed};

pub(crate) const TESTS: &[Test] = &[
    ("addresses where the host or the office answers", addresses),
    ("no frame leaves the fence", frames),
    ("foreign name servers are the filter", foreign_dns),
    ("a refusal takes no millisecond", latency),
    ("sockets that need privilege", privileged_sockets),
    ("each refusal is in the events", events),
    ("ports that the policy does not name", ports),
];

/// The other end of the cable in the fence, where a frame of the agent's would arrive.
pub(crate) const END: &str = "eth0-end";
/// An address beside the agent's own.
const NEIGHBOUR: &str = "198.18.0.1";

/// Every address at which the host can be met, the bridges of the engine among them.
fn host_addresses(bed: &Testbed) -> Result<Vec<String>> {
    let mut addresses: Vec<String> = vec![HOST_LINK.to_owned(), HOST_LAN.to_owned()];
    let networks = bed.engine.docker(&["network", "ls", "--quiet", "--filter", "driver=bridge"])?;
    for network in networks.lines() {
        // One without an IPv4 subnet has no such address.
        addresses.extend(bed.engine.gateway(network).map(|gateway| gateway.to_string()));
    }
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

fn addresses(bed: &Testbed) -> Result<()> {
    let mut list = Vec::new();
    // The uplink exists once something ran.
    let policy = bed.ringfence.allowing(&["a.test"])?;
    expect_status(&bed.ringfence.run(&policy, &[], &bed.images.tiny, &["true"])?, 0)?;
    let mut targets = host_addresses(bed)?;
    targets.extend(
        ["10.99.0.5", "10.99.0.6", "169.254.169.254", "198.51.100.10", "198.51.100.99"].map(String::from),
    );
    for target in &targets {
        list.push(format!("tcp {target}:{PORT}"));
        list.push(format!("udp {target}:{PORT}"));
    }
    list.extend([
        "tcp 169.254.169.254:80".to_owned(),
        "tcp 10.99.0.6:443".to_owned(),
        "tcp 127.0.0.11:53".to_owned(),
        "tcp 127.0.0.1:65443".to_owned(),
        "tcp 25.0.0.1:65443".to_owned(),
        "tcp 25.0.200.200:443".to_owned(),
        format!("tcp 127.0.0.1:{LOOPBACK_PORT}"),
        format!("tcp 127.0.0.1:{PORT}"),
        format!("tcp 0.0.0.0:{PORT}"),
    ]);
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let command = attempts(&list);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &command)?;
    for line in probed(&outcome)? {
        let attempt = line["attempt"].as_str().unwrap_or_default();
        // Docker's own name server is port 53, which is the filter's: it may be reached, and
        // answers nothing.
        let filter = attempt == "tcp 127.0.0.11:53";
        expect(filter || line["ok"] == false, &format!("refused: {line}"), &outcome)?;
    }
    Ok(())
}

fn frames(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let mut running = bed.ringfence.start(&policy, &[], &bed.images.agent, &["sleep", "30"])?;
    let fence = fence_of(bed, &running.name)?;
    // Frames of the fence's making end before the agent starts.
    let capture = Capture::start_inside(bed.engine.process(&fence)?)?;
    let since = Instant::now();

    let list = escapes(NEIGHBOUR);
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let command = attempts(&list);
    // In the agent's place: same image, same namespace, same rights as an agent has.
    let network = format!("container:{fence}");
    let mut docker = vec!["run", "--rm", "--network", &network, "--cap-drop", "ALL"];
    docker.extend(["--security-opt", "no-new-privileges", &bed.images.agent]);
    docker.extend(command.iter().map(String::as_str));
    let printed = bed.engine.try_docker(&docker)?;
    let frames = capture.came_by(END, since)?;
    if let Some(frame) = frames.first() {
        anyhow::bail!(
            "{} frames left by the fence's device, the first: {frame}\n{}",
            frames.len(),
            printed.stdout
        );
    }
    anyhow::ensure!(printed.stdout.lines().count() == list.len(), "{} {}", printed.stdout, printed.stderr);
    bed.ringfence.call(&["stop", &running.name])?;
    running.wait_for_line("", Duration::ZERO).ok();
    running.finish(Duration::from_secs(30))?;
    Ok(())
}

/// All tricks that go below the routes.
pub(crate) fn escapes(gateway: &str) -> Vec<String> {
    let mut list = vec![
        format!("dontroute-tcp eth0 {gateway}:{PORT}"),
        format!("dontroute-udp eth0 {gateway}:{PORT}"),
        format!("dontroute-udp eth0 {HOST_LINK}:{PORT}"),
        format!("dontroute-udp eth0 {HOST_LAN}:{PORT}"),
        format!("dontroute-tcp eth0 {HOST_LAN}:{PORT}"),
        format!("more eth0 {gateway}:{PORT}"),
        format!("more eth0 {HOST_LAN}:{PORT}"),
        format!("broadcast eth0 {PORT}"),
        format!("multicast eth0 224.0.0.1:{PORT}"),
        format!("multicast eth0 239.255.255.250:{PORT}"),
        format!("tcp6 eth0 [fe80::1]:{PORT}"),
        format!("tcp6 eth0 [ff02::1]:{PORT}"),
        format!("icmp {gateway}"),
        format!("icmp {HOST_LAN}"),
    ];
    for target in [gateway, HOST_LINK, HOST_LAN, "10.99.0.5", "169.254.169.254"] {
        list.push(format!("tcp {target}:{PORT}"));
        list.push(format!("udp {target}:{PORT}"));
    }
    list
}

/// The container of a workflow's fence.
fn fence_of(bed: &Testbed, name: &str) -> Result<String> {
    let mut found = None;
    integration::command::until("the agent runs", Duration::from_secs(60), || {
        found = running_agent(bed);
        found.is_some()
    })
    .with_context(|| format!("workflow {name}"))?;
    let workflow = found.context("no agent")?;
    let filter = format!("label=dev.ringfence.workflow={workflow}");
    bed.engine.docker(&["ps", "--quiet", "--filter", &filter, "--filter", "label=dev.ringfence.role=fence"])
}

/// The workflow of the one agent that runs.
pub(crate) fn running_agent(bed: &Testbed) -> Option<String> {
    let format = "{{.Label \"dev.ringfence.workflow\"}}";
    let list = bed
        .engine
        .docker(&[
            "ps",
            "--filter",
            "label=dev.ringfence.role=agent",
            "--filter",
            "status=running",
            "--format",
            format,
        ])
        .ok()?;
    list.lines().next().filter(|line| !line.is_empty()).map(str::to_owned)
}

fn foreign_dns(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let before = bed.dns.log().len();
    let list = [
        format!("dns {FOREIGN_DNS} a.test"),
        format!("dns {FOREIGN_DNS} secret.leak.test"),
        "dns 10.99.0.5 secret.leak.test".to_owned(),
        "dns 127.0.0.11 secret.leak.test".to_owned(),
    ];
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let command = attempts(&list);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &command)?;
    let lines = probed(&outcome)?;
    let first = lines[0]["detail"]["addresses"][0].as_str().unwrap_or_default();
    expect(first.starts_with("25.0."), "the virtual address, whoever is asked", &outcome)?;
    for line in &lines[1..] {
        let refused =
            line["ok"] == false || line["detail"]["addresses"].as_array().is_some_and(Vec::is_empty);
        expect(refused, &format!("no address: {line}"), &outcome)?;
    }
    let leaked: Vec<String> =
        bed.dns.log()[before..].iter().filter(|line| line.contains("leak")).cloned().collect();
    expect(leaked.is_empty(), &format!("no question reached the upstream: {leaked:?}"), &outcome)
}

fn latency(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let command =
        attempts(&["median 198.51.100.99:443 200", "median 10.99.0.5:22 200", "median 25.0.0.1:8443 200"]);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &command)?;
    for line in probed(&outcome)? {
        let median = line["detail"]["median"].as_u64().unwrap_or(u64::MAX);
        expect(median <= 1000, &format!("at most 1 ms at the median: {line}"), &outcome)?;
    }
    Ok(())
}

fn privileged_sockets(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let outcome = bed.ringfence.run(
        &policy,
        &[],
        &bed.images.agent,
        &["probe", "raw", "--", "packet", "--", "icmp", "10.99.0.5", "--", "icmp", HOST_LAN],
    )?;
    for line in probed(&outcome)? {
        expect(line["ok"] == false, &format!("refused: {line}"), &outcome)?;
    }
    Ok(())
}

fn events(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let outcome = bed.ringfence.run(
        &policy,
        &[],
        &bed.images.agent,
        &[
            "probe",
            "tcp",
            "10.99.0.5:47001",
            "--",
            "tcp",
            "169.254.169.254:80",
            "--",
            "udp",
            "10.99.0.5:47001",
        ],
    )?;
    expect_status(&outcome, 0)?;
    expect(
        outcome.has_event(&[
            ("verdict", "deny"),
            ("address", "10.99.0.5"),
            ("port", "47001"),
            ("kind", "connect"),
        ]),
        "the refused connect",
        &outcome,
    )?;
    expect(outcome.has_event(&[("verdict", "deny"), ("address", "169.254.169.254")]), "metadata", &outcome)?;
    expect(
        outcome.has_event(&[("verdict", "deny"), ("kind", "datagram")]),
        "the refused datagram",
        &outcome,
    )?;
    expect(outcome.stderr.contains("10.99.0.5"), "the summary on stderr", &outcome)
}

fn ports(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["echo.test:7777/tcp"])?;
    let script = "v=$(getent ahostsv4 echo.test | head -1 | cut -d' ' -f1); \
         probe echo $v:7777 hello -- tcp $v:443 -- tcp $v:22 -- tcp $v:7778";
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["sh", "-c", script])?;
    let lines = probed(&outcome)?;
    expect(lines[0]["detail"] == "hello", "the permitted port works", &outcome)?;
    for line in &lines[1..] {
        expect(line["ok"] == false, &format!("refused: {line}"), &outcome)?;
    }
    Ok(())
}
