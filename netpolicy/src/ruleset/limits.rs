//! Limits of the fence: rates and numbers of permitted packets, and their words in the log.

use super::bounds::{ConnectionBounds, MOST_BURST};

pub(super) const DNS_QUESTIONS_PER_SECOND: u32 = 1000;
/// Questions in a moment: both address types for each connection that may be made in a moment. An
/// asker beyond that hears nothing for seconds and asks again: a client that may connect should not
/// get that far.
pub(super) const DNS_QUESTIONS_BURST: u32 = 2 * MOST_BURST;
pub(super) const DNS_CONNECTIONS: u32 = 64;
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

    /// Returns the limit in words, in a run with these bounds: the number and the thing that it
    /// limits.
    pub fn in_words(self, bounds: ConnectionBounds) -> String {
        match self {
            FenceLimit::DnsConnections => format!("{DNS_CONNECTIONS} connections to the DNS filter at once"),
            FenceLimit::DnsQuestions => format!(
                "{DNS_QUESTIONS_BURST} DNS questions in a moment, and {DNS_QUESTIONS_PER_SECOND} a second \
                 after that"
            ),
            FenceLimit::Connections => format!("{} permitted connections at once", bounds.at_once()),
            FenceLimit::NewConnections => format!(
                "{} new permitted connections in a moment, and {} a second after that",
                bounds.burst(),
                bounds.per_second()
            ),
        }
    }

    /// Returns the limit that these words name, whatever its numbers are.
    pub fn named(words: &str) -> Option<FenceLimit> {
        let without_numbers = |words: &str| words.replace(|c: char| c.is_ascii_digit(), "");
        let meant = without_numbers(words);
        let is_meant =
            |limit: &FenceLimit| without_numbers(&limit.in_words(ConnectionBounds::LEAST)) == meant;
        FenceLimit::ALL.into_iter().find(is_meant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_known_by_its_words_whatever_its_numbers_are() {
        for limit in FenceLimit::ALL {
            for bounds in [ConnectionBounds::LEAST, ConnectionBounds::MOST] {
                assert_eq!(FenceLimit::named(&limit.in_words(bounds)), Some(limit));
            }
        }
        assert_eq!(FenceLimit::named("20 of something else at once"), None);
        assert_eq!(FenceLimit::named(""), None);
    }
}
