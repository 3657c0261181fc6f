//! The question that the policy is asked.

use std::net::IpAddr;

use jiff::civil::Date;

use crate::policy::ResolvedBy;
use crate::target::{Target, Transport};

/// One question to the policy.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Target of the question.
    pub target: &'a Target,
    /// Transport of the question.
    pub transport: Transport,
    /// The port; `None` for a DNS question, which is about any port.
    pub port: Option<u16>,
    /// The real address of a name, once it is known.
    pub address: Option<IpAddr>,
    /// Resolver of the name. Through [`ResolvedBy::Proxy`] the address will never be known, and
    /// only rules that say so count.
    pub resolver: ResolvedBy,
    /// The day, in UTC, for rules that expire.
    pub today: Date,
}

impl<'a> Question<'a> {
    /// Asks about a target on any port, by TCP, whose address is not known yet.
    pub fn about(target: &'a Target, today: Date) -> Question<'a> {
        Question {
            target,
            transport: Transport::Tcp,
            port: None,
            address: None,
            resolver: ResolvedBy::Guard,
            today,
        }
    }

    /// Returns the question about one port.
    pub fn port(self, port: u16) -> Question<'a> {
        Question { port: Some(port), ..self }
    }

    /// Returns the question once the name has resolved to this address.
    pub fn address(self, address: IpAddr) -> Question<'a> {
        Question { address: Some(address), ..self }
    }
}
