//! Reads a project's files that say what it needs: bounded in depth, number and size, following no
//! link.
//!
//! ```text
//!  folder ──entries, sorted──▶ suggest::is_evidence? ──open (no link, no waiting)──▶ text
//! ```

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use netpolicy::note::{Note, NoteKind};
use netpolicy::suggest;
use rustix::fs::{AtFlags, Dir, FileType, OFlags};

use crate::host::at::open_in;
use crate::host::open;

/// Greatest depth of a project's packages.
const MAX_DEPTH: usize = 10;
/// Entries of all folders that are looked at.
const MAX_ENTRIES: usize = 100_000;
/// Files that are read, and their size together.
const MAX_FILES: usize = 500;
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Folders of other people's code and of what builds leave.
const SKIPPED: &[&str] = &[
    "node_modules",
    "bower_components",
    "vendor",
    "target",
    ".venv",
    "venv",
    ".tox",
    "__pycache__",
    ".gradle",
    ".cache",
    ".hg",
    ".svn",
];

/// Files that were read.
pub(crate) struct Walked {
    /// The files, in the order of their paths.
    pub(crate) files: Vec<Text>,
    /// Files that were not read.
    pub(crate) notes: Vec<Note>,
}

/// A file and what it says.
pub(crate) struct Text {
    /// Relative to the project, with `/`.
    pub(crate) path: String,
    /// Text of the file; bytes in it that are no UTF-8 are replaced.
    pub(crate) text: String,
}

/// Looks through a folder.
pub(crate) fn walk(root: &Path) -> io::Result<Walked> {
    let walked = Walked { files: Vec::new(), notes: Vec::new() };
    let mut walk = Walk { walked, test_data: Vec::new(), entries: 0, bytes: 0, full: false };
    // The folder that a person names may be behind a link; below it none is followed.
    let root = open::resolve(root).map_err(io::Error::other)?.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut folders = vec![(String::new(), 0)];
    let mut first = true;
    while let Some((name, depth)) = folders.pop() {
        let listed = open_below(&root, &name).and_then(|folder| Ok((list(&folder)?, folder)));
        let (entries, folder) = match listed {
            Ok(listed) => listed,
            Err(error) if first => return Err(error),
            Err(error) => {
                walk.note(&name, &format!("cannot be listed: {error}"));
                continue;
            }
        };
        first = false;
        let mut below = Vec::new();
        for (own, kind) in entries {
            walk.entries += 1;
            if walk.entries > MAX_ENTRIES {
                walk.note("", "there are more files than are looked at");
                return Ok(walk.finish());
            }
            let Some(own) = own.to_str() else { continue };
            let path = if name.is_empty() { own.to_owned() } else { format!("{name}/{own}") };
            if kind == FileType::Directory && !SKIPPED.contains(&own) {
                if own == ".git" {
                    // Of git's own folder, the configuration only.
                    if let Ok(git) = open_in(folder.as_fd(), own, OFlags::RDONLY | OFlags::DIRECTORY) {
                        walk.read(&git, "config", &format!("{path}/config"));
                    }
                } else if suggest::is_test_data(&path) {
                    walk.test_data.push(path);
                } else if depth < MAX_DEPTH {
                    below.push((path, depth + 1));
                } else {
                    walk.note(&path, "lies too deep");
                }
            } else if kind == FileType::RegularFile && suggest::is_evidence(&path) {
                walk.read(&folder, own, &path);
            } else if kind == FileType::Symlink && suggest::is_evidence(&path) {
                walk.note(&path, "a link, which is not followed");
            }
            if walk.full {
                return Ok(walk.finish());
            }
        }
        folders.extend(below.into_iter().rev());
    }
    Ok(walk.finish())
}

/// Opens a folder below the root, name by name: somebody may put a link there meanwhile.
fn open_below(root: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut here = open_in(root.as_fd(), ".", flags)?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        here = open_in(here.as_fd(), name, flags)?;
    }
    Ok(here)
}

/// Lists a folder by name, as far as entries are looked at.
fn list(folder: &OwnedFd) -> io::Result<Vec<(OsString, FileType)>> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(folder)?.take(MAX_ENTRIES) {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode)
            }
            kind => kind,
        };
        entries.push((name.to_owned(), kind));
    }
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(entries)
}

struct Walk {
    walked: Walked,
    /// Folders that are passed over: the projects in them are made up.
    test_data: Vec<String>,
    entries: usize,
    bytes: usize,
    full: bool,
}

impl Walk {
    fn read(&mut self, folder: &OwnedFd, own: &str, name: &str) {
        if self.walked.files.len() >= MAX_FILES || self.bytes >= MAX_BYTES {
            self.full = true;
            return self.note(name, "there is more to read than is read");
        }
        match text(folder, own) {
            // It vanished since it was listed; or a repository without a configuration.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(text) => {
                self.bytes += text.len();
                self.walked.files.push(Text { path: name.to_owned(), text });
            }
            Err(error) => self.note(name, &error.to_string()),
        }
    }

    /// Tells, in one note, which folders were passed over.
    fn finish(mut self) -> Walked {
        const NAMED: usize = 4;
        let mut names = std::mem::take(&mut self.test_data);
        names.sort_unstable();
        let count = names.len();
        let more = if count > NAMED { format!(" and {} more", count - NAMED) } else { String::new() };
        let named = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        if count > 0 {
            let folders = if count == 1 { "a folder".to_owned() } else { format!("{count} folders") };
            self.add(&format!("{folders} of test data"), "", &format!("{named}{more}"));
        }
        self.walked
    }

    fn note(&mut self, file: &str, why: &str) {
        self.add(if file.is_empty() { "the rest" } else { "file" }, file, why);
    }

    fn add(&mut self, what: &str, file: &str, why: &str) {
        self.walked.notes.push(Note {
            kind: NoteKind::LeftOut,
            what: what.to_owned(),
            file: file.to_owned(),
            line: 0,
            why: why.to_owned(),
        });
    }
}

fn text(folder: &OwnedFd, name: &str) -> io::Result<String> {
    // The file may have become a link or a FIFO since it was listed.
    let file = File::from(open_in(folder.as_fd(), name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(suggest::MAX_FILE as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > suggest::MAX_FILE {
        return Err(io::Error::other(format!("it is larger than {} MiB", suggest::MAX_FILE / 1024 / 1024)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
