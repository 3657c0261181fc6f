//! The helper of an ssh agent: it carries connections from a socket in the agent's container to the
//! supervisor, and knows nothing of what they say.
//!
//! ```text
//!  ssh in the agent's container ─▶ notice volume: ssh/agent.sock ─▶ here ═ carrier ═ stdout, stdin ═ engine's exec ═ supervisor
//! ```
//! It runs as a user of its own that owns that folder and nothing else, and drops every capability
//! before it reads a byte. The agent has the volume read-only: it can connect, and not replace the
//! socket. The helper ends with its stdin, or when its supervisor is silent.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{capabilities, failed};
use crate::inside::exec_stream;
use crate::term::Failure;
use crate::wire::carrier::{self, Opener};
use crate::wire::handover::NOTICE;
use crate::wire::ssh_agent::{CONNECTIONS, FOLDER, SOCKET};
use crate::wire::upkeep::{BEAT, READY, SILENCE};

/// Runs `ringfence fence ssh-agent`.
pub(crate) fn ssh_agent() -> Result<(), Failure> {
    capabilities::drop_all()?;
    exec_stream::block_on(carry()).map_err(failed("cannot start the runtime"))?
}

async fn carry() -> Result<(), Failure> {
    let output = exec_stream::output().map_err(failed("cannot write to the supervisor"))?;
    let (opener, driver) = carrier::opening(tokio::io::join(exec_stream::input(), output));
    let place = place();
    let listener = listen(&place).map_err(failed("cannot listen for the agent's ssh"))?;
    tokio::select! {
        ended = driver => ended.map_err(failed("the stream to the supervisor"))?,
        _ = hold(opener, listener) => {}
    }
    // Nobody is behind it any more.
    let _ = fs::remove_file(place);
    Ok(())
}

fn place() -> PathBuf {
    [NOTICE, FOLDER, SOCKET].iter().collect()
}

/// Opens the socket, for every user of the agent's container.
fn listen(place: &PathBuf) -> io::Result<UnixListener> {
    match fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(place)?;
    fs::set_permissions(place, fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Carries connections while the supervisor says that it lives.
async fn hold(opener: Opener, listener: UnixListener) -> io::Result<()> {
    let mut control = opener.open().await?;
    control.write_u8(READY).await?;
    control.flush().await?;
    let beats = async {
        while timeout(SILENCE, control.read_u8()).await?? == BEAT {}
        io::Result::Ok(())
    };
    tokio::select! {
        ended = beats => ended,
        () = accept(listener, opener) => Ok(()),
    }
}

/// Takes connections, and waits with each until there is room for it.
async fn accept(listener: UnixListener, opener: Opener) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let opener = opener.clone();
        tokio::spawn(async move {
            let _ = one(stream, &opener).await;
            drop(place);
        });
    }
}

async fn one(mut stream: UnixStream, opener: &Opener) -> io::Result<()> {
    let mut conversation = opener.open().await?;
    copy_bidirectional(&mut stream, &mut conversation).await.map(drop)
}
