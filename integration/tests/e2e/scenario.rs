//! `ringfence test`: agents under denial, with conditions at their times, judged by what they did.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::command::{Output, until, wait};
use integration::testbed::Testbed;
use integration::testbed::addresses::SERVICES;
use integration::testbed::capture::{Capture, Frame};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::refused::running_agent;
use crate::{Test, text};

pub(crate) const TESTS: &[Test] = &[
    ("an agent is offline from the start, and its project is a copy", offline),
    ("a cut at the first connection lets no packet of it out, and restore lets it go on", cut_at_first),
    ("conditions come at their times, and one that never comes is no pass", timed),
    ("what was tried is judged with its events", attempted),
    ("a network that is late, narrow or breaks off is so by the client's clock", degraded),
    ("Ctrl-C ends every case", interrupted),
];

/// Asks for a page and writes it into the project.
const FETCH: &str = "#!/bin/sh
curl -sS -m 5 -o page http://plain.test/one || { echo 'no network' >&2; exit 3; }
echo fetched
";

/// Talks to an echo. Without an answer it asks for a page, or not, and waits on.
const TALK: &str = "import socket, sys
s = socket.create_connection(('echo.test', 7777), 60); s.settimeout(2); s.sendall(b'PING\\r\\n')
try:
    print('answer', s.recv(64), flush=True); sys.exit(0)
except OSError:
    print('silence', flush=True)
if sys.argv[1] == 'stay': sys.exit(3)
socket.create_connection(('plain.test', 80), 60); s.settimeout(60)
print('late answer', s.recv(64), flush=True)
";

/// Writes a scenario beside its project.
fn scenario(bed: &Testbed, name: &str, rules: &str, text_of: impl Fn(&str) -> String) -> Result<PathBuf> {
    let folder = bed.fresh_directory(name)?;
    let project = folder.join("project");
    fs::create_dir_all(&project)?;
    fs::write(project.join("fetch.sh"), FETCH)?;
    fs::write(project.join("talk.py"), TALK)?;
    let policy = bed.ringfence.policy(rules)?;
    let head = format!("image: {}\npolicy: {}\nproject: ./project\n", bed.images.agent, text(&policy)?);
    let file = folder.join("scenario.yml");
    fs::write(&file, text_of(&head))?;
    Ok(file)
}

/// `ringfence test FILE WORDS`; its output and, with `--json`, its results.
fn test(bed: &Testbed, file: &Path, words: &[&str]) -> Result<(Output, Value)> {
    let output = bed.ringfence.call(&[&["test", text(file)?, "--json"], words].concat())?;
    let results = serde_json::from_str(&output.stdout).unwrap_or_default();
    Ok((output, results))
}

/// Requires an exit status, and a result of each case.
fn expect_results(output: &Output, results: &Value, status: i32, words: &[&str]) -> Result<()> {
    let cases = results["cases"].as_array().cloned().unwrap_or_default();
    let found: Vec<&str> = cases.iter().filter_map(|case| case["result"].as_str()).collect();
    ensure!(output.status.code() == Some(status) && found == words, "{found:?}\n{output:?}");
    Ok(())
}

/// Requires a failure for an expectation of a case, with this in its evidence.
fn expect_failure(results: &Value, case: usize, expectation: &str, said: &str) -> Result<()> {
    let failures = results["cases"][case]["failures"].as_array().context("failures")?;
    let found =
        failures.iter().any(|one| one["expectation"] == expectation && one.to_string().contains(said));
    ensure!(found, "{expectation}: {said}\n{results:#}");
    Ok(())
}

