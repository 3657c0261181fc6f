//! Changes that a person may make while the agent runs: rules within the ceilings, the whole
//! policy, and conditions.
//!
//! ```text
//!  control ──Change──▶ judged (decide, ceilings) ─▶ made: names get the policy, readers the conditions
//!                                                    └─▶ every open connection is decided again ─▶ kept, or reset
//! ```
//! Given rules stand beside the policy, in the layer of the run, and outlive its reload; the
//! conditions `deny` become part of the policy that is enforced, and of no digest.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use netpolicy::decide::{Decider, Question, Reason, Verdict};
use netpolicy::host::HostName;
use netpolicy::host_access::{HostAccess, LOOPBACK_ADDRESS};
use netpolicy::policy::{Date, Policy, Rule};
use netpolicy::successor::Unfit;
use tokio::sync::{Notify, watch};

use super::Guard;
use super::events::{LONG_WHILE, Sameness};
use super::gate::{Link, Refusal};
use super::shape::{self, Pace};
use crate::term::trace::{self, Diagnostic};
use crate::wire::conditions::{Conditions, Effect};
use crate::wire::control::{Change, ControlAnswer, Good, State};
use crate::wire::event::{Control, Kind, Note, Observation};
use crate::wire::handover::FenceConfig;
use crate::wire::host_network::HostNetwork;
use crate::wire::live_rules::LiveRules;
use crate::wire::notice::{self, NoticeFacts};
use crate::wire::{PolicyDigest, WorkflowId};

/// Name servers that an event names.
const MOST_SERVERS: usize = 8;

/// The live part of a guard.
pub(crate) struct Live {
    workflow: WorkflowId,
    given: Mutex<LiveRules>,
    conditions: RwLock<Arc<Conditions>>,
    /// Counts changes; every open connection waits for the next.
    changes: watch::Sender<u64>,
    open: AtomicUsize,
    day: Mutex<Date>,
    /// Pace that connections under one bandwidth share.
    pub(crate) pace: Pace,
    /// Lock of the one session that may change things now.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

/// State of one connection that a later decision about it needs.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// The real address that was dialled last. Requests on one connection may go to several, one
    /// after the other.
    address: Mutex<Option<IpAddr>>,
    /// A condition wants its end.
    pub(crate) ended: Notify,
    /// Conditions have come to concern its bytes.
    shaped: Notify,
}

impl Standing {
    /// Notes the real address that is connected to now.
    pub(crate) fn at(&self, address: IpAddr) {
        *take(&self.address) = Some(address);
    }
}

/// A change that is not made.
enum Refused {
    /// The policy does not permit it.
    ByPolicy { reason: Reason, rule: Option<Arc<Rule>> },
    /// A run cannot follow it.
    Unfit(Unfit),
}

/// Names the kind of a change, for diagnostics.
fn kind(change: &Change) -> &'static str {
    match change {
        Change::Allow(_) => "allow",
        Change::Deny(_) => "deny",
        Change::Conditions { .. } => "conditions",
        Change::Reload(_) => "reload",
        Change::Restore { .. } => "restore",
    }
}

