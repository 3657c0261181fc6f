//! Reading of a layer's file: it counts only if no untrusted user could have written it.
//!
//! The file that was checked is the one that is read: the way to it is walked by descriptors.
//! Folders above it are looked at too, since a user who can write a folder can put another file
//! there.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use netpolicy::load::MAX_FILE;
use netpolicy::policy::Layer;
use rustix::fs::{OFlags, Stat};

use crate::host::open;
use crate::host::owners::Owners;
use crate::host::path_walk::{Doubt, Folder, Rule, follow};
use crate::term::{COULD_NOT_RUN, Failure};

/// Returns the path of a layer's file when there is one. A neighbour with the other extension is an
/// error: it was meant, and would be ignored.
pub(crate) fn present(path: &Path) -> Result<Option<String>, Failure> {
    let missing = |path: &Path| match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(false),
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            Ok(true)
        }
        // What cannot be looked at may be there.
        Err(error) => {
            Err(Failure::new(COULD_NOT_RUN, format!("cannot look for the policy {}", path.display()))
                .caused_by(&error)
                .hint("make its folders readable, or remove it"))
        }
    };
    let other = path.with_extension("yaml");
    if !missing(&other)? {
        return Err(Failure::new(COULD_NOT_RUN, format!("the policy {} would not be read", other.display()))
            .hint(format!("rename it to {}", path.display())));
    }
    if missing(path)? {
        return Ok(None);
    }
    match path.to_str() {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(Failure::new(COULD_NOT_RUN, format!("the path {} is no text", path.display()))),
    }
}

/// Reads a file of any layer as that layer demands. `project` is the folder that the project's
/// files may not leave.
pub(crate) fn read(layer: Layer, path: &str, project: Option<&Path>) -> Result<Vec<u8>, String> {
    let caller = rustix::process::geteuid().as_raw();
    match layer {
        Layer::Organisation => bytes(&Owners::strict(&[0]).open_file(Path::new(path))?),
        Layer::User => bytes(&Owners::strict(&[0, caller]).open_file(Path::new(path))?),
        Layer::Project => bytes(&open_inside(Path::new(path), project)?),
        Layer::Run | Layer::Floor => read_any(path),
    }
}

/// Reads a file that a person named, whichever user owns it.
pub(crate) fn read_any(path: &str) -> Result<Vec<u8>, String> {
    let file = open::open(Path::new(path)).map_err(|refused| match refused.hint() {
        Some(hint) if !refused.is_missing() => format!("{refused}; {hint}"),
        _ => refused.to_string(),
    })?;
    bytes(&file)
}

/// Reads a file. Larger files than the loader takes are not read to their end.
fn bytes(file: &File) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Opens a file of the project's, which stays inside it. Links inside are followed: they lead to
/// what is the project's word as well.
fn open_inside(path: &Path, project: Option<&Path>) -> Result<File, String> {
    let project = project.ok_or("there is no project")?;
    let inside = Inside { root: project.canonicalize().map_err(|error| error.to_string())? };
    let end = follow(path, &inside).map_err(|stopped| stopped.to_string())?;
    let real = end.path();
    if !real.starts_with(&inside.root) {
        return Err(format!("it leads out of the project, to {}", real.display()));
    }
    if end.stat.is_none() {
        return Err(std::io::Error::from(rustix::io::Errno::NOENT).to_string());
    }
    let file = File::from(end.open(OFlags::RDONLY).map_err(|error| error.to_string())?);
    if !file.metadata().map_err(|error| error.to_string())?.is_file() {
        return Err("it is no regular file".to_owned());
    }
    Ok(file)
}

/// Follows every link: where the path ends decides, and the very folder that it ended in is read
/// from.
struct Inside {
    root: PathBuf,
}

impl Rule for Inside {
    fn folder(&self, _: Option<&Folder>, _: &Folder) -> Result<Option<Doubt>, String> {
        Ok(None)
    }

    fn link(&self, _: &Folder, _: &Path, _: &Stat) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn written(dir: &Path, name: &str, mode: u32) -> String {
        let path = dir.join(name);
        fs::write(&path, "version: 1\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_file_that_others_can_write_counts_in_no_strong_layer() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = written(dir.path(), "policy.yml", 0o644);
        assert_eq!(read(Layer::User, &path, None).as_deref(), Ok(&b"version: 1\n"[..]));
        for mode in [0o664, 0o646, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = read(Layer::User, &path, None).unwrap_err();
            assert!(refused.contains("can write it"), "{refused}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let refused = read(Layer::User, &path, None).unwrap_err();
        assert!(refused.contains("can replace it"), "{refused}");
    }

    #[test]
    fn every_link_on_the_way_counts_with_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let folder = |name: &str, mode: u32| {
            let path = root.join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let (first, middle, last) = (folder("first", 0o755), folder("middle", 0o755), folder("last", 0o755));
        written(&last, "policy.yml", 0o644);
        symlink(last.join("policy.yml"), middle.join("link.yml")).unwrap();
        symlink(middle.join("link.yml"), first.join("link.yml")).unwrap();
        let path = first.join("link.yml").to_str().unwrap().to_owned();
        assert!(read(Layer::User, &path, None).is_ok());
        for folder in [&first, &middle, &last] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
            let refused = read(Layer::User, &path, None).unwrap_err();
            assert!(refused.contains("can replace it"), "{}: {refused}", folder.display());
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        // Where anybody may make links: one's own counts, somebody else's does not.
        fs::set_permissions(&middle, fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(read(Layer::User, &path, None).is_ok());
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(middle.join("link.yml"), Some(4711), None).unwrap();
            let refused = read(Layer::User, &path, None).unwrap_err();
            assert!(refused.contains("belongs to user 4711"), "{refused}");
        }
    }

    #[test]
    fn a_project_file_stays_in_the_project() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("project");
        fs::create_dir(&project).unwrap();
        let outside = written(dir.path(), "outside.yml", 0o644);
        let inside = written(&project, ".ringfence.yml", 0o666);
        assert!(read(Layer::Project, &inside, Some(&project)).is_ok());
        let link = project.join("link.yml");
        symlink(&outside, &link).unwrap();
        let refused = read(Layer::Project, link.to_str().unwrap(), Some(&project)).unwrap_err();
        assert!(refused.contains("out of the project"), "{refused}");
        assert!(read(Layer::Project, &outside, Some(&project)).is_err());
    }

    #[test]
    fn the_other_extension_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.yml");
        assert_eq!(present(&path).unwrap(), None);
        written(dir.path(), "policy.yaml", 0o644);
        assert!(present(&path).unwrap_err().message.contains("would not be read"));
    }

    #[test]
    fn a_fifo_does_not_hang_and_a_folder_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(Layer::Run, dir.path().to_str().unwrap(), None).is_err());
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read(Layer::Run, fifo.to_str().unwrap(), None).is_err());
        assert!(read(Layer::User, fifo.to_str().unwrap(), None).is_err());
    }
}
