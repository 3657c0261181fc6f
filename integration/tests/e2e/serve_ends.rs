//! `ringfence serve`: what ended, or was lost, while it was away.

use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use integration::command::{bounded, until};
use integration::testbed::Testbed;

use crate::Test;
use crate::leftovers::only_the_uplink;
use crate::serve::{SOON, Served};

pub(crate) const TESTS: &[Test] = &[
    ("what ended while serve was away is removed, and what is lost is ended and can be removed", away),
    ("a group's time goes on while serve is away", time),
    ("what a client has begun comes to its end before serve does", begun),
];

/// A program that goes on until it is killed.
const GOES_ON: [&str; 3] = ["sh", "-c", "while :; do sleep 0.2; done"];

/// Starts a container that goes on, with further words.
fn detached(served: &Served, bed: &Testbed, name: &str, words: &[&str]) -> Result<()> {
    let start = ["run", "--detach", "--name", name];
    served.docker(&[&start, words, &[bed.images.agent.as_str()], &GOES_ON].concat()).map(drop)
}

/// Returns the engine's name of a member.
fn on_engine(bed: &Testbed, name: &str) -> Result<String> {
    let filter = format!("name=-member-{name}$");
    let found = bed.engine.docker(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"])?;
    ensure!(found.lines().count() == 1, "one container is {name}: {found:?}");
    Ok(found.trim().to_owned())
}

/// Returns the engine's name of a helper of a member's fence.
fn helper(bed: &Testbed, name: &str, role: &str) -> Result<String> {
    let member = on_engine(bed, name)?;
    let (workflow, _) = member.split_once("-member-").context("a member's name")?;
    Ok(format!("{workflow}-{role}"))
}

fn runs(bed: &Testbed, container: &str) -> Result<bool> {
    Ok(bed.engine.docker(&["inspect", "--format", "{{.State.Running}}", container])?.trim() == "true")
}

fn away(bed: &Testbed) -> Result<()> {
    let served = Served::start(bed, "away", &[], None)?;
    detached(&served, bed, "short", &["--rm"])?;
    detached(&served, bed, "unguarded", &[])?;
    detached(&served, bed, "again", &["--rm"])?;
    detached(&served, bed, "stays", &[])?;
    let short = on_engine(bed, "short")?;
    let (guard, other) = (helper(bed, "unguarded", "guard")?, helper(bed, "again", "guard")?);
    let unguarded = on_engine(bed, "unguarded")?;
    // A drop kills it.
    drop(served);
    bed.engine.docker(&["kill", &short])?;
    bed.engine.docker(&["rm", "--force", &guard])?;
    bed.engine.docker(&["restart", "--time", "0", &other])?;
    ensure!(runs(bed, &unguarded)?, "nobody ends it while serve is away");
    let served = Served::start(bed, "away", &[], None)?;
    until("the unguarded one is ended", SOON, || runs(bed, &unguarded).is_ok_and(|runs| !runs))?;
    let listed = served.docker(&["ps", "--all", "--format", "{{.Names}} {{.State}}"])?;
    ensure!(listed == "stays running\nunguarded exited\n", "{listed}");
    let started = served.try_docker(&["start", "unguarded"])?;
    ensure!(started.stderr.contains("is lost"), "it starts no more: {started:?}");
    ensure!(served.docker(&["exec", "stays", "echo", "inside"])? == "inside\n", "another goes on");
    served.docker(&["rm", "unguarded"])?;
    served.docker(&["rm", "--force", "stays"])?;
    served.end()?;
    only_the_uplink(bed)
}

fn time(bed: &Testbed) -> Result<()> {
    let served = Served::start_with(bed, "time", &["--time", "25s"])?;
    detached(&served, bed, "timed", &[])?;
    let timed = on_engine(bed, "timed")?;
    drop(served);
    ensure!(runs(bed, &timed)?, "it goes on while serve is away");
    // Another time of the next one changes nothing for it.
    let served = Served::start_with(bed, "time", &["--time", "1h"])?;
    until("it is ended", SOON, || runs(bed, &timed).is_ok_and(|runs| !runs))?;
    ensure!(served.said().contains("its time is over"), "{}", served.said());
    ensure!(served.docker(&["ps", "--all", "--format", "{{.Names}}"])? == "timed\n", "it is listed");
    served.docker(&["rm", "timed"])?;
    served.end()?;
    only_the_uplink(bed)
}

fn begun(bed: &Testbed) -> Result<()> {
    let served = Served::start(bed, "begun", &[], None)?;
    let host = format!("unix://{}", served.socket.display());
    let mut client = Command::new("docker");
    client.args(["-H", &host, "create", "--name", "late", &bed.images.agent, "true"]);
    let creating = std::thread::spawn(move || bounded(&mut client, b"", SOON));
    until("its fence is being made", SOON, || {
        let there = bed.engine.of_ringfence().unwrap_or_default();
        there.iter().any(|one| one.ends_with("-fence"))
    })?;
    served.end()?;
    let created = creating.join().map_err(|_| anyhow!("the client panicked"))??;
    ensure!(created.status.success(), "{created:?}");
    let served = Served::start(bed, "begun", &[], None)?;
    ensure!(served.docker(&["ps", "--all", "--format", "{{.Names}}"])? == "late\n", "the next one finds it");
    served.docker(&["start", "--attach", "late"])?;
    served.docker(&["rm", "late"])?;
    served.end()?;
    only_the_uplink(bed)
}
