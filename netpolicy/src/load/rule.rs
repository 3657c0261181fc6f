//! One line of `allow`, `deny` or `ceiling`: a host with its port, or a mapping.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use super::host::{host_and_port, host_of_map, port_from_text, udp};
use super::range::{private_range, range, warn_of_floor};
use super::shape::{self, list, nearest, string, wrong_type};
use super::side::Side;
use crate::diagnostic::Diagnostic;
use crate::floor;
use crate::host_access::{HostAccess, LOOPBACK_ENDING};
use crate::policy::{Date, Layer, Matcher, Origin, Protocol, ResolvedBy, Rule};
use crate::reason::Reason;
use crate::ruleset::{FILTER_PORT, RESERVED_PORTS};
use crate::yaml::{Findings, Node, SourcePlace, Value};

/// Addresses by which the agent reaches itself; the kernel takes the second for the first.
const LOOPBACK: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 32)),
];
const PROTOCOLS: &[&str] = &["tls", "http", "tcp", "auto"];

/// Makes a rule with a target and ports, and no further conditions.
pub(super) fn plain(matcher: Matcher, mut ports: Vec<u16>, layer: Layer, place: &SourcePlace) -> Rule {
    ports.sort_unstable();
    ports.dedup();
    let text = Rule::text(&matcher, &ports);
    let origin = Origin { layer, file: place.file_name().to_owned(), line: place.line(), text };
    Rule::new(matcher, ports, origin)
}

/// Reads one entry.
pub(super) fn rule(node: &Node, side: Side, layer: Layer, findings: &mut Findings) -> Option<Rule> {
    if let Value::Map(pairs) = &node.value {
        return from_map(node, pairs, side, layer, findings);
    }
    let expected = "a host such as `gitlab.com` or `gitlab.com:8443`";
    if node.kind() == "a number" {
        let hint = Some("a port follows its host: `gitlab.com:8443`; an address is `{cidr: …}`".into());
        findings.push(wrong_type(node, &format!("expected {expected}"), hint));
        return None;
    }
    let text = string(node, expected, findings)?;
    let (pattern, port) = host_and_port(text, side, &node.place, findings)?;
    let rule = plain(Matcher::Host(pattern), side.default_ports(port), layer, &node.place);
    check(&rule, side, &node.place, findings).then_some(rule)
}

/// Values of a mapping's keys.
#[derive(Default)]
struct Parts {
    ports: Option<Vec<u16>>,
    protocol: Option<Protocol>,
    private: Vec<IpNet>,
    expires: Option<Date>,
    resolved_by: ResolvedBy,
    host_access: HostAccess,
    reason: Option<String>,
}

fn from_map(
    node: &Node,
    pairs: &[(Node, Node)],
    side: Side,
    layer: Layer,
    findings: &mut Findings,
) -> Option<Rule> {
    if let Some(trap) = host_read_as_key(pairs) {
        findings.push(trap);
        return None;
    }
    let mut parts = Parts::default();
    let mut matchers = Vec::new();
    let mut broken = false;
    for (key, value) in pairs {
        let good = match key.as_str() {
            Some("host") => {
                let pattern = host_of_map(value, side, findings);
                let good = pattern.is_some();
                matchers.push((key, pattern.map(Matcher::Host)));
                good
            }
            Some("cidr") => {
                let text = string(value, "a range such as `198.51.100.0/24`", findings);
                let net = text.and_then(|text| range(text, side, &value.place, findings));
                let good = net.is_some();
                matchers.push((key, net.map(Matcher::Cidr)));
                good
            }
            Some(word) => parts.read(word, key, value, side, layer, findings),
            None => {
                side.section().refuses(key, layer, findings);
                false
            }
        };
        broken |= !good;
    }
    if let [_, (second, _), ..] = matchers.as_slice() {
        let hint = Some("write two rules".into());
        findings.push(second.place.error("host-and-cidr", "a rule has either `host` or `cidr`", hint));
        return None;
    }
    let Some((_, matcher)) = matchers.pop() else {
        if !broken {
            findings.push(node.place.error("no-target", "a rule needs `host` or `cidr`", None));
        }
        return None;
    };
    let matcher = matcher?;
    if let (Matcher::Cidr(net), Side::Allow | Side::Ceiling) = (&matcher, side) {
        if !pairs.iter().any(|(key, _)| key.as_str() == Some("ports")) {
            let hint = Some(format!("write `{{cidr: {net}, ports: [443]}}`"));
            findings.push(node.place.error("ports", "a permitted range needs `ports`", hint));
            return None;
        }
        if side == Side::Allow {
            warn_of_floor(*net, &parts.private, node, findings);
        }
    }
    if broken {
        return None;
    }
    let ports = parts.ports.unwrap_or_else(|| side.default_ports(None));
    let mut rule = Rule {
        protocol: parts.protocol,
        private: parts.private,
        expires: parts.expires,
        resolved_by: parts.resolved_by,
        host_access: parts.host_access,
        reason: parts.reason,
        ..plain(matcher, ports, layer, &node.place)
    };
    if rule.host_access == HostAccess::Loopback {
        rule.origin.text.push_str(LOOPBACK_ENDING);
    }
    check(&rule, side, &node.place, findings).then_some(rule)
}

