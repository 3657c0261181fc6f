//! The size of a decision log: how long the commands that read one take.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use integration::cargo::Beside;
use integration::performance::Row;
use integration::ringfence::Ringfence;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Bench;
use crate::rows::{growth, median, row};
use crate::timed::timed;

/// Sizes of the curve.
const SIZES: [u64; 6] = [10, 100, 1_000, 10_000, 100_000, 1_000_000];
/// Names in a log.
const NAMES: u64 = 500;
/// The commands that read a log.
const COMMANDS: [(&str, &[&str]); 3] = [
    ("`events --verify`", &["events", "--verify"]),
    ("`report`", &["report"]),
    ("`policy learn`", &["policy", "learn"]),
];

/// Measures each command at each size.
///
/// # Errors
/// When a log is not taken for a whole one.
pub(crate) fn measure(bench: &Bench<'_>) -> Result<Vec<Row>> {
    (bench.say)("building ringfence");
    let executable = Ringfence::find(Beside::Nothing)?;
    let directory = tempfile::tempdir()?;
    let mut curves: Vec<Vec<(f64, f64)>> = COMMANDS.iter().map(|_| Vec::new()).collect();
    let mut rows = Vec::new();
    for size in SIZES {
        (bench.say)(&format!("{size} events"));
        let file = directory.path().join("events.jsonl");
        write(&file, size)?;
        let rounds = if bench.quick || size > 100_000 { 2 } else { 5 };
        for ((name, words), curve) in COMMANDS.iter().zip(&mut curves) {
            let mut times = Vec::new();
            for _ in 0..rounds {
                times.push(timed(Command::new(&executable).args(*words).arg(&file))?.0);
            }
            curve.push((size as f64, median(&times)));
            rows.push(row(&format!("{name} of {size} events"), "ms", &[("ringfence".to_owned(), times)])?);
        }
    }
    for ((name, _), curve) in COMMANDS.iter().zip(&curves) {
        rows.push(growth(&format!("{name} by events"), &curve[2..])?);
    }
    Ok(rows)
}

/// Writes a whole log of so many events, with its chain: half of them refusals.
fn write(file: &Path, size: u64) -> Result<()> {
    let mut out = BufWriter::new(File::create(file)?);
    let mut previous: Option<String> = None;
    for number in 0..size {
        let line = serde_json::to_string(&event(number, size, previous.as_deref()))?;
        previous = Some(Sha256::digest(line.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect());
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

fn event(number: u64, size: u64, previous: Option<&str>) -> Value {
    let seconds = number / 100;
    let time = format!(
        "2026-12-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        1 + seconds / 86_400 % 28,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        number % 100 * 10
    );
    let mut event = json!({"v": 1, "seq": number, "time": time, "workflow": "0000002a"});
    let name = format!("n{}.bench.example", number % NAMES);
    let rest = match number {
        0 => json!({"kind": "lifecycle", "reason": "start"}),
        1 => json!({"kind": "lifecycle", "reason": "ready"}),
        last if last + 1 == size => json!({"kind": "lifecycle", "reason": "end"}),
        _ if number.is_multiple_of(2) => json!({
            "kind": "connect", "verdict": "allow", "phase": "open", "conn": number, "host": name, "port": 443,
            "protocol": "tls", "address": "198.51.100.10", "resolver": "guard", "rule": "n*.bench.example",
        }),
        _ => json!({
            "kind": "connect", "verdict": "deny", "reason": "not-allowed", "host": format!("x{name}"), "port": 443,
            "protocol": "tls",
        }),
    };
    for (key, value) in rest.as_object().into_iter().flatten() {
        event[key] = value.clone();
    }
    if let Some(previous) = previous {
        event["prev"] = json!(previous);
    }
    event
}
