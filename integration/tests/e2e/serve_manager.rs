//! `ringfence serve` below a service manager: a socket that is handed over, and what the manager is
//! told. The test is the manager.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use integration::testbed::Testbed;

use crate::Test;
use crate::leftovers::only_the_uplink;
use crate::serve::{SOON, Served};

pub(crate) const TESTS: &[Test] = &[(
    "a socket that is handed over outlives a killed serve, and the manager is told when it is served",
    handed_over,
)];

/// Hands over standard input, as managers do: descriptor 3, and whose it is.
const HAND_OVER: [&str; 3] =
    ["-c", "LISTEN_PID=$$ LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS; exec \"$@\" 3<&0 </dev/null", "sh"];

/// A manager of services: a socket, and a place to be told at.
struct Manager {
    socket: PathBuf,
    listener: UnixListener,
    told: UnixDatagram,
    at: PathBuf,
}

impl Manager {
    fn new(folder: &Path) -> Result<Manager> {
        let (socket, at) = (folder.join("handed.sock"), folder.join("told.sock"));
        let listener = UnixListener::bind(&socket)?;
        let told = UnixDatagram::bind(&at)?;
        told.set_read_timeout(Some(SOON))?;
        Ok(Manager { socket, listener, told, at })
    }

    fn start(&self, bed: &Testbed) -> Result<Served> {
        let mut command = bed.ringfence.behind("sh", HAND_OVER);
        command.env("NOTIFY_SOCKET", &self.at).stdin(OwnedFd::from(self.listener.try_clone()?));
        Served::spawn(bed, command, self.socket.clone(), &[], &[])
    }

    /// Returns everything that it is told, up to a word.
    fn hears(&self, word: &str) -> Result<String> {
        let mut heard = String::new();
        let mut bytes = [0; 4096];
        while !heard.contains(word) {
            let length = self.told.recv(&mut bytes).with_context(|| format!("{word} after {heard:?}"))?;
            heard.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        Ok(heard)
    }

    /// Connects and asks, without waiting for the answer.
    fn ask(&self, path: &str) -> Result<UnixStream> {
        let mut client = UnixStream::connect(&self.socket)?;
        client.set_read_timeout(Some(SOON))?;
        write!(client, "GET {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")?;
        Ok(client)
    }
}

fn answer(mut client: UnixStream) -> Result<String> {
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    Ok(answer)
}

fn handed_over(bed: &Testbed) -> Result<()> {
    let manager = Manager::new(bed.directory.path())?;
    let mode = |mode| fs::set_permissions(&manager.socket, fs::Permissions::from_mode(mode));
    mode(0o666)?;
    let mut wide = manager.start(bed)?;
    let status = wide.ended()?;
    let said = wide.said();
    ensure!(status == Some(125) && said.contains("mode 0666") && said.contains("SocketMode"), "{said}");
    mode(0o600)?;
    let before = manager.ask("/_ping")?;
    let mut served = manager.start(bed)?;
    let heard = manager.hears("READY=1").with_context(|| served.said())?;
    ensure!(heard.starts_with("STATUS=looking") && heard.contains("STATUS=serving at unix://"), "{heard}");
    ensure!(answer(before)?.ends_with("OK"), "who came before it was ready is served");
    let image = bed.images.tiny.as_str();
    served.docker(&["run", "--detach", "--name", "stays", image, "sleep", "600"])?;
    served.kill()?;
    let between = manager.ask("/containers/json")?;
    let runs = ["ps", "--filter", "label=dev.ringfence.role=member", "--format", "{{.State}}"];
    ensure!(bed.engine.docker(&runs)?.trim() == "running", "it goes on");
    let served = manager.start(bed)?;
    let heard = manager.hears("READY=1").with_context(|| served.said())?;
    ensure!(heard.starts_with("STATUS=looking"), "not before everything is found: {heard}");
    let found = answer(between)?;
    ensure!(found.contains("/stays"), "who came between two is served, and all is found: {found}");
    ensure!(served.docker(&["exec", "stays", "echo", "inside"])? == "inside\n", "exec");
    served.docker(&["rm", "--force", "stays"])?;
    served.end()?;
    ensure!(manager.hears("STOPPING=1").is_ok(), "the end is told");
    ensure!(UnixStream::connect(&manager.socket).is_ok(), "the socket is the manager's, and stays");
    only_the_uplink(bed)
}
