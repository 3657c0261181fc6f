//! `network.observe`, `network.dns`, `network.proxy` and `network.no-proxy`.

use std::net::{IpAddr, SocketAddr};

use super::draft::{Draft, Set};
use super::host::host_and_port;
use super::range::{fake_range, range_from_text, virtual_range};
use super::shape::{self, boolean, list, map, string, whole_number, wrong_type};
use super::side::Side;
use crate::host::HostName;
use crate::policy::Layer;
use crate::settings::{Direct, Domain, Server, Upstream};
use crate::yaml::{Findings, Node, Value};

/// Reads `network.dns` into the draft; keys that are set again win over those of extended files.
pub(super) fn dns(node: &Node, layer: Layer, draft: &mut Draft, findings: &mut Findings) {
    draft.dns.place.get_or_insert_with(|| node.place.clone());
    for (word, _, value) in shape::DNS.pairs(node, layer, findings) {
        match word {
            "upstreams" => {
                if let Some(upstreams) = upstreams(value, "`upstreams`", findings) {
                    draft.dns.upstreams = Set::at(upstreams, &value.place);
                }
            }
            "domains" => {
                let domains = map(value, "`domains` is a mapping of domains to lists of resolvers", findings);
                let read = domains.iter().filter_map(|(name, servers)| domain(name, servers, findings));
                let mut read: Vec<Domain> = read.collect();
                read.sort_by(|a, b| a.name.cmp(&b.name));
                draft.dns.domains = Set::at(read, &value.place);
            }
            "names-per-wildcard" => {
                if let Some(number) = whole_number(value, 1, 65_536, word, findings) {
                    draft.dns.names_per_wildcard = Set::at(number as u32, &value.place);
                }
            }
            "virtual-range" => {
                if let Some(range) = virtual_range(value, findings) {
                    draft.dns.virtual_range = Set::at(range, &value.place);
                }
            }
            "upstream-fake-range" => {
                let items = list(value, "`upstream-fake-range` is a list of ranges", findings);
                let ranges = items.iter().filter_map(|item| fake_range(item, findings)).collect();
                draft.dns.fake_range = Set::at(ranges, &value.place);
            }
            _ => {}
        }
    }
}

/// Reads `network.observe`, which can only be forbidden: a policy is no place to ask for it.
pub(super) fn observe(node: &Node, draft: &mut Draft, findings: &mut Findings) {
    match boolean(node, "`observe`", findings) {
        Some(false) => _ = draft.observing_forbidden.get_or_insert_with(|| node.place.clone()),
        Some(true) => {
            let hint = Some("leave it out; `ringfence run --network observe` asks for it".into());
            findings.push(node.place.error("observe", "`observe` can only be `false`", hint));
        }
        None => {}
    }
}

fn upstreams(node: &Node, what: &str, findings: &mut Findings) -> Option<Vec<Upstream>> {
    let items = list(node, &format!("{what} is a list"), findings);
    if items.is_empty() && matches!(node.value, Value::List(_)) {
        let hint = Some("write `[system]`, or leave the key out".into());
        findings.push(node.place.error("upstream", format!("{what} names no resolver"), hint));
        return None;
    }
    let read: Vec<Upstream> = items.iter().filter_map(|item| upstream(item, findings)).collect();
    (read.len() == items.len()).then_some(read)
}

/// Reads `corp.example: [10.0.0.53]`.
fn domain(name: &Node, servers: &Node, findings: &mut Findings) -> Option<Domain> {
    let text = string(name, "a domain such as `corp.example`", findings)?;
    let bare = text.strip_prefix("*.").or_else(|| text.strip_prefix('.')).unwrap_or(text);
    let parsed = match HostName::parse(bare) {
        Ok(parsed) if bare == text => parsed,
        Ok(parsed) => {
            let hint = Some(format!("write `{parsed}`: what lies below it is meant too"));
            findings.push(name.place.error("domain", format!("`{text}` is a pattern, not a domain"), hint));
            return None;
        }
        Err(error) => {
            let hint = error.hint().map(str::to_owned);
            findings.push(name.place.error("domain", format!("`{text}` is no domain: {error}"), hint));
            return None;
        }
    };
    Some(Domain { name: parsed, upstreams: upstreams(servers, &format!("`domains.{text}`"), findings)? })
}

