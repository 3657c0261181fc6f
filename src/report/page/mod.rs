//! A report as one HTML page that needs nothing else: no network, no other file.
//!
//! ```text
//!  runs ──maud (escapes every text)──▶ sections, tables, chart ─┐
//!  style.css, script.js ──SHA-256──▶ content security policy ───┴─▶ page
//! ```
//! The policy permits this style and this script by their hashes, and nothing else: no address is
//! loaded, no form is sent, no other script runs, whatever stands in a log.

mod chart;
mod tables;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::run::RunReport;
use super::words::{facts, title};
use crate::term;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// Rows of all tables together: beyond them a browser needs long.
const ROWS: usize = 4000;
/// Tables of a run.
const TABLES: usize = 4;

/// Writes the page.
pub(crate) fn of(runs: &[RunReport]) -> String {
    let rows = (ROWS / (TABLES * runs.len().max(1))).max(1);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(content_security_policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { "ringfence report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#runs" { "Skip to the runs" }
                header { h1 { "What agents reached and tried" } (contents(runs)) }
                (filters())
                main #runs { @for (number, run) in runs.iter().enumerate() { (section(number, run, rows)) } }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn content_security_policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// Links to the runs, where there are several.
fn contents(runs: &[RunReport]) -> Markup {
    html! {
        @if runs.len() > 1 {
            nav aria-label="Runs" {
                ol { @for (number, run) in runs.iter().enumerate() {
                    li { a href=(format!("#run-{number}")) { (title(run)) } " " (term::line(&run.source)) }
                } }
            }
            p { "A run's rows are marked as new where no run before it, in this order, had the like." }
        }
    }
}

/// Fields that the script serves; without a script they stay hidden.
fn filters() -> Markup {
    html! {
        div.filters #filters role="search" aria-label="Filter the tables" hidden {
            label for="words" { "Filter" }
            input #words type="search" autocomplete="off" spellcheck="false";
            label for="kind" { "Show" }
            select #kind {
                option value="" { "everything" }
                option value="reached" { "reached" }
                option value="refused" { "refused" }
                option value="rule" { "rules" }
                option value="new" { "new" }
            }
            output #shown for="words kind" aria-live="polite" {}
        }
    }
}

fn section(number: usize, run: &RunReport, rows: usize) -> Markup {
    let heading = format!("run-{number}");
    html! {
        section aria-labelledby=(heading) {
            h2 id=(heading) { (title(run)) }
            @for doubt in &run.doubts { p.doubt { strong { "Beware: " } (term::line(doubt)) } }
            dl { @for (name, value) in facts(run) { div { dt { (name) } dd { (value) } } } }
            @if let Some(timeline) = &run.timeline { (chart::of(number, timeline)) }
            (tables::changes(run, rows))
            (tables::refused(run, rows))
            (tables::reached(run, rows))
            (tables::rules(run, rows))
        }
    }
}
