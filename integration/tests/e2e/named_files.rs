//! Files that a person names, in a directory where an agent was before: what it left there leads
//! nowhere, and nothing is lost.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::{Output, bounded};
use integration::testbed::Testbed;
use nix::sys::signal::Signal;

use crate::{Test, text};

pub(crate) const TESTS: &[Test] = &[
    ("no link that an agent left is followed, nothing that it left is written over", left_by_an_agent),
    ("a new project with an old one's inode keeps its configuration", new_project),
];

const LONG: Duration = Duration::from_secs(120);

/// `ringfence run` in a folder, with its own words.
fn run(bed: &Testbed, from: &Path, options: &[&str], agent: &[&str]) -> Result<Output> {
    let policy = bed.ringfence.allowing(&[])?;
    let mut command = bed.ringfence.command();
    command.current_dir(from).args(["run", "--policy", text(&policy)?]).args(options);
    bounded(command.arg(&bed.images.agent).args(agent), b"", LONG)
}

/// It ends before anything is created, and says why and what to do.
fn refused(bed: &Testbed, from: &Path, options: &[&str], why: &str) -> Result<()> {
    let output = run(bed, from, options, &["cat", "/run/secrets/prompt"])?;
    ensure!(output.status.code() == Some(125), "{options:?}: 125 expected: {output:?}");
    ensure!(output.stderr.contains(why) && output.stderr.contains("hint:"), "{options:?}: {output:?}");
    ensure!(!output.stdout.contains("canary") && !output.stderr.contains("canary of"), "{output:?}");
    Ok(())
}

fn left_by_an_agent(bed: &Testbed) -> Result<()> {
    let (project, outside) = (bed.fresh_directory("named")?, bed.fresh_directory("named-outside")?);
    let (project, outside) = (project.canonicalize()?, outside.canonicalize()?);
    let canary = outside.join("canary");
    fs::write(&canary, "canary of the person's\n")?;
    let script = format!(
        "cd /workspace; for name in run.jsonl prompt secret env ca.pem policy.yml; do ln -s {0}/canary $name; done
         ln -s {0} folder; ln -s {0}/new dangling; mkfifo pipe; echo kept > theirs; echo done",
        outside.display()
    );
    let first = run(bed, &project, &["--project", "."], &["sh", "-c", &script])?;
    ensure!(first.status.success() && first.stdout == "done\n", "{first:?}");

    let why = "an agent was given";
    refused(bed, &project, &["--events", "run.jsonl"], why)?;
    refused(bed, &project, &["--events", "dangling"], why)?;
    refused(bed, &project, &["--events", "folder/canary"], why)?;
    refused(bed, &project, &["--events", "theirs"], why)?;
    refused(bed, &project, &["--prompt", "prompt"], why)?;
    refused(bed, &project, &["--prompt", "folder/canary"], why)?;
    refused(bed, &project, &["--secret", "X=secret"], why)?;
    refused(bed, &project, &["--env-file", "env"], why)?;
    refused(bed, &project, &["--ca", "ca.pem"], why)?;
    refused(bed, &project, &["--project", "folder"], why)?;
    refused(bed, &project, &["-v", "./folder:/mnt:rw"], why)?;
    refused(bed, &project, &["--prompt", "pipe"], "no regular file")?;
    // From elsewhere too, and by the other commands.
    let path = |name: &str| project.join(name);
    refused(bed, &outside, &["--prompt", text(&path("prompt"))?], why)?;
    for words in [
        &["policy", "check", text(&path("policy.yml"))?][..],
        &["policy", "import", text(&path("policy.yml"))?],
        &["events", text(&path("run.jsonl"))?],
        &["project", "check", text(&path("folder"))?],
    ] {
        let output = bed.ringfence.call(words)?;
        let said = [output.stdout.as_str(), &output.stderr].concat();
        ensure!(!output.status.success() && said.contains(why), "{words:?}: {output:?}");
        ensure!(!said.contains("canary of"), "{words:?}: {output:?}");
    }
    ensure!(fs::read_to_string(&canary)? == "canary of the person's\n", "the file behind the links");
    ensure!(fs::read_dir(&outside)?.count() == 1, "nothing was made there");
    ensure!(fs::read_to_string(path("theirs"))? == "kept\n", "what lies there is not lost");

    // The control: the same links in a folder that no agent was given.
    let own = outside.join("own");
    fs::create_dir(&own)?;
    symlink(&canary, own.join("prompt"))?;
    let output = run(bed, &own, &["--prompt", "prompt"], &["cat", "/run/secrets/prompt"])?;
    ensure!(output.status.success() && output.stdout.contains("canary of"), "{output:?}");

    events_in_a_project(bed, &project)
}

/// The example of the README, from a project's directory.
fn events_in_a_project(bed: &Testbed, project: &Path) -> Result<()> {
    let options = ["--project", ".", "--events", "new.jsonl"];
    let output = run(bed, project, &options, &["true"])?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(output.stderr.contains("new.jsonl") && output.stderr.contains("no evidence"), "{output:?}");
    // What it names instead is out of the agent's reach, and the same.
    let kept =
        output.stderr.split_whitespace().find(|word| word.ends_with(".jsonl") && word.contains("/events/"));
    let kept = PathBuf::from(kept.with_context(|| format!("the other file is named: {output:?}"))?);
    ensure!(kept.starts_with(bed.ringfence.state()), "{}", kept.display());
    let written = fs::read(project.join("new.jsonl"))?;
    ensure!(!written.is_empty() && written == fs::read(&kept)?, "both have the events");
    refused(bed, project, &options, "it is there already")?;
    ensure!(fs::read(project.join("new.jsonl"))? == written, "and it is as it was");
    Ok(())
}

fn git(folder: &Path, words: &[&str]) -> Result<String> {
    let mut command = std::process::Command::new("git");
    command.args(words).current_dir(folder).env("GIT_CONFIG_GLOBAL", "/dev/null");
    Ok(bounded(&mut command, b"", Duration::from_secs(20))?.stdout)
}

fn repository(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    git(folder, &["init", "--quiet"])?;
    for (key, value) in
        [("alias.st", "!echo mine"), ("core.sshCommand", "ssh -v"), ("credential.helper", "!mine")]
    {
        git(folder, &["config", key, value])?;
    }
    Ok(())
}

/// A supervisor is killed, the workflow goes by another hand, the project is deleted; a new one
/// takes its place.
fn new_project(bed: &Testbed) -> Result<()> {
    let project = bed.fresh_directory("stale")?.canonicalize()?.join("project");
    repository(&project)?;
    let policy = bed.ringfence.allowing(&[])?;
    let script = "git config core.fsmonitor evil; echo up; sleep 600";
    let options = ["--project", text(&project)?];
    let mut running = bed.ringfence.start(&policy, &options, &bed.images.agent, &["sh", "-c", script])?;
    running.wait_for_line("up", Duration::from_secs(60))?;
    let name = running.name.clone();
    running.signal(Signal::SIGKILL)?;
    running.finish(Duration::from_secs(10))?;
    fs::remove_dir_all(&project)?;
    repository(&project)?;
    let before = fs::read(project.join(".git/config"))?;
    let output = bed.ringfence.call(&["stop", &name])?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(output.stderr.contains("another directory is there now"), "it is told: {output:?}");
    ensure!(fs::read(project.join(".git/config"))? == before, "the new project's is as it was");
    ensure!(!bed.ringfence.call(&["gc"])?.stderr.contains("another directory"), "and the record ended");
    ensure!(fs::read(project.join(".git/config"))? == before, "for good");
    Ok(())
}
