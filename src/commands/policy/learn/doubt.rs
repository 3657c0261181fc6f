//! Doubts about names: reasons for which a name is commented out rather than proposed.

use std::fmt;
use std::sync::LazyLock;

use netpolicy::host::HostName;
use netpolicy::load;
use netpolicy::policy::{Harmless, Layer};
use netpolicy::presets::PRESETS;

use super::tally::Tally;
use crate::host::clock::today;

/// Reason to think that a name is not needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The name looks like this one with a search domain behind it.
    SearchDomain(HostName),
    /// The name has no dot.
    NoDomain,
    /// A preset knows the name as one that agents ask for and do not need.
    Harmless(String),
    /// One run of several asked for it, once.
    Once,
    /// It was asked for, and nothing connected to it.
    OnlyAsked,
    /// It was permitted, and never reached.
    NeverReached,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::SearchDomain(name) => write!(f, "looks like {name} with a search domain behind it"),
            Doubt::NoDomain => f.write_str("a name without a dot is one of a local network"),
            Doubt::Harmless(purpose) => write!(f, "harmless when refused: {purpose}"),
            Doubt::Once => f.write_str("one run of several asked for it, once; --once proposes it"),
            Doubt::OnlyAsked => f.write_str("it was asked for, and nothing connected to it"),
            Doubt::NeverReached => f.write_str("it was permitted, and no connection to it succeeded"),
        }
    }
}

/// Names that the presets know as harmless when refused.
static HARMLESS: LazyLock<Vec<Harmless>> = LazyLock::new(|| {
    let of = |name: &str| load::load(name, Layer::Run, today(), &mut |_| Err(String::new()));
    let loaded = PRESETS.iter().filter_map(|preset| of(preset.name).ok());
    loaded.flat_map(|loaded| loaded.policy.harmless).collect()
});

/// Finds the first doubt about a name. `is_seen` tells whether a run asked for another name.
pub(super) fn of_name(host: &HostName, tally: &Tally, is_seen: impl Fn(&HostName) -> bool) -> Option<Doubt> {
    if let Some(known) = HARMLESS.iter().find(|known| known.host.matches(host)) {
        return Some(Doubt::Harmless(known.reason.clone()));
    }
    if tally.outcomes.reached {
        return None;
    }
    if !host.as_str().contains('.') {
        return Some(Doubt::NoDomain);
    }
    if let Some(shorter) = shorter_names(host).find(is_seen) {
        return Some(Doubt::SearchDomain(shorter));
    }
    (tally.outcomes.failed && !tally.outcomes.refused).then_some(Doubt::NeverReached)
}

/// Lists the names that a name begins with: a resolver puts search domains behind them.
fn shorter_names(host: &HostName) -> impl Iterator<Item = HostName> {
    let text = host.as_str();
    let ends = text.match_indices('.').map(|(at, _)| at).filter(|at| text[..*at].contains('.'));
    ends.filter_map(|at| HostName::parse(&text[..at]).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_domain_stands_behind_a_name_of_its_own() {
        let shorter = |text: &str| -> Vec<String> {
            shorter_names(&HostName::parse(text).unwrap()).map(|name| name.to_string()).collect()
        };
        assert_eq!(shorter("gitlab.com.corp.example"), ["gitlab.com", "gitlab.com.corp"]);
        assert!(shorter("gitlab.com").is_empty() && shorter("a").is_empty());
        assert!(!HARMLESS.is_empty(), "the presets name some");
    }
}
