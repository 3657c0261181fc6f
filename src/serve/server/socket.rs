//! The socket that clients connect to: the person's alone.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as HandedListener, UnixStream as Probe};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use tokio::net::{UnixListener, UnixStream};

use crate::host::owners::Owners;
use crate::term::{COULD_NOT_RUN, Failure};

/// Name of the folder and of the socket, where nobody names another.
const FOLDER: &str = "ringfence";
const NAME: &str = "docker.sock";

/// Connections that wait to be taken.
const BACKLOG: i32 = 128;

/// Place of the socket, with the listener there where a service manager made one.
#[derive(Debug)]
pub(crate) struct ServeSocket {
    /// Path, without links.
    pub(crate) path: PathBuf,
    handed: Option<HandedListener>,
}

impl ServeSocket {
    /// Finds the place: as asked for, that of the socket that was handed over, or the usual one.
    ///
    /// # Errors
    /// When there is no place for it, the folder is somebody else's, or a socket that was handed
    /// over is not the person's alone.
    pub(crate) fn find(asked: Option<&Path>, handed: Option<HandedListener>) -> Result<Self, Failure> {
        let Some(handed) = handed else { return Ok(ServeSocket { path: path(asked)?, handed: None }) };
        let path = path_of_handed(&handed)?;
        check_handed(&handed, &path)?;
        match asked {
            Some(asked) if self::path(Some(asked))? != path => {
                let what = format!(
                    "--socket {}: the service manager hands over {}",
                    asked.display(),
                    path.display()
                );
                Err(Failure::new(COULD_NOT_RUN, what)
                    .hint("leave --socket out, and name the place in the unit: ListenStream=PATH"))
            }
            _ => Ok(ServeSocket { path, handed: Some(handed) }),
        }
    }

    /// Listens there.
    ///
    /// # Errors
    /// When somebody else does, or something else is there.
    pub(crate) fn listen(&self) -> Result<UnixListener, Failure> {
        let Some(handed) = &self.handed else { return listen(&self.path) };
        let own = handed.try_clone().and_then(|own| own.set_nonblocking(true).map(|()| own));
        own.and_then(UnixListener::from_std).map_err(|error| cannot(&self.path, &error))
    }

    /// Leaves the place. A service manager's socket stays: who connects to it begins the next
    /// `serve`.
    pub(crate) fn leave(self) {
        if self.handed.is_none() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Returns the path of a socket that was handed over, without links.
fn path_of_handed(handed: &HandedListener) -> Result<PathBuf, Failure> {
    let address = handed.local_addr().map_err(|error| unfit(&format!("cannot be looked at: {error}")))?;
    match address.as_pathname() {
        Some(place) if place.is_absolute() => path(Some(place)),
        _ => Err(unfit("has no absolute path")),
    }
}

/// Refuses a socket that somebody else can connect to, or that is no listener.
fn check_handed(handed: &HandedListener, path: &Path) -> Result<(), Failure> {
    // A connection of one client (`Accept=yes`) cannot listen.
    rustix::net::listen(handed, BACKLOG)
        .map_err(|error| unfit(&format!("does not listen ({error}); set Accept=no")))?;
    let found = fs::symlink_metadata(path).map_err(|error| cannot(path, &error))?;
    let own = rustix::process::getuid().as_raw();
    let mode = found.mode() & 0o7777;
    if !found.file_type().is_socket() || found.uid() != own {
        return Err(unfit(&format!("is not yours at {}", path.display())));
    }
    if mode & 0o177 != 0 {
        return Err(unfit(&format!("has mode {mode:04o}; others can connect to it; set SocketMode=0600")));
    }
    Ok(())
}

fn unfit(why: &str) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("the socket that the service manager hands over {why}"))
        .hint("use the units of docs/serve/systemd.md, or start `ringfence serve` without a socket unit")
}

/// Returns the path of the socket, without links.
fn path(asked: Option<&Path>) -> Result<PathBuf, Failure> {
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
fn listen(path: &Path) -> Result<UnixListener, Failure> {
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
    fn a_socket_that_is_handed_over_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap().join("own");
        fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
        let at = folder.join("docker.sock");
        let listener = HandedListener::bind(&at).unwrap();
        let mode = |mode| fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
        let find = |asked: Option<&Path>| ServeSocket::find(asked, Some(listener.try_clone().unwrap()));
        for (bits, good) in [(0o600, true), (0o700, false), (0o660, false), (0o602, false), (0o777, false)] {
            mode(bits);
            assert_eq!(find(None).is_ok(), good, "{bits:o}");
        }
        mode(0o600);
        assert_eq!(find(None).unwrap().path, at, "the path is the identity");
        assert!(find(Some(&at)).is_ok());
        let other = find(Some(&folder.join("other.sock"))).unwrap_err();
        assert!(other.to_string().contains("hands over"), "{other}");
        find(None).unwrap().leave();
        assert!(at.exists(), "it is the service manager's");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(find(None).is_err(), "somebody else can replace it");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        fs::remove_file(&at).unwrap();
        assert!(find(None).is_err(), "nobody finds it");
        fs::write(&at, "").unwrap();
        mode(0o600);
        assert!(find(None).is_err(), "a file has its place");
    }

    #[test]
    fn what_is_no_listener_at_a_path_is_refused() {
        let (one, _other) = Probe::pair().unwrap();
        let connected = HandedListener::from(std::os::fd::OwnedFd::from(one));
        assert!(ServeSocket::find(None, Some(connected)).is_err(), "a connection without a name");
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let at = folder.join("docker.sock");
        let listener = HandedListener::bind(&at).unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(0o600)).unwrap();
        let _client = Probe::connect(&at).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let accepted = HandedListener::from(std::os::fd::OwnedFd::from(accepted));
        let refused = ServeSocket::find(None, Some(accepted)).unwrap_err();
        assert!(refused.to_string().contains("Accept=no"), "{refused}");
    }

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
