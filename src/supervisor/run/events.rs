//! The guard's lines: to files, to the summary, and its word that it is ready to who waits for it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use bollard::container::LogOutput;
use bollard::errors::Error as ApiError;
use futures_util::{Stream, StreamExt};
use tokio::sync::oneshot;

use super::super::state;
use super::super::summary::{Seen, Summary};
use crate::error::{COULD_NOT_RUN, Failure};
use crate::host::open;
use crate::wire::WorkflowId;

/// Where the guard's lines go.
pub(super) struct EventFiles {
    files: Vec<EventFile>,
}

struct EventFile {
    path: PathBuf,
    file: File,
    /// Nothing more is written; the file stays open for its lock.
    broken: bool,
}

impl EventFiles {
    pub(super) fn open(id: WorkflowId, also: Option<&Path>) -> Result<Self, Failure> {
        let mut files = Vec::new();
        for path in std::iter::once(state::events_file(id)?).chain(also.map(PathBuf::from)) {
            let cannot = || Failure::new(COULD_NOT_RUN, format!("cannot write events to {}", path.display()));
            let created = open::create(&path, 0o666).map_err(|refused| refused.explain(cannot()))?;
            if let (Some(why), Some(own)) = (&created.doubt, files.first()) {
                let own: &EventFile = own;
                eprintln!(
                    "ringfence: {} can be exchanged or changed ({why}): what is there is no evidence; the same events are kept in {}",
                    path.display(),
                    own.path.display()
                );
            }
            files.push(EventFile { path, file: created.file, broken: false });
        }
        // See `state::are_events_held`. Where files cannot be locked, nobody can be told.
        if let Some(own) = files.first() {
            let _ = own.file.try_lock();
        }
        Ok(EventFiles { files })
    }

    /// Writes each line to the files and counts it; says when the guard is ready.
    pub(super) async fn collect(
        mut self,
        mut output: Pin<Box<dyn Stream<Item = Result<LogOutput, ApiError>> + Send>>,
        ready: oneshot::Sender<()>,
    ) -> Summary {
        let mut ready = Some(ready);
        let mut summary = Summary::default();
        let mut pending = Vec::new();
        while let Some(Ok(chunk)) = output.next().await {
            let LogOutput::StdOut { message } = chunk else { continue };
            pending.extend_from_slice(&message);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                self.write(&line);
                let Ok(event) = serde_json::from_slice::<Seen>(&line) else { continue };
                let is_ready = event.kind == "lifecycle" && event.reason.as_deref() == Some("ready");
                if let Some(ready) = ready.take_if(|_| is_ready) {
                    // The run may have been given up meanwhile.
                    let _ = ready.send(());
                }
                summary.add(&event);
            }
        }
        summary
    }

    /// A full disk must not end the reading: the guard would block. It is told once a file.
    fn write(&mut self, line: &[u8]) {
        for to in self.files.iter_mut().filter(|to| !to.broken) {
            if let Err(error) = to.file.write_all(line) {
                to.broken = true;
                crate::term::talk(format_args!(
                    "events are no longer written to {}: {error}",
                    to.path.display()
                ));
            }
        }
    }
}
