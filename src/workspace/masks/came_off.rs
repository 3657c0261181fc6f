//! Watch over covered files during a run: covers are mounts, and move along when an agent moves the
//! folders around them.
//!
//! A file that is shown as git has it is watched too: what is written into it during the run may be
//! another secret. A file that is elsewhere keeps its cover for that run. For the next one it is
//! found by its name and content again; told is told.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::snapshot::Mark;
use super::tracked::{Print, Shown, secrets};
use super::{Cover, Plan, Why, With, report};
use crate::workspace::aftermath::record::Digest;
use crate::workspace::held;

/// Shortest time between two looks at the covered files while an agent works. It is longer where a
/// look takes long.
const SHORTEST: Duration = Duration::from_millis(400);
/// Looking takes at most this part of the time.
const SHARE: u32 = 20;

/// Places of covered files before an agent can move them.
#[derive(Debug, Default)]
pub(crate) struct Covered {
    files: Vec<File>,
    /// Files that the agent sees as they are, since git has the same content.
    shown: Mutex<Vec<AsCommitted>>,
    /// Covered files of which the person was told that the cover is off.
    told: Mutex<HashSet<usize>>,
}

/// A file that the agent sees as it is.
#[derive(Debug)]
struct AsCommitted {
    below: PathBuf,
    path: PathBuf,
    print: Print,
    /// The secrets that git has too.
    secrets: HashSet<Digest>,
    by_name: bool,
    told: bool,
}

#[derive(Debug)]
struct File {
    below: PathBuf,
    path: PathBuf,
    mark: Mark,
}

impl Covered {
    /// Collects the files of plans, as they were when they were looked at, and others by path. A
    /// file that is gone already cannot be moved. git itself replaces files that it keeps for other
    /// working trees, while a person works in them.
    pub(crate) fn of(plans: &[Plan], others: Vec<(PathBuf, PathBuf)>) -> Covered {
        let counts = |cover: &&Cover| !matches!(cover.with, With::Instead(_)) && cover.why != [Why::Record];
        let own = plans.iter().flat_map(|plan| {
            plan.covers.iter().filter(counts).map(move |cover| {
                let path = plan.project.join(&cover.path);
                (if plan.is_project() { cover.path.clone() } else { path.clone() }, path, cover.mark)
            })
        });
        let others =
            others.into_iter().filter_map(|(below, path)| look(&path).map(|mark| (below, path, mark)));
        let files = own.chain(others).map(|(below, path, mark)| File { below, path, mark });
        let shown = plans.iter().flat_map(|plan| {
            let shown = plan.decided.shown.iter().filter(|shown| !shown.fixed);
            shown.map(|shown| AsCommitted::of(shown, &plan.project))
        });
        Covered { files: files.collect(), shown: Mutex::new(shown.collect()), told: Mutex::default() }
    }

    /// Returns the files that are not there any more.
    pub(crate) fn moved(&self) -> Vec<PathBuf> {
        let gone = |file: &&File| look(&file.path).map(|now| now.identity) != Some(file.mark.identity);
        self.files.iter().filter(gone).map(|file| file.below.clone()).collect()
    }

    /// Tells whether all are where they were, and have no further name, and what is shown holds
    /// what git has: before the agent starts nobody but others can have changed that.
    pub(crate) fn are_in_place(&self) -> bool {
        self.files.iter().all(|file| look(&file.path).is_some_and(|now| file.mark.still(&now)))
            && self.shown().iter().all(AsCommitted::is_unchanged)
    }

    fn shown(&self) -> MutexGuard<'_, Vec<AsCommitted>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a cover is off, and says of which files; of each once.
    pub(crate) async fn until_off(self: &Arc<Self>) -> String {
        let mut wait = Duration::from_millis(50);
        loop {
            if self.files.is_empty() && self.shown().is_empty() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(wait).await;
            let (covered, began) = (self.clone(), Instant::now());
            let off = tokio::task::spawn_blocking(move || covered.off().or_else(|| covered.changed())).await;
            if let Ok(Some(line)) = off {
                return line;
            }
            wait = (began.elapsed() * SHARE).max(SHORTEST);
        }
    }

