//! `--network denied`: nothing resolves, nothing connects, at once.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration::testbed::Testbed;

use crate::{Test, expect, expect_status, probed};

pub(crate) const TESTS: &[Test] = &[
    ("lookups and connects fail at once", at_once),
    ("no policy, no network", no_policy),
    ("a restore says that it changes nothing", restored),
];

fn at_once(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let command =
        ["probe", "dns", "198.51.100.53", "a.test", "--", "tcp", "25.0.0.1:443", "--", "tcp", "10.99.0.5:22"];
    let good = bed.ringfence.run(&policy, &[], &bed.images.agent, &command)?;
    expect(probed(&good)?[1]["ok"] == true, "without the option the same works", &good)?;

    let outcome = bed.ringfence.run(&policy, &["--network", "denied"], &bed.images.agent, &command)?;
    expect_status(&outcome, 0)?;
    let lines = probed(&outcome)?;
    let code = lines[0]["detail"]["code"].as_str().unwrap_or_default();
    expect(code.contains("Non-Existent Domain"), "NXDOMAIN", &outcome)?;
    for line in &lines {
        expect(
            line["micros"].as_u64().is_some_and(|micros| micros < 20_000),
            &format!("at once: {line}"),
            &outcome,
        )?;
    }
    expect(lines[1]["ok"] == false && lines[2]["ok"] == false, "connects are refused", &outcome)?;
    expect(
        outcome.has_event(&[("verdict", "deny"), ("host", "a.test"), ("reason", "network-denied")]),
        "an event with the reason",
        &outcome,
    )
}

fn no_policy(bed: &Testbed) -> Result<()> {
    let output = bed.ringfence.call(&[
        "run",
        &bed.images.agent,
        "curl",
        "-sS",
        "--max-time",
        "5",
        "https://a.test/",
    ])?;
    anyhow::ensure!(output.status.code() == Some(6), "{output:?}");
    anyhow::ensure!(
        output.stderr.contains("policy"),
        "a line says that there is no policy: {}",
        output.stderr
    );
    Ok(())
}

fn restored(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    for (options, changes_nothing) in [(&["--network", "denied"][..], true), (&[], false)] {
        let agent = ["sh", "-c", "echo up; sleep 60"];
        let mut running = bed.ringfence.start(&policy, options, &bed.images.agent, &agent)?;
        running.wait_for_line("up", Duration::from_secs(60))?;
        bed.ringfence.call(&["net", &running.name, "deny"])?;
        let output = bed.ringfence.call(&["net", &running.name, "restore"])?;
        ensure!(output.status.success(), "{output:?}");
        ensure!(output.stdout.contains("everything is refused") == changes_nothing, "{output:?}");
        ensure!(output.stderr.contains("restore changes nothing") == changes_nothing, "{output:?}");
        bed.ringfence.call(&["stop", &running.name])?;
        running.finish(Duration::from_secs(30))?;
    }
    Ok(())
}
