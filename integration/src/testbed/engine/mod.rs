//! The container engine: one that answers already, or a private one with its own data, socket and
//! network namespace.
//!
//! ```text
//!  RINGFENCE_TEST_ENGINE = unix://… ──────────▶ that engine
//!                        = a name of [`variants`] ─▶ a private one, from a Debian tree
//!                        unset ─▶ DOCKER_HOST, the usual socket ─▶ a private dockerd of the machine's packages
//! ```
//! A private engine lives in a namespace that has no way out at all, made by [`isolate`] before any
//! thread starts: two test runs at once do not see each other, and the machine's firewall is not
//! touched.

mod start;
mod tree;
pub mod variants;

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use self::start::Places;
use self::variants::{MACHINE, Product, Variant};
use super::setup;
use crate::command::{Output, bounded, ip, run, until, wait};

/// Names an engine for the tests, by address or as one of the matrix; goes before `DOCKER_HOST`.
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
    variant: &'static Variant,
    places: Places,
    daemon: Mutex<Option<Child>>,
}

/// Which engine the tests use.
#[derive(Debug, Clone)]
pub enum Choice {
    /// One that answers at this address.
    At(String),
    /// One of our own.
    Private(&'static Variant),
}

/// Chooses what the environment asks for, else the engine that answers, else a private one.
///
/// # Errors
/// When one is named and does not answer, or is unknown.
pub fn choose() -> Result<Choice> {
    for variable in [VARIABLE, "DOCKER_HOST"] {
        let Some(host) = std::env::var(variable).ok().filter(|host| !host.is_empty()) else { continue };
        if !host.contains("://") && variable == VARIABLE {
            let all: Vec<_> = variants::MATRIX.iter().map(|variant| variant.name).collect();
            let known = variants::named(&host);
            return known.map(Choice::Private).with_context(|| {
                format!(
                    "{VARIABLE}={host}: no such engine; give an address, `machine` or one of {}",
                    all.join(", ")
                )
            });
        }
        if answers(&host) {
            return Ok(Choice::At(host));
        }
        bail!("no engine answers at {variable}={host}; start it, or unset {variable} to get a private one");
    }
    Ok(if answers(USUAL) { Choice::At(USUAL.to_owned()) } else { Choice::Private(&MACHINE) })
}

/// Folders in which engines write beside their own: sockets, an identity, plugins, and whatever a
/// container is to have of the machine and is not there.
const WRITTEN: [&str; 2] = ["/etc", "/opt"];

/// Moves this process into a network of its own that leads nowhere, and into a view of the
/// machine's files in which what an engine writes beside its own folders is gone at the end. Call
/// it before any thread is started.
///
/// # Errors
/// When the kernel refuses.
pub fn isolate() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("cannot make namespaces")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot make mounts private")?;
    let fresh = |at: &str| {
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
            .with_context(|| format!("cannot cover {at}"))
    };
    fresh("/run")?;
    // On most machines a link to the other.
    if !fs::canonicalize("/var/run")?.starts_with("/run") {
        fresh("/var/run")?;
    }
    for below in ["/run/netns", "/run/lock"] {
        fs::create_dir_all(below)?;
    }
    for folder in WRITTEN {
        let layers = Path::new("/run/layers").join(folder.trim_start_matches('/'));
        let (upper, work) = (layers.join("upper"), layers.join("work"));
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        let mounted = mounted_files(folder)?;
        let options = format!("lowerdir={folder},upperdir={},workdir={}", upper.display(), work.display());
        mount(Some("overlay"), folder, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .with_context(|| format!("cannot lay a layer over {folder}"))?;
        for (path, content) in mounted {
            fs::write(&path, content).with_context(|| format!("cannot show {} again", path.display()))?;
        }
    }
    ip("link set lo up")?;
    Ok(())
}

/// The files below a folder that are mounts of their own, which a layer over the folder hides:
/// `resolv.conf` in a container.
fn mounted_files(folder: &str) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let below = places.filter(|place| place.starts_with(folder) && place.is_file());
    Ok(below.filter_map(|place| Some((place.clone(), fs::read(&place).ok()?))).collect())
}

