//! `ringfence serve`: Docker's own client at the fenced socket.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration::command::{Output, bounded, until};
use integration::testbed::Testbed;
use integration::testbed::engine::variants::Product;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::leftovers::only_the_uplink;
use crate::refused::escapes;
use crate::{Test, attempts, skip};

pub(crate) const TESTS: &[Test] = &[
    ("a container of docker's client is in a fence, whatever it asks for", fenced),
    ("run, exec, logs, attach, cp and rm work as at the engine's socket", daily_work),
    ("containers of a network share names and a localhost, and no others do", groups),
    ("a published port is served on loopback", ports),
    ("a killed serve opens nothing, and the next one finds everything", killed),
];

/// A command ends within this time.
const LIMIT: Duration = Duration::from_secs(60);
/// A condition comes within this time.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A `ringfence serve` that goes on.
pub(crate) struct Served {
    child: Child,
    pub(crate) socket: PathBuf,
    log: PathBuf,
}

impl Served {
    /// Starts one, and waits until it answers.
    pub(crate) fn start(
        bed: &Testbed,
        name: &str,
        allowed: &[&str],
        project: Option<&Path>,
    ) -> Result<Served> {
        let project = project.map(|project| project.to_string_lossy().into_owned());
        let words: Vec<&str> = project.iter().flat_map(|project| ["--project", project.as_str()]).collect();
        Served::start_allowing(bed, name, allowed, &words)
    }

    /// Starts one with further words, whose policy permits nothing.
    pub(crate) fn start_with(bed: &Testbed, name: &str, words: &[&str]) -> Result<Served> {
        Served::start_allowing(bed, name, &[], words)
    }

    fn start_allowing(bed: &Testbed, name: &str, allowed: &[&str], words: &[&str]) -> Result<Served> {
        let socket = bed.directory.path().join(format!("{name}.sock"));
        let named = socket.to_string_lossy().into_owned();
        let words = [&["--socket", &named], words].concat();
        let mut command = bed.ringfence.command();
        command.stdin(Stdio::null());
        let served = Served::spawn(bed, command, socket, allowed, &words)?;
        let up = until("the socket answers", SOON, || {
            served.get("/_ping").is_ok_and(|answer| answer.ends_with("OK"))
        });
        up.with_context(|| served.said())?;
        Ok(served)
    }

    /// Starts one by a command that lacks its arguments, and does not wait for it.
    pub(crate) fn spawn(
        bed: &Testbed,
        mut command: Command,
        socket: PathBuf,
        allowed: &[&str],
        words: &[&str],
    ) -> Result<Served> {
        if bed.engine.product() == Product::Podman {
            skip("ringfence serves with Docker only")?;
        }
        let log = socket.with_extension("log");
        command.args(["serve", "--accept-known-holes", "--memory", "256MiB"]);
        command.arg("--policy").arg(bed.ringfence.allowing(allowed)?).args(words);
        let child = command.stdout(Stdio::null()).stderr(fs::File::create(&log)?).spawn()?;
        Ok(Served { child, socket, log })
    }

    /// Kills it as nothing can be prepared for.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until it has ended by itself; its exit status.
    pub(crate) fn ended(&mut self) -> Result<Option<i32>> {
        let child = &mut self.child;
        until("serve ends", SOON, || matches!(child.try_wait(), Ok(Some(_))))?;
        Ok(self.child.wait()?.code())
    }

    /// Returns what it said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Runs docker's client, however it ends.
    pub(crate) fn try_docker(&self, arguments: &[&str]) -> Result<Output> {
        self.with_input(arguments, b"")
    }

    fn with_input(&self, arguments: &[&str], input: &[u8]) -> Result<Output> {
        let host = format!("unix://{}", self.socket.display());
        let mut command = Command::new("docker");
        bounded(command.args(["-H", &host]).args(arguments).env("DOCKER_BUILDKIT", "0"), input, LIMIT)
    }

    /// Runs docker's client; its output.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Result<String> {
        let done = self.try_docker(arguments)?;
        if !done.status.success() {
            bail!(
                "docker {arguments:?}: {}\n{}\n{}\nserve: {}",
                done.status,
                done.stdout,
                done.stderr,
                self.said()
            );
        }
        Ok(done.stdout)
    }

    /// Sends bytes; everything that is answered.
    pub(crate) fn raw(&self, request: &[u8]) -> Result<String> {
        raw(&self.socket, request)
    }

    pub(crate) fn get(&self, path: &str) -> Result<String> {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").as_bytes())
    }

    pub(crate) fn post(&self, path: &str, kind: &str, body: &str) -> Result<String> {
        self.raw(&post(path, kind, body))
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn end(mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGINT)?;
        self.ended().map(drop)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(crate) fn raw(socket: &Path, request: &[u8]) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(SOON))?;
    // A refusal may come, and the connection go, before the whole request was read.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

