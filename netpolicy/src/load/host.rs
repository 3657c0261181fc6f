//! Hosts with their ports, and everything that people write in their place.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::shape::string;
use super::side::Side;
use crate::diagnostic::Diagnostic;
use crate::floor;
use crate::host::{HostError, HostPattern};
use crate::yaml::{Findings, Node, SourcePlace};

pub(super) fn host_of_map(node: &Node, side: Side, findings: &mut Findings) -> Option<HostPattern> {
    let text = string(node, "a host such as `gitlab.com`", findings)?;
    let (pattern, port) = host_and_port(text, side, &node.place, findings)?;
    if let Some(port) = port {
        let hint = Some(format!("write `host: {pattern}` and `ports: [{port}]`"));
        findings.push(node.place.error("port-in-host", "`host` holds a name only", hint));
        return None;
    }
    Some(pattern)
}

pub(super) fn host_and_port(
    text: &str,
    side: Side,
    place: &SourcePlace,
    findings: &mut Findings,
) -> Option<(HostPattern, Option<u16>)> {
    if let Some(finding) = not_a_host(text, side, place) {
        findings.push(finding);
        return None;
    }
    let (host, port) = match text.rsplit_once(':') {
        None => (text, None),
        Some((host, port_text)) => {
            let from = host.chars().count() + 1;
            let part = place.part(from, port_text.chars().count().max(1));
            (host, Some(port_from_text(port_text, &part, findings)?))
        }
    };
    let part = place.part(0, host.chars().count());
    let pattern =
        HostPattern::parse(host).map_err(|error| findings.push(host_finding(&error, side, &part))).ok()?;
    check_pattern(&pattern, side, &part, findings).then_some((pattern, port))
}

/// Recognizes texts that people write instead of a host, and says what to write.
fn not_a_host(text: &str, side: Side, place: &SourcePlace) -> Option<Diagnostic> {
    if let Some((scheme, rest)) = text.split_once("://") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let host = authority.rsplit('@').next().unwrap_or(authority);
        let port = if scheme == "http" && !host.contains(':') { ":80" } else { "" };
        let hint = (!host.is_empty()).then(|| format!("write `{host}{port}`"));
        return Some(place.error("url", format!("`{text}` is a URL; a rule names a host"), hint));
    }
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(text);
    if let Some(addr) =
        bracketed.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
    {
        let hint = cidr_form(IpNet::from(addr), side, place);
        return Some(place.error(
            "ip-literal",
            format!("`{text}` is an address; a host is a name"),
            Some(hint),
        ));
    }
    if let Ok(net) = text.parse::<IpNet>() {
        let hint = cidr_form(net.trunc(), side, place);
        return Some(place.error(
            "range-as-host",
            format!("`{text}` is a range of addresses; a host is a name"),
            Some(hint),
        ));
    }
    if text.ends_with("/udp") {
        return Some(udp(place));
    }
    if let Some(bare) = text.strip_suffix("/tcp") {
        let hint = Some(format!("write `{bare}`: every rule is about TCP"));
        return Some(place.error("protocol", "a transport is not part of a host", hint));
    }
    if let Some((host, _)) = text.split_once('/') {
        let hint = (!host.is_empty())
            .then(|| format!("write `{host}`: what is under a host cannot be told apart in TLS"));
        return Some(place.error("path", format!("`{text}` has a path; a rule names a host"), hint));
    }
    if let Some((_, host)) = text.rsplit_once('@') {
        let hint = (!host.is_empty()).then(|| format!("write `{host}`"));
        return Some(place.error(
            "user-in-host",
            format!("`{text}` names a user; a rule names a host"),
            hint,
        ));
    }
    if text.matches(':').count() > 1 {
        let hint = Some("write `HOST:PORT`, or several ports as `{host: HOST, ports: [PORT, PORT]}`".into());
        return Some(place.error("host", format!("`{text}` has more than one colon"), hint));
    }
    None
}

