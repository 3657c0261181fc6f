//! Refusals of a run: names that a policy file can permit, and the rest.

use std::collections::BTreeMap;

use netpolicy::edit::Permission;
use netpolicy::load::rule_from_flag;

use crate::report::remedy::{self, Remedy};
use crate::supervisor::run::attempts::Attempts;
use crate::supervisor::run::summary::target;
use crate::wire::event::{Access, Event, Line, Time};

/// Different targets that are remembered: an agent may try any number.
const REMEMBERED: usize = 1000;

/// Refusals of a run.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Names that a file can permit, in the order of their first refusal.
    pub(super) names: Vec<(Permission, Attempts)>,
    /// The others: target, reason, and what would help.
    others: BTreeMap<(String, String), u64>,
    /// Refusals of targets beyond those that are remembered.
    beyond: u64,
}

impl Refusals {
    /// Reads a log.
    pub(super) fn of(log: &[u8]) -> Refusals {
        let mut refusals = Refusals::default();
        for line in log.split(|byte| *byte == b'\n').filter_map(Line::read) {
            refusals.add(&line);
        }
        refusals
    }

    fn add(&mut self, line: &Line) {
        let Event::Access(access) = &line.event else { return };
        let Some(remedy) = remedy::of(line) else { return };
        let offered = match &remedy {
            Remedy::Line { allow: Some(text), .. } => permission(text),
            _ => Err(remedy.text(None)),
        };
        match offered {
            Ok(name) => self.add_name(name, access, line.time),
            Err(help) => self.add_other((target(access), help)),
        }
    }

    fn add_name(&mut self, name: Permission, access: &Access, time: Time) {
        if let Some((_, attempts)) = self.names.iter_mut().find(|(known, _)| *known == name) {
            attempts.add(access, time);
        } else if self.names.len() < REMEMBERED {
            self.names.push((name, Attempts::begin(access, time)));
        } else {
            self.beyond += 1;
        }
    }

    fn add_other(&mut self, key: (String, String)) {
        if self.others.len() < REMEMBERED || self.others.contains_key(&key) {
            *self.others.entry(key).or_default() += 1;
        } else {
            self.beyond += 1;
        }
    }

    /// Describes what no name in a file would permit, a line each.
    pub(super) fn others(&self) -> Vec<String> {
        let line = |((target, help), count): (&(String, String), &u64)| {
            let escaped = |text: &str| text.chars().flat_map(escape).collect::<String>();
            format!("{count:>5} × {}  ({})", escaped(target), escaped(help))
        };
        let mut lines: Vec<String> = self.others.iter().map(line).collect();
        if self.beyond > 0 {
            lines.push(format!("{:>5} × other targets", self.beyond));
        }
        lines
    }
}

/// Writes a character of a log without anything that a terminal obeys.
fn escape(c: char) -> impl Iterator<Item = char> {
    let plain = c == '\'' || c == '"';
    std::iter::once(c).filter(move |_| plain).chain(c.escape_default().filter(move |_| !plain))
}

/// Reads the argument of `ringfence allow` as a name on a port.
///
/// # Errors
/// With the reason for which no program writes it.
fn permission(text: &str) -> Result<Permission, String> {
    let rule = rule_from_flag("--allow", text).map_err(|found| match &found.hint {
        Some(hint) => format!("{}; {hint}", found.message),
        None => found.message.clone(),
    })?;
    Permission::of_rule(&rule).map_err(|by_hand| by_hand.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> Vec<u8> {
        let mut text = String::new();
        for (second, line) in lines.iter().enumerate() {
            text.push_str(&format!(
                "{{\"v\":1,\"seq\":{second},\"time\":\"2026-11-30T00:00:{second:02}.000Z\",\"workflow\":\"0000002a\",{line}}}\n"
            ));
        }
        text.into_bytes()
    }

    #[test]
    fn names_are_offered_once_and_the_rest_is_told_with_its_reason() {
        let refusals = Refusals::of(&log(&[
            r#""kind":"dns","verdict":"deny","reason":"not-allowed","host":"a.test""#,
            r#""kind":"dns","verdict":"deny","reason":"not-allowed","host":"a.test","left_out":7"#,
            r#""kind":"dns","verdict":"allow","host":"c.test""#,
            r#""kind":"connect","verdict":"deny","reason":"port","host":"b.test","port":8443"#,
            r#""kind":"connect","verdict":"deny","reason":"raw-address","address":"198.51.100.9","port":22"#,
            r#""kind":"connect","verdict":"deny","reason":"metadata-address","address":"169.254.169.254","port":80"#,
            r#""kind":"dns","verdict":"deny","reason":"not-allowed","host":"a.test""#,
            r#""kind":"dns","verdict":"deny","reason":"not-allowed","host":"host.docker.internal""#,
            r#""kind":"tls","verdict":"deny","reason":"sni-mismatch","host":"d.test","port":443,"rule":"\u001b[2J""#,
        ]));
        let names: Vec<String> =
            refusals.names.iter().map(|(name, attempts)| format!("{} × {name}", attempts.count)).collect();
        assert_eq!(names, ["2 × a.test", "1 × b.test:8443"]);
        let others = refusals.others().join("\n");
        for told in [
            "198.51.100.9:22",
            "169.254.169.254:80",
            "the floor refuses it",
            "host.docker.internal",
            "d.test:443",
        ] {
            assert!(others.contains(told), "{told}: {others}");
        }
        assert!(!others.contains('\u{1b}'), "{others:?}");
    }

    #[test]
    fn an_agent_cannot_fill_the_memory() {
        let lines: Vec<String> = (0..3000)
            .map(|n| format!(r#""kind":"dns","verdict":"deny","reason":"not-allowed","host":"h{n}.test""#))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut text = String::from_utf8(log(&lines[..60])).unwrap();
        for (index, line) in lines[60..].iter().enumerate() {
            let seq = index + 60;
            text.push_str(&format!(
                "{{\"v\":1,\"seq\":{seq},\"time\":\"2026-11-30T00:01:00.000Z\",\"workflow\":\"0000002a\",{line}}}\n"
            ));
        }
        let refusals = Refusals::of(text.as_bytes());
        assert_eq!((refusals.names.len(), refusals.beyond), (REMEMBERED, 2000));
        assert!(refusals.others().join("").contains("2000 × other targets"));
    }
}
