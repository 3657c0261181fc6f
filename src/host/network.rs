//! The addresses of this machine and the ranges on its links, read from the kernel.
//!
//! ```text
//!  addresses ─▶ own, and their prefixes on link (of a point-to-point link: the other end)
//!  routes, all tables ─┬─ local ──────────────────▶ own, one address or a range
//!                      └─ unicast, no gateway ────▶ on link, where the device has neighbours
//! ```
//! A route over a point-to-point device (a VPN's) leads through its other end, so what lies behind
//! it is no neighbour: wg-quick sends half of the internet that way. Link-local and multicast
//! ranges are left out: no policy can permit them, and every new container of an engine adds some.

#[cfg(target_os = "linux")]
pub(crate) use self::linux::{notices, read};

/// Tells whether this machine has a device of this name with an address in this range.
pub(crate) fn has_device(name: &str, range: &ipnet::IpNet) -> bool {
    let ip = |address: &nix::ifaddrs::InterfaceAddress| {
        let address = address.address?;
        let v4 = address.as_sockaddr_in().map(|v4| std::net::IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| std::net::IpAddr::V6(v6.ip())))
    };
    let has = |address: &nix::ifaddrs::InterfaceAddress| {
        address.interface_name == name && ip(address).is_some_and(|ip| range.contains(&ip))
    };
    nix::ifaddrs::getifaddrs().is_ok_and(|mut all| all.any(|address| has(&address)))
}

