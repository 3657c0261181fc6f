//! Figures of `cargo bench-net`: their shape in JSON, and the page and charts made of them.
//!
//! ```text
//!  bench-net PART --json FILE ─▶ Report ─┐
//!  docs/performance/results.json ────────┴─ merged ─▶ results.json ─┬─▶ figures.md, *.svg
//!                                                                   └─▶ the table of targets in docs/performance.md
//! ```
//! A test holds that the page, the charts and the table are those of `results.json`.

mod chart;
mod page;
mod store;
mod text;

use serde::{Deserialize, Serialize};

pub use self::store::{merged, publish, rendered};
pub use self::text::line;

/// Figures of one call of the bench.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The circumstances.
    pub machine: Machine,
    /// The figures.
    pub rows: Vec<Row>,
    /// Parts that were asked for and could not be measured, with the reason.
    pub failed: Vec<Failed>,
}

/// Circumstances of a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Day of the measurement, in UTC.
    pub date: String,
    /// Commit of the measured source, as `git describe --always --dirty` names it.
    pub commit: String,
    /// The measured executable: `release build`, `debug build`, or how it was named.
    pub build: String,
    /// The processor and the number of its cores.
    pub processor: String,
    /// Memory, in MiB.
    pub memory: u64,
    /// The kernel.
    pub kernel: String,
    /// Load of the machine before the measurement, over one minute.
    pub load: f64,
    /// Set when fewer rounds were measured.
    pub quick: bool,
    /// The programs beside ringfence, with their versions.
    pub versions: Vec<String>,
}

/// A part that was not measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    /// The part.
    pub part: String,
    /// The reason.
    pub reason: String,
}

/// One thing that was measured, by everybody who was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The part of the bench.
    pub part: String,
    /// The thing.
    pub what: String,
    /// Unit of the figures.
    pub unit: String,
    /// The figures, ringfence's first.
    pub figures: Vec<Figure>,
    /// Ringfence's figure divided by another one's.
    pub ratio: Option<Ratio>,
    /// The aim that this row answers.
    pub target: Option<Aim>,
}

/// Figures of one program in one thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The program.
    pub name: String,
    /// The median and quartiles.
    #[serde(flatten)]
    pub spread: Spread,
}

/// Median and quartiles of some figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The lower quartile.
    pub low: f64,
    /// The upper quartile.
    pub high: f64,
    /// The number of figures.
    pub count: usize,
}

/// Ratio of the figures of each round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// The program that ringfence is divided by.
    pub to: String,
    /// Median and quartiles of the ratios.
    #[serde(flatten)]
    pub spread: Spread,
}

/// An aim, and whether it was reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aim {
    /// Key of the aim in [`TARGETS`].
    pub key: String,
    /// Set when it was reached.
    pub met: bool,
}

/// An aim.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its key.
    pub key: &'static str,
    /// The thing.
    pub what: &'static str,
    /// The bound.
    pub bound: &'static str,
}

/// The aims, in the order of the table.
pub const TARGETS: [Target; 15] = [
    target("start", "`ringfence run` of `true` beside `docker run --rm` of the same image", "≤ 2.0×"),
    target("start-files", "start with a project of 300,000 files, beyond that of an empty one", "≤ 2 s"),
    target("dns", "DNS answers a second of one core, beside dnsmasq and unbound", "≥ 1.5× the better"),
    target("dns-first", "DNS latency of a name never asked before", "≤ 200 µs"),
    target("stream-plain", "one stream through the gate beside the plain path", "≥ 1.0×"),
    target("stream-link", "the same with a link of 1 Gbit/s as the bottleneck", "≥ 1.0×"),
    target("stream-haproxy", "one stream beside HAProxy with `splice-auto`", "≥ 1.05×"),
    target("stream-cpu", "CPU seconds per GiB beside HAProxy", "≤ 1.0×"),
    target("new-tls", "new TLS connections a second of one core, beside HAProxy, nginx, Squid", "≥ the best"),
    target("first-byte", "added time to the first byte of a TLS connection", "≤ 0.5 ms"),
    target("refusal", "refusal of a denied connect, as the agent sees it", "≤ 1 ms"),
    target("memory-idle", "the guard's memory, idle", "≤ 8 MiB"),
    target("memory-full", "the guard's memory with 10,000 open connections", "≤ 200 MiB"),
    target("decision", "decision over a policy of 100,000 names and 100,000 ranges", "≤ 1 µs"),
    target("many", "start of the 100th workflow beside the first, ringfence's own part", "≤ 1.3×"),
];

const fn target(key: &'static str, what: &'static str, bound: &'static str) -> Target {
    Target { key, what, bound }
}

impl Row {
    /// Returns ringfence's figures.
    #[must_use]
    pub fn own(&self) -> Option<Spread> {
        self.figures.first().map(|figure| figure.spread)
    }
}
