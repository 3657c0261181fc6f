//! Whether the engine mounted what the supervisor checked.
//!
//! The supervisor names device and inode of everything that the agent is given. An engine that does not see the supervisor's
//! files, or a path that somebody swapped between check and use, shows here, before the agent starts.

use std::os::unix::fs::MetadataExt;

use super::{failed, failure};
use crate::error::Failure;
use crate::handover::Given;

/// Looks at every mount.
pub(super) fn check(given: &[Given]) -> Result<(), Failure> {
    given.iter().try_for_each(|given| {
        let found = std::fs::metadata(&given.at).map_err(failed(format!("cannot look at {}", given.source)))?;
        if (found.dev(), found.ino()) == (given.device, given.inode) {
            return Ok(());
        }
        Err(failure(format!(
            "the engine mounted something else than {}: the path was changed meanwhile, or the engine does not see this machine's files",
            given.source
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_file_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let meta = dir.path().metadata().unwrap();
        let given = |device, inode| Given {
            at: dir.path().to_string_lossy().into_owned(),
            source: "/project".to_owned(),
            device,
            inode,
        };
        assert!(check(&[given(meta.dev(), meta.ino())]).is_ok());
        for (device, inode) in [(meta.dev() + 1, meta.ino()), (meta.dev(), meta.ino() + 1)] {
            let refused = check(&[given(meta.dev(), meta.ino()), given(device, inode)]).unwrap_err();
            assert!(refused.message.contains("something else than /project"), "{}", refused.message);
        }
    }
}
