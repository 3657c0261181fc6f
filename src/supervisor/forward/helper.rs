//! The helper of a forward in the agent's network namespace, as the supervisor holds it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::supervisor::engine::Engine;
use crate::supervisor::exec_stream::{self, Program};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::carrier::{self, CarrierError, Conversation, Opener};
use crate::wire::forward::{ASK_PORTS, AgentPort, Answer, BEAT, CONTROL, LONGEST_LINE, read_ports};

/// The user that the helper runs as: in no passwd file, no other helper's, and owner of nothing.
const USER: &str = "65531:65531";
/// A helper is ready, and answers, within this time.
const PATIENCE: Duration = Duration::from_secs(20);
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
    /// The helper.
    pub(super) program: Program,
    driving: JoinSet<Result<(), CarrierError>>,
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
        let words = ["fence", "forward"];
        let what = "a forward's helper in the fence";
        let (program, stream) = exec_stream::open(engine, fence, words, Some(USER), what).await?;
        let (opener, driver) = carrier::opening(stream);
        let mut driving = JoinSet::new();
        driving.spawn(driver);
        Ok((opener, Line { program, driving }))
    }

    /// Waits until the helper is lost; in words.
    pub(super) async fn until_lost(&mut self) -> Failure {
        let ended = self.driving.join_next().await;
        let mut failure = Failure::new(COULD_NOT_RUN, "the forward's helper in the fence has ended");
        if let Some(Ok(Err(error))) = ended {
            failure = failure.caused_by(&error);
        }
        failure.causes.extend(self.program.said.all());
        failure.hint("does the workflow still run? `ringfence ps` says; a run that another version of ringfence started has no such helper")
    }
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
