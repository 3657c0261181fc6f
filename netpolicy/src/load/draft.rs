//! Settings of one layer, before the layers are merged.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use crate::diagnostic::Diagnostic;
use crate::policy::{Expectation, Harmless, Layer, Rule};
use crate::service::{Service, ServiceName};
use crate::settings::{
    Ca, Capabilities, Direct, Domain, NoticeDetail, Requirement, Server, Upstream, Workspace,
};
use crate::yaml::SourcePlace;

/// A single value and where it was set.
#[derive(Debug)]
pub(super) struct Set<T>(Option<(T, SourcePlace)>);

impl<T> Default for Set<T> {
    fn default() -> Self {
        Set(None)
    }
}

impl<T: Clone> Set<T> {
    pub(super) fn at(value: T, place: &SourcePlace) -> Self {
        Set(Some((value, place.clone())))
    }

    pub(super) fn value(&self) -> Option<T> {
        self.0.as_ref().map(|(value, _)| value.clone())
    }

    pub(super) fn place(&self) -> Option<&SourcePlace> {
        self.0.as_ref().map(|(_, place)| place)
    }
}

/// A rule and where it stands.
pub(super) type Placed = (Arc<Rule>, SourcePlace);

/// Settings of one layer's files so far.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) layer: Layer,
    pub(super) allow: Vec<Placed>,
    pub(super) deny: Vec<Placed>,
    pub(super) ceiling: Option<Vec<Placed>>,
    pub(super) harmless: Vec<Harmless>,
    /// Place of `observe: false`.
    pub(super) observing_forbidden: Option<SourcePlace>,
    pub(super) dns: DnsDraft,
    pub(super) proxy: ProxyDraft,
    pub(super) limits: LimitsDraft,
    pub(super) services: BTreeMap<ServiceName, (Service, SourcePlace)>,
    pub(super) images: Set<Vec<String>>,
    pub(super) require: Vec<Requirement>,
    pub(super) workspace: Workspace,
    pub(super) scopes: Set<Vec<String>>,
    pub(super) max_lifetime: Set<u64>,
    pub(super) notice: NoticeDetail,
    pub(super) tests: Vec<Expectation>,
}

/// Settings of `network.dns`.
#[derive(Debug, Default)]
pub(super) struct DnsDraft {
    /// Place where `dns` was first set.
    pub(super) place: Option<SourcePlace>,
    pub(super) upstreams: Set<Vec<Upstream>>,
    pub(super) domains: Set<Vec<Domain>>,
    pub(super) names_per_wildcard: Set<u32>,
    pub(super) virtual_range: Set<Ipv4Net>,
    pub(super) fake_range: Set<Vec<IpNet>>,
}

/// Settings of `network.proxy` and `network.no-proxy`.
#[derive(Debug, Default)]
pub(super) struct ProxyDraft {
    /// Place where `proxy` was first set.
    pub(super) place: Option<SourcePlace>,
    pub(super) server: Set<(Server, u16, Option<String>)>,
    /// Place of `resolves-names: true`.
    pub(super) resolves_names: Option<SourcePlace>,
    pub(super) direct: Set<Vec<Direct>>,
}

/// Settings of `container`.
#[derive(Debug, Default)]
pub(super) struct LimitsDraft {
    pub(super) milli_cpus: Set<u64>,
    pub(super) memory: Set<u64>,
    pub(super) pids: Set<u64>,
    pub(super) open_files: Set<u64>,
    pub(super) disk: Set<u64>,
    pub(super) seconds: Set<u64>,
    pub(super) connections: Set<u32>,
    pub(super) connections_per_second: Set<u32>,
    pub(super) capabilities: Set<Capabilities>,
    pub(super) runtime: Set<String>,
    pub(super) ca: Set<Ca>,
}

impl Draft {
    /// Begins with nothing said.
    pub(super) fn new(layer: Layer) -> Draft {
        Draft {
            layer,
            allow: Vec::new(),
            deny: Vec::new(),
            ceiling: None,
            harmless: Vec::new(),
            observing_forbidden: None,
            dns: DnsDraft::default(),
            proxy: ProxyDraft::default(),
            limits: LimitsDraft::default(),
            services: BTreeMap::new(),
            images: Set::default(),
            require: Vec::new(),
            workspace: Workspace::default(),
            scopes: Set::default(),
            max_lifetime: Set::default(),
            notice: NoticeDetail::default(),
            tests: Vec::new(),
        }
    }
}

/// Reports a setting of a weaker layer that a stronger one has.
pub(super) fn set_already(what: &str, layer: Layer, strong: &SourcePlace, weak: &SourcePlace) -> Diagnostic {
    let message = format!("`{what}` is set by the {layer}'s policy already");
    let hint = format!("it stands in {}:{}; leave it out here", strong.file_name(), strong.line());
    weak.error("layer", message, Some(hint))
}
