//! Leftovers of `stop` and `gc` while no `serve` was there: files of fences, and memberships of
//! members. Volumes stay: a client that removes a container keeps them, too.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::state::Serving;
use crate::supervisor::inventory;
use crate::term::Failure;
use crate::wire::WorkflowId;

impl Serving {
    /// Removes what is left. Nothing is made meanwhile.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn sweep(&self) -> Result<(), Failure> {
        let mut there: BTreeSet<WorkflowId> =
            inventory::workflows(&self.facts.engine).await?.iter().map(|found| found.id).collect();
        there.extend(self.all_fences.borrow().iter().map(|fence| fence.id()));
        for folder in abandoned(&self.facts.folder, &there) {
            if let Err(error) = fs::remove_dir_all(self.facts.folder.join(folder.to_string())) {
                crate::term::talk(format_args!("the folder of {folder} is left: {error}"));
            }
        }
        let is_gone = |id: &str| !self.members.borrow().contains_key(id);
        let forgotten = self.networks.borrow_mut().forget(is_gone);
        if forgotten && let Err(denied) = self.write_networks().await {
            crate::term::talk(crate::term::line(&denied.message));
        }
        Ok(())
    }
}

/// Lists the folders of fences of which nothing is there.
fn abandoned(folder: &Path, there: &BTreeSet<WorkflowId>) -> Vec<WorkflowId> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let ids = folders.filter_map(|entry| entry.file_name().to_str()?.parse::<WorkflowId>().ok());
    ids.filter(|id| !there.contains(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_fences_that_are_gone_are_found_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["0000002a", "0000002b", "init"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("0000002c"), "").unwrap();
        let [gone, there] = ["0000002a", "0000002b"].map(|id| id.parse::<WorkflowId>().unwrap());
        assert_eq!(abandoned(dir.path(), &BTreeSet::from([there])), [gone]);
    }
}
