//! The guard's lines: to files, to the summary, and steps of the run to those who wait for them.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use bollard::container::LogOutput;
use bollard::errors::Error as ApiError;
use futures_util::{Stream, StreamExt};
use tokio::sync::{oneshot, watch};

use crate::host::open;
use crate::supervisor::records::events::Writer;
use crate::supervisor::run::summary::Summary;
use crate::supervisor::streams::ShownRefusal;
use crate::term::{COULD_NOT_RUN, Failure, Warning};
use crate::wire::WorkflowId;
use crate::wire::diagnostics::Diagnostics;
use crate::wire::event::{Event, Lifecycle, Line, Observation};

/// Those who wait for a step of the run.
pub(super) struct Awaited {
    ready: Option<oneshot::Sender<()>>,
    agent_ended: Option<oneshot::Sender<()>>,
}

impl Awaited {
    pub(super) fn new(ready: oneshot::Sender<()>, agent_ended: oneshot::Sender<()>) -> Self {
        Awaited { ready: Some(ready), agent_ended: Some(agent_ended) }
    }

    /// Tells who waits for this step. The run may have been given up meanwhile.
    fn tell(&mut self, step: &Lifecycle) {
        let awaited = match step {
            Lifecycle::Ready => &mut self.ready,
            Lifecycle::AgentEnded(_) => &mut self.agent_ended,
            Lifecycle::Start(_) | Lifecycle::End | Lifecycle::Note(_) => return,
        };
        awaited.take().map(|awaited| awaited.send(()));
    }
}

/// Files to which the guard's lines go.
pub(super) struct EventFiles {
    id: WorkflowId,
    own: Writer,
    /// The file that a person asked for.
    also: Option<(PathBuf, File)>,
    /// Nothing more is written to ringfence's own; it stays open for its lock.
    own_is_broken: bool,
}

impl EventFiles {
    pub(super) fn open(id: WorkflowId, also: Option<&Path>) -> Result<Self, Failure> {
        let own = Writer::begin(id)?;
        let opened = |path: &Path| {
            let cannot = || Failure::new(COULD_NOT_RUN, format!("cannot write events to {}", path.display()));
            let created = open::create(path, 0o666).map_err(|refused| refused.explain(cannot()))?;
            if let Some(why) = &created.doubt {
                let (why, kept) = (why.to_string(), own.path().to_owned());
                crate::term::warn(Warning::EventsExposed { file: path.to_owned(), why, kept });
            }
            Ok::<_, Failure>((path.to_owned(), created.file))
        };
        let also = also.map(opened).transpose()?;
        Ok(EventFiles { id, own, also, own_is_broken: false })
    }

    /// Writes each line to the files, checks and counts it. A step counts only where the line is
    /// one of this run.
    pub(super) async fn collect(
        mut self,
        mut output: Pin<Box<dyn Stream<Item = Result<LogOutput, ApiError>> + Send>>,
        mut awaited: Awaited,
        mut summary: Summary,
        shown: watch::Sender<ShownRefusal>,
    ) -> Summary {
        let (mut pending, mut diagnostics) = (Vec::new(), Diagnostics::default());
        while let Some(Ok(chunk)) = output.next().await {
            let message = match chunk {
                LogOutput::StdOut { message } => message,
                LogOutput::StdErr { message } => {
                    diagnostics.take(&message).iter().for_each(crate::term::talk);
                    continue;
                }
                LogOutput::StdIn { .. } | LogOutput::Console { .. } => continue,
            };
            // What was looked at already has no end of a line.
            let mut looked_at = pending.len();
            pending.extend_from_slice(&message);
            while let Some(end) = pending[looked_at..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=looked_at + end).collect();
                looked_at = 0;
                self.write(&line);
                summary.log.add(&line[..line.len() - 1]);
                let read = Line::read(&line[..line.len() - 1]).filter(|line| line.workflow == self.id);
                let Some(Line { event, time, .. }) = read else { continue };
                if let Event::Lifecycle(step) = &event {
                    awaited.tell(step);
                    if step.is_note(Observation::LogFull) {
                        crate::term::warn(Warning::LogFull);
                    }
                }
                if let Some(refused) = summary.add(time, &event) {
                    shown.send_replace(refused);
                }
            }
        }
        summary
    }

    /// A full disk must not end the reading: the guard would wait. It is told once a file.
    fn write(&mut self, line: &[u8]) {
        let told = |path: &Path, error: &std::io::Error| {
            crate::term::warn(Warning::EventsUnwritable { file: path.to_owned(), error: error.to_string() });
        };
        if !self.own_is_broken
            && let Err(error) = self.own.write(line)
        {
            self.own_is_broken = true;
            told(&self.own.path(), &error);
        }
        if let Some((path, file)) = &mut self.also
            && let Err(error) = file.write_all(line)
        {
            told(path, &error);
            self.also = None;
        }
    }
}
