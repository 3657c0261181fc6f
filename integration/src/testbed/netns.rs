//! The testbed's networks, in namespaces that the host reaches through a gateway.
//!
//! ```text
//!  host ── 10.98.0.0/30 ── gateway ─┬─ 10.98.0.4/30 ── internet  198.51.100.0/24 (all of it), 240.77.0.0/24
//!   │ blackhole routes beneath      └─ 10.98.0.8/30 ── intranet  10.99.0.0/16, 169.254.169.254
//!   └ lo: 10.98.1.1 (stands for the machine's own address on an office network)
//! ```
//!
//! The gateway is there because on-link prefixes of the host are refused by the floor. The
//! blackhole routes come first and go last: whatever a bug sends to these ranges dies on this
//! machine.

use std::fs::File;
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use crate::command::ip;

pub use super::addresses::{HOST_LAN, HOST_LINK};

/// Ranges whose packets must never leave the machine.
const BLACKHOLES: [&str; 5] =
    ["25.0.0.0/16", "198.18.0.0/15", "10.99.0.0/16", "198.51.100.0/24", "240.77.0.0/24"];
/// Worse than any other route, so that it is taken only when nothing else leads there.
const LAST_METRIC: u32 = 4_000_000_000;

/// A network namespace, deleted at the end of its life.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    fn new(role: &str) -> Result<Self> {
        let name = format!("rf{}-{role}", std::process::id());
        ip(&format!("netns add {name}"))?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// `ip ARGUMENTS` inside.
    ///
    /// # Errors
    /// When it fails.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        ip(&format!("-n {} {arguments}", self.name))
    }

    /// Runs `work` on a thread inside the namespace. Sockets that it makes stay there, also when
    /// another thread uses them later.
    ///
    /// # Errors
    /// When the namespace cannot be entered or `work` fails.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = format!("/run/netns/{}", self.name);
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    let namespace = File::open(&path).with_context(|| format!("cannot open {path}"))?;
                    setns(namespace, CloneFlags::CLONE_NEWNET)
                        .with_context(|| format!("cannot enter {path}"))?;
                    work()
                })
                .join()
                .map_err(|_| anyhow!("a thread in {path} panicked"))?
        })
    }
}

impl Netns {
    /// Runs `work` on a thread of its own that stays inside, with all threads that it makes.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn inside_for_life(&self, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let path = format!("/run/netns/{}", self.name);
        let namespace = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        let (sender, receiver) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let entered = setns(namespace, CloneFlags::CLONE_NEWNET);
            let good = entered.is_ok();
            sender.send(entered).ok();
            if good {
                work();
            }
        });
        receiver.recv()?.with_context(|| format!("cannot enter {path}"))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        ip(&format!("netns delete {}", self.name)).ok();
    }
}

/// All of the testbed's networks.
#[derive(Debug)]
pub struct Networks {
    /// 198.51.100.0/24.
    pub internet: Netns,
    /// 10.99.0.0/16 and the metadata service.
    pub intranet: Netns,
    _gateway: Netns,
    _blackholes: Blackholes,
}

impl Networks {
    /// Makes them; first removes those whose maker is dead.
    ///
    /// # Errors
    /// When a range is in use on this machine already, or a step fails.
    pub fn up() -> Result<Self> {
        remove_leftovers();
        let blackholes = Blackholes::up()?;
        let gateway = Netns::new("gw")?;
        let internet = Netns::new("inet")?;
        let intranet = Netns::new("corp")?;

        let pid = std::process::id();
        let (outer, inner) = (format!("rf{pid}h"), format!("rf{pid}g"));
        ip(&format!("link add {outer} type veth peer name {inner} netns {}", gateway.name))?;
        ip(&format!("addr add {HOST_LINK}/30 dev {outer}"))?;
        ip(&format!("link set {outer} up"))?;
        gateway.ip(&format!("addr add 10.98.0.2/30 dev {inner}"))?;
        gateway.ip(&format!("link set {inner} up"))?;
        gateway.ip("route add default via 10.98.0.1")?;
        gateway.inside(|| Ok(std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?))?;

        for (namespace, device, near, far) in
            [(&internet, "inet", "10.98.0.5", "10.98.0.6"), (&intranet, "corp", "10.98.0.9", "10.98.0.10")]
        {
            gateway.ip(&format!("link add {device} type veth peer name up0 netns {}", namespace.name))?;
            gateway.ip(&format!("addr add {near}/30 dev {device}"))?;
            gateway.ip(&format!("link set {device} up"))?;
            namespace.ip(&format!("addr add {far}/30 dev up0"))?;
            namespace.ip("link set up0 up")?;
            namespace.ip(&format!("route add default via {near}"))?;
        }
        internet.ip("route add local 198.51.100.0/24 dev lo")?;
        internet.ip("route add local 240.77.0.0/24 dev lo")?;
        intranet.ip("route add local 10.99.0.0/16 dev lo")?;
        intranet.ip("addr add 169.254.169.254/32 dev lo")?;

        for range in ["198.51.100.0/24", "240.77.0.0/24"] {
            gateway.ip(&format!("route add {range} via 10.98.0.6"))?;
        }
        for range in ["10.99.0.0/16", "169.254.169.254/32"] {
            gateway.ip(&format!("route add {range} via 10.98.0.10"))?;
        }
        for range in ["198.51.100.0/24", "240.77.0.0/24", "10.99.0.0/16", "169.254.169.254/32"] {
            ip(&format!("route add {range} via 10.98.0.2"))?;
        }

        ip(&format!("addr add {HOST_LAN}/32 dev lo"))?;
        Ok(Self { internet, intranet, _gateway: gateway, _blackholes: blackholes })
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        ip(&format!("addr delete {HOST_LAN}/32 dev lo")).ok();
    }
}

/// The routes of last resort.
#[derive(Debug)]
struct Blackholes;

impl Blackholes {
    fn up() -> Result<Self> {
        for range in BLACKHOLES {
            let taken = ip(&format!("route show root {range}"))?;
            if let Some(route) = taken.lines().find(|line| {
                !line.starts_with("blackhole") && !line.contains("10.98.0.2") && !line.contains("dev br-")
            }) {
                return Err(anyhow!(
                    "{range} is in use on this machine, and the testbed needs it: `{route}`"
                ));
            }
        }
        for range in BLACKHOLES {
            ip(&format!("route replace blackhole {range} metric {LAST_METRIC}"))?;
        }
        Ok(Self)
    }
}

impl Drop for Blackholes {
    fn drop(&mut self) {
        for range in BLACKHOLES {
            ip(&format!("route delete blackhole {range} metric {LAST_METRIC}")).ok();
        }
    }
}

/// Deletes what a crashed run left: its links go with its namespaces.
fn remove_leftovers() {
    ip(&format!("addr delete {HOST_LAN}/32 dev lo")).ok();
    let Ok(list) = ip("netns list") else { return };
    for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
        let pid = name.strip_prefix("rf").and_then(|rest| rest.split('-').next());
        let Some(pid) = pid.and_then(|digits| digits.parse::<u32>().ok()) else { continue };
        if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
            ip(&format!("netns delete {name}")).ok();
        }
    }
}
