//! The one device of the fence's namespace beside `lo`: a cable, both ends of which are in here.
//!
//! ```text
//!  eth0 198.18.0.2/29 ══ eth0-end        up, no IPv6, no way out of the namespace
//! ```
//!
//! Without a device that has an address many programs take themselves to be offline: glibc's
//! getaddrinfo(3) then answers no IPv4 address (`AI_ADDRCONFIG`), and browsers say so. The engine
//! gives the fence no network at all, so nothing of the agent could leave by this one, whatever
//! became of routes and rules. A `veth` pair is what every engine with a bridge has in its kernel
//! for the guard already; `dummy` is missing in some.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockProtocol;

use super::failed;
use crate::host::netlink::Netlink;
use crate::term::Failure;

/// Name of the device that has the address, the one that containers usually have.
pub(super) const DEVICE: &str = "eth0";
/// Name of the cable's other end.
pub(super) const END: &str = "eth0-end";
/// Address of every agent, of the range for benchmarks (RFC 2544), which nobody routes.
pub(super) const OWN: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Length of the prefix of that address: it has neighbours, which the proof tries to reach.
const PREFIX: u8 = 29;

/// Makes the cable, gives one end its address and switches both on.
pub(super) fn make() -> Result<(), Failure> {
    let netlink =
        Netlink::open(SockProtocol::NetlinkRoute).map_err(failed("cannot speak to the kernel's devices"))?;
    netlink
        .ask(RouteNetlinkMessage::NewLink(cable()), NLM_F_CREATE | NLM_F_EXCL)
        .map_err(failed(format!("cannot make the device {DEVICE}")))?;
    let index = |name: &str| if_nametoindex(name).map_err(failed(format!("there is no device {name}")));
    let device = index(DEVICE)?;
    netlink
        .ask(RouteNetlinkMessage::NewAddress(address(device)), NLM_F_CREATE | NLM_F_EXCL)
        .map_err(failed(format!("cannot give {DEVICE} the address {OWN}")))?;
    for (index, name) in [(index(END)?, END), (device, DEVICE)] {
        netlink
            .ask(RouteNetlinkMessage::SetLink(up(index)), 0)
            .map_err(failed(format!("cannot switch {name} on")))?;
    }
    Ok(())
}

fn cable() -> LinkMessage {
    let mut end = LinkMessage::default();
    end.attributes = vec![LinkAttribute::IfName(END.to_owned())];
    let mut cable = LinkMessage::default();
    cable.attributes = vec![
        LinkAttribute::IfName(DEVICE.to_owned()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(end))),
        ]),
    ];
    cable
}

fn address(device: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = PREFIX;
    message.header.index = device;
    let range = Ipv4Net::new_assert(OWN, PREFIX);
    message.attributes = vec![
        AddressAttribute::Local(OWN.into()),
        AddressAttribute::Address(OWN.into()),
        AddressAttribute::Broadcast(range.broadcast()),
    ];
    message
}

/// Returns the request to switch a device on.
pub(super) fn up(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link
}
