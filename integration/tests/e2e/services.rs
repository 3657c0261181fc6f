//! Services beside the agent: real databases that it reaches, the fence around them, their ends.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::{bounded, until, wait};
use integration::ringfence::{Outcome, follow};
use integration::testbed::Testbed;
use integration::testbed::databases::Databases;
use integration::testbed::dns;
use nix::sys::signal::Signal;

use crate::detached::Detached;
use crate::leftovers::only_the_uplink;
use crate::neighbours::ways_in;
use crate::{Test, expect, expect_status, failing};

pub(crate) const TESTS: &[Test] = &[
    ("an agent reaches PostgreSQL and Redis by name and at localhost", reached),
    ("a service has the way out of the policy, and no other", way_out),
    ("no port of a service is reached from the host or another container", nothing_comes_in),
    ("a service that ends, or is never ready, ends the start with its last lines", not_ready),
    ("a service that ends is told, and the run goes on", ended),
    ("a killed supervisor's services go on, and can be stopped", killed),
    ("what a service writes counts as disk", disk),
    ("what a service prints is shown while it runs, and kept", printed),
];

/// Seconds for an agent to come up.
const UP: Duration = Duration::from_secs(90);
/// A service that fetches, and fills its volume, for everybody who asks.
const WEB: &str = "\
import http.server, subprocess
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == '/fill':
            open('/data/fill', 'wb').write(bytes(100 << 20))
        elif self.path != '/':
            name = self.path[1:]
            words = ['curl', '-sS', '-o', '/dev/null', '--max-time', '20', '-w', '%{http_code}', name]
            done = subprocess.run(words, capture_output=True, text=True)
            self.path = 'fetched %d %s' % (done.returncode, done.stdout)
        self.send_response(200); self.end_headers(); self.wfile.write((self.path + chr(10)).encode())
http.server.ThreadingHTTPServer(('0.0.0.0', 8000), Handler).serve_forever()
";

fn databases(bed: &Testbed) -> Result<Databases> {
    bed.engine.load_databases(&bed.images.agent, &bed.images.databases)
}

/// A policy with a service that runs [`WEB`], and this much besides.
fn with_web(bed: &Testbed, allowed: &str) -> Result<PathBuf> {
    let command = serde_json::to_string(&["python3", "-c", WEB])?;
    let image = with_volume(bed)?;
    bed.ringfence.policy_file(&format!(
        "version: 1\nnetwork:\n  allow: [{allowed}]\n  dns:\n    upstreams: [\"{}\"]\n\
         services:\n  web:\n    image: {image}\n    command: {command}\n    ready: {{tcp: 8000}}\n",
        dns::ADDRESS
    ))
}

/// The agent's image with a volume.
fn with_volume(bed: &Testbed) -> Result<String> {
    let name = format!("ringfence-testbed/web:{}", std::process::id());
    if bed.engine.try_docker(&["image", "inspect", "--format", "{{.Id}}", &name])?.status.success() {
        return Ok(name);
    }
    let container = format!("ringfence-testbed-web-{}", std::process::id());
    bed.engine.docker(&["create", "--name", &container, "--network", "none", &bed.images.agent, "true"])?;
    let committed = bed.engine.docker(&["commit", "--change", "VOLUME /data", &container, &name]);
    bed.engine.docker(&["rm", "--force", &container])?;
    committed.map(|_| name)
}

