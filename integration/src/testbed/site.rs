//! The site of testbeds: a machine that one command at a time may use, and what it prepared for
//! them.
//!
//! ```text
//!  Site::claim ─▶ lock ─▶ Materials (packages, programs, images' sources, authorities) ─▶ witness looks
//!      │                       └─▶ Testbed::up, once or several times side by side ─▶ Testbed::down
//!      └──────────────────────────────────────────────────────▶ Site::leave: witness looks again
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use super::engine::variants::{Product, Variant};
use super::engine::{self, Choice};
use super::images::Sources;
use super::machine::Witness;
use super::web::Authority;
use super::{remote, setup};
use crate::cargo::Beside;
use crate::ringfence::Ringfence;

/// The time that a second command waits for the first.
const PATIENCE: Duration = Duration::from_secs(1800);

/// The machine, claimed for this command.
#[derive(Debug)]
pub struct Site {
    witness: Witness,
    _lock: Flock<File>,
}

/// The programs, images and authorities that every testbed of a command is made from.
#[derive(Debug)]
pub struct Materials {
    pub(super) choice: Choice,
    pub(super) cache: PathBuf,
    pub(super) tree: Option<PathBuf>,
    pub(super) executable: PathBuf,
    pub(super) sources: Sources,
    pub(super) authority: Authority,
    pub(super) corporate: Authority,
}

impl Site {
    /// Waits until no other command works here, and prepares what testbeds need, with programs
    /// built beside what is at work.
    ///
    /// # Errors
    /// When the machine lacks something that cannot be installed, or a step fails.
    pub fn claim(beside: Beside, say: &dyn Fn(&str)) -> Result<(Self, Materials)> {
        let (choice, cache) = choose(say)?;
        // On an engine of the machine, two testbeds would fight for the same ranges and images.
        // Private ones share the cache alone.
        let lock = match choice {
            Choice::At(_) => lock(Path::new("/run/ringfence-testbed.lock"), say)?,
            Choice::Private(_) => lock(&cache.join("lock"), say)?,
        };
        let materials = Materials::gather(choice, cache, beside, say)?;
        // Packages and the cache are what the README names; from here on nothing may stay.
        Ok((Self { witness: Witness::begin()?, _lock: lock }, materials))
    }

    /// Looks whether anything is left on the machine, after every testbed is down.
    ///
    /// # Errors
    /// When something is left, with what; or when nobody can say.
    pub fn leave(mut self) -> Result<()> {
        let left = self.witness.changes()?;
        if left.is_empty() {
            return Ok(());
        }
        bail!("the testbed left something on the machine:\n  {}", left.join("\n  "))
    }
}

impl Materials {
    /// Prepares them. The caller holds the site, or works for the command that does.
    ///
    /// # Errors
    /// When the machine lacks something that cannot be installed, or a step fails.
    pub fn prepare(beside: Beside, say: &dyn Fn(&str)) -> Result<Self> {
        let (choice, cache) = choose(say)?;
        Self::gather(choice, cache, beside, say)
    }

    fn gather(choice: Choice, cache: PathBuf, beside: Beside, say: &dyn Fn(&str)) -> Result<Self> {
        let tree = match choice {
            Choice::Private(Variant { tree: Some(tree), .. }) => Some(tree.prepare(&cache, say)?),
            _ => None,
        };
        say("building ringfence");
        let executable = Ringfence::find(beside)?;
        let sources = Sources::prepare(&cache, beside, say)?;
        let authority = Authority::load(&cache)?;
        let corporate = Authority::load_corporate(&cache)?;
        Ok(Self { choice, cache, tree, executable, sources, authority, corporate })
    }

    /// Tells whether several testbeds can stand side by side. Engines of the machine are one for
    /// all, and services of Podman share their locks.
    #[must_use]
    pub fn are_for_many(&self) -> bool {
        matches!(self.choice, Choice::Private(variant) if variant.product == Product::Docker)
    }
}

/// The engine that testbeds use, with what it needs installed, and the folder that is kept from run
/// to run.
fn choose(say: &dyn Fn(&str)) -> Result<(Choice, PathBuf)> {
    setup::base(say)?;
    setup::programs(remote::PROGRAMS, say)?;
    setup::many_files()?;
    let cache = setup::target_directory()?.join("testbed");
    fs::create_dir_all(&cache)?;
    let choice = engine::choose()?;
    if let Choice::Private(Variant { tree: None, .. }) = choice {
        setup::programs(setup::ENGINE, say)?;
        // Installing an engine may have started it.
        return Ok((engine::choose()?, cache));
    }
    Ok((choice, cache))
}

/// The second command that wants this file waits for the first.
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
