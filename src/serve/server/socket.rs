//! The socket that clients connect to: the person's alone.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use tokio::net::{UnixListener, UnixStream};

use crate::host::owners::Owners;
use crate::term::{COULD_NOT_RUN, Failure};

/// Name of the folder and of the socket, where nobody names another.
const FOLDER: &str = "ringfence";
const NAME: &str = "docker.sock";

/// Returns the path of the socket, without links.
///
/// # Errors
/// When there is no place for it, or the folder is somebody else's.
pub(crate) fn path(asked: Option<&Path>) -> Result<PathBuf, Failure> {
    let path = match asked {
        Some(path) => std::path::absolute(path).map_err(|error| cannot(path, &error))?,
        None => usual()?,
    };
    let (folder, name) = path
        .parent()
        .zip(path.file_name())
        .ok_or_else(|| Failure::new(COULD_NOT_RUN, format!("{} is no place for a socket", path.display())))?;
    let folder = folder.canonicalize().map_err(|error| cannot(folder, &error))?;
    check_folder(&folder)?;
    Ok(folder.join(name))
}

/// Makes the usual folder.
fn usual() -> Result<PathBuf, Failure> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let runtime = runtime.ok_or_else(|| {
        Failure::new(COULD_NOT_RUN, "XDG_RUNTIME_DIR is not set, so there is no usual place for the socket")
            .hint("name one: ringfence serve --socket PATH, in a folder that is yours alone")
    })?;
    let folder = runtime.join(FOLDER);
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(cannot(&folder, &error)),
        _ => Ok(folder.join(NAME)),
    }
}

/// Refuses a folder in which somebody else can put a socket, and one that somebody else can put
/// another one in the place of.
fn check_folder(folder: &Path) -> Result<(), Failure> {
    let found = fs::symlink_metadata(folder).map_err(|error| cannot(folder, &error))?;
    let own = rustix::process::getuid().as_raw();
    if let Err(why) = Owners::strict(&[own]).follow(folder) {
        let mut failure =
            Failure::new(COULD_NOT_RUN, format!("somebody else can replace {}", folder.display()));
        failure.causes.push(why);
        return Err(failure.hint(
            "name a socket whose folders are yours or root's, and written by nobody else: --socket PATH",
        ));
    }
    if found.is_dir() && found.uid() == own && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let what = format!("{} is not a folder that you alone can write", folder.display());
    Err(Failure::new(COULD_NOT_RUN, what)
        .hint("make one with mkdir -m 700, and name a socket in it: --socket PATH"))
}

/// Listens at a path. A socket that nobody answers at is replaced.
///
/// # Errors
/// When somebody answers, or something else is there.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, Failure> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            let what = format!("{} is there and is no socket", path.display());
            return Err(Failure::new(COULD_NOT_RUN, what).hint("name another path: --socket PATH"));
        }
        Ok(_) => match Probe::connect(path) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(|error| cannot(path, &error))?;
            }
            _ => {
                let what = format!("somebody serves {} already", path.display());
                return Err(Failure::new(COULD_NOT_RUN, what)
                    .hint("end that one, or name another path: --socket PATH"));
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(cannot(path, &error)),
    }
    // Nobody else can connect, from the first moment.
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    let listener = listener.map_err(|error| cannot(path, &error))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|error| cannot(path, &error))?;
    Ok(listener)
}

/// Tells whether a client is the person, or root.
pub(crate) fn is_permitted(client: &UnixStream) -> io::Result<bool> {
    let peer = client.peer_cred()?.uid();
    Ok(peer == rustix::process::getuid().as_raw() || peer == 0)
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot serve at {}", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_somebody_else_can_replace_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let above = dir.path().canonicalize().unwrap().join("shared");
        let own = above.join("me");
        fs::create_dir_all(&own).unwrap();
        fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
        let asked = own.join("docker.sock");
        let mode = |mode| fs::set_permissions(&above, fs::Permissions::from_mode(mode)).unwrap();
        for (bits, good) in [(0o755, true), (0o1777, true), (0o777, false), (0o775, false)] {
            mode(bits);
            assert_eq!(path(Some(&asked)).is_ok(), good, "{bits:o}");
        }
        mode(0o755);
        fs::set_permissions(&own, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(path(Some(&asked)).is_err(), "the folder itself");
    }
}