fn cidr_form(net: IpNet, side: Side, place: &SourcePlace) -> String {
    if matches!((net, side), (IpNet::V6(_), Side::Allow | Side::Ceiling)) {
        return "permit it by its name: the fence has no IPv6".to_owned();
    }
    let form = match side {
        Side::Allow | Side::Ceiling => format!("`{{cidr: {net}, ports: [PORT]}}`"),
        Side::Deny => format!("`{{cidr: {net}}}`"),
    };
    // A flag has no place for ports of a range.
    if place.line() == 0 { format!("permit it in a policy file, as {form}") } else { format!("write {form}") }
}

pub(super) fn udp(place: &SourcePlace) -> Diagnostic {
    let hint = Some("remove it: DNS works without a rule, and HTTP/3 clients fall back to TCP".into());
    place.error("udp", "UDP is refused inside the fence, but for DNS; no rule can permit it", hint)
}

pub(super) fn port_from_text(text: &str, place: &SourcePlace, findings: &mut Findings) -> Option<u16> {
    let port = text.parse::<u16>().ok().filter(|port| *port > 0 && text.chars().all(|c| c.is_ascii_digit()));
    if port.is_none() {
        let hint = if text == "*" || text.contains('-') {
            Some("list the ports that are needed: `ports: [8000, 8001]`".into())
        } else if text.is_empty() {
            Some("leave the colon out for port 443".into())
        } else {
            Some("write a number, such as 443".into())
        };
        findings.push(place.error("port", format!("`{text}` is no port: ports are 1 to 65535"), hint));
    }
    port
}

fn host_finding(error: &HostError, side: Side, place: &SourcePlace) -> Diagnostic {
    if (error, side) == (&HostError::Everything, Side::Deny) {
        let hint = Some("leave `allow` empty, or run with the network denied".into());
        return place.error("any-host", "`*` would refuse every name", hint);
    }
    let code = match error {
        HostError::Everything => "any-host",
        HostError::Wildcard => "wildcard",
        HostError::Address(_) => "ip-literal",
        _ => "host",
    };
    place.error(code, error.to_string(), error.hint().map(str::to_owned))
}

/// Refuses a permitted pattern that is too wide. Returns `false` when it is an error.
fn check_pattern(pattern: &HostPattern, side: Side, place: &SourcePlace, findings: &mut Findings) -> bool {
    let name = pattern.name();
    if side == Side::Deny || floor::refused_name(name).is_some() {
        // What stands for the host is judged with the whole rule.
        return true;
    }
    if !pattern.is_wildcard() {
        return true;
    }
    match public_suffix(name.as_str()) {
        Some(Some(psl::Type::Icann)) => {
            let message = format!("`{pattern}` would permit every domain under the public suffix `{name}`");
            let hint = Some(format!("name the domain, as in \"*.example.{name}\""));
            findings.push(place.error("public-suffix", message, hint));
            false
        }
        Some(Some(psl::Type::Private)) => {
            let message = format!("anyone can get a name below `{name}`: `{pattern}` permits theirs too");
            let hint = Some("name the host that is meant".into());
            findings.push(place.warning("private-suffix", message, hint));
            true
        }
        Some(None) => {
            let message = format!("`{pattern}` permits a whole top-level domain");
            let hint = Some("name the domain that is meant".into());
            findings.push(place.warning("top-level", message, hint));
            true
        }
        None => true,
    }
}

/// Tells whether a name is itself a public suffix, and of which part of the list; `Some(None)` for
/// a top-level domain that the list does not know.
fn public_suffix(name: &str) -> Option<Option<psl::Type>> {
    // The list may hold an internationalised suffix in either form.
    let unicode = idna::domain_to_unicode(name).0;
    let typ = |text: &str| {
        let suffix = psl::suffix(text.as_bytes())?;
        if suffix.as_bytes() == text.as_bytes() { suffix.typ() } else { None }
    };
    typ(name).or_else(|| typ(&unicode)).map(Some).or_else(|| (!name.contains('.')).then_some(None))
}
