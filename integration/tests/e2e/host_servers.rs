//! Servers of the host: named one by one on the command line and while the agent works, over HTTP,
//! WebSocket and HTTP/2; and those that listen where no container reaches them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration::command::until;
use integration::testbed::Testbed;
use integration::testbed::engine::variants::Product;

use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("a tool server of the host is reached over HTTP, WebSocket and HTTP/2, and no other port", protocols),
    ("a port of the host is permitted while the agent works, within the ceilings", live),
    ("a server that listens on the loopback only is named, with what to do", on_loopback),
];

/// Ports of the servers, each used by no other test.
const HTTP: u16 = 3210;
const WEB_SOCKET: u16 = 3211;
const HTTP2: u16 = 3212;
const LOOPBACK: u16 = 3213;
const LIMIT: Duration = Duration::from_secs(60);

/// HTTP with an answer and a stream of events; HTTP/2 over TLS with trailers, as gRPC has them; and
/// HTTP on the loopback alone.
const SERVER: &str = r#"const fs = require('fs'), http = require('http'), http2 = require('http2');
const [address, plain, secure, loopback] = [process.argv[1], ...process.argv.slice(2).map(Number)];
const answer = (request, response) => {
  if (request.url === '/sse') {
    response.writeHead(200, {'content-type': 'text/event-stream'});
    response.write('data: one\n\n'); setTimeout(() => response.end('data: two\n\n'), 100); return;
  }
  let body = ''; request.on('data', (part) => body += part);
  request.on('end', () => response.end(JSON.stringify({jsonrpc: '2.0', id: JSON.parse(body || '{}').id, result: 'tools'})));
};
http.createServer(answer).listen(plain, address);
http.createServer(answer).listen(loopback, '127.0.0.1');
const options = {key: fs.readFileSync('/tmp/key'), cert: fs.readFileSync('/tmp/cert')};
http2.createSecureServer(options).on('stream', (stream) => {
  stream.respond({':status': 200, 'content-type': 'application/grpc'}, {waitForTrailers: true});
  stream.on('wantTrailers', () => stream.sendTrailers({'grpc-status': '0'}));
  stream.on('data', (part) => stream.write(part)); stream.on('end', () => stream.end());
}).listen(secure, address);"#;

const HTTP2_CLIENT: &str = r#"const session = require('http2').connect('https://host.docker.internal:3212', {rejectUnauthorized: false});
session.on('error', () => { console.log('no http2'); process.exit(0); });
const call = session.request({':method': 'POST', ':path': '/tools/Call', 'content-type': 'application/grpc'});
call.on('data', (part) => console.log('http2 ' + part));
call.on('trailers', (trailers) => console.log('status ' + trailers['grpc-status']));
call.on('end', () => session.close()); call.end('ping');"#;

/// The servers, in a container in the host's own network. They end with the value.
struct Servers<'b> {
    bed: &'b Testbed,
    container: String,
    address: Ipv4Addr,
}

impl Servers<'_> {
    fn start(bed: &Testbed) -> Result<Servers<'_>> {
        let address = bed.engine.listen_address()?;
        let script = "openssl req -x509 -newkey rsa:2048 -nodes -keyout /tmp/key -out /tmp/cert -subj /CN=host.docker.internal \
                      -days 2 2>/dev/null; exec node -e \"$0\" \"$@\"";
        let ports = [HTTP, HTTP2, LOOPBACK].map(|port| port.to_string());
        let listen = address.to_string();
        let start =
            ["run", "--detach", "--network", "host", &bed.images.agent, "sh", "-c", script, SERVER, &listen];
        let container = bed.engine.docker(&[&start[..], &[&ports[0], &ports[1], &ports[2]]].concat())?;
        let servers = Servers { bed, container: container.trim().to_owned(), address };
        let reached = if address.is_unspecified() { Ipv4Addr::LOCALHOST } else { address };
        for at in [(reached, HTTP), (reached, HTTP2), (Ipv4Addr::LOCALHOST, LOOPBACK)] {
            until("a server of the host", LIMIT, || TcpStream::connect(SocketAddr::from(at)).is_ok())?;
        }
        Ok(servers)
    }

    /// Starts one that says over a WebSocket what it hears, as long as the tests run.
    fn web_socket(&self) -> Result<()> {
        let listener = TcpListener::bind((self.address, WEB_SOCKET))?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let Ok(mut socket) = tungstenite::accept(stream) else { return };
                    while let Ok(message) = socket.read() {
                        if socket.send(message).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Ok(())
    }
}

impl Drop for Servers<'_> {
    fn drop(&mut self) {
        self.bed.engine.docker(&["rm", "--force", "--volumes", &self.container]).ok();
    }
}

