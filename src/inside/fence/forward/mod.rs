//! The helper of a forward: it dials the agent's ports for the person who asked, and nothing else.
//!
//! ```text
//!  supervisor ═ engine's exec ═ stdin, stdout ═ carrier ─┬─ control: beats, questions for ports
//!                                                        └─ a conversation ─▶ 127.0.0.1:PORT, then [::1]:PORT
//! ```
//! It is an exec in the fence's container, as a user of its own that owns nothing there. It drops
//! every capability before it reads its first byte. It opens no conversation, listens on nothing,
//! and dials loopback alone. It ends with its stdin, or when its supervisor is silent.

mod connection;
mod ports;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::{capabilities, failed};
use crate::inside::exec_stream;
use crate::term::Failure;
use crate::wire::carrier::{self, Accepted, Conversation};
use crate::wire::forward::{ASK_PORTS, Answer, BEAT, CONTROL, SILENCE, line_of_ports};

/// Runs `ringfence fence forward`.
pub(crate) fn forward() -> Result<(), Failure> {
    go_first();
    capabilities::drop_all()?;
    exec_stream::block_on(carry()).map_err(failed("cannot start the runtime"))?
}

/// Lets the kernel end this process before the one that holds the fence, where memory is short.
fn go_first() {
    // Without it the order is the kernel's own.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

/// Serves conversations until there is nobody to serve.
async fn carry() -> Result<(), Failure> {
    let output = exec_stream::output().map_err(failed("cannot write to the supervisor"))?;
    let stream = tokio::io::join(exec_stream::input(), output);
    let (accepted, driver) = carrier::accepting(stream);
    tokio::select! {
        ended = driver => ended.map_err(failed("the stream to the supervisor")),
        () = serve(accepted) => Ok(()),
    }
}

/// Serves until the first conversation, which is about the forward itself, has ended.
async fn serve(mut accepted: Accepted) {
    let Some(control) = accepted.next().await else { return };
    let serving = async {
        while let Some(conversation) = accepted.next().await {
            tokio::spawn(connection::carry(conversation));
        }
    };
    tokio::select! {
        _ = hold(control) => {}
        () = serving => {}
    }
}

/// Answers the supervisor until it goes or falls silent.
async fn hold(mut control: Conversation) -> std::io::Result<()> {
    if control.read_u16().await? != CONTROL {
        return Ok(());
    }
    control.write_u8(Answer::Connected.byte()).await?;
    control.flush().await?;
    while let Ok(word) = timeout(SILENCE, control.read_u8()).await {
        match word? {
            BEAT => {}
            ASK_PORTS => {
                control.write_all(line_of_ports(ports::listening()).as_bytes()).await?;
                control.flush().await?;
            }
            _ => return Ok(()),
        }
    }
    Ok(())
}
