//! `--worktree`: git works in a linked working tree, a submodule and a part of a larger one, and
//! nothing else of the repository changes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::until;
use integration::git::git_with_complaints as git;
use integration::testbed::Testbed;

use crate::{Test, expect, expect_status, text};

pub(crate) const TESTS: &[Test] = &[
    ("an agent commits and pushes in a linked working tree, and every other one stays as it was", linked),
    ("a submodule gets its own repository, and of a part only that part can be written", submodule_and_part),
    ("a repository that does not lead back is not given, and a message says what to do", refused),
    ("of two runs on two working trees of one repository the last one's end puts back for both", two),
];

/// `main` with a submodule and a package, and the linked working trees `tree` (branch mine),
/// `other` (work that is not committed) and `detached` (a commit that no branch has).
fn world(bed: &Testbed, name: &str) -> Result<PathBuf> {
    let folder = bed.fresh_directory("worktree")?.join(name);
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder)?;
    let main = folder.join("main");
    for place in ["dep", "main"] {
        git(&folder, &["init", "--quiet", "--initial-branch=main", place])?;
        fs::write(folder.join(place).join("file"), place)?;
        git(&folder.join(place), &["add", "."])?;
        git(&folder.join(place), &["commit", "--quiet", "-m", "start"])?;
    }
    fs::create_dir_all(main.join("packages/app"))?;
    fs::write(main.join("packages/app/code"), "code")?;
    git(&main, &["submodule", "--quiet", "add", "../dep", "libs/sub"])?;
    git(&main, &["add", "."])?;
    git(&main, &["commit", "--quiet", "-m", "more"])?;
    git(&main, &["remote", "add", "origin", "https://gitlab.test/group/project.git"])?;
    git(&main, &["worktree", "add", "--quiet", "-b", "mine", "../tree"])?;
    git(&main, &["worktree", "add", "--quiet", "-b", "theirs", "../other"])?;
    git(&main, &["worktree", "add", "--quiet", "--detach", "../detached"])?;
    git(&folder.join("tree"), &["submodule", "--quiet", "update", "--init"])?;
    fs::write(folder.join("other/work"), "staged")?;
    git(&folder.join("other"), &["add", "work"])?;
    git(&folder.join("detached"), &["commit", "--quiet", "--allow-empty", "-m", "no branch has this"])?;
    fs::write(main.join("file"), "changed")?;
    git(&main, &["add", "file"])?;
    fs::write(main.join("file"), "changed again")?;
    // git writes these anew when they are a day old.
    for record in ["tree", "other", "detached"] {
        let path = main.join(".git/worktrees").join(record).join("gitdir");
        let old = std::time::SystemTime::now() - Duration::from_secs(3 * 24 * 3600);
        fs::File::open(path)?.set_modified(old)?;
    }
    Ok(folder)
}

/// Every file below these paths, with its content and when it was written.
fn content(folder: &Path, below: &[&str]) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut all = BTreeMap::new();
    let mut waiting: Vec<PathBuf> = below.iter().map(|path| folder.join(path)).collect();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        } else if path.exists() {
            all.insert(path.clone(), fs::read(&path)?);
        }
    }
    Ok(all)
}

/// Files that are nobody's but the person's.
const OTHERS: &[&str] = &[
    "main/file",
    "main/packages",
    "main/libs",
    "main/.git/HEAD",
    "main/.git/index",
    "main/.git/hooks",
    "main/.git/info",
    "main/.git/modules",
    "main/.git/worktrees/other",
    "main/.git/worktrees/detached",
    "main/.git/worktrees/tree/gitdir",
    "main/.git/worktrees/tree/commondir",
    "tree/.git",
    "tree/libs/sub/.git",
    "other",
    "detached",
];

