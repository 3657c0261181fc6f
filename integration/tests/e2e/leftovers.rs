//! After a run, however it ended, only the shared uplink is left.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::until;
use integration::testbed::Testbed;
use nix::sys::signal::Signal;

use crate::refused::running_agent;
use crate::{Test, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("a run that went well", after_success),
    ("a run that failed", after_failure),
    ("an interrupted run", after_interrupt),
    ("a stopped run", after_stop),
    ("a run whose time is over", after_time),
    ("a killed supervisor's agent goes on, closed, and can be stopped", after_kill),
];

pub(crate) fn only_the_uplink(bed: &Testbed) -> Result<()> {
    let mut left = Vec::new();
    until("everything is removed", Duration::from_secs(10), || {
        left = bed.engine.of_ringfence().unwrap_or_default();
        left.iter().all(|one| one == "network ringfence-uplink")
    })
    .with_context(|| format!("left: {left:?}"))
}

fn after_success(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    expect_status(&bed.ringfence.run(&policy, &[], &bed.images.tiny, &["true"])?, 0)?;
    only_the_uplink(bed)
}

fn after_failure(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    expect_status(&bed.ringfence.run(&policy, &[], &bed.images.tiny, &["no-such-program"])?, 127)?;
    only_the_uplink(bed)
}

fn after_interrupt(bed: &Testbed) -> Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let policy = bed.ringfence.allowing(&["a.test"])?;
        let script = format!("trap 'exit {}' INT TERM; echo up; while :; do sleep 0.1; done", 7);
        let mut running = bed.ringfence.start(&policy, &[], &bed.images.tiny, &["sh", "-c", &script])?;
        running.wait_for_line("up", Duration::from_secs(60))?;
        running.signal(signal)?;
        let outcome = running.finish(Duration::from_secs(30))?;
        expect_status(&outcome, 7)?;
        only_the_uplink(bed)?;
    }
    Ok(())
}

fn after_stop(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let mut running =
        bed.ringfence.start(&policy, &[], &bed.images.tiny, &["sh", "-c", "echo up; sleep 600"])?;
    running.wait_for_line("up", Duration::from_secs(60))?;
    let list = bed.ringfence.call(&["ps", "--json"])?;
    ensure!(list.stdout.contains(&running.name), "ps shows it: {list:?}");
    let name = running.name.clone();
    let stopped = bed.ringfence.call(&["stop", &name])?;
    ensure!(stopped.status.success(), "{stopped:?}");
    running.finish(Duration::from_secs(30))?;
    only_the_uplink(bed)
}

fn after_time(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let outcome = bed.ringfence.run(&policy, &["--time", "3s"], &bed.images.tiny, &["sleep", "600"])?;
    expect_status(&outcome, 124)?;
    only_the_uplink(bed)
}

fn after_kill(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let mut running =
        bed.ringfence.start(&policy, &[], &bed.images.tiny, &["sh", "-c", "echo up; sleep 600"])?;
    running.wait_for_line("up", Duration::from_secs(60))?;
    let name = running.name.clone();
    running.signal(Signal::SIGKILL)?;
    running.finish(Duration::from_secs(10))?;
    ensure!(running_agent(bed).is_some(), "the agent goes on");
    let list = bed.ringfence.call(&["ps", "--json"])?;
    ensure!(list.stdout.contains(&name), "ps shows it: {list:?}");
    // gc spares what runs.
    bed.ringfence.call(&["gc"])?;
    ensure!(running_agent(bed).is_some(), "gc leaves a running agent alone");
    let stopped = bed.ringfence.call(&["stop", &name])?;
    ensure!(stopped.status.success(), "{stopped:?}");
    only_the_uplink(bed)
}
