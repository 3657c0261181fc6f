//! Behind a corporate proxy, on the host, under a corporate authority. The proxies' own log is the
//! judge.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, ensure};
use integration::ringfence::CREDENTIALS;
use integration::testbed::engine::variants::Product;
use integration::testbed::proxy::{self, ADDRESS, Asked, FORBIDDING, GUARDED, INNER, OPEN};
use integration::testbed::{Testbed, canary, dns, gitlab};

use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("git clone with no outside DNS at all", clone),
    ("a name that only the proxy knows needs its own rule", only_the_proxy),
    ("one switch lets the proxy resolve every name but a project's", switch),
    ("a resolved name goes through the proxy once its address is checked", checked),
    ("no-proxy is dialled directly", direct),
    ("credentials reach the proxy and nothing else", credentials),
    ("what the proxy refuses is told", refusals),
    ("the proxy itself is not the agent's", not_the_agents),
    ("a proxy on this machine", on_this_machine),
    ("a dev server of the host", dev_server),
    ("curl, git, python and node under a corporate authority", corporate_authority),
    ("proxies of the image are taken out", image_proxies),
];

/// A policy behind a proxy, with a resolver that nobody reaches or the testbed's.
fn policy(bed: &Testbed, rules: &str, proxy: &str, resolver: &str) -> Result<PathBuf> {
    bed.ringfence.policy_file(&format!(
        "version: 1\nnetwork:\n  allow:\n{rules}\n  dns:\n    upstreams: [\"{resolver}\"]\n  {proxy}\n"
    ))
}

fn through(port: u16) -> String {
    format!("proxy: http://{ADDRESS}:{port}")
}

/// An address at which no name server answers.
const NOBODY: &str = "192.0.2.53";

fn clone(bed: &Testbed) -> Result<()> {
    let rules = "    - {host: gitlab.test, resolved-by: proxy}";
    let policy = policy(bed, rules, &through(OPEN), NOBODY)?;
    let project = bed.fresh_directory("clone-by-proxy")?;
    let before = bed.dns.log().len();
    bed.proxies.take();
    let outcome = bed.ringfence.run(
        &policy,
        &["--project", &project.to_string_lossy()],
        &bed.images.agent,
        &["git", "clone", "--quiet", "https://gitlab.test/group/project.git"],
    )?;
    expect_status(&outcome, 0)?;
    let file = fs::read_to_string(project.join("project").join(gitlab::FILE.0)).unwrap_or_default();
    expect(file == gitlab::FILE.1, "the file is in the project directory", &outcome)?;
    let asked = bed.proxies.take();
    ensure!(!asked.is_empty() && asked.iter().all(|one| one.target == "gitlab.test:443"), "{asked:?}");
    ensure!(bed.dns.log().len() == before, "no name server was asked");
    expect(
        outcome.has_event(&[("host", "gitlab.test"), ("verdict", "allow"), ("resolver", "proxy")]),
        "the event says who resolved",
        &outcome,
    )
}

fn only_the_proxy(bed: &Testbed) -> Result<()> {
    let url = format!("https://{INNER}/");
    bed.proxies.take();
    let plain = policy(bed, &format!("    - {INNER}"), &through(OPEN), dns::ADDRESS)?;
    let outcome = bed.ringfence.run(&plain, &[], &bed.images.agent, &["curl", "-sS", &url])?;
    expect(outcome.status != 0, "without `resolved-by` it does not resolve", &outcome)?;
    let event = outcome.event(&[("reason", "resolve-failed"), ("host", INNER)]);
    let error = event.and_then(|event| event["error"].as_str()).unwrap_or_default();
    expect(error.contains("resolved-by: proxy"), "the event says what would help", &outcome)?;
    ensure!(bed.proxies.take().is_empty(), "the proxy was not asked");
    let rules = "    - {host: \"*.proxy.test\", resolved-by: proxy}";
    let by_proxy = policy(bed, rules, &through(OPEN), dns::ADDRESS)?;
    let outcome = bed.ringfence.run(&by_proxy, &[], &bed.images.agent, &["curl", "-sS", &url])?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout == format!("{INNER} /\n"), "with it the page, under a wildcard too", &outcome)
}

