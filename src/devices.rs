//! Devices that a container has beyond the pseudo ones, as it finds them in its own `/dev`.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Pseudo devices that every container has.
const USUAL: [&str; 8] = ["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"];

/// The names of the others in `dev`, two folders deep at most (`dri/card0`).
pub fn unusual(dev: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries(dev) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && !matches!(name.as_str(), "pts" | "shm" | "mqueue") {
            let below = entries(&entry.path()).filter(|e| e.file_type().is_ok_and(is_device));
            found.extend(below.map(|e| format!("{name}/{}", e.file_name().to_string_lossy())));
        } else if is_device(kind) && !USUAL.contains(&name.as_str()) {
            found.push(name);
        }
    }
    found.sort();
    found
}

fn is_device(kind: fs::FileType) -> bool {
    kind.is_char_device() || kind.is_block_device()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_told_from_files_and_from_the_usual_ones() {
        let dev = tempfile::tempdir().unwrap();
        fs::write(dev.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("/dev/null", dev.path().join("stdin")).unwrap();
        assert_eq!(unusual(dev.path()), Vec::<String>::new());
        // Every machine has these two, and no container has the second.
        let machine = unusual(Path::new("/dev"));
        assert!(!machine.contains(&"null".to_owned()) && machine.contains(&"kmsg".to_owned()), "{machine:?}");
    }
}
