//! Headroom of a target that no rule permits: who could permit it, or which ceiling keeps it out.
//!
//! ```text
//!  refused for lack of an `allow` ──netpolicy::headroom──▶ answer of each layer ──▶ files that could hold the rule │ the ceiling's place
//! ```

use netpolicy::decide::{Decider, Question, Reason, Target, Verdict};
use netpolicy::floor::Surroundings;
use netpolicy::headroom::{self, Answer};
use netpolicy::policy::{Ceiling, Layer, Rule};
use serde_json::json;

use crate::layers;

/// The answers of all layers, and the ceiling that keeps the target out of some.
pub(crate) struct Headroom {
    answers: Vec<headroom::Headroom>,
    ceiling: Option<Ceiling>,
    /// Value of `--allow` that would permit the target; none for an address.
    option: Option<String>,
}

impl Headroom {
    /// Looks for headroom where a target is refused for lack of a rule that counts.
    pub(crate) fn of(
        decider: &Decider,
        surroundings: &Surroundings,
        question: &Question<'_>,
        verdict: &Verdict,
    ) -> Option<Headroom> {
        let lacks_a_rule = [Reason::NotAllowed, Reason::Port, Reason::RawAddress, Reason::OutsideCeiling];
        if !lacks_a_rule.contains(&verdict.reason) {
            return None;
        }
        let policy = decider.policy();
        let answers = headroom::of(policy, surroundings, question);
        let lowest = answers.iter().find_map(|one| match one.answer {
            Answer::OutsideCeiling(layer) => Some(layer),
            _ => None,
        });
        let ceiling = policy.ceilings.iter().find(|ceiling| Some(ceiling.layer) == lowest).cloned();
        let option = match question.target {
            Target::Name(name) => question.port.map(|port| match port {
                443 => name.to_string(),
                port => format!("{name}:{port}"),
            }),
            Target::Address(_) => None,
        };
        (!answers.is_empty()).then_some(Headroom { answers, ceiling, option })
    }

    /// Writes the layers that could permit the target, weakest first, and the ceiling in the way.
    pub(crate) fn to_words(&self) -> String {
        let mut text = String::new();
        let mut row = |what: String| text.push_str(&format!("    {what}\n"));
        for one in self.answers.iter().rev() {
            let place = format!("the {}'s policy: {}", one.layer, file_of(one.layer));
            match (one.answer, one.layer) {
                (Answer::Permits, layer) => row(match &self.option {
                    Some(option) if layer == Layer::Run => format!("the run's options: --allow {option}"),
                    _ => place,
                }),
                (Answer::AfterApproval, _) => row(format!("{place}, approved with `ringfence trust`")),
                (Answer::NeedsCeiling, _) => row(format!("{place}, only inside a ceiling")),
                (Answer::OutsideCeiling(_), _) => {}
            }
        }
        match &self.ceiling {
            None => format!("  the ceilings leave room; a rule could stand in\n{text}"),
            Some(ceiling) => {
                let who = ceiling.layer;
                let whole =
                    format!("  no room: the {who}'s ceiling does not contain it ({})\n", place_of(ceiling));
                if text.is_empty() {
                    whole
                } else {
                    format!("{whole}  a stronger layer could permit it, in\n{text}")
                }
            }
        }
    }

    /// Lists the same as data.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let ceiling = self.ceiling.as_ref().map(|ceiling| {
            let rule = ceiling.rules.first().map(|rule| &rule.origin);
            let file = rule.map_or_else(|| file_of(ceiling.layer), |origin| origin.file.clone());
            json!({ "layer": ceiling.layer, "file": file, "line": rule.map(|origin| origin.line) })
        });
        json!({ "layers": self.answers, "ceiling": ceiling })
    }
}

/// Names the file that holds a layer's rules.
fn file_of(layer: Layer) -> String {
    match layer {
        Layer::Organisation => layers::ORGANISATION.to_owned(),
        Layer::User => layers::user_file().map_or_else(String::new, |path| path.display().to_string()),
        Layer::Project => layers::PROJECT.to_owned(),
        Layer::Run | Layer::Floor => "--policy FILE".to_owned(),
    }
}

/// Names the place of a ceiling: that of its first entry, or the layer's file where it has none.
fn place_of(ceiling: &Ceiling) -> String {
    let first = ceiling.rules.first().map(|rule: &std::sync::Arc<Rule>| rule.origin.place());
    first.unwrap_or_else(|| format!("`ceiling: []` in {}", file_of(ceiling.layer)))
}
