//! a.test and b.test share one address, and the policy allows a.test alone. Beside each refusal
//! stands the same request for the allowed name.

use anyhow::Result;
use integration::testbed::Testbed;
use integration::testbed::dns::SHARED;

use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("the other name is not known", by_name),
    ("the other name over the allowed one's virtual address", by_connect_to),
    ("the other name by --resolve", by_resolve),
    ("the real address", by_real_address),
    ("another host in a request over plain http", by_host_header),
    ("another host in the second request of a connection", by_second_request),
    ("no SNI at all", without_sni),
    ("no TLS on a TLS port", without_tls),
    ("names that resolve to forbidden addresses", forbidden_addresses),
];

/// Runs one curl; true when the server's page came.
fn curl(bed: &Testbed, allow: &[&str], arguments: &[&str]) -> Result<integration::ringfence::Outcome> {
    let policy = bed.ringfence.allowing(allow)?;
    let curl = [&["curl", "-sS", "--max-time", "10"], arguments].concat();
    bed.ringfence.run(&policy, &[], &bed.images.agent, &curl)
}

fn by_name(bed: &Testbed) -> Result<()> {
    let outcome = curl(bed, &["a.test"], &["https://a.test/", "https://b.test/"])?;
    // 6: could not resolve the host.
    expect_status(&outcome, 6)?;
    expect(outcome.stdout == "a.test /\n", "the allowed one's page alone", &outcome)?;
    expect(
        outcome.has_event(&[
            ("verdict", "deny"),
            ("host", "b.test"),
            ("kind", "dns"),
            ("reason", "not-allowed"),
        ]),
        "an event with the reason",
        &outcome,
    )
}

fn by_connect_to(bed: &Testbed) -> Result<()> {
    let good = curl(bed, &["a.test"], &["--connect-to", "a.test:443:a.test:443", "https://a.test/"])?;
    expect_status(&good, 0)?;
    let before = bed.web.log().len();
    let outcome = curl(bed, &["a.test"], &["--connect-to", "b.test:443:a.test:443", "https://b.test/"])?;
    expect(outcome.status != 0 && outcome.stdout.is_empty(), "refused", &outcome)?;
    expect(bed.web.log().len() == before, "no request reached the server", &outcome)?;
    expect(
        outcome.has_event(&[("verdict", "deny"), ("reason", "sni-mismatch")]),
        "an event with the reason",
        &outcome,
    )
}

fn by_resolve(bed: &Testbed) -> Result<()> {
    let script = "v=$(getent ahostsv4 a.test | head -1 | cut -d' ' -f1); test -n \"$v\" || exit 99; \
         curl -sS --resolve a.test:443:$v https://a.test/ || exit 98; \
         curl -sS --max-time 10 --resolve b.test:443:$v https://b.test/";
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["sh", "-c", script])?;
    expect(![0, 98, 99].contains(&outcome.status), "refused", &outcome)?;
    expect(outcome.stdout == "a.test /\n", "the allowed one's page alone", &outcome)?;
    expect(
        outcome.has_event(&[("verdict", "deny"), ("reason", "sni-mismatch")]),
        "an event with the reason",
        &outcome,
    )
}

fn by_real_address(bed: &Testbed) -> Result<()> {
    for name in ["a.test", "b.test"] {
        let resolve = format!("{name}:443:{SHARED}");
        let outcome = curl(bed, &["a.test"], &["--resolve", &resolve, &format!("https://{name}/")])?;
        // 7: could not connect.
        expect_status(&outcome, 7)?;
        expect(
            outcome.has_event(&[("verdict", "deny"), ("address", SHARED), ("reason", "raw-address")]),
            "an event with the reason",
            &outcome,
        )?;
    }
    Ok(())
}

