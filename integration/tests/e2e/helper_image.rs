//! The helper image as a file: the same machine gives the same bytes, and a run takes it in place of the machine's own files.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration::command::{Output, bounded};
use integration::testbed::Testbed;

use crate::Test;

pub const TESTS: &[Test] = &[("a bundle is reproducible, is used, and is checked", bundle)];

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
    Ok(())
}
