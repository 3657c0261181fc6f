//! Keys: what each does, in the lists and in each box.

use netpolicy::diagnostic::render;
use netpolicy::load::rule_from_command_line;

use super::shown::Shown;
use super::state::{Dashboard, Focus, Panel};
use super::update::Effect;
use crate::term::screen::Key;
use crate::wire::WorkflowId;

/// Places that a page is long.
const PAGE: isize = 10;
/// Characters of a host that can be typed.
const LONGEST_HOST: usize = 300;

/// Does what a key is for.
pub(super) fn press(view: &mut Dashboard, key: &Key) -> Option<Effect> {
    match key {
        Key::Interrupt => return Some(Effect::Quit),
        Key::Redraw => return Some(Effect::Redraw),
        _ => {}
    }
    match std::mem::replace(&mut view.panel, Panel::None) {
        Panel::None => in_lists(view, key),
        Panel::Help | Panel::Refusal => in_words(view, key),
        Panel::Name { id, typed, .. } => in_name(view, id, typed, key),
        Panel::AskPermit { id, host, rule } => {
            let (agreed, panel) =
                (Effect::Permit { id, host: host.clone() }, Panel::AskPermit { id, host, rule });
            in_question(view, key, agreed, panel)
        }
        Panel::AskStop { id } => in_question(view, key, Effect::Stop { id }, Panel::AskStop { id }),
        Panel::Answer { title, lines, skipped } => {
            let end = lines.len().saturating_sub(1);
            let skipped = match key {
                Key::Up | Key::Char('k') => skipped.saturating_sub(1),
                Key::Down | Key::Char('j') => (skipped + 1).min(end),
                _ => return None,
            };
            view.panel = Panel::Answer { title, lines, skipped };
            None
        }
    }
}

fn in_lists(view: &mut Dashboard, key: &Key) -> Option<Effect> {
    match key {
        Key::Up | Key::Char('k') => by(view, -1),
        Key::Down | Key::Char('j') => by(view, 1),
        Key::PageUp => by(view, -PAGE),
        Key::PageDown => by(view, PAGE),
        Key::Home | Key::Char('g') => by(view, isize::MIN),
        Key::End | Key::Char('G') => by(view, isize::MAX),
        Key::Tab => {
            view.focus = match view.focus {
                Focus::Workflows => Focus::Refusals,
                Focus::Refusals => Focus::Workflows,
            }
        }
        Key::Enter if view.chosen_refusal().is_some() => view.panel = Panel::Refusal,
        Key::Char('p') => begin_permit(view),
        Key::Char('s') if view.working.is_none() => {
            view.panel = view.chosen().map_or(Panel::None, |workflow| Panel::AskStop { id: workflow.id });
        }
        Key::Char('?' | 'h') => view.panel = Panel::Help,
        Key::Char('q') => return Some(Effect::Quit),
        _ => {}
    }
    None
}

/// Moves in the list that has the focus.
fn by(view: &mut Dashboard, places: isize) {
    let moved = |from: usize, length: usize| from.saturating_add_signed(places).min(length.saturating_sub(1));
    match view.focus {
        Focus::Workflows => {
            let to = moved(view.place(), view.workflows.len());
            let chosen = view.workflows.get(to).map(|workflow| workflow.id);
            if chosen != view.selected {
                (view.selected, view.refusal) = (chosen, None);
            }
        }
        Focus::Refusals => {
            let Some(workflow) = view.chosen() else { return };
            let from = workflow.refusals.place(view.refusal.as_ref());
            let to = moved(from, workflow.refusals.len());
            view.refusal = workflow.refusals.get(to).map(|refusal| refusal.key.clone());
        }
    }
}

/// Opens the box for a name, with that of the chosen refusal in it.
fn begin_permit(view: &mut Dashboard) {
    let Some(id) = view.chosen().map(|workflow| workflow.id).filter(|_| view.working.is_none()) else {
        return;
    };
    let typed = view.chosen_refusal().and_then(|refusal| refusal.allow.clone()).unwrap_or_default();
    view.panel = Panel::Name { id, typed, fault: None };
}

/// Handles a key in a box that is only read.
fn in_words(view: &mut Dashboard, key: &Key) -> Option<Effect> {
    if let Key::Char('p') = key {
        begin_permit(view);
    }
    None
}

/// Handles a key in the box for a name.
fn in_name(view: &mut Dashboard, id: WorkflowId, mut typed: String, key: &Key) -> Option<Effect> {
    match key {
        Key::Char(letter) => add(&mut typed, &letter.to_string()),
        Key::Paste(text) => add(&mut typed, text.lines().next().unwrap_or_default()),
        Key::Backspace => _ = typed.pop(),
        Key::Escape => return None,
        Key::Enter => {
            view.panel = ask(id, typed);
            return None;
        }
        _ => {}
    }
    view.panel = Panel::Name { id, typed, fault: None };
    None
}

/// Adds what can stand in a host and its port.
fn add(typed: &mut String, text: &str) {
    let room = LONGEST_HOST.saturating_sub(typed.len());
    typed.extend(text.chars().filter(char::is_ascii_graphic).take(room));
}

/// Reads the rule as the command line does, and asks for it word by word.
fn ask(id: WorkflowId, typed: String) -> Panel {
    if typed.is_empty() {
        return Panel::None;
    }
    match rule_from_command_line("--allow", &typed) {
        Ok(rule) => Panel::AskPermit { id, host: typed, rule: Shown::of(&rule.origin.text) },
        Err(error) => {
            let words = render(std::slice::from_ref(&*error));
            let first = words.lines().next().unwrap_or_default();
            let fault = Some(Shown::of(first.strip_prefix("--allow: ").unwrap_or(first)));
            Panel::Name { id, typed, fault }
        }
    }
}

/// Handles a key in a box that asks: `y` alone means yes.
fn in_question(view: &mut Dashboard, key: &Key, agreed: Effect, panel: Panel) -> Option<Effect> {
    match key {
        Key::Char('y') => {
            view.working = Some(match &agreed {
                Effect::Permit { host, .. } => Shown::of(&format!("permitting {host}")),
                _ => Shown::of("stopping the workflow"),
            });
            return Some(agreed);
        }
        Key::Char('n' | 'q') | Key::Escape => {}
        // A key that was meant for the lists does not decide, and the question stays.
        _ => view.panel = panel,
    }
    None
}
