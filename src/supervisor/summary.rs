//! The short account on stderr at a run's end: what was refused, and why.
//!
//! It reads the guard's own lines, so it cannot say anything else than the decision log does.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::wire::WorkflowId;
use crate::wire::chain::Checked;

/// The parts of an event that the summary needs.
#[derive(Debug, Deserialize)]
pub struct Seen {
    /// dns, connect, tls, http, datagram, control, lifecycle.
    #[serde(default)]
    pub kind: String,
    /// allow or deny.
    pub verdict: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The name, where it is known.
    pub host: Option<String>,
    /// The address.
    pub address: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// tcp, udp, …
    pub protocol: Option<String>,
    /// Further events that were folded into this one.
    #[serde(default)]
    pub left_out: u64,
    /// The limit behind the reason `limit`.
    pub limit: Option<String>,
    /// Why a permitted connection did not come to be.
    pub error: Option<String>,
}

/// Counts refusals as they happen. Bounded: an agent may try any number of targets.
#[derive(Debug, Default)]
pub struct Summary {
    /// The chain of the lines.
    pub log: Checked,
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
    pub fn add(&mut self, event: &Seen) {
        if event.verdict.as_deref() != Some("deny") {
            return;
        }
        let times = 1 + event.left_out;
        let target = event.host.clone().or_else(|| event.address.clone());
        let target = target.unwrap_or_else(|| format!("other targets of {}", event.kind));
        let target = match event.port {
            Some(port) if event.kind != "dns" => format!("{target}:{port}"),
            _ => target,
        };
        let target = match event.protocol.as_deref() {
            Some(protocol @ ("udp" | "icmp")) => format!("{target} ({protocol})"),
            _ => target,
        };
        let reason = event.reason.clone().unwrap_or_default();
        let reason = match event.limit.as_ref().or(event.error.as_ref()) {
            Some(why) => format!("{reason}: {}", why.chars().take(LONGEST_WHY).collect::<String>()),
            None => reason,
        };
        let key = (target, reason);
        if let Some(count) = self.refused.get_mut(&key) {
            *count += times;
        } else if self.refused.len() < REMEMBERED {
            self.refused.insert(key, times);
        } else {
            self.beyond += times;
        }
    }

    /// The summary's text, empty when nothing was refused. Control characters that an agent put into a
    /// name never reach the terminal.
    pub fn text(&self, id: WorkflowId) -> String {
        if self.refused.is_empty() {
            return String::new();
        }
        let total: u64 = self.refused.values().sum::<u64>() + self.beyond;
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

/// The last line about a run's events: what proves later that the log is whole.
pub fn last_digest(summary: Option<&Summary>, id: WorkflowId) -> String {
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

    fn id() -> WorkflowId {
        "0000002a".parse().unwrap()
    }

    fn event(json: &str) -> Seen {
        serde_json::from_str(json).unwrap()
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
    fn a_name_cannot_write_to_the_terminal() {
        let mut summary = Summary::default();
        summary.add(&event(r#"{"kind":"dns","verdict":"deny","reason":"not-allowed","host":"a\u001b[2J"}"#));
        assert!(!summary.text(id()).contains('\u{1b}'));
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
