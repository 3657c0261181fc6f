//! Files behind a link that stands in the place of a file that runs code, or of a folder that may
//! hold some: the agent can change the link's target instead.
//!
//! ```text
//!  .envrc ─▶ scripts/env.sh     told as .envrc, when either changes
//!  .vscode ─▶ conf/             its files are told as .vscode/…
//! ```

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use super::kinds::Kind;
use super::record::Digest;

/// Reads what a link leads to inside the root, and gives each file that counts to `take`. What lies
/// outside is not read: no agent writes there.
#[cfg(target_os = "linux")]
pub(crate) fn read(
    root: BorrowedFd<'_>,
    link: &Path,
    most: u64,
    mut take: impl FnMut(PathBuf, Kind, Digest),
) {
    use std::ffi::OsStr;
    use std::os::fd::AsFd;
    use std::os::unix::ffi::OsStrExt;

    use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

    use super::kinds::{GITS, Kinds};
    use super::place;
    use super::record::digest;
    use crate::host::walk::{Bounds, walk};

    /// Bounds of the walk through the folder that a link leads to.
    const BOUNDS: Bounds = Bounds { depth: 8, entries: 10_000, time: std::time::Duration::from_secs(1) };

    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let Ok(open) = rustix::fs::openat2(root, link, flags, Mode::empty(), resolve) else { return };
    let Ok(stat) = rustix::fs::fstat(&open) else { return };
    let of = |path: &Path| Kinds::get().of(path);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let kind = of(link).or_else(|| Kinds::get().below(link)).unwrap_or(GITS);
            let mut text = Vec::new();
            let file = std::fs::File::from(open);
            // Of one that is too large or cannot be read, the beginning stands for the whole, with
            // its times.
            let _ = std::io::Read::read_to_end(&mut std::io::Read::take(file, most), &mut text);
            let times = match text.len() as u64 == most {
                true => format!("{} {} {}", stat.st_size, stat.st_ctime, stat.st_ctime_nsec),
                false => String::new(),
            };
            take(link.to_owned(), kind, digest(&[b"through ", text.as_slice(), times.as_bytes()].concat()));
        }
        FileType::Directory => {
            // What cannot be listed is told as the link that leads there.
            let _ = walk(
                open,
                BOUNDS,
                |entry| {
                    let path = link.join(entry.path());
                    if entry.kind() != FileType::RegularFile {
                        return;
                    }
                    let Some(kind) = of(&path) else { return };
                    let name = OsStr::from_bytes(entry.name.to_bytes());
                    let text = place::read(entry.here.as_fd(), name, most).ok().flatten();
                    let text = text.unwrap_or_else(|| {
                        format!("{} {} {}", entry.stat.st_size, entry.stat.st_ctime, entry.stat.st_ctime_nsec)
                            .into_bytes()
                    });
                    take(path, kind, digest(&text));
                },
                |_| {},
            );
        }
        _ => {}
    }
}

/// Reads what a link leads to inside the root: not on this system, where only the link itself is
/// told.
#[cfg(not(target_os = "linux"))]
pub(crate) fn read(_: BorrowedFd<'_>, _: &Path, _: u64, _: impl FnMut(PathBuf, Kind, Digest)) {}
