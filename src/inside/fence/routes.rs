//! The routes that keep every packet inside: the first lock.
//!
//! ```text
//!  lo up ─▶ every route outside table `local` away ─▶ `local default dev lo src OWN` ─▶ read back
//! ```
//!
//! The flush comes first: without rules of its own a namespace merges the tables `main` and
//! `local`, and an on-link route there is longer than `default`, so it would win.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockProtocol;

use super::{device, failed};
use crate::host::netlink::Netlink;
use crate::term::Failure;

/// The kernel's number of the table that is asked first.
const LOCAL: u32 = 255;

/// IPv4 route, with the parts that are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    table: u32,
    kind: RouteType,
    to: Option<Ipv4Net>,
    device: Option<u32>,
    source: Option<Ipv4Addr>,
}

/// Sends every address in the world to `lo`.
pub(crate) fn make(own: Ipv4Addr) -> Result<(), Failure> {
    let netlink = open()?;
    let lo = loopback()?;
    netlink.ask(RouteNetlinkMessage::SetLink(device::up(lo)), 0).map_err(failed("cannot switch lo on"))?;
    for route in dump(&netlink)? {
        if table(&route) == LOCAL {
            continue;
        }
        match netlink.ask(RouteNetlinkMessage::DelRoute(route.clone()), 0) {
            Ok(()) => {}
            // Went away together with another one.
            Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => {}
            Err(error) => {
                return Err(failed(format!("cannot remove the route {:?}", Route::from(&route)))(error));
            }
        }
    }
    netlink
        .ask(RouteNetlinkMessage::NewRoute(everything_is_local(lo, own)), NLM_F_CREATE | NLM_F_REPLACE)
        .map_err(failed("cannot add `local default dev lo`"))
}

/// Compares the kernel's routes with those that [`make`] made, and returns the differences.
pub(crate) fn doubts(own: Ipv4Addr) -> Result<Vec<String>, Failure> {
    let routes: Vec<Route> = dump(&open()?)?.iter().map(Route::from).collect();
    Ok(judge(&routes, loopback()?, own))
}

fn judge(routes: &[Route], lo: u32, own: Ipv4Addr) -> Vec<String> {
    let fence = |r: &&Route| r.table == LOCAL && r.to.is_none_or(|to| to.prefix_len() == 0);
    let mut doubts: Vec<String> = routes
        .iter()
        .filter(|r| !fence(r))
        // The kernel's own entries: an address of this machine, and the broadcast addresses of its
        // networks.
        .filter(|r| r.table != LOCAL || !matches!(r.kind, RouteType::Local | RouteType::Broadcast))
        .map(|r| format!("there is another route: {r:?}"))
        .collect();
    match routes.iter().filter(fence).collect::<Vec<_>>().as_slice() {
        [only] if only.kind == RouteType::Local && only.device == Some(lo) && only.source == Some(own) => {}
        others => {
            doubts.push(format!("`local default dev lo src {own}` is not the only default: {others:?}"))
        }
    }
    doubts
}

fn open() -> Result<Netlink, Failure> {
    Netlink::open(SockProtocol::NetlinkRoute).map_err(failed("cannot speak to the kernel's routing"))
}

fn loopback() -> Result<u32, Failure> {
    if_nametoindex("lo").map_err(failed("there is no device lo"))
}

fn dump(netlink: &Netlink) -> Result<Vec<RouteMessage>, Failure> {
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet;
    let found =
        netlink.dump(RouteNetlinkMessage::GetRoute(request)).map_err(failed("cannot list the routes"))?;
    let routes = found.into_iter().map(|message| match message {
        RouteNetlinkMessage::NewRoute(route) => Ok(route),
        other => Err(io::Error::other(format!("{other:?}"))),
    });
    routes.collect::<io::Result<_>>().map_err(failed("the kernel listed something else than routes"))
}

fn everything_is_local(lo: u32, own: Ipv4Addr) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        address_family: AddressFamily::Inet,
        table: LOCAL as u8,
        protocol: RouteProtocol::Boot,
        scope: RouteScope::Host,
        kind: RouteType::Local,
        ..RouteHeader::default()
    };
    route.attributes = vec![RouteAttribute::Oif(lo), RouteAttribute::PrefSource(IpAddr::V4(own).into())];
    route
}

fn table(route: &RouteMessage) -> u32 {
    let written =
        route.attributes.iter().find_map(|a| if let RouteAttribute::Table(t) = a { Some(*t) } else { None });
    written.unwrap_or(u32::from(route.header.table))
}

impl From<&RouteMessage> for Route {
    fn from(message: &RouteMessage) -> Self {
        let mut route =
            Route { table: table(message), kind: message.header.kind, to: None, device: None, source: None };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(to)) => {
                    route.to = Ipv4Net::new(*to, message.header.destination_prefix_length).ok();
                }
                RouteAttribute::Oif(device) => route.device = Some(*device),
                RouteAttribute::PrefSource(RouteAddress::Inet(source)) => route.source = Some(*source),
                _ => {}
            }
        }
        route
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

    fn route(table: u32, kind: RouteType, to: &str, device: u32) -> Route {
        let to = (to != "default").then(|| to.parse().unwrap());
        Route { table, kind, to, device: Some(device), source: Some(OWN) }
    }

    fn made() -> Vec<Route> {
        vec![
            route(LOCAL, RouteType::Local, "default", 1),
            route(LOCAL, RouteType::Local, "127.0.0.0/8", 1),
            route(LOCAL, RouteType::Local, "198.18.0.2/32", 7),
            route(LOCAL, RouteType::Broadcast, "198.18.0.7/32", 7),
        ]
    }

    #[test]
    fn what_was_made_is_beyond_doubt() {
        assert_eq!(judge(&made(), 1, OWN), Vec::<String>::new());
    }

    #[test]
    fn an_on_link_route_a_second_default_or_none_is_a_doubt() {
        let with = |extra| judge(&made().into_iter().chain([extra]).collect::<Vec<_>>(), 1, OWN).len();
        assert_eq!(with(route(254, RouteType::Unicast, "198.18.0.0/29", 7)), 1);
        assert_eq!(with(route(100, RouteType::Unicast, "default", 7)), 1);
        assert_eq!(with(route(LOCAL, RouteType::Unicast, "default", 7)), 1);
        assert_eq!(with(route(LOCAL, RouteType::Unicast, "10.0.0.0/8", 7)), 1);
        assert_eq!(judge(&made()[1..], 1, OWN).len(), 1);
        assert_eq!(judge(&made(), 2, OWN).len(), 1);
    }
}
