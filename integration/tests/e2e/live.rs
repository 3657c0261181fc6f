//! Changes to a workflow that runs: `allow`, `deny` and every network condition, with real clients.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration::command::until;
use integration::ringfence::{Outcome, Running};
use integration::testbed::Testbed;
use serde_json::Value;

use crate::{Test, expect};

pub(crate) const TESTS: &[Test] = &[
    ("allow opens a name, deny closes it, the ceiling holds", allow_and_deny),
    ("open connections are reset by a denial and outlive a cut", open_connections),
    ("a download is cut and goes on", download),
    ("DNS fails as told", dns_faults),
    ("latency, bandwidth and reset-after are measured", shaping),
    ("the agent has no path to the control socket", no_path),
    ("events are followed, and say what would permit", followed),
    ("a policy is read anew, the project's is not", reloaded),
    ("a fence that cannot follow leaves everything closed", half_way),
];

/// An echo to talk to, for as long as it is there: a line for each beat, and for each way it fails.
const BEATS: &str = r#"import socket, time
def say(*words): print(*words, flush=True)
while True:
    try:
        s = socket.create_connection(('echo.test', 7777), 5); s.settimeout(60); say('open')
        while True:
            s.sendall(b'PING\r\n')
            if not s.recv(64): break
            say('beat'); time.sleep(.05)
        say('end')
    except OSError as e:
        say('failed', type(e).__name__); time.sleep(.1)
"#;

/// A workflow that runs, and the commands that change it.
struct Live<'b> {
    bed: &'b Testbed,
    running: Running,
}

impl Live<'_> {
    fn start<'b>(bed: &'b Testbed, policy: &str, agent: &[&str]) -> Result<Live<'b>> {
        let policy = bed.ringfence.policy(policy)?;
        Ok(Live { bed, running: bed.ringfence.start(&policy, &["--quiet"], &bed.images.agent, agent)? })
    }

    /// `ringfence COMMAND ID WORDS`; its status, stdout and stderr.
    fn try_call(&self, command: &str, words: &[&str]) -> Result<(Option<i32>, String, String)> {
        let all = [&[command, &self.running.name], words].concat();
        let output = self.bed.ringfence.call(&all)?;
        Ok((output.status.code(), output.stdout, output.stderr))
    }

    /// Runs `ringfence COMMAND ID WORDS`, which must succeed, and returns its stdout.
    fn call(&self, command: &str, words: &[&str]) -> Result<String> {
        let (status, stdout, stderr) = self.try_call(command, words)?;
        ensure!(status == Some(0), "{command} {words:?}: {status:?}\n{stdout}\n{stderr}");
        Ok(stdout)
    }

    fn state(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.call("net", &["--json"])?)?)
    }

    /// Counts the agent's lines so far.
    fn mark(&self) -> usize {
        self.running.lines().len()
    }

    /// Waits until a line after `mark` is as wanted; how long it took.
    fn until_line(&self, mark: usize, limit: u64, wanted: impl Fn(&str) -> bool) -> Result<Duration> {
        let begin = Instant::now();
        let found = || self.running.lines().iter().skip(mark).any(|line| wanted(line));
        until("a line of the agent", Duration::from_secs(limit), found)
            .with_context(|| format!("after line {mark}: {:?}", self.running.lines()))?;
        Ok(begin.elapsed())
    }

    fn end(self) -> Result<Outcome> {
        self.bed.ringfence.call(&["stop", &self.running.name])?;
        self.running.finish(Duration::from_secs(30))
    }
}

