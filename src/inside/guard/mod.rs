//! The guard: outside the fence, without a capability, the only way out.
//!
//! ```text
//!  fence ──sockets──▶ handed ─┬─ DNS sockets ──▶ dns_server ─ dns ─ names (name ⇄ virtual address)
//!                             ├─ gate's socket ▶ gate ─ tls │ http │ auto ─ upstream ─ splice ──▶ the world
//!                             └─ log's socket ─▶ refused ──▶ events ──▶ stdout
//!  control ──▶ live: what a person changes (names, conditions, shape)
//!  fence ◀──── ready, then a beat each 250 ms; its end is the end of everything here
//! ```

mod attached;
mod auto;
mod control;
mod dns;
mod dns_server;
mod events;
mod gate;
mod host_loopback;
mod http;
mod idle;
mod inputs;
mod io;
mod life;
mod limits;
mod live;
mod names;
mod planned;
mod received;
mod refused;
mod relay;
mod shape;
mod splice;
mod stalled;
mod tls;
mod upstream;

pub(crate) use self::host_loopback::carry;
pub(crate) use self::relay::relay;

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use netpolicy::decide::Reason;
use netpolicy::ruleset::ConnectionBounds;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use self::attached::Attached;
use self::events::Events;
use self::gate::Numbers;
use self::host_loopback::HostLoopback;
use self::life::Life;
use self::limits::Limits;
use self::live::Live;
use self::names::Names;
use self::planned::AwaitedConnections;
use self::received::Sockets;
use self::splice::Pipes;
use self::stalled::Stalls;
use self::upstream::Outside;
use crate::inside::output;
use crate::term::Failure;
use crate::term::trace::{self, Diagnostic};
use crate::wire::WorkflowId;
use crate::wire::event::{Lifecycle, Note, Observation, Start};
use crate::wire::handover::{
    EVENTS_BYTES, FENCE_GONE, GUARD_CONFIG, GUARD_FILES, GUARD_SOCKET, GuardConfig, HEARTBEAT, PAUSE_TOLD,
};
use crate::wire::notice::NoticeFacts;

/// The guard could not begin, or a part of it stopped.
const BROKEN: u8 = 1;

/// Time between two looks for the configuration, which a start waits for.
const LOOK: Duration = Duration::from_millis(2);
/// A start gives its guard a configuration within this time, or is given up.
const CONFIG_LIMIT: Duration = Duration::from_secs(300);

/// State that all parts of the guard share.
pub(crate) struct Guard {
    /// Names, their addresses, and the policy's word on them.
    pub(crate) names: Names,
    /// The decision log.
    pub(crate) events: Events,
    /// The world.
    pub(crate) outside: Outside,
    /// Remaining room for the agent under the guard's limits.
    pub(crate) limits: Limits,
    /// Pipes for bytes that pass.
    pub(crate) pipes: Pipes,
    /// Rules and conditions that a person may change.
    pub(crate) live: Live,
    /// The guard's own connections, watched for such that stall.
    pub(crate) stalls: Stalls,
    /// The way to the loopback of the supervisor's machine.
    pub(crate) host_loopback: HostLoopback,
    /// Presence of a supervisor.
    pub(crate) attached: Attached,
    /// Progress of the run towards its end.
    pub(crate) life: Life,
    /// Changes that wait for a connection.
    awaited: AwaitedConnections,
    deadline_unix_ms: Option<u64>,
    notice: Option<NoticeFacts>,
    closing: watch::Sender<Option<Reason>>,
    numbers: Numbers,
}

impl Guard {
    /// Makes a guard of this configuration.
    fn new(config: GuardConfig, events: Events, outside: Outside, limits: Limits) -> Guard {
        Guard {
            live: Live::new(config.workflow, config.policy.clone()),
            names: Names::new(config.policy, config.surroundings),
            events,
            outside,
            limits,
            pipes: Pipes::default(),
            stalls: Stalls::default(),
            host_loopback: HostLoopback::default(),
            attached: Attached::default(),
            life: Life::default(),
            awaited: AwaitedConnections::default(),
            deadline_unix_ms: config.deadline_unix_ms,
            notice: config.notice,
            closing: watch::Sender::new(None),
            numbers: Numbers::default(),
        }
    }

    /// Returns the reason for which nothing at all is permitted now, if there is one. The deadline
    /// is by the wall clock, which a sleeping machine does not stop.
    pub(crate) fn closed(&self) -> Option<Reason> {
        if self.events.is_full() {
            return Some(Reason::LogFull);
        }
        let deadline = self.deadline_unix_ms?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(u128::MAX, |now| now.as_millis());
        (now >= u128::from(deadline)).then_some(Reason::Deadline)
    }

    /// Waits until nothing is permitted any more.
    pub(super) async fn closing(&self) -> Reason {
        let mut closing = self.closing.subscribe();
        loop {
            if let Some(reason) = *closing.borrow_and_update() {
                return reason;
            }
            if closing.changed().await.is_err() {
                return Reason::Deadline;
            }
        }
    }

    /// Returns the number of a new connection.
    pub(super) fn next_conn(&self) -> u64 {
        self.numbers.next()
    }

