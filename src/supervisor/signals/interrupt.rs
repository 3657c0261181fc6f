//! A signal before a run has begun: what goes on is let go, and its caller tidies up.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::supervisor::signals::{Signals, status_of_signal};
use crate::term::Failure;

/// Number of callers that tidy up by themselves when a signal comes.
static TIDY: AtomicUsize = AtomicUsize::new(0);

/// Something on the engine that must be removed, whatever comes. While one is held, the program
/// does not end before it is done.
pub(crate) struct Tidies(());

impl Tidies {
    /// Begins it.
    pub(crate) fn begin() -> Tidies {
        TIDY.fetch_add(1, Ordering::SeqCst);
        Tidies(())
    }

    /// Tells whether there is one.
    pub(super) fn is_any() -> bool {
        TIDY.load(Ordering::SeqCst) > 0
    }
}

impl Drop for Tidies {
    fn drop(&mut self) {
        TIDY.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Gives what the work gives, unless a signal wants it to end. Once this was called such a signal
/// no longer ends the program by itself.
pub(crate) async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let mut signals = Signals::new()?;
    tokio::select! {
        done = work => Ok(done),
        number = signals.next() => Err(interrupted(number)),
    }
}

/// The failure that a signal is, where nothing of a run exists.
pub(crate) fn interrupted(number: i32) -> Failure {
    Failure::new(status_of_signal(number), "interrupted before anything was created")
}

/// Does the work unless a signal comes. What tidies up by itself is let come to its end.
pub(crate) async fn until_signal<T>(
    signals: &mut Signals,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::pin!(work);
    let number = tokio::select! {
        done = &mut work => return done,
        number = signals.next() => number,
    };
    if Tidies::is_any() {
        // A second signal is obeyed at once: the engine may have gone silent.
        tokio::select! {
            done = &mut work => return Err(done.err().unwrap_or_else(|| interrupted(number))),
            _ = signals.next() => {}
        }
    }
    Err(interrupted(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::COULD_NOT_RUN;

    #[tokio::test]
    async fn a_signal_ends_what_goes_on_and_lets_a_tidying_come_to_its_end() {
        let mut signals = Signals::none();
        signals.again(15);
        let failure =
            until_signal(&mut signals, std::future::pending::<Result<(), Failure>>()).await.unwrap_err();
        assert_eq!(failure.exit, 143);

        let tidies = Tidies::begin();
        let tidy = async move {
            let _tidies = tidies;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            Err::<(), _>(Failure::new(COULD_NOT_RUN, "tidied"))
        };
        signals.again(2);
        let failure = until_signal(&mut signals, tidy).await.unwrap_err();
        assert_eq!(failure.message, "tidied");
        assert!(!Tidies::is_any());
        assert_eq!(until_signal(&mut signals, async { Ok(7) }).await.unwrap(), 7);
    }
}