fn switch(bed: &Testbed) -> Result<()> {
    let url = format!("https://{INNER}/");
    let proxy = format!("proxy: {{url: \"http://{ADDRESS}:{OPEN}\", resolves-names: true}}");
    let by_switch = policy(bed, &format!("    - {INNER}"), &proxy, dns::ADDRESS)?;
    bed.proxies.take();
    let outcome = bed.ringfence.run(&by_switch, &[], &bed.images.agent, &["curl", "-sS", &url])?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout == format!("{INNER} /\n"), "the page, without a word in the rule", &outcome)?;
    expect(
        outcome.has_event(&[("host", INNER), ("verdict", "allow"), ("resolver", "proxy")]),
        "the event says who resolved",
        &outcome,
    )?;
    // An address that the guard does know is checked as ever.
    let forbidden = policy(bed, "    - meta.test", &proxy, dns::ADDRESS)?;
    bed.proxies.take();
    let outcome =
        bed.ringfence.run(&forbidden, &[], &bed.images.agent, &["curl", "-sS", "https://meta.test/"])?;
    expect(outcome.has_event(&[("reason", "metadata-address")]), "the floor holds", &outcome)?;
    ensure!(bed.proxies.take().is_empty(), "the proxy was not asked");
    // A project's rule inside a ceiling says itself who resolves.
    let project = bed.fresh_directory("switch")?;
    fs::write(project.join(".ringfence.yml"), format!("version: 1\nnetwork:\n  allow: [{INNER}]\n"))?;
    let inside = bed.ringfence.policy_file(&format!(
        "version: 1\nnetwork:\n  ceiling: [{INNER}]\n  dns:\n    upstreams: [\"{}\"]\n  {proxy}\n",
        dns::ADDRESS
    ))?;
    let options = ["--project", project.to_str().unwrap_or_default()];
    let outcome = bed.ringfence.run(&inside, &options, &bed.images.agent, &["curl", "-sS", &url])?;
    expect(outcome.has_event(&[("reason", "resolve-failed"), ("host", INNER)]), "not a project's", &outcome)?;
    ensure!(bed.proxies.take().is_empty(), "the proxy was not asked");
    Ok(())
}

fn checked(bed: &Testbed) -> Result<()> {
    let rules = "    - a.test\n    - {host: mixed.test, resolved-by: proxy}\n    - meta.test";
    let policy = policy(bed, rules, &through(OPEN), dns::ADDRESS)?;
    bed.proxies.take();
    let outcome = bed.ringfence.run(
        &policy,
        &[],
        &bed.images.agent,
        &["curl", "-sS", "https://a.test/", "https://mixed.test/", "https://meta.test/"],
    )?;
    expect(outcome.stdout == "a.test /\n", "the good page alone", &outcome)?;
    let asked: Vec<String> = bed.proxies.take().into_iter().map(|one| one.target).collect();
    ensure!(asked == ["a.test:443"], "{asked:?}");
    expect(
        outcome.has_event(&[("host", "a.test"), ("verdict", "allow"), ("resolver", "guard")])
            && outcome.has_event(&[("host", "mixed.test"), ("reason", "private-address")])
            && outcome.has_event(&[("host", "meta.test"), ("reason", "metadata-address")]),
        "the events say so",
        &outcome,
    )
}

fn direct(bed: &Testbed) -> Result<()> {
    let proxy = format!("{}\n  no-proxy: [.b.test, 10.99.0.0/16]", through(OPEN));
    let rules = "    - a.test\n    - b.test\n    - {host: private.test, private: [10.99.0.0/16]}";
    let policy = policy(bed, rules, &proxy, dns::ADDRESS)?;
    bed.proxies.take();
    let outcome = bed.ringfence.run(
        &policy,
        &[],
        &bed.images.agent,
        &["curl", "-sS", "https://a.test/", "https://b.test/", "https://private.test/"],
    )?;
    expect_status(&outcome, 0)?;
    let asked: Vec<String> = bed.proxies.take().into_iter().map(|one| one.target).collect();
    ensure!(asked == ["a.test:443"], "{asked:?}");
    expect(
        outcome.has_event(&[("host", "private.test"), ("address", "10.99.0.5")]),
        "what was dialled directly has its address",
        &outcome,
    )
}

