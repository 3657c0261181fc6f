//! The policy as data: what the parser makes, what `decide` reads, what the guard is given.

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

/// One source of policy, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// The built-in ranges that are refused whatever the layers say.
    Floor,
    /// `/etc/ringfence/policy.yml`.
    Organisation,
    /// `~/.config/ringfence/policy.yml`.
    User,
    /// `--policy`, `--allow`, `--deny`.
    Run,
    /// `.ringfence.yml` of the project.
    Project,
}

/// Where a rule was written, for every verdict, event and explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The layer that the file belongs to.
    pub layer: Layer,
    /// The file as it was named, `preset gitlab@1`, or `--allow`/`--deny`.
    pub file: String,
    /// Line, from 1; 0 for a rule given on the command line.
    pub line: u32,
    /// The rule's canonical text, for example `gitlab.com:443`.
    pub text: String,
}

/// How the gate checks a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A ClientHello whose SNI is the name, before anything is dialled.
    Tls,
    /// HTTP/1 whose Host is the name, on every request.
    Http,
    /// Bytes; nothing is looked at.
    Tcp,
    /// Dial at once and look at the agent's first bytes as they pass.
    Auto,
}

/// What a rule speaks about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matcher {
    /// A name, or all names below one.
    Host(crate::host::HostPattern),
    /// A range of addresses.
    Cidr(IpNet),
}

/// One line of `allow` or `deny`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What it speaks about.
    pub matcher: Matcher,
    /// The ports; empty means every port and is possible in `deny` only.
    pub ports: Vec<u16>,
    /// Given explicitly, or `None`: by the port (443 tls, 80 http, else auto).
    pub protocol: Option<Protocol>,
    /// Private ranges in which the addresses of this rule's names may also lie.
    pub private: Vec<IpNet>,
    /// The author's words, shown by explain, events and reports.
    pub reason: Option<String>,
    /// Where it stands.
    pub origin: Origin,
}

/// A resolver that the guard asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Upstream {
    /// The guard's own resolv.conf, which follows the engine's.
    System,
    /// Plain DNS at an address.
    Plain(std::net::SocketAddr),
}

/// `network.dns`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Asked in order; `[system]` unless given.
    pub upstreams: Vec<Upstream>,
    /// Distinct upstream questions that one wildcard may cause in a run.
    pub names_per_wildcard: u32,
    /// The addresses that stand for names inside the fence.
    pub virtual_range: Ipv4Net,
}

/// A whole policy, all files merged: plain data, the same for every command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What is permitted.
    pub allow: Vec<Rule>,
    /// What is refused even where `allow` permits it.
    pub deny: Vec<Rule>,
    /// Resolution.
    pub dns: Dns,
    /// `--network denied`: nothing is permitted, whatever `allow` says.
    pub network_denied: bool,
}

/// The range of virtual addresses unless a policy sets another: it looks public, which programs
/// that refuse reserved addresses insist on, and inside the fence no real address is reachable.
pub const DEFAULT_VIRTUAL_RANGE: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(25, 0, 0, 0), 16);

/// Distinct upstream questions of one wildcard unless a policy says otherwise.
pub const DEFAULT_NAMES_PER_WILDCARD: u32 = 64;

impl Default for Dns {
    fn default() -> Self {
        Dns {
            upstreams: vec![Upstream::System],
            names_per_wildcard: DEFAULT_NAMES_PER_WILDCARD,
            virtual_range: DEFAULT_VIRTUAL_RANGE,
        }
    }
}

impl Policy {
    /// The policy that permits nothing.
    pub fn nothing() -> Policy {
        Policy { allow: Vec::new(), deny: Vec::new(), dns: Dns::default(), network_denied: false }
    }

    /// The text that is digested: what the policy says and the floor's version, without the places
    /// it was written in, so that a file says the same from wherever it is read.
    pub fn canonical(&self) -> String {
        let rules = |rules: &[Rule]| -> Vec<serde_json::Value> {
            rules
                .iter()
                .map(|rule| {
                    serde_json::json!({
                        "layer": rule.origin.layer,
                        "matcher": rule.matcher,
                        "ports": rule.ports,
                        "private": rule.private,
                        "protocol": rule.protocol,
                        "reason": rule.reason,
                    })
                })
                .collect()
        };
        serde_json::json!({
            "allow": rules(&self.allow),
            "deny": rules(&self.deny),
            "dns": self.dns,
            "floor": crate::floor::FLOOR_VERSION,
            "network_denied": self.network_denied,
        })
        .to_string()
    }

    /// `sha256:` and the hexadecimal digest of [`Policy::canonical`].
    pub fn digest(&self) -> String {
        use sha2::Digest;
        use std::fmt::Write;
        let mut text = String::from("sha256:");
        for byte in sha2::Sha256::digest(self.canonical().as_bytes()) {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}
