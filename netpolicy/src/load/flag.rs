//! Rules of `--allow` and `--deny`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::side::Side;
use super::{host, range, rule};
use crate::diagnostic::{Diagnostic, Severity};
use crate::floor;
use crate::host::HostPattern;
use crate::host_access::{HostAccess, LOOPBACK_ENDING};
use crate::policy::{Layer, Matcher, Rule};
use crate::reason::Reason;
use crate::yaml::{Findings, SourcePlace};

/// Reads the rule of one `HOST[:PORT]` or `HOST|CIDR`, as it stands in a list of another program,
/// or in an event. A name of the host is refused: such a text is nobody's consent.
pub fn rule_from_flag(flag: &str, text: &str) -> Result<Rule, Box<Diagnostic>> {
    one_rule(flag, text, Typed::Elsewhere)
}

/// Reads the rule of one `--allow HOST[:PORT]` or `--deny HOST|CIDR` that a person has typed. The
/// host's name with a port gives access to that port of the host.
pub fn rule_from_command_line(flag: &str, text: &str) -> Result<Rule, Box<Diagnostic>> {
    one_rule(flag, text, Typed::ByPerson)
}

/// Origin of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Typed {
    ByPerson,
    Elsewhere,
}

fn one_rule(flag: &str, text: &str, typed: Typed) -> Result<Rule, Box<Diagnostic>> {
    let mut findings = Findings::default();
    let rule = read(flag, text, typed, &mut findings);
    let error = findings.finish(flag).into_iter().find(|finding| finding.severity == Severity::Error);
    match (rule, error) {
        (Some(rule), None) => Ok(rule),
        (_, Some(error)) => Err(Box::new(error)),
        (None, None) => {
            Err(Box::new(SourcePlace::flag(flag, text).error("host", format!("`{text}` is no host"), None)))
        }
    }
}

/// Reads one option of the command line; what is wrong with it is among the findings.
pub(super) fn read_flag(flag: &str, text: &str, findings: &mut Findings) -> Option<Rule> {
    read(flag, text, Typed::ByPerson, findings)
}

fn read(flag: &str, text: &str, typed: Typed, findings: &mut Findings) -> Option<Rule> {
    let side = if flag == "--deny" { Side::Deny } else { Side::Allow };
    let place = SourcePlace::flag(flag, text);
    let is_consent = side == Side::Allow && typed == Typed::ByPerson;
    let (text, access) = match text.strip_suffix(LOOPBACK_ENDING).filter(|_| is_consent) {
        Some(host) => (host, HostAccess::Loopback),
        None => (text, HostAccess::Address),
    };
    let looks_like_range = text.parse::<IpNet>().is_ok() || text.parse::<IpAddr>().is_ok();
    let (matcher, ports) = if side == Side::Deny && looks_like_range {
        let text = match text.parse::<IpAddr>() {
            Ok(addr) => IpNet::from(addr).to_string(),
            Err(_) => text.to_owned(),
        };
        (Matcher::Cidr(range::range(&text, side, &place, findings)?), Vec::new())
    } else {
        let (pattern, port) = host::host_and_port(text, side, &place, findings)?;
        if is_consent && is_of_host(&pattern) {
            return host_access(pattern, port, access, &place, findings);
        }
        if access == HostAccess::Loopback {
            let message =
                format!("`{pattern}` does not stand for the host, which `{LOOPBACK_ENDING}` is about");
            let hint = Some("write `host.docker.internal:3000/loopback`".into());
            findings.push(place.error("host-alias", message, hint));
            return None;
        }
        (Matcher::Host(pattern), side.default_ports(port))
    };
    let rule = rule::plain(matcher, ports, Layer::Run, &place);
    rule::check(&rule, side, &place, findings).then_some(rule)
}

/// Tells whether a name stands for the host, as seen from a container. `localhost` is the agent's
/// own.
fn is_of_host(pattern: &HostPattern) -> bool {
    let name = pattern.name();
    let is_own = name.as_str() == "localhost" || name.as_str().ends_with(".localhost");
    floor::refused_name(name) == Some(Reason::HostAddress) && !is_own
}

/// Reads access to the host: who types the host's name with a port means that server. The port is
/// never left out.
fn host_access(
    pattern: HostPattern,
    port: Option<u16>,
    access: HostAccess,
    place: &SourcePlace,
    findings: &mut Findings,
) -> Option<Rule> {
    let Some(port) = port else {
        let message = format!("`{pattern}` stands for the machine itself: its port must be named");
        let hint = Some(format!("write `{pattern}:3000` for the server on port 3000"));
        findings.push(place.error("host-alias", message, hint));
        return None;
    };
    let mut rule = rule::plain(Matcher::Host(pattern), vec![port], Layer::Run, place);
    rule.host_access = access;
    if access == HostAccess::Loopback {
        rule.origin.text.push_str(LOOPBACK_ENDING);
    }
    rule::check(&rule, Side::Allow, place, findings).then_some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_the_host_is_permitted_by_its_name_and_port_and_by_nothing_less() {
        for name in ["host.docker.internal", "host.containers.internal"] {
            let text = format!("{name}:3000");
            let rule = rule_from_command_line("--allow", &text).unwrap();
            assert!(rule.host_access == HostAccess::Address && rule.ports == [3000], "{name}");
            let rule = rule_from_command_line("--allow", &format!("{text}/loopback")).unwrap();
            assert!(rule.host_access == HostAccess::Loopback && rule.ports == [3000], "{name}");
            assert_eq!(rule.origin.text, format!("{text}/loopback"));
            assert!(rule_from_flag("--allow", &text).is_err(), "{name} in another program's list");
        }
        assert!(!rule_from_command_line("--allow", "gitlab.com:3000").unwrap().host_access.is_given());
        // The loopback is the host's alone, is asked for by a person, and is no denial's.
        for text in [
            "gitlab.com:3000/loopback",
            "localhost:3000/loopback",
            "host.docker.internal/loopback",
            "/loopback",
        ] {
            assert!(rule_from_command_line("--allow", text).is_err(), "{text}");
        }
        assert!(rule_from_flag("--allow", "host.docker.internal:3000/loopback").is_err());
        assert!(rule_from_command_line("--deny", "host.docker.internal:3000/loopback").is_err());
        for (text, why) in [
            ("host.docker.internal", "its port must be named"),
            ("*.docker.internal:3000", "by one name"),
            ("localhost:3000", "stands for the machine itself"),
            ("metadata.google.internal:80", "metadata"),
            ("host.docker.internal:53", "DNS filter"),
        ] {
            let error = rule_from_command_line("--allow", text).unwrap_err();
            assert!(error.message.contains(why), "{text}: {}", error.message);
        }
        assert!(!rule_from_command_line("--deny", "host.docker.internal").unwrap().host_access.is_given());
    }
}
