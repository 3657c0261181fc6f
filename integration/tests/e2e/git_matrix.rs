//! A matrix: what becomes of a secret file under each operation of git, by the kind of file, for
//! the agent, the person and the remote.
//!
//! Every cell is a repository of its own. The same script plays all of them twice: in one run of
//! ringfence, and on this machine without it. A cell says in which way the first differs from the
//! second. No cell loses the person's bytes, and none lets them reach the remote, or an agent that
//! could not read them in git's objects.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration::command::{bounded, run};
use integration::testbed::Testbed;

use crate::{Test, expect, expect_status, text};

pub(crate) const TESTS: &[Test] = &[("no operation of git loses or publishes a covered file", matrix)];

const SCRIPT: &str = include_str!("scripts/git-matrix.sh");
/// It holds the outcome, as a table.
const DOCUMENT: &str = include_str!("../../../docs/git-and-covers.md");
const SECRET: &str = "9dJq4TzX-matrix";
const LIMIT: Duration = Duration::from_secs(60);
/// 84 repositories.
const LONG: Duration = Duration::from_secs(300);

const KINDS: [&str; 6] = ["clean", "changed", "staged", "untracked", "ignored", "filtered"];
/// The operations of the script, and how a person writes them.
const OPERATIONS: [(&str, &str); 14] = [
    ("status", "`status`"),
    ("diff", "`diff`"),
    ("add", "`add -A`"),
    ("commit", "`commit -a`"),
    ("push", "`commit -a`, `push`"),
    ("switch", "`checkout` of a branch with the same version"),
    ("switch-covered", "`checkout` of a branch with another version"),
    ("merge", "`merge`"),
    ("rebase", "`rebase`"),
    ("reset", "`reset --hard`"),
    ("stash", "`stash`, `stash pop`"),
    ("restore", "`restore .`"),
    ("clean", "`clean -fd`"),
    ("worktree", "`worktree add`"),
];

fn git_command(at: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(at).args(["-c", "user.name=a", "-c", "user.email=a@b"]);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

fn git(at: &Path, words: &[&str]) -> Result<String> {
    let output = bounded(git_command(at).args(words), b"", LIMIT)?;
    ensure!(output.status.success(), "git {words:?}: {}", output.stderr);
    Ok(output.stdout)
}

fn mine() -> String {
    format!("A={SECRET}\n")
}

/// A repository with a secret file of one kind, and the branches that the operations need.
fn template(at: &Path, kind: &str) -> Result<()> {
    fs::create_dir_all(at)?;
    git(at, &["init", "--quiet", "--initial-branch=main"])?;
    let env = at.join(".env");
    fs::write(at.join("README"), "x\n")?;
    match kind {
        "clean" => fs::write(&env, mine())?,
        "changed" | "staged" => fs::write(&env, "A=old\n")?,
        "ignored" => fs::write(at.join(".gitignore"), ".env\n")?,
        "filtered" => {
            for way in ["clean", "smudge"] {
                git(at, &["config", &format!("filter.turn.{way}"), "tr A-Za-z N-ZA-Mn-za-m"])?;
            }
            fs::write(at.join(".gitattributes"), ".env filter=turn\n")?;
            fs::write(&env, mine())?;
        }
        _ => {}
    }
    git(at, &["add", "--all"])?;
    git(at, &["commit", "--quiet", "-m", "base"])?;
    for (branch, name, content) in [("side", "side", "x\n"), ("other", ".env", "A=other\n")] {
        git(at, &["checkout", "--quiet", "-b", branch, "main"])?;
        fs::write(at.join(name), content)?;
        git(at, &["add", "--force", name])?;
        git(at, &["commit", "--quiet", "-m", branch])?;
        git(at, &["checkout", "--quiet", "main"])?;
    }
    fs::write(at.join("main"), "x\n")?;
    git(at, &["add", "main"])?;
    git(at, &["commit", "--quiet", "-m", "main"])?;
    fs::write(&env, mine())?;
    if kind == "staged" {
        git(at, &["add", ".env"])?;
    }
    Ok(())
}

/// A project of all cells, and the bare repositories that they push to.
fn world(templates: &Path, at: &Path) -> Result<PathBuf> {
    let (project, remotes) = (at.join("project"), at.join("remotes"));
    for folder in [&project, &remotes] {
        fs::create_dir_all(folder)?;
    }
    for kind in KINDS {
        let template = templates.join(kind);
        for (operation, _) in OPERATIONS {
            let cell = project.join(format!("{operation}.{kind}"));
            run("cp", &["-a", text(&template)?, text(&cell)?], LIMIT)?;
            if operation == "push" {
                let remote = remotes.join(format!("{kind}.git"));
                git(at, &["clone", "--quiet", "--bare", text(&cell)?, text(&remote)?])?;
                git(&cell, &["remote", "add", "origin", &format!("../../remotes/{kind}.git")])?;
            }
        }
    }
    Ok(project)
}

/// The content of the file, or of a version of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Mine,
    Old,
    Other,
    Else,
    Absent,
}

fn content(bytes: Option<&str>) -> Content {
    match bytes {
        None => Content::Absent,
        Some(text) if text == mine() => Content::Mine,
        Some("A=old\n") => Content::Old,
        Some("A=other\n" | "N=bgure\n") => Content::Other,
        // What the filter makes of it.
        Some("N=9qWd4GmK-zngevk\n") => Content::Mine,
        Some(_) => Content::Else,
    }
}

