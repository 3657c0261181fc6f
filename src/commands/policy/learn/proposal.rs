//! The smallest policy for what runs asked for.
//!
//! ```text
//!  Sightings of each run ──by name──▶ ports that were tried, else 443 for a refused question
//!   ├─ no doubt ─┬─ under a wildcard that a person asked for ─▶ one rule for all of them
//!   │            └─ else ─▶ a rule for the name, with exactly its ports
//!   ├─ a doubt ──▶ the rule for the name, commented out
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
pub(super) const GUESSED: u16 = 443;

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
    /// Set when nothing showed one of its ports.
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
    /// Patterns that no name is under, or doubtful ones alone.
    pub(super) idle: Vec<HostPattern>,
}

/// Requests for one name in all runs.
#[derive(Debug, Default)]
struct NameTally {
    asked: Option<Tally>,
    ports: BTreeMap<u16, Tally>,
}

/// Ports under one check, of one name or of all names under a pattern.
struct Need {
    ports: BTreeMap<u16, Tally>,
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
        let is_once = |tally: &Tally| !wishes.once && runs.len() > 1 && tally.attempts == 1;
        let mut by_pattern: BTreeMap<&HostPattern, Vec<(&HostName, Need)>> = BTreeMap::new();
        for (host, tally) in &names {
            for need in needs(tally) {
                if let Err(why) = writable(host, &need) {
                    proposal.left_out.push((host.to_string(), need.tally.attempts, why));
                    continue;
                }
                let doubt = doubt::of_name(host, &need.tally, |other| names.contains_key(other))
                    .or(need.is_only_asked.then_some(Doubt::OnlyAsked));
                match wishes.wildcards.iter().find(|pattern| pattern.matches(host)) {
                    Some(pattern) if doubt.is_none() => {
                        by_pattern.entry(pattern).or_default().push((host, need));
                    }
                    _ => {
                        let doubt = doubt.or(is_once(&need.tally).then_some(Doubt::Once));
                        proposal.add(HostPattern::Exact(host.clone()), need, Vec::new(), doubt);
                    }
                }
            }
        }
        for pattern in &wishes.wildcards {
            match by_pattern.remove(pattern) {
                Some(needs) => proposal.add_pattern(pattern, &needs, is_once),
                None => proposal.idle.push(pattern.clone()),
            }
        }
        proposal.add_others(runs);
        proposal.rules.sort_by_cached_key(|learned| place(&learned.rule));
        proposal.doubtful.sort_by_cached_key(|learned| place(&learned.rule));
        proposal
    }

    fn add(&mut self, pattern: HostPattern, need: Need, names: Vec<HostName>, doubt: Option<Doubt>) {
        let rule = rule(pattern, need.ports.keys().copied().collect(), need.protocol);
        let list = if doubt.is_some() { &mut self.doubtful } else { &mut self.rules };
        list.push(LearnedRule { rule, tally: need.tally, is_guess: need.is_guess, names, doubt });
    }

    /// Adds a rule for all names under a pattern, for each check on the ports that they need. A
    /// port that was tried once is doubtful, as such a name is.
    fn add_pattern(
        &mut self,
        pattern: &HostPattern,
        needs: &[(&HostName, Need)],
        is_once: impl Fn(&Tally) -> bool,
    ) {
        let mut ports: BTreeMap<u16, Tally> = BTreeMap::new();
        for (port, tally) in needs.iter().flat_map(|(_, need)| &need.ports) {
            ports.entry(*port).and_modify(|sum| sum.add(tally)).or_insert_with(|| tally.clone());
        }
        let is_shown =
            |port: &u16| needs.iter().any(|(_, need)| !need.is_guess && need.ports.contains_key(port));
        let (once, often): (BTreeMap<u16, Tally>, _) =
            ports.into_iter().partition(|(_, tally)| is_once(tally));
        for (ports, doubt) in [(often, None), (once, Some(Doubt::Once))] {
            for mut need in by_check(ports) {
                need.is_guess = !need.ports.keys().all(is_shown);
                let has_one = |other: &Need| other.ports.keys().any(|port| need.ports.contains_key(port));
                let names = needs.iter().filter(|(_, other)| has_one(other));
                let mut names: Vec<HostName> = names.map(|(host, _)| (*host).clone()).collect();
                names.dedup();
                self.add(pattern.clone(), need, names, doubt.clone());
            }
        }
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
    match &name.asked {
        Some(asked) if name.ports.is_empty() => vec![Need {
            ports: BTreeMap::from([(GUESSED, asked.clone())]),
            protocol: None,
            tally: asked.clone(),
            is_guess: true,
            is_only_asked: asked.outcomes.answered,
        }],
        _ => by_check(name.ports.clone()),
    }
}

/// Sets ports apart by the check that a rule has to name.
fn by_check(ports: BTreeMap<u16, Tally>) -> Vec<Need> {
    let mut needs: Vec<Need> = Vec::new();
    for (port, tally) in ports {
        let protocol = explicit(port, tally.protocol);
        if let Some(need) = needs.iter_mut().find(|need| need.protocol == protocol) {
            need.tally.add(&tally);
            need.ports.insert(port, tally);
        } else {
            let ports = BTreeMap::from([(port, tally.clone())]);
            needs.push(Need { ports, protocol, tally, is_guess: false, is_only_asked: false });
        }
    }
    needs
}

/// Returns the check that a rule has to name, since it is not the port's own.
fn explicit(port: u16, protocol: Option<Protocol>) -> Option<Protocol> {
    protocol.filter(|protocol| *protocol != Protocol::of_port(port))
}

/// Tells why a name is none that a program writes into a policy.
fn writable(host: &HostName, need: &Need) -> Result<(), String> {
    for port in need.ports.keys() {
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
