//! Debian trees that engines run in: built once, kept under `target/testbed/engines`, never written
//! to.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::variants::{COMMON, Tree};
use crate::command::bounded;
use crate::testbed::setup;

const RECIPE: &str = include_str!("tree.sh");
const ENTER: &str = include_str!("enter.sh");

impl Tree {
    /// Builds it unless it is there; needs the package registries. Where it is.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn prepare(&self, cache: &Path, say: &dyn Fn(&str)) -> Result<PathBuf> {
        let packages = [COMMON, self.packages].concat().join(",");
        let mut hasher = DefaultHasher::new();
        (RECIPE, &packages).hash(&mut hasher);
        let tree = cache.join("engines").join(format!("{}-{:016x}", self.suite, hasher.finish()));
        if tree.exists() {
            return Ok(tree);
        }
        setup::programs(&[("debootstrap", "debootstrap")], say)?;
        say(&format!("building Debian {} with its engines (once, some minutes)", self.suite));
        let mut command = Command::new("sh");
        command.args(["-c", RECIPE, "tree.sh", self.suite, &packages]).arg(&tree);
        let output = bounded(&mut command, b"", Duration::from_secs(1800))?;
        if !output.status.success() {
            bail!("Debian {} cannot be built: {}", self.suite, output.stderr.trim());
        }
        Ok(tree)
    }
}

/// A command that begins with `prefix` (what must stay tied to this process) and runs a program
/// inside `tree`, with `shared` directories of this machine in their places. `scratch` takes what
/// is written elsewhere, in memory.
pub(crate) fn command_inside(tree: &Path, scratch: &Path, shared: &[&Path]) -> Result<Command> {
    fs::create_dir_all(scratch)?;
    let script = scratch.join("enter.sh");
    fs::write(&script, ENTER)?;
    let shared: Vec<_> = shared.iter().map(|path| path.to_string_lossy()).collect();
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "TERM", "unshare", "--mount", "--propagation", "private", "sh"])
        .arg(&script)
        .arg(tree)
        .arg(scratch.join("tree"))
        .arg(shared.join(":"));
    Ok(command)
}
