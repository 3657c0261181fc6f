//! Rules, found by name or address without looking at all of them.
//!
//! ```text
//!  name ─▶ exact ──┐                        address ─▶ ranges (IPv4, IPv6) ─▶ every range that holds it
//!       └▶ each name above it ─▶ below ─────▶ ids of rules, in the order of the policy
//! ```
//! A policy of 100,000 names and 100,000 ranges is asked at every DNS question and every
//! connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::host::{HostName, HostPattern};
use crate::policy::{Matcher, Rule};
use crate::ranges::Ranges;
use crate::target::Target;

/// Positions in the list that the index was made of.
type Ids = Vec<u32>;

/// A list of rules, searchable.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuleIndex {
    rules: Vec<Arc<Rule>>,
    /// Rules about the name itself.
    exact: HashMap<Box<str>, Ids>,
    /// Rules about what lies below the name.
    below: HashMap<Box<str>, Ids>,
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl RuleIndex {
    pub(crate) fn new(rules: &[Arc<Rule>]) -> RuleIndex {
        let mut index = RuleIndex { rules: rules.to_vec(), ..RuleIndex::default() };
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (id, rule) in (0u32..).zip(rules) {
            let mut at = |map: bool, name: &HostName| {
                let map = if map { &mut index.exact } else { &mut index.below };
                map.entry(name.as_str().into()).or_default().push(id);
            };
            match &rule.matcher {
                Matcher::Host(HostPattern::Exact(name)) => at(true, name),
                Matcher::Host(HostPattern::Below(name)) => at(false, name),
                Matcher::Host(HostPattern::AtOrBelow(name)) => {
                    at(true, name);
                    at(false, name);
                }
                Matcher::Cidr(IpNet::V4(net)) => v4.push((net.network().into(), net.broadcast().into(), id)),
                Matcher::Cidr(IpNet::V6(net)) => v6.push((net.network().into(), net.broadcast().into(), id)),
            }
        }
        (index.v4, index.v6) = (Ranges::new(v4), Ranges::new(v6));
        index
    }

    /// Returns the rules that speak about a name, nearest first: an exact rule before a wildcard, a
    /// long one before a short one, else in the order of the policy.
    pub(crate) fn of_name(&self, name: &HostName) -> impl Iterator<Item = &Arc<Rule>> {
        let text = name.as_str();
        let exact = self.exact.get(text).map_or(&[][..], Vec::as_slice);
        let parents = std::iter::successors(parent(text), |above| parent(above));
        let wider = parents.filter_map(|above| self.below.get(above)).flatten();
        // `.x` stands in both maps: about x it is no exact rule, and comes after those that are.
        let is_exact = |id: &&u32| matches!(&self.rule(**id).matcher, Matcher::Host(HostPattern::Exact(_)));
        let itself = exact.iter().filter(is_exact);
        let at_or_below = exact.iter().filter(move |id| !is_exact(id));
        itself.chain(at_or_below).chain(wider).map(|id| self.rule(*id))
    }

    /// Returns the rules whose range holds an address, widest first.
    pub(crate) fn of_address(&self, address: IpAddr) -> impl Iterator<Item = &Arc<Rule>> {
        self.holding(IpNet::from(address)).into_iter().flatten().map(|id| self.rule(*id))
    }

    /// Returns the ids of every range that holds all of another.
    fn holding(&self, net: IpNet) -> Vec<&Ids> {
        match net {
            IpNet::V4(net) => self.v4.holding(net.network().into(), net.broadcast().into()),
            IpNet::V6(net) => self.v6.holding(net.network().into(), net.broadcast().into()),
        }
    }

    /// Returns the rules that speak about everything that a matcher speaks about, that matcher's
    /// own among them, with their positions in the list.
    pub(crate) fn covering<'s>(&'s self, matcher: &'s Matcher) -> impl Iterator<Item = (u32, &'s Arc<Rule>)> {
        let ids: Vec<&Ids> = match matcher {
            Matcher::Host(pattern) => {
                let text = pattern.name().as_str();
                let parents = std::iter::successors(parent(text), |above| parent(above));
                let wider = parents.filter_map(|above| self.below.get(above));
                let own = match pattern {
                    HostPattern::Exact(_) | HostPattern::AtOrBelow(_) => self.exact.get(text),
                    HostPattern::Below(_) => self.below.get(text),
                };
                own.into_iter().chain(wider).collect()
            }
            Matcher::Cidr(net) => self.holding(*net),
        };
        let covers = move |(_, rule): &(u32, &'s Arc<Rule>)| match (matcher, &rule.matcher) {
            // About `x`, `.x` and `x` both stand under `x`; only the wider covers `.x`.
            (Matcher::Host(HostPattern::AtOrBelow(name)), Matcher::Host(HostPattern::Exact(other))) => {
                name != other
            }
            _ => true,
        };
        ids.into_iter().flatten().map(|id| (*id, self.rule(*id))).filter(covers)
    }

    /// Returns the rules that speak about a target.
    pub(crate) fn of<'i>(&'i self, target: &'i Target) -> Box<dyn Iterator<Item = &'i Arc<Rule>> + 'i> {
        match target {
            Target::Name(name) => Box::new(self.of_name(name)),
            Target::Address(address) => Box::new(self.of_address(*address)),
        }
    }

    /// Tells whether any rule is about addresses.
    pub(crate) fn has_ranges(&self) -> bool {
        !self.v4.is_empty() || !self.v6.is_empty()
    }

    fn rule(&self, id: u32) -> &Arc<Rule> {
        // Ids are positions in this very list, which is never changed.
        &self.rules[id as usize]
    }
}

/// Returns a name without its first label.
fn parent(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, rest)| rest)
}
