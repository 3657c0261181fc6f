//! Names and the addresses that stand for them.
//!
//! ```text
//!  name ──decide──▶ refused
//!            └────▶ permitted ──exact──▶ its virtual address (no upstream)
//!                        └──under a wildcard, observed──▶ budget ──upstream: does it exist? (once a run)──▶ a new virtual address
//! ```
//! The rules can be replaced while the run goes on; an address, once given to a name, stands for it
//! until the end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use ipnet::Ipv4Net;
use netpolicy::decide::{Decider, Question, Reason, Target, Verdict};
use netpolicy::floor::{self, Surroundings};
use netpolicy::host::{HostName, HostPattern};
use netpolicy::host_access::LOOPBACK_ADDRESS;
use netpolicy::policy::{Matcher, Policy, ResolvedBy};
use netpolicy::ruleset::{self, Cut, Permit};
use netpolicy::virtual_names::{VirtualNames, exact_names};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::events::Events;
use super::upstream::Outside;
use crate::wire::conditions::Conditions;
use crate::wire::event::{Access, Kind};
use crate::wire::host_network::HostNetwork;

/// Knowledge about a name.
#[derive(Debug, Clone)]
pub(crate) enum NameState {
    /// Permitted; this address stands for it.
    Virtual(Ipv4Addr),
    /// `localhost` or below it.
    Localhost,
    /// A name below this one is permitted.
    Ancestor,
    /// The policy refuses the name.
    Refused(Verdict),
    /// Permitted by a wildcard, or observed; the upstream must say whether it exists.
    Ask(Verdict),
    /// Permitted by a wildcard, and the upstream says that there is no such name.
    Missing,
    /// Permitted by a wildcard, and the upstream says nothing.
    Unknown,
}

/// The names of one workflow.
pub(crate) struct Names {
    rules: RwLock<Arc<Rules>>,
    generation: AtomicU64,
    /// Surroundings at the start.
    start: Surroundings,
    /// Surroundings with everything that was learnt since.
    surroundings: RwLock<Arc<Surroundings>>,
    range: Ipv4Net,
    virtuals: RwLock<VirtualNames>,
    asked: Mutex<UpstreamAnswers>,
    /// Addresses that the agent was told: it may ask back for their names.
    told: Mutex<HashSet<Ipv4Addr>>,
}

/// One policy, and what follows from it. Replaced whole, never changed.
struct Rules {
    decider: Decider,
    ancestors: HashSet<HostName>,
}

/// Upstream's answers about names under wildcards.
#[derive(Default)]
struct UpstreamAnswers {
    names: HashMap<HostName, Arc<OnceCell<bool>>>,
    failed: HashMap<HostName, Failed>,
    spent: HashMap<Budget, u32>,
}

/// Budget that a question to the upstream is paid from.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Budget {
    /// That of a wildcard.
    Wildcard(HostPattern),
    /// That of an observed run, for all names that no rule permits.
    Observed,
}

/// Names that no rule permits, about which an observed run may ask. Each is remembered.
pub(super) const OBSERVED_NAMES: u32 = 2000;

/// A name about which the upstream said nothing.
#[derive(Clone, Copy)]
struct Failed {
    /// Time before which the upstream is not asked about the name again.
    until: Instant,
    /// Time for which the upstream was left alone.
    pause: Duration,
}

/// After a failure a name is left alone so long, then twice as long, so that an outage does not use
/// up a budget.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(64);

/// Reason for which there is no answer of the upstream about a name.
enum Unanswered {
    /// The wildcard's budget is used up.
    Budget,
    /// The upstream failed.
    Upstream,
}

impl Names {
    /// Collects the names of a policy.
    pub(crate) fn new(policy: Policy, surroundings: Surroundings) -> Names {
        Names {
            generation: AtomicU64::new(0),
            surroundings: RwLock::new(Arc::new(surroundings.clone())),
            start: surroundings,
            range: policy.dns.virtual_range,
            virtuals: RwLock::new(VirtualNames::new(&policy)),
            rules: RwLock::new(Arc::new(Rules::new(policy))),
            asked: Mutex::new(UpstreamAnswers::default()),
            told: Mutex::default(),
        }
    }

