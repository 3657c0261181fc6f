//! The texts of the starter files: a function of what the project needs and of the agent.

use std::sync::Arc;

use netpolicy::load::{self, LayerSource};
use netpolicy::policy::{Layer, Rule};
use netpolicy::suggest::Suggestion;

use crate::cli::init::AgentKind;
use crate::commands::policy::suggest;

/// Starter files, and what the commands that come next need.
pub(crate) struct Starter {
    /// The project's own policy.
    pub(crate) policy: String,
    /// The recipe of the agent's image.
    pub(crate) dockerfile: String,
    /// The name that the image gets.
    pub(crate) image: &'static str,
    /// The option of `ringfence run` that gives the provider's API key.
    pub(crate) key: &'static str,
}

/// Facts about one agent, as `docs/agents` says them.
struct Facts {
    /// The Dockerfile, which the agent's page shows too.
    dockerfile: &'static str,
    image: &'static str,
    key: &'static str,
    /// The presets that have its provider's names and its own.
    presets: &'static [&'static str],
    /// Words about the presets, for the policy.
    note: &'static str,
}

macro_rules! dockerfile {
    ($agent:literal) => {
        include_str!(concat!("../../../docs/agents/", $agent, "/Dockerfile"))
    };
}

fn facts(agent: AgentKind) -> Facts {
    match agent {
        AgentKind::Claude => Facts {
            dockerfile: dockerfile!("claude"),
            image: "ringfence-claude",
            key: "-e ANTHROPIC_API_KEY",
            presets: &["anthropic@1"],
            note: "Claude's API and login",
        },
        AgentKind::Codex => Facts {
            dockerfile: dockerfile!("codex"),
            image: "ringfence-codex",
            key: "--secret OPENAI_API_KEY",
            presets: &["openai@1"],
            note: "OpenAI's API and login",
        },
        AgentKind::Gemini => Facts {
            dockerfile: dockerfile!("gemini"),
            image: "ringfence-gemini",
            key: "-e GEMINI_API_KEY",
            presets: &["google@1"],
            note: "the Gemini API and Google's login",
        },
        AgentKind::Opencode => Facts {
            dockerfile: dockerfile!("opencode"),
            image: "ringfence-opencode",
            key: "-e ANTHROPIC_API_KEY",
            presets: &["anthropic@1", "opencode@1"],
            note: "Claude's API; for models of others openai@1 or google@1, or their API's host below",
        },
        AgentKind::Shell => Facts {
            dockerfile: dockerfile!("shell"),
            image: "ringfence-shell",
            key: "",
            presets: &[],
            note: "",
        },
    }
}

/// Writes the texts for an agent in a project that needs these names.
pub(super) fn starter(agent: AgentKind, suggestions: &[Suggestion]) -> Starter {
    let facts = facts(agent);
    let permitted: Vec<_> = facts.presets.iter().flat_map(|preset| rules_of(preset)).collect();
    let more: Vec<Suggestion> =
        suggestions.iter().filter(|one| !is_among(&one.rule, &permitted)).cloned().collect();
    Starter {
        policy: policy(&facts, &more),
        dockerfile: facts.dockerfile.to_owned(),
        image: facts.image,
        key: facts.key,
    }
}

/// Lists the rules of a preset.
fn rules_of(preset: &str) -> Vec<Arc<Rule>> {
    let source = LayerSource::files(Layer::Run, vec![preset.to_owned()]);
    let mut read = |_: Layer, _: &str| Err("no file is read".to_owned());
    // No rule of a preset expires, so that any day does.
    load::load_layers(&[source], crate::host::clock::today(), &mut read)
        .map_or_else(|_| Vec::new(), |loaded| loaded.policy.allow)
}

/// Tells whether a rule says nothing that these do not say. A policy that repeats itself has
/// warnings.
fn is_among(rule: &Rule, permitted: &[Arc<Rule>]) -> bool {
    permitted.iter().any(|other| {
        other.matcher == rule.matcher && rule.ports.iter().all(|port| other.ports.contains(port))
    })
}

