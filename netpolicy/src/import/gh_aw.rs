//! Configuration and domain lists of GitHub's agentic workflow firewall (awf).
//!
//! ```text
//!  network.allowDomains, list ─┬─ x.example ──────────▶ .x.example (80, 443)   a bare name means everything below it too
//!                              ├─ *.x.example ────────▶ *.x.example
//!                              ├─ https://x, http://x ▶ one port
//!                              └─ api-*.x.example ────▶ note
//!  network.blockDomains ──────────────────────────────▶ deny; they win there too
//! ```

use super::imported::ImportError;
use super::intake::{self, Intake, pairs, strings};

pub(super) fn read(text: &str, intake: &mut Intake) -> Result<(), ImportError> {
    if !text.contains("allowDomains") && !text.contains("blockDomains") && !text.trim_start().starts_with('{')
    {
        list(text, intake);
        return Ok(());
    }
    for (key, value) in &intake::root(intake.file(), text)? {
        let line = key.place.line();
        match key.as_str().unwrap_or_default() {
            "$schema" => {}
            "network" => {
                for (key, value) in pairs("network", value)? {
                    network(key.as_str().unwrap_or_default(), key.place.line(), value, intake)?;
                }
            }
            key => intake.leave_out(
                line,
                key,
                "not about names; ports and services of the host are never opened by an import",
            ),
        }
    }
    Ok(())
}

fn network(key: &str, line: u32, value: &crate::yaml::Node, intake: &mut Intake) -> Result<(), ImportError> {
    match key {
        "allowDomains" => {
            for (line, entry) in strings(key, value)? {
                allow(line, entry, intake);
            }
        }
        "blockDomains" => {
            for (line, entry) in strings(key, value)? {
                block(line, entry, intake);
            }
        }
        "dnsServers" => intake.leave_out(line, key, "resolvers are set with `network.dns.upstreams`"),
        "upstreamProxy" => intake.leave_out(line, key, "a proxy is set with `network.proxy`"),
        _ => intake.leave_out(line, key, "no counterpart in a policy"),
    }
    Ok(())
}

/// Reads a file for `--allow-domains-file`: a name a line or separated by commas, comments
/// anywhere.
fn list(text: &str, intake: &mut Intake) {
    for (line, content) in intake::lines(text) {
        let content = content.split('#').next().unwrap_or(content);
        for entry in content.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            allow(line, entry, intake);
        }
    }
}

fn allow(line: u32, entry: &str, intake: &mut Intake) {
    let (ports, bare) = without_scheme(entry);
    intake.allow(line, entry, &with_subdomains(bare), ports);
}

fn block(line: u32, entry: &str, intake: &mut Intake) {
    let (ports, bare) = without_scheme(entry);
    let bare = intake::split_port(bare).0;
    if ports.len() == 1 {
        intake.narrower(line, entry, "refused on every port");
    }
    intake.deny(line, entry, &with_subdomains(bare), &[]);
}

/// Returns the ports that an entry means, and the entry without its scheme.
fn without_scheme(entry: &str) -> (&'static [u16], &str) {
    let (ports, bare): (&[u16], &str) = if let Some(bare) = entry.strip_prefix("https://") {
        (&[443], bare)
    } else if let Some(bare) = entry.strip_prefix("http://") {
        (&[80], bare)
    } else {
        (&[80, 443], entry)
    };
    (ports, bare.strip_suffix('/').unwrap_or(bare))
}

fn with_subdomains(bare: &str) -> String {
    let address = bare.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    if bare.contains('*') || bare.starts_with('.') || address { bare.to_owned() } else { format!(".{bare}") }
}
