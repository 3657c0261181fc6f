//! A fuzz target of the reader; CONTRIBUTING.md says how to run it for longer.

use fuzz::proptest::test_runner::TestCaseError;
use fuzz::{Bytes, bytes, run};

use super::*;

#[test]
fn fuzz_event_lines() {
    let seeds: Vec<Vec<u8>> =
        OLD.lines().map(Vec::from).chain(each().into_iter().map(|event| line(event).into())).collect();
    let words: [&[u8]; 12] = [
        b"\"kind\":",
        b"\"reason\":",
        b"\"lifecycle\"",
        b"\"ready\"",
        b"\"start\"",
        b"\"verdict\":\"deny\"",
        b"null",
        b"{}",
        b"[",
        b"\\u001b",
        b"65536",
        b",",
    ];
    run("event lines", &bytes(seeds, &words, 4000), |Bytes(input)| {
        let Some(line) = Line::read(&input) else { return Ok(()) };
        let again = serde_json::to_vec(&line).map_err(|error| TestCaseError::fail(error.to_string()))?;
        if Line::read(&again).as_ref() != Some(&line) {
            return Err(TestCaseError::fail("what is read is not what is written"));
        }
        if line.event.kind().chars().any(|c| c.is_control()) {
            return Err(TestCaseError::fail("a kind that a terminal obeys"));
        }
        // A plain reader takes the same line for the same thing.
        let plain: serde_json::Value =
            serde_json::from_slice(&input).map_err(|_| TestCaseError::fail("it is no JSON"))?;
        let ready = plain["kind"] == "lifecycle" && plain["reason"] == "ready";
        if ready != matches!(line.event, Event::Lifecycle(Lifecycle::Ready)) {
            return Err(TestCaseError::fail("the readers differ about readiness"));
        }
        if (plain["verdict"] == "deny" && plain["kind"] != "lifecycle") != line.event.is_denied() {
            return Err(TestCaseError::fail("the readers differ about a refusal"));
        }
        Ok(())
    });
}
