//! Words of the caller's environment about its network that the run does not use.
//!
//! ```text
//!  HTTPS_PROXY, NO_PROXY ─ the policy has no proxy ───────▶ one warning: what to write, without credentials
//!  SSL_CERT_FILE, NODE_EXTRA_CA_CERTS ─ no --ca ─────────▶ one warning: --ca FILE
//! ```
//! A policy alone decides by which way the guard goes out, so these variables change nothing. On a
//! company's network they are the first sign of why nothing connects.

use netpolicy::policy::Policy;

use crate::term::Warning;

/// The variables that name a proxy, the one for https first.
const PROXIES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"];
/// The variables that name targets without a proxy.
const DIRECT: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// The variables that name a file of authorities.
const AUTHORITIES: [&str; 2] = [FOR_NODE, "SSL_CERT_FILE"];
/// The variable that names authorities beside node's own.
const FOR_NODE: &str = "NODE_EXTRA_CA_CERTS";
/// Files that every machine of some distribution has. `SSL_CERT_FILE` of one says nothing of a
/// company. Nobody gives one to node but for an authority in it that node lacks.
const USUAL_AUTHORITIES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Targets without a proxy that are shown.
const SHOWN: usize = 8;

/// Returns what to tell the person, at most a warning of each kind. `is_given`: whether the agent
/// gets a variable of this name.
pub(super) fn unused(
    policy: &Policy,
    has_authorities: bool,
    variable: impl Fn(&str) -> Option<String>,
    is_given: impl Fn(&str) -> bool,
) -> Vec<Warning> {
    if policy.network_denied || policy.allow.is_empty() && !policy.is_observed() {
        return Vec::new();
    }
    let set = |names: &[&'static str]| {
        names.iter().find_map(|name| Some((*name, variable(name).filter(|value| !value.trim().is_empty())?)))
    };
    let mut warnings = Vec::new();
    if policy.proxy.is_none()
        && let Some((name, value)) = set(&PROXIES)
    {
        let direct = set(&DIRECT).map(|(_, value)| direct(&value)).unwrap_or_default();
        warnings.push(Warning::ProxyUnused { variable: name, write: line(&value, &direct) });
    }
    if !has_authorities
        && let Some((name, file)) = set(&AUTHORITIES)
        && !is_given(name)
        && (name == FOR_NODE || !USUAL_AUTHORITIES.contains(&file.as_str()))
    {
        let file = is_plain(&file, "/._-+").then_some(file);
        warnings.push(Warning::AuthoritiesUnused { variable: name, file });
    }
    warnings
}

/// Returns the line of a policy that means such a proxy; without credentials, and without an
/// address where the value is none.
fn line(value: &str, direct: &[String]) -> String {
    let (scheme, rest) = value.trim().split_once("://").unwrap_or(("http", value.trim()));
    // A password may hold any character: what stands before the last @ is never shown.
    let (credentials, behind) = match rest.rsplit_once('@') {
        Some((_, behind)) => (true, behind),
        None => (false, rest),
    };
    let server = behind.split(['/', '?', '#']).next().unwrap_or_default();
    let is_one = scheme == "http"
        && is_plain(server, ".-:[]")
        && server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let url = if is_one { format!("http://{server}") } else { "http://HOST:PORT".to_owned() };
    let proxy = match credentials {
        true => format!("{{url: \"{url}\", credentials-env: NAME}}"),
        false => format!("\"{url}\""),
    };
    match direct {
        [] => format!("network: {{proxy: {proxy}}}"),
        some => format!("network: {{proxy: {proxy}, no-proxy: [{}]}}", some.join(", ")),
    }
}

/// Returns the first few targets without a proxy that a policy can name.
fn direct(value: &str) -> Vec<String> {
    let own = |item: &str| item == "localhost" || item.starts_with("127.") || item == "::1";
    let items = value.split(',').map(str::trim).filter(|item| !item.is_empty() && !own(item));
    let names = items.filter(|item| {
        item.parse::<ipnet::IpNet>().is_ok()
            || item.parse::<std::net::IpAddr>().is_ok()
            || (is_plain(item, ".-") && item.chars().any(char::is_alphabetic))
    });
    names
        .take(SHOWN)
        .map(|item| if item.contains(':') { format!("\"{item}\"") } else { item.to_owned() })
        .collect()
}

