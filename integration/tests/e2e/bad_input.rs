//! Bad input: exit 125, a message that says what is wrong, and nothing created on the engine.

use anyhow::{Result, ensure};
use integration::testbed::Testbed;

use crate::{Test, expect, text};

pub(crate) const TESTS: &[Test] = &[
    ("unknown key", unknown_key),
    ("bad YAML", bad_yaml),
    ("a policy that is not there", no_policy_file),
    ("a policy that extends itself", extends_itself),
    ("an image that does not exist", no_image),
    ("no engine", no_engine),
    ("a project directory that is not there", no_project),
    ("an option that does not exist", no_option),
    ("a program that cannot be started is told with the user and the remedy", programs),
];

/// Runs it; it must end with 125, say all of `words`, and leave the engine as it was.
fn refuses(bed: &Testbed, arguments: &[&str], words: &[&str]) -> Result<()> {
    let before = bed.engine.of_ringfence()?;
    let output = bed.ringfence.call(arguments)?;
    ensure!(output.status.code() == Some(125), "exit 125 expected: {output:?}");
    for word in words {
        ensure!(output.stderr.contains(word), "`{word}` is not in the message: {}", output.stderr);
    }
    ensure!(!output.stderr.contains("panicked"), "a panic: {}", output.stderr);
    ensure!(output.stdout.is_empty(), "talk on stdout: {}", output.stdout);
    let after = bed.engine.of_ringfence()?;
    ensure!(before == after, "something was created: {after:?}");
    Ok(())
}

fn with_policy(bed: &Testbed, text: &str, words: &[&str]) -> Result<()> {
    let policy = bed.ringfence.policy_file(text)?;
    refuses(bed, &["run", "--policy", &policy.to_string_lossy(), &bed.images.tiny, "true"], words)
}

fn unknown_key(bed: &Testbed) -> Result<()> {
    with_policy(bed, "version: 1\nnetwork:\n  alow:\n    - a.test\n", &["policy.yml:3", "alow"])
}

fn bad_yaml(bed: &Testbed) -> Result<()> {
    with_policy(bed, "version: 1\nnetwork:\n  allow: [a.test\n", &["policy.yml:"])
}

fn no_policy_file(bed: &Testbed) -> Result<()> {
    refuses(bed, &["run", "--policy", "/nowhere/p.yml", &bed.images.tiny, "true"], &["/nowhere/p.yml"])
}

fn extends_itself(bed: &Testbed) -> Result<()> {
    with_policy(bed, "version: 1\nextends: [./policy.yml]\n", &["policy.yml", "extends"])
}

fn no_image(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let image = "ringfence-testbed/never-made:1";
    // Without `--pull never` a registry of the world outside would be asked.
    let options = ["run", "--pull", "never", "--policy", &policy.to_string_lossy(), image, "true"];
    refuses(bed, &options, &[image, "--pull"])
}

fn no_engine(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let socket = "unix:///nowhere/docker.sock";
    refuses(
        bed,
        &["run", "--engine", socket, "--policy", &policy.to_string_lossy(), &bed.images.tiny, "true"],
        &["/nowhere/docker.sock"],
    )
}

fn no_project(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    refuses(
        bed,
        &[
            "run",
            "--policy",
            &policy.to_string_lossy(),
            "--project",
            "/nowhere/project",
            &bed.images.tiny,
            "true",
        ],
        &["/nowhere/project"],
    )
}

fn no_option(bed: &Testbed) -> Result<()> {
    refuses(bed, &["run", "--no-such-option", &bed.images.tiny, "true"], &["--no-such-option"])
}

fn programs(bed: &Testbed) -> Result<()> {
    let image = format!("ringfence-testbed/closed-{}", std::process::id());
    let container = format!("ringfence-testbed-closed-{}", std::process::id());
    let script = "mkdir -p /root/.local/bin && cp /bin/true /root/.local/bin/closed-agent && chmod 700 /root";
    let make = ["run", "--name", &container, "--network", "none", &bed.images.agent, "sh", "-c", script];
    bed.engine.docker(&make)?;
    let path = "ENV PATH=/usr/local/bin:/usr/bin:/bin:/root/.local/bin HOME=/root";
    let committed = bed.engine.docker(&["commit", "--change", path, &container, &image]);
    bed.engine.docker(&["rm", "--force", &container])?;
    committed?;
    let told = told_of_programs(bed, &image);
    bed.engine.docker(&["rmi", &image])?;
    told
}

fn told_of_programs(bed: &Testbed, image: &str) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    // A covered file has ringfence's own first program start the agent, and speak. Without one the
    // engine starts it.
    let project = bed.fresh_directory("programs")?;
    std::fs::write(project.join(".env"), "KEY=9dJq4TzX-covered\n")?;
    let covered = ["--project", text(&project)?];
    let home = "user 1000 cannot write HOME=/root: take `ENV HOME` out of the image, or give -e HOME=/tmp";
    let closed = "user 1000 may not enter /root: install the program where every user can read it, such as \
                  /usr/local/bin, or give --user root";
    let lacking = "the image has no such program on its PATH: install it in the image's Dockerfile";
    for options in [&covered[..], &[]] {
        for (user, program, statuses, messages) in [
            ("1000:1000", "closed-agent", &[126, 127][..], &[home, closed][..]),
            ("root", "no-such-agent", &[127], &[lacking]),
            // The control: the same program and home, and a user who may.
            ("root", "closed-agent", &[0], &[]),
        ] {
            let options = [&["--user", user], options].concat();
            let outcome = bed.ringfence.run(&policy, &options, image, &[program])?;
            expect(statuses.contains(&outcome.status), "its status", &outcome)?;
            let known = [home, closed, lacking];
            let lines = outcome.stderr.lines();
            let said: Vec<&str> =
                lines.filter_map(|line| known.into_iter().find(|words| line.ends_with(words))).collect();
            expect(said == messages, &format!("{user} {program}: one message each"), &outcome)?;
        }
    }
    Ok(())
}
