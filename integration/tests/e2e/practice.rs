//! From refusals to a policy: what runs asked for is learned until none is refused, a rule too many
//! is named, and the report shows what happened.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use integration::ringfence::Outcome;
use integration::testbed::Testbed;

use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[("a policy is learned in rounds, and what it needs is told", rounds)];

/// A clone and a page on another port: the port of a refused name is not known before the second
/// round.
pub(crate) const AGENT: &str = "git clone --quiet https://gitlab.test/group/project.git /tmp/p; \
                     curl -sS --max-time 5 http://plain.test/one";
/// Rounds that learning may take.
const MOST: usize = 3;

pub(crate) fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path of text")
}

pub(crate) fn refusals(outcome: &Outcome) -> usize {
    outcome.events.iter().filter(|event| event["verdict"] == "deny").count()
}

fn rounds(bed: &Testbed) -> Result<()> {
    let ours = bed.ringfence.allowing(&[])?;
    let agent = ["sh", "-c", AGENT];
    let first = bed.ringfence.run(&ours, &[], &bed.images.agent, &agent)?;
    expect(refusals(&first) > 0 && first.status != 0, "without a rule it is refused", &first)?;
    reported(bed, &first)?;

    let learned = bed.ringfence.policy_file("version: 1\n")?;
    let mut last = first;
    for round in 0.. {
        let output = bed.ringfence.call(&["policy", "learn", text(&last.events_file)?])?;
        ensure!(output.status.success(), "{output:?}");
        fs::write(&learned, &output.stdout)?;
        last = bed.ringfence.run(&ours, &["--policy", text(&learned)?], &bed.images.agent, &agent)?;
        if refusals(&last) == 0 {
            break;
        }
        expect(round < MOST, "no more is refused after a few rounds", &last)?;
    }
    expect_status(&last, 0)?;
    expect(last.stdout.trim() == "plain.test /one", "the page arrived", &last)?;
    let policy = fs::read_to_string(&learned)?;
    ensure!(policy.contains("- gitlab.test  #") && policy.contains("- plain.test:80  #"), "{policy}");
    ensure!(!policy.contains("- plain.test  #"), "the guessed port is gone: {policy}");
    needed(bed, &last, &learned, &policy)
}

/// Looks for a rule too many, and for none where there is none.
fn needed(bed: &Testbed, outcome: &Outcome, learned: &Path, policy: &str) -> Result<()> {
    let unused = |file: &Path| {
        bed.ringfence.call(&["policy", "unused", text(&outcome.events_file)?, "--policy", text(file)?])
    };
    let output = unused(learned)?;
    ensure!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    let wider: PathBuf = bed.ringfence.policy_file(&format!("{policy}    - needless.test\n"))?;
    let output = unused(&wider)?;
    let line = fs::read_to_string(&wider)?.lines().count();
    ensure!(output.status.code() == Some(1), "{output:?}");
    let expected = format!("needless.test:443 (run, {}:{line})\n", wider.display());
    ensure!(output.stdout == expected, "{output:?}");
    Ok(())
}

/// Looks into the report of a run that was refused something.
fn reported(bed: &Testbed, outcome: &Outcome) -> Result<()> {
    let events = text(&outcome.events_file)?;
    let output = bed.ringfence.call(&["report", events])?;
    ensure!(output.status.success(), "{output:?}");
    let named = output.stdout.contains("× gitlab.test  (not-allowed)");
    ensure!(named && output.stdout.contains("to permit it: - gitlab.test"), "{output:?}");
    let page = outcome.events_file.with_extension("html");
    let output = bed.ringfence.call(&["report", events, "--html", text(&page)?])?;
    ensure!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    let page = fs::read_to_string(page)?;
    ensure!(page.contains("gitlab.test") && page.contains("Content-Security-Policy"), "{page}");
    Ok(())
}
