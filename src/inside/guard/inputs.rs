//! Inputs of the guard beside its configuration: authorities, the proxy's credentials, the host's
//! address.
//!
//! ```text
//!  roots.pem, proxy-credentials (volume), /etc/hosts (the engine's word) ──read──▶ UpstreamInputs
//! ```

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use netpolicy::floor::Surroundings;
use netpolicy::policy::Policy;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

use super::upstream::{Credentials, UpstreamInputs};
use crate::wire::handover::{GUARD_CREDENTIALS, GUARD_ROOTS, HOST_ALIAS};

/// Names under which engines write the host into a container's hosts file, best first.
const HOST_NAMES: [&str; 2] = [HOST_ALIAS, "host.containers.internal"];

/// Input that was to be there and is not, or is unusable. Never with its content.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missing {
    /// A file.
    #[error("cannot read {path}")]
    File {
        /// Path of the file.
        path: &'static str,
        /// Cause.
        source: io::Error,
    },
    /// The authorities are no PEM.
    #[error("cannot understand {GUARD_ROOTS}")]
    Roots(#[source] pem::Error),
}

/// Reads what this policy needs.
pub(crate) fn read(policy: &Policy) -> Result<UpstreamInputs, Missing> {
    let wants_credentials = policy.proxy.as_ref().is_some_and(|proxy| proxy.credentials_env.is_some());
    let credentials = if wants_credentials {
        let text = fs::read_to_string(GUARD_CREDENTIALS)
            .map_err(|source| Missing::File { path: GUARD_CREDENTIALS, source })?;
        Some(Credentials::new(text))
    } else {
        None
    };
    // Without the alias in it there is no host to reach, which is said when somebody wants to.
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    Ok(UpstreamInputs { roots: read_roots(Path::new(GUARD_ROOTS))?, credentials, hosts: hosts_in(&hosts) })
}

/// Reads the authorities; none where the supervisor sent none.
fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, Missing> {
    match fs::read(path) {
        Ok(text) => CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(Missing::Roots),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Missing::File { path: GUARD_ROOTS, source }),
    }
}

/// Returns the host's addresses in a hosts file: those of the best name first, IPv4 before IPv6.
fn hosts_in(hosts: &str) -> Vec<IpAddr> {
    let of = |wanted: &&str| {
        let mut found: Vec<IpAddr> = hosts
            .lines()
            .filter_map(|line| {
                let mut words = line.split('#').next()?.split_whitespace();
                let address = words.next()?.parse().ok()?;
                words.any(|name| name == *wanted).then_some(address)
            })
            .collect();
        found.sort_by_key(IpAddr::is_ipv6);
        found
    };
    HOST_NAMES.iter().flat_map(of).collect()
}

/// Lets rules with `host-access` mean the first of these addresses, and nothing else reach any of
/// them.
pub(super) fn place_host(surroundings: &mut Surroundings, hosts: &[IpAddr]) {
    surroundings.host_gateway = hosts.first().copied();
    for host in hosts {
        if !surroundings.host_addresses.contains(host) {
            surroundings.host_addresses.push(*host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_the_engine_wrote() {
        let hosts = "127.0.0.1\tlocalhost\nfd00::1 host.docker.internal\n172.17.0.1\thost.docker.internal other # x\n\
                     10.0.2.2 host.containers.internal\n";
        let all = |text: &[&str]| text.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        assert_eq!(hosts_in(hosts), all(&["172.17.0.1", "fd00::1", "10.0.2.2"]));
        assert_eq!(hosts_in("10.0.2.2 a host.containers.internal"), all(&["10.0.2.2"]));
        let none = "# 1.2.3.4 host.docker.internal\n127.0.0.1 localhost\nx host.docker.internal";
        assert_eq!(hosts_in(none), all(&[]));
    }

    #[test]
    fn the_host_is_in_the_floor_as_soon_as_it_is_known() {
        let mut surroundings = Surroundings::default();
        let hosts = ["192.168.65.254", "fd00::1"].map(|text| text.parse().unwrap());
        place_host(&mut surroundings, &hosts);
        place_host(&mut surroundings, &hosts);
        assert_eq!(surroundings.host_addresses, hosts);
        assert_eq!(surroundings.host_gateway, Some(surroundings.host_addresses[0]));
    }
}
