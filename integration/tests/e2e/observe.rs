//! `--network observe`: public names are reached without a rule, nothing else is, and a policy is
//! learned from one such run.

use anyhow::{Result, ensure};
use integration::testbed::Testbed;
use integration::testbed::canary::PORT;

use crate::practice::{AGENT, refusals, text};
use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("public names are reached, and no inside address, no host and no denied name", public),
    ("a ceiling holds, and a policy that forbids observing ends the start", held),
    ("one observed run gives the policy that the next one needs", learned),
];

const OBSERVE: [&str; 2] = ["--network", "observe"];
/// Names of addresses that the floor refuses: intranet, metadata, loopback, the host's own.
const INSIDE: [&str; 7] =
    ["private.test", "mapped.test", "meta.test", "loop.test", "host.test", "link.test", "plain.rebind.test"];
/// Reasons of the floor.
const FLOOR: [&str; 4] = ["private-address", "host-address", "metadata-address", "reserved-address"];

fn public(bed: &Testbed) -> Result<()> {
    let none = bed.ringfence.allowing(&[])?;
    let inside: Vec<String> = INSIDE.iter().map(|name| format!("http://{name}:{PORT}/")).collect();
    let others = [
        format!("http://host.docker.internal:{PORT}/"),
        format!("http://10.99.0.5:{PORT}/"),
        format!("http://198.51.100.10:{PORT}/"),
        "http://169.254.169.254/".to_owned(),
        "https://b.test/".to_owned(),
    ];
    let refused: Vec<&str> = inside.iter().chain(&others).map(String::as_str).collect();
    let script = format!(
        "for url in {}; do curl -s -o /dev/null --max-time 10 $url && echo \"$url answered\"; done; \
         curl -sS --max-time 10 http://plain.test/one",
        refused.join(" ")
    );
    let agent = ["sh", "-c", &script];
    let control = bed.ringfence.run(&none, &[], &bed.images.agent, &agent)?;
    let not_allowed = [("host", "plain.test"), ("reason", "not-allowed")];
    expect(control.has_event(&not_allowed), "without the option it is refused", &control)?;

    let options = [&OBSERVE[..], &["--deny", "b.test"]].concat();
    let outcome = bed.ringfence.run(&none, &options, &bed.images.agent, &agent)?;
    expect(outcome.stdout.trim() == "plain.test /one", "the public page and nothing else", &outcome)?;
    expect(outcome.stderr.contains("this run is observed"), "the start says so", &outcome)?;
    let open = [("host", "plain.test"), ("reason", "observed"), ("verdict", "allow")];
    for (field, value) in [("phase", "open"), ("phase", "close"), ("kind", "dns")] {
        let event = [&open[..], &[(field, value)]].concat();
        expect(outcome.has_event(&event), &format!("{field} {value} says that it was observed"), &outcome)?;
    }
    for name in INSIDE {
        let by_floor = |reason: &str| outcome.has_event(&[("host", name), ("reason", reason)]);
        expect(FLOOR.iter().any(|reason| by_floor(reason)), &format!("the floor refused {name}"), &outcome)?;
        let reached = [("host", name), ("phase", "open")];
        expect(!outcome.has_event(&reached), &format!("{name} was not reached"), &outcome)?;
    }
    for (host, reason) in [("host.docker.internal", "host-address"), ("b.test", "denied-by-rule")] {
        expect(outcome.has_event(&[("host", host), ("reason", reason)]), host, &outcome)?;
    }
    for (address, reason) in [
        ("10.99.0.5", "private-address"),
        ("169.254.169.254", "metadata-address"),
        ("198.51.100.10", "raw-address"),
    ] {
        expect(outcome.has_event(&[("address", address), ("reason", reason)]), address, &outcome)?;
    }
    Ok(())
}

fn held(bed: &Testbed) -> Result<()> {
    let ceiling = bed.ringfence.policy_file("version: 1\nnetwork: {ceiling: [\"plain.test:80\"]}\n")?;
    let none = bed.ringfence.allowing(&[])?;
    let script = "curl -sS --max-time 10 http://plain.test/one; \
                  curl -s -o /dev/null --max-time 10 https://gitlab.test/ && echo reached";
    let agent = ["sh", "-c", script];
    let options = [&OBSERVE[..], &["--policy", text(&ceiling)?]].concat();
    let outcome = bed.ringfence.run(&none, &options, &bed.images.agent, &agent)?;
    expect(outcome.stdout.trim() == "plain.test /one", "what the ceiling holds is reached", &outcome)?;
    let outside = [("host", "gitlab.test"), ("reason", "outside-ceiling")];
    expect(outcome.has_event(&outside), "what it does not hold is refused", &outcome)?;

    let forbids = bed.ringfence.policy_file("version: 1\nnetwork: {observe: false}\n")?;
    let options = [&OBSERVE[..], &["--policy", text(&forbids)?]].concat();
    let outcome = bed.ringfence.run(&none, &options, &bed.images.agent, &agent)?;
    expect_status(&outcome, 125)?;
    expect(outcome.stderr.contains("the run's policy forbids it"), "the start says who forbids it", &outcome)
}

fn learned(bed: &Testbed) -> Result<()> {
    let none = bed.ringfence.allowing(&[])?;
    let agent = ["sh", "-c", AGENT];
    let observed = bed.ringfence.run(&none, &OBSERVE, &bed.images.agent, &agent)?;
    expect_status(&observed, 0)?;
    expect(refusals(&observed) == 0, "an observed run is refused nothing public", &observed)?;
    let output = bed.ringfence.call(&["policy", "learn", text(&observed.events_file)?])?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(output.stdout.contains("- gitlab.test  #") && !output.stdout.contains("guess"), "{output:?}");
    let learned = bed.ringfence.policy_file(&output.stdout)?;
    let next = bed.ringfence.run(&none, &["--policy", text(&learned)?], &bed.images.agent, &agent)?;
    expect_status(&next, 0)?;
    expect(refusals(&next) == 0, "the learned policy refuses nothing that it needs", &next)?;
    expect(next.stdout.trim() == "plain.test /one", "the page arrived", &next)?;
    expect(next.has_event(&[("host", "plain.test"), ("reason", "allowed")]), "by a rule", &next)?;
    let page = bed.ringfence.call(&["report", text(&observed.events_file)?])?;
    ensure!(
        page.stdout.contains("which no rule permits") && page.stdout.contains("every public name"),
        "{page:?}"
    );
    Ok(())
}
