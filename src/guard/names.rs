//! Names and the addresses that stand for them.
//!
//! ```text
//!  name ──decide──▶ refused
//!            └────▶ permitted ──exact──▶ its virtual address (no upstream)
//!                        └──under a wildcard──▶ budget ──upstream: does it exist? (once a run)──▶ a new virtual address
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use netpolicy::decide::{Decider, Question, Reason, Target, Verdict};
use netpolicy::floor::Surroundings;
use netpolicy::host::{HostName, HostPattern};
use netpolicy::policy::{Matcher, Policy, ResolvedBy};
use netpolicy::virtual_names::VirtualNames;
use tokio::sync::OnceCell;

use super::upstream::Outside;

/// What is known about a name.
#[derive(Debug, Clone)]
pub enum Found {
    /// Permitted; this address stands for it.
    Virtual(Ipv4Addr),
    /// `localhost` or below it.
    Localhost,
    /// Something below it is permitted.
    Ancestor,
    /// Not permitted.
    Refused(Verdict),
    /// Permitted by a wildcard; the upstream must say whether it exists.
    Ask(Verdict),
    /// Permitted by a wildcard, and the upstream says that there is no such name.
    Missing,
    /// Permitted by a wildcard, and the upstream says nothing.
    Unknown,
}

/// The names of one workflow.
pub struct Names {
    decider: Decider,
    surroundings: Surroundings,
    virtuals: RwLock<VirtualNames>,
    ancestors: HashSet<HostName>,
    /// Names that were permitted and have an address: the policy of a run does not change.
    settled: RwLock<HashMap<HostName, Ipv4Addr>>,
    asked: Mutex<Asked>,
}

/// What the upstream was asked about names under wildcards.
#[derive(Default)]
struct Asked {
    names: HashMap<HostName, Arc<OnceCell<bool>>>,
    spent: HashMap<String, u32>,
}

impl Names {
    /// The names of a policy.
    pub fn new(policy: Policy, surroundings: Surroundings) -> Names {
        let virtuals = VirtualNames::new(&policy);
        let ancestors = if policy.network_denied { HashSet::new() } else { ancestors(&policy) };
        Names {
            decider: Decider::new(policy),
            surroundings,
            virtuals: RwLock::new(virtuals),
            ancestors,
            settled: RwLock::default(),
            asked: Mutex::new(Asked::default()),
        }
    }

    /// The policy's word on a target.
    pub fn decide(&self, target: &Target, port: Option<u16>, address: Option<IpAddr>) -> Verdict {
        let question = Question { port, address, ..Question::about(target, crate::clock::today()) };
        self.decider.decide(&self.surroundings, &question)
    }

    /// Whether a rule permits a target whose address only the proxy will know.
    pub fn permits_by_proxy(&self, target: &Target, port: Option<u16>) -> bool {
        let question =
            Question { port, resolver: ResolvedBy::Proxy, ..Question::about(target, crate::clock::today()) };
        self.decider.decide(&self.surroundings, &question).allowed
    }

    /// What is known about a name without asking anybody.
    pub fn find(&self, name: &HostName) -> Found {
        if let Some(address) = self.settled.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Found::Virtual(*address);
        }
        if is_localhost(name.as_str()) {
            return Found::Localhost;
        }
        let verdict = self.decide(&Target::Name(name.clone()), None, None);
        if !verdict.allowed {
            if self.ancestors.contains(name) {
                return Found::Ancestor;
            }
            return Found::Refused(verdict);
        }
        match self.read().address_of(name) {
            Some(address) => {
                self.settled.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), address);
                Found::Virtual(address)
            }
            None => Found::Ask(verdict),
        }
    }

    /// Asks the upstream whether a name under a wildcard exists, within the wildcard's budget, once a run.
    pub async fn ask(&self, name: &HostName, verdict: Verdict, outside: &Outside) -> Found {
        let refused =
            |verdict: Verdict, reason| Found::Refused(Verdict { allowed: false, reason, ..verdict });
        let Some(wildcard) = verdict
            .rule
            .as_ref()
            .map(|rule| format!("{}:{}:{}", rule.origin.file, rule.origin.line, rule.origin.text))
        else {
            return refused(verdict, Reason::NotAllowed);
        };
        let cell = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            match asked.names.get(name) {
                Some(cell) => Arc::clone(cell),
                None => {
                    let spent = asked.spent.entry(wildcard).or_insert(0);
                    if *spent >= self.decider.policy().dns.names_per_wildcard {
                        return refused(verdict, Reason::NameBudget);
                    }
                    *spent += 1;
                    let cell = Arc::new(OnceCell::new());
                    asked.names.insert(name.clone(), Arc::clone(&cell));
                    cell
                }
            }
        };
        let by_proxy = self.permits_by_proxy(&Target::Name(name.clone()), None);
        match cell.get_or_try_init(|| outside.exists(name, by_proxy)).await {
            Err(_) => Found::Unknown,
            Ok(false) => Found::Missing,
            Ok(true) => {
                let mut virtuals = self.virtuals.write().unwrap_or_else(PoisonError::into_inner);
                match virtuals.address_of(name).or_else(|| virtuals.allocate(name)) {
                    Some(address) => Found::Virtual(address),
                    None => refused(verdict, Reason::NameBudget),
                }
            }
        }
    }

    /// The name that a virtual address stands for.
    pub fn name_of(&self, address: Ipv4Addr) -> Option<HostName> {
        self.read().name_of(address).cloned()
    }

    /// What an address inside the fence stands for: a name, or itself outside the virtual range.
    pub fn target_of(&self, address: Ipv4Addr) -> Option<Target> {
        if self.decider.policy().dns.virtual_range.contains(&address) {
            return self.name_of(address).map(Target::Name);
        }
        Some(Target::Address(IpAddr::V4(address)))
    }

    /// The map of the names that have an address now.
    pub fn map(&self) -> BTreeMap<String, IpAddr> {
        self.read().entries().map(|(address, name)| (name.to_string(), IpAddr::V4(address))).collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, VirtualNames> {
        self.virtuals.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a name is the machine's own.
fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Every name that has a permitted name below it.
fn ancestors(policy: &Policy) -> HashSet<HostName> {
    let mut all = HashSet::new();
    for rule in &policy.allow {
        let Matcher::Host(pattern) = &rule.matcher else { continue };
        let (name, itself) = match pattern {
            HostPattern::Exact(name) => (name, false),
            HostPattern::Below(name) | HostPattern::AtOrBelow(name) => (name, true),
        };
        let mut next = if itself { Some(name.as_str()) } else { parent(name.as_str()) };
        while let Some(text) = next {
            let Ok(ancestor) = HostName::parse(text) else { break };
            if !all.insert(ancestor) {
                break;
            }
            next = parent(text);
        }
    }
    all
}

/// What is left of a name without its first label.
fn parent(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, rest)| rest)
}