fn protocols(bed: &Testbed) -> Result<()> {
    let servers = Servers::start(bed)?;
    servers.web_socket()?;
    let host = "host.docker.internal";
    let script = format!(
        "curl -sS -m 20 -d '{{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/list\"}}' http://{host}:{HTTP}/mcp; echo; \
         curl -sS -m 20 -N http://{host}:{HTTP}/sse; \
         python3 -c \"import websocket; w = websocket.create_connection('ws://{host}:{WEB_SOCKET}/mcp', timeout=10); w.send('hello'); print('ws', w.recv())\"; \
         node -e \"$0\"; curl -sS -m 5 http://{host}:{LOOPBACK}/ 2>/dev/null; curl -sS -m 5 http://{host}:22/ 2>/dev/null; true"
    );
    let policy = bed.ringfence.allowing(&[])?;
    let allowed: Vec<String> =
        [HTTP, WEB_SOCKET, HTTP2].iter().map(|port| format!("--allow={host}:{port}")).collect();
    let options: Vec<&str> = allowed.iter().map(String::as_str).collect();
    let agent = ["sh", "-c", &script, HTTP2_CLIENT];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &agent)?;
    let wanted = "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":\"tools\"}\ndata: one\n\ndata: two\n\nws hello\nhttp2 ping\nstatus 0\n";
    expect(outcome.stdout == wanted, "each server answers, and no other port does", &outcome)?;
    // The control: nothing of it without consent.
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &agent)?;
    expect(
        !outcome.stdout.contains("tools") && !outcome.stdout.contains("hello"),
        "without --allow nothing",
        &outcome,
    )?;
    // The name alone is no consent to a port.
    let outcome = bed.ringfence.run(&policy, &["--allow", host], &bed.images.agent, &["true"])?;
    expect_status(&outcome, 125)?;
    expect(outcome.stderr.contains("its port must be named"), "what to write is said", &outcome)
}

fn live(bed: &Testbed) -> Result<()> {
    let _servers = Servers::start(bed)?;
    let host = "host.docker.internal";
    let script = format!(
        "echo begun; until curl -sS -m 5 -d '{{\"id\":1}}' http://{host}:{HTTP}/ 2>/dev/null; do sleep .1; done; echo"
    );
    let policy = bed.ringfence.allowing(&[])?;
    let mut running =
        bed.ringfence.start(&policy, &["--quiet"], &bed.images.agent, &["sh", "-c", &script])?;
    running.wait_for_line("begun", LIMIT)?;
    let allowed = bed.ringfence.call(&["allow", &running.name, &format!("{host}:{HTTP}")])?;
    ensure!(allowed.status.success(), "{allowed:#?}");
    let outcome = running.finish(LIMIT)?;
    expect_status(&outcome, 0)?;
    expect(
        outcome.stdout.contains("\"result\":\"tools\""),
        "the server answers once it is permitted",
        &outcome,
    )?;

    // A ceiling that says nothing of the host holds.
    let policy = bed.ringfence.policy("  allow: []\n  ceiling: [a.test]")?;
    let running = bed.ringfence.start(&policy, &["--quiet"], &bed.images.agent, &["sleep", "600"])?;
    until("the run", LIMIT, || {
        bed.ringfence.call(&["net", &running.name]).is_ok_and(|output| output.status.success())
    })?;
    let refused = bed.ringfence.call(&["allow", &running.name, &format!("{host}:{HTTP}")])?;
    let stopped = bed.ringfence.call(&["stop", &running.name])?;
    ensure!(refused.status.code() == Some(1) && stopped.status.success(), "{refused:#?}\n{stopped:#?}");
    Ok(())
}

fn on_loopback(bed: &Testbed) -> Result<()> {
    let servers = Servers::start(bed)?;
    let policy = bed.ringfence.allowing(&[])?;
    let allow = format!("--allow=host.docker.internal:{LOOPBACK}");
    let url = format!("http://host.docker.internal:{LOOPBACK}/");
    let agent = ["curl", "-sS", "-m", "10", url.as_str()];
    let outcome = bed.ringfence.run(&policy, &[&allow], &bed.images.agent, &agent)?;
    expect(outcome.status != 0 && outcome.stdout.is_empty(), "it is not reached", &outcome)?;
    let event = outcome.event(&[("reason", "connect-failed")]);
    let said = event.and_then(|event| event["error"].as_str()).unwrap_or_default();
    expect(
        said.contains("a server that listens on 127.0.0.1 only is not reached"),
        "the event says so",
        &outcome,
    )?;
    if bed.engine.product() == Product::Docker {
        let told = format!("the server on port {LOOPBACK} of this machine listens on 127.0.0.1 only");
        let advice = format!("have it listen on {} too", servers.address);
        expect(
            outcome.stderr.contains(&told) && outcome.stderr.contains(&advice),
            "the start says so",
            &outcome,
        )?;
    }
    Ok(())
}
