//! Words for a program that cannot be started, and for a home that its user cannot write.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes of a program that say what starts it.
const HEAD: u64 = 256;

/// Says what to do about a program that could not be started.
pub(crate) fn remedy(kind: io::ErrorKind, uid: u32, places: &[PathBuf]) -> Option<String> {
    match kind {
        io::ErrorKind::NotFound => {
            Some(places.iter().find_map(|place| lacking(place)).unwrap_or_else(|| {
                "the image has no such program on its PATH: install it in the image's Dockerfile".to_owned()
            }))
        }
        io::ErrorKind::PermissionDenied => {
            let folder = places.iter().find_map(|place| closed_above(place, uid))?;
            Some(format!(
                "user {uid} may not enter {}: install the program where every user can read it, such as \
                 /usr/local/bin, or give --user root",
                folder.display()
            ))
        }
        _ => None,
    }
}

/// Says what a program that is there lacks: the interpreter of a script, the loader of a binary.
fn lacking(program: &Path) -> Option<String> {
    // Opening what is no regular file could wait for ever.
    fs::metadata(program).ok().filter(Metadata::is_file)?;
    let mut head = Vec::new();
    File::open(program).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    let shown = program.display();
    if head.starts_with(b"\x7fELF") {
        return Some(format!(
            "{shown} is there, and the loader that it was linked for is not: build it for the image's C library \
             (glibc or musl) and processor, or choose another base image"
        ));
    }
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    if line.ends_with(b"\r") {
        return Some(format!(
            "{shown} is a script with the line ends of Windows: save it with Unix line ends"
        ));
    }
    let line = String::from_utf8_lossy(line);
    let interpreter = line.split_whitespace().next()?;
    Some(format!(
        "{shown} is a script for {interpreter}, which the image lacks: install it in the image's Dockerfile"
    ))
}

/// Finds the first folder on the way to a place that a user may not enter.
fn closed_above(place: &Path, uid: u32) -> Option<PathBuf> {
    let mut folders: Vec<&Path> = place.ancestors().skip(1).collect();
    folders.reverse();
    let closed = |folder: &&Path| fs::metadata(folder).is_ok_and(|found| !is_open(&found, uid, 0o1));
    folders.into_iter().find(closed).map(Path::to_owned)
}

/// Says what to do about a home that belongs to another user.
pub(super) fn home_fault(home: &Path, uid: u32) -> Option<String> {
    let found = fs::metadata(home).ok()?;
    // `/` is an engine's stand-in for a home that nobody named.
    (home != Path::new("/") && !is_open(&found, uid, 0o2)).then(|| {
        format!(
            "user {uid} cannot write HOME={}: take `ENV HOME` out of the image, or give -e HOME=/tmp",
            home.display()
        )
    })
}

/// Tells whether a user may do something in a folder, as far as owner and mode say it. Groups are
/// given the benefit of the doubt.
fn is_open(folder: &Metadata, uid: u32, right: u32) -> bool {
    let group_or_others = right << 3 | right;
    uid == 0 || folder.uid() == uid && folder.mode() & right << 6 != 0 || folder.mode() & group_or_others != 0
}