impl Engine {
    /// An engine that runs already.
    #[must_use]
    pub fn at(host: String) -> Self {
        Self { host, private: None }
    }

    /// Starts a private engine that keeps its images in `cache`, apart from those of other numbers.
    /// Its tree must have been prepared.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(
        variant: &'static Variant,
        cache: &Path,
        number: u32,
        tree: Option<PathBuf>,
    ) -> Result<Self> {
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
        let suffix = if number == 0 { String::new() } else { format!("-{number}") };
        let data = match variant.tree {
            Some(_) => cache.join("engines").join(format!("{}{suffix}", variant.name)),
            None => cache.join(format!("engine{suffix}")),
        };
        let directory = PathBuf::from(format!("{prefix}{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        fs::create_dir_all(&data)?;
        let places = Places { data, directory, tree };
        File::create(places.log())?;
        let host = start::host(&places.socket());
        let private = Private { variant, places, daemon: Mutex::new(None) };
        private.launch(&serde_json::Value::Null)?;
        let engine = Self { host, private: Some(private) };
        engine.remove_all();
        Ok(engine)
    }

    /// Stops a private engine and starts it again with other settings, as lines of a `daemon.json`.
    /// Containers that were started under `live-restore` go on meanwhile.
    ///
    /// # Errors
    /// When it is not ours, or does not come up again.
    pub fn restart(&self, settings: &serde_json::Value) -> Result<()> {
        let private = self.private.as_ref().context("the engine is not ours to restart")?;
        private.end();
        private.launch(settings)
    }

    /// Runs something while the engine is there and says nothing.
    ///
    /// # Errors
    /// When the engine is not a private one; and the work's own.
    pub fn while_silent<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let private = self.private.as_ref().context("the engine is not ours to stop")?;
        let daemon = private.daemon().as_ref().context("the engine has ended")?.id();
        let daemon = Pid::from_raw(i32::try_from(daemon)?);
        kill(daemon, Signal::SIGSTOP)?;
        let done = work();
        kill(daemon, Signal::SIGCONT)?;
        done
    }

    /// Its address, as in `DOCKER_HOST`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Tells whether it is ours alone, so that tests may break its host's firewall.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.private.is_some()
    }

    /// Returns the product that it is.
    #[must_use]
    pub fn product(&self) -> Product {
        self.private.as_ref().map_or(Product::Docker, |private| private.variant.product)
    }

    /// Tells whether a private engine finds this program beside it.
    #[must_use]
    pub fn has_program(&self, name: &str) -> bool {
        self.private.as_ref().is_some_and(|private| match &private.places.tree {
            Some(tree) => {
                tree.join("usr/bin").join(name).exists() || tree.join("usr/sbin").join(name).exists()
            }
            None => setup::find(name).is_some(),
        })
    }

    /// Product and versions of its parts, in one line.
    ///
    /// # Errors
    /// When the engine does not say.
    pub fn versions(&self) -> Result<String> {
        let format = "{{range .Server.Components}}{{.Name}} {{.Version}}\n{{end}}";
        let lines = self.docker(&["version", "--format", format])?;
        ensure!(!lines.trim().is_empty(), "the engine at {} does not say its version", self.host);
        Ok(lines.lines().map(str::trim).collect::<Vec<_>>().join(", "))
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

    /// The host's address on a network: what it says, else the first of its subnet (Docker 20.10
    /// does not say).
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

    /// Returns the address on which a program of the host listens to be reached from any container.
    /// Docker leads them all to the default network's gateway. Podman leads them to the gateway of
    /// their own network, which is there with a container only.
    ///
    /// # Errors
    /// When the engine does not say.
    pub fn listen_address(&self) -> Result<Ipv4Addr> {
        match self.product() {
            Product::Docker => self.gateway("bridge"),
            Product::Podman => Ok(Ipv4Addr::UNSPECIFIED),
        }
    }

    /// The host's device of a network, by the address that the host has on it. It may exist only
    /// while a container uses it.
    ///
    /// # Errors
    /// When there is none.
    pub fn device(&self, network: &str) -> Result<String> {
        let gateway = self.gateway(network)?;
        let lines = ip(&format!("-oneline -4 address show to {gateway}"))?;
        let words = lines.lines().next().context("no device has the network's address")?;
        words.split_whitespace().nth(1).map(str::to_owned).with_context(|| format!("no device in `{words}`"))
    }

    /// Returns the process that a container runs, as this machine numbers it.
    ///
    /// # Errors
    /// When the engine does not say.
    pub fn process(&self, container: &str) -> Result<u32> {
        let said = self.docker(&["inspect", "--format", "{{.State.Pid}}", container])?;
        said.trim().parse().with_context(|| format!("the process of {container}: `{said}`"))
    }

    /// Keeps a container on the default network of an engine that takes the host's address on it
    /// away with the last one.
    ///
    /// # Errors
    /// When it does not start.
    pub fn keep_default_network(&self, image: &str) -> Result<()> {
        if self.product() == Product::Podman && self.is_private() {
            self.docker(&["run", "--detach", "--init", "--network", "bridge", image, "sleep", "100000"])?;
        }
        Ok(())
    }

    /// Lists what ringfence has on it: containers, networks and volumes, as `kind name`.
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
        // `prune` keeps volumes with names, from Docker 23 on.
        if let Ok(list) = self.docker(&["volume", "ls", "--quiet"])
            && !list.is_empty()
        {
            self.docker(&[&["volume", "rm", "--force"], &list.lines().collect::<Vec<_>>()[..]].concat()).ok();
        }
    }
}

