//! Requests that make something on the engine: each is followed to its answer, even when its
//! caller stops waiting.
//!
//! ```text
//!  create ─▶ a task of its own ─▶ engine ─▶ answer ─▶ the caller, if it still waits
//!                └─ counted until the answer ────────▶ removal waits for all of them, then removes
//! ```
//! An engine carries a request out although its client has gone. A removal that does not wait for
//! the answer can therefore run before the object exists, and leave it. The task belongs to no
//! caller, so no dropped future, time-out or interrupt loses it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as ApiError;
use tokio::sync::watch;

/// The requests of one connection to an engine.
#[derive(Clone, Default)]
pub(crate) struct Creations(Arc<watch::Sender<Requests>>);

#[derive(Default)]
struct Requests {
    next: u64,
    open: BTreeMap<u64, String>,
    lost: Vec<String>,
}

/// Requests whose outcome is not known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Doubtful {
    /// Requests that the engine has not answered yet.
    pub(crate) unanswered: Vec<String>,
    /// Requests whose connection ended before the answer.
    pub(crate) lost: Vec<String>,
}

impl Doubtful {
    /// Tells whether every outcome is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.unanswered.is_empty() && self.lost.is_empty()
    }

    /// Lists what was asked for.
    pub(crate) fn objects(&self) -> String {
        let all: Vec<&str> = self.unanswered.iter().chain(&self.lost).map(String::as_str).collect();
        all.join(", ")
    }
}

impl Creations {
    /// Sends a request that makes `object`, and waits for its answer.
    pub(crate) async fn follow<T: Send + 'static>(
        &self,
        object: impl Into<String>,
        request: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let object = object.into();
        let mut number = 0;
        self.0.send_modify(|requests| {
            number = requests.next;
            requests.next += 1;
            requests.open.insert(number, object.clone());
        });
        let requests = Arc::clone(&self.0);
        let task = tokio::spawn(async move {
            let answer = request.await;
            let heard = matches!(&answer, Ok(_) | Err(ApiError::DockerResponseServerError { .. }));
            requests.send_modify(|requests| {
                requests.open.remove(&number);
                if !heard {
                    requests.lost.push(object);
                }
            });
            answer
        });
        task.await.unwrap_or_else(|error| Err(ApiError::from(std::io::Error::other(error))))
    }

    /// Waits until every request has its answer, at most `limit` long; the requests whose outcome
    /// is not known.
    pub(crate) async fn settled(&self, limit: Duration) -> Doubtful {
        let mut requests = self.0.subscribe();
        // Whatever is still open after the limit is told.
        let _ = tokio::time::timeout(limit, requests.wait_for(|requests| requests.open.is_empty())).await;
        let requests = self.0.borrow();
        Doubtful { unanswered: requests.open.values().cloned().collect(), lost: requests.lost.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    fn refused() -> ApiError {
        ApiError::DockerResponseServerError { status_code: 409, message: "no".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_nobody_waits_for_is_followed_to_its_answer() {
        let creations = Creations::default();
        let (answer, answered) = oneshot::channel();
        let made = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&made);
        let request = async move {
            answered.await.map_err(std::io::Error::other)?;
            flag.store(true, Ordering::SeqCst);
            Ok(())
        };
        // As `try_join!` does: one failure drops the other.
        let failed = async {
            tokio::task::yield_now().await;
            Err::<(), _>(refused())
        };
        assert!(tokio::try_join!(creations.follow("the agent", request), failed).is_err());
        assert_eq!(creations.settled(Duration::ZERO).await.unanswered, ["the agent"]);
        let late = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            answer.send(()).unwrap();
        };
        let (doubtful, ()) = tokio::join!(creations.settled(Duration::from_secs(60)), late);
        assert!(made.load(Ordering::SeqCst), "the removal waited");
        assert_eq!(doubtful, Doubtful::default());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_never_answered_is_told_apart_from_what_was_refused() {
        let creations = Creations::default();
        let silent = creations.clone();
        tokio::spawn(async move { silent.follow("a volume", std::future::pending::<Result<(), _>>()).await });
        let broken = async { Err::<(), _>(ApiError::from(std::io::Error::other("reset"))) };
        assert!(creations.follow("a network", broken).await.is_err());
        assert!(creations.follow("the fence", async { Err::<(), _>(refused()) }).await.is_err());
        assert!(creations.follow("the guard", async { Ok(()) }).await.is_ok());
        let doubtful = creations.settled(Duration::from_secs(1)).await;
        assert_eq!(doubtful.unanswered, ["a volume"]);
        assert_eq!(doubtful.lost, ["a network"]);
        assert_eq!(doubtful.objects(), "a volume, a network");
    }
}