/// Reads `system`, IP, IP:port, `tls://IP#name`, `https://host/dns-query`.
fn upstream(node: &Node, findings: &mut Findings) -> Option<Upstream> {
    let text = string(node, "`system`, IP, IP:port, tls://IP#NAME or https://HOST/dns-query", findings)?;
    if text == "system" {
        return Some(Upstream::System);
    }
    let read = match text.split_once("://") {
        None => address(text, 53).map(Upstream::Plain).ok_or_else(|| {
            ("it is no address".to_owned(), "write `system`, IP or IP:port, for example 10.0.0.53")
        }),
        Some(("tls", rest)) => over_tls(rest).map_err(|why| (why, "write `tls://198.51.100.53#dns.example`")),
        Some(("https", rest)) => {
            over_https(rest).map_err(|why| (why, "write `https://dns.example/dns-query`"))
        }
        Some(("udp" | "tcp" | "dns", rest)) if address(rest, 53).is_some() => {
            Err(("plain DNS is written without a scheme".to_owned(), "write IP or IP:port"))
        }
        Some((scheme, _)) => {
            Err((format!("`{scheme}://` is not spoken"), "write `system`, IP, tls://… or https://…"))
        }
    };
    read.map_err(|(why, hint)| {
        let message = format!("`{text}` is no resolver: {why}");
        findings.push(node.place.error("upstream", message, Some(hint.into())));
    })
    .ok()
}

/// Reads an address that can be asked.
fn address(text: &str, port: u16) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    text.parse::<SocketAddr>()
        .ok()
        .or_else(|| bare.parse::<IpAddr>().ok().map(|addr| SocketAddr::new(addr, port)))
        .filter(|socket| socket.port() > 0 && !socket.ip().is_unspecified() && !socket.ip().is_multicast())
}

fn over_tls(rest: &str) -> Result<Upstream, String> {
    let (at, name) =
        rest.split_once('#').ok_or_else(|| "the name in its certificate is missing after `#`".to_owned())?;
    let address = address(at, 853).ok_or_else(|| format!("`{at}` is no address"))?;
    let name = HostName::parse(name).map_err(|error| error.to_string())?;
    Ok(Upstream::Tls { address, name })
}

fn over_https(rest: &str) -> Result<Upstream, String> {
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/dns-query"),
    };
    let plain =
        |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '{' | '}' | '"' | '<' | '>' | '\\');
    if !path.chars().all(plain) || path.len() > 200 {
        return Err("its path is no plain path".to_owned());
    }
    let (server, port) = server_and_port(authority, 443)?;
    Ok(Upstream::Https { server, port, path: path.to_owned() })
}

/// Reads `name`, `name:port`, `IP`, `IP:port`, `[IPv6]:port`.
fn server_and_port(authority: &str, default: u16) -> Result<(Server, u16), String> {
    if let Some(socket) = address(authority, default) {
        return Ok((Server::Address(socket.ip()), socket.port()));
    }
    let (host, port) = match authority.rsplit_once(':') {
        None => (authority, default),
        Some((host, text)) => {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let port = text.parse::<u16>().ok().filter(|port| digits && *port > 0);
            (host, port.ok_or_else(|| format!("`{text}` is no port"))?)
        }
    };
    HostName::parse(host).map(|name| (Server::Name(name), port)).map_err(|error| error.to_string())
}

