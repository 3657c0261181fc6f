//! The container engine: one that answers already, or a private dockerd with its own data, socket and network
//! namespace.
//!
//! A private engine lives in a namespace that has no way out at all, made by [`isolate`] before any thread
//! starts: two test runs at once do not see each other, and the machine's firewall is not touched.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::setup;
use crate::command::{Output, bounded, ip, run, until, wait};

/// Names an engine for the tests; goes before `DOCKER_HOST`.
pub const VARIABLE: &str = "RINGFENCE_TEST_ENGINE";
const USUAL: &str = "unix:///var/run/docker.sock";

/// An engine that answers.
#[derive(Debug)]
pub struct Engine {
    host: String,
    private: Option<Private>,
}

#[derive(Debug)]
struct Private {
    daemon: Child,
    directory: PathBuf,
}

/// The engine that answers already, if any.
///
/// # Errors
/// When one is named and does not answer.
pub fn running() -> Result<Option<String>> {
    for (variable, strict) in [(VARIABLE, true), ("DOCKER_HOST", true)] {
        let Some(host) = std::env::var(variable).ok().filter(|host| !host.is_empty()) else { continue };
        if answers(&host) {
            return Ok(Some(host));
        }
        if strict {
            bail!(
                "no engine answers at {variable}={host}; start it, or unset {variable} to get a private one"
            );
        }
    }
    Ok(answers(USUAL).then(|| USUAL.to_owned()))
}

/// Moves this process into a network of its own that leads nowhere. Call it before any thread is started.
///
/// # Errors
/// When the kernel refuses.
pub fn isolate() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("cannot make namespaces")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot make mounts private")?;
    fs::create_dir_all("/run/netns")?;
    mount(Some("tmpfs"), "/run/netns", Some("tmpfs"), MsFlags::empty(), none)?;
    ip("link set lo up")?;
    Ok(())
}

impl Engine {
    /// An engine that runs already.
    #[must_use]
    pub fn at(host: String) -> Self {
        Self { host, private: None }
    }

