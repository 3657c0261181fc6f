//! The engine as if it were on another machine: behind TLS with an authority of its own, behind
//! ssh.
//!
//! ```text
//!  ringfence ─ tcp://127.0.0.1:2376 ─────────────▶ dockerd, which asks for a client's certificate
//!            └ ssh ─▶ dropbear on 127.0.0.1:2222 ─▶ docker system dial-stdio ─▶ the engine's socket
//! ```

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount, umount};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use super::setup;
use crate::command::{run, until};

/// The port on which the engine listens with TLS.
pub const TLS_PORT: u16 = 2376;
/// The port on which the ssh server listens.
const SSH_PORT: u16 = 2222;
/// The other machine's name in ssh's configuration.
pub const SSH_HOST: &str = "engine.test";
/// Programs that both sides of ssh need, each with its package.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("dropbear", "dropbear-bin"),
    ("dropbearkey", "dropbear-bin"),
    ("sshd", "openssh-server"),
];

/// Writes `ca.pem`, `cert.pem` and `key.pem` of a client, and `server.pem`, `server-key.pem`, all
/// under a new authority.
///
/// # Errors
/// When they cannot be made or written.
pub fn certificates(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "authority of the engine");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    fs::write(directory.join("ca.pem"), authority.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(authority, key);
    for (name, files, usage) in [
        ("engine", ("server.pem", "server-key.pem"), ExtendedKeyUsagePurpose::ServerAuth),
        ("client", ("cert.pem", "key.pem"), ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        fs::write(directory.join(files.0), params.signed_by(&key, &issuer)?.pem())?;
        fs::write(directory.join(files.1), key.serialize_pem())?;
    }
    Ok(())
}

/// An ssh server that lets one key start docker's client, on the engine at `host`.
#[derive(Debug)]
pub struct Sshd {
    daemon: Child,
    home: PathBuf,
    /// Tells whether there was no such folder before.
    is_new: bool,
    /// A directory with an `ssh` that knows key and host; to be put before the others on `PATH`.
    pub client: PathBuf,
}

impl Sshd {
    /// Starts it. Keys are taken from root's home, so that is covered by an empty directory
    /// meanwhile: mounts must be this process's own.
    ///
    /// # Errors
    /// When a step fails.
    pub fn start(directory: &Path, host: &str) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let at = |name: &str| directory.join(name).to_string_lossy().into_owned();
        let (client_key, server_key) = (at("client-key"), at("server-key"));
        let limit = Duration::from_secs(20);
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &client_key], limit)?;
        let made = run("dropbearkey", &["-t", "ed25519", "-f", &server_key], limit)?;
        let public = made.lines().find(|line| line.starts_with("ssh-")).context("no host key")?;

        let home = PathBuf::from("/root/.ssh");
        let is_new = !home.exists();
        fs::create_dir_all(&home)?;
        mount(Some("tmpfs"), &home, Some("tmpfs"), MsFlags::empty(), Some("mode=0700"))?;
        let allowed = fs::read_to_string(format!("{client_key}.pub"))?;
        let forced = at("forced");
        fs::write(&forced, format!("#!/bin/sh\nDOCKER_HOST={host} exec sh -c \"$SSH_ORIGINAL_COMMAND\"\n"))?;
        fs::set_permissions(&forced, fs::Permissions::from_mode(0o755))?;
        fs::write(home.join("authorized_keys"), format!("command=\"{forced}\" {allowed}"))?;
        fs::set_permissions(home.join("authorized_keys"), fs::Permissions::from_mode(0o600))?;

        let client = directory.join("bin");
        fs::create_dir_all(&client)?;
        fs::write(at("known_hosts"), format!("[127.0.0.1]:{SSH_PORT} {public}\n"))?;
        fs::write(
            at("config"),
            format!(
                "Host {SSH_HOST}\n HostName 127.0.0.1\n Port {SSH_PORT}\n User root\nHost *\n IdentityFile {client_key}\n \
                 IdentitiesOnly yes\n BatchMode yes\n StrictHostKeyChecking yes\n UserKnownHostsFile {}\n",
                at("known_hosts")
            ),
        )?;
        let ssh = setup::find("ssh").context("no ssh")?;
        let script = format!("#!/bin/sh\nexec {} -F {} \"$@\"\n", ssh.display(), at("config"));
        fs::write(client.join("ssh"), script)?;
        fs::set_permissions(client.join("ssh"), fs::Permissions::from_mode(0o755))?;

        let daemon = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(setup::find("dropbear").context("no dropbear")?)
            .args(["-F", "-E", "-s", "-p", &format!("127.0.0.1:{SSH_PORT}"), "-r", &server_key])
            .arg("-P")
            .arg(at("pid"))
            .stdin(Stdio::null())
            .stderr(File::create(at("log"))?)
            .spawn()?;
        let sshd = Self { daemon, home, is_new, client };
        until("the ssh server listens", Duration::from_secs(10), || {
            TcpStream::connect(("127.0.0.1", SSH_PORT)).is_ok()
        })?;
        Ok(sshd)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.daemon.kill().ok();
        self.daemon.wait().ok();
        umount(&self.home).ok();
        if self.is_new {
            // Empty by now, or not ours.
            fs::remove_dir(&self.home).ok();
        }
    }
}
