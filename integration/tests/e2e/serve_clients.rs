//! `ringfence serve`: compose 1.29, compose 2 and docker-py at the fenced socket.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration::command::{Output, bounded, until};
use integration::testbed::Testbed;

use crate::Test;
use crate::leftovers::only_the_uplink;
use crate::serve::{SOON, Served};

pub(crate) const TESTS: &[Test] = &[
    ("compose 2 brings a project up, leaves it as it is, and takes it down", compose_2),
    ("compose 1.29 brings a project up, leaves it as it is, and takes it down", compose_1),
    ("docker-py runs, asks, copies and is refused in words", docker_py),
];

/// Two services that need each other, a volume and a port.
const PROJECT: &str = r#"
services:
  web:
    image: IMAGE
    command: [python3, -u, -m, http.server, "8000"]
    working_dir: /kept
    volumes: ["kept:/kept"]
    environment: {GREETING: hello}
    ports: ["8000"]
  client:
    image: IMAGE
    command: [sleep, "600"]
    depends_on: [web]
volumes:
  kept: {}
"#;
/// A command of compose ends within this time: it starts containers one after the other.
const LIMIT: Duration = Duration::from_secs(120);

/// One compose in a project's folder, at a socket.
struct Compose<'a> {
    program: &'a Path,
    project: &'a Path,
    served: &'a Served,
}

impl Compose<'_> {
    fn tried(&self, arguments: &[&str]) -> Result<Output> {
        let host = format!("unix://{}", self.served.socket.display());
        let mut command = Command::new(self.program);
        command.current_dir(self.project).env("DOCKER_HOST", host);
        bounded(command.args(["-p", "shop"]).args(arguments), b"", LIMIT)
    }

    fn call(&self, arguments: &[&str]) -> Result<String> {
        let done = self.tried(arguments)?;
        ensure!(done.status.success(), "compose {arguments:?}: {done:?}");
        Ok(done.stdout + &done.stderr)
    }
}

fn compose_1(bed: &Testbed) -> Result<()> {
    project(bed, "compose-1", &bed.images.composes.one)
}

fn compose_2(bed: &Testbed) -> Result<()> {
    project(bed, "compose-2", &bed.images.composes.two)
}

fn project(bed: &Testbed, name: &str, program: &Path) -> Result<()> {
    let served = Served::start(bed, name, &["a.test"], None)?;
    let folder = bed.directory.path().join(name);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("docker-compose.yml"), PROJECT.replace("IMAGE", &bed.images.agent))?;
    let compose = Compose { program, project: &folder, served: &served };
    compose.call(&["up", "-d"])?;
    let there = || served.docker(&["ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.State}}"]);
    let first = there()?;
    ensure!(first.lines().count() == 2 && first.lines().all(|line| line.ends_with("running")), "{first}");
    let again = compose.call(&["up", "-d"])?;
    ensure!(there()? == first && !again.contains("ecreat"), "nothing is made again: {again}");
    let fetch = |url: &str| compose.tried(&["exec", "-T", "client", "curl", "-sS", url]);
    let is_found = || fetch("http://web:8000/").is_ok_and(|page| page.stdout.contains("Directory listing"));
    until("a service is found by its name", SOON, is_found)?;
    ensure!(fetch("https://a.test/")?.stdout.trim() == "a.test /", "a permitted name is reached");
    let other = fetch("https://b.test/")?;
    ensure!(other.status.code() == Some(6), "another is not: {other:?}");
    let port = compose.call(&["port", "web", "8000"])?;
    let port: SocketAddr = port.trim().parse().with_context(|| port.clone())?;
    ensure!(port.ip().is_loopback(), "{port}");
    TcpStream::connect_timeout(&port, Duration::from_secs(5)).context("its port is served")?;
    ensure!(compose.call(&["logs", "web"])?.contains("GET / HTTP/1.1"), "its log");
    let told = compose.call(&["run", "--rm", "-T", "web", "sh", "-c", "echo $GREETING; ls -d /kept"])?;
    ensure!(told.contains("hello\n/kept"), "a run of its own: {told}");
    compose.call(&["restart", "-t", "1", "web"])?;
    until("the service is there again", SOON, is_found)?;
    compose.call(&["down", "-v", "-t", "1"])?;
    ensure!(there()?.is_empty(), "no container is left");
    let volumes = served.docker(&["volume", "ls", "--quiet"])?;
    let networks = served.docker(&["network", "ls", "--format", "{{.Name}}"])?;
    ensure!(!volumes.contains("shop") && !networks.contains("shop"), "{volumes}{networks}");
    served.end()?;
    only_the_uplink(bed)
}

