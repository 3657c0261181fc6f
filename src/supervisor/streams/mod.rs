//! The agent's stdin, stdout, stderr and terminal, as `docker run` carries them.
//!
//! ```text
//!  our stdin ─▶ detach keys? ─▶ the agent    the agent ─▶ our stdout, stderr    size of our terminal ─▶ the agent's
//! ```

mod escape_state;
mod keys;
mod title;

use std::io::{ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::query_parameters::{ResizeContainerTTYOptionsBuilder, ResizeExecOptionsBuilder};
use futures_util::StreamExt;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{self, SetArg, Termios};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) use self::keys::DetachKeys;
pub(crate) use self::title::{ShownRefusal, Surfaces, TerminalTitle, TitleEnd};
use crate::supervisor::engine::Engine;

/// Puts the person's terminal into raw mode for the time of a `-t` run, and back at its end.
pub(crate) struct RawTerminal(Option<Termios>);

impl RawTerminal {
    /// Raw mode when stdin is a terminal; otherwise nothing.
    pub(crate) fn enter() -> Self {
        let stdin = std::io::stdin();
        let Ok(before) = termios::tcgetattr(&stdin) else { return RawTerminal(None) };
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        match termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw) {
            Ok(()) => RawTerminal(Some(before)),
            Err(_) => RawTerminal(None),
        }
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // The terminal may be gone; there is nobody to tell then.
            let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, before);
        }
    }
}

/// Tells whether stdin is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// One of our standard streams for output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standard {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Standard {
    fn word(self) -> &'static str {
        match self {
            Standard::Out => "stdout",
            Standard::Err => "stderr",
        }
    }
}

/// Input of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// Nothing is sent.
    Nothing,
    /// Our stdin.
    Stdin,
    /// Our stdin, until these keys are typed, where any count. Its end is not the end of the
    /// agent's.
    Attached(Option<DetachKeys>),
}

/// Outcome of the carrying.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CarryOutcome {
    /// The output that could not be written, in words; nobody else tells.
    pub(crate) lost: Option<String>,
    /// Tells whether the person has typed the keys by which an agent is left.
    pub(crate) detached: bool,
}

/// Carries the agent's output to ours until it ends, and our stdin to the agent meanwhile.
///
/// A reader that closed our stdout or stderr does not end the agent, as with `docker run`. `over`
/// says that the agent has ended: then a stream that brings nothing more for a while is at its end.
/// A title is written when it is due, and never within a sequence of the agent's.
pub(crate) async fn carry(
    attached: AttachContainerResults,
    from: Input,
    mut over: watch::Receiver<bool>,
    mut title: Option<TerminalTitle>,
) -> CarryOutcome {
    let _screen = crate::term::leave_screen();
    let AttachContainerResults { mut output, input } = attached;
    let mut feeding = Feeding::begin(input, from);
    let mut carried = CarryOutcome::default();
    loop {
        // Once the agent has ended, no title holds the end of its output up.
        let is_over = *over.borrow();
        let chunk = tokio::select! {
            biased;
            chunk = output.next() => chunk,
            () = feeding.detached() => {
                carried.detached = true;
                break;
            }
            () = due(title.as_mut()), if !is_over => {
                show(title.as_mut()).await;
                continue;
            }
            () = quiet(&mut over) => break,
        };
        let Some(Ok(chunk)) = chunk else { break };
        let (to, message) = match chunk {
            LogOutput::StdErr { message } => (Standard::Err, message),
            LogOutput::StdOut { message } | LogOutput::Console { message } => (Standard::Out, message),
            LogOutput::StdIn { .. } => continue,
        };
        if let (Some(title), Standard::Out) = (&mut title, to) {
            title.passed(&message);
        }
        // A failure is no reason to stop reading: the agent would block on a full pipe.
        if let Err(error) = write(to, message).await
            && carried.lost.is_none()
        {
            carried.lost = loss(to.word(), &error);
        }
        // Output that never ends must not hold it up.
        if title.as_mut().is_some_and(TerminalTitle::is_due) {
            show(title.as_mut()).await;
        }
    }
    carried
}

