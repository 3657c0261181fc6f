//! Ids, names and labels, as types that can hold nothing else.
//!
//! ```text
//!  text from the engine, a file's name, a person ──parse──▶ WorkflowId │ WorkflowName │ Role │ EngineId │ … ──▶ paths, URLs, terminals
//!                                                     └─ none: the object is somebody else's
//! ```
//! An image chooses its own labels, and the engine passes them on: a text that was not parsed here
//! never becomes part of a path, a URL or a row.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// An error of a text that is not of the wanted form. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotThat(&'static str);

impl fmt::Display for NotThat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is no {}", self.0)
    }
}

impl std::error::Error for NotThat {}

/// A workflow's id: eight lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkflowId(u32);

impl WorkflowId {
    /// Draws a new id; fails when the kernel gives no random bytes.
    pub(crate) fn random() -> std::io::Result<WorkflowId> {
        let mut bytes = [0u8; 4];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(WorkflowId(u32::from_be_bytes(bytes)))
    }

    /// Returns the id as a number.
    #[cfg(test)]
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

impl FromStr for WorkflowId {
    type Err = NotThat;

    fn from_str(text: &str) -> Result<WorkflowId, NotThat> {
        let number = is_lower_hex(text, 8).then(|| u32::from_str_radix(text, 16).ok()).flatten();
        number.map(WorkflowId).ok_or(NotThat("workflow's id (eight hexadecimal digits)"))
    }
}

impl fmt::Display for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Padded as a text is: tables ask for a width.
        f.pad(&format!("{:08x}", self.0))
    }
}

impl fmt::Debug for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Role of an object on the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// The container that runs the agent.
    Agent,
    /// The container that made the namespace and holds it.
    Fence,
    /// The container with the DNS filter and the gate.
    Guard,
    /// The container in the host's network that says which addresses are the machine's own.
    Host,
    /// A container that counts what the agent, or a service, has on the engine's disk.
    Disk,
    /// A container beside the agent that a person asked for; there may be several.
    Service,
    /// A container that a client of `ringfence serve` asked for; there may be several.
    Member,
    /// A short container that proves another runtime.
    Probe,
    /// Network of a workflow that an earlier version made: removed with it.
    Network,
    /// Volume that the fence and the guard share.
    Volume,
    /// The authorities that the agent trusts besides its image's own.
    Trust,
    /// The notice that tells the agent what it may reach.
    Notice,
    /// Volume in memory with the files that the agent is handed.
    Secrets,
    /// A directory of the supervisor's machine; there may be several.
    Mount,
    /// A volume that the agent's image declares; there may be several.
    Data,
    /// The network of all guards.
    Uplink,
}

/// Every role and its word in labels and names.
const ROLES: [(Role, &str); 16] = [
    (Role::Agent, "agent"),
    (Role::Fence, "fence"),
    (Role::Guard, "guard"),
    (Role::Host, "host"),
    (Role::Disk, "disk"),
    (Role::Service, "service"),
    (Role::Member, "member"),
    (Role::Probe, "probe"),
    (Role::Network, "network"),
    (Role::Volume, "volume"),
    (Role::Trust, "trust"),
    (Role::Notice, "notice"),
    (Role::Secrets, "secrets"),
    (Role::Mount, "mount"),
    (Role::Data, "data"),
    (Role::Uplink, "uplink"),
];

impl Role {
    /// The roles of volumes.
    pub(crate) const VOLUMES: &[Role] =
        &[Role::Volume, Role::Trust, Role::Notice, Role::Secrets, Role::Mount, Role::Data];
}

impl FromStr for Role {
    type Err = NotThat;

    fn from_str(text: &str) -> Result<Role, NotThat> {
        ROLES.iter().find(|(_, word)| *word == text).map(|(role, _)| *role).ok_or(NotThat("role"))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = ROLES.iter().find(|(role, _)| role == self).map_or("", |(_, word)| *word);
        f.pad(word)
    }
}

/// Seconds of Unix time, in plain decimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct UnixTime(pub(crate) u64);

impl FromStr for UnixTime {
    type Err = NotThat;

    fn from_str(text: &str) -> Result<UnixTime, NotThat> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        number.map(UnixTime).ok_or(NotThat("time in seconds"))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for UnixTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<UnixTime, D::Error> {
        u64::deserialize(deserializer).map(UnixTime)
    }
}

impl Serialize for UnixTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// A text of one form, made by its parser alone.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $fits:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(String);

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NotThat;

            fn from_str(text: &str) -> Result<$name, NotThat> {
                let fits: fn(&str) -> bool = $fits;
                fits(text).then(|| $name(text.to_owned())).ok_or(NotThat($what))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        as_text!($name);
    };
}

/// Written and read as a text, by the type's own parser.
macro_rules! as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(WorkflowId);
as_text!(Role);

text!(
    /// A workflow's name, as a person gives it: it becomes a label and is typed on command lines.
    WorkflowName,
    "workflow's name",
    |text| {
        (1..=63).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    }
);