/// Tells whether a text has letters, digits and these characters alone, so that it can be copied as
/// it stands.
fn is_plain(text: &str, more: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        let mut read = |_: netpolicy::policy::Layer, _: &str| Ok(text.as_bytes().to_vec());
        let source =
            netpolicy::load::LayerSource::files(netpolicy::policy::Layer::Run, vec!["./p.yml".to_owned()]);
        let day = crate::host::clock::today();
        netpolicy::load::load_layers(&[source], day, &mut read).expect("good").policy
    }

    const PLAIN: &str = "version: 1\nnetwork:\n  allow: [a.example]\n";

    /// Returns the warnings' words for these variables.
    fn said(policy: &Policy, has_authorities: bool, set: &[(&str, &str)]) -> Vec<String> {
        let variable =
            |name: &str| set.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        unused(policy, has_authorities, variable, |_| false).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_proxy_is_told_with_the_line_to_write() {
        let said = said(
            &policy(PLAIN),
            false,
            &[
                ("https_proxy", "http://proxy.corp.example:3128/"),
                ("NO_PROXY", "localhost,127.0.0.1,.corp.example, 10.0.0.0/8,*.x,a:80,fd00::/8"),
            ],
        );
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn no_credential_is_ever_shown() {
        for value in [
            "http://us3r:s3cret@proxy.corp.example:3128",
            "us3r:s3cret@proxy.corp.example:3128",
            "http://us3r:s3c@ret@proxy.corp.example:3128",
            "https://us3r:s3cret@proxy.corp.example:3128",
            "http://us3r:s3cret@proxy.corp.example:3128@",
            "http://us3r:s3cret@proxy.corp.example/s3cret",
            "socks5://us3r:s3cret@proxy:1080",
            "us3r:s3cret",
            "http://us3r:1234/s3cret@proxy.corp.example:3128",
            "http://us3r:1234?s3cret@proxy.corp.example:3128",
        ] {
            let said = said(&policy(PLAIN), false, &[("HTTPS_PROXY", value)]).join("\n");
            assert!(!said.contains("us3r") && !said.contains("s3c"), "{value}: {said}");
            assert!(said.contains("proxy: "), "{said}");
        }
        let with = said(&policy(PLAIN), false, &[("HTTPS_PROXY", "http://u:p@proxy.corp.example:3128")]);
        assert!(
            with[0].contains("{url: \"http://proxy.corp.example:3128\", credentials-env: NAME}"),
            "{with:?}"
        );
    }

    #[test]
    fn nothing_is_told_where_it_does_not_matter() {
        let proxy = [("HTTPS_PROXY", "http://proxy.corp.example:3128")];
        let authorities = [("SSL_CERT_FILE", "/corp.pem")];
        let own = policy(&format!("{PLAIN}  proxy: http://other.example:3128\n"));
        assert!(said(&own, false, &proxy).is_empty(), "the policy has its own");
        assert!(said(&policy(PLAIN), true, &authorities).is_empty(), "--ca is given");
        assert!(said(&policy("version: 1\n"), false, &proxy).is_empty(), "nothing is permitted");
        let denied = Policy { network_denied: true, ..policy(PLAIN) };
        assert!(said(&denied, false, &[proxy, authorities].concat()).is_empty(), "no network");
        assert!(said(&policy(PLAIN), false, &[("HTTPS_PROXY", ""), ("NO_PROXY", "x.example")]).is_empty());
        let usual = [("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")];
        assert!(said(&policy(PLAIN), false, &usual).is_empty(), "the usual file");
        let for_node = [usual[0], ("NODE_EXTRA_CA_CERTS", usual[0].1)];
        let said = said(&policy(PLAIN), false, &for_node).join("\n");
        assert!(said.starts_with("NODE_EXTRA_CA_CERTS") && said.contains("--ca system"), "{said}");
    }

    #[test]
    fn a_file_of_authorities_is_told_with_the_option() {
        let of = |file| said(&policy(PLAIN), false, &[("NODE_EXTRA_CA_CERTS", file)]).join("\n");
        insta::assert_snapshot!(format!("{}\n{}", of("/etc/corp/ca.pem"), of("/etc/my files/ca.pem")));
    }
}
