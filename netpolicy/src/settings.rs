//! Settings of a policy besides its rules: resolution, the corporate proxy, the agent's container,
//! the engine.
//!
//! Plain data. Of limits the smallest of all layers counts; `dns` and `proxy` come from the
//! strongest layer that sets them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::host::{HostName, HostPattern};

/// A server named in a policy: by name, resolved by the `system` upstream, or by address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    /// A name.
    Name(HostName),
    /// An address.
    Address(IpAddr),
}

impl fmt::Display for Server {
    /// Writes the server as it stands in a URL: IPv6 in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::Name(name) => name.fmt(f),
            Server::Address(IpAddr::V4(addr)) => addr.fmt(f),
            Server::Address(IpAddr::V6(addr)) => write!(f, "[{addr}]"),
        }
    }
}

/// A resolver that the guard asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Upstream {
    /// The guard's own resolv.conf, which follows the engine's.
    System,
    /// Plain DNS at an address.
    Plain(SocketAddr),
    /// DNS over TLS (RFC 7858): the address, port 853 unless given, and the name in its
    /// certificate.
    Tls {
        /// Address at which the resolver listens.
        address: SocketAddr,
        /// The name that its certificate must carry.
        name: HostName,
    },
    /// DNS over HTTPS (RFC 8484).
    Https {
        /// The resolver's server. Its certificate must carry this name or address.
        server: Server,
        /// The port, 443 unless given.
        port: u16,
        /// The path, beginning with `/`.
        path: String,
    },
}

impl fmt::Display for Upstream {
    /// Writes the upstream as policies do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Upstream::System => f.write_str("system"),
            Upstream::Plain(address) if address.port() == 53 => address.ip().fmt(f),
            Upstream::Plain(address) => address.fmt(f),
            Upstream::Tls { address, name } if address.port() == 853 => {
                write!(f, "tls://{}#{name}", Server::Address(address.ip()))
            }
            Upstream::Tls { address, name } => write!(f, "tls://{address}#{name}"),
            Upstream::Https { server, port: 443, path } => write!(f, "https://{server}{path}"),
            Upstream::Https { server, port, path } => write!(f, "https://{server}:{port}{path}"),
        }
    }
}

/// Split DNS: whom to ask about a domain and everything below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// The domain.
    pub name: HostName,
    /// Asked in order, and nobody else.
    pub upstreams: Vec<Upstream>,
}

/// `network.dns`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Asked in order; `[system]` unless given.
    pub upstreams: Vec<Upstream>,
    /// Split DNS, sorted by name.
    #[serde(default)]
    pub domains: Vec<Domain>,
    /// Distinct upstream questions that one wildcard may cause in a run.
    pub names_per_wildcard: u32,
    /// The addresses that stand for names inside the fence.
    pub virtual_range: Ipv4Net,
    /// Reserved ranges with which a VPN's resolver answers public names: they count as public.
    #[serde(default)]
    pub upstream_fake_range: Vec<IpNet>,
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
            domains: Vec::new(),
            names_per_wildcard: DEFAULT_NAMES_PER_WILDCARD,
            virtual_range: DEFAULT_VIRTUAL_RANGE,
            upstream_fake_range: Vec::new(),
        }
    }
}

/// Targets that the guard dials itself although there is a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direct {
    /// Names.
    Host(HostPattern),
    /// Real addresses.
    Cidr(IpNet),
}

impl fmt::Display for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Direct::Host(pattern) => pattern.fmt(f),
            Direct::Cidr(net) => net.fmt(f),
        }
    }
}

/// `network.proxy` and `network.no-proxy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// The proxy: it is asked with `CONNECT name:port`.
    pub server: Server,
    /// Port of the proxy.
    pub port: u16,
    /// The environment variable of the supervisor that holds `user:password`; never the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_env: Option<String>,
    /// Names that the guard cannot resolve are resolved by the proxy: those of every rule but a
    /// project's. The rules say so too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resolves_names: bool,
    /// Targets that do not go through the proxy.
    #[serde(default)]
    pub direct: Vec<Direct>,
}

