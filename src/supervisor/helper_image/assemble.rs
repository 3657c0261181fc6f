//! The layer from this machine's own files: this very executable and `nft`, with the libraries that
//! both need, and nothing else.
//!
//! ```text
//!  /proc/self/exe, the system's nft ──loader──▶ files ──sorted, no times, no owners──▶ one layer
//! ```
//!
//! Reading and hashing takes longer than a start may, so a stamp of the files' sizes and times
//! stands for their content. A user who can write ringfence's own executable needs no image; all
//! the rest is root's.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::bundle::header;
use super::system;
use crate::term::{COULD_NOT_RUN, Failure};

/// Path in the image → file on this machine.
pub(crate) type Files = BTreeMap<String, PathBuf>;

/// Returns all files of the image.
pub(crate) fn inputs() -> Result<Files, Failure> {
    let own = std::env::current_exe().map_err(|error| {
        Failure::new(COULD_NOT_RUN, "cannot find ringfence's own executable").caused_by(&error)
    })?;
    let nft = system::program("nft").map_err(|failure| {
        let hint = failure.hint.as_deref().unwrap_or_default();
        let hint = format!("install the package nftables (it is only copied, never run here); {hint}");
        failure.hint(hint)
    })?;
    let mut files = Files::new();
    for (inside, outside) in [("usr/bin/ringfence", own), ("usr/sbin/nft", nft)] {
        for library in system::libraries(&outside)? {
            files.insert(library.to_string_lossy().trim_start_matches('/').to_owned(), library);
        }
        files.insert(inside.to_owned(), outside);
    }
    Ok(files)
}

/// Returns a text that changes when any of the files does.
pub(crate) fn stamp(files: &Files) -> Result<String, Failure> {
    let mut hash = Sha256::new();
    for (inside, outside) in files {
        let meta = std::fs::metadata(outside).map_err(|error| unreadable(outside, &error))?;
        hash.update(format!(
            "{inside} {} {}.{} {}.{} {} {}\n",
            meta.len(),
            meta.mtime(),
            meta.mtime_nsec(),
            // Times of change are the kernel's own.
            meta.ctime(),
            meta.ctime_nsec(),
            meta.dev(),
            meta.ino()
        ));
    }
    Ok(hex::encode(hash.finalize()))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot read {}", path.display())).caused_by(error)
}

/// Writes the image's one layer. Times and owners are fixed, so that the same files give the same
/// bytes.
pub(crate) fn layer(files: &Files) -> Result<Vec<u8>, Failure> {
    let cannot = |error: std::io::Error| {
        Failure::new(COULD_NOT_RUN, "cannot assemble the helper image").caused_by(&error)
    };
    let mut tar = tar::Builder::new(Vec::new());
    for (dir, mode) in [("run/", 0o755), ("run/ringfence/", 0o777), ("run/trust/", 0o755), ("tmp/", 0o755)] {
        let mut header = header(tar::EntryType::Directory, mode, 0);
        tar.append_data(&mut header, dir, std::io::empty()).map_err(cannot)?;
    }
    for (inside, outside) in files {
        let content = if inside == "usr/bin/ringfence" { stripped(outside) } else { std::fs::read(outside) }
            .map_err(|error| unreadable(outside, &error))?;
        let mut header = header(tar::EntryType::Regular, 0o755, content.len() as u64);
        tar.append_data(&mut header, inside, content.as_slice()).map_err(cannot)?;
    }
    tar.into_inner().map_err(cannot)
}

/// Returns the executable without symbols where the system has `strip`: a debug build is several
/// times smaller so.
fn stripped(path: &Path) -> std::io::Result<Vec<u8>> {
    let Ok(strip) = system::program("strip") else { return std::fs::read(path) };
    let output = tempfile::NamedTempFile::new()?;
    let ended = system::command(&strip).arg("--strip-all").arg("-o").arg(output.path()).arg(path).output();
    match ended {
        Ok(ended) if ended.status.success() => std::fs::read(output.path()),
        _ => std::fs::read(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_give_the_same_layer() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, "x").unwrap();
        let files = Files::from([("etc/f".to_owned(), file)]);
        assert_eq!(layer(&files).unwrap(), layer(&files).unwrap());
    }
}
