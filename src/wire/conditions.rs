//! Network conditions: what a person may do to the network of a running workflow, as words and as
//! data.
//!
//! ```text
//!  "latency=200ms±50ms" ⇄ Condition ─ for all, or for a name ─▶ Applied ─▶ Conditions ──on(name)──▶ Effect
//! ```
//! Nothing here acts, and nothing here is about time: a person who wants a condition at a moment
//! asks for it at that moment.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use netpolicy::host::{HostName, HostPattern};
use netpolicy::ruleset::Cut;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest delay.
const MOST_LATENCY: Duration = Duration::from_secs(60);
/// The narrowest and the widest bandwidth, in bits a second.
const BANDWIDTH: std::ops::RangeInclusive<u64> = 1_000..=100_000_000_000;

/// One condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Everything is refused; open connections are reset.
    Deny,
    /// Packets vanish, both ways.
    Cut,
    /// DNS questions fail like this.
    Dns(DnsFault),
    /// Everything that comes back is delayed.
    Latency(Latency),
    /// So many bits a second pass, each way, all connections together.
    Bandwidth(u64),
    /// A connection is reset after so many bytes, both ways together.
    ResetAfter(u64),
}

/// Failure of DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DnsFault {
    /// The name does not exist.
    NxDomain,
    /// The server failed.
    ServFail,
    /// No answer.
    Timeout,
}

/// A delay and how far it may be off, to either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Latency {
    /// The delay.
    pub(crate) delay: Duration,
    /// The most by which the latency may be off.
    pub(crate) jitter: Duration,
}

/// A text that is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no condition: {why}")]
pub(crate) struct NoCondition {
    text: String,
    why: String,
}

impl FromStr for Condition {
    type Err = NoCondition;

