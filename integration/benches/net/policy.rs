//! The size of a policy: how long it takes to load, and how long one decision takes.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use integration::cargo::Beside;
use integration::performance::Row;
use integration::ringfence::Ringfence;
use netpolicy::decide::{Decider, Question, Target};
use netpolicy::floor::Surroundings;
use netpolicy::host::{HostName, HostPattern};
use netpolicy::policy::{Date, Layer, Matcher, Origin, Policy, Rule};
use nix::time::{ClockId, clock_gettime};

use crate::Bench;
use crate::rows::{aimed, at_most, growth, median, row};
use crate::timed::timed;

/// Sizes of the curve: so many names, and so many ranges.
const SIZES: [u32; 5] = [10, 100, 1_000, 10_000, 100_000];
/// Decisions of one measurement.
const DECISIONS: usize = 200_000;
/// Targets among which the decisions go round: few stay in the processor's caches, as in a run.
const TARGETS: u32 = 1_000;

/// Measures decisions, then `policy check`.
///
/// # Errors
/// When a policy is not taken.
pub(crate) fn measure(bench: &Bench<'_>) -> Result<Vec<Row>> {
    (bench.say)("building ringfence");
    let executable = Ringfence::find(Beside::Nothing)?;
    let rounds = if bench.quick { 3 } else { 7 };
    let directory = tempfile::tempdir()?;
    let mut rows = Vec::new();
    let (mut loads, mut decisions) = (Vec::new(), Vec::new());
    for size in SIZES {
        (bench.say)(&format!("{size} names and {size} ranges"));
        let file = directory.path().join(format!("{size}.yml"));
        fs::write(&file, text(size)?)?;
        let mut load = Vec::new();
        for _ in 0..rounds {
            load.push(timed(Command::new(&executable).args(["policy", "check"]).arg(&file))?.0);
        }
        let decider = Decider::new(policy(size)?);
        let decision = (0..rounds).map(|_| decide(&decider, size)).collect::<Result<Vec<f64>>>()?;
        loads.push((f64::from(size), median(&load)));
        decisions.push((f64::from(size), median(&decision)));
        let own = |figures| [("ringfence".to_owned(), figures)];
        rows.push(row(&format!("`policy check` of {size} names and {size} ranges"), "ms", &own(load))?);
        let one = row(&format!("one decision over {size} names and {size} ranges"), "ns", &own(decision))?;
        let is_last = size == SIZES[SIZES.len() - 1];
        rows.push(if is_last { aimed(one, "decision", |row| at_most(row, 1000.0)) } else { one });
    }
    rows.push(growth("`policy check` by the policy's size", &loads)?);
    rows.push(growth("one decision by the policy's size", &decisions)?);
    Ok(rows)
}

fn name(number: u32) -> String {
    format!("n{number}.bench.example")
}

/// Returns a range of 16 addresses.
fn range(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(20, 0, 0, 0)) + number * 32)
}

/// Writes the policy as a person would.
fn text(size: u32) -> Result<String> {
    let mut text = "version: 1\nnetwork:\n  dns:\n    virtual-range: 25.0.0.0/13\n  allow:\n".to_owned();
    for number in 0..size {
        writeln!(text, "    - {}:443\n    - cidr: {}/28\n      ports: [5432]", name(number), range(number))?;
    }
    Ok(text)
}

/// Makes the same policy in memory.
fn policy(size: u32) -> Result<Policy> {
    let mut policy = Policy::nothing();
    policy.network_denied = false;
    for number in 0..size {
        let matchers = [
            (Matcher::Host(HostPattern::parse(&name(number))?), 443),
            (Matcher::Cidr(format!("{}/28", range(number)).parse()?), 5432),
        ];
        for (matcher, port) in matchers {
            let origin = Origin {
                layer: Layer::Run,
                file: "bench.yml".to_owned(),
                line: 1,
                text: "a rule".to_owned(),
            };
            policy.allow.push(Arc::new(Rule::new(matcher, vec![port], origin)));
        }
    }
    Ok(policy)
}

/// Decides again and again: about permitted names and addresses, and about others; nanoseconds
/// each.
fn decide(decider: &Decider, size: u32) -> Result<f64> {
    let day = "2026-12-01".parse::<Date>()?;
    let mut targets = Vec::new();
    for number in 0..TARGETS / 4 {
        let number = number.wrapping_mul(7919) % size;
        targets.push((Target::Name(HostName::parse(&name(number))?), 443));
        targets.push((Target::Name(HostName::parse(&format!("x{number}.other.example"))?), 443));
        targets.push((Target::Address(IpAddr::V4(range(number))), 5432));
        targets.push((Target::Address(IpAddr::V4(Ipv4Addr::from(u32::from(range(number)) + 17))), 5432));
    }
    let surroundings = Surroundings::default();
    // Of this thread: others on the machine do not count.
    let began = Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?);
    for round in 0..DECISIONS {
        let (target, port) = &targets[round % targets.len()];
        let question = Question::about(target, day).port(*port);
        black_box(decider.decide(&surroundings, black_box(&question)));
    }
    let spent = Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?) - began;
    Ok(spent.as_secs_f64() * 1e9 / DECISIONS as f64)
}
