//! `cargo bench-net [PART…] [--json]`: ringfence beside the programs it is compared with, in one
//! run on one machine.
//!
//! ```text
//!  part (dns, …) ──measures──▶ Row (what, ringfence, others, target) ──▶ a table, or JSON
//! ```
//! A new part is a module with a `measure` function, and a line in [`PARTS`]. What cannot be
//! measured here is said, not left out.

mod dns;
mod gate;
mod guard;
mod load;
mod process;
mod start;

use std::process::ExitCode;

use anyhow::{Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::{Value, json};

use self::process::CORE;

/// A part: its name, and what measures it.
type Part = (&'static str, fn(&dyn Fn(&str)) -> Result<Vec<Row>>);

/// The engine of `start` moves this process into namespaces of its own, so it comes before threads.
const PARTS: &[Part] = &[("start", start::measure), ("dns", dns::measure), ("gate", gate::measure)];

/// One figure beside others.
pub(crate) struct Row {
    /// The thing measured, and its unit.
    pub(crate) what: String,
    /// Ringfence's.
    pub(crate) own: f64,
    /// Everybody else's, by name; nothing where one cannot be measured here.
    pub(crate) others: Vec<(&'static str, Option<f64>)>,
    /// The aim in words, and whether it was reached. Nothing for a figure that stands for itself.
    pub(crate) target: Option<(String, bool)>,
}

impl Row {
    fn json(&self) -> Value {
        let others: serde_json::Map<String, Value> =
            self.others.iter().map(|(name, figure)| ((*name).to_owned(), json!(figure))).collect();
        let target = self.target.as_ref().map(|(text, met)| json!({"text": text, "met": met}));
        json!({"what": self.what, "ringfence": self.own, "others": others, "target": target})
    }

    fn line(&self) -> String {
        let mut line = format!("{:<54} ringfence {:>9.1}", self.what, self.own);
        for (name, figure) in &self.others {
            match figure {
                Some(figure) => line.push_str(&format!("   {name} {figure:>9.1}")),
                None => line.push_str(&format!("   {name} not measured")),
            }
        }
        if let Some((text, met)) = &self.target {
            line.push_str(&format!("   target {text}: {}", if *met { "met" } else { "MISSED" }));
        }
        line
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-net: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    // `cargo bench` adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let as_json = words.iter().any(|word| word == "--json");
    let wanted: Vec<&String> = words.iter().filter(|word| *word != "--json").collect();
    if let Some(unknown) = wanted.iter().find(|word| !PARTS.iter().any(|(name, _)| name == *word)) {
        let known: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        bail!("there is no part `{unknown}`; there is {}", known.join(", "));
    }
    let say = |text: &str| eprintln!("bench-net: {text}");
    let mut rows = Vec::new();
    for (name, measure) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|word| *word == name) {
            rows.extend(measure(&say)?);
        }
    }
    if as_json {
        println!("{}", serde_json::to_string_pretty(&rows.iter().map(Row::json).collect::<Vec<_>>())?);
    } else {
        rows.iter().for_each(|row| println!("{}", row.line()));
    }
    Ok(())
}

/// Names the executable that is measured beside this build.
pub(crate) const BEFORE: &str = "RINGFENCE_BEFORE";

/// The middle of some figures.
pub(crate) fn median(figures: Vec<f64>) -> f64 {
    quantile(figures, 0.5)
}

/// The figure below which this share of some figures lies.
pub(crate) fn quantile(mut figures: Vec<f64>, share: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let at = (figures.len() as f64 * share) as usize;
    figures.get(at.min(figures.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Moves this process away from the servers' core, where there is another.
pub(crate) fn spread() -> Result<()> {
    let mut cores = CpuSet::new();
    for core in 0..std::thread::available_parallelism()?.get() {
        if core != CORE {
            cores.set(core)?;
        }
    }
    // On a machine with one core all share it.
    sched_setaffinity(Pid::from_raw(0), &cores).ok();
    Ok(())
}
