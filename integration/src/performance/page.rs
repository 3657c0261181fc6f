//! The tables, in Markdown.

use super::{Machine, Ratio, Report, Row, Spread, TARGETS, chart};

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

/// Escapes what a table would take for its own.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Writes the table of targets: a row each, with the figure.
pub(super) fn targets(reports: &[Report]) -> String {
    let mut table = "| what | target | measured | met |\n|---|---|---|---|\n".to_owned();
    for target in TARGETS {
        let answers: Vec<&Row> = reports
            .iter()
            .flat_map(|report| &report.rows)
            .filter(|row| row.target.as_ref().is_some_and(|aim| aim.key == target.key))
            .collect();
        if answers.is_empty() {
            table.push_str(&format!("| {} | {} | not measured | – |\n", target.what, target.bound));
        }
        for row in answers {
            let met = row.target.as_ref().is_some_and(|aim| aim.met);
            let met = if met { "yes".to_owned() } else { format!("[**no**](#{})", target.key) };
            table.push_str(&format!("| {} | {} | {} | {met} |\n", target.what, target.bound, measured(row)));
        }
    }
    table
}

/// Says in one cell what was measured for an aim.
fn measured(row: &Row) -> String {
    let own = row.own().map(|own| format!("{} {}", number(own.median), row.unit)).unwrap_or_default();
    let Some(Ratio { to, spread: ratio }) = &row.ratio else { return cell(&own) };
    let other = row.figures.iter().find(|figure| figure.name == *to);
    let other = other.map(|other| format!(", {to} {}", number(other.spread.median))).unwrap_or_default();
    cell(&format!("{}× ({own}{other})", spread(ratio)))
}

/// Writes the page with all figures.
pub(super) fn figures(reports: &[Report]) -> String {
    let mut page = "# Figures\n\nMade by `cargo bench-net report` from [results.json](results.json): do not edit. Medians, with the\n\
        lower and the upper quartile in brackets where there were several rounds. All programs of a\n\
        table were measured in the same rounds, one after the other. Ratios are of each round.\n"
        .to_owned();
    for report in reports {
        let parts = parts(&report.rows);
        for part in parts {
            page.push_str(&format!("\n## {part}\n\n{}", circumstances(&report.machine)));
            let rows: Vec<&Row> = report.rows.iter().filter(|row| row.part == part).collect();
            for table in tables(&rows) {
                page.push_str(&table);
            }
            for row in rows.iter().filter(|row| chart::is_drawn(row)) {
                let name = chart::name(row);
                page.push_str(&format!("\n![{name}]({name}.svg)\n"));
            }
        }
        for failed in &report.failed {
            page.push_str(&format!("\n## {}\n\nNot measured on {}.\n", failed.part, report.machine.date));
        }
    }
    page
}

/// Lists the parts of some rows, each once, in their order.
fn parts(rows: &[Row]) -> Vec<&str> {
    let mut parts: Vec<&str> = Vec::new();
    for row in rows {
        if !parts.contains(&row.part.as_str()) {
            parts.push(&row.part);
        }
    }
    parts
}

/// Writes the tables of one part: rows with the same programs share one.
fn tables(rows: &[&Row]) -> Vec<String> {
    let names = |row: &Row| row.figures.iter().map(|figure| figure.name.clone()).collect::<Vec<_>>();
    let mut tables = Vec::new();
    let mut last: Option<Vec<String>> = None;
    for row in rows {
        let programs = names(row);
        if last.as_ref() != Some(&programs) {
            let head = programs.iter().map(|name| cell(name)).collect::<Vec<_>>().join(" | ");
            let rule = "---|".repeat(programs.len() + 2);
            tables.push(format!("\n| what | {head} | ratio |\n|{rule}\n"));
            last = Some(programs);
        }
        let figures: Vec<String> = row.figures.iter().map(|figure| spread(&figure.spread)).collect();
        let ratio = row.ratio.as_ref().map(|ratio| format!("{}× {}", spread(&ratio.spread), cell(&ratio.to)));
        let line = format!(
            "| {}, {} | {} | {} |\n",
            cell(&row.what),
            row.unit,
            figures.join(" | "),
            ratio.unwrap_or_default()
        );
        if let Some(table) = tables.last_mut() {
            table.push_str(&line);
        }
    }
    tables
}

/// Says where and when, wrapped.
fn circumstances(machine: &Machine) -> String {
    let Machine { date, commit, build, processor, memory, kernel, load, quick, versions } = machine;
    let quick = if *quick { ", few rounds (`--quick`)" } else { "" };
    let versions =
        if versions.is_empty() { String::new() } else { format!(" Beside {}.", versions.join(", ")) };
    wrapped(&format!(
        "{date}, commit {commit}, {build}{quick}; {processor}, {memory} MiB, Linux {kernel}, load {load:.1} before \
         it.{versions}"
    ))
}

/// Wraps prose at 100 columns.
fn wrapped(text: &str) -> String {
    let (mut all, mut width) = (String::new(), 0);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > 100 {
            all.push('\n');
            width = 0;
        } else if width > 0 {
            all.push(' ');
            width += 1;
        }
        all.push_str(word);
        width += length;
    }
    all.push('\n');
    all
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
