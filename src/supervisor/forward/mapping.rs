//! Words of the command line that ask for a forward, read into types.
//!
//! ```text
//!  PORT                  localhost:PORT ─▶ the agent's PORT
//!  LOCAL:PORT            localhost:LOCAL ─▶ the agent's PORT; 0: a free port
//!  127.0.0.1:LOCAL:PORT  that address alone; [::1]:LOCAL:PORT too
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::wire::forward::{AgentPort, NoAgentPort, number};

/// Loopback addresses of this machine at which a forward listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loopback {
    /// 127.0.0.1, and ::1 where this machine has it.
    Both,
    /// 127.0.0.1 alone.
    V4,
    /// ::1 alone.
    V6,
}

impl Loopback {
    /// Lists the addresses, the one that must be there first.
    pub(super) fn addresses(self) -> &'static [IpAddr] {
        const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
        match self {
            Loopback::Both => &[V4, V6],
            Loopback::V4 => &[V4],
            Loopback::V6 => &[V6],
        }
    }

    /// Tells whether both have an address in common.
    pub(super) fn meets(self, other: Loopback) -> bool {
        self.addresses().iter().any(|address| other.addresses().contains(address))
    }
}

impl fmt::Display for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loopback::Both => "localhost",
            Loopback::V4 => "127.0.0.1",
            Loopback::V6 => "[::1]",
        })
    }
}

/// A port of this machine that leads to one of the agent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// Addresses on this machine.
    pub(crate) at: Loopback,
    /// Port on this machine; 0: one that is free.
    pub(crate) local: u16,
    /// Port of the agent.
    pub(crate) agent: AgentPort,
}

/// Reason for which a text is no [`Mapping`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoMapping {
    /// One of the ports is none, or is the fence's own.
    #[error("`{port}`: {why}")]
    Port {
        /// The text.
        port: String,
        /// The fault.
        why: NoAgentPort,
    },
    /// It is an address that others can reach.
    #[error(
        "`{0}` is no loopback address: a forward is for this machine alone; leave the address out, or write 127.0.0.1"
    )]
    NotLoopback(String),
    /// It is a range.
    #[error("`{0}` is a range: name each port with an option of its own")]
    Range(String),
    /// It is another protocol than TCP.
    #[error("only TCP is forwarded, not {0}")]
    Protocol(String),
    /// There are other than one to three parts.
    #[error("write PORT, LOCAL:PORT or 127.0.0.1:LOCAL:PORT")]
    Form,
}

impl FromStr for Mapping {
    type Err = NoMapping;

    fn from_str(text: &str) -> Result<Mapping, NoMapping> {
        let text = match text.rsplit_once('/') {
            Some((rest, "tcp")) => rest,
            Some((_, other)) => return Err(NoMapping::Protocol(other.to_owned())),
            None => text,
        };
        let (at, ports) = match text.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
            Some((address, ports)) => (loopback(address)?, ports),
            None if text.matches(':').count() == 2 => {
                let (address, ports) = text.split_once(':').ok_or(NoMapping::Form)?;
                (loopback(address)?, ports)
            }
            None if text.contains(['[', ']']) => return Err(NoMapping::Form),
            None => return Mapping::of_ports(Loopback::Both, text),
        };
        match ports.matches(':').count() {
            1 => Mapping::of_ports(at, ports),
            _ => Err(NoMapping::Form),
        }
    }
}

impl Mapping {
    /// Reads `PORT`, `LOCAL:PORT`, or `:PORT` for any free port.
    fn of_ports(at: Loopback, text: &str) -> Result<Mapping, NoMapping> {
        if text.contains('-') {
            return Err(NoMapping::Range(text.to_owned()));
        }
        let wrong = |port: &str, why| NoMapping::Port { port: port.to_owned(), why };
        let (local, agent) = match text.split_once(':') {
            Some((_, agent)) if agent.contains(':') => return Err(NoMapping::Form),
            Some((local, agent)) => (Some(local), agent),
            None => (None, text),
        };
        let agent: AgentPort = agent.parse().map_err(|why| wrong(agent, why))?;
        let local = match local {
            None => agent.get(),
            Some("") => 0,
            Some(local) => number(local).ok_or_else(|| wrong(local, NoAgentPort::NoPort))?,
        };
        Ok(Mapping { at, local, agent })
    }
}

