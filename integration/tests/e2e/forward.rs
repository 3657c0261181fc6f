//! Ports of the agent on the person's loopback: `ringfence forward` and `run -p`.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::command::{until, wait};
use integration::ringfence::Running;
use integration::testbed::Testbed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tungstenite::Message;

use crate::leftovers::only_the_uplink;
use crate::neighbours::ways_in;
use crate::{Test, expect, expect_status, failing};

pub(crate) const TESTS: &[Test] = &[
    ("a server of the agent is reached by a forward alone, and the log says so", by_forward_alone),
    ("a sign-in calls back, and a page reloads while it is changed", callback_and_reload),
    ("each direction ends by itself, and a reset is no end", ends),
    ("two hundred connections at once, and two thousand one after the other", many),
    ("a reader that stands still holds up its own server alone, and no memory grows", stalled),
    ("a run publishes ports once its fence stands, and gives the last bytes of its agent", published),
    ("whatever the agent listens on is forwarded, and let go", automatic),
    ("a forward that is interrupted or killed leaves no helper, and the run's end ends it", over),
];

const SERVERS: &str = include_str!("scripts/servers.py");
const SOON: Duration = Duration::from_secs(30);

/// Starts an agent with its servers.
fn agent(bed: &Testbed, options: &[&str]) -> Result<Running> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let mut running =
        bed.ringfence.start(&policy, options, &bed.images.agent, &["python3", "-u", "-c", SERVERS])?;
    running.wait_for_line("servers are up", Duration::from_secs(60))?;
    Ok(running)
}

/// A `ringfence forward` that goes on.
struct Forward {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
    /// Ports of this machine, in the order in which they were asked for.
    ports: Vec<u16>,
}

impl Forward {
    /// Forwards the agent's ports to ports that are chosen, and waits until they are open.
    fn start(bed: &Testbed, run: &str, agents: &[u16]) -> Result<Forward> {
        let words: Vec<String> = agents.iter().map(|port| format!("0:{port}")).collect();
        let mut command = bed.ringfence.command();
        command.args(["forward", run]).args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.stdin(Stdio::null()).spawn()?;
        let said = BufReader::new(child.stdout.take().context("stdout")?);
        let mut forward = Forward { child, said, ports: Vec::new() };
        for agent in agents {
            let line = forward.line()?;
            let port =
                line.strip_prefix("localhost:").and_then(|rest| rest.strip_suffix(&format!(" -> {agent}")));
            let Some(port) = port.and_then(|port| port.parse().ok()) else {
                let mut complaint = String::new();
                forward.child.kill().ok();
                forward.child.stderr.take().context("stderr")?.read_to_string(&mut complaint)?;
                anyhow::bail!("the forward says {line:?}: {complaint}");
            };
            forward.ports.push(port);
        }
        Ok(forward)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn connect(&self, which: usize) -> Result<TcpStream> {
        connect(*self.ports.get(which).context("no such port")?)
    }

    /// Sends a signal and waits for the end; the exit status, or the signal's negative number.
    fn end(mut self, signal: Signal) -> Result<(i32, String)> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?;
        self.ended()
    }

    fn ended(&mut self) -> Result<(i32, String)> {
        let status = wait(&mut self.child, SOON)?.context("the forward goes on")?;
        let mut complaint = String::new();
        self.child.stderr.take().context("stderr")?.read_to_string(&mut complaint)?;
        Ok((status.code().unwrap_or_else(|| -status.signal().unwrap_or_default()), complaint))
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Connects to a port of this machine.
fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SOON)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.set_write_timeout(Some(SOON))?;
    Ok(stream)
}

/// Asks for a page; the whole answer.
fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = connect(port)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Gives the agent's servers an order; the answer.
fn order(stream: &TcpStream, words: &str) -> Result<String> {
    let mut stream = stream;
    writeln!(stream, "{words}")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

/// The processes of forwards in the fence of the agent that runs.
fn helpers(bed: &Testbed) -> Result<Vec<u32>> {
    let fence = failing::container(bed, "fence")?;
    let main = bed.engine.docker(&["inspect", "--format", "{{.State.Pid}}", fence.trim()])?;
    let namespace = std::fs::read_link(format!("/proc/{}/ns/net", main.trim()))?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if words == b"/usr/bin/ringfence\0fence\0forward\0"
            && std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|link| link == namespace)
        {
            found.push(pid);
        }
    }
    Ok(found)
}

