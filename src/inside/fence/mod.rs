//! The fence: everything that happens inside the agent's network namespace.
//!
//! ```text
//!  stdin ─▶ fence.json ─▶ device ─▶ routes ─▶ sockets ─▶ rules ─▶ proof ─▶ capabilities ─▶ handover ─▶ guard
//!                        (leads    (nothing  (listen,   (the     (try to  (give up        (send, watch,
//!                         nowhere)  leaves)   log)      locks)   get out)  NET_ADMIN)      shut, again)
//! ```
//!
//! The order is the argument: routes before rules, since they alone already keep packets inside;
//! sockets before the proof, since reaching them is its positive control; the proof before the
//! capability goes, since a fence that is in doubt must not be handed over; and nothing is handed
//! over by a process that could still take the fence down.

mod admit;
mod ask;
mod capabilities;
mod covers;
mod device;
mod first_files;
mod forward;
mod handover;
mod limits;
mod links;
mod mounts;
mod notice;
mod proof;
mod put;
mod reach;
mod routes;
mod rules;
mod sockets;
mod ssh_agent;
mod stop;
#[cfg(test)]
mod tests;

pub(crate) use self::forward::forward;
pub(crate) use self::notice::notice;
pub(crate) use self::put::put;
pub(crate) use self::reach::reach;
pub(crate) use self::ssh_agent::ssh_agent;

use std::io::BufRead as _;
use std::path::Path;
use std::time::Instant;

use netpolicy::ruleset::{self, FencePlan};

use crate::host::{devices, kernel};
use crate::inside::output;
use crate::term::Failure;
use crate::term::trace::{self, Diagnostic};
use crate::wire::handover::{FENCE_CONFIG, FenceConfig, GUARD_SOCKET, HEARTBEAT_LIMIT, NOTICE, SHARED};

/// Exit status on failure. The supervisor reads the words on stderr.
const FAILED: u8 = 1;

/// Makes the fence, proves it, hands its sockets to the guard and holds them until it is told to
/// end.
///
/// What the engine gives to every container without being asked (Podman's `devices` in
/// containers.conf) the agent would have too.
pub(crate) fn hold() -> Result<(), Failure> {
    let devices =
        devices::unusual(Path::new("/dev")).map_err(failed("cannot look at the container's devices"))?;
    if !devices.is_empty() {
        let what =
            format!("the engine gives its containers devices that nobody asked for: {}", devices.join(", "));
        return Err(failure(what));
    }
    first_files::receive(std::io::stdin().lock(), Path::new(SHARED), Path::new(NOTICE))?;
    hold_in(Path::new(SHARED))
}

/// Holds a fence as [`hold`] does, with the folder that is shared with the guard at `shared`.
pub(super) fn hold_in(shared: &Path) -> Result<(), Failure> {
    let began = Instant::now();
    let stop = stop::Stop::listen()?;
    let config = read_config(&shared.join(file_name(FENCE_CONFIG)))?;
    check_kernel(config.kernel.as_deref())?;
    mounts::check(&config.given)?;
    if config.limits {
        limits::check()?;
    }
    let (surroundings, held, missing) = make_and_prove(&config, began)?;
    held.forget_the_proof();
    capabilities::drop_all()?;
    covers::expect(config.covers, config.init)?;
    say("proven", began, &missing);
    let guard = shared.join(file_name(GUARD_SOCKET));
    handover::keep_handing_over(&held, surroundings.own, &guard, HEARTBEAT_LIMIT, &stop, || {
        say("handed over", began, &missing);
    })
}

pub(crate) use self::admit::admit;
pub(crate) use self::ask::ask;

/// Refuses another kernel than the one whose addresses were taken for the engine's: a machine that
/// is a copy of the supervisor's has a network of the same id.
fn check_kernel(expected: Option<&str>) -> Result<(), Failure> {
    match expected {
        Some(expected) if kernel::boot_id().as_deref() != Some(expected) => Err(failure(
            "the engine runs on a copy of this machine, whose addresses are not known here: run ringfence there",
        )),
        _ => Ok(()),
    }
}

/// Makes a fence that nobody will live in and proves it; what this kernel lacks of it.
pub(super) fn rehearse() -> Result<Vec<&'static str>, Failure> {
    let config = FenceConfig {
        workflow: "rehearsal".to_owned(),
        permits: Vec::new(),
        cut: ruleset::Cut::Nothing,
        connections: ruleset::ConnectionBounds::LEAST,
        devices: false,
        given: Vec::new(),
        limits: false,
        covers: Vec::new(),
        init: None,
        kernel: None,
    };
    make_and_prove(&config, Instant::now()).map(|(_, _, missing)| missing)
}

