//! Several testbeds side by side, each in a process of its own, since a testbed takes its process
//! into namespaces.
//!
//! ```text
//!  trial ─▶ Workers::run(name) ─▶ an idle worker, or a new one ── name ─▶ judge ── Verdict ─▶ trial's result
//! ```
//! A worker is this executable once more, with [`NUMBER`] set. Names and verdicts go by its stdin
//! and stdout, a line of JSON each. It ends with its stdin, so none outlives its maker.

use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration::cargo::Beside;
use integration::testbed::Testbed;
use integration::testbed::site::Materials;
use serde_json::{Value, json};

use crate::{find, judge};

/// The variable that makes this executable a worker, and says which.
pub(crate) const NUMBER: &str = "RINGFENCE_TESTBED_NUMBER";
/// The number of the slowest tests that are named at the end.
const NAMED: usize = 12;

/// The workers of a run of tests.
#[derive(Debug)]
pub(crate) struct Workers {
    most: u32,
    state: Mutex<State>,
    freed: Condvar,
    /// Held to write by a test that wants the machine for itself.
    machine: RwLock<()>,
    times: Mutex<Vec<(Duration, String)>>,
}

/// The result of a test.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// As it should.
    Passed,
    /// It cannot say anything here, and why.
    Skipped(String),
    /// Not as it should, and how.
    Failed(String),
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Worker>,
    made: u32,
}

#[derive(Debug)]
struct Worker {
    number: u32,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Workers {
    /// At most so many, each made when a test first wants it.
    pub(crate) fn new(most: u32) -> Self {
        Self {
            most,
            state: Mutex::default(),
            freed: Condvar::new(),
            machine: RwLock::new(()),
            times: Mutex::default(),
        }
    }

    /// Runs the test of this name; `alone`: while no other test runs.
    pub(crate) fn run(&self, name: &str, alone: bool) -> Verdict {
        let _alone = alone.then(|| self.machine.write().unwrap_or_else(PoisonError::into_inner));
        let _beside = (!alone).then(|| self.machine.read().unwrap_or_else(PoisonError::into_inner));
        self.ask(name).unwrap_or_else(|error| Verdict::Failed(format!("{error:#}")))
    }

    fn ask(&self, name: &str) -> Result<Verdict> {
        let mut worker = self.take()?;
        let began = Instant::now();
        let verdict = worker.ask(name);
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.push((began.elapsed(), name.to_owned()));
        drop(times);
        // One that has ended stays in the pool all the same: the test that takes it next fails too,
        // and says so.
        self.state.lock().unwrap_or_else(PoisonError::into_inner).idle.push(worker);
        self.freed.notify_one();
        verdict
    }

    /// Takes every testbed down; then the slowest tests are named.
    ///
    /// # Errors
    /// When one left something, or ended before.
    pub(crate) fn end(self) -> Result<()> {
        let mut times = self.times.into_inner().unwrap_or_else(PoisonError::into_inner);
        times.sort();
        if times.len() > NAMED {
            for (took, name) in times.iter().rev().take(NAMED) {
                eprintln!("testbed: {:>4} s {name}", took.as_secs());
            }
        }
        let mut failed = Vec::new();
        for mut worker in self.state.into_inner().unwrap_or_else(PoisonError::into_inner).idle {
            drop(worker.input);
            if !worker.child.wait()?.success() {
                failed.push(worker.number.to_string());
            }
        }
        ensure!(failed.is_empty(), "the testbed of worker {} did not end well", failed.join(", "));
        Ok(())
    }

    fn take(&self) -> Result<Worker> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(worker) = state.idle.pop() {
                return Ok(worker);
            }
            if state.made < self.most {
                let number = state.made;
                state.made += 1;
                drop(state);
                return Worker::start(number);
            }
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Worker {
    fn start(number: u32) -> Result<Self> {
        // Under `nohup` every program below would ignore what the tests send to it.
        let mut child = Command::new("env")
            .arg("--default-signal=HUP")
            .arg(std::env::current_exe()?)
            .env(NUMBER, number.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a worker")?;
        let input = child.stdin.take().context("no stdin")?;
        let output = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Self { number, child, input, output })
    }

    fn ask(&mut self, name: &str) -> Result<Verdict> {
        let number = self.number;
        let gone = || format!("worker {number} has ended; its testbed says why");
        writeln!(self.input, "{}", json!(name)).with_context(gone)?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() {
            bail!("{}", gone());
        }
        let verdict: Value = serde_json::from_str(&line).with_context(|| format!("not a verdict: {line}"))?;
        match (&verdict["failed"], &verdict["skipped"], &verdict["passed"]) {
            (Value::String(why), _, _) => Ok(Verdict::Failed(why.clone())),
            (_, Value::String(why), _) => Ok(Verdict::Skipped(why.clone())),
            (_, _, Value::Bool(true)) => Ok(Verdict::Passed),
            _ => bail!("not a verdict: {line}"),
        }
    }
}

/// Runs the tests that stdin names, in a testbed of this number.
///
/// # Errors
/// When the testbed does not come up, or leaves something.
pub(crate) fn work(number: u32) -> Result<()> {
    let say = |text: &str| eprintln!("testbed: {text}");
    let materials = Materials::prepare(Beside::Tests, &say)?;
    let bed = Testbed::up(materials, number, &say)?;
    let served = serve(&bed);
    bed.down()?;
    served
}

fn serve(bed: &Testbed) -> Result<()> {
    for line in stdin().lines() {
        let name: String = serde_json::from_str(&line?)?;
        let (test, quiet) = find(&name).with_context(|| format!("no test `{name}`"))?;
        let verdict = match judge(bed, test, quiet) {
            Verdict::Passed => json!({"passed": true}),
            Verdict::Skipped(why) => json!({"skipped": why}),
            Verdict::Failed(why) => json!({"failed": why}),
        };
        let mut out = stdout().lock();
        writeln!(out, "{verdict}")?;
        out.flush()?;
    }
    Ok(())
}
