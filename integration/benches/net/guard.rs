//! The guard as an engine runs it, without the engine: this process is its fence.
//!
//! ```text
//!  guard.json ──▶ a directory, mounted as /run/ringfence for the guard alone ◀── guard.sock: line + sockets, ready, beats
//! ```

use std::fs;
use std::io::{IoSlice, Read};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use integration::command::until;
use netpolicy::policy::Policy;
use netpolicy::ruleset::MOST_PER_SECOND;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use serde_json::json;
use tempfile::TempDir;

use crate::process::Cores;

/// A running guard; it ends with this.
pub(crate) struct Guard {
    child: Child,
    /// The address at which its DNS filter answers.
    pub(crate) dns: SocketAddr,
    /// The address of its gate.
    pub(crate) gate: SocketAddr,
    _fence: UnixStream,
    _directory: TempDir,
}

impl Guard {
    /// Starts `executable` under this policy on these cores, with sockets at ports that are free.
    ///
    /// # Errors
    /// When it does not become ready.
    pub(crate) fn start(executable: &Path, policy: &Policy, cores: Cores) -> Result<Guard> {
        Guard::at_ports(executable, policy, cores, [0, 0])
    }

    /// Starts one whose gate and DNS filter have these ports.
    ///
    /// # Errors
    /// When it does not become ready.
    pub(crate) fn at_ports(
        executable: &Path,
        policy: &Policy,
        cores: Cores,
        ports: [u16; 2],
    ) -> Result<Guard> {
        let directory = tempfile::tempdir()?;
        let config = json!({
            "workflow": "0000002a", "policy": policy, "surroundings": netpolicy::floor::Surroundings::default(),
            "deadline_unix_ms": null, "start": {}, "connections": {"at_once": 10_000, "per_second": MOST_PER_SECOND},
        });
        fs::write(directory.path().join("guard.json"), config.to_string())?;
        let script = "mount -t tmpfs none /run && mkdir /run/ringfence && mount --bind \"$1\" /run/ringfence \
             && exec taskset -c \"$3\" \"$2\" guard run";
        let mut child = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .args([directory.path(), executable])
            .arg(cores.list())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let socket = directory.path().join("guard.sock");
        let connected = until("the guard listens", Duration::from_secs(10), || socket.exists())
            .and_then(|()| hand_over(&socket, ports));
        match connected {
            Ok((fence, dns, gate)) => Ok(Guard { child, dns, gate, _fence: fence, _directory: directory }),
            Err(error) => {
                child.kill().ok();
                child.wait().ok();
                Err(error)
            }
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Hands sockets over as a fence does, and waits for the guard's word.
fn hand_over(path: &Path, [gate_port, dns_port]: [u16; 2]) -> Result<(UnixStream, SocketAddr, SocketAddr)> {
    let at = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let (gate, tcp) = (TcpListener::bind(at(gate_port))?, TcpListener::bind(at(dns_port))?);
    let udp = UdpSocket::bind(at(dns_port))?;
    // As the fence has it: a burst waits, and is not dropped.
    nix::sys::socket::listen(&gate, nix::sys::socket::Backlog::new(4096)?)?;
    nix::sys::socket::setsockopt(&udp, nix::sys::socket::sockopt::RcvBuf, &(1 << 20))?;
    gate.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    udp.set_nonblocking(true)?;
    let line = json!({"v": 1, "own": Ipv4Addr::LOCALHOST, "sockets": ["gate", "dns-tcp", "dns-udp"]});
    let line = format!("{line}\n");
    let mut stream = UnixStream::connect(path)?;
    let sockets = [gate.as_raw_fd(), tcp.as_raw_fd(), udp.as_raw_fd()];
    sendmsg::<UnixAddr>(
        stream.as_raw_fd(),
        &[IoSlice::new(line.as_bytes())],
        &[ControlMessage::ScmRights(&sockets)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut word = [0; 6];
    stream.read_exact(&mut word).context("the guard did not take the sockets")?;
    if &word != b"ready\n" {
        bail!("the guard said {:?} instead of ready", String::from_utf8_lossy(&word));
    }
    // Beats that nobody reads fill the buffer, and the guard leaves it at that.
    Ok((stream, udp.local_addr()?, gate.local_addr()?))
}
