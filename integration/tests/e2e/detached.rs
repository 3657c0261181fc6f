//! Runs in the background: how they start, what they survive, and what is told of them afterwards.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::{Output, bounded, until, wait};
use integration::testbed::Testbed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};
use serde_json::Value;

use crate::Test;
use crate::leftovers::only_the_uplink;
use crate::refused::running_agent;

pub(crate) const TESTS: &[Test] = &[
    ("a run in the background outlives its terminal, and its end is told", outlives),
    ("a start in the background fails as one in the foreground", fails),
    ("a flood of output leaves its newest part", flood),
    ("a killed supervisor leaves the agent closed, and its end is known", killed),
    ("a run in the foreground is waited for and remembered too", foreground),
];

/// Time for a start, or for an end.
const LIMIT: Duration = Duration::from_secs(60);
/// Prints on both streams, and ends with 7 once it is told to.
const AGENT: &str =
    "trap 'echo hung up' HUP; echo out; echo err >&2; until [ -e /tmp/go ]; do sleep 0.1; done; exit 7";

/// A run in the background.
pub(crate) struct Detached<'b> {
    bed: &'b Testbed,
    /// Name of the run.
    pub(crate) name: String,
    /// Id of the run, as it was printed.
    pub(crate) id: String,
}

impl<'b> Detached<'b> {
    /// Starts one; `options` come behind `run -d`.
    pub(crate) fn start(
        bed: &'b Testbed,
        name: &str,
        options: &[&str],
        agent: &[&str],
    ) -> Result<Detached<'b>> {
        Detached::start_of(bed, name, options, &bed.images.agent, agent)
    }

    /// Starts one of an image.
    pub(crate) fn start_of(
        bed: &'b Testbed,
        name: &str,
        options: &[&str],
        image: &str,
        agent: &[&str],
    ) -> Result<Detached<'b>> {
        let name = format!("{name}-{}", std::process::id());
        let started = run(bed, &[&["--name", &name], options].concat(), image, agent)?;
        ensure!(started.status.success(), "{started:?}");
        let id = started.stdout.trim().to_owned();
        ensure!(id.len() == 8 && started.stdout == format!("{id}\n"), "the id alone: {started:?}");
        ensure!(
            started.stderr.contains(&format!("ringfence logs {id}")),
            "what follows is told: {started:?}"
        );
        Ok(Detached { bed, name, id })
    }

    /// Runs `ringfence COMMAND WORDS`.
    pub(crate) fn call(&self, words: &[&str]) -> Result<Output> {
        self.bed.ringfence.call(words)
    }

    /// Waits until the agent has printed a line, and it can be read.
    pub(crate) fn until_printed(&self, line: &str) -> Result<()> {
        let printed = || {
            let logs = self.call(&["logs", &self.id]);
            logs.is_ok_and(|logs| {
                logs.stdout.lines().chain(logs.stderr.lines()).any(|one| one.trim_end() == line)
            })
        };
        until(&format!("the agent prints `{line}`"), LIMIT, printed)
    }

    /// Ends it.
    pub(crate) fn stop(&self) -> Result<()> {
        let stopped = self.call(&["stop", &self.id])?;
        ensure!(stopped.status.success(), "{stopped:?}");
        Ok(())
    }

    /// Returns the row of `ps --all`.
    fn row(&self) -> Result<Value> {
        let listed = self.call(&["ps", "--all", "--json"])?;
        let rows: Vec<Value> = serde_json::from_str(&listed.stdout).context("a list")?;
        rows.into_iter().find(|row| row["id"] == *self.id).with_context(|| format!("{} is listed", self.id))
    }

    /// Returns the process of its supervisor.
    pub(crate) fn supervisor(&self) -> Result<Pid> {
        let words = ["run", "-d", &self.name].map(str::to_owned);
        let is = |folder: &Path| {
            let line = fs::read(folder.join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let all: Vec<&str> = line.split('\0').collect();
            let ours = all[0].contains("ringfence") && words.iter().all(|word| all.contains(&word.as_str()));
            ours.then(|| folder.file_name()?.to_str()?.parse().ok()).flatten()
        };
        let processes = fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
        let pid = processes.filter_map(|folder| is(&folder)).next().context("the supervisor lives")?;
        Ok(Pid::from_raw(pid))
    }
}

