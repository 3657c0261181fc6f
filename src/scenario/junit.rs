//! Results of cases as JUnit XML.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::results::{CaseEnd, CaseResult};

/// Writes the results.
///
/// # Errors
/// When they cannot be written as XML.
pub(crate) fn xml(file: &str, results: &[CaseResult]) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new(file);
    for result in results {
        let status = match &result.end {
            CaseEnd::Judged(unmet) if unmet.is_empty() => TestCaseStatus::success(),
            CaseEnd::Judged(unmet) => {
                let mut text = String::new();
                for one in unmet {
                    text.push_str(&format!("{}: {}\n", one.expectation, one.message));
                    one.evidence.iter().for_each(|line| text.push_str(&format!("    {line}\n")));
                }
                let first = unmet.first().map(|one| format!("{}: {}", one.expectation, one.message));
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(first.unwrap_or_default()).set_description(text);
                status
            }
            CaseEnd::NotRun(why) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
                status.set_message(why.first().cloned().unwrap_or_default()).set_description(why.join("\n"));
                status
            }
            CaseEnd::Interrupted => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
                status.set_message("interrupted");
                status
            }
        };
        let mut case = TestCase::new(result.name.as_str(), status);
        case.set_classname(format!("{file}:{}", result.line));
        case.set_time(Duration::from_secs_f64(result.seconds));
        suite.add_test_case(case);
    }
    let mut report = Report::new("ringfence test");
    report.add_test_suite(suite);
    report.to_string()
}
