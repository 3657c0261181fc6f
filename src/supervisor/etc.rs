//! The files that name hosts and resolvers, as the agent has them: ringfence's own, and read-only.
//!
//! An engine gives the agent those of the fence, which lie on the engine's disk: root in the agent's container could fill it by them, past
//! any limit. And they name what is not there: `::1` for `localhost` while IPv6 is off, the engine's own name server.

use std::net::Ipv4Addr;

use bollard::models::SystemInfo;

use super::engine::Engine;

/// The name of the agent's machine, as the fence's container has it.
pub const HOSTNAME: &str = "agent";

/// The files by their place. Port 53 of every address is the filter's, `resolver`'s too.
pub fn files(resolver: Ipv4Addr) -> [(&'static str, String); 3] {
    [
        ("/etc/hosts", format!("127.0.0.1\tlocalhost\n127.0.1.1\t{HOSTNAME}\n")),
        ("/etc/hostname", format!("{HOSTNAME}\n")),
        ("/etc/resolv.conf", format!("nameserver {resolver}\noptions ndots:1\n")),
    ]
}

/// Whether the engine can mount a file of this machine into every container: it sees them, and no labels of SELinux keep it from that.
pub fn can_be_given(engine: &Engine, info: &SystemInfo, elsewhere: bool) -> bool {
    let labelled = info.security_options.iter().flatten().any(|option| option.contains("selinux"));
    engine.local && !elsewhere && !labelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_named_that_is_not_there() {
        let [hosts, hostname, resolv] = files(Ipv4Addr::new(25, 0, 255, 255)).map(|(_, text)| text);
        assert!(hosts.contains("localhost\n") && hosts.contains("\tagent\n") && !hosts.contains("::"));
        assert_eq!(hostname, "agent\n");
        assert_eq!(resolv, "nameserver 25.0.255.255\noptions ndots:1\n");
    }
}
