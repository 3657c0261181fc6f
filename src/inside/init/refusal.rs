//! Words for a program that cannot be started, and for a home that its user cannot write.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Says what to do about a program that could not be started.
pub(crate) fn remedy(kind: io::ErrorKind, uid: u32, places: &[PathBuf]) -> Option<String> {
    match kind {
        io::ErrorKind::NotFound => {
            Some("the image has no such program on its PATH: install it in the image's Dockerfile".to_owned())
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
