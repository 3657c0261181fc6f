//! `ringfence serve`: what ended, or was lost, while it was away.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};
use integration::command::{bounded, until};
use integration::testbed::Testbed;

use crate::Test;
use crate::leftovers::only_the_uplink;
use crate::serve::{SOON, Served};

pub(crate) const TESTS: &[Test] = &[
    ("what ended while serve was away is removed, and what is lost is ended and can be removed", away),
    ("a group's time goes on while serve is away", time),
    ("another policy's groups are ended, and nothing joins them", other_policy),
    ("a start that was under way is no start, and no stranger speaks for a group", under_way),
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
    detached(&served, bed, "stays", &["--rm"])?;
    detached(&served, bed, "cut", &["--network", "none"])?;
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
    ensure!(listed == "cut running\nstays running\nunguarded exited\n", "{listed}");
    let started = served.try_docker(&["start", "unguarded"])?;
    ensure!(started.stderr.contains("is lost"), "it starts no more: {started:?}");
    ensure!(served.docker(&["exec", "stays", "echo", "inside"])? == "inside\n", "another goes on");
    // What is to be removed at its end is kept over a restart.
    served.docker(&["restart", "--time", "0", "stays"])?;
    ensure!(served.docker(&["exec", "stays", "echo", "inside"])? == "inside\n", "it runs again");
    served.docker(&["rm", "unguarded"])?;
    served.docker(&["rm", "--force", "stays", "cut"])?;
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

fn other_policy(bed: &Testbed) -> Result<()> {
    let shop = ["--label", "com.docker.compose.project=shop"];
    let served = Served::start(bed, "policy", &["permitted.test"], None)?;
    detached(&served, bed, "old", &shop)?;
    let old = on_engine(bed, "old")?;
    let (group, _) = old.split_once("-member-").context("a member's name")?;
    let id = group.rsplit('-').next().unwrap_or_default();
    let waited = bed.ringfence.call(&["wait", id])?;
    ensure!(!waited.status.success() && waited.stderr.contains("docker wait"), "{waited:?}");
    drop(served);
    ensure!(runs(bed, &old)?, "it goes on while serve is away");
    let served = Served::start(bed, "policy", &[], None)?;
    until("the old one is ended", SOON, || runs(bed, &old).is_ok_and(|runs| !runs))?;
    ensure!(served.said().contains("made with another policy"), "{}", served.said());
    let started = served.try_docker(&["start", "old"])?;
    ensure!(started.stderr.contains("is lost"), "it starts no more: {started:?}");
    let beside = served.try_docker(&["create", "--network", "container:old", &bed.images.agent])?;
    ensure!(beside.stderr.contains("is lost"), "nothing is made beside it: {beside:?}");
    detached(&served, bed, "new", &shop)?;
    let new = on_engine(bed, "new")?;
    ensure!(!new.starts_with(group), "the group's next container has a fence of its own: {new}");
    served.docker(&["rm", "--force", "old", "new"])?;
    served.end()?;
    only_the_uplink(bed)
}

/// Makes a container that says of itself what a member says, and that it is of another group.
fn stranger(bed: &Testbed, member: &str) -> Result<()> {
    let said = bed.engine.docker(&["inspect", "--format", "{{json .Config.Labels}}", member])?;
    let mut labels: BTreeMap<String, String> = serde_json::from_str(&said)?;
    labels.insert("dev.ringfence.group".to_owned(), "compose:other".to_owned()).context("its group")?;
    let words: Vec<String> = labels.iter().map(|(name, value)| format!("--label={name}={value}")).collect();
    let fence = format!("container:{}", helper(bed, "young", "fence")?);
    let name = format!("{member}-stranger");
    let mut create = vec!["create", "--name", &name, "--network", &fence];
    create.extend(words.iter().map(String::as_str));
    create.extend([bed.images.agent.as_str(), "true"]);
    bed.engine.docker(&create).map(drop)
}

fn under_way(bed: &Testbed) -> Result<()> {
    let project = bed.directory.path().join("under-way");
    fs::create_dir_all(&project)?;
    let mount = format!("{}:/w", project.display());
    let served = Served::start(bed, "under-way", &[], Some(&project))?;
    detached(&served, bed, "young", &["--volume", &mount])?;
    detached(&served, bed, "waits", &["--volume", &mount])?;
    let (young, waits) = (on_engine(bed, "young")?, on_engine(bed, "waits")?);
    let mounts = bed.engine.docker(&["inspect", "--format", "{{json .Mounts}}", &waits])?;
    let mounts: Vec<serde_json::Value> = serde_json::from_str(&mounts)?;
    let sources = mounts.iter().filter_map(|mount| mount["Source"].as_str());
    let words: Vec<PathBuf> =
        sources.filter(|source| source.contains("/words-")).map(PathBuf::from).collect();
    let [words] = &words[..] else { bail!("{mounts:?}") };
    ensure!(fs::read(words)?.is_empty(), "no start of it is under way");
    drop(served);
    // As they are from before the engine's start until its own program may begin.
    fs::write(words, "ask\ngo\n")?;
    stranger(bed, &young)?;
    let served = Served::start(bed, "under-way", &[], Some(&project))?;
    until("what was not let begin is ended", SOON, || runs(bed, &waits).is_ok_and(|runs| !runs))?;
    ensure!(served.docker(&["exec", "young", "echo", "inside"])? == "inside\n", "what was goes on");
    ensure!(fs::read(words)? == b"ask\ngo\n", "what was not let begin is never taken for begun later");
    // Its start was asked of the engine, and what has files is started once.
    let again = served.try_docker(&["start", "waits"])?;
    ensure!(!again.status.success() && again.stderr.contains("make it again"), "{again:?}");
    // A person removes what only says that it is a member.
    let (group, _) = young.split_once("-member-").context("a member's name")?;
    served.docker(&["rm", "--force", "young", "waits"])?;
    served.end()?;
    let stopped = bed.ringfence.call(&["stop", group.rsplit('-').next().unwrap_or_default()])?;
    ensure!(stopped.status.success(), "{stopped:?}");
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
