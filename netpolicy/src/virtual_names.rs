//! Virtual addresses: what the DNS filter answers, and what the gate turns back into names.
//!
//! ```text
//!  Policy ──exact names, sorted──▶ .1 .2 .3 …│ wildcard range: names under wildcards, as they are asked
//!  address_of(name): DNS filter              │ name_of(address): gate
//! ```
//! An address stands for one name for the whole run. The first and the last address of the range
//! are not used.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv4Subnets};

use crate::host::{HostName, HostPattern};
use crate::policy::{Matcher, Policy};

/// Both directions of the map.
#[derive(Clone, Debug)]
pub struct VirtualNames {
    range: Ipv4Net,
    by_name: HashMap<HostName, Ipv4Addr>,
    by_address: BTreeMap<Ipv4Addr, HostName>,
    first_free: u32,
    next: u32,
}

impl VirtualNames {
    /// Gives every exact name of `allow` its address: the position in the sorted list.
    pub fn new(policy: &Policy) -> VirtualNames {
        let range = policy.dns.virtual_range;
        let first = u32::from(range.network()).saturating_add(1);
        let mut names = VirtualNames {
            range,
            by_name: HashMap::new(),
            by_address: BTreeMap::new(),
            first_free: first,
            next: first,
        };
        for name in exact_names(policy) {
            names.allocate(name);
        }
        names.first_free = names.next;
        names
    }

    /// Returns the address that stands for a name, if it has one.
    pub fn address_of(&self, name: &HostName) -> Option<Ipv4Addr> {
        self.by_name.get(name).copied()
    }

    /// Returns the name behind an address.
    pub fn name_of(&self, address: Ipv4Addr) -> Option<&HostName> {
        self.by_address.get(&address)
    }

    /// Returns the address of a name, a new one when it has none; `None` when the range is used up.
    /// The caller must ask first whether the name is permitted.
    pub fn allocate(&mut self, name: &HostName) -> Option<Ipv4Addr> {
        if let Some(address) = self.address_of(name) {
            return Some(address);
        }
        if self.is_full() {
            return None;
        }
        let address = Ipv4Addr::from(self.next);
        self.insert(address, name);
        Some(address)
    }

    /// Tells whether no further name can get an address.
    pub fn is_full(&self) -> bool {
        self.next >= u32::from(self.range.broadcast())
    }

    /// Puts back an address given out before a restart. `false` when it contradicts what is known.
    pub fn restore(&mut self, address: Ipv4Addr, name: &HostName) -> bool {
        let number = u32::from(address);
        let usable = number > u32::from(self.range.network()) && number < u32::from(self.range.broadcast());
        match (self.name_of(address), self.address_of(name)) {
            (Some(known), Some(_)) => known == name,
            (None, None) if usable => {
                self.insert(address, name);
                true
            }
            _ => false,
        }
    }

    fn insert(&mut self, address: Ipv4Addr, name: &HostName) {
        self.by_name.insert(name.clone(), address);
        self.by_address.insert(address, name.clone());
        self.next = self.next.max(u32::from(address).saturating_add(1));
    }

    /// Returns the whole range.
    pub fn range(&self) -> Ipv4Net {
        self.range
    }

    /// Returns the part of the range from which names under wildcards get their addresses.
    pub fn wildcard_range(&self) -> Vec<Ipv4Net> {
        let last = u32::from(self.range.broadcast()).saturating_sub(1);
        if self.first_free > last {
            return Vec::new();
        }
        Ipv4Subnets::new(Ipv4Addr::from(self.first_free), Ipv4Addr::from(last), 0).collect()
    }

    /// Returns the whole map, by address.
    pub fn entries(&self) -> impl Iterator<Item = (Ipv4Addr, &HostName)> {
        self.by_address.iter().map(|(address, name)| (*address, name))
    }
}

fn patterns(policy: &Policy) -> impl Iterator<Item = &HostPattern> {
    policy.allow.iter().filter_map(|rule| match &rule.matcher {
        Matcher::Host(pattern) => Some(pattern),
        Matcher::Cidr(_) => None,
    })
}

/// Returns every name that is permitted as it is written, sorted: `x` of `x` and of `.x`.
pub fn exact_names(policy: &Policy) -> BTreeSet<&HostName> {
    patterns(policy)
        .filter(|pattern| !matches!(pattern, HostPattern::Below(_)))
        .map(HostPattern::name)
        .collect()
}
