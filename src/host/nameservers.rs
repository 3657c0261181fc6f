//! The name servers of this machine, as its programs find them.
//!
//! ```text
//!  /etc/resolv.conf ─ names only this machine's own loopback ─▶ systemd-resolved's list of its upstreams
//! ```
//! Engines read the same files when they start a container, and then no more.

use std::net::IpAddr;
use std::path::Path;

/// File that programs read.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// File in which systemd-resolved lists the servers that it asks itself.
const UPSTREAMS: &str = "/run/systemd/resolve/resolv.conf";
/// Servers that count.
const MOST: usize = 8;

/// Returns the servers that a container could ask; none where there is no such server, as while a
/// machine has no network.
pub(crate) fn nameservers() -> Vec<IpAddr> {
    of_files(Path::new(RESOLV_CONF), Path::new(UPSTREAMS))
}

fn of_files(resolv_conf: &Path, upstreams: &Path) -> Vec<IpAddr> {
    let read = |path| std::fs::read_to_string(path).map(|text| servers(&text)).unwrap_or_default();
    let (named, stub) = read(resolv_conf);
    match named.is_empty() && stub {
        true => read(upstreams).0,
        false => named,
    }
}

/// Returns the servers of a file that others than this machine reach, and whether the file names
/// one that only this machine reaches.
fn servers(text: &str) -> (Vec<IpAddr>, bool) {
    let (mut all, mut own) = (Vec::new(), false);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // A server behind a zone (`fe80::1%eth0`) is one on a link of this machine.
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
        if address.is_loopback() {
            own = true;
        } else if !address.is_unspecified() && !all.contains(&address) && all.len() < MOST {
            all.push(address);
        }
    }
    (all, own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(addresses: &[&str]) -> Vec<IpAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn servers_are_read_as_programs_read_them() {
        let text = "# nameserver 192.0.2.9\nsearch corp.example\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 x\n\
                    nameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver nonsense\noptions edns0\nnameserver\n";
        assert_eq!(servers(text), (all(&["192.0.2.1", "2001:db8::1"]), false));
        assert_eq!(servers("nameserver 127.0.0.53\nnameserver 0.0.0.0\n"), (Vec::new(), true));
        let many: String = (0..40).map(|last| format!("nameserver 192.0.2.{last}\n")).collect();
        assert_eq!(servers(&many).0.len(), MOST);
    }

    #[test]
    fn a_stub_of_this_machine_leads_to_the_servers_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("behind"), "nameserver 192.0.2.7\n").unwrap();
        let found = |text: &str| {
            std::fs::write(at("resolv.conf"), text).unwrap();
            of_files(&at("resolv.conf"), &at("behind"))
        };
        assert_eq!(found("nameserver 127.0.0.53\n"), all(&["192.0.2.7"]));
        assert_eq!(found("nameserver 192.0.2.1\nnameserver 127.0.0.1\n"), all(&["192.0.2.1"]));
        assert_eq!(found("search x\n"), all(&[]));
        assert_eq!(of_files(&at("none"), &at("behind")), all(&[]));
    }
}
