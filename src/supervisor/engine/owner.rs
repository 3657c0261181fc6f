//! Whose a socket is that nobody named: where others could have put it, an engine of theirs would get secrets and tokens.
//!
//! ```text
//!  path ─▶ every link on the way, and where it ends ─▶ folders above: root's or one's own, nobody else writes them ─▶ socket: root's or one's own
//! ```

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::workspace::own::way;

/// Others may write, but not take away what is not theirs.
const STICKY: u32 = 0o1000;

/// Who counts: `user` besides root, with `group` as the user's own.
#[derive(Debug, Clone, Copy)]
pub struct Person {
    /// The user's number.
    pub user: u32,
    /// The number of their first group.
    pub group: u32,
}

impl Person {
    /// Who runs this program.
    pub fn here() -> Person {
        Person { user: rustix::process::geteuid().as_raw(), group: rustix::process::getegid().as_raw() }
    }

    /// Why the socket may be somebody else's.
    pub fn doubt(self, socket: &Path) -> Result<(), String> {
        let look = |path: &Path| path.metadata().map_err(|error| format!("{}: {error}", path.display()));
        for place in way(socket) {
            for folder in place.ancestors().skip(1) {
                self.owns(&look(folder)?, folder)?;
                if self.others_write(&look(folder)?) {
                    return Err(passed_over(&format!("others can write {}", folder.display())));
                }
            }
        }
        let meta = look(socket)?;
        if !meta.file_type().is_socket() {
            return Err("it is no socket".to_owned());
        }
        self.owns(&meta, socket)
    }

    fn owns(self, meta: &Metadata, path: &Path) -> Result<(), String> {
        if [0, self.user].contains(&meta.uid()) {
            return Ok(());
        }
        Err(passed_over(&format!("{} belongs to user {}, neither you nor root", path.display(), meta.uid())))
    }

    /// The person's own group is often theirs alone, and root knows whom it gives a folder to (macOS: /var/run).
    fn others_write(self, folder: &Metadata) -> bool {
        let group = if folder.uid() == 0 || folder.gid() == self.group { 0 } else { 0o020 };
        folder.mode() & (0o002 | group) != 0 && folder.mode() & STICKY == 0
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
        // As it looks to somebody else; root's would be right for everybody, so it is given away first.
        if me.user == 0 {
            std::os::unix::fs::chown(&socket, Some(4711), None).unwrap();
        }
        let other = Person { user: 4712, group: 4712 };
        let why = other.doubt(&socket).unwrap_err();
        assert!(why.contains("passed over") && why.contains("neither you nor root"), "{why}");
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
