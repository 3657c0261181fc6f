//! The repository's folder, and the source files below a folder.

use std::path::{Path, PathBuf};

/// Returns the repository's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Lists all source files below a folder, or the file itself.
pub(crate) fn sources(folder: PathBuf) -> Vec<PathBuf> {
    files(folder, "rs")
}

/// Lists all files below a folder that have this ending, or the file itself.
pub(crate) fn files(folder: PathBuf, ending: &str) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![folder]);
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(path.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|found| found == ending) {
            found.push(path);
        }
    }
    found
}
