//! Results of cases: as a table, as JSON, and the files that are kept of each.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::judge::Unmet;
use super::outcome::CaseOutcome;
use super::plan::Case;
use crate::host::open;
use crate::wire::WorkflowId;

/// Mode of kept files: they tell of a person's work.
const MODE: u32 = 0o600;
/// Characters of a case's name that become part of a file's.
const LONGEST_SLUG: usize = 40;
/// The largest log that is kept.
const LARGEST_LOG: u64 = 1 << 30;

/// End of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CaseEnd {
    /// It was run and judged: everything that was not met.
    Judged(Vec<Unmet>),
    /// It could not be run, and why, line by line.
    NotRun(Vec<String>),
    /// A signal ended it, or came before it.
    Interrupted,
}

/// Result of a case.
#[derive(Debug, Clone)]
pub(crate) struct CaseResult {
    /// Name of the case.
    pub(crate) name: String,
    /// Line of the case in its file.
    pub(crate) line: u32,
    /// End of the case.
    pub(crate) end: CaseEnd,
    /// Id of its run.
    pub(crate) run: Option<WorkflowId>,
    /// Exit status of its run.
    pub(crate) exit_status: Option<u8>,
    /// Seconds that it took, start and removal included.
    pub(crate) seconds: f64,
    /// Targets that were tried, each with the first event about it; none where the log does not
    /// name them all.
    pub(crate) tried: Option<BTreeMap<String, String>>,
    /// Facts worth knowing.
    pub(crate) notes: Vec<String>,
}

impl CaseResult {
    /// Begins with a case that was not run.
    pub(super) fn of(case: &Case) -> CaseResult {
        CaseResult {
            name: case.name.clone(),
            line: case.line,
            end: CaseEnd::Interrupted,
            run: None,
            exit_status: None,
            seconds: 0.0,
            tried: None,
            notes: Vec::new(),
        }
    }

    /// Tells whether everything was met.
    pub(crate) fn has_passed(&self) -> bool {
        matches!(&self.end, CaseEnd::Judged(unmet) if unmet.is_empty())
    }

    /// Returns the word of the result.
    pub(crate) fn word(&self) -> &'static str {
        match &self.end {
            CaseEnd::Judged(unmet) if unmet.is_empty() => "passed",
            CaseEnd::Judged(_) => "failed",
            CaseEnd::NotRun(_) => "not run",
            CaseEnd::Interrupted => "interrupted",
        }
    }
}

