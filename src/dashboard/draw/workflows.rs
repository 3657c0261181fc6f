//! The list of workflows, and the facts of the chosen one.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::cells::{Column, Keep, Table, display_width, first_row, fit, short};
use super::{Dashboard, Focus, chosen, has_focus, section, wrong};
use crate::dashboard::workflow::WatchedWorkflow;
use crate::supervisor::inventory::usage::{Quota, Usage};
use crate::supervisor::spec::limits::bytes;

/// Rows of the facts, with their title.
pub(super) const FACTS: u16 = 5;
/// Cells of a bar.
const BAR: usize = 10;

const COLUMNS: [Column; 8] = [
    Column { title: "ID", keep: Keep::Beginning, is_number: false },
    Column { title: "NAME", keep: Keep::Beginning, is_number: false },
    Column { title: "AGENT", keep: Keep::Beginning, is_number: false },
    Column { title: "AGE", keep: Keep::Beginning, is_number: true },
    Column { title: "LEFT", keep: Keep::Beginning, is_number: true },
    Column { title: "OPEN", keep: Keep::Beginning, is_number: true },
    Column { title: "REFUSED", keep: Keep::Beginning, is_number: true },
    Column { title: "IMAGE", keep: Keep::Beginning, is_number: false },
];

/// Place of the column that gives room first.
const NAME: usize = 1;

pub(super) fn draw_list(view: &Dashboard, frame: &mut Frame<'_>, area: Rect) {
    let has_focus = has_focus(view, Focus::Workflows);
    let more = match view.unlisted {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let inner = section(format!(" workflows: {}{more} ", view.workflows.len()), has_focus, frame, area);
    if view.workflows.is_empty() {
        let words = if view.is_listed { "none; `ringfence run` begins one" } else { "asking the engine …" };
        return frame.render_widget(Line::raw(format!("   {words}")), inner);
    }
    let rows: Vec<[String; 8]> = view.workflows.iter().map(|workflow| row(workflow, view.now)).collect();
    let table = Table::new(&COLUMNS, &rows, NAME, inner.width);
    table.draw_titles(frame, inner);
    let room = usize::from(inner.height.saturating_sub(1));
    let first = first_row(view.place(), rows.len(), room);
    for (y, (at, cells)) in rows.iter().enumerate().skip(first).take(room).enumerate() {
        let is_chosen = at == view.place();
        let style = if is_chosen { chosen(has_focus) } else { ratatui::style::Style::new() };
        let below = below(inner, y + 1);
        table.draw_row(frame, below, if is_chosen { ">" } else { "" }, cells, style);
    }
}

/// Returns an area without its first rows.
pub(super) fn below(area: Rect, rows: usize) -> Rect {
    let rows = u16::try_from(rows).unwrap_or(u16::MAX).min(area.height);
    Rect { y: area.y + rows, height: area.height - rows, ..area }
}

fn row(workflow: &WatchedWorkflow, now: u64) -> [String; 8] {
    let dash = || "-".to_owned();
    let counted = |count: u64| if workflow.is_followed { count.to_string() } else { "?".to_owned() };
    let agent = match workflow.members {
        0 => workflow.agent.to_string(),
        members => format!("{} (group of {members})", workflow.agent),
    };
    [
        workflow.id.to_string(),
        workflow.name.as_ref().map_or_else(dash, ToString::to_string),
        agent,
        short(now.saturating_sub(workflow.created_at)),
        workflow.seconds_left(now).map_or_else(dash, short),
        counted(workflow.open_connections()),
        counted(workflow.refusals.total),
        workflow.image.as_ref().map_or_else(dash, ToString::to_string),
    ]
}

/// Draws the facts of the chosen workflow.
pub(super) fn draw_facts(view: &Dashboard, frame: &mut Frame<'_>, area: Rect) {
    let Some(workflow) = view.chosen().filter(|_| area.height > 0) else { return };
    let inner = section(format!(" {} ", workflow.title()), false, frame, area);
    let guard_is_gone = &*workflow.guard != "running" && &*workflow.agent == "running";
    let guard = format!("guard {}: everything is refused", workflow.guard);
    let project = workflow.project.as_ref().map_or("-", |project| project);
    let connections = match (guard_is_gone, workflow.is_followed) {
        (true, _) => guard,
        (false, false) => workflow.unfollowable.as_ref().map_or("not followed", |why| why).to_owned(),
        (false, true) => {
            let traffic = &workflow.traffic;
            format!(
                "{} open, {} in all; {} out, {} in of those that ended",
                workflow.open_connections(),
                traffic.opened,
                bytes(traffic.bytes_out),
                bytes(traffic.bytes_in)
            )
        }
    };
    let [first, second] = usage(workflow, inner.width);
    let facts = [("project", project.to_owned()), ("connections", connections), ("use", first), ("", second)];
    for (y, (name, value)) in facts.into_iter().enumerate() {
        let style = if name == "connections" && guard_is_gone { wrong(view) } else { Default::default() };
        let text = format!("   {name:<11}  {value}");
        let text = fit(&text, usize::from(inner.width), Keep::Beginning);
        frame.render_widget(Line::styled(text, style), below(inner, y));
    }
}

/// Writes use against limit on two lines.
fn usage(workflow: &WatchedWorkflow, width: u16) -> [String; 2] {
    let Some(usage) = &workflow.usage else { return ["not known".to_owned(), String::new()] };
    let Usage { cpus, memory, pids, disk, .. } = usage;
    let now = Quota { used: workflow.cpus_now.or(cpus.used), limit: cpus.limit };
    let has_bars = width >= 76;
    let parts = [
        part("cpus", now, has_bars, |cpus| cpus, |cpus| format!("{cpus:.2}")),
        part("memory", *memory, has_bars, |bytes| bytes as f64, bytes),
        part("pids", *pids, has_bars, |pids| pids as f64, |pids| pids.to_string()),
        part("disk", *disk, has_bars, |bytes| bytes as f64, bytes),
    ];
    let wide = |text: &String| display_width(text);
    let column = parts.iter().step_by(2).map(wide).max().unwrap_or(0);
    let [cpus, memory, pids, disk] = parts;
    [format!("{cpus:<column$}   {memory}"), format!("{pids:<column$}   {disk}")]
}

/// Writes one use against its limit, with a bar.
fn part<T: Copy>(
    name: &str,
    quota: Quota<T>,
    has_bar: bool,
    number: impl Fn(T) -> f64,
    show: impl Fn(T) -> String,
) -> String {
    let [used, limit] = [quota.used, quota.limit].map(|number| number.map_or("?".to_owned(), &show));
    let bar = match (quota.used, quota.limit) {
        (Some(used), Some(limit)) if has_bar => format!("  {}", bar(number(used) / number(limit))),
        _ => String::new(),
    };
    format!("{name:<6} {:<19}{bar}", format!("{used} of {limit}"))
}

/// Draws a share as a bar.
fn bar(share: f64) -> String {
    let full = (share.clamp(0.0, 1.0) * BAR as f64).ceil() as usize;
    format!("[{}{}]", "#".repeat(full), ".".repeat(BAR - full.min(BAR)))
}
