//! A policy as the YAML that says the same.
//!
//! ```text
//!  Policy ──policy──▶ text ──load──▶ the same Policy (save the places of its rules)
//! ```
//! Every rule stands on a line of its own, so that a comment can tell where it comes from. Every
//! text that is not a plain word is quoted.

use std::fmt::Write;

use crate::diagnostic::harmless;
use crate::policy::{ConnectionLimit, Matcher, Policy, Protocol, ResolvedBy, Rule};
use crate::service::Readiness;
use crate::settings::{Ca, Credentials, Dns, Proxy, Workspace};

/// Function that returns the comment behind a rule.
pub type Comment<'c> = dyn Fn(&Rule) -> Option<String> + 'c;

/// Writes the whole policy of one layer. Several ceilings cannot stand in one file: the first is
/// written.
pub fn policy(policy: &Policy, comment: &Comment<'_>) -> String {
    let mut text = String::from("version: 1\n");
    network(&mut text, policy, comment);
    container(&mut text, policy);
    services(&mut text, policy);
    if !policy.images.is_empty() {
        let words: Vec<String> = policy.images.iter().map(|registry| quoted(registry)).collect();
        push(&mut text, format_args!("images: [{}]\n", words.join(", ")));
    }
    if !policy.require.is_empty() {
        let words: Vec<&str> = policy.require.iter().map(|requirement| requirement.as_str()).collect();
        push(&mut text, format_args!("engine:\n  require: [{}]\n", words.join(", ")));
    }
    workspace(&mut text, &policy.workspace);
    credentials(&mut text, &policy.credentials);
    if !policy.notice.is_full() {
        text.push_str("notice: brief\n");
    }
    if !policy.tests.is_empty() {
        text.push_str("tests:\n");
        for test in &policy.tests {
            push(&mut text, format_args!("  - {}: {}\n", test.word(), quoted(&target(&test.endpoint))));
        }
    }
    text
}

fn network(text: &mut String, policy: &Policy, comment: &Comment<'_>) {
    let mut inner = String::new();
    list(&mut inner, "allow", policy.allow.iter().map(|rule| &**rule), comment);
    list(&mut inner, "deny", policy.deny.iter().map(|rule| &**rule), comment);
    if let Some(ceiling) = policy.ceilings.first() {
        if ceiling.rules.is_empty() {
            inner.push_str("  ceiling: []\n");
        }
        list(&mut inner, "ceiling", ceiling.rules.iter().map(|rule| &**rule), comment);
    }
    for (index, harmless) in policy.harmless.iter().enumerate() {
        let key = if index == 0 { "  harmless:\n" } else { "" };
        let (host, reason) = (quoted(&harmless.host.to_string()), quoted(&harmless.reason));
        push(&mut inner, format_args!("{key}    - {{host: {host}, reason: {reason}}}\n"));
    }
    if policy.observing_forbidden.is_some() {
        inner.push_str("  observe: false\n");
    }
    dns(&mut inner, &policy.dns);
    if let Some(own) = &policy.proxy {
        // A project's rules do not follow the switch; read again, they would.
        let follow = |rule: &std::sync::Arc<Rule>| {
            matches!(rule.matcher, Matcher::Cidr(_))
                || rule.host_access.is_given()
                || rule.resolved_by == ResolvedBy::Proxy
        };
        proxy(&mut inner, own, own.resolves_names && policy.allow.iter().all(follow));
    }
    if !inner.is_empty() {
        text.push_str("network:\n");
        text.push_str(&inner);
    }
}

fn list<'r>(text: &mut String, key: &str, rules: impl Iterator<Item = &'r Rule>, comment: &Comment<'_>) {
    for (index, rule) in rules.enumerate() {
        if index == 0 {
            push(text, format_args!("  {key}:\n"));
        }
        push(text, format_args!("    - {}", entry(rule, key == "deny")));
        if let Some(words) = comment(rule) {
            // A comment ends with its line, and may name files that strangers have named.
            push(text, format_args!("  # {}", harmless(&words)));
        }
        text.push('\n');
    }
}

