//! A start that fails while the engine is still making something leaves nothing. A proxy in front
//! of the engine's socket holds requests up, and goes on with them when ringfence has hung up, as
//! an engine does.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::{Output, bounded, until};
use integration::testbed::Testbed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Test;
use crate::leftovers::only_the_uplink;

pub(crate) const TESTS: &[Test] = &[
    ("a start that fails while the agent is being created", fails_meanwhile),
    ("a start that is interrupted while a volume is being created", interrupted_meanwhile),
    ("an engine whose answer is lost", lost_answer),
    ("a run that is stopped while its own supervisor removes it", stopped_meanwhile),
];

/// The proxy's deed to a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Pass,
    /// Passes it on later, whether anybody waits or not.
    Hold(Duration),
    /// Answers that it failed, once another request was met too.
    Fail,
    /// Answers that the container is being removed.
    Removing,
    /// Passes it on and hangs up.
    Lose,
}

/// A proxy in front of the engine.
struct Proxy {
    path: PathBuf,
    met: Arc<AtomicUsize>,
}

impl Proxy {
    /// `judge` says by the first line of a request what is done to it.
    fn start(bed: &Testbed, name: &str, judge: fn(&str) -> Deed) -> Result<Proxy> {
        let engine = bed.engine.host().strip_prefix("unix://").context("the engine has a socket")?.to_owned();
        let path = bed.fresh_directory("proxies")?.join(name);
        let listener = UnixListener::bind(&path)?;
        let met = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&met);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = UnixStream::connect(&engine) else { continue };
                let counted = Arc::clone(&counted);
                thread::spawn(move || carry(client, server, judge, &counted));
            }
        });
        Ok(Proxy { path, met })
    }

    fn command(&self, bed: &Testbed, policy: &std::path::Path) -> Command {
        let mut command = bed.ringfence.command();
        command.arg("--engine").arg(format!("unix://{}", self.path.display()));
        command.args(["run", "--policy"]).arg(policy).arg(&bed.images.tiny).arg("true");
        command
    }

    fn run(&self, bed: &Testbed) -> Result<Output> {
        let policy = bed.ringfence.allowing(&["a.test"])?;
        bounded(&mut self.command(bed, &policy), b"", Duration::from_secs(120))
    }
}

/// Carries one connection. A client writes the head of a request in one piece.
fn carry(mut client: UnixStream, server: UnixStream, judge: fn(&str) -> Deed, met: &AtomicUsize) {
    let (Ok(mut back), Ok(mut from)) = (client.try_clone(), server.try_clone()) else { return };
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        // Reads to the end, so that the engine does not see a client that hangs up.
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            back.write_all(&buffer[..length]).ok();
        }
        back.shutdown(std::net::Shutdown::Both).ok();
    });
    let mut server = server;
    let mut buffer = [0; 64 << 10];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]);
        let deed = text.lines().next().map_or(Deed::Pass, judge);
        if deed != Deed::Pass {
            met.fetch_add(1, Ordering::SeqCst);
        }
        match deed {
            Deed::Pass => {}
            Deed::Hold(time) => thread::sleep(time),
            Deed::Fail => {
                until("another is met", Duration::from_secs(10), || met.load(Ordering::SeqCst) >= 2).ok();
                return refuse(&mut client, "500 Fail", "the proxy fails it");
            }
            Deed::Removing => {
                // The words of Docker 20.10 to 28.
                let words = "can not get logs from container which is dead or marked for removal";
                return refuse(&mut client, "409 Conflict", words);
            }
            Deed::Lose => {
                client.shutdown(std::net::Shutdown::Both).ok();
                server.write_all(&buffer[..length]).ok();
                thread::sleep(Duration::from_secs(1));
                return;
            }
        }
        if server.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
    // An engine goes on with what it was asked for.
    thread::sleep(Duration::from_secs(5));
}

