//! Changes on a laptop during a run: other name servers after a change of Wi-Fi or VPN, and a
//! supervisor that stood still.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::testbed::{Testbed, dns};
use nix::sys::signal::Signal;

use crate::{Test, expect, expect_status, skip};

pub(crate) const TESTS: &[Test] = &[
    ("the guard asks the name servers that the machine has now", name_servers),
    ("a supervisor that stood still goes on", stood_still),
];

/// Longer than a supervisor bears the silence of a helper.
const STOOD_STILL: Duration = Duration::from_secs(17);

/// Says when a page of the intranet comes, and when no more does.
const LOOKING: &str = "\
get() { curl -sS --max-time 20 https://wiki.corp.test/ 2>/dev/null; }
get || echo unknown
until get; do sleep 0.3; done
while get >/dev/null; do sleep 0.3; done; echo gone";

/// A VPN comes up and goes down again: only its name server knows the name.
fn name_servers(bed: &Testbed) -> Result<()> {
    if !bed.engine.is_private() {
        return skip("the engine is not ours, so its name servers are not known");
    }
    let file = bed.fresh_directory("name-servers")?.join("resolv.conf");
    let say = |server: &str| fs::write(&file, format!("nameserver {server}\n"));
    say(dns::ADDRESS)?;
    let text = "version: 1\nnetwork:\n  allow: [wiki.corp.test]\n  dns: {upstreams: [system]}\n";
    let policy = bed.ringfence.policy_file(text)?;
    // The file is this supervisor's alone: no other program of this machine sees it.
    let mounted = format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", file.display());
    let behind = bed.ringfence.behind("unshare", ["--mount", "sh", "-c", &mounted, "sh"]);
    let mut running =
        bed.ringfence.start_by(behind, &policy, &[], &bed.images.agent, &["sh", "-c", LOOKING])?;
    running.wait_for_line("unknown", Duration::from_secs(60))?;
    say(dns::INTRANET)?;
    running.wait_for_line("wiki.corp.test /", Duration::from_secs(60))?;
    say(dns::ADDRESS)?;
    running.wait_for_line("gone", Duration::from_secs(60))?;
    let outcome = running.finish(Duration::from_secs(60))?;
    expect_status(&outcome, 0)?;
    let told: Vec<&str> = outcome
        .events
        .iter()
        .filter(|event| event["reason"] == "resolvers")
        .filter_map(|event| event["what"].as_str())
        .collect();
    let expected =
        [dns::INTRANET, dns::ADDRESS].map(|at| format!("the machine's name servers are now: {at}"));
    expect(told == expected, &format!("both changes are in the log: {told:?}"), &outcome)
}

/// The others of a run go on meanwhile, as they do when a laptop sleeps and its engine's machine
/// does not.
fn stood_still(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["plain.test:80"])?;
    let project = bed.fresh_directory("stood-still")?;
    let script =
        "echo up; until [ -e /workspace/go ]; do sleep 0.2; done; curl -sS http://plain.test/after; exit 7";
    let options = ["--project", project.to_str().context("a path")?];
    let mut running = bed.ringfence.start(&policy, &options, &bed.images.agent, &["sh", "-c", script])?;
    running.wait_for_line("up", Duration::from_secs(60))?;
    running.signal(Signal::SIGSTOP)?;
    std::thread::sleep(STOOD_STILL);
    running.signal(Signal::SIGCONT)?;
    fs::write(project.join("go"), "")?;
    let outcome = running.finish(Duration::from_secs(60))?;
    expect_status(&outcome, 7)?;
    ensure!(outcome.stdout.contains("plain.test /after"), "the agent had its network: {}", outcome.shown());
    let helpers = outcome.events.iter().filter(|event| event["reason"] == "supervisor-lost").count();
    expect(helpers == 0, "nobody took it for lost", &outcome)
}