fn no_helper_is_left(bed: &Testbed) -> Result<()> {
    until("the helper is gone", Duration::from_secs(15), || helpers(bed).is_ok_and(|found| found.is_empty()))
}

/// A line of the kernel's words about a process.
fn status_of(pid: u32, field: &str) -> Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
    Ok(line.trim_start_matches(':').trim().to_owned())
}

/// Memory of a process, in bytes.
fn memory(pid: u32) -> Result<u64> {
    let kib = status_of(pid, "VmRSS")?;
    Ok(kib.trim_end_matches(" kB").trim().parse::<u64>()? << 10)
}

fn by_forward_alone(bed: &Testbed) -> Result<()> {
    // A run without any network is reached all the same: it is this machine that asks.
    let running = agent(bed, &["--network", "denied"])?;
    let ways = ways_in(bed)?;
    let direct = || {
        ways.iter().any(|(_, address)| {
            let to = address.parse::<Ipv4Addr>().map(|address| SocketAddr::from((address, 8000)));
            to.is_ok_and(|to| TcpStream::connect_timeout(&to, Duration::from_secs(1)).is_ok())
        })
    };
    ensure!(!direct(), "without a forward");
    let forward = Forward::start(bed, &running.name, &[8000, 8001])?;
    let answer = get(forward.ports[0], "/")?;
    ensure!(answer.ends_with("hello of the agent"), "the control: it is reached: {answer:?}");
    ensure!(!direct(), "beside the forward");
    // A network that is cut is the agent's way out, not this way in.
    let cut = bed.ringfence.call(&["net", &running.name, "cut"])?;
    ensure!(cut.status.success(), "{cut:?}");
    ensure!(get(forward.ports[0], "/")?.ends_with("hello of the agent"), "under cut");
    // Nor by another container, at the address by which it finds this machine.
    let gateway = bed.engine.gateway("bridge")?;
    let probe = format!("{gateway}:{}", forward.ports[0]);
    let said = bed.engine.docker(&["run", "--rm", &bed.images.agent, "probe", "tcp", &probe])?;
    ensure!(!said.contains("\"ok\":true"), "another container: {said}");

    let found = helpers(bed)?;
    let [helper] = found[..] else { anyhow::bail!("one helper: {found:?}") };
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        ensure!(status_of(helper, set)?.bytes().all(|digit| digit == b'0'), "{set} of the helper");
    }
    ensure!(status_of(helper, "Uid")?.split_whitespace().all(|uid| uid == "65531"), "the helper's user");
    ensure!(status_of(helper, "NoNewPrivs")? == "1", "new privileges");
    // A port on which nobody listens is no port that hears.
    let nobody = Forward::start(bed, &running.name, &[9])?;
    let mut stream = nobody.connect(0)?;
    let heard = stream.read(&mut [0; 9]).map_err(|error| error.kind());
    ensure!(heard == Err(ErrorKind::ConnectionReset), "nobody listens: {heard:?}");
    drop((stream, nobody));

    drop(forward);
    bed.ringfence.call(&["stop", &running.name])?;
    let outcome = running.finish(SOON)?;
    let words = outcome.event(&[("kind", "lifecycle"), ("reason", "forward")]).context("no event")?["what"]
        .to_string();
    ensure!(words.contains("localhost:") && words.contains("the agent's port 8000, for "), "{words}");
    ensure!(!outcome.events.iter().any(|event| event["verdict"] == "deny"), "a refusal: {}", outcome.shown());
    Ok(())
}

fn callback_and_reload(bed: &Testbed) -> Result<()> {
    let project = bed.fresh_directory("reload")?;
    std::fs::write(project.join("page"), "first\n")?;
    let options = ["--project", project.to_str().context("a path of text")?];
    let mut running = agent(bed, &options)?;
    let forward = Forward::start(bed, &running.name, &[1455, 8006])?;
    let answer = get(forward.ports[0], "/auth/callback?code=4711&state=x")?;
    ensure!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
    running.wait_for_line("called back: /auth/callback?code=4711&state=x", SOON)?;

    reload(forward.connect(1)?, &project)?;
    drop(forward);
    failing::end(bed, running)
}