impl Parts {
    /// Reads a key other than `host` and `cidr`; `false` when something was wrong with it.
    fn read(
        &mut self,
        word: &str,
        key: &Node,
        value: &Node,
        side: Side,
        layer: Layer,
        findings: &mut Findings,
    ) -> bool {
        if side == Side::Deny && shape::RULE.keys.contains(&word) && !shape::DENIAL.keys.contains(&word) {
            let hint = match word {
                "expires" => "a denial that ended would open something; remove it when its time has come",
                _ => "a denial speaks about every protocol and every address",
            };
            let message = format!("`{word}` is no key of a denial");
            findings.push(key.place.error("unknown-key", message, Some(hint.into())));
            return false;
        }
        if side.section().refuses(key, layer, findings) {
            return false;
        }
        match word {
            "ports" => {
                self.ports = port_list(value, findings);
                self.ports.is_some()
            }
            "protocol" => {
                self.protocol = protocol_of(value, findings);
                self.protocol.is_some()
            }
            "private" => {
                let items = list(value, "`private` is a list of ranges", findings);
                self.private = items.iter().filter_map(|item| private_range(item, findings)).collect();
                self.private.len() == items.len() && matches!(value.value, Value::List(_))
            }
            "expires" => {
                self.expires = day(value, findings);
                self.expires.is_some()
            }
            "resolved-by" => {
                let found = resolver(value, findings);
                self.resolved_by = found.unwrap_or_default();
                found.is_some()
            }
            "host-access" => {
                let found = host_access(value, findings);
                self.host_access = found.unwrap_or_default();
                found.is_some()
            }
            "reason" => {
                self.reason = reason_of(value, findings);
                self.reason.is_some()
            }
            _ => false,
        }
    }
}