pub(crate) fn post(path: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn fenced(bed: &Testbed) -> Result<()> {
    let served = Served::start(bed, "fenced", &["a.test"], None)?;
    let gateway = bed.engine.gateway("bridge")?.to_string();
    let list = escapes(&gateway);
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let command = attempts(&list);
    for network in
        [&[][..], &["--network", "bridge"], &["--network", "none"], &["--label", "dev.example.fence=off"]]
    {
        let mut words = [&["run", "--rm"], network, &[bed.images.agent.as_str()]].concat();
        words.extend(command.iter().map(String::as_str));
        let printed = served.docker(&words)?;
        ensure!(!printed.is_empty() && !printed.contains("\"ok\":true,\"detail\":{\"from\""), "{printed}");
    }
    let fetch = ["curl", "-sS", "https://a.test/"];
    let page = served.docker(&[&["run", "--rm", &bed.images.agent], &fetch[..]].concat())?;
    ensure!(page.trim() == "a.test /", "a permitted name is reached: {page}");
    let other = served.try_docker(&["run", "--rm", &bed.images.agent, "curl", "-sS", "https://b.test/"])?;
    ensure!(other.status.code() == Some(6), "another is not: {other:?}");
    let none = served.try_docker(&[
        "run",
        "--rm",
        "--network",
        "none",
        &bed.images.agent,
        "curl",
        "-sS",
        "https://a.test/",
    ])?;
    ensure!(none.status.code() == Some(6), "a container without a network reaches nothing: {none:?}");
    served.end()?;
    only_the_uplink(bed)
}

fn daily_work(bed: &Testbed) -> Result<()> {
    let served = Served::start(bed, "daily", &[], None)?;
    let image = bed.images.agent.as_str();
    let echoed = served.with_input(&["run", "--rm", "-i", image, "cat"], &vec![b'x'; 3 << 20])?;
    ensure!(
        echoed.status.success() && echoed.bytes.len() == 3 << 20,
        "3 MiB through: {}",
        echoed.bytes.len()
    );
    let ended = served.try_docker(&[
        "run",
        "--name",
        "ended",
        image,
        "sh",
        "-c",
        "echo out; echo err >&2; exit 7",
    ])?;
    ensure!(
        (ended.status.code(), ended.stdout.as_str(), ended.stderr.as_str()) == (Some(7), "out\n", "err\n"),
        "{ended:?}"
    );
    ensure!(served.docker(&["logs", "ended"])?.contains("out"), "its output stays");
    let copied = served.docker(&["cp", "ended:/etc/hostname", "-"])?;
    ensure!(copied.contains("hostname"), "a file comes out of one that ended");
    let id = served.docker(&["create", "--name", "filled", image, "cat", "/data.txt"])?;
    let file = bed.directory.path().join("data.txt");
    fs::write(&file, "carried in\n")?;
    served.docker(&["cp", &file.to_string_lossy(), "filled:/data.txt"])?;
    ensure!(
        served.docker(&["start", "--attach", &id[..12]])? == "carried in\n",
        "a file goes into a new one"
    );
    let again = served.try_docker(&["run", "--name", "filled", image, "true"])?;
    ensure!(again.status.code() == Some(125) && again.stderr.contains("already in use"), "{again:?}");
    served.docker(&[
        "run",
        "--detach",
        "--name",
        "long",
        image,
        "sh",
        "-c",
        "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done",
    ])?;
    ensure!(served.docker(&["exec", "long", "echo", "inside"])? == "inside\n", "exec");
    let failing = served.try_docker(&["exec", "long", "sh", "-c", "exit 9"])?;
    ensure!(failing.status.code() == Some(9), "the status of an exec: {failing:?}");
    let input = served.with_input(&["exec", "-i", "long", "cat"], b"typed")?;
    ensure!(input.stdout == "typed", "exec -i: {input:?}");
    let listed = served.docker(&["ps", "--all", "--format", "{{.Names}} {{.State}}"])?;
    ensure!(listed == "long running\nfilled exited\nended exited\n", "{listed}");
    let named = served.docker(&["ps", "--filter", "name=^/long$", "--format", "{{.Names}}"])?;
    ensure!(named == "long\n", "{named}");
    let format = "{{.Name}} {{.Config.Image}} {{.HostConfig.NetworkMode}} {{json .Config.Labels}}";
    let shown = served.docker(&["inspect", "--format", format, "long"])?;
    ensure!(shown.trim() == format!("/long {image} default {{}}"), "{shown}");
    served.docker(&["stop", "long"])?;
    ensure!(served.docker(&["wait", "long"])? == "3\n", "its status");
    served.docker(&["rm", "long", "filled", "ended"])?;
    ensure!(served.docker(&["ps", "--all", "--quiet"])?.is_empty(), "nothing is left");
    served.end()?;
    only_the_uplink(bed)
}

fn groups(bed: &Testbed) -> Result<()> {
    let served = Served::start(bed, "groups", &[], None)?;
    let image = bed.images.agent.as_str();
    served.docker(&["network", "create", "shop"])?;
    served.docker(&[
        "run",
        "--detach",
        "--name",
        "web",
        "--network",
        "shop",
        "--network-alias",
        "front",
        image,
        "python3",
        "-m",
        "http.server",
        "8000",
    ])?;
    let fetch = "for name in web front localhost; do curl -s --retry 20 --retry-connrefused --retry-delay 1 -o /dev/null -w '%{http_code} ' http://$name:8000/; done";
    let printed = served.docker(&["run", "--rm", "--network", "shop", image, "sh", "-c", fetch])?;
    ensure!(printed == "200 200 200 ", "{printed}");
    let alone = served.try_docker(&["run", "--rm", image, "curl", "-s", "http://web:8000/"])?;
    ensure!(alone.status.code() == Some(6), "another container knows no such name: {alone:?}");
    let alone = served.try_docker(&["run", "--rm", image, "curl", "-s", "http://localhost:8000/"])?;
    ensure!(alone.status.code() == Some(7), "nor does it share a localhost: {alone:?}");
    let shown = served.docker(&[
        "network",
        "inspect",
        "--format",
        "{{range .Containers}}{{.Name}} {{end}}",
        "shop",
    ])?;
    ensure!(shown.trim() == "web", "{shown}");
    let bare = bed.engine.docker(&["network", "ls", "--format", "{{.Name}}"])?;
    ensure!(!bare.contains("shop"), "no bridge is made");
    served.docker(&["rm", "--force", "web"])?;
    served.docker(&["network", "rm", "shop"])?;
    served.end()?;
    only_the_uplink(bed)
}

fn ports(bed: &Testbed) -> Result<()> {
    let served = Served::start(bed, "ports", &[], None)?;
    let image = bed.images.agent.as_str();
    served.docker(&[
        "run",
        "--detach",
        "--name",
        "web",
        "-p",
        "8000",
        image,
        "python3",
        "-m",
        "http.server",
        "8000",
    ])?;
    let port = served.docker(&["port", "web", "8000"])?;
    let port: SocketAddr = port.lines().next().unwrap_or_default().parse().with_context(|| port.clone())?;
    ensure!(port.ip().is_loopback(), "{port}");
    let answers = || {
        let mut stream = TcpStream::connect_timeout(&port, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    until("the port answers", SOON, || answers().is_ok_and(|answer| answer.contains("200 OK")))?;
    let gateway = bed.engine.gateway("bridge")?;
    let elsewhere =
        TcpStream::connect_timeout(&SocketAddr::from((gateway, port.port())), Duration::from_secs(2));
    ensure!(elsewhere.is_err(), "it is served on loopback alone");
    let taken = served.try_docker(&["run", "--rm", "-p", &format!("{}:80", port.port()), image, "true"])?;
    ensure!(
        taken.status.code() == Some(125) && taken.stderr.contains("port is already allocated"),
        "{taken:?}"
    );
    served.docker(&["container", "prune", "--force"])?;
    served.docker(&["kill", "web"])?;
    until("the port is closed", SOON, || TcpStream::connect(port).is_err())?;
    served.docker(&["rm", "--force", "web"])?;
    served.end()?;
    only_the_uplink(bed)
}

fn killed(bed: &Testbed) -> Result<()> {
    let mut served = Served::start(bed, "killed", &["a.test"], None)?;
    let image = bed.images.agent.as_str();
    let script = "echo up; while :; do sleep 0.2; done";
    served.docker(&[
        "run",
        "--detach",
        "--name",
        "stays",
        "--hostname",
        "known",
        "-p",
        "8000",
        image,
        "sh",
        "-c",
        script,
    ])?;
    served.docker(&["create", "--name", "waits", image, "true"])?;
    served.kill()?;
    let inside =
        bed.engine.docker(&["ps", "--filter", "label=dev.ringfence.role=member", "--format", "{{.ID}}"])?;
    let exec = |words: &[&str]| bed.engine.try_docker(&[&["exec", inside.trim()], words].concat());
    ensure!(exec(&["curl", "-sS", "https://a.test/"])?.status.success(), "it goes on under its guard");
    let gateway = bed.engine.gateway("bridge")?.to_string();
    let list = escapes(&gateway);
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let command = attempts(&list);
    exec(&command.iter().map(String::as_str).collect::<Vec<_>>())?;
    ensure!(bed.ringfence.call(&["gc"])?.status.success(), "gc");
    drop(served);
    let served = Served::start(bed, "killed", &["a.test"], None)?;
    let listed = served.docker(&["ps", "--all", "--format", "{{.Names}} {{.State}}"])?;
    ensure!(listed == "waits created\nstays running\n", "{listed}");
    ensure!(
        served.docker(&["exec", "stays", "sh", "-c", "getent hosts known >/dev/null && echo inside"])?
            == "inside\n",
        "exec and names"
    );
    ensure!(served.docker(&["port", "stays"])?.contains("127.0.0.1:"), "its port is served again");
    served.docker(&["start", "--attach", "waits"])?;
    served.docker(&["rm", "--force", "stays", "waits"])?;
    served.end()?;
    only_the_uplink(bed)
}