/// Reads the machine's network.
#[cfg(not(target_os = "linux"))]
pub(crate) fn read() -> std::io::Result<crate::wire::host_network::HostNetwork> {
    let mut network = crate::wire::host_network::HostNetwork::default();
    for link in if_addrs::get_if_addrs()? {
        let prefix = match &link.addr {
            if_addrs::IfAddr::V4(v4) => v4.prefixlen,
            if_addrs::IfAddr::V6(v6) => v6.prefixlen,
        };
        network.addresses.insert(link.ip());
        if prefix > 0
            && let Ok(net) = ipnet::IpNet::new(link.ip(), prefix)
        {
            network.on_link.insert(net.trunc());
        }
    }
    Ok(network)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashSet;
    use std::io;
    use std::net::IpAddr;

    use ipnet::IpNet;
    use netlink_packet_route::address::{AddressAttribute, AddressMessage};
    use netlink_packet_route::link::{LinkFlags, LinkMessage};
    use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
    use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
    use nix::sys::socket::SockProtocol;

    use crate::host::netlink::Netlink;
    use crate::wire::host_network::HostNetwork;

    /// The kernel's groups for changes of links, addresses and routes, as bits.
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
    /// A list that changes while it is read is read again.
    const TRIES: u32 = 10;

    /// Opens a socket that becomes readable when the machine's network changes.
    pub(crate) fn notices() -> io::Result<Netlink> {
        Netlink::listen(SockProtocol::NetlinkRoute, GROUPS)
    }

    /// Reads the machine's network.
    pub(crate) fn read() -> io::Result<HostNetwork> {
        let mut tried = Err(io::Error::other("never tried"));
        for _ in 0..TRIES {
            tried = read_once();
            if tried.is_ok() {
                break;
            }
        }
        tried
    }

    fn read_once() -> io::Result<HostNetwork> {
        let netlink = Netlink::open(SockProtocol::NetlinkRoute)?;
        let mut network = HostNetwork::default();
        let mut without_neighbours = HashSet::new();
        netlink.dump_each(RouteNetlinkMessage::GetLink(LinkMessage::default()), |message| {
            if let RouteNetlinkMessage::NewLink(link) = message
                && link.header.flags.intersects(LinkFlags::Pointopoint | LinkFlags::Noarp)
            {
                without_neighbours.insert(link.header.index);
            }
        })?;
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = AddressMessage::default();
            request.header.family = family;
            netlink.dump_each(RouteNetlinkMessage::GetAddress(request), |message| {
                if let RouteNetlinkMessage::NewAddress(address) = message {
                    add_address(&mut network, &address);
                }
            })?;
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            netlink.dump_each(RouteNetlinkMessage::GetRoute(request), |message| {
                if let RouteNetlinkMessage::NewRoute(route) = message {
                    add_route(&mut network, &route, &without_neighbours);
                }
            })?;
        }
        Ok(network)
    }

    pub(super) fn add_address(network: &mut HostNetwork, message: &AddressMessage) {
        let (mut address, mut local) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Anycast(ip) => own(network, IpAddr::V6(*ip)),
                _ => {}
            }
        }
        // Of a point-to-point link `Address` is the other end.
        if let Some(ip) = local.or(address) {
            own(network, ip);
        }
        if let Some(net) = address.and_then(|ip| IpNet::new(ip, message.header.prefix_len).ok()) {
            neighbours(network, net.trunc());
        }
    }

    pub(super) fn add_route(
        network: &mut HostNetwork,
        message: &RouteMessage,
        without_neighbours: &HashSet<u32>,
    ) {
        let header = &message.header;
        let destination = message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
            RouteAttribute::Destination(RouteAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
            _ => None,
        });
        // Without a destination it is a default route, which says nothing about neighbours.
        let Some(net) = destination.and_then(|ip| IpNet::new(ip, header.destination_prefix_length).ok())
        else {
            return;
        };
        match header.kind {
            RouteType::Local | RouteType::Anycast if net.prefix_len() == net.max_prefix_len() => {
                own(network, net.addr());
            }
            RouteType::Local | RouteType::Anycast if net.prefix_len() > 0 && !is_left_out(net.addr()) => {
                network.ranges.insert(net.trunc());
            }
            RouteType::Unicast if reaches_neighbours(&message.attributes, without_neighbours) => {
                neighbours(network, net.trunc());
            }
            _ => {}
        }
    }

    /// Tells whether one of a route's ways leads onto a link without a gateway.
    fn reaches_neighbours(attributes: &[RouteAttribute], without_neighbours: &HashSet<u32>) -> bool {
        let led_on = |attributes: &[RouteAttribute]| {
            attributes.iter().any(|attribute| {
                matches!(
                    attribute,
                    RouteAttribute::Gateway(_)
                        | RouteAttribute::Via(_)
                        | RouteAttribute::Encap(_)
                        | RouteAttribute::EncapType(_)
                )
            })
        };
        attributes.iter().any(|attribute| match attribute {
            RouteAttribute::Oif(device) => !led_on(attributes) && !without_neighbours.contains(device),
            RouteAttribute::MultiPath(hops) => hops
                .iter()
                .any(|hop| !led_on(&hop.attributes) && !without_neighbours.contains(&hop.interface_index)),
            _ => false,
        })
    }

    fn own(network: &mut HostNetwork, ip: IpAddr) {
        if !is_left_out(ip) {
            network.addresses.insert(ip);
        }
    }

    fn neighbours(network: &mut HostNetwork, net: IpNet) {
        if net.prefix_len() > 0 && !is_left_out(net.addr()) {
            network.on_link.insert(net);
        }
    }

    fn is_left_out(ip: IpAddr) -> bool {
        ip.is_multicast()
            || match ip {
                IpAddr::V4(ip) => ip.is_link_local(),
                IpAddr::V6(ip) => ip.is_unicast_link_local(),
            }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const TUNNEL: u32 = 7;

        fn route(kind: RouteType, to: &str, mut attributes: Vec<RouteAttribute>) -> RouteMessage {
            let net: IpNet = to.parse().unwrap();
            let mut message = RouteMessage::default();
            message.header.kind = kind;
            message.header.destination_prefix_length = net.prefix_len();
            attributes.push(RouteAttribute::Destination(RouteAddress::from(net.addr())));
            message.attributes = attributes;
            message
        }

        fn on_link(message: &RouteMessage) -> bool {
            let mut network = HostNetwork::default();
            add_route(&mut network, message, &HashSet::from([TUNNEL]));
            assert!(network.addresses.is_empty() && network.ranges.is_empty());
            !network.on_link.is_empty()
        }

        #[test]
        fn neighbours_are_what_is_reached_without_a_gateway() {
            let by = |device| vec![RouteAttribute::Oif(device)];
            let gateway = || RouteAttribute::Gateway(RouteAddress::from(IpAddr::from([10, 0, 0, 1])));
            assert!(on_link(&route(RouteType::Unicast, "198.51.100.0/24", by(2))));
            assert!(on_link(&route(RouteType::Unicast, "2001:db8:7::/64", by(2))));
            let mut led = by(2);
            led.push(gateway());
            assert!(!on_link(&route(RouteType::Unicast, "198.51.100.0/24", led)));
            // A VPN takes half of the internet.
            assert!(!on_link(&route(RouteType::Unicast, "128.0.0.0/1", by(TUNNEL))));
            for kind in [RouteType::BlackHole, RouteType::Unreachable, RouteType::Throw] {
                assert!(!on_link(&route(kind, "198.51.100.0/24", by(2))));
            }
            for never in ["fe80::/64", "169.254.0.0/16", "ff00::/8", "0.0.0.0/0"] {
                assert!(!on_link(&route(RouteType::Unicast, never, by(2))), "{never}");
            }
        }

        #[test]
        fn a_local_route_is_the_machine_itself() {
            let mut network = HostNetwork::default();
            for to in ["10.7.0.1/32", "192.0.2.0/24", "2001:db8::1/128", "0.0.0.0/0"] {
                add_route(&mut network, &route(RouteType::Local, to, Vec::new()), &HashSet::new());
            }
            assert_eq!(network.addresses.len(), 2);
            assert_eq!(network.ranges, ["192.0.2.0/24".parse().unwrap()].into());
            assert!(network.on_link.is_empty());
        }

        #[test]
        fn of_a_point_to_point_link_the_other_end_is_a_neighbour() {
            let mut network = HostNetwork::default();
            let mut message = AddressMessage::default();
            message.header.prefix_len = 32;
            message.attributes = vec![
                AddressAttribute::Address("10.8.0.1".parse().unwrap()),
                AddressAttribute::Local("10.8.0.6".parse().unwrap()),
            ];
            add_address(&mut network, &message);
            assert_eq!(network.addresses, ["10.8.0.6".parse().unwrap()].into());
            assert_eq!(network.on_link, ["10.8.0.1/32".parse().unwrap()].into());
        }

        #[test]
        fn this_machine_has_its_loopback() {
            let network = read().unwrap();
            assert!(network.addresses.contains(&IpAddr::from([127, 0, 0, 1])), "{network:?}");
            network.check().unwrap();
        }
    }
}
