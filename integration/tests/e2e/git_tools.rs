//! git-lfs, submodules and remotes by ssh in the agent's container: their own traces stay, and
//! others that only look like them do not.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use integration::git::git;
use integration::testbed::Testbed;

use crate::{Test, expect, expect_status, text};

pub(crate) const TESTS: &[Test] = &[
    ("values and hooks that git-lfs installs stay, others are put back", installed),
    ("remotes and submodules by ssh are reached by https, and submodules stay", by_https),
];

const HOOKS: [&str; 4] = ["pre-push", "post-checkout", "post-commit", "post-merge"];

/// Installs in a repository of the person's and in a new one; then what is not git-lfs's.
const WORK: &str = "set -e; cd /workspace
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@b
(cd plain; git lfs install --local; git lfs track '*.bin'; echo data > a.bin; git add .; git commit --quiet -m lfs; git show HEAD:a.bin)
git init --quiet new; (cd new; git lfs install --local)
(cd changed; git lfs install --local; git config filter.lfs.process 'evil'; git config filter.lfs.clean 'git-lfs clean -- %f; evil'
 echo 'evil' >> .git/hooks/pre-push; cp .git/hooks/post-merge .git/hooks/pre-commit)
(cd kept; git config filter.lfs.smudge 'git-lfs smudge --skip -- %f')
(cd covered; git lfs install --local >/tmp/said 2>&1 || true; cat /tmp/said >&2)
echo done";

fn installed(bed: &Testbed) -> Result<()> {
    let project = bed.fresh_directory("git-lfs")?.join("project");
    fs::remove_dir_all(&project).ok();
    fs::create_dir_all(&project)?;
    for (name, hooks) in [("plain", false), ("changed", false), ("kept", false), ("covered", true)] {
        let folder = project.join(name);
        git(&project, &["init", "--quiet", "--initial-branch=main", "--template=", name])?;
        if hooks {
            fs::create_dir(folder.join(".git/hooks"))?;
        }
    }
    git(&project.join("kept"), &["config", "filter.lfs.smudge", "git-lfs smudge -- %f"])?;
    let policy = bed.ringfence.allowing(&[])?;
    let options = ["--project", text(&project)?];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", WORK])?;
    expect_status(&outcome, 0)?;
    expect(
        outcome.stdout.contains("git-lfs.github.com/spec") && outcome.stdout.ends_with("done\n"),
        "git-lfs works inside",
        &outcome,
    )?;

    for name in ["plain", "new"] {
        let folder = project.join(name);
        for (key, value) in [
            ("filter.lfs.clean", "git-lfs clean -- %f"),
            ("filter.lfs.smudge", "git-lfs smudge -- %f"),
            ("filter.lfs.process", "git-lfs filter-process"),
            ("filter.lfs.required", "true"),
        ] {
            expect(value_of(&folder, key)? == value, &format!("{name} keeps {key}"), &outcome)?;
        }
        expect(hooks_of(&folder)? == sorted(&HOOKS), &format!("{name} keeps its hooks"), &outcome)?;
        expect(
            outcome.stderr.contains(&format!("{name}/.git/hooks/pre-push")),
            "a new hook is told",
            &outcome,
        )?;
    }
    let changed = project.join("changed");
    for (key, value) in
        [("filter.lfs.process", ""), ("filter.lfs.clean", ""), ("filter.lfs.required", "true")]
    {
        expect(value_of(&changed, key)? == value, &format!("changed has {key} = {value:?}"), &outcome)?;
    }
    expect(hooks_of(&changed)? == sorted(&HOOKS[1..]), "another hook is put aside", &outcome)?;
    let kept = value_of(&project.join("kept"), "filter.lfs.smudge")?;
    expect(kept == "git-lfs smudge -- %f", "a value of the person's is put back", &outcome)?;
    ensure!(
        hooks_of(&project.join("covered"))?.is_empty(),
        "a folder of hooks that was there is not written"
    );
    Ok(())
}

fn value_of(folder: &Path, key: &str) -> Result<String> {
    let listed = git(folder, &["config", "--local", "--list"])?;
    let value = listed.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    Ok(value.unwrap_or_default().to_owned())
}

/// The hooks that git would run.
fn hooks_of(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.join(".git/hooks"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.contains(".put-aside-") && !name.ends_with(".sample") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn sorted(names: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    names.sort();
    names
}

/// Fetches by a remote's own address, takes a submodule by ssh, and commits in it.
const SUBMODULES: &str = "set -e; cd /workspace
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@b
git fetch --quiet origin; git merge --quiet origin/main; git submodule --quiet add git@gitlab.test:group/project.git libs/part
git commit --quiet -m 'a part'; cd libs/part; echo more > new; git add new; git commit --quiet -m more; cd /workspace
git commit --quiet -am 'a newer part'; git config core.sshCommand evil; git -C libs/part config core.hooksPath evil
git submodule --quiet deinit --force libs/part; git submodule --quiet update --init; cat libs/part/new; echo done";

fn by_https(bed: &Testbed) -> Result<()> {
    let project = bed.fresh_directory("git-tools")?.join("ssh");
    fs::remove_dir_all(&project).ok();
    fs::create_dir_all(&project)?;
    git(&project, &["init", "--quiet", "--initial-branch=main"])?;
    git(&project, &["remote", "add", "origin", "git@gitlab.test:group/project.git"])?;
    let options = ["--project", text(&project)?];
    let agent = ["sh", "-c", SUBMODULES];
    // The control: where the policy permits ssh, nothing is rewritten, and nobody answers there.
    let both = bed.ringfence.allowing(&["gitlab.test", "gitlab.test:22"])?;
    let outcome = bed.ringfence.run(&both, &options, &bed.images.agent, &agent)?;
    expect(outcome.status != 0 && !outcome.stderr.contains("uses https"), "ssh is tried", &outcome)?;

    let policy = bed.ringfence.allowing(&["gitlab.test"])?;
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &agent)?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout.ends_with("more\ndone\n"), "git works in a submodule", &outcome)?;
    expect(
        outcome.stderr.contains("git inside uses https in the place of ssh for gitlab.test"),
        "that is told",
        &outcome,
    )?;
    let part = project.join("libs/part");
    let listed = git(&project, &["config", "--local", "--list"])?;
    expect(
        listed.contains("remote.origin.url=git@gitlab.test:group/project.git")
            && listed.contains("submodule.libs/part.url=git@gitlab.test:group/project.git")
            && !listed.contains("evil")
            && !listed.contains("insteadof"),
        &listed,
        &outcome,
    )?;
    let status = git(&project, &["submodule", "status"])?;
    let worktree = git(&part, &["rev-parse", "--show-toplevel"])?;
    expect(status.starts_with(' ') && status.contains("libs/part"), &status, &outcome)?;
    expect(worktree.trim() == text(&part.canonicalize()?)?, &worktree, &outcome)?;
    let inner = git(&part, &["config", "--local", "--list"])?;
    expect(!inner.contains("evil") && fs::read_to_string(part.join("new"))? == "more\n", &inner, &outcome)
}
