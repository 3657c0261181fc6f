//! Names and patterns of names.
//!
//! ```text
//!  text (policy, DNS question, SNI, Host) ──parse──▶ HostName ──▶ HostPattern::matches ──▶ yes | no
//! ```
//! Everything is compared as ASCII lower case without a trailing dot, label by label, so that
//! `evil-gitlab.com` and `gitlab.com.evil.example` never pass for `gitlab.com`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

/// Reason for which a text is no name, or no pattern of names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The text is empty, or only a dot.
    #[error("the name is empty")]
    Empty,
    /// A character that no name has.
    #[error("{0:?} cannot be part of a name")]
    Character(char),
    /// Two dots in a row, or one at the wrong end.
    #[error("the name has an empty label")]
    EmptyLabel,
    /// A label over 63 octets.
    #[error("the label `{0}` has more than 63 characters")]
    LongLabel(String),
    /// A name over 253 octets.
    #[error("the name has more than 253 characters")]
    Long,
    /// A label that begins or ends with a hyphen.
    #[error("the label `{0}` begins or ends with a hyphen")]
    Hyphen(String),
    /// An internationalised name that IDNA refuses.
    #[error("`{0}` is no valid internationalised name")]
    Idna(String),
    /// An address in any of the notations that programs understand.
    #[error("`{0}` is an address, not a name")]
    Address(String),
    /// A lone `*`.
    #[error("`*` would permit every name")]
    Everything,
    /// A star somewhere else than in `*.` at the beginning.
    #[error("a `*` can only stand for whole labels at the beginning, as in `*.example.com`")]
    Wildcard,
}

impl HostError {
    /// Returns the text to write instead.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            HostError::Address(_) => Some("permit addresses with `{cidr: ADDRESS/32, ports: [PORT]}`"),
            HostError::Everything => Some("list the names that are needed, for example `*.example.com`"),
            HostError::Wildcard => Some("write `*.example.com` for every name below example.com"),
            HostError::Idna(_) => Some("write the name in its `xn--` form"),
            HostError::EmptyLabel => Some("write one dot between labels"),
            HostError::Character(',' | ';' | ' ') => Some("give each name by itself"),
            HostError::Character(_) => Some("a name has letters, digits, `-` and `.`"),
            _ => None,
        }
    }
}

/// A validated name: ASCII lower case, no trailing dot, at most 253 octets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

impl HostName {
    /// Reads a name as a person or a program writes it; internationalised names become punycode.
    pub fn parse(text: &str) -> Result<HostName, HostError> {
        let bare = text.strip_suffix('.').unwrap_or(text);
        if bare.is_empty() {
            return Err(HostError::Empty);
        }
        if bare.len() > 4 * 253 {
            return Err(HostError::Long);
        }
        if let Some(bad) = bare.chars().find(|c| c.is_whitespace() || c.is_control()) {
            return Err(HostError::Character(bad));
        }
        let lower = if bare.is_ascii() { bare.to_ascii_lowercase() } else { punycode(bare)? };
        if lower.split('.').any(|label| label.starts_with("xn--")) && punycode(&lower)? != lower {
            return Err(HostError::Idna(text.to_owned()));
        }
        check_labels(&lower)?;
        if looks_like_address(&lower) {
            return Err(HostError::Address(text.to_owned()));
        }
        Ok(HostName(lower))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether this name stands below `other`, at any depth.
    pub fn is_below(&self, other: &HostName) -> bool {
        self.0.strip_suffix(other.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    }
}

fn punycode(name: &str) -> Result<String, HostError> {
    idna::domain_to_ascii(name).map_err(|_| HostError::Idna(name.to_owned()))
}

fn check_labels(name: &str) -> Result<(), HostError> {
    if name.len() > 253 {
        return Err(HostError::Long);
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err(HostError::EmptyLabel);
        }
        if let Some(bad) = label.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))) {
            return Err(HostError::Character(bad));
        }
        if label.len() > 63 {
            return Err(HostError::LongLabel(label.to_owned()));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(HostError::Hyphen(label.to_owned()));
        }
    }
    Ok(())
}

/// Tells whether a name looks like an address: names whose last label is a number are addresses to
/// inet_aton, to browsers and to curl, such as `127.1`, `0x7f.1`, `2130706433`.
fn looks_like_address(name: &str) -> bool {
    if name.parse::<Ipv4Addr>().is_ok() || name.parse::<IpAddr>().is_ok() {
        return true;
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    let hexadecimal =
        last.strip_prefix("0x").is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()));
    hexadecimal || last.chars().all(|c| c.is_ascii_digit())
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for HostName {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        HostName::parse(&text)
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> String {
        name.0
    }
}

impl std::str::FromStr for HostName {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        HostName::parse(text)
    }
}

/// Pattern of names in a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// `gitlab.com`: this name.
    Exact(HostName),
    /// `*.gitlab.com`: every name below it, at any depth, and not the name itself.
    Below(HostName),
    /// `.gitlab.com`: the name and everything below it.
    AtOrBelow(HostName),
}

impl HostPattern {
    /// Reads a pattern as a policy writes it.
    pub fn parse(text: &str) -> Result<HostPattern, HostError> {
        if matches!(text, "*" | "*." | "*.*" | ".*") {
            return Err(HostError::Everything);
        }
        let (make, name): (fn(HostName) -> HostPattern, &str) = if let Some(name) = text.strip_prefix("*.") {
            (HostPattern::Below, name)
        } else if let Some(name) = text.strip_prefix('.') {
            (HostPattern::AtOrBelow, name)
        } else {
            (HostPattern::Exact, text)
        };
        if name.contains('*') {
            return Err(HostError::Wildcard);
        }
        Ok(make(HostName::parse(name)?))
    }

    /// Tells whether the pattern matches this name.
    pub fn matches(&self, name: &HostName) -> bool {
        match self {
            HostPattern::Exact(own) => own == name,
            HostPattern::Below(own) => name.is_below(own),
            HostPattern::AtOrBelow(own) => own == name || name.is_below(own),
        }
    }

    /// Returns the name that the pattern is built on.
    pub fn name(&self) -> &HostName {
        match self {
            HostPattern::Exact(name) | HostPattern::Below(name) | HostPattern::AtOrBelow(name) => name,
        }
    }

    /// Tells whether names that are not written in the pattern match it.
    pub fn is_wildcard(&self) -> bool {
        !matches!(self, HostPattern::Exact(_))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(name) => write!(f, "{name}"),
            HostPattern::Below(name) => write!(f, "*.{name}"),
            HostPattern::AtOrBelow(name) => write!(f, ".{name}"),
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        HostPattern::parse(&text)
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> String {
        pattern.to_string()
    }
}