const WORK: &str = r#"set -e; export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@b
git status --porcelain; echo work > new; echo more >> file; git diff --stat | tail -1; git add .; git commit --quiet -m work
git -C libs/sub rev-parse --show-toplevel; git -C libs/sub status --porcelain; git submodule --quiet update
git config user.name Somebody; git branch extra; git log --format=%s -1
git fetch --quiet origin; git push --quiet -u origin mine 2>&1; git ls-remote origin refs/heads/mine | cut -f1; git rev-parse HEAD
set +e; git checkout --quiet theirs 2>&1 | cut -d: -f1; git worktree prune -v >/dev/null 2>&1; git gc --auto --quiet; git gc --quiet --prune=now 2>/dev/null; git worktree list | wc -l
git worktree remove --force ../other 2>/dev/null; git worktree remove --force /repository/other 2>/dev/null; git stash --quiet; git stash pop --quiet 2>/dev/null
G=/repository/main/.git; ls /repository/main/file /repository/other 2>/dev/null | wc -l
for file in $G/HEAD $G/index $G/worktrees/other/HEAD $G/worktrees/other/index $G/worktrees/tree/gitdir $G/hooks/post-commit; do echo evil 2>/dev/null > $file && echo "wrote $file"; rm $file 2>/dev/null && echo "removed $file"; done
git config core.sshCommand evil; git config alias.st '!evil'; echo '*' > $G/info/exclude; echo evil > $G/info/attributes
env -u GIT_CONFIG_COUNT git add --force .env; env -u GIT_CONFIG_COUNT git commit --quiet -m forced
echo evil >> file; touch -r .git file; git update-index --assume-unchanged file; git worktree add --quiet made; echo done"#;

fn linked(bed: &Testbed) -> Result<()> {
    let folder = world(bed, "linked")?;
    let (main, tree) = (folder.join("main"), folder.join("tree"));
    // Covered, not tracked: `git add .` passes over it.
    fs::write(tree.join(".env"), "PASSWORD=s3cr3t-of-tree\n")?;
    let before = content(&folder, OTHERS)?;
    let list = git(&main, &["worktree", "list", "--porcelain"])?;
    let policy = bed.ringfence.allowing(&["gitlab.test"])?;
    let options = [
        "--worktree",
        "--project",
        text(&tree)?,
        "--gitlab",
        "https://gitlab.test",
        "--secret",
        "GITLAB_TOKEN",
    ];
    let running = bed.ringfence.start(&policy, &options, &bed.images.agent, &["sh", "-c", WORK])?;
    let name = running.name.clone();
    let outcome = running.finish(Duration::from_secs(180))?;
    expect_status(&outcome, 0)?;
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    expect(
        lines.len() == 9 && lines[1..3] == ["/workspace/libs/sub", "work"] && lines[3] == lines[4],
        "git works, and the server has the commit",
        &outcome,
    )?;
    expect(lines[0].contains("1 file changed") && lines[5].starts_with("fatal"), "git works", &outcome)?;
    expect(
        lines[6..] == ["4", "0", "done"],
        "working trees elsewhere are known and not there; nothing of them can be written",
        &outcome,
    )?;
    let told = format!("is a linked working tree of {}; for git the agent may also write", text(&main)?);
    expect(outcome.stderr.contains(&told), "what is given is told", &outcome)?;
    expect(!outcome.stderr.contains("could NOT"), "everything could be put back", &outcome)?;
    expect(outcome.stderr.contains("worktree repair"), "a working tree that was made is told", &outcome)?;

    let after = content(&folder, OTHERS)?;
    let changed: Vec<_> = before.iter().filter(|(path, was)| after.get(*path) != Some(was)).collect();
    ensure!(changed.is_empty(), "changed: {:?}\n{}", changed, outcome.shown());
    let now = git(&main, &["worktree", "list", "--porcelain"])?;
    let known = list.split("\n\n").filter(|one| !one.contains("/tree\n")).all(|one| now.contains(one));
    ensure!(known && git(&tree, &["worktree", "prune", "-n"])?.contains("made"), "{list}\n{now}");
    ensure!(git(&folder.join("other"), &["status", "--porcelain"])? == "A  work\n", "what was staged stays");
    ensure!(git(&main, &["status", "--porcelain"])?.starts_with("MM file\n"), "and in the main one");
    let fsck = git(&main, &["fsck"])?;
    ensure!(!fsck.contains("missing") && !fsck.contains("error"), "{fsck}");
    let files = |commit: &str| git(&tree, &["show", "--format=", "--name-only", commit]);
    ensure!(
        files("mine~1")? == "file\nnew\n" && files("mine")? == ".env\n",
        "the stand-in went in by force alone"
    );
    let told = outcome.stderr.lines().find(|line| line.contains("has ringfence's stand-in for"));
    let (_, mend) = told.and_then(|line| line.rsplit_once(": ")).context("no commit is told")?;
    ensure!(told.is_some_and(|line| {
        line.contains(git(&tree, &["rev-parse", "mine"]).unwrap_or_default()[..12].trim())
    }));
    let as_person = ["GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"].map(|name| (name, "me@example.test"));
    let mended = std::process::Command::new("sh").args(["-c", mend]).envs(as_person).output()?;
    ensure!(mended.status.success() && files("mine")?.is_empty(), "{mend}: {mended:?}");
    ensure!(fs::read_to_string(tree.join(".env"))? == "PASSWORD=s3cr3t-of-tree\n", "your file is as it was");
    let status = git(&tree, &["status", "--porcelain", "--untracked-files=no"])?;
    ensure!(status == " M file\n", "what the agent hid is shown: {status}");
    let config = git(&main, &["config", "--local", "--list"])?;
    ensure!(!config.contains("evil") && config.contains("user.name=Somebody"), "{config}");
    ensure!(config.contains("branch.mine.remote=origin"), "{config}");

    let shown = bed.ringfence.call(&["review", &name])?;
    for line in ["changed  file", "added    new", "refs/heads/mine: ", "refs/heads/extra: none", "commit "] {
        ensure!(shown.stdout.contains(line), "`{line}` is missing: {}", shown.stdout);
    }
    until("nothing is left", Duration::from_secs(10), || {
        fs::read_dir(bed.ringfence.state().join("aftermath")).is_ok_and(|left| left.count() == 0)
    })?;

    // The control: without it there is no repository, and the message offers it.
    let script = ["sh", "-c", "git status 2>&1 | head -1; ls /repository 2>&1"];
    let without = bed.ringfence.run(&policy, &["--project", text(&tree)?], &bed.images.agent, &script)?;
    let offer = format!("write `ringfence run --worktree --project {} …`", text(&tree)?);
    expect(without.stdout.contains("not a git repository"), "git finds nothing", &without)?;
    expect(without.stderr.contains(&offer), "the message offers it", &without)
}

