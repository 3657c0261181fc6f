//! Reading a layer's file: who could have written it decides whether it counts.
//!
//! The file that was checked is the one that is read: everything is asked of the open file. Folders above it are
//! looked at too, since whoever can write a folder can put another file there.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use netpolicy::load::MAX_FILE;
use netpolicy::policy::Layer;

use crate::error::{COULD_NOT_RUN, Failure};
use crate::workspace::own::way;

/// The path of a layer's file when there is one. A neighbour with the other extension is an error: it was
/// meant, and would be ignored.
pub fn present(path: &Path) -> Result<Option<String>, Failure> {
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

/// Reads a file of any layer as that layer demands. `project` is the folder that the project's files may not leave.
pub fn read(layer: Layer, path: &str, project: Option<&Path>) -> Result<Vec<u8>, String> {
    let file = open(path)?;
    match layer {
        Layer::Organisation => check_owners(&file, Path::new(path), &[0])?,
        Layer::User => check_owners(&file, Path::new(path), &[0, rustix::process::geteuid().as_raw()])?,
        Layer::Project => check_inside(&file, Path::new(path), project)?,
        Layer::Run | Layer::Floor => {}
    }
    bytes(&file)
}

/// Reads a file that a person named, whoever owns it.
pub fn read_any(path: &str) -> Result<Vec<u8>, String> {
    bytes(&open(path)?)
}

fn open(path: &str) -> Result<File, String> {
    // Not to wait for a FIFO's other end.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| error.to_string())
}

/// Larger files than the loader takes are not read to their end.
fn bytes(file: &File) -> Result<Vec<u8>, String> {
    let meta = file.metadata().map_err(|error| error.to_string())?;
    if meta.is_dir() {
        return Err("it is a directory".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// The file, every link on the way to it, and every folder above one of these belong to one of `owners`, and nobody else may write them.
pub fn check_owners(file: &File, path: &Path, owners: &[u32]) -> Result<(), String> {
    let meta = file.metadata().map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("it is no regular file".to_owned());
    }
    check_owner(&meta, path, owners)?;
    let real = path.canonicalize().map_err(|error| error.to_string())?;
    same_file(&meta, &real)?;
    let owners: Vec<u32> = owners.iter().copied().chain([0]).collect();
    for place in way(path).into_iter().chain([real]) {
        // In a folder like /tmp others cannot replace what is not theirs; a link of theirs they can.
        let link = place.symlink_metadata().map_err(|error| format!("{}: {error}", place.display()))?;
        if !owners.contains(&link.uid()) {
            return Err(format!("others can replace it: {} belongs to user {}", place.display(), link.uid()));
        }
        for folder in place.ancestors().skip(1) {
            let meta = folder.metadata().map_err(|error| format!("{}: {error}", folder.display()))?;
            let sticky = meta.mode() & 0o1000 != 0;
            if !owners.contains(&meta.uid()) || (meta.mode() & 0o022 != 0 && !sticky) {
                return Err(format!(
                    "others than its owner can replace it: see the owner and mode of {}",
                    folder.display()
                ));
            }
        }
    }
    Ok(())
}

fn check_owner(meta: &Metadata, path: &Path, owners: &[u32]) -> Result<(), String> {
    if !owners.contains(&meta.uid()) {
        let whose = if owners == [0] { "root" } else { "you or root" };
        return Err(format!("it must belong to {whose}, and belongs to user {}", meta.uid()));
    }
    if meta.mode() & 0o022 != 0 {
        let mode = meta.mode() & 0o777;
        return Err(format!(
            "others than its owner can write it (mode {mode:03o}): chmod go-w {}",
            path.display()
        ));
    }
    Ok(())
}

/// The project's files stay inside it, links followed.
fn check_inside(file: &File, path: &Path, project: Option<&Path>) -> Result<(), String> {
    let meta = file.metadata().map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let root = project.ok_or("there is no project")?.canonicalize().map_err(|error| error.to_string())?;
    let real: PathBuf = path.canonicalize().map_err(|error| error.to_string())?;
    if !real.starts_with(&root) {
        return Err(format!("it leads out of the project, to {}", real.display()));
    }
    same_file(&meta, &real)
}

fn same_file(open: &Metadata, path: &Path) -> Result<(), String> {
    let meta = path.metadata().map_err(|error| error.to_string())?;
    if (meta.dev(), meta.ino()) == (open.dev(), open.ino()) {
        return Ok(());
    }
    Err("it was replaced while it was being read".to_owned())
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
        assert_eq!(read(Layer::Run, fifo.to_str().unwrap(), None).as_deref(), Ok(&b""[..]));
        assert!(read(Layer::User, fifo.to_str().unwrap(), None).is_err());
    }
}