fn take<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    /// Begins a run: no rule given, no conditions.
    pub(crate) fn new(workflow: WorkflowId, base: Policy) -> Live {
        Live {
            workflow,
            given: Mutex::new(LiveRules::new(base)),
            conditions: RwLock::default(),
            changes: watch::Sender::new(0),
            open: AtomicUsize::new(0),
            day: Mutex::new(crate::host::clock::today()),
            pace: Pace::default(),
            turn: Arc::default(),
        }
    }

    /// Counts changes.
    pub(crate) fn version(&self) -> u64 {
        *self.changes.borrow()
    }

    /// Tells of changes from now on.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Returns the effect of the conditions on a name now.
    pub(crate) fn effect(&self, name: Option<&HostName>) -> Effect {
        self.conditions.read().unwrap_or_else(PoisonError::into_inner).on(name)
    }

    /// Returns the rules and conditions after a change, if the policy permits the change.
    fn after(&self, guard: &Guard, change: &Change) -> Result<LiveRules, Refused> {
        let mut given = take(&self.given).clone();
        given.apply(change).map_err(Refused::Unfit)?;
        if let Change::Allow(rule) = change {
            self.permits(guard, &given, rule)?;
        }
        Ok(given)
    }

    /// Refuses a rule that the policy would not permit: asks the one decision, ceilings and denials
    /// included, about each of its ports. A wildcard is tried with a name that no other rule speaks
    /// of.
    fn permits(&self, guard: &Guard, given: &LiveRules, rule: &Rule) -> Result<(), Refused> {
        let decider = Decider::new(given.policy());
        let target = netpolicy::permitted::example(&rule.matcher);
        let surroundings = guard.names.surroundings();
        // The two ways to the host are permitted one by one.
        let address = match rule.host_access {
            HostAccess::Loopback => Some(LOOPBACK_ADDRESS),
            HostAccess::Address => surroundings.host_gateway,
            HostAccess::None => None,
        };
        for port in &rule.ports {
            let question = Question::about(&target, crate::host::clock::today()).port(*port);
            let verdict = decider.decide(&surroundings, &Question { address, ..question });
            if !verdict.allowed {
                return Err(Refused::ByPolicy { reason: verdict.reason, rule: verdict.rule });
            }
        }
        Ok(())
    }

    /// Reports the present state.
    pub(crate) fn state(&self, guard: &Guard) -> ControlAnswer {
        self.good(guard, &take(&self.given).clone())
    }

    /// Reports the kernel's rules as they would be after a change.
    pub(super) fn propose(&self, guard: &Guard, change: &Change) -> ControlAnswer {
        match self.after(guard, change) {
            Ok(given) => self.good(guard, &given),
            Err(refused) => refused.answer(),
        }
    }

    /// Makes a change and records it; what was given before.
    pub(crate) fn make(&self, guard: &Guard, change: &Change) -> (ControlAnswer, Option<LiveRules>) {
        let what = change.to_string();
        let after = self.after(guard, change);
        trace::diagnose(Diagnostic::Change { change: kind(change), made: after.is_ok() });
        match after {
            Ok(given) => {
                let before = take(&self.given).clone();
                let answer = self.put(guard, given);
                let digest = match &answer {
                    ControlAnswer::Good(good) => good.state.digest.parse().ok(),
                    _ => None,
                };
                guard.events.write(Control::made(what, digest));
                (answer, Some(before))
            }
            Err(refused) => {
                if let Refused::ByPolicy { reason, rule } = &refused {
                    let verdict = Verdict {
                        allowed: false,
                        reason: *reason,
                        rule: rule.clone(),
                        protocol: None,
                        conditions: Vec::new(),
                    };
                    guard.events.write(Control::refused(what, &verdict));
                }
                (refused.answer(), None)
            }
        }
    }

    /// Refuses the addresses that the engine's machine has now, from now on, on open connections
    /// too. Those that were known at the start stay refused.
    pub(crate) fn host(&self, guard: &Guard, network: HostNetwork) -> ControlAnswer {
        let what = format!(
            "the engine's machine has {} addresses, {} ranges and {} on-link prefixes",
            network.addresses.len(),
            network.ranges.len(),
            network.on_link.len()
        );
        guard.names.replace_host(network);
        self.changes.send_modify(|count| *count += 1);
        // Other containers come and go by the hundred on such a machine: their networks must not
        // use up the log of this run.
        let same = Sameness {
            kind: None,
            allowed: true,
            host: None,
            address: None,
            port: None,
            protocol: 0,
            reason: "host-addresses",
        };
        guard.events.write_folded(same, LONG_WHILE, || Note::new(Observation::HostAddresses, what));
        self.state(guard)
    }

    /// Asks these name servers first where the policy says `system`, from now on. A virtual address
    /// stays what it is, and so do open connections.
    pub(crate) fn resolvers(&self, guard: &Guard, servers: &[IpAddr]) -> ControlAnswer {
        if let Err(error) = guard.outside.follow(servers) {
            return ControlAnswer::Failed(error);
        }
        let servers: Vec<String> = servers.iter().take(MOST_SERVERS).map(IpAddr::to_string).collect();
        let what = format!("the machine's name servers are now: {}", servers.join(", "));
        guard.events.write(Note::new(Observation::Resolvers, what));
        self.state(guard)
    }

    /// Makes a planned change of conditions, which every policy permits; the policy's digest
    /// afterwards.
    pub(super) fn enforce(&self, guard: &Guard, change: &Change) -> Option<PolicyDigest> {
        let given = self.after(guard, change).ok()?;
        let digest = given.policy().digest().parse().ok();
        self.put(guard, given);
        digest
    }

    /// Takes a change back that its maker could not carry through.
    pub(super) fn take_back(&self, guard: &Guard, before: LiveRules) -> ControlAnswer {
        let answer = self.put(guard, before);
        guard.events.write(Control::made("take back: the fence did not follow".to_owned(), None));
        answer
    }

    /// Enforces what is given, from now on, on open connections too.
    fn put(&self, guard: &Guard, given: LiveRules) -> ControlAnswer {
        *self.conditions.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(given.conditions.clone());
        self.pace.forget();
        guard.names.replace(given.enforced());
        *take(&self.given) = given.clone();
        self.changes.send_modify(|count| *count += 1);
        let mut answer = self.good(guard, &given);
        if let (ControlAnswer::Good(good), Some(facts)) = (&mut answer, &guard.notice) {
            good.notice = Some(self.notice(guard, facts, &given));
        }
        answer
    }

    /// Writes what the agent is told from now on. Conditions other than `deny` are not in it: the
    /// agent is to see them as such a network shows them.
    fn notice(&self, guard: &Guard, facts: &NoticeFacts, given: &LiveRules) -> String {
        let today = crate::host::clock::today();
        notice::text(self.workflow, &given.enforced(), &guard.names.surroundings(), facts, today)
    }

    /// Reports the state of these rules and conditions, with the rules that the kernel needs for
    /// them.
    fn good(&self, guard: &Guard, given: &LiveRules) -> ControlAnswer {
        let texts = |rules: &[Arc<Rule>]| rules.iter().map(|rule| rule.origin.text.clone()).collect();
        let enforced = given.enforced();
        let state = State {
            workflow: self.workflow.to_string(),
            digest: given.policy().digest(),
            closed: guard.closed().or(enforced.network_denied.then_some(Reason::NetworkDenied)),
            denied_from_start: given.base.network_denied,
            deadline_unix_ms: guard.deadline_unix_ms,
            connections: self.open.load(Ordering::Relaxed),
            events: guard.events.count(),
            allowed: texts(&given.allow),
            denied: texts(&given.deny),
            conditions: given.conditions.clone(),
            supervised: guard.attached.now(),
        };
        let plan = FenceConfig {
            workflow: self.workflow.to_string(),
            permits: guard.names.permits(&enforced),
            cut: guard.names.cut(&given.conditions),
            connections: guard.limits.bounds(),
            // Proven at the start, and a transaction that fails leaves what stands.
            devices: false,
            given: Vec::new(),
            limits: false,
            covers: Vec::new(),
            init: None,
            kernel: None,
        };
        ControlAnswer::Good(Box::new(Good { state, plan, notice: None }))
    }

    /// Ends permissions whose last day is over: to be called a few times a second.
    pub(crate) fn tick(&self, guard: &Guard) {
        self.tick_on(guard, crate::host::clock::today());
    }

    fn tick_on(&self, guard: &Guard, today: Date) {
        let before = std::mem::replace(&mut *take(&self.day), today);
        if before != today {
            guard.names.changed();
            self.changes.send_modify(|count| *count += 1);
        }
    }
}

