//! `run --keep`: the agent's container stays, and with it nothing that is open.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::git::git;
use integration::testbed::Testbed;
use integration::testbed::engine::variants::Product;

use crate::detached::Detached;
use crate::leftovers::only_the_uplink;
use crate::{Test, expect, expect_status, skip, text};

pub(crate) const TESTS: &[Test] = &[
    ("a kept container can be looked at, and nothing else of the run is left", kept),
    ("a kept container does not start again", not_started),
    ("a GitLab token is not kept", token),
];

/// Leaves a file in the container, reads its secret, and changes git's configuration.
const WORK: &str = "echo left > /root/work.txt; wc -c < /run/secrets/OPENAI_API_KEY; wc -c < .env; echo mine > own.txt; \
                    git config core.fsmonitor 'touch /tmp/evil;:'; exit 7";

/// Lists what the engine has of ringfence, without the uplink and the kept container's volumes.
fn working_parts(bed: &Testbed) -> Result<Vec<String>> {
    let all = bed.engine.of_ringfence()?;
    let works = |part: &String| !part.contains("uplink") && !part.starts_with("volume ");
    Ok(all.into_iter().filter(works).collect())
}

/// Podman removes no fence while a container is there that has joined it: the option is refused
/// before anything is made.
fn refused_by_podman(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let refused = bed.ringfence.run(&policy, &["--keep"], &bed.images.tiny, &["echo", "began"])?;
    expect_status(&refused, 125)?;
    expect(
        refused.stderr.contains("removes no fence while the agent's container is there"),
        "why",
        &refused,
    )?;
    expect(refused.stdout.is_empty(), "nothing began", &refused)?;
    only_the_uplink(bed)
}

fn kept(bed: &Testbed) -> Result<()> {
    if bed.engine.product() == Product::Podman {
        return refused_by_podman(bed);
    }
    let project = bed.fresh_directory("keep")?.join("project");
    fs::create_dir_all(&project)?;
    git(&project, &["init", "--quiet"])?;
    fs::write(project.join(".env"), "PASSWORD=s3cr3t-of-the-project\n")?;
    let name = format!("kept-{}", std::process::id());
    let options = ["--keep", "--name", &name, "--project", text(&project)?, "--user", "0"];
    let options = [&options[..], &["--secret", "OPENAI_API_KEY", "-e", "MARK=mine"]].concat();
    let policy = bed.ringfence.allowing(&[])?;
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", WORK])?;
    expect_status(&outcome, 7)?;
    expect(outcome.stdout == "14\n0\n", "secret and cover were there", &outcome)?;
    for said in ["--keep: the values of MARK stay", "the agent's container is kept, stopped"] {
        expect(outcome.stderr.contains(said), said, &outcome)?;
    }
    // git is settled as always.
    let config = git(&project, &["config", "--local", "--list"])?;
    expect(!config.contains("evil"), &config, &outcome)?;
    let agent = outcome.stderr.split_whitespace().find_map(|word| word.strip_suffix(":PATH"));
    let agent = agent.context("the container is named")?.to_owned();
    let parts = working_parts(bed)?;
    expect(parts.len() == 1 && parts[0].contains(&agent), &format!("one is left: {parts:?}"), &outcome)?;

    let look = || -> Result<()> {
        let copied = |path: &str| bed.engine.try_docker(&["cp", &format!("{agent}:{path}"), "-"]);
        let work = copied("/root/work.txt")?;
        ensure!(work.status.success() && work.stdout.contains("left\n"), "{work:?}");
        ensure!(copied("/workspace/own.txt")?.stdout.contains("mine\n"), "the project's files too");
        let hidden = copied("/workspace/.env")?;
        ensure!(!hidden.stdout.contains("s3cr3t-of-the-project"), "the cover stays: {hidden:?}");
        let secret = copied("/run/secrets/.")?;
        ensure!(!secret.stdout.contains("of-the-testbed"), "the secret is gone: {secret:?}");
        let about = bed.engine.docker(&["inspect", &agent])?;
        ensure!(!about.contains("of-the-testbed") && about.contains("MARK=mine"), "{about}");
        let logs = bed.ringfence.call(&["logs", &name])?;
        ensure!(logs.stdout == "14\n0\n", "{logs:?}");
        for words in [&["ps"][..], &["ps", "--all"]] {
            let listed = bed.ringfence.call(words)?.stdout;
            ensure!(listed.lines().any(|row| row.contains(&name) && row.contains("kept")), "{listed}");
        }
        // It is no leftover, and it holds its name.
        let swept = bed.ringfence.call(&["gc"])?;
        ensure!(swept.status.success() && swept.stdout.is_empty(), "{swept:?}");
        let again = bed.ringfence.run(&policy, &["--name", &name], &bed.images.tiny, &["true"])?;
        expect_status(&again, 125)?;
        expect(again.stderr.contains(&format!("ringfence stop {name}")), "what to do", &again)?;
        // Other runs are not held to its covers.
        let options = ["--project", text(&project)?, "--unmask", ".env"];
        let other = bed.ringfence.run(&policy, &options, &bed.images.tiny, &["cat", ".env"])?;
        expect(other.stdout.contains("s3cr3t-of-the-project"), "it is shown by consent", &other)?;
        let parts = working_parts(bed)?;
        ensure!(parts.len() == 1, "it is kept all the while: {parts:?}");
        Ok(())
    };
    let looked = look();
    let stopped = bed.ringfence.call(&["stop", &name])?;
    looked?;
    ensure!(stopped.status.success(), "{stopped:?}");
    ensure!(bed.ringfence.call(&["events", &name, "--verify"])?.status.success(), "its log is there");
    only_the_uplink(bed)
}

