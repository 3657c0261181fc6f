//! Policies for unit tests, made of texts.

use super::{LayerSource, load_layers};
use crate::policy::{Date, Layer, Policy};

/// Day on which policies of tests are loaded.
pub(crate) fn today() -> Date {
    "2026-01-01".parse().expect("a date")
}

/// Makes the policy of these layers, each the text below `version: 1`.
pub(crate) fn policy(layers: &[(Layer, &str)]) -> Policy {
    let sources: Vec<LayerSource> = layers
        .iter()
        .map(|(layer, _)| LayerSource {
            root: (*layer == Layer::Project).then(|| ".".to_owned()),
            ..LayerSource::files(*layer, vec![format!("./{layer}.yml")])
        })
        .collect();
    let mut read = |layer: Layer, _: &str| {
        let text = layers.iter().find(|(of, _)| *of == layer).map_or("", |(_, text)| text);
        Ok(format!("version: 1\n{text}").into_bytes())
    };
    load_layers(&sources, today(), &mut read).expect("a good policy").policy
}
