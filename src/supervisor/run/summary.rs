//! The short account on stderr at a run's end: what was refused, and why.
//!
//! It reads the guard's own lines, so it cannot say anything else than the decision log does.

use std::collections::BTreeMap;

use crate::wire::WorkflowId;
use crate::wire::chain::Checked;
use crate::wire::event::{Access, Control, Event, Kind, Known, Transport};

/// Counts refusals as they happen. Bounded: an agent may try any number of targets.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// The chain of the lines.
    pub(crate) log: Checked,
    refused: BTreeMap<(String, String), u64>,
    beyond: u64,
}

/// Distinct (target, reason) pairs that are remembered.
const REMEMBERED: usize = 1000;
/// Characters that are shown of why something failed.
const LONGEST_WHY: usize = 160;
/// Lines that are shown.
const SHOWN: usize = 12;

impl Summary {
    /// Takes in one event.
    pub(crate) fn add(&mut self, event: &Event) {
        if !event.is_denied() {
            return;
        }
        let (target, reason, times) = match event {
            Event::Access(access) => {
                (target(access), reason(access), access.left_out.unwrap_or(0).saturating_add(1))
            }
            Event::Control(Control { reason, .. }) => {
                let reason = reason.as_ref().map(ToString::to_string).unwrap_or_default();
                ("other targets of control".to_owned(), reason, 1)
            }
            Event::Lifecycle(_) | Event::Other(_) => return,
        };
        let key = (target, reason);
        if let Some(count) = self.refused.get_mut(&key) {
            *count = count.saturating_add(times);
        } else if self.refused.len() < REMEMBERED {
            self.refused.insert(key, times);
        } else {
            self.beyond = self.beyond.saturating_add(times);
        }
    }

    /// The summary's text, empty when nothing was refused. Control characters that an agent put
    /// into a name never reach the terminal.
    pub(crate) fn text(&self, id: WorkflowId) -> String {
        if self.refused.is_empty() {
            return String::new();
        }
        let total = self.refused.values().fold(self.beyond, |total, count| total.saturating_add(*count));
        let mut lines: Vec<_> = self.refused.iter().collect();
        lines.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let mut text = format!("ringfence: refused {total} time{}:\n", if total == 1 { "" } else { "s" });
        for ((target, reason), count) in lines.iter().take(SHOWN) {
            let target: String = target.chars().flat_map(char::escape_default).collect();
            let reason: String = reason.chars().flat_map(char::escape_default).collect();
            text.push_str(&format!("  {count:>5} × {target}  ({reason})\n"));
        }
        if lines.len() > SHOWN {
            text.push_str(&format!("  and {} more targets\n", lines.len() - SHOWN));
        }
        text.push_str(&format!("  details, and what would permit each: ringfence events {id} --denied\n"));
        text
    }
}

/// Returns where something was refused to go.
pub(crate) fn target(access: &Access) -> String {
    let host = access.host.as_ref().map(ToString::to_string);
    let target = host.or_else(|| access.address.map(|address| address.to_string()));
    let target = target.unwrap_or_else(|| format!("other targets of {}", access.kind.as_str()));
    let target = match access.port {
        Some(port) if access.kind != Kind::Dns => format!("{target}:{port}"),
        _ => target,
    };
    match &access.protocol {
        Some(Known::This(protocol @ (Transport::Udp | Transport::Icmp))) => format!("{target} ({protocol})"),
        _ => target,
    }
}

/// Returns why something was refused.
fn reason(access: &Access) -> String {
    let reason = access.reason.as_ref().map(ToString::to_string).unwrap_or_default();
    match access.limit.as_ref().or(access.error.as_ref()) {
        Some(why) => format!("{reason}: {}", why.chars().take(LONGEST_WHY).collect::<String>()),
        None => reason,
    }
}

/// The last line about a run's events: what proves later that the log is whole.
pub(super) fn last_digest(summary: Option<&Summary>, id: WorkflowId) -> String {
    let Some((log, digest)) = summary.and_then(|summary| Some((&summary.log, summary.log.digest.as_ref()?)))
    else {
        return format!(
            "ringfence: the events' last digest is not known; what there is: ringfence events {id}\n"
        );
    };
    let mut text = String::new();
    if let Some(finding) = log.findings.first() {
        text.push_str(&format!("ringfence: the events came damaged: {finding}\n"));
    }
    let lines = log.lines;
    text.push_str(&format!(
        "ringfence: {lines} events, last digest sha256:{digest} (ringfence events {id} --verify --digest …)\n"
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::event::Line;

    fn id() -> WorkflowId {
        "0000002a".parse().unwrap()
    }

    /// The event of these fields, by way of a line.
    fn event(json: &str) -> Event {
        let head = r#"{"v":1,"seq":1,"time":"2026-11-30T00:00:00.000Z","workflow":"0000002a","#;
        let line = json.replacen('{', head, 1);
        Line::read(line.as_bytes()).unwrap_or_else(|| panic!("{line}")).event
    }

    #[test]
    fn the_same_refusal_is_one_line_and_folded_events_count() {
        let mut summary = Summary::default();
        let line = r#"{"kind":"connect","verdict":"deny","reason":"raw-address","address":"10.0.0.1","port":22,"left_out":3}"#;
        summary.add(&event(line));
        summary.add(&event(r#"{"kind":"dns","verdict":"allow","host":"a.test"}"#));
        let text = summary.text(id());
        assert!(text.starts_with("ringfence: refused 4 times:\n"), "{text}");
        assert!(text.contains("4 × 10.0.0.1:22  (raw-address)"), "{text}");
    }

    #[test]
    fn a_name_that_does_not_resolve_is_told_as_such() {
        let mut summary = Summary::default();
        let line = |error: &str| {
            format!(
                r#"{{"kind":"connect","verdict":"deny","reason":"resolve-failed","host":"a.test","port":443,"error":"{error}"}}"#
            )
        };
        summary.add(&event(&line("there is no such name")));
        summary.add(&event(&line(&"x".repeat(5000))));
        let text = summary.text(id());
        assert!(text.contains("1 × a.test:443  (resolve-failed: there is no such name)\n"), "{text}");
        assert!(text.len() < 600, "{text}");
    }

    #[test]
    fn no_text_can_write_to_the_terminal() {
        let mut summary = Summary::default();
        let line = r#"{"kind":"connect","verdict":"deny","reason":"resolve-failed","host":"a.test","error":"a\u001b[2J"}"#;
        summary.add(&event(line));
        assert!(summary.text(id()).contains("a.test") && !summary.text(id()).contains('\u{1b}'));
    }

    #[test]
    fn an_agent_cannot_fill_the_memory() {
        let mut summary = Summary::default();
        for port in 0..5000u16 {
            summary.add(&event(&format!(
                r#"{{"kind":"connect","verdict":"deny","reason":"x","address":"1.1.1.1","port":{port}}}"#
            )));
        }
        assert_eq!(summary.refused.len(), REMEMBERED);
        assert!(summary.text(id()).contains("refused 5000 times"));
    }
}