/// Waits until a title is due; for ever where there is none.
async fn due(title: Option<&mut TerminalTitle>) {
    match title {
        Some(title) => title.due().await,
        None => std::future::pending().await,
    }
}

/// Writes the title of the person's terminal. One that is gone shows nothing.
async fn show(title: Option<&mut TerminalTitle>) {
    if let Some(title) = title {
        let bytes = title.sequences();
        let write = title.writer(bytes);
        let _ = tokio::task::spawn_blocking(move || write(&mut std::io::stdout().lock())).await;
    }
}

/// Writes sequences of ringfence's own to the person's terminal. One that is gone shows nothing.
fn to_screen(bytes: &[u8]) {
    let _ = write_all(&mut std::io::stdout().lock(), bytes);
}

/// Writes all bytes to one of our streams, on a thread of its own: a reader that stands still must
/// keep nobody from seeing limits and signals.
///
/// # Errors
/// When they cannot be written.
pub(crate) async fn write(to: Standard, bytes: impl AsRef<[u8]> + Send + 'static) -> std::io::Result<()> {
    let written = tokio::task::spawn_blocking(move || match to {
        Standard::Err => write_all(&mut std::io::stderr().lock(), bytes.as_ref()),
        Standard::Out => write_all(&mut std::io::stdout().lock(), bytes.as_ref()),
    });
    written.await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// The carrying of our stdin.
struct Feeding {
    /// Says whether the detach keys were typed.
    task: Option<JoinHandle<bool>>,
    /// The stream's other half, where nothing is sent: an engine may end an attachment without it.
    _unused: Option<Pin<Box<dyn AsyncWrite + Send>>>,
}

impl Feeding {
    fn begin(input: Pin<Box<dyn AsyncWrite + Send>>, from: Input) -> Feeding {
        let task = match from {
            Input::Nothing => return Feeding { task: None, _unused: Some(input) },
            Input::Stdin => tokio::spawn(feed(input, None, true)),
            Input::Attached(keys) => tokio::spawn(feed(input, keys, false)),
        };
        Feeding { task: Some(task), _unused: None }
    }

    /// Waits until the detach keys are typed.
    async fn detached(&mut self) {
        if let Some(task) = &mut self.task {
            let detached = task.await.unwrap_or(false);
            self.task = None;
            if detached {
                return;
            }
        }
        std::future::pending().await
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Carries our stdin to the agent until either ends; tells whether the detach keys were typed.
/// `ends`: the end of our stdin is the end of the agent's.
async fn feed(mut input: Pin<Box<dyn AsyncWrite + Send>>, mut keys: Option<DetachKeys>, ends: bool) -> bool {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0u8; 16 * 1024];
    loop {
        let count = match stdin.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        let (bytes, detached) = match &mut keys {
            Some(keys) => keys.take(&buffer[..count]),
            None => (buffer[..count].to_vec(), false),
        };
        if send(&mut input, &bytes).await.is_err() || detached {
            return detached;
        }
    }
    if let Some(keys) = &mut keys
        && send(&mut input, &keys.rest()).await.is_err()
    {
        return false;
    }
    if ends {
        // The stream's other half stays.
        let _ = input.shutdown().await;
        return false;
    }
    // An engine ends an attachment whose input has ended, and the agent's answer would be lost.
    std::future::pending().await
}

async fn send(input: &mut Pin<Box<dyn AsyncWrite + Send>>, bytes: &[u8]) -> std::io::Result<()> {
    input.write_all(bytes).await?;
    input.flush().await
}

/// An engine may leave the stream of an agent open that has ended.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

/// Waits for the agent's end, and then for as long as its last output may take to come.
async fn quiet(over: &mut watch::Receiver<bool>) {
    if over.wait_for(|over| *over).await.is_err() {
        // Nobody will ever say so.
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(LAST_OUTPUT).await;
}

/// Puts into words what a failed write means to the person; nothing where the reader has gone away.
fn loss(place: &str, error: &std::io::Error) -> Option<String> {
    let gone = error.kind() == std::io::ErrorKind::BrokenPipe;
    (!gone).then(|| format!("the agent's output could not be written to {place}, and is not whole: {error}"))
}

/// Writes all bytes, even where another program that shares the stream has made it one that does
/// not block.
fn write_all(stream: &mut (impl Write + AsFd), mut bytes: &[u8]) -> std::io::Result<()> {
    loop {
        let done = match bytes.is_empty() {
            true => stream.flush().map(|()| None),
            false => stream.write(bytes).map(Some),
        };
        match done {
            Ok(None) => return Ok(()),
            Ok(Some(0)) => return Err(ErrorKind::WriteZero.into()),
            Ok(Some(count)) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut waited = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut waited, PollTimeout::NONE) {
                    Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// A terminal on the engine.
#[derive(Debug, Clone)]
pub(crate) enum FarTerminal {
    /// That of a container.
    Container(String),
    /// That of a program that was started in one.
    Exec(String),
}

impl FarTerminal {
    /// Sets its size. What has the terminal may have ended meanwhile.
    async fn resize(&self, engine: &Engine, rows: u16, columns: u16) {
        let (rows, columns) = (i32::from(rows), i32::from(columns));
        match self {
            FarTerminal::Container(id) => {
                let size = ResizeContainerTTYOptionsBuilder::new().h(rows).w(columns).build();
                let _ = engine.api.resize_container_tty(id, size).await;
            }
            FarTerminal::Exec(id) => {
                let size = ResizeExecOptionsBuilder::new().h(rows).w(columns).build();
                let _ = engine.api.resize_exec(id, size).await;
            }
        }
    }
}

/// Has what shows on a terminal drawn anew, and follows the size of ours. A terminal that has our
/// size already would draw nothing.
pub(crate) async fn redraw_and_follow_size(engine: Engine, terminal: FarTerminal) {
    if let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdout())
        && size.ws_row > 0
    {
        terminal.resize(&engine, size.ws_row.saturating_add(1), size.ws_col).await;
    }
    follow_size(engine, terminal).await;
}

/// Tells a terminal on the engine the size of ours, now and at every change.
pub(crate) async fn follow_size(engine: Engine, terminal: FarTerminal) {
    let Ok(mut changes) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change())
    else {
        return;
    };
    loop {
        if let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdout())
            && size.ws_row > 0
        {
            terminal.resize(&engine, size.ws_row, size.ws_col).await;
        }
        if changes.recv().await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows that nothing is lost where a program that shares our stdout has made it one that does
    /// not block, as node does.
    #[test]
    fn a_stream_that_does_not_block_loses_nothing() {
        use std::os::unix::net::UnixStream;
        let text: Vec<u8> = (0..4 << 20).map(|number: u32| number.to_le_bytes()[0]).collect();
        let (mut stream, mut reader) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        // The positive control: a plain write meets the full buffer.
        let refused = stream.write_all(&text).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        let before = {
            reader.set_nonblocking(true).unwrap();
            let mut rest = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut rest).unwrap_err();
            reader.set_nonblocking(false).unwrap();
            rest.len()
        };
        assert!(before < text.len());
        let reading = std::thread::spawn(move || {
            // The writer has filled the buffer by then.
            std::thread::sleep(std::time::Duration::from_millis(100));
            let mut all = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut all).unwrap();
            all
        });
        write_all(&mut stream, &text).unwrap();
        drop(stream);
        assert!(reading.join().unwrap() == text, "every byte arrives, in order");
    }

    #[test]
    fn a_reader_that_has_gone_is_no_loss_and_a_full_disk_is_one() {
        use std::io::{Error, ErrorKind};
        assert_eq!(loss("stdout", &Error::from(ErrorKind::BrokenPipe)), None);
        let told = loss("stdout", &Error::from(ErrorKind::StorageFull)).unwrap();
        assert!(told.contains("stdout") && told.contains("not whole"), "{told}");
    }
}
