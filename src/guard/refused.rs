//! What the fence's kernel refused, from the copies that its log gives (NFLOG).
//!
//! ```text
//!  netlink datagram ──messages──▶ attributes ──payload──▶ IP, TCP or UDP header ──decide──▶ event (reason)
//! ```
//! Everything in a packet was chosen by the agent: every length is checked, and nothing else is believed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use netpolicy::decide::{Reason, Target};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::Guard;
use super::events::{Event, Kind, LONG_WHILE, MOMENT, Sameness};

/// Type of a logged packet: subsystem "ulog", message "packet".
const PACKET: u16 = 4 << 8;
/// Attribute that holds the packet.
const PAYLOAD: u16 = 9;
/// Sizes of the headers of a netlink message, of netfilter's own, and of an attribute.
const MESSAGE_HEADER: usize = 16;
const NETFILTER_HEADER: usize = 4;
const ATTRIBUTE_HEADER: usize = 4;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Ports of programs that ask around by themselves: NTP, SSDP, mDNS, LLMNR, NetBIOS.
const NOISE: [u16; 6] = [123, 137, 138, 1900, 5353, 5355];

/// A packet that did not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Where it was sent to.
    pub address: IpAddr,
    /// The port, where the protocol has one.
    pub port: Option<u16>,
    /// Number of the protocol.
    pub protocol: u8,
}

/// Reads refused packets for ever, on a thread of its own: what waits here holds up no connection.
pub fn serve(socket: OwnedFd, guard: Arc<Guard>) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&socket, false)?;
    std::thread::Builder::new()
        .name("refused".to_owned())
        .stack_size(256 * 1024)
        .spawn(move || read(&socket, &guard))
        .map(drop)
}

/// Reads refused packets for ever.
fn read(socket: &OwnedFd, guard: &Guard) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((_, length)) => {
                let length = length.min(buffer.len());
                for packet in packets(&buffer[..length]) {
                    note(guard, packet);
                }
            }
            Err(Errno::INTR) => {}
            // The kernel had more than the socket holds.
            Err(Errno::NOBUFS) => guard.events.lost(1),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Puts a refused packet into the log.
fn note(guard: &Guard, packet: Packet) {
    let kind = if packet.protocol == TCP { Kind::Connect } else { Kind::Datagram };
    let noise = packet.protocol == UDP && packet.port.is_some_and(|port| NOISE.contains(&port));
    let target = match packet.address {
        IpAddr::V4(address) => guard.names.target_of(address),
        IpAddr::V6(_) => None,
    };
    let known = target.unwrap_or(Target::Address(packet.address));
    let verdict = guard.names.decide(&known, Some(packet.port.unwrap_or(0)), None);
    let name = if let Target::Name(name) = &known { Some(name) } else { None };
    let reason = match (guard.closed(), verdict.allowed, packet.protocol) {
        _ if guard.live.effect(name).cut => Reason::Cut,
        (Some(reason), _, _) => reason,
        // Permitted, and refused all the same: too many of them.
        (None, true, TCP) => Reason::Limit,
        (None, true, _) => Reason::Protocol,
        (None, false, TCP | UDP) => verdict.reason,
        (None, false, _) => Reason::Protocol,
    };
    let same = Sameness {
        kind,
        host: None,
        address: (!noise).then_some(packet.address),
        port: packet.port,
        protocol: packet.protocol,
        reason: "",
    };
    guard.events.write_folded(same, if noise { LONG_WHILE } else { MOMENT }, || {
        let mut event = Event::denied(kind, reason).by(&verdict);
        match &known {
            Target::Name(name) => event.host = Some(name.to_string()),
            Target::Address(address) => event.address = Some(*address),
        }
        event.port = packet.port;
        event.protocol = Some(match packet.protocol {
            ICMP | 58 => "icmp".to_owned(),
            TCP => "tcp".to_owned(),
            UDP => "udp".to_owned(),
            other => other.to_string(),
        });
        event
    });
}

/// The packets of one netlink datagram.
pub fn packets(datagram: &[u8]) -> Vec<Packet> {
    let mut found = Vec::new();
    let mut rest = datagram;
    while let Some(length) = u32_ne(rest, 0) {
        let Ok(length) = usize::try_from(length) else { break };
        let Some(message) = rest.get(..length).filter(|message| message.len() >= MESSAGE_HEADER) else {
            break;
        };
        if u16_ne(message, 4) == Some(PACKET)
            && let Some(attributes) = message.get(MESSAGE_HEADER + NETFILTER_HEADER..)
            && let Some(packet) = payload(attributes).and_then(packet)
        {
            found.push(packet);
        }
        rest = rest.get(aligned(length)..).unwrap_or_default();
    }
    found
}

/// The attribute that holds the packet.
fn payload(attributes: &[u8]) -> Option<&[u8]> {
    let mut rest = attributes;
    loop {
        let length = usize::from(u16_ne(rest, 0)?);
        let kind = u16_ne(rest, 2)? & 0x3fff;
        let content = rest.get(ATTRIBUTE_HEADER..length)?;
        if kind == PAYLOAD {
            return Some(content);
        }
        rest = rest.get(aligned(length)..)?;
    }
}

