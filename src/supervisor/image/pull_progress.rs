//! The layers of an image that is being pulled: how many are there, and how many bytes.

use std::collections::HashMap;

use bollard::models::CreateImageInfo;

/// The layers, by the engine's names of them.
#[derive(Default)]
pub(super) struct Layers(HashMap<String, Layer>);

#[derive(Default)]
struct Layer {
    done: bool,
    current: i64,
    total: i64,
}

impl Layers {
    /// Takes one line of the engine.
    pub(super) fn heard(&mut self, info: &CreateImageInfo) {
        let (Some(id), Some(status)) = (&info.id, &info.status) else { return };
        // `Pulling from …` has the tag for an id.
        if status.starts_with("Pulling from") {
            return;
        }
        let layer = self.0.entry(id.clone()).or_default();
        layer.done = matches!(status.as_str(), "Pull complete" | "Already exists");
        if let (true, Some(detail)) = (status == "Downloading", &info.progress_detail) {
            layer.current = detail.current.unwrap_or(0);
            layer.total = detail.total.unwrap_or(0);
        } else if layer.total > 0 {
            layer.current = layer.total;
        }
    }

    /// Says how far it is.
    pub(super) fn words(&self) -> String {
        let done = self.0.values().filter(|layer| layer.done).count();
        let sum = |of: fn(&Layer) -> i64| self.0.values().map(of).sum::<i64>() as f64 / f64::from(1 << 20);
        format!(
            "{done} of {} layers, {:.0} of {:.0} MiB",
            self.0.len(),
            sum(|layer| layer.current),
            sum(|layer| layer.total)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_counted_and_bytes_added_up() {
        let mut layers = Layers::default();
        for (id, status, detail) in [
            ("latest", "Pulling from a/b", None),
            ("l1", "Pulling fs layer", None),
            ("l2", "Already exists", None),
            ("l1", "Downloading", Some((3 << 20, 10 << 20))),
        ] {
            let detail =
                detail.map(|(current, total)| serde_json::json!({"current": current, "total": total}));
            let told = serde_json::json!({"id": id, "status": status, "progressDetail": detail});
            layers.heard(&serde_json::from_value(told).unwrap());
        }
        assert_eq!(layers.words(), "1 of 2 layers, 3 of 10 MiB");
        let complete = serde_json::json!({"id": "l1", "status": "Pull complete"});
        layers.heard(&serde_json::from_value(complete).unwrap());
        assert_eq!(layers.words(), "2 of 2 layers, 10 of 10 MiB");
    }
}
