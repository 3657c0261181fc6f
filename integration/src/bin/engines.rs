//! `cargo engines [NAME…] [--only FILTER | --without FILTER]…`: the end-to-end tests on every
//! engine of the matrix, or on those named.
//!
//! ```text
//!  each engine ─▶ the tests' own binary, RINGFENCE_TEST_ENGINE=NAME ─▶ lines ─▶ one row of docs/engines.md
//! ```
//! `machine` is the machine's own dockerd. `--only` runs a part of the tests, each filter in a
//! testbed of its own; `--without` leaves a part out. The row says so. `--list` prints the names.
//! The exit status is 1 when a test failed. A row replaces the one of the same engine; all other
//! text of the page stays.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, bail};
use integration::cargo::cargo;
use integration::testbed::engine::{VARIABLE, variants};

/// The page with the table, and the lines around it.
const PAGE: &str = "docs/engines.md";
const BEGIN: &str = "<!-- made by `cargo engines`: begin -->";
const END: &str = "<!-- made by `cargo engines`: end -->";
const HEAD: &str =
    "| engine | versions | tests | passed | failed | skipped | when |\n|---|---|---|---|---|---|---|\n";

fn main() -> ExitCode {
    match engines() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("engines: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs all that is asked for; whether every test passed.
fn engines() -> Result<bool> {
    let all: Vec<&str> =
        std::iter::once(&variants::MACHINE).chain(variants::MATRIX).map(|variant| variant.name).collect();
    let (mut names, mut filters, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => {
                println!("{}", all.join("\n"));
                return Ok(true);
            }
            "--only" => filters.push(arguments.next().context("--only wants a part of a test's name")?),
            "--without" => {
                left_out.push(arguments.next().context("--without wants a part of a test's name")?);
            }
            name if all.contains(&name) => names.push(argument),
            other => bail!("`{other}` is none of {}", all.join(", ")),
        }
    }
    if names.is_empty() {
        names = all.into_iter().map(str::to_owned).collect();
    }
    let tests = build()?;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
    let mut good = true;
    for name in names {
        let row = one(&tests, &name, &filters, &left_out)?;
        // A word that fits no test would wipe the row of a whole run.
        if row.passed + row.failed.len() == 0 {
            bail!("{name}: no test was run; does `--only {}` fit one?", filters.join(" "));
        }
        good &= row.failed.is_empty();
        println!("{}", row.text());
        write(&page, &row)?;
    }
    Ok(good)
}

/// Builds the tests as `cargo test --workspace` does; the executable.
fn build() -> Result<PathBuf> {
    let output = cargo()
        .args(["test", "--workspace", "--locked", "--test", "e2e", "--no-run", "--message-format", "json"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "e2e")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo did not build the end-to-end tests")
}

/// The results of one engine.
#[derive(Debug, Default)]
struct Row {
    engine: String,
    versions: String,
    tests: String,
    passed: usize,
    failed: Vec<String>,
    /// Why → how many.
    skipped: BTreeMap<String, usize>,
    when: String,
}

/// Runs the tests on one engine, each filter on its own, and shows their lines as they come.
fn one(tests: &Path, name: &str, filters: &[String], left_out: &[String]) -> Result<Row> {
    let mut row = Row { engine: name.to_owned(), when: today()?, ..Row::default() };
    let parts: Vec<Option<&String>> =
        if filters.is_empty() { vec![None] } else { filters.iter().map(Some).collect() };
    let began = Instant::now();
    for filter in parts {
        eprintln!("engines: {name}{}", filter.map(|part| format!(", {part}")).unwrap_or_default());
        let mut child = Command::new(tests)
            .args(filter)
            .args(left_out.iter().flat_map(|part| ["--skip", part]))
            .env(VARIABLE, name)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the tests")?;
        let complaints = child.stderr.take().context("no stderr")?;
        let versions = std::thread::spawn(move || {
            let mut versions = None;
            for line in BufReader::new(complaints).lines().map_while(Result::ok) {
                eprintln!("{line}");
                versions = line.strip_prefix("testbed: the engine: ").map(str::to_owned).or(versions);
            }
            versions
        });
        let mut finished = false;
        for line in BufReader::new(child.stdout.take().context("no stdout")?).lines().map_while(Result::ok) {
            println!("{line}");
            finished |= line.starts_with("test result:");
            row.take(&line);
        }
        child.wait()?;
        row.versions = versions.join().ok().flatten().unwrap_or_default();
        if !finished {
            row.failed.push("the tests did not come to their end".to_owned());
        }
    }
    let shown =
        |parts: &[String]| parts.iter().map(|part| format!("`{part}`")).collect::<Vec<_>>().join(", ");
    row.tests = if filters.is_empty() { "all".to_owned() } else { shown(filters) };
    if !left_out.is_empty() {
        row.tests = format!("{}, without {}", row.tests, shown(left_out));
    }
    eprintln!("engines: {name} took {} s", began.elapsed().as_secs());
    Ok(row)
}

impl Row {
    /// Counts one line of a test's result.
    fn take(&mut self, line: &str) {
        let Some((test, result)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        else {
            return;
        };
        match result.trim() {
            "ok" => self.passed += 1,
            "FAILED" => self.failed.push(test.trim().to_owned()),
            other => {
                if let Some(why) = other.strip_prefix("ignored") {
                    let why = why.trim_matches([',', ' ', '(', ')']).to_owned();
                    *self.skipped.entry(why).or_default() += 1;
                }
            }
        }
    }

    fn text(&self) -> String {
        let failed = match self.failed.as_slice() {
            [] => "0".to_owned(),
            some => format!("{}: {}", some.len(), some.join("; ")),
        };
        let skipped: usize = self.skipped.values().sum();
        let reasons: Vec<_> = self.skipped.iter().map(|(why, count)| format!("{count}: {why}")).collect();
        let skipped =
            if skipped == 0 { "0".to_owned() } else { format!("{skipped} ({})", reasons.join("; ")) };
        let cells = [
            &self.engine,
            &self.versions,
            &self.tests,
            &self.passed.to_string(),
            &failed,
            &skipped,
            &self.when,
        ];
        format!("| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
    }
}

/// Puts a row into the page's table, in the order of the matrix.
fn write(page: &Path, row: &Row) -> Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("{PAGE} has no line `{BEGIN}`"))?;
    let (table, after) = rest.split_once(END).with_context(|| format!("{PAGE} has no line `{END}`"))?;
    let mut rows: BTreeMap<usize, String> = table
        .lines()
        .filter_map(|line| Some((place(line.strip_prefix("| ")?.split(" |").next()?)?, line.to_owned())))
        .collect();
    rows.insert(place(&row.engine).context("no such engine")?, row.text());
    let rows: Vec<_> = rows.into_values().collect();
    fs::write(page, format!("{before}{BEGIN}\n{HEAD}{}\n{END}{after}", rows.join("\n")))?;
    Ok(())
}

fn place(name: &str) -> Option<usize> {
    std::iter::once(&variants::MACHINE).chain(variants::MATRIX).position(|variant| variant.name == name)
}

/// The date, as `date` has it.
fn today() -> Result<String> {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    integration::command::run(
        "date",
        &["--utc", "--date", &format!("@{seconds}"), "+%F"],
        std::time::Duration::from_secs(5),
    )
}
