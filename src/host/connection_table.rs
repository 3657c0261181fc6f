//! The connection table of this machine (conntrack), which every permitted connection of a run
//! takes an entry of.
//!
//! The number of entries is the kernel's own, the same in every network namespace. The times are
//! those of the namespace that reads.

use std::path::Path;

use netpolicy::ruleset::ConnectionTable;

/// Folder of the kernel's settings of the table.
const SETTINGS: &str = "/proc/sys/net/netfilter";
/// Number of entries.
const ENTRIES: &str = "nf_conntrack_max";
/// Seconds for which an entry stays after the last packet of a connection that has ended, or that
/// nobody answers.
const TIMES: [&str; 5] = [
    "nf_conntrack_tcp_timeout_time_wait",
    "nf_conntrack_tcp_timeout_fin_wait",
    "nf_conntrack_tcp_timeout_last_ack",
    "nf_conntrack_tcp_timeout_close",
    "nf_conntrack_tcp_timeout_syn_sent",
];

/// Reads the table of this machine; none where the kernel does not show it, or sets no bound.
pub(crate) fn read() -> Option<ConnectionTable> {
    read_in(Path::new(SETTINGS))
}

fn read_in(settings: &Path) -> Option<ConnectionTable> {
    let number = |name: &str| -> Option<u32> {
        std::fs::read_to_string(settings.join(name)).ok()?.trim().parse().ok()
    };
    let entries = number(ENTRIES).filter(|entries| *entries > 0)?;
    let linger = TIMES.iter().filter_map(|name| number(name)).max().unwrap_or(0);
    Some(ConnectionTable { entries, linger })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_what_the_kernel_shows() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(read_in(folder.path()), None);
        write(ENTRIES, "65536\n");
        assert_eq!(read_in(folder.path()), Some(ConnectionTable { entries: 65_536, linger: 0 }));
        write("nf_conntrack_tcp_timeout_time_wait", "120\n");
        write("nf_conntrack_tcp_timeout_fin_wait", "600\n");
        assert_eq!(read_in(folder.path()), Some(ConnectionTable { entries: 65_536, linger: 600 }));
        for no_bound in ["0\n", "many\n", "-1\n", ""] {
            write(ENTRIES, no_bound);
            assert_eq!(read_in(folder.path()), None, "{no_bound:?}");
        }
    }
}
