//! Reach of a policy, and of another beyond it: over names, ports and ranges, not over text.
//!
//! ```text
//!  two policies ──side──▶ deciders ─┬─ names ─────▶ cells of names ──────┐
//!                                   ├─ addresses ─▶ cells of addresses ──┼─ one witness a cell ──decide──▶ lines: opens, closes
//!                                   ├─ ceiling of weaker layers (again) ─┤                    (equal neighbours joined)
//!                                   ├─ denials, where no ceiling is ─────┘
//!                                   └─ settings ──▶ changes
//! ```
//! The space of targets is cut into cells on which neither policy makes a difference: a written
//! name; what lies below it and below no other written name; the addresses between the ends of all
//! ranges; the days between the ends of permissions. One witness of each cell is put to the one
//! decision, in both policies. What differs is printed as few patterns and ranges as hold it. The
//! floor stands above both policies, and is not repeated in every line.

mod addresses;
mod cells;
mod denials;
mod difference;
mod names;
mod patterns;
mod raw;
mod reached;
mod runs;
mod settings;
mod side;
mod spans;
mod tree;
mod words;

use std::collections::HashMap;
use std::sync::Arc;

use self::cells::Addresses;
use self::difference::Draft;
use self::side::{NEW, Side};
use crate::decide::Verdict;
use crate::policy::{Date, Layer, Policy, Protocol, Rule};
use crate::reason::Reason;

pub use self::difference::{At, Difference, Line, Ports, Targets, Whose, Witness};
pub use self::settings::Change;

/// Compares two policies from `today` on: the targets that only `new` or only `old` reaches, and
/// the other settings that differ.
pub fn difference(old: &Policy, new: &Policy, today: Date) -> Difference {
    let mut difference = Difference { changes: settings::changes(old, new), ..Difference::default() };
    compare(old, new, today, Whose::Agent, &mut difference);
    if old.ceilings.is_empty() && new.ceilings.is_empty() {
        if !old.network_denied && !new.network_denied {
            compare(old, new, today, Whose::OtherLayers, &mut difference);
        }
    } else {
        compare(&most(old, new), &most(new, old), today, Whose::WeakerLayers, &mut difference);
    }
    difference
}

/// Makes a policy that permits all that its ceilings let weaker layers permit: the entries of one,
/// held against the others. A policy without a ceiling lets them permit what the other one's holds,
/// and more: that more is a change of the setting.
fn most(policy: &Policy, other: &Policy) -> Policy {
    let below = |rule: &Arc<Rule>| {
        let mut rule = Rule::clone(rule);
        rule.origin.layer = Layer::Run;
        Arc::new(rule)
    };
    let ceiling = policy.ceilings.first().or(other.ceilings.first());
    let allow = ceiling.map(|ceiling| ceiling.rules.iter().map(below).collect());
    Policy { allow: allow.unwrap_or_default(), ..policy.clone() }
}

fn compare(old: &Policy, new: &Policy, today: Date, whose: Whose, difference: &mut Difference) {
    let sides = [Side::new(old), Side::new(new)];
    let addresses = Addresses::new(&sides);
    let mut found = Vec::new();
    if whose == Whose::OtherLayers {
        denials::compare(&sides, today, &addresses, &mut found);
    } else {
        let reach = names::compare(&sides, today, &addresses, &mut found);
        addresses::compare(&sides, &addresses, &reach, &mut found);
        raw::compare(&sides, today, &addresses, &mut found);
    }
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