/// Writes the table.
pub(crate) fn table(results: &[CaseResult]) -> String {
    let width = results.iter().map(|result| result.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for result in results {
        let run = result.run.map(|run| format!("  run {run}")).unwrap_or_default();
        let name = format!("{:width$}", result.name);
        text.push_str(&format!("{:11}  {name}  {:6.1} s{run}\n", result.word(), result.seconds));
        let mut below = |depth: usize, line: &str| text.push_str(&format!("{}{line}\n", " ".repeat(depth)));
        match &result.end {
            CaseEnd::Judged(unmet) => {
                for Unmet { expectation, message, evidence } in unmet {
                    below(4, &format!("{expectation}: {message}"));
                    evidence.iter().for_each(|line| below(8, line));
                }
            }
            CaseEnd::NotRun(why) => why.iter().for_each(|line| below(4, line)),
            CaseEnd::Interrupted => {}
        }
        result.notes.iter().for_each(|note| below(4, &format!("note: {note}")));
    }
    let count = |word: &str| results.iter().filter(|result| result.word() == word).count();
    let mut sums = vec![format!("{} passed", count("passed")), format!("{} failed", count("failed"))];
    for word in ["not run", "interrupted"] {
        if count(word) > 0 {
            sums.push(format!("{} {word}", count(word)));
        }
    }
    format!("{text}{}\n", sums.join(", "))
}

/// Returns the results as JSON.
pub(crate) fn data(file: &str, results: &[CaseResult]) -> Value {
    let case = |result: &CaseResult| {
        let (failures, why) = match &result.end {
            CaseEnd::Judged(unmet) => (unmet.iter().map(unmet_data).collect(), Vec::new()),
            CaseEnd::NotRun(why) => (Vec::new(), why.clone()),
            CaseEnd::Interrupted => (Vec::new(), Vec::new()),
        };
        json!({
            "name": result.name,
            "line": result.line,
            "result": result.word().replace(' ', "-"),
            "seconds": (result.seconds * 1000.0).round() / 1000.0,
            "run": result.run.map(|run| run.to_string()),
            "exit_status": result.exit_status,
            "failures": Value::Array(failures),
            "why": why,
            "notes": result.notes,
        })
    };
    json!({
        "file": file,
        "passed": results.iter().all(CaseResult::has_passed),
        "cases": results.iter().map(case).collect::<Vec<_>>(),
    })
}

fn unmet_data(unmet: &Unmet) -> Value {
    json!({"expectation": unmet.expectation, "message": unmet.message, "evidence": unmet.evidence})
}

/// Keeps the log and the output of a case.
pub(super) fn keep(
    folder: &Path,
    number: usize,
    name: &str,
    events: &Path,
    outcome: &CaseOutcome,
) -> io::Result<()> {
    let stem = format!("{:03}-{}", number + 1, slug(name));
    let log = match open::read(events, LARGEST_LOG) {
        Ok(log) => log,
        Err(refused) if refused.is_missing() => Vec::new(),
        Err(refused) => return Err(io::Error::other(refused)),
    };
    for (ending, bytes) in
        [("jsonl", &log), ("stdout", &outcome.stdout.bytes), ("stderr", &outcome.stderr.bytes)]
    {
        let path = folder.join(format!("{stem}.{ending}"));
        let mut created = open::create(&path, MODE).map_err(io::Error::other)?;
        created.file.write_all(bytes)?;
    }
    Ok(())
}

/// Makes a part of a file's name of the name of a case.
fn slug(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = name.chars().map(plain).take(LONGEST_SLUG).collect();
    text.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Results with everything in them, and an agent that writes markup and sequences.
    fn all() -> Vec<CaseResult> {
        let result = |name: &str, end| CaseResult {
            name: name.to_owned(),
            line: 4,
            end,
            run: None,
            exit_status: Some(3),
            seconds: 1.25,
            tried: None,
            notes: Vec::new(),
        };
        let unmet = Unmet {
            expectation: "stdout",
            message: "/done/ is not in stdout; its last lines:".to_owned(),
            evidence: vec!["</failure><testcase name=\"x\"/>\u{1b}[2J\u{0}".to_owned()],
        };
        vec![
            result("good", CaseEnd::Judged(Vec::new())),
            result("bad <&>", CaseEnd::Judged(vec![unmet])),
            result("not", CaseEnd::NotRun(vec!["no image".to_owned(), "ringfence: why".to_owned()])),
            result("stopped", CaseEnd::Interrupted),
        ]
    }

    #[test]
    fn results_are_told_in_each_form_and_no_output_of_an_agent_is_markup() {
        let all = all();
        let table = table(&all);
        assert!(
            table.contains("failed       bad <&>     1.2 s\n    stdout: /done/ is not in stdout"),
            "{table}"
        );
        assert!(table.contains("not run      not") && table.contains("    ringfence: why\n"), "{table}");
        assert!(table.ends_with("1 passed, 1 failed, 1 not run, 1 interrupted\n"), "{table}");
        let data = data("s.yml", &all);
        let words: Vec<_> =
            data["cases"].as_array().unwrap().iter().map(|case| case["result"].clone()).collect();
        assert_eq!(words, ["passed", "failed", "not-run", "interrupted"]);
        assert_eq!(
            (data["passed"].clone(), data["cases"][2]["why"][0].clone()),
            (false.into(), "no image".into())
        );
        let xml = crate::scenario::junit::xml("s.yml", &all).unwrap();
        let cases = xml.matches("<testcase ").count();
        assert!(cases == 4 && xml.contains("failures=\"1\"") && xml.contains("errors=\"2\""), "{xml}");
        assert!(xml.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t')), "{xml:?}");
    }

    #[test]
    fn a_name_of_a_case_is_no_path() {
        assert_eq!(slug("../../etc/passwd"), "etc-passwd");
        assert_eq!(slug("Offline from the start"), "offline-from-the-start");
        assert_eq!(slug("日本"), "");
        assert_eq!(slug(&"x".repeat(300)).len(), LONGEST_SLUG);
    }
}
