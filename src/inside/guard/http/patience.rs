//! Time limit for the head of a request: from its first byte, however long the connection waited
//! for that byte.
//!
//! ```text
//!  hyper waits for a head ──sleep_until──▶ HeadSleep ◀──first byte at── Replay
//!                                             └─ over, PATIENCE after that byte, unless the head is whole by then
//! ```
//! hyper's own timer begins when it begins to wait, and would end connections that are kept alive.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use tokio::time::Instant;

/// Time of the first byte of the head that is waited for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Begun(Arc<Mutex<Option<Instant>>>);

impl Begun {
    /// Notes that bytes came.
    pub(crate) fn note(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    }

    /// Begins to wait for a head anew.
    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn at(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The timer of one connection.
#[derive(Debug, Default)]
pub(crate) struct HeadTimer(Begun);

impl HeadTimer {
    /// Returns the mark in which the connection's bytes are to be noted.
    pub(crate) fn begun(&self) -> Begun {
        self.0.clone()
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.0.forget();
        Box::pin(HeadSleep { begun: self.0.clone(), patience: duration, sleep: None })
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }
}

/// Ends some time after the first byte. Without one it waits: who polls it polls the connection
/// first, and again when bytes come.
struct HeadSleep {
    begun: Begun,
    patience: Duration,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let Some(begun) = this.begun.at() else { return Poll::Pending };
        let until = begun + this.patience;
        this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until))).as_mut().poll(context)
    }
}
