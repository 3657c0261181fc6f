//! Limits of what an agent may use up: each is reached by an agent that tries, and nothing else is
//! hurt.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::wait;
use integration::testbed::Testbed;
use integration::testbed::engine::variants::Product;
use nix::sys::signal::Signal;

use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("a fork bomb is held, and another workflow works on", fork_bomb),
    ("a memory hog is ended, and 123 says by whom", memory_hog),
    ("an agent outlives the process that was too large", memory_hog_below),
    ("files in memory are memory", files_in_memory),
    ("a full layer ends the run", layer_filled),
    (
        "no file of the engine's disk can be filled past the limit, and localhost is what is there",
        hosts_files,
    ),
    ("a full project ends the run, what was there before is spared", project_filled),
    ("a policy's disk limit goes before a wider option", policy_disk),
    ("a flood of output fills neither disk nor memory", log_flood),
    ("endless sleep ends with its time", endless_sleep),
    ("open files are limited, and nobody raises that", open_files),
    ("ps shows use against limit", shown),
];

/// A shell in the small image, under no policy to speak of.
fn shell(bed: &Testbed, options: &[&str], script: &str) -> Result<integration::ringfence::Outcome> {
    let policy = bed.ringfence.allowing(&[])?;
    bed.ringfence.run(&policy, options, &bed.images.tiny, &["sh", "-c", script])
}

fn fork_bomb(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    // Every process starts others, and again when it could not.
    let bomb = "import os, time\nprint('up', flush=True)\nwhile True:\n  try: os.fork()\n  except OSError: time.sleep(0.2)";
    let agent = ["python3", "-c", bomb];
    let mut bomber = bed.ringfence.start(&policy, &["--pids", "64"], &bed.images.agent, &agent)?;
    bomber.wait_for_line("up", Duration::from_secs(60))?;
    // Meanwhile the engine answers, and another agent starts as many processes as it likes.
    let answered = bed.engine.docker(&["version"]);
    let many = "i=0; while [ $i -lt 100 ]; do sleep 99 & i=$((i+1)); done; for try in 1 2 3 4 5 6 7 8 9; do \
                n=$(ps | grep -c 'sleep 99$'); [ $n = 100 ] && break; sleep 1; done; echo $n";
    let other = shell(bed, &[], many);
    thread::sleep(Duration::from_secs(3));
    let listed = bed.ringfence.call(&["ps", "--json"])?;
    ensure!(listed.stdout.contains(&bomber.name), "the bomb goes on: {listed:?}");
    bomber.signal(Signal::SIGTERM)?;
    let held = bomber.finish(Duration::from_secs(60))?;
    answered?;
    let other = other?;
    expect(other.stdout.trim() == "100", "the other agent has its hundred processes", &other)?;
    expect_status(&held, 128 + 15)?;
    expect(held.stderr.contains("all of the 64 processes"), "it is told", &held)?;
    expect(held.has_event(&[("kind", "lifecycle"), ("reason", "pids-limit")]), "an event says so", &held)
}

/// Needs 200 MB.
const HOG: &str = "head -c 200000000 /dev/zero | tail -n 1 > /dev/null";

fn memory_hog(bed: &Testbed) -> Result<()> {
    expect_status(&shell(bed, &["--memory", "1GiB"], HOG)?, 0)?;
    let ended = shell(bed, &["--memory", "64MiB"], HOG)?;
    expect_status(&ended, 123)?;
    expect(ended.stderr.contains("reached its memory limit of 64MiB"), "the reason is told", &ended)?;
    expect(ended.has_event(&[("kind", "lifecycle"), ("reason", "memory-limit")]), "an event says so", &ended)
}

fn memory_hog_below(bed: &Testbed) -> Result<()> {
    let ended = shell(bed, &["--memory", "64MiB"], &format!("{HOG}; exit 3"))?;
    expect_status(&ended, 3)?;
    expect(ended.stderr.contains("reached its memory limit of 64MiB"), "the reason is told", &ended)
}

fn files_in_memory(bed: &Testbed) -> Result<()> {
    let fill = "dd if=/dev/zero of=/dev/shm/x bs=1M count=200 2>/dev/null && echo written";
    let control = shell(bed, &["--memory", "512MiB"], fill)?;
    expect(control.stdout.contains("written"), "it fits", &control)?;
    let ended = shell(bed, &["--memory", "64MiB"], fill)?;
    expect(!ended.stdout.contains("written"), "it does not fit", &ended)?;
    expect(ended.stderr.contains("reached its memory limit"), "the reason is told", &ended)
}