    /// Writes a pause of this process down, after the time since its last beat.
    fn tell_pause(&self, since: Duration) {
        if since > PAUSE_TOLD + HEARTBEAT {
            let what = format!(
                "the guard stood still for {:.1} s, as on a busy machine: connections and lookups waited meanwhile",
                since.as_secs_f64()
            );
            self.events.write(Note::new(Observation::GuardPaused, what));
        }
    }

    /// Enforces the deadline and writes counted events, a few times a second.
    fn tick(&self) {
        if let Some(reason) = self.closed() {
            let closes = self.closing.send_if_modified(|now| now.replace(reason).is_none());
            if closes && reason == Reason::LogFull {
                let what =
                    format!("the events have reached {} MiB: nothing goes out any more", EVENTS_BYTES >> 20);
                self.events.write(Note::new(Observation::LogFull, what));
                self.names.changed();
            }
        }
        self.live.tick(self);
        self.events.sweep();
    }
}

/// Runs `ringfence guard run`: serves one fence, from its handover to its end.
pub(crate) fn run() -> Result<(), Failure> {
    await_config(Path::new(GUARD_CONFIG), CONFIG_LIMIT)?;
    let mut config = read_config(Path::new(GUARD_CONFIG))?;
    let limits = Limits::new(raise_limit(config.connections), config.connections);
    let means = inputs::read(&config.policy)
        .map_err(|error| broken("it lacks what the policy needs").caused_by(&error))?;
    inputs::place_host(&mut config.surroundings, &means.hosts);
    let listener = listen(Path::new(GUARD_SOCKET), 0o666)?;
    let control = listen(Path::new(crate::wire::control::SOCKET), 0o600)?;
    let loopback = listen(Path::new(crate::wire::host_loopback::SOCKET), 0o600)?;
    // One worker: a second one spends its time on being woken for what the first has just read.
    // The start, the fence and the supervisor have the main thread.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(2)
        .thread_stack_size(512 * 1024)
        .enable_all()
        .build()
        .map_err(|error| broken("the runtime cannot start").caused_by(&error))?;
    let outside = {
        let _entered = runtime.enter();
        Outside::world(&config.policy, &means)
            .map_err(|error| broken("there is no upstream resolver").caused_by(&error))?
    };
    let (events, out) = log_to_stdout(config.workflow)
        .map_err(|error| broken("cannot write to its own output").caused_by(&error))?;
    let (start, planned) = (config.start.clone(), config.planned.clone());
    let guard = Arc::new(Guard::new(config, events, outside, limits));
    let pumping = Arc::clone(&guard);
    std::thread::Builder::new()
        .name("log".to_owned())
        .stack_size(256 * 1024)
        .spawn(move || pumping.events.pump(out.as_fd()))
        .map_err(|error| broken("cannot start a thread for the log").caused_by(&error))?;
    let start = Start { map: Some(guard.names.map()), ..start };
    guard.events.write(Lifecycle::Start(Box::new(start)));
    planned::begin(&guard, planned);
    let (fence, sockets) = handover(&listener)?;
    drop(listener);
    let result = runtime.block_on(serve(Arc::clone(&guard), fence, sockets, (control, loopback)));
    // Every socket and connection goes with the runtime.
    runtime.shutdown_timeout(Duration::from_millis(200));
    guard.events.finish();
    result
}

/// Opens the log on stdout, and returns stdout for [`Events::pump`]: without a buffer, and without
/// a wait.
fn log_to_stdout(workflow: WorkflowId) -> std::io::Result<(Events, OwnedFd)> {
    let out = output::log()?;
    rustix::io::ioctl_fionbio(&out, true)?;
    let events = Events::new(workflow, Box::new(fs::File::from(out.try_clone()?)));
    Ok((events, out))
}

/// Takes as many descriptors as it can, and says how many those are: with few, connections are
/// refused earlier. They are not asked of the engine, since one that may not give them would not
/// start the guard at all.
fn raise_limit(bounds: ConnectionBounds) -> u32 {
    let enough = u64::from(GUARD_FILES);
    let descriptors = crate::host::open_files::raise_limit(enough).min(enough);
    let descriptors = u32::try_from(descriptors).unwrap_or(u32::MAX);
    let (some, all) = (limits::connections(descriptors, bounds), bounds.at_once());
    if some < all {
        output::complain(
            "guard",
            format_args!(
                "{descriptors} open files are permitted, enough for {some} connections instead of {all}"
            ),
        );
    }
    descriptors
}

/// Reports a failure of the guard itself.
fn broken(message: impl Into<String>) -> Failure {
    Failure::new(BROKEN, format!("guard: {}", message.into()))
}

/// Waits until the fence has written the guard's configuration. A start that has not come to it
/// within the limit was given up: its guard serves nobody.
fn await_config(path: &Path, limit: Duration) -> Result<(), Failure> {
    let began = Instant::now();
    loop {
        let there = path
            .try_exists()
            .map_err(|error| broken(format!("cannot look for {}", path.display())).caused_by(&error))?;
        if there {
            return Ok(());
        }
        if began.elapsed() > limit {
            let seconds = limit.as_secs();
            return Err(broken(format!("no configuration came within {seconds} s: the start was given up")));
        }
        std::thread::sleep(LOOK);
    }
}

