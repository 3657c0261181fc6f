//! Ports that the agent listens on, as the kernel lists them for this network namespace.
//!
//! The kernel lists sockets that listen before all others, so the agent's connections, which may
//! be many, are never read.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::forward::AgentPort;

/// The kernel's lists.
const LISTS: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
/// The state of a socket that listens.
const LISTENS: &str = "0A";
/// Bytes of a list that are looked at: some thousand sockets.
const MOST: u64 = 1 << 20;

/// Lists the ports that can be reached at loopback and are not the fence's.
pub(super) fn listening() -> BTreeSet<AgentPort> {
    let mut found = BTreeSet::new();
    for list in LISTS {
        // A kernel without IPv6 has no second list.
        if let Ok(file) = File::open(list) {
            found.extend(read(BufReader::new(file.take(MOST))));
        }
    }
    found
}

/// Reads a list up to the first socket that does not listen.
fn read(list: impl BufRead) -> BTreeSet<AgentPort> {
    let lines = list.lines().map_while(Result::ok).skip(1);
    let fields = lines.map_while(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next()?.to_owned();
        (fields.nth(1)? == LISTENS).then_some(local)
    });
    fields.filter_map(|local| port_at_loopback(&local)).collect()
}

/// Returns the port of a local address such as `0100007F:1F90`, where loopback leads to it.
fn port_at_loopback(local: &str) -> Option<AgentPort> {
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let is_reached = match address_of(address)? {
        IpAddr::V4(address) => is_reached(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_reached(mapped),
            None => address.is_unspecified() || address == Ipv6Addr::LOCALHOST,
        },
    };
    is_reached.then(|| AgentPort::try_from(port).ok()).flatten()
}

/// Tells whether a socket at this address hears what is sent to 127.0.0.1.
fn is_reached(address: Ipv4Addr) -> bool {
    address.is_unspecified() || address == Ipv4Addr::LOCALHOST
}

/// Reads an address as the kernel writes it: words of four bytes, each in the machine's own order.
fn address_of(digits: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for word in digits.as_bytes().chunks(8) {
        let word = std::str::from_utf8(word).ok().filter(|word| word.len() == 8)?;
        bytes.extend(u32::from_str_radix(word, 16).ok()?.to_ne_bytes());
    }
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use fuzz::proptest::test_runner::TestCaseError;

    use super::*;
    use crate::wire::forward::{line_of_ports, read_ports};

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n";

    fn ports(rows: &[&str]) -> Vec<u16> {
        let rows: String = rows.iter().map(|row| format!("   0: {row} 00000000:00000000\n")).collect();
        read(format!("{HEAD}{rows}").as_bytes()).into_iter().map(AgentPort::get).collect()
    }

    #[test]
    fn ports_that_loopback_leads_to_are_found_and_the_fences_are_not() {
        let rows = [
            "0100007F:1F90 00000000:0000 0A",
            "00000000:0BB8 00000000:0000 0A",
            // The engine's name server, the gate, the filter, the own address.
            "0B00007F:A3C1 00000000:0000 0A",
            "00000000:FFA3 00000000:0000 0A",
            "00000000:FE1D 00000000:0000 0A",
            "020012C6:0050 00000000:0000 0A",
        ];
        assert_eq!(ports(&rows), [3000, 8080]);
        let rows = [
            "00000000000000000000000001000000:0051 00000000000000000000000000000000:0000 0A",
            "00000000000000000000000000000000:0052 00000000000000000000000000000000:0000 0A",
            "0000000000000000FFFF00000100007F:0053 00000000000000000000000000000000:0000 0A",
            "0000000000000000FFFF00000B00007F:0054 00000000000000000000000000000000:0000 0A",
            "B80D0120000000000000000001000000:0055 00000000000000000000000000000000:0000 0A",
        ];
        assert_eq!(ports(&rows), [81, 82, 83]);
    }

    #[test]
    fn a_connection_ends_the_reading() {
        let rows = [
            "0100007F:0050 00000000:0000 0A",
            "0100007F:0051 0100007F:9C40 01",
            "0100007F:0052 00000000:0000 0A",
        ];
        assert_eq!(ports(&rows), [80]);
    }

    #[test]
    fn fuzz_lists_of_sockets() {
        let good =
            format!("{HEAD}   0: 0100007F:1F90 00000000:0000 0A\n   1: 00000000:FFA3 00000000:0000 0A\n");
        let words: [&[u8]; 5] = [b" 0A", b":", b"FFFF00000100007F", b"\n", b"0035"];
        fuzz::run(
            "lists of sockets",
            &fuzz::bytes(vec![good.into_bytes()], &words, 4000),
            |fuzz::Bytes(list)| {
                let line = line_of_ports(read(&list[..]));
                match read_ports(line.trim_end()) {
                    Some(_) => Ok(()),
                    None => Err(TestCaseError::fail("the supervisor does not read what is found")),
                }
            },
        );
    }

    #[test]
    fn a_socket_of_this_process_is_found_until_it_is_closed() {
        let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = AgentPort::try_from(socket.local_addr().unwrap().port()).unwrap();
        assert!(listening().contains(&port));
        drop(socket);
        assert!(!listening().contains(&port));
    }
}
