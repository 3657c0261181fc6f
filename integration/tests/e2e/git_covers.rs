//! Covers and git: what git has just so is shown, what it has otherwise covers the file, and no
//! stand-in gets into a commit unsaid.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::run;
use integration::testbed::Testbed;

use crate::{Test, expect, expect_status, text};

pub(crate) const TESTS: &[Test] = &[
    ("a tracked file is as ever to git, in a commit, a stash, a merge and a push", shown),
    ("what git has otherwise, or not at all, is in no commit, and one by force is told", covered),
];

const SECRET: &str = "9dJq4TzX-uncommitted";

/// Options that set who commits, whatever the machine's git says.
const IDENTITY: &[&str] = &[
    "-e",
    "GIT_AUTHOR_NAME=a",
    "-e",
    "GIT_AUTHOR_EMAIL=a@example.com",
    "-e",
    "GIT_COMMITTER_NAME=a",
    "-e",
    "GIT_COMMITTER_EMAIL=a@example.com",
];

fn git(at: &Path, words: &[&str]) -> Result<String> {
    let mut all = vec!["-C", text(at)?, "-c", "user.name=a", "-c", "user.email=a@example.com"];
    all.extend(words);
    run("git", &all, Duration::from_secs(20))
}

/// A repository with tracked secrets of tests, a branch that changes one, and a bare repository to
/// push to.
fn project(bed: &Testbed, name: &str) -> Result<PathBuf> {
    let folder = bed.fresh_directory(name)?;
    git(&folder, &["init", "--quiet", "--initial-branch=main", "."])?;
    fs::create_dir_all(folder.join("tests"))?;
    fs::write(folder.join("README"), "x\n")?;
    fs::write(folder.join(".env"), "A=committed\n")?;
    fs::write(folder.join("tests/id_rsa"), "a key of a test\n")?;
    fs::write(folder.join("changed.env"), "A=old\n")?;
    fs::write(folder.join(".gitignore"), "remote.git\n")?;
    git(&folder, &["add", "--all"])?;
    git(&folder, &["commit", "--quiet", "-m", "one"])?;
    git(&folder, &["switch", "--quiet", "--create", "other"])?;
    fs::write(folder.join(".env"), "A=other\n")?;
    git(&folder, &["commit", "--quiet", "-am", "other"])?;
    git(&folder, &["switch", "--quiet", "main"])?;
    git(&folder, &["init", "--quiet", "--bare", "remote.git"])?;
    git(&folder, &["remote", "add", "origin", "./remote.git"])?;
    git(&folder, &["push", "--quiet", "origin", "main"])?;
    Ok(folder)
}

/// Everything that fails where a file is mounted over.
const WORK: &str = "set -e; cd /workspace; cat .env tests/id_rsa; git status --short
echo fix >> README; git commit -qam fix; git push -q origin main
echo more >> README; git stash -q; git stash pop -q; git reset -q --hard
git switch -q other; cat .env; git switch -q main; git merge -q -m merged other; cat .env
git switch -q -c again other; git rebase -q main; echo done";

fn shown(bed: &Testbed) -> Result<()> {
    let folder = project(bed, "git-shown")?;
    let policy = bed.ringfence.allowing(&[])?;
    let options = [&["--project", text(&folder)?][..], IDENTITY].concat();
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", WORK])?;
    expect_status(&outcome, 0)?;
    let expected = "A=committed\na key of a test\nA=other\nA=other\ndone\n";
    expect(outcome.stdout == expected, "git works, and files are as committed", &outcome)?;
    expect(outcome.stderr.contains("since git has it just so: .env"), "that is told", &outcome)?;
    let pushed = git(&folder, &["--git-dir=remote.git", "show", "main", "--format=%s", "--name-only"])?;
    ensure!(pushed == "fix\n\nREADME", "{pushed}");
    ensure!(git(&folder, &["show", "other:.env"])? == "A=other");

    // A policy hides it all the same, and another run of that time is held to that.
    git(&folder, &["switch", "--quiet", "main"])?;
    let hide = bed.ringfence.policy_file("version: 1\nworkspace: {hide-committed: true}\n")?;
    let script = "cd /workspace; cat .env; git show HEAD:.env; echo x >> README; git commit -qam hidden; echo up; sleep 60";
    let mut running = bed.ringfence.start(&hide, &options, &bed.images.agent, &["sh", "-c", script])?;
    running.wait_for_line("A=other", Duration::from_secs(60))?;
    running.wait_for_line("up", Duration::from_secs(30))?;
    let beside = bed.ringfence.run(&policy, &options, &bed.images.agent, &["cat", ".env", "tests/id_rsa"])?;
    expect(beside.status == 0 && beside.stdout.is_empty(), "what another run covers stays covered", &beside)?;
    let stopped = bed.ringfence.call(&["stop", &running.name])?;
    ensure!(stopped.status.success(), "{stopped:?}");
    running.finish(Duration::from_secs(30))?;
    let last = git(&folder, &["show", "main", "--format=%s", "--name-only"])?;
    ensure!(last == "hidden\n\nREADME", "{last}");
    ensure!(fs::read_to_string(folder.join(".env"))? == "A=other\n");
    Ok(())
}

