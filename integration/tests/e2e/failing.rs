//! Parts that die or are tampered with while an agent runs: nothing opens. What is done to the host
//! and the engine: engine_trouble.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::command::until;
use integration::ringfence::Running;
use integration::testbed::Testbed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Test;
use crate::refused::{escapes, running_agent};

pub(crate) const TESTS: &[Test] = &[
    ("the guard is killed", guard_killed),
    ("the guard stands still for a while", guard_paused),
    ("the fence's process is killed", fence_killed),
    ("another network is connected to the fence", network_connected),
];

/// An agent that talks to echo.test for a minute and prints `open` and `shut` when that changes.
pub(crate) fn talking_agent(bed: &Testbed) -> Result<Running> {
    talking_agent_by(bed, bed.ringfence.command())
}

/// One like it, by a command of [`integration::ringfence::Ringfence::behind`].
pub(crate) fn talking_agent_by(bed: &Testbed, command: Command) -> Result<Running> {
    let policy = bed.ringfence.allowing(&["echo.test:7777/tcp"])?;
    let words = ["probe", "loop", "25.0.0.1:7777", "60"];
    let mut running = bed.ringfence.start_by(command, &policy, &[], &bed.images.agent, &words)?;
    running.wait_for_line("open", Duration::from_secs(60))?;
    Ok(running)
}

pub(crate) fn container(bed: &Testbed, role: &str) -> Result<String> {
    let mut workflow = None;
    // An engine that was restarted a moment ago may not list it yet.
    until("the engine lists the agent", Duration::from_secs(10), || {
        workflow = running_agent(bed);
        workflow.is_some()
    })?;
    let workflow = workflow.context("no agent runs")?;
    let found = bed.engine.docker(&[
        "ps",
        "--quiet",
        "--filter",
        &format!("label=dev.ringfence.workflow={workflow}"),
        "--filter",
        &format!("label=dev.ringfence.role={role}"),
    ])?;
    ensure!(!found.is_empty(), "no {role}");
    Ok(found)
}

/// Tries every escape from inside the agent; the canaries judge.
pub(crate) fn try_escapes(bed: &Testbed, agent: &str) -> Result<()> {
    let gateway = bed.engine.gateway("bridge")?.to_string();
    let mut command = vec!["exec".to_owned(), agent.to_owned()];
    let mut list = escapes(&gateway);
    let second: Vec<String> =
        list.iter().filter(|line| line.contains("eth0")).map(|line| line.replace("eth0", "eth1")).collect();
    list.extend(second);
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    command.extend(crate::attempts(&list));
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    bed.engine.try_docker(&command)?;
    Ok(())
}

pub(crate) fn end(bed: &Testbed, running: Running) -> Result<()> {
    bed.ringfence.call(&["stop", &running.name])?;
    running.finish(Duration::from_secs(30))?;
    Ok(())
}

fn guard_killed(bed: &Testbed) -> Result<()> {
    let mut running = talking_agent(bed)?;
    let agent = container(bed, "agent")?;
    let guard = container(bed, "guard")?;
    let killed = Instant::now();
    bed.engine.docker(&["kill", "--signal", "KILL", &guard])?;
    // The supervisor may end the run with it (123); when it does not, the agent must see it shut.
    let shut = running.wait_for_line("shut", Duration::from_secs(3));
    let took = killed.elapsed();
    if running_agent(bed).is_some() {
        shut?;
        ensure!(took < Duration::from_millis(1500), "shut after {took:?}");
        try_escapes(bed, &agent)?;
        ensure!(
            running.lines().last().is_some_and(|line| line == "shut"),
            "opened again: {:?}",
            running.lines()
        );
    }
    end(bed, running)
}

fn guard_paused(bed: &Testbed) -> Result<()> {
    let mut running = talking_agent(bed)?;
    let guard = container(bed, "guard")?;
    let pid = bed.engine.docker(&["inspect", "--format", "{{.State.Pid}}", &guard])?;
    let pid = Pid::from_raw(pid.trim().parse()?);
    kill(pid, Signal::SIGSTOP)?;
    let shut = running.wait_for_line("shut", Duration::from_secs(30));
    // Long enough to be written down, and far from the silence after which the run ends.
    std::thread::sleep(Duration::from_secs(3));
    kill(pid, Signal::SIGCONT)?;
    shut.context("while the guard stands still nothing passes")?;
    let opened = || running.lines().iter().filter(|line| *line == "open").count();
    until("the run goes on", Duration::from_secs(30), || opened() >= 2)?;
    let events = bed.ringfence.call(&["events", "--json", &running.name])?;
    ensure!(events.stdout.contains("guard-paused"), "{events:?}");
    end(bed, running)
}

fn fence_killed(bed: &Testbed) -> Result<()> {
    let running = talking_agent(bed)?;
    let agent = container(bed, "agent")?;
    let fence = container(bed, "fence")?;
    bed.engine.docker(&["kill", "--signal", "KILL", &fence])?;
    std::thread::sleep(Duration::from_secs(2));
    try_escapes(bed, &agent)?;
    end(bed, running)
}

fn network_connected(bed: &Testbed) -> Result<()> {
    let running = talking_agent(bed)?;
    let agent = container(bed, "agent")?;
    let fence = container(bed, "fence")?;
    // The engine may refuse, which is as good.
    bed.engine.try_docker(&["network", "connect", "bridge", &fence])?;
    try_escapes(bed, &agent)?;
    end(bed, running)
}
