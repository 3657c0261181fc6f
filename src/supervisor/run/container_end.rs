//! The end of a container: its status, and its last words.

use std::time::Duration;

use bollard::errors::Error as ApiError;
use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;

use crate::supervisor::engine::Engine;
use crate::wire::diagnostics;

/// An engine gives a few lines of a log within this time, or there are none.
const WORDS_LIMIT: Duration = Duration::from_secs(10);

/// Lines of a log that are looked at, and those of them that are shown.
const LOOKED_AT: usize = 2000;
const SHOWN: usize = 20;
/// Characters of a service's line that are shown.
const LONGEST_SHOWN: usize = 400;

/// Returns the last lines that a container wrote to stderr, without diagnostics.
pub(super) async fn last_words(engine: &Engine, container: &str) -> Vec<String> {
    let mut words = stderr_of(engine, container).await;
    words.retain(|line| diagnostics::read(line).is_none());
    words.split_off(words.len().saturating_sub(SHOWN))
}

/// Returns the last lines that a container wrote, to stdout and stderr.
pub(super) async fn last_output(engine: &Engine, container: &str) -> Vec<String> {
    let mut lines = output_of(engine, container, true, SHOWN).await;
    lines.drain(..lines.len().saturating_sub(SHOWN));
    lines.iter_mut().for_each(shorten);
    lines
}

/// Cuts a line that would fill a screen by itself.
fn shorten(line: &mut String) {
    if let Some((end, _)) = line.char_indices().nth(LONGEST_SHOWN) {
        line.truncate(end);
        line.push('…');
    }
}

/// Returns the diagnostics that a container has written.
pub(super) async fn diagnostics_of(engine: &Engine, container: &str) -> Vec<String> {
    let lines = stderr_of(engine, container).await;
    lines.iter().filter_map(|line| diagnostics::read(line)).map(str::to_owned).collect()
}

async fn stderr_of(engine: &Engine, container: &str) -> Vec<String> {
    output_of(engine, container, false, LOOKED_AT).await
}

async fn output_of(engine: &Engine, container: &str, stdout: bool, tail: usize) -> Vec<String> {
    let options = LogsOptions { stderr: true, stdout, tail: tail.to_string(), ..Default::default() };
    let all = engine.api.logs(container, Some(options)).collect::<Vec<_>>();
    let chunks = tokio::time::timeout(WORDS_LIMIT, all).await.unwrap_or_default();
    let bytes: Vec<u8> = chunks.into_iter().flatten().flat_map(|chunk| chunk.into_bytes().to_vec()).collect();
    String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
}

/// Waits for the end of a container; its exit status, or -1 when the engine cannot say any more.
pub(super) async fn exit_of(engine: &Engine, container: &str) -> i64 {
    let mut answers = engine.api.wait_container(container, None).boxed();
    match answers.next().await {
        Some(Ok(answer)) => answer.status_code,
        Some(Err(ApiError::DockerContainerWaitError { code, .. })) => code,
        Some(Err(_)) | None => -1,
    }
}
