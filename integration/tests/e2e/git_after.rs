//! The deeds of the person's own git after a run, and what `ringfence review` shows of it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::{bounded, run, until};
use integration::git::git_with_complaints as git;
use integration::testbed::Testbed;

use crate::{Test, expect, expect_status, text};

pub(crate) const TESTS: &[Test] = &[
    ("git writes no hook, hides no file and pushes nowhere else, and a review shows the run", hidden),
    ("of two runs on one directory the last one's end puts back for both, and the first one's says so", two),
];

const LIMIT: Duration = Duration::from_secs(20);

fn repository(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    run("git", &["init", "--quiet", "--initial-branch=main", text(folder)?], LIMIT)?;
    fs::write(folder.join("script.sh"), "echo good\n")?;
    git(folder, &["add", "."])?;
    git(folder, &["commit", "--quiet", "-m", "start"])?;
    git(folder, &["branch", "feature"])?;
    git(folder, &["config", "branch.feature.merge", "refs/heads/feature"])?;
    Ok(())
}

fn fresh(bed: &Testbed, name: &str) -> Result<PathBuf> {
    let folder = bed.fresh_directory("git-after")?.join(name);
    fs::remove_dir_all(&folder).ok();
    Ok(folder)
}

/// An index of one entry: this executable file, at a place where git runs it. As text for `printf`.
fn index(object: &str) -> Result<String> {
    let path = b".git/hooks/post-checkout";
    let mut bytes = b"DIRC\0\0\0\x02\0\0\0\x01".to_vec();
    bytes.extend_from_slice(&[0; 24]);
    bytes.extend_from_slice(&0o100_755u32.to_be_bytes());
    bytes.extend_from_slice(&[0; 12]);
    for pair in object.trim().as_bytes().chunks(2) {
        bytes.push(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    }
    bytes.extend_from_slice(&u16::try_from(path.len())?.to_be_bytes());
    bytes.extend_from_slice(path);
    let entry = bytes.len() - 12;
    bytes.resize(12 + (entry + 8) / 8 * 8, 0);
    // git does not look at the sum.
    bytes.extend_from_slice(&[0; 20]);
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "\\{byte:03o}");
        text
    }))
}

const PAYLOAD: &str = "#!/bin/sh\ntouch ran\n";