impl Refused {
    fn answer(self) -> ControlAnswer {
        let place = |rule: Arc<Rule>| {
            format!("{} ({}, {})", rule.origin.text, rule.origin.place(), rule.origin.layer)
        };
        match self {
            Refused::ByPolicy { reason, rule } => ControlAnswer::Refused { reason, rule: rule.map(place) },
            Refused::Unfit(unfit) => ControlAnswer::Failed(format!("the policy was not reloaded: {unfit}")),
        }
    }
}

/// Counts one open connection.
struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until an open connection is permitted no more, or a condition ends it.
pub(crate) async fn revoked(link: &Link) -> Refusal {
    let live = &link.guard.live;
    live.open.fetch_add(1, Ordering::Relaxed);
    let _open = Open(&live.open);
    let mut changes = live.changes.subscribe();
    loop {
        // The first time too: something may have changed since the connection was looked up.
        if let Some(verdict) = lost(link) {
            return Refusal::by(verdict);
        }
        if live.effect(shape::name(link)).shapes() {
            link.standing.shaped.notify_waiters();
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                std::future::pending::<()>().await;
            },
            () = link.standing.ended.notified() => return Refusal::new(Kind::Connect, Reason::Cut),
        }
    }
}

/// Waits until no cut concerns a connection of which nothing has gone out yet. The log has that the
/// connection met the cut. On the heap while it waits: ten thousand connections have this place.
pub(super) async fn uncut(link: &Link) {
    if link.guard.live.effect(shape::name(link)).cut {
        link.refused(&Refusal::new(Kind::Connect, Reason::Cut));
        Box::pin(async {
            let mut changes = link.guard.live.changes.subscribe();
            while link.guard.live.effect(shape::name(link)).cut && changes.changed().await.is_ok() {}
        })
        .await;
    }
}

/// Waits until conditions concern the bytes of a connection; told by [`revoked`], which the same
/// task polls.
pub(super) async fn shaped(link: &Link) {
    while !link.guard.live.effect(shape::name(link)).shapes() {
        link.standing.shaped.notified().await;
    }
}

/// Returns the verdict when a connection is not permitted any more.
fn lost(link: &Link) -> Option<Verdict> {
    let address = *take(&link.standing.address);
    let verdict = match address {
        Some(address) => link.guard.names.decide(&link.target, Some(link.port), Some(address)),
        None => link.guard.names.decide_at_first(&link.target, Some(link.port)),
    };
    Some(enough(link, verdict)).filter(|verdict| !verdict.allowed)
}

/// Decides about a connection that goes to this address.
pub(super) fn at_address(link: &Link, address: IpAddr) -> Verdict {
    enough(link, link.guard.names.decide(&link.target, Some(link.port), Some(address)))
}

/// Decides about a connection whose address only the proxy will know.
pub(super) fn by_proxy(link: &Link) -> Verdict {
    enough(link, link.guard.names.decide_by_proxy(&link.target, Some(link.port)))
}

/// Refuses where the protocol in which a connection was judged is less than the rule demands:
/// another rule may have permitted the name, or the address meanwhile.
fn enough(link: &Link, verdict: Verdict) -> Verdict {
    match verdict.protocol {
        Some(check) if verdict.allowed && !link.protocol.is_within(check) => {
            Verdict { allowed: false, reason: Reason::Protocol, ..verdict }
        }
        _ => verdict,
    }
}

#[cfg(test)]
#[path = "live/tests.rs"]
mod tests;
