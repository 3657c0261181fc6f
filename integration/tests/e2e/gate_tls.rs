//! The gate on TLS ports, met by real TLS clients. The judge is the log of the server: the SNI that
//! arrived.

use anyhow::Result;
use integration::ringfence::Outcome;
use integration::testbed::Testbed;

use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("openssl with every kind of name", openssl_names),
    ("a hello in pieces and in many records", pieces),
    ("TLS 1.2 and TLS 1.3", versions),
    ("a hello that never ends", never_ends),
    ("a server that cannot be reached", unreachable),
    ("HTTP/3 falls back at once", quic),
    ("python and node over https", clients),
];

fn python(bed: &Testbed, allow: &[&str], script: &str) -> Result<Outcome> {
    let policy = bed.ringfence.allowing(allow)?;
    bed.ringfence.run(&policy, &[], &bed.images.agent, &["python3", "-c", script])
}

/// The names that the server saw since.
fn arrived(bed: &Testbed, before: usize) -> Vec<String> {
    bed.web.log().iter().skip(before).map(|request| request.sni.clone().unwrap_or_default()).collect()
}

fn openssl_names(bed: &Testbed) -> Result<()> {
    let ask = "ask() { printf 'GET /%s HTTP/1.1\\r\\nHost: a.test\\r\\nConnection: close\\r\\n\\r\\n' \"$1\" | \
         openssl s_client -quiet -connect a.test:443 $2 2>&1 | grep -aoE 'alert number [0-9]+|a.test /.*' | head -1 | \
         sed \"s|^|$1: |\"; }; ";
    let script = format!(
        "{ask} ask right '-servername a.test'; ask upper '-servername A.TEST'; ask wrong '-servername b.test'; \
         ask none -noservername; ask below '-servername x.a.test'; ask dot '-servername a.test.'"
    );
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let before = bed.web.log().len();
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["sh", "-c", &script])?;
    // 49: access_denied. A server may think of a name with a dot what it likes: it is the permitted
    // one.
    let lines: Vec<&str> = outcome.stdout.lines().filter(|line| !line.starts_with("dot")).collect();
    let expected = [
        "right: a.test /right",
        "upper: a.test /upper",
        "wrong: alert number 49",
        "none: alert number 49",
        "below: alert number 49",
    ];
    expect(lines == expected, &format!("{expected:?}"), &outcome)?;
    let names = arrived(bed, before);
    let good = names.iter().all(|name| name.eq_ignore_ascii_case("a.test") || name == "a.test.");
    expect(good && names.len() >= 2, &format!("the server saw {names:?}"), &outcome)?;
    for reason in ["sni-mismatch", "no-sni"] {
        let fields = [("kind", "tls"), ("host", "a.test"), ("reason", reason)];
        expect(outcome.has_event(&fields), &format!("an event {reason}"), &outcome)?;
    }
    Ok(())
}

/// A TLS client whose hello goes through `cut` before it is sent.
const CUT: &str = "\
import socket, ssl, time
def cut(hello): CUT
def client(name, connect='a.test'):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    s = socket.create_connection((connect, 443), 5)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    first = True
    def step(what):
        nonlocal first
        while True:
            try: return what()
            except ssl.SSLWantReadError:
                data = outgoing.read()
                if data and first:
                    first = False
                    for part in cut(data): s.sendall(part); time.sleep(0.001)
                elif data: s.sendall(data)
                more = s.recv(65536)
                if not more: incoming.write_eof()
                else: incoming.write(more)
    step(tls.do_handshake)
    tls.write(b'GET /cut HTTP/1.1\\r\\nHost: a.test\\r\\n\\r\\n'); s.sendall(outgoing.read())
    return step(lambda: tls.read(1000)).split(b'\\r\\n')[0].decode()
print(client('a.test'))
try: print(client('b.test'))
except ssl.SSLError as error: print(error.reason)
";

fn pieces(bed: &Testbed) -> Result<()> {
    let byte_by_byte = "return [hello[i:i+1] for i in range(len(hello))]";
    let records = "body = hello[5:]; return [b'\\x16\\x03\\x01' + len(body[i:i+9]).to_bytes(2, 'big') + body[i:i+9] for i in range(0, len(body), 9)]";
    for cut in [byte_by_byte, records] {
        let before = bed.web.log().len();
        let outcome = python(bed, &["a.test"], &CUT.replace("CUT", cut))?;
        expect_status(&outcome, 0)?;
        let expected = "HTTP/1.1 200 -\nTLSV1_ALERT_ACCESS_DENIED";
        expect(outcome.stdout.trim() == expected, expected, &outcome)?;
        expect(arrived(bed, before) == ["a.test"], "one request arrived", &outcome)?;
    }
    Ok(())
}

