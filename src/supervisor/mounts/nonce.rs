//! Proof that an engine on another kernel mounts the very directories that were checked.
//!
//! ```text
//!  held directory ─▶ a file with a name and content that nobody can guess ─▶ the fence reads it through the mount ─▶ removed
//! ```
//! Device and inode mean nothing on the other side of a virtual machine's file sharing. The file is
//! made in the directory that is held since it was checked, whatever its path leads to by now; only
//! a mount of that directory shows it. It is removed before the agent starts, and where it cannot
//! be, that is said; a supervisor that is killed meanwhile leaves it. What no file can be made in,
//! a single file or a directory that the person cannot write, is not given there.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::host::at::open_in;
use crate::host::identity::Identity;
use crate::term::{COULD_NOT_RUN, Failure, Warning};
use crate::wire::handover::Nonce;
use crate::workspace::mounts::Bind;

/// A nonce in a directory, while this lives.
#[derive(Debug)]
pub(crate) struct Planted {
    directory: OwnedFd,
    source: PathBuf,
    nonce: Nonce,
    /// The file: another one of its name is not removed.
    file: Identity,
}

/// Tells whether an engine that says to run on the kernel `theirs` runs on another than this
/// program. Where the versions are the same, the fence compares boot ids.
pub(crate) fn is_needed(theirs: Option<&str>) -> bool {
    let own = rustix::system::uname();
    // An engine that says nothing is held to device and inode.
    theirs.is_some_and(|theirs| own.release().to_str().is_ok_and(|own| own != theirs))
}

/// One for each.
///
/// # Errors
/// When one cannot have any.
pub(crate) fn plant(binds: &[Bind]) -> Result<Vec<Planted>, Failure> {
    binds.iter().map(Planted::new).collect()
}

impl Planted {
    fn new(bind: &Bind) -> Result<Planted, Failure> {
        let shown = bind.source.display();
        let refused = |hint: &str| {
            Failure::new(
                COULD_NOT_RUN,
                format!("cannot prove that the engine, on a kernel of its own, mounts {shown}"),
            )
            .hint(hint.to_owned())
        };
        if !bind.directory {
            return Err(refused("give the file's directory: a single file cannot be marked"));
        }
        let write = || -> std::io::Result<Planted> {
            let directory = bind.reopen()?;
            let nonce = Nonce { name: format!(".ringfence-{}", random()?), content: random()? };
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&directory, &nonce.name, flags, Mode::from_raw_mode(0o644))?;
            let planted =
                Planted { directory, source: bind.source.clone(), nonce, file: Identity::of(&file)? };
            File::from(file).write_all(planted.nonce.content.as_bytes())?;
            Ok(planted)
        };
        write().map_err(|error| {
            refused("a file is made in it for a moment: give a directory that you may write")
                .caused_by(&error)
        })
    }

    /// Returns what the fence must find.
    pub(crate) fn nonce(&self) -> Nonce {
        self.nonce.clone()
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        let shown = self.source.join(&self.nonce.name);
        let now = open_in(self.directory.as_fd(), &*self.nonce.name, OFlags::RDONLY | OFlags::NONBLOCK);
        if !now.is_ok_and(|now| Identity::of(now).is_ok_and(|now| now == self.file)) {
            // Another agent is at work in the directory.
            crate::term::warn(Warning::NonceReplaced(shown));
        } else if let Err(error) = rustix::fs::unlinkat(&self.directory, &self.nonce.name, AtFlags::empty()) {
            crate::term::warn(Warning::NonceLeft { file: shown, error: error.to_string() });
        }
    }
}

/// Sixteen bytes that nobody can guess, as text.
fn random() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::is_needed;

    #[test]
    fn an_engine_on_this_kernel_is_held_to_device_and_inode() {
        let own = rustix::system::uname();
        assert!(!is_needed(own.release().to_str().ok()));
        assert!(!is_needed(None));
        assert!(is_needed(Some("6.10.14-linuxkit")));
    }
}