fn policy(facts: &Facts, suggestions: &[Suggestion]) -> String {
    let mut text = String::from(
        "# What an agent may reach from this project. Written by `ringfence init`: read it, and delete what
# is not needed.
#
# Nothing here counts before `ringfence trust` approved it. A change ends the approval.
# `ringfence policy check .ringfence.yml` finds mistakes. `ringfence events ID --denied` says of each
# refusal which line would permit it.
version: 1
",
    );
    if !facts.presets.is_empty() {
        text.push_str(&format!("extends: [{}]  # {}\n", facts.presets.join(", "), facts.note));
    }
    if suggestions.is_empty() {
        text.push_str(
            "
# Nothing in the project names a host. A name that the agent needs besides goes here:
# network:
#   allow:
#     - api.example.com
",
        );
        return text;
    }
    text.push_str("\n# Each line has the place in the project that shows the name.\n");
    text.push_str(suggest::rules(suggestions).trim_start_matches("version: 1\n"));
    text
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use netpolicy::diagnostic::{Diagnostic, Severity, render};

    use super::*;

    /// A project of several tools, one of whose names is the provider's.
    fn suggestions() -> Vec<Suggestion> {
        let files = [
            (
                "package-lock.json",
                "{\"lockfileVersion\": 3, \"packages\": {\"node_modules/a\": {\"version\": \"1.0.0\", \"resolved\": \"https://npm.corp.example/a/-/a-1.0.0.tgz\"}}}",
            ),
            (".npmrc", "registry=https://api.anthropic.com/npm/\n@x:registry=https://api.openai.com/\n"),
            (".git/config", "[remote \"origin\"]\n\turl = https://gitlab.com/group/project.git\n"),
            (
                "Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"serde\"\nversion = \"1.0.0\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n",
            ),
        ];
        netpolicy::suggest::suggest(files).suggestions
    }

    /// Loads a policy as a project's, approved.
    fn warnings(text: &str) -> String {
        let source = |approved| LayerSource {
            root: Some("/p".to_owned()),
            approved,
            ..LayerSource::files(Layer::Project, vec!["/p/.ringfence.yml".to_owned()])
        };
        let mut read = |_: Layer, _: &str| Ok(text.as_bytes().to_vec());
        let today = crate::host::clock::today();
        let first = load::load_layers(&[source(None)], today, &mut read)
            .unwrap_or_else(|found| panic!("{}", render(&found)));
        let digest = first.closure_digest(Layer::Project);
        let loaded = load::load_layers(&[source(Some(digest))], today, &mut read).unwrap();
        let is_warning = |found: &&Diagnostic| found.severity == Severity::Warning;
        render(&loaded.warnings.iter().filter(is_warning).cloned().collect::<Vec<_>>())
    }

    #[test]
    fn every_policy_loads_without_a_warning() {
        for agent in AgentKind::value_variants() {
            for suggestions in [Vec::new(), suggestions()] {
                let text = starter(*agent, &suggestions).policy;
                assert_eq!(warnings(&text), "", "{agent:?}\n{text}");
            }
        }
        // The control: a name twice is a warning.
        assert_ne!(warnings("version: 1\nextends: [anthropic@1]\nnetwork: {allow: [claude.ai]}\n"), "");
    }

    #[test]
    fn a_name_of_the_preset_is_not_said_again() {
        let found = suggestions();
        let names = |text: &str| (text.contains("- api.anthropic.com"), text.contains("- api.openai.com"));
        assert_eq!(names(&starter(AgentKind::Claude, &found).policy), (false, true));
        assert_eq!(names(&starter(AgentKind::Codex, &found).policy), (true, false));
        assert_eq!(names(&starter(AgentKind::Shell, &found).policy), (true, true));
    }

    #[test]
    fn a_policy_for_claude() {
        insta::assert_snapshot!(starter(AgentKind::Claude, &suggestions()).policy);
    }

    #[test]
    fn a_policy_for_a_shell_in_an_empty_project() {
        insta::assert_snapshot!(starter(AgentKind::Shell, &[]).policy);
    }

    #[test]
    fn every_agent_has_a_preset_that_is_there_and_a_page() {
        for agent in AgentKind::value_variants() {
            let facts = facts(*agent);
            let rules: Vec<_> = facts.presets.iter().flat_map(|preset| rules_of(preset)).collect();
            assert_eq!(facts.presets.is_empty(), rules.is_empty());
            assert!(facts.presets.iter().all(|preset| netpolicy::presets::find(preset).is_some()));
            assert!(facts.dockerfile.contains("\nFROM "), "{agent:?}");
        }
    }
}
