//! The way to servers of the host that a rule gives.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Ending of a `--allow` that means the loopback: `host.docker.internal:3000/loopback`.
pub const LOOPBACK_ENDING: &str = "/loopback";
/// The address that stands for the loopback of the supervisor's machine in every decision.
pub const LOOPBACK_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The addresses of that loopback, in the order in which the supervisor dials them. A server on
/// `localhost` may have one of them.
pub const LOOPBACK_ADDRESSES: [IpAddr; 2] = [LOOPBACK_ADDRESS, IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Way to servers of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostAccess {
    /// There is none: the rule is about the world.
    #[default]
    None,
    /// The address at which containers reach the engine's machine.
    Address,
    /// The loopback of the supervisor's machine, by the supervisor.
    Loopback,
}

impl HostAccess {
    /// Tells whether the host is meant at all.
    pub fn is_given(self) -> bool {
        self != HostAccess::None
    }
}

impl fmt::Display for HostAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HostAccess::None => "false",
            HostAccess::Address => "true",
            HostAccess::Loopback => "loopback",
        })
    }
}

/// The form in a policy: `true`, `false`, `loopback`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Given(bool),
    By(Word),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Loopback,
}

impl Serialize for HostAccess {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match self {
            HostAccess::None => Written::Given(false),
            HostAccess::Address => Written::Given(true),
            HostAccess::Loopback => Written::By(Word::Loopback),
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for HostAccess {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Given(false) => HostAccess::None,
            Written::Given(true) => HostAccess::Address,
            Written::By(Word::Loopback) => HostAccess::Loopback,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_in_a_policy_and_nothing_else_is_read() {
        for (access, text) in [
            (HostAccess::None, "false"),
            (HostAccess::Address, "true"),
            (HostAccess::Loopback, "\"loopback\""),
        ] {
            assert_eq!(serde_json::to_string(&access).unwrap(), text);
            assert_eq!(serde_json::from_str::<HostAccess>(text).unwrap(), access);
        }
        for text in ["\"true\"", "\"Loopback\"", "1", "null", "\"\""] {
            assert!(serde_json::from_str::<HostAccess>(text).is_err(), "{text}");
        }
    }
}
