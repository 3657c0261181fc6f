//! The start of a container in a fence that stands: its first program waits until the fence has
//! seen that everything is mounted as it was checked.
//!
//! ```text
//!  Admission::open ─▶ exec in the fence: listening ─▶ the engine starts the container
//!     its first program ──word──▶ asked ─ are the files where they were? ─▶ look ─▶ found ─ still? ─▶ go ─▶ gone
//! ```

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;

use crate::supervisor::engine::Engine;
use crate::supervisor::live::Exec;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::handover::Cover;
use crate::wire::init::{Admitted, InitKeys};

/// The user that the program runs as, as a forward's: owner of nothing there.
const USER: &str = "65531:65531";
/// A step takes no longer than this.
const PATIENCE: Duration = Duration::from_secs(25);

/// First line that the fence is told.
#[derive(Serialize)]
struct Expected<'a> {
    covers: &'a [Cover],
    keys: &'a InitKeys,
}

/// A fence that waits for the first program of a container.
pub(crate) struct Admission(Exec);

impl Admission {
    /// Has the fence wait for it.
    ///
    /// # Errors
    /// When the fence does not.
    pub(crate) async fn open(
        engine: &Engine,
        fence: &str,
        covers: &[Cover],
        keys: &InitKeys,
    ) -> Result<Admission, Failure> {
        let exec = Exec::start_as(engine, fence, ["fence", "admit"], Some(USER)).await?;
        let mut admission = Admission(exec);
        admission.0.say(&Expected { covers, keys }).await?;
        admission.expect(Admitted::Listening).await?;
        Ok(admission)
    }

    /// Lets the container begin if everything is in its place. `in_place` is asked before and
    /// after the look: what was moved away and came back in between has its cover elsewhere.
    ///
    /// # Errors
    /// When something is not; the container's own program does not begin then.
    pub(crate) async fn admit(mut self, in_place: impl Fn() -> bool) -> Result<(), Failure> {
        self.expect(Admitted::Asked).await?;
        check(&in_place)?;
        self.0.say(&Admitted::Look).await?;
        self.expect(Admitted::Found).await?;
        check(&in_place)?;
        self.0.say(&Admitted::Go).await?;
        self.expect(Admitted::Gone).await
    }

    async fn expect(&mut self, wanted: Admitted) -> Result<(), Failure> {
        let line = timeout(PATIENCE, self.0.line()).await.unwrap_or(None);
        if line.as_deref().and_then(|line| serde_json::from_slice(line).ok()) == Some(wanted) {
            return Ok(());
        }
        let mut failure = Failure::new(COULD_NOT_RUN, "the fence could not look at what is mounted");
        failure.causes = timeout(Duration::from_secs(2), self.0.rest()).await.unwrap_or_default();
        Err(failure)
    }
}

fn check(in_place: &impl Fn() -> bool) -> Result<(), Failure> {
    if in_place() {
        return Ok(());
    }
    Err(Failure::new(COULD_NOT_RUN, "files were moved, replaced or linked while the container started")
        .hint("start it again when nothing else works on them"))
}
