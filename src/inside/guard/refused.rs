//! Packets that the fence's kernel refused, read from the copies in its log (NFLOG).
//!
//! ```text
//!  netlink datagram ──messages──▶ attributes ──payload──▶ IP, TCP or UDP header ──decide──▶ event (reason)
//! ```
//! Everything in a packet was chosen by the agent: every length is checked, and nothing else is
//! believed.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use netpolicy::decide::{Reason, Target, Verdict};
use netpolicy::ruleset::{FenceLimit, NFLOG_REST};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::Guard;
use super::events::{LONG_WHILE, MOMENT, Sameness};
use crate::wire::event::{Access, Kind, Transport};

/// Type of a logged packet: subsystem "ulog", message "packet".
const PACKET: u16 = 4 << 8;
/// Attributes: the packet's mark, the packet, its number in the group.
const MARK: u16 = 2;
const PAYLOAD: u16 = 9;
const NUMBER: u16 = 12;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Packet {
    /// Destination of the packet.
    address: IpAddr,
    /// The port, where the protocol has one.
    port: Option<u16>,
    /// Number of the protocol.
    protocol: u8,
    /// Mark that the fence's rules set.
    mark: u32,
}

/// Packet that the kernel logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Logged {
    packet: Packet,
    /// The group that it was logged to.
    group: u16,
    /// Number of the packet in the log.
    number: Option<u32>,
}

