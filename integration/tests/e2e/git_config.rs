//! Things that a run may not leave behind: keys of git's configuration that run code, and files
//! that do without anybody having seen them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::{bounded, run};
use integration::git::git;
use integration::testbed::Testbed;
use nix::sys::signal::Signal;

use crate::{Test, expect, expect_status, text};

pub(crate) const TESTS: &[Test] = &[
    ("git's daily work stays, what would run code on this machine is put back and told", put_back),
    ("whatever is put in the place of a configuration goes", tricks),
    ("after a supervisor was killed, stop and gc put back", killed),
];

/// Daily work first, then what would run code or lead a push elsewhere.
const WORK: &str = "set -e; cd /workspace
git config user.name Agent; git config user.email agent@example.com; git remote add fork https://gitlab.test/me/b.git
git commit --quiet --allow-empty -m work; git branch --quiet --track topic main; git config --unset color.ui
git config core.fsmonitor 'touch /tmp/ran;:'; git config alias.st '!touch /tmp/ran'; git config core.hooksPath evil
git config remote.origin.url https://evil.test/x; git config include.path /workspace/evil; git config core.editor evil
git config url.https://evil.test/.insteadOf https://gitlab.test/; git config credential.helper '!evil'
mkdir .husky; echo evil > .husky/pre-commit; echo evil >> .envrc2; echo evil > .mise.toml; echo done";

/// A repository with a remote and a person's own settings.
fn repository(folder: &Path) -> Result<()> {
    run("git", &["init", "--quiet", "--initial-branch=main", text(folder)?], Duration::from_secs(20))?;
    git(folder, &["remote", "add", "origin", "https://gitlab.test/group/project.git"])?;
    git(folder, &["config", "alias.st", "status --short"])?;
    git(folder, &["config", "core.editor", "vim"])?;
    git(folder, &["config", "color.ui", "always"])?;
    git(folder, &["commit", "--quiet", "--allow-empty", "-m", "start"])?;
    Ok(())
}

fn fresh(bed: &Testbed, name: &str) -> Result<PathBuf> {
    let folder = bed.fresh_directory("git-config")?.join(name);
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder)?;
    repository(&folder)?;
    Ok(folder)
}

fn config(folder: &Path) -> Result<String> {
    git(folder, &["config", "--local", "--list"])
}

/// Expects the person's own settings in the configuration, and nothing evil.
fn expect_clean(folder: &Path) -> Result<()> {
    let now = config(folder)?;
    ensure!(!now.contains("evil") && !now.contains("touch"), "left in {}: {now}", folder.display());
    for kept in [
        "alias.st=status --short\n",
        "core.editor=vim\n",
        "remote.origin.url=https://gitlab.test/group/project.git\n",
    ] {
        ensure!(now.contains(kept), "`{kept}` is missing: {now}");
    }
    Ok(())
}

fn put_back(bed: &Testbed) -> Result<()> {
    let folder = fresh(bed, "daily")?;
    let policy = bed.ringfence.allowing(&[])?;
    let options = ["--project", text(&folder)?];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", WORK])?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout == "done\n", "all of it could be done inside", &outcome)?;
    expect_clean(&folder)?;
    let now = config(&folder)?;
    for kept in [
        "user.name=Agent\n",
        "user.email=agent@example.com\n",
        "remote.fork.url=https://gitlab.test/me/b.git\n",
        "branch.topic.remote=.\n",
        "branch.topic.merge=refs/heads/main\n",
    ] {
        ensure!(now.contains(kept), "`{kept}` is missing: {now}");
    }
    ensure!(!now.contains("color.ui"), "what may go is gone: {now}");
    for key in [
        "core.fsmonitor",
        "alias.st",
        "core.hookspath",
        "remote.origin.url",
        "include.path",
        "core.editor",
        "url.https://evil.test/.insteadof",
        "credential.helper",
    ] {
        expect(outcome.stderr.contains(key), &format!("{key} is told"), &outcome)?;
        let noted = outcome.events.iter().any(|event| {
            event["reason"] == "put-back" && event["what"].as_str().is_some_and(|what| what.contains(key))
        });
        expect(noted, &format!("{key} is in the events"), &outcome)?;
    }
    for path in [".husky/pre-commit", ".mise.toml"] {
        expect(outcome.stderr.contains(path), &format!("{path} is told"), &outcome)?;
    }
    expect(!outcome.stderr.contains("envrc2"), "others are not", &outcome)?;
    expect(
        outcome.has_event(&[("kind", "lifecycle"), ("reason", "runs-code")]),
        "and in the events",
        &outcome,
    )?;
    let verified = bed.ringfence.call(&["events", text(&outcome.events_file)?, "--verify"])?;
    ensure!(verified.status.success(), "{verified:?}");
    let shown = bed.ringfence.call(&["events", text(&outcome.events_file)?])?;
    ensure!(shown.stdout.contains("put-back") && shown.stdout.contains("alias.st"), "{shown:?}");

    // The control: nothing puts back what the same commands do outside.
    let outside = fresh(bed, "control")?;
    bounded(
        Command::new("sh")
            .args(["-c", &WORK.replace("/workspace", text(&outside)?)])
            .env("HOME", "/nonexistent"),
        b"",
        Duration::from_secs(20),
    )?;
    let evil = config(&outside)?;
    ensure!(evil.contains("alias.st=!touch") && evil.contains("core.fsmonitor=touch"), "{evil}");
    // A run that changes nothing says nothing.
    let before = fs::read(folder.join(".git/config"))?;
    let quiet = bed.ringfence.run(&policy, &options, &bed.images.agent, &["git", "status", "--short"])?;
    expect(
        !quiet.stderr.contains("put back") && !quiet.stderr.contains("run code"),
        "nothing is told",
        &quiet,
    )?;
    ensure!(fs::read(folder.join(".git/config"))? == before, "and nothing written");
    ensure!(left(bed)? == 0, "no journal stays");
    Ok(())
}