/// `ringfence run -d OPTIONS IMAGE COMMAND`, behind a shell with a descriptor more.
fn run(bed: &Testbed, options: &[&str], image: &str, agent: &[&str]) -> Result<Output> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let script = "exec 9>&1; exec \"$@\"";
    let mut command = bed.ringfence.behind("sh", ["-c", script, "sh"]);
    command.args(["run", "-d", "--policy"]).arg(policy).args(options).arg(image).args(agent);
    // It would not end while anybody holds its pipes.
    bounded(&mut command, b"", LIMIT)
}

/// The supervisor must hold nothing of its caller's.
fn holds_nothing(supervisor: Pid) -> Result<()> {
    ensure!(getsid(Some(supervisor))? == supervisor, "a session of its own");
    let folder = PathBuf::from(format!("/proc/{supervisor}"));
    let stat = fs::read_to_string(folder.join("stat"))?;
    let terminal = stat.rsplit_once(')').and_then(|(_, rest)| rest.split(' ').nth(5));
    ensure!(terminal == Some("0"), "no terminal: {stat}");
    let null = fs::metadata("/dev/null")?.rdev();
    for number in 0..3 {
        ensure!(fs::metadata(folder.join(format!("fd/{number}")))?.rdev() == null, "fd {number}");
    }
    // The shell has given it this one.
    ensure!(!folder.join("fd/9").exists() || !is_pipe(&folder.join("fd/9")), "the caller's descriptor");
    Ok(())
}

fn is_pipe(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("pipe:"))
}

fn outlives(bed: &Testbed) -> Result<()> {
    let detached = Detached::start(bed, "outlives", &[], &["sh", "-c", AGENT])?;
    detached.until_printed("err")?;
    let supervisor = detached.supervisor()?;
    holds_nothing(supervisor)?;
    kill(supervisor, Signal::SIGHUP)?;
    let row = detached.row()?;
    ensure!(row["agent"] == "running" && row["status"].is_null(), "{row}");
    let told = detached.call(&["exec", &detached.name, "touch", "/tmp/go"])?;
    ensure!(told.status.success(), "{told:?}");
    // It is followed until its end, and its account comes then.
    let followed = detached.call(&["logs", "--follow", &detached.id])?;
    ensure!(followed.status.success() && followed.stdout == "out\n", "no hang-up came: {followed:?}");
    ensure!(followed.stderr.starts_with("err\n") && followed.stderr.contains("last digest"), "{followed:?}");
    for word in [&detached.id, &detached.name] {
        let waited = detached.call(&["wait", word])?;
        ensure!(waited.status.success() && waited.stdout == "7\n", "{waited:?}");
        // What is over is read from this machine.
        let logs = detached.call(&["logs", word])?;
        ensure!(
            (&logs.stdout, &logs.stderr) == (&followed.stdout, &followed.stderr),
            "{logs:?}\n{followed:?}"
        );
        let events = detached.call(&["events", "--json", word])?;
        ensure!(
            events.stdout.contains("\"exec-started\"") && events.stdout.contains("touch /tmp/go"),
            "{events:?}"
        );
    }
    let tail = detached.call(&["logs", "--tail", "1", &detached.id])?;
    // An engine may have taken either stream first.
    ensure!((tail.stdout == "out\n") != tail.stderr.starts_with("err\n"), "{tail:?}");
    let row = detached.row()?;
    ensure!(row["agent"] == "over" && row["status"] == 7 && row["how"] == "exited", "{row}");
    ensure!(!detached.call(&["ps", "--json"])?.stdout.contains(&detached.id), "without --all it is gone");
    only_the_uplink(bed)
}

fn fails(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    for (options, agent, status, word) in [
        (&[][..], "no-such-program", 127, "exec"),
        (&[], "/etc", 126, "exec"),
        (&["--cpus", "9999"], "true", 125, "--cpus"),
    ] {
        let detached = run(bed, options, &bed.images.agent, &[agent])?;
        ensure!(detached.status.code() == Some(status) && detached.stdout.is_empty(), "{detached:?}");
        ensure!(detached.stderr.contains(word), "{detached:?}");
        // The control: the same start in the foreground.
        let control = bed.ringfence.run(&policy, options, &bed.images.agent, &[agent])?;
        ensure!(control.status == status && control.stderr.contains(word), "{}", control.shown());
    }
    only_the_uplink(bed)
}

