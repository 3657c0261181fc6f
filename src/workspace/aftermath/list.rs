//! The whole of what a run left, in a file of ringfence's own: where the events cannot hold it, or
//! nobody writes events any more.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::report::SettleReport;
use crate::host::state;
use crate::wire::WorkflowId;

/// Lists are kept no longer.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);
const FOLDER: &str = "told";

/// Writes the list of workflow `id`, one JSON object a line.
pub(crate) fn write(told: &SettleReport, id: WorkflowId) -> io::Result<PathBuf> {
    let folder = state::folder(FOLDER).map_err(|failure| io::Error::other(failure.message))?;
    for old in fs::read_dir(&folder)?.flatten() {
        let age = old.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > KEPT) {
            // Another run may be faster.
            let _ = fs::remove_file(old.path());
        }
    }
    let path = folder.join(format!("{id}.jsonl"));
    let mut file = tempfile::NamedTempFile::new_in(&folder)?;
    let mut out = io::BufWriter::new(file.as_file_mut());
    for line in told.list() {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    drop(out);
    file.persist(&path).map_err(|error| error.error)?;
    Ok(path)
}