impl Private {
    /// Starts the daemon and waits until it answers.
    fn launch(&self, settings: &serde_json::Value) -> Result<()> {
        let name = self.variant.name;
        let log_path = self.places.log();
        let log = File::options().create(true).append(true).open(&log_path)?;
        let mut command = start::command(self.variant, &self.places, settings)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut daemon = spawn_for_life(command)?;
        let host = start::host(&self.places.socket());
        let mut ended = false;
        let up = until("it answers", Duration::from_secs(90), || {
            ended = !matches!(daemon.try_wait(), Ok(None));
            ended || answers(&host)
        });
        *self.daemon() = Some(daemon);
        up.and_then(|()| if ended { bail!("it ended") } else { Ok(()) })
            .with_context(|| format!("the private engine {name} did not come up: {}", last_lines(&log_path)))
    }

    /// Ends the daemon.
    fn end(&self) {
        let Some(mut daemon) = self.daemon().take() else { return };
        if let Ok(pid) = i32::try_from(daemon.id()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        }
        if !matches!(wait(&mut daemon, Duration::from_secs(30)), Ok(Some(_))) {
            daemon.kill().ok();
            daemon.wait().ok();
        }
    }

    fn daemon(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.private.is_some() {
            self.remove_all();
        }
        let Some(private) = self.private.take() else { return };
        private.end();
        if private.variant.product == Product::Podman {
            // For five minutes after an exec by the API its monitor waits to be asked how it went.
            super::machine::end_inside("conmon");
        }
        fs::remove_dir_all(&private.places.directory).ok();
    }
}

/// Starts a child that dies with this process. The kernel ties it to the thread that started it, so
/// that thread never ends.
fn spawn_for_life(mut command: Command) -> Result<Child> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("engine".to_owned()).spawn(move || {
        sender.send(command.spawn()).ok();
        loop {
            thread::park();
        }
    })?;
    receiver.recv()?.context("cannot start the engine")
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
