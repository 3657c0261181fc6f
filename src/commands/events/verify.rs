//! `ringfence events --verify`: what can be said of a log, and no more than that.
//!
//! ```text
//!  lines ──wire::chain──▶ findings (missing, moved, changed, cut off) ─▶ status 1
//!                   └───▶ none: whole from the first line to the last; only with --digest: and nothing is missing after that
//! ```

use serde_json::json;

use crate::term::Failure;
use crate::wire::chain::Checked;

/// The log is not what the guard wrote.
const NOT_GOOD: u8 = 1;

/// Checks a log and says what was found.
pub(crate) fn verify(log: &[u8], digest: Option<&str>, as_json: bool) -> Result<u8, Failure> {
    let (checked, good) = judge(log, digest);
    if as_json {
        crate::term::print_json(&json!({
            "events": checked.lines,
            "digest": checked.digest.as_ref().map(|digest| format!("sha256:{digest}")),
            "whole": checked.findings.is_empty() && checked.lines > 0,
            "ended": checked.ended,
            "vouched_to": checked.vouched,
            "findings": checked.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "good": good,
        }))?;
    } else {
        crate::term::print(&in_words(&checked, digest.is_some()))?;
    }
    Ok(if good { 0 } else { NOT_GOOD })
}

/// Checks a log, and tells whether it is whole and has the digest that was asked for.
fn judge(log: &[u8], digest: Option<&str>) -> (Checked, bool) {
    let checked = digest.map_or_else(Checked::default, Checked::looking_for).of(log);
    let good = checked.findings.is_empty() && checked.lines > 0 && (digest.is_none() || checked.is_vouched());
    (checked, good)
}

fn in_words(checked: &Checked, wanted: bool) -> String {
    let Checked { lines, findings, more, .. } = checked;
    let Some(digest) = &checked.digest else { return "there is no event in it\n".to_owned() };
    let mut text = String::new();
    for finding in findings {
        text.push_str(&format!("{finding}\n"));
    }
    if *more > 0 {
        text.push_str(&format!("and {more} more findings\n"));
    }
    if findings.is_empty() {
        text.push_str(&format!("the chain is whole from line 1 to line {lines}\n"));
    }
    match (wanted, checked.vouched) {
        (true, Some(line)) if line == *lines && findings.is_empty() => {
            text.push_str("the digest is that of the last line: nothing is missing, changed or added\n");
        }
        (true, Some(line)) if line == *lines => text.push_str("the digest is that of the last line\n"),
        (true, Some(line)) => text.push_str(&format!(
            "the digest is that of line {line}: the {} lines after it were added later\n",
            lines - line
        )),
        (true, None) => {
            text.push_str("the digest is that of no line: lines are missing at the end, or were changed\n");
        }
        (false, _) => {
            let end = if checked.ended {
                ""
            } else {
                "; the last line is no end of a guard, so it runs, or was killed"
            };
            text.push_str(&format!(
                "nothing proves that no lines are missing at the end, or that the log was not written anew: --digest does, \
                 with the digest that the run printed{end}\n"
            ));
        }
    }
    text.push_str(&format!("last digest: sha256:{digest}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = r#"{"v":1,"seq":0,"time":"2026-11-30T00:00:00.000Z","workflow":"0000002a","kind":"lifecycle","reason":"start"}"#;

    /// Makes two lines, and the digest of the last.
    fn log() -> (String, String) {
        let first = Checked::default().of(format!("{FIRST}\n").as_bytes()).digest.unwrap();
        let second = FIRST.replace("\"seq\":0", "\"seq\":1").replace("start", "end");
        let second = second.replace('}', &format!(r#","prev":"{first}"}}"#));
        let log = format!("{FIRST}\n{second}\n");
        let digest = Checked::default().of(log.as_bytes()).digest.unwrap();
        (log, digest.to_string())
    }

    fn said(log: &str, digest: Option<&str>) -> String {
        let checked = digest.map_or_else(Checked::default, Checked::looking_for).of(log.as_bytes());
        in_words(&checked, digest.is_some())
    }

    #[test]
    fn no_more_is_said_than_was_checked() {
        let (log, digest) = log();
        let without = said(&log, None);
        assert!(
            without.contains("whole from line 1 to line 2") && without.contains("nothing proves"),
            "{without}"
        );
        let with = said(&log, Some(&digest));
        assert!(with.contains("nothing is missing, changed or added"), "{with}");
        let cut = format!("{FIRST}\n");
        let with = said(&cut, Some(&digest));
        assert!(with.contains("of no line: lines are missing at the end"), "{with}");
        assert!(said(&cut, None).contains("runs, or was killed"));
        let first = Checked::default().of(cut.as_bytes()).digest.unwrap();
        assert!(
            said(&log, Some(first.as_ref())).contains("of line 1: the 1 lines after it were added later")
        );
        assert_eq!(said("", None), "there is no event in it\n");
    }

    #[test]
    fn the_status_is_good_only_where_everything_asked_for_was_found() {
        let (log, digest) = log();
        let good = |log: &str, digest: Option<&str>| judge(log.as_bytes(), digest).1;
        assert!(good(&log, None) && good(&log, Some(&digest)));
        let first = Checked::default().of(format!("{FIRST}\n").as_bytes()).digest.unwrap();
        for (log, digest) in [
            ("", None),
            ("x\n", None),
            (log.trim_end(), None),
            (&log.replace("start", "nope"), None),
            (&format!("{FIRST}\n"), Some(&digest)),
            (&log, Some(&first.to_string())),
        ] {
            assert!(!good(log, digest.map(String::as_str)), "{log:?}");
        }
    }
}