/// Reads `network.proxy`: a URL, or a mapping with the variable that holds its credentials.
pub(super) fn proxy(node: &Node, layer: Layer, draft: &mut Draft, findings: &mut Findings) {
    draft.proxy.place.get_or_insert_with(|| node.place.clone());
    let mut url = None;
    let mut credentials = None;
    if matches!(node.value, Value::Map(_)) {
        for (word, _, value) in shape::PROXY.pairs(node, layer, findings) {
            match word {
                "url" => url = Some(value),
                "resolves-names" => {
                    let on = boolean(value, "`resolves-names`", findings);
                    draft.proxy.resolves_names = on.unwrap_or(false).then(|| value.place.clone());
                }
                _ => credentials = variable(value, findings).or(credentials),
            }
        }
        if url.is_none() {
            let hint = Some("write `{url: http://proxy.corp.example:3128, credentials-env: NAME}`".into());
            findings.push(node.place.error("proxy", "`url` of the proxy is missing", hint));
        }
    } else {
        url = Some(node);
    }
    let Some(url) = url else { return };
    let Some(text) = string(url, "a URL such as `http://proxy.corp.example:3128`", findings) else { return };
    match proxy_url(text) {
        Ok((server, port)) => draft.proxy.server = Set::at((server, port, credentials), &node.place),
        Err((why, hint)) => {
            // A password must not be shown again.
            let shown = if text.contains('@') { "the URL".to_owned() } else { format!("`{text}`") };
            let mut finding =
                url.place.error("proxy", format!("{shown} is no proxy: {why}"), Some(hint.into()));
            if text.contains('@') {
                finding.source_line.clear();
            }
            findings.push(finding);
        }
    }
}

fn proxy_url(text: &str) -> Result<(Server, u16), (String, &'static str)> {
    const FORM: &str = "write `http://proxy.corp.example:3128`";
    let rest = match text.split_once("://") {
        Some(("http", rest)) => rest,
        Some((scheme, _)) => {
            return Err((format!("`{scheme}://` proxies are not spoken to"), FORM));
        }
        None => return Err(("the scheme is missing".to_owned(), FORM)),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        let hint =
            "name the environment variable that holds `user:password`: `{url: …, credentials-env: NAME}`";
        return Err(("credentials do not belong into a policy".to_owned(), hint));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(("it has a path".to_owned(), FORM));
    }
    server_and_port(authority, 3128).map_err(|why| (why, FORM)).and_then(|(server, port)| {
        match authority.rsplit_once(':') {
            Some(_) => Ok((server, port)),
            None => Err(("the port is missing".to_owned(), FORM)),
        }
    })
}

/// Reads the name of an environment variable.
fn variable(node: &Node, findings: &mut Findings) -> Option<String> {
    let text = string(node, "the name of an environment variable", findings)?;
    let good = !text.is_empty()
        && text.len() <= 100
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !good {
        let hint = Some("write the variable's name; its value stays where it is".into());
        let mut finding = node.place.error("proxy", "this is no name of an environment variable", hint);
        finding.source_line.clear();
        findings.push(finding);
    }
    good.then(|| text.to_owned())
}

/// Reads `network.no-proxy`: hosts and ranges that the guard dials itself.
pub(super) fn no_proxy(node: &Node, draft: &mut Draft, findings: &mut Findings) {
    let mut direct = Vec::new();
    for item in list(node, "`no-proxy` is a list of hosts and ranges", findings) {
        let Some(text) = string(item, "a host such as `.corp.example`, or a range", findings) else {
            continue;
        };
        if text.parse::<IpAddr>().is_ok() || text.contains('/') {
            let text = match text.parse::<IpAddr>() {
                Ok(addr) => ipnet::IpNet::from(addr).to_string(),
                Err(_) => text.to_owned(),
            };
            direct.extend(range_from_text(&text, &item.place, findings).map(Direct::Cidr));
            continue;
        }
        match host_and_port(text, Side::Deny, &item.place, findings) {
            Some((pattern, None)) => direct.push(Direct::Host(pattern)),
            Some((pattern, Some(_))) => {
                let hint = Some(format!("write `{pattern}`"));
                findings.push(wrong_type(item, "`no-proxy` has no ports", hint));
            }
            None => {}
        }
    }
    draft.proxy.direct = Set::at(direct, &node.place);
}
