//! The helper of a forward in the agent's network namespace, as the supervisor holds it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures_util::StreamExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::io::StreamReader;

use crate::supervisor::engine::{self, Engine};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::carrier::{self, CarrierError, Conversation, Opener};
use crate::wire::forward::{ASK_PORTS, AgentPort, Answer, BEAT, CONTROL, LONGEST_LINE, read_ports};

/// The user that the helper runs as: in no passwd file, no other helper's, and owner of nothing.
const USER: &str = "65531:65531";
/// A helper is ready, and answers, within this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes that are read of the engine's stream at once.
const READ: usize = 64 << 10;
/// Lines that a helper says on stderr, and characters of each, that are kept.
const WORDS: usize = 8;
const WORD_LENGTH: usize = 400;
/// A helper whose supervisor has let go is gone within this time.
const GOING: Duration = Duration::from_secs(3);

/// Lines that the helper wrote on stderr, the last few.
#[derive(Debug, Clone, Default)]
struct Said(Arc<Mutex<VecDeque<String>>>);

impl Said {
    fn add(&self, bytes: &[u8]) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in String::from_utf8_lossy(bytes).lines().filter(|line| !line.is_empty()) {
            lines.push_back(line.chars().take(WORD_LENGTH).collect());
        }
        while lines.len() > WORDS {
            lines.pop_front();
        }
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// A helper that has no capability any more and dials the agent's ports.
#[derive(Debug)]
pub(super) struct Helper {
    /// Opens a conversation for each connection.
    pub(super) opener: Opener,
    /// The conversation about the forward itself.
    pub(super) control: Control,
    /// The carrier; it ends with this value.
    pub(super) line: Line,
}

/// The stream to a helper.
#[derive(Debug)]
pub(super) struct Line {
    /// The engine's id of the helper's exec.
    pub(super) exec: String,
    driving: JoinSet<Result<(), CarrierError>>,
    said: Said,
}

impl Helper {
    /// Starts a helper in the fence's container, and waits until it is ready.
    ///
    /// # Errors
    /// When the engine does not start it, or it does not answer.
    pub(super) async fn start(engine: &Engine, fence: &str) -> Result<Helper, Failure> {
        let (opener, mut line) = Line::open(engine, fence).await?;
        match timeout(PATIENCE, Control::begin(&opener)).await {
            Ok(Ok(control)) => Ok(Helper { opener, control, line }),
            Ok(Err(_)) => Err(line.until_lost().await),
            Err(_) => Err(Failure::new(
                COULD_NOT_RUN,
                format!("the forward's helper in the fence is not ready within {} s", PATIENCE.as_secs()),
            )),
        }
    }
}

impl Line {
    /// Starts the program, with a carrier over its stdin and stdout.
    async fn open(engine: &Engine, fence: &str) -> Result<(Opener, Line), Failure> {
        let cannot = |error| engine::refused("cannot start a forward's helper in the fence", &error);
        let words = ["/usr/bin/ringfence", "fence", "forward"];
        let options = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            user: Some(USER.to_owned()),
            cmd: Some(words.map(str::to_owned).to_vec()),
            ..CreateExecOptions::<String>::default()
        };
        let exec = engine.api.create_exec(fence, options).await.map_err(cannot)?.id;
        let attached = StartExecOptions { output_capacity: Some(READ), ..StartExecOptions::default() };
        let StartExecResults::Attached { output, input } =
            engine.api.start_exec(&exec, Some(attached)).await.map_err(cannot)?
        else {
            return Err(Failure::new(COULD_NOT_RUN, "the engine did not attach to an exec"));
        };
        let said = Said::default();
        let words = said.clone();
        let bytes = output.filter_map(move |chunk| {
            std::future::ready(match chunk {
                Ok(LogOutput::StdOut { message }) => Some(Ok(message)),
                Ok(LogOutput::StdErr { message }) => {
                    words.add(&message);
                    None
                }
                Ok(LogOutput::Console { .. } | LogOutput::StdIn { .. }) => {
                    Some(Err(io::Error::other("the engine's stream has no frames")))
                }
                Err(error) => Some(Err(io::Error::other(error))),
            })
        });
        let (opener, driver) = carrier::opening(tokio::io::join(StreamReader::new(Box::pin(bytes)), input));
        let mut driving = JoinSet::new();
        driving.spawn(driver);
        Ok((opener, Line { exec, driving, said }))
    }

    /// Waits until the helper is lost; in words.
    pub(super) async fn until_lost(&mut self) -> Failure {
        let ended = self.driving.join_next().await;
        let mut failure = Failure::new(COULD_NOT_RUN, "the forward's helper in the fence has ended");
        if let Some(Ok(Err(error))) = ended {
            failure = failure.caused_by(&error);
        }
        failure.causes.extend(self.said.all());
        failure.hint("does the workflow still run? `ringfence ps` says; a run that another version of ringfence started has no such helper")
    }
}

/// Waits until a helper that was let go is gone.
pub(super) async fn until_gone(engine: &Engine, exec: &str) {
    let gone = async {
        while engine.api.inspect_exec(exec).await.is_ok_and(|found| found.running == Some(true)) {
            sleep(Duration::from_millis(25)).await;
        }
    };
    // One that stays ends by itself: nothing comes from here any more.
    let _ = timeout(GOING, gone).await;
}

/// The conversation with a helper about the forward itself.
#[derive(Debug)]
pub(super) struct Control(BufReader<Conversation>);

impl Control {
    async fn begin(opener: &Opener) -> io::Result<Control> {
        let mut conversation = opener.open().await?;
        conversation.write_u16(CONTROL).await?;
        conversation.flush().await?;
        match Answer::read(conversation.read_u8().await?) {
            Some(Answer::Connected) => Ok(Control(BufReader::with_capacity(LONGEST_LINE, conversation))),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Says that this supervisor lives on.
    pub(super) async fn beat(&mut self) -> io::Result<()> {
        self.0.write_all(&[BEAT]).await?;
        self.0.flush().await
    }

    /// Asks for the ports that the agent listens on.
    pub(super) async fn ports(&mut self) -> io::Result<Vec<AgentPort>> {
        self.0.write_all(&[ASK_PORTS]).await?;
        self.0.flush().await?;
        let mut line = Vec::new();
        let longest = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX);
        let mut bounded = (&mut self.0).take(longest);
        timeout(PATIENCE, bounded.read_until(b'\n', &mut line)).await??;
        let line = std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix('\n'));
        line.and_then(read_ports).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}
