//! The list of refusals of the chosen workflow.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};

use super::cells::{Column, Keep, Table, first_row};
use super::workflows::below;
use super::{Dashboard, Focus, bold, chosen, has_focus, section};
use crate::dashboard::refusals::{MOST, Refusal};

/// Seconds for which a refusal stands out.
const FRESH: u64 = 5;
/// Rows of the line that would permit the chosen one.
const REMEDY: u16 = 2;

const COLUMNS: [Column; 4] = [
    Column { title: "LAST", keep: Keep::Beginning, is_number: false },
    Column { title: "COUNT", keep: Keep::Beginning, is_number: true },
    Column { title: "TARGET", keep: Keep::End, is_number: false },
    Column { title: "REASON", keep: Keep::Beginning, is_number: false },
];

/// Place of the column that gives room first.
const TARGET: usize = 2;

pub(super) fn draw(view: &Dashboard, frame: &mut Frame<'_>, area: Rect) {
    let Some(workflow) = view.chosen().filter(|_| area.height > 0) else { return };
    let refusals = &workflow.refusals;
    let has_focus = has_focus(view, Focus::Refusals);
    let latest = if refusals.len() < MOST { String::new() } else { format!(", the latest {MOST} targets") };
    let title = format!(" refusals of {}: {}{latest} ", workflow.title(), refusals.total);
    let inner = section(title, has_focus, frame, area);
    if refusals.len() == 0 {
        let words = match (workflow.is_followed, &workflow.unfollowable) {
            (true, _) => "none",
            (false, Some(why)) => why,
            (false, None) => "its events are not followed",
        };
        return frame.render_widget(Line::raw(format!("   {words}")), inner);
    }
    let remedy = if inner.height > REMEDY + 2 { REMEDY } else { 0 };
    let list = Rect { height: inner.height - remedy, ..inner };
    draw_rows(view, frame, list, has_focus);
    let gone = "the chosen one is gone: newer targets took its place";
    let text = view.chosen_refusal().map_or(gone, |refusal| &refusal.remedy);
    let text = Paragraph::new(format!("   {text}")).wrap(Wrap { trim: false });
    frame.render_widget(text, below(inner, usize::from(list.height)));
}

fn draw_rows(view: &Dashboard, frame: &mut Frame<'_>, area: Rect, has_focus: bool) {
    let Some(workflow) = view.chosen() else { return };
    let refusals = &workflow.refusals;
    let place = refusals.place(view.refusal.as_ref());
    let room = usize::from(area.height.saturating_sub(1));
    let first = first_row(place.unwrap_or(0), refusals.len(), room);
    let shown: Vec<&Refusal> = refusals.iter().skip(first).take(room).collect();
    let rows: Vec<[String; 4]> = shown.iter().map(|refusal| row(refusal)).collect();
    let table = Table::new(&COLUMNS, &rows, TARGET, area.width);
    table.draw_titles(frame, area);
    for (y, (refusal, cells)) in shown.iter().zip(&rows).enumerate() {
        let is_chosen = Some(first + y) == place;
        let is_fresh = view.now < refusal.last.unix_seconds().saturating_add(FRESH);
        let style = match (is_chosen, is_fresh) {
            (true, _) => chosen(has_focus),
            (false, true) => bold(),
            (false, false) => Style::new(),
        };
        table.draw_row(frame, below(area, y + 1), if is_chosen { ">" } else { "" }, cells, style);
    }
}

fn row(refusal: &Refusal) -> [String; 4] {
    [
        super::clock(refusal.last.unix_seconds()),
        refusal.attempts.count.to_string(),
        refusal.key.target.to_string(),
        refusal.key.reason.to_string(),
    ]
}