const COMMITS: &str = "cd /workspace; cat changed.env new/.env; git status --short
echo fix >> README; git commit -qam fix; git add -A; git commit -qm all > /dev/null; git add -f new/.env 2>/dev/null; echo forced $?
git push -q origin main; git stash list; git branch -q side HEAD~1
GIT_CONFIG_COUNT=2 git add -f new/.env; GIT_CONFIG_COUNT=2 git commit -qm leak; echo done";

fn covered(bed: &Testbed) -> Result<()> {
    let folder = project(bed, "git-covered")?;
    fs::create_dir(folder.join("new"))?;
    fs::write(folder.join("changed.env"), format!("A={SECRET}\n"))?;
    fs::write(folder.join("new/.env"), format!("A={SECRET}\n"))?;
    let policy = bed.ringfence.allowing(&[])?;
    // Behind what the person gives: two of these, so that the script can leave out ringfence's own.
    let options = [
        "--project",
        text(&folder)?,
        "-e",
        "GIT_CONFIG_COUNT=2",
        "-e",
        "GIT_CONFIG_KEY_0=user.name",
        "-e",
        "GIT_CONFIG_VALUE_0=a",
        "-e",
        "GIT_CONFIG_KEY_1=user.email",
        "-e",
        "GIT_CONFIG_VALUE_1=a@example.com",
    ];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", COMMITS])?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout == "A=old\nforced 128\ndone\n", "the index's version, and no change", &outcome)?;
    let whole = format!("{}{}", outcome.stdout, outcome.stderr);
    expect(!whole.contains(SECRET), "the secret is nowhere", &outcome)?;
    let pushed = git(&folder, &["--git-dir=remote.git", "show", "main", "--format=%s %p", "--name-only"])?;
    let first = git(&folder, &["rev-parse", "--short", "main~2"])?;
    ensure!(pushed == format!("fix {}\n\nREADME", first.trim()), "{pushed}");

    // What got in by force is told, with what mends it; the person's own files stay as they are.
    let id = git(&folder, &["rev-parse", "main"])?;
    let line = outcome.stderr.lines().find(|line| line.contains("stand-in for") && line.contains(&id[..12]));
    let line = line.with_context(|| format!("nothing of {id} in {}", outcome.stderr))?;
    expect(outcome.events.iter().any(|event| event["reason"] == "stand-in"), "it is an event", &outcome)?;
    let command = line.rsplit_once(": ").context("a command")?.1;
    let identity = [
        ("AUTHOR_NAME", "a"),
        ("AUTHOR_EMAIL", "a@x.test"),
        ("COMMITTER_NAME", "a"),
        ("COMMITTER_EMAIL", "a@x.test"),
    ];
    let mended = Command::new("sh")
        .args(["-c", command])
        .envs(identity.map(|(key, value)| (format!("GIT_{key}"), value)))
        .output()?;
    ensure!(mended.status.success(), "{command}: {mended:?}");
    ensure!(git(&folder, &["ls-files", "new"])?.is_empty());
    for path in ["changed.env", "new/.env"] {
        ensure!(fs::read_to_string(folder.join(path))? == format!("A={SECRET}\n"), "{path} was changed");
    }
    expect(outcome.stderr.contains("Device or resource busy"), "what that means is said", &outcome)
}
