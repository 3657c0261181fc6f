//! stdin and stdout of one of ringfence's programs in a helper, as one stream of bytes.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error as ApiError;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures_util::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};
use tokio_util::io::StreamReader;

use crate::supervisor::engine::{self, Engine};
use crate::term::{COULD_NOT_RUN, Failure};

/// Bytes that are read of the engine's stream at once.
const READ: usize = 64 << 10;
/// Lines that a program says on stderr, and characters of each, that are kept.
const WORDS: usize = 8;
const WORD_LENGTH: usize = 400;
/// A program whose supervisor has let go is gone within this time.
const GOING: Duration = Duration::from_secs(3);

/// Lines that the program wrote on stderr, the last few.
#[derive(Debug, Clone, Default)]
pub(super) struct Said(Arc<Mutex<VecDeque<String>>>);

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

    pub(super) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// A program that runs.
#[derive(Debug)]
pub(super) struct Program {
    /// The engine's id of the exec.
    pub(super) exec: String,
    /// Words of the program.
    pub(super) said: Said,
}

/// A program that the engine runs in a container, with its streams.
pub(super) struct AttachedExec {
    /// The engine's id of the exec.
    pub(super) id: String,
    /// The program's stdin.
    pub(super) input: Pin<Box<dyn AsyncWrite + Send>>,
    /// The program's stdout and stderr.
    pub(super) output: Pin<Box<dyn Stream<Item = Result<LogOutput, ApiError>> + Send>>,
}

/// Starts one of ringfence's programs in a helper, attached, as `user` where that is another than
/// the helper's own.
///
/// # Errors
/// `cannot`, with the engine's word.
pub(super) async fn attach(
    engine: &Engine,
    container: &str,
    words: [&str; 2],
    user: Option<&str>,
    cannot: String,
) -> Result<AttachedExec, Failure> {
    let failed = |error| engine::refused(cannot.clone(), &error);
    let command = [&["/usr/bin/ringfence"], &words[..]].concat();
    let options = CreateExecOptions {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        user: user.map(str::to_owned),
        cmd: Some(command.into_iter().map(str::to_owned).collect()),
        ..CreateExecOptions::<String>::default()
    };
    let id = engine.api.create_exec(container, options).await.map_err(failed)?.id;
    let attached = StartExecOptions { output_capacity: Some(READ), ..StartExecOptions::default() };
    match engine.api.start_exec(&id, Some(attached)).await.map_err(failed)? {
        StartExecResults::Attached { output, input } => Ok(AttachedExec { id, input, output }),
        StartExecResults::Detached => {
            Err(Failure::new(COULD_NOT_RUN, "the engine did not attach to an exec"))
        }
    }
}

/// Starts a program of a helper (`what`, in words), as `user` where that is another than the
/// helper's own.
///
/// # Errors
/// When the engine does not start it.
pub(super) async fn open(
    engine: &Engine,
    container: &str,
    words: [&str; 2],
    user: Option<&str>,
    what: &str,
) -> Result<(Program, impl AsyncRead + AsyncWrite + Send + Unpin + use<>), Failure> {
    let cannot = format!("cannot start {what}");
    let AttachedExec { id: exec, input, output } = attach(engine, container, words, user, cannot).await?;
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
    Ok((Program { exec, said }, tokio::io::join(StreamReader::new(Box::pin(bytes)), input)))
}

/// Waits until a program that was let go is gone.
pub(super) async fn until_gone(engine: &Engine, exec: &str) {
    let gone = async {
        while engine.api.inspect_exec(exec).await.is_ok_and(|found| found.running == Some(true)) {
            sleep(Duration::from_millis(25)).await;
        }
    };
    // One that stays ends by itself: nothing comes from here any more.
    let _ = timeout(GOING, gone).await;
}
