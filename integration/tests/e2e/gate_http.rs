//! The gate on HTTP ports, met by real HTTP clients. The judge is the log of the server: the
//! requests that arrived.

use anyhow::{Context, Result};
use integration::ringfence::Outcome;
use integration::testbed::Testbed;

use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("a refusal is JSON, and says no more than it should", refusal),
    ("a failure is another", failure),
    ("python, node and curl keep their connections", clients),
    ("bodies of every kind", bodies),
    ("a WebSocket", websocket),
    ("HTTP/2 without TLS", http2),
    ("CONNECT and absolute form", proxy_forms),
    ("pipelined requests", pipelined),
    ("requests hidden in requests", smuggled),
    ("a head that never ends", never_ends),
];

fn shell(bed: &Testbed, allow: &[&str], script: &str) -> Result<Outcome> {
    let policy = bed.ringfence.allowing(allow)?;
    bed.ringfence.run(&policy, &[], &bed.images.agent, &["sh", "-c", script])
}

/// The hosts and paths that the server saw since.
fn arrived(bed: &Testbed, before: usize) -> Vec<String> {
    bed.web.log().iter().skip(before).map(|request| format!("{} {}", request.host, request.path)).collect()
}

fn refusal(bed: &Testbed) -> Result<()> {
    let before = bed.web.log().len();
    let outcome =
        shell(bed, &["plain.test:80"], "curl -sSi -H 'Host: b.test' 'http://plain.test/secret?token=1'")?;
    expect_status(&outcome, 0)?;
    let (head, body) = outcome.stdout.split_once("\r\n\r\n").context("no head")?;
    let head = head.to_ascii_lowercase();
    expect(head.starts_with("http/1.1 403 forbidden\r\n"), "the status", &outcome)?;
    expect(head.contains("\r\ncontent-type: application/json\r\n"), "the type", &outcome)?;
    let expected = "{\"error\":\"ringfence-denied\",\"host\":\"b.test\",\"reason\":\"host-mismatch\",\
         \"hint\":\"blocked by policy; do not retry; ask the user\"}";
    expect(body == expected, expected, &outcome)?;
    expect(arrived(bed, before).is_empty(), "nothing arrived", &outcome)?;
    let fields = [("kind", "http"), ("verdict", "deny"), ("host", "plain.test"), ("reason", "host-mismatch")];
    let event = outcome.event(&fields).context("no event")?.to_string();
    expect(!event.contains("secret") && !event.contains("token"), "no path in the event", &outcome)
}

fn failure(bed: &Testbed) -> Result<()> {
    let outcome = shell(
        bed,
        &["broken.test:80", "private.test:80"],
        "curl -sS -w '\\n%{http_code}\\n' http://broken.test/ http://private.test/",
    )?;
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let expected = [
        "{\"error\":\"ringfence-upstream\",\"host\":\"broken.test\",\"reason\":\"resolve-failed\",\
         \"hint\":\"permitted by policy, but the server cannot be reached\"}",
        "502",
        "{\"error\":\"ringfence-denied\",\"host\":\"private.test\",\"reason\":\"private-address\",\
         \"hint\":\"blocked by policy; do not retry; ask the user\"}",
        "403",
    ];
    expect(lines == expected, &format!("{expected:#?}"), &outcome)
}

fn clients(bed: &Testbed) -> Result<()> {
    let script = "python3 -c \"import requests; s = requests.Session(); \
         print(s.get('http://plain.test/r1').text + s.get('http://plain.test/r2').text, end=''); \
         d = s.get('http://plain.test/r3', headers={'Host': 'b.test'}); print(d.status_code, d.json()['reason'])\"; \
         python3 -c \"import urllib.request as u; print(u.urlopen('http://plain.test/u1').read().decode(), end='')\"; \
         node -e \"fetch('http://plain.test/n1').then(r => r.text()).then(t => process.stdout.write(t))\"; \
         curl -sS http://plain.test/c1 http://plain.test/c2";
    let before = bed.web.log().len();
    let outcome = shell(bed, &["plain.test:80"], script)?;
    expect_status(&outcome, 0)?;
    let page = |path: &str| format!("plain.test /{path}\n");
    let expected = [
        page("r1"),
        page("r2"),
        "403 host-mismatch\n".to_owned(),
        page("u1"),
        page("n1"),
        page("c1"),
        page("c2"),
    ]
    .concat();
    expect(outcome.stdout == expected, "every page and the refusal", &outcome)?;
    let log = arrived(bed, before);
    expect(log.len() == 6 && !log.iter().any(|line| line.contains("r3")), &format!("{log:?}"), &outcome)
}

