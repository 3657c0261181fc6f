//! An engine on a machine that ssh reaches: `docker system dial-stdio` there joins ssh's pipes with the engine's socket.
//!
//! ```text
//!  API ─▶ pipes of `ssh` ─▶ the person's own configuration, agent, known hosts ─▶ docker system dial-stdio ─▶ its engine
//! ```
//! The system's ssh, since it knows the person's keys and hosts. Each stream is one ssh; idle ones are used again.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::dial::{Dial, Dialling, Stream};

/// What is started on the other machine. Podman's client has the same command.
const REMOTE: &str =
    "command -v docker >/dev/null && exec docker system dial-stdio || exec podman system dial-stdio";
/// As much of ssh's complaints is kept.
const COMPLAINTS: usize = 4096;

/// Opens streams by ssh.
#[derive(Clone)]
pub struct Ssh {
    /// The user there.
    pub user: Option<String>,
    /// The machine.
    pub host: String,
    /// Its port.
    pub port: Option<u16>,
}

impl Ssh {
    fn command(&self) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-T", "-o", "ConnectTimeout=30"]);
        if let Some(user) = &self.user {
            command.args(["-l", user]);
        }
        if let Some(port) = self.port {
            command.args(["-p", &port.to_string()]);
        }
        // What comes after `--` is never taken for an option.
        command.args(["--", &self.host, REMOTE]);
        command
    }
}

impl Dial for Ssh {
    fn dial(&self) -> Dialling {
        let started = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        Box::pin(async move {
            let mut child = started
                .map_err(|error| io::Error::new(error.kind(), format!("cannot start `ssh`: {error}")))?;
            let (Some(input), Some(output), Some(complaints)) =
                (child.stdin.take(), child.stdout.take(), child.stderr.take())
            else {
                return Err(io::Error::other("ssh has no pipes"));
            };
            let pipes = Pipes {
                input: Some(input),
                output,
                complaints,
                said: Vec::new(),
                answered: false,
                _child: child,
            };
            Ok(Box::new(pipes) as Box<dyn Stream>)
        })
    }
}

/// ssh's pipes as one stream. Where it ends before the engine said anything, ssh's own words are the error.
struct Pipes {
    input: Option<ChildStdin>,
    output: ChildStdout,
    complaints: ChildStderr,
    said: Vec<u8>,
    answered: bool,
    _child: Child,
}

impl Pipes {
    /// Reads what ssh says; ready at its end.
    fn poll_complaints(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut bytes = [0; 512];
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = Pin::new(&mut self.complaints).poll_read(context, &mut buffer);
            match ready!(read) {
                Ok(()) if !buffer.filled().is_empty() => {
                    let room = COMPLAINTS.saturating_sub(self.said.len());
                    self.said.extend(buffer.filled().iter().take(room));
                }
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl AsyncRead for Pipes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A full pipe of complaints would stop ssh.
        let silent = self.poll_complaints(context);
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.output).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.answered = true;
            return Poll::Ready(Ok(()));
        }
        if self.answered {
            return Poll::Ready(Ok(()));
        }
        ready!(silent);
        let said = String::from_utf8_lossy(&self.said);
        let said = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
        let said = if said.is_empty() { "it ended without a word".to_owned() } else { said };
        Poll::Ready(Err(io::Error::other(format!("ssh: {said}"))))
    }
}

impl AsyncWrite for Pipes {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.input {
            Some(input) => match ready!(Pin::new(input).poll_write(context, bytes)) {
                // Why it ended is known to the reading side.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe && !self.answered => {
                    Poll::Ready(Ok(bytes.len()))
                }
                written => Poll::Ready(written),
            },
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The end of the pipe is the end of what the engine is told: it must be closed for real.
        self.input = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_never_an_option() {
        let ssh = Ssh { user: Some("me".into()), host: "lab".into(), port: Some(2222) };
        let command = ssh.command();
        let words: Vec<_> =
            command.as_std().get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        assert_eq!(
            words,
            ["-T", "-o", "ConnectTimeout=30", "-l", "me", "-p", "2222", "--", "lab", REMOTE]
                .map(str::to_owned)
        );
    }
}
