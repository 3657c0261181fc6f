//! The agent's access to the kernel and its image: capabilities, system calls, writable places in
//! memory.
//!
//! Plain data, laid on what the engine is asked for. Devices, host namespaces and privilege have no
//! option at all.

use std::collections::HashMap;

use bollard::models::HostConfig;
use netpolicy::settings::Capabilities;

/// Capabilities of root that an agent may need to install packages and change users in its own
/// container.
pub(crate) const CAPABILITIES: [&str; 7] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETUID", "SETGID", "KILL"];
/// `/dev/shm` unless anybody says otherwise: browsers want more than the engines' 64 MiB.
pub(crate) const SHM: u64 = 1 << 30;
/// Written by nearly every program: in memory where the image is read-only.
const SCRATCH: [&str; 3] = ["/tmp", "/run", "/var/tmp"];

/// Access of an agent's container to the kernel and its image.
#[derive(Debug, Clone)]
pub(crate) struct Surface {
    /// Capabilities that root keeps.
    pub(crate) capabilities: Capabilities,
    /// Tells whether the image cannot be written.
    pub(crate) read_only: bool,
    /// Places in memory.
    pub(crate) tmpfs: Vec<String>,
    /// Size of `/dev/shm` in bytes.
    pub(crate) shm: u64,
}

impl Default for Surface {
    fn default() -> Self {
        Surface { capabilities: Capabilities::Default, read_only: false, tmpfs: Vec::new(), shm: SHM }
    }
}

impl Surface {
    /// Adds it to what the engine is asked for. `memory` is the agent's limit: what lies in memory
    /// counts there. `filter` is the filter of system calls as the engine wants it: a profile, or
    /// the path of one. Capabilities are root's alone: on Docker another user has none of those
    /// that a container keeps, on Podman all that are asked for. `empty` is the option by which a
    /// place in memory begins empty, where the engine needs one.
    pub(crate) fn lay_on(
        &self,
        host: &mut HostConfig,
        memory: u64,
        filter: &str,
        as_root: bool,
        empty: Option<&str>,
    ) {
        let kept: &[&str] = match self.capabilities {
            Capabilities::Default if as_root => &CAPABILITIES,
            Capabilities::Default | Capabilities::None => &[],
        };
        host.cap_drop = Some(vec!["ALL".to_owned()]);
        host.cap_add = Some(kept.iter().map(|name| (*name).to_owned()).collect());
        host.privileged = Some(false);
        host.security_opt = Some(vec!["no-new-privileges".to_owned(), format!("seccomp={filter}")]);
        host.ipc_mode = Some("private".to_owned());
        host.readonly_rootfs = Some(self.read_only);
        host.shm_size = Some(i64::try_from(self.shm).unwrap_or(i64::MAX));
        // No half of the memory is worth more than an agent that is told "no space" rather than
        // killed.
        let mut options = format!("rw,exec,nosuid,nodev,mode=1777,size={}", memory / 2);
        if let Some(empty) = empty {
            options = format!("{options},{empty}");
        }
        let places = self.places_in_memory().into_iter();
        host.tmpfs = Some(places.map(|path| (path, options.clone())).collect::<HashMap<_, _>>());
    }

    /// Paths of the agent's container that lie in memory.
    pub(crate) fn places_in_memory(&self) -> Vec<String> {
        let scratch = if self.read_only { &SCRATCH[..] } else { &[] };
        scratch.iter().map(|path| (*path).to_owned()).chain(self.tmpfs.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(surface: &Surface) -> HostConfig {
        let mut host = HostConfig::default();
        surface.lay_on(&mut host, 4 << 30, "{}", true, None);
        host
    }

    #[test]
    fn capabilities_can_be_taken_and_never_added() {
        let usual = host(&Surface::default());
        assert_eq!(usual.cap_add.unwrap().len(), 7);
        let none = host(&Surface { capabilities: Capabilities::None, ..Surface::default() });
        assert_eq!((none.cap_add, none.cap_drop), (Some(vec![]), Some(vec!["ALL".to_owned()])));
    }

    #[test]
    fn a_read_only_image_has_room_in_memory() {
        assert_eq!(host(&Surface::default()).tmpfs, Some(HashMap::new()));
        let surface = Surface { read_only: true, tmpfs: vec!["/cache".to_owned()], ..Surface::default() };
        let made = host(&surface);
        assert_eq!(made.readonly_rootfs, Some(true));
        let mut places: Vec<_> = made.tmpfs.unwrap().into_iter().collect();
        places.sort();
        let options = "rw,exec,nosuid,nodev,mode=1777,size=2147483648";
        assert_eq!(
            places,
            ["/cache", "/run", "/tmp", "/var/tmp"].map(|path| (path.to_owned(), options.to_owned()))
        );
        let mut made = HostConfig::default();
        surface.lay_on(&mut made, 4 << 30, "{}", true, Some("notmpcopyup"));
        let emptied = format!("{options},notmpcopyup");
        assert!(made.tmpfs.unwrap().values().all(|given| *given == emptied));
    }
}
