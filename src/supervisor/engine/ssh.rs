//! An engine on a machine that ssh reaches: `docker system dial-stdio` there joins ssh's pipes with
//! the engine's socket.
//!
//! ```text
//!  API ─▶ pipes of `ssh` ─▶ the person's own configuration, agent, known hosts ─▶ docker system dial-stdio ─▶ its engine
//! ```
//! The system's ssh, since it knows the person's keys and hosts. Each stream is one ssh; idle ones
//! are used again.
//!
//! Streams are opened while the terminal is the agent's: what a person types into a question of
//! ssh's would go to the agent too. So they ask nothing, and are in a process group of their own,
//! where Ctrl-C does not end them before what was made is removed. Only when ssh does not get in
//! like that, one contact in the foreground may ask, before anything is made: for a new host's key,
//! or for the pass phrase of a key that the person's agent keeps from then on.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::dial::{Dial, Dialling, Stream};
use crate::host::programs;

/// Command that is started on the other machine. Podman's client has the same command.
const REMOTE: &str =
    "command -v docker >/dev/null && exec docker system dial-stdio || exec podman system dial-stdio";
/// As much of ssh's complaints is kept.
const COMPLAINTS: usize = 4096;

/// Set for every stream, over the person's own configuration: that is made for sitting at it, where
/// a lost network shows by itself. Here it must end within a known time, since a run waits for what
/// the engine says next. Five minutes: another network, a VPN's login and a lid that was closed for
/// a moment are outlived, as TCP does.
const OPTIONS: [&str; 6] =
    ["-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=20"];
/// Answers of ssh when it would have to ask.
const WOULD_ASK: [&str; 2] = ["Permission denied", "Host key verification failed"];
/// Reason for which one answer of a person is not enough.
pub(super) const ONCE: &str = "ssh got in after asking and does not get in without, which each further connection must: \
                        keep the key in ssh-agent (AddKeysToAgent) or the connection open (ControlMaster, ControlPersist)";

/// Opens streams by ssh.
#[derive(Clone)]
pub(crate) struct Ssh {
    /// The user there.
    pub(crate) user: Option<String>,
    /// The machine.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: Option<u16>,
    /// Set when ssh may ask the person: it is in the foreground then.
    pub(crate) may_ask: bool,
}

/// Tells whether ssh failed for want of an answer.
pub(super) fn needs_a_person(why: &str) -> bool {
    WOULD_ASK.iter().any(|words| why.contains(words))
}

impl Ssh {
    /// `ssh`, with what is ours.
    fn command(&self, mut command: Command) -> Command {
        command.arg("-T").args(OPTIONS);
        if !self.may_ask {
            // A jump host's ssh does not inherit the option: it asks a program that knows nothing,
            // never the terminal.
            command
                .args(["-o", "BatchMode=yes"])
                .env("SSH_ASKPASS", "false")
                .env("SSH_ASKPASS_REQUIRE", "force");
            command.process_group(0);
        }
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
        let started = programs::command("ssh").and_then(|ssh| {
            self.command(ssh.into())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
        });
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

/// ssh's pipes as one stream. Where it ends before the engine said anything, ssh's own words are
/// the error.
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

    fn lab(may_ask: bool) -> Ssh {
        Ssh { user: Some("me".into()), host: "lab".into(), port: Some(2222), may_ask }
    }

    fn words(ssh: &Ssh) -> Vec<String> {
        let command = ssh.command(Command::new("ssh"));
        command.as_std().get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_host_is_never_an_option_and_a_lost_network_is_noticed() {
        let words = words(&lab(true));
        assert_eq!(words[7..], ["-l", "me", "-p", "2222", "--", "lab", REMOTE]);
        for option in ["ConnectTimeout=30", "ServerAliveInterval=15", "ServerAliveCountMax=20"] {
            assert!(words.windows(2).any(|pair| pair == ["-o", option]), "{words:?}");
        }
    }

    /// The process group of a program in ssh's place, and who would be asked there.
    #[cfg(target_os = "linux")]
    async fn seen_by_ssh(ssh: &Ssh) -> String {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("ssh");
        let script = "#!/bin/sh\nread -r _ _ _ _ group _ < /proc/$$/stat\necho $group ${SSH_ASKPASS_REQUIRE:-person}\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for _ in 0..50 {
            match ssh.command(Command::new(&program)).output().await {
                // Another test's child may hold the file for writing for a moment.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                output => return String::from_utf8(output.unwrap().stdout).unwrap(),
            }
        }
        panic!("the program stays busy");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_may_not_ask_is_out_of_the_terminals_reach() {
        let own = rustix::process::getpgrp().as_raw_nonzero().to_string();
        assert_eq!(seen_by_ssh(&lab(true)).await, format!("{own} person\n"));
        let quiet = seen_by_ssh(&lab(false)).await;
        assert!(quiet.ends_with(" force\n") && !quiet.starts_with(&format!("{own} ")), "{quiet}");
        assert!(words(&lab(false)).contains(&"BatchMode=yes".to_owned()));
        assert!(!words(&lab(true)).contains(&"BatchMode=yes".to_owned()));
    }

    #[test]
    fn a_question_is_told_from_other_failures() {
        for why in [
            "ssh: me@lab: Permission denied (publickey,password).",
            "ssh: No ED25519 host key is known for lab and you have requested strict checking.; Host key verification failed.",
        ] {
            assert!(needs_a_person(why), "{why}");
        }
        for why in ["ssh: connect to host lab port 22: Connection refused", "no answer within 60 s"] {
            assert!(!needs_a_person(why), "{why}");
        }
    }
}