/// Reads refused packets for ever, on a thread of its own: what waits here holds up no connection.
pub(crate) fn serve(socket: OwnedFd, guard: Arc<Guard>) -> io::Result<()> {
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
    let mut gaps = Gaps::default();
    loop {
        match rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((_, length)) => take(guard, &mut gaps, &buffer[..length.min(buffer.len())]),
            Err(Errno::INTR) => {}
            // The kernel had more than the socket holds: how many, the next number tells.
            Err(Errno::NOBUFS) => lost(guard, gaps.overrun()),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Puts the packets of one datagram into the log, and counts those that are missing before them.
fn take(guard: &Guard, gaps: &mut Gaps, datagram: &[u8]) {
    let mut rest: HashMap<Packet, u64> = HashMap::new();
    for logged in packets(datagram) {
        lost(guard, gaps.before(&logged));
        if logged.group == NFLOG_REST {
            *rest.entry(logged.packet).or_default() += 1;
        } else {
            let refusal = Refused::of(guard, logged.packet);
            let window = if refusal.noise { LONG_WHILE } else { MOMENT };
            guard.events.write_folded(refusal.same(), window, || refusal.event());
        }
    }
    for (packet, times) in rest {
        guard.events.count_only(Refused::of(guard, packet).event(), times);
    }
}

/// The kernel numbers what it logs in each group: what is missing was dropped on the way here.
#[derive(Default)]
struct Gaps {
    next: [Option<u32>; 2],
    /// Told of already, without a number.
    told: u64,
}

impl Gaps {
    /// Counts the packets that were dropped before this one and that nobody reported.
    fn before(&mut self, logged: &Logged) -> u64 {
        let Some(number) = logged.number else { return 0 };
        let next = &mut self.next[usize::from(logged.group == NFLOG_REST)];
        let missing = next.replace(number.wrapping_add(1)).map_or(0, |next| number.wrapping_sub(next));
        let missing = u64::from(missing);
        let told = self.told.min(missing);
        self.told -= told;
        missing - told
    }

    /// Notes that at least one packet was dropped.
    fn overrun(&mut self) -> u64 {
        self.told += 1;
        1
    }
}

/// Counts refused packets that the kernel could not tell of.
fn lost(guard: &Guard, times: u64) {
    let limit = Some("room for copies of refused packets: their targets are not known".to_owned());
    guard.events.count_only(Access { limit, ..Access::denied(Kind::Datagram, Reason::Limit) }, times);
}

/// A packet that did not pass, and why.
struct Refused {
    packet: Packet,
    kind: Kind,
    noise: bool,
    known: Target,
    verdict: Verdict,
    reason: Reason,
    /// The limit that kept the packet back, in words.
    limit: Option<String>,
}

impl Refused {
    fn of(guard: &Guard, packet: Packet) -> Refused {
        let limit = FenceLimit::of_mark(packet.mark);
        let kind = match (limit, packet.protocol) {
            (Some(FenceLimit::DnsConnections | FenceLimit::DnsQuestions), _) => Kind::Dns,
            (_, TCP) => Kind::Connect,
            _ => Kind::Datagram,
        };
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
            _ if limit.is_some() => Reason::Limit,
            // Permitted, and not in the fence's rules: a change is under way.
            (None, true, TCP) => Reason::Limit,
            (None, true, _) => Reason::Protocol,
            (None, false, TCP | UDP) => verdict.reason,
            (None, false, _) => Reason::Protocol,
        };
        let noise = packet.protocol == UDP && packet.port.is_some_and(|port| NOISE.contains(&port));
        let limit = limit.filter(|_| reason == Reason::Limit);
        let limit = limit.map(|limit| limit.in_words(guard.limits.bounds()));
        Refused { packet, kind, noise, known, verdict, reason, limit }
    }

    fn same(&self) -> Sameness {
        Sameness {
            kind: Some(self.kind),
            allowed: false,
            host: None,
            address: (!self.noise).then_some(self.packet.address),
            port: self.packet.port,
            protocol: self.packet.protocol,
            reason: self.reason.as_str(),
        }
    }

    fn event(&self) -> Access {
        let mut event = Access::denied(self.kind, self.reason).by(&self.verdict);
        match &self.known {
            Target::Name(name) => event.host = Some(name.clone()),
            Target::Address(address) => event.address = Some(*address),
        }
        event.port = self.packet.port;
        event.limit.clone_from(&self.limit);
        let transport = match self.packet.protocol {
            ICMP | 58 => Transport::Icmp,
            TCP => Transport::Tcp,
            UDP => Transport::Udp,
            other => Transport::Number(other),
        };
        event.protocol = Some(transport.into());
        event
    }
}

/// Reads the packets of one netlink datagram.
fn packets(datagram: &[u8]) -> Vec<Logged> {
    let mut found = Vec::new();
    let mut rest = datagram;
    while let Some(length) = u32_ne(rest, 0) {
        let Ok(length) = usize::try_from(length) else { break };
        let Some(message) = rest.get(..length).filter(|message| message.len() >= MESSAGE_HEADER) else {
            break;
        };
        if u16_ne(message, 4) == Some(PACKET)
            && let Some(group) = message.get(MESSAGE_HEADER + 2..MESSAGE_HEADER + NETFILTER_HEADER)
            && let Some(attributes) = message.get(MESSAGE_HEADER + NETFILTER_HEADER..)
            && let Some(mut packet) = attribute(attributes, PAYLOAD).and_then(packet)
        {
            let number = |kind| Some(u32::from_be_bytes(attribute(attributes, kind)?.try_into().ok()?));
            packet.mark = number(MARK).unwrap_or_default();
            let group = u16::from_be_bytes([group[0], group[1]]);
            found.push(Logged { packet, group, number: number(NUMBER) });
        }
        rest = rest.get(aligned(length)..).unwrap_or_default();
    }
    found
}

/// Returns the content of the first attribute of a kind.
fn attribute(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    loop {
        let length = usize::from(u16_ne(rest, 0)?);
        let kind = u16_ne(rest, 2)? & 0x3fff;
        let content = rest.get(ATTRIBUTE_HEADER..length)?;
        if kind == wanted {
            return Some(content);
        }
        rest = rest.get(aligned(length)..)?;
    }
}

/// Reads the destination of an IP packet.
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
    Some(Packet { address, port, protocol, mark: 0 })
}