    /// Starts a private dockerd that keeps its images in `data`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(data: &Path) -> Result<Self> {
        let prefix = "/run/ringfence-testbed-";
        // Directories whose maker was killed.
        for left in fs::read_dir("/run")?.flatten().map(|entry| entry.path()) {
            let pid = left
                .to_str()
                .and_then(|path| path.strip_prefix(prefix))
                .and_then(|pid| pid.parse::<u32>().ok());
            if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                fs::remove_dir_all(&left).ok();
            }
        }
        let directory = PathBuf::from(format!("{prefix}{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        fs::create_dir_all(data)?;
        let configuration = directory.join("daemon.json");
        // What containers have for `system`.
        fs::write(&configuration, format!("{{\"dns\": [\"{}\"]}}", super::dns::ADDRESS))?;
        let host = format!("unix://{}/docker.sock", directory.display());
        let log_path = data.join("dockerd.log");
        let log = File::create(&log_path)?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM"])
            .arg(setup::find("dockerd").context("no dockerd")?)
            .arg("--data-root")
            .arg(data)
            .arg("--exec-root")
            .arg(directory.join("exec"))
            .arg("--pidfile")
            .arg(directory.join("pid"))
            .arg("--config-file")
            .arg(&configuration)
            .args(["--host", &host])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let daemon = spawn_for_life(command)?;
        let mut engine = Self { host, private: Some(Private { daemon, directory }) };
        let mut ended = false;
        until("dockerd answers", Duration::from_secs(60), || {
            let daemon = engine.private.as_mut().map(|private| &mut private.daemon);
            ended = daemon.is_some_and(|daemon| !matches!(daemon.try_wait(), Ok(None)));
            ended || answers(&engine.host)
        })
        .and_then(|()| if ended { bail!("dockerd ended") } else { Ok(()) })
        .with_context(|| format!("the private dockerd did not come up: {}", last_lines(&log_path)))?;
        engine.remove_all();
        Ok(engine)
    }

    /// Its address, as in `DOCKER_HOST`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is ours alone, so that tests may break its host's firewall.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.private.is_some()
    }

    /// `docker ARGUMENTS` on it, must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub fn docker(&self, arguments: &[&str]) -> Result<String> {
        run("docker", &[&["-H", &self.host], arguments].concat(), Duration::from_secs(300))
    }

    /// `docker ARGUMENTS` on it, however it ends.
    ///
    /// # Errors
    /// When it cannot be started or hangs.
    pub fn try_docker(&self, arguments: &[&str]) -> Result<Output> {
        bounded(
            Command::new("docker").args(["-H", &self.host]).args(arguments),
            b"",
            Duration::from_secs(120),
        )
    }

    /// The host's address on a network: what it says, else the first of its subnet (Docker 20.10 does not say).
    ///
    /// # Errors
    /// When there is no such network or it has no IPv4 subnet.
    pub fn gateway(&self, network: &str) -> Result<Ipv4Addr> {
        let format = "{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}\n{{end}}";
        let lines = self.docker(&["network", "inspect", "--format", format, network])?;
        for line in lines.lines() {
            let (subnet, gateway) = line.split_once(' ').unwrap_or((line, ""));
            if let Ok(gateway) = gateway.parse() {
                return Ok(gateway);
            }
            if let Some(Ok(base)) = subnet.split('/').next().map(str::parse::<Ipv4Addr>) {
                return Ok(Ipv4Addr::from(u32::from(base) + 1));
            }
        }
        bail!("network {network} has no IPv4 subnet: {lines}")
    }

    /// What ringfence has on it: containers, networks and volumes, as `kind name`.
    ///
    /// # Errors
    /// When the engine does not say.
    pub fn of_ringfence(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for (kind, arguments) in [
            ("container", &["ps", "--all", "--format", "{{.Names}}"][..]),
            ("network", &["network", "ls", "--format", "{{.Name}}"]),
            ("volume", &["volume", "ls", "--format", "{{.Name}}"]),
        ] {
            // By label and by name: what lost its label counts too.
            let labelled = self.docker(&[arguments, &["--filter", "label=dev.ringfence.role"]].concat())?;
            let named = self.docker(&[arguments, &["--filter", "name=ringfence"]].concat())?;
            all.extend(labelled.lines().chain(named.lines()).map(|name| format!("{kind} {name}")));
        }
        all.sort();
        all.dedup();
        Ok(all)
    }

    /// Removes every container of a private engine: what a crashed run left.
    fn remove_all(&self) {
        if let Ok(list) = self.docker(&["ps", "--all", "--quiet"])
            && !list.is_empty()
        {
            self.docker(&[&["rm", "--force", "--volumes"], &list.lines().collect::<Vec<_>>()[..]].concat())
                .ok();
        }
        self.docker(&["network", "prune", "--force"]).ok();
        self.docker(&["volume", "prune", "--force"]).ok();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.private.is_some() {
            self.remove_all();
        }
        let Some(mut private) = self.private.take() else { return };
        if let Ok(pid) = i32::try_from(private.daemon.id()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        }
        if !matches!(wait(&mut private.daemon, Duration::from_secs(30)), Ok(Some(_))) {
            private.daemon.kill().ok();
            private.daemon.wait().ok();
        }
        fs::remove_dir_all(&private.directory).ok();
    }
}

/// Starts a child that dies with this process. The kernel ties it to the thread that started it, so that
/// thread never ends.
fn spawn_for_life(mut command: Command) -> Result<Child> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("engine".to_owned()).spawn(move || {
        sender.send(command.spawn()).ok();
        loop {
            thread::park();
        }
    })?;
    receiver.recv()?.context("cannot start dockerd")
}

fn answers(host: &str) -> bool {
    // Asking a socket that is not there takes the client a while; look first.
    host.strip_prefix("unix://").is_none_or(|path| Path::new(path).exists())
        && run("docker", &["-H", host, "version", "--format", "{{.Server.Version}}"], Duration::from_secs(10))
            .is_ok()
}

fn last_lines(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
