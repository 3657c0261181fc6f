//! The files of a run that are laid over the project's, in a private folder of ringfence's state.
//!
//! `workspace/ID/` holds them while workflow ID lives. They hold no secret: only what the agent may read. Who removes the
//! workflow from the engine removes them; what a killed supervisor left goes with the next [`sweep`].

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Cover, Plan, With};
use crate::error::{COULD_NOT_RUN, Failure};
use crate::supervisor::state;
use crate::wire::WorkflowId;

/// Names the engine that the workflow is on.
const ENGINE: &str = "engine";
/// What a folder that is laid over another may hold.
const MOST_FILES: usize = 4096;
const MOST_BYTES: u64 = 64 << 20;
/// A run that is starting has its folder before its containers.
const YOUNG: Duration = Duration::from_secs(120);

/// A file or folder to be mounted read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Where it lies on this machine.
    pub source: PathBuf,
    /// The path below the project that it is laid over.
    pub below: String,
}

/// Writes down what is laid over the project of workflow `id`.
pub fn serve(plan: &Plan, id: WorkflowId, engine: &str) -> Result<Vec<Served>, Failure> {
    if plan.covers.is_empty() {
        return Ok(Vec::new());
    }
    let folder = state::folder("workspace")?.join(id.to_string());
    let written = Writer { plan, folder: folder.clone(), copied: 0, bytes: 0 }.write(engine);
    written.map_err(|error| {
        // What was written is of no use; what cannot be removed now is removed by the next sweep.
        let _ = fs::remove_dir_all(&folder);
        Failure::new(
            COULD_NOT_RUN,
            format!("cannot prepare what the agent may see of {}", plan.project.display()),
        )
        .caused_by(&error)
    })
}

/// Removes the files of workflow `id`, if there are any.
pub fn close(id: WorkflowId) -> Result<(), Failure> {
    remove(&state::folder("workspace")?.join(id.to_string()))
}

/// Removes the files of workflows that are no longer on their engine.
pub fn sweep(engine: &str, living: &[WorkflowId]) -> Result<(), Failure> {
    let folder = state::folder("workspace")?;
    let listed = fs::read_dir(&folder).map_err(|error| cannot("list", &folder, &error))?;
    for entry in listed.flatten() {
        let path = entry.path();
        // What has another name was not put here by a run.
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let of_this_engine = fs::read_to_string(path.join(ENGINE)).is_ok_and(|name| name == engine);
        let age = entry.metadata().and_then(|meta| meta.modified()).ok();
        let old =
            age.and_then(|time| SystemTime::now().duration_since(time).ok()).is_some_and(|age| age > YOUNG);
        if of_this_engine && old && !living.contains(&id) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(cannot("remove", folder, &error)),
        _ => Ok(()),
    }
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot {what} {}", path.display())).caused_by(error)
}

struct Writer<'a> {
    plan: &'a Plan,
    folder: PathBuf,
    copied: usize,
    bytes: u64,
}

impl Writer<'_> {
    fn write(&mut self, engine: &str) -> std::io::Result<Vec<Served>> {
        fs::DirBuilder::new().mode(0o700).create(&self.folder)?;
        put(&self.folder.join(ENGINE), engine.as_bytes(), 0o600)?;
        let nothing = self.folder.join("nothing");
        put(&nothing, b"", 0o444)?;
        let mut served: Vec<Served> = Vec::new();
        for (number, cover) in self.plan.covers.iter().enumerate() {
            // Sorted by path: a folder comes before what is in it, and its copy has that already.
            let inside = |one: &Served| one.source.is_dir() && cover.path.starts_with(&one.below);
            if served.iter().any(inside) {
                continue;
            }
            let source = match &cover.with {
                With::Nothing => nothing.clone(),
                _ => self.folder.join(number.to_string()),
            };
            let original = self.plan.project.join(&cover.path);
            if cover.with == With::Itself && original.symlink_metadata()?.is_dir() {
                self.copy_folder(&cover.path, &source)?;
            } else if cover.with != With::Nothing {
                self.copy_file(cover, &source)?;
            }
            served.push(Served { source, below: cover.path.to_string_lossy().into_owned() });
        }
        Ok(served)
    }

    fn copy_file(&mut self, cover: &Cover, to: &Path) -> std::io::Result<()> {
        let original = self.plan.project.join(&cover.path);
        let mode = (original.symlink_metadata()?.permissions().mode() & 0o555) | 0o444;
        match &cover.with {
            With::Nothing => put(to, b"", mode),
            With::Masked(text) => put(to, text, mode),
            With::Itself => {
                let mut text = Vec::new();
                let left = MOST_BYTES - self.bytes;
                super::walk::open(&original)?.take(left + 1).read_to_end(&mut text)?;
                self.count(text.len() as u64, &cover.path)?;
                put(to, &text, mode)
            }
        }
    }

    fn copy_folder(&mut self, below: &Path, to: &Path) -> std::io::Result<()> {
        make_folder(to)?;
        let mut waiting = vec![(below.to_owned(), to.to_owned())];
        while let Some((from, to)) = waiting.pop() {
            for entry in self.plan.project.join(&from).read_dir()? {
                let entry = entry?;
                let (path, target) = (from.join(entry.file_name()), to.join(entry.file_name()));
                let kind = entry.file_type()?;
                self.count(0, &path)?;
                if kind.is_dir() {
                    make_folder(&target)?;
                    waiting.push((path, target));
                } else if kind.is_symlink() {
                    std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
                } else if kind.is_file() {
                    let covered = self.plan.covers.iter().find(|cover| cover.path == path);
                    let itself = Cover { path, with: With::Itself, why: Vec::new() };
                    self.copy_file(covered.unwrap_or(&itself), &target)?;
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, bytes: u64, path: &Path) -> std::io::Result<()> {
        self.copied += 1;
        self.bytes += bytes;
        if self.copied > MOST_FILES || self.bytes > MOST_BYTES {
            return Err(std::io::Error::other(format!(
                "{}: what the agent must not change is more than {MOST_FILES} files or {} MiB; --unmask what need not be protected",
                path.display(),
                MOST_BYTES >> 20
            )));
        }
        Ok(())
    }
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn put(path: &Path, text: &[u8], mode: u32) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.set_permissions(fs::Permissions::from_mode(mode))
}