fn offline(bed: &Testbed) -> Result<()> {
    let file = scenario(bed, "scenario-offline", "  allow: [\"plain.test:80\"]", |head| {
        format!(
            "{head}command: [sh, fetch.sh]
cases:
  - name: offline
    network: denied
    expect:
      exit: 3
      within: 60s
      stderr: /^no network$/
      files: {{page: absent, fetch.sh: exists}}
      attempts: {{only: [plain.test], counts: [{{target: plain.test, least: 1, most: 3}}]}}
  - name: online
    expect:
      exit: zero
      stdout: /^fetched$/
      files: {{page: {{matches: /plain.test/}}}}
      attempts: {{some: [\"plain.test:80\"]}}
  - name: offline, with other hopes
    network: denied
    expect: {{exit: zero, files: {{page: exists}}}}
"
        )
    })?;
    let folder = file.parent().context("a folder")?;
    let (junit, logs) = (folder.join("junit.xml"), folder.join("logs"));
    let asked = ["--jobs", "2", "--junit", text(&junit)?, "--logs", text(&logs)?];
    let (output, results) = test(bed, &file, &asked)?;
    expect_results(&output, &results, 1, &["passed", "passed", "failed"])?;
    expect_failure(&results, 2, "exit", "agent-ended, exited, exit status 3")?;
    expect_failure(&results, 2, "files", "page is not there")?;
    let xml = fs::read_to_string(&junit)?;
    ensure!(xml.contains("tests=\"3\"") && xml.contains("failures=\"1\""), "{xml}");
    let log = bed.ringfence.call(&["events", "--verify", text(&logs.join("001-offline.jsonl"))?])?;
    ensure!(log.status.success(), "{log:?}");
    let mut names: Vec<_> = fs::read_dir(folder.join("project"))?.collect::<Result<Vec<_>, _>>()?;
    names.sort_by_key(|entry| entry.file_name());
    let names: Vec<_> = names.iter().map(fs::DirEntry::file_name).collect();
    ensure!(names == ["fetch.sh", "talk.py"], "the project itself was written: {names:?}");
    Ok(())
}

/// Frames with the address of the services in them, which the host saw since a moment.
fn to_services(capture: &Capture, since: Instant) -> Vec<Frame> {
    let octets = SERVICES.parse::<Ipv4Addr>().map(|address| address.octets()).unwrap_or_default();
    capture.since(since).into_iter().filter(|frame| frame.has(&octets)).collect()
}

fn cut_at_first(bed: &Testbed) -> Result<()> {
    let rules = "  allow: [\"echo.test:7777\", \"plain.test:80\"]";
    let cut = "{on: \"connect echo.test\", do: cut, host: echo.test}";
    let once = "attempts: {counts: [{target: echo.test, least: 1, most: 1}]}";
    for (name, word, network, expect, goes_out) in [
        ("permitted", "stay", "[]", "{exit: 0, stdout: /^answer/}".to_owned(), true),
        ("cut", "stay", &format!("[{cut}]"), format!("{{exit: 3, stdout: /^silence/, {once}}}"), false),
        (
            "restored",
            "ask",
            &format!("[{cut}, {{on: \"connect plain.test\", do: restore}}]"),
            format!("{{exit: 0, stdout: [/^silence/, /^late answer/], {once}}}"),
            true,
        ),
    ] {
        let file = scenario(bed, &format!("scenario-{name}"), rules, |head| {
            let case = format!("  - {{name: {name}, network: {network}, expect: {expect}}}\n");
            format!("{head}command: [python3, talk.py, {word}]\ncases:\n{case}")
        })?;
        let (capture, since) = (Capture::start()?, Instant::now());
        let (output, results) = test(bed, &file, &[])?;
        expect_results(&output, &results, 0, &["passed"])?;
        let frames = to_services(&capture, since);
        ensure!(frames.is_empty() != goes_out, "{name}: {} frames, {:?}", frames.len(), frames.first());
    }
    Ok(())
}

fn timed(bed: &Testbed) -> Result<()> {
    let file = scenario(bed, "scenario-timed", "  allow: [\"plain.test:80\"]", |head| {
        format!(
            "{head}command: [sh, -c, \"while curl -sS -m 5 -o /dev/null http://plain.test/one; do sleep 0.2; done; echo down >&2; exit 4\"]
cases:
  - name: denied in mid-run
    network: [{{at: 2s, do: deny}}]
    expect: {{exit: 4, stderr: /down/, within: 60s, attempts: {{some: [plain.test]}}}}
  - name: names fail from the start
    network: [{{at: 0s, do: dns=servfail}}, {{at: 1h, do: restore}}]
    expect: {{exit: 4, stderr: /resolve host/}}
  - name: silent from the start
    network: [{{at: 0s, do: cut}}]
    expect: {{exit: 4, stderr: /timed out/, attempts: {{only: [plain.test]}}}}
  - name: a cut that comes too late
    network: [{{at: 0s, do: deny}}, {{at: 1h, do: cut}}]
    expect: {{exit: 4}}
  - name: never ends
    expect: {{within: 2s, attempts: {{only: [plain.test]}}}}
"
        )
    })?;
    let (output, results) = test(bed, &file, &["--jobs", "2"])?;
    expect_results(&output, &results, 1, &["passed", "passed", "passed", "failed", "failed"])?;
    expect_failure(&results, 3, "network", "`cut` at 1h never came")?;
    expect_failure(&results, 4, "within", "agent-ended, stopped")
}

fn attempted(bed: &Testbed) -> Result<()> {
    let file = scenario(bed, "scenario-attempts", "  allow: [\"plain.test:80\"]", |head| {
        let case = |name: &str, attempts: &str| {
            format!("  - name: {name}\n    expect: {{exit: 0, attempts: {{{attempts}}}}}\n")
        };
        let script = "curl -s -m 2 http://10.99.0.5/; curl -s -m 2 https://wiki.corp.test/; curl -sS -m 5 http://plain.test/one";
        [
            format!("{head}command: [sh, -c, {script:?}]\ncases:\n"),
            case("control", "none: [192.168.0.0/16], some: [plain.test, wiki.corp.test], counts: [{most: 10}], per-second: 5"),
            case("no intranet address", "none: [\"tcp://10.0.0.0/8\"]"),
            case("only the page", "only: [plain.test, 10.99.0.5]"),
        ]
        .concat()
    })?;
    let (output, results) = test(bed, &file, &["--jobs", "3"])?;
    expect_results(&output, &results, 1, &["passed", "failed", "failed"])?;
    expect_failure(&results, 1, "attempts.none", "deny 10.99.0.5:80 (private-address)")?;
    expect_failure(&results, 2, "attempts.only", "deny wiki.corp.test (not-allowed)")?;

    // A golden list of the same, and of an agent that tries less.
    let folder = file.parent().context("a folder")?;
    let golden = folder.join("golden.json");
    let control = ["--case", "control"];
    let (output, results) = test(bed, &file, &[&control[..], &["--record", text(&golden)?]].concat())?;
    expect_results(&output, &results, 0, &["passed"])?;
    let list = fs::read_to_string(&golden)?;
    ensure!(list.contains("\"10.99.0.5:80\"") && list.contains("\"wiki.corp.test\""), "{list}");
    fs::write(&golden, list.replace("wiki.corp.test", "old.corp.test"))?;
    let (output, results) = test(bed, &file, &[&control[..], &["--golden", text(&golden)?]].concat())?;
    expect_results(&output, &results, 1, &["failed"])?;
    expect_failure(&results, 0, "golden", "wiki.corp.test was tried, and is not in the golden list")?;
    expect_failure(&results, 0, "golden", "old.corp.test is in the golden list, and was not tried")
}

/// Seconds to the first byte, seconds in all, and bytes of a client, by its own account.
fn measured(stdout: &Path) -> Result<[f64; 3]> {
    let said = fs::read_to_string(stdout)?;
    let numbers = said.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>();
    let numbers = numbers.with_context(|| format!("{said:?}"))?;
    numbers.try_into().map_err(|numbers| anyhow::anyhow!("{numbers:?}"))
}

fn degraded(bed: &Testbed) -> Result<()> {
    // The image is none: `--image` names the one that is there.
    let file = scenario(bed, "scenario-degraded", "  allow: [\"plain.test:80\"]", |head| {
        let head = head.replace(&bed.images.agent, "ringfence-test-no-such-image");
        let case = |name: &str, network: &str, exit: u8| {
            format!("  - {{name: {name}, network: [{network}], expect: {{exit: {exit}}}}}\n")
        };
        let script = "curl -sS -m 30 -o /dev/null -w '%{time_starttransfer} %{time_total} %{size_download}' http://plain.test/bytes/250000";
        [
            format!("{head}command: [sh, -c, {script:?}]\ncases:\n"),
            case("control", "{at: 0s, do: dns=timeout, host: other.test}", 0),
            case("late", "{at: 0s, do: latency=4s}, {at: 100ms, do: restore, host: other.test}", 0),
            case("narrow", "{at: 0s, do: bandwidth=1mbit}", 0),
            // 56: a failure in receiving.
            case("broken", "{at: 0s, do: reset-after=64KiB}", 56),
        ]
        .concat()
    })?;
    let logs = file.parent().context("a folder")?.join("logs");
    let asked = ["--image", bed.images.agent.as_str(), "--jobs", "4", "--logs", text(&logs)?];
    let (output, results) = test(bed, &file, &asked)?;
    expect_results(&output, &results, 0, &["passed"; 4])?;
    let notes: Vec<String> =
        results["cases"].as_array().into_iter().flatten().map(|case| case["notes"].to_string()).collect();
    ensure!(notes[0].contains("`dns=timeout host=other.test` from the start met nothing"), "{notes:?}");
    ensure!(notes[1].contains("`restore host=other.test` at 100ms ended nothing"), "{notes:?}");
    ensure!(notes[2] == "[]" && notes[3] == "[]", "{notes:?}");
    let of = |name: &str| measured(&logs.join(format!("{name}.stdout")));
    let (control, late) = (of("001-control")?, of("002-late")?);
    let (narrow, broken) = (of("003-narrow")?, of("004-broken")?);
    ensure!(control[1] < 1.4 && control[2] == 250_000.0, "control: {control:?}");
    ensure!((3.9..15.0).contains(&late[0]) && late[2] == 250_000.0, "latency: {late:?}");
    // Two million bits at a million bits a second.
    ensure!((1.5..10.0).contains(&narrow[1]) && narrow[2] == 250_000.0, "bandwidth: {narrow:?}");
    ensure!((1.0..=65_536.0).contains(&broken[2]), "reset-after: {broken:?}");

    let (output, _) = test(bed, &file, &["--image", "no image"])?;
    ensure!(
        output.status.code() == Some(2) && output.stderr.contains("is no name of an image"),
        "{output:?}"
    );
    let (output, results) = test(bed, &file, &["--case", "control"])?;
    expect_results(&output, &results, 2, &["not-run"])
}

fn interrupted(bed: &Testbed) -> Result<()> {
    let file = scenario(bed, "scenario-interrupted", "  allow: []", |head| {
        format!("{head}command: [sleep, \"300\"]\ncases:\n  - {{name: long, expect: {{exit: 0}}}}\n")
    })?;
    let mut command = bed.ringfence.command();
    command.args(["test", text(&file)?]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let id = Pid::from_raw(i32::try_from(child.id())?);
    let begun = until("an agent runs", Duration::from_secs(60), || running_agent(bed).is_some());
    kill(id, Signal::SIGINT)?;
    let status = wait(&mut child, Duration::from_secs(90))?.context("it did not end")?;
    begun?;
    ensure!(status.code() == Some(130), "{status:?}");
    ensure!(running_agent(bed).is_none(), "an agent was left");
    Ok(())
}
