//! The helper image as a file: the same machine gives the same bytes, and a run takes it in place
//! of the machine's own files.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration::command::{Output, bounded, run};
use integration::testbed::Testbed;
use integration::testbed::engine::variants::Product;

use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    ("a bundle is reproducible, is used, and is checked", bundle),
    ("an image of somebody else's by the helper image's name is not used", foreign),
];

fn bundle(bed: &Testbed) -> Result<()> {
    let directory = bed.fresh_directory("bundles")?;
    let [one, other] = ["one.tar", "other.tar"].map(|name| directory.join(name));
    for path in [&one, &other] {
        let made = bed.ringfence.call(&["helper-image", "--output", &path.to_string_lossy()])?;
        ensure!(made.status.success() && made.stdout.starts_with("ringfence-helper:"), "{made:#?}");
    }
    let bytes = fs::read(&one)?;
    ensure!(bytes == fs::read(&other)?, "two of the same machine differ");

    let policy = bed.ringfence.allowing(&["a.test"])?;
    let with = |bundle: &Path| -> Result<Output> {
        let mut command = bed.ringfence.command();
        command.env("RINGFENCE_HELPER_IMAGE", bundle).arg("run").arg("--policy").arg(&policy);
        command.args([&bed.images.agent, "curl", "-sS", "https://a.test/"]);
        bounded(&mut command, b"", Duration::from_secs(120))
    };
    let output = with(&one)?;
    ensure!(output.status.success() && output.stdout == "a.test /\n", "{output:#?}");

    let refused = |name: &str, from: &[u8], to: &[u8], why: &str| -> Result<()> {
        ensure!(from.len() == to.len(), "{name}: another length");
        let mut changed = bytes.clone();
        let at = changed.windows(from.len()).position(|part| part == from);
        let Some(place) = at.and_then(|at| changed.get_mut(at..at + to.len())) else {
            anyhow::bail!("{name}: not in the bundle")
        };
        place.copy_from_slice(to);
        let path = directory.join(name);
        fs::write(&path, changed)?;
        let output = with(&path)?;
        ensure!(output.status.code() == Some(125) && output.stderr.contains(why), "{name}: {output:#?}");
        Ok(())
    };
    let [own, foreign] = if cfg!(target_arch = "x86_64") { ["amd64", "arm64"] } else { ["arm64", "amd64"] };
    let architecture = |name: &str| format!("\"architecture\":\"{name}\"");
    let (from, to) = (architecture(own), architecture(foreign));
    refused("architecture.tar", from.as_bytes(), to.as_bytes(), &format!("it is for {foreign}"))?;
    let version = format!("\"dev.ringfence.version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    let next = version.replace(":\"0.", ":\"9.");
    refused("version.tar", version.as_bytes(), next.as_bytes(), "it is of version 9.")?;
    fs::write(directory.join("short.tar"), bytes.get(..1000).unwrap_or_default())?;
    let output = with(&directory.join("short.tar"))?;
    ensure!(output.status.code() == Some(125) && output.stderr.contains("cannot be used"), "{output:#?}");

    // An engine takes the last of two entries of a name.
    let twice = directory.join("twice.tar");
    fs::copy(&one, &twice)?;
    fs::write(directory.join("config.json"), "{}")?;
    let [archive, folder] = [&twice, &directory].map(|path| path.to_string_lossy().into_owned());
    run("tar", &["--append", "-f", &archive, "-C", &folder, "config.json"], Duration::from_secs(60))?;
    let output = with(&twice)?;
    let refused = output.stderr.contains("config.json is in it twice");
    ensure!(output.status.code() == Some(125) && refused, "{output:#?}");
    Ok(())
}

/// Gives the helper image's name to another image. A person who may load an image may give it any
/// name, and what a project builds is loaded.
fn foreign(bed: &Testbed) -> Result<()> {
    let written = bed.fresh_directory("foreign")?.join("own.tar");
    let made = bed.ringfence.call(&["helper-image", "--output", &written.to_string_lossy()])?;
    let tag = made.stdout.trim();
    ensure!(tag.starts_with("ringfence-helper:"), "{made:#?}");
    let id = |name: &str| bed.engine.docker(&["image", "inspect", "--format", "{{.Id}}", name]);
    let agent = id(&bed.images.agent)?;
    bed.engine.docker(&["tag", &bed.images.agent, tag])?;
    // Podman gives the helper image another full name than this one, and looks for it by its id.
    let by_name = bed.engine.product() == Product::Docker;
    ensure!(!by_name || id(tag)? == agent, "the name was not taken");

    let policy = bed.ringfence.allowing(&["a.test"])?;
    for said in [by_name, false] {
        let outcome =
            bed.ringfence.run(&policy, &[], &bed.images.agent, &["curl", "-sS", "https://a.test/"])?;
        ensure!(outcome.status == 0 && outcome.stdout == "a.test /\n", "{}", outcome.shown());
        let told = outcome.stderr.contains("the engine had another image by the name");
        ensure!(told == said, "{}", outcome.shown());
        ensure!(!by_name || id(tag)? != agent, "the name still means the other image");
    }
    Ok(())
}