fn allow_and_deny(bed: &Testbed) -> Result<()> {
    let script =
        "while :; do curl -sS -m 3 -o /dev/null https://b.test/live 2>/dev/null; echo rc $?; sleep 0.1; done";
    let rules = "  allow: [a.test]\n  ceiling: [.test]";
    let live = Live::start(bed, rules, &["sh", "-c", script])?;
    live.until_line(0, 60, |line| line == "rc 6")?;
    let (before, requests) = (live.state()?, bed.web.log().len());

    // What the ceiling does not contain is refused, and nothing changes.
    let (status, _, why) = live.try_call("allow", &["b.example"])?;
    ensure!(status == Some(1) && why.contains("outside-ceiling"), "{status:?} {why}");
    let still = live.state()?;
    ensure!(still["digest"] == before["digest"] && still["allowed"] == before["allowed"], "{before} {still}");

    let mark = live.mark();
    live.call("allow", &["b.test"])?;
    let took = live.until_line(mark, 2, |line| line == "rc 0")?;
    ensure!(took < Duration::from_secs(2), "{took:?}");
    let seen = bed
        .web
        .log()
        .iter()
        .skip(requests)
        .any(|one| one.host == "b.test" && one.sni.as_deref() == Some("b.test"));
    ensure!(seen, "the server saw no request for b.test");
    let after = live.state()?;
    ensure!(after["digest"] != before["digest"] && after["allowed"][0] == "b.test:443", "{after}");

    live.call("deny", &["b.test"])?;
    let mark = live.mark();
    live.until_line(mark, 3, |line| line == "rc 6")?;
    let requests = bed.web.log().len();
    std::thread::sleep(Duration::from_millis(500));
    ensure!(bed.web.log().len() == requests, "requests arrive after the denial");
    let outcome = live.end()?;
    for (what, verdict) in
        [("allow b.example:443", "deny"), ("allow b.test:443", "allow"), ("deny b.test", "allow")]
    {
        expect(
            outcome.has_event(&[("kind", "control"), ("what", what), ("verdict", verdict)]),
            what,
            &outcome,
        )?;
    }
    let check = bed.ringfence.call(&["events", "--verify", &outcome.events_file.to_string_lossy()])?;
    ensure!(check.status.success(), "{}", check.stdout);
    Ok(())
}

fn open_connections(bed: &Testbed) -> Result<()> {
    let live = Live::start(bed, "  allow: [\"echo.test:7777\", a.test]", &["python3", "-c", BEATS])?;
    live.until_line(0, 60, |line| line == "beat")?;
    for (closing, opening, reason) in [
        (("deny", &["echo.test"][..]), ("allow", &["echo.test:7777"][..]), "denied-by-rule"),
        (("deny", &[]), ("net", &["restore"]), "network-denied"),
        (("net", &["deny", "host=echo.test"]), ("net", &["restore", "host=echo.test"]), "network-denied"),
    ] {
        let mark = live.mark();
        live.call(closing.0, closing.1)?;
        live.until_line(mark, 2, |line| line == "failed ConnectionResetError")?;
        live.until_line(mark, 3, |line| line == "failed gaierror")?;
        let mark = live.mark();
        live.call(opening.0, opening.1)?;
        live.until_line(mark, 3, |line| line == "open")
            .with_context(|| format!("opened again after {reason}"))?;
    }

    // Silence, for all and for the name alone: the same connection goes on afterwards.
    for words in [&["cut"][..], &["cut", "host=*.test"]] {
        live.until_line(live.mark(), 3, |line| line == "beat")?;
        live.call("net", words)?;
        std::thread::sleep(Duration::from_millis(300));
        let mark = live.mark();
        std::thread::sleep(Duration::from_millis(1500));
        ensure!(live.mark() == mark, "{words:?}: {:?}", &live.running.lines()[mark..]);
        live.call("net", &["restore"])?;
        live.until_line(mark, 10, |line| line == "beat")?;
        let first = live.running.lines().get(mark).cloned();
        ensure!(first.as_deref() == Some("beat"), "{words:?}: {first:?}");
    }
    let outcome = live.end()?;
    for reason in ["denied-by-rule", "network-denied"] {
        let fields = [("kind", "connect"), ("verdict", "deny"), ("reason", reason), ("host", "echo.test")];
        expect(outcome.has_event(&fields), reason, &outcome)?;
    }
    Ok(())
}

