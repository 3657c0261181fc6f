//! Check that the engine mounted the files that the supervisor checked.
//!
//! The supervisor names device and inode of everything that the agent is given. An engine that does
//! not see the supervisor's files, or a path that somebody swapped between check and use, shows
//! here, before the agent starts.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{failed, failure};
use crate::host::kernel;
use crate::term::Failure;
use crate::wire::handover::{Given, Nonce};

/// Looks at every mount.
pub(super) fn check(given: &[Given]) -> Result<(), Failure> {
    given.iter().try_for_each(|given| {
        if let Some(nonce) = &given.nonce {
            return look_for(nonce, given);
        }
        // Machines made of one image have the same numbers for the same directories.
        if given.kernel.is_some() && given.kernel != kernel::boot_id() {
            return Err(failure(format!(
                "the engine runs on another machine, whose kernel has the same version, and does not see {}: \
                 run ringfence there, or use an engine of this machine",
                given.source
            )));
        }
        let found = std::fs::metadata(&given.at).map_err(failed(format!("cannot look at {}", given.source)))?;
        if (found.dev(), found.ino()) == (given.device, given.inode) {
            return Ok(());
        }
        Err(failure(format!(
            "the engine mounted something else than {}: the path was changed meanwhile, or the engine does not see this machine's files; \
             start the run again, or use an engine of this machine",
            given.source
        )))
    })
}

/// Checks that a nonce is in the mount: it is in the directory that was checked, and nowhere else.
fn look_for(nonce: &Nonce, given: &Given) -> Result<(), Failure> {
    let path = Path::new(&given.at).join(&nonce.name);
    // Whatever is there, no more of it is read than the nonce is long.
    let mut found = Vec::new();
    let most = nonce.content.len() as u64 + 1;
    let read = std::fs::File::open(&path).and_then(|file| file.take(most).read_to_end(&mut found));
    match read {
        Ok(_) if found == nonce.content.as_bytes() => Ok(()),
        _ => Err(failure(format!(
            "the engine, on a kernel of its own, does not show {} as it is here: it does not see this machine's files, or the path was \
             changed meanwhile; share the directory with the engine's virtual machine",
            given.source
        ))),
    }
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
            kernel: kernel::boot_id(),
            nonce: None,
        };
        assert!(check(&[given(meta.dev(), meta.ino())]).is_ok());
        for (device, inode) in [(meta.dev() + 1, meta.ino()), (meta.dev(), meta.ino() + 1)] {
            let refused = check(&[given(meta.dev(), meta.ino()), given(device, inode)]).unwrap_err();
            assert!(refused.message.contains("something else than /project"), "{}", refused.message);
        }
        let elsewhere = Given { kernel: Some("another".to_owned()), ..given(meta.dev(), meta.ino()) };
        let elsewhere = check(&[elsewhere]).unwrap_err();
        assert!(elsewhere.message.contains("another machine"));
        insta::assert_snapshot!("a_project_on_another_machine", elsewhere);
        let swapped = check(&[given(meta.dev(), meta.ino() + 1)]).unwrap_err();
        insta::assert_snapshot!("a_project_that_was_exchanged", swapped);
    }

    #[test]
    fn on_another_kernel_only_the_directory_with_the_nonce_will_do() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".ringfence-1"), "secret").unwrap();
        let given = |name: &str, content: &str| Given {
            at: dir.path().to_string_lossy().into_owned(),
            source: "/project".to_owned(),
            device: 0,
            inode: 0,
            kernel: None,
            nonce: Some(Nonce { name: name.to_owned(), content: content.to_owned() }),
        };
        assert!(check(&[given(".ringfence-1", "secret")]).is_ok());
        for (name, content) in
            [(".ringfence-2", "secret"), (".ringfence-1", "secre"), (".ringfence-1", "other")]
        {
            assert!(check(&[given(name, content)]).is_err(), "{name} {content}");
        }
        let outside = check(&[given(".ringfence-2", "secret")]).unwrap_err();
        insta::assert_snapshot!("a_project_outside_the_shared_folders", outside);
    }
}
