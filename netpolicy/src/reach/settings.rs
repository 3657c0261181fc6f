//! Settings besides rules in which two policies differ.

use std::fmt::Display;

use serde::Serialize;

use crate::policy::{ConnectionLimit, Policy};
use crate::print;
use crate::service::Service;
use crate::settings::{Container, Proxy};

/// One setting that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The key, as policies write it.
    pub key: String,
    /// Old value; `None` when the setting was not set.
    pub old: Option<String>,
    /// New value.
    pub new: Option<String>,
    /// Set when the new value lets more through by itself.
    pub widens: bool,
}

/// Returns every setting that is not the same in both.
pub(super) fn changes(old: &Policy, new: &Policy) -> Vec<Change> {
    let mut list = Vec::new();
    let mut add = |key: &str, old: Option<String>, new: Option<String>, widens: bool| {
        if old != new {
            list.push(Change { key: key.to_owned(), old, new, widens });
        }
    };
    add("network", denied(old), denied(new), false);
    let forbids = |policy: &Policy| policy.observing_forbidden.is_some().then(|| "false".to_owned());
    add("network.observe", forbids(old), forbids(new), forbids(new).is_none());
    // Without a ceiling, user and run may permit what they like.
    for layer in old.ceilings.iter().map(|ceiling| ceiling.layer) {
        if !new.ceilings.iter().any(|ceiling| ceiling.layer == layer) {
            add("network.ceiling", Some(format!("of the {layer}'s layer")), None, true);
        }
    }
    for layer in new.ceilings.iter().map(|ceiling| ceiling.layer) {
        if !old.ceilings.iter().any(|ceiling| ceiling.layer == layer) {
            add("network.ceiling", None, Some(format!("of the {layer}'s layer")), false);
        }
    }
    let (dns, before) = (&new.dns, &old.dns);
    add("network.dns.upstreams", words(&before.upstreams), words(&dns.upstreams), false);
    let domains = |policy: &Policy| {
        let word = |domain: &crate::settings::Domain| {
            format!("{}: {}", domain.name, words(&domain.upstreams).unwrap_or_default())
        };
        words(&policy.dns.domains.iter().map(word).collect::<Vec<_>>())
    };
    add("network.dns.domains", domains(old), domains(new), false);
    let budget = [before.names_per_wildcard, dns.names_per_wildcard];
    let has_wildcards = new.allow.iter().any(|rule| match &rule.matcher {
        crate::policy::Matcher::Host(pattern) => pattern.is_wildcard(),
        crate::policy::Matcher::Cidr(_) => false,
    });
    let widens = budget[1] > budget[0] && has_wildcards;
    let [few, many] = budget.map(|names| Some(names.to_string()));
    add("network.dns.names-per-wildcard", few, many, widens);
    let ranges = [before, dns].map(|dns| Some(dns.virtual_range.to_string()));
    let [was, is] = ranges;
    add("network.dns.virtual-range", was, is, false);
    add(
        "network.dns.upstream-fake-range",
        words(&before.upstream_fake_range),
        words(&dns.upstream_fake_range),
        false,
    );
    add("network.proxy", proxy(old.proxy.as_ref()), proxy(new.proxy.as_ref()), false);
    let direct = |policy: &Policy| policy.proxy.as_ref().and_then(|proxy| words(&proxy.direct));
    add("network.no-proxy", direct(old), direct(new), false);
    for ((key, was), (_, is)) in container(old).into_iter().zip(container(new)) {
        add(key, was, is, false);
    }
    for name in old.services.keys().chain(new.services.keys().filter(|name| !old.services.contains_key(name)))
    {
        let shown = |policy: &Policy| policy.services.get(name).map(service);
        add(&format!("services.{name}"), shown(old), shown(new), false);
    }
    let more = new.images.iter().any(|registry| !old.images.contains(registry));
    add("images", words(&old.images), words(&new.images), more);
    let required = |policy: &Policy| {
        let mut list: Vec<&str> = policy.require.iter().map(|requirement| requirement.as_str()).collect();
        list.sort_unstable();
        words(&list)
    };
    add("engine.require", required(old), required(new), false);
    add("workspace.mask", words(&old.workspace.mask), words(&new.workspace.mask), false);
    add("workspace.unmask", words(&old.workspace.unmask), words(&new.workspace.unmask), false);
    let hides = |policy: &Policy| policy.workspace.hide_committed.then(|| "true".to_owned());
    add("workspace.hide-committed", hides(old), hides(new), false);
    let brief = |policy: &Policy| (!policy.notice.is_full()).then(|| "brief".to_owned());
    add("notice", brief(old), brief(new), false);
    let scopes = |policy: &Policy| policy.credentials.scopes.as_ref().map(|scopes| scopes.join(", "));
    add("credentials.scopes", scopes(old), scopes(new), false);
    let lifetime = |policy: &Policy| policy.credentials.max_lifetime.map(print::time);
    add("credentials.max-lifetime", lifetime(old), lifetime(new), false);
    list
}

/// Returns a service on one line, its variables by name.
fn service(service: &Service) -> String {
    let mut parts = vec![service.image.clone()];
    parts.extend((!service.command.is_empty()).then(|| format!("command {:?}", service.command)));
    parts.extend(service.env.iter().map(|(name, value)| format!("{name}={}", crate::digest::of(value))));
    parts.extend(service.ready.as_ref().map(|ready| format!("{ready:?}")));
    parts.extend(service.within.map(|seconds| format!("within {seconds} s")));
    parts.join(", ")
}

fn denied(policy: &Policy) -> Option<String> {
    policy.network_denied.then(|| "denied".to_owned())
}

fn words<T: Display>(list: &[T]) -> Option<String> {
    let words: Vec<String> = list.iter().map(ToString::to_string).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn proxy(proxy: Option<&Proxy>) -> Option<String> {
    let proxy = proxy?;
    let credentials = proxy.credentials_env.as_ref().map(|name| format!(" with credentials from {name}"));
    let names = if proxy.resolves_names { ", which resolves names" } else { "" };
    Some(format!("{}:{}{}{names}", proxy.server, proxy.port, credentials.unwrap_or_default()))
}

fn container(policy: &Policy) -> [(&'static str, Option<String>); 11] {
    let Policy { container, connections, .. } = policy;
    let set = |limit: &ConnectionLimit| limit.smallest().map(|most| most.to_string());
    let number = |value: Option<u64>| value.map(|value| value.to_string());
    let Container { milli_cpus, memory, pids, open_files, disk, seconds, capabilities, runtime, ca } =
        container;
    let ca = ca.as_ref().map(|ca| match ca {
        crate::settings::Ca::System => "system".to_owned(),
        crate::settings::Ca::File(path) => path.clone(),
    });
    [
        ("container.cpus", milli_cpus.map(print::cpus)),
        ("container.memory", memory.map(print::size)),
        ("container.pids", number(*pids)),
        ("container.open-files", number(*open_files)),
        ("container.disk", disk.map(print::size)),
        ("container.time", seconds.map(print::time)),
        ("container.connections", set(&connections.at_once)),
        ("container.connections-per-second", set(&connections.per_second)),
        ("container.capabilities", capabilities.map(|kept| kept.as_str().to_owned())),
        ("container.runtime", runtime.clone()),
        ("container.ca", ca),
    ]
}
