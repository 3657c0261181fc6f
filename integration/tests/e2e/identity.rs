//! The agent's identity: the project's owner, with a name, a home, the caller's name in commits,
//! and the token for git.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration::command::{Output, bounded, run};
use integration::testbed::{Testbed, gitlab};

use crate::{Test, expect, text};

pub(crate) const TESTS: &[Test] = &[
    ("the agent is the project's owner, with an account and a home", owner),
    ("git commits as the caller and pushes with the token, and nothing of it is written down", push),
];

/// A directory that belongs to a user whom neither machine nor image knows.
fn owned(bed: &Testbed, name: &str) -> Result<PathBuf> {
    let path = bed.fresh_directory("identity")?.join(name);
    fs::remove_dir_all(&path).ok();
    fs::create_dir_all(&path)?;
    chown(&path, Some(4321), Some(4321))?;
    Ok(path)
}

fn owner(bed: &Testbed) -> Result<()> {
    let project = owned(bed, "owned")?;
    let policy = bed.ringfence.allowing(&[])?;
    let script = "id -un; echo $HOME; touch $HOME/x made && git init --quiet . && git status --short; id -u; su -c id 2>/dev/null || echo held";
    let options = ["--project", text(&project)?];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", script])?;
    let wanted = "agent\n/home/agent\n?? made\n4321\nheld\n";
    expect(outcome.stdout == wanted, "it is somebody, and git works", &outcome)?;
    ensure!(fs::metadata(project.join("made"))?.uid() == 4321, "what it made is the owner's");
    // Another user by an option is another user; an image without accounts, and one that cannot be
    // written, work too.
    let other = [&options[..], &["--user", "77:77"]].concat();
    let script = ["sh", "-c", "id -u; touch made-too 2>/dev/null || echo no"];
    let outcome = bed.ringfence.run(&policy, &other, &bed.images.agent, &script)?;
    expect(outcome.stdout == "77\nno\n", "the option counts", &outcome)?;
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.tiny, &["id", "-u"])?;
    expect(outcome.stdout == "4321\n", "an image without accounts", &outcome)?;
    let unwritable = [&options[..], &["--read-only"]].concat();
    let outcome = bed.ringfence.run(
        &policy,
        &unwritable,
        &bed.images.agent,
        &["sh", "-c", "id -u; touch $HOME/x && echo home"],
    )?;
    expect(outcome.stdout == "4321\nhome\n", "an image that cannot be written", &outcome)
}

const PUSH: &str = "set -e; git fetch --quiet origin; git checkout --quiet -b topic origin/main; echo more > file; git add file
git commit --quiet -m work; git log -1 --format='%an <%ae>'; git push --quiet -u origin HEAD:BRANCH 2>&1; git rev-parse HEAD; git ls-remote origin BRANCH";

/// `ringfence run` as a person with a name, with a token in the environment.
fn as_somebody(bed: &Testbed, options: &[&str], script: &str) -> Result<Output> {
    let folder = bed.fresh_directory("caller")?;
    let global = folder.join("gitconfig");
    fs::write(&global, "[user]\n\tname = A Person\n\temail = person@example.com\n")?;
    let policy = bed.ringfence.allowing(&["gitlab.test"])?;
    let mut command: Command = bed.ringfence.command();
    command.env("GIT_CONFIG_GLOBAL", &global).args(["run", "--policy"]).arg(policy);
    command
        .args(["--gitlab", "https://gitlab.test"])
        .args(options)
        .arg(&bed.images.agent)
        .args(["sh", "-c", script]);
    bounded(&mut command, b"", Duration::from_secs(120))
}

fn push(bed: &Testbed) -> Result<()> {
    for (number, given) in [&["--secret", "GITLAB_TOKEN"], &["-e", "GITLAB_TOKEN"]].into_iter().enumerate() {
        let project = owned(bed, &format!("push{number}"))?;
        let branch = format!("refs/heads/pushed-{number}");
        let limit = Duration::from_secs(20);
        run("git", &["init", "--quiet", text(&project)?], limit)?;
        let config = project.join(".git/config");
        let remote = "[remote \"origin\"]\n\turl = https://gitlab.test/group/project.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n";
        // The second project says itself who works there.
        let (own, name) = [("", "A Person"), ("[user]\n\tname = Other\n", "Other")][number];
        fs::write(&config, fs::read_to_string(&config)? + remote + own)?;
        run("chown", &["-R", "4321:4321", text(&project)?], limit)?;
        let options = [&["--project", text(&project)?], &given[..]].concat();
        let output = as_somebody(bed, &options, &PUSH.replace("BRANCH", &branch))?;
        let lines: Vec<&str> = output.stdout.lines().collect();
        ensure!(output.status.success() && lines.len() == 3, "{given:?}: {output:?}");
        ensure!(lines[0] == format!("{name} <person@example.com>"), "{output:?}");
        ensure!(lines[2].starts_with(lines[1]), "the server has the commit: {output:?}");
        // The upstream is set, by the agent, in the person's repository.
        let config = fs::read_to_string(project.join(".git/config"))?;
        ensure!(config.contains("[branch \"topic\"]") && config.contains("remote = origin"), "{config}");
        let written = bounded(
            Command::new("grep").args([
                "-r",
                "-l",
                gitlab::TOKEN,
                text(&project)?,
                text(&bed.ringfence.state())?,
            ]),
            b"",
            limit,
        )?;
        ensure!(written.stdout.is_empty(), "the token is nowhere: {written:?}");
    }
    // The control: without a token the server lets nobody push.
    let project = owned(bed, "refused")?;
    let script = "git clone --quiet https://gitlab.test/group/project.git x && cd x && git push --quiet origin HEAD:refs/heads/no 2>&1; echo $?";
    let output = as_somebody(bed, &["--project", text(&project)?], script)?;
    ensure!(!output.stdout.trim_end().ends_with("\n0") && output.stdout.trim() != "0", "{output:?}");
    // Another host is not told the token.
    let script = "printf 'protocol=https\nhost=evil.test\n\n' | GIT_TERMINAL_PROMPT=0 git credential fill 2>&1; printf 'protocol=https\nhost=gitlab.test\n\n' | git credential fill";
    let output = as_somebody(bed, &["-e", "GITLAB_TOKEN"], script)?;
    ensure!(output.stdout.matches(gitlab::TOKEN).count() == 1, "{output:?}");
    Ok(())
}
