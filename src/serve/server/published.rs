//! Bounds of published ports. They are this machine's, and no more of them than it can spare.

use std::collections::BTreeSet;

use super::fences::MemberFence;
use super::state::Serving;
use crate::serve::answer::asked::PortAsked;
use crate::serve::denied::Denied;

/// Published ports of all containers, at both addresses of loopback: programs that connect to
/// others need such ports, too.
const MOST: usize = 512;
/// Containers of one group with published ports: each has a helper in the fence, which has room for
/// 64 processes.
const MOST_OF_GROUP: usize = 40;
/// Ports below this one are of the machine's own services.
const FIRST: u16 = 1024;

impl Serving {
    /// Refuses ports that a new member of a fence cannot have.
    ///
    /// # Errors
    /// When there are too many, or the system's own is among them.
    pub(crate) fn admit_ports(&self, fence: &MemberFence, asked: &[PortAsked]) -> Result<(), Denied> {
        let there = self.members.borrow().values().map(|member| member.asked.ports.len()).sum();
        let of_group = self.members_of(fence).iter().filter(|member| !member.asked.ports.is_empty()).count();
        admit(asked, there, of_group, rustix::process::geteuid().is_root())
    }
}

/// Decides on ports, where so many are there, and so many containers of the group have some.
fn admit(asked: &[PortAsked], there: usize, of_group: usize, is_root: bool) -> Result<(), Denied> {
    let refused = |why: String| Err(Denied::field("HostConfig.PortBindings", why));
    let system: BTreeSet<u16> =
        asked.iter().map(|port| port.host).filter(|port| *port != 0 && *port < FIRST).collect();
    if let Some(port) = system.first().filter(|_| is_root) {
        return refused(format!(
            "{port} is a port of the system, which root would give away; publish one from {FIRST} on"
        ));
    }
    if asked.is_empty() {
        return Ok(());
    }
    if there + asked.len() > MOST {
        return refused(format!(
            "the containers of this socket publish at most {MOST} ports; remove some first"
        ));
    }
    if of_group >= MOST_OF_GROUP {
        return refused(format!(
            "{MOST_OF_GROUP} containers of this group publish ports already; remove some first"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(all: impl IntoIterator<Item = u16>) -> Vec<PortAsked> {
        all.into_iter().map(|host| PortAsked { container: 80, host, ..PortAsked::default() }).collect()
    }

    #[test]
    fn ports_are_so_many_and_none_is_the_systems() {
        assert!(admit(&ports([0, 1024, 8080]), 0, 0, true).is_ok());
        for port in [1, 22, 80, 1023] {
            assert!(admit(&ports([port]), 0, 0, true).is_err(), "{port}");
            assert!(admit(&ports([port]), 0, 0, false).is_ok(), "the kernel says who may: {port}");
        }
        assert!(
            admit(&ports([0; 12]), 500, 0, true).is_ok() && admit(&ports([0; 13]), 500, 0, true).is_err()
        );
        assert!(admit(&ports([0]), 0, 39, true).is_ok() && admit(&ports([0]), 0, 40, true).is_err());
        assert!(admit(&[], 512, 40, true).is_ok(), "one that publishes nothing");
    }
}