fn disk_ended(ended: &integration::ringfence::Outcome) -> Result<()> {
    expect_status(ended, 123)?;
    expect(ended.stderr.contains("more than its limit of 64MiB"), "the reason is told", ended)?;
    expect(ended.has_event(&[("kind", "lifecycle"), ("reason", "disk-limit")]), "an event says so", ended)?;
    expect(ended.took < Duration::from_secs(20), "within seconds", ended)
}

fn layer_filled(bed: &Testbed) -> Result<()> {
    let fill = "dd if=/dev/zero of=/fill bs=1M count=100 2>/dev/null; sleep 6";
    expect_status(&shell(bed, &["--disk", "1GiB"], fill)?, 0)?;
    disk_ended(&shell(bed, &["--disk", "64MiB"], &format!("{fill}; sleep 600"))?)
}

/// The files that an engine lays into every container are on its disk, or in its machine's memory,
/// beside every layer.
fn hosts_files(bed: &Testbed) -> Result<()> {
    let script =
        "for f in $(cut -d' ' -f5 /proc/self/mountinfo); do [ -f $f ] || continue; echo mounted $f; \
                  head -c 20000000 /dev/zero > $f && echo filled $f; \
                  mount -o remount,rw $f; rm -f $f; wc -c < $f; done; cat /etc/hosts
python3 -c \"
import asyncio, socket
async def main():
    server = await asyncio.start_server(lambda r, w: w.close(), 'localhost', 8080)
    for host in ('localhost', socket.gethostname()):
        print(host, socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM)[0][4][0])
    reader, writer = await asyncio.open_connection('localhost', 8080)
    print('served', await reader.read())
asyncio.run(main())\"";
    let policy = bed.ringfence.allowing(&[])?;
    let options = ["--user", "0:0", "--disk", "60MiB"];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", script])?;
    expect_status(&outcome, 0)?;
    for file in ["hosts", "hostname", "resolv.conf"] {
        let mounted = format!("mounted /etc/{file}\n");
        expect(outcome.stdout.contains(&mounted), "those that every engine has are among them", &outcome)?;
    }
    expect(!outcome.stdout.contains("filled"), "none of them can be written", &outcome)?;
    expect(!outcome.stdout.contains("::1"), "no address is named that is not there", &outcome)?;
    expect(outcome.stdout.contains("localhost 127.0.0.1\nagent 127."), "both names are local", &outcome)?;
    expect(outcome.stdout.contains("served b''"), "a server listens on localhost", &outcome)
}

fn project_filled(bed: &Testbed) -> Result<()> {
    let project = bed.fresh_directory("filled")?;
    fs::write(project.join("there before"), vec![7; 100 << 20])?;
    let options = ["--disk", "64MiB", "--project", project.to_str().context("a path")?];
    let little = "cp '/workspace/there before' /dev/null; dd if=/dev/zero of=/workspace/little bs=1M count=30; sleep 6";
    expect_status(&shell(bed, &options, little)?, 0)?;
    let much = "dd if=/dev/zero of=/workspace/much bs=1M count=90; sleep 600";
    disk_ended(&shell(bed, &options, much)?)?;
    fs::remove_dir_all(project)?;
    Ok(())
}

fn policy_disk(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.policy_file("version: 1\ncontainer: {disk: 64MiB}\n")?;
    let fill = "dd if=/dev/zero of=/fill bs=1M count=100; sleep 600";
    let agent = ["sh", "-c", fill];
    disk_ended(&bed.ringfence.run(&policy, &["--disk", "1GiB"], &bed.images.tiny, &agent)?)
}