/// Writes one entry of a list: short where the short form says it all.
pub fn entry(rule: &Rule, denial: bool) -> String {
    let says_more = rule.protocol.is_some()
        || !rule.private.is_empty()
        || rule.expires.is_some()
        || rule.resolved_by == ResolvedBy::Proxy
        || rule.host_access.is_given()
        || rule.reason.is_some();
    if let (Matcher::Host(pattern), false) = (&rule.matcher, says_more) {
        match (rule.ports.as_slice(), denial) {
            ([443], false) | ([], true) => return quoted(&pattern.to_string()),
            ([port], _) => return quoted(&format!("{pattern}:{port}")),
            _ => {}
        }
    }
    let mut keys = Vec::new();
    match &rule.matcher {
        Matcher::Host(pattern) => keys.push(format!("host: {}", quoted(&pattern.to_string()))),
        Matcher::Cidr(net) => keys.push(format!("cidr: {}", quoted(&net.to_string()))),
    }
    if !rule.ports.is_empty() {
        let ports: Vec<String> = rule.ports.iter().map(u16::to_string).collect();
        keys.push(format!("ports: [{}]", ports.join(", ")));
    }
    if let Some(protocol) = rule.protocol {
        keys.push(format!("protocol: {}", Protocol::as_str(protocol)));
    }
    if !rule.private.is_empty() {
        let ranges: Vec<String> = rule.private.iter().map(|net| quoted(&net.to_string())).collect();
        keys.push(format!("private: [{}]", ranges.join(", ")));
    }
    if let Some(last) = rule.expires {
        keys.push(format!("expires: {last}"));
    }
    if rule.resolved_by == ResolvedBy::Proxy {
        keys.push("resolved-by: proxy".to_owned());
    }
    if rule.host_access.is_given() {
        keys.push(format!("host-access: {}", rule.host_access));
    }
    if let Some(reason) = &rule.reason {
        keys.push(format!("reason: {}", quoted(reason)));
    }
    format!("{{{}}}", keys.join(", "))
}

fn dns(text: &mut String, dns: &Dns) {
    let defaults = Dns::default();
    let mut lines = Vec::new();
    let upstreams = |list: &[crate::settings::Upstream]| {
        let words: Vec<String> = list.iter().map(|upstream| quoted(&upstream.to_string())).collect();
        format!("[{}]", words.join(", "))
    };
    if dns.upstreams != defaults.upstreams {
        lines.push(format!("upstreams: {}", upstreams(&dns.upstreams)));
    }
    if !dns.domains.is_empty() {
        lines.push("domains:".to_owned());
        lines.extend(
            dns.domains.iter().map(|domain| {
                format!("  {}: {}", quoted(domain.name.as_str()), upstreams(&domain.upstreams))
            }),
        );
    }
    if dns.names_per_wildcard != defaults.names_per_wildcard {
        lines.push(format!("names-per-wildcard: {}", dns.names_per_wildcard));
    }
    if dns.virtual_range != defaults.virtual_range {
        lines.push(format!("virtual-range: {}", dns.virtual_range));
    }
    if !dns.upstream_fake_range.is_empty() {
        let ranges: Vec<String> = dns.upstream_fake_range.iter().map(ToString::to_string).collect();
        lines.push(format!("upstream-fake-range: [{}]", ranges.join(", ")));
    }
    if !lines.is_empty() {
        text.push_str("  dns:\n");
        for line in lines {
            push(text, format_args!("    {line}\n"));
        }
    }
}

fn proxy(text: &mut String, proxy: &Proxy, resolves_names: bool) {
    let url = quoted(&format!("http://{}:{}", proxy.server, proxy.port));
    let credentials = proxy.credentials_env.as_ref().map(|name| format!("credentials-env: {}", quoted(name)));
    let names = resolves_names.then(|| "resolves-names: true".to_owned());
    let more: Vec<String> = credentials.into_iter().chain(names).collect();
    match more.is_empty() {
        true => push(text, format_args!("  proxy: {url}\n")),
        false => push(text, format_args!("  proxy: {{url: {url}, {}}}\n", more.join(", "))),
    }
    if !proxy.direct.is_empty() {
        let words: Vec<String> = proxy.direct.iter().map(|direct| quoted(&direct.to_string())).collect();
        push(text, format_args!("  no-proxy: [{}]\n", words.join(", ")));
    }
}

fn container(text: &mut String, policy: &Policy) {
    let container = &policy.container;
    let mut lines = Vec::new();
    if let Some(cpus) = container.milli_cpus {
        lines.push(format!("cpus: {}.{:03}", cpus / 1000, cpus % 1000));
    }
    for (key, bytes) in [("memory", container.memory), ("disk", container.disk)] {
        lines.extend(bytes.map(|bytes| format!("{key}: {}", size(bytes))));
    }
    lines.extend(container.pids.map(|number| format!("pids: {number}")));
    lines.extend(container.open_files.map(|number| format!("open-files: {number}")));
    lines.extend(container.seconds.map(|seconds| format!("time: {seconds}s")));
    let Policy { connections, .. } = policy;
    lines.extend(number_of_connections("connections", &connections.at_once));
    lines.extend(number_of_connections("connections-per-second", &connections.per_second));
    lines.extend(container.capabilities.map(|kept| format!("capabilities: {}", kept.as_str())));
    lines.extend(container.runtime.as_ref().map(|name| format!("runtime: {}", quoted(name))));
    lines.extend(container.ca.as_ref().map(|ca| match ca {
        Ca::System => "ca: system".to_owned(),
        Ca::File(path) => format!("ca: {}", quoted(path)),
    }));
    if !lines.is_empty() {
        text.push_str("container:\n");
        for line in lines {
            push(text, format_args!("  {line}\n"));
        }
    }
}

