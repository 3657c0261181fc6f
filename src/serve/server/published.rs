//! Bounds of published ports. They are this machine's, and no more of them than it can spare.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::fences::MemberFence;
use super::state::Serving;
use crate::serve::answer::asked::PortAsked;
use crate::serve::denied::Denied;
use crate::wire::WorkflowId;

/// Published ports of all containers, at both addresses of loopback: programs that connect to
/// others need such ports, too.
const MOST: usize = 512;
/// Containers of one group with published ports: each has a helper in the fence, which has room for
/// 64 processes.
const MOST_OF_GROUP: usize = 40;
/// Ports below this one are of the machine's own services.
const FIRST: u16 = 1024;

/// Ports of a member that is being made, until it is there.
pub(crate) struct PromisedPorts {
    serving: Rc<Serving>,
    of: (WorkflowId, usize),
}

impl Drop for PromisedPorts {
    fn drop(&mut self) {
        let mut promised = self.serving.promised.borrow_mut();
        if let Some(at) = promised.iter().position(|promise| *promise == self.of) {
            promised.swap_remove(at);
        }
    }
}

impl Serving {
    /// Promises ports to a new member of a fence.
    ///
    /// # Errors
    /// When there are too many, or the system's own is among them.
    pub(crate) fn promise_ports(
        self: &Rc<Self>,
        fence: &MemberFence,
        asked: &[PortAsked],
    ) -> Result<PromisedPorts, Denied> {
        let mut all = self.promised.borrow().clone();
        all.extend(
            self.members.borrow().values().map(|member| (member.fence.id(), member.asked.ports.len())),
        );
        let there = all.iter().map(|(_, count)| count).sum();
        let of_group = all.iter().filter(|(of, count)| *of == fence.id() && *count > 0).count();
        admit(asked, there, of_group, rustix::process::geteuid().is_root())?;
        let of = (fence.id(), asked.len());
        self.promised.borrow_mut().push(of);
        Ok(PromisedPorts { serving: Rc::clone(self), of })
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