fn versions(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    for version in ["1.2", "1.3"] {
        let (least, most) = (format!("--tlsv{version}"), version.to_owned());
        let curl = ["curl", "-sS", &least, "--tls-max", &most, "https://a.test/v"];
        let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &curl)?;
        expect_status(&outcome, 0)?;
        expect(outcome.stdout.trim() == "a.test /v", "the page", &outcome)?;
    }
    Ok(())
}

fn never_ends(bed: &Testbed) -> Result<()> {
    let script = "import socket, time\n\
         s = socket.create_connection(('a.test', 443), 5)\n\
         begin = time.monotonic(); s.sendall(b'\\x16\\x03\\x01\\x02\\x00\\x01\\x00\\x01\\xfc\\x03\\x03')\n\
         s.settimeout(0.5); got = b'waiting'\n\
         while got == b'waiting' and time.monotonic() - begin < 20:\n\
         \x20   try: got = s.recv(10)\n\
         \x20   except TimeoutError: s.sendall(b'\\x00')\n\
         \x20   except OSError as error: got = error.strerror.encode()\n\
         print(round(time.monotonic() - begin), got)";
    let outcome = python(bed, &["a.test"], script)?;
    expect_status(&outcome, 0)?;
    let said = outcome.stdout.trim();
    // Ten seconds, and the alert.
    let good = said.starts_with("10 b'\\x15\\x03\\x03\\x00\\x02\\x021'") || said.starts_with("11 b'\\x15");
    expect(good, "an alert after ten seconds, however often a byte came", &outcome)?;
    expect(outcome.has_event(&[("kind", "tls"), ("reason", "malformed")]), "an event", &outcome)
}

fn unreachable(bed: &Testbed) -> Result<()> {
    let script =
        "openssl s_client -connect $0:443 -servername $0 </dev/null 2>&1 | grep -oE 'alert number [0-9]+'";
    let policy = bed.ringfence.allowing(&["broken.test", "private.test"])?;
    for (name, alert, reason) in
        [("broken.test", "112", "resolve-failed"), ("private.test", "49", "private-address")]
    {
        let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["sh", "-c", script, name])?;
        expect(
            outcome.stdout.trim() == format!("alert number {alert}"),
            &format!("alert {alert}"),
            &outcome,
        )?;
        expect(outcome.has_event(&[("host", name), ("reason", reason)]), "an event", &outcome)?;
        let told =
            !reason.starts_with("resolve") || outcome.stderr.contains("broken.test:443  (resolve-failed: ");
        expect(told, "the summary says that the name does not resolve", &outcome)?;
    }
    Ok(())
}

fn quic(bed: &Testbed) -> Result<()> {
    // What a QUIC client does first: a connected socket and a datagram. It falls back to TCP on the
    // error.
    let script = "import socket, time, urllib.request\n\
         to = socket.getaddrinfo('a.test', 443, socket.AF_INET, socket.SOCK_DGRAM)[0][4]\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)\n\
         begin = time.monotonic()\n\
         try: s.connect(to); s.send(b'\\xc0' + b'\\0' * 1199); s.recv(10); print('answered')\n\
         except TimeoutError: print('hangs')\n\
         except OSError as error: print('refused', time.monotonic() - begin < 0.1, to[0].startswith('25.'))\n\
         print(urllib.request.urlopen('https://a.test/fallback').read().decode().strip())";
    let outcome = python(bed, &["a.test"], script)?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout == "refused True True\na.test /fallback\n", "refused at once, then TCP", &outcome)?;
    let fields = [("kind", "datagram"), ("verdict", "deny"), ("host", "a.test"), ("port", "443")];
    expect(outcome.has_event(&fields), "an event", &outcome)
}

fn clients(bed: &Testbed) -> Result<()> {
    let script = "python3 -c \"import requests; s = requests.Session(); \
         print(s.get('https://a.test/r1').text + s.get('https://a.test/r2').text, end='')\"; \
         node -e \"fetch('https://a.test/n1').then(r => r.text()).then(t => process.stdout.write(t)) \
         .then(() => fetch('https://b.test/')).catch(e => console.log(e.cause.code))\"; \
         curl -sS https://a.test/c1 https://a.test/c2";
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["sh", "-c", script])?;
    expect_status(&outcome, 0)?;
    let expected = "a.test /r1\na.test /r2\na.test /n1\nENOTFOUND\na.test /c1\na.test /c2\n";
    expect(outcome.stdout == expected, "every page, and a name that is not known", &outcome)
}