    fn from_str(text: &str) -> Result<Condition, NoCondition> {
        let wrong = |why: &str| NoCondition { text: text.to_owned(), why: why.to_owned() };
        let (word, value) = text.split_once('=').map_or((text, None), |(word, value)| (word, Some(value)));
        match (word, value) {
            ("deny", None) => Ok(Condition::Deny),
            ("cut", None) => Ok(Condition::Cut),
            ("dns", Some("nxdomain")) => Ok(Condition::Dns(DnsFault::NxDomain)),
            ("dns", Some("servfail")) => Ok(Condition::Dns(DnsFault::ServFail)),
            ("dns", Some("timeout")) => Ok(Condition::Dns(DnsFault::Timeout)),
            ("dns", _) => Err(wrong("write dns=nxdomain, dns=servfail or dns=timeout")),
            ("latency", Some(value)) => latency(value)
                .map(Condition::Latency)
                .ok_or_else(|| wrong("write latency=200ms or latency=200ms±50ms, at most a minute")),
            ("bandwidth", Some(value)) => scaled(value, &[("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)])
                .filter(|bits| BANDWIDTH.contains(bits))
                .map(Condition::Bandwidth)
                .ok_or_else(|| wrong("write bandwidth=1mbit, at least 1kbit")),
            ("reset-after", Some(value)) => scaled(
                value,
                &[("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0), ("B", 1.0), ("", 1.0)],
            )
            .filter(|bytes| *bytes > 0)
            .map(Condition::ResetAfter)
            .ok_or_else(|| wrong("write reset-after=64KiB, at least one byte")),
            _ => Err(wrong("there are deny, cut, dns=, latency=, bandwidth= and reset-after=")),
        }
    }
}

/// Reads `200ms`, `200ms±50ms`; `+-` for keyboards without `±`.
fn latency(text: &str) -> Option<Latency> {
    let (delay, jitter) = match text.split_once('±').or_else(|| text.split_once("+-")) {
        Some((delay, jitter)) => (delay, humantime::parse_duration(jitter).ok()?),
        None => (text, Duration::ZERO),
    };
    let delay = humantime::parse_duration(delay).ok()?;
    (jitter <= delay && delay + jitter <= MOST_LATENCY && !delay.is_zero())
        .then_some(Latency { delay, jitter })
}

/// Reads a number and its unit.
fn scaled(text: &str, units: &[(&str, f64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    let number: f64 = number.parse().ok()?;
    // What is not whole is cut off.
    Some((number * factor) as u64)
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Deny => f.write_str("deny"),
            Condition::Cut => f.write_str("cut"),
            Condition::Dns(DnsFault::NxDomain) => f.write_str("dns=nxdomain"),
            Condition::Dns(DnsFault::ServFail) => f.write_str("dns=servfail"),
            Condition::Dns(DnsFault::Timeout) => f.write_str("dns=timeout"),
            Condition::Latency(latency) => {
                // Without blanks: it is one word of a command line.
                let word = |time| humantime::format_duration(time).to_string().replace(' ', "");
                write!(f, "latency={}", word(latency.delay))?;
                if latency.jitter.is_zero() { Ok(()) } else { write!(f, "±{}", word(latency.jitter)) }
            }
            Condition::Bandwidth(bits) => match bits {
                bits if bits % 1_000_000 == 0 => write!(f, "bandwidth={}mbit", bits / 1_000_000),
                bits => write!(f, "bandwidth={}kbit", *bits as f64 / 1e3),
            },
            Condition::ResetAfter(bytes) => match bytes {
                bytes if bytes % 1024 == 0 => write!(f, "reset-after={}KiB", bytes / 1024),
                bytes => write!(f, "reset-after={bytes}B"),
            },
        }
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Condition, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A condition, and whom it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// The condition.
    pub(crate) condition: Condition,
    /// The names; without any: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<HostPattern>,
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{} host={host}", self.condition),
            None => self.condition.fmt(f),
        }
    }
}

impl Applied {
    fn concerns(&self, name: Option<&HostName>) -> bool {
        match (&self.host, name) {
            (None, _) => true,
            (Some(pattern), Some(name)) => pattern.matches(name),
            (Some(_), None) => false,
        }
    }
}

/// All conditions of the moment, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Conditions(pub(crate) Vec<Applied>);

/// Effect of the conditions on one name, or on an address. Of several conditions of one kind the
/// newest counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    /// Set when nothing passes.
    pub(crate) cut: bool,
    /// DNS fails.
    pub(crate) dns: Option<DnsFault>,
    /// Delay of everything that comes back.
    pub(crate) latency: Option<Latency>,
    /// Bits a second, and the position of the condition, since all connections that it concerns
    /// share them.
    pub(crate) bandwidth: Option<(usize, u64)>,
    /// Reset after so many bytes.
    pub(crate) reset_after: Option<u64>,
}

impl Effect {
    /// Tells whether the gate must handle the bytes of a connection.
    pub(crate) fn shapes(&self) -> bool {
        self.cut || self.latency.is_some() || self.bandwidth.is_some() || self.reset_after.is_some()
    }
}

impl Conditions {
    /// Adds one; another of its kind for the same names goes.
    pub(crate) fn set(&mut self, applied: Applied) {
        let kind = std::mem::discriminant(&applied.condition);
        self.0.retain(|old| std::mem::discriminant(&old.condition) != kind || old.host != applied.host);
        self.0.push(applied);
    }

    /// Ends those for these names; without any, all.
    pub(crate) fn restore(&mut self, host: Option<&HostPattern>) {
        self.0.retain(|old| host.is_some() && old.host.as_ref() != host);
    }

    /// Returns the effect on a name; `None` stands for an address.
    pub(crate) fn on(&self, name: Option<&HostName>) -> Effect {
        let mut effect = Effect::default();
        for (position, applied) in self.0.iter().enumerate().filter(|(_, applied)| applied.concerns(name)) {
            match applied.condition {
                // The decision's: see [`Conditions::denied`].
                Condition::Deny => {}
                Condition::Cut => effect.cut = true,
                Condition::Dns(fault) => effect.dns = Some(fault),
                Condition::Latency(latency) => effect.latency = Some(latency),
                Condition::Bandwidth(bits) => effect.bandwidth = Some((position, bits)),
                Condition::ResetAfter(bytes) => effect.reset_after = Some(bytes),
            }
        }
        effect
    }

    /// Returns whether everything is refused, and the names that are refused.
    pub(crate) fn denied(&self) -> (bool, Vec<HostPattern>) {
        let denials = || self.0.iter().filter(|applied| applied.condition == Condition::Deny);
        (denials().any(|one| one.host.is_none()), denials().filter_map(|one| one.host.clone()).collect())
    }

    /// Returns the packets that the kernel must drop silently, given the names that have an
    /// address.
    pub(crate) fn cut<'n>(&self, names: impl Iterator<Item = (std::net::Ipv4Addr, &'n HostName)>) -> Cut {
        let cut: Vec<_> = self.0.iter().filter(|applied| applied.condition == Condition::Cut).collect();
        if cut.is_empty() {
            return Cut::Nothing;
        }
        if cut.iter().any(|applied| applied.host.is_none()) {
            return Cut::All;
        }
        Cut::Only(
            names
                .filter(|(_, name)| cut.iter().any(|applied| applied.concerns(Some(name))))
                .map(|(address, _)| address)
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    fn applied(condition: &str, host: Option<&str>) -> Applied {
        Applied {
            condition: condition.parse().unwrap(),
            host: host.map(|host| HostPattern::parse(host).unwrap()),
        }
    }

    #[test]
    fn words_are_read_and_written_alike() {
        for (text, again) in [
            ("deny", "deny"),
            ("cut", "cut"),
            ("dns=nxdomain", "dns=nxdomain"),
            ("dns=servfail", "dns=servfail"),
            ("dns=timeout", "dns=timeout"),
            ("latency=200ms±50ms", "latency=200ms±50ms"),
            ("latency=1s500ms+-50ms", "latency=1s500ms±50ms"),
            ("latency=200ms+-50ms", "latency=200ms±50ms"),
            ("latency=2s", "latency=2s"),
            ("bandwidth=1mbit", "bandwidth=1mbit"),
            ("bandwidth=1.5Mbit", "bandwidth=1500kbit"),
            ("bandwidth=64kbit", "bandwidth=64kbit"),
            ("reset-after=64KiB", "reset-after=64KiB"),
            ("reset-after=1000", "reset-after=1000B"),
            ("reset-after=2mib", "reset-after=2048KiB"),
        ] {
            let condition = text.parse::<Condition>().unwrap();
            assert_eq!(condition.to_string(), again, "{text}");
            assert_eq!(again.parse::<Condition>().unwrap(), condition);
        }
    }

    #[test]
    fn what_is_no_condition_says_what_would_be_one() {
        for text in [
            "",
            "denied",
            "deny=1",
            "cut=yes",
            "dns",
            "dns=refused",
            "latency",
            "latency=0s",
            "latency=10ms±20ms",
            "latency=2m",
            "latency=-1ms",
            "bandwidth=1",
            "bandwidth=0mbit",
            "bandwidth=1bps",
            "reset-after=0",
            "reset-after=1KB/s",
            "reset-after=x",
            "host=a.test",
        ] {
            let error = text.parse::<Condition>().unwrap_err().to_string();
            assert!(error.contains("write ") || error.contains("there are "), "{error}");
        }
    }

    #[test]
    fn the_newest_of_a_kind_counts_and_restore_ends_what_it_names() {
        let mut all = Conditions::default();
        for (condition, host) in [
            ("latency=1s", None),
            ("latency=2s", Some("a.test")),
            ("bandwidth=1mbit", None),
            ("latency=3s", Some("a.test")),
            ("cut", Some("*.b.test")),
        ] {
            all.set(applied(condition, host));
        }
        assert_eq!(all.0.len(), 4);
        let delay = |name: Option<&HostName>| all.on(name).latency.map(|latency| latency.delay.as_secs());
        assert_eq!((delay(None), delay(Some(&name("a.test")))), (Some(1), Some(3)));
        assert!(all.on(Some(&name("x.b.test"))).cut && !all.on(Some(&name("b.test"))).cut);
        assert!(!all.on(None).cut);
        let names =
            [("25.0.0.1".parse().unwrap(), name("a.test")), ("25.0.0.2".parse().unwrap(), name("x.b.test"))];
        let pairs = || names.iter().map(|(address, name)| (*address, name));
        assert_eq!(all.cut(pairs()), Cut::Only(vec!["25.0.0.2".parse().unwrap()]));
        all.restore(HostPattern::parse("a.test").ok().as_ref());
        assert_eq!(all.on(Some(&name("a.test"))).latency.map(|latency| latency.delay.as_secs()), Some(1));
        all.set(applied("cut", None));
        assert_eq!(all.cut(pairs()), Cut::All);
        all.restore(None);
        assert_eq!((all.clone(), all.cut(pairs())), (Conditions::default(), Cut::Nothing));
    }

    #[test]
    fn conditions_survive_the_wire() {
        let mut all = Conditions::default();
        all.set(applied("latency=200ms±50ms", Some("*.a.test")));
        all.set(applied("deny", None));
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Conditions>(&text).unwrap(), all);
        assert_eq!(all.denied(), (true, Vec::new()));
    }
}
