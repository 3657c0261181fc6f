//! The files that a run begins with: they arrive on the fence's stdin and go to their volumes.
//!
//! ```text
//!  supervisor ──one line of JSON──▶ guard.json, fence.json ─▶ volume of fence and guard
//!                                   policy.json ────────────▶ volume of the agent's notice
//! ```
//! The fence's container starts before all of it is known. A stdin that ends before the line does
//! is a failure, so that nothing is made for a supervisor that is gone.

use std::io::{BufRead, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::{FAILED, failed, failure, file_name};
use crate::term::Failure;
use crate::wire::handover::{FENCE_CONFIG, FirstFiles, GUARD_CONFIG, NOTICE_FILE};

/// Takes the files from a stream, and writes them into their folders. The guard waits for its own,
/// so that comes first.
pub(super) fn receive(mut from: impl BufRead, shared: &Path, notice: &Path) -> Result<(), Failure> {
    let mut line = String::new();
    from.read_line(&mut line).map_err(failed("cannot read the first files from stdin"))?;
    if !line.ends_with('\n') {
        return Err(failure("the first files did not arrive: the supervisor is gone"));
    }
    let files: FirstFiles = serde_json::from_str(&line).map_err(|error| {
        Failure::new(FAILED, "fence: the first files are not what was expected").caused_by(&error)
    })?;
    let write = |folder: &Path, name: &str, text: &str| {
        replace(folder, name, text).map_err(failed(format!("cannot write {name}")))
    };
    write(shared, file_name(GUARD_CONFIG), &files.guard)?;
    write(shared, file_name(FENCE_CONFIG), &files.fence)?;
    write(notice, NOTICE_FILE, &files.notice)
}

/// Replaces a file in one step: a reader finds the old text or the new one, whole.
pub(super) fn replace(folder: &Path, name: &str, text: &str) -> std::io::Result<()> {
    let fresh = folder.join(".fresh");
    // One that was interrupted may have left its own.
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    std::fs::rename(&fresh, folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_text_is_there_whole_and_for_everybody_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(NOTICE_FILE);
        std::fs::write(folder.path().join(".fresh"), "left by one that was interrupted").unwrap();
        for text in ["one", "two\nlines\n"] {
            replace(folder.path(), NOTICE_FILE, text).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_go_to_their_folders_and_half_a_line_is_none() {
        let (shared, notice) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let text = |name: &str| format!("{{\"{name}\": 1}}");
        let files = FirstFiles { fence: text("fence"), guard: text("guard"), notice: "told\n".to_owned() };
        let mut line = serde_json::to_vec(&files).unwrap();
        let half = &line[..line.len() / 2];
        assert!(receive(half, shared.path(), notice.path()).is_err());
        // Whole, and the supervisor gone before it ended the line.
        assert!(receive(&line[..], shared.path(), notice.path()).is_err());
        assert_eq!(std::fs::read_dir(shared.path()).unwrap().count(), 0);
        line.push(b'\n');
        receive(&line[..], shared.path(), notice.path()).unwrap();
        let read = |folder: &Path, name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read(shared.path(), "fence.json"), text("fence"));
        assert_eq!(read(shared.path(), "guard.json"), text("guard"));
        assert_eq!(read(notice.path(), NOTICE_FILE), "told\n");
    }
}
