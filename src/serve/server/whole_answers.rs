//! Answers of the engine that are kept in memory whole: few at once, each until its client has read
//! what was made of it.
//!
//! ```text
//!  engine answers ─▶ place ─▶ read, parsed, written anew ─▶ client reads it ─▶ place is free
//!                      └ none for so long: 503          └ a client that does not: cut off, place is free
//! ```
//! A list of the most members is as long as a hundred megabytes, here and in the engine's memory.
//! Clients that ask for many of them at once would use up the machine's memory. So the engine is
//! asked for a list once there is a place. About one object an engine can take any time for its
//! answer, as about a container that it copies from: nobody has a place meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream;
use http_body_util::{BodyExt as _, Limited};
use hyper::Response;
use hyper::body::{Bytes, Incoming};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::http::{Answer, Body, BodyError, EngineHttp, Sent, denied, full, meant, streamed, with};
use crate::serve::denied::Denied;
use crate::serve::request::upstream_line::Line;
use crate::serve::request::version::ApiMinor;

/// Whole answers at once.
const MOST: usize = 3;
/// Time in which one of those becomes free.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time in which the engine makes a list, and in which a client reads a long answer.
const READING: Duration = Duration::from_secs(30);
/// The longest answer of the engine: a list of the most members, each with labels, names and a
/// command of the most bytes.
const LONGEST: usize = 128 << 20;
/// A longer answer goes to its client in pieces of this size.
const PIECE: usize = 64 << 10;
/// A longer answer is parsed on a thread of its own.
const LONG: usize = 256 << 10;

/// The places of whole answers.
pub(crate) struct WholeAnswers {
    of_clients: Arc<Semaphore>,
    /// Place of ringfence's own reading, which waits for no client that reads slowly.
    own: Arc<Semaphore>,
}

/// A place of one whole answer. Whatever keeps one in memory has it.
pub(crate) struct WholePlace {
    _permit: OwnedSemaphorePermit,
}

impl WholeAnswers {
    /// Begins with all places free.
    pub(crate) fn new() -> WholeAnswers {
        WholeAnswers { of_clients: Arc::new(Semaphore::new(MOST)), own: Arc::new(Semaphore::new(1)) }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// When none becomes free in time.
    pub(crate) async fn place(&self) -> Result<WholePlace, Denied> {
        WholeAnswers::place_of(&self.of_clients).await
    }

    /// Waits for the place of what no client reads.
    ///
    /// # Errors
    /// When it does not become free in time.
    pub(crate) async fn own_place(&self) -> Result<WholePlace, Denied> {
        WholeAnswers::place_of(&self.own).await
    }

    async fn place_of(places: &Arc<Semaphore>) -> Result<WholePlace, Denied> {
        let place = tokio::time::timeout(PATIENCE, Arc::clone(places).acquire_owned()).await;
        let busy = || Denied::new(503, "too many long answers are asked for at once; ask again");
        Ok(WholePlace { _permit: place.map_err(|_| busy())?.map_err(|_| busy())? })
    }
}

impl WholePlace {
    /// Makes the answer to a client, which has the place until it was read.
    pub(crate) async fn answer(self, value: Value) -> Answer {
        // It may be long: nobody waits for its writing.
        let text = match apart(move || value.to_string().into_bytes()).await {
            Ok(text) => text,
            Err(refusal) => return denied(&refusal),
        };
        let body = if text.len() > PIECE { pieces(text, self) } else { full(text) };
        with(200, "application/json", body)
    }
}

impl EngineHttp {
    /// Asks for a list, which the engine keeps in its own memory until it is read: once there is a
    /// place.
    ///
    /// # Errors
    /// With the engine's own status and words where it refuses, when it takes too long, or when
    /// there is no place.
    pub(crate) async fn list(
        &self,
        line: &Line,
        version: ApiMinor,
        answers: &WholeAnswers,
    ) -> Result<(Value, WholePlace), Denied> {
        let place = answers.place().await?;
        let asked = tokio::time::timeout(READING, self.send(line, version, Sent::Nothing)).await;
        let answer = asked.map_err(|_| lost(&"it came too slowly"))??;
        read(answer, place).await
    }

