//! Charts: one bar a program, with its quartiles, as SVG that is readable on light and dark pages.

use std::collections::BTreeMap;

use super::text::number;
use super::{Figure, Report, Row};

/// Width of a chart, and of the places for names and figures in it.
const WIDTH: f64 = 720.0;
const NAMES: f64 = 170.0;
const FIGURES: f64 = 150.0;
/// Height of the title, and of one bar with its distance to the next.
const TITLE: f64 = 34.0;
const STEP: f64 = 26.0;
const BAR: f64 = 16.0;

/// Tells whether a row has a chart: one with somebody to compare with, that answers an aim.
pub(super) fn is_drawn(row: &Row) -> bool {
    row.figures.len() > 1 && row.target.is_some()
}

/// Returns the name of a row's chart.
pub(super) fn name(row: &Row) -> String {
    row.target.as_ref().map(|aim| aim.key.clone()).unwrap_or_default()
}

/// Draws all charts, by their names.
pub(super) fn charts(reports: &[Report]) -> BTreeMap<String, String> {
    let rows = reports.iter().flat_map(|report| &report.rows);
    rows.filter(|row| is_drawn(row)).map(|row| (name(row), draw(row))).collect()
}

fn draw(row: &Row) -> String {
    let most =
        row.figures.iter().map(|figure| figure.spread.high.max(figure.spread.median)).fold(0.0, f64::max);
    let most = if most > 0.0 { most } else { 1.0 };
    let height = TITLE + STEP * row.figures.len() as f64 + 8.0;
    let title = escaped(&format!("{}, {}", row.what, row.unit));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{title}\">\n<style>text{{font:13px sans-serif;fill:#57606a}}.own{{fill:#2f7de1}}\
         .other{{fill:#8c959f}}.spread{{stroke:#57606a;stroke-width:1.5}}\
         @media (prefers-color-scheme:dark){{text{{fill:#c9d1d9}}.spread{{stroke:#c9d1d9}}}}</style>\n\
         <text x=\"4\" y=\"20\" font-weight=\"bold\">{title}</text>\n"
    );
    for (at, figure) in row.figures.iter().enumerate() {
        svg.push_str(&bar(figure, at, most));
    }
    svg.push_str("</svg>\n");
    svg
}

/// Draws one bar.
fn bar(figure: &Figure, at: usize, most: f64) -> String {
    let room = WIDTH - NAMES - FIGURES;
    let x = |value: f64| NAMES + room * (value / most).clamp(0.0, 1.0);
    let spread = &figure.spread;
    let (top, middle) = (TITLE + STEP * at as f64, TITLE + STEP * at as f64 + BAR / 2.0);
    let class = if at == 0 { "own" } else { "other" };
    let end = x(spread.high.max(spread.median)) + 8.0;
    format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
         <rect class=\"{class}\" x=\"{NAMES:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR:.1}\" rx=\"2\"/>\n\
         <line class=\"spread\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\n\
         <text x=\"{end:.1}\" y=\"{:.1}\">{}</text>\n",
        NAMES - 8.0,
        middle + 4.5,
        escaped(&figure.name),
        x(spread.median) - NAMES,
        x(spread.low),
        x(spread.high),
        middle + 4.5,
        number(spread.median),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
