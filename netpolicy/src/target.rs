//! Targets as people write them: what `explain`, `tests` and scenario files ask about.
//!
//! ```text
//!  https://host/path · host · host:port · tcp://addr:port · ssh://user@host · git@host:path ──parse──▶ Endpoint
//! ```

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::host::HostName;

/// Schemes that name a default port. `udp` has none and is never permitted.
const SCHEMES: &[(&str, u16)] = &[
    ("https", 443),
    ("wss", 443),
    ("grpcs", 443),
    ("http", 80),
    ("ws", 80),
    ("ssh", 22),
    ("git+ssh", 22),
    ("sftp", 22),
    ("git", 9418),
];

/// Target of a request of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// A name.
    Name(HostName),
    /// An address that stands for no name.
    Address(IpAddr),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Name(name) => name.fmt(f),
            Target::Address(addr) => addr.fmt(f),
        }
    }
}

/// A transport; everything but TCP is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// A target with its port and transport.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// The name or address.
    pub target: Target,
    /// The port.
    pub port: u16,
    /// The transport.
    #[serde(default)]
    pub transport: Transport,
}

/// Reason for which a text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// A scheme that says nothing about a port.
    #[error("the scheme `{0}` is not known")]
    Scheme(String),
    /// `tcp://host` without a port.
    #[error("the port is missing")]
    NoPort,
    /// The port is not between 1 and 65535.
    #[error("`{0}` is no port")]
    Port(String),
    /// No name.
    #[error(transparent)]
    Host(#[from] crate::host::HostError),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.transport == Transport::Udp {
            f.write_str("udp://")?;
        }
        match &self.target {
            Target::Name(name) => write!(f, "{name}:{}", self.port),
            Target::Address(addr) => SocketAddr::new(*addr, self.port).fmt(f),
        }
    }
}

impl Endpoint {
    /// Reads a target. Without scheme and port it is port 443, `user@host` is ssh.
    pub fn parse(text: &str) -> Result<Endpoint, TargetError> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let (user, place) = match authority.rsplit_once('@') {
            Some((_, place)) => (true, place),
            None => (false, authority),
        };
        let (place, default) = match scheme.as_deref() {
            None if user => (place.split(':').next().unwrap_or(place), Some(22)),
            None => (place, Some(443)),
            Some("tcp" | "udp") => (place, None),
            Some(scheme) => {
                let known = SCHEMES.iter().find(|(known, _)| *known == scheme);
                let (_, port) = known.ok_or_else(|| TargetError::Scheme(scheme.to_owned()))?;
                (place, Some(*port))
            }
        };
        let (host, port) = host_and_port(place)?;
        let port = port.or(default).ok_or(TargetError::NoPort)?;
        let target = match host.parse::<IpAddr>() {
            Ok(addr) => Target::Address(addr),
            Err(_) => Target::Name(HostName::parse(host)?),
        };
        let transport = if scheme.as_deref() == Some("udp") { Transport::Udp } else { Transport::Tcp };
        Ok(Endpoint { target, port, transport })
    }
}

fn host_and_port(place: &str) -> Result<(&str, Option<u16>), TargetError> {
    if place.parse::<IpAddr>().is_ok() {
        return Ok((place, None));
    }
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
        None => match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let Some(text) = port else { return Ok((host, None)) };
    match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok((host, Some(port))),
        _ => Err(TargetError::Port(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn targets() {
        for (text, expected) in [
            ("https://gitlab.com/a/b?c", "gitlab.com:443"),
            ("http://gitlab.com", "gitlab.com:80"),
            ("https://user:secret@GitLab.com.:8443/", "gitlab.com:8443"),
            ("gitlab.com", "gitlab.com:443"),
            ("gitlab.com:22", "gitlab.com:22"),
            ("ssh://git@gitlab.com/group/project", "gitlab.com:22"),
            ("git@gitlab.com:group/project.git", "gitlab.com:22"),
            ("tcp://10.0.0.1:22", "10.0.0.1:22"),
            ("tcp://[::1]:22", "[::1]:22"),
            ("10.0.0.1", "10.0.0.1:443"),
            ("::1", "[::1]:443"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn no_targets() {
        for text in [
            "",
            "tcp://gitlab.com",
            "gopher://gitlab.com",
            "gitlab.com:0",
            "gitlab.com:+1",
            "gitlab.com:x",
            "a b",
            "127.1",
        ] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }
}
