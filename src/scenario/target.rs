//! Targets of attempts, and patterns of them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use netpolicy::host::{HostName, HostPattern};

/// A target that an agent tried.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TriedTarget {
    /// The name.
    pub(crate) host: Option<HostName>,
    /// The address: the real one.
    pub(crate) address: Option<IpAddr>,
    /// The port; a lookup has none.
    pub(crate) port: Option<u16>,
}

impl fmt::Display for TriedTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.address) {
            (Some(host), _) => write!(f, "{host}")?,
            (None, Some(IpAddr::V6(address))) if self.port.is_some() => write!(f, "[{address}]")?,
            (None, Some(address)) => write!(f, "{address}")?,
            (None, None) => f.write_str("a target that the log does not name")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Pattern of targets: a name, a pattern of names, an address or a range, each with a port or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetPattern {
    text: String,
    subject: Subject,
    port: Option<u16>,
}

/// Subject of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Host(HostPattern),
    Range(IpNet),
}

impl FromStr for TargetPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<TargetPattern, String> {
        let bare = text.strip_prefix("tcp://").unwrap_or(text);
        if let Some(range) = range(bare) {
            return Ok(TargetPattern { text: text.to_owned(), subject: Subject::Range(range), port: None });
        }
        let (host, port) = match bare.rsplit_once(':') {
            Some((host, port)) => {
                let port: u16 = port.parse().map_err(|_| format!("`{port}` is no port"))?;
                if port == 0 {
                    return Err("a port is at least 1".to_owned());
                }
                (host, Some(port))
            }
            None => (bare, None),
        };
        let subject = match range(host) {
            Some(range) => Subject::Range(range),
            None => Subject::Host(HostPattern::parse(host).map_err(|error| error.to_string())?),
        };
        Ok(TargetPattern { text: text.to_owned(), subject, port })
    }
}

/// Reads an address or a range.
fn range(text: &str) -> Option<IpNet> {
    let text = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl TargetPattern {
    /// Tells whether the pattern has this target. A lookup has no port: it may be the beginning of
    /// a connection to any.
    pub(crate) fn has(&self, target: &TriedTarget) -> bool {
        let port_fits = self.port.is_none() || target.port.is_none() || self.port == target.port;
        port_fits
            && match &self.subject {
                Subject::Host(pattern) => target.host.as_ref().is_some_and(|host| pattern.matches(host)),
                Subject::Range(range) => target.address.is_some_and(|address| range.contains(&address)),
            }
    }
}

impl fmt::Display for TargetPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(host: Option<&str>, address: Option<&str>, port: Option<u16>) -> TriedTarget {
        TriedTarget {
            host: host.map(|host| HostName::parse(host).unwrap()),
            address: address.map(|address| address.parse().unwrap()),
            port,
        }
    }

    #[test]
    fn patterns_have_what_they_say() {
        let has = |pattern: &str, target: &TriedTarget| pattern.parse::<TargetPattern>().unwrap().has(target);
        let api = tried(Some("api.corp.example"), Some("10.1.2.3"), Some(443));
        for pattern in [
            "api.corp.example",
            "*.corp.example",
            ".corp.example",
            "api.corp.example:443",
            "tcp://10.0.0.0/8",
            "10.1.2.3",
            "10.1.2.3:443",
            "tcp://10.0.0.0/8:443",
        ] {
            assert!(has(pattern, &api), "{pattern}");
        }
        for pattern in ["corp.example", "api.corp.example:80", "10.2.0.0/16", "10.1.2.3:80", "::/0"] {
            assert!(!has(pattern, &api), "{pattern}");
        }
        let lookup = tried(Some("api.corp.example"), None, None);
        assert!(has("api.corp.example:80", &lookup) && !has("10.0.0.0/8", &lookup));
        assert!(has("[fd00::1]:22", &tried(None, Some("fd00::1"), Some(22))));
        for wrong in
            ["", "*", "a b", "a:0", "a:70000", "a:http", "10.0.0.0/40", "tcp://", "https://a.example"]
        {
            assert!(wrong.parse::<TargetPattern>().is_err(), "{wrong:?}");
        }
    }
}
