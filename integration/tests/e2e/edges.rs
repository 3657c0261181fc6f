//! Edges between a command line and an engine: docker's own options, output that cannot be written,
//! an agent that does not want to end.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::{bounded, wait};
use integration::testbed::Testbed;
use nix::sys::signal::Signal;

use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("every option of this machine's docker has an answer", options_of_docker),
    ("output that cannot be written is told, and no success", output_lost),
    ("a slow reader gets all of the output, and one that stands still does not stop the clock", readers),
    ("an agent that is asked to end and does not is killed", asked_in_vain),
];

/// The options in `docker run --help`: long and short.
fn listed() -> Result<Vec<(String, Option<char>, bool)>> {
    let help = bounded(Command::new("docker").args(["run", "--help"]), b"", Duration::from_secs(20))?.stdout;
    let mut found = Vec::new();
    for line in help.lines() {
        let line = line.trim_start();
        let (short, rest) = match line.split_once(", --") {
            Some((short, rest)) if short.len() == 2 && short.starts_with('-') => (short.chars().nth(1), rest),
            _ => match line.strip_prefix("--") {
                Some(rest) => (None, rest),
                None => continue,
            },
        };
        let mut words = rest.split("  ").next().unwrap_or_default().split(' ');
        let long = words.next().context("an option without a name")?;
        found.push((long.to_owned(), short, words.next().is_some()));
    }
    Ok(found)
}

fn options_of_docker(bed: &Testbed) -> Result<()> {
    let options = listed()?;
    ensure!(options.len() > 80, "docker lists its options: {options:?}");
    let said = |words: &[&str]| -> Result<String> {
        let mut command = bed.ringfence.command();
        command.args(["--engine", "unix:///nowhere/engine.sock", "run"]).args(words).args(["image", "true"]);
        Ok(bounded(&mut command, b"", Duration::from_secs(20))?.stderr)
    };
    let unknown = "unexpected argument";
    for (long, short, takes) in options {
        // ringfence's `-h` is its help, which the page says.
        let short = short.filter(|short| *short != 'h').map(|short| format!("-{short}"));
        for typed in [Some(format!("--{long}")), short].into_iter().flatten() {
            let words = if takes { vec![typed.as_str(), "x"] } else { vec![typed.as_str()] };
            let said = said(&words)?;
            ensure!(!said.contains(unknown) && !said.contains("Usage:"), "{typed} has no answer: {said}");
        }
    }
    let control = said(&["--no-such-option"])?;
    ensure!(control.contains(unknown), "{control}");
    Ok(())
}

fn output_lost(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let run = |to: &str, agent: &str| {
        let shell = format!("exec \"$0\" \"$@\" >{to}");
        let mut command = bed.ringfence.behind("sh", ["-c", &shell]);
        command.args(["run", "--policy"]).arg(&policy).args([&bed.images.tiny, "sh", "-c", agent]);
        bounded(&mut command, b"", Duration::from_secs(120))
    };
    let lost = run("/dev/full", "echo lost")?;
    ensure!(lost.status.code() == Some(125), "no success: {lost:?}");
    ensure!(lost.stderr.contains("could not be written to stdout"), "it is told: {lost:?}");
    let own = run("/dev/full", "echo lost; exit 4")?;
    ensure!(own.status.code() == Some(4), "the agent's own failure stays: {own:?}");
    let control = run("/dev/null", "echo kept")?;
    ensure!(control.status.success() && !control.stderr.contains("could not be written"), "{control:?}");
    Ok(())
}

fn readers(bed: &Testbed) -> Result<()> {
    const ALL: usize = 1_000_000;
    let policy = bed.ringfence.allowing(&[])?;
    let start = |time: &str, agent: &str| -> Result<Child> {
        let mut command = bed.ringfence.command();
        command.args(["run", "--time", time, "--policy"]).arg(&policy);
        command.args([&bed.images.tiny, "sh", "-c", agent]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok(command.spawn()?)
    };
    let limit = Duration::from_secs(60);
    // More than a pipe holds, and read later than the end of a stream is waited for.
    let mut slow = start("60s", &format!("head -c {ALL} /dev/zero"))?;
    std::thread::sleep(Duration::from_secs(9));
    let mut read = Vec::new();
    slow.stdout.take().context("no stdout")?.read_to_end(&mut read)?;
    let status = wait(&mut slow, limit)?.context("it did not end")?;
    ensure!(read.len() == ALL && status.success(), "{} bytes, {status}", read.len());

    let mut still = start("5s", "yes")?;
    let status = wait(&mut still, limit)?.context("the clock stands still")?;
    ensure!(status.code() == Some(124), "{status}");
    Ok(())
}

fn asked_in_vain(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let script = "trap '' TERM; trap 'echo hup' HUP; echo up; \
                  while :; do sleep 0.1; done";
    let mut running = bed.ringfence.start(&policy, &[], &bed.images.tiny, &["sh", "-c", script])?;
    running.wait_for_line("up", Duration::from_secs(60))?;
    // That is the agent's: nobody's terminal has gone.
    running.signal(Signal::SIGHUP)?;
    running.wait_for_line("hup", Duration::from_secs(10))?;
    let asked = std::time::Instant::now();
    running.signal(Signal::SIGTERM)?;
    let outcome = running.finish(Duration::from_secs(40))?;
    let took = asked.elapsed();
    expect_status(&outcome, 137)?;
    ensure!(took > Duration::from_secs(9), "it had its ten seconds: {took:?}");
    expect(outcome.stderr.contains("was asked to end and went on"), "it is told", &outcome)
}