fn download(bed: &Testbed) -> Result<()> {
    // Narrow enough to last, and read as fast as it comes.
    let script = r"import urllib.request
r = urllib.request.urlopen('https://a.test/bytes/600000', timeout=120); n = 0
while True:
    b = r.read(8192); n += len(b)
    print('got', n, flush=True)
    if not b: break
print('done', n, flush=True)
";
    let wait = format!("sleep 4; exec python3 -c \"{script}\"");
    let live = Live::start(bed, "  allow: [a.test]", &["sh", "-c", &format!("echo up; {wait}")])?;
    live.until_line(0, 60, |line| line == "up")?;
    live.call("net", &["bandwidth=1mbit"])?;
    let requests = bed.web.log().len();
    live.until_line(0, 20, |line| line.starts_with("got"))?;
    live.call("net", &["cut"])?;
    std::thread::sleep(Duration::from_millis(500));
    let mark = live.mark();
    ensure!(!live.running.lines().iter().any(|line| line.starts_with("done")), "too fast to be cut");
    std::thread::sleep(Duration::from_secs(2));
    ensure!(live.mark() == mark, "bytes arrive during the cut: {:?}", live.running.lines());
    live.call("net", &["restore"])?;
    live.until_line(mark, 20, |line| line == "done 600000")?;
    let asked = bed.web.log().iter().skip(requests).filter(|one| one.path == "/bytes/600000").count();
    ensure!(asked == 1, "the server was asked {asked} times");
    let outcome = live.running.finish(Duration::from_secs(30))?;
    expect(outcome.status == 0, "the client ended well", &outcome)
}

fn dns_faults(bed: &Testbed) -> Result<()> {
    let script = "while :; do dig +tries=1 +time=1 a.test | grep -oE 'status: [A-Z]+|timed out|no servers' | head -1; sleep 0.1; done";
    let live = Live::start(bed, "  allow: [a.test, b.test]", &["sh", "-c", script])?;
    live.until_line(0, 60, |line| line == "status: NOERROR")?;
    for (condition, seen) in [
        ("dns=nxdomain", "status: NXDOMAIN"),
        ("dns=servfail", "status: SERVFAIL"),
        ("dns=timeout", "timed out"),
    ] {
        for host in [&[][..], &["host=a.test"]] {
            live.call("net", &[&[condition], host].concat())?;
            let mark = live.mark();
            live.until_line(mark, 5, |line| {
                line.contains(seen) || (seen == "timed out" && line == "no servers")
            })?;
            live.call("net", &["restore"])?;
            let mark = live.mark();
            live.until_line(mark, 4, |line| line == "status: NOERROR")?;
        }
        // Another name's trouble is not this one's.
        live.call("net", &[condition, "host=b.test"])?;
        let mark = live.mark() + 1;
        live.until_line(mark, 4, |line| line == "status: NOERROR")?;
        live.call("net", &["restore"])?;
    }
    let outcome = live.end()?;
    let fields = [("kind", "dns"), ("verdict", "deny"), ("reason", "cut"), ("host", "a.test")];
    expect(outcome.has_event(&fields), "an event with the reason", &outcome)
}

/// The numbers that curl printed in lines after `mark`: seconds, bytes, its status.
fn measured(live: &Live<'_>, mark: usize) -> Result<(f64, u64, i32)> {
    live.until_line(mark, 30, |line| line.starts_with("m "))?;
    let lines = live.running.lines();
    let line = lines.iter().skip(mark).find(|line| line.starts_with("m ")).context("no line")?;
    let words: Vec<&str> = line.split(' ').collect();
    let [_, time, bytes, status] = words[..] else { bail!("{line}") };
    Ok((time.parse()?, bytes.parse()?, status.parse()?))
}

/// The number of rounds that are measured under the same conditions.
const MEASURED: usize = 3;

/// The line after the next `round`.
fn after_round(live: &Live<'_>, mark: usize) -> Result<usize> {
    live.until_line(mark, 60, |line| line == "round")?;
    let lines = live.running.lines();
    let place = lines.iter().skip(mark).position(|line| line == "round").context("no round")?;
    Ok(mark + place + 1)
}

/// The one of two measures that took less time.
fn shorter(one: (f64, u64, i32), other: (f64, u64, i32)) -> (f64, u64, i32) {
    if other.0 < one.0 { other } else { one }
}

