//! Warnings about a directory before an agent has it: links that lead out of it, sockets in it.
//!
//! A link resolves inside the agent's container, so it opens nothing there; a person who follows it
//! outside later is led out. A socket works from inside: the program that listens at it answers the
//! agent.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::FileType;

use super::held::identity;
use super::mounts::Identity;
use crate::host::walk::{Bounds, Entry, Visitor, Walked, walk_side_by_side};
use crate::host::work_queue::workers;
use crate::term::{Finding, Warning};

const BOUNDS: Bounds = Bounds { depth: 100, entries: 300_000, time: Duration::from_secs(3) };
/// The most names shown of each kind.
const NAMED: usize = 3;

/// Paths of one kind: how many, and the first few.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PathSample {
    count: u64,
    first: Vec<String>,
}

/// Findings about a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    links: PathSample,
    sockets: PathSample,
    specials: PathSample,
    shared: PathSample,
    /// A socket of the container engine.
    pub(crate) engine_socket: Option<PathBuf>,
    cut_short: bool,
}

impl PathSample {
    fn add(&mut self, what: String) {
        self.count += 1;
        if self.first.len() < NAMED {
            // A file's name is the agent's word once it ran: nothing of it reaches the terminal
            // raw.
            self.first.push(what.chars().flat_map(char::escape_debug).collect());
        }
    }

    /// Takes in the paths of another part of the directory.
    fn append(&mut self, other: PathSample) {
        self.count += other.count;
        self.first.extend(other.first);
        self.first.sort();
        self.first.truncate(NAMED);
    }

    fn warning(&self, directory: &Path, finding: Finding) -> Option<Warning> {
        let (count, first) = (self.count, self.first.clone());
        (count > 0).then(|| Warning::Files { directory: directory.to_owned(), finding, count, first })
    }
}

impl Survey {
    /// Looks through the directory that was `opened` at `root`; `engine` are the engine's sockets.
    pub(crate) fn of(opened: OwnedFd, root: &Path, engine: &[Identity]) -> std::io::Result<Survey> {
        let _progress = crate::term::progress(&format!("looking through {}", root.display()));
        let owner = rustix::fs::fstat(&opened)?.st_uid;
        let surveyor = |_| Surveyor { root, engine, owner, survey: Survey::default() };
        let surveyors = (0..workers()).map(surveyor).collect();
        let (walked, surveyors) = walk_side_by_side(opened, BOUNDS, surveyors)?;
        let mut survey = Survey { cut_short: walked == Walked::CutShort, ..Survey::default() };
        surveyors.into_iter().for_each(|part| survey.append(part.survey));
        Ok(survey)
    }

    /// Takes in the findings of another part of the directory.
    fn append(&mut self, other: Survey) {
        self.links.append(other.links);
        self.sockets.append(other.sockets);
        self.specials.append(other.specials);
        self.shared.append(other.shared);
        self.engine_socket = self.engine_socket.take().or(other.engine_socket);
    }

    /// Returns the warnings about the directory as it is called on the command line.
    pub(crate) fn warnings(&self, called: &Path) -> Vec<Warning> {
        let found = [
            (&self.links, Finding::LinksOut),
            (&self.sockets, Finding::Sockets),
            (&self.specials, Finding::Specials),
            (&self.shared, Finding::OthersFiles),
        ];
        let of_files = found.into_iter().filter_map(|(found, finding)| found.warning(called, finding));
        of_files.chain(self.cut_short.then(|| Warning::NotLookedThrough(called.to_owned()))).collect()
    }
}

/// One worker of a survey.
struct Surveyor<'a> {
    root: &'a Path,
    engine: &'a [Identity],
    owner: u32,
    survey: Survey,
}

impl Visitor for Surveyor<'_> {
    fn visit(&mut self, entry: &Entry<'_>) {
        let survey = &mut self.survey;
        let shown = || entry.path().to_string_lossy().into_owned();
        match entry.kind() {
            FileType::Symlink => {
                let Ok(target) = rustix::fs::readlinkat(entry.here, entry.name, Vec::new()) else { return };
                let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                if leads_out(self.root, &entry.path(), target) {
                    survey.links.add(format!("{} -> {}", shown(), target.display()));
                }
            }
            FileType::Socket if self.engine.contains(&identity(entry.stat)) => {
                survey.engine_socket = Some(entry.path());
            }
            FileType::Socket => survey.sockets.add(shown()),
            FileType::RegularFile if entry.stat.st_nlink > 1 && entry.stat.st_uid != self.owner => {
                survey.shared.add(shown());
            }
            FileType::RegularFile | FileType::Directory => {}
            _ => survey.specials.add(shown()),
        }
    }

    fn hidden(&mut self, _: &Entry<'_>) {}
}

/// Tells by its words alone whether a link at `at` below `root` leads out of it, or may. Behind a
/// name, which may be a link itself, `..` can be anywhere.
pub(super) fn leads_out(root: &Path, at: &Path, target: &Path) -> bool {
    if target.is_absolute() {
        return !target.starts_with(root);
    }
    let mut depth = at.components().count() as i64 - 1;
    let mut down = false;
    for part in target.components() {
        match part {
            Component::ParentDir if down => return true,
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => down = true,
            _ => {}
        }
        if depth < 0 {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        std::fs::File::open(path).unwrap().into()
    }

    #[test]
    fn links_out_and_doors_are_found_and_the_rest_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/file"), "x").unwrap();
        for (at, target) in [
            ("a/in", "file"),
            ("a/b/up", "../../a"),
            ("whole", root.to_str().unwrap()),
            ("a/etc", "/etc"),
            ("a/b/out", "../../../x"),
        ] {
            symlink(target, root.join(at)).unwrap();
        }
        let _listener = UnixListener::bind(root.join("a/sock")).unwrap();
        let _engine = UnixListener::bind(root.join("innocent")).unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let survey = Survey::of(open(root), root, &[]).unwrap();
        assert_eq!(
            (survey.links.count, survey.sockets.count, survey.specials.count),
            (2, 2, 1),
            "{survey:?}"
        );
        let lines: Vec<String> = survey.warnings(Path::new("p")).iter().map(Warning::to_string).collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(
            lines[0].starts_with("p: 2 links lead out of it") && lines[0].contains("a/etc -> /etc"),
            "{lines:?}"
        );
        let meta = root.join("innocent").symlink_metadata().unwrap();
        let survey =
            Survey::of(open(root), root, &[Identity { device: meta.dev(), inode: meta.ino() }]).unwrap();
        assert_eq!(survey.engine_socket.as_deref(), Some(Path::new("innocent")));
    }

    #[test]
    fn a_name_cannot_write_to_the_terminal() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/etc", dir.path().join("a\u{1b}[2J")).unwrap();
        let survey = Survey::of(open(dir.path()), dir.path(), &[]).unwrap();
        let lines: Vec<String> = survey.warnings(Path::new("p")).iter().map(Warning::to_string).collect();
        assert!(lines[0].contains("\\u{1b}[2J") && !lines[0].contains('\u{1b}'), "{lines:?}");
    }
}
