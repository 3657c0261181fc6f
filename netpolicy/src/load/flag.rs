//! Rules of `--allow` and `--deny`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::side::Side;
use super::{host, range, rule};
use crate::diagnostic::{Diagnostic, Severity};
use crate::policy::{Layer, Matcher, Rule};
use crate::yaml::{Findings, SourcePlace};

/// Reads the rule of one `--allow HOST[:PORT]` or `--deny HOST|CIDR`.
pub fn rule_from_flag(flag: &str, text: &str) -> Result<Rule, Box<Diagnostic>> {
    let mut findings = Findings::default();
    let rule = read_flag(flag, text, &mut findings);
    let error = findings.finish(flag).into_iter().find(|finding| finding.severity == Severity::Error);
    match (rule, error) {
        (Some(rule), None) => Ok(rule),
        (_, Some(error)) => Err(Box::new(error)),
        (None, None) => {
            Err(Box::new(SourcePlace::flag(flag, text).error("host", format!("`{text}` is no host"), None)))
        }
    }
}

/// Reads one option; what is wrong with it is among the findings.
pub(super) fn read_flag(flag: &str, text: &str, findings: &mut Findings) -> Option<Rule> {
    let side = if flag == "--deny" { Side::Deny } else { Side::Allow };
    let place = SourcePlace::flag(flag, text);
    let looks_like_range = text.parse::<IpNet>().is_ok() || text.parse::<IpAddr>().is_ok();
    let (matcher, ports) = if side == Side::Deny && looks_like_range {
        let text = match text.parse::<IpAddr>() {
            Ok(addr) => IpNet::from(addr).to_string(),
            Err(_) => text.to_owned(),
        };
        (Matcher::Cidr(range::range(&text, side, &place, findings)?), Vec::new())
    } else {
        let (pattern, port) = host::host_and_port(text, side, &place, findings)?;
        (Matcher::Host(pattern), side.default_ports(port))
    };
    let rule = rule::plain(matcher, ports, Layer::Run, &place);
    rule::check(&rule, side, &place, findings).then_some(rule)
}