fn shaping(bed: &Testbed) -> Result<()> {
    let script = "while :; do for u in http://plain.test/bytes/125000 https://a.test/bytes/125000; do \
         m=$(curl -s -m 20 -o /dev/null -w '%{time_total} %{size_download}' $u); echo \"m $m $?\"; done; echo round; sleep 0.1; done";
    let live = Live::start(bed, "  allow: [a.test, \"plain.test:80\"]", &["sh", "-c", script])?;
    live.until_line(0, 60, |line| line == "round")?;
    // The shortest of some rounds under conditions, each whole: plain, then TLS. What else the
    // machine does can only add time.
    let round = |words: &[&str]| -> Result<[(f64, u64, i32); 2]> {
        live.call("net", &["restore"])?;
        if !words.is_empty() {
            live.call("net", words)?;
        }
        let mut begin = after_round(&live, live.mark())?;
        let mut shortest: Option<[(f64, u64, i32); 2]> = None;
        for _ in 0..MEASURED {
            let found = [measured(&live, begin)?, measured(&live, begin + 1)?];
            begin = after_round(&live, begin)?;
            shortest = Some(match shortest {
                Some(before) => [shorter(before[0], found[0]), shorter(before[1], found[1])],
                None => found,
            });
        }
        shortest.context("a round")
    };
    let [plain, tls] = round(&[])?;
    ensure!(plain.0 < 0.2 && tls.0 < 0.3 && plain.1 == 125_000 && tls.2 == 0, "at rest: {plain:?} {tls:?}");

    // One answer over HTTP, two over TLS (the handshake's and the page's).
    let [plain, tls] = round(&["latency=300ms"])?;
    ensure!((0.3..0.6).contains(&plain.0) && (0.6..1.1).contains(&tls.0), "latency: {plain:?} {tls:?}");
    ensure!(plain.1 == 125_000 && tls.1 == 125_000, "latency loses nothing: {plain:?} {tls:?}");
    // A million bits at a million bits a second.
    let [plain, tls] = round(&["bandwidth=1mbit"])?;
    ensure!((0.8..1.4).contains(&plain.0) && (0.8..1.5).contains(&tls.0), "bandwidth: {plain:?} {tls:?}");
    // 56: a failure in receiving.
    let [plain, tls] = round(&["reset-after=64KiB"])?;
    ensure!(plain.1 <= 65_536 && plain.2 == 56, "reset-after: {plain:?}");
    ensure!(tls.1 <= 65_536 && tls.2 == 56, "reset-after: {tls:?}");
    ensure!(plain.1 > 30_000 && tls.1 > 30_000, "reset-after, too early: {plain:?} {tls:?}");
    // One name alone.
    let [plain, tls] = round(&["latency=1s", "host=plain.test"])?;
    ensure!((1.0..1.4).contains(&plain.0) && tls.0 < 0.4, "latency of one name: {plain:?} {tls:?}");
    let outcome = live.end()?;
    let fields = [("kind", "control"), ("what", "net latency=1s host=plain.test"), ("who", "exec")];
    expect(outcome.has_event(&fields), "an event of the change", &outcome)
}

fn no_path(bed: &Testbed) -> Result<()> {
    // By path, by a search of the whole file system, and by every socket that the namespace knows
    // of.
    let script = r"import os, socket, time
found = [os.path.join(d, f) for d, _, fs in os.walk('/') if not d.startswith(('/proc', '/sys')) for f in fs if 'control.sock' in f]
listed = [l.split()[-1] for l in open('/proc/net/unix') if 'control' in l]
tried = []
for path in ['/run/ringfence/control.sock', '/proc/1/root/run/ringfence/control.sock', '\0/run/ringfence/control.sock']:
    try:
        s = socket.socket(socket.AF_UNIX); s.connect(path); tried.append(path)
    except OSError: pass
print('agent', found, listed, tried, flush=True)
time.sleep(60)
";
    let live = Live::start(bed, "  allow: [a.test]", &["python3", "-c", script])?;
    live.until_line(0, 60, |line| line.starts_with("agent"))?;
    let line = live.running.lines().first().cloned().unwrap_or_default();
    ensure!(line == "agent [] [] []", "{line}");
    // Positive control: the socket is there and answers, in the guard's container and to its user.
    let state = live.state()?;
    let container =
        |role: &str| format!("ringfence-{}-{role}", state["workflow"].as_str().unwrap_or_default());
    let ask = |arguments: &[&str], role: &str| {
        let mut command = std::process::Command::new("docker");
        command.env("DOCKER_HOST", bed.engine.host()).args(["exec", "-i"]).args(arguments);
        command.arg(container(role)).args(["/usr/bin/ringfence", "guard", "control"]);
        integration::command::bounded(&mut command, b"\"state\"\n", Duration::from_secs(20))
    };
    let guard = ask(&[], "guard")?;
    ensure!(guard.stdout.contains("\"good\""), "{} {}", guard.stdout, guard.stderr);
    // The fence shares the volume, and is not let in: neither as it is nor as the guard's user.
    for user in [&[][..], &["-u", "65533"]] {
        let fence = ask(user, "fence")?;
        ensure!(!fence.status.success() && fence.stdout.is_empty(), "{} {}", fence.stdout, fence.stderr);
    }
    live.end()?;
    Ok(())
}

