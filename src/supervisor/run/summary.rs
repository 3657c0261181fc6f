//! The short account on stderr at a run's end: what was refused, and why.
//!
//! It reads the guard's own lines, so it cannot say anything else than the decision log does.
//! Refusals of names that do an agent no harm are folded, and counted all the same.

use std::collections::{BTreeMap, BTreeSet};

use netpolicy::decide::Reason;
use netpolicy::policy::Harmless;
use netpolicy::ruleset::FenceLimit;

use super::attempts::Attempts;
use super::request::RunRequest;
use crate::supervisor::streams::ShownRefusal;
use crate::wire::WorkflowId;
use crate::wire::chain::Checked;
use crate::wire::event::{Access, Control, Event, Kind, Known, Time, Transport};

/// Refusals of one target for one reason.
#[derive(Debug)]
struct Counted {
    attempts: Attempts,
    /// The agent's purpose, where the refusal does no harm.
    harmless: Option<String>,
}

/// Counts refusals as they happen. Bounded: an agent may try any number of targets.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// The chain of the lines.
    pub(crate) log: Checked,
    refused: BTreeMap<(String, String), Counted>,
    beyond: u64,
    /// Attempts that are not harmless.
    attempts: u64,
    /// Packets that a rate kept back, by the rate in words.
    waited: BTreeMap<String, u64>,
    harmless: Vec<Harmless>,
    /// Words behind the id in the command that puts names into the run's policy file.
    apply: Option<String>,
    /// A name was refused that a file can permit.
    can_be_permitted: bool,
    tells_all: bool,
    /// The run is observed.
    is_observed: bool,
}

/// Distinct (target, reason) pairs that are remembered.
const REMEMBERED: usize = 1000;
/// Characters that are shown of why something failed.
const LONGEST_WHY: usize = 160;
/// Lines that are shown.
const SHOWN: usize = 12;
/// Names of one purpose that are shown where they are folded.
const FOLDED: usize = 4;

impl Summary {
    /// Begins to count the refusals of a run.
    pub(super) fn of(request: &RunRequest) -> Summary {
        Summary {
            harmless: request.policy.harmless.clone(),
            apply: request.apply.clone(),
            tells_all: request.tells_all,
            is_observed: request.policy.is_observed(),
            ..Summary::default()
        }
    }

    /// Takes in one event. Returns what was refused so far, where that has changed and matters to a
    /// person.
    pub(super) fn add(&mut self, time: Time, event: &Event) -> Option<ShownRefusal> {
        if !event.is_denied() {
            return None;
        }
        let none = Access::default();
        let (access, target, reason) = match event {
            Event::Access(access) => (access, target(access), reason(access)),
            Event::Control(Control { reason, .. }) => {
                let reason = reason.as_ref().map(ToString::to_string).unwrap_or_default();
                (&none, "other targets of control".to_owned(), reason)
            }
            Event::Lifecycle(_) | Event::Other(_) => return None,
        };
        if let Some(rate) = rate(access) {
            let waited = self.waited.entry(rate).or_default();
            *waited = waited.saturating_add(access.left_out.unwrap_or(0).saturating_add(1));
            return None;
        }
        let harmless = self.purpose(access);
        let is_harmless = harmless.is_some();
        let grown = self.count(access, time, (target.clone(), reason), harmless);
        if is_harmless || grown == 0 {
            return None;
        }
        self.can_be_permitted |= can_be_permitted(access);
        self.attempts = self.attempts.saturating_add(grown);
        Some(ShownRefusal { attempts: self.attempts, latest: target })
    }

