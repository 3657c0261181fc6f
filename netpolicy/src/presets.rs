//! Policies that ship with ringfence, by name and version, and the rules of a GitLab instance of
//! one's own.
//!
//! ```text
//!  presets/NAME.yml ──find──▶ text for the loader
//!  --gitlab URL ──self_managed──▶ rules
//! ```

use serde::Serialize;

use crate::host::HostPattern;
use crate::load;
use crate::policy::{Layer, Matcher, Origin, Protocol, Rule};
use crate::target::{Endpoint, Target, TargetError};

/// One shipped policy.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Preset {
    /// Name, for example `gitlab`.
    pub name: &'static str,
    /// Version; a published version never changes.
    pub version: u32,
    /// The policy, in YAML.
    pub text: &'static str,
}

impl Preset {
    /// Returns the purpose of the preset: the first line of its text.
    pub fn summary(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
    }
}

macro_rules! preset {
    ($name:literal, $version:literal) => {
        Preset { name: $name, version: $version, text: include_str!(concat!("../presets/", $name, ".yml")) }
    };
}

/// Every preset, sorted by name and version.
pub const PRESETS: &[Preset] = &[
    preset!("anthropic", 1),
    preset!("github", 1),
    preset!("gitlab", 1),
    preset!("gitlab-ssh", 1),
    preset!("google", 1),
    preset!("openai", 1),
    preset!("opencode", 1),
];

/// Finds `name@version`, or the newest version of a bare `name`.
pub fn find(reference: &str) -> Option<&'static Preset> {
    match reference.split_once('@') {
        Some((name, version)) => {
            let version: u32 = version.parse().ok()?;
            PRESETS.iter().find(|preset| preset.name == name && preset.version == version)
        }
        None => PRESETS.iter().filter(|preset| preset.name == reference).max_by_key(|preset| preset.version),
    }
}

/// Reason for which a URL names no instance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstanceError {
    /// Neither `https://…` nor `http://…`.
    #[error("it is no https:// or http:// URL")]
    Scheme,
    /// An address where a name belongs.
    #[error("an instance is named by a host name, not by an address")]
    Address,
    /// gitlab.com is a preset.
    #[error("gitlab.com is not self-managed; the preset `gitlab` is made for it")]
    GitlabCom,
    /// The host or the port is none.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A host that no policy permits.
    #[error("{0}")]
    Refused(String),
}

/// Returns the rules of a self-managed GitLab at this URL: web, API, git over https and the agent's
/// websocket are all one host and port. The registry and Pages are elsewhere, at hosts that cannot
/// be known. Private addresses are not implied: a policy that needs them says `private` itself.
pub fn self_managed(url: &str) -> Result<Vec<Rule>, InstanceError> {
    let (scheme, _) = url.split_once("://").ok_or(InstanceError::Scheme)?;
    let https = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return Err(InstanceError::Scheme),
    };
    let endpoint = Endpoint::parse(url)?;
    let Target::Name(name) = endpoint.target else { return Err(InstanceError::Address) };
    if name.as_str() == "gitlab.com" {
        return Err(InstanceError::GitlabCom);
    }
    load::rule_from_flag("--allow", name.as_str())
        .map_err(|finding| InstanceError::Refused(finding.message))?;
    let matcher = Matcher::Host(HostPattern::Exact(name));
    let ports = vec![endpoint.port];
    let origin = Origin {
        layer: Layer::Run,
        file: "--gitlab".to_owned(),
        line: 0,
        text: Rule::text(&matcher, &ports),
    };
    let checked = if https { Protocol::Tls } else { Protocol::Http };
    let mut rule = Rule::new(matcher, ports, origin);
    rule.protocol = (Protocol::of_port(endpoint.port) != checked).then_some(checked);
    rule.reason = Some("self-managed GitLab; accepts uploads".to_owned());
    Ok(vec![rule])
}
