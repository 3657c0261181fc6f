//! Covers of a member that runs: what comes off is told, as in a run.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::members::ServedMember;
use super::state::Serving;
use crate::supervisor::live;
use crate::term::Warning;
use crate::wire::event::Observation;
use crate::workspace::masks::Covered;

/// A watch over covered files, until it is dropped.
pub(crate) struct CoverWatch {
    /// The files.
    pub(crate) covered: Arc<Covered>,
    task: JoinHandle<()>,
}

impl Drop for CoverWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Serving {
    /// Watches over the covered files of a member.
    pub(crate) fn watch_covers(&self, member: &ServedMember, covered: Arc<Covered>) -> CoverWatch {
        let (engine, helpers) = (self.facts.engine.clone(), member.fence.shared.helpers.clone());
        let (name, watched) = (member.name.borrow().clone(), Arc::clone(&covered));
        let task = tokio::task::spawn_local(async move {
            loop {
                let said = format!("{name}: {}", watched.until_off().await);
                crate::term::warn(Warning::Uncovered(said.clone()));
                // A guard that is gone writes nothing any more; the person was told.
                let _ = live::note(&engine, &helpers, vec![(Observation::Uncovered, said)]).await;
            }
        });
        CoverWatch { covered, task }
    }
}
