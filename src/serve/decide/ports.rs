//! Ports of a container, which ringfence serves on this machine's loopback.

use std::collections::BTreeSet;

use crate::serve::answer::asked::PortAsked;
use crate::serve::denied::Denied;
use crate::serve::request::bodies::{CreateBody, HostBody, PortBody, empty_values};
use crate::serve::text::shown;
use crate::supervisor::spec::image::{Image, tcp_ports};

/// The most ports of one container that are published, as of one forward.
const MOST: usize = 64;
/// The most ports of one container that are exposed.
const MOST_EXPOSED: usize = 200;
/// The most ports of one range.
const MOST_OF_RANGE: u16 = 100;

/// Ports that are exposed and published.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// Exposed ones, as `80/tcp`.
    pub(super) exposed: Vec<String>,
    /// Published ones.
    pub(super) ports: Vec<PortAsked>,
}

/// Decides which ports are served.
///
/// # Errors
/// When one is no port, or is to be served elsewhere than on loopback.
pub(super) fn decide(
    body: &CreateBody,
    host: &HostBody,
    image: &Image,
    warnings: &mut Vec<String>,
) -> Result<Published, Denied> {
    let mut exposed = BTreeSet::new();
    for word in empty_values(body.exposed_ports.as_ref()) {
        let (ports, protocol) = read("ExposedPorts", &word)?;
        exposed.extend(ports.into_iter().map(|port| (port, protocol)));
    }
    let mut ports = Vec::new();
    for (word, bindings) in host.port_bindings.iter().flatten() {
        let (containers, protocol) = read("HostConfig.PortBindings", word)?;
        exposed.extend(containers.iter().map(|port| (*port, protocol)));
        if protocol != "tcp" {
            warnings.push(format!(
                "ringfence: HostConfig.PortBindings: {} is not served: only TCP is",
                shown(word)
            ));
            continue;
        }
        let any = vec![PortBody::default()];
        let bindings = bindings.as_ref().filter(|all| !all.is_empty()).unwrap_or(&any);
        for (binding, container) in
            bindings.iter().flat_map(|binding| containers.iter().map(move |port| (binding, *port)))
        {
            ports.push(published(binding, container, warnings)?);
            few(ports.len(), MOST)?;
        }
    }
    if host.publish_all_ports == Some(true) {
        let all = exposed.iter().filter(|(_, protocol)| *protocol == "tcp").map(|(port, _)| *port);
        let all: BTreeSet<u16> = all.chain(image.ports.iter().copied()).collect();
        let known: Vec<u16> = ports.iter().map(|port| port.container).collect();
        let more = all.into_iter().filter(|port| !known.contains(port));
        ports.extend(more.map(|container| PortAsked { container, ..PortAsked::default() }));
    }
    ports.sort();
    ports.dedup();
    few(ports.len(), MOST)?;
    few(exposed.len(), MOST_EXPOSED)?;
    let exposed: Vec<String> =
        exposed.into_iter().map(|(port, protocol)| format!("{port}/{protocol}")).collect();
    clash(&exposed, &ports, warnings);
    Ok(Published { exposed, ports })
}

/// Refuses too many ports.
fn few(count: usize, most: usize) -> Result<(), Denied> {
    if count <= most {
        return Ok(());
    }
    Err(Denied::field("HostConfig.PortBindings", format!("a container has at most {most} ports; give fewer")))
}

/// Reads `80`, `80/tcp` and `8000-8010/tcp`.
fn read(field: &str, word: &str) -> Result<(Vec<u16>, &'static str), Denied> {
    let bad = || Denied::field(field, format!("{} is no port; write PORT/tcp", shown(word)));
    let (ports, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = ["tcp", "udp", "sctp"].into_iter().find(|known| protocol.eq_ignore_ascii_case(known));
    let protocol = protocol.ok_or_else(bad)?;
    let port = |text: &str| {
        let is_number = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u16>().ok()).flatten().filter(|port| *port > 0)
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last) = (port(first).ok_or_else(bad)?, port(last).ok_or_else(bad)?);
    if last < first || last - first >= MOST_OF_RANGE {
        return Err(bad());
    }
    Ok(((first..=last).collect(), protocol))
}

/// Reads one binding. Every address of this machine is its loopback.
fn published(binding: &PortBody, container: u16, warnings: &mut Vec<String>) -> Result<PortAsked, Denied> {
    let ip = binding.host_ip.as_deref().unwrap_or_default();
    match ip {
        "127.0.0.1" | "::1" => {}
        "" | "0.0.0.0" | "::" => {
            if !warnings.iter().any(|warning| warning.contains("served on this machine's loopback")) {
                warnings.push(
                    "ringfence: HostConfig.PortBindings: ports are served on this machine's loopback only, \
                     127.0.0.1 and ::1"
                        .to_owned(),
                );
            }
        }
        other => {
            let why = format!("{} is not this machine's loopback; write 127.0.0.1", shown(other));
            return Err(Denied::field("HostConfig.PortBindings", why));
        }
    }
    let word = binding.host_port.as_deref().unwrap_or_default();
    // A range asks for any free port of it; the first is the one that is tried.
    let first = word.split('-').next().unwrap_or_default();
    let host = match first {
        "" => Some(0),
        digits if digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok()
        }
        _ => None,
    };
    let host = host.ok_or_else(|| {
        Denied::field(
            "HostConfig.PortBindings",
            format!("{} is no port of this machine; write a number", shown(word)),
        )
    })?;
    Ok(PortAsked { container, host_ip: ip.to_owned(), host })
}

/// Warns of ports that the fence has itself.
fn clash(exposed: &[String], ports: &[PortAsked], warnings: &mut Vec<String>) {
    let all = tcp_ports(exposed).into_iter().chain(ports.iter().map(|port| port.container));
    let reserved: BTreeSet<u16> =
        all.filter(|port| netpolicy::ruleset::RESERVED_PORTS.contains(port)).collect();
    for port in reserved {
        warnings.push(format!("ringfence: the fence has port {port} itself; a program cannot listen on it"));
    }
}
