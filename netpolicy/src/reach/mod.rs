//! Reach of a policy, and of another beyond it: over names, ports and ranges, not over text.
//!
//! ```text
//!  two policies ──side──▶ deciders ─┬─ names ─────▶ cells of names ──────┐
//!                                   ├─ addresses ─▶ cells of addresses ──┼─ one witness a cell ──decide──▶ lines: opens, closes
//!                                   ├─ ceiling of weaker layers (again) ─┘                    (equal neighbours joined)
//!                                   └─ settings ──▶ changes
//! ```
//! The space of targets is cut into cells on which neither policy makes a difference: a written
//! name; what lies below it and below no other written name; the addresses between the ends of all
//! ranges; the days between the ends of permissions. One witness of each cell is put to the one
//! decision, in both policies. What differs is printed as few patterns and ranges as hold it. The
//! floor stands above both policies, and is not repeated in every line.

mod addresses;
mod names;
mod patterns;
mod raw;
mod reached;
mod runs;
mod settings;
mod side;
mod spans;
mod words;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::decide::{Reason, Target, Verdict};
use crate::host::HostPattern;
use crate::policy::{Date, Layer, Policy, Protocol, ResolvedBy, Rule};
pub use settings::Change;

use side::{NEW, Side};

/// Differences between two policies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    /// Targets that the new policy reaches and the old one does not.
    pub opens: Vec<Line>,
    /// Targets that the old policy reaches and the new one does not.
    pub closes: Vec<Line>,
    /// Other settings that differ.
    pub changes: Vec<Change>,
}

impl Difference {
    /// Tells whether the new policy reaches more in any way.
    pub fn reaches_more(&self) -> bool {
        !self.opens.is_empty() || self.changes.iter().any(|change| change.widens)
    }

    /// Tells whether both policies reach and set the same.
    pub fn is_empty(&self) -> bool {
        self.opens.is_empty() && self.closes.is_empty() && self.changes.is_empty()
    }
}

/// Targets that one of two policies reaches and the other does not, or under a stricter check.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Targets of the line.
    pub targets: Targets,
    /// Ports of the targets.
    pub ports: Ports,
    /// Real address of the targets.
    pub at: At,
    /// First day; `None` is today.
    pub from: Option<Date>,
    /// The last day; `None` is for ever.
    pub until: Option<Date>,
    /// Party that gains or loses the targets.
    pub whose: Whose,
    /// The old policy's verdict on the witness.
    pub old: Verdict,
    /// The new policy's verdict on the witness.
    pub new: Verdict,
    /// One of the targets.
    pub witness: Witness,
}

/// A set of targets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Targets {
    /// Every name that the pattern matches and none of the exceptions does.
    Names {
        /// The names.
        pattern: HostPattern,
        /// Names that are left out.
        except: Vec<HostPattern>,
    },
    /// Every name that is permitted on one of the ports.
    PermittedNames,
    /// Addresses, asked for as such.
    Ranges(Vec<IpNet>),
}

/// A set of ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ports {
    /// These ports.
    Only(Vec<u16>),
    /// Every port on which the targets are permitted, but not these.
    AllBut(Vec<u16>),
}

/// The real place of a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// Any address that no range refuses; for addresses: themselves.
    Anywhere,
    /// An address in these ranges.
    Ranges(Vec<IpNet>),
    /// Wherever the proxy says.
    Proxy,
    /// The host itself.
    Host,
    /// The host itself, if its address lies in these ranges.
    HostIn(Vec<IpNet>),
}

/// Party that gains or loses the targets of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Whose {
    /// The agent: the policy's own rules permit it.
    Agent,
    /// Weaker layers: the ceilings let them permit it.
    WeakerLayers,
}

/// One target that the two policies treat otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The target.
    pub target: Target,
    /// The port.
    pub port: u16,
    /// Real address of the target.
    pub address: Option<IpAddr>,
    /// Resolver of the name.
    pub resolver: ResolvedBy,
    /// Set when the address is taken for the host's.
    pub is_the_host: bool,
    /// The day.
    pub day: Date,
}

/// Compares two policies from `today` on: the targets that only `new` or only `old` reaches, and
/// the other settings that differ.
pub fn difference(old: &Policy, new: &Policy, today: Date) -> Difference {
    let mut difference = Difference { changes: settings::changes(old, new), ..Difference::default() };
    compare(old, new, today, Whose::Agent, &mut difference);
    if !(old.ceilings.is_empty() && new.ceilings.is_empty()) {
        compare(&most(old), &most(new), today, Whose::WeakerLayers, &mut difference);
    }
    difference
}

/// Makes a policy that permits all that its ceilings let weaker layers permit: the entries of one,
/// held against the others.
fn most(policy: &Policy) -> Policy {
    let below = |rule: &Arc<Rule>| {
        let mut rule = Rule::clone(rule);
        rule.origin.layer = Layer::Run;
        Arc::new(rule)
    };
    let allow = policy.ceilings.first().map(|ceiling| ceiling.rules.iter().map(below).collect());
    Policy { allow: allow.unwrap_or_default(), ..policy.clone() }
}

fn compare(old: &Policy, new: &Policy, today: Date, whose: Whose, difference: &mut Difference) {
    let sides = [Side::new(old), Side::new(new)];
    let addresses = addresses::Addresses::new(&sides);
    let mut found = Vec::new();
    let reach = names::compare(&sides, today, &addresses, &mut found);
    addresses::compare(&sides, &addresses, &reach, &mut found);
    raw::compare(&sides, today, &addresses, &mut found);
    let [before, after] = &sides;
    // Lines that differ in nothing but the port are one.
    let mut alike: HashMap<Alike, usize> = HashMap::new();
    for Draft { side, targets, ports, at, from, until, witness } in found {
        let old = witness.verdict(&before.whole);
        let new = witness.verdict(&after.whole);
        let lines = if side == NEW { &mut difference.opens } else { &mut difference.closes };
        if let Ports::Only(ports) = &ports {
            let check = |verdict: &Verdict| verdict.protocol.filter(|_| old.allowed && new.allowed);
            let judged = [&old, &new].map(|verdict| Judged::of(verdict, check(verdict)));
            let key = Alike { side, targets: targets.clone(), at: at.clone(), from, until, judged };
            let index = *alike.entry(key).or_insert(lines.len());
            if let Some(Line { ports: Ports::Only(known), .. }) = lines.get_mut(index) {
                known.extend(ports);
                known.sort_unstable();
                continue;
            }
        }
        lines.push(Line { targets, ports, at, from, until, whose, old, new, witness });
    }
}

/// Properties that lines have in common when they become one.
#[derive(PartialEq, Eq, Hash)]
struct Alike {
    side: usize,
    targets: Targets,
    at: At,
    from: Option<Date>,
    until: Option<Date>,
    judged: [Judged; 2],
}

/// A verdict as a line shows it.
#[derive(PartialEq, Eq, Hash)]
struct Judged {
    reason: Reason,
    check: Option<Protocol>,
    /// The rule, as a place in memory: rules are shared, never copied.
    rule: Option<usize>,
}

impl Judged {
    fn of(verdict: &Verdict, check: Option<Protocol>) -> Judged {
        let rule = verdict.rule.as_ref().map(|rule| Arc::as_ptr(rule) as usize);
        Judged { reason: verdict.reason, check, rule }
    }
}

/// A line that has not been put to the policies yet: `side` reaches more.
struct Draft {
    side: usize,
    targets: Targets,
    ports: Ports,
    at: At,
    from: Option<Date>,
    until: Option<Date>,
    witness: Witness,
}