/// A page in a browser: it hears of each change, and is heard.
fn reload(stream: TcpStream, project: &Path) -> Result<()> {
    let (mut socket, _) = tungstenite::client("ws://localhost/hot", stream)?;
    let mut next = || Ok::<_, anyhow::Error>(socket.read()?.into_text()?.to_string());
    ensure!(next()? == "ready");
    for round in 0..20 {
        std::fs::write(project.join("page.new"), format!("page {round}\n"))?;
        std::fs::rename(project.join("page.new"), project.join("page"))?;
        ensure!(next()? == format!("reload page {round}"), "round {round}");
    }
    for round in 0..50 {
        socket.send(Message::text(format!("word {round}")))?;
        let heard = socket.read()?.into_text()?.to_string();
        ensure!(heard == format!("heard word {round}"), "{heard}");
    }
    Ok(())
}

fn ends(bed: &Testbed) -> Result<()> {
    let running = agent(bed, &[])?;
    let forward = Forward::start(bed, &running.name, &[8001, 8003])?;
    // The server speaks on after this side has ended.
    let mut stream = forward.connect(0)?;
    let large: Vec<u8> = (0..8_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let (mut writer, sent) = (stream.try_clone()?, large.clone());
    let writing = std::thread::spawn(move || -> std::io::Result<()> {
        writer.write_all(&sent)?;
        writer.shutdown(Shutdown::Write)
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    writing.join().ok().context("the writer")??;
    let bye = back.split_off(large.len().min(back.len()));
    ensure!(back == large, "{} of {} bytes came back", back.len(), large.len());
    ensure!(bye == b"bye 8000000", "{:?}", String::from_utf8_lossy(&bye));
    // A server that resets is told from one that ends.
    let mut stream = forward.connect(1)?;
    stream.write_all(b"x")?;
    let heard = stream.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
    ensure!(heard == Err(ErrorKind::ConnectionReset), "{heard:?}");
    drop(forward);
    failing::end(bed, running)
}

/// Says something to the echo, and hears it.
fn talk(port: u16, words: &[u8]) -> Result<()> {
    let mut stream = connect(port)?;
    stream.write_all(words)?;
    stream.shutdown(Shutdown::Write)?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    ensure!(back.starts_with(words) && back.ends_with(format!("bye {}", words.len()).as_bytes()), "{back:?}");
    Ok(())
}

fn many(bed: &Testbed) -> Result<()> {
    let running = agent(bed, &[])?;
    let forward = Forward::start(bed, &running.name, &[8001])?;
    let mut streams = (0..200).map(|_| forward.connect(0)).collect::<Result<Vec<_>>>()?;
    for round in 0_u8..3 {
        for stream in &mut streams {
            stream.write_all(&[round; 100])?;
        }
        for stream in &mut streams {
            let mut back = [0; 100];
            stream.read_exact(&mut back)?;
            ensure!(back == [round; 100], "round {round}");
        }
    }
    // With all places taken another one waits until one is free.
    let rest = (200..255).map(|_| forward.connect(0)).collect::<Result<Vec<_>>>()?;
    let port = forward.ports[0];
    let waiting = std::thread::spawn(move || talk(port, b"after the others"));
    drop((streams, rest));
    waiting.join().ok().context("the one who waits")??;

    let began = Instant::now();
    let talking: Vec<_> = (0..20_usize)
        .map(|thread| {
            std::thread::spawn(move || {
                (0..100).try_for_each(|turn| talk(port, &vec![7; thread * 100 + turn]))
            })
        })
        .collect();
    for thread in talking {
        thread.join().ok().context("a thread")??;
    }
    eprintln!("forward: two thousand connections in {:?}", began.elapsed());
    drop(forward);
    failing::end(bed, running)
}

fn stalled(bed: &Testbed) -> Result<()> {
    let running = agent(bed, &[])?;
    let forward = Forward::start(bed, &running.name, &[8001, 8002, 8004, 8005])?;
    let found = helpers(bed)?;
    let [helper] = found[..] else { anyhow::bail!("one helper: {found:?}") };
    talk(forward.ports[0], b"warm")?;
    let before = (memory(forward.child.id())?, memory(helper)?);

    // Nobody reads what the agent sends without end, nor what the person sends.
    let unread = (0..4).map(|_| forward.connect(1)).collect::<Result<Vec<_>>>()?;
    let orders = forward.connect(3)?;
    let (mut last, mut same) = (String::new(), 0);
    until("the agent's senders wait", SOON, || {
        std::thread::sleep(Duration::from_millis(300));
        let now = order(&orders, "taken").unwrap_or_default();
        let is_same = std::mem::replace(&mut last, now.clone()) == now && !matches!(&*now, "" | "0");
        // Under load a sender may rest for one look.
        same = if is_same { same + 1 } else { 0 };
        same == 5
    })?;
    let taken: u64 = last.parse()?;
    ensure!(taken < 48 << 20, "{taken} bytes of the agent's are held somewhere");
    let mut deaf = forward.connect(2)?;
    deaf.set_write_timeout(Some(Duration::from_secs(2)))?;
    let mut given = 0_u64;
    while let Ok(count) = deaf.write(&[0; 65536]) {
        given += u64::try_from(count)?;
        ensure!(given < 64 << 20, "{given} bytes of the person's are held somewhere");
    }
    // Meanwhile 200 MB pass beside them.
    let piece: Vec<u8> = vec![5; 1 << 20];
    let (mut writer, mut reader) = (forward.connect(0)?, None);
    reader.replace(writer.try_clone()?);
    let writing = std::thread::spawn(move || -> std::io::Result<()> {
        (0..200).try_for_each(|_| writer.write_all(&piece))?;
        writer.shutdown(Shutdown::Write)
    });
    let passed = std::io::copy(&mut reader.context("the reader")?, &mut std::io::sink())?;
    writing.join().ok().context("the writer")??;
    ensure!(passed == (200 << 20) + "bye 209715200".len() as u64, "{passed}");
    let after = (memory(forward.child.id())?, memory(helper)?);
    eprintln!("forward: memory {before:?} before, {after:?} with {taken} and {given} bytes waiting");
    ensure!(after.0 < before.0 + (24 << 20) && after.1 < before.1 + (24 << 20), "{before:?} {after:?}");
    ensure!(order(&orders, "taken")?.parse::<u64>()? == taken, "they still wait");
    drop((unread, forward));
    failing::end(bed, running)
}

/// An agent that answers once, and ends with its last byte.
const ONE_ANSWER: &str = "\
import socket
server = socket.create_server(('127.0.0.1', 8000))
print('up', flush=True)
connection, _ = server.accept()
connection.sendall(bytes(1 << 20))
connection.close()
";

/// The port of this machine that leads to one of the agent's, by the log.
fn published_port(bed: &Testbed, run: &str, agent: u16) -> Result<u16> {
    let log = bed.ringfence.call(&["events", run, "--json"])?;
    let place = log
        .stdout
        .split(&format!(" to the agent's port {agent},"))
        .next()
        .filter(|rest| rest.len() < log.stdout.len());
    let port =
        place.and_then(|place| place.rsplit("localhost:").next()).with_context(|| format!("{log:?}"))?;
    Ok(port.parse()?)
}

fn published(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let options = ["-p", "0:8000", "--publish", "127.0.0.1:0:9"];
    let mut running =
        bed.ringfence.start(&policy, &options, &bed.images.agent, &["python3", "-u", "-c", ONE_ANSWER])?;
    running.wait_for_line("up", Duration::from_secs(60))?;
    let mut answer = Vec::new();
    connect(published_port(bed, &running.name, 8000)?)?.read_to_end(&mut answer)?;
    ensure!(answer.len() == 1 << 20, "{} bytes of the last answer", answer.len());
    let outcome = running.finish(SOON)?;
    expect_status(&outcome, 0)?;
    expect(outcome.stderr.contains("leads to port 8000 of the agent"), "it is told", &outcome)?;

    // A port in use is found before anything exists; so is one that nobody may ask for.
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = format!("{}:8000", taken.local_addr()?.port());
    for (asked, words) in
        [(port.as_str(), "0:8000"), ("0.0.0.0:8000:8000", "loopback"), ("65443", "the fence's own")]
    {
        let outcome = bed.ringfence.run(&policy, &["-p", asked], &bed.images.tiny, &["true"])?;
        expect_status(&outcome, 125)?;
        expect(outcome.stderr.contains(words) && outcome.events.is_empty(), asked, &outcome)?;
    }
    only_the_uplink(bed)
}

/// Ports of the agent that the log says are forwarded.
fn noted(bed: &Testbed, run: &str) -> Result<Vec<u16>> {
    let log = bed.ringfence.call(&["events", run, "--json"])?;
    let ports = log.stdout.split(" to the agent's port ").skip(1).filter_map(|rest| rest.split(',').next());
    Ok(ports.filter_map(|port| port.parse().ok()).collect())
}

fn automatic(bed: &Testbed) -> Result<()> {
    let mut running = agent(bed, &["-p", "auto", "-p", "0:8005", "-e", "OTHERS=1"])?;
    let run = running.name.clone();
    let expected = [1455, 8000, 8001, 8002, 8003, 8004, 8005, 8006];
    until("the agent's ports are forwarded", SOON, || {
        noted(bed, &run).is_ok_and(|ports| expected.iter().all(|port| ports.contains(port)))
    })?;
    ensure!(get(published_port(bed, &run, 8000)?, "/")?.ends_with("hello of the agent"));
    // One that comes later, and goes.
    let orders = connect(published_port(bed, &run, 8005)?)?;
    ensure!(order(&orders, "open 5173")? == "done");
    until("a new port is forwarded", SOON, || noted(bed, &run).is_ok_and(|ports| ports.contains(&5173)))?;
    let port = published_port(bed, &run, 5173)?;
    until("it is open", SOON, || get(port, "/").is_ok_and(|page| page.ends_with("hello of the agent")))?;
    ensure!(order(&orders, "close 5173")? == "done");
    until("it is let go", SOON, || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())?;
    // More than there is room for: none of the fence's, none that loopback does not lead to.
    for number in 20_000..20_030 {
        ensure!(order(&orders, &format!("open {number}"))? == "done");
    }
    running.wait_for_complaint("ringfence: the agent listens on more ports", SOON)?;
    let ports = noted(bed, &run)?;
    for (number, port) in ports.iter().enumerate() {
        ensure!(![53, 65053, 65443, 8010].contains(port), "{ports:?}");
        ensure!(!ports[..number].contains(port), "{port} twice: {ports:?}");
    }
    ensure!(ports.len() <= 1 + 17, "{ports:?}");
    failing::end(bed, running)
}

fn over(bed: &Testbed) -> Result<()> {
    let running = agent(bed, &[])?;
    let forward = Forward::start(bed, &running.name, &[8001])?;
    let mut open = forward.connect(0)?;
    open.write_all(b"x")?;
    open.read_exact(&mut [0])?;
    ensure!(helpers(bed)?.len() == 1, "the control: a helper is seen");
    let port = forward.ports[0];
    ensure!(forward.end(Signal::SIGINT)?.0 == 130, "the status of Ctrl-C");
    no_helper_is_left(bed)?;
    ensure!(connect(port).is_err(), "the port after Ctrl-C");
    // The same port again, at once.
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let refused =
        bed.ringfence.call(&["forward", &running.name, &format!("{}:8001", taken.local_addr()?.port())])?;
    ensure!(refused.status.code() == Some(125) && refused.stderr.contains("0:8001"), "{refused:?}");
    ensure!(helpers(bed)?.is_empty(), "a port in use is found before a helper is made");

    let forward = Forward::start(bed, &running.name, &[8001])?;
    ensure!(forward.end(Signal::SIGKILL)?.0 == -9, "killed");
    no_helper_is_left(bed)?;

    let mut forward = Forward::start(bed, &running.name, &[8001])?;
    failing::end(bed, running)?;
    let (status, words) = forward.ended()?;
    ensure!(status == 0 && words.contains("has ended, and the forward with it"), "{status}: {words}");
    Ok(())
}
