//! A golden list: the targets that each case tried, with which later runs are compared.
//!
//! ```text
//!  results ──record──▶ FILE (JSON, for people to read and to keep beside the scenario)
//!  results, FILE ──compare──▶ Unmet: targets that are new, and targets that are tried no more
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::judge::Unmet;
use super::results::{CaseEnd, CaseResult};

/// Key of an expectation that a golden list makes.
const KEY: &str = "golden";

/// Targets that cases tried, by the names of the cases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GoldenList {
    /// Version of the form: 1.
    version: u8,
    cases: BTreeMap<String, BTreeSet<String>>,
}

impl GoldenList {
    /// Reads a list.
    ///
    /// # Errors
    /// When it is none, in words.
    pub(crate) fn read(text: &[u8]) -> Result<GoldenList, String> {
        let list: GoldenList = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        match list.version {
            1 => Ok(list),
            other => Err(format!("its version is {other}, and 1 is known")),
        }
    }

    /// Makes a list of results.
    ///
    /// # Errors
    /// The name of a case that was not run to its end, or whose log does not name all targets.
    pub(crate) fn of(results: &[CaseResult]) -> Result<GoldenList, String> {
        let targets = |result: &CaseResult| match (&result.end, &result.tried) {
            (CaseEnd::Judged(_), Some(tried)) => Ok((result.name.clone(), tried.keys().cloned().collect())),
            _ => Err(result.name.clone()),
        };
        Ok(GoldenList { version: 1, cases: results.iter().map(targets).collect::<Result<_, _>>()? })
    }

    /// Returns the text of a list, with a line end.
    pub(crate) fn text(&self) -> String {
        // Texts and a number can always be written.
        format!("{}\n", serde_json::to_string_pretty(self).unwrap_or_default())
    }

    /// Judges results by the list. What was not run is not judged.
    pub(crate) fn judge(&self, results: &mut [CaseResult]) {
        for result in results {
            let found = self.compare(&result.name, result.tried.as_ref());
            if let CaseEnd::Judged(unmet) = &mut result.end {
                unmet.extend(found);
            }
        }
    }

    fn compare(&self, case: &str, tried: Option<&BTreeMap<String, String>>) -> Vec<Unmet> {
        let unmet = |message: String, evidence: Vec<String>| Unmet { expectation: KEY, message, evidence };
        let Some(known) = self.cases.get(case) else {
            return vec![unmet(
                "the golden list has no case of this name: record it again".to_owned(),
                Vec::new(),
            )];
        };
        let Some(tried) = tried else {
            return vec![unmet("the log does not name everything that was tried".to_owned(), Vec::new())];
        };
        let new = tried.iter().filter(|(target, _)| !known.contains(*target)).map(|(target, event)| {
            unmet(format!("{target} was tried, and is not in the golden list"), vec![event.clone()])
        });
        let gone = known
            .iter()
            .filter(|target| !tried.contains_key(*target))
            .map(|target| unmet(format!("{target} is in the golden list, and was not tried"), Vec::new()));
        new.chain(gone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(name: &str, targets: Option<&[&str]>) -> CaseResult {
        CaseResult {
            name: name.to_owned(),
            line: 1,
            end: CaseEnd::Judged(Vec::new()),
            run: None,
            exit_status: None,
            seconds: 0.0,
            notes: Vec::new(),
            tried: targets
                .map(|all| all.iter().map(|one| ((*one).to_owned(), format!("event {one}"))).collect()),
        }
    }

    fn judged(list: &GoldenList, result: CaseResult) -> Vec<String> {
        let mut results = [result];
        list.judge(&mut results);
        match &results[0].end {
            CaseEnd::Judged(unmet) => {
                unmet.iter().map(|one| format!("{} {:?}", one.message, one.evidence)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_new_and_what_is_gone_fails_a_case() {
        let list =
            GoldenList::of(&[result("a", Some(&["x.test:443", "y.test"])), result("b", Some(&[]))]).unwrap();
        let list = GoldenList::read(list.text().as_bytes()).unwrap();
        assert_eq!(judged(&list, result("a", Some(&["y.test", "x.test:443"]))), [] as [String; 0]);
        let both = judged(&list, result("a", Some(&["x.test:443", "z.test"])));
        assert!(both[0].contains("z.test was tried") && both[0].contains("event z.test"), "{both:?}");
        assert!(both[1].contains("y.test is in the golden list, and was not tried"), "{both:?}");
        assert!(judged(&list, result("c", Some(&[])))[0].contains("no case of this name"));
        assert!(judged(&list, result("b", None))[0].contains("does not name everything"), "doubt is no pass");
    }

    #[test]
    fn what_is_not_whole_is_not_recorded_and_what_is_no_list_is_not_read() {
        assert_eq!(GoldenList::of(&[result("a", None)]), Err("a".to_owned()));
        let interrupted = CaseResult { end: CaseEnd::Interrupted, ..result("a", Some(&[])) };
        assert_eq!(GoldenList::of(&[interrupted]), Err("a".to_owned()));
        for text in
            ["", "[]", r#"{"version":2,"cases":{}}"#, r#"{"version":1}"#, r#"{"version":1,"cases":{},"x":1}"#]
        {
            assert!(GoldenList::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
