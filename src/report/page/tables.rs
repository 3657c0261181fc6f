//! Tables of a page. Their rows say by `data-kind` and `data-new` what the filters ask for.

use maud::{Markup, html};

use crate::report::run::RunReport;
use crate::report::words::{open_for, reached_in_order, refused_in_order};
use crate::supervisor::spec::limits::bytes as size;
use crate::term::line;

/// Lists the changes of a run's policy.
pub(super) fn changes(run: &RunReport, most: usize) -> Markup {
    html! {
        @if !run.changes.is_empty() {
            div.scroll tabindex="0" role="region" aria-label="Changes while it ran" { table {
                caption { "Changes while it ran" (left_out(run.changes.len(), most)) }
                thead { tr { th scope="col" { "Time" } th scope="col" { "Change" } th scope="col" { "Made" } } }
                tbody { @for (time, what, made) in run.changes.iter().take(most) {
                    tr { td { (time) } td { (line(what)) } td { (if *made { "yes" } else { "refused" }) } }
                } }
            } }
        }
    }
}

/// Lists what was refused, and what would permit it.
pub(super) fn refused(run: &RunReport, most: usize) -> Markup {
    let rows = refused_in_order(run);
    html! {
        @if rows.is_empty() { p { "Nothing was refused." } } @else {
            div.scroll tabindex="0" role="region" aria-label="Refused" { table {
                caption { "Refused" (left_out(rows.len(), most)) }
                thead { tr {
                    th scope="col" { "Target" } th scope="col" { "Attempts" } th scope="col" { "Reason" }
                    th scope="col" { "Deciding rule" } th scope="col" { "What would permit it" }
                    th scope="col" { "First" } th scope="col" { "Last" }
                } }
                tbody { @for ((target, reason), seen) in rows.into_iter().take(most) {
                    tr data-kind="refused" data-new[seen.is_new] {
                        th scope="row" { (line(target)) (new_mark(seen.is_new)) }
                        td.number { (seen.attempts.count) }
                        td { (line(reason)) }
                        td { (line(&seen.rule)) }
                        td { code { (line(&seen.remedy)) } }
                        td.time { (seen.attempts.first) } td.time { (seen.last) }
                    }
                } }
            } }
        }
    }
}

/// Lists what was reached.
pub(super) fn reached(run: &RunReport, most: usize) -> Markup {
    let rows = reached_in_order(run);
    html! {
        @if rows.is_empty() { p { "Nothing was reached." } } @else {
            div.scroll tabindex="0" role="region" aria-label="Reached" { table {
                caption { "Reached" (left_out(rows.len(), most)) }
                thead { tr {
                    th scope="col" { "Target" } th scope="col" { "Connections" }
                    th scope="col" { "Bytes out" } th scope="col" { "Bytes in" }
                    th scope="col" { "Open, mean / longest" } th scope="col" { "Permitting rule" }
                    th scope="col" { "First" } th scope="col" { "Last" }
                } }
                tbody { @for (target, seen) in rows.into_iter().take(most) {
                    tr data-kind="reached" data-new[seen.is_new] {
                        th scope="row" { (line(target)) (new_mark(seen.is_new)) }
                        td.number { (seen.connections) }
                        td.number { (size(seen.bytes_out)) } td.number { (size(seen.bytes_in)) }
                        td.number { (open_for(seen)) }
                        td { (line(&seen.rule)) }
                        td.time { (seen.first) } td.time { (seen.last) }
                    }
                } }
            } }
        }
    }
}

/// Lists the rules that decided.
pub(super) fn rules(run: &RunReport, most: usize) -> Markup {
    html! {
        @if !run.rules.is_empty() {
            div.scroll tabindex="0" role="region" aria-label="Rules that decided" { table {
                caption { "Rules that decided" (left_out(run.rules.len(), most)) }
                thead { tr {
                    th scope="col" { "Rule (layer, file:line)" } th scope="col" { "Permitted" }
                    th scope="col" { "Refused" }
                } }
                tbody { @for (rule, used) in run.rules.iter().take(most) {
                    tr data-kind="rule" {
                        th scope="row" { (line(rule)) }
                        td.number { (used.permitted) } td.number { (used.refused) }
                    }
                } }
            } }
        }
    }
}

fn left_out(rows: usize, most: usize) -> Markup {
    html! { @if rows > most { " (the first " (most) " of " (rows) "; --json has these " (rows) ")" } }
}

fn new_mark(is_new: bool) -> Markup {
    html! { @if is_new { " " strong.new { "new" } } }
}
