//! Clients whose resolvers the agent's image does not bring: musl's, in a static program of our own, and Go's, in a small
//! package of Debian's that fetches pages. A whole Go or Java would be several hundred megabytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::setup;
use crate::command::{bounded, run};

/// `getaddrinfo`, printed.
const LOOKUP: &str = include_str!("lookup.c");
/// What the C program is called in the image.
const MUSL: &str = "musl-lookup";
/// A Go program that fetches pages.
const GO: &str = "gron";
const LIMIT: Duration = Duration::from_secs(300);

/// Makes what is missing; the executables, named as in the image.
///
/// # Errors
/// When one cannot be compiled or downloaded.
pub fn prepare(cache: &Path, say: &dyn Fn(&str)) -> Result<Vec<PathBuf>> {
    let directory = cache.join("clients");
    fs::create_dir_all(&directory)?;
    let (musl, go) = (directory.join(MUSL), directory.join(GO));
    let source = directory.join("lookup.c");
    if !musl.exists() || fs::read_to_string(&source).unwrap_or_default() != LOOKUP {
        setup::programs(setup::MUSL, say)?;
        fs::write(&source, LOOKUP)?;
        let (from, to) = (text(&source)?, text(&musl)?);
        run("musl-gcc", &["-static", "-Os", "-Wall", "-Werror", "-o", to, from], LIMIT)?;
    }
    if !go.exists() {
        say("downloading gron, a Go program");
        let unpacked = tempfile::tempdir_in(&directory)?;
        let script = "apt-get download gron && dpkg-deb -x gron_*.deb .";
        let output =
            bounded(Command::new("sh").args(["-c", script]).current_dir(unpacked.path()), b"", LIMIT)?;
        if !output.status.success() {
            bail!("cannot download gron: {}", output.stderr.trim());
        }
        fs::copy(unpacked.path().join("usr/bin").join(GO), &go)?;
    }
    Ok(vec![musl, go])
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}
