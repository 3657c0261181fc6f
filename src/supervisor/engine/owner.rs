//! Trust in a discovered engine socket: one planted by another user would receive secrets and
//! tokens.
//!
//! ```text
//!  path ─▶ every link on the way, and where it ends ─▶ folders above: root's or one's own, nobody else writes them ─▶ socket: root's or one's own
//! ```
//! The person's first group counts as theirs: where each account has a group of its own, folders
//! are made writable by it.

use std::path::Path;

use rustix::fs::FileType;

use crate::host::owners::Owners;

/// Trusted users: `user` besides root, with `group` as the user's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Person {
    /// The user's number.
    pub(crate) user: u32,
    /// The number of their first group.
    pub(crate) group: u32,
}

impl Person {
    /// Returns the account that runs this program.
    pub(crate) fn here() -> Person {
        Person { user: rustix::process::geteuid().as_raw(), group: rustix::process::getegid().as_raw() }
    }

    /// Fails with the reason for which the socket may be another user's.
    pub(crate) fn doubt(self, socket: &Path) -> Result<(), String> {
        let owners = Owners::of_person(self.user, self.group);
        let end = owners.follow(socket).map_err(|why| passed_over(&why))?;
        let Some(stat) = end.stat else { return Err(format!("{}: it is not there", socket.display())) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
            return Err("it is no socket".to_owned());
        }
        if owners.own(&stat) {
            return Ok(());
        }
        let whose = format!("{} belongs to user {}, neither you nor root", end.path().display(), stat.st_uid);
        Err(passed_over(&whose))
    }
}

fn passed_over(why: &str) -> String {
    format!("passed over: {why}; --engine takes it all the same")
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_of_somebody_else_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let socket = root.join("engine.sock");
        assert!(Person::here().doubt(&socket).is_err(), "there is none yet");
        let _listener = UnixListener::bind(&socket).unwrap();
        let me = Person::here();
        assert_eq!(me.doubt(&socket), Ok(()));
        // As it looks to somebody else; root's would be right for everybody, so it is given away
        // first.
        if me.user == 0 {
            std::os::unix::fs::chown(&socket, Some(4711), None).unwrap();
        }
        let other = Person { user: 4712, group: 4712 };
        let why = other.doubt(&socket).unwrap_err();
        assert!(why.contains("passed over") && why.contains("neither you nor root"), "{why}");
    }

    /// Root's folders too.
    #[test]
    fn a_folder_of_roots_that_a_group_writes_is_passed_over() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give a folder away");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let _listener = UnixListener::bind(root.join("engine.sock")).unwrap();
        let somebody = Person { user: 4711, group: 4711 };
        for (group, right) in [(0, true), (100, false), (4711, true)] {
            std::os::unix::fs::chown(&root, Some(0), Some(group)).unwrap();
            set_permissions(&root, Permissions::from_mode(0o775)).unwrap();
            let found = somebody.doubt(&root.join("engine.sock"));
            assert_eq!(found.is_ok(), right, "{group}: {found:?}");
        }
    }

    #[test]
    fn a_folder_that_others_write_is_passed_over_links_too() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (shared, own) = (root.join("shared"), root.join("own"));
        for folder in [&shared, &own] {
            create_dir(folder).unwrap();
        }
        let _listeners =
            [&shared, &own].map(|folder| UnixListener::bind(folder.join("engine.sock")).unwrap());
        symlink(own.join("engine.sock"), shared.join("link.sock")).unwrap();
        let me = Person::here();
        let mode = |mode| set_permissions(&shared, Permissions::from_mode(mode)).unwrap();
        for (bits, right) in [(0o755, true), (0o777, false), (0o1777, true), (0o703, false)] {
            mode(bits);
            for name in ["engine.sock", "link.sock"] {
                let found = me.doubt(&shared.join(name));
                assert_eq!(found.is_ok(), right, "{bits:o} {name}: {found:?}");
            }
        }
        assert_eq!(me.doubt(&own.join("engine.sock")), Ok(()));
        std::fs::write(own.join("file"), "").unwrap();
        assert!(me.doubt(&own.join("file")).is_err());
    }
}
