//! The end of a container: its status, and its last words.

use std::time::Duration;

use bollard::errors::Error as ApiError;
use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;

use crate::supervisor::engine::Engine;

/// An engine gives a few lines of a log within this time, or there are none.
const WORDS_LIMIT: Duration = Duration::from_secs(10);

/// Returns the last lines that a container wrote to stderr.
pub(super) async fn last_words(engine: &Engine, container: &str) -> Vec<String> {
    let options = LogsOptions { stderr: true, stdout: false, tail: "20".to_owned(), ..Default::default() };
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