fn submodule_and_part(bed: &Testbed) -> Result<()> {
    let folder = world(bed, "parts")?;
    let main = folder.join("main");
    let (sub, app) = (main.join("libs/sub"), main.join("packages/app"));
    let policy = bed.ringfence.allowing(&[])?;
    let identity =
        "export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@b";
    let outside = [
        "main/file",
        "main/packages",
        "main/.git/HEAD",
        "main/.git/index",
        "main/.git/config",
        "main/.git/hooks",
    ];
    let before = content(&folder, &outside)?;
    let script = format!(
        "{identity}; mkdir -p deep && cd deep; git rev-parse --show-toplevel; git checkout --quiet -b topic; echo x > x; git add x; git commit --quiet -m sub; git status --porcelain; git config user.name Somebody; git gc --quiet; echo $?; find /repository -name file | wc -l"
    );
    let options = ["--worktree", "--project", text(&sub)?];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", &script])?;
    expect(outcome.stdout == "/workspace\n0\n0\n", "git works in a submodule", &outcome)?;
    expect(outcome.stderr.contains("a submodule of"), "it is told", &outcome)?;
    ensure!(content(&folder, &outside)? == before, "the project around it is untouched");
    ensure!(git(&sub, &["log", "-1", "--format=%s"])? == "sub\n", "{}", outcome.shown());
    ensure!(git(&sub, &["status", "--porcelain"])?.is_empty(), "and clean");

    fs::write(main.join(".env"), "PASSWORD=s3cr3t-of-main\n")?;
    fs::write(app.join(".env"), "PASSWORD=s3cr3t-of-app\n")?;
    let outside = ["main/file", "main/libs", "main/.env", "main/.git/hooks"];
    let before = content(&folder, &outside)?;
    let script = format!(
        "{identity}; pwd; cat ../../.env .env; echo x > x; git add x; git commit --quiet -m app -- x; git log -1 --format=%s; echo y 2>/dev/null > ../../file || echo held; echo y 2>/dev/null > ../../.git/hooks/post-commit || echo held; git config core.pager evil; git status --porcelain | head -1"
    );
    let options = ["--worktree", "--project", text(&app)?];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", &script])?;
    let wanted = "/workspace/packages/app\napp\nheld\nheld\nMM file\n";
    expect(outcome.stdout.replace("?? .env\n", "") == wanted, "git works in a part", &outcome)?;
    ensure!(content(&folder, &outside)? == before, "the rest is untouched");
    ensure!(git(&main, &["log", "-1", "--format=%s"])? == "app\n", "{}", outcome.shown());
    let config = git(&main, &["config", "--local", "--list"])?;
    ensure!(!config.contains("evil"), "{config}");
    Ok(())
}

