//! Differences between two policies, as lines.

use std::net::IpAddr;

use ipnet::IpNet;

use super::settings::Change;
use crate::decide::Verdict;
use crate::host::HostPattern;
use crate::policy::{Date, ResolvedBy};
use crate::target::Target;

/// Differences between two policies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    /// Targets that the new policy reaches and the old one does not.
    pub opens: Vec<Line>,
    /// Targets that the old policy reaches and the new one does not.
    pub closes: Vec<Line>,
    /// Other settings that differ.
    pub changes: Vec<Change>,
}

impl Difference {
    /// Tells whether the new policy reaches more in any way.
    pub fn reaches_more(&self) -> bool {
        !self.opens.is_empty() || self.changes.iter().any(|change| change.widens)
    }

    /// Tells whether both policies reach and set the same.
    pub fn is_empty(&self) -> bool {
        self.opens.is_empty() && self.closes.is_empty() && self.changes.is_empty()
    }
}

/// Targets that one of two policies reaches and the other does not, or under a stricter check.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Targets of the line.
    pub targets: Targets,
    /// Ports of the targets.
    pub ports: Ports,
    /// Real address of the targets.
    pub at: At,
    /// First day; `None` is today.
    pub from: Option<Date>,
    /// The last day; `None` is for ever.
    pub until: Option<Date>,
    /// Party that gains or loses the targets.
    pub whose: Whose,
    /// The old policy's verdict on the witness.
    pub old: Verdict,
    /// The new policy's verdict on the witness.
    pub new: Verdict,
    /// One of the targets.
    pub witness: Witness,
}

/// A set of targets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Targets {
    /// Every name that the pattern matches and none of the exceptions does.
    Names {
        /// The names.
        pattern: HostPattern,
        /// Names that are left out.
        except: Vec<HostPattern>,
    },
    /// Every name that is permitted on one of the ports.
    PermittedNames,
    /// Addresses, asked for as such.
    Ranges(Vec<IpNet>),
}

/// A set of ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ports {
    /// These ports.
    Only(Vec<u16>),
    /// Every port on which the targets are permitted, but not these.
    AllBut(Vec<u16>),
}

/// The real place of a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// Any address that no range refuses; for addresses: themselves.
    Anywhere,
    /// An address in these ranges.
    Ranges(Vec<IpNet>),
    /// Wherever the proxy says.
    Proxy,
    /// The host itself.
    Host,
    /// The loopback of the supervisor's machine.
    Loopback,
    /// The host itself, if its address lies in these ranges.
    HostIn(Vec<IpNet>),
}

/// Party that gains or loses the targets of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Whose {
    /// The agent: the policy's own rules permit it.
    Agent,
    /// Weaker layers: the ceilings let them permit it.
    WeakerLayers,
    /// All other layers: no denial speaks about it, and no ceiling bounds what they permit.
    OtherLayers,
}

/// One target that the two policies treat otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The target.
    pub target: Target,
    /// The port.
    pub port: u16,
    /// Real address of the target.
    pub address: Option<IpAddr>,
    /// Resolver of the name.
    pub resolver: ResolvedBy,
    /// Set when the address is taken for the host's.
    pub is_the_host: bool,
    /// The day.
    pub day: Date,
}

/// A line that has not been put to the policies yet: `side` reaches more.
pub(super) struct Draft {
    pub(super) side: usize,
    pub(super) targets: Targets,
    pub(super) ports: Ports,
    pub(super) at: At,
    pub(super) from: Option<Date>,
    pub(super) until: Option<Date>,
    pub(super) witness: Witness,
}