fn credentials(bed: &Testbed) -> Result<()> {
    let by = |variable: &str| {
        let proxy = format!("proxy: {{url: \"http://proxy.test:{GUARDED}\", credentials-env: {variable}}}");
        policy(bed, "    - a.test", &proxy, "system")
    };
    let secret = proxy::CREDENTIALS.split(':').next_back().unwrap_or_default();
    bed.proxies.take();
    let right = by(CREDENTIALS.0)?;
    let mut running = bed.ringfence.start(
        &right,
        &[],
        &bed.images.agent,
        &["sh", "-c", "curl -sS https://a.test/ && echo done && sleep 20"],
    )?;
    running.wait_for_line("done", std::time::Duration::from_secs(60))?;
    // While it runs, nothing that the engine shows has them.
    let containers =
        bed.engine.docker(&["ps", "--all", "--quiet", "--filter", "label=dev.ringfence.workflow"])?;
    let mut shown = String::new();
    for container in containers.lines() {
        shown.push_str(&bed.engine.docker(&["inspect", container])?);
        shown.push_str(&bed.engine.docker(&["logs", container])?);
    }
    ensure!(shown.contains("ringfence-uplink") && !shown.contains(secret), "the engine shows them");
    bed.ringfence.call(&["stop", &running.name])?;
    let outcome = running.finish(std::time::Duration::from_secs(60))?;
    let everything = outcome.shown();
    ensure!(!everything.contains(secret), "they are in an event or on the terminal: {everything}");
    let asked = bed.proxies.take();
    ensure!(
        asked.iter().any(|one: &Asked| one.target == "a.test:443" && one.authorization.is_some()),
        "the proxy saw them: {asked:?}"
    );

    let outcome = bed.ringfence.run(
        &by(CREDENTIALS.1)?,
        &[],
        &bed.images.agent,
        &["curl", "-sS", "https://a.test/"],
    )?;
    let event = outcome.event(&[("reason", "connect-failed")]);
    let error = event.and_then(|event| event["error"].as_str()).unwrap_or_default();
    expect(error.contains("407") && !outcome.shown().contains("wr0ng"), "wrong ones are told of", &outcome)?;

    let outcome = bed.ringfence.run(&by("TESTBED_NOT_SET")?, &[], &bed.images.agent, &["true"])?;
    expect_status(&outcome, 125)?;
    expect(outcome.stderr.contains("TESTBED_NOT_SET"), "a missing variable is named", &outcome)
}

fn refusals(bed: &Testbed) -> Result<()> {
    let mut seen = Vec::new();
    for (port, rule) in [(FORBIDDING, "a.test"), (GUARDED, "a.test"), (OPEN, "dead.test"), (3999, "a.test")] {
        let policy = policy(bed, &format!("    - {rule}"), &through(port), dns::ADDRESS)?;
        let url = format!("https://{rule}/");
        let outcome =
            bed.ringfence.run(&policy, &[], &bed.images.agent, &["curl", "-sS", "--max-time", "30", &url])?;
        expect(outcome.status != 0, "curl fails", &outcome)?;
        let event = outcome.event(&[("reason", "connect-failed"), ("host", rule)]);
        seen.push(event.and_then(|event| event["error"].as_str()).unwrap_or("no event").to_owned());
    }
    ensure!(
        seen == [
            "the proxy forbids it (403)",
            "the proxy wants credentials (407): name their variable by `credentials-env`",
            "the proxy cannot reach it (502)",
            "the proxy 10.99.0.80:3999 at 10.99.0.80:3999: Connection refused (os error 111)",
        ],
        "{seen:#?}"
    );
    Ok(())
}

