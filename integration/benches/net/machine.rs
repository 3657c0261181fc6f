//! The circumstances of a measurement.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use integration::command::run;
use integration::performance::Machine;
use integration::ringfence::VARIABLE;
use integration::testbed::setup;

/// The programs beside ringfence, and how each says its version.
const PROGRAMS: [(&str, &[&str]); 8] = [
    ("dnsmasq", &["--version"]),
    ("unbound", &["-V"]),
    ("dnsperf", &["-h"]),
    ("haproxy", &["-v"]),
    ("nginx", &["-v"]),
    ("squid", &["-v"]),
    ("dockerd", &["--version"]),
    ("nft", &["--version"]),
];

/// Describes this machine now.
pub(crate) fn machine(quick: bool) -> Result<Machine> {
    let seconds = Duration::from_secs(10);
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.and_then(|line| line.split_once(':').map(|(_, value)| value.trim().to_owned()))
    };
    let cores = std::thread::available_parallelism()?.get();
    let model = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned());
    let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let memory: u64 = memory.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let commit =
        run("git", &["-C", &source.display().to_string(), "describe", "--always", "--dirty"], seconds);
    let build = match std::env::var_os(VARIABLE) {
        Some(_) => "an executable built before".to_owned(),
        None if cfg!(debug_assertions) => "debug build".to_owned(),
        None => "release build".to_owned(),
    };
    Ok(Machine {
        date: run("date", &["--utc", "+%F"], seconds)?,
        commit: commit.unwrap_or_else(|_| "unknown".to_owned()),
        build,
        processor: format!("{model}, {cores} cores"),
        memory: memory / 1024,
        kernel: run("uname", &["--kernel-release"], seconds)?,
        load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        quick,
        versions: PROGRAMS.iter().filter_map(|(name, options)| version(name, options)).collect(),
    })
}

/// Asks a program for its version: the first word of what it says that has a digit and a dot.
fn version(name: &str, options: &[&str]) -> Option<String> {
    let program = setup::find(name)?;
    let output = Command::new(program).args(options).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let is_version = |word: &&str| {
        let word = word.trim_start_matches('v');
        word.starts_with(|letter: char| letter.is_ascii_digit()) && word.contains('.')
    };
    let words = said.split(|letter: char| letter.is_whitespace() || "/,()".contains(letter));
    let word = words.map(|word| word.trim_start_matches('v')).find(is_version)?;
    Some(format!("{name} {}", word.trim_end_matches('.')))
}
