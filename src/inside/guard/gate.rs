//! The gate: every permitted connection of the agent arrives here, and leaves as one of the guard's
//! own.
//!
//! ```text
//!  accept ─▶ where to (SO_ORIGINAL_DST) ─▶ name or address ─▶ decide ─┬─ tls, http, auto: a look at the first bytes
//!    └─ no place left: reset                                          ├─ upstream: resolve, decide each address, dial
//!     refused: alert, 403 or reset ◀──── any doubt ◀──────────────────┴─ splice
//! ```

use std::io;
use std::net::{IpAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use netpolicy::decide::{Reason, Target, Verdict};
use netpolicy::policy::{Protocol, ResolvedBy};
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};

use super::events::{MOMENT, Sameness};
use super::idle::idle;
use super::limits::{ConnectionSlot, Limit};
use super::live::{self, Standing};
use super::splice::Counts;
use super::upstream::keep_alive;
use super::{Guard, auto, http, planned, shape, tls};
use crate::wire::event::{Access, Kind, Phase, Transport};

/// Form in which the agent sees a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// A reset.
    Reset,
    /// A fatal TLS alert with this description.
    Alert(u8),
    /// The agent was told already, or ended the connection itself.
    Said,
}

/// Reason for which a connection ends before its time.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Protocol in which the connection was judged.
    pub(crate) kind: Kind,
    /// Reason of the refusal.
    pub(crate) reason: Reason,
    /// Form in which the agent sees the refusal.
    pub(crate) manner: Manner,
    /// The error, where there was one.
    pub(crate) error: Option<String>,
    /// The address, where it is the reason.
    pub(crate) address: Option<IpAddr>,
    /// The policy's word, where it is the reason.
    pub(crate) verdict: Option<Box<Verdict>>,
    /// The limit, where it is the reason.
    pub(crate) limit: Option<Limit>,
}

impl Refusal {
    /// Makes a refusal that the agent sees as a reset.
    pub(crate) fn new(kind: Kind, reason: Reason) -> Refusal {
        Refusal {
            kind,
            reason,
            manner: Manner::Reset,
            error: None,
            address: None,
            verdict: None,
            limit: None,
        }
    }

    /// Refuses a permitted connection because of a limit.
    pub(crate) fn at_limit(kind: Kind, limit: Limit) -> Refusal {
        Refusal { limit: Some(limit), ..Refusal::new(kind, Reason::Limit) }
    }

    /// Reports a permitted connection that failed.
    pub(crate) fn failed(reason: Reason, error: String) -> Refusal {
        Refusal { error: Some(error), ..Refusal::new(Kind::Connect, reason) }
    }

    /// Refuses a real address by the policy's verdict.
    pub(super) fn of_address(address: IpAddr, verdict: Verdict) -> Refusal {
        Refusal { address: Some(address), ..Refusal::by(verdict) }
    }

    /// Refuses by the policy's verdict.
    pub(crate) fn by(verdict: Verdict) -> Refusal {
        Refusal { verdict: Some(Box::new(verdict.clone())), ..Refusal::new(Kind::Connect, verdict.reason) }
    }

    /// Returns the refusal in another form.
    pub(crate) fn manner(self, manner: Manner) -> Refusal {
        Refusal { manner, ..self }
    }

    /// Returns the refusal in the form of a TLS alert.
    pub(super) fn in_tls(self) -> Refusal {
        let alert = match self.reason {
            // What a server says that does not know the name: clients show it in these words.
            Reason::ResolveFailed => tls::UNRECOGNIZED_NAME,
            Reason::ConnectFailed => tls::INTERNAL_ERROR,
            _ => tls::ACCESS_DENIED,
        };
        self.manner(Manner::Alert(alert))
    }

    /// Tells whether the connection was permitted and then failed.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self.reason, Reason::ResolveFailed | Reason::ConnectFailed)
    }

    /// Takes an error on a connection that was carried for its end, with a reset, and not for a
    /// refusal.
    pub(crate) fn ended(_: io::Error) -> Result<(), Refusal> {
        Ok(())
    }
}