    /// Counts a refusal; the number of attempts that it adds.
    fn count(&mut self, access: &Access, time: Time, key: (String, String), harmless: Option<String>) -> u64 {
        // A connection to a name whose question was refused a moment ago is the same attempt.
        let question = access.host.as_ref().filter(|_| access.kind != Kind::Dns);
        let question = question.and_then(|host| self.refused.get(&(host.to_string(), key.1.clone())));
        if question.is_some_and(|counted| counted.attempts.goes_on(time)) {
            return 0;
        }
        if let Some(counted) = self.refused.get_mut(&key) {
            let before = counted.attempts.count;
            counted.attempts.add(access, time);
            return counted.attempts.count.saturating_sub(before);
        }
        let begun = Attempts::begin(access, time);
        if self.refused.len() < REMEMBERED {
            self.refused.insert(key, Counted { attempts: begun, harmless });
        } else {
            self.beyond = self.beyond.saturating_add(begun.count);
        }
        begun.count
    }

    /// Returns the purpose of a harmless request.
    fn purpose(&self, access: &Access) -> Option<String> {
        let host = access.host.as_ref()?;
        self.harmless.iter().find(|known| known.host.matches(host)).map(|known| known.reason.clone())
    }

    /// The summary's text, empty when nothing was refused, nothing had to wait and the run was not
    /// observed. Control characters that an agent put into a name never reach the terminal.
    pub(crate) fn text(&self, id: WorkflowId) -> String {
        let line = |(rate, count): (&String, &u64)| {
            format!("ringfence: {count} packets had to wait, and were not refused: {}\n", escaped(rate))
        };
        let waited: String = self.waited.iter().map(line).collect();
        let observed =
            format!("ringfence: this run was observed; make a policy of it: ringfence policy learn {id}\n");
        waited + if self.is_observed { &observed } else { "" } + &self.refusals(id)
    }

    fn refusals(&self, id: WorkflowId) -> String {
        if self.refused.is_empty() {
            return String::new();
        }
        let counts = self.refused.values().map(|counted| counted.attempts.count);
        let total = counts.fold(self.beyond, u64::saturating_add);
        let is_folded = |counted: &Counted| counted.harmless.is_some() && !self.tells_all;
        let mut lines: Vec<_> = self.refused.iter().filter(|(_, counted)| !is_folded(counted)).collect();
        lines.sort_by(|a, b| b.1.attempts.count.cmp(&a.1.attempts.count).then(a.0.cmp(b.0)));
        let mut text = format!("ringfence: refused {total} time{}:\n", if total == 1 { "" } else { "s" });
        for ((target, reason), counted) in lines.iter().take(SHOWN) {
            let purpose = counted.harmless.as_ref().map(|purpose| format!(", harmless: {purpose}"));
            let (target, reason, purpose) =
                (escaped(target), escaped(reason), escaped(&purpose.unwrap_or_default()));
            text.push_str(&format!("  {:>5} × {target}  ({reason}{purpose})\n", counted.attempts.count));
        }
        if lines.len() > SHOWN {
            text.push_str(&format!("  and {} more targets\n", lines.len() - SHOWN));
        }
        if !self.tells_all {
            text.push_str(&self.folded());
        }
        text.push_str(&format!("  details, and what would permit each: ringfence events {id} --denied\n"));
        if let Some(words) = self.apply.as_ref().filter(|_| self.can_be_permitted) {
            text.push_str(&format!(
                "  to permit names of your choice from now on: ringfence policy apply {id}{words}\n"
            ));
        }
        text
    }

    /// Describes the harmless refusals, a line for each purpose.
    fn folded(&self) -> String {
        let mut purposes: BTreeMap<&str, (u64, BTreeSet<&str>)> = BTreeMap::new();
        for ((target, _), counted) in &self.refused {
            let Some(purpose) = &counted.harmless else { continue };
            let (count, names) = purposes.entry(purpose).or_default();
            *count = count.saturating_add(counted.attempts.count);
            names.insert(target);
        }
        let line = |(purpose, (count, names)): (&str, (u64, BTreeSet<&str>))| {
            let shown: Vec<String> = names.iter().take(FOLDED).map(|name| escaped(name)).collect();
            let more = if names.len() > FOLDED { " and others" } else { "" };
            let (purpose, shown) = (escaped(purpose), shown.join(", "));
            format!("  {count:>5} × {purpose}, harmless: {shown}{more}  (--verbose shows each)\n")
        };
        purposes.into_iter().map(line).collect()
    }
}

