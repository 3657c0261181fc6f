//! Volumes that the engine is being let fill, in a file of this `serve`: a `serve` that is killed
//! does not end the filling.
//!
//! ```text
//!  names on disk ─▶ the engine is asked ─▶ it answers ─▶ names taken out
//!                         └ serve is killed ─▶ the next one: left, given to nobody until that volume is gone
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::term::{COULD_NOT_RUN, Failure};

/// Name of the file.
const NAME: &str = "filling.json";

/// The file, and its content.
pub(crate) struct FillRecord {
    path: PathBuf,
    /// Held by each writing of the file, so that the last one is the newest.
    names: Arc<Mutex<BTreeSet<String>>>,
}

impl FillRecord {
    /// Reads the file of an earlier `serve`, where there is one.
    ///
    /// # Errors
    /// When it is there and cannot be read: nobody knows then what is being filled.
    pub(crate) fn read(folder: &Path) -> Result<FillRecord, Failure> {
        let path = folder.join(NAME);
        let unusable = |error: &dyn std::error::Error| {
            Failure::new(COULD_NOT_RUN, format!("cannot use {}", path.display())).caused_by(error).hint(
                "it says which volumes the engine may still be filling: restart the engine, then remove the file",
            )
        };
        let names = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| unusable(&error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(unusable(&error)),
        };
        Ok(FillRecord { path, names: Arc::new(Mutex::new(names)) })
    }

    /// Lists the names in it.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.names.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Writes names down. They are on disk when this returns.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) async fn add(&self, names: &BTreeSet<String>) -> Result<(), Failure> {
        let names = names.clone();
        self.change(move |all| all.extend(names)).await
    }

    /// Takes names out.
    ///
    /// # Errors
    /// When that cannot be written. They are still there then, for the next `serve` too.
    pub(crate) async fn take_out(&self, names: &BTreeSet<String>) -> Result<(), Failure> {
        let names = names.clone();
        self.change(move |all| all.retain(|name| !names.contains(name))).await
    }

    async fn change(
        &self,
        change: impl FnOnce(&mut BTreeSet<String>) + Send + 'static,
    ) -> Result<(), Failure> {
        let (path, names) = (self.path.clone(), Arc::clone(&self.names));
        let writing = tokio::task::spawn_blocking(move || {
            let mut names = names.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let mut changed = names.clone();
            change(&mut changed);
            if changed != *names {
                write(&path, &changed)?;
                *names = changed;
            }
            Ok(())
        });
        let written: io::Result<()> = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        written.map_err(|error| {
            Failure::new(COULD_NOT_RUN, format!("cannot write {}", self.path.display())).caused_by(&error)
        })
    }
}

/// Writes the file, whole or not at all, and onto the disk.
fn write(path: &Path, names: &BTreeSet<String>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&serde_json::to_vec(names)?)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn what_is_being_filled_is_on_disk_before_and_not_after() {
        let folder = tempfile::tempdir().unwrap();
        let again = || FillRecord::read(folder.path()).unwrap().names();
        let record = FillRecord::read(folder.path()).unwrap();
        assert!(record.names().is_empty());
        record.add(&names(&["a", "b"])).await.unwrap();
        assert_eq!(again(), names(&["a", "b"]), "another `serve` finds them");
        // The answer of one creation takes nothing of another one's out.
        let (more, less) = (names(&["c"]), names(&["a"]));
        tokio::try_join!(record.add(&more), record.take_out(&less)).unwrap();
        assert_eq!(again(), names(&["b", "c"]));
        record.take_out(&names(&["b", "c", "never"])).await.unwrap();
        assert!(again().is_empty());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no other file is left");
    }

    #[tokio::test]
    async fn what_cannot_be_read_or_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs::write(&path, "[\"a\"").unwrap();
        assert!(FillRecord::read(folder.path()).is_err(), "half of it");
        fs::remove_file(&path).unwrap();
        let record = FillRecord::read(folder.path()).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(record.add(&names(&["a"])).await.is_err());
        assert!(record.names().is_empty(), "what is not on disk is not in it");
        fs::remove_dir(&path).unwrap();
        record.add(&names(&["a"])).await.unwrap();
        assert_eq!(FillRecord::read(folder.path()).unwrap().names(), names(&["a"]));
    }
}
