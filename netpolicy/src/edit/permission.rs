//! One name on one port: all that a program may add to a policy file.

use std::fmt;

use crate::floor;
use crate::host::{HostName, HostPattern};
use crate::host_access::HostAccess;
use crate::policy::{Matcher, ResolvedBy, Rule};
use crate::print;

/// A name that is permitted on one port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission {
    /// The name.
    pub host: HostName,
    /// The port.
    pub port: u16,
}

/// Reason for which a rule is not written into a file by a program, and the line for a person to
/// write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}; to permit it all the same, write this line by hand: - {line}")]
pub struct ByHand {
    /// The reason.
    pub why: &'static str,
    /// The line, in YAML.
    pub line: String,
}

impl Permission {
    /// Returns the permission that a rule is.
    ///
    /// # Errors
    /// When the rule permits more than one name on one port, or a name of the host.
    pub fn of_rule(rule: &Rule) -> Result<Permission, ByHand> {
        let by_hand = |why| Err(ByHand { why, line: print::entry(rule, false) });
        let host = match &rule.matcher {
            Matcher::Cidr(_) => return by_hand("a range of addresses is nothing to be added in passing"),
            Matcher::Host(HostPattern::Exact(host)) => host.clone(),
            Matcher::Host(_) => return by_hand("a pattern permits names that nobody has looked at"),
        };
        if rule.host_access.is_given() || floor::refused_name(&host).is_some() {
            let host_access = match rule.host_access {
                HostAccess::None => HostAccess::Address,
                given => given,
            };
            let named = Rule { host_access, ..rule.clone() };
            let line = print::entry(&named, false);
            return Err(ByHand { why: "it gives access to this machine", line });
        }
        if !rule.private.is_empty() {
            return by_hand("private ranges lead into a network that ringfence does not know");
        }
        let says_more =
            rule.protocol.is_some() || rule.resolved_by != ResolvedBy::Guard || rule.expires.is_some();
        match rule.ports.as_slice() {
            [port] if !says_more => Ok(Permission { host, port: *port }),
            _ => by_hand("it is more than a name and a port"),
        }
    }

    /// Returns the entry of a list in YAML.
    pub fn entry(&self) -> String {
        print::quoted(&self.to_string())
    }
}

impl fmt::Display for Permission {
    /// Writes `HOST`, or `HOST:PORT` for another port than 443.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            443 => self.host.fmt(f),
            port => write!(f, "{}:{port}", self.host),
        }
    }
}