fn not_the_agents(bed: &Testbed) -> Result<()> {
    let rules = format!("    - a.test\n    - {{host: proxy.test, ports: [{OPEN}], protocol: tcp}}");
    let policy = policy(bed, &rules, &format!("{}\n  no-proxy: [proxy.test]", through(OPEN)), dns::ADDRESS)?;
    bed.proxies.take();
    let by_name = format!("http://proxy.test:{OPEN}");
    let by_address = format!("http://{ADDRESS}:{OPEN}");
    for proxy in [by_name, by_address] {
        let outcome = bed.ringfence.run(
            &policy,
            &[],
            &bed.images.agent,
            &["curl", "-sS", "--proxy", &proxy, "https://b.test/"],
        )?;
        expect(outcome.status != 0, "the agent does not get to the proxy by itself", &outcome)?;
    }
    let asked = bed.proxies.take();
    ensure!(asked.is_empty(), "{asked:?}");
    Ok(())
}

fn on_this_machine(bed: &Testbed) -> Result<()> {
    let host = bed.engine.gateway("bridge")?;
    bed.proxies.start_here(SocketAddr::new(bed.engine.listen_address()?.into(), 3140))?;
    let loopback = TcpListener::bind("127.0.0.1:3141")?;
    let at =
        |port: u16| policy(bed, "    - a.test", &format!("proxy: http://127.0.0.1:{port}"), dns::ADDRESS);
    bed.proxies.take();
    let outcome =
        bed.ringfence.run(&at(3140)?, &[], &bed.images.agent, &["curl", "-sS", "https://a.test/"])?;
    expect_status(&outcome, 0)?;
    ensure!(bed.proxies.take().iter().any(|one| one.port == 3140), "the proxy was asked");
    if bed.engine.product() == Product::Podman {
        // The host's address on the guard's network is there with a guard only, so nothing can be
        // tried before.
        return Ok(());
    }
    let outcome = bed.ringfence.run(&at(3141)?, &[], &bed.images.agent, &["true"])?;
    expect_status(&outcome, 125)?;
    expect(
        outcome.stderr.contains(&format!("have it listen on {host} too")),
        "one on the loopback alone is told before anything is created",
        &outcome,
    )?;
    drop(loopback);
    Ok(())
}

fn dev_server(bed: &Testbed) -> Result<()> {
    let host = bed.engine.gateway("bridge")?;
    let listener = TcpListener::bind((bed.engine.listen_address()?, 3000))?;
    let (heard, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (connections, requests) = (heard.clone(), asked.clone());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            connections.fetch_add(1, Ordering::SeqCst);
            // A close with an unread request would be a reset that overtakes the answer. The start
            // asks without a word whether a server listens, and where.
            let said = BufReader::new(&stream).read_line(&mut String::new()).unwrap_or_default();
            requests.fetch_add(usize::from(said > 0), Ordering::SeqCst);
            stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\ndev\n").ok();
        }
    });
    let canary = canary::PORT;
    let script = format!(
        "curl -sS http://host.docker.internal:3000/; curl -sS -m 5 http://host.docker.internal:{canary}/; \
         curl -sS -m 5 http://{host}:3000/; curl -sS -m 5 http://{host}:{canary}/; true"
    );
    let rule = "  allow:\n    - {host: host.docker.internal, ports: [3000], host-access: true}";
    let permitted = bed.ringfence.policy(rule)?;
    let outcome = bed.ringfence.run(&permitted, &[], &bed.images.agent, &["sh", "-c", &script])?;
    expect(outcome.stdout == "dev\n", "the permitted port, by its name, and nothing else", &outcome)?;
    let count = asked.load(Ordering::SeqCst);
    ensure!(count == 1, "the dev server heard one request, not {count}");
    heard.store(0, Ordering::SeqCst);
    let outcome = bed.ringfence.run(
        &bed.ringfence.allowing(&["a.test"])?,
        &[],
        &bed.images.agent,
        &["sh", "-c", &script],
    )?;
    expect(outcome.stdout.is_empty(), "without the rule nothing", &outcome)?;
    ensure!(heard.load(Ordering::SeqCst) == 0, "the dev server heard nothing");
    Ok(())
}

