//! The smallest policy for what runs asked for.
//!
//! ```text
//!  Sightings of each run ──by name──▶ ports that were tried, else 443 for a refused question
//!   ├─ under a wildcard that a person asked for ─▶ one rule for all of them
//!   ├─ no doubt ─▶ a rule for the name, with exactly its ports
//!   ├─ a doubt ──▶ the same rule, commented out
//!   └─ nothing that a program writes (Permission::of_rule) ─▶ left out, with the reason
//! ```
//! The names are the agent's. They are host names by their type, and what is proposed is an exact
//! name on exact ports.

use std::collections::BTreeMap;

use netpolicy::edit::Permission;
use netpolicy::host::{HostName, HostPattern};
use netpolicy::load::rule_from_flag;
use netpolicy::policy::{Layer, Matcher, Origin, Protocol, Rule};

use super::doubt::{self, Doubt};
use super::sightings::Sightings;
use super::tally::Tally;

/// Port of a name that was asked for and never tried.
const GUESSED: u16 = 443;

/// Wishes of the person about a proposal.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Patterns in the place of the names under them.
    pub(super) wildcards: Vec<HostPattern>,
    /// Names count too that one run of several asked for once.
    pub(super) once: bool,
}

/// A rule, and what it rests on.
#[derive(Debug, Clone)]
pub(super) struct LearnedRule {
    /// The rule.
    pub(super) rule: Rule,
    /// Requests that it would permit.
    pub(super) tally: Tally,
    /// Set when nothing showed the port.
    pub(super) is_guess: bool,
    /// Names that a pattern stands for.
    pub(super) names: Vec<HostName>,
    /// Reason to comment it out.
    pub(super) doubt: Option<Doubt>,
}

/// A policy, and what is not in it.
#[derive(Debug, Default)]
pub(super) struct Proposal {
    /// Rules, names of one domain side by side.
    pub(super) rules: Vec<LearnedRule>,
    /// Rules that are commented out.
    pub(super) doubtful: Vec<LearnedRule>,
    /// Targets that are left out, each with the number of requests and the reason.
    pub(super) left_out: Vec<(String, u64, String)>,
    /// Requests for targets beyond those that were remembered.
    pub(super) beyond: u64,
    /// Patterns that no name is under.
    pub(super) idle: Vec<HostPattern>,
}

/// Requests for one name in all runs.
#[derive(Debug, Default)]
struct NameTally {
    asked: Option<Tally>,
    ports: BTreeMap<u16, Tally>,
}

/// Ports of one name under one check.
struct Need {
    ports: Vec<u16>,
    protocol: Option<Protocol>,
    tally: Tally,
    is_guess: bool,
    /// Set when the name was asked for, permitted, and not connected to.
    is_only_asked: bool,
}

impl Proposal {
    /// Makes the proposal for runs.
    pub(super) fn of(runs: &[Sightings], wishes: &Wishes) -> Proposal {
        let mut proposal = Proposal::default();
        let names = merged(runs);
        let mut by_pattern: BTreeMap<&HostPattern, Vec<(&HostName, Need)>> = BTreeMap::new();
        for (host, tally) in &names {
            for need in needs(tally) {
                let need = match writable(host, &need) {
                    Ok(()) => need,
                    Err(why) => {
                        proposal.left_out.push((host.to_string(), need.tally.attempts, why));
                        continue;
                    }
                };
                match wishes.wildcards.iter().find(|pattern| pattern.matches(host)) {
                    Some(pattern) => by_pattern.entry(pattern).or_default().push((host, need)),
                    None => proposal.add(host, need, &names, (runs.len(), wishes.once)),
                }
            }
        }
        for pattern in &wishes.wildcards {
            match by_pattern.remove(pattern) {
                Some(needs) => proposal.add_pattern(pattern, needs),
                None => proposal.idle.push(pattern.clone()),
            }
        }
        proposal.add_others(runs);
        proposal.rules.sort_by_cached_key(|learned| place(&learned.rule));
        proposal.doubtful.sort_by_cached_key(|learned| place(&learned.rule));
        proposal
    }

    fn add(
        &mut self,
        host: &HostName,
        need: Need,
        names: &BTreeMap<HostName, NameTally>,
        (runs, once): (usize, bool),
    ) {
        let tally = &need.tally;
        let is_once = !once && runs > 1 && tally.attempts == 1;
        let doubt = doubt::of_name(host, tally, |other| names.contains_key(other))
            .or(need.is_only_asked.then_some(Doubt::OnlyAsked))
            .or(is_once.then_some(Doubt::Once));
        let rule = rule(HostPattern::Exact(host.clone()), need.ports, need.protocol);
        let list = if doubt.is_some() { &mut self.doubtful } else { &mut self.rules };
        list.push(LearnedRule { rule, tally: need.tally, is_guess: need.is_guess, names: Vec::new(), doubt });
    }