fn log_flood(bed: &Testbed) -> Result<()> {
    let name = format!("flood-{}", std::process::id());
    let flood = "head -c 400000000 /dev/zero | tr '\\0' x; echo; echo done >&2; sleep 600";
    let mut child = bed
        .ringfence
        .command()
        .args(["run", "--quiet", "--no-network", "--name", &name, &bed.images.tiny, "sh", "-c", flood])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut complaints = std::io::BufReader::new(child.stderr.take().context("stderr")?);
    let mut line = String::new();
    while !line.contains("done") {
        line.clear();
        ensure!(std::io::BufRead::read_line(&mut complaints, &mut line)? > 0, "the agent ended early");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse()?;
    let agent = bed.engine.docker(&[
        "ps",
        "--quiet",
        "--filter",
        &format!("label=dev.ringfence.name={name}"),
        "--filter",
        "label=dev.ringfence.role=agent",
    ])?;
    let log = bed.engine.docker(&["inspect", "--format", "{{.LogPath}}", &agent])?;
    let directory = std::path::Path::new(&log).parent().context("the log's directory")?;
    let mut kept = 0;
    for entry in fs::read_dir(directory)?.flatten() {
        kept += entry.metadata()?.len();
    }
    let stopped = bed.ringfence.call(&["stop", &name])?;
    ensure!(stopped.status.success(), "{stopped:?}");
    wait(&mut child, Duration::from_secs(30))?.context("the run ends")?;
    // Docker: two files of 64 MiB; the flood was three times as much. Podman begins its one file
    // anew.
    let least = if bed.engine.product() == Product::Docker { 64 << 20 } else { 1 };
    ensure!((least..136 << 20).contains(&kept), "the engine keeps {kept} bytes");
    ensure!(peak < 96 << 10, "the supervisor took {peak} KiB");
    Ok(())
}

fn endless_sleep(bed: &Testbed) -> Result<()> {
    let ended = shell(bed, &["--time", "3s"], "sleep 100000")?;
    expect_status(&ended, 124)?;
    expect(ended.stderr.contains("the time of 3s is over"), "the reason is told", &ended)?;
    expect(ended.has_event(&[("kind", "lifecycle"), ("reason", "time-limit")]), "an event says so", &ended)
}

fn open_files(bed: &Testbed) -> Result<()> {
    let script = "ulimit -Sn; ulimit -Hn; ulimit -n 4096 2>/dev/null || echo held";
    let usual = shell(bed, &[], script)?;
    expect(usual.stdout == "16384\n16384\n", "the usual limit; lowering it is free", &usual)?;
    let held = shell(bed, &["--open-files", "128"], script)?;
    expect(held.stdout == "128\n128\nheld\n", "the limit as asked for", &held)
}

fn shown(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let options = ["--memory", "256MiB", "--pids", "50", "--disk", "1GiB", "--time", "2h", "--cpus", "1"];
    let busy = "dd if=/dev/zero of=/layer bs=1M count=20 2>/dev/null; dd if=/dev/zero of=/dev/shm/x bs=1M count=40 2>/dev/null; \
                sleep 600 & echo up; wait";
    let mut running = bed.ringfence.start(&policy, &options, &bed.images.tiny, &["sh", "-c", busy])?;
    running.wait_for_line("up", Duration::from_secs(60))?;
    let began = std::time::Instant::now();
    let list = bed.ringfence.call(&["ps", "--json"])?;
    let took = began.elapsed();
    let table = bed.ringfence.call(&["ps"])?;
    let name = running.name.clone();
    bed.ringfence.call(&["stop", &name])?;
    running.finish(Duration::from_secs(30))?;
    let all: serde_json::Value = serde_json::from_str(&list.stdout)?;
    let found =
        all.as_array().context("a list")?.iter().find(|one| one["name"] == name.as_str()).context("it")?;
    let usage = &found["usage"];
    let part = |what: &str| {
        (usage[what]["used"].as_f64().unwrap_or(-1.0), usage[what]["limit"].as_f64().unwrap_or(-1.0))
    };
    let mib = f64::from(1 << 20);
    let ((memory, most), (pids, most_pids)) = (part("memory"), part("pids"));
    ensure!((40.0 * mib..200.0 * mib).contains(&memory) && most == 256.0 * mib, "memory: {usage}");
    ensure!((2.0..10.0).contains(&pids) && most_pids == 50.0, "pids: {usage}");
    let ((disk, most), (seconds, time)) = (part("disk"), part("seconds"));
    // Podman counts what lies in /dev/shm too.
    let shared = if bed.engine.product() == Product::Docker { 0.0 } else { 40.0 * mib };
    ensure!((20.0 * mib..30.0 * mib).contains(&(disk - shared)) && most == 1024.0 * mib, "disk: {usage}");
    ensure!((0.0..120.0).contains(&seconds) && time == 7200.0, "time: {usage}");
    ensure!(part("cpus").1 == 1.0 && part("cpus").0 >= 0.0, "cpus: {usage}");
    ensure!(table.stdout.contains("/256MiB") && table.stdout.contains("/50 "), "{}", table.stdout);
    ensure!(took < Duration::from_secs(5), "ps took {took:?}");
    Ok(())
}