    /// Reports the files whose cover came off since the last call, in a line. A cover is a mount
    /// and follows its file; a file that takes the first one's place, and a further name of it, lie
    /// beside the cover.
    fn off(&self) -> Option<String> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = Vec::new();
        for (index, file) in self.files.iter().enumerate() {
            if told.contains(&index) {
                continue;
            }
            let Some(now) = look(&file.path) else { continue };
            let what = if now.identity != file.mark.identity {
                "was replaced"
            } else if !now.is_folder() && now.names > file.mark.names {
                "got another name"
            } else {
                continue;
            };
            lines.push((index, format!("{} ({what})", report::shown(&file.below))));
        }
        told.extend(lines.iter().map(|(index, _)| *index));
        let names: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
        (!names.is_empty()).then(|| {
            format!(
                "the agent may read what was covered, since it was changed from outside: {}",
                report::few(names)
            )
        })
    }

    /// Reports the shown files that changed since the last call, in a line; each is told once. The
    /// agent may have made the change itself.
    fn changed(&self) -> Option<String> {
        let mut shown = self.shown();
        let mut names = Vec::new();
        for file in shown.iter_mut().filter(|file| !file.told) {
            if file.has_changed() {
                file.told = true;
                names.push(report::shown(&file.below));
            }
        }
        (!names.is_empty()).then(|| {
            format!(
                "shown to the agent as committed, and changed since: the agent reads what is in it now: {}",
                report::few(names)
            )
        })
    }
}

impl AsCommitted {
    fn of(shown: &Shown, project: &Path) -> AsCommitted {
        AsCommitted {
            below: shown.path.clone(),
            path: project.join(&shown.path),
            print: shown.print.clone(),
            secrets: shown.secrets.clone(),
            by_name: shown.is_by_name(),
            told: false,
        }
    }

    fn is_unchanged(&self) -> bool {
        match self.print.again(&self.path) {
            Ok(None) => true,
            Ok(Some((now, _))) => now.digest == self.print.digest,
            Err(_) => false,
        }
    }

    /// Tells whether something was written into it that git does not have, and that may be a
    /// secret.
    fn has_changed(&mut self) -> bool {
        // What is gone shows nothing.
        let (now, text) = match self.print.again(&self.path) {
            Ok(Some(again)) => again,
            Ok(None) => return false,
            // It is too large by now, or no file.
            Err(error) => return self.by_name && error.kind() != std::io::ErrorKind::NotFound,
        };
        let another = now.digest != self.print.digest;
        self.print = now;
        another && (self.by_name || !secrets(&text).is_subset(&self.secrets))
    }
}