fn bodies(bed: &Testbed) -> Result<()> {
    // The model's answer is a stream; a body over a mebibyte makes curl send
    // `Expect: 100-continue`.
    let script = "head -c 3000000 /dev/zero > /tmp/b; \
         curl -sS -o /dev/null -w '%{http_code} ' --data-binary @/tmp/b http://plain.test/sized; \
         curl -sS -o /dev/null -w '%{http_code} ' -H 'Transfer-Encoding: chunked' --data-binary @/tmp/b http://plain.test/chunked; \
         curl -sS -o /dev/null -w '%{http_code} ' -T /tmp/b http://plain.test/put; \
         curl -sS -I -o /dev/null -w '%{http_code}' http://plain.test/head";
    let before = bed.web.log().len();
    let outcome = shell(bed, &["plain.test:80"], script)?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout == "200 200 200 200", "four times 200", &outcome)?;
    let log = bed.web.log();
    let shapes: Vec<(&str, Option<&str>, Option<&str>)> = log[before..]
        .iter()
        .map(|request| {
            (request.path.as_str(), request.header("content-length"), request.header("transfer-encoding"))
        })
        .collect();
    let expected = [
        ("/sized", Some("3000000"), None),
        ("/chunked", None, Some("chunked")),
        ("/put", Some("3000000"), None),
        ("/head", None, None),
    ];
    expect(shapes == expected, &format!("the server saw {shapes:?}"), &outcome)
}

fn websocket(bed: &Testbed) -> Result<()> {
    let script = "import websocket\n\
         w = websocket.create_connection('ws://ws.test/chat', timeout=10)\n\
         w.send('hello'); print(w.recv())\n\
         w.send_binary(bytes(200000)); print(len(w.recv()))\n\
         w.close()\n\
         try: websocket.create_connection('ws://ws.test/', timeout=10, host='b.test'); print('open')\n\
         except websocket.WebSocketBadStatusException as error: print(error.status_code)";
    let policy = bed.ringfence.allowing(&["ws.test:80"])?;
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["python3", "-c", script])?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout == "hello\n200000\n403\n", "both frames, and a refusal", &outcome)?;
    let close = outcome.event(&[("phase", "close"), ("host", "ws.test")]).context("no close")?;
    expect(close["bytes_out"].as_u64() > Some(200_000), "its bytes are counted", &outcome)
}

fn http2(bed: &Testbed) -> Result<()> {
    let before = bed.web.log().len();
    let outcome = shell(
        bed,
        &["plain.test:80"],
        "curl -sS --http2-prior-knowledge http://plain.test/prior; echo $?; \
         curl -sS --http2 http://plain.test/upgrade",
    )?;
    let (first, rest) = outcome.stdout.split_once('\n').context("no status")?;
    expect(first != "0", "HTTP/2 at once is refused", &outcome)?;
    // Who only offers HTTP/2 stays with HTTP/1.
    expect(rest == "plain.test /upgrade\n", "an offer is not taken", &outcome)?;
    expect(arrived(bed, before) == ["plain.test /upgrade"], "one request arrived", &outcome)?;
    expect(bed.web.log()[before].header("upgrade").is_none(), "without the offer", &outcome)?;
    expect(outcome.has_event(&[("kind", "http"), ("reason", "http2")]), "an event", &outcome)
}

