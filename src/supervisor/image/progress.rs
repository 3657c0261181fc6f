//! How a pull comes along: on a terminal one line that changes, in a pipe a line at the start and one at the end, and those only
//! for a pull that takes its time.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use bollard::models::CreateImageInfo;

/// A pull that is faster is not worth a word.
const WORTH_A_WORD: Duration = Duration::from_secs(1);
/// The line does not change more often.
const REFRESH: Duration = Duration::from_millis(200);

/// Where the words go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Talk {
    None,
    Lines,
    Terminal,
}

/// A pull.
pub struct Progress {
    image: String,
    talk: Talk,
    began: Instant,
    said: Option<Instant>,
    layers: Layers,
}

impl Progress {
    /// One that begins now.
    pub fn new(image: &str, quiet: bool) -> Progress {
        let talk = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Talk::None,
            (false, true) => Talk::Terminal,
            (false, false) => Talk::Lines,
        };
        Progress {
            image: image.to_owned(),
            talk,
            began: Instant::now(),
            said: None,
            layers: Layers::default(),
        }
    }

    /// The engine told something.
    pub fn heard(&mut self, info: &CreateImageInfo) {
        self.layers.heard(info);
        let since = |said: Option<Instant>| said.map(|said| said.elapsed());
        match self.talk {
            Talk::Terminal if since(self.said).is_none_or(|ago| ago >= REFRESH) => {
                self.write(&format!("\r\x1b[Kringfence: pulling {}: {}", self.image, self.layers.words()));
            }
            Talk::Lines if self.said.is_none() && self.began.elapsed() >= WORTH_A_WORD => {
                self.write(&format!("ringfence: pulling {}\n", self.image));
            }
            _ => {}
        }
    }

    /// It is over, well or not.
    pub fn end(mut self, good: bool) {
        let took = self.began.elapsed().as_secs();
        let last = format!("ringfence: pulled {} in {took} s\n", self.image);
        match (self.talk, self.said.is_some()) {
            (Talk::Terminal, true) => self.write("\r\x1b[K"),
            (Talk::Lines, true) if good => self.write(&last),
            _ => {}
        }
    }

    fn write(&mut self, text: &str) {
        let mut stderr = std::io::stderr();
        // Talk that nobody reads is no reason to stop.
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
        self.said = Some(Instant::now());
    }
}

#[derive(Default)]
struct Layers(HashMap<String, Layer>);

#[derive(Default)]
struct Layer {
    done: bool,
    current: i64,
    total: i64,
}

impl Layers {
    fn heard(&mut self, info: &CreateImageInfo) {
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

    fn words(&self) -> String {
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