    /// Asks for JSON about one object that may be long, and is kept whole, with its place.
    ///
    /// # Errors
    /// With the engine's own status and words where it refuses, or when there is no place.
    pub(crate) async fn whole(
        &self,
        line: &Line,
        version: ApiMinor,
        answers: &WholeAnswers,
    ) -> Result<(Value, WholePlace), Denied> {
        let answer = self.send(line, version, Sent::Nothing).await?;
        read(answer, answers.place().await?).await
    }
}

async fn read(answer: Response<Incoming>, place: WholePlace) -> Result<(Value, WholePlace), Denied> {
    let status = answer.status();
    let reading = Limited::new(answer.into_body(), LONGEST).collect();
    let bytes = tokio::time::timeout(READING, reading).await.map_err(|_| lost(&"it came too slowly"))?;
    let bytes = bytes.map_err(|error| lost(&error))?.to_bytes();
    let value = match bytes.len() > LONG {
        true => apart(move || meant(status, &bytes)).await??,
        false => meant(status, &bytes)?,
    };
    Ok((value, place))
}

fn lost(why: &dyn std::fmt::Display) -> Denied {
    Denied::new(502, format!("the engine's answer was lost: {why}"))
}

/// Does work on a thread of its own: nobody else waits for what is long.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Denied> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Denied::new(500, "the work was ended"))
}

/// A text on its way to a client.
struct Sending {
    text: Vec<u8>,
    sent: usize,
    _place: WholePlace,
}

/// Ends a sending that takes too long, until it is dropped.
struct Deadline(JoinHandle<()>);

impl Drop for Deadline {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Makes a body of copied pieces: what of it waits in a connection keeps no more than itself.
fn pieces(text: Vec<u8>, place: WholePlace) -> Body {
    let sending = Arc::new(Mutex::new(Some(Sending { text, sent: 0, _place: place })));
    let late = Arc::downgrade(&sending);
    let deadline = Deadline(tokio::task::spawn(async move {
        tokio::time::sleep(READING).await;
        if let Some(late) = late.upgrade() {
            late.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }));
    streamed(stream::unfold((sending, deadline), |(sending, deadline)| async move {
        let piece = next(&sending)?;
        Some((piece, (sending, deadline)))
    }))
}

/// Takes the next piece; none at the end.
fn next(sending: &Mutex<Option<Sending>>) -> Option<Result<Bytes, BodyError>> {
    let mut held = sending.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(sending) = held.as_mut() else {
        return Some(Err("the answer was not read in time".into()));
    };
    let rest = sending.text.get(sending.sent..).filter(|rest| !rest.is_empty())?;
    let piece = Bytes::copy_from_slice(rest.get(..PIECE).unwrap_or(rest));
    sending.sent += piece.len();
    Some(Ok(piece))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    async fn long(answers: &WholeAnswers) -> Answer {
        answers.place().await.unwrap().answer(Value::String("x".repeat(PIECE * 3))).await
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_answers_are_kept_at_once_and_nobody_waits_for_ever() {
        let answers = WholeAnswers::new();
        let mut kept = Vec::new();
        for _ in 0..MOST {
            kept.push(long(&answers).await);
        }
        let began = Instant::now();
        assert_eq!(answers.place().await.err().unwrap().status, 503);
        assert!(began.elapsed() >= PATIENCE);
        // One is read.
        let read = kept.pop().unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(read.len(), PIECE * 3 + 2, "all of it, with its quotes");
        let short = answers.place().await.unwrap().answer(Value::Null).await;
        let next = answers.place().await.unwrap();
        assert_eq!(short.into_body().collect().await.unwrap().to_bytes(), "null");
        drop(next);
        // A client that goes away.
        kept.pop();
        kept.push(long(&answers).await);
        assert!(answers.place().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_client_reads_waits_for_no_client() {
        let answers = WholeAnswers::new();
        let mut kept = Vec::new();
        for _ in 0..MOST {
            kept.push(long(&answers).await);
        }
        let began = Instant::now();
        drop(answers.own_place().await.unwrap());
        drop(answers.own_place().await.unwrap());
        assert!(began.elapsed() < PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_reads_is_cut_off() {
        let answers = WholeAnswers::new();
        let mut body = long(&answers).await.into_body();
        let first = body.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap().len(), PIECE);
        assert_eq!(answers.of_clients.available_permits(), MOST - 1);
        tokio::time::sleep(READING * 2).await;
        assert_eq!(
            answers.of_clients.available_permits(),
            MOST,
            "the text is gone, and the body is still there"
        );
        assert!(body.frame().await.unwrap().is_err(), "no half of an answer passes for the whole");
    }
}
