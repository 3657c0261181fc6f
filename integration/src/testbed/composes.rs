//! Clients of Docker's API beside docker's own: both composes and docker-py, as Debian has them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result, bail, ensure};

use super::setup;
use crate::command::bounded;

/// Compose 1.29, and with it docker-py 5.
const COMPOSE_1: &[(&str, &str)] = &[("docker-compose", "docker-compose")];
/// Compose 2 in the archive that this machine's packages come from, and its SHA-256. Debian 12 has
/// no compose 2 of its own.
const COMPOSE_2: (&str, &str) = (
    "/pool/main/d/docker-compose/docker-compose_2.26.1-4_amd64.deb",
    "47681197cb2b1ab88206b42a1a92fc75f50d9530a6322d03494a473eed0408ea",
);
const LIMIT: Duration = Duration::from_secs(300);

/// The executables.
#[derive(Debug, Clone)]
pub struct Composes {
    /// Compose 1.29, with which docker-py 5 comes.
    pub one: PathBuf,
    /// Compose 2.
    pub two: PathBuf,
}

impl Composes {
    /// Installs and downloads what is missing; needs Debian's archive.
    ///
    /// # Errors
    /// When a step fails.
    pub fn prepare(cache: &Path, say: &dyn Fn(&str)) -> Result<Self> {
        setup::programs(COMPOSE_1, say)?;
        let one = setup::find("docker-compose").context("no docker-compose")?;
        Ok(Self { one, two: two(cache, say)? })
    }
}

/// Finds or downloads compose 2.
fn two(cache: &Path, say: &dyn Fn(&str)) -> Result<PathBuf> {
    let directory = cache.join("clients");
    fs::create_dir_all(&directory)?;
    let executable = directory.join("docker-compose-2");
    if executable.exists() {
        return Ok(executable);
    }
    say("downloading compose 2");
    let unpacked = tempfile::tempdir_in(&directory)?;
    let (path, sum) = COMPOSE_2;
    // Any package tells where the archive is.
    let script = format!(
        "archive=$(apt-get download --print-uris gron | sed -n \"s|^'\\(.*\\)/pool/.*|\\1|p\")\n\
         /usr/lib/apt/apt-helper download-file \"$archive{path}\" compose.deb SHA256:{sum}\n\
         dpkg-deb -x compose.deb ."
    );
    let output = bounded(Command::new("sh").args(["-ec", &script]).current_dir(unpacked.path()), b"", LIMIT)?;
    ensure!(output.status.success(), "cannot download compose 2: {}{}", output.stdout, output.stderr);
    let program = unpacked.path().join("usr/libexec/docker/cli-plugins/docker-compose");
    // Workers of one machine share the folder: the one that comes last wins.
    match fs::rename(&program, &executable) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => bail!("compose 2: {error}"),
        done => Ok(done.map(|()| executable)?),
    }
}