impl Proxy {
    /// Tells whether a name is dialled without the proxy, whatever it resolves to.
    #[must_use]
    pub fn leaves_out(&self, name: &HostName) -> bool {
        self.direct.iter().any(|direct| matches!(direct, Direct::Host(pattern) if pattern.matches(name)))
    }

    /// Tells whether an address is dialled without the proxy.
    #[must_use]
    pub fn leaves_out_address(&self, address: IpAddr) -> bool {
        self.direct.iter().any(|direct| matches!(direct, Direct::Cidr(net) if net.contains(&address)))
    }
}

/// A corporate CA bundle for the agent's TLS clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ca {
    /// The bundle of the supervisor's machine.
    System,
    /// A file on the supervisor's machine.
    File(String),
}

/// Root's powers that the agent keeps in its own container. The least counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capabilities {
    /// None at all.
    None,
    /// The few that installing packages and changing users need.
    Default,
}

impl Capabilities {
    /// Every one with its word, the least first.
    pub const ALL: [(&'static str, Capabilities); 2] =
        [("none", Capabilities::None), ("default", Capabilities::Default)];

    /// Returns the word as policies write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Capabilities::None => "none",
            Capabilities::Default => "default",
        }
    }
}

/// `container`: absent values are the program's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Container {
    /// Thousandths of a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milli_cpus: Option<u64>,
    /// Bytes; swap is equal, so none is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// Files that a process may have open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// Bytes that the agent may write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    /// Wall-clock seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Root's powers that the agent keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// The OCI runtime; `default` is the engine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// The CA bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<Ca>,
}

/// `workspace`: paths below the project, in which `*` and `?` stand for parts of a name and `**`
/// for any folders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Workspace {
    /// Empty to the agent, besides what is a secret by itself.
    #[serde(default)]
    pub mask: Vec<String>,
    /// Shown as they are, unless `mask` has them too.
    #[serde(default)]
    pub unmask: Vec<String>,
    /// Hidden from the agent even where git has the file as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hide_committed: bool,
}

/// `notice`: how much the file says that tells the agent what it is permitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeDetail {
    /// Permitted hosts and covered paths by name.
    #[default]
    Full,
    /// No names.
    Brief,
}

impl NoticeDetail {
    /// Every choice, by the word that policies use.
    pub const ALL: [(&'static str, NoticeDetail); 2] =
        [("full", NoticeDetail::Full), ("brief", NoticeDetail::Brief)];

    /// Tells whether names are said.
    pub fn is_full(&self) -> bool {
        *self == NoticeDetail::Full
    }
}

/// `credentials`: what a token may be that an agent is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Credentials {
    /// The scopes that it may have, sorted; [`DEFAULT_SCOPES`] unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// Seconds that it may live still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lifetime: Option<u64>,
}

/// Scopes that a token may have unless a policy says otherwise.
pub const DEFAULT_SCOPES: [&str; 1] = ["ai_workflows"];

/// `engine.require`: what `doctor` must find before anything is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// The engine lives in a virtual machine.
    Vm,
    /// The engine runs without root.
    Rootless,
    /// No component has a known hole.
    Patched,
    /// No component has a known hole as far as can be told.
    PatchedOrUnknown,
}

impl Requirement {
    /// Every requirement, by the word that policies use.
    pub const ALL: [(&'static str, Requirement); 4] = [
        ("vm", Requirement::Vm),
        ("rootless", Requirement::Rootless),
        ("patched", Requirement::Patched),
        ("patched-or-unknown", Requirement::PatchedOrUnknown),
    ];

    /// Returns the word that policies use.
    pub fn as_str(self) -> &'static str {
        match self {
            Requirement::Vm => "vm",
            Requirement::Rootless => "rootless",
            Requirement::Patched => "patched",
            Requirement::PatchedOrUnknown => "patched-or-unknown",
        }
    }
}

/// Reads bytes from `512MiB`, `4g`, `1048576`; 1024-based, as docker reads them. `None` when it is
/// no size.
pub fn size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor as f64;
    (1.0..=1e15).contains(&bytes).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        assert_eq!(size("4GiB"), Some(4 << 30));
        assert_eq!(size("512m"), Some(512 << 20));
        assert_eq!(size("1.5g"), Some(3 << 29));
        for bad in ["4 parsecs", "-1", "", "0", "1e9", "nan", "inf"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
