//! The addresses of one machine: what the helper in the host's network says, one JSON object a
//! line.
//!
//! ```text
//!  helper ──{"table": {…}}, {"network": {…}}, then {"unchanged": …} or a new one──▶ supervisor ──Request::Host──▶ guard's floor
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use netpolicy::ruleset::ConnectionTable;
use serde::{Deserialize, Serialize};

/// The longest line, in bytes.
pub(crate) const LONGEST: usize = 1 << 20;
/// The most entries of each kind.
pub(crate) const MOST: usize = 8192;

/// The addresses of a machine and its neighbours, as its kernel lists them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct HostNetwork {
    /// Addresses that are the machine's own.
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// Ranges that are the machine's own as a whole, by a route of type `local`.
    pub(crate) ranges: BTreeSet<IpNet>,
    /// Ranges that the machine reaches without a gateway.
    pub(crate) on_link: BTreeSet<IpNet>,
}

/// One line of the helper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) enum Line {
    /// The machine's connection table. The first line, where the kernel shows the table.
    Table(ConnectionTable),
    /// The machine's network as it is now.
    Network(HostNetwork),
    /// The network has not changed since the line before.
    Unchanged,
}

/// Reason for which a line is not one of the helper's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// The line is too long.
    #[error("it is longer than {LONGEST} bytes")]
    Long,
    /// The line is no JSON of this form.
    #[error("it is not what was expected")]
    Form(#[from] serde_json::Error),
    /// The network has no address, or too many entries.
    #[error(
        "it holds {0} addresses, {1} ranges and {2} prefixes, of at most {MOST} each and at least one address"
    )]
    Count(usize, usize, usize),
    /// A range holds every address.
    #[error("a range holds every address")]
    Everything,
}

impl HostNetwork {
    /// Checks the bounds of what may be said.
    pub(crate) fn check(&self) -> Result<(), Unfit> {
        let counts = [self.addresses.len(), self.ranges.len(), self.on_link.len()];
        // Every machine has the address of its loopback.
        if self.addresses.is_empty() || counts.iter().any(|count| *count > MOST) {
            return Err(Unfit::Count(counts[0], counts[1], counts[2]));
        }
        if self.ranges.iter().chain(&self.on_link).any(|net| net.prefix_len() == 0) {
            return Err(Unfit::Everything);
        }
        Ok(())
    }
}

impl Line {
    /// Reads one line.
    pub(crate) fn parse(text: &[u8]) -> Result<Line, Unfit> {
        if text.len() > LONGEST {
            return Err(Unfit::Long);
        }
        let line: Line = serde_json::from_slice(text)?;
        if let Line::Network(network) = &line {
            network.check()?;
        }
        Ok(line)
    }

    /// Writes one line, with its end.
    pub(crate) fn text(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let network = HostNetwork {
            addresses: ["10.0.0.5", "2001:db8::5"].map(|text| text.parse().unwrap()).into(),
            ranges: ["192.0.2.0/24".parse().unwrap()].into(),
            on_link: ["10.0.0.0/24".parse().unwrap()].into(),
        };
        let table = ConnectionTable { entries: 65_536, linger: 120 };
        for line in [Line::Table(table), Line::Network(network), Line::Unchanged] {
            let text = line.text().unwrap();
            assert_eq!(text.last(), Some(&b'\n'));
            assert_eq!(Line::parse(&text).unwrap(), line);
        }
    }

    #[test]
    fn a_line_that_may_mean_anything_else_is_refused() {
        let network = |inner: &str| format!("{{\"network\":{{{inner}}}}}");
        let good = r#""addresses":["10.0.0.5"],"ranges":[],"on-link":[]"#;
        assert!(Line::parse(network(good).as_bytes()).is_ok());
        for bad in [
            String::new(),
            "{}".to_owned(),
            "\"anything\"".to_owned(),
            r#"{"table":{"entries":-1,"linger":120}}"#.to_owned(),
            r#"{"table":{"entries":65536,"linger":120,"more":1}}"#.to_owned(),
            network(r#""addresses":["10.0.0.5"],"ranges":[]"#),
            network(r#""addresses":[],"ranges":[],"on-link":[]"#),
            network(r#""addresses":["host"],"ranges":[],"on-link":[]"#),
            network(r#""addresses":["10.0.0.5"],"ranges":["0.0.0.0/0"],"on-link":[]"#),
            network(r#""addresses":["10.0.0.5"],"ranges":[],"on-link":["::/0"]"#),
            network(&good.replace("[],", "[],\"more\":1,")),
            format!("{}{}", network(good), network(good)),
            format!("{}{}", " ".repeat(LONGEST), network(good)),
        ] {
            assert!(Line::parse(bad.as_bytes()).is_err(), "{}", &bad[..bad.len().min(80)]);
        }
        let many: BTreeSet<IpAddr> = (0..=MOST as u32).map(|n| IpAddr::from(n.to_be_bytes())).collect();
        assert!(HostNetwork { addresses: many, ..HostNetwork::default() }.check().is_err());
    }
}
