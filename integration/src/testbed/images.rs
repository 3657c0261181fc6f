//! The images: an agent's with real clients, and a tiny one. Both are made on this machine and
//! imported.
//!
//! The slow part, a Debian tree, is kept as a tar under `target/testbed`, named by its recipe's
//! hash. What changes often (the testbed's CA, the probe) is laid over it in the engine.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::composes::Composes;
use super::engine::Engine;
use super::setup;
use crate::cargo::{Beside, build};
use crate::command::{bounded, run};

const RECIPE: &str = include_str!("agent-image.sh");
/// Clients that bring their own list of authorities are pointed at the system's.
const ENVIRONMENT: &[&str] = &[
    "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
    "ENV REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt",
    "ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt",
    "CMD [\"sh\"]",
];

/// Files from which the images are made.
#[derive(Debug)]
pub struct Sources {
    agent: PathBuf,
    probe: PathBuf,
    clients: Vec<PathBuf>,
    databases: PathBuf,
    composes: Composes,
    busybox: PathBuf,
}

/// Names of the images on the engine.
#[derive(Debug, Clone)]
pub struct Images {
    /// Debian with curl, git, python-gitlab, node, a coding agent, the probe, a musl program and
    /// one in Go.
    pub agent: String,
    /// busybox alone.
    pub tiny: String,
    /// PostgreSQL's and Redis' files, for [`Engine::load_databases`].
    pub databases: PathBuf,
    /// Clients of an engine, on this machine.
    pub composes: Composes,
}

impl Sources {
    /// Makes what is missing; needs the package registries.
    ///
    /// # Errors
    /// When a step fails.
    pub fn prepare(cache: &Path, beside: Beside, say: &dyn Fn(&str)) -> Result<Self> {
        fs::create_dir_all(cache)?;
        setup::programs(setup::TINY, say)?;
        let agent = cache.join(format!("agent-{:016x}.tar", hash(&[RECIPE.as_bytes()])));
        if !agent.exists() {
            setup::programs(setup::IMAGE, say)?;
            say("building the agent's image from Debian's packages (once, about a minute)");
            let recipe = cache.join("agent-image.sh");
            fs::write(&recipe, RECIPE)?;
            let output = bounded(
                Command::new("sh").arg(&recipe).arg(cache.join("work")).arg(&agent),
                b"",
                Duration::from_secs(1200),
            )?;
            if !output.status.success() {
                bail!("the agent's image cannot be built: {}", output.stderr.trim());
            }
        }
        // Always asked of cargo: a probe that lies about may be an old one.
        let probe = build("integration", "probe", beside)?;
        let clients = super::clients::prepare(cache, say)?;
        let databases = super::databases::prepare(cache, say)?;
        let composes = Composes::prepare(cache, say)?;
        let busybox = setup::find("busybox").context("no busybox")?;
        Ok(Self { agent, probe, clients, databases, composes, busybox })
    }

    /// Brings them into the engine, unless they are there.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn load(&self, engine: &Engine, authority: &str, say: &dyn Fn(&str)) -> Result<Images> {
        let base = format!("ringfence-testbed/base:{:016x}", hash(&[RECIPE.as_bytes()]));
        let programs = self.programs().map(fs::read).collect::<Result<Vec<_>, _>>()?.concat();
        let key =
            hash(&[RECIPE.as_bytes(), authority.as_bytes(), &programs, ENVIRONMENT.concat().as_bytes()]);
        let agent = format!("ringfence-testbed/agent:{key:016x}");
        if !has(engine, &agent)? {
            if !has(engine, &base)? {
                say("importing the agent's image");
                engine.docker(&["import", path(&self.agent)?, &base])?;
            }
            self.lay_over(engine, &base, &agent, authority)?;
        }
        let tiny = tiny(engine, &self.busybox)?;
        if engine.is_private() {
            let all =
                engine.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "ringfence-testbed/*"])?;
            for old in all.lines().filter(|name| {
                // Podman puts a registry's name before them.
                ![&base, &agent, &tiny].iter().any(|kept| name.ends_with(kept.as_str()))
            }) {
                engine.docker(&["rmi", old]).ok();
            }
        }
        Ok(Images { agent, tiny, databases: self.databases.clone(), composes: self.composes.clone() })
    }

    /// Lists the programs that are put beside the image's own.
    fn programs(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.probe).chain(&self.clients)
    }

    fn lay_over(&self, engine: &Engine, base: &str, image: &str, authority: &str) -> Result<()> {
        let container = format!("ringfence-testbed-build-{}", std::process::id());
        let script = format!(
            "cat > /usr/local/share/ca-certificates/testbed.crt <<'END'\n{}\nEND\nupdate-ca-certificates",
            authority.trim()
        );
        let build = || -> Result<()> {
            engine.docker(&["run", "--name", &container, "--network", "none", base, "sh", "-c", &script])?;
            for program in self.programs() {
                engine.docker(&["cp", path(program)?, &format!("{container}:/usr/local/bin/")])?;
            }
            let mut commit = vec!["commit"];
            for line in ENVIRONMENT {
                commit.extend(["--change", line]);
            }
            commit.extend([&container, image]);
            engine.docker(&commit)?;
            Ok(())
        };
        let built = build();
        engine.docker(&["rm", "--force", "--volumes", &container]).ok();
        built
    }
}

