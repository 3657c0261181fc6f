//! One line of the decision log, for people.
//!
//! ```text
//!  JSON line ──▶ Line ──▶ time, kind, verdict, reason, target, rule (layer, place)
//!                  └─ refused ─▶ remedy ──▶ a second row, the first time it is of use
//! ```
//! Names in it come from the agent: nothing of them reaches the terminal raw.

use std::collections::HashSet;

use serde::Deserialize;

use super::remedy;

/// The fields that are shown; absent ones are empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Line {
    pub time: String,
    pub workflow: String,
    pub kind: String,
    pub phase: Option<String>,
    pub verdict: Option<String>,
    pub reason: Option<String>,
    pub host: Option<String>,
    pub address: Option<String>,
    pub port: Option<u16>,
    pub protocol: Option<String>,
    pub rule: Option<String>,
    pub layer: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
    pub what: Option<String>,
    pub error: Option<String>,
    pub left_out: Option<u64>,
}

impl Line {
    /// Reads a line; none when it is no event.
    pub fn read(text: &str) -> Option<Line> {
        serde_json::from_str(text).ok()
    }

    /// Whether something was refused.
    pub fn denied(&self) -> bool {
        self.verdict.as_deref() == Some("deny")
    }

    /// The deciding rule and where it stands.
    pub fn ruling(&self) -> Option<String> {
        let rule = self.rule.as_deref()?;
        let place = match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (Some(file), None) => file.clone(),
            (None, _) => String::new(),
        };
        let layer = self.layer.as_deref().unwrap_or_default();
        let about =
            [layer, &place].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
        Some(if about.is_empty() { rule.to_owned() } else { format!("{rule} ({about})") })
    }

    fn target(&self) -> String {
        if let Some(what) = &self.what {
            return what.clone();
        }
        let names = [&self.host, &self.address].into_iter().flatten().map(String::as_str);
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let protocol = match self.protocol.as_deref() {
            Some(protocol @ ("udp" | "icmp")) => format!(" ({protocol})"),
            _ => String::new(),
        };
        format!("{}{port}{protocol}", names.collect::<Vec<_>>().join(" "))
    }
}

/// Writes rows; what would permit a thing is said once.
#[derive(Debug, Default)]
pub struct Rows {
    live: bool,
    said: HashSet<String>,
}

/// Different remedies that are remembered: an agent may try any number of targets.
const REMEMBERED: usize = 10_000;

impl Rows {
    /// Rows about a workflow that runs, or ran.
    pub fn new(live: bool) -> Rows {
        Rows { live, said: HashSet::new() }
    }

    /// A line's row or rows.
    pub fn of(&mut self, line: &Line) -> String {
        let word = |text: &Option<String>| safe(text.as_deref().unwrap_or_default());
        let verdict = match line.phase.as_deref() {
            Some("close") => "close".to_owned(),
            _ => word(&line.verdict),
        };
        let mut row = format!(
            "{}  {:<9} {verdict:<5} {:<16} {}",
            safe(&line.time),
            safe(&line.kind),
            word(&line.reason),
            safe(&line.target())
        );
        if let Some(more) = line.left_out {
            row.push_str(&format!("  (and {more} more)"));
        }
        if let Some(ruling) = line.ruling() {
            row.push_str(&format!("  by {}", safe(&ruling)));
        }
        row.push('\n');
        if let Some(remedy) = remedy::of(line) {
            let text = safe(&remedy.text(self.live.then_some(line.workflow.as_str())));
            if self.said.len() < REMEMBERED && self.said.insert(text.clone()) {
                row.push_str(&format!("{:26}{text}\n", ""));
            }
        }
        row
    }
}

/// Text without anything that a terminal would obey.
fn safe(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c == '"' || c == '\'' { vec![c] } else { c.escape_default().collect() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_shows_its_rule_and_place_and_once_what_would_permit_it() {
        let text = r#"{"v":1,"seq":4,"time":"T","workflow":"2a","kind":"connect","verdict":"deny","reason":"port","host":"a.test","port":8080,"rule":"a.test:443","layer":"run","file":"p.yml","line":7}"#;
        let line = Line::read(text).unwrap();
        let mut rows = Rows::new(true);
        assert_eq!(
            rows.of(&line),
            "T  connect   deny  port             a.test:8080  by a.test:443 (run, p.yml:7)\n                          \
             to permit it: - a.test:8080   (now: ringfence allow 2a a.test:8080)\n"
        );
        assert_eq!(rows.of(&line).lines().count(), 1);
    }

    #[test]
    fn nothing_from_the_agent_reaches_the_terminal_raw() {
        let text =
            r#"{"kind":"dns","verdict":"deny","reason":"not-allowed","host":"a\u001b[2J","rule":"\u009b"}"#;
        let shown = Rows::new(true).of(&Line::read(text).unwrap());
        assert!(!shown.chars().any(|c| c != '\n' && c.is_control()), "{shown:?}");
        assert!(!shown.contains("ringfence allow"), "{shown}");
    }
}