/// Writes a number of connections. Read again from another layer's file, a project's would count
/// for more than it does.
fn number_of_connections(key: &str, limit: &ConnectionLimit) -> Option<String> {
    let comment = if limit.replacing.is_none() { "  # the project's: it only lowers" } else { "" };
    limit.smallest().map(|most| format!("{key}: {most}{comment}"))
}

fn services(text: &mut String, policy: &Policy) {
    let words = |words: &[String]| -> String {
        let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        format!("[{}]", quoted.join(", "))
    };
    for (index, (name, service)) in policy.services.iter().enumerate() {
        if index == 0 {
            text.push_str("services:\n");
        }
        push(text, format_args!("  {}:\n    image: {}\n", quoted(name.as_ref()), quoted(&service.image)));
        for (number, (variable, value)) in service.env.iter().enumerate() {
            if number == 0 {
                text.push_str("    env:\n");
            }
            push(text, format_args!("      {}: {}\n", quoted(variable), quoted(value)));
        }
        if !service.command.is_empty() {
            push(text, format_args!("    command: {}\n", words(&service.command)));
        }
        match &service.ready {
            Some(Readiness::Tcp(port)) => push(text, format_args!("    ready: {{tcp: {port}}}\n")),
            Some(Readiness::Command(command)) => {
                push(text, format_args!("    ready: {{command: {}}}\n", words(command)));
            }
            None => {}
        }
        if let Some(seconds) = service.within {
            push(text, format_args!("    within: {seconds}s\n"));
        }
    }
}

fn workspace(text: &mut String, workspace: &Workspace) {
    let lists = [("mask", &workspace.mask), ("unmask", &workspace.unmask)];
    if workspace.hide_committed || lists.iter().any(|(_, list)| !list.is_empty()) {
        text.push_str("workspace:\n");
    }
    for (key, list) in lists {
        if !list.is_empty() {
            let words: Vec<String> = list.iter().map(|word| quoted(word)).collect();
            push(text, format_args!("  {key}: [{}]\n", words.join(", ")));
        }
    }
    if workspace.hide_committed {
        text.push_str("  hide-committed: true\n");
    }
}

fn credentials(text: &mut String, credentials: &Credentials) {
    let mut lines = Vec::new();
    lines.extend(credentials.scopes.as_ref().map(|scopes| format!("scopes: [{}]", scopes.join(", "))));
    lines.extend(credentials.max_lifetime.map(|seconds| format!("max-lifetime: {seconds}s")));
    if !lines.is_empty() {
        text.push_str("credentials:\n");
        for line in lines {
            push(text, format_args!("  {line}\n"));
        }
    }
}

/// Writes a number of CPUs without needless noughts.
pub(crate) fn cpus(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Writes a time in the largest unit that says it exactly.
pub(crate) fn time(seconds: u64) -> String {
    let units = [("h", 3600), ("m", 60)];
    match units.iter().find(|(_, unit)| seconds > 0 && seconds.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

/// Writes a size in the largest unit that says it exactly.
pub(crate) fn size(bytes: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, unit)| bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}b"),
    }
}

/// Writes a target so that it reads back as itself: with a scheme where a name alone would be
/// another port.
fn target(endpoint: &crate::target::Endpoint) -> String {
    match endpoint.target {
        crate::target::Target::Address(_) if endpoint.transport == crate::target::Transport::Tcp => {
            format!("tcp://{endpoint}")
        }
        _ => endpoint.to_string(),
    }
}

/// Writes a plain word as it is, everything else in double quotes, which JSON and YAML read alike.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':');
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let word = !matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    if starts && word && text.chars().all(plain) && !text.ends_with(':') {
        return text.to_owned();
    }
    // YAML 1.2 reads every JSON string; what JSON may leave bare and YAML may not is written as an
    // escape.
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}')
                || ('\u{E000}'..='\u{F8FF}').contains(&c) =>
            {
                push(&mut quoted, format_args!("\\u{:04x}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn push(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(words);
}
