//! One red case for every kind of expectation, each beside a green one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::scenario::attempts::AttemptLog;
use crate::scenario::capture::Captured;
use crate::scenario::judge::{Unmet, judge};
use crate::scenario::outcome::{CaseOutcome, FileState, LoggedEnd};
use crate::scenario::plan::Expectations;
use crate::scenario::read::scenario;
use crate::wire::event::{AgentEnded, How, Line};

/// Reads what stands behind `expect:`.
fn expecting(text: &str) -> Expectations {
    let file = format!("image: a\ncases: [{{name: x, expect: {text}}}]\n");
    let read = scenario("s.yml", &file).map_err(|found| netpolicy::diagnostic::render(&found));
    read.unwrap().cases.remove(0).expect
}

/// Makes lines of a log: second, millisecond, and the fields of the event.
fn lines(events: &[(u64, u64, &str)]) -> Vec<Line> {
    let line = |(seq, (seconds, millis, fields)): (usize, &(u64, u64, &str))| {
        let time = format!("2026-11-30T12:00:{seconds:02}.{millis:03}Z");
        let text = format!(r#"{{"v":1,"seq":{seq},"time":"{time}","workflow":"0000002a",{fields}}}"#);
        Line::read(text.as_bytes()).unwrap_or_else(|| panic!("{text}"))
    };
    events.iter().enumerate().map(line).collect()
}

const START: (u64, u64, &str) = (0, 0, r#""kind":"lifecycle","reason":"start""#);

/// An outcome by its events; the agent ended by itself with this status.
fn outcome(status: u8, events: &[(u64, u64, &str)]) -> CaseOutcome {
    let all = lines(&[&[START], events].concat());
    let mut attempts = AttemptLog::default();
    all.iter().for_each(|line| attempts.add(line));
    let (first, last) = (all[0].time, all[all.len() - 1].time);
    let how = AgentEnded { how: How::Exited.into(), exit_status: Some(status) };
    CaseOutcome {
        ended: Some(LoggedEnd { seq: 99, time: last, how }),
        began: Some(first),
        attempts,
        ..CaseOutcome::default()
    }
}

fn judged(expect: &str, outcome: &CaseOutcome) -> Vec<Unmet> {
    judge(&expecting(expect), outcome)
}

/// Requires that the green outcome meets an expectation, and the red one does not, for this key and
/// with this in its words or evidence.
fn red_and_green(expect: &str, key: &str, said: &str, red: &CaseOutcome, green: &CaseOutcome) {
    assert_eq!(judged(expect, green), [], "{expect}");
    let unmet = judged(expect, red);
    assert_eq!(unmet.len(), 1, "{expect}: {unmet:?}");
    assert_eq!(unmet[0].expectation, key, "{expect}: {unmet:?}");
    let words = format!("{}\n{}", unmet[0].message, unmet[0].evidence.join("\n"));
    assert!(words.contains(said), "{expect}: {words}");
}

#[test]
fn exit_and_within() {
    let ended = |status| outcome(status, &[]);
    red_and_green("{exit: 0}", "exit", "it ended with 3, expected: 0", &ended(3), &ended(0));
    red_and_green(
        "{exit: 7}",
        "exit",
        "event 99 +0.000s: agent-ended, exited, exit status 0",
        &ended(0),
        &ended(7),
    );
    red_and_green("{exit: nonzero}", "exit", "expected: not 0", &ended(0), &ended(1));
    let by = |how: How| {
        let mut outcome = outcome(124, &[]);
        outcome.ended.as_mut().unwrap().how.how = how.into();
        outcome
    };
    let late = CaseOutcome { out_of_time: Some(Duration::from_secs(30)), ..by(How::Stopped) };
    red_and_green("{within: 30s}", "within", "still at work after 30s", &late, &ended(0));
    assert_eq!(judged("{exit: 7}", &late).len(), 1, "a case without `within` has a limit too");
    // An agent that ringfence ended did not end with a status of its own.
    red_and_green("{exit: nonzero}", "exit", "was ended (memory-limit)", &by(How::MemoryLimit), &ended(1));
    red_and_green("{exit: nonzero}", "exit", "was ended (time-limit)", &by(How::TimeLimit), &ended(1));
    let mut unknown = ended(0);
    unknown.ended = None;
    red_and_green("{exit: 0}", "exit", "does not say how", &unknown, &ended(0));
}

#[test]
fn stdout_and_stderr() {
    let wrote = |out: &str, err: &str| CaseOutcome {
        stdout: Captured { bytes: out.into(), is_cut_short: false },
        stderr: Captured { bytes: err.into(), is_cut_short: false },
        ..outcome(0, &[])
    };
    red_and_green("{stdout: /^done$/}", "stdout", "was none", &wrote("", "done\n"), &wrote("x\ndone\n", ""));
    red_and_green(
        "{stderr: /network/}",
        "stderr",
        "no luck",
        &wrote("network", "no luck\n"),
        &wrote("", "no network"),
    );
    let one_of_two = judged("{stdout: [a, b]}", &wrote("a", ""));
    assert_eq!(one_of_two.len(), 1, "each pattern must be found");
}

#[test]
fn files() {
    let with = |state: FileState| CaseOutcome {
        files: BTreeMap::from([("f".to_owned(), state)]),
        ..outcome(0, &[])
    };
    let file = |text: &str| FileState::File(Captured { bytes: text.into(), is_cut_short: false });
    red_and_green(
        "{files: {f: exists}}",
        "files",
        "f is not there",
        &with(FileState::Absent),
        &with(file("")),
    );
    red_and_green("{files: {f: absent}}", "files", "f is there", &with(file("x")), &with(FileState::Absent));
    let matches = "{files: {f: {matches: /yes/}}}";
    red_and_green(matches, "files", "maybe", &with(file("maybe\n")), &with(file("yes\n")));
    red_and_green(
        matches,
        "files",
        "a link",
        &with(FileState::Other("a link, or behind one")),
        &with(file("yes")),
    );
    red_and_green(matches, "files", "not there", &with(FileState::Absent), &with(file("yes")));
    let doubt = with(FileState::Unknown("no permission".to_owned()));
    for expect in ["{files: {f: exists}}", "{files: {f: absent}}", matches] {
        assert_eq!(judged(expect, &doubt).len(), 1, "doubt is no pass: {expect}");
    }
}

const LOOKUP_A: &str = r#""kind":"dns","verdict":"deny","reason":"not-allowed","host":"x.corp.example""#;
const OPEN: &str = r#""kind":"connect","phase":"open","conn":1,"verdict":"allow","reason":"allowed","host":"gitlab.com","address":"198.51.100.7","port":443,"protocol":"tls""#;
const CLOSE: &str = r#""kind":"connect","phase":"close","conn":1,"verdict":"allow","reason":"allowed","host":"gitlab.com","port":443,"bytes_out":1,"bytes_in":1,"ms":5"#;
const ANSWERED: &str =
    r#""kind":"dns","verdict":"allow","reason":"allowed","host":"gitlab.com","address":"25.0.0.1""#;
const RAW: &str = r#""kind":"connect","verdict":"deny","reason":"private-address","address":"10.1.2.3","port":22,"protocol":"tcp""#;
const RAW_MORE: &str = r#""kind":"connect","verdict":"deny","reason":"private-address","address":"10.1.2.3","port":22,"protocol":"tcp","left_out":11"#;
const UNNAMED: &str = r#""kind":"datagram","verdict":"deny","reason":"not-allowed","left_out":40"#;

#[test]
fn attempts_none_only_and_some() {
    let quiet = outcome(0, &[(1, 0, ANSWERED), (1, 1, OPEN), (2, 0, CLOSE)]);
    let intranet = outcome(0, &[(1, 0, LOOKUP_A), (1, 0, LOOKUP_A)]);
    let raw = outcome(0, &[(3, 500, RAW)]);
    red_and_green(
        "{attempts: {none: [\"*.corp.example\"]}}",
        "attempts.none",
        "event 1 +1.000s: dns deny x.corp.example (not-allowed)",
        &intranet,
        &quiet,
    );
    red_and_green(
        "{attempts: {none: [\"tcp://10.0.0.0/8\"]}}",
        "attempts.none",
        "event 1 +3.500s: connect deny 10.1.2.3:22 (private-address)",
        &raw,
        &quiet,
    );
    // The address that stands for a name in the fence is no target.
    assert_eq!(judged("{attempts: {none: [25.0.0.0/8]}}", &quiet), []);
    let mixed = outcome(0, &[(1, 0, OPEN), (2, 0, LOOKUP_A)]);
    red_and_green("{attempts: {only: [gitlab.com]}}", "attempts.only", "x.corp.example", &mixed, &quiet);
    red_and_green("{attempts: {only: []}}", "attempts.only", "nothing may be", &quiet, &outcome(0, &[]));
    red_and_green("{attempts: {some: [gitlab.com]}}", "attempts.some", "never tried", &intranet, &quiet);
    // A line that stands for targets that it does not name may stand for any.
    for expect in ["{attempts: {none: [a.test]}}", "{attempts: {only: [gitlab.com]}}"] {
        assert_eq!(judged(expect, &outcome(0, &[(1, 0, UNNAMED)])).len(), 1, "{expect}");
    }
}

#[test]
fn attempts_are_counted_as_a_program_counts_them() {
    // Two lookups at once, and a connection with its end: one try each.
    let two =
        outcome(0, &[(1, 0, LOOKUP_A), (1, 20, LOOKUP_A), (2, 0, ANSWERED), (2, 1, OPEN), (3, 0, CLOSE)]);
    assert_eq!(judged("{attempts: {counts: [{least: 2, most: 2}]}}", &two), []);
    let many = outcome(0, &[(1, 0, RAW), (2, 0, RAW_MORE)]);
    red_and_green(
        "{attempts: {counts: [{target: 10.0.0.0/8, most: 12}]}}",
        "attempts.counts",
        "13 attempts at 10.0.0.0/8, expected: at most 12",
        &many,
        &two,
    );
    red_and_green(
        "{attempts: {counts: [{target: gitlab.com, least: 1}]}}",
        "attempts.counts",
        "0 attempts at gitlab.com, expected: at least 1",
        &many,
        &two,
    );
}

#[test]
fn attempts_a_second_and_giving_up() {
    let often = outcome(0, &[(1, 0, LOOKUP_A), (1, 300, LOOKUP_A), (1, 600, LOOKUP_A), (5, 0, LOOKUP_A)]);
    let seldom = outcome(0, &[(1, 0, LOOKUP_A), (2, 0, LOOKUP_A), (3, 0, LOOKUP_A), (3, 10, OPEN)]);
    red_and_green(
        "{attempts: {per-second: 2}}",
        "attempts.per-second",
        "3 attempts at x.corp.example in one second",
        &often,
        &seldom,
    );
    let flood = outcome(0, &[(1, 0, RAW), (2, 0, RAW_MORE)]);
    // Twelve came after the first line, within its second or at the beginning of the next.
    red_and_green(
        "{attempts: {per-second: 5}}",
        "attempts.per-second",
        "6 attempts at 10.1.2.3:22 in one second",
        &flood,
        &seldom,
    );
    assert_eq!(judged("{attempts: {per-second: 6}}", &flood), [], "no second is proven to have more");
    red_and_green(
        "{attempts: {gave-up-within: 3s}}",
        "attempts.gave-up-within",
        "it tried on for 4.000s",
        &often,
        &seldom,
    );
    assert_eq!(judged("{attempts: {gave-up-within: 1s}}", &outcome(0, &[(9, 0, OPEN)])), []);
}

#[test]
fn folded_lines_prove_no_more_than_they_say() {
    // Each try asks for two types of address, of which the second is told a second later.
    let lookups =
        r#""kind":"dns","verdict":"deny","reason":"not-allowed","host":"x.corp.example","left_out":6"#;
    let pairs = outcome(0, &[(1, 0, LOOKUP_A), (2, 100, LOOKUP_A), (6, 0, LOOKUP_A), (7, 200, LOOKUP_A)]);
    assert_eq!(judged("{attempts: {counts: [{most: 2}], gave-up-within: 5s}}", &pairs), []);
    assert_eq!(judged("{attempts: {counts: [{most: 1}]}}", &pairs).len(), 1);
    assert_eq!(judged("{attempts: {gave-up-within: 4s}}", &pairs).len(), 1);
    // Seven lookups may have come within a moment of the first, and be one try with it.
    let one_line = outcome(0, &[(1, 0, LOOKUP_A), (2, 200, lookups), (2, 900, LOOKUP_A)]);
    assert_eq!(judged("{attempts: {per-second: 2, counts: [{most: 2}]}}", &one_line), []);
    assert_eq!(judged("{attempts: {counts: [{most: 1}]}}", &one_line).len(), 1);
    assert_eq!(judged("{attempts: {counts: [{least: 9}]}}", &one_line), [], "nine are possible");
    assert_eq!(judged("{attempts: {counts: [{least: 10}]}}", &one_line).len(), 1);
    // A program that asks each second is no try less than half of its lines.
    let each_second: Vec<_> = (1..=20).map(|second| (second, 0, LOOKUP_A)).collect();
    assert_eq!(judged("{attempts: {counts: [{most: 9}]}}", &outcome(0, &each_second)).len(), 1);
    // Connections that share a line are each a try, and none of them is proven to be at its time.
    let connections = outcome(0, &[(1, 0, RAW), (2, 900, RAW_MORE), (3, 0, OPEN)]);
    assert_eq!(judged("{attempts: {per-second: 6, counts: [{most: 14}]}}", &connections), []);
    assert_eq!(judged("{attempts: {per-second: 5}}", &connections).len(), 1);
    // A count of a flood names no port, and is as old as the log.
    let flood =
        r#""kind":"connect","verdict":"deny","reason":"private-address","address":"10.1.2.3","left_out":59"#;
    let flooded = outcome(0, &[(28, 0, RAW), (29, 900, flood)]);
    assert_eq!(judged("{attempts: {per-second: 2}}", &flooded), []);
    assert_eq!(judged("{attempts: {per-second: 1}}", &flooded).len(), 1);
}

#[test]
fn a_log_that_is_not_whole_and_a_step_that_never_came_are_no_pass() {
    let whole = outcome(0, &[]);
    let mut torn = outcome(0, &[]);
    torn.log_fault = Some("its end is missing".to_owned());
    red_and_green("{attempts: {none: [a.test]}}", "attempts", "nobody knows", &torn, &whole);
    let mut missed = outcome(0, &[]);
    missed.missed = vec!["`cut` at 5s".to_owned()];
    red_and_green("{exit: 0}", "network", "`cut` at 5s never came", &missed, &whole);
}

#[test]
fn a_flood_of_attempts_is_bounded_and_no_pass() {
    let line = lines(&[(1, 0, RAW)]).remove(0);
    let mut attempts = AttemptLog::default();
    (0..30_000).for_each(|_| attempts.add(&line));
    assert!(attempts.is_cut_short && attempts.all().count() == 20_000);
    let flooded = CaseOutcome { attempts, ..outcome(0, &[]) };
    let unmet = judged("{attempts: {none: [a.test], per-second: 1}}", &flooded);
    assert_eq!(unmet.len(), 1, "{unmet:?}");
}
