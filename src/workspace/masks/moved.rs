//! What became of covered files: covers are mounts, and go where an agent moves the folders around them.
//!
//! A file that is elsewhere keeps its cover for that run. For the next one it is found by its name and content again; told is told.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::snapshot::Mark;
use super::{Cover, Plan, Why, With, report};
use crate::workspace::held;

/// How often covered files are looked at while an agent works: this, or longer where looking takes long.
const SHORTEST: Duration = Duration::from_millis(400);
/// Looking takes at most this part of the time.
const SHARE: u32 = 20;

/// Where covered files are before an agent can move them.
#[derive(Debug, Default)]
pub struct Covered {
    files: Vec<File>,
    /// Those of which it was told that their cover is off.
    told: Mutex<HashSet<usize>>,
}

#[derive(Debug)]
struct File {
    below: PathBuf,
    path: PathBuf,
    mark: Mark,
}

impl Covered {
    /// Those of plans, as they were when they were looked at, and others by path. What is gone already cannot be moved. git itself
    /// replaces what it keeps for other working trees, while a person works in them.
    pub fn of(plans: &[Plan], others: Vec<(PathBuf, PathBuf)>) -> Covered {
        let counts = |cover: &&Cover| !matches!(cover.with, With::Instead(_)) && cover.why != [Why::Record];
        let own = plans.iter().enumerate().flat_map(|(number, plan)| {
            plan.covers.iter().filter(counts).map(move |cover| {
                let path = plan.project.join(&cover.path);
                (if number == 0 { cover.path.clone() } else { path.clone() }, path, cover.mark)
            })
        });
        let others =
            others.into_iter().filter_map(|(below, path)| look(&path).map(|mark| (below, path, mark)));
        let files = own.chain(others).map(|(below, path, mark)| File { below, path, mark });
        Covered { files: files.collect(), told: Mutex::default() }
    }

    /// Those that are not there any more.
    pub fn moved(&self) -> Vec<PathBuf> {
        let gone = |file: &&File| look(&file.path).map(|now| now.identity) != Some(file.mark.identity);
        self.files.iter().filter(gone).map(|file| file.below.clone()).collect()
    }

    /// Whether all are where they were, and have no further name: before the agent starts nobody but others can have changed that.
    pub fn are_in_place(&self) -> bool {
        self.files.iter().all(|file| look(&file.path).is_some_and(|now| file.mark.still(&now)))
    }

    /// Waits until a cover is off, and says of which files; of each once.
    pub async fn until_off(self: &Arc<Self>) -> String {
        let mut wait = Duration::from_millis(50);
        loop {
            if self.files.is_empty() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(wait).await;
            let (covered, began) = (self.clone(), Instant::now());
            let off = tokio::task::spawn_blocking(move || covered.off()).await;
            if let Ok(Some(line)) = off {
                return line;
            }
            wait = (began.elapsed() * SHARE).max(SHORTEST);
        }
    }

    /// The files whose cover came off since the last call, in a line. A cover is a mount and follows its file; what takes the file's
    /// place, and a further name of it, lie beside the cover.
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
}

/// What a path leads to without links.
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
}