fn reached(bed: &Testbed) -> Result<()> {
    let Databases { clients, postgres, redis } = databases(bed)?;
    let policy = bed.ringfence.policy_file(&format!(
        "version: 1\nnetwork:\n  allow: []\nservices:\n  db:\n    image: {postgres}\n    env: {{POSTGRES_USER: app}}\n    \
         ready: {{command: [pg_isready, -q, -h, localhost, -U, app]}}\n"
    ))?;
    let cache = format!("cache={redis}");
    let options = ["--service", &cache, "--service-env", "cache:OPENAI_API_KEY", "--pull", "never"];
    let sql = "create table t (n int); insert into t values (40), (2); select sum(n) from t";
    let script = format!(
        "psql -qAt -h db -U app -d postgres -c '{sql}'; psql -At -h 127.0.0.1 -U app -d postgres -c 'select count(*) from t'; \
         redis-cli -h cache set key value; redis-cli -h localhost get key; getent hosts db cache | tr -s ' '; \
         python3 -c \"import json, os; print(json.load(open(os.environ['RINGFENCE_POLICY']))['services'])\"; \
         ls /data 2>&1 | wc -l"
    );
    let outcome = bed.ringfence.run(&policy, &options, &clients, &["sh", "-c", &script])?;
    expect_status(&outcome, 0)?;
    let expected = "42\n2\nOK\nvalue\n127.0.0.1 db\n127.0.0.1 cache\n\
                    [{'name': 'cache', 'ports': [6379]}, {'name': 'db', 'ports': [5432]}]\n0\n";
    expect(outcome.stdout == expected, "the databases answer", &outcome)?;
    let start = outcome.event(&[("reason", "start")]).context("the first line")?;
    for name in ["db", "cache"] {
        let image = start["services"][name].as_str().unwrap_or_default();
        expect(image.starts_with("sha256:"), "the log says what ran beside the agent", &outcome)?;
    }
    only_the_uplink(bed)
}

fn way_out(bed: &Testbed) -> Result<()> {
    let policy = with_web(bed, "a.test")?;
    // Under another policy the service reaches the other name: the policy alone decides.
    for (allowed, answers) in
        [("a.test", ["fetched 0 200", "fetched 6 000"]), ("b.test", ["fetched 6 000", "fetched 0 200"])]
    {
        let policy = if allowed == "a.test" { policy.clone() } else { with_web(bed, allowed)? };
        let script = "curl -s http://web:8000/https://a.test/; curl -s http://localhost:8000/https://b.test/; \
                      curl -s http://web:8000/http://169.254.169.254/";
        let outcome =
            bed.ringfence.run(&policy, &["--disk", "64MiB"], &bed.images.agent, &["sh", "-c", script])?;
        let lines: Vec<&str> = outcome.stdout.lines().collect();
        expect(lines.len() == 3 && lines[..2] == answers, "one name is permitted", &outcome)?;
        expect(!lines[2].starts_with("fetched 0"), "no metadata service", &outcome)?;
        let other = if allowed == "a.test" { "b.test" } else { "a.test" };
        expect(
            outcome.has_event(&[("kind", "tls"), ("host", allowed), ("verdict", "allow")])
                || outcome.has_event(&[("kind", "connect"), ("host", allowed), ("verdict", "allow")]),
            "what went out is in the log",
            &outcome,
        )?;
        expect(outcome.has_event(&[("host", other), ("verdict", "deny")]), "so is what did not", &outcome)?;
    }
    only_the_uplink(bed)
}

fn nothing_comes_in(bed: &Testbed) -> Result<()> {
    let reached = |network: &str, address: &str| -> Result<(bool, bool)> {
        let at = format!("{address}:8000");
        let to: SocketAddr = at.parse()?;
        let by_host = TcpStream::connect_timeout(&to, Duration::from_secs(2)).is_ok();
        let probe = ["run", "--rm", "--network", network, &bed.images.agent, "probe", "tcp", &at];
        Ok((by_host, bed.engine.docker(&probe)?.contains("\"ok\":true")))
    };
    // The control: the same service in a plain container is reached both ways.
    let plain = bed.engine.docker(&["run", "--detach", &with_volume(bed)?, "python3", "-c", WEB])?;
    let control = (|| {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = bed.engine.docker(&["inspect", "--format", format, plain.trim()])?;
        let to: SocketAddr = format!("{}:8000", address.trim()).parse()?;
        until("the plain one listens", Duration::from_secs(30), || TcpStream::connect(to).is_ok())?;
        reached("bridge", address.trim())
    })();
    bed.engine.docker(&["rm", "--force", "--volumes", plain.trim()])?;
    ensure!(control? == (true, true), "a plain container is reached");

    let policy = with_web(bed, "")?;
    let script = "curl -s http://web:8000/ && echo up; exec sleep 600";
    let mut running = bed.ringfence.start(&policy, &[], &bed.images.agent, &["sh", "-c", script])?;
    running.wait_for_line("up", UP)?;
    let tried: Result<Vec<_>> = ways_in(bed)
        .and_then(|ways| ways.iter().map(|(network, address)| reached(network, address)).collect());
    failing::end(bed, running)?;
    let tried = tried?;
    ensure!(tried.iter().all(|reached| *reached == (false, false)), "by the host, by a container: {tried:?}");
    only_the_uplink(bed)
}

