//! `network.proxy.resolves-names`: one switch for the rules that would each say
//! `resolved-by: proxy`.
//!
//! ```text
//!  switch of a layer ─┬─ a stronger layer has a ceiling ──▶ it does not count, and a warning says so
//!                     └─ none has ──▶ every rule but a project's, every entry of a ceiling
//! ```
//! A ceiling keeps what it permits: its layer alone, or a stronger one, says that nobody checks the
//! addresses of its names.

use std::sync::Arc;

use super::draft::Draft;
use crate::diagnostic::Diagnostic;
use crate::policy::{Layer, Matcher, Policy, ResolvedBy, Rule};

/// Lets the proxy resolve the names of all rules that the switch is for; a warning where it does
/// not count.
pub(super) fn apply(drafts: &[Draft], policy: &mut Policy) -> Option<Diagnostic> {
    let proxy = policy.proxy.as_mut().filter(|proxy| proxy.resolves_names)?;
    let switched = drafts.iter().find(|draft| draft.proxy.resolves_names.is_some())?;
    if let Some(ceiling) = policy.ceilings.iter().find(|ceiling| ceiling.layer < switched.layer) {
        proxy.resolves_names = false;
        let place = switched.proxy.resolves_names.as_ref()?;
        let message = format!(
            "`resolves-names` does not count: the {}'s policy has a ceiling, and keeps names to the guard's resolvers",
            ceiling.layer
        );
        let hint = "ask for the switch in that policy, or for `resolved-by: proxy` in its ceiling";
        return Some(place.warning("proxy", message, Some(hint.into())));
    }
    let entries = policy.ceilings.iter_mut().flat_map(|ceiling| &mut ceiling.rules);
    for rule in policy.allow.iter_mut().chain(entries) {
        resolve_by_proxy(rule);
    }
    None
}

/// Lets the proxy resolve the name of a rule, as the switch does.
pub fn resolve_by_proxy(rule: &mut Arc<Rule>) {
    let is_name = matches!(rule.matcher, Matcher::Host(_)) && !rule.host_access.is_given();
    if is_name && rule.origin.layer != Layer::Project && rule.resolved_by == ResolvedBy::Guard {
        Arc::make_mut(rule).resolved_by = ResolvedBy::Proxy;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::sample::today;
    use crate::load::{LayerSource, Loaded, load_layers};

    /// Loads a policy of each of these layers.
    fn load(layers: &[(Layer, &str)]) -> Loaded {
        let sources: Vec<LayerSource> = layers
            .iter()
            .enumerate()
            .map(|(at, (layer, _))| LayerSource::files(*layer, vec![format!("./{at}.yml")]))
            .collect();
        let mut read = |_: Layer, path: &str| {
            let at: usize = path.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number");
            Ok(format!("version: 1\nnetwork:\n{}", layers[at].1).into_bytes())
        };
        load_layers(&sources, today(), &mut read).expect("good")
    }

    /// Lists the names that the proxy resolves.
    fn by_proxy(policy: &Policy) -> Vec<&str> {
        let is = |rule: &&Arc<Rule>| rule.resolved_by == ResolvedBy::Proxy;
        policy.allow.iter().filter(is).map(|rule| rule.origin.text.as_str()).collect()
    }

    const SWITCH: &str = "  proxy: {url: \"http://proxy.example:3128\", resolves-names: true}\n";

    #[test]
    fn the_switch_is_for_the_names_of_all_layers_but_the_projects() {
        let loaded = load(&[
            (Layer::Organisation, &format!("{SWITCH}  allow: [a.example]\n")),
            (
                Layer::User,
                "  allow: [b.example, {cidr: 192.0.2.0/24, ports: [9]}, {host: host.docker.internal, host-access: true}]\n",
            ),
            (Layer::Project, "  allow: [c.example]\n"),
        ]);
        assert_eq!(by_proxy(&loaded.policy), ["a.example:443", "b.example:443"]);
        assert!(loaded.policy.proxy.is_some_and(|proxy| proxy.resolves_names));
    }

    #[test]
    fn a_ceiling_of_the_same_or_a_weaker_layer_follows() {
        for (switch, ceiling) in
            [(Layer::Organisation, Layer::Organisation), (Layer::Organisation, Layer::User)]
        {
            let bounds = "  ceiling: [a.example]\n";
            let layers: Vec<(Layer, String)> = match switch == ceiling {
                true => vec![(switch, format!("{SWITCH}{bounds}"))],
                false => vec![(switch, SWITCH.to_owned()), (ceiling, bounds.to_owned())],
            };
            let mut layers: Vec<(Layer, &str)> =
                layers.iter().map(|(layer, text)| (*layer, text.as_str())).collect();
            layers.push((Layer::Run, "  allow: [a.example]\n"));
            let policy = load(&layers).policy;
            assert_eq!(by_proxy(&policy), ["a.example:443"]);
            assert!(policy.ceilings[0].rules.iter().all(|rule| rule.resolved_by == ResolvedBy::Proxy));
        }
    }

    #[test]
    fn a_stronger_ceiling_keeps_names_to_the_guard_and_says_so() {
        let loaded = load(&[
            (Layer::Organisation, "  ceiling: [a.example]\n"),
            (Layer::User, &format!("{SWITCH}  allow: [a.example]\n")),
        ]);
        assert!(by_proxy(&loaded.policy).is_empty());
        assert!(loaded.policy.proxy.is_some_and(|proxy| !proxy.resolves_names));
        let said: Vec<&str> = loaded.warnings.iter().map(|found| found.message.as_str()).collect();
        assert!(said.iter().any(|said| said.contains("`resolves-names` does not count")), "{said:?}");
    }

    #[test]
    fn a_project_cannot_set_it() {
        let source = LayerSource::files(Layer::Project, vec!["./p.yml".to_owned()]);
        let mut read = |_: Layer, _: &str| Ok(format!("version: 1\nnetwork:\n{SWITCH}").into_bytes());
        assert!(load_layers(&[source], today(), &mut read).is_err());
    }
}
