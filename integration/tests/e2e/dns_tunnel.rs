//! DNS tunnels: what iodine and dnscat2 send, under a permitted name, an ancestor, a foreign name
//! and a wildcard. The judge is the upstream's log; beside it stands the same program on a plain
//! network, where every question arrives.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use integration::testbed::{Testbed, dns};
use serde_json::Value;

use crate::dns::asked_since;
use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("on a plain network a tunnel's data arrives", leaks),
    ("a tunnel moves nothing under exact names, ancestors and foreign names", nothing),
    ("a wildcard's budget bounds a tunnel", budget),
];

const SCRIPT: &str = include_str!("scripts/tunnel.py");
const EXACT: &[&str] = &["a.test", "corp.test", "test", "tunnel.test", "tunnel.invalid", "arpa"];
const QUESTIONS: usize = 6000;

fn leaks(bed: &Testbed) -> Result<()> {
    let before = bed.dns.log().len();
    let mut docker = vec!["run", "--rm", &bed.images.agent, "python3", "-c", SCRIPT, dns::ADDRESS, "120"];
    docker.extend(EXACT);
    docker.push("wild.test");
    bed.engine.docker(&docker)?;
    let asked = asked_since(bed, before);
    for domain in EXACT.iter().chain(&["wild.test"]) {
        let below = format!(".{domain} ");
        let carried = asked.iter().filter(|line| line.contains(&below)).count();
        ensure!(carried >= 10, "{carried} questions below {domain} arrived: {asked:?}");
    }
    for kind in ["NULL", "TXT", "MX", "CNAME", "SRV", "AAAA", "A"] {
        ensure!(asked.iter().any(|line| line.ends_with(&format!(" {kind}"))), "no {kind}: {asked:?}");
    }
    Ok(())
}

fn nothing(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test", "deep.corp.test"])?;
    let before = bed.dns.log().len();
    let count = QUESTIONS.to_string();
    let mut command = vec!["python3", "-c", SCRIPT, "127.0.0.11", &count];
    command.extend(EXACT);
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &command)?;
    expect_status(&outcome, 0)?;
    let said: Value = serde_json::from_str(&outcome.stdout)?;
    expect(said["silent"] == 0, "each question is answered", &outcome)?;
    expect(said["codes"]["3"] == QUESTIONS, "each with NXDOMAIN", &outcome)?;
    expect(said["data"] == serde_json::json!({}), "and without a record", &outcome)?;
    let asked = asked_since(bed, before);
    expect(asked.is_empty(), &format!("no byte reached the upstream: {asked:?}"), &outcome)
}

fn budget(bed: &Testbed) -> Result<()> {
    let rules = format!(
        "version: 1\nnetwork:\n  allow: [\"*.wild.test\"]\n  dns:\n    upstreams: [\"{}\"]\n    names-per-wildcard: 8\n",
        dns::ADDRESS
    );
    let policy = bed.ringfence.policy_file(&rules)?;
    let before = bed.dns.log().len();
    let count = QUESTIONS.to_string();
    let command = ["python3", "-c", SCRIPT, "198.51.100.53", &count, "wild.test", "deep.wild.test"];
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &command)?;
    expect_status(&outcome, 0)?;
    let said: Value = serde_json::from_str(&outcome.stdout)?;
    expect(said["silent"] == 0, "each question is answered", &outcome)?;
    expect(said["data"] == serde_json::json!({}), "without a record", &outcome)?;
    let asked = asked_since(bed, before);
    let mut names = BTreeSet::new();
    for line in &asked {
        let (name, kind) = line.split_once(' ').context("a line of the log")?;
        expect(name.ends_with("wild.test") && ["A", "AAAA"].contains(&kind), line, &outcome)?;
        names.insert(name);
    }
    expect(names.len() == 8, &format!("the budget's names, once each: {asked:?}"), &outcome)?;
    expect(asked.len() <= 16, &format!("both address types, once each: {asked:?}"), &outcome)?;
    expect(outcome.has_event(&[("reason", "name-budget")]), "an event says so", &outcome)
}
