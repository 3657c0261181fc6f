//! `ringfence policy unused`: rules that no run needed.
//!
//! ```text
//!  policy (options, else the runs') ──▶ Decider
//!  each request of each log ──decide──▶ the rule that permits it: needed ──▶ the other rules, with their places
//! ```
//! Denials are not looked at: one that nothing met is not needless.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use netpolicy::decide::{Decider, Question, Target};
use netpolicy::floor::Surroundings;
use netpolicy::policy::{Layer, Policy, ResolvedBy, Rule};
use serde_json::json;

use super::explain::named;
use super::{COULD_NOT_TELL, load_here, wanted};
use crate::cli::policy::UnusedArgs;
use crate::commands::events::Log;
use crate::commands::sources;
use crate::host::clock::today;
use crate::layers::record::Record;
use crate::layers::{self, Wanted};
use crate::term::{self, Failure, Warning};
use crate::wire::event::{Access, Decision, Event, Kind, Known, Lifecycle, Line, Phase};

/// A rule was not needed.
const NOT_NEEDED: u8 = 1;
/// Different requests that are remembered, so that each is decided once.
const REMEMBERED: usize = 100_000;

/// Place and text of a rule.
type Place = (Layer, String, u32, String);

/// Lists the rules that no run needed.
pub(crate) async fn unused(engine_host: Option<&str>, args: UnusedArgs) -> Result<u8, Failure> {
    let mut logs = Vec::new();
    for source in &args.sources {
        let log = sources::read(engine_host, source).await;
        logs.push(log.map_err(|failure| Failure { exit: COULD_NOT_TELL, ..failure })?);
    }
    let policy = if wanted(&args.policy, None) == Wanted::default() {
        let policy = of_runs(&logs).map_err(|failure| Failure { exit: COULD_NOT_TELL, ..failure })?;
        warn_of_changes(&policy, &logs);
        policy
    } else {
        load_here(&args.policy)?.policy
    };
    let mut needs = Needs::of(policy);
    logs.iter().for_each(|log| needs.add(&log.bytes));
    if needs.unread > 0 {
        term::warn(Warning::EventsUnread(needs.unread));
    }
    let unused = needs.unused();
    let rules = needs.decider.policy().allow.len();
    if args.json {
        let rule = |rule: &&Rule| {
            let origin = &rule.origin;
            json!({"text": origin.text, "layer": origin.layer, "file": origin.file, "line": origin.line,
                   "expires": rule.expires})
        };
        let unused: Vec<serde_json::Value> = unused.iter().map(rule).collect();
        term::print_json(&json!({"runs": args.sources, "rules": rules, "unused": unused}))?;
    } else {
        term::print(&unused.iter().map(|rule| format!("{}\n", named(rule))).collect::<String>())?;
        term::talk(summary(unused.len(), rules));
    }
    Ok(if unused.is_empty() { 0 } else { NOT_NEEDED })
}

fn summary(unused: usize, rules: usize) -> String {
    match (unused, rules) {
        (_, 0) => "the policy has no rule".to_owned(),
        (0, 1) => "the one rule was needed".to_owned(),
        (0, _) => format!("all {rules} rules were needed"),
        (1, _) => format!("1 of {rules} rules was not needed"),
        _ => format!("{unused} of {rules} rules were not needed"),
    }
}

/// Warns where a run began with another policy: its files were changed since, or the machine's.
fn warn_of_changes(policy: &Policy, logs: &[Log]) {
    let now = policy.digest();
    let then = logs.iter().filter_map(|log| digest_at_start(&log.bytes)).find(|then| *then != now);
    if let Some(then) = then {
        term::warn(Warning::PolicyChanged { now, then });
    }
}

/// Returns the digest of the policy that a run began with.
fn digest_at_start(log: &[u8]) -> Option<String> {
    let mut lines = log.split(|byte| *byte == b'\n').filter_map(Line::read);
    lines.find_map(|line| match line.event {
        Event::Lifecycle(Lifecycle::Start(start)) => start.digest.map(|digest| digest.to_string()),
        _ => None,
    })
}

/// Loads the policy by the words that the runs were given, from its files as they are now.
fn of_runs(logs: &[Log]) -> Result<Policy, Failure> {
    let none = || {
        Failure::new(COULD_NOT_TELL, "this machine has no record of the runs' policy")
            .hint("name it: --policy FILE")
    };
    let mut records = Vec::new();
    for log in logs {
        let id = log.run.filter(|_| log.is_own).ok_or_else(none)?;
        records.push(Record::of_workflow(id)?.ok_or_else(none)?);
    }
    let first = records.first().ok_or_else(none)?;
    if records.iter().any(|record| record != first) {
        return Err(Failure::new(COULD_NOT_TELL, "the runs had different policies")
            .hint("name the one to look at: --policy FILE"));
    }
    // Relative paths count from the run's directory.
    std::env::set_current_dir(&first.directory).map_err(|error| {
        Failure::new(COULD_NOT_TELL, format!("the run was started in {}", first.directory.display()))
            .caused_by(&error)
    })?;
    Ok(layers::load(&first.wanted)?.policy)
}

/// The rules that requests need.
struct Needs {
    decider: Decider,
    needed: BTreeSet<Place>,
    asked: HashSet<(Target, Option<u16>, Option<IpAddr>, ResolvedBy)>,
    unread: usize,
}

