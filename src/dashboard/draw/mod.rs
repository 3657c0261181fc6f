//! The view as cells of a terminal.
//!
//! ```text
//!  title, engine, clock
//!  workflows    a row each
//!  the chosen   project, use against limit, connections
//!  refusals     of the chosen, latest first; the line that would permit the chosen one
//!  keys
//! ```
//! A small terminal has fewer of them. Colours are the terminal's own, but for red where something
//! is wrong, so that light and dark terminals show the same.

mod boxes;
mod cells;
mod refusals;
mod workflows;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders};

use self::cells::clock;
use super::state::{Dashboard, Focus, Panel};

/// Rows below which the facts of the chosen workflow are left out.
const ROOM_FOR_FACTS: u16 = 16;

/// Draws the view.
pub(crate) fn draw(view: &Dashboard, frame: &mut Frame<'_>) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    draw_head(view, frame, head);
    draw_body(view, frame, body);
    boxes::draw(view, frame, body);
    let keys = match &view.working {
        Some(work) => format!(" {work} …"),
        None => keys(view, foot.width).to_owned(),
    };
    frame.render_widget(Line::raw(keys).style(bold()), foot);
}

fn draw_head(view: &Dashboard, frame: &mut Frame<'_>, area: Rect) {
    let clock = clock(view.now);
    let line = match &view.trouble {
        Some(why) => Line::styled(format!(" {clock}  the engine does not answer: {why}"), wrong(view)),
        None => Line::styled(format!(" {clock}  ringfence ps --watch  {}", view.engine), bold()),
    };
    frame.render_widget(line, area);
}

fn draw_body(view: &Dashboard, frame: &mut Frame<'_>, area: Rect) {
    let facts = if area.height >= ROOM_FOR_FACTS && view.chosen().is_some() { workflows::FACTS } else { 0 };
    let rows = u16::try_from(view.workflows.len().max(1)).unwrap_or(u16::MAX);
    // A title, the columns' names, a row each; refusals keep half of what there is.
    let listed = rows.saturating_add(2).min((area.height.saturating_sub(facts) / 2).max(3));
    let [above, middle, below] =
        Layout::vertical([Constraint::Length(listed), Constraint::Length(facts), Constraint::Min(0)])
            .areas(area);
    workflows::draw_list(view, frame, above);
    workflows::draw_facts(view, frame, middle);
    refusals::draw(view, frame, below);
}

/// Returns the keys that are of use, as many as fit.
fn keys(view: &Dashboard, width: u16) -> &'static str {
    match (&view.panel, width) {
        (Panel::None | Panel::Help | Panel::Refusal { .. }, 76..) => {
            " arrows move   Tab other list   p permit   Enter detail   s stop   ? help   q quit"
        }
        (Panel::None | Panel::Help | Panel::Refusal { .. }, _) => " ? help  q quit",
        (Panel::Name { .. }, _) => " Enter goes on   Esc goes back",
        (Panel::AskPermit { .. } | Panel::AskStop { .. }, _) if view.is_cut.get() => " n no",
        (Panel::AskPermit { .. } | Panel::AskStop { .. }, _) => " y yes   n no",
        (Panel::Answer { .. }, _) => " arrows move   any other key goes back",
    }
}

/// Draws the line above a section; the rest of the area.
fn section(title: String, has_focus: bool, frame: &mut Frame<'_>, area: Rect) -> Rect {
    let style = if has_focus { bold() } else { Style::new() };
    let block = Block::new().borders(Borders::TOP).title(Line::styled(title, style));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

fn has_focus(view: &Dashboard, list: Focus) -> bool {
    view.focus == list
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// Style of what is chosen: the terminal's colours, exchanged where the list has the focus.
fn chosen(has_focus: bool) -> Style {
    if has_focus { Style::new().add_modifier(Modifier::REVERSED) } else { bold() }
}

fn wrong(view: &Dashboard) -> Style {
    if view.has_colours { bold().fg(Color::Red) } else { bold() }
}