fn corporate_authority(bed: &Testbed) -> Result<()> {
    const CLIENTS: [(&str, &str); 5] = [
        ("curl", "curl -sS https://corporate.test/"),
        ("git", "git ls-remote https://corporate.test/group/project.git | wc -l"),
        (
            "requests",
            "python3 -c \"import requests; print(requests.get('https://corporate.test/').text, end='')\"",
        ),
        (
            "urllib",
            "python3 -c \"import urllib.request as u; print(u.urlopen('https://corporate.test/').read().decode(), end='')\"",
        ),
        (
            "node",
            "node -e \"fetch('https://corporate.test/').then(r => r.text()).then(t => process.stdout.write(t))\"",
        ),
    ];
    let script: String =
        CLIENTS.iter().map(|(name, command)| format!("echo {name} $({command} 2>/dev/null); ")).collect();
    let script = format!(
        "{script} curl -sS https://a.test/; touch /etc/ringfence/x 2>/dev/null && echo writable; true"
    );
    let policy = bed.ringfence.allowing(&["corporate.test", "a.test"])?;
    let file = bed.corporate_ca.to_string_lossy().into_owned();
    let page = "corporate.test /";
    let with = format!("curl {page}\ngit 2\nrequests {page}\nurllib {page}\nnode {page}\na.test /\n");
    for ca in [file.as_str(), "system"] {
        let outcome = bed.ringfence.run(&policy, &["--ca", ca], &bed.images.agent, &["sh", "-c", &script])?;
        expect(outcome.stdout == with, &format!("all accept it with --ca {ca}: {with}"), &outcome)?;
    }
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["sh", "-c", &script])?;
    let without = "curl\ngit 0\nrequests\nurllib\nnode\na.test /\n";
    expect(outcome.stdout == without, "none accepts it without", &outcome)?;
    let left =
        bed.engine.docker(&["volume", "ls", "--quiet", "--filter", "label=dev.ringfence.role=trust"])?;
    ensure!(left.is_empty(), "the volume is removed: {left}");

    let key = bed.ringfence.policy_file(&format!(
        "version: 1\nnetwork:\n  allow: [corporate.test]\n  dns:\n    upstreams: [\"{}\"]\ncontainer:\n  ca: {file}\n",
        dns::ADDRESS
    ))?;
    let outcome =
        bed.ringfence.run(&key, &[], &bed.images.agent, &["curl", "-sS", "https://corporate.test/"])?;
    expect_status(&outcome, 0)?;
    let outcome = bed.ringfence.run(&policy, &["--ca", "/nowhere.pem"], &bed.images.agent, &["true"])?;
    expect_status(&outcome, 125)
}

fn image_proxies(bed: &Testbed) -> Result<()> {
    let name = format!("ringfence-testbed-proxied-{}", std::process::id());
    let image = "ringfence-testbed/proxied:test";
    bed.engine.docker(&["create", "--name", &name, &bed.images.tiny])?;
    let made = bed.engine.docker(&[
        "commit",
        "--change",
        "ENV HTTP_PROXY=http://10.99.0.80:3128 https_proxy=http://10.99.0.80:3128 KEPT=1",
        &name,
        image,
    ]);
    bed.engine.docker(&["rm", &name])?;
    made?;
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let outcome = bed.ringfence.run(
        &policy,
        &["-e", "NO_PROXY=mine"],
        image,
        // An empty one is none: what Podman's API offers in place of taking it out.
        &["sh", "-c", "env | grep -i -e proxy -e KEPT | grep -v '=$' | sort"],
    )?;
    bed.engine.docker(&["rmi", image])?;
    expect(outcome.stdout == "KEPT=1\nNO_PROXY=mine\n", "only what the person gave", &outcome)
}
