//! Figures as text.

use super::{Row, Spread, TARGETS};

/// Writes a figure with three or four digits that count.
pub(super) fn number(figure: f64) -> String {
    let digits = match figure.abs() {
        size if !size.is_finite() => return "–".to_owned(),
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 || size == 0.0 => 2,
        _ => 4,
    };
    let text = format!("{figure:.digits$}");
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        let left = whole.len() - at;
        if at > 0 && left.is_multiple_of(3) && digit.is_ascii_digit() && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    rest.map_or(grouped.clone(), |rest| format!("{grouped}.{rest}"))
}

/// Writes a median with its quartiles; of one figure, the figure.
pub(super) fn spread(spread: &Spread) -> String {
    if spread.count < 2 {
        return number(spread.median);
    }
    format!("{} ({}–{})", number(spread.median), number(spread.low), number(spread.high))
}

/// Writes the row for a terminal.
#[must_use]
pub fn line(row: &Row) -> String {
    let mut line = format!("{}: {} [{}]", row.part, row.what, row.unit);
    for figure in &row.figures {
        line.push_str(&format!("  {} {}", figure.name, spread(&figure.spread)));
    }
    if let Some(ratio) = &row.ratio {
        line.push_str(&format!("  = {}× {}", spread(&ratio.spread), ratio.to));
    }
    if let Some(aim) = &row.target {
        let bound = TARGETS.iter().find(|target| target.key == aim.key).map_or("", |target| target.bound);
        line.push_str(&format!("  target {bound}: {}", if aim.met { "met" } else { "MISSED" }));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_count() {
        let all = [1234567.0, 123.4, 12.34, 1.234, 0.0123, -1234.0, 0.0, f64::NAN].map(number);
        assert_eq!(all, ["1,234,567", "123", "12.3", "1.23", "0.0123", "-1,234", "0.00", "–"]);
    }
}