/// The state that one play left.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    works: bool,
    file: Content,
    status: String,
    head: Content,
    remote: Option<Content>,
}

fn version(at: &Path, name: &str) -> Result<Content> {
    let output = bounded(git_command(at).args(["show", name]), b"", LIMIT)?;
    Ok(content(output.status.success().then_some(output.stdout.as_str())))
}

fn left(project: &Path, operation: &str, kind: &str, works: bool) -> Result<Left> {
    let cell = project.join(format!("{operation}.{kind}"));
    let remote = project.with_file_name("remotes").join(format!("{kind}.git"));
    Ok(Left {
        works,
        file: content(fs::read_to_string(cell.join(".env")).ok().as_deref()),
        status: git(&cell, &["status", "--porcelain"])?,
        head: version(&cell, "HEAD:.env")?,
        remote: (operation == "push").then(|| version(&remote, "main:.env")).transpose()?,
    })
}

/// Exit status, busy, and whether the agent saw the secret, by cell.
fn played(stdout: &str) -> Result<BTreeMap<String, (bool, bool, bool)>> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, exit, busy, seen] = words.as_slice() else { return None };
        Some(((*name).to_owned(), (*exit == "0", *busy == "yes", *seen == "yes")))
    };
    let cells: BTreeMap<_, _> = stdout.lines().filter_map(line).collect();
    ensure!(cells.len() == KINDS.len() * OPERATIONS.len(), "every cell was played: {stdout}");
    Ok(cells)
}

/// Says in which way a run differs from a play without ringfence.
fn difference(run: &Left, control: &Left, busy: bool) -> String {
    let mut words = Vec::new();
    match (run.works, control.works) {
        (false, true) if busy => words.push("busy"),
        (false, true) => words.push("fails"),
        (true, false) => words.push("works"),
        _ => {}
    }
    let is_alike = run.works == control.works;
    if is_alike && (run.head != control.head || run.remote != control.remote) {
        words.push(match run.head {
            Content::Else => "stand-in committed, told",
            Content::Mine => "COMMITTED",
            _ => "not committed",
        });
    }
    if run.file != control.file {
        words.push(if run.file == Content::Mine { "file kept" } else { "FILE CHANGED" });
    }
    if words.is_empty() && run.status != control.status {
        words.push("other status");
    }
    if words.is_empty() { "–".to_owned() } else { words.join(", ") }
}

fn matrix(bed: &Testbed) -> Result<()> {
    let base = bed.fresh_directory("git-matrix")?;
    let templates = base.join("templates");
    for kind in KINDS {
        template(&templates.join(kind), kind)?;
    }
    let (with, without) = (world(&templates, &base.join("with"))?, world(&templates, &base.join("without"))?);
    let mut control = Command::new("sh");
    control.args(["-c", SCRIPT, "play", text(&without)?, SECRET]);
    control.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let control = played(&bounded(&mut control, b"", LONG)?.stdout)?;
    ensure!(
        control.values().all(|(_, busy, seen)| !busy && *seen),
        "without ringfence all is seen: {control:?}"
    );

    let policy = bed.ringfence.allowing(&[])?;
    let remotes = format!("{}:/remotes:rw", text(&with.with_file_name("remotes"))?);
    let options = ["--project", text(&with)?, "-v", &remotes];
    let agent = ["sh", "-c", SCRIPT, "play", "/workspace", SECRET];
    let outcome = bed.ringfence.start(&policy, &options, &bed.images.agent, &agent)?.finish(LONG)?;
    expect_status(&outcome, 0)?;
    let cells = played(&outcome.stdout)?;

    let mut table = format!("| git inside | {} |\n|---|{}\n", KINDS.join(" | "), "---|".repeat(KINDS.len()));
    let mut faults = String::new();
    for (operation, shown) in OPERATIONS {
        write!(table, "| {shown} ")?;
        for kind in KINDS {
            let name = format!("{operation}.{kind}");
            let ((works, busy, seen), (works_without, ..)) = (cells[&name], control[&name]);
            let run = left(&with, operation, kind, works)?;
            let control = left(&without, operation, kind, works_without)?;
            write!(table, "| {} ", difference(&run, &control, busy))?;
            // What git's objects have, the agent can read; what the index has, its commit holds.
            let public = matches!(kind, "clean" | "staged");
            let lost = run.file != Content::Mine && run.file != control.file;
            let published = !public && kind != "filtered" && run.remote == Some(Content::Mine);
            if lost || published || (seen && !public) {
                writeln!(
                    faults,
                    "{name}: lost {lost}, published {published}, seen {seen}: {run:?}, without: {control:?}"
                )?;
            }
        }
        table.push_str("|\n");
    }
    expect(faults.is_empty(), &format!("no cell loses or leaks:\n{faults}\n{table}"), &outcome)?;
    ensure!(DOCUMENT.contains(&table), "docs/git-and-covers.md has another matrix than this:\n{table}");
    if table.contains("stand-in committed") {
        expect(outcome.stderr.contains("stand-in for"), "a commit with a stand-in is told", &outcome)?;
    }
    Ok(())
}
