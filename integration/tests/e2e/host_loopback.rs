//! Servers on the loopback of the supervisor's machine: reached by their own permission, by the
//! supervisor alone, in the foreground and in the background, and by nobody else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::{bounded, until};
use integration::testbed::Testbed;
use nix::sys::signal::{Signal, kill};

use crate::detached::Detached;
use crate::leftovers::only_the_uplink;
use crate::{Test, expect, failing};

pub(crate) const TESTS: &[Test] = &[
    ("a server on the loopback is reached by its permission, and nothing else is", reached),
    ("a permission is given and taken while an agent works in the background", live),
    ("a killed supervisor's way is closed", killed),
];

/// Ports of the servers, each used by no other test.
const HTTP: u16 = 3220;
const WEB_SOCKET: u16 = 3221;
const UNNAMED: u16 = 3222;
const OVER_IPV6: u16 = 3223;
const EVERYWHERE: u16 = 3224;
const LIMIT: Duration = Duration::from_secs(60);
const HOST: &str = "host.docker.internal";

/// Says over a WebSocket `up`, then `down` when it ends, then whether another one can be opened.
const TALK: &str = r#"import time, websocket
url = 'ws://host.docker.internal:3221/mcp'
def opened():
    while True:
        try: return websocket.create_connection(url, timeout=20)
        except Exception: time.sleep(0.2)
w = opened(); w.send('hello'); print('up', w.recv(), flush=True)
w.settimeout(120)
try: print('heard', w.recv(), flush=True)
except Exception: print('down', flush=True)
try: websocket.create_connection(url, timeout=20); print('again', flush=True)
except Exception: print('refused', flush=True)
time.sleep(600)"#;

/// Servers on this machine, for as long as the tests run.
fn serve(bed: &Testbed) -> Result<Ipv4Addr> {
    let everywhere = bed.engine.listen_address()?;
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let all = [
        (loopback, HTTP),
        (loopback, UNNAMED),
        (IpAddr::V6(Ipv6Addr::LOCALHOST), OVER_IPV6),
        (everywhere.into(), EVERYWHERE),
    ];
    for (address, port) in all {
        // An earlier test of this process has begun it.
        let Ok(listener) = TcpListener::bind((address, port)) else { continue };
        thread::spawn(move || {
            listener.incoming().flatten().for_each(|stream| _ = thread::spawn(|| answer(stream)))
        });
    }
    if let Ok(listener) = TcpListener::bind((loopback, WEB_SOCKET)) {
        thread::spawn(move || {
            listener.incoming().flatten().for_each(|stream| _ = thread::spawn(|| echo(stream)))
        });
    }
    Ok(everywhere)
}

/// Answers one HTTP request with its body, as a tool server does with the number of a call.
fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut length, mut line) = (0, String::new());
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = [b"tools ", &body[..]].concat();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    (&stream).write_all(&[head.as_bytes(), &body].concat())
}

/// Sends back what it hears over a WebSocket.
fn echo(stream: TcpStream) {
    let Ok(mut socket) = tungstenite::accept(stream) else { return };
    while let Ok(message) = socket.read() {
        if socket.send(message).is_err() {
            return;
        }
    }
}

fn permitted(ports: &[u16]) -> Vec<String> {
    ports.iter().map(|port| format!("--allow={HOST}:{port}/loopback")).collect()
}

fn reached(bed: &Testbed) -> Result<()> {
    let everywhere = serve(bed)?;
    let script = format!(
        "curl -sS -m 30 -d '{{\"id\":7}}' http://{HOST}:{HTTP}/mcp; echo; curl -sS -m 30 -d six http://{HOST}:{OVER_IPV6}/; echo; \
         python3 -c \"import websocket; w = websocket.create_connection('ws://{HOST}:{WEB_SOCKET}/mcp', timeout=30); w.send('hello'); print('ws', w.recv())\"; \
         for port in {UNNAMED} {EVERYWHERE} 22; do curl -sS -m 5 http://{HOST}:$port/ 2>/dev/null; done; echo tried"
    );
    let stays = format!("{script}; sleep 600");
    let policy = bed.ringfence.allowing(&[])?;
    let options = permitted(&[HTTP, WEB_SOCKET, OVER_IPV6]);
    let options: Vec<&str> = options.iter().map(String::as_str).chain(["--quiet"]).collect();
    let agent = ["sh", "-c", &stays];
    let mut running = bed.ringfence.start(&policy, &options, &bed.images.agent, &agent)?;
    let tried = running.wait_for_line("tried", LIMIT);
    let found = found_by_others(bed, everywhere);
    let ports = ports_of_guard(bed);
    let lines = running.lines();
    failing::end(bed, running)?;
    tried.with_context(|| format!("{lines:?}"))?;
    ensure!(lines == ["tools {\"id\":7}", "tools six", "ws hello", "tried"], "{lines:?}");
    // Other containers find the control, which listens for them, and nothing of this.
    let found = found?;
    ensure!(found == format!("{EVERYWHERE}"), "found: {found}");
    let ports = ports?;
    ensure!(ports.iter().all(|port| port.starts_with("0B00007F:")), "the guard listens: {ports:?}");

    // The controls: the host's address is no way there, and nothing is without consent.
    for options in [vec![format!("--allow={HOST}:{HTTP}"), format!("--allow={HOST}:{WEB_SOCKET}")], vec![]] {
        let options: Vec<&str> = options.iter().map(String::as_str).chain(["--quiet"]).collect();
        let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", &script])?;
        let silent = !outcome.stdout.contains("tools") && !outcome.stdout.contains("hello");
        expect(silent && outcome.stdout.contains("tried"), "another permission is none", &outcome)?;
    }
    // A ceiling that permits the host's address does not permit this.
    let rule = format!("{{host: {HOST}, ports: [{HTTP}], host-access:");
    let policy =
        bed.ringfence.policy(&format!("  allow: [{rule} loopback}}]\n  ceiling: [{rule} true}}]"))?;
    let one = format!("curl -sS -m 10 http://{HOST}:{HTTP}/");
    let outcome = bed.ringfence.run(&policy, &["--quiet"], &bed.images.agent, &["sh", "-c", &one])?;
    expect(
        outcome.stdout.is_empty() && outcome.has_event(&[("reason", "outside-ceiling")]),
        "the ceiling holds",
        &outcome,
    )?;
    only_the_uplink(bed)
}