fn refuse(client: &mut UnixStream, status: &str, message: &str) {
    let body = format!(r#"{{"message":"{message}"}}"#);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    client.write_all((head + &body).as_bytes()).ok();
    client.shutdown(std::net::Shutdown::Both).ok();
}

fn creates(line: &str, kind: &str, role: &str) -> bool {
    line.starts_with("POST ") && line.contains(&format!("/{kind}/create")) && line.contains(role)
}

fn fails_meanwhile(bed: &Testbed) -> Result<()> {
    let proxy = Proxy::start(bed, "fails.sock", |line| {
        if creates(line, "containers", "-agent") {
            Deed::Hold(Duration::from_secs(4))
        } else if line.starts_with("POST ") && line.contains("-fence/start") {
            Deed::Fail
        } else {
            Deed::Pass
        }
    })?;
    let output = proxy.run(bed)?;
    ensure!(output.status.code() == Some(125), "{output:?}");
    ensure!(output.stderr.contains("the proxy fails it"), "{output:?}");
    ensure!(proxy.met.load(Ordering::SeqCst) >= 2, "both were met: {output:?}");
    // The held request would have been carried out by now.
    thread::sleep(Duration::from_secs(4));
    only_the_uplink(bed)
}

fn interrupted_meanwhile(bed: &Testbed) -> Result<()> {
    let proxy = Proxy::start(bed, "interrupted.sock", |line| {
        if creates(line, "volumes", "") { Deed::Hold(Duration::from_secs(4)) } else { Deed::Pass }
    })?;
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let mut child = proxy.command(bed, &policy).spawn()?;
    let tried =
        until("a volume is asked for", Duration::from_secs(60), || proxy.met.load(Ordering::SeqCst) > 0);
    for _ in 0..2 {
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
        thread::sleep(Duration::from_millis(300));
    }
    let status = integration::command::wait(&mut child, Duration::from_secs(60))?;
    tried?;
    ensure!(status.and_then(|status| status.code()) == Some(143), "{status:?}");
    thread::sleep(Duration::from_secs(4));
    only_the_uplink(bed)
}

fn lost_answer(bed: &Testbed) -> Result<()> {
    // What such a container mounts is made anew with it, if it was removed by then.
    let of_guard: fn(&str) -> Deed =
        |line| if creates(line, "containers", "-guard") { Deed::Lose } else { Deed::Pass };
    let of_fence: fn(&str) -> Deed =
        |line| if creates(line, "containers", "-fence") { Deed::Lose } else { Deed::Pass };
    let of_agent: fn(&str) -> Deed =
        |line| if creates(line, "containers", "-agent") { Deed::Lose } else { Deed::Pass };
    for (name, judge) in
        [("lost-guard.sock", of_guard), ("lost-fence.sock", of_fence), ("lost-agent.sock", of_agent)]
    {
        let output = Proxy::start(bed, name, judge)?.run(bed)?;
        ensure!(output.status.code() == Some(125), "{name}: {output:?}");
        ensure!(
            output.stderr.contains("the engine did not say whether it made: container ringfence-"),
            "{name}: {output:?}"
        );
        only_the_uplink(bed)?;
    }
    Ok(())
}

/// `stop` meets the guard just when the supervisor removes it.
fn stopped_meanwhile(bed: &Testbed) -> Result<()> {
    let proxy = Proxy::start(bed, "removing.sock", |line| {
        if line.starts_with("GET ") && line.contains("/logs?") { Deed::Removing } else { Deed::Pass }
    })?;
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let agent = ["sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done"];
    let mut running = bed.ringfence.start(&policy, &[], &bed.images.tiny, &agent)?;
    running.wait_for_line("up", Duration::from_secs(60))?;
    let mut command = bed.ringfence.command();
    command.arg("--engine").arg(format!("unix://{}", proxy.path.display()));
    command.args(["stop", &running.name]);
    let stopped = bounded(&mut command, b"", Duration::from_secs(60))?;
    let outcome = running.finish(Duration::from_secs(60))?;
    ensure!(proxy.met.load(Ordering::SeqCst) > 0, "the log was asked for: {stopped:?}");
    ensure!(stopped.status.success() && stopped.stderr.is_empty(), "{stopped:?}\n{outcome:?}");
    only_the_uplink(bed)
}
