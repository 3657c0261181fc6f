//! The rows as a person reads them.

use super::row::{Row, Verdict};

/// The rows as text; with colours where they are wanted.
pub fn text(rows: &[Row], coloured: bool) -> String {
    let mut text = String::new();
    for row in rows {
        let paint = |word: &str| {
            if coloured { format!("\x1b[{}m{word}\x1b[0m", colour(row.verdict)) } else { word.to_owned() }
        };
        let verdict = paint(&format!("{:<8}", row.verdict.as_str()));
        text.push_str(&format!("{:<4} {verdict} {}\n", row.risk, row.title));
        for evidence in &row.evidence {
            text.push_str(&format!("              {}\n", evidence.replace('\n', "\n              ")));
        }
        for remedy in &row.remedy {
            text.push_str(&format!("            > {remedy}\n"));
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
