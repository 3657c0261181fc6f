//! Decides whether a path is in trusted hands: who could have put there what lies there, or led the
//! path elsewhere.
//!
//! ```text
//!  path ─▶ every folder: a trusted owner's, and nobody else writes it ─▶ every link: a trusted owner's ─▶ end: a trusted owner's
//! ```
//! A folder like `/tmp` passes: nobody exchanges there what is another's, and each link and file in
//! it is judged by its own owner.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::path_walk::{Doubt, End, Folder, Rule, follow};

/// Others may write, but not take away what is not theirs.
pub(super) const STICKY: u32 = 0o1000;
/// Groups that are root's: its own, and macOS's `daemon`, which may write /var/run there.
const GROUPS_OF_ROOT: &[u32] = if cfg!(target_os = "macos") { &[0, 1] } else { &[0] };

/// Trusted hands.
#[derive(Debug, Clone)]
pub(crate) struct Owners {
    /// Users that a file may belong to. Folders and links may be root's besides.
    users: Vec<u32>,
    /// A group that may write folders, besides root's: the caller's first one. Where each account
    /// has a group of its own, folders are made writable by it.
    group: Option<u32>,
}

impl Owners {
    /// Trusts root and these users, and no group.
    pub(crate) fn strict(users: &[u32]) -> Owners {
        Owners { users: users.to_vec(), group: None }
    }

    /// Trusts a person, with their first group, and root.
    pub(crate) fn of_person(user: u32, group: u32) -> Owners {
        Owners { users: vec![0, user], group: Some(group) }
    }

    /// Trusts the account that runs this program.
    pub(crate) fn caller() -> Owners {
        Owners::of_person(rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }

    /// Follows a path to its end.
    ///
    /// # Errors
    /// When a folder or link on the way is in other hands.
    pub(crate) fn follow(&self, path: &Path) -> Result<End, String> {
        follow(path, self).map_err(|stopped| stopped.to_string())
    }

    /// Opens a regular file to be read.
    ///
    /// # Errors
    /// When the file or something on the way to it is in other hands, in words.
    pub(crate) fn open_file(&self, path: &Path) -> Result<File, String> {
        let end = self.follow(path)?;
        if end.stat.is_none() {
            return Err(io::Error::from(Errno::NOENT).to_string());
        }
        let file = end.open(OFlags::RDONLY).map_err(|error| error.to_string())?;
        let stat = rustix::fs::fstat(&file).map_err(|error| error.to_string())?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err("it is no regular file".to_owned());
        }
        self.check_end(&stat, path)?;
        Ok(file.into())
    }

    /// Checks the file itself, which may be written by its owner alone: no group counts here.
    fn check_end(&self, stat: &Stat, path: &Path) -> Result<(), String> {
        if !self.users.contains(&stat.st_uid) {
            let whose = if self.users == [0] { "root" } else { "you or root" };
            return Err(format!("it must belong to {whose}, and belongs to user {}", stat.st_uid));
        }
        let mode = mode(stat);
        if mode & 0o022 != 0 {
            return Err(format!(
                "others than its owner can write it (mode {:03o}): chmod go-w {}",
                mode & 0o777,
                path.display()
            ));
        }
        Ok(())
    }

    /// Tells whether something belongs to root or to one of these users.
    pub(crate) fn own(&self, stat: &Stat) -> bool {
        stat.st_uid == 0 || self.users.contains(&stat.st_uid)
    }

    /// Tells whether others than its owner can write a folder of this group and mode, whichever
    /// user the owner is.
    pub(super) fn others_write(&self, group: u32, mode: u32) -> bool {
        let trusted = self.group.is_some_and(|own| group == own || GROUPS_OF_ROOT.contains(&group));
        mode & (if trusted { 0o002 } else { 0o022 }) != 0
    }
}

impl Rule for Owners {
    fn folder(&self, _: Option<&Folder>, folder: &Folder) -> Result<Option<Doubt>, String> {
        let (stat, path) = (&folder.stat, folder.path.display());
        if !self.own(stat) {
            return Err(format!(
                "others can replace it: {path} belongs to user {}, neither you nor root",
                stat.st_uid
            ));
        }
        let mode = mode(stat);
        if self.others_write(stat.st_gid, mode) && mode & STICKY == 0 {
            return Err(format!(
                "others than its owner can replace it: others can write {path} (mode {:03o})",
                mode & 0o7777
            ));
        }
        Ok(None)
    }

    fn link(&self, _: &Folder, path: &Path, stat: &Stat) -> Result<(), String> {
        if self.own(stat) {
            return Ok(());
        }
        Err(format!("others can replace it: {} belongs to user {}", path.display(), stat.st_uid))
    }
}

/// Returns the permissions; a number of 16 bits on macOS.
#[allow(clippy::unnecessary_cast, reason = "not on macOS")]
pub(crate) fn mode(stat: &Stat) -> u32 {
    stat.st_mode as u32 & 0o7777
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_write_if_it_is_the_persons_first_or_roots() {
        let me = Owners::of_person(4711, 4711);
        for (group, mode, others) in [
            (4711, 0o775, false),
            (0, 0o775, false),
            (1, 0o775, !cfg!(target_os = "macos")),
            (100, 0o775, true),
            (100, 0o755, false),
            (4711, 0o777, true),
            (0, 0o702, true),
        ] {
            assert_eq!(me.others_write(group, mode), others, "{group} {mode:o}");
        }
        assert!(Owners::strict(&[0]).others_write(0, 0o775), "no group counts where only the owner does");
    }
}