/// In each of seven repositories another trick.
const TRICKS: &str = "cd /workspace; evil='[alias]\\n\\tst = !evil\\n\\tx = !evil\\n'
printf \"$evil\" > one/evil; rm one/.git/config; ln -s ../evil one/.git/config
rm two/.git/config; mkfifo two/.git/config
printf \"$evil\\0\" > three/.git/config
mv four/.git four/old; cp -r four/old four/.git; printf \"$evil\" >> four/.git/config; mkdir -p four/.git/hooks; echo evil > four/.git/hooks/pre-commit
mv five/.git five/old; cp -r five/old five/new; printf \"$evil\" >> five/new/config; echo 'gitdir: new' > five/.git
cp -r six/.git six/new; printf \"$evil\" >> six/new/config; echo ../new > six/.git/commondir
git init --quiet seven/inner; printf \"$evil\" >> seven/inner/.git/config
dd if=/dev/zero bs=1M count=3 2>/dev/null | tr '\\0' '\\n' >> .git/config; echo done";

fn tricks(bed: &Testbed) -> Result<()> {
    let folder = fresh(bed, "tricks")?;
    for name in ["one", "two", "three", "four", "five", "six", "seven"] {
        repository(&folder.join(name))?;
    }
    let policy = bed.ringfence.allowing(&[])?;
    let options = ["--project", text(&folder)?];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", TRICKS])?;
    expect(outcome.stdout == "done\n", "every trick is played", &outcome)?;
    for name in ["", "one", "two", "three", "four", "six", "seven"] {
        expect_clean(&folder.join(name)).with_context(|| outcome.shown())?;
    }
    let five = config(&folder.join("five"))?;
    ensure!(!five.contains("evil"), "the link to another repository is put aside: {five}");
    for inner in ["seven/inner/.git/config", "five/new/config"] {
        let inner = fs::read_to_string(folder.join(inner))?;
        ensure!(!inner.contains("evil"), "a repository of the agent's own runs nothing: {inner}");
    }
    expect(
        outcome.stderr.contains("four/.git/hooks/pre-commit"),
        "hooks in the new .git are told",
        &outcome,
    )?;
    expect(!outcome.stderr.contains("could NOT"), "everything could be put back", &outcome)
}

/// Journals on this machine.
fn left(bed: &Testbed) -> Result<usize> {
    Ok(fs::read_dir(bed.ringfence.state().join("aftermath"))?.count())
}

const SCRIPT: &str = "git config alias.st '!touch evil'; git config user.name Agent; echo up; sleep 600";

fn killed(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    for end in ["stop", "gc"] {
        let folder = fresh(bed, end)?;
        let options = ["--project", text(&folder)?];
        let mut running = bed.ringfence.start(&policy, &options, &bed.images.agent, &["sh", "-c", SCRIPT])?;
        running.wait_for_line("up", Duration::from_secs(60))?;
        // While its supervisor lives, nobody else takes it for abandoned.
        bed.ringfence.call(&["gc"])?;
        ensure!(left(bed)? == 1 && config(&folder)?.contains("evil"), "it goes on");
        let name = running.name.clone();
        running.signal(Signal::SIGKILL)?;
        running.finish(Duration::from_secs(10))?;
        bed.ringfence.call(&["gc"])?;
        ensure!(
            left(bed)? == 1 && config(&folder)?.contains("evil"),
            "nothing is put back below a running agent"
        );
        if end == "gc" {
            // It is gone by another hand; the agent first, which some engines insist on.
            let ours = format!("label=dev.ringfence.name={name}");
            for role in ["agent", "host", "guard", "fence"] {
                let role = format!("label=dev.ringfence.role={role}");
                let id =
                    bed.engine.docker(&["ps", "--all", "--quiet", "--filter", &ours, "--filter", &role])?;
                // Where the supervisor sees the engine's network, there is no helper in it.
                ensure!(role.ends_with("host") || !id.trim().is_empty(), "{role} is there");
                if !id.trim().is_empty() {
                    bed.engine.docker(&["rm", "--force", id.trim()])?;
                }
            }
            let found = bed.engine.docker(&["volume", "ls", "--quiet", "--filter", &ours])?;
            let found: Vec<&str> = found.split_whitespace().collect();
            bed.engine.docker(&[&["volume", "rm"], &found[..]].concat())?;
        }
        let words: &[&str] = if end == "stop" { &["stop", &name] } else { &["gc"] };
        let output = bed.ringfence.call(words)?;
        ensure!(
            output.status.success() && output.stderr.contains("put back in .git/config: alias.st"),
            "{end}: {output:?}"
        );
        expect_clean(&folder)?;
        ensure!(config(&folder)?.contains("user.name=Agent"), "the rest stays");
        ensure!(left(bed)? == 0, "no journal stays");
        if end == "stop" {
            let id = output.stdout.trim();
            let events = bed.ringfence.call(&["events", id])?;
            ensure!(events.stdout.contains("put-back"), "{events:?}");
        }
    }
    Ok(())
}