/// One connection of the agent, as far as it is known.
pub(crate) struct Link {
    /// State that all connections share.
    pub(crate) guard: Arc<Guard>,
    /// Number of the connection.
    pub(crate) conn: u64,
    /// Target of the connection.
    pub(crate) target: Target,
    /// The port.
    pub(crate) port: u16,
    /// Protocol in which the connection is judged.
    pub(crate) protocol: Protocol,
    /// The permission.
    pub(crate) verdict: Verdict,
    /// Bytes that the connection carried.
    pub(crate) counts: Arc<Counts>,
    /// State of the connection that later decisions need.
    pub(crate) standing: Standing,
    begin: Instant,
    open: AtomicBool,
    /// A question or a packet may have gone out that no line tells of yet.
    untold: AtomicBool,
}

impl Link {
    /// Notes in the log that the way out is open: to this address, or to one that a proxy chose.
    /// Each connection to a server has its line, and the line is out before a byte of the agent is.
    /// `by` is the permission for that address.
    pub(crate) async fn opened(&self, address: Option<IpAddr>, resolver: ResolvedBy, by: &Verdict) {
        if let Some(address) = address {
            self.standing.at(address);
        }
        self.open.store(true, Ordering::SeqCst);
        self.untold.store(false, Ordering::SeqCst);
        let mut event = self.fill(Access::allowed(Kind::Connect)).by(by);
        event.phase = Some(Phase::Open.into());
        event.address = address.or(event.address);
        event.resolver = match &self.target {
            Target::Address(_) => None,
            Target::Name(_) => Some(resolver.into()),
        };
        self.guard.events.write_through(event).await;
    }

    /// Connects to the target, within the budget of dials, while the log takes lines.
    pub(crate) async fn connect(&self) -> Result<TcpStream, Refusal> {
        if !self.guard.limits.dial().await {
            return Err(Refusal::at_limit(Kind::Connect, Limit::Dials(self.guard.limits.bounds())));
        }
        // Nothing goes out without its line.
        if !self.guard.events.takes_lines().await {
            return Err(Refusal::at_limit(Kind::Connect, Limit::Log));
        }
        self.untold.store(true, Ordering::SeqCst);
        let stream = self.guard.outside.connect(self).await?;
        self.guard.stalls.watch(&stream, self);
        Ok(stream)
    }

    /// Counts bytes that went out beside the splice.
    pub(crate) fn sent(&self, bytes: usize) {
        self.counts.out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Writes the target into an event.
    pub(crate) fn fill(&self, mut event: Access) -> Access {
        event.conn = Some(self.conn);
        event.port = Some(self.port);
        event.protocol = Some(Transport::from(self.protocol).into());
        match &self.target {
            Target::Name(name) => event.host = Some(name.clone()),
            Target::Address(address) => event.address = Some(*address),
        }
        event
    }

    /// Puts a refusal into the log. One after a question or a packet went out is not left to the
    /// fold.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        let event = || {
            let verdict = refusal.verdict.as_deref().unwrap_or(&self.verdict);
            let mut event = self.fill(Access::denied(refusal.kind, refusal.reason)).by(verdict);
            event.address = refusal.address.or(event.address);
            event.error.clone_from(&refusal.error);
            event.limit = refusal.limit.map(|limit| limit.to_string());
            event
        };
        if self.untold.swap(false, Ordering::SeqCst) {
            self.guard.events.write(event());
            return;
        }
        let host = match &self.target {
            Target::Name(name) => Some(name.clone()),
            Target::Address(_) => None,
        };
        let same = Sameness {
            kind: Some(refusal.kind),
            allowed: false,
            host,
            address: refusal.address.or(match &self.target {
                Target::Address(address) => Some(*address),
                Target::Name(_) => None,
            }),
            port: Some(self.port),
            protocol: 6,
            reason: refusal.reason.as_str(),
        };
        self.guard.events.write_folded(same, MOMENT, event);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.untold.load(Ordering::SeqCst) {
            // The agent, or a change, ended it while it was dialled; for requests that may be the
            // second time.
            let gone = Refusal::failed(Reason::ConnectFailed, "ended before it was connected".to_owned());
            self.refused(&gone);
        }
        if self.open.load(Ordering::SeqCst) {
            let mut event = self.fill(Access::allowed(Kind::Connect));
            event.phase = Some(Phase::Close.into());
            event.reason = Some(self.verdict.reason.into());
            event.bytes_out = Some(self.counts.out.load(Ordering::Relaxed));
            event.bytes_in = Some(self.counts.back.load(Ordering::Relaxed));
            event.ms = Some(u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX));
            self.guard.events.write(event);
        }
    }
}

