//! Upstreams: encrypted ones, split DNS, fail-over, answers that point inside. The upstream's own
//! log is the judge.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration::ringfence::Outcome;
use integration::testbed::dns::{self, Dns};
use integration::testbed::{Testbed, encrypted_dns};

use crate::{Test, attempts, expect, expect_status, probed};

pub(crate) const TESTS: &[Test] = &[
    ("DNS over TLS", over_tls),
    ("a DNS over TLS certificate of another name", wrong_certificate),
    ("DNS over HTTPS by address and by name", over_https),
    ("split DNS", split),
    ("a dead upstream", dead),
    ("no form of a rebinding answer gets through", rebinding),
    ("reserved answers of a VPN's resolver", fake_range),
    ("an exact name causes no question until it is connected to", no_question),
];

/// A policy with `dns` as the text below `network.dns`.
fn policy(bed: &Testbed, rules: &str, dns: &str) -> Result<PathBuf> {
    bed.ringfence.policy_file(&format!("version: 1\nnetwork:\n  allow:\n{rules}\n  dns:\n{dns}\n"))
}

fn curl(bed: &Testbed, policy: &std::path::Path, urls: &[&str]) -> Result<Outcome> {
    let command = [&["curl", "-sS", "--max-time", "20"], urls].concat();
    bed.ringfence.run(policy, &[], &bed.images.agent, &command)
}

/// Returns the result of `work`, and what a name server was asked while it ran.
fn asked<T>(dns: &Dns, work: impl FnOnce() -> Result<T>) -> Result<(T, Vec<String>)> {
    let before = dns.log().len();
    let done = work()?;
    Ok((done, dns.log().split_off(before)))
}

/// Certificates of `dns.test` are for `dns.test`: with the plain server beside it, nobody but the
/// encrypted one is asked.
fn over_tls(bed: &Testbed) -> Result<()> {
    let upstream = format!("    upstreams: [\"tls://{}#{}\"]", dns::ADDRESS, encrypted_dns::NAME);
    let policy = policy(bed, "    - a.test", &upstream)?;
    let ((outcome, encrypted), plain) =
        asked(&bed.dns, || asked(&bed.encrypted_dns.tls, || curl(bed, &policy, &["https://a.test/tls"])))?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout == "a.test /tls\n", "the page", &outcome)?;
    ensure!(encrypted.contains(&"a.test A".to_owned()), "the encrypted one was asked: {encrypted:?}");
    ensure!(plain.is_empty(), "the plain one was not: {plain:?}");
    Ok(())
}

fn wrong_certificate(bed: &Testbed) -> Result<()> {
    let upstream = format!("    upstreams: [\"tls://{}#other.test\"]", dns::ADDRESS);
    let policy = policy(bed, "    - a.test", &upstream)?;
    let (outcome, encrypted) = asked(&bed.encrypted_dns.tls, || curl(bed, &policy, &["https://a.test/"]))?;
    expect(outcome.status != 0, "curl fails", &outcome)?;
    ensure!(encrypted.is_empty(), "nothing was asked: {encrypted:?}");
    let event = outcome.event(&[("reason", "resolve-failed"), ("host", "a.test")]);
    let error = event.and_then(|event| event["error"].as_str()).unwrap_or_default();
    expect(error.contains("certificate"), "the event says why", &outcome)
}

fn over_https(bed: &Testbed) -> Result<()> {
    // By name it needs the engine's own upstream, which is the testbed's for a private engine.
    let mut servers = vec![format!("https://{}{}", encrypted_dns::NAME, encrypted_dns::PATH)];
    if !bed.engine.is_private() {
        eprintln!("the engine's own upstream is not the testbed's: not tried by name");
        servers.clear();
    }
    for server in &servers {
        let policy = policy(bed, "    - a.test", &format!("    upstreams: [\"{server}\"]"))?;
        let ((outcome, encrypted), plain) = asked(&bed.dns, || {
            asked(&bed.encrypted_dns.https, || curl(bed, &policy, &["https://a.test/https"]))
        })?;
        expect_status(&outcome, 0)?;
        ensure!(encrypted.contains(&"a.test A".to_owned()), "the encrypted one was asked: {encrypted:?}");
        ensure!(
            plain.iter().all(|question| question.starts_with("dns.test ")) && !plain.is_empty(),
            "the plain one was asked for the encrypted one alone: {plain:?}"
        );
    }
    // By address its certificate must carry the address, which it does not.
    let server = format!("https://{}{}", dns::ADDRESS, encrypted_dns::PATH);
    let policy = policy(bed, "    - a.test", &format!("    upstreams: [\"{server}\"]"))?;
    let outcome = curl(bed, &policy, &["https://a.test/"])?;
    expect(outcome.has_event(&[("reason", "resolve-failed")]), "refused by its certificate", &outcome)
}