/// Loads one transaction of rules, as JSON for nft; returns nft's own words where it refuses them.
pub(super) fn load_rules(rules: &serde_json::Value) -> Result<(), String> {
    rules::load(rules).map_err(|failure| failure.causes.join(": "))
}

/// Replaces the rules of a fence that stands, with the [`FenceConfig`] that arrives on stdin as one
/// line. (Not up to the end of stdin: whether an engine passes that on depends on how it is
/// reached.)
pub(crate) fn apply() -> Result<(), Failure> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut text)
        .map_err(failed("cannot read the fence's configuration from stdin"))?;
    let config: FenceConfig = serde_json::from_str(&text)
        .map_err(failed("the fence's configuration on stdin is not what was expected"))?;
    let surroundings = links::discover()?;
    let plan = surroundings.plan(&config);
    // Whether this namespace can log was found out when the fence was made; the rules say it again
    // by failing.
    rules::replace(&plan, rules::Logging::IfPossible)?;
    lock_devices(&plan, Vec::new());
    Ok(())
}

/// Makes the fence, and proves it.
fn make_and_prove(
    config: &FenceConfig,
    began: Instant,
) -> Result<(links::Surroundings, sockets::FenceSockets, Vec<&'static str>), Failure> {
    let (surroundings, held, missing) = make(config)?;
    say("made", began, &missing);
    // Proven without the netdev lock, then with it: counters behind that lock could not tell
    // whether the others hold.
    proof::prove(&surroundings, &held, &config.permits)?;
    let missing = lock_devices(&surroundings.plan(config), missing);
    if config.devices && missing.contains(&"netdev") {
        return Err(failure(
            "this kernel cannot lock devices (netdev egress, Linux 5.16), and the agent's runtime may send frames itself",
        ));
    }
    proof::prove(&surroundings, &held, &config.permits)?;
    Ok((surroundings, held, missing))
}

/// Makes the device, routes, sockets and the rules that are never optional; what this kernel lacks.
fn make(
    config: &FenceConfig,
) -> Result<(links::Surroundings, sockets::FenceSockets, Vec<&'static str>), Failure> {
    links::check_none_leads_out()?;
    device::make()?;
    let surroundings = links::discover()?;
    routes::make(surroundings.own)?;
    let mut missing = Vec::new();
    let held = sockets::open()?;
    let logging = if held.nflog.is_some() { rules::Logging::Required } else { rules::Logging::Absent };
    if held.nflog.is_none() {
        missing.push("nflog");
    }
    rules::replace(&surroundings.plan(config), logging)?;
    Ok((surroundings, held, missing))
}

/// Adds the third lock. A kernel without it (below 5.16) is named, not refused: the two others hold
/// alone, as was proven.
fn lock_devices(plan: &FencePlan, mut missing: Vec<&'static str>) -> Vec<&'static str> {
    if let Err(failure) = rules::replace_netdev(plan) {
        output::complain("fence", format_args!("no netdev lock: {}", failure.causes.join(": ")));
        missing.push("netdev");
    }
    missing
}

impl links::Surroundings {
    /// Returns the plan that the ruleset is made from.
    fn plan(&self, config: &FenceConfig) -> FencePlan {
        FencePlan {
            own: self.own,
            permits: config.permits.clone(),
            links: self.links.clone(),
            cut: config.cut.clone(),
            connections: config.connections,
        }
    }
}

fn read_config(path: &Path) -> Result<FenceConfig, Failure> {
    let text = std::fs::read_to_string(path).map_err(failed(format!("cannot read {}", path.display())))?;
    serde_json::from_str(&text).map_err(failed(format!("{} is not a fence's configuration", path.display())))
}

/// Returns the last part of one of the contract's paths.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Reports a step.
fn say(step: &'static str, began: Instant, missing: &[&str]) {
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    trace::diagnose(Diagnostic::Fence { step, ms, missing: missing.len() });
}

/// Turns an error into a [`Failure`] that says what was being done.
fn failed<E: std::error::Error>(doing: impl Into<String>) -> impl FnOnce(E) -> Failure {
    move |error| Failure::new(FAILED, format!("fence: {}", doing.into())).caused_by(&error)
}

/// Makes a [`Failure`] without an error behind it.
fn failure(message: impl std::fmt::Display) -> Failure {
    Failure::new(FAILED, format!("fence: {message}"))
}
