//! A decision over 100,000 names and 100,000 ranges, and the loading of such a file.
//!
//! ```text
//!  100,000 names (exact, `*.x`, `.x`, allowed and denied) ─┐
//!                                                          ├─ YAML ──load──▶ Policy ──▶ Decider ──▶ 4096 questions of each kind, in turn
//!  100,000 ranges (nested, allowed and denied, IPv6 too) ──┘
//! ```
//! Every question of a round is another one, so that caches are as cold as on a busy guard. `cargo bench -p netpolicy`.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use divan::{Bencher, black_box};
use netpolicy::decide::{Decider, Question, Target};
use netpolicy::floor::Surroundings;
use netpolicy::host::HostName;
use netpolicy::load::load;
use netpolicy::policy::{Date, Layer, Policy};
use netpolicy::reach::difference;

const TODAY: Date = Date::constant(2026, 11, 25);
const ROUND: u32 = 4096;
const BASE: u32 = 44 << 24;

fn main() {
    let (names, ranges) = count(&policy());
    assert_eq!((names, ranges), (100_000, 100_000));
    divan::main();
}

fn range(first: u32, length: u8) -> String {
    format!("{}/{length}", Ipv4Addr::from(first))
}

/// The file; `salt` changes one name and one range in a thousand.
fn text(salt: u32) -> String {
    let mut text = String::from("version: 1\nnetwork:\n  allow:\n");
    let salted = |i: u32| if i.is_multiple_of(1000) { salt } else { 0 };
    for i in 0..40_000u32 {
        let _ = writeln!(text, "    - host{i}.team{}.corp.example{}", i % 97, salted(i));
    }
    for i in 0..20_000u32 {
        let _ = writeln!(text, "    - \"*.zone{i}.cloud.example\"");
        if i.is_multiple_of(2) {
            let _ = writeln!(text, "    - {{host: .domain{i}.example, ports: [443, 22]}}");
        }
    }
    for i in 0..45_000u32 {
        let _ = writeln!(text, "    - {{cidr: {}, ports: [{}]}}", range(BASE + i * 16, 28), 5432 + salted(i));
    }
    for i in 0..5_000u32 {
        let _ = writeln!(text, "    - {{cidr: {}, ports: [8443]}}", range(BASE + i * 4096, 20));
    }
    text.push_str("  deny:\n");
    for i in 0..30_000u32 {
        let _ = writeln!(text, "    - host{}.zone{}.cloud.example", i % 7, i % 20_000 + i / 20_000 * 20_000);
    }
    for i in 0..40_000u32 {
        let _ = writeln!(text, "    - {{cidr: {}}}", range(BASE + i * 16 + 8, 30));
    }
    for i in 0..10_000u32 {
        let _ = writeln!(text, "    - {{cidr: \"2606:4700:{i:x}::/48\"}}");
    }
    text
}

fn read(text: &str) -> Policy {
    let loaded = load("big.yml", Layer::Run, TODAY, &mut |_| Ok(text.to_owned()));
    loaded.unwrap_or_else(|errors| panic!("{:?}", errors.first())).policy
}

fn policy() -> Policy {
    read(&text(0))
}

fn count(policy: &Policy) -> (usize, usize) {
    let is_range = |rule: &&std::sync::Arc<netpolicy::policy::Rule>| {
        matches!(rule.matcher, netpolicy::policy::Matcher::Cidr(_))
    };
    let ranges = policy.allow.iter().chain(&policy.deny).filter(is_range).count();
    (policy.allow.len() + policy.deny.len() - ranges, ranges)
}

fn name(text: String) -> Target {
    Target::Name(HostName::parse(&text).expect("a name"))
}

fn at(bits: u32) -> Target {
    Target::Address(IpAddr::V4(Ipv4Addr::from(bits)))
}

/// Asks a round of questions again and again; each must be answered as expected.
fn ask(
    bencher: Bencher<'_, '_>,
    expected: bool,
    port: u16,
    address: Option<u32>,
    target: impl Fn(u32) -> Target,
) {
    let policy = policy();
    let surroundings = Surroundings { virtual_range: policy.dns.virtual_range, ..Surroundings::default() };
    let decider = Decider::new(policy);
    // A step that has no factor in common with the round visits all, far apart.
    let targets: Vec<Target> = (0..ROUND).map(|i| target(i.wrapping_mul(2_654_435_761) >> 7)).collect();
    let question = |target, i: u32| Question {
        address: address.map(|first| IpAddr::V4(Ipv4Addr::from(first + i * 16))),
        ..Question::about(target, TODAY).port(port)
    };
    for (i, target) in (0..).zip(&targets) {
        assert_eq!(decider.decide(&surroundings, &question(target, i)).allowed, expected, "{target}");
    }
    let mut i = 0;
    bencher.bench_local(|| {
        i = (i + 1) % ROUND;
        decider.decide(black_box(&surroundings), black_box(&question(&targets[i as usize], i)))
    });
}

#[divan::bench]
fn exact_name(bencher: Bencher<'_, '_>) {
    ask(bencher, true, 443, None, |i| {
        let i = i % 40_000;
        name(format!("host{i}.team{}.corp.example{}", i % 97, 0))
    });
}

#[divan::bench]
fn exact_name_at_an_address(bencher: Bencher<'_, '_>) {
    ask(bencher, true, 443, Some(BASE), |i| {
        let i = i % 40_000;
        name(format!("host{i}.team{}.corp.example{}", i % 97, 0))
    });
}

#[divan::bench]
fn exact_name_at_a_denied_address(bencher: Bencher<'_, '_>) {
    ask(bencher, false, 443, Some(BASE + 9), |i| {
        let i = i % 40_000;
        name(format!("host{i}.team{}.corp.example{}", i % 97, 0))
    });
}

#[divan::bench]
fn wildcard(bencher: Bencher<'_, '_>) {
    ask(bencher, true, 443, None, |i| name(format!("a.b.zone{}.cloud.example", i % 20_000)));
}

#[divan::bench]
fn denied_below_a_wildcard(bencher: Bencher<'_, '_>) {
    ask(bencher, false, 443, None, |i| {
        let i = i % 20_000;
        name(format!("host{}.zone{i}.cloud.example", i % 7))
    });
}

#[divan::bench]
fn missed_name(bencher: Bencher<'_, '_>) {
    ask(bencher, false, 443, None, |i| name(format!("a.b.c.d.nowhere{i}.example")));
}

#[divan::bench]
fn permitted_address(bencher: Bencher<'_, '_>) {
    ask(bencher, true, 5432, None, |i| at(BASE + (i % 44_999 * 16) + 16));
}

#[divan::bench]
fn denied_address(bencher: Bencher<'_, '_>) {
    ask(bencher, false, 5432, None, |i| at(BASE + (i % 40_000 * 16) + 9));
}

#[divan::bench]
fn missed_address(bencher: Bencher<'_, '_>) {
    ask(bencher, false, 5432, None, |i| at((46 << 24) + i));
}

/// YAML to a policy that can be asked.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn load_the_file(bencher: Bencher<'_, '_>) {
    let text = text(0);
    bencher.bench_local(|| Decider::new(read(black_box(&text))));
}

/// What another such policy reaches beyond it.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn difference_of_two(bencher: Bencher<'_, '_>) {
    let (old, new) = (policy(), read(&text(1)));
    bencher.bench_local(|| {
        let found = difference(black_box(&old), black_box(&new), TODAY);
        assert!(!found.opens.is_empty());
        found
    });
}
