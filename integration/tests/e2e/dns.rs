//! The DNS filter as agents meet it: with the resolvers that real programs bring, and with bytes
//! that none sends. The judge of what left is the upstream's log.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration::testbed::Testbed;
use integration::testbed::engine::variants::Product;
use serde_json::Value;

use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("every resolver finds permitted names and no other", resolvers),
    ("asking for a name asks no upstream, connecting does", asking),
    ("a name that exists under a wildcard is asked for once", wildcard),
    ("no resolver of the engine's is in the fence", embedded),
    ("a refusal explains itself", explained),
    ("bytes that are no questions", hostile),
];

/// Returns what the upstream was asked since its log had `before` entries.
pub(crate) fn asked_since(bed: &Testbed, before: usize) -> Vec<String> {
    bed.dns.log().split_off(before)
}

fn resolvers(bed: &Testbed) -> Result<()> {
    let before = bed.dns.log().len();
    let policy = bed.ringfence.allowing(&["a.test", "deep.corp.test", "plain.test:80"])?;
    let script = r#"
        node='const d = require("dns"), n = process.argv[1];
          d.lookup(n, (e, a) => { console.log("node", e ? e.code : a);
          d.resolve4(n, (e, a) => console.log("c-ares", e ? e.code : a[0])) })'
        python='import socket, sys
try: print("python", socket.getaddrinfo(sys.argv[1], 443, type=socket.SOCK_STREAM)[0][4][0])
except socket.gaierror as error: print("python", error.strerror)'
        for name in a.test evil.test; do
            echo "glibc $(getent ahostsv4 $name | head -1 | cut -d' ' -f1)"
            echo "musl $(musl-lookup $name | cut -d' ' -f2-)"
            echo "dig $(dig +short $name)"
            python3 -c "$python" $name
            node -e "$node" $name
            curl -sS -o /dev/null https://$name/ 2>/dev/null; echo "curl $?"
            echo "go $(GODEBUG=netdns=go gron --insecure http://$name/ 2>&1 | grep -o 'no such host')"
        done
        musl-lookup deep.corp.test corp.test test
        GODEBUG=netdns=go gron http://plain.test/go 2>&1 | head -1
    "#;
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["sh", "-c", script])?;
    expect_status(&outcome, 0)?;
    let address = outcome.stdout.lines().next().and_then(|line| line.strip_prefix("glibc ")).unwrap_or("?");
    expect(address.starts_with("25.0."), "a virtual address", &outcome)?;
    let seen: Vec<String> =
        outcome.stdout.lines().take(16).map(|line| line.replace(address, "VIRTUAL")).collect();
    let expected = [
        "glibc VIRTUAL",
        "musl VIRTUAL",
        "dig VIRTUAL",
        "python VIRTUAL",
        "node VIRTUAL",
        "c-ares VIRTUAL",
        "curl 0",
        // Port 80 of the name is not permitted; it is found all the same.
        "go ",
        "glibc ",
        "musl Name does not resolve",
        "dig ",
        "python Name or service not known",
        "node ENOTFOUND",
        "c-ares ENOTFOUND",
        "curl 6",
        "go no such host",
    ];
    expect(seen == expected, &format!("{expected:#?}"), &outcome)?;
    expect(outcome.stdout.contains("deep.corp.test: 25.0."), "a name below an ancestor", &outcome)?;
    let page = bed.web.log().iter().any(|request| request.path == "/go");
    expect(page, "Go's resolver led to the page", &outcome)?;
    let names: BTreeSet<String> = asked_since(bed, before)
        .iter()
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect();
    let dialled = BTreeSet::from(["a.test".to_owned(), "plain.test".to_owned()]);
    expect(names == dialled, &format!("only dialled names were asked: {names:?}"), &outcome)
}

fn asking(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test", "b.test:8443", "deep.corp.test", "*.wild.test"])?;
    let names =
        ["a.test", "A.tEsT", "b.test", "corp.test", "test", "wild.test", "x.a.test", "evil.test", "."];
    let types =
        ["A", "AAAA", "HTTPS", "SVCB", "TXT", "TYPE10", "ANY", "MX", "SRV", "CNAME", "NS", "SOA", "PTR"];
    let mut dig = String::new();
    for name in names {
        for kind in types {
            dig.push_str(&format!(" @198.51.100.53 {name} {kind}"));
        }
    }
    // Under the wildcard: nothing but a question for an address is passed on.
    for kind in &types[1..] {
        dig.push_str(&format!(" @198.51.100.53 secret.wild.test {kind}"));
    }
    let before = bed.dns.log().len();
    let all = "dig +noall +comments +tries=1 +time=2";
    let script =
        format!("{all} {dig} | grep -c status:; {all} +tcp {dig} | grep -c status:; ping -c1 a.test");
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["sh", "-c", &script])?;
    let count = (names.len() * types.len() + types.len() - 1).to_string();
    let answered: Vec<&str> = outcome.stdout.lines().take(2).collect();
    expect(answered == [&count, &count], "each is answered, over UDP and TCP", &outcome)?;
    let asked = asked_since(bed, before);
    expect(asked.is_empty(), &format!("no question reached the upstream: {asked:?}"), &outcome)?;

    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["curl", "-sS", "https://a.test/"])?;
    expect_status(&outcome, 0)?;
    let asked: BTreeSet<String> = asked_since(bed, before).into_iter().collect();
    let expected = BTreeSet::from(["a.test A".to_owned(), "a.test AAAA".to_owned()]);
    expect(asked == expected, &format!("the name that was dialled: {asked:?}"), &outcome)
}