    /// Adds one rule for all names under a pattern, on every port that one of them needs.
    fn add_pattern(&mut self, pattern: &HostPattern, needs: Vec<(&HostName, Need)>) {
        let mut ports: Vec<u16> = needs.iter().flat_map(|(_, need)| need.ports.iter().copied()).collect();
        ports.sort_unstable();
        ports.dedup();
        let mut names: Vec<HostName> = needs.iter().map(|(host, _)| (*host).clone()).collect();
        names.dedup();
        let Some(tally) = Tally::sum(needs.iter().map(|(_, need)| &need.tally)) else { return };
        let is_guess = needs.iter().all(|(_, need)| need.is_guess);
        let rule = rule(pattern.clone(), ports, None);
        self.rules.push(LearnedRule { rule, tally, is_guess, names, doubt: None });
    }

    fn add_others(&mut self, runs: &[Sightings]) {
        let mut others: BTreeMap<&(String, String), u64> = BTreeMap::new();
        for run in runs {
            self.beyond += run.beyond;
            for (key, count) in &run.others {
                *others.entry(key).or_default() += count;
            }
        }
        let entry = |((target, why), count): (&(String, String), u64)| (target.clone(), count, why.clone());
        self.left_out.extend(others.into_iter().map(entry));
    }

    /// Returns the names that a program may put into a file, and the lines that a person writes.
    pub(super) fn permissions(&self) -> (Vec<Permission>, Vec<&Rule>) {
        let (mut permissions, mut by_hand) = (Vec::new(), Vec::new());
        for LearnedRule { rule, .. } in &self.rules {
            match &rule.matcher {
                Matcher::Host(HostPattern::Exact(host)) if rule.protocol.is_none() => {
                    let of = |port: &u16| Permission { host: host.clone(), port: *port };
                    permissions.extend(rule.ports.iter().map(of));
                }
                _ => by_hand.push(rule),
            }
        }
        (permissions, by_hand)
    }
}

/// Adds up the requests of all runs by name.
fn merged(runs: &[Sightings]) -> BTreeMap<HostName, NameTally> {
    let mut names: BTreeMap<HostName, NameTally> = BTreeMap::new();
    for (number, run) in runs.iter().enumerate() {
        for (host, seen) in &run.names {
            let name = names.entry(host.clone()).or_default();
            if let Some(asked) = &seen.asked {
                Tally::of(number, asked).add_to(&mut name.asked);
            }
            for (port, sighting) in &seen.ports {
                let tally = Tally::of(number, sighting);
                name.ports.entry(*port).and_modify(|sum| sum.add(&tally)).or_insert(tally);
            }
        }
    }
    names
}

/// Returns the ports that a name needs, by their check. Where a connection showed one, a question
/// means no other.
fn needs(name: &NameTally) -> Vec<Need> {
    let need = |ports: Vec<u16>, protocol, tally| Need {
        ports,
        protocol,
        tally,
        is_guess: false,
        is_only_asked: false,
    };
    if name.ports.is_empty() {
        let Some(asked) = name.asked.clone() else { return Vec::new() };
        let is_only_asked = !asked.outcomes.refused;
        return vec![Need { is_guess: true, is_only_asked, ..need(vec![GUESSED], None, asked) }];
    }
    let mut by_check: BTreeMap<Option<&str>, Vec<(u16, &Tally)>> = BTreeMap::new();
    for (port, tally) in &name.ports {
        by_check
            .entry(narrower(*port, tally.protocol).map(Protocol::as_str))
            .or_default()
            .push((*port, tally));
    }
    let of_check = |ports: Vec<(u16, &Tally)>| {
        let tally = Tally::sum(ports.iter().map(|(_, tally)| *tally))?;
        let (port, first) = *ports.first()?;
        let protocol = narrower(port, first.protocol);
        Some(need(ports.iter().map(|(port, _)| *port).collect(), protocol, tally))
    };
    by_check.into_values().filter_map(of_check).collect()
}

/// Returns the check that a rule has to name, since it is not the port's own.
fn narrower(port: u16, protocol: Option<Protocol>) -> Option<Protocol> {
    protocol.filter(|protocol| *protocol != Protocol::of_port(port))
}

/// Tells why a name is none that a program writes into a policy.
fn writable(host: &HostName, need: &Need) -> Result<(), String> {
    for port in &need.ports {
        let rule = rule_from_flag("learn", &format!("{host}:{port}")).map_err(|found| match &found.hint {
            Some(hint) => format!("{}; {hint}", found.message),
            None => found.message.clone(),
        })?;
        Permission::of_rule(&rule).map_err(|by_hand| by_hand.to_string())?;
    }
    Ok(())
}

fn rule(pattern: HostPattern, ports: Vec<u16>, protocol: Option<Protocol>) -> Rule {
    let matcher = Matcher::Host(pattern);
    let text = Rule::text(&matcher, &ports);
    let origin = Origin { layer: Layer::Run, file: "learn".to_owned(), line: 0, text };
    Rule { protocol, ..Rule::new(matcher, ports, origin) }
}

/// Returns the key by which names of one domain stand side by side.
fn place(rule: &Rule) -> (Vec<String>, Vec<u16>) {
    let name = match &rule.matcher {
        Matcher::Host(pattern) => pattern.name().to_string(),
        Matcher::Cidr(range) => range.to_string(),
    };
    (name.rsplit('.').map(str::to_owned).collect(), rule.ports.clone())
}