/// Accepts for ever. Without room, or on a connection whose destination nobody knows, it resets.
pub(crate) async fn serve(listener: TcpListener, guard: Arc<Guard>) {
    set_options(&listener);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                // No memory left, or the connection is gone already: what is open may end
                // meanwhile.
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let Ok(to) = sockopt::ip_original_dst(&stream) else {
            // Nobody was redirected here: somebody found the gate's own port.
            let _ = stream.set_zero_linger();
            turn_away(&guard, None, Reason::RawAddress, None);
            continue;
        };
        admit(stream, to, &guard);
    }
}

/// Sets what every accepted connection is to have: the kernel hands a listener's options on, which
/// saves five calls for each of them.
fn set_options(listener: &TcpListener) {
    let _ = sockopt::set_tcp_nodelay(listener, true);
    keep_alive(listener);
}

/// Gives a connection its place and its task, or refuses it at once.
pub(super) fn admit(stream: TcpStream, to: SocketAddrV4, guard: &Arc<Guard>) {
    let Some(place) = guard.limits.connection() else {
        let _ = stream.set_zero_linger();
        let limit = Limit::Connections(guard.limits.bounds());
        turn_away(guard, Some(to), Reason::Limit, Some(limit));
        return;
    };
    tokio::spawn(handle(stream, to, Arc::clone(guard), place));
}

/// Puts the refusal of a connection that was not looked at into the log.
fn turn_away(guard: &Guard, to: Option<SocketAddrV4>, reason: Reason, limit: Option<Limit>) {
    let target =
        to.map(|to| guard.names.target_of(*to.ip()).unwrap_or(Target::Address(IpAddr::V4(*to.ip()))));
    let (host, address) = match target {
        Some(Target::Name(name)) => (Some(name), None),
        Some(Target::Address(address)) => (None, Some(address)),
        None => (None, None),
    };
    let port = to.map(|to| to.port());
    let same = Sameness {
        kind: Some(Kind::Connect),
        allowed: false,
        host: host.clone(),
        address,
        port,
        protocol: 6,
        reason: reason.as_str(),
    };
    guard.events.write_folded(same, MOMENT, || Access {
        host,
        address,
        port,
        limit: limit.map(|limit| limit.to_string()),
        ..Access::denied(Kind::Connect, reason)
    });
}

/// Handles one connection, from its destination to its end. Ten thousand of these wait at once, so
/// the state of a phase is on the heap while the phase lasts, and a connection that only carries
/// bytes is small.
async fn handle(agent: TcpStream, to: SocketAddrV4, guard: Arc<Guard>, place: ConnectionSlot) {
    let agent = Arc::new(agent);
    let (link, reason) = look_up(to, &guard);
    drop(guard);
    if let Some(reason) = reason {
        link.refused(&Refusal::new(Kind::Connect, reason));
        Box::pin(say_no(&link, &agent, reason)).await;
        return;
    }
    let done = tokio::select! {
        done = carry(&link, &agent) => done,
        reason = link.guard.closing() => Err(Refusal::new(Kind::Connect, reason)),
        refusal = live::revoked(&link) => Err(refusal),
        () = idle(&link.counts) => Err(Refusal::at_limit(Kind::Connect, Limit::Idle)),
    };
    if let Err(refusal) = done {
        link.refused(&refusal);
        match refusal.manner {
            Manner::Said => {}
            Manner::Alert(description) => Box::pin(tls::alert(&agent, description)).await,
            Manner::Reset => {
                let _ = agent.set_zero_linger();
            }
        }
    }
    // The connection goes first: the next owner of the place finds it empty.
    drop((link, agent));
    drop(place);
}

/// Finds the target of a connection, and the reason to refuse it, if any.
fn look_up(to: SocketAddrV4, guard: &Arc<Guard>) -> (Arc<Link>, Option<Reason>) {
    let target = guard.names.target_of(*to.ip());
    let known = target.is_some();
    let target = target.unwrap_or(Target::Address(IpAddr::V4(*to.ip())));
    let verdict = planned::decide(guard, &target, to.port());
    let protocol = verdict.protocol.unwrap_or(match to.port() {
        443 => Protocol::Tls,
        80 => Protocol::Http,
        _ => Protocol::Tcp,
    });
    let reason = if let Some(reason) = guard.closed() {
        Some(reason)
    } else if !known {
        // A virtual address that stands for nothing.
        Some(Reason::RawAddress)
    } else {
        (!verdict.allowed).then_some(verdict.reason)
    };
    let link = Link {
        guard: Arc::clone(guard),
        conn: guard.next_conn(),
        target,
        port: to.port(),
        protocol,
        verdict,
        counts: Arc::new(Counts::default()),
        standing: Standing::default(),
        begin: Instant::now(),
        open: AtomicBool::new(false),
        untold: AtomicBool::new(false),
    };
    (Arc::new(link), reason)
}

