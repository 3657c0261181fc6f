//! The drafts of all layers, strongest first, to one policy.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::draft::{Draft, Placed, Set, set_already};
use super::services;
use crate::diagnostic::Diagnostic;
use crate::policy::{Ceiling, ConnectionLimit, ConnectionLimits, Layer, Matcher, Origin, Policy, SetNumber};
use crate::settings::{Container, Credentials, Dns, Proxy, Workspace};
use crate::virtual_names;
use crate::yaml::SourcePlace;

/// Merges the layers, and reports settings that weaker layers may not make again.
pub(super) fn merge(drafts: &[Draft], diagnostics: &mut Vec<Diagnostic>) -> Policy {
    let rules = |of: fn(&Draft) -> &Vec<Placed>| {
        drafts.iter().flat_map(|draft| of(draft).iter().map(|(rule, _)| rule.clone())).collect()
    };
    let ceilings = drafts
        .iter()
        .filter_map(|draft| {
            let rules = draft.ceiling.as_ref()?.iter().map(|(rule, _)| rule.clone()).collect();
            Some(Ceiling { layer: draft.layer, rules })
        })
        .collect();
    let dns = strongest(drafts, "dns", |draft| draft.dns.place.as_ref(), diagnostics);
    let proxy = strongest(
        drafts,
        "proxy",
        |draft| draft.proxy.place.as_ref().or(draft.proxy.direct.place()),
        diagnostics,
    );
    let require: BTreeSet<_> = drafts.iter().flat_map(|draft| draft.require.iter().copied()).collect();
    Policy {
        allow: rules(|draft| &draft.allow),
        deny: rules(|draft| &draft.deny),
        ceilings,
        harmless: drafts.iter().flat_map(|draft| draft.harmless.iter().cloned()).collect(),
        project_trusted: false,
        dns: dns.map_or_else(Dns::default, dns_of),
        proxy: proxy.and_then(|draft| proxy_of(draft, diagnostics)),
        container: Container {
            milli_cpus: smallest(drafts, |draft| &draft.limits.milli_cpus),
            memory: smallest(drafts, |draft| &draft.limits.memory),
            pids: smallest(drafts, |draft| &draft.limits.pids),
            open_files: smallest(drafts, |draft| &draft.limits.open_files),
            disk: smallest(drafts, |draft| &draft.limits.disk),
            seconds: smallest(drafts, |draft| &draft.limits.seconds),
            capabilities: smallest(drafts, |draft| &draft.limits.capabilities),
            runtime: agreed(drafts, "runtime", |draft| &draft.limits.runtime, diagnostics),
            ca: agreed(drafts, "ca", |draft| &draft.limits.ca, diagnostics),
        },
        connections: ConnectionLimits {
            at_once: connections(drafts, "connections", |draft| &draft.limits.connections),
            per_second: connections(drafts, "connections-per-second", |draft| {
                &draft.limits.connections_per_second
            }),
        },
        services: services::merged(drafts, diagnostics),
        images: in_all(drafts, |draft| &draft.images).unwrap_or_default(),
        require: require.into_iter().collect(),
        workspace: Workspace {
            mask: all(drafts, |draft| &draft.workspace.mask),
            unmask: all(drafts, |draft| &draft.workspace.unmask),
            hide_committed: drafts.iter().any(|draft| draft.workspace.hide_committed),
        },
        credentials: Credentials {
            scopes: in_all(drafts, |draft| &draft.scopes),
            max_lifetime: smallest(drafts, |draft| &draft.max_lifetime),
        },
        notice: drafts.iter().map(|draft| draft.notice).max().unwrap_or_default(),
        tests: drafts.iter().flat_map(|draft| draft.tests.iter().cloned()).collect(),
        network_denied: false,
        network_observed: false,
        observing_forbidden: drafts.iter().find_map(observing_forbidden),
        network_denied_to: Vec::new(),
    }
}

/// Returns the one layer that sets something, or the strongest of several, which is an error.
fn strongest<'d>(
    drafts: &'d [Draft],
    what: &str,
    place: fn(&Draft) -> Option<&SourcePlace>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<&'d Draft> {
    let mut setting = drafts.iter().filter(|draft| place(draft).is_some());
    let first = setting.next()?;
    for weaker in setting {
        if let (Some(strong), Some(weak)) = (place(first), place(weaker)) {
            diagnostics.push(set_already(what, first.layer, strong, weak));
        }
    }
    Some(first)
}

/// Merges a limit: a weaker layer may lower it and never raise it.
fn smallest<T: Copy + Ord>(drafts: &[Draft], limit: fn(&Draft) -> &Set<T>) -> Option<T> {
    drafts.iter().filter_map(|draft| limit(draft).value()).min()
}

