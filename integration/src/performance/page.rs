//! The tables, in Markdown.

use super::text::{number, spread};
use super::{Machine, Ratio, Report, Row, TARGETS, chart};

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