/// Next step for a connection that has been judged.
pub(crate) enum Onward {
    /// Bytes go to this server unread.
    Bytes(TcpStream),
    /// The connection was carried to its end.
    Done,
}

/// Carries one connection in the manner of its protocol.
async fn carry(link: &Arc<Link>, agent: &Arc<TcpStream>) -> Result<(), Refusal> {
    live::uncut(link).await;
    let onward = match link.protocol {
        Protocol::Tls => Box::pin(tls::open(link, agent)).await?,
        Protocol::Http => Box::pin(http::carry(link, agent, Vec::new(), None)).await?,
        Protocol::Auto => Box::pin(auto::open(link, agent)).await?,
        Protocol::Tcp => Onward::Bytes(Box::pin(link.connect()).await?),
    };
    match onward {
        Onward::Bytes(server) => shape::carry(link, agent, server).await.or_else(Refusal::ended),
        Onward::Done => Ok(()),
    }
}

/// Refuses a connection in words that its protocol has, as far as the agent begins to speak it.
async fn say_no(link: &Arc<Link>, agent: &Arc<TcpStream>, reason: Reason) {
    let _ = agent.set_zero_linger();
    match link.protocol {
        // An alert counts only after a ClientHello.
        Protocol::Tls => {
            if tls::read_hello(agent, Vec::new(), link.guard.limits.undecided()).await.is_ok()
                && linger(agent).is_ok()
            {
                tls::alert(agent, tls::ACCESS_DENIED).await;
            }
        }
        Protocol::Http => {
            if linger(agent).is_ok() {
                let _ = tokio::time::timeout(tls::PATIENCE, http::refuse(link, agent, reason)).await;
            }
        }
        Protocol::Auto | Protocol::Tcp => {}
    }
}

/// Lets what was written arrive before the end.
fn linger(agent: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_socket_linger(agent, None)
}

/// Numbers of connections.
#[derive(Debug, Default)]
pub(crate) struct Numbers(AtomicU64);

impl Numbers {
    /// Returns the next number, from 1.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::guard::splice::tests::pair;
    use crate::inside::guard::tests::{guard_with, policy, virtual_address};

    #[tokio::test]
    async fn a_connection_that_waits_is_small() {
        let (guard, _log) = guard_with(policy(), None, None);
        let (_agent, near) = pair().await;
        let place = guard.limits.connection().unwrap();
        let task = handle(near, "25.0.0.1:443".parse().unwrap(), guard, place);
        let size = std::mem::size_of_val(&task);
        // Ten thousand of them are less than thirty megabytes.
        assert!(size <= 2720, "{size}");
        assert!(std::mem::size_of::<Link>() <= 640, "{}", std::mem::size_of::<Link>());
    }

    #[tokio::test]
    async fn a_connection_has_the_options_of_its_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        set_options(&listener);
        let (dialled, accepted) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (_dialled, accepted) = (dialled.unwrap(), accepted.unwrap().0);
        assert!(sockopt::tcp_nodelay(&accepted).unwrap());
        assert!(sockopt::socket_keepalive(&accepted).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&accepted).unwrap(), Duration::from_secs(60));
        assert_eq!(sockopt::tcp_keepcnt(&accepted).unwrap(), 4);
    }

    #[tokio::test]
    async fn each_dial_has_its_line_though_its_agent_goes_meanwhile() {
        for dialled_before in [false, true] {
            let (guard, log) = guard_with(policy(), None, None);
            let (link, _) = look_up(SocketAddrV4::new(virtual_address(&guard, "gitlab.com"), 80), &guard);
            if dialled_before {
                link.opened(None, ResolvedBy::Guard, &link.verdict).await;
            }
            link.untold.store(true, Ordering::SeqCst);
            drop(link);
            let told = log.lines().iter().filter(|line| line["reason"] == "connect-failed").count();
            assert_eq!((told, log.lines().len()), if dialled_before { (1, 3) } else { (1, 1) });
        }
    }
}