/// Merges a number of connections. What the project sets stays apart: alone it only lowers.
fn connections(drafts: &[Draft], key: &str, number: fn(&Draft) -> &Set<u32>) -> ConnectionLimit {
    let set = |draft: &Draft| {
        let (most, place) = (number(draft).value()?, number(draft).place()?);
        let (file, text) = (place.file_name().to_owned(), format!("{key}: {most}"));
        Some(SetNumber { most, origin: Origin { layer: draft.layer, file, line: place.line(), text } })
    };
    let smallest = |is_project: bool| {
        let of = drafts.iter().filter(|draft| (draft.layer == Layer::Project) == is_project);
        of.filter_map(set).min_by_key(|set| set.most)
    };
    ConnectionLimit { replacing: smallest(false), lowering: smallest(true) }
}

/// Returns the words that any layer lists, each once.
fn all(drafts: &[Draft], words: fn(&Draft) -> &Vec<String>) -> Vec<String> {
    let all: BTreeSet<_> = drafts.iter().flat_map(|draft| words(draft).iter().cloned()).collect();
    all.into_iter().collect()
}

/// Returns the words that every layer with a list has: a weaker layer may take away and not add.
fn in_all(drafts: &[Draft], words: fn(&Draft) -> &Set<Vec<String>>) -> Option<Vec<String>> {
    let both = |mut one: Vec<String>, other: Vec<String>| {
        one.retain(|word| other.contains(word));
        one
    };
    drafts.iter().filter_map(|draft| words(draft).value()).reduce(both)
}

/// Merges a choice: a weaker layer may repeat it and not change it.
fn agreed<T: Clone + PartialEq>(
    drafts: &[Draft],
    what: &str,
    choice: fn(&Draft) -> &Set<T>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<T> {
    let mut setting = drafts.iter().filter(|draft| choice(draft).place().is_some());
    let first = setting.next()?;
    for weaker in setting {
        if let (Some(strong), Some(weak), true) =
            (choice(first).place(), choice(weaker).place(), choice(first).value() != choice(weaker).value())
        {
            diagnostics.push(set_already(what, first.layer, strong, weak));
        }
    }
    choice(first).value()
}

fn observing_forbidden(draft: &Draft) -> Option<Origin> {
    let place = draft.observing_forbidden.as_ref()?;
    let (file, text) = (place.file_name().to_owned(), "observe: false".to_owned());
    Some(Origin { layer: draft.layer, file, line: place.line(), text })
}

fn dns_of(draft: &Draft) -> Dns {
    let defaults = Dns::default();
    Dns {
        upstreams: draft.dns.upstreams.value().unwrap_or(defaults.upstreams),
        domains: draft.dns.domains.value().unwrap_or_default(),
        names_per_wildcard: draft.dns.names_per_wildcard.value().unwrap_or(defaults.names_per_wildcard),
        virtual_range: draft.dns.virtual_range.value().unwrap_or(defaults.virtual_range),
        upstream_fake_range: draft.dns.fake_range.value().unwrap_or_default(),
    }
}

fn proxy_of(draft: &Draft, diagnostics: &mut Vec<Diagnostic>) -> Option<Proxy> {
    let Some((server, port, credentials_env)) = draft.proxy.server.value() else {
        // A `proxy` that is there and broken was spoken of already.
        if let (Some(place), None) = (draft.proxy.direct.place(), &draft.proxy.place) {
            let hint = Some("leave it out: without a proxy the guard dials everything itself".into());
            diagnostics.push(place.error("proxy", "`no-proxy` without a `proxy`", hint));
        }
        return None;
    };
    Some(Proxy {
        server,
        port,
        credentials_env,
        resolves_names: draft.proxy.resolves_names.is_some(),
        direct: draft.proxy.direct.value().unwrap_or_default(),
    })
}

/// Checks that permitted ranges do not lie over the virtual range, and that every name finds an
/// address in it.
pub(super) fn check_virtual_range(drafts: &[Draft], policy: &Policy, diagnostics: &mut Vec<Diagnostic>) {
    let virtual_range = policy.dns.virtual_range;
    for (rule, place) in drafts.iter().flat_map(|draft| &draft.allow) {
        let Matcher::Cidr(IpNet::V4(range)) = &rule.matcher else { continue };
        if range.contains(&virtual_range) || virtual_range.contains(range) {
            diagnostics.push(place.error(
                "virtual-range",
                format!("{range} overlaps {virtual_range}, whose addresses stand for names inside the fence"),
                Some("set `network.dns.virtual-range` to a range that is not needed".into()),
            ));
        }
    }
    let names = virtual_names::exact_names(policy).len();
    let room = virtual_range.hosts().count();
    if names > room {
        let set = drafts.iter().find_map(|draft| draft.dns.virtual_range.place());
        let first = drafts.iter().find_map(|draft| draft.allow.first()).map(|(_, place)| place);
        let place = set.or(first).cloned().unwrap_or_else(|| SourcePlace::file("policy"));
        diagnostics.push(place.error(
            "virtual-range",
            format!("{names} permitted names do not fit into {virtual_range} ({room} addresses)"),
            Some("set `network.dns.virtual-range` to a wider range".into()),
        ));
    }
}
