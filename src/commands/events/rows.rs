//! Lines of the decision log, for people.
//!
//! ```text
//!  wire::event::Line ──▶ time, kind, verdict, reason, target, rule (layer, place)
//!                  └─ refused ─▶ remedy ──▶ a second row, the first time it is of use
//! ```
//! Names in it come from the agent: nothing of them reaches the terminal raw.

use std::collections::HashSet;

use crate::report::remedy;
use crate::wire::event::{
    Access, AgentEnded, Event, Known, Lifecycle, Line, Phase, Ruling, Start, Transport,
};

/// The parts of a row.
#[derive(Default)]
struct Row {
    verdict: String,
    reason: String,
    target: String,
    left_out: Option<u64>,
    by: Ruling,
}

fn word(word: Option<&impl ToString>) -> String {
    word.map(ToString::to_string).unwrap_or_default()
}

impl Row {
    fn of(event: &Event) -> Row {
        match event {
            Event::Access(access) => Row {
                verdict: match access.phase {
                    Some(Known::This(Phase::Close)) => "close".to_owned(),
                    _ => word(access.verdict.as_ref()),
                },
                reason: word(access.reason.as_ref()),
                target: target(access),
                left_out: access.left_out,
                by: access.by.clone(),
            },
            Event::Control(control) => Row {
                verdict: word(control.verdict.as_ref()),
                reason: word(control.reason.as_ref()),
                target: control.what.clone().unwrap_or_default(),
                left_out: None,
                by: control.by.clone(),
            },
            Event::Lifecycle(lifecycle) => Row::of_life(lifecycle),
            Event::Other(other) => {
                let text = |field| other.text(field).unwrap_or_default().to_owned();
                Row {
                    verdict: text("verdict"),
                    reason: text("reason"),
                    target: text("what"),
                    ..Row::default()
                }
            }
        }
    }

    fn of_life(lifecycle: &Lifecycle) -> Row {
        let row = |reason: &str, target: String| Row { reason: reason.to_owned(), target, ..Row::default() };
        match lifecycle {
            Lifecycle::Start(start) => row("start", started(start)),
            Lifecycle::Ready => row("ready", String::new()),
            Lifecycle::AgentEnded(AgentEnded { how, exit_status }) => {
                let status = exit_status.map(|status| format!(", status {status}")).unwrap_or_default();
                row("agent-ended", format!("{how}{status}"))
            }
            Lifecycle::End => row("end", String::new()),
            Lifecycle::Note(note) => Row {
                left_out: note.left_out,
                ..row(&note.reason.to_string(), note.what.clone().unwrap_or_default())
            },
        }
    }
}

/// Describes the start: the person, the image, the command and the project.
fn started(start: &Start) -> String {
    let Some(image) = &start.image_name else { return String::new() };
    let who = match (&start.user, start.uid) {
        (Some(user), _) => user.clone(),
        (None, Some(uid)) => format!("user {uid}"),
        (None, None) => "somebody".to_owned(),
    };
    let words = start.entrypoint.iter().chain(start.command.iter().flatten());
    let command: Vec<&str> = words.map(String::as_str).collect();
    let project = start.project.as_ref().map(|project| format!(" on {project}")).unwrap_or_default();
    format!("{who} started {image} {}{project}", command.join(" "))
}

/// Describes the target of a request.
fn target(access: &Access) -> String {
    let host = access.host.as_ref().map(ToString::to_string);
    let address = access.address.map(|address| address.to_string());
    let names: Vec<String> = [host, address].into_iter().flatten().collect();
    let port = access.port.map(|port| format!(":{port}")).unwrap_or_default();
    let protocol = match &access.protocol {
        Some(Known::This(protocol @ (Transport::Udp | Transport::Icmp))) => format!(" ({protocol})"),
        _ => String::new(),
    };
    format!("{}{port}{protocol}", names.join(" "))
}

/// Writes rows; what would permit a thing is said once.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    live: bool,
    said: HashSet<String>,
}

/// Different remedies that are remembered: an agent may try any number of targets.
const REMEMBERED: usize = 10_000;

impl Rows {
    /// Rows about a workflow that runs, or ran.
    pub(crate) fn new(live: bool) -> Rows {
        Rows { live, said: HashSet::new() }
    }

    /// Returns a line's row or rows.
    pub(crate) fn of(&mut self, line: &Line) -> String {
        let Row { verdict, reason, target, left_out, by } = Row::of(&line.event);
        let mut row = format!(
            "{}  {:<9} {:<5} {:<16} {}",
            line.time,
            line.event.kind(),
            safe(&verdict),
            safe(&reason),
            safe(&target)
        );
        if let Some(more) = left_out {
            row.push_str(&format!("  (and {more} more)"));
        }
        if by.rule.is_some() {
            row.push_str(&format!("  by {}", safe(&by.to_string())));
        }
        row.push('\n');
        if let Some(remedy) = remedy::of(line) {
            let text = safe(&remedy.text(self.live.then_some(line.workflow)));
            if self.said.len() < REMEMBERED && self.said.insert(text.clone()) {
                row.push_str(&format!("{:26}{text}\n", ""));
            }
        }
        row
    }
}

/// Returns a text without anything that a terminal would obey.
fn safe(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c == '"' || c == '\'' { vec![c] } else { c.escape_default().collect() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes the line of these fields.
    fn line(fields: &str) -> Line {
        let head = r#"{"v":1,"seq":4,"time":"2026-11-30T00:00:00.000Z","workflow":"0000002a","#;
        Line::read(format!("{head}{fields}}}").as_bytes()).unwrap()
    }

    #[test]
    fn a_refusal_shows_its_rule_and_place_and_once_what_would_permit_it() {
        let line = line(
            r#""kind":"connect","verdict":"deny","reason":"port","host":"a.test","port":8080,"rule":"a.test:443","layer":"run","file":"p.yml","line":7"#,
        );
        let mut rows = Rows::new(true);
        assert_eq!(
            rows.of(&line),
            "2026-11-30T00:00:00.000Z  connect   deny  port             a.test:8080  by a.test:443 (run, p.yml:7)\n\
             \x20                         to permit it: - a.test:8080   (now: ringfence allow 0000002a a.test:8080)\n"
        );
        assert_eq!(rows.of(&line).lines().count(), 1);
    }

    #[test]
    fn a_run_shows_who_started_what_and_how_it_ended() {
        let mut rows = Rows::new(false);
        let start = rows.of(&line(
            r#""kind":"lifecycle","reason":"start","image_name":"agent:1","user":"me","uid":1000,"project":"/home/me/p","command":["make","test"]"#,
        ));
        assert!(start.ends_with("start            me started agent:1 make test on /home/me/p\n"), "{start}");
        let end = rows
            .of(&line(r#""kind":"lifecycle","reason":"agent-ended","how":"time-limit","exit_status":124"#));
        assert!(end.ends_with("agent-ended      time-limit, status 124\n"), "{end}");
        let later = rows.of(&line(r#""kind":"report","verdict":"deny","what":"a\u001b[2J""#));
        assert!(later.contains("report") && later.contains("deny") && !later.contains('\u{1b}'), "{later:?}");
    }

    #[test]
    fn nothing_from_the_agent_reaches_the_terminal_raw() {
        let line = line(
            r#""kind":"dns","verdict":"deny","reason":"not-allowed","rule":"\u009b","error":"\u001b[2J""#,
        );
        let shown = Rows::new(true).of(&line);
        assert!(!shown.chars().any(|c| c != '\n' && c.is_control()), "{shown:?}");
        assert!(!shown.contains("ringfence allow"), "{shown}");
    }
}