fn refused(bed: &Testbed) -> Result<()> {
    let folder = world(bed, "refused")?;
    let download = folder.join("download");
    fs::create_dir_all(&download)?;
    let policy = bed.ringfence.allowing(&[])?;
    let run = |project: &Path| -> Result<_> {
        let options = ["--worktree", "--project", text(project)?];
        bed.ringfence.run(&policy, &options, &bed.images.agent, &["cat", ".git"])
    };
    for target in ["main/.git", "main/.git/worktrees/other", "main/.git/modules/libs/sub"] {
        fs::write(download.join(".git"), format!("gitdir: {}\n", text(&folder.join(target))?))?;
        let outcome = run(&download)?;
        expect_status(&outcome, 125)?;
        expect(outcome.stdout.is_empty() && outcome.stderr.contains("does not lead back"), target, &outcome)?;
    }
    let outcome = run(&folder.join("main"))?;
    expect_status(&outcome, 125)?;
    expect(
        outcome.stderr.contains("leave out --worktree: it is not needed"),
        "an ordinary project",
        &outcome,
    )?;
    let tree = folder.join("tree");
    let options = ["--worktree", "--project", text(&tree)?, "--unmask", "file", "--unmask", "not/there"];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &["true"])?;
    expect_status(&outcome, 125)?;
    expect(outcome.stderr.contains("--unmask not/there: nothing in"), "nothing to be shown", &outcome)?;
    // The control.
    let outcome = run(&tree)?;
    expect(outcome.stdout == "gitdir: /repository/main/.git/worktrees/tree\n", "its own is given", &outcome)
}

fn two(bed: &Testbed) -> Result<()> {
    let folder = world(bed, "two")?;
    let main = folder.join("main");
    let clean = || -> Result<bool> { Ok(!git(&main, &["config", "--list"])?.contains("evil")) };
    let policy = bed.ringfence.allowing(&[])?;
    let (tree, other) = (folder.join("tree"), folder.join("other"));
    let first = "git config alias.st '!evil'; echo up; while [ ! -e go ]; do sleep 0.2; done";
    let options = ["--worktree", "--project", text(&tree)?];
    let mut running = bed.ringfence.start(&policy, &options, &bed.images.agent, &["sh", "-c", first])?;
    running.wait_for_line("up", Duration::from_secs(60))?;
    let options = ["--worktree", "--project", text(&other)?];
    let second = bed.ringfence.run(
        &policy,
        &options,
        &bed.images.agent,
        &["sh", "-c", "git config core.pager evil; echo evil 2>/dev/null > /repository/main/.git/worktrees/tree/HEAD || echo held"],
    )?;
    expect(second.stdout == "held\n", "they do not reach one another", &second)?;
    expect(second.stderr.contains("still works there"), "the other is told of", &second)?;
    // The whole repository around it is another directory, and contains this one.
    let around = bed.ringfence.run(&policy, &["--project", text(&main)?], &bed.images.agent, &["true"])?;
    expect_status(&around, 125)?;
    expect(around.stderr.contains("contain one another"), "it is refused", &around)?;
    fs::write(tree.join("go"), "")?;
    let outcome = running.finish(Duration::from_secs(60))?;
    expect_status(&outcome, 0)?;
    ensure!(clean()?, "put back at the first's end: {}", outcome.shown());
    ensure!(git(&other, &["status", "--porcelain"])? == "A  work\n", "what was staged stays");
    Ok(())
}