/// Reads a loopback address.
fn loopback(text: &str) -> Result<Loopback, NoMapping> {
    match text {
        "localhost" => Ok(Loopback::Both),
        "127.0.0.1" => Ok(Loopback::V4),
        "::1" => Ok(Loopback::V6),
        other => Err(NoMapping::NotLoopback(other.to_owned())),
    }
}

/// Ports that a run is asked to forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publish {
    /// One port.
    One(Mapping),
    /// All ports that the agent listens on.
    Auto,
}

impl FromStr for Publish {
    type Err = NoMapping;

    fn from_str(text: &str) -> Result<Publish, NoMapping> {
        match text {
            "auto" => Ok(Publish::Auto),
            text => text.parse().map(Publish::One),
        }
    }
}

#[cfg(test)]
mod tests {
    use fuzz::proptest::test_runner::TestCaseError;

    use super::*;

    fn read(text: &str) -> (Loopback, u16, u16) {
        let mapping: Mapping = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        (mapping.at, mapping.local, mapping.agent.get())
    }

    #[test]
    fn a_forward_is_read_in_each_form() {
        for (text, expected) in [
            ("1455", (Loopback::Both, 1455, 1455)),
            ("8080:80", (Loopback::Both, 8080, 80)),
            ("0:80", (Loopback::Both, 0, 80)),
            (":80", (Loopback::Both, 0, 80)),
            ("8080:80/tcp", (Loopback::Both, 8080, 80)),
            ("127.0.0.1:8080:80", (Loopback::V4, 8080, 80)),
            ("127.0.0.1::80", (Loopback::V4, 0, 80)),
            ("localhost:1:65535", (Loopback::Both, 1, 65535)),
            ("[::1]:53:54", (Loopback::V6, 53, 54)),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn auto_is_a_word_of_its_own() {
        assert_eq!("auto".parse(), Ok(Publish::Auto));
        assert!(matches!("80".parse(), Ok(Publish::One(_))));
        assert!("AUTO".parse::<Publish>().is_err() && "0:auto".parse::<Publish>().is_err());
    }

    #[test]
    fn other_addresses_protocols_and_the_fences_ports_are_refused() {
        let said = |text: &str| text.parse::<Mapping>().unwrap_err().to_string();
        for address in ["0.0.0.0", "10.0.0.1", "", "127.0.0.2", "*", "host"] {
            assert!(said(&format!("{address}:8080:80")).contains("no loopback address"), "{address}");
        }
        for text in ["[::]:8080:80", "[fe80::1]:8080:80"] {
            assert!(said(text).contains("no loopback address"), "{text}");
        }
        for (text, words) in [
            ("53", "the fence's own"),
            ("8080:65443", "the fence's own"),
            ("65053:65053", "the fence's own"),
            ("80/udp", "not udp"),
            ("8000-8010", "a range"),
            ("65536", "from 1 to 65535"),
            ("x:80", "from 1 to 65535"),
            ("80:", "from 1 to 65535"),
            ("::1:80:80", "write PORT"),
            ("[::1]:80", "write PORT"),
            ("[::1:80:80", "write PORT"),
            ("", "from 1 to 65535"),
        ] {
            assert!(said(text).contains(words), "{text}: {}", said(text));
        }
        // A low port of this machine is a matter of rights here, and no port of the fence.
        assert_eq!(read("53:3000"), (Loopback::Both, 53, 3000));
    }

    #[test]
    fn fuzz_forwards() {
        let seeds = ["127.0.0.1:8080:80", "[::1]:1:2", "0:3000/tcp"].map(|seed| seed.as_bytes().to_vec());
        let words: [&[u8]; 6] = [b":", b"[::1]", b"0.0.0.0", b"65053", b"/", b"-"];
        fuzz::run("forwards", &fuzz::bytes(seeds.to_vec(), &words, 200), |fuzz::Bytes(input)| {
            let Ok(mapping) = String::from_utf8_lossy(&input).parse::<Mapping>() else { return Ok(()) };
            let again = format!("{}:{}:{}", mapping.at, mapping.local, mapping.agent).parse();
            match again == Ok(mapping) && mapping.at.addresses().iter().all(IpAddr::is_loopback) {
                true => Ok(()),
                false => Err(TestCaseError::fail("it is not read back, or is no loopback")),
            }
        });
    }
}
