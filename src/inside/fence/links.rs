//! Network devices and addresses of this namespace, read from the kernel.
//!
//! ```text
//!  getifaddrs ─▶ devices, the own address and its prefix        /proc/thread-self/net/dev ─▶ frames sent by each
//! ```
//!
//! The proof compares with what is there, not with what was meant.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;

use super::{failed, failure};
use crate::term::Failure;

/// The namespace as the fence finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Surroundings {
    /// The agent's address.
    pub(crate) own: Ipv4Addr,
    /// `own` with its prefix: the neighbours that must not be reached.
    pub(crate) subnet: Ipv4Net,
    /// The device that has it.
    pub(crate) device: String,
    /// Every device but `lo`, addressed or not.
    pub(crate) links: Vec<String>,
}

/// Entry of the kernel's list: a device, or one address of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AddressEntry {
    device: String,
    loopback: bool,
    address: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// Reads devices and addresses.
pub(crate) fn discover() -> Result<Surroundings, Failure> {
    let found = getifaddrs()
        .map_err(failed("cannot list the network devices"))?
        .map(|entry| AddressEntry::from(&entry));
    understand(found.collect())
}

/// Refuses a namespace in which another device than `lo` is up or has an address: the engine gave
/// the fence a network, although none was asked for. What a kernel puts into every namespace is
/// neither (`tunl0`, `sit0`).
pub(super) fn check_none_leads_out() -> Result<(), Failure> {
    let mut found = getifaddrs().map_err(failed("cannot list the network devices"))?;
    let leads_out = |entry: &InterfaceAddress| {
        let has_address = entry
            .address
            .is_some_and(|address| address.as_sockaddr_in().is_some() || address.as_sockaddr_in6().is_some());
        let is_up = entry.flags.contains(InterfaceFlags::IFF_UP);
        !entry.flags.contains(InterfaceFlags::IFF_LOOPBACK) && (is_up || has_address)
    };
    match found.find(leads_out) {
        None => Ok(()),
        Some(entry) => Err(failure(format!(
            "the engine gave the fence a network of its own, {}, which nobody asked for",
            entry.interface_name
        ))),
    }
}

/// Requires exactly one address outside `lo`: without that nothing that follows can be relied on.
fn understand(found: Vec<AddressEntry>) -> Result<Surroundings, Failure> {
    let links: BTreeSet<String> = found.iter().filter(|f| !f.loopback).map(|f| f.device.clone()).collect();
    let addressed: Vec<_> = found
        .iter()
        .filter(|f| !f.loopback)
        .filter_map(|f| f.address.map(|(own, mask)| (&f.device, own, mask)))
        .collect();
    let (device, own, mask) = match addressed.as_slice() {
        [only] => *only,
        [] => return Err(failure("this namespace has no device with an IPv4 address besides lo")),
        several => {
            let names: Vec<_> = several.iter().map(|(device, own, _)| format!("{device} {own}")).collect();
            return Err(failure(format!(
                "this namespace has more than one IPv4 address: {}",
                names.join(", ")
            )));
        }
    };
    let subnet =
        Ipv4Net::with_netmask(own, mask).map_err(failed(format!("{device} has the netmask {mask}")))?;
    Ok(Surroundings { own, subnet, device: device.clone(), links: links.into_iter().collect() })
}

impl From<&InterfaceAddress> for AddressEntry {
    fn from(entry: &InterfaceAddress) -> Self {
        let ipv4 = |storage: &Option<nix::sys::socket::SockaddrStorage>| {
            storage.as_ref().and_then(|s| s.as_sockaddr_in()).map(|address| address.ip())
        };
        AddressEntry {
            device: entry.interface_name.clone(),
            loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
            address: ipv4(&entry.address).zip(ipv4(&entry.netmask)),
        }
    }
}

impl Surroundings {
    /// Returns addresses of the own network where its gateway may be, and another one: first and
    /// last, never the own.
    pub(crate) fn neighbours(&self) -> Vec<Ipv4Addr> {
        let hosts = self.subnet.hosts();
        let last = Ipv4Addr::from(u32::from(self.subnet.broadcast()).saturating_sub(1));
        let mut neighbours: Vec<_> = hosts.filter(|host| *host != self.own).take(1).collect();
        if last != self.own && self.subnet.contains(&last) && !neighbours.contains(&last) {
            neighbours.push(last);
        }
        neighbours
    }
}

/// Frames that each device but `lo` has sent.
pub(super) fn frames_sent() -> Result<BTreeMap<String, u64>, Failure> {
    // `/proc/net` is the namespace of the process; this is the one of the thread that asks.
    let path = "/proc/thread-self/net/dev";
    let text = std::fs::read_to_string(path).map_err(failed(format!("cannot read {path}")))?;
    counters(&text).ok_or_else(|| failure(format!("{path} is not what was expected")))
}

/// Reads the tenth number of each line: the frames that the device sent.
fn counters(text: &str) -> Option<BTreeMap<String, u64>> {
    const SENT: usize = 9;
    let mut sent = BTreeMap::new();
    for line in text.lines().skip(2) {
        let (device, numbers) = line.split_once(':')?;
        let device = device.trim();
        if device != "lo" {
            sent.insert(device.to_owned(), numbers.split_whitespace().nth(SENT)?.parse().ok()?);
        }
    }
    Some(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(device: &str, loopback: bool, address: Option<[u8; 4]>) -> AddressEntry {
        let address = address.map(|a| (Ipv4Addr::from(a), Ipv4Addr::new(255, 255, 255, 248)));
        AddressEntry { device: device.to_owned(), loopback, address }
    }

    #[test]
    fn own_address_is_the_only_one_outside_lo() {
        let s = understand(vec![
            found("lo", true, Some([127, 0, 0, 1])),
            found("eth0", false, None),
            found("eth0", false, Some([198, 18, 0, 2])),
            found("tunl0", false, None),
        ])
        .unwrap();
        assert_eq!(s.own, Ipv4Addr::new(198, 18, 0, 2));
        assert_eq!((s.device.as_str(), s.links.len()), ("eth0", 2));
        assert_eq!(s.neighbours(), [Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 6)]);
    }

    #[test]
    fn none_or_two_addresses_are_refused() {
        assert!(understand(vec![found("lo", true, Some([127, 0, 0, 1]))]).is_err());
        let two =
            vec![found("eth0", false, Some([198, 18, 0, 2])), found("eth1", false, Some([198, 18, 78, 2]))];
        assert!(understand(two).unwrap_err().message.contains("eth1 198.18.78.2"));
    }

    #[test]
    fn counters_are_read_and_lo_left_out() {
        let text = "Inter-| Receive | Transmit\n face |bytes packets\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  \
                    eth0:1 2 3 4 5 6 7 8 9 4711 11 12 13 14 15 16\n";
        assert_eq!(counters(text), Some(BTreeMap::from([("eth0".to_owned(), 4711)])));
        assert_eq!(counters("a\nb\nnonsense\n"), None);
    }
}
