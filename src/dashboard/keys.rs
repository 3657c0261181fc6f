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
/// Words where the chosen refusal is not kept any more.
const GONE: &str = "\
The chosen refusal is gone: targets that were refused since took its place.
Choose another; `ringfence events ID --denied` has all.";

/// Does what a key is for.
pub(super) fn press(view: &mut Dashboard, key: &Key) -> Option<Effect> {
    match key {
        Key::Interrupt => return Some(Effect::Quit),
        Key::Redraw => return Some(Effect::Redraw),
        _ => {}
    }
    match std::mem::replace(&mut view.panel, Panel::None) {
        Panel::None => in_lists(view, key),
        Panel::Help => {
            if let Key::Char('p') = key {
                begin_permit(view);
            }
            None
        }
        Panel::Refusal { id, refusal } => {
            if let Key::Char('p') = key {
                permit_for(view, id, refusal.allow);
            }
            None
        }
        Panel::Name { id, typed, fault, is_stuck } => {
            view.panel = in_name(id, typed, fault.filter(|_| is_stuck), key);
            None
        }
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
            };
            if view.focus == Focus::Refusals {
                pin(view);
            }
        }
        Key::Enter => begin_detail(view),
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
            let from = workflow.refusals.place(view.refusal.as_ref()).unwrap_or(0);
            let to = moved(from, workflow.refusals.len());
            view.refusal = workflow.refusals.get(to).map(|refusal| refusal.key.clone());
        }
    }
}

/// Chooses the latest refusal where none is chosen: from there on the agent does not choose.
fn pin(view: &mut Dashboard) {
    if view.refusal.is_none() {
        view.refusal = view.chosen_refusal().map(|refusal| refusal.key.clone());
    }
}

/// Opens the box about the chosen refusal.
fn begin_detail(view: &mut Dashboard) {
    pin(view);
    if view.is_refusal_gone() {
        view.panel = told("gone", GONE);
    } else if let Some((id, refusal)) = view.chosen_id().zip(view.chosen_refusal()) {
        view.panel = Panel::Refusal { id, refusal: Box::new(refusal.clone()) };
    }
}

/// Opens the box for a name, with that of the chosen refusal in it.
fn begin_permit(view: &mut Dashboard) {
    pin(view);
    let Some(id) = view.chosen_id() else { return };
    let allow = view.chosen_refusal().and_then(|refusal| refusal.allow.clone());
    permit_for(view, id, allow);
    let is_gone = view.is_refusal_gone();
    if let Panel::Name { fault, .. } = &mut view.panel {
        *fault = is_gone.then(|| Shown::of("the chosen refusal is gone; type a name, or choose another"));
    }
}

/// Opens the box for a name of a workflow, with a name in it.
fn permit_for(view: &mut Dashboard, id: WorkflowId, allow: Option<String>) {
    if view.workflow(id).is_none() {
        view.panel = told("gone", "The workflow is not on the engine any more.");
    } else if view.working.is_none() {
        view.panel = Panel::Name { id, typed: allow.unwrap_or_default(), fault: None, is_stuck: false };
    }
}

/// Makes a box of words.
fn told(title: &str, words: &str) -> Panel {
    Panel::Answer { title: Shown::of(title), lines: Shown::lines(words, 2), skipped: 0 }
}

/// Handles a key in the box for a name. While the box is stuck, it waits for Backspace.
fn in_name(id: WorkflowId, mut typed: String, stuck: Option<Shown>, key: &Key) -> Panel {
    let added = match (key, stuck) {
        (Key::Escape, _) => return Panel::None,
        (Key::Backspace, Some(_)) => Ok(()),
        (_, Some(fault)) => Err(fault),
        (Key::Enter, None) => return ask(id, typed),
        (Key::Char(letter), None) => add(&mut typed, &letter.to_string()),
        (Key::Paste(text), None) => {
            add(&mut typed, text.trim().lines().next().unwrap_or_default().trim_end())
        }
        (Key::Backspace, None) => {
            typed.pop();
            Ok(())
        }
        (_, None) => Ok(()),
    };
    Panel::Name { id, typed, is_stuck: added.is_err(), fault: added.err() }
}

/// Adds a text that can stand in a host and its port, whole or not at all: a part of a name is
/// another name.
fn add(typed: &mut String, text: &str) -> Result<(), Shown> {
    let fault = |why: &str| Err(Shown::of(&format!("nothing was added: {why}; Backspace goes on")));
    if let Some(foreign) = text.chars().find(|letter| !letter.is_ascii_graphic()) {
        let foreign = u32::from(foreign);
        return fault(&format!("U+{foreign:04X} stands in no host (write other scripts as xn--…)"));
    }
    if typed.len() + text.len() > LONGEST_HOST {
        return fault("it is too long for a host");
    }
    typed.push_str(text);
    Ok(())
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
            Panel::Name { id, typed, fault, is_stuck: false }
        }
    }
}

/// Handles a key in a box that asks: `y` alone means yes.
fn in_question(view: &mut Dashboard, key: &Key, agreed: Effect, panel: Panel) -> Option<Effect> {
    match key {
        // Nobody agrees to what cannot be read.
        Key::Char('y') if view.is_cut.get() => view.panel = panel,
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