fn proxy_forms(bed: &Testbed) -> Result<()> {
    // The permitted server as a proxy: a tunnel by CONNECT, and requests for others in absolute
    // form.
    let before = bed.web.log().len();
    let outcome = shell(
        bed,
        &["plain.test:80"],
        "code='%{http_code} %{http_connect}\\n'; \
         curl -s -o /dev/null -w \"$code\" -p -x http://plain.test:80 http://b.test/tunnel; \
         curl -s -o /dev/null -w \"$code\" -x http://plain.test:80 http://b.test/other; \
         curl -s -o /dev/null -w \"$code\" -x http://plain.test:80 http://plain.test/own",
    )?;
    expect(outcome.stdout == "000 403\n403 000\n200 000\n", "only its own is served", &outcome)?;
    expect(arrived(bed, before) == ["plain.test /own"], "and arrived, in origin form", &outcome)?;
    for reason in ["protocol", "host-mismatch"] {
        expect(outcome.has_event(&[("kind", "http"), ("reason", reason)]), reason, &outcome)?;
    }
    Ok(())
}

fn pipelined(bed: &Testbed) -> Result<()> {
    let script = "get() { printf 'GET /%s HTTP/1.1\\r\\nHost: %s\\r\\n\\r\\n' $1 $2; }; \
         (get 1 plain.test; get 2 plain.test; get 3 b.test; get 4 plain.test; sleep 1) | nc -w 3 plain.test 80 | grep -a ^HTTP";
    let before = bed.web.log().len();
    let outcome = shell(bed, &["plain.test:80"], script)?;
    expect(arrived(bed, before) == ["plain.test /1", "plain.test /2"], "two arrived", &outcome)?;
    expect(outcome.stdout.trim().ends_with("403 Forbidden"), "then a refusal", &outcome)
}

fn smuggled(bed: &Testbed) -> Result<()> {
    // Each hides a request for /hidden at another host from a reader who reads it differently. The
    // server here is a naive one.
    let shapes = [
        "Content-Length: 4\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n",
        "Transfer-Encoding: chunked\\r\\nContent-Length: 4\\r\\n\\r\\n0\\r\\n\\r\\n",
        "Transfer-Encoding: xchunked\\r\\n\\r\\n0\\r\\n\\r\\n",
        "Transfer-Encoding: identity\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n",
        "Transfer-Encoding : chunked\\r\\n\\r\\n0\\r\\n\\r\\n",
        "Content-Length: 0\\r\\nContent-Length: 44\\r\\n\\r\\n",
        "Content-Length: +0\\r\\n\\r\\n",
        "X: 1\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n",
        "X:\\r\\n Content-Length: 44\\r\\n\\r\\n",
        "Connection: content-length\\r\\nContent-Length: 0\\r\\n\\r\\n",
    ];
    let mut script = String::from("send() { nc -w 2 plain.test 80 >/dev/null; }; ");
    for shape in shapes {
        script.push_str(&format!(
            "printf 'POST /outer HTTP/1.1\\r\\nHost: plain.test\\r\\n{shape}GET /hidden HTTP/1.1\\r\\nHost: b.test\\r\\n\\r\\n' | send; "
        ));
    }
    script.push_str("curl -sS http://plain.test/control");
    let before = bed.web.log().len();
    let outcome = shell(bed, &["plain.test:80"], &script)?;
    expect(outcome.stdout == "plain.test /control\n", "the control works", &outcome)?;
    let log = arrived(bed, before);
    let hidden = log.iter().any(|line| line.contains("hidden") || line.contains("b.test"));
    expect(!hidden && log.iter().any(|line| line.ends_with("/outer")), &format!("{log:?}"), &outcome)
}

fn never_ends(bed: &Testbed) -> Result<()> {
    let script = "import socket, time\n\
         s = socket.create_connection(('plain.test', 80), 5)\n\
         time.sleep(2); begin = time.monotonic(); s.sendall(b'GET / HTTP/1.1\\r\\nHost: plain.test\\r\\nX: ')\n\
         s.settimeout(0.5); got = b'waiting'\n\
         while got == b'waiting' and time.monotonic() - begin < 20:\n\
         \x20   try: got = s.recv(10)\n\
         \x20   except TimeoutError: s.sendall(b'a')\n\
         \x20   except OSError: got = b''\n\
         print(round(time.monotonic() - begin), got)";
    let policy = bed.ringfence.allowing(&["plain.test:80"])?;
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["python3", "-c", script])?;
    expect_status(&outcome, 0)?;
    let said = outcome.stdout.trim();
    expect(said == "10 b''" || said == "11 b''", "its end after ten seconds", &outcome)?;
    expect(outcome.has_event(&[("kind", "http"), ("reason", "malformed")]), "an event", &outcome)
}
