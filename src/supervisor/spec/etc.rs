//! The files that an engine lays into every container, as the agent has them: ringfence's own, and
//! read-only.
//!
//! An engine gives the agent its own, which lie on the engine's disk, or in its machine's memory:
//! root in the agent's container could fill that by them, past any limit. And they name what is not
//! there: `::1` for `localhost` while IPv6 is off, the engine's own name server.

use std::net::Ipv4Addr;

use bollard::models::ContainerCreateBody;
use netpolicy::host::HostName;
use netpolicy::policy::Policy;
use netpolicy::service::ServiceName;
use netpolicy::virtual_names::VirtualNames;

use crate::supervisor::engine::dialect::{Dialect, HostNames, Hostname};

/// The name of the agent's machine, as the fence's container has it.
pub(super) const HOSTNAME: &str = "agent";

/// The address of that name, as Debian has it.
pub(super) const OWN_NAME: &str = "127.0.1.1";

/// Names of the host that an engine may write into every hosts file, with the host's address.
pub(crate) const HOST_NAMES: [&str; 2] = ["host.containers.internal", "host.docker.internal"];

/// The file of names.
const HOSTS: &str = "/etc/hosts";
/// The places of files that name hosts and resolvers.
const PLACES: [&str; 3] = [HOSTS, "/etc/hostname", "/etc/resolv.conf"];

/// Tells whether a file is laid over an engine's own one, rather than over one of a person's.
pub(crate) fn is_own_file(place: &str, mark: Option<&'static str>) -> bool {
    PLACES.contains(&place) || mark == Some(place)
}

/// Has the engine write the services' names into the hosts file of everything in the fence, for
/// engines that cannot be given ringfence's own.
pub(crate) fn name_services(services: &[ServiceName], fence: &mut ContainerCreateBody) {
    if !services.is_empty() {
        let lines = services.iter().map(|name| format!("{name}:127.0.0.1"));
        let host = fence.host_config.get_or_insert_default();
        host.extra_hosts.get_or_insert_default().extend(lines);
    }
}

/// Returns the files by their place, `mark` among them where the engine lays it into containers.
/// Port 53 of every address is the filter's, `resolver`'s too.
pub(crate) fn files(
    mark: Option<&'static str>,
    resolver: Ipv4Addr,
    services: &[ServiceName],
) -> Vec<(&'static str, String)> {
    let services: String = services.iter().map(|name| format!("127.0.0.1\t{name}\n")).collect();
    let mut files = vec![
        (HOSTS, format!("127.0.0.1\tlocalhost\n{OWN_NAME}\t{HOSTNAME}\n{services}")),
        (PLACES[1], format!("{HOSTNAME}\n")),
        (PLACES[2], format!("nameserver {resolver}\noptions ndots:1\n")),
    ];
    files.extend(mark.map(|mark| (mark, String::new())));
    files
}

/// Tells whether the engine can mount a file of this machine into every container: it sees them,
/// and no labels of SELinux keep it from that.
pub(crate) fn can_be_given(dialect: &Dialect, local: bool, elsewhere: bool) -> bool {
    local && !elsewhere && !dialect.labels_files
}

/// Gives the agent's hosts file, which is the fence's, lines for the host's names, where the engine
/// would write the host's own address there: programs would not ask the filter for a name that the
/// policy permits, and what they then connect to is refused.
pub(crate) fn name_host(names: HostNames, policy: &Policy, fence: &mut ContainerCreateBody) {
    if names == HostNames::Always {
        let host = fence.host_config.get_or_insert_default();
        host.extra_hosts.get_or_insert_default().extend(host_lines(policy));
    }
}

fn host_lines(policy: &Policy) -> Vec<String> {
    let names = VirtualNames::new(policy);
    let address = |name: &str| names.address_of(&HostName::parse(name).ok()?);
    HOST_NAMES.iter().filter_map(|name| Some(format!("{name}:{}", address(name)?))).collect()
}

/// Names the agent's machine as its hosts file does, where it would have a name of its own.
pub(crate) fn name_agent(hostname: Hostname, agent: &mut ContainerCreateBody) {
    if hostname == Hostname::OfEachContainer {
        agent.hostname = Some(HOSTNAME.to_owned());
    }
}

/// Paths that stay read-only where the engine's own files are the agent's: those files, and what
/// engines have read-only unless they are told otherwise, since a list takes the place of theirs.
pub(crate) fn read_only_paths() -> Vec<String> {
    let usual = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
    usual.into_iter().chain(PLACES).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_named_that_is_not_there() {
        let texts = |mark| files(mark, Ipv4Addr::new(25, 0, 255, 255), &[]).into_iter().map(|(_, text)| text);
        let [hosts, hostname, resolv] = texts(None).collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(texts(Some("/run/.containerenv")).skip(3).collect::<Vec<_>>(), [""]);
        assert!(hosts.contains("localhost\n") && hosts.contains("\tagent\n") && !hosts.contains("::"));
        assert_eq!(hostname, "agent\n");
        let named = files(None, Ipv4Addr::new(25, 0, 255, 255), &["db".parse().unwrap()]);
        assert_eq!(named[0].1, "127.0.0.1\tlocalhost\n127.0.1.1\tagent\n127.0.0.1\tdb\n");
        let mut fence = ContainerCreateBody::default();
        name_services(&[], &mut fence);
        assert!(fence.host_config.is_none());
        name_services(&["db".parse().unwrap()], &mut fence);
        assert_eq!(fence.host_config.unwrap().extra_hosts.unwrap(), ["db:127.0.0.1"]);
        assert_eq!(resolv, "nameserver 25.0.255.255\noptions ndots:1\n");
    }
}