fn not_started(bed: &Testbed) -> Result<()> {
    if bed.engine.product() == Product::Podman {
        return skip("this engine keeps no container after a run");
    }
    let detached =
        Detached::start_of(bed, "again", &["--keep"], &bed.images.tiny, &["sh", "-c", "echo up; sleep 2"])?;
    let waited = detached.call(&["wait", &detached.id])?;
    ensure!(waited.stdout == "0\n", "{waited:?}");
    let agent = format!("ringfence-{}-agent", detached.id);
    let state = || bed.engine.docker(&["inspect", "--format", "{{.State.Running}}", &agent]);
    let try_to = || -> Result<()> {
        ensure!(state()?.trim() == "false", "it has ended");
        // Not even beside a container that has taken the fence's name.
        let fence = format!("ringfence-{}-fence", detached.id);
        for has_impostor in [false, true] {
            if has_impostor {
                let words = ["run", "--detach", "--name", &fence, &bed.images.tiny, "sleep", "600"];
                bed.engine.docker(&words)?;
            }
            let started = bed.engine.try_docker(&["start", &agent]);
            let running = state();
            if has_impostor {
                bed.engine.docker(&["rm", "--force", &fence])?;
            }
            let started = started?;
            ensure!(!started.status.success() && running?.trim() == "false", "it started: {started:?}");
            ensure!(started.stderr.contains("No such container"), "for want of its fence: {started:?}");
        }
        Ok(())
    };
    let tried = try_to();
    detached.stop()?;
    tried?;
    // The control: a container of no fence does start again.
    let plain = bed.engine.docker(&["run", "--detach", &bed.images.tiny, "true"])?;
    let plain = plain.trim();
    bed.engine.docker(&["wait", plain])?;
    let started = bed.engine.try_docker(&["start", plain])?;
    bed.engine.docker(&["rm", "--force", plain])?;
    ensure!(started.status.success(), "{started:?}");
    only_the_uplink(bed)
}

fn token(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let options = ["--keep", "--gitlab-token-env", "GITLAB_TOKEN", "--revoke-token"];
    // Whether it is to be revoked changes nothing: that comes later, and may fail.
    for options in [&options[..3], &options] {
        let outcome = bed.ringfence.run(&policy, options, &bed.images.tiny, &["true"])?;
        expect_status(&outcome, 125)?;
        expect(outcome.stderr.contains("leave --keep out"), "what to do is said", &outcome)?;
        expect(outcome.took < Duration::from_secs(30), "nothing was started", &outcome)?;
    }
    only_the_uplink(bed)
}