/// Reads the guard's configuration.
fn read_config(path: &Path) -> Result<GuardConfig, Failure> {
    let text = fs::read(path)
        .map_err(|error| broken(format!("cannot read {}", path.display())).caused_by(&error))?;
    serde_json::from_slice(&text)
        .map_err(|error| broken(format!("cannot understand {}", path.display())).caused_by(&error))
}

/// Opens a socket in the volume: for the fence to hand over, or for the guard's own user to change
/// things.
fn listen(path: &Path, mode: u32) -> Result<UnixListener, Failure> {
    let failed =
        |error: std::io::Error| broken(format!("cannot listen on {}", path.display())).caused_by(&error);
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}

/// Waits for a handover that is sound.
fn handover(listener: &UnixListener) -> Result<(UnixStream, Sockets), Failure> {
    loop {
        let (stream, _) =
            listener.accept().map_err(|error| broken("cannot accept the fence").caused_by(&error))?;
        match received::receive(&stream) {
            Ok(sockets) => return Ok((stream, sockets)),
            Err(error) => output::complain("guard", Chain(&error)),
        }
    }
}

/// An error and its causes on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            write!(f, ": {error}")?;
            next = error.source();
        }
        Ok(())
    }
}

/// Serves until the fence goes, or a part stops: then all of it does.
async fn serve(
    guard: Arc<Guard>,
    fence: UnixStream,
    sockets: Sockets,
    (control, loopback): (UnixListener, UnixListener),
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| broken("cannot use the fence's sockets").caused_by(&error);
    fence.set_nonblocking(true).map_err(failed)?;
    let fence = tokio::net::UnixStream::from_std(fence).map_err(failed)?;
    let gate = tokio::net::TcpListener::from_std(sockets.gate).map_err(failed)?;
    let dns_tcp = tokio::net::TcpListener::from_std(sockets.dns_tcp).map_err(failed)?;
    control.set_nonblocking(true).map_err(failed)?;
    let control = tokio::net::UnixListener::from_std(control).map_err(failed)?;
    loopback.set_nonblocking(true).map_err(failed)?;
    let loopback = tokio::net::UnixListener::from_std(loopback).map_err(failed)?;
    life::listen(&guard, std::io::stdin());
    let mut parts = tokio::task::JoinSet::new();
    parts.spawn(control::serve(control, Arc::clone(&guard)));
    parts.spawn(host_loopback::serve(loopback, Arc::clone(&guard)));
    parts.spawn(gate::serve(gate, Arc::clone(&guard)));
    parts.spawn(stalled::serve(Arc::clone(&guard)));
    parts.spawn(dns_server::serve_udp(sockets.dns_udp, Arc::clone(&guard)));
    parts.spawn(dns_server::serve_tcp(dns_tcp, Arc::clone(&guard)));
    if let Some(socket) = sockets.nflog {
        // Without it refusals are as good, only not listed.
        if let Err(error) = refused::serve(socket, Arc::clone(&guard)) {
            output::complain("guard", format_args!("refused packets are not logged: {error}"));
        }
    }
    let mut stop = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::select! {
        failure = beat(&guard, &fence) => Err(failure),
        // The supervisor's word that the run is over: the last counts are written on the way out.
        _ = stop.recv() => Ok(()),
        _ = parts.join_next() => Err(broken("a part of the guard stopped")),
    }
}

/// Says `ready`, then that it lives; returns when the fence is gone.
async fn beat(guard: &Guard, fence: &tokio::net::UnixStream) -> Failure {
    let gone = || Failure::new(FENCE_GONE, "guard: the fence is gone");
    // Unlike a heartbeat this word must arrive: a fresh stream reports `WouldBlock` until it was
    // polled once.
    loop {
        if fence.writable().await.is_err() {
            return gone();
        }
        match fence.try_write(b"ready\n") {
            Ok(6) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => return gone(),
        }
    }
    guard.events.write(Lifecycle::Ready);
    trace::diagnose(Diagnostic::Serving);
    let mut beats = tokio::time::interval(HEARTBEAT);
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ignored = [0; 64];
    let mut last = Instant::now();
    loop {
        tokio::select! {
            _ = beats.tick() => {
                guard.tell_pause(std::mem::replace(&mut last, Instant::now()).elapsed());
                guard.tick();
                if say(fence, b".").is_err() {
                    return gone();
                }
            }
            ready = fence.readable() => {
                if ready.is_err() {
                    return gone();
                }
                match fence.try_read(&mut ignored) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Ok(0) | Err(_) => return gone(),
                    Ok(_) => {}
                }
            }
        }
    }
}

/// Sends a few bytes. A fence that does not listen just now has enough unread ones.
fn say(fence: &tokio::net::UnixStream, bytes: &[u8]) -> std::io::Result<()> {
    match fence.try_write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        done => done.map(|_| ()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
