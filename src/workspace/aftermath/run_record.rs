//! Record of a run for `ringfence review`, in `$XDG_STATE_HOME/ringfence/reviews`: `ID.json`, and
//! the files of each directory, `ID.N.files`.
//!
//! Written before the agent starts, out of its reach; what came of the run is added when it is
//! settled. The journal is gone by then.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::gitdir::Facts;
use super::listing::Listing;
use super::record::{Bytes, Root, Tree};
use super::report::SettleReport;
use crate::host::clock::unix_seconds;
use crate::host::identity::Identity;
use crate::host::state;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;
use crate::workspace::masks::Plan;

/// Records are kept for this time.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The name that the person gave.
    pub(crate) name: Option<String>,
    /// Time just before the agent's start, in seconds of Unix time.
    pub(crate) began: u64,
    /// Time of settling.
    pub(crate) ended: Option<u64>,
    /// Directories that the agent could write.
    pub(crate) roots: Vec<RunRoot>,
    /// Files that were put back, put aside or removed, in words.
    pub(crate) put_back: Vec<String>,
    /// Changes below `.git`, in words.
    pub(crate) changes: Vec<String>,
    /// Files that run code later, in words.
    pub(crate) runs_code: Vec<String>,
}

/// A directory that the agent could write.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunRoot {
    /// Path of the directory.
    pub(crate) path: Bytes,
    /// Device and inode.
    pub(crate) identity: Option<Identity>,
    /// The directory's repositories before the run.
    pub(crate) git: Vec<Facts>,
    /// Working trees that lie elsewhere: the directory is a repository's own folder, of which no
    /// files are listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) trees: Vec<Tree>,
    /// The files that the agent found in the place of covered ones.
    #[serde(default)]
    pub(crate) stand_ins: Vec<StandIn>,
}

/// A file that the agent found in the place of a covered one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StandIn {
    /// The file's path below the directory, or below the first of its working trees that lie
    /// elsewhere.
    pub(crate) path: Bytes,
    /// Tells whether it was empty: so are other files.
    pub(crate) empty: bool,
    /// The name that git gives to its content, by SHA-1 and by SHA-256.
    pub(crate) names: [String; 2],
}

impl StandIn {
    /// Makes a stand-in of a path and the text there.
    pub(crate) fn of((path, text): (PathBuf, Vec<u8>)) -> StandIn {
        let names = [40, 64].map(|digits| blob_name(&text, digits));
        StandIn { path: path.as_path().into(), empty: text.is_empty(), names }
    }
}

/// Returns the name of a content, with so many digits.
fn blob_name(text: &[u8], digits: usize) -> String {
    use sha1::Digest as _;
    let head = format!("blob {}\0", text.len());
    match digits {
        64 => hex::encode(sha2::Sha256::new().chain_update(&head).chain_update(text).finalize()),
        _ => hex::encode(sha1::Sha1::new().chain_update(&head).chain_update(text).finalize()),
    }
}

/// Writes down what there is before the agent starts, and the files of each root.
pub(super) fn begin(
    id: WorkflowId,
    name: Option<&str>,
    masks: &[Plan],
    roots: &[Root],
    listings: &[Vec<u8>],
) -> Result<(), Failure> {
    let folder = state::folder("reviews")?;
    forget_old(&folder);
    let cannot = |path: &Path, error: &io::Error| {
        Failure::new(COULD_NOT_RUN, format!("cannot write {}", path.display())).caused_by(error)
    };
    for (number, listing) in listings.iter().enumerate() {
        let path = files_of(&folder, id, number);
        write(&folder, &path, listing).map_err(|error| cannot(&path, &error))?;
    }
    let stand_ins = |root: &Root| {
        // The covers of a working tree are also those of its repository that lies elsewhere.
        let is_its = |plan: &&Plan| {
            plan.project == root.path.path()
                || root.trees.first().is_some_and(|tree| tree.path.path() == plan.project)
        };
        let plan = masks.first().filter(is_its);
        plan.into_iter().flat_map(Plan::stand_ins).map(StandIn::of).collect()
    };
    let roots = roots.iter().map(|root| RunRoot {
        path: root.path.clone(),
        identity: root.identity(),
        git: root.git.clone(),
        trees: root.trees.clone(),
        stand_ins: stand_ins(root),
    });
    let run = Run {
        name: name.map(str::to_owned),
        began: unix_seconds(),
        ended: None,
        roots: roots.collect(),
        put_back: Vec::new(),
        changes: Vec::new(),
        runs_code: Vec::new(),
    };
    let path = folder.join(format!("{id}.json"));
    let text = serde_json::to_vec(&run).map_err(io::Error::from).map_err(|error| cannot(&path, &error))?;
    write(&folder, &path, &text).map_err(|error| cannot(&path, &error))
}

/// Adds what came of the run. A later settling adds to it.
pub(super) fn ended(id: WorkflowId, told: &SettleReport) -> io::Result<()> {
    let folder = state::folder("reviews").map_err(|failure| io::Error::other(failure.message))?;
    let path = folder.join(format!("{id}.json"));
    let mut run: Run = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)?,
        // One of an earlier version.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    run.ended = Some(unix_seconds());
    run.put_back.extend(told.put_back());
    run.changes.extend(told.all_changes().cloned());
    run.runs_code.extend(told.risks.events());
    write(&folder, &path, &serde_json::to_vec(&run)?)
}

/// Reads the record of one run, if there is one.
pub(crate) fn one(id: WorkflowId) -> io::Result<Option<Run>> {
    let folder = state::folder("reviews").map_err(|failure| io::Error::other(failure.message))?;
    match fs::read(folder.join(format!("{id}.json"))) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads all records, the latest last.
pub(crate) fn all() -> Result<Vec<(WorkflowId, Run)>, Failure> {
    let folder = state::folder("reviews")?;
    let files = fs::read_dir(&folder).map_err(|error| {
        Failure::new(COULD_NOT_RUN, format!("cannot read {}", folder.display())).caused_by(&error)
    })?;
    let mut runs: Vec<(WorkflowId, Run)> = files
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let id = path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok()?;
            Some((id, serde_json::from_slice(&fs::read(&path).ok()?).ok()?))
        })
        .collect();
    runs.sort_by_key(|(_, run)| run.began);
    Ok(runs)
}

/// Reads the list of a directory's files before the run.
pub(crate) fn files(id: WorkflowId, number: usize) -> Result<Listing, Failure> {
    let path = files_of(&state::folder("reviews")?, id, number);
    let cannot = || Failure::new(COULD_NOT_RUN, format!("cannot read {}", path.display()));
    let bytes = fs::read(&path).map_err(|error| cannot().caused_by(&error))?;
    Listing::read(&bytes).ok_or_else(cannot)
}

fn files_of(folder: &Path, id: WorkflowId, number: usize) -> PathBuf {
    folder.join(format!("{id}.{number}.files"))
}

fn write(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Removes records that nobody will ask for any more.
fn forget_old(folder: &Path) {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in files {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > KEPT) {
            // Another run may be faster.
            let _ = fs::remove_file(entry.path());
        }
    }
}
