//! The testbed: everything outside the fence, made on this machine, with no way out of it.

pub mod addresses;
pub mod canary;
pub mod capture;
pub mod clients;
pub mod composes;
pub mod databases;
pub mod dns;
pub mod encrypted_dns;
pub mod engine;
pub mod gitlab;
pub mod http;
pub mod images;
pub mod machine;
pub mod netns;
pub mod proxy;
pub mod registry;
pub mod remote;
pub mod services;
pub mod setup;
pub mod site;
pub mod web;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use self::canary::Canaries;
use self::dns::Dns;
use self::encrypted_dns::EncryptedDns;
use self::engine::{Choice, Engine};
use self::gitlab::GitLab;
use self::images::Images;
use self::netns::Networks;
use self::proxy::Proxies;
use self::services::Services;
use self::site::Materials;
use self::web::Web;
use crate::ringfence::Ringfence;

/// A running testbed. Its parts end in the order in which they stand here.
#[derive(Debug)]
pub struct Testbed {
    /// The engine that runs the containers.
    pub engine: Engine,
    /// The images that they run from.
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
    /// The canaries, which must hear nothing.
    pub canaries: Canaries,
    /// Files of this run: state and configuration directories of ringfence, projects.
    pub directory: tempfile::TempDir,
    _networks: Networks,
}

impl Testbed {
    /// Makes one from what was prepared. Several stand beside each other, each with a `number` of
    /// its own. Call it before any thread is started: the process may move into namespaces of its
    /// own.
    ///
    /// # Errors
    /// When a step fails.
    pub fn up(materials: Materials, number: u32, say: &dyn Fn(&str)) -> Result<Self> {
        let Materials { choice, cache, tree, executable, sources, authority, corporate } = materials;
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
                Engine::start(variant, &cache, number, tree)?
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
        })
    }

    /// Takes everything down and looks whether a process is left in it.
    ///
    /// # Errors
    /// When one is left, with its name; or when nobody can say.
    pub fn down(self) -> Result<()> {
        let is_private = self.engine.is_private();
        let Self { engine, directory, _networks, .. } = self;
        drop(engine);
        drop(_networks);
        let place = directory.path().to_owned();
        directory.close().with_context(|| format!("cannot remove {}", place.display()))?;
        let left = if is_private { machine::others_inside()? } else { Vec::new() };
        if left.is_empty() {
            return Ok(());
        }
        bail!("the testbed left something running:\n  {}", left.join("\n  "))
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
