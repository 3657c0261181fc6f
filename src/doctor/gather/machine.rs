//! This machine.

use std::fs;

use crate::doctor::facts::Machine;

/// Where systemd-resolved listens.
const STUBS: [&str; 2] = ["127.0.0.53", "127.0.0.54"];

/// Looks at it.
pub fn look() -> Machine {
    let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    Machine {
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        kernel: read("/proc/sys/kernel/osrelease"),
        name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        namespaces: crate::doctor::inside::namespaces(),
        resolved: read("/etc/resolv.conf").is_some_and(|text| names_a_stub(&text)),
    }
}

fn names_a_stub(resolv_conf: &str) -> bool {
    let mut servers = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers.any(|server| STUBS.contains(&server.trim()))
}

#[cfg(test)]
mod tests {
    use super::names_a_stub;

    #[test]
    fn the_stub_is_known_by_its_address() {
        assert!(names_a_stub("# by systemd\nnameserver 127.0.0.53\noptions edns0\nsearch .\n"));
        assert!(!names_a_stub("nameserver 10.0.0.53\n# nameserver 127.0.0.53\n"));
    }
}
