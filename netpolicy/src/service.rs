//! `services`: containers beside the agent, in the same fence.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name of a service.
const LONGEST: usize = 40;
/// Services that one run may have.
pub const MOST: usize = 8;
/// Seconds in which a service must be ready, unless a policy says otherwise.
pub const WITHIN: u64 = 60;
/// The most seconds that a policy may give a service to get ready.
pub const LONGEST_WITHIN: u64 = 600;
/// Names that the fence's hosts file has already.
const TAKEN: [&str; 2] = ["localhost", "agent"];

/// Name of a service: a label that the agent finds at 127.0.0.1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);

/// Reason for which a text is no name of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadServiceName {
    /// The text is no label.
    #[error("a service's name has at most 40 letters a-z, digits and `-`, and begins with a letter")]
    Form,
    /// The fence has that name itself.
    #[error("`localhost` and `agent` are names of the fence itself")]
    Taken,
}

impl FromStr for ServiceName {
    type Err = BadServiceName;

    fn from_str(text: &str) -> Result<ServiceName, BadServiceName> {
        let is_label = (1..=LONGEST).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        match (is_label, TAKEN.contains(&text)) {
            (false, _) => Err(BadServiceName::Form),
            (true, true) => Err(BadServiceName::Taken),
            (true, false) => Ok(ServiceName(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ServiceName {
    type Error = BadServiceName;

    fn try_from(text: String) -> Result<ServiceName, BadServiceName> {
        text.parse()
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> String {
        name.0
    }
}

impl AsRef<str> for ServiceName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Sign by which a service is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// A TCP port of 127.0.0.1 that takes connections.
    Tcp(u16),
    /// A command in the service's container that ends with status 0.
    Command(Vec<String>),
}

/// A container beside the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The image.
    pub image: String,
    /// Variables, beside the image's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Command; empty: the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Sign of readiness; none: the lowest TCP port that the image exposes, else that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Readiness>,
    /// Seconds in which it must be ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<u64>,
}

impl Service {
    /// Makes a service of which the image alone is known.
    #[must_use]
    pub fn of_image(image: &str) -> Service {
        Service {
            image: image.to_owned(),
            env: BTreeMap::new(),
            command: Vec::new(),
            ready: None,
            within: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_label_that_the_fence_does_not_have() {
        for good in ["db", "redis-7", "a", &"a".repeat(40)] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        for bad in
            ["", "-a", "a-", "DB", "a.b", "a_b", "7up", "a/b", "..", "a b", "ä", "a\n", &"a".repeat(41)]
        {
            assert_eq!(bad.parse::<ServiceName>(), Err(BadServiceName::Form), "{bad:?}");
        }
        for taken in ["localhost", "agent"] {
            assert_eq!(taken.parse::<ServiceName>(), Err(BadServiceName::Taken));
        }
        assert!(serde_json::from_str::<ServiceName>("\"../x\"").is_err());
    }
}