/// Lists the servers' ports that a container with the engine's usual network finds at the host.
fn found_by_others(bed: &Testbed, host: Ipv4Addr) -> Result<String> {
    let host = if host.is_unspecified() { bed.engine.gateway("bridge")? } else { host };
    let script = format!(
        "import socket\nfound = [port for port in ({HTTP}, {WEB_SOCKET}, {OVER_IPV6}, {EVERYWHERE}) \
         if socket.socket().connect_ex(('{host}', port)) == 0]\nprint(*found)"
    );
    bed.engine.docker(&["run", "--rm", &bed.images.agent, "python3", "-c", &script])
}

/// Lists the local addresses at which something listens in the guard's network.
fn ports_of_guard(bed: &Testbed) -> Result<Vec<String>> {
    let guard = failing::container(bed, "guard")?;
    let pid = bed.engine.docker(&["inspect", "--format", "{{.State.Pid}}", &guard])?;
    let mut ports = Vec::new();
    for list in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{}/net/{list}", pid.trim()))?;
        let rows = text.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        let listening = rows.filter(|row| row.get(3) == Some(&"0A"));
        ports.extend(listening.filter_map(|row| row.get(1).map(|local| (*local).to_owned())));
    }
    Ok(ports)
}

fn live(bed: &Testbed) -> Result<()> {
    serve(bed)?;
    let detached = Detached::start(bed, "loopback", &[], &["python3", "-c", TALK])?;
    let target = format!("{HOST}:{WEB_SOCKET}/loopback");
    // What is permitted from elsewhere, with the same engine, is known to the guard alone.
    let elsewhere = bed.fresh_directory("elsewhere")?;
    let mut command = bed.ringfence.command();
    command.env("XDG_STATE_HOME", &elsewhere).args(["allow", "--without-record", &detached.id, &target]);
    let allowed = bounded(&mut command, b"", LIMIT)?;
    ensure!(allowed.status.success(), "{allowed:?}");
    let says = |words: &str| {
        detached.call(&["events", "--json", &detached.id]).is_ok_and(|events| events.stdout.contains(words))
    };
    until("the supervisor does not carry for a stranger", LIMIT, || says("no supervisor carries"))?;
    let printed = || detached.call(&["logs", &detached.id]).map(|logs| logs.stdout).unwrap_or_default();
    ensure!(printed().is_empty(), "{}", printed());
    // The person's own word opens it, and takes it back.
    let allowed = detached.call(&["allow", &detached.id, &target])?;
    ensure!(allowed.status.success(), "{allowed:?}");
    until("the server answers", LIMIT, || printed().contains("up hello"))?;
    until("the events say where it went", LIMIT, || says("\"address\":\"127.0.0.1\""))?;
    // With the way open, the guard's word alone is still not enough for another port.
    let mut command = bed.ringfence.command();
    let other = format!("{HOST}:{UNNAMED}/loopback");
    command.env("XDG_STATE_HOME", &elsewhere).args(["allow", "--without-record", &detached.id, &other]);
    let allowed = bounded(&mut command, b"", LIMIT)?;
    ensure!(allowed.status.success(), "{allowed:?}");
    let url = format!("http://{HOST}:{UNNAMED}/");
    let asked = detached.call(&["exec", &detached.id, "curl", "-sS", "-m", "10", &url])?;
    ensure!(!asked.status.success() && !asked.stdout.contains("tools"), "{asked:?}");
    until("the event says so", LIMIT, || says("does not know of this permission"))?;
    let denied = detached.call(&["deny", &detached.id, HOST])?;
    ensure!(denied.status.success(), "{denied:?}");
    until("it is closed", LIMIT, || printed().ends_with("down\nrefused\n"))?;
    detached.stop()?;
    only_the_uplink(bed)
}

fn killed(bed: &Testbed) -> Result<()> {
    serve(bed)?;
    let allow = permitted(&[WEB_SOCKET]);
    let detached = Detached::start(bed, "unled", &[&allow[0]], &["python3", "-c", TALK])?;
    detached.until_printed("up hello")?;
    kill(detached.supervisor()?, Signal::SIGKILL)?;
    let agent = format!("ringfence-{}-agent", detached.id);
    let printed = || bed.engine.docker(&["logs", &agent]).unwrap_or_default();
    let closed = until("it is closed", LIMIT, || printed().trim_end().ends_with("down\nrefused"));
    let guard = format!("ringfence-{}-guard", detached.id);
    let log = bed.engine.docker(&["logs", &guard])?;
    detached.stop()?;
    closed.with_context(printed)?;
    ensure!(log.contains("no supervisor carries"), "{log}");
    only_the_uplink(bed)
}