/// Script as an author of a test framework writes it.
const SCRIPT: &str = r#"
import docker, sys, tarfile, io
image = sys.argv[1]
client = docker.from_env()
assert client.ping()
assert client.containers.run(image, ["echo", "out"], remove=True) == b"out\n"
try:
    client.containers.run(image, ["sh", "-c", "echo no >&2; exit 4"], remove=True)
    raise SystemExit("a failure passed")
except docker.errors.ContainerError as error:
    assert error.exit_status == 4 and b"no" in error.stderr, error
network = client.networks.create("pynet", driver="bridge")
web = client.containers.run(image, ["python3", "-m", "http.server", "8000"], name="pyweb", network="pynet",
                            detach=True, ports={"8000/tcp": None}, labels={"mine": "yes"})
code, page = web.exec_run(["curl", "-s", "--retry", "20", "--retry-connrefused", "http://pyweb:8000/"])
assert code == 0 and b"Directory listing" in page, (code, page)
code, _ = web.exec_run(["curl", "-s", "https://b.test/"])
assert code == 6, code
web.reload()
assert web.status == "running" and web.labels == {"mine": "yes"}, (web.status, web.labels)
assert web.ports["8000/tcp"][0]["HostIp"] == "127.0.0.1", web.ports
assert [c.name for c in client.containers.list(filters={"label": "mine=yes"})] == ["pyweb"]
assert b"GET" in web.logs(stderr=True)
assert web.stats(stream=False)["memory_stats"]["usage"] > 0
assert web.top()["Processes"]
web.stop(timeout=1)
filled = client.containers.create(image, ["cat", "/given.txt"])
tar = io.BytesIO()
with tarfile.open(fileobj=tar, mode="w") as archive:
    entry = tarfile.TarInfo("given.txt"); entry.size = 6
    archive.addfile(entry, io.BytesIO(b"given\n"))
assert filled.put_archive("/", tar.getvalue())
filled.start()
assert filled.wait()["StatusCode"] == 0 and filled.logs() == b"given\n"
for what, status, words in [
    (lambda: client.containers.run(image, "true", privileged=True), 400, "rivileged"),
    (lambda: client.containers.run(image, "true", network_mode="host"), 400, "etwork"),
    (lambda: client.containers.run(image, "true", volumes={"/etc": {"bind": "/x"}}), 400, "/etc"),
    (lambda: client.containers.run(image, "true", devices=["/dev/kmsg"]), 400, "evices"),
    (lambda: client.images.build(fileobj=io.BytesIO(b"FROM scratch\n")), 403, "build"),
    (lambda: client.swarm.init(), 403, "swarm"),
    (lambda: client.containers.get("ringfence"), 404, "No such container"),
]:
    try:
        what()
        raise SystemExit("passed: " + words)
    except docker.errors.APIError as error:
        assert error.status_code == status and words in error.explanation, (words, error.status_code, error)
filled.remove(); web.remove(); network.remove()
assert client.containers.list(all=True) == []
print("all of it")
"#;

fn docker_py(bed: &Testbed) -> Result<()> {
    let served = Served::start(bed, "docker-py", &[], None)?;
    let host = format!("unix://{}", served.socket.display());
    // Debian's own: docker-py is among its packages.
    let mut python = Command::new("/usr/bin/python3");
    let done = bounded(python.args(["-c", SCRIPT, &bed.images.agent]).env("DOCKER_HOST", host), b"", LIMIT)?;
    if done.stdout.trim() != "all of it" {
        bail!("{}\n{}\n{}", done.status, done.stdout, done.stderr);
    }
    served.end()?;
    only_the_uplink(bed)
}