    /// Takes over another policy. No name loses its address, and none gets another; new exact names
    /// get the next free ones, in their sorted order. The virtual range is the run's, whatever the
    /// new policy says of it.
    pub(crate) fn replace(&self, policy: Policy) {
        let mut virtuals = self.virtuals.write().unwrap_or_else(PoisonError::into_inner);
        for name in exact_names(&policy) {
            // With the range used up the name is refused, as at the start.
            let _ = virtuals.allocate(name);
        }
        drop(virtuals);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Rules::new(policy));
        self.changed();
    }

    /// Returns a number that grows with every change that makes earlier answers stale: a keeper of
    /// answers compares it.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Makes every kept answer stale.
    pub(crate) fn changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Decides about a target by the policy.
    pub(crate) fn decide(&self, target: &Target, port: Option<u16>, address: Option<IpAddr>) -> Verdict {
        let question = Question { port, address, ..Question::about(target, crate::host::clock::today()) };
        self.decide_by(&self.rules(), &question)
    }

    /// Decides about a target before it is known which address will be dialled. The two ways to the
    /// host have rules of their own, so the rule counts of the way that will be gone.
    pub(super) fn decide_at_first(&self, target: &Target, port: Option<u16>) -> Verdict {
        let is_host = matches!(target, Target::Name(name) if floor::refused_name(name).is_some());
        let ways = [Some(LOOPBACK_ADDRESS), self.surroundings().host_gateway];
        let mut known = ways.into_iter().flatten().filter(|_| is_host);
        let permitted = known.find_map(|way| {
            let verdict = self.decide(target, port, Some(way));
            verdict.allowed.then_some(verdict)
        });
        permitted.unwrap_or_else(|| self.decide(target, port, None))
    }

    fn decide_by(&self, rules: &Rules, question: &Question<'_>) -> Verdict {
        rules.decider.decide(&self.surroundings(), question)
    }

    /// Decides about a target whose address only the proxy will know.
    pub(super) fn decide_by_proxy(&self, target: &Target, port: Option<u16>) -> Verdict {
        let question = Question {
            port,
            resolver: ResolvedBy::Proxy,
            ..Question::about(target, crate::host::clock::today())
        };
        self.decide_by(&self.rules(), &question)
    }

    /// Returns the knowledge about a name without asking the upstream.
    pub(crate) fn find(&self, name: &HostName) -> NameState {
        if is_localhost(name.as_str()) {
            return NameState::Localhost;
        }
        // One set of rules for the whole answer.
        let rules = self.rules();
        let target = Target::Name(name.clone());
        let verdict = self.decide_by(&rules, &Question::about(&target, crate::host::clock::today()));
        if !verdict.allowed {
            if rules.ancestors.contains(name) {
                return NameState::Ancestor;
            }
            return NameState::Refused(verdict);
        }
        let virtuals = self.read();
        match virtuals.address_of(name) {
            Some(address) => NameState::Virtual(address),
            // An exact name that got no address is not asked about either.
            None if virtuals.is_full() => refused(verdict, Reason::Limit),
            None => NameState::Ask(verdict),
        }
    }

    /// Asks the upstream whether a name under a wildcard exists: once a run, each question within
    /// the wildcard's budget. One that failed may be asked again, later, and is paid again: who
    /// answers for the wildcard's names could let all fail and read the repetitions. Each question
    /// has its line in the log, and the line is out first.
    pub(crate) async fn ask(
        &self,
        name: &HostName,
        verdict: Verdict,
        outside: &Outside,
        events: &Events,
    ) -> NameState {
        let Some(payer) = payer(&verdict) else { return refused(verdict, Reason::NotAllowed) };
        let budget = match payer {
            Budget::Wildcard(_) => self.rules().decider.policy().dns.names_per_wildcard,
            Budget::Observed => OBSERVED_NAMES,
        };
        let cell = {
            let mut asked = self.asked();
            if asked.failed.get(name).is_some_and(|failed| Instant::now() < failed.until) {
                return NameState::Unknown;
            }
            match asked.names.get(name) {
                Some(cell) => Arc::clone(cell),
                None if asked.spent.get(&payer).is_some_and(|spent| *spent >= budget) => {
                    return refused(verdict, Reason::NameBudget);
                }
                None => Arc::clone(asked.names.entry(name.clone()).or_default()),
            }
        };
        let by_proxy = self.decide_by_proxy(&Target::Name(name.clone()), None).allowed;
        let exists = cell
            .get_or_try_init(|| async {
                if !events.takes_lines().await {
                    return Err(Unanswered::Upstream);
                }
                if !self.spend(payer, budget) {
                    return Err(Unanswered::Budget);
                }
                let question = Access {
                    host: Some(name.clone()),
                    resolver: Some(ResolvedBy::Guard.into()),
                    ..Access::allowed(Kind::Dns).by(&verdict)
                };
                events.write_through(question).await;
                outside.exists(name, by_proxy).await.map_err(|_| {
                    self.asked().fail(name);
                    Unanswered::Upstream
                })
            })
            .await;
        match exists {
            Err(Unanswered::Budget) => refused(verdict, Reason::NameBudget),
            Err(Unanswered::Upstream) => NameState::Unknown,
            Ok(false) => NameState::Missing,
            Ok(true) => {
                let mut virtuals = self.virtuals.write().unwrap_or_else(PoisonError::into_inner);
                virtuals.allocate(name).map_or_else(|| refused(verdict, Reason::Limit), NameState::Virtual)
            }
        }
    }

    /// Takes one question from a budget, if there is one left.
    fn spend(&self, payer: Budget, budget: u32) -> bool {
        let mut asked = self.asked();
        let spent = asked.spent.entry(payer).or_insert(0);
        let left = *spent < budget;
        *spent += u32::from(left);
        left
    }

    /// Returns the name that a virtual address stands for.
    pub(crate) fn name_of(&self, address: Ipv4Addr) -> Option<HostName> {
        self.read().name_of(address).cloned()
    }

    /// Notes that the agent was told a virtual address, and so knows its name.
    pub(crate) fn tell(&self, address: Ipv4Addr) {
        self.told().insert(address);
    }

    /// Returns the name of a virtual address that the agent was told. The others stay unnamed, or
    /// the range would be a list of the names that the policy permits.
    pub(super) fn told_name_of(&self, address: Ipv4Addr) -> Option<HostName> {
        if self.told().contains(&address) { self.name_of(address) } else { None }
    }

    fn told(&self) -> MutexGuard<'_, HashSet<Ipv4Addr>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the target behind an address inside the fence: a name, or outside the virtual range
    /// the address itself.
    pub(super) fn target_of(&self, address: Ipv4Addr) -> Option<Target> {
        if self.range.contains(&address) {
            return self.name_of(address).map(Target::Name);
        }
        Some(Target::Address(IpAddr::V4(address)))
    }

    /// Returns the names that have an address now, with their addresses.
    pub(crate) fn map(&self) -> BTreeMap<String, IpAddr> {
        self.read().entries().map(|(address, name)| (name.to_string(), IpAddr::V4(address))).collect()
    }

    fn asked(&self) -> MutexGuard<'_, UpstreamAnswers> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the permits by which the kernel lets packets through to the gate under a policy.
    pub(crate) fn permits(&self, policy: &Policy) -> Vec<Permit> {
        ruleset::permits(policy, &self.read())
    }

    /// Returns the targets whose packets the kernel drops silently under these conditions.
    pub(crate) fn cut(&self, conditions: &Conditions) -> Cut {
        conditions.cut(self.read().entries())
    }

    /// Returns the addresses of the machine and of the engine.
    pub(crate) fn surroundings(&self) -> Arc<Surroundings> {
        Arc::clone(&self.surroundings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over the present network of the engine's machine. Addresses that were known at the
    /// start stay.
    pub(super) fn replace_host(&self, network: HostNetwork) {
        let now = self.start.clone().and_host(network.addresses, network.ranges, network.on_link);
        *self.surroundings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(now);
        self.changed();
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, VirtualNames> {
        self.virtuals.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UpstreamAnswers {
    /// Leaves a name alone for a while, each time longer.
    fn fail(&mut self, name: &HostName) {
        let before = self.failed.get(name).map(|failed| failed.pause * 2);
        let pause = before.unwrap_or(PAUSE).min(LONGEST_PAUSE);
        self.failed.insert(name.clone(), Failed { until: Instant::now() + pause, pause });
    }
}

impl Rules {
    fn new(policy: Policy) -> Rules {
        let ancestors = if policy.network_denied { HashSet::new() } else { ancestors(&policy) };
        Rules { decider: Decider::new(policy), ancestors }
    }
}

/// Refuses a name although the policy itself permits it.
fn refused(verdict: Verdict, reason: Reason) -> NameState {
    NameState::Refused(Verdict { allowed: false, reason, ..verdict })
}

/// Returns the budget that questions about a name are paid from: that of the wildcard that permits,
/// or of the observed run.
fn payer(verdict: &Verdict) -> Option<Budget> {
    if verdict.reason == Reason::Observed {
        return Some(Budget::Observed);
    }
    match &verdict.rule.as_ref()?.matcher {
        Matcher::Host(pattern) if pattern.is_wildcard() => Some(Budget::Wildcard(pattern.clone())),
        _ => None,
    }
}

/// Tells whether a name is the machine's own.
fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Returns every name that has a permitted name below it.
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

/// Returns a name without its first label.
fn parent(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, rest)| rest)
}
