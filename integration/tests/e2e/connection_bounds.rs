//! Bounds of connections: a policy's number holds, and without one the run's share of the machine's
//! connection table does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::ringfence::Outcome;
use integration::testbed::{Testbed, dns};
use serde_json::Value;

use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] =
    &[("a policy's number refuses the next connection, and the share lets it through", bounded)];

/// Opens thirty connections, each of which is served, and keeps them.
const AGENT: &str = "\
import socket
to = socket.getaddrinfo('echo.test', 7778, socket.AF_INET, socket.SOCK_STREAM)[0][4]
held, refused = [], 0
for _ in range(30):
    s = socket.socket(); s.settimeout(20)
    try:
        s.connect(to); s.sendall(b'x'); assert s.recv(1) == b'x'
        held.append(s)
    except ConnectionError: refused += 1
print('made', len(held), 'refused', refused)
";

/// Runs the agent under a policy with these lines beside its rules.
fn run(bed: &Testbed, more: &str) -> Result<(Outcome, Value)> {
    let text = format!(
        "version: 1\n{more}network:\n  allow: [{{host: echo.test, ports: [7778], protocol: tcp}}]\n  \
         dns: {{upstreams: [\"{}\"]}}\n",
        dns::ADDRESS
    );
    let policy = bed.ringfence.policy_file(&text)?;
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["python3", "-c", AGENT])?;
    expect_status(&outcome, 0)?;
    let start = outcome.event(&[("reason", "start")]).context("the log has no first line")?;
    let connections = start["connections"].clone();
    Ok((outcome, connections))
}

fn bounded(bed: &Testbed) -> Result<()> {
    let (outcome, says) = run(bed, "container: {connections: 20, connections-per-second: 300}\n")?;
    expect(outcome.stdout == "made 20 refused 10\n", "the policy's number holds", &outcome)?;
    let refused = [("verdict", "deny"), ("reason", "limit"), ("host", "echo.test")];
    let event = outcome.event(&refused).context("no event says that the bound was met")?;
    ensure!(event["limit"] == "20 permitted connections at once", "{event}");
    ensure!(
        (&says["at_once"], &says["burst"], &says["per_second"]) == (&20.into(), &3000.into(), &300.into()),
        "{says}"
    );
    let lines = says["set_by"].as_array().context("the first line does not say what set the bounds")?;
    let line = |at: usize| lines.get(at).and_then(Value::as_str).unwrap_or_default();
    ensure!(line(0).starts_with("connections: 20 (run, "), "{says}");
    ensure!(line(1).starts_with("connections-per-second: 300 (run, "), "{says}");
    ensure!(says["runs"].is_null() && says["table"].is_null(), "no share has part in it: {says}");

    // Beside another run, which has its part of the table.
    let none = bed.ringfence.allowing(&[])?;
    let mut other = bed.ringfence.start(&none, &[], &bed.images.tiny, &["sh", "-c", "echo up; sleep 600"])?;
    other.wait_for_line("up", Duration::from_secs(60))?;
    let shared = run(bed, "");
    let name = other.name.clone();
    bed.ringfence.call(&["stop", &name])?;
    other.finish(Duration::from_secs(30))?;
    let (outcome, says) = shared?;
    expect(outcome.stdout == "made 30 refused 0\n", "the share lets all through", &outcome)?;
    expect(!outcome.has_event(&[("reason", "limit")]), "no bound was met", &outcome)?;
    let table: u64 = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max")?.trim().parse()?;
    ensure!(says["table"] == table && says["set_by"].is_null(), "the machine's table is {table}: {says}");
    let (runs, at_once) = (says["runs"].as_u64().unwrap_or(0), says["at_once"].as_u64().unwrap_or(0));
    ensure!(runs >= 2 && at_once == (table / 8 / runs / 4).clamp(256, 10_000), "{says}");
    Ok(())
}
