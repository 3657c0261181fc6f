//! The testbed: everything outside the fence, made on this machine, with no way out of it.

pub mod canary;
pub mod capture;
pub mod clients;
pub mod dns;
pub mod encrypted_dns;
pub mod engine;
pub mod gitlab;
pub mod images;
pub mod machine;
pub mod netns;
pub mod proxy;
pub mod registry;
pub mod remote;
pub mod services;
pub mod setup;
pub mod web;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use self::canary::Canaries;
use self::dns::Dns;
use self::encrypted_dns::EncryptedDns;
use self::engine::variants::Variant;
use self::engine::{Choice, Engine};
use self::gitlab::GitLab;
use self::images::{Images, Sources};
use self::machine::Witness;
use self::netns::Networks;
use self::proxy::Proxies;
use self::services::Services;
use self::web::{Authority, Web};
use crate::cargo::Beside;
use crate::ringfence::Ringfence;

/// How long a second testbed waits for the first.
const PATIENCE: Duration = Duration::from_secs(1800);

/// A running testbed. Its parts end in the order in which they stand here.
#[derive(Debug)]
pub struct Testbed {
    /// Where containers run.
    pub engine: Engine,
    /// What they run from.
    pub images: Images,
    /// The executable under test.
    pub ringfence: Ringfence,
    /// The internet's name server.
    pub dns: Dns,
    /// The internet's encrypted resolvers.
    pub encrypted_dns: EncryptedDns,
    /// The intranet's name server.
    pub intranet_dns: Dns,
    /// The intranet's proxies.
    pub proxies: Proxies,
    /// A PEM file with the corporate authority alone.
    pub corporate_ca: PathBuf,
    /// The internet's web servers.
    pub web: Web,
    /// The internet's other servers.
    pub services: Services,
    /// Who must hear nothing.
    pub canaries: Canaries,
    /// Files of this run: state and configuration directories of ringfence, projects.
    pub directory: tempfile::TempDir,
    _networks: Networks,
    witness: Witness,
    _lock: Flock<File>,
}

impl Testbed {
    /// Makes it, with programs built beside what is at work. Call it before any thread is started: the process may move into namespaces of its own.
    ///
    /// # Errors
    /// When the machine lacks something that cannot be installed, or a step fails.
    pub fn up(beside: Beside, say: &dyn Fn(&str)) -> Result<Self> {
        setup::base(say)?;
        setup::programs(remote::PROGRAMS, say)?;
        setup::many_files()?;
        let cache = setup::target_directory()?.join("testbed");
        fs::create_dir_all(&cache)?;
        let choice = engine::choose()?;
        if let Choice::Private(variant) = choice
            && variant.tree.is_none()
        {
            setup::programs(setup::ENGINE, say)?;
        }
        // Installing an engine may have started it.
        let choice = if matches!(choice, Choice::Private(_)) { engine::choose()? } else { choice };
        // On an engine of the machine, two testbeds would fight for the same ranges and images. Private ones share the
        // cache alone.
        let lock = match choice {
            Choice::At(_) => lock(Path::new("/run/ringfence-testbed.lock"), say)?,
            Choice::Private(_) => lock(&cache.join("lock"), say)?,
        };
        let tree = match choice {
            Choice::Private(Variant { tree: Some(tree), .. }) => Some(tree.prepare(&cache, say)?),
            _ => None,
        };
        say("building ringfence");
        let executable = Ringfence::find(beside)?;
        let sources = Sources::prepare(&cache, beside, say)?;
        let authority = Authority::load(&cache)?;
        let corporate = Authority::load_corporate(&cache)?;

        // Packages and the cache are what the README names; from here on nothing may stay.
        let witness = Witness::begin()?;
        // From here on nothing needs the world outside.
        if matches!(choice, Choice::Private(_)) {
            engine::isolate()?;
        }
        say("making the networks");
        let networks = Networks::up()?;
        let directory = tempfile::Builder::new().prefix("ringfence-testbed-").tempdir()?;
        let gitlab = GitLab::new(directory.path())?;
        let dns = Dns::start(&networks.internet)?;
        let encrypted_dns = EncryptedDns::start(&networks.internet, &authority)?;
        let intranet_dns = Dns::start_intranet(&networks.intranet)?;
        let proxies = Proxies::start(&networks.intranet)?;
        let web = Web::start(&networks.internet, &networks.intranet, (&authority, &corporate), gitlab)?;
        let services = Services::start(&networks.internet)?;
        let canaries = Canaries::start(&networks)?;
        let engine = match choice {
            Choice::At(host) => Engine::at(host),
            Choice::Private(variant) => {
                say(&format!("starting a private engine: {}", variant.name));
                Engine::start(variant, &cache, tree)?
            }
        };
        say(&format!("the engine: {}", engine.versions()?));
        let images = sources.load(&engine, &authority.pem, say)?;
        engine.keep_default_network(&images.tiny)?;
        // The machine trusts both authorities, the agent's image the first.
        let store = directory.path().join("authorities.pem");
        fs::write(&store, format!("{}{}", authority.pem, corporate.pem))?;
        let corporate_ca = directory.path().join("corporate-ca.pem");
        fs::write(&corporate_ca, &corporate.pem)?;
        let ringfence = Ringfence::new(executable, engine.host().to_owned(), directory.path(), store)?;
        Ok(Self {
            engine,
            images,
            ringfence,
            dns,
            encrypted_dns,
            intranet_dns,
            proxies,
            corporate_ca,
            web,
            services,
            canaries,
            directory,
            _networks: networks,
            witness,
            _lock: lock,
        })
    }

    /// Takes everything down and looks whether anything is left on the machine.
    ///
    /// # Errors
    /// When something is left, with what; or when nobody can say.
    pub fn down(self) -> Result<()> {
        let is_private = self.engine.is_private();
        let Self { engine, mut witness, directory, _networks, _lock, .. } = self;
        drop(engine);
        drop(_networks);
        let place = directory.path().to_owned();
        directory.close().with_context(|| format!("cannot remove {}", place.display()))?;
        let mut left = witness.changes()?;
        if is_private {
            left.extend(machine::others_inside()?);
        }
        if left.is_empty() {
            return Ok(());
        }
        bail!("the testbed left something on the machine:\n  {}", left.join("\n  "))
    }

    /// An empty directory of this run.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn fresh_directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }
}

/// The second testbed that wants this file waits for the first.
fn lock(path: &Path, say: &dyn Fn(&str)) -> Result<Flock<File>> {
    let mut file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let deadline = Instant::now() + PATIENCE;
    let mut said = false;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, _)) => file,
        };
        if !said {
            say("another testbed runs; waiting for it");
            said = true;
        }
        if Instant::now() > deadline {
            bail!("another testbed holds {} for too long", path.display());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}
