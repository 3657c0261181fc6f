//! A run's words about the files that it left: every one in the events, the riskiest first on
//! stderr. It also tells what of git lies outside.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use integration::git::git;
use integration::testbed::Testbed;

use crate::{Test, expect, expect_status, text};

pub(crate) const TESTS: &[Test] = &[
    ("a flood of names hides none, and rights and ways out are told", flood),
    ("git's records of places elsewhere outlive what git does inside", elsewhere),
];

/// Files of the flood.
const DECOYS: usize = 5_000;

/// Decoys first, of one kind and of many; then what is meant.
const FLOOD: &str = r"set -e; cd /workspace
seq 1 5000 | sed 's,^,decoys/d,' | xargs mkdir -p; for n in $(seq 1 5000); do : > decoys/d$n/.envrc; done
for name in .exrc .nvimrc .nvim.lua .vimrc .gvimrc .lvimrc .dir-locals.el .kakrc .emacs .nanorc .bashrc .zshrc; do echo x > $name; done
mkdir -p .vscode .config/mise .opencode/plugin .circleci .cursor tc
echo x > .vscode/tasks.json; echo x > .envrc; echo x > .mcp.json; echo x > .cursor/mcp.json; echo x > Jenkinsfile
echo x > .config/mise/config.toml; echo x > .opencode/plugin/x.ts; echo x > .circleci/config.yml; echo x > CLAUDE.md
printf '[toolchain]\npath = \x22tc\x22\n' > rust-toolchain.toml; echo x > Makefile
printf 'x' > $(printf '.mise.\033[2J.toml')
cp /bin/true suid; chmod 4755 suid; chmod 666 readme; chmod 755 script; ln -s /etc/shadow out; mkfifo pipe; echo done";

fn fresh(bed: &Testbed, name: &str) -> Result<PathBuf> {
    let folder = bed.fresh_directory("telling")?.join(name);
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn flood(bed: &Testbed) -> Result<()> {
    let folder = fresh(bed, "flood")?;
    fs::write(folder.join("readme"), "x")?;
    fs::write(folder.join("script"), "#!/bin/sh\n")?;
    let policy = bed.ringfence.allowing(&[])?;
    let outcome = bed.ringfence.run(
        &policy,
        &["--project", text(&folder)?],
        &bed.images.agent,
        &["sh", "-c", FLOOD],
    )?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout == "done\n", "all of it could be done", &outcome)?;
    let said = |reason: &str| -> String {
        let events = outcome.events.iter().filter(|event| event["reason"] == reason);
        events.filter_map(|event| event["what"].as_str()).collect::<Vec<_>>().join(", ") + ","
    };
    let named = said("runs-code");
    for number in 1..=DECOYS {
        ensure!(named.contains(&format!("decoys/d{number}/.envrc,")), "decoy {number} is in no event");
    }
    for path in [
        ".vscode/tasks.json",
        ".envrc",
        ".mcp.json",
        ".cursor/mcp.json",
        ".config/mise/config.toml",
        ".opencode/plugin/x.ts",
        "rust-toolchain.toml",
        ".circleci/config.yml",
        "Jenkinsfile",
        "CLAUDE.md",
    ] {
        ensure!(named.contains(path), "{path} is in no event");
        let shown = outcome.stderr.contains(&format!(" {path} (new; "));
        ensure!(shown, "{path} is not shown: {}", outcome.stderr);
    }
    ensure!(
        named.contains("Makefile") && !outcome.stderr.contains("Makefile"),
        "builds are counted: {}",
        outcome.stderr
    );
    for (reason, path) in [
        ("gives-rights", "suid"),
        ("gives-rights", "readme"),
        ("gives-rights", "script"),
        ("leads-out", "out"),
        ("leads-out", "pipe"),
    ] {
        ensure!(said(reason).contains(path), "{path} is in no event of {reason}");
        ensure!(outcome.stderr.contains(&format!(" {path}")), "{path} is not shown: {}", outcome.stderr);
    }
    ensure!(outcome.stderr.len() < 8_000 && !outcome.stderr.contains('\u{1b}'), "{}", outcome.stderr);
    ensure!(outcome.stderr.contains("named here: ringfence events "), "{}", outcome.stderr);
    let verified = bed.ringfence.call(&["events", text(&outcome.events_file)?, "--verify"])?;
    ensure!(verified.status.success(), "{verified:?}");
    // The control: what is there already is not told.
    let quiet = bed.ringfence.run(&policy, &["--project", text(&folder)?], &bed.images.agent, &["true"])?;
    expect(!quiet.stderr.contains("run code") && !quiet.stderr.contains("rights"), "nothing is told", &quiet)
}

fn elsewhere(bed: &Testbed) -> Result<()> {
    let folder = fresh(bed, "elsewhere")?;
    let (main, tree) = (folder.join("main"), folder.join("tree"));
    for place in [&main, &folder.join("control")] {
        fs::create_dir(place)?;
        git(place, &["init", "--quiet", "--initial-branch=main"])?;
        git(place, &["commit", "--quiet", "--allow-empty", "-m", "start"])?;
    }
    git(&main, &["worktree", "add", "--quiet", "-b", "mine", text(&tree)?])?;
    git(&folder.join("control"), &["worktree", "add", "--quiet", "-b", "mine", text(&folder.join("gone"))?])?;
    fs::write(tree.join("work"), "staged")?;
    git(&tree, &["add", "work"])?;
    let policy = bed.ringfence.allowing(&[])?;
    let script = "cd /workspace; git worktree prune -v; git gc --quiet --prune=now; git worktree add --quiet made; git status --short; echo done";
    let outcome =
        bed.ringfence.run(&policy, &["--project", text(&main)?], &bed.images.agent, &["sh", "-c", script])?;
    expect(outcome.stdout.ends_with("done\n"), "git works inside", &outcome)?;
    let staged = git(&tree, &["status", "--short"])?;
    ensure!(staged == "A  work\n", "the person's working tree is whole: {staged}\n{}", outcome.shown());
    let mends = format!("git -C {} worktree repair {}", text(&main)?, text(&main.join("made"))?);
    expect(outcome.stderr.contains(&mends), "a new working tree is told, with what mends it", &outcome)?;
    git(&main, &["worktree", "repair", text(&main.join("made"))?])?;
    git(&main.join("made"), &["status"])?;
    // A working tree of its own is told at the start.
    let linked = bed.ringfence.run(&policy, &["--project", text(&tree)?], &bed.images.agent, &["true"])?;
    expect(
        linked.stderr.contains("it is a linked working tree of"),
        "and a linked one at the start",
        &linked,
    )?;
    // The control: without a record that cannot be removed, git clears it away.
    let control = folder.join("control");
    fs::remove_dir_all(folder.join("gone"))?;
    git(&control, &["worktree", "prune"])?;
    ensure!(!control.join(".git/worktrees").exists(), "git prunes what is not there");
    Ok(())
}
