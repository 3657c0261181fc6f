//! Bad input: exit 125, a message that says what is wrong, and nothing created on the engine.

use anyhow::{Result, ensure};
use integration::testbed::Testbed;

use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    ("unknown key", unknown_key),
    ("bad YAML", bad_yaml),
    ("a policy that is not there", no_policy_file),
    ("a policy that extends itself", extends_itself),
    ("an image that does not exist", no_image),
    ("no engine", no_engine),
    ("a project directory that is not there", no_project),
    ("an option that does not exist", no_option),
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
