//! `ringfence policy test`: a policy's own promises about itself, asked of the one decision
//! function.
//!
//! ```text
//!  tests of all layers ──Decider──▶ results ──▶ TAP | JSON on stdout, JUnit XML in a file
//! ```

use std::io::Write as _;

use netpolicy::decide::{Decider, Question, Verdict};
use netpolicy::floor::Surroundings;
use netpolicy::headroom;
use netpolicy::policy::{Expectation, Layer, Policy};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;

use super::{COULD_NOT_TELL, load_for};
use crate::cli::policy::{PolicyArgs, TestArgs};
use crate::host::open;
use crate::term::Failure;
use crate::term::{print, print_json};

const ALL_HOLD: u8 = 0;
const ONE_FAILS: u8 = 1;

/// One promise and what came of it.
#[derive(Debug, Serialize)]
struct Outcome {
    /// `allow: https://gitlab.com/`, as it was written.
    test: String,
    file: String,
    line: u32,
    ok: bool,
    /// Actual verdict.
    verdict: &'static str,
    reason: String,
    /// The rule that decided.
    rule: Option<String>,
}

/// Runs the tests of all layers.
pub(crate) fn test(args: &TestArgs) -> Result<u8, Failure> {
    let policy = PolicyArgs {
        policies: args.files.iter().chain(&args.policy.policies).cloned().collect(),
        allow: args.policy.allow.clone(),
        deny: args.policy.deny.clone(),
        gitlab: args.policy.gitlab.clone(),
    };
    let policy = load_for(&policy, &args.layers, args.network)?.policy;
    warn_of_empty_tests(&policy);
    let outcomes = outcomes(policy);
    if outcomes.is_empty() {
        return Err(Failure::new(COULD_NOT_TELL, "the policies hold no tests")
            .hint("add `tests: [{allow: https://gitlab.com/}]`, or name the file that has them"));
    }
    if let Some(path) = &args.junit {
        let xml = junit(&outcomes)?;
        let cannot = || Failure::new(COULD_NOT_TELL, format!("cannot write {}", path.display()));
        let mut created = open::create(path, 0o666).map_err(|refused| refused.explain(cannot()))?;
        created.file.write_all(xml.as_bytes()).map_err(|error| cannot().caused_by(&error))?;
    }
    if args.json {
        print_json(&outcomes)?;
    } else {
        print(&tap(&outcomes))?;
    }
    Ok(if outcomes.iter().all(|outcome| outcome.ok) { ALL_HOLD } else { ONE_FAILS })
}

/// Asks about the target of every test.
fn outcomes(policy: Policy) -> Vec<Outcome> {
    let tests = policy.tests.clone();
    let surroundings = Surroundings { virtual_range: policy.dns.virtual_range, ..Surroundings::default() };
    let decider = Decider::new(policy);
    let today = crate::host::clock::today();
    let judge = |test: &Expectation| {
        let endpoint = &test.endpoint;
        let question = Question {
            transport: endpoint.transport,
            ..Question::about(&endpoint.target, today).port(endpoint.port)
        };
        if test.assumed {
            // A project has no ceiling of its own: what holds it is asked of the layer above.
            let layer = test.origin.layer.min(Layer::Run);
            headroom::as_if_permitted(decider.policy(), &surroundings, &question, layer)
        } else {
            decider.decide(&surroundings, &question)
        }
    };
    tests.iter().map(|test| outcome(test, &judge(test))).collect()
}

/// Says so where `deny` tests cannot fail: a policy without permissions refuses everything.
fn warn_of_empty_tests(policy: &Policy) {
    let says_deny = policy.tests.iter().any(|test| !test.allow && !test.assumed);
    if says_deny && policy.allow.is_empty() && !policy.network_observed {
        crate::term::talk_lines(
            "note: nothing is permitted, so that every `deny` test holds; `never: TARGET` asks whether a weaker layer \
             could permit it\n",
        );
    }
}

fn outcome(test: &Expectation, verdict: &Verdict) -> Outcome {
    Outcome {
        test: test.origin.text.clone(),
        file: test.origin.file.clone(),
        line: test.origin.line,
        ok: test.allow == verdict.allowed,
        verdict: if verdict.allowed { "allow" } else { "deny" },
        reason: verdict.reason.to_string(),
        rule: verdict.rule.as_ref().map(|rule| {
            let origin = &rule.origin;
            format!("{} ({}, {})", origin.text, origin.layer, origin.place())
        }),
    }
}

/// Writes TAP version 14 (testanything.org).
fn tap(outcomes: &[Outcome]) -> String {
    let mut text = format!("TAP version 14\n1..{}\n", outcomes.len());
    for (number, outcome) in (1..).zip(outcomes) {
        let word = if outcome.ok { "ok" } else { "not ok" };
        // A `#` would begin a directive.
        let name = outcome.test.replace('\\', "\\\\").replace('#', "\\#");
        text.push_str(&format!("{word} {number} - {name}\n"));
        if !outcome.ok {
            text.push_str(&format!("  ---\n  is: {} ({})\n", outcome.verdict, outcome.reason));
            if let Some(rule) = &outcome.rule {
                text.push_str(&format!("  rule: {}\n", serde_json::Value::from(rule.as_str())));
            }
            let at = format!("{}:{}", outcome.file, outcome.line);
            text.push_str(&format!("  at: {}\n  ...\n", serde_json::Value::from(at)));
        }
    }
    text
}

fn junit(outcomes: &[Outcome]) -> Result<String, Failure> {
    let mut suite = TestSuite::new("policy");
    for outcome in outcomes {
        let status = if outcome.ok {
            TestCaseStatus::success()
        } else {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            let rule = outcome.rule.as_deref().map(|rule| format!(", by {rule}")).unwrap_or_default();
            status.set_message(format!("it is {} ({}){rule}", outcome.verdict, outcome.reason));
            status
        };
        let mut case = TestCase::new(outcome.test.as_str(), status);
        case.set_classname(format!("{}:{}", outcome.file, outcome.line));
        suite.add_test_case(case);
    }
    let mut report = Report::new("ringfence policy test");
    report.add_test_suite(suite);
    report
        .to_string()
        .map_err(|error| Failure::new(COULD_NOT_TELL, "cannot write JUnit XML").caused_by(&error))
}
