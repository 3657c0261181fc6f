//! The layer from this machine's own files: this very executable and `nft`, with the libraries that both need, and nothing else.
//!
//! ```text
//!  /proc/self/exe, nft ──ldd──▶ files ──sorted, no times, no owners──▶ one layer
//! ```
//!
//! Reading and hashing takes longer than a start may, so a stamp of the files' sizes and times stands for their content.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::bundle::header;
use crate::error::{COULD_NOT_RUN, Failure};

/// Path in the image → file on this machine.
pub type Files = BTreeMap<String, PathBuf>;

/// All files of the image.
pub fn inputs() -> Result<Files, Failure> {
    let own = std::env::current_exe().map_err(|error| {
        Failure::new(COULD_NOT_RUN, "cannot find ringfence's own executable").caused_by(&error)
    })?;
    let nft = find_nft()?;
    let mut files = Files::new();
    for (inside, outside) in [("usr/bin/ringfence", &own), ("usr/sbin/nft", &nft)] {
        files.insert(inside.to_owned(), outside.clone());
        for library in libraries(outside)? {
            files.insert(library.trim_start_matches('/').to_owned(), PathBuf::from(&library));
        }
    }
    Ok(files)
}

fn find_nft() -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join("nft"))
        .find(|file| file.is_file())
        .ok_or_else(|| {
            Failure::new(
                COULD_NOT_RUN,
                "the program `nft` is not on this machine; the fence's image needs it",
            )
            .hint("install the package nftables (it is only copied, never run here)")
        })
}

/// The shared libraries of an executable, loader included, as absolute paths.
fn libraries(program: &Path) -> Result<Vec<String>, Failure> {
    let cannot =
        || Failure::new(COULD_NOT_RUN, format!("cannot list the libraries of {}", program.display()));
    let output = Command::new("ldd")
        .arg(program)
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| cannot().caused_by(&error).hint("the program `ldd` comes with the C library"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        // A static executable needs none.
        let said = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        return if said.contains("not a dynamic executable") || said.contains("statically linked") {
            Ok(Vec::new())
        } else {
            let mut failure = cannot();
            failure.causes.push(said);
            Err(failure)
        };
    }
    parse_ldd(&text).map_err(|missing| {
        let mut failure = cannot();
        failure.causes.push(format!("{missing} is not found"));
        failure
    })
}

/// `libx.so.1 => /lib/libx.so.1 (0x…)` and `/lib64/ld-linux.so.2 (0x…)`; the vdso has no file.
fn parse_ldd(text: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        let (name, place) = line.split_once(" => ").unwrap_or(("", line));
        if place.starts_with("not found") {
            return Err(name.to_owned());
        }
        if let Some(path) = place.split_whitespace().next().filter(|path| path.starts_with('/')) {
            found.push(path.to_owned());
        }
    }
    Ok(found)
}

/// What changes when any of them does.
pub fn stamp(files: &Files) -> Result<String, Failure> {
    let mut hash = Sha256::new();
    for (inside, outside) in files {
        let meta = std::fs::metadata(outside).map_err(|error| unreadable(outside, &error))?;
        hash.update(format!(
            "{inside} {} {}.{} {}\n",
            meta.len(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ino()
        ));
    }
    Ok(hex::encode(hash.finalize()))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot read {}", path.display())).caused_by(error)
}

/// The image's one layer. Times and owners are fixed, so that the same files give the same bytes.
pub fn layer(files: &Files) -> Result<Vec<u8>, Failure> {
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

/// The executable without symbols where the machine has `strip`: a debug build is several times smaller so.
fn stripped(path: &Path) -> std::io::Result<Vec<u8>> {
    let output = tempfile::NamedTempFile::new()?;
    let status = Command::new("strip").arg("--strip-all").arg("-o").arg(output.path()).arg(path).output();
    match status {
        Ok(ended) if ended.status.success() => std::fs::read(output.path()),
        _ => std::fs::read(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_prints() {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x7f)\n\t/lib64/ld.so.2 (0x7f)\n";
        assert_eq!(parse_ldd(text), Ok(vec!["/lib/x/libc.so.6".to_owned(), "/lib64/ld.so.2".to_owned()]));
        assert_eq!(parse_ldd("\tliby.so => not found\n"), Err("liby.so".to_owned()));
    }

    #[test]
    fn the_same_files_give_the_same_layer() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, "x").unwrap();
        let files = Files::from([("etc/f".to_owned(), file)]);
        assert_eq!(layer(&files).unwrap(), layer(&files).unwrap());
    }
}
