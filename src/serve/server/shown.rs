//! Members as clients are shown them.

use std::net::{IpAddr, Ipv4Addr};

use super::members::ServedMember;
use super::state::Serving;
use crate::serve::answer::networks::NetworkMember;
use crate::serve::answer::shown::{Attached, ServedPort, Shown, attached};

/// The address of every member: a group shares one localhost.
pub(crate) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Serving {
    /// Lets `work` see a member as clients are shown it.
    pub(crate) fn show<T>(
        &self,
        member: &ServedMember,
        running: bool,
        work: impl FnOnce(&Shown<'_>) -> T,
    ) -> T {
        let (name, ports): (String, Vec<ServedPort>) =
            (member.name.borrow().clone(), member.ports.borrow().clone());
        let networks = self.attached(member);
        let shown =
            Shown { name: &name, id: &member.id, asked: &member.asked, networks, ports: &ports, running };
        work(&shown)
    }

    /// Lists the networks of a member.
    fn attached(&self, member: &ServedMember) -> Vec<Attached> {
        let records = self.networks.borrow();
        let of = |record: &crate::serve::answer::networks::NetworkRecord| {
            let aliases = records.aliases(&record.id, &member.id, &member.asked)?;
            Some(attached(&record.found(), aliases, Some(ADDRESS)))
        };
        records.own().iter().filter_map(of).collect()
    }

    /// Lists the members of a network.
    pub(crate) fn network_members(&self, id: &str) -> Vec<NetworkMember> {
        let records = self.networks.borrow();
        let members = self.members.borrow();
        members
            .values()
            .filter(|member| records.aliases(id, &member.id, &member.asked).is_some())
            .map(|member| NetworkMember {
                id: member.id.clone(),
                name: member.name.borrow().clone(),
                address: format!("{ADDRESS}/8"),
            })
            .collect()
    }
}
