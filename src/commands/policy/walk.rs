//! Reads a project's files that say what it needs: bounded in depth, number and size, following no link.
//!
//! ```text
//!  folder ──entries, sorted──▶ suggest::is_evidence? ──open (no link, no waiting)──▶ text
//! ```

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use netpolicy::note::{Note, NoteKind};
use netpolicy::suggest;

/// How deep a project's packages may lie.
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

/// What was read.
pub struct Walked {
    /// The files, in the order of their paths.
    pub files: Vec<Text>,
    /// What was not.
    pub notes: Vec<Note>,
}

/// A file and what it says.
pub struct Text {
    /// Relative to the project, with `/`.
    pub path: String,
    /// Its text; what is no UTF-8 in it is replaced.
    pub text: String,
}

/// Looks through a folder.
pub fn walk(root: &Path) -> io::Result<Walked> {
    let mut walk =
        Walk { walked: Walked { files: Vec::new(), notes: Vec::new() }, entries: 0, bytes: 0, full: false };
    // The folder that a person names may be a link; below it none is followed.
    let mut folders = vec![(root.to_owned(), String::new(), 0)];
    let mut first = true;
    while let Some((folder, name, depth)) = folders.pop() {
        let listed = match std::fs::read_dir(&folder) {
            Ok(listed) => listed,
            Err(error) if first => return Err(error),
            Err(error) => {
                walk.note(&name, &format!("cannot be listed: {error}"));
                continue;
            }
        };
        first = false;
        let mut below = Vec::new();
        let mut entries: Vec<_> = listed.take(MAX_ENTRIES).collect::<io::Result<_>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            walk.entries += 1;
            if walk.entries > MAX_ENTRIES {
                walk.note("", "there are more files than are looked at");
                return Ok(walk.walked);
            }
            let Some(own) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let path = if name.is_empty() { own.clone() } else { format!("{name}/{own}") };
            let kind = entry.file_type()?;
            if kind.is_dir() && !SKIPPED.contains(&own.as_str()) {
                if own == ".git" {
                    // Of git's own folder, the configuration only.
                    walk.read(&entry.path().join("config"), &format!("{path}/config"));
                } else if depth < MAX_DEPTH {
                    below.push((entry.path(), path, depth + 1));
                } else {
                    walk.note(&path, "lies too deep");
                }
            } else if kind.is_file() && suggest::is_evidence(&path) {
                walk.read(&entry.path(), &path);
            } else if kind.is_symlink() && suggest::is_evidence(&path) {
                walk.note(&path, "a link, which is not followed");
            }
            if walk.full {
                return Ok(walk.walked);
            }
        }
        folders.extend(below.into_iter().rev());
    }
    Ok(walk.walked)
}

struct Walk {
    walked: Walked,
    entries: usize,
    bytes: usize,
    full: bool,
}

impl Walk {
    fn read(&mut self, path: &Path, name: &str) {
        if path.file_name() == Some(OsStr::new("config")) && !path.exists() {
            return;
        }
        if self.walked.files.len() >= MAX_FILES || self.bytes >= MAX_BYTES {
            self.full = true;
            return self.note(name, "there is more to read than is read");
        }
        match text(path) {
            Ok(text) => {
                self.bytes += text.len();
                self.walked.files.push(Text { path: name.to_owned(), text });
            }
            Err(error) => self.note(name, &error.to_string()),
        }
    }

    fn note(&mut self, file: &str, why: &str) {
        self.walked.notes.push(Note {
            kind: NoteKind::LeftOut,
            what: if file.is_empty() { "the rest" } else { "file" }.to_owned(),
            file: file.to_owned(),
            line: 0,
            why: why.to_owned(),
        });
    }
}

fn text(path: &Path) -> io::Result<String> {
    // The file may have become a link or a FIFO since it was listed.
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
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
