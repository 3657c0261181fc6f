//! Reach of the names of one policy: the half of the comparison that is about addresses asks here.
//!
//! ```text
//!  (port, kind of address) ──▶ a name that is permitted there, and the day on which it is
//! ```

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::cells::is_private;
use super::spans::Span;
use crate::host::HostName;
use crate::policy::Date;

/// A name that is permitted, and a day on which it is.
pub(super) type Permitted = (HostName, Date);

/// Reach of the names of one policy, for the half of the comparison that is about addresses.
#[derive(Default)]
pub(super) struct Reach {
    pub(super) public: BTreeMap<u16, Permitted>,
    private: BTreeMap<u16, Vec<(Span, Permitted)>>,
    pub(super) host: BTreeMap<u16, Permitted>,
}

impl Reach {
    pub(super) fn host_ports(&self) -> impl Iterator<Item = u16> {
        self.host.keys().copied()
    }

    /// Returns the ports on which some name may have this address.
    pub(super) fn ports(&self, host: bool, address: IpAddr) -> impl Iterator<Item = u16> {
        let private = is_private(address);
        let of_host = host.then_some(self.host.keys());
        let of_public = (!host && !private).then_some(self.public.keys());
        let of_private = (!host && private).then_some(self.private.keys());
        let inside = move |port: &u16| self.in_private(address, *port).is_some();
        let of_private = of_private.into_iter().flatten().copied().filter(inside);
        of_host.into_iter().flatten().chain(of_public.into_iter().flatten()).copied().chain(of_private)
    }

    pub(super) fn has(&self, host: bool, address: IpAddr, port: u16) -> bool {
        self.witness(host, address, port).is_some()
    }

    /// Returns a name that is permitted on the port and may have this address, and the day on which
    /// it is.
    pub(super) fn witness(&self, host: bool, address: IpAddr, port: u16) -> Option<&Permitted> {
        match (host, is_private(address)) {
            (true, _) => self.host.get(&port),
            (false, false) => self.public.get(&port),
            (false, true) => self.in_private(address, port),
        }
    }

    fn in_private(&self, address: IpAddr, port: u16) -> Option<&Permitted> {
        let spans = self.private.get(&port)?;
        let after = spans.partition_point(|(span, _)| span.first <= address);
        spans[..after].last().filter(|(span, _)| address <= span.last).map(|(_, witness)| witness)
    }

    /// Takes what was found in private ranges, cell by cell.
    pub(super) fn with_private(mut self, found: HashMap<(u16, Span), Permitted>) -> Reach {
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_unstable_by_key(|((port, span), _)| (*port, span.first, std::cmp::Reverse(span.last)));
        for ((port, span), permitted) in found {
            let spans = self.private.entry(port).or_default();
            if spans.last().is_none_or(|(before, _)| before.last < span.last) {
                spans.push((span, permitted));
            }
        }
        self
    }
}
