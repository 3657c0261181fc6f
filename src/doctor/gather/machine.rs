//! Facts about this machine.

use std::fs;

use crate::doctor::facts::Machine;
#[cfg(target_os = "linux")]
use crate::inside::probe::doctor::namespaces;

/// Addresses at which systemd-resolved listens.
const STUBS: [&str; 2] = ["127.0.0.53", "127.0.0.54"];

/// Looks at it.
pub(crate) fn look() -> Machine {
    let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let system = rustix::system::uname();
    Machine {
        boot_id: crate::host::kernel::boot_id(),
        // Never from a file that could be missing: no Linux here means that containers run on
        // another kernel.
        kernel: cfg!(target_os = "linux").then(|| system.release().to_string_lossy().into_owned()),
        name: system.nodename().to_string_lossy().into_owned(),
        namespaces: namespaces(),
        resolved: read("/etc/resolv.conf").is_some_and(|text| names_a_stub(&text)),
    }
}

/// Namespaces are Linux's.
#[cfg(not(target_os = "linux"))]
fn namespaces() -> std::collections::BTreeMap<String, String> {
    std::collections::BTreeMap::new()
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
