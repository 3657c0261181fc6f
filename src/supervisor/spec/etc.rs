//! The files that an engine lays into every container, as the agent has them: ringfence's own, and read-only.
//!
//! An engine gives the agent its own, which lie on the engine's disk, or in its machine's memory: root in the agent's container could fill
//! that by them, past any limit. And they name what is not there: `::1` for `localhost` while IPv6 is off, the engine's own name server.

use std::net::Ipv4Addr;

use bollard::models::SystemInfo;

use crate::supervisor::engine::{Engine, Product};

/// The name of the agent's machine, as the fence's container has it.
pub const HOSTNAME: &str = "agent";

/// Podman's mark of a container, in `/run` of its machine.
const MARK: &str = "/run/.containerenv";

/// The files by their place. Port 53 of every address is the filter's, `resolver`'s too.
pub fn files(product: Product, resolver: Ipv4Addr) -> Vec<(&'static str, String)> {
    let mut files = vec![
        ("/etc/hosts", format!("127.0.0.1\tlocalhost\n127.0.1.1\t{HOSTNAME}\n")),
        ("/etc/hostname", format!("{HOSTNAME}\n")),
        ("/etc/resolv.conf", format!("nameserver {resolver}\noptions ndots:1\n")),
    ];
    if product == Product::Podman {
        files.push((MARK, String::new()));
    }
    files
}

/// Whether the engine can mount a file of this machine into every container: it sees them, and no labels of SELinux keep it from that.
pub fn can_be_given(engine: &Engine, info: &SystemInfo, elsewhere: bool) -> bool {
    let labelled = info.security_options.iter().flatten().any(|option| option.contains("selinux"));
    engine.local && !elsewhere && !labelled
}

/// Paths that stay read-only where the engine's own files are the agent's: those files, and what engines have read-only unless they are told
/// otherwise, since a list takes the place of theirs.
pub fn read_only_paths() -> Vec<String> {
    let usual = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
    let names = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
    usual.into_iter().chain(names).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_named_that_is_not_there() {
        let texts =
            |product| files(product, Ipv4Addr::new(25, 0, 255, 255)).into_iter().map(|(_, text)| text);
        let [hosts, hostname, resolv] = texts(Product::Docker).collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(texts(Product::Podman).skip(3).collect::<Vec<_>>(), [""]);
        assert!(hosts.contains("localhost\n") && hosts.contains("\tagent\n") && !hosts.contains("::"));
        assert_eq!(hostname, "agent\n");
        assert_eq!(resolv, "nameserver 25.0.255.255\noptions ndots:1\n");
    }
}
