//! The agent's notice, written anew while the agent reads it.

use std::io::{BufRead as _, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::{FAILED, failed};
use crate::term::Failure;
use crate::wire::handover::{NOTICE, NOTICE_FILE};

/// Replaces the notice by the text that arrives on stdin, as a line of JSON.
pub(crate) fn notice() -> Result<(), Failure> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(failed("cannot read the notice from stdin"))?;
    let text: String = serde_json::from_str(&line)
        .map_err(|error| Failure::new(FAILED, "the notice on stdin is no text").caused_by(&error))?;
    replace(Path::new(NOTICE), &text).map_err(failed("cannot replace the agent's notice"))
}

/// Replaces the file in one step: a reader finds the old text or the new one, whole.
fn replace(folder: &Path, text: &str) -> std::io::Result<()> {
    let fresh = folder.join(".fresh");
    // One that was interrupted may have left its own.
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    std::fs::rename(&fresh, folder.join(NOTICE_FILE))
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
            replace(folder.path(), text).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
