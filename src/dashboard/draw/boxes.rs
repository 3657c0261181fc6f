//! Boxes in front of the lists: help, a refusal, questions, answers.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::{Dashboard, Panel, bold};
use crate::dashboard::refusals::Refusal;
use crate::wire::WorkflowId;

/// Cells that a box is wide, at most.
const WIDTH: u16 = 90;

const HELP: &str = "\
arrows, j k, PageUp, PageDown, Home, End   move in the list
Tab     the other list: workflows, refusals
Enter   all about the chosen refusal, and the line that would permit it
p       permit one more name for the chosen workflow, within the ceilings of its
        policy; the rule is shown and asked for first, and ends with the workflow
s       stop the chosen workflow, after asking
Ctrl-L  draw everything anew
q       quit; the workflows go on

OPEN: connections. LEFT: of the time of the run (--time). Times of day are UTC.
Bytes are counted when a connection ends. CPUs are those of the last seconds.
REFUSED: attempts; several for one name within 5 s are one.
The list has the latest 200 targets; `ringfence events ID --denied` has all.";

/// Draws the box that is open, if one is.
pub(super) fn draw(view: &Dashboard, frame: &mut Frame<'_>, area: Rect) {
    view.is_cut.set(false);
    let (title, text) = match &view.panel {
        Panel::None => return,
        Panel::Help => ("help".to_owned(), Text::raw(HELP)),
        Panel::Refusal { refusal, .. } => ("refusal".to_owned(), about(refusal)),
        Panel::Name { id, typed, fault, .. } => {
            let mut lines = vec![
                Line::raw("Host to permit, as HOST[:PORT] (port 443 unless given):"),
                Line::styled(format!("> {typed}_"), bold()),
            ];
            lines.extend(fault.iter().map(|fault| Line::raw(fault.to_string())));
            (format!("permit for {}", named(view, *id)), Text::from(lines))
        }
        Panel::AskPermit { id, host, rule } => {
            let lines = vec![
                Line::styled(format!("- {rule}"), bold()),
                Line::raw(""),
                Line::raw(format!("Permit this for {} until it ends?", named(view, *id))),
                Line::raw(format!("It is what `ringfence allow {id} {host}` does.")),
                Line::raw("Ceilings and denials hold. Data that is sent there is not inspected."),
                Line::raw("y: permit   n: do nothing"),
            ];
            ("permit?".to_owned(), Text::from(lines))
        }
        Panel::AskStop { id } => {
            let lines = vec![
                Line::styled(format!("Stop {}?", named(view, *id)), bold()),
                Line::raw(""),
                Line::raw("Its agent is asked to end, and made to after 10 s; its containers are removed."),
                Line::raw(format!("It is what `ringfence stop {id}` does.  y: stop   n: do nothing")),
            ];
            ("stop?".to_owned(), Text::from(lines))
        }
        Panel::Answer { title, lines, skipped } => {
            let lines = lines.iter().skip(*skipped).map(|line| Line::raw(line.to_string()));
            (title.to_string(), Text::from_iter(lines))
        }
    };
    let asks = matches!(view.panel, Panel::AskPermit { .. } | Panel::AskStop { .. });
    let is_cut = !fits(&text, area);
    view.is_cut.set(is_cut);
    if asks && is_cut {
        return draw_box(
            title,
            Text::raw("The question does not fit: make the terminal larger."),
            frame,
            area,
        );
    }
    draw_box(title, text, frame, area);
}

/// Tells whether a box has room for the whole of a text.
fn fits(text: &Text<'_>, area: Rect) -> bool {
    let words = Paragraph::new(text.clone()).wrap(Wrap { trim: false });
    area.width > 2 && rows(&words, usize::from(area.width.min(WIDTH) - 2)).saturating_add(2) <= area.height
}

/// Describes a workflow by name and image.
fn named(view: &Dashboard, id: WorkflowId) -> String {
    view.workflow(id).map_or_else(|| id.to_string(), |workflow| workflow.title())
}

fn about(refusal: &Refusal) -> Text<'static> {
    let mut lines = vec![
        Line::styled(refusal.key.target.to_string(), bold()),
        Line::raw(match refusal.attempts.count {
            1 => format!("refused once: {}", refusal.key.reason),
            times => format!("refused {times} times: {}", refusal.key.reason),
        }),
        Line::raw(format!("first {}, last {}", refusal.attempts.first, refusal.last)),
    ];
    if !refusal.rule.is_empty() {
        lines.push(Line::raw(format!("by {}", refusal.rule)));
    }
    lines.extend([Line::raw(""), Line::raw(refusal.remedy.to_string())]);
    if refusal.allow.is_some() {
        lines.push(Line::raw("p: permit it now, until the workflow ends"));
    }
    Text::from(lines)
}

/// Draws a box in the middle of an area, as high as its text.
fn draw_box(title: String, text: Text<'_>, frame: &mut Frame<'_>, area: Rect) {
    let width = area.width.min(WIDTH);
    let words = Paragraph::new(text).wrap(Wrap { trim: false });
    let inner = usize::from(width.saturating_sub(2)).max(1);
    let height = rows(&words, inner).saturating_add(2).min(area.height);
    let place = area.centered(Constraint::Length(width), Constraint::Length(height));
    frame.render_widget(Clear, place);
    frame.render_widget(words.block(Block::bordered().title(format!(" {title} "))), place);
}

/// Counts the rows of a text at most: each of its lines, broken.
fn rows(words: &Paragraph<'_>, width: usize) -> u16 {
    let width = u16::try_from(width).unwrap_or(u16::MAX);
    // Drawn where nobody looks: the words are broken as they will be.
    let area = Rect::new(0, 0, width, 200);
    let mut buffer = ratatui::buffer::Buffer::empty(area);
    ratatui::widgets::Widget::render(words, area, &mut buffer);
    let is_empty = |row: &&[ratatui::buffer::Cell]| row.iter().all(|cell| cell.symbol() == " ");
    let empty = buffer.content.chunks(usize::from(width)).rev().take_while(is_empty).count();
    200 - u16::try_from(empty).unwrap_or(0)
}
