//! A table full of connections: what the guard needs for them, and what the next one meets.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::testbed::Testbed;

use crate::Test;

pub(crate) const TESTS: &[Test] = &[("a full table of connections", full_table)];

/// Kept by `netpolicy`; said here once more, so that a change of it is seen.
const CONNECTIONS: u64 = 10_000;
/// Descriptors that the guard keeps for other things; a connection needs two.
const OTHER_FILES: u64 = 2048;
/// Memory that the guard may take, in KiB: of its own when idle, and all in all with every
/// connection open.
const IDLE: u64 = 8 << 10;
const FULL: u64 = 200 << 10;

/// Opens as many as it gets, in step with the ruleset's rate; then one more, uses them, frees some,
/// and opens again.
const AGENT: &str = "\
import socket, resource, time, sys
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
to = socket.getaddrinfo('echo.test', 7778, socket.AF_INET, socket.SOCK_STREAM)[0][4]
def one():
    s = socket.socket(); s.settimeout(10)
    try:
        s.connect(to); s.sendall(b'\\0')
        return s if s.recv(1) == b'\\0' else None
    except ConnectionError: s.close(); return None
print('first', one() is not None, flush=True)  # closed at once
time.sleep(4)
held = []; begin = time.monotonic()
last = begin
while time.monotonic() - last < 4 and time.monotonic() - begin < 240:
    s = one()
    if s: held.append(s); last = time.monotonic()
    else: time.sleep(0.02)
print('open', len(held), flush=True)
time.sleep(6)
begin = time.monotonic(); tried = [one() for _ in range(20)]
print('more', sum(s is not None for s in tried), time.monotonic() - begin < 2)
good = 0
for s in held[::100]:
    s.sendall(b'y'); good += s.recv(1) == b'y'
print('alive', good == len(held[::100]))
for s in held[:500]: s.close()
time.sleep(2)
again = [one() for _ in range(100)]
print('again', sum(s is not None for s in again))
";

/// Resident memory of a process in KiB: all of it, and what is its own.
fn resident(pid: &str) -> Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.trim()))?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find(|line| line.starts_with(name)).context("no such field")?;
        Ok(line.split_whitespace().nth(1).context("no value")?.parse()?)
    };
    Ok((field("VmRSS:")?, field("RssAnon:")?))
}

/// Counts the connections that the guard has descriptors for: fewer where the machine gives a
/// process fewer.
fn table(pid: &str) -> Result<u64> {
    let limits = fs::read_to_string(format!("/proc/{}/limits", pid.trim()))?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("no such limit")?;
    let files: u64 = line.split_whitespace().nth(3).context("no value")?.parse()?;
    Ok(CONNECTIONS.min(files.saturating_sub(OTHER_FILES) / 2))
}

fn full_table(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.with_most_connections(bed.ringfence.allowing(&["echo.test:7778/tcp"])?)?;
    let options = ["--memory", "2GiB"];
    let mut running =
        bed.ringfence.start(&policy, &options, &bed.images.agent, &["python3", "-u", "-c", AGENT])?;
    running.wait_for_line("first", Duration::from_secs(60))?;
    let guard = bed.engine.docker(&[
        "ps",
        "--quiet",
        "--filter",
        "label=dev.ringfence.role=guard",
        "--filter",
        &format!("name=ringfence-{}", crate::refused::running_agent(bed).context("no agent")?),
    ])?;
    let pid = bed.engine.docker(&["inspect", "--format", "{{.State.Pid}}", guard.trim()])?;
    let (idle, idle_own) = resident(&pid)?;
    let table = table(&pid)?;
    running.wait_for_line("open", Duration::from_secs(255))?;
    std::thread::sleep(Duration::from_secs(1));
    let (full, full_own) = resident(&pid)?;
    let descriptors = fs::read_dir(format!("/proc/{}/fd", pid.trim()))?.count();
    let outcome = running.finish(Duration::from_secs(90))?;
    let figures = format!(
        "guard: {idle} KiB resident when idle ({idle_own} of its own), {full} with {table} connections \
         ({full_own} of its own), {descriptors} descriptors"
    );
    eprintln!("{figures}");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let open = format!("open {table}");
    let expected = ["first True", &open, "more 0 True", "alive True", "again 100"].map(str::to_owned);
    // Not with the events, which are twenty thousand.
    ensure!(lines == expected, "{expected:?} expected\n{}\n{}\n{figures}", outcome.stdout, outcome.stderr);
    let fields = [("verdict", "deny"), ("reason", "limit"), ("host", "echo.test")];
    ensure!(outcome.has_event(&fields), "the table does not say that it is full");
    ensure!(descriptors < 20_500 && idle_own <= IDLE && full <= FULL, "{figures}");
    Ok(())
}