impl Needs {
    /// Begins with no request. A run without a network, or an observed one, needs the rules all
    /// the same.
    fn of(policy: Policy) -> Needs {
        let policy = Policy {
            network_denied: false,
            network_observed: false,
            network_denied_to: Vec::new(),
            ..policy
        };
        Needs { decider: Decider::new(policy), needed: BTreeSet::new(), asked: HashSet::new(), unread: 0 }
    }

    /// Adds the requests of a log.
    fn add(&mut self, log: &[u8]) {
        for text in log.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
            match Line::read(text).map(|line| line.event) {
                Some(Event::Access(access)) if access.kind != Kind::Datagram => self.ask(&access),
                Some(_) => {}
                None => self.unread += 1,
            }
        }
    }

    fn ask(&mut self, access: &Access) {
        let is_question = access.kind == Kind::Dns;
        let target = match (&access.host, access.address) {
            (Some(host), _) => Target::Name(host.clone()),
            (None, Some(address)) if !is_question => Target::Address(address),
            _ => return,
        };
        let port = access.port.filter(|_| !is_question);
        let is_opened = access.phase == Some(Known::This(Phase::Open))
            && access.verdict == Some(Known::This(Decision::Allow));
        // Only an opened connection has the server's own address.
        let address = access.address.filter(|_| is_opened && access.host.is_some());
        let resolver = access.resolver.as_ref().and_then(Known::known).filter(|_| is_opened);
        let key = (target, port, address, resolver.copied().unwrap_or_default());
        if self.asked.contains(&key) {
            return;
        }
        if let Some(rule) = self.decided_by(&key) {
            self.needed.insert(rule);
        }
        if self.asked.len() < REMEMBERED {
            self.asked.insert(key);
        }
    }

    /// Finds the rule that permits a request. What a run alone knows of an address, such as the
    /// engine's networks, is not known here: the name then decides.
    fn decided_by(
        &self,
        (target, port, address, resolver): &(Target, Option<u16>, Option<IpAddr>, ResolvedBy),
    ) -> Option<Place> {
        let by_name = Question { port: *port, resolver: *resolver, ..Question::about(target, today()) };
        let whole = Question { address: *address, ..by_name };
        let ask = |question: &Question<'_>| self.decider.decide(&Surroundings::default(), question);
        let verdict = Some(ask(&whole)).filter(|verdict| verdict.allowed).unwrap_or_else(|| ask(&by_name));
        verdict.rule.filter(|_| verdict.allowed).map(|rule| place(&rule))
    }

    /// Lists the rules that no request needs, in the policy's order.
    fn unused(&self) -> Vec<&Rule> {
        let rules = self.decider.policy().allow.iter().map(|rule| &**rule);
        rules.filter(|rule| !self.needed.contains(&place(rule))).collect()
    }
}

fn place(rule: &Rule) -> Place {
    let origin = &rule.origin;
    (origin.layer, origin.file.clone(), origin.line, origin.text.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists the rules of a policy that these events do not need.
    fn unused_of(network: &str, events: &[&str]) -> Vec<String> {
        let text = format!("version: 1\nnetwork:\n{network}\n");
        let mut read = |_: &str| Ok(text.clone());
        let policy = netpolicy::load::load("p.yml", Layer::Run, today(), &mut read).unwrap().policy;
        let mut needs = Needs::of(policy);
        for event in events {
            let line = format!(
                r#"{{"v":1,"seq":1,"time":"2026-11-30T09:00:00.000Z","workflow":"0000002a",{event}}}"#
            );
            needs.add(line.as_bytes());
        }
        assert_eq!(needs.unread, 0);
        needs.unused().into_iter().map(named).collect()
    }

    #[test]
    fn rules_that_no_request_met_are_named_with_their_places() {
        let network = "  allow:\n    - a.test\n    - b.test:8080\n    - \"*.c.test\"\n    - {cidr: 198.51.100.0/24, ports: [22]}";
        let events = [
            r#""kind":"dns","verdict":"allow","host":"a.test""#,
            r#""kind":"connect","phase":"open","verdict":"allow","host":"x.c.test","port":443,"address":"203.0.113.7""#,
        ];
        assert_eq!(
            unused_of(network, &events),
            ["b.test:8080 (run, p.yml:5)", "198.51.100.0/24:22 (run, p.yml:7)"]
        );
        let refused =
            r#""kind":"connect","verdict":"deny","reason":"raw-address","address":"198.51.100.9","port":22"#;
        let port = r#""kind":"connect","verdict":"deny","reason":"port","host":"b.test","port":8080"#;
        assert!(unused_of(network, &[events[0], events[1], refused, port]).is_empty());
        assert_eq!(unused_of(network, &[]).len(), 4);
    }

    #[test]
    fn of_two_rules_the_one_that_decides_is_needed() {
        let network = "  allow:\n    - a.test\n    - .a.test";
        let event = r#""kind":"connect","phase":"open","verdict":"allow","host":"a.test","port":443"#;
        assert_eq!(unused_of(network, &[event]).len(), 1);
        // A private address asks for the rule that has its range.
        let network = "  allow:\n    - .a.test\n    - {host: a.test, private: [10.0.0.0/8]}";
        let private = format!(r#"{event},"address":"10.1.2.3""#);
        assert_eq!(unused_of(network, &[&private]), [".a.test:443 (run, p.yml:4)"]);
    }
}
