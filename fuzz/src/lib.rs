//! One loop for all fuzz targets: good inputs, bent, for a bounded time. A development dependency
//! only.
//!
//! ```text
//!  seeds ──bend (flip, insert, cut, repeat, splice, words, lengths)──▶ target ──Err, panic, slow──▶ made small, kept
//!    ▲                                                               │
//!    └───────────── until RINGFENCE_FUZZ_SECONDS are over ◀──────────┘
//! ```
//! Targets are ordinary tests called `fuzz_…`, so they reach private parsers and run with
//! `cargo test`. What fails is shrunk by proptest and kept in `proptest-regressions` beside the
//! target's source: every later run tries it first.

mod bend;

use std::cell::Cell;
use std::fmt::Debug;
use std::panic::Location;
use std::time::{Duration, Instant};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

pub use self::bend::{Bytes, bytes, segments};
pub use proptest;

/// The variable with the seconds that each target may take.
pub const SECONDS: &str = "RINGFENCE_FUZZ_SECONDS";
/// With nothing set: enough to see that a target works.
const DEFAULT: Duration = Duration::from_secs(1);
/// Inputs between two looks at the clock.
const BATCH: u32 = 64;
/// An input that takes longer is a finding: somebody could hold the guard up with it.
const SLOW: Duration = Duration::from_secs(5);

/// A target's word about one input.
pub type Judgement = Result<(), TestCaseError>;

/// Gives inputs to a target until its time is over, and says how many there were.
///
/// # Panics
/// When the target fails, with the smallest input found that makes it fail.
#[track_caller]
pub fn run<S>(target: &str, inputs: &S, judge: impl Fn(S::Value) -> Judgement)
where
    S: Strategy,
    S::Value: Clone + Debug,
{
    let source = Location::caller().file();
    // Beside the sources of a crate there is one folder for all findings; a test outside of them
    // keeps its own.
    let kept = if source.contains("src/") {
        FileFailurePersistence::SourceParallel("proptest-regressions")
    } else {
        FileFailurePersistence::WithSource("proptest-regressions")
    };
    let config = Config {
        cases: BATCH,
        source_file: Some(source),
        failure_persistence: Some(Box::new(kept)),
        ..Config::default()
    };
    let begin = Instant::now();
    let (count, failure) = search(inputs, judge, time(), &config);
    if let Some(failure) = failure {
        panic!("fuzz target {target}, after {count} inputs: {failure}");
    }
    eprintln!("fuzz target {target}: {count} inputs in {:.1} s, no finding", begin.elapsed().as_secs_f64());
}

/// Tries inputs until the time is over, in whole batches of the configuration's `cases`. Returns
/// their number, and the failure that ended it.
fn search<S>(
    inputs: &S,
    judge: impl Fn(S::Value) -> Judgement,
    time: Duration,
    config: &Config,
) -> (u64, Option<String>)
where
    S: Strategy,
    S::Value: Clone + Debug,
{
    let begin = Instant::now();
    let count = Cell::new(0_u64);
    loop {
        let mut runner =
            TestRunner::new(Config { max_shrink_iters: 4096, max_shrink_time: 60_000, ..config.clone() });
        let done = runner.run(inputs, |input| {
            count.set(count.get() + 1);
            let timed = |input| {
                let begin = Instant::now();
                judge(input).map(|()| begin.elapsed())
            };
            let again = input.clone();
            // On a busy machine this program itself may be held up: what is slow is slow twice.
            if timed(input)? > SLOW {
                let took = timed(again)?;
                if took > SLOW {
                    return Err(TestCaseError::fail(format!("took {} ms", took.as_millis())));
                }
            }
            Ok(())
        });
        let failure = done.err().map(|failure| failure.to_string());
        if failure.is_some() || begin.elapsed() >= time {
            return (count.get(), failure);
        }
    }
}

/// The time that each target has.
fn time() -> Duration {
    let Ok(text) = std::env::var(SECONDS) else { return DEFAULT };
    match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => panic!("{SECONDS}={text} is no number of seconds"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::test_runner::RngSeed;

    use super::*;

    fn failure(seed: u64, judge: impl Fn(Bytes) -> Judgement) -> Option<String> {
        let inputs = bytes(vec![b"length=4;body".to_vec()], &[b"9"], 64);
        // One batch that does not end before the fault is met: a second one would try the same
        // inputs.
        let config = Config {
            cases: 1_000_000,
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(seed),
            ..Config::default()
        };
        search(&inputs, judge, Duration::from_secs(20), &config).1
    }

    /// Making small goes downhill and may end where two changes need each other, so it is asked of
    /// most searches, not of each.
    #[test]
    fn a_fault_behind_a_bent_byte_is_found_and_mostly_made_small() {
        let found: Vec<String> = (0..16)
            .map(|seed| {
                failure(seed, |input| match input.0.get(7) {
                    Some(b'9') if input.0.starts_with(b"length=") => Err(TestCaseError::fail("found")),
                    _ => Ok(()),
                })
                .unwrap()
            })
            .collect();
        assert!(found.iter().all(|failure| failure.contains("length=9")), "{found:#?}");
        // One change of the seed is left: the word put in, or the byte set.
        let small =
            |failure: &&String| failure.contains("length=9;body") || failure.contains("length=94;body");
        assert!(found.iter().filter(small).count() >= 8, "{found:#?}");
    }

    #[test]
    fn a_panic_of_the_target_is_a_finding() {
        let found = failure(1, |input| {
            assert!(input.0.len() < 20, "length went bad");
            Ok(())
        });
        assert!(found.unwrap().contains("length went bad"));
    }
}