fn followed(bed: &Testbed) -> Result<()> {
    let script = "sleep 2; curl -s -m 3 https://c.test/; curl -s -m 3 https://a.test:8443/; curl -s -m 3 https://host.test/; true";
    let live =
        Live::start(bed, "  allow: [a.test, host.test]", &["sh", "-c", &format!("echo up; {script}")])?;
    live.until_line(0, 60, |line| line == "up")?;
    let workflow = live.state()?["workflow"].as_str().unwrap_or_default().to_owned();
    // It ends by itself, with the workflow.
    let output = live.call("events", &["--follow", "--denied"])?;
    for row in [
        format!("to permit it: - c.test   (now: ringfence allow {workflow} c.test)"),
        format!("to permit it: - a.test:8443   (now: ringfence allow {workflow} a.test:8443)"),
        "by a.test:443 (run, ".to_owned(),
        "cannot be permitted: the floor refuses it".to_owned(),
    ] {
        ensure!(output.contains(&row), "no `{row}` in:\n{output}");
    }
    let outcome = live.running.finish(Duration::from_secs(30))?;
    expect(
        !outcome.stdout.contains("permit") && !outcome.stderr.contains("permit it"),
        "the agent is told nothing",
        &outcome,
    )
}

/// Asks several names in turn, for ever: a line with curl's status for each.
const ROUNDS: &str = "while :; do for n in a b gitlab model; do curl -sS -m 3 -o /dev/null https://$n.test/reload 2>/dev/null; echo $n $?; done; sleep 0.1; done";

fn reloaded(bed: &Testbed) -> Result<()> {
    let project = bed.fresh_directory("reloaded-project")?;
    fs::write(project.join(".ringfence.yml"), "version: 1\nnetwork: {allow: [model.test]}\n")?;
    let policy = bed.ringfence.policy("  allow: [a.test, b.test]\n  ceiling: [.test]")?;
    let write = |rules: &str| {
        let text = fs::read_to_string(&policy)?;
        let rest = text.split_once("\n  dns:").context("no dns")?.1;
        fs::write(&policy, format!("version: 1\nnetwork:\n{rules}\n  dns:{rest}"))?;
        Ok::<(), anyhow::Error>(())
    };
    let options = ["--quiet", "--project", &project.to_string_lossy()];
    let running = bed.ringfence.start(&policy, &options, &bed.images.agent, &["sh", "-c", ROUNDS])?;
    let live = Live { bed, running };
    for line in ["a 0", "b 0", "gitlab 6", "model 0"] {
        live.until_line(0, 60, |seen| seen == line)?;
    }
    let before = live.state()?;

    // The agent rewrites its project's policy, the person the run's.
    fs::write(
        project.join(".ringfence.yml"),
        "version: 1\nnetwork: {allow: [d.test], deny: [model.test]}\n",
    )?;
    write("  allow: [a.test, gitlab.test]\n  ceiling: [.test]")?;
    live.call("reload", &[])?;
    let mark = live.mark() + 4;
    for line in ["a 0", "b 6", "gitlab 0", "model 0"] {
        live.until_line(mark, 5, |seen| seen == line)?;
    }
    let after = live.state()?;
    ensure!(after["digest"] != before["digest"], "{before} {after}");
    let asked = bed.web.log().len();
    live.until_line(live.mark() + 4, 5, |seen| seen == "b 6")?;
    ensure!(!bed.web.log().iter().skip(asked).any(|one| one.host == "b.test"), "b.test is still reached");

    // What a run cannot follow, and what cannot be read: nothing changes.
    for (rules, why) in [
        (
            "  allow: [d.test]\n  proxy: \"http://proxy.test:3128\"",
            "network.proxy, which only a new run can follow",
        ),
        ("  allow: [\"*\"]", "cannot be used"),
    ] {
        write(rules)?;
        let (status, _, said) = live.try_call("reload", &[])?;
        ensure!(status == Some(125) && said.contains(why), "{status:?} {said}");
        ensure!(live.state()?["digest"] == after["digest"], "{rules}");
    }
    // Named on the command line instead; a ceiling that no longer contains the project's name
    // closes it.
    let narrow = bed.ringfence.policy("  allow: [a.test]\n  ceiling: [a.test]")?;
    live.call("reload", &["--policy", &narrow.to_string_lossy()])?;
    let mark = live.mark() + 4;
    for line in ["a 0", "b 6", "gitlab 6", "model 6"] {
        live.until_line(mark, 5, |seen| seen == line)?;
    }
    let outcome = live.end()?;
    let is_reload =
        |event: &&Value| event["what"].as_str().is_some_and(|what| what.starts_with("reload sha256:"));
    expect(outcome.events.iter().filter(is_reload).count() == 2, "two reloads in the log", &outcome)?;
    let check = bed.ringfence.call(&["events", "--verify", &outcome.events_file.to_string_lossy()])?;
    ensure!(check.status.success(), "{}", check.stdout);
    Ok(())
}

