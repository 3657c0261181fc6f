//! A container seen from within: what `/proc`, `/sys` and `/dev` say.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::host::{cgroups, devices, kernel};
use crate::wire::probe::Inside;

/// Kinds of namespaces that a container must not share with its host.
pub(super) const NAMESPACES: [&str; 5] = ["mnt", "pid", "net", "ipc", "uts"];

/// Looks around.
pub(crate) fn look() -> Inside {
    let status = read("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|v| v.trim().to_owned())
    };
    Inside {
        boot_id: kernel::boot_id(),
        kernel: read("/proc/sys/kernel/osrelease"),
        seccomp: field("Seccomp").and_then(|mode| mode.parse().ok()),
        no_new_privileges: field("NoNewPrivs").map(|on| on == "1"),
        capabilities: field("CapEff").zip(field("CapBnd")),
        confinement: read("/proc/self/attr/current").and_then(|label| label_of(&label)),
        root_is_root: read("/proc/self/uid_map").and_then(|map| maps_root_to_root(&map)),
        devices: devices::unusual(Path::new("/dev"))
            .unwrap_or_else(|error| vec![format!("what cannot be looked at ({error})")]),
        namespaces: namespaces(),
        memory: cgroups::memory(),
        pids: cgroups::processes(),
        cpu: cgroups::bounds_cpu(),
    }
}

/// Returns the namespaces of this process, by kind.
pub(crate) fn namespaces() -> BTreeMap<String, String> {
    let of = |kind: &str| {
        let link = fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
        Some((kind.to_owned(), link.to_string_lossy().into_owned()))
    };
    NAMESPACES.iter().filter_map(|kind| of(kind)).collect()
}

fn read(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// Reads a label such as `docker-default (enforce)` or `system_u:system_r:container_t:s0:c1,c2`;
/// `unconfined` is no confinement.
fn label_of(label: &str) -> Option<String> {
    let free = label == "unconfined" || label == "kernel" || label.contains("unconfined_t");
    (!free).then(|| label.to_owned())
}

/// Tells whether the map's line for root maps it to root outside.
fn maps_root_to_root(map: &str) -> Option<bool> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        match (numbers.next()?, numbers.next()?) {
            (Ok(0), Ok(outside)) => Some(outside == 0),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_root_only_where_the_map_says_so() {
        assert_eq!(maps_root_to_root("         0          0 4294967295"), Some(true));
        assert_eq!(maps_root_to_root("0 1000 1\n1 100000 65536"), Some(false));
        assert_eq!(maps_root_to_root("5 1000 1"), None);
        assert_eq!(maps_root_to_root("nonsense"), None);
    }

    #[test]
    fn an_unconfined_label_is_no_confinement() {
        assert_eq!(label_of("docker-default (enforce)").as_deref(), Some("docker-default (enforce)"));
        for free in ["unconfined", "kernel", "unconfined_u:unconfined_r:unconfined_t:s0"] {
            assert_eq!(label_of(free), None, "{free}");
        }
    }
}