/// Refuses a rule that no policy may have, in whichever form it was written. Returns `false` when
/// it is an error.
pub(super) fn check(rule: &Rule, side: Side, place: &SourcePlace, findings: &mut Findings) -> bool {
    if side == Side::Deny {
        return true;
    }
    if let Some(port) = rule.ports.iter().find(|port| RESERVED_PORTS.contains(port)) {
        let (message, hint) = match *port {
            FILTER_PORT => (
                "port 53 of every address is the DNS filter's: no rule can permit what is behind it"
                    .to_owned(),
                "leave it out: names are resolved without a rule, and a resolver may be asked by HTTPS on port 443",
            ),
            port => (
                format!("the fence listens on port {port} itself: no rule can permit what is behind it"),
                "have the server listen on another port",
            ),
        };
        findings.push(place.error("reserved-port", message, Some(hint.into())));
        return false;
    }
    let pattern = match &rule.matcher {
        Matcher::Host(pattern) => pattern,
        Matcher::Cidr(_) => return check_range(rule, place, findings),
    };
    let name = pattern.name();
    let finding = match (floor::refused_name(name), rule.host_access.is_given()) {
        (None, false) => return true,
        (Some(Reason::MetadataAddress), _) => {
            let message = format!("`{name}` stands for a cloud's metadata service and is always refused");
            place.error("host-alias", message, None)
        }
        (Some(_), false) => {
            let message = format!("`{name}` stands for the machine itself and is refused");
            let ports: Vec<String> = rule.ports.iter().map(u16::to_string).collect();
            let own_loopback = name.as_str() == "localhost" || name.as_str().ends_with(".localhost");
            let hint = if own_loopback {
                "the agent's own localhost needs no rule".to_owned()
            } else if rule.origin.layer == Layer::Project {
                "the organisation's, the user's or the run's policy may give access to it".to_owned()
            } else {
                format!(
                    "write `{{host: {name}, ports: [{}], host-access: true}}` if that is meant",
                    ports.join(", ")
                )
            };
            place.error("host-alias", message, Some(hint))
        }
        (Some(_), true) if pattern.is_wildcard() => {
            let hint = Some(format!("write `host: {name}`"));
            place.error("host-alias", "access to the host is given by one name", hint)
        }
        (Some(_), true) if name.as_str() == "localhost" || name.as_str().ends_with(".localhost") => {
            let hint = Some("write `host: host.docker.internal`".into());
            place.error("host-alias", format!("`{name}` is the agent's own inside the fence"), hint)
        }
        (Some(_), true) if !rule.private.is_empty() || rule.resolved_by == ResolvedBy::Proxy => {
            let hint = Some("leave `private` and `resolved-by` out: its address is the host's own".into());
            place.error("host-alias", "the host is not resolved", hint)
        }
        (Some(_), true) => return true,
        (None, true) => {
            let hint = Some("write `host: host.docker.internal`, or leave `host-access` out".into());
            place.error("host-alias", format!("`{name}` does not stand for the host"), hint)
        }
    };
    findings.push(finding);
    false
}

fn check_range(rule: &Rule, place: &SourcePlace, findings: &mut Findings) -> bool {
    let finding = if let Some(explicit) = rule.protocol.filter(|protocol| *protocol != Protocol::Tcp) {
        let message = format!("`protocol: {}` needs a name to check", explicit.as_str());
        place.error("protocol", message, Some("leave `protocol` out: a range is plain TCP".into()))
    } else if rule.host_access.is_given() {
        let hint = Some("give access to the host by name: `host: host.docker.internal`".into());
        place.error("host-alias", "`host-access` needs a name of the host", hint)
    } else if let Matcher::Cidr(net @ IpNet::V4(_)) = &rule.matcher
        && LOOPBACK.iter().any(|own| own.contains(net) || net.contains(own))
    {
        let hint = Some("leave it out: the agent's own servers need no rule".into());
        place.error("reserved-range", format!("{net} is the agent's own inside the fence"), hint)
    } else if rule.resolved_by == ResolvedBy::Proxy {
        let hint = Some("leave `resolved-by` out: a range is not resolved".into());
        place.error("resolved-by", "`resolved-by` needs a name", hint)
    } else {
        return true;
    };
    findings.push(finding);
    false
}

/// Reads a day such as `2027-01-31`.
fn day(node: &Node, findings: &mut Findings) -> Option<Date> {
    let text = match &node.value {
        Value::Refused => return None,
        Value::Scalar { text, .. } => text.as_str(),
        _ => {
            findings.push(wrong_type(node, "`expires` is a day such as `2027-01-31`", None));
            return None;
        }
    };
    let written_so = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let day = text.parse::<Date>().ok().filter(|_| written_so);
    if day.is_none() {
        let hint = Some("write the last day on which it counts, as in `expires: 2027-01-31`".into());
        let message = format!("`{text}` is no day of the calendar");
        findings.push(node.place.error("expires", message, hint));
    }
    day
}