/// Returns what a path leads to without links.
fn look(path: &Path) -> Option<Mark> {
    let opened = held::open(path).ok()?;
    rustix::fs::fstat(opened).ok().map(|stat| Mark::of(&stat))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::{Wishes, plan};
    use super::*;

    #[test]
    fn what_lies_elsewhere_is_named_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for folder in ["app", "lib", "web"] {
            fs::create_dir(root.join(folder)).unwrap();
            fs::write(root.join(folder).join(".env"), "A=1\n").unwrap();
        }
        let covered = Covered::of(&[plan(&root, &Wishes::default()).unwrap()], Vec::new());
        assert_eq!(covered.moved(), Vec::<PathBuf>::new());
        fs::write(root.join("web/.env"), "A=2\n").unwrap();
        // A link in its place does not hide that it was moved.
        fs::rename(root.join("app"), root.join("other")).unwrap();
        symlink("other", root.join("app")).unwrap();
        fs::rename(root.join("lib"), root.join("old")).unwrap();
        fs::create_dir(root.join("lib")).unwrap();
        fs::write(root.join("lib/.env"), "A=1\n").unwrap();
        assert_eq!(covered.moved(), [Path::new("app/.env"), Path::new("lib/.env")]);
    }

    #[test]
    fn what_changed_since_the_look_is_not_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for folder in ["app", "web"] {
            fs::create_dir(root.join(folder)).unwrap();
            fs::write(root.join(folder).join(".env"), "A=1\n").unwrap();
        }
        let covered = || Covered::of(&[plan(&root, &Wishes::default()).unwrap()], Vec::new());
        let looked = covered();
        // An editor that saves in place, as some do.
        std::thread::sleep(Duration::from_millis(20));
        fs::write(root.join("app/.env"), "A=2\n").unwrap();
        assert!(looked.are_in_place());
        let swap = || {
            let (cwd, flags) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
            rustix::fs::renameat_with(cwd, root.join("app"), cwd, root.join("web"), flags).unwrap();
        };
        swap();
        assert!(!looked.are_in_place());
        swap();
        assert!(looked.are_in_place());
        let (other, looked) = (root.join("notes"), covered());
        fs::hard_link(root.join("app/.env"), &other).unwrap();
        assert!(!looked.are_in_place());
        // As many names as before, another one among them.
        let looked = covered();
        std::thread::sleep(Duration::from_millis(20));
        fs::hard_link(&other, root.join("seen")).unwrap();
        fs::remove_file(&other).unwrap();
        assert!(!looked.are_in_place());
    }

    #[test]
    fn a_cover_that_came_off_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for name in [".env", ".netrc", "id_rsa", ".pgpass"] {
            fs::write(root.join(name), "A=1\n").unwrap();
        }
        let covered = Covered::of(&[plan(&root, &Wishes::default()).unwrap()], Vec::new());
        assert_eq!(covered.off(), None);
        // In place: the cover stays. Away: it goes along.
        fs::write(root.join(".pgpass"), "A=2\n").unwrap();
        fs::rename(root.join("id_rsa"), root.join("moved")).unwrap();
        assert_eq!(covered.off(), None);
        // As editors save.
        fs::write(root.join("new"), "A=2\n").unwrap();
        fs::rename(root.join("new"), root.join(".env")).unwrap();
        fs::hard_link(root.join(".netrc"), root.join("notes")).unwrap();
        let told = covered.off().unwrap();
        assert!(told.ends_with(": .env (was replaced), .netrc (got another name)"), "{told}");
        assert_eq!(covered.off(), None);
    }

    fn shown(root: &Path, name: &str, by_name: bool) -> AsCommitted {
        let path = root.join(name);
        let (text, print) = super::super::tracked::read(&path).unwrap();
        let secrets = secrets(&text);
        AsCommitted { below: name.into(), path, print, secrets, by_name, told: false }
    }

    #[test]
    fn a_shown_file_that_holds_something_else_stops_the_start_and_is_told_in_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let token = |letter: &str| format!("glpat-{}", letter.repeat(2) + "dJq4TzX0kV2bLw7NmR");
        for name in [".env", "a.py", "b.py", "c.py"] {
            fs::write(root.join(name), format!("KEY = '{}'\n", token("9"))).unwrap();
        }
        let all = || {
            let of = |name| shown(&root, name, name == ".env");
            let shown = Mutex::new([".env", "a.py", "b.py", "c.py"].map(of).into());
            Covered { files: Vec::new(), shown, told: Mutex::default() }
        };
        let covered = all();
        assert!(covered.are_in_place());
        assert_eq!(covered.changed(), None);
        // The same bytes anew are the same file to a reader.
        fs::write(root.join("new"), fs::read(root.join(".env")).unwrap()).unwrap();
        fs::rename(root.join("new"), root.join(".env")).unwrap();
        assert!(covered.are_in_place());
        assert_eq!(covered.changed(), None);
        // Another secret in a file that is known by its content, and none in another.
        fs::write(root.join("a.py"), format!("KEY = '{}'\n", token("8"))).unwrap();
        fs::write(root.join("b.py"), format!("# a word more\nKEY = '{}'\n", token("9"))).unwrap();
        assert!(!covered.are_in_place());
        let told = covered.changed().unwrap();
        assert!(told.ends_with("what is in it now: a.py"), "{told}");
        fs::write(root.join(".env"), "A=2\n").unwrap();
        fs::remove_file(root.join("c.py")).unwrap();
        let told = covered.changed().unwrap();
        assert!(told.ends_with("what is in it now: .env"), "{told}");
        assert_eq!(covered.changed(), None);
        // In place, and of the same size.
        let covered = Covered {
            files: Vec::new(),
            shown: Mutex::new(vec![shown(&root, "a.py", false)]),
            told: Mutex::default(),
        };
        fs::write(root.join("a.py"), format!("KEY = '{}'\n", token("7"))).unwrap();
        assert!(!covered.are_in_place());
    }
}