fn not_ready(bed: &Testbed) -> Result<()> {
    let refused = |services: &str, words: &[&str]| -> Result<Outcome> {
        let text = format!("version: 1\nservices:\n  worker: {{image: {}, {services}}}\n", bed.images.tiny);
        let policy = bed.ringfence.policy_file(&text)?;
        let outcome = bed.ringfence.run(&policy, &[], &bed.images.tiny, &["echo", "the agent ran"])?;
        for words in words {
            expect(outcome.stderr.contains(words), &format!("`{words}` is said"), &outcome)?;
        }
        only_the_uplink(bed)?;
        Ok(outcome)
    };
    // The control: one that only runs is ready at once.
    expect_status(&refused("command: [sleep, \"600\"]", &[])?, 0)?;
    let hostile = "command: [sh, -c, 'printf \"last \\033]0;words\\007\\n\"; exit 3'], ready: {tcp: 9}";
    let sleeping = "command: [sh, -c, \"echo waiting; exec sleep 600\"], within: 1s, ready:";
    for (services, words) in [
        (hostile, &["`worker` is not ready", "ended with status 3", "worker: last "][..]),
        (
            &*format!("{sleeping} {{tcp: 9}}"),
            &["nothing listened on port 9", "within 1 s", "worker: waiting"],
        ),
        (&*format!("{sleeping} {{command: [\"false\"]}}"), &["`false` did not end with status 0"]),
        ("command: [no-such-program], ready: {tcp: 9}", &["service `worker`", "the agent was not started"]),
    ] {
        let outcome = refused(services, words)?;
        expect_status(&outcome, 125)?;
        expect(outcome.stdout.is_empty(), "no agent ran", &outcome)?;
        expect(!outcome.stderr.contains(['\u{1b}', '\u{7}']), "nothing raw reaches the terminal", &outcome)?;
    }
    Ok(())
}

fn ended(bed: &Testbed) -> Result<()> {
    let Databases { clients, redis, .. } = databases(bed)?;
    let policy = bed.ringfence.allowing(&[])?;
    let script = "redis-cli -h cache shutdown nosave; echo asked; exec sleep 600";
    let service = format!("cache={redis}");
    let mut running =
        bed.ringfence.start(&policy, &["--service", &service], &clients, &["sh", "-c", script])?;
    running.wait_for_line("asked", UP)?;
    let name = running.name.clone();
    let told = until("the end is in the log", Duration::from_secs(30), || {
        bed.ringfence
            .call(&["events", &name, "--json"])
            .is_ok_and(|said| said.stdout.contains("service-ended"))
    });
    running.signal(Signal::SIGTERM)?;
    let outcome = running.finish(Duration::from_secs(60))?;
    told?;
    expect(
        outcome.stderr.contains("the service `cache` has ended with status 0; the agent goes on without it"),
        "the person is told",
        &outcome,
    )?;
    expect_status(&outcome, 143)?;
    only_the_uplink(bed)
}

fn killed(bed: &Testbed) -> Result<()> {
    let Databases { clients, redis, .. } = databases(bed)?;
    let policy = bed.ringfence.allowing(&[])?;
    let script = "redis-cli -h cache ping; exec sleep 600";
    let service = format!("cache={redis}");
    let mut running =
        bed.ringfence.start(&policy, &["--service", &service], &clients, &["sh", "-c", script])?;
    running.wait_for_line("PONG", UP)?;
    let name = running.name.clone();
    running.signal(Signal::SIGKILL)?;
    running.finish(Duration::from_secs(20)).ok();
    let listed = bed.ringfence.call(&["ps", "--json"])?;
    bed.ringfence.call(&["gc"])?;
    let after = bed.ringfence.call(&["ps", "--json"])?;
    let stopped = bed.ringfence.call(&["stop", &name])?;
    for listed in [listed, after] {
        let all: serde_json::Value = serde_json::from_str(&listed.stdout)?;
        let found = all.as_array().into_iter().flatten().find(|found| found["name"] == name.as_str());
        let found = found.with_context(|| format!("ps lists it: {listed:?}"))?;
        ensure!(found["services"]["cache"] == "running", "its service goes on: {found}");
    }
    ensure!(stopped.status.success(), "{stopped:?}");
    only_the_uplink(bed)
}

