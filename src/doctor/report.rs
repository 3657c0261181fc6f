//! The rows as a person reads them.

use super::row::{Row, Verdict};
use crate::term::{line, lines};

/// Returns the rows as text; with colours where they are wanted.
pub(crate) fn text(rows: &[Row], coloured: bool) -> String {
    let mut text = String::new();
    for row in rows {
        let paint = |word: &str| {
            if coloured { format!("\x1b[{}m{word}\x1b[0m", colour(row.verdict)) } else { word.to_owned() }
        };
        let verdict = paint(&format!("{:<8}", row.verdict.as_str()));
        text.push_str(&format!("{:<4} {verdict} {}\n", row.risk, row.title));
        // Names of files and containers are other people's: nothing of them reaches the terminal
        // raw.
        for evidence in row.evidence.iter().map(|text| lines(text)) {
            text.push_str(&format!("              {}\n", evidence.replace('\n', "\n              ")));
        }
        for remedy in &row.remedy {
            text.push_str(&format!("            > {}\n", line(remedy)));
        }
    }
    text.push_str(&format!("\n{}\n", summary(rows)));
    text
}

fn summary(rows: &[Row]) -> String {
    let count = |verdict: Verdict| rows.iter().filter(|row| row.verdict == verdict).count();
    let counted = [Verdict::Ok, Verdict::Warn, Verdict::Unknown, Verdict::Fail]
        .map(|verdict| format!("{} {}", count(verdict), verdict.as_str()));
    format!("{} risks: {}", rows.len(), counted.join(", "))
}

fn colour(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Ok => 32,
        Verdict::Warn => 33,
        Verdict::Unknown => 36,
        Verdict::Fail => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_named_does_not_reach_the_terminal_raw() {
        let mut row = Row::new("R8", "others");
        row.found("db\x1b]0;owned\x07 (0.0.0.0:1)\r");
        let text = text(&[row], false);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    }
}