fn split(bed: &Testbed) -> Result<()> {
    let dns =
        format!("    upstreams: [\"{}\"]\n    domains: {{corp.test: [\"{}\"]}}", dns::ADDRESS, dns::INTRANET);
    let policy = policy(bed, "    - wiki.corp.test\n    - lab.corp.test\n    - a.test", &dns)?;
    let ((outcome, inside), outside) = asked(&bed.dns, || {
        asked(&bed.intranet_dns, || {
            curl(bed, &policy, &["https://wiki.corp.test/", "https://a.test/", "https://lab.corp.test/"])
        })
    })?;
    expect(outcome.stdout == "wiki.corp.test /\na.test /\n", "both pages", &outcome)?;
    ensure!(inside.iter().all(|question| question.contains(".corp.test ")), "{inside:?}");
    ensure!(inside.contains(&"wiki.corp.test A".to_owned()), "{inside:?}");
    // The intranet's server fails for lab: the internet's is not asked instead.
    ensure!(inside.contains(&"lab.corp.test A".to_owned()), "{inside:?}");
    ensure!(outside.iter().all(|question| question.starts_with("a.test ")), "{outside:?}");
    expect(
        outcome.has_event(&[("reason", "resolve-failed"), ("host", "lab.corp.test")]),
        "the failure is told",
        &outcome,
    )
}

fn dead(bed: &Testbed) -> Result<()> {
    // Nobody listens there: the first is refused by ICMP, the second is a black hole.
    let dns = format!("    upstreams: [\"198.51.100.77\", \"192.0.2.53\", \"{}\"]", dns::ADDRESS);
    let policy = policy(bed, "    - a.test\n    - b.test", &dns)?;
    let script = "import time,urllib.request\n\
                  for name in ['a.test', 'b.test']:\n    \
                  t = time.time(); urllib.request.urlopen(f'https://{name}/', timeout=20).read(); print(time.time() - t)";
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["python3", "-c", script])?;
    expect_status(&outcome, 0)?;
    let took: Vec<f64> = outcome.stdout.lines().filter_map(|line| line.parse().ok()).collect();
    expect(took.len() == 2 && took[0] < 6.5, "the first within the bound of a resolution", &outcome)?;
    expect(took[1] < 2.5, "the second asks the silent one last", &outcome)
}

fn rebinding(bed: &Testbed) -> Result<()> {
    let rules: String =
        dns::REBINDING.iter().map(|(name, _)| format!("    - {{host: {name}, protocol: tcp}}\n")).collect();
    let upstream = format!("    upstreams: [\"{}\"]", dns::ADDRESS);
    let policy = policy(bed, &format!("{rules}    - {{host: a.test, protocol: tcp}}"), &upstream)?;
    let script = "import socket,sys\n\
                  for name in sys.argv[1:]:\n    \
                  try:\n        \
                  s = socket.create_connection((name, 443), 5); s.sendall(b'x'); s.settimeout(5)\n        \
                  print(name, 'end' if s.recv(1) == b'' else 'bytes')\n    \
                  except ConnectionError: print(name, 'reset')\n    \
                  except TimeoutError: print(name, 'open')";
    let mut command = vec!["python3", "-c", script];
    command.extend(dns::REBINDING.iter().map(|(name, _)| *name));
    command.push("a.test");
    let (outcome, questions) =
        asked(&bed.dns, || bed.ringfence.run(&policy, &[], &bed.images.agent, &command))?;
    expect_status(&outcome, 0)?;
    for (name, _) in dns::REBINDING {
        expect(outcome.stdout.contains(&format!("{name} reset\n")), &format!("{name} is refused"), &outcome)?;
        ensure!(
            questions.iter().any(|question| question.starts_with(name)),
            "{name} was resolved: {questions:?}"
        );
        let refused = outcome.events.iter().any(|event| {
            event["host"] == *name
                && event["reason"].as_str().is_some_and(|reason| reason.ends_with("-address"))
        });
        expect(refused, &format!("an event says why {name} is refused"), &outcome)?;
    }
    // The control: the same bytes to a good address arrive at a server, which does not understand
    // them.
    expect(!outcome.stdout.contains("a.test reset"), "a good address is dialled", &outcome)?;
    expect(
        outcome.has_event(&[("host", "a.test"), ("verdict", "allow"), ("kind", "connect")]),
        "an event says so",
        &outcome,
    )
}

fn fake_range(bed: &Testbed) -> Result<()> {
    let plain = format!("    upstreams: [\"{}\"]", dns::ADDRESS);
    let without = policy(bed, "    - fake.test", &plain)?;
    let outcome = curl(bed, &without, &["https://fake.test/"])?;
    expect(
        outcome.has_event(&[("reason", "reserved-address"), ("host", "fake.test"), ("address", dns::FAKE)]),
        "without the key it is refused",
        &outcome,
    )?;
    let with = policy(bed, "    - fake.test", &format!("{plain}\n    upstream-fake-range: [240.77.0.0/24]"))?;
    let outcome = curl(bed, &with, &["https://fake.test/"])?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout == "fake.test /\n", "with it the page", &outcome)
}

fn no_question(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let words = attempts(&["dns 198.51.100.53 a.test", "dns 198.51.100.53 b.test", "dns 8.8.8.8 a.test"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (outcome, questions) =
        asked(&bed.dns, || bed.ringfence.run(&policy, &[], &bed.images.agent, &words))?;
    expect(probed(&outcome)?.len() == 3, "three questions were asked", &outcome)?;
    ensure!(questions.is_empty(), "and none left: {questions:?}");
    let (outcome, questions) = asked(&bed.dns, || curl(bed, &policy, &["https://a.test/"]))?;
    expect_status(&outcome, 0)?;
    ensure!(questions.iter().all(|question| question.starts_with("a.test ")), "{questions:?}");
    ensure!(!questions.is_empty() && outcome.took < Duration::from_secs(60), "{questions:?}");
    Ok(())
}