fn wildcard(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["*.wild.test"])?;
    let before = bed.dns.log().len();
    let script = "for i in 1 2 3 4 5; do getent ahostsv4 one.wild.test; getent ahostsv4 nine.wild.test; done \
         | cut -d' ' -f1 | sort -u; getent ahostsv4 two.wild.test | head -1 | cut -d' ' -f1";
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["sh", "-c", script])?;
    let addresses: Vec<&str> = outcome.stdout.lines().collect();
    expect(addresses.len() == 2 && addresses[0] != addresses[1], "one address for each name", &outcome)?;
    let asked = asked_since(bed, before);
    for name in ["one", "two", "nine"] {
        let times = asked.iter().filter(|line| **line == format!("{name}.wild.test A")).count();
        expect(times == 1, &format!("{name} was asked for once: {asked:?}"), &outcome)?;
    }
    Ok(())
}

fn embedded(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let before = bed.dns.log().len();
    let run = |name: &str| -> Result<Value> {
        let script = include_str!("scripts/embedded.py");
        let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["python3", "-c", script, name])?;
        expect_status(&outcome, 0)?;
        Ok(serde_json::from_str(&outcome.stdout)?)
    };
    let (permitted, secret) = (run("a.test")?, run("secret.leak.test")?);
    for table in ["udp", "tcp"] {
        ensure!(permitted["port 53"][table] == "code 0, 1 answers", "{permitted:#}");
        ensure!(secret["port 53"][table] == "code 3, 0 answers", "{secret:#}");
    }
    let own = |seen: &Value| seen["own ports"].as_object().is_some_and(|ports| !ports.is_empty());
    ensure!(!own(&permitted) && !own(&secret), "a resolver of the engine's: {permitted:#}");
    let asked = asked_since(bed, before);
    ensure!(asked.is_empty(), "the upstream was asked: {asked:?}");
    // The control: Docker puts one into every other network that a person makes.
    if bed.engine.product() == Product::Docker {
        let script = include_str!("scripts/embedded.py");
        let plain = ["run", "--rm", "--network", "ringfence-uplink", &bed.images.agent];
        let said = bed.engine.docker(&[&plain[..], &["python3", "-c", script, "a.test"]].concat())?;
        ensure!(own(&serde_json::from_str(&said)?), "none on a plain network: {said}");
    }
    let conf = permitted["resolv.conf"].as_str().unwrap_or_default();
    // Newer engines tell in comments what they replaced.
    let searches = conf.lines().any(|line| line.starts_with("search"));
    ensure!(conf.contains("ndots:1") && !searches, "resolv.conf: {conf}");
    Ok(())
}

fn explained(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.policy("  allow: [\"*.wild.test\"]\n  deny: [two.wild.test]")?;
    let script = "dig evil.test; dig two.wild.test; dig one.wild.test AAAA";
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["sh", "-c", script])?;
    let blocked = "EDE: 15 (Blocked): (not-allowed: blocked by policy; do not retry; ask the user)";
    let filtered = "EDE: 17 (Filtered): (denied-by-rule: blocked by policy; do not retry; ask the user)";
    for text in [blocked, filtered] {
        expect(outcome.stdout.matches(text).count() == 1, text, &outcome)?;
    }
    for (host, reason) in [("evil.test", "not-allowed"), ("two.wild.test", "denied-by-rule")] {
        let event = [("kind", "dns"), ("verdict", "deny"), ("host", host), ("reason", reason)];
        expect(outcome.has_event(&event), host, &outcome)?;
    }
    Ok(())
}

fn hostile(bed: &Testbed) -> Result<()> {
    let script = r#"
import random, socket, struct, subprocess
chance = random.Random(2)
good = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\1a\4test\0\0\1\0\1"
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect(("198.51.100.53", 53))
for number in range(3000):
    bent = bytearray(good * chance.choice([1, 1, 1, 60]))
    for _ in range(chance.randrange(6)):
        bent[chance.randrange(len(bent))] = chance.randrange(256)
    udp.send(bytes(bent[:chance.randrange(len(bent) + 1)]))
slow = [socket.create_connection(("198.51.100.53", 53)) for _ in range(20)]
for number, one in enumerate(slow):
    one.sendall(chance.randbytes(number))
tcp = socket.create_connection(("198.51.100.53", 53))
both = 2 * (struct.pack(">H", len(good)) + good)
for part in [both, both[:1], both[1:9], both[9:]]:
    tcp.sendall(part)
stream = tcp.makefile("rb")
print("tcp", [stream.read(struct.unpack(">H", stream.read(2))[0])[3] & 15 for _ in range(4)])
# What was lost behind the three thousand is asked again, as every client does.
print("udp", subprocess.run(["dig", "+short", "a.test"], capture_output=True, text=True).stdout.splitlines()[-1][:5])
"#;
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let before = bed.dns.log().len();
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["python3", "-c", script])?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout == "tcp [0, 0, 0, 0]\nudp 25.0.\n", "the filter answers all along", &outcome)?;
    expect(outcome.took < Duration::from_secs(60), "in a bounded time", &outcome)?;
    let asked = asked_since(bed, before);
    expect(asked.is_empty(), &format!("the upstream was asked: {asked:?}"), &outcome)
}