fn disk(bed: &Testbed) -> Result<()> {
    let policy = with_web(bed, "")?;
    let script = "curl -s http://web:8000/fill; exec sleep 600";
    let options = ["--disk", "64MiB"];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", script])?;
    expect_status(&outcome, 123)?;
    expect(
        outcome.stderr.contains("the agent and its services wrote")
            && outcome.stderr.contains("more than their limit of 64MiB"),
        "what was written is told",
        &outcome,
    )?;
    expect(outcome.stdout == "/fill\n", "the service wrote it", &outcome)?;
    only_the_uplink(bed)
}

fn printed(bed: &Testbed) -> Result<()> {
    let script = "echo first; echo second >&2; printf \"third \\\\033]0;x\\\\007\\n\"; exec sleep 600";
    let policy = bed.ringfence.policy_file(&format!(
        "version: 1\nservices:\n  worker: {{image: {}, command: [sh, -c, '{script}']}}\n",
        bed.images.tiny
    ))?;
    let policy = policy.to_str().context("a path of text")?;
    let words = ["sh", "-c", "echo up; exec sleep 600"];
    let detached = Detached::start_of(bed, "printed", &["--policy", policy], &bed.images.tiny, &words)?;
    detached.until_printed("up")?;
    let logs = |words: &[&str]| detached.call(&[&["logs", "--service", "worker"], words].concat());
    let whole = "first\nthird \u{1b}]0;x\u{7}\n";
    let is_whole = || logs(&[&detached.name]).is_ok_and(|said| said.stdout == whole);
    until("the service's output is shown", UP, is_whole)?;
    let said = logs(&[&detached.id])?;
    ensure!(said.status.success() && said.stderr == "second\n", "nothing else is said: {said:?}");
    // On a terminal nothing of it is obeyed.
    let line = format!("{} logs --service worker {}", bed.ringfence.executable().display(), detached.id);
    let mut command = bed.ringfence.behind("sh", ["-c", "exec script -qec \"$1\" /dev/null", "sh", &line]);
    let shown = bounded(&mut command, b"", UP)?;
    ensure!(shown.stdout.contains("third \\u{1b}]0;x") && !shown.stdout.contains('\u{7}'), "{shown:?}");
    let last = logs(&["--tail", "1", &detached.id])?;
    // An engine does not keep the order of two streams.
    ensure!(last.stdout.lines().chain(last.stderr.lines()).count() == 1, "{last:?}");
    // The control: the agent's own output is another.
    let own = detached.call(&["logs", &detached.id])?;
    ensure!(own.stdout == "up\n", "{own:?}");
    let mut following = bed.ringfence.command();
    let mut following =
        following.args(["logs", "-f", "--service", "worker", &detached.id]).stdout(Stdio::piped()).spawn()?;
    let lines = follow(following.stdout.take());
    let heard = until("it is followed", UP, || lines.lock().is_ok_and(|lines| lines.len() == 2));
    let stopped = heard.and_then(|()| detached.stop());
    let ended = wait(&mut following, UP)?;
    following.kill().ok();
    stopped?;
    ensure!(ended.is_some_and(|status| status.success()), "it ends with the service: {ended:?}");
    for word in [&detached.id, &detached.name] {
        let said = logs(&[word])?;
        ensure!(said.stdout == whole && said.stderr == "second\n", "it is kept: {said:?}");
    }
    let other = detached.call(&["logs", "--service", "other", &detached.id])?;
    ensure!(other.status.code() == Some(125) && other.stderr.contains("worker"), "{other:?}");
    only_the_uplink(bed)
}
