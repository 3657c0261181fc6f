//! The gate on other ports: bytes as they are, to the last one, in both directions, no matter which
//! side speaks or ends first. The judges are the servers, and the counts in the events.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use integration::command::until;
use integration::ringfence::Outcome;
use integration::testbed::Testbed;
use integration::testbed::services::Echoed;

use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("every byte is counted, half-closed or not", counted),
    ("a slow reader holds its writer up and loses nothing", slow_reader),
    ("a reset of the agent reaches the server", agent_resets),
    ("a reset of the server reaches the agent", server_resets),
    ("ssh and mail: servers that speak first", speak_first),
    ("TLS and HTTP on ports that are not theirs", elsewhere),
];

fn python(bed: &Testbed, allow: &[&str], script: &str) -> Result<Outcome> {
    let policy = bed.ringfence.allowing(allow)?;
    bed.ringfence.run(&policy, &[], &bed.images.agent, &["python3", "-c", script])
}

/// The connection to the echo that ended last, since there were so many.
fn last_echoed(bed: &Testbed, before: usize) -> Result<Echoed> {
    until("the echo's connection ends", Duration::from_secs(5), || bed.services.echoed().len() > before)?;
    bed.services.echoed().pop().context("no connection")
}

/// Bytes out and back, as the close event has them.
fn carried(outcome: &Outcome) -> Option<(u64, u64)> {
    let close = outcome.event(&[("phase", "close")])?;
    Some((close["bytes_out"].as_u64()?, close["bytes_in"].as_u64()?))
}

fn counted(bed: &Testbed) -> Result<()> {
    let script = "import socket, threading, hashlib\n\
         s = socket.create_connection(('echo.test', 7777), 5)\n\
         data = b''.join(hashlib.sha256(i.to_bytes(4, 'big')).digest() for i in range(250001))\n\
         threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR))).start()\n\
         back = bytearray()\n\
         while True:\n    b = s.recv(65536)\n    back += b\n    if not b: break\n\
         print(back == data)";
    let before = bed.services.echoed().len();
    let outcome = python(bed, &["echo.test:7777/tcp"], script)?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout.trim() == "True", "what came back is what was sent", &outcome)?;
    let length = 250_001 * 32;
    expect(carried(&outcome) == Some((length, length)), "the counts", &outcome)?;
    let echoed = last_echoed(bed, before)?;
    expect(echoed.bytes == length && !echoed.reset, &format!("the server: {echoed:?}"), &outcome)
}

fn slow_reader(bed: &Testbed) -> Result<()> {
    // The echo stops reading when nobody reads what it sends back; then nobody takes what the agent
    // sends.
    let script = "import socket, threading\n\
         s = socket.create_connection(('echo.test', 7777), 5)\n\
         s.setblocking(False); sent = 0; idle = 0\n\
         import select\n\
         while idle < 3:\n\
         \x20   if select.select([], [s], [], 0.5)[1]: sent += s.send(b'x' * 65536); idle = 0\n\
         \x20   else: idle += 1\n\
         \x20   if sent > 200 << 20: break\n\
         print('stopped' if sent <= 200 << 20 else 'endless'); s.setblocking(True)\n\
         threading.Thread(target=lambda: s.shutdown(socket.SHUT_WR)).start()\n\
         got = 0\n\
         while True:\n    b = s.recv(1 << 20)\n    got += len(b)\n    if not b: break\n\
         print(got == sent, sent)";
    let outcome = python(bed, &["echo.test:7777/tcp"], script)?;
    expect_status(&outcome, 0)?;
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    expect(lines.first() == Some(&"stopped"), "back-pressure reaches the agent", &outcome)?;
    let sent: u64 = lines
        .get(1)
        .and_then(|line| line.strip_prefix("True "))
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    expect(sent > 0 && carried(&outcome) == Some((sent, sent)), "and nothing is lost", &outcome)
}

fn agent_resets(bed: &Testbed) -> Result<()> {
    let script = "import socket, struct\n\
         s = socket.create_connection(('echo.test', 7777), 5)\n\
         s.sendall(b'hello'); print(s.recv(10).decode())\n\
         s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()";
    let before = bed.services.echoed().len();
    let outcome = python(bed, &["echo.test:7777/tcp"], script)?;
    expect_status(&outcome, 0)?;
    let echoed = last_echoed(bed, before)?;
    expect(echoed.reset && echoed.bytes == 5, &format!("the server: {echoed:?}"), &outcome)
}

fn server_resets(bed: &Testbed) -> Result<()> {
    let script = "import socket\n\
         s = socket.create_connection(('echo.test', 7779), 5)\n\
         s.sendall(b'x'); print(s.recv(100).decode())\n\
         try: print(s.recv(100))\n\
         except ConnectionResetError: print('reset')";
    let outcome = python(bed, &["echo.test:7779/tcp"], script)?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout == "last words\nreset\n", "what it said, then the reset", &outcome)
}

fn speak_first(bed: &Testbed) -> Result<()> {
    let script = "ssh -v -o BatchMode=yes -o ConnectTimeout=5 -o ConnectionAttempts=1 agent@ssh.test true 2>&1 & \
         sleep 2; kill $!; wait; \
         python3 -c \"import smtplib; s = smtplib.SMTP('mail.test', 2525, timeout=10); print(s.noop()); s.quit()\"";
    let policy = bed.ringfence.allowing(&["ssh.test:22", "mail.test:2525"])?;
    let begin = Instant::now();
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["sh", "-c", script])?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout.contains("remote software version testbed"), "ssh heard the banner", &outcome)?;
    expect(outcome.stdout.contains("(250, b'yes')"), "the dialogue of SMTP", &outcome)?;
    expect(begin.elapsed() < Duration::from_secs(30), "without a wait", &outcome)
}

fn elsewhere(bed: &Testbed) -> Result<()> {
    let script = "curl -sS https://a.test:8443/tls; \
         curl -sS --max-time 5 --connect-to b.test:8443:a.test:8443 https://b.test:8443/tls-other; echo $?; \
         curl -sS http://a.test:8080/http; \
         curl -sS -w '%{http_code}\\n' -o /dev/null -H 'Host: b.test' http://a.test:8080/http-other; \
         curl -sS --http2-prior-knowledge http://a.test:8080/h2; echo $?";
    let policy = bed.ringfence.allowing(&["a.test:8443", "a.test:8080"])?;
    let before = bed.web.log().len();
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["sh", "-c", script])?;
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let good = lines.len() == 5
        && lines[0] == "a.test:8443 /tls"
        && lines[1] != "0"
        && lines[2] == "a.test:8080 /http"
        && lines[3] == "403"
        && lines[4] != "0";
    expect(good, "the permitted ones alone", &outcome)?;
    let log = bed.web.log();
    let paths: Vec<&str> = log[before..].iter().map(|request| request.path.as_str()).collect();
    expect(paths == ["/tls", "/http"], &format!("two arrived: {paths:?}"), &outcome)?;
    for reason in ["sni-mismatch", "host-mismatch", "http2"] {
        expect(outcome.has_event(&[("host", "a.test"), ("reason", reason)]), reason, &outcome)?;
    }
    Ok(())
}