/// Reads the way to the host: a boolean, or the one word beside it.
fn host_access(node: &Node, findings: &mut Findings) -> Option<HostAccess> {
    if node.as_str() == Some("loopback") {
        return Some(HostAccess::Loopback);
    }
    match &node.value {
        Value::Scalar { text, plain: true } if node.kind() == "a boolean" => {
            Some(if text.starts_with(['t', 'T']) { HostAccess::Address } else { HostAccess::None })
        }
        Value::Refused => None,
        _ => {
            findings.push(wrong_type(node, "`host-access` is `true`, `false` or `loopback`", None));
            None
        }
    }
}

fn resolver(node: &Node, findings: &mut Findings) -> Option<ResolvedBy> {
    match string(node, "`guard` or `proxy`", findings)? {
        "guard" => Some(ResolvedBy::Guard),
        "proxy" => Some(ResolvedBy::Proxy),
        other => {
            let hint = match nearest(other, &["guard", "proxy"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "write `proxy` for names that only the corporate proxy can resolve".to_owned(),
            };
            let message = format!("`{other}` does not resolve names");
            findings.push(node.place.error("resolved-by", message, Some(hint)));
            None
        }
    }
}

/// Recognizes `- api.example.com: 8443`, which is a mapping to YAML.
fn host_read_as_key(pairs: &[(Node, Node)]) -> Option<Diagnostic> {
    let [(key, value)] = pairs else { return None };
    let name = key.as_str().filter(|name| name.contains('.') || *name == "localhost")?;
    let port = match &value.value {
        Value::Scalar { text, .. } if text.parse::<u16>().is_ok() => text.as_str(),
        _ => "PORT",
    };
    let message = format!("`{name}: …` is a mapping, not a host with a port");
    Some(key.place.error(
        "space-after-colon",
        message,
        Some(format!("write `{name}:{port}` without the space")),
    ))
}

fn port_list(node: &Node, findings: &mut Findings) -> Option<Vec<u16>> {
    let items = list(node, "`ports` is a list", findings);
    if !matches!(node.value, Value::List(_)) {
        return None;
    }
    if items.is_empty() {
        let hint = Some("list the ports, or leave the key out".into());
        findings.push(node.place.error("ports", "`ports` is empty", hint));
        return None;
    }
    let ports: Vec<u16> = items.iter().filter_map(|item| port_of(item, findings)).collect();
    (ports.len() == items.len()).then_some(ports)
}

fn port_of(node: &Node, findings: &mut Findings) -> Option<u16> {
    match &node.value {
        Value::Refused => None,
        Value::Scalar { text, plain: true } => port_from_text(text, &node.place, findings),
        Value::Scalar { text, .. } if text.parse::<u16>().is_ok() => {
            findings.push(wrong_type(
                node,
                "a port is a number",
                Some(format!("write {text} without quotes")),
            ));
            None
        }
        _ => {
            findings.push(wrong_type(node, "a port is a number", None));
            None
        }
    }
}

fn protocol_of(node: &Node, findings: &mut Findings) -> Option<Protocol> {
    let text = string(node, "`tls`, `http`, `tcp` or `auto`", findings)?;
    match text {
        "tls" => Some(Protocol::Tls),
        "http" => Some(Protocol::Http),
        "tcp" => Some(Protocol::Tcp),
        "auto" => Some(Protocol::Auto),
        "udp" | "quic" | "http3" | "h3" => {
            findings.push(udp(&node.place));
            None
        }
        other => {
            let hint = match (nearest(other, PROTOCOLS), other) {
                (_, "https" | "ssl") => "write `tls`".to_owned(),
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, _) => format!("it is one of {}", PROTOCOLS.join(", ")),
            };
            findings.push(node.place.error(
                "protocol",
                format!("`{other}` is no protocol of a rule"),
                Some(hint),
            ));
            None
        }
    }
}

pub(super) fn reason_of(node: &Node, findings: &mut Findings) -> Option<String> {
    let text = string(node, "a text", findings)?;
    let text = text.trim();
    if text.chars().any(|c| c.is_control() && c != '\n') || text.chars().count() > 500 {
        let message = "`reason` is at most 500 characters and has no control characters";
        findings.push(node.place.error("reason", message, None));
        return None;
    }
    Some(text.replace('\n', " "))
}
