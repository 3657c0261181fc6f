//! Limits of the fence: rates and numbers of permitted packets, and their words in the log.

pub(super) const DNS_QUESTIONS_PER_SECOND: u32 = 1000;
/// Questions in a moment: both address types for each connection that may be made in a moment. An
/// asker beyond that hears nothing for seconds and asks again: a client that may connect should not
/// get that far.
pub(super) const DNS_QUESTIONS_BURST: u32 = 2 * GATE_CONNECTIONS_BURST;
pub(super) const DNS_CONNECTIONS: u32 = 64;
/// Permitted connections that an agent may have open at once. The guard's own table, its
/// descriptors and its container's memory follow this number; nothing else states it.
pub const GATE_CONNECTIONS: u32 = 10_000;
/// Permitted connections that an agent may make in a moment: no more than wait in the gate's
/// backlog, so that a busy guard never means a connection that is made and hangs.
pub const GATE_CONNECTIONS_BURST: u32 = 4000;
/// Permitted connections a second after that. One that has ended stays in the connection table of
/// the engine's machine for two minutes: with the guard's own burst these are 50,000 entries, of
/// the 65,536 that a small machine has.
pub const GATE_CONNECTIONS_PER_SECOND: u32 = 400;
/// Connections that the guard makes at once; those beyond wait for their turn, at the rate above.
/// Half of what the fence lets in, so that a fast client is slowed down by the guard before the
/// fence lets it wait.
pub const DIALS_BURST: u32 = GATE_CONNECTIONS_BURST / 2;
pub(super) const LOGGED_PER_SECOND: u32 = 200;
pub(super) const LOGGED_BURST: u32 = 400;

/// A limit that keeps back what is permitted; such a packet carries its number as mark, so that the
/// log can name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FenceLimit {
    /// Connections to the DNS filter at once.
    DnsConnections = 1,
    /// Questions to it a second.
    DnsQuestions = 2,
    /// Permitted connections at once.
    Connections = 3,
    /// New permitted connections.
    NewConnections = 4,
}

impl FenceLimit {
    /// Every one.
    pub const ALL: [FenceLimit; 4] = [
        FenceLimit::DnsConnections,
        FenceLimit::DnsQuestions,
        FenceLimit::Connections,
        FenceLimit::NewConnections,
    ];

    /// Returns the limit that refused a packet with this mark.
    pub fn of_mark(mark: u32) -> Option<FenceLimit> {
        FenceLimit::ALL.into_iter().find(|limit| limit.mark() == mark)
    }

    /// Tells whether it is a rate, which keeps a packet back; a number refuses it.
    pub fn is_rate(self) -> bool {
        matches!(self, FenceLimit::DnsQuestions | FenceLimit::NewConnections)
    }

    pub(super) fn mark(self) -> u32 {
        u32::from(self as u8)
    }
}

impl std::fmt::Display for FenceLimit {
    /// Writes the limit in words: the number and the thing that it limits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FenceLimit::DnsConnections => {
                write!(f, "{DNS_CONNECTIONS} connections to the DNS filter at once")
            }
            FenceLimit::DnsQuestions => write!(
                f,
                "{DNS_QUESTIONS_BURST} DNS questions in a moment, and {DNS_QUESTIONS_PER_SECOND} a second \
                 after that"
            ),
            FenceLimit::Connections => write!(f, "{GATE_CONNECTIONS} permitted connections at once"),
            FenceLimit::NewConnections => write!(
                f,
                "{GATE_CONNECTIONS_BURST} new permitted connections in a moment, and \
                 {GATE_CONNECTIONS_PER_SECOND} a second after that"
            ),
        }
    }
}