text!(
    /// A home's name, as a person gives it: it becomes a part of a volume's and of a file's name.
    HomeName,
    "home's name",
    |text| text.parse::<WorkflowName>().is_ok()
);

text!(
    /// A policy's digest: `sha256:` and 64 hexadecimal digits.
    PolicyDigest,
    "policy's digest",
    |text| is_sha256(text)
);

text!(
    /// The hash of a line of the decision log: 64 hexadecimal digits.
    LineHash,
    "line's hash",
    |text| is_lower_hex(text, 64)
);

impl LineHash {
    /// Returns the hash of a line, without its end.
    pub(crate) fn of(line: &[u8]) -> LineHash {
        LineHash(hex::encode(Sha256::digest(line)))
    }
}

text!(
    /// The engine's own id of a container or a network.
    EngineId,
    "engine's id",
    |text| is_lower_hex(text, 64)
);

text!(
    /// An image's name or id, as it is typed.
    ImageName,
    "image's name",
    |text| {
        (1..=512).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c))
            // It becomes part of a URL.
            && !text.split('/').any(|part| matches!(part, "" | "." | ".."))
    }
);

text!(
    /// An image by the digest under which a registry gave it: `NAME@sha256:…`.
    ImageDigest,
    "image's digest",
    |text| {
        text.split_once('@').is_some_and(|(name, digest)| {
            name.parse::<ImageName>().is_ok() && is_sha256(digest)
        })
    }
);

fn is_sha256(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|digits| is_lower_hex(digits, 64))
}

fn is_lower_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parses<T: FromStr>(text: &str) -> bool {
        text.parse::<T>().is_ok()
    }

    /// Texts that hurt where they become part of a path, a URL, a row or an option.
    const HOSTILE: &[&str] = &[
        "",
        "/some/folder",
        "..",
        "../../etc",
        ".",
        "a/../b",
        "\u{1b}[2J",
        "a\nb",
        "a\0",
        "\u{9b}31m",
        "\u{202e}gnp",
        "-rf",
        "a b",
        "a?force=1",
        "a%2fb",
        "a#b",
        "ａ",
    ];

    #[test]
    fn nothing_hostile_is_any_of_them() {
        for text in HOSTILE {
            assert!(!parses::<WorkflowId>(text), "{text:?}");
            assert!(!parses::<WorkflowName>(text), "{text:?}");
            assert!(!parses::<Role>(text), "{text:?}");
            assert!(!parses::<UnixTime>(text), "{text:?}");
            assert!(!parses::<PolicyDigest>(text), "{text:?}");
            assert!(!parses::<EngineId>(text), "{text:?}");
            assert!(!parses::<ImageName>(text), "{text:?}");
            assert!(!parses::<ImageDigest>(text), "{text:?}");
        }
    }

    #[test]
    fn an_id_is_eight_digits_and_is_written_as_it_was_read() {
        for good in ["0000002a", "ffffffff", "00000000"] {
            assert_eq!(good.parse::<WorkflowId>().unwrap().to_string(), good);
        }
        for bad in ["2a", "0000002A", "+000002a", "0000002a ", "0000002g", "00000002a", "0x00002a"] {
            assert!(!parses::<WorkflowId>(bad), "{bad:?}");
        }
        assert_eq!(format!("{:>10}|", "0000002a".parse::<WorkflowId>().unwrap()), "  0000002a|");
        let id = WorkflowId::random().unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn a_name_is_safe_to_print_and_to_type() {
        for good in ["a", "nightly-3", "A.b_c"] {
            assert!(parses::<WorkflowName>(good), "{good}");
        }
        for bad in ["-a", "ä", &"a".repeat(64), "a/b", ".a"] {
            assert!(!parses::<WorkflowName>(bad), "{bad:?}");
        }
    }

    #[test]
    fn every_role_is_read_as_it_is_written() {
        for (role, word) in ROLES {
            assert_eq!(role.to_string(), word);
            assert_eq!(word.parse(), Ok(role));
        }
        assert!(!parses::<Role>("Agent"));
    }

    #[test]
    fn a_time_is_digits_alone() {
        assert_eq!("1700000000".parse(), Ok(UnixTime(1_700_000_000)));
        for bad in ["+5", "-1", " 5", "5s", "18446744073709551616"] {
            assert!(!parses::<UnixTime>(bad), "{bad}");
        }
    }

    #[test]
    fn images_and_digests_are_of_the_registries_form() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for good in
            ["debian", "a.example:443/b/c:1.2_3", "0123456789ab", &digest, &format!("debian@{digest}")]
        {
            assert!(parses::<ImageName>(good), "{good}");
        }
        assert!(parses::<PolicyDigest>(&digest) && !parses::<PolicyDigest>(&digest.to_uppercase()));
        assert!(parses::<ImageDigest>(&format!("a.example/b@{digest}")) && !parses::<ImageDigest>(&digest));
        assert!(parses::<EngineId>(&"0".repeat(64)) && !parses::<EngineId>("ringfence-0000002a-agent"));
    }
}