fn by_host_header(bed: &Testbed) -> Result<()> {
    let outcome =
        curl(bed, &["plain.test:80"], &["-w", "%{http_code}", "-H", "Host: b.test", "http://plain.test/"])?;
    expect(outcome.stdout.ends_with("403"), "403", &outcome)?;
    expect(outcome.stdout.contains("ringfence-denied"), "the body for programs", &outcome)?;
    expect(
        outcome.has_event(&[("verdict", "deny"), ("reason", "host-mismatch")]),
        "an event with the reason",
        &outcome,
    )
}

fn by_second_request(bed: &Testbed) -> Result<()> {
    let script = "printf 'GET /1 HTTP/1.1\\r\\nHost: plain.test\\r\\n\\r\\n'; sleep 1; \
         printf 'GET /2 HTTP/1.1\\r\\nHost: b.test\\r\\n\\r\\n'; sleep 1";
    let policy = bed.ringfence.allowing(&["plain.test:80"])?;
    let before = bed.web.log().len();
    let outcome = bed.ringfence.run(
        &policy,
        &[],
        &bed.images.agent,
        &["sh", "-c", &format!("({script}) | nc -w 3 plain.test 80")],
    )?;
    let log = bed.web.log();
    let paths: Vec<&str> = log[before..].iter().map(|request| request.path.as_str()).collect();
    expect(paths == ["/1"], &format!("the first request alone arrived: {paths:?}"), &outcome)?;
    expect(outcome.has_event(&[("verdict", "deny"), ("reason", "host-mismatch")]), "an event", &outcome)
}

fn without_sni(bed: &Testbed) -> Result<()> {
    let script = "import socket, ssl\n\
         c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE\n\
         print(c.wrap_socket(socket.create_connection(('a.test', 443), 5), server_hostname=NAME).version())";
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let run = |name: &str| {
        bed.ringfence.run(&policy, &[], &bed.images.agent, &["python3", "-c", &script.replace("NAME", name)])
    };
    expect_status(&run("'a.test'")?, 0)?;
    let outcome = run("None")?;
    expect(outcome.status != 0, "refused", &outcome)?;
    expect(
        outcome.has_event(&[("verdict", "deny"), ("reason", "no-sni")]),
        "an event with the reason",
        &outcome,
    )
}

fn without_tls(bed: &Testbed) -> Result<()> {
    let outcome = curl(bed, &["a.test"], &["http://a.test:443/"])?;
    expect(outcome.status != 0, "refused", &outcome)?;
    expect(
        outcome.has_event(&[("verdict", "deny"), ("reason", "not-tls")]),
        "an event with the reason",
        &outcome,
    )
}

fn forbidden_addresses(bed: &Testbed) -> Result<()> {
    let names: [(&str, &[&str]); 6] = [
        ("private.test", &["private-address"]),
        ("meta.test", &["metadata-address"]),
        ("loop.test", &["reserved-address", "host-address"]),
        ("mapped.test", &["private-address", "reserved-address"]),
        ("host.test", &["host-address"]),
        ("link.test", &["host-address"]),
    ];
    let allow: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    let with_canary_port: Vec<String> =
        allow.iter().map(|name| format!("{name}:{}", integration::testbed::canary::PORT)).collect();
    let all: Vec<&str> = allow.iter().copied().chain(with_canary_port.iter().map(String::as_str)).collect();
    let script = "for n in NAMES; do curl -s --max-time 5 https://$n/; curl -s --max-time 5 telnet://$n:47001 </dev/null; done; true";
    let script = script.replace("NAMES", &allow.join(" "));
    let policy = bed.ringfence.allowing(&all)?;
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["sh", "-c", &script])?;
    for (name, reasons) in names {
        let found = reasons
            .iter()
            .any(|reason| outcome.has_event(&[("verdict", "deny"), ("host", name), ("reason", reason)]));
        expect(found, &format!("{name} is refused with one of {reasons:?}"), &outcome)?;
    }
    expect(outcome.stdout.is_empty(), "nothing came back", &outcome)
}
