//! The person's ssh agent: a socket of the person's own, at which nobody else listens.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::keys::Keys;
use super::message::{read, write};

/// Request for the list of keys.
pub(super) const REQUEST_IDENTITIES: u8 = 11;
/// The agent answers within this time: it may ask the person first.
const PATIENCE: Duration = Duration::from_secs(120);
/// It lists its keys within this time: for that it asks nobody.
const LISTING: Duration = Duration::from_secs(10);

/// The socket of the person's agent.
#[derive(Debug, Clone)]
pub(super) struct PersonsAgent(PathBuf);

impl PersonsAgent {
    /// Takes a socket that belongs to the person.
    pub(super) fn at(path: &Path) -> Option<PersonsAgent> {
        let about = std::fs::metadata(path).ok()?;
        let is_own = about.file_type().is_socket() && about.uid() == own();
        (path.is_absolute() && is_own).then(|| PersonsAgent(path.to_owned()))
    }

    /// Lists its keys.
    ///
    /// # Errors
    /// When it does not answer as an ssh agent.
    pub(super) async fn keys(&self) -> io::Result<Keys> {
        let listed = async {
            let mut connection = self.connect().await?;
            let answer = connection.exchange(&[REQUEST_IDENTITIES]).await?;
            Keys::read(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
        };
        timeout(LISTING, listed).await?
    }

    /// Connects to it.
    ///
    /// # Errors
    /// When nothing listens there, or somebody else does by now.
    pub(super) async fn connect(&self) -> io::Result<Connection> {
        let stream = UnixStream::connect(&self.0).await?;
        match stream.peer_cred()?.uid() == own() {
            true => Ok(Connection(stream)),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A connection to the person's agent.
#[derive(Debug)]
pub(super) struct Connection(UnixStream);

impl Connection {
    /// Asks one thing, and waits for the answer, for so long.
    pub(super) async fn ask(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        timeout(PATIENCE, self.exchange(request)).await?
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        write(&mut self.0, request).await?;
        read(&mut self.0).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn only_a_socket_that_answers_is_an_agent() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(PersonsAgent::at(&file).is_none());
        assert!(PersonsAgent::at(&folder.path().join("absent")).is_none());
        assert!(PersonsAgent::at(Path::new("/dev/null")).is_none());
        let socket = folder.path().join("agent.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let agent = PersonsAgent::at(&socket).unwrap();
        let answering = std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 5]).unwrap();
            stream.write_all(b"\0\0\0\x05\x0c\0\0\0\0").unwrap();
            // The next one is closed without an answer.
            drop(listener.accept());
        });
        assert!(agent.keys().await.unwrap().is_empty());
        assert!(agent.keys().await.is_err());
        answering.join().unwrap();
    }
}
