//! Settings of Anthropic's sandbox runtime (srt).
//!
//! ```text
//!  network.allowedDomains ── x.example, *.x.example, …:PORT ──▶ allow (443 unless given)
//!  network.deniedDomains  ── the same, and *, addresses ──────▶ deny; they win there too
//!  every other key ───────────────────────────────────────────▶ notes
//! ```
//! A bare name is that name alone, `*.x` is everything below it, and an entry without a port means
//! every port. Agents that embed srt keep the same settings under `sandbox`.

use super::imported::ImportError;
use super::intake::{self, Intake, is_true, pairs, strings};

pub(super) fn read(text: &str, intake: &mut Intake) -> Result<(), ImportError> {
    let root = intake::root(intake.file(), text)?;
    let mut listed = false;
    for (key, value) in &root {
        match key.as_str() {
            Some("network") => network(pairs("network", value)?, intake, &mut listed)?,
            Some("sandbox") => {
                for (key, value) in pairs("sandbox", value)? {
                    match key.as_str() {
                        Some("network") => network(pairs("network", value)?, intake, &mut listed)?,
                        other => other_key(other, key.place.line(), intake),
                    }
                }
            }
            other => other_key(other, key.place.line(), intake),
        }
    }
    if !listed {
        intake.narrower(0, "network.allowedDomains", "not given, which permits nothing here");
    }
    Ok(())
}

fn other_key(key: Option<&str>, line: u32, intake: &mut Intake) {
    intake.leave_out(line, key.unwrap_or_default(), "not about the network");
}

fn network(
    settings: &[(crate::yaml::Node, crate::yaml::Node)],
    intake: &mut Intake,
    listed: &mut bool,
) -> Result<(), ImportError> {
    for (key, value) in settings {
        let line = key.place.line();
        match key.as_str().unwrap_or_default() {
            key @ "allowedDomains" => {
                *listed = true;
                let mut every_port = false;
                for (line, entry) in strings(key, value)? {
                    let Some((pattern, port)) = intake::srt_entry(entry) else {
                        intake.leave_out(line, entry, "no domain to srt either");
                        continue;
                    };
                    every_port |= port.is_none();
                    intake.allow(line, entry, pattern, &[port.unwrap_or(443)]);
                }
                if every_port {
                    intake.narrower(
                        line,
                        key,
                        "srt's entries without a port mean every port; they are permitted on port 443",
                    );
                }
            }
            key @ "deniedDomains" => {
                for (line, entry) in strings(key, value)? {
                    let (pattern, port) = intake::split_port(entry);
                    intake.deny(line, entry, pattern, port.as_slice());
                }
            }
            key @ ("allowUnixSockets" | "allowAllUnixSockets") => {
                let empty = strings(key, value).is_ok_and(|sockets| sockets.is_empty());
                if is_true(value) || (key == "allowUnixSockets" && !empty) {
                    intake.leave_out(line, key, "a socket of the host is never given to an agent");
                }
            }
            "allowLocalBinding" => {} // The agent's own loopback works as ever.
            key @ ("parentProxy" | "httpProxyPort" | "socksProxyPort" | "mitmProxy") => {
                intake.leave_out(line, key, "a proxy is set with `network.proxy`; TLS is never taken apart");
            }
            key => intake.leave_out(line, key, "no counterpart in a policy"),
        }
    }
    Ok(())
}
