//! `network_policy` of GitLab's `.gitlab/duo/agent-config.yml`.
//!
//! ```text
//!  allowed_domains ── x.example, *.x.example ──▶ allow (443)
//!  denied_domains  ─────────────────────────────▶ deny (every port); they win there too
//!  include_recommended_allowed, allow_all_unix_sockets, what is always allowed ──▶ notes
//! ```
//! <https://docs.gitlab.com/user/duo_agent_platform/environment_sandbox/>. The list is enforced
//! there by srt: a bare name is that name alone, `*.x` is everything below it, and without a port
//! every port is meant. Port 443 is what is imported: the format knows no ports, and what a flow
//! needs is HTTPS.

use super::imported::ImportError;
use super::intake::{self, Intake, is_true, pairs, strings};

const HTTPS: &[u16] = &[443];

pub(super) fn read(text: &str, intake: &mut Intake) -> Result<(), ImportError> {
    let root = intake::root(intake.file(), text)?;
    let mut found = false;
    for (key, value) in &root {
        match key.as_str() {
            Some("network_policy") => {
                found = true;
                for (key, value) in pairs("network_policy", value)? {
                    setting(key.as_str().unwrap_or_default(), key.place.line(), value, intake)?;
                }
            }
            key_text => {
                let key_text = key_text.unwrap_or_default();
                intake.leave_out(key.place.line(), key_text, "not about the network");
            }
        }
    }
    if !found {
        intake.leave_out(0, "network_policy", "the file has none: nothing is permitted");
    }
    intake.leave_out(
        0,
        "the domains that GitLab always allows",
        "`extends: [gitlab@1]`, or --gitlab URL, permits the instance; `localhost` and `host.docker.internal` are the host, which the floor refuses",
    );
    Ok(())
}

fn setting(key: &str, line: u32, value: &crate::yaml::Node, intake: &mut Intake) -> Result<(), ImportError> {
    match key {
        "allowed_domains" => {
            for (line, entry) in strings(key, value)? {
                match intake::srt_entry(entry) {
                    Some((pattern, Some(port))) => intake.allow(line, entry, pattern, &[port]),
                    Some((pattern, None)) => intake.allow(line, entry, pattern, HTTPS),
                    None => intake.leave_out(line, entry, "no domain to GitLab either"),
                }
            }
            if intake.allows_anything() {
                intake.narrower(line, key, "GitLab's entries mean every port; entries without one are permitted on port 443");
            }
        }
        "denied_domains" => {
            for (line, entry) in strings(key, value)? {
                let (pattern, port) = intake::split_port(entry);
                intake.deny(line, entry, pattern, port.as_slice());
            }
        }
        "include_recommended_allowed" if is_true(value) => intake.leave_out(
            line,
            key,
            "some 150 hosts, among them storage that takes uploads from anybody; `ringfence policy suggest` names those that the project uses",
        ),
        "allow_all_unix_sockets" if is_true(value) => {
            intake.leave_out(line, key, "a socket of the host is never given to an agent");
        }
        "include_recommended_allowed" | "allow_all_unix_sockets" => {}
        _ => intake.leave_out(line, key, "no key of `network_policy` that ringfence knows"),
    }
    Ok(())
}