/// Rounds a length up to four bytes, as netlink pads.
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

    /// Makes a netlink message with one packet, as the kernel does.
    fn logged(ip: &[u8]) -> Vec<u8> {
        logged_as(ip, 5, 0, None)
    }

    fn logged_as(ip: &[u8], group: u16, mark: u32, number: Option<u32>) -> Vec<u8> {
        let attribute = |kind: u16, content: &[u8]| {
            let mut all = u16::try_from(content.len() + 4).unwrap().to_ne_bytes().to_vec();
            all.extend(kind.to_ne_bytes());
            all.extend_from_slice(content);
            all.resize(all.len().next_multiple_of(4), 0);
            all
        };
        let mut body = vec![2, 0];
        body.extend(group.to_be_bytes());
        body.extend(attribute(1, &[8, 0, 3, 0]));
        if mark != 0 {
            body.extend(attribute(MARK, &mark.to_be_bytes()));
        }
        body.extend(attribute(10, b"refused\0"));
        body.extend(attribute(PAYLOAD, ip));
        if let Some(number) = number {
            body.extend(attribute(NUMBER, &number.to_be_bytes()));
        }
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
        let shown = |datagram: &[u8]| -> Vec<Packet> {
            packets(datagram).into_iter().map(|logged| logged.packet).collect()
        };
        assert_eq!(
            shown(&datagram),
            [
                Packet { address: "10.0.0.1".parse().unwrap(), port: Some(22), protocol: TCP, mark: 0 },
                Packet { address: "8.8.8.8".parse().unwrap(), port: Some(443), protocol: UDP, mark: 0 },
            ]
        );
        let mut ipv6 = vec![0x60, 0, 0, 0, 0, 20, TCP, 64];
        ipv6.extend([0; 31]);
        ipv6.push(1);
        ipv6.extend([0, 9, 0, 80]);
        assert_eq!(
            shown(&logged(&ipv6)),
            [Packet { address: "::1".parse().unwrap(), port: Some(80), protocol: TCP, mark: 0 }]
        );
        let mut fragment = ipv4(UDP, [1, 2, 3, 4], 9);
        fragment[7] = 5;
        assert_eq!(packets(&logged(&fragment))[0].packet.port, None);
    }

    #[test]
    fn a_batch_is_read_to_its_end() {
        let mut datagram: Vec<u8> =
            (0..5).flat_map(|_| logged(&ipv4(UDP, [8, 8, 4, 4], 443)[..29])).collect();
        datagram.extend([20, 0, 0, 0, 3, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(packets(&datagram).len(), 5);
        let (guard, log) =
            crate::inside::guard::tests::guard_with(crate::inside::guard::tests::policy(), None, None);
        take(&guard, &mut Gaps::default(), &datagram);
        guard.events.finish();
        let lines = log.lines();
        assert_eq!(lines.len(), 3, "and the end");
        assert_eq!((&lines[0]["reason"], &lines[1]["left_out"]), (&"raw-address".into(), &3.into()));
    }

    #[test]
    fn a_limit_is_named_with_the_true_target_and_the_count() {
        let (guard, log) =
            crate::inside::guard::tests::guard_with(crate::inside::guard::tests::policy(), None, None);
        let address = crate::inside::guard::tests::virtual_address(&guard, "gitlab.com").octets();
        let mark = 4;
        for number in 0..50 {
            let datagram = logged_as(&ipv4(TCP, address, 80), 5, mark, Some(number));
            take(&guard, &mut Gaps::default(), &datagram);
        }
        let rest: Vec<u8> = (0..1000)
            .flat_map(|number| logged_as(&ipv4(TCP, address, 80)[..29], NFLOG_REST, mark, Some(number)))
            .collect();
        take(&guard, &mut Gaps::default(), &rest);
        guard.events.finish();
        let lines: Vec<_> = log.lines().into_iter().filter(|line| line["reason"] == "limit").collect();
        let count: u64 = lines.iter().map(|line| 1 + line["left_out"].as_u64().unwrap_or(0)).sum();
        assert_eq!(count, 1050);
        for line in &lines {
            assert_eq!((&line["host"], &line["kind"]), (&"gitlab.com".into(), &"connect".into()), "{line}");
            assert!(line["limit"].as_str().unwrap().contains("4000 new permitted connections"), "{line}");
        }
    }

    #[test]
    fn what_the_kernel_dropped_is_counted() {
        let (guard, log) =
            crate::inside::guard::tests::guard_with(crate::inside::guard::tests::policy(), None, None);
        let mut gaps = Gaps::default();
        let packet = ipv4(UDP, [8, 8, 4, 4], 443);
        for (group, number) in [(5, 7), (5, 8), (NFLOG_REST, 0), (5, 19), (NFLOG_REST, 31)] {
            take(&guard, &mut gaps, &logged_as(&packet, group, 0, Some(number)));
        }
        // Ten and thirty so far; the next overrun is told once, with or without its number.
        lost(&guard, gaps.overrun());
        take(&guard, &mut gaps, &logged_as(&packet, 5, 0, Some(25)));
        guard.events.finish();
        let lost = log.lines().into_iter().find(|line| line["limit"].is_string()).unwrap();
        assert_eq!((&lost["reason"], &lost["left_out"]), (&"limit".into(), &(10 + 30 + 5 - 1).into()));
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
