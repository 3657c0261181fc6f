//! Presets of which a ceiling lets only a part through.
//!
//! ```text
//!  rules of presets, each with the ceiling that does not contain it ──add──▶ one finding for each preset and ceiling
//! ```

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::policy::{Layer, Policy, Rule};
use crate::yaml::SourcePlace;

/// Names that a finding shows before it counts the rest.
const SHOWN: usize = 8;

/// Presets, by the names of their files.
#[derive(Default)]
pub(super) struct CutPresets {
    presets: BTreeMap<String, Preset>,
}

#[derive(Default)]
struct Preset {
    rules: usize,
    /// Rules outside the ceiling of a layer, with the place of the first.
    cut: BTreeMap<Layer, (SourcePlace, Vec<String>)>,
}

impl CutPresets {
    /// Adds a rule of a preset, and the layer whose ceiling does not contain it.
    pub(super) fn add(&mut self, rule: &Rule, place: &SourcePlace, outside: Option<Layer>) {
        let preset = self.presets.entry(rule.origin.file.clone()).or_default();
        preset.rules += 1;
        if let Some(layer) = outside {
            let (_, texts) = preset.cut.entry(layer).or_insert_with(|| (place.clone(), Vec::new()));
            texts.push(rule.origin.text.clone());
        }
    }

    /// Returns a finding for each preset and ceiling.
    pub(super) fn findings(self, policy: &Policy) -> Vec<Diagnostic> {
        let of_preset = |(file, preset): (String, Preset)| {
            let Preset { rules, cut } = preset;
            cut.into_iter()
                .map(move |(layer, (place, texts))| finding(&file, rules, layer, &place, &texts, policy))
        };
        self.presets.into_iter().flat_map(of_preset).collect()
    }
}

fn finding(
    file: &str,
    rules: usize,
    layer: Layer,
    place: &SourcePlace,
    texts: &[String],
    policy: &Policy,
) -> Diagnostic {
    let mut shown = texts.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if texts.len() > SHOWN {
        shown.push_str(&format!(" and {} more", texts.len() - SHOWN));
    }
    let message = format!(
        "{} of the {rules} rules of {file} count for nothing, outside the ceiling of the {layer}'s policy: {shown}",
        texts.len()
    );
    let ceiling = policy.ceilings.iter().find(|ceiling| ceiling.layer == layer);
    let at =
        ceiling.and_then(|ceiling| ceiling.rules.first()).map(|rule| format!(" ({})", rule.origin.place()));
    let hint = format!(
        "an agent may end without them: widen that ceiling{}, or deny the names that are not meant",
        at.unwrap_or_default()
    );
    place.warning("outside-ceiling", message, Some(hint))
}