/// Brings the tiny image into an engine, unless it is there; its name.
///
/// # Errors
/// When the engine refuses.
pub fn tiny(engine: &Engine, busybox: &Path) -> Result<String> {
    let name = format!("ringfence-testbed/tiny:{:016x}", hash(&[&fs::read(busybox)?]));
    if !has(engine, &name)? {
        import_tiny(engine, busybox, &name)?;
    }
    Ok(name)
}

fn import_tiny(engine: &Engine, busybox: &Path, image: &str) -> Result<()> {
    let tree = tempfile::tempdir()?;
    for directory in ["bin", "tmp", "etc", "proc", "sys", "dev", "workspace"] {
        fs::create_dir(tree.path().join(directory))?;
    }
    fs::copy(busybox, tree.path().join("bin/busybox"))?;
    for applet in run(path(busybox)?, &["--list"], Duration::from_secs(10))?.lines() {
        if applet != "busybox" && !applet.contains('/') {
            std::os::unix::fs::symlink("busybox", tree.path().join("bin").join(applet))?;
        }
    }
    let tar = tempfile::NamedTempFile::new()?;
    run("tar", &["-C", path(tree.path())?, "-cf", path(tar.path())?, "."], Duration::from_secs(30))?;
    engine.docker(&[
        "import",
        "--change",
        "ENV PATH=/bin",
        "--change",
        "CMD [\"sh\"]",
        path(tar.path())?,
        image,
    ])?;
    Ok(())
}

impl Engine {
    /// Loads an image like another one, with other words in its configuration: what no engine's
    /// `commit` would write for all.
    ///
    /// # Errors
    /// When the engine does not give the image, or refuses the changed one.
    pub fn load_changed(&self, image: &str, name: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (archive, place) = (folder.path().join("image.tar"), folder.path().join("image"));
        fs::create_dir(&place)?;
        self.docker(&["save", "--output", path(&archive)?, image])?;
        let tar = |arguments: &[&str]| run("tar", arguments, Duration::from_secs(60));
        tar(&["-C", path(&place)?, "-xf", path(&archive)?])?;
        let mut manifest: Value = serde_json::from_slice(&fs::read(place.join("manifest.json"))?)?;
        let known = manifest[0]["Config"].as_str().context("the archive names no configuration")?;
        let mut config: Value = serde_json::from_slice(&fs::read(place.join(known))?)?;
        change(&mut config["config"]);
        fs::write(place.join("changed.json"), config.to_string())?;
        manifest[0]["Config"] = "changed.json".into();
        manifest[0]["RepoTags"] = vec![name].into();
        fs::write(place.join("manifest.json"), manifest.to_string())?;
        // What newer engines write besides would lead to the old configuration.
        for other in ["index.json", "oci-layout", "repositories"] {
            fs::remove_file(place.join(other)).ok();
        }
        tar(&["-C", path(&place)?, "-cf", path(&archive)?, "."])?;
        self.docker(&["load", "--quiet", "--input", path(&archive)?])?;
        Ok(())
    }
}

fn has(engine: &Engine, image: &str) -> Result<bool> {
    Ok(engine.try_docker(&["image", "inspect", "--format", "{{.Id}}", image])?.status.success())
}

fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}
