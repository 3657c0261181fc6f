//! Programs that the agent's image does not bring: clients with other resolvers (musl's, in a
//! static program of our own, and Go's, in a small package of Debian's that fetches pages; a whole
//! Go or Java would be several hundred megabytes), and one that tries what an agent must not have
//! of the kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::setup;
use crate::command::{bounded, run};

/// `getaddrinfo`, printed.
const LOOKUP: &str = include_str!("lookup.c");
/// The C program's name in the image.
const MUSL: &str = "musl-lookup";
/// System calls and files, tried one by one.
const SURFACE: (&str, &str) = ("surface", include_str!("surface.c"));
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
    let surface = directory.join(SURFACE.0);
    compile(&directory.join("lookup.c"), LOOKUP, &musl, say)?;
    compile(&directory.join("surface.c"), SURFACE.1, &surface, say)?;
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
    Ok(vec![musl, go, surface])
}

/// A static program, unless it was made of the same text before.
fn compile(source: &Path, program: &str, executable: &Path, say: &dyn Fn(&str)) -> Result<()> {
    if executable.exists() && fs::read_to_string(source).unwrap_or_default() == program {
        return Ok(());
    }
    setup::programs(setup::MUSL, say)?;
    fs::write(source, program)?;
    let (from, to) = (text(source)?, text(executable)?);
    run("musl-gcc", &["-static", "-Os", "-Wall", "-Werror", "-o", to, from], LIMIT)?;
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}
