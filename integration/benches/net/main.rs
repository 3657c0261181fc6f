//! `cargo bench-net [PART…|all] [--quick] [--json FILE]`, `cargo bench-net report FILE…`: ringfence
//! beside the programs it is compared with, in one run on one machine.
//!
//! ```text
//!  all ─▶ each part in a process of its own, within its time ─▶ Report ─▶ lines; --json FILE
//!  report FILE… ─▶ docs/performance/results.json, figures.md, *.svg; the table in docs/performance.md
//! ```
//! A new part is a module with a `measure` function, and a line in [`PARTS`]. What cannot be
//! measured here is said, not left out. `setup` installs the other programs, without starting them.

mod dns;
mod events;
mod first_byte;
mod gate;
mod guard;
mod load;
mod machine;
mod many;
mod memory;
mod policy;
mod process;
mod refusal;
mod rows;
mod start;
mod stream;
mod timed;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration::command::wait;
use integration::performance::{Failed, Report, Row, line, publish};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use self::process::CORE;

/// Settings that a part is told.
pub(crate) struct Bench<'a> {
    /// Says what is done.
    pub(crate) say: &'a dyn Fn(&str),
    /// Few rounds.
    pub(crate) quick: bool,
}

/// A part: its name, the longest time that it may take, and what measures it.
struct Part {
    name: &'static str,
    limit: Duration,
    measure: fn(&Bench<'_>) -> Result<Vec<Row>>,
}

/// All parts, in the order of `all`.
const PARTS: &[Part] = &[
    part("dns", 240, dns::measure),
    part("gate", 600, gate::measure),
    part("stream", 600, stream::measure),
    part("first-byte", 120, first_byte::measure),
    part("refusal", 60, refusal::measure),
    part("memory", 120, memory::measure),
    part("policy", 240, policy::measure),
    part("events", 420, events::measure),
    part("start", 900, start::measure),
    part("many", 900, many::measure),
];

const fn part(name: &'static str, seconds: u64, measure: fn(&Bench<'_>) -> Result<Vec<Row>>) -> Part {
    Part { name, limit: Duration::from_secs(seconds), measure }
}

/// Names the executable that is measured beside this build.
pub(crate) const BEFORE: &str = "RINGFENCE_BEFORE";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench-net: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Request of the command line.
struct Wanted {
    parts: Vec<&'static Part>,
    quick: bool,
    json: Option<PathBuf>,
}

fn run() -> Result<ExitCode> {
    // `cargo bench` adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let say = |text: &str| eprintln!("bench-net: {text}");
    match words.first().map(String::as_str) {
        Some("report") => {
            let files: Vec<&Path> = words[1..].iter().map(Path::new).collect();
            publish(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs"), &files)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some("setup") => {
            process::install(&say)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let wanted = wanted(&words)?;
    let before = machine::machine(wanted.quick)?;
    let mut report = Report { machine: before, rows: Vec::new(), failed: Vec::new() };
    if let [part] = &wanted.parts[..] {
        let rows = (part.measure)(&Bench { say: &say, quick: wanted.quick })?;
        report.rows = rows.into_iter().map(|row| Row { part: part.name.to_owned(), ..row }).collect();
    } else {
        for part in wanted.parts {
            match apart(part, wanted.quick) {
                Ok(rows) => report.rows.extend(rows),
                Err(error) => {
                    say(&format!("{}: {error:#}", part.name));
                    report.failed.push(Failed { part: part.name.to_owned(), reason: format!("{error:#}") });
                }
            }
        }
    }
    report.rows.iter().for_each(|row| println!("{}", line(row)));
    if let Some(file) = wanted.json {
        fs::write(&file, serde_json::to_string_pretty(&report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the command line. No part, or `all`, is every part.
fn wanted(words: &[String]) -> Result<Wanted> {
    let mut wanted = Wanted { parts: Vec::new(), quick: false, json: None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => wanted.quick = true,
            "--json" => wanted.json = Some(words.next().context("--json wants a file")?.into()),
            "all" => wanted.parts.extend(PARTS),
            name => match PARTS.iter().find(|part| part.name == name) {
                Some(part) => wanted.parts.push(part),
                None => {
                    let known: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
                    bail!("there is no part `{name}`; there is {}, all, setup, report", known.join(", "));
                }
            },
        }
    }
    if wanted.parts.is_empty() {
        wanted.parts.extend(PARTS);
    }
    Ok(wanted)
}

/// Measures a part in a process of its own, which ends within the part's time: namespaces, threads
/// and servers of one part are not there in the next.
fn apart(part: &Part, quick: bool) -> Result<Vec<Row>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("report.json");
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .arg(std::env::current_exe()?)
        .arg(part.name)
        .arg("--json")
        .arg(&file);
    if quick {
        command.arg("--quick");
    }
    let mut child = command.stdout(std::process::Stdio::null()).spawn()?;
    let Some(status) = wait(&mut child, part.limit)? else {
        child.kill().ok();
        child.wait().ok();
        bail!("took longer than {} s", part.limit.as_secs());
    };
    ensure!(status.success(), "{status}");
    let report: Report = serde_json::from_slice(&fs::read(&file)?)?;
    Ok(report.rows)
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