fn hidden(bed: &Testbed) -> Result<()> {
    let folder = fresh(bed, "hidden")?;
    let (planted, hiding, control) = (folder.join("planted"), folder.join("hiding"), folder.join("control"));
    for repository_at in [&planted, &hiding, &control] {
        repository(repository_at)?;
    }
    fs::write(control.join(".git/payload"), PAYLOAD)?;
    let object = git(&control, &["hash-object", ".git/payload"])?;
    let index = index(&object)?;
    let plant = format!(
        "printf '#!/bin/sh\\ntouch ran\\n' > .git/p; git hash-object -w .git/p; rm .git/p; printf '{index}' > .git/index"
    );
    let hide = "echo evil > script.sh; echo evil > evil.sh; git update-index --assume-unchanged script.sh
echo evil.sh > .git/info/exclude; git config push.default upstream; git config branch.feature.merge refs/heads/main
git config core.trustctime false; ln -s /tmp/elsewhere .git/COMMIT_EDITMSG; git replace HEAD^{tree} 4b825dc642cb6eb9a060e54bf8d69288fbee4904
echo /nonexistent > .git/objects/info/alternates; echo x > .git/tool-state; git branch work";
    let identity =
        "export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@b";

    // The control: the same, where nobody judges. The empty tree is written, so that it can replace
    // another.
    bounded(Command::new("sh").args(["-c", &plant]).current_dir(&control), b"", LIMIT)?;
    git(&control, &["restore", "."])?;
    ensure!(control.join(".git/hooks/post-checkout").exists(), "the control writes the hook");

    let script = format!(
        "{identity}; cd /workspace/planted && {plant} && cd ../hiding && git mktree </dev/null && {hide} && git commit --quiet --allow-empty -m work; cd /workspace/hiding; git commit --quiet --allow-empty -m more; echo done"
    );
    let policy = bed.ringfence.allowing(&[])?;
    let options = ["--project", text(&folder)?];
    let running = bed.ringfence.start(&policy, &options, &bed.images.agent, &["sh", "-c", &script])?;
    let name = running.name.clone();
    let outcome = running.finish(Duration::from_secs(120))?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout.contains("done"), "all of it is done", &outcome)?;
    expect(!outcome.stderr.contains("could NOT"), "everything could be put back", &outcome)?;

    git(&planted, &["restore", "."])?;
    git(&planted, &["checkout", "."])?;
    ensure!(
        !planted.join(".git/hooks/post-checkout").exists() && !planted.join("ran").exists(),
        "the hook is not written"
    );
    let status = git(&hiding, &["status", "--porcelain"])?;
    ensure!(status.contains(" M script.sh") && status.contains("?? evil.sh"), "{status}");
    let config = git(&hiding, &["config", "--local", "--list"])?;
    ensure!(!config.contains("push.default") && !config.contains("trustctime"), "{config}");
    ensure!(config.contains("branch.feature.merge=refs/heads/feature\n"), "{config}");
    for gone in ["COMMIT_EDITMSG", "objects/info/alternates"] {
        let path = hiding.join(".git").join(gone);
        ensure!(!path.is_symlink() && (gone == "COMMIT_EDITMSG" || !path.exists()), "{gone} is put aside");
    }
    ensure!(git(&hiding, &["for-each-ref", "refs/replace"])?.is_empty(), "no object stands for another");
    ensure!(hiding.join(".git/tool-state").exists(), "what nobody knows is not moved");
    for told in [
        "taken out, since git would write it where it runs or follows it: .git/hooks/post-checkout",
        "had told it not to look at: script.sh",
        "hiding/.git/info/exclude",
        "hiding/.git: refs/heads/main moved: ",
        "hiding/.git: refs/heads/work moved: none",
        "hiding/.git/tool-state: new, and not known",
    ] {
        expect(outcome.stderr.contains(told), told, &outcome)?;
    }
    expect(
        outcome.has_event(&[("kind", "lifecycle"), ("reason", "git-changed")]),
        "in the events",
        &outcome,
    )?;

    let shown = bed.ringfence.call(&["review", &name])?;
    ensure!(shown.status.success(), "{shown:?}");
    for line in [
        "changed  hiding/script.sh",
        "added    hiding/evil.sh",
        "refs/heads/work: none",
        "commit ",
        "put back",
    ] {
        ensure!(shown.stdout.contains(line), "`{line}` is missing: {}", shown.stdout);
    }
    let json = bed.ringfence.call(&["review", &name, "--json"])?;
    let json: serde_json::Value = serde_json::from_str(&json.stdout)?;
    let commits = json["directories"][0]["repositories"].as_array().context("repositories")?;
    ensure!(
        commits
            .iter()
            .any(|one| one["commits"].as_array().is_some_and(|all| all.len() == 1 || all.len() == 2)),
        "{json}"
    );
    let nobody = bed.ringfence.call(&["review", "nobody"])?;
    ensure!(nobody.status.code() == Some(125), "{nobody:?}");
    Ok(())
}

const EVIL: &str = "git config core.fsmonitor evil; git config alias.st evil";

fn two(bed: &Testbed) -> Result<()> {
    let folder = fresh(bed, "two")?;
    repository(&folder)?;
    let clean = || -> Result<bool> { Ok(!git(&folder, &["config", "--list"])?.contains("evil")) };
    let policy = bed.ringfence.allowing(&[])?;
    let options = ["--project", text(&folder)?];
    let first = format!("cd /workspace; {EVIL}; echo up; while [ ! -e go ]; do sleep 0.2; done");
    let mut running = bed.ringfence.start(&policy, &options, &bed.images.agent, &["sh", "-c", &first])?;
    let name = running.name.clone();
    running.wait_for_line("up", Duration::from_secs(60))?;
    ensure!(!clean()?, "what the first agent left is there while it works");
    let early = bed.ringfence.call(&["review", &name])?;
    ensure!(early.status.code() == Some(125) && early.stderr.contains("has not ended"), "{early:?}");

    // Nothing is put back below a running agent: its end does it for both, and the second's end
    // says so.
    let second = bed.ringfence.run(
        &policy,
        &options,
        &bed.images.agent,
        &["sh", "-c", &format!("cd /workspace; {EVIL}")],
    )?;
    expect_status(&second, 0)?;
    expect(second.stderr.contains("still works there"), "the other is told of", &second)?;
    ensure!(!clean()?, "the first goes on");

    fs::write(folder.join("go"), "")?;
    let outcome = running.finish(Duration::from_secs(60))?;
    expect_status(&outcome, 0)?;
    ensure!(clean()?, "put back at the first's end: {}", outcome.shown());
    expect(!outcome.stderr.contains("still works there"), "nobody else is there", &outcome)?;
    until("nothing is left", Duration::from_secs(10), || {
        fs::read_dir(bed.ringfence.state().join("aftermath")).is_ok_and(|left| left.count() == 0)
    })
}