fn flood(bed: &Testbed) -> Result<()> {
    let script = "head -c 40000000 /dev/zero | tr '\\0' x | fold -w 8000; echo; echo last";
    let detached = Detached::start(bed, "flood", &[], &["sh", "-c", script])?;
    let waited = detached.call(&["wait", &detached.id])?;
    ensure!(waited.stdout == "0\n", "{waited:?}");
    let logs = detached.call(&["logs", &detached.id])?;
    let size = logs.stdout.len();
    ensure!((8 << 20..=16 << 20).contains(&size) && logs.stdout.ends_with("\nlast\n"), "{size}");
    ensure!(logs.stderr.contains("were not kept"), "{}", logs.stderr);
    let file = bed.ringfence.state().join(format!("output/{}.jsonl", detached.id));
    let about = fs::metadata(&file)?;
    ensure!(about.len() < 20 << 20 && about.mode() & 0o777 == 0o600, "{about:?}");
    only_the_uplink(bed)
}

fn killed(bed: &Testbed) -> Result<()> {
    let detached = Detached::start(bed, "killed", &[], &["sh", "-c", "echo up; exec sleep 600"])?;
    detached.until_printed("up")?;
    kill(detached.supervisor()?, Signal::SIGKILL)?;
    ensure!(running_agent(bed).as_deref() == Some(&detached.id), "the agent goes on");
    ensure!(detached.row()?["agent"] == "running", "{}", detached.row()?);
    detached.stop()?;
    let row = detached.row()?;
    ensure!(row["agent"] == "over" && row["how"] == "stopped", "{row}");
    // By TERM: nobody but the engine knows.
    let waited = detached.call(&["wait", &detached.name])?;
    ensure!(waited.stdout == "143\n", "{waited:?}");
    let logs = detached.call(&["logs", &detached.name])?;
    ensure!(logs.stdout == "up\n", "`stop` has kept the output: {logs:?}");
    only_the_uplink(bed)
}

fn foreground(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let mut running = bed.ringfence.start(&policy, &[], &bed.images.agent, &["sh", "-c", AGENT])?;
    running.wait_for_line("out", LIMIT)?;
    let name = running.name.clone();
    let logs = bed.ringfence.call(&["logs", &name])?;
    ensure!(logs.stdout == "out\n", "while it runs the engine has it: {logs:?}");
    let mut waiting =
        bed.ringfence.command().args(["wait", &name]).stdout(Stdio::piped()).stdin(Stdio::null()).spawn()?;
    // The agent's end may overtake that of the command, which ends the command.
    let told = bed.ringfence.call(&["exec", &name, "touch", "/tmp/go"])?;
    ensure!([Some(0), Some(137)].contains(&told.status.code()), "{told:?}");
    let outcome = running.finish(LIMIT)?;
    ensure!(outcome.status == 7, "{}", outcome.shown());
    let status = wait(&mut waiting, LIMIT)?.context("the waiting ends")?;
    let mut printed = String::new();
    waiting.stdout.take().context("a pipe")?.read_to_string(&mut printed)?;
    ensure!(status.success() && printed == "7\n", "{status:?} {printed}");
    let logs = bed.ringfence.call(&["logs", &name])?;
    ensure!(logs.status.code() == Some(125) && logs.stderr.contains("run -d"), "{logs:?}");
    // The supervisor's status, not the agent's.
    let name = format!("late-{}", std::process::id());
    let options = ["--name", &name, "--time", "2s"];
    let late = bed.ringfence.run(&policy, &options, &bed.images.tiny, &["sleep", "600"])?;
    let waited = bed.ringfence.call(&["wait", &name])?;
    ensure!(late.status == 124 && waited.stdout == "124\n", "{waited:?}\n{}", late.shown());
    let listed = bed.ringfence.call(&["ps", "--all"])?;
    ensure!(
        listed.stdout.lines().any(|line| line.contains(&name) && line.contains("ended 124 (time-limit)")),
        "{listed:?}"
    );
    let nobody = bed.ringfence.call(&["wait", "no-such-run"])?;
    ensure!(nobody.status.code() == Some(125) && nobody.stderr.contains("ps --all"), "{nobody:?}");
    only_the_uplink(bed)
}