/// Stops a container where it is. A busy kernel may refuse to freeze it at the first call.
fn still(bed: &Testbed, container: &str) -> Result<()> {
    until("the container stands still", Duration::from_secs(10), || {
        bed.engine.docker(&["pause", container]).is_ok()
    })
}

/// The fence's container stands still, so nothing can be run in it: each change stops in the
/// middle.
fn half_way(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.policy("  allow: [a.test, model.test]")?;
    let running = bed.ringfence.start(&policy, &["--quiet"], &bed.images.agent, &["sh", "-c", ROUNDS])?;
    let live = Live { bed, running };
    for line in ["a 0", "b 6", "model 0"] {
        live.until_line(0, 60, |seen| seen == line)?;
    }
    let before = live.state()?;
    let fence = format!("ringfence-{}-fence", before["workflow"].as_str().unwrap_or_default());
    // Opening: taken back.
    still(bed, &fence)?;
    let (status, _, why) = live.try_call("allow", &["b.test"])?;
    bed.engine.docker(&["unpause", &fence])?;
    ensure!(status == Some(125) && why.contains("nothing was opened"), "{status:?} {why}");
    ensure!(live.state()?["digest"] == before["digest"], "the digest is the old one");
    live.until_line(live.mark() + 4, 5, |seen| seen == "b 6")?;
    // Closing: the guard refuses, whatever the fence does.
    still(bed, &fence)?;
    let (status, _, why) = live.try_call("deny", &[])?;
    bed.engine.docker(&["unpause", &fence])?;
    ensure!(status == Some(125) && why.contains("the guard refuses it now"), "{status:?} {why}");
    live.until_line(live.mark() + 4, 5, |seen| seen == "a 6")?;
    live.call("net", &["restore"])?;
    live.until_line(live.mark() + 4, 5, |seen| seen == "a 0")?;
    // Both at once: what closes is closed, what opens is not open.
    let next = bed.ringfence.policy("  allow: [b.test]")?;
    still(bed, &fence)?;
    let (status, _, why) = live.try_call("reload", &["--policy", &next.to_string_lossy()])?;
    bed.engine.docker(&["unpause", &fence])?;
    ensure!(status == Some(125) && why.contains("the guard enforces the new policy"), "{status:?} {why}");
    let mark = live.mark() + 4;
    live.until_line(mark, 5, |seen| seen == "a 6")?;
    live.until_line(mark, 5, |seen| seen.starts_with("b ") && seen != "b 0")?;
    ensure!(!live.running.lines().iter().skip(mark).any(|seen| seen == "b 0"), "b.test was opened");
    // Positive control: the same again with a fence that follows.
    live.call("reload", &["--policy", &next.to_string_lossy()])?;
    live.until_line(live.mark(), 10, |seen| seen == "b 0")?;
    live.end()?;
    Ok(())
}