/// Where an IP packet goes.
fn packet(bytes: &[u8]) -> Option<Packet> {
    let (address, protocol, transport): (IpAddr, u8, Option<&[u8]>) = match bytes.first()? >> 4 {
        4 => {
            let header = usize::from(bytes[0] & 15) * 4;
            let address: [u8; 4] = bytes.get(16..20)?.try_into().ok()?;
            let first = u16::from_be_bytes([*bytes.get(6)?, *bytes.get(7)?]) & 0x1fff == 0;
            let transport = if first && header >= 20 { bytes.get(header..) } else { None };
            (Ipv4Addr::from(address).into(), *bytes.get(9)?, transport)
        }
        6 => {
            let address: [u8; 16] = bytes.get(24..40)?.try_into().ok()?;
            (Ipv6Addr::from(address).into(), *bytes.get(6)?, bytes.get(40..))
        }
        _ => return None,
    };
    let port = match protocol {
        TCP | UDP => transport
            .and_then(|transport| transport.get(2..4))
            .map(|port| u16::from_be_bytes([port[0], port[1]])),
        _ => None,
    };
    Some(Packet { address, port, protocol })
}

/// Netlink pads to four bytes.
fn aligned(length: usize) -> usize {
    // A length of nothing would stay in place for ever.
    length.max(ATTRIBUTE_HEADER).next_multiple_of(4)
}

fn u16_ne(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_ne(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A netlink message with one packet, as the kernel makes it.
    fn logged(ip: &[u8]) -> Vec<u8> {
        let attribute = |kind: u16, content: &[u8]| {
            let mut all = u16::try_from(content.len() + 4).unwrap().to_ne_bytes().to_vec();
            all.extend(kind.to_ne_bytes());
            all.extend_from_slice(content);
            all.resize(all.len().next_multiple_of(4), 0);
            all
        };
        let mut body = vec![2, 0, 0, 5];
        body.extend(attribute(1, &[8, 0, 3, 0]));
        body.extend(attribute(10, b"refused\0"));
        body.extend(attribute(PAYLOAD, ip));
        let mut all = u32::try_from(body.len() + 16).unwrap().to_ne_bytes().to_vec();
        all.extend(PACKET.to_ne_bytes());
        all.extend([0; 10]);
        all.extend(body);
        all
    }

    fn ipv4(protocol: u8, to: [u8; 4], port: u16) -> Vec<u8> {
        let mut all = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, protocol, 0, 0, 198, 18, 0, 2];
        all.extend(to);
        all.extend([0xc0, 0]);
        all.extend(port.to_be_bytes());
        all.extend([0; 17]);
        all
    }

    #[test]
    fn packets_are_found_in_a_datagram_of_several() {
        let datagram =
            [logged(&ipv4(TCP, [10, 0, 0, 1], 22)), logged(&ipv4(UDP, [8, 8, 8, 8], 443))].concat();
        assert_eq!(
            packets(&datagram),
            [
                Packet { address: "10.0.0.1".parse().unwrap(), port: Some(22), protocol: TCP },
                Packet { address: "8.8.8.8".parse().unwrap(), port: Some(443), protocol: UDP },
            ]
        );
        let mut ipv6 = vec![0x60, 0, 0, 0, 0, 20, TCP, 64];
        ipv6.extend([0; 31]);
        ipv6.push(1);
        ipv6.extend([0, 9, 0, 80]);
        assert_eq!(
            packets(&logged(&ipv6)),
            [Packet { address: "::1".parse().unwrap(), port: Some(80), protocol: TCP }]
        );
        let mut fragment = ipv4(UDP, [1, 2, 3, 4], 9);
        fragment[7] = 5;
        assert_eq!(packets(&logged(&fragment))[0].port, None);
    }

    #[test]
    fn a_batch_is_read_to_its_end() {
        let mut datagram: Vec<u8> =
            (0..5).flat_map(|_| logged(&ipv4(UDP, [8, 8, 4, 4], 443)[..29])).collect();
        datagram.extend([20, 0, 0, 0, 3, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(packets(&datagram).len(), 5);
        let (guard, log) = crate::guard::tests::guard_with(crate::guard::tests::policy(), None, None);
        for packet in packets(&datagram) {
            note(&guard, packet);
        }
        guard.events.finish();
        let lines = log.lines();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["reason"], &lines[1]["left_out"]), (&"raw-address".into(), &3.into()));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            packets(&bytes);
            packets(&logged(&bytes));
            packet(&bytes);
        }

        #[test]
        fn a_cut_or_bent_message_is_survived(cut in 0usize..120, at in 0usize..100, to in any::<u8>()) {
            let mut bytes = logged(&ipv4(TCP, [10, 0, 0, 1], 22));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            bytes.truncate(cut);
            packets(&bytes);
        }
    }
}