/// Returns the rate that kept a packet back, in words: the packet comes again, and gets through.
fn rate(access: &Access) -> Option<String> {
    let is_limit = matches!(access.reason.as_ref().and_then(Known::known), Some(Reason::Limit));
    let words = access.limit.as_ref().filter(|_| is_limit)?;
    FenceLimit::named(words).filter(|limit| limit.is_rate()).map(|_| words.clone())
}

/// Tells whether a name was refused that a line of a policy file can permit.
fn can_be_permitted(access: &Access) -> bool {
    let reason = access.reason.as_ref().and_then(Known::known);
    access.host.is_some() && matches!(reason, Some(Reason::NotAllowed | Reason::Port | Reason::NameBudget))
}

fn escaped(text: &str) -> String {
    text.chars().flat_map(char::escape_default).collect()
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
pub(crate) fn reason(access: &Access) -> String {
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
    if !log.ended {
        text.push_str("ringfence: the events came without the guard's last line\n");
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

    /// Adds the event of these fields, so many seconds after the beginning.
    fn add(summary: &mut Summary, second: u32, json: &str) -> Option<ShownRefusal> {
        let head = format!(
            r#"{{"v":1,"seq":1,"time":"2026-11-30T00:{:02}:{:02}.000Z","workflow":"0000002a","#,
            second / 60,
            second % 60
        );
        let line = json.replacen('{', &head, 1);
        let line = Line::read(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
        summary.add(line.time, &line.event)
    }

    #[test]
    fn the_same_refusal_is_one_line_and_folded_events_count() {
        let mut summary = Summary::default();
        let line = r#"{"kind":"connect","verdict":"deny","reason":"raw-address","address":"10.0.0.1","port":22,"left_out":3}"#;
        let _ = add(&mut summary, 0, line);
        let _ = add(&mut summary, 0, r#"{"kind":"dns","verdict":"allow","host":"a.test"}"#);
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
        let _ = add(&mut summary, 0, &line("there is no such name"));
        let _ = add(&mut summary, 0, &line(&"x".repeat(5000)));
        let text = summary.text(id());
        assert!(text.contains("1 × a.test:443  (resolve-failed: there is no such name)\n"), "{text}");
        assert!(text.len() < 600, "{text}");
    }

    #[test]
    fn a_log_that_has_lost_its_end_says_so() {
        let mut summary = Summary::default();
        let line = |event: &str| {
            format!(r#"{{"v":1,"seq":0,"time":"2026-11-30T00:00:00.000Z","workflow":"0000002a",{event}"#)
        };
        summary.log.add(line(r#""kind":"dns","verdict":"allow","host":"a.test"}"#).as_bytes());
        assert!(last_digest(Some(&summary), id()).contains("without the guard's last line"));
        summary.log.add(line(r#""kind":"lifecycle","reason":"end"}"#).as_bytes());
        let text = last_digest(Some(&summary), id());
        assert!(summary.log.ended && !text.contains("without the guard's last line"), "{text}");
    }

    #[test]
    fn no_text_can_write_to_the_terminal() {
        let mut summary = Summary::default();
        let line = r#"{"kind":"connect","verdict":"deny","reason":"resolve-failed","host":"a.test","error":"a\u001b[2J"}"#;
        let _ = add(&mut summary, 0, line);
        assert!(summary.text(id()).contains("a.test") && !summary.text(id()).contains('\u{1b}'));
    }

    #[test]
    fn an_agent_cannot_fill_the_memory() {
        let mut summary = Summary::default();
        for port in 0..5000u16 {
            let line = format!(
                r#"{{"kind":"connect","verdict":"deny","reason":"x","address":"1.1.1.1","port":{port}}}"#
            );
            let _ = add(&mut summary, 0, &line);
        }
        assert_eq!(summary.refused.len(), REMEMBERED);
        assert!(summary.text(id()).contains("refused 5000 times"));
    }

    #[test]
    fn what_a_rate_keeps_back_is_no_refusal_and_what_a_number_refuses_is_one() {
        let event = |limit: FenceLimit| {
            let limit = limit.in_words(netpolicy::ruleset::ConnectionBounds::LEAST);
            format!(
                r#"{{"kind":"connect","verdict":"deny","reason":"limit","host":"a.test","port":443,"limit":"{limit}","left_out":9}}"#
            )
        };
        let mut summary = Summary::default();
        assert_eq!(add(&mut summary, 0, &event(FenceLimit::NewConnections)), None);
        let text = summary.text(id());
        assert!(text.starts_with("ringfence: 10 packets had to wait, and were not refused: "), "{text}");
        assert!(!text.contains("refused 1") && text.lines().count() == 1, "{text}");
        let shown = add(&mut summary, 0, &event(FenceLimit::Connections)).unwrap();
        assert_eq!((shown.attempts, &*shown.latest), (1, "a.test:443"));
        assert!(summary.text(id()).contains("refused 1 time:"), "{}", summary.text(id()));
    }

    const QUESTION: &str = r#"{"kind":"dns","verdict":"deny","reason":"not-allowed","host":"a.test"}"#;

    #[test]
    fn an_attempt_counts_once_however_often_it_asks() {
        let mut summary = Summary::default();
        // A and AAAA, a resolver's repeat, a connection behind the question.
        let shown = |attempts| Some(ShownRefusal { attempts, latest: "a.test".to_owned() });
        assert_eq!(add(&mut summary, 0, QUESTION), shown(1));
        assert_eq!(add(&mut summary, 0, QUESTION), None, "the title counts attempts too");
        let _ = add(&mut summary, 4, &QUESTION.replace('}', r#","left_out":9}"#));
        let _ = add(&mut summary, 4, &QUESTION.replace("dns", "connect").replace('}', r#","port":443}"#));
        assert!(summary.text(id()).contains("refused 1 time:"), "{}", summary.text(id()));
        // Later it is another attempt, and so is another name.
        let _ = add(&mut summary, 5, QUESTION);
        let _ = add(&mut summary, 5, &QUESTION.replace("a.test", "b.test"));
        let text = summary.text(id());
        assert!(text.contains("refused 3 times") && text.contains("2 × a.test  (not-allowed)"), "{text}");
        assert!(!text.contains("policy apply"), "{text}");
        summary.apply = Some(" 'p q.yml'".to_owned());
        let text = summary.text(id());
        assert!(text.ends_with("from now on: ringfence policy apply 0000002a 'p q.yml'\n"), "{text}");
    }

    #[test]
    fn harmless_refusals_are_folded_by_purpose_and_counted() {
        let known = |host: &str, reason: &str| Harmless {
            host: netpolicy::host::HostPattern::parse(host).unwrap(),
            reason: reason.to_owned(),
        };
        let mut summary = Summary {
            harmless: vec![known(".t.test", "telemetry of x"), known("u.test", "updater of x")],
            apply: Some(String::new()),
            ..Summary::default()
        };
        for (second, name) in
            [(0, "t.test"), (10, "t.test"), (10, "a.t.test"), (20, "u.test"), (20, "xt.test")]
        {
            let _ = add(&mut summary, second, &QUESTION.replace("a.test", name));
        }
        let folded = "ringfence: refused 5 times:
      1 × xt.test  (not-allowed)
      3 × telemetry of x, harmless: a.t.test, t.test  (--verbose shows each)
      1 × updater of x, harmless: u.test  (--verbose shows each)
";
        let text = summary.text(id());
        assert!(text.starts_with(folded), "{text}");
        summary.tells_all = true;
        let text = summary.text(id());
        assert!(text.contains("2 × t.test  (not-allowed, harmless: telemetry of x)\n"), "{text}");
        assert!(!text.contains("--verbose"), "{text}");
    }
}
