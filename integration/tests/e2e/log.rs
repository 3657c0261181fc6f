//! The decision log under floods, and what can be proven of it afterwards.

use std::fs;

use anyhow::{Context, Result, ensure};
use integration::testbed::{Testbed, dns};

use crate::{Test, expect, expect_status};

pub const TESTS: &[Test] =
    &[("a flood hides nothing, a fast client is served, and the log can be proven", whole)];

/// Refused names, then one under a wildcard; then more connections than may be made in a moment, fifty at once.
const AGENT: &str = "\
import socket, http.client, concurrent.futures as futures
def look(name):
    try: return socket.gethostbyname(name)
    except OSError: return None
print('refused', sum(look(f'n{i}.evil.test') is None for i in range(600)))
print('hidden', look('hidden.wild.test') is not None)
def get(_):
    c = http.client.HTTPConnection('plain.test', timeout=30)
    try:
        c.request('GET', '/fast', headers={'Connection': 'close'})
        return c.getresponse().status == 200
    except OSError: return False
    finally: c.close()
with futures.ThreadPoolExecutor(50) as pool: print('served', sum(pool.map(get, range(5000))))
";

fn whole(bed: &Testbed) -> Result<()> {
    let rules = format!(
        "version: 1\nnetwork:\n  allow: [\"*.wild.test\", \"plain.test:80\"]\n  dns:\n    upstreams: [\"{}\"]\n",
        dns::ADDRESS
    );
    let policy = bed.ringfence.policy_file(&rules)?;
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["python3", "-c", AGENT])?;
    expect_status(&outcome, 0)?;
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    // The name does not exist out there: it was asked about all the same.
    let expected = ["refused 600", "hidden False", "served 5000"];
    ensure!(lines == expected, "{expected:?} expected\n{}\n{}", outcome.stdout, outcome.stderr);
    let hidden = [("kind", "dns"), ("host", "hidden.wild.test"), ("resolver", "guard")];
    ensure!(outcome.has_event(&hidden), "the name went upstream without a line");
    let text = fs::read_to_string(&outcome.events_file)?;
    let events: Vec<serde_json::Value> =
        text.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("a line is no JSON")?;
    let of = |phase: &str| events.iter().filter(|event| event["phase"] == phase).count();
    ensure!((of("open"), of("close")) == (5000, 5000), "{} {}", of("open"), of("close"));
    let refused =
        events.iter().filter(|event| event["verdict"] == "deny" && event["reason"] == "not-allowed");
    let refused: u64 = refused.map(|event| 1 + event["left_out"].as_u64().unwrap_or(0)).sum();
    // Two questions a name, one of each address type, or one.
    ensure!((600..=2400).contains(&refused), "{refused} refusals are counted");
    ensure!(
        !events.iter().any(|event| event["reason"] == "limit" || event["reason"] == "host-address"),
        "a limit"
    );

    // The last line on stderr proves the log.
    let last = outcome.stderr.lines().last().unwrap_or_default();
    let digest = last.split("last digest ").nth(1).and_then(|rest| rest.split(' ').next());
    let digest = digest.with_context(|| format!("no digest in the last line: {last}"))?;
    let verify = |text: &str, digest: Option<&str>| -> Result<(Option<i32>, String)> {
        let file = bed.fresh_directory("log-verified")?.join("events.jsonl");
        fs::write(&file, text)?;
        let file = file.to_string_lossy().into_owned();
        let mut words = vec!["events", file.as_str(), "--verify"];
        words.extend(digest.into_iter().flat_map(|digest| ["--digest", digest]));
        let said = bed.ringfence.call(&words)?;
        Ok((said.status.code(), said.stdout))
    };
    let (status, said) = verify(&text, Some(digest))?;
    ensure!(status == Some(0) && said.contains("nothing is missing, changed or added"), "{said}");
    let cut = &text[..text.trim_end().rfind('\n').context("one line")? + 1];
    let (status, said) = verify(cut, None)?;
    ensure!(status == Some(0) && said.contains("nothing proves"), "{said}");
    let (status, said) = verify(cut, Some(digest))?;
    ensure!(status == Some(1) && said.contains("missing at the end"), "{said}");
    let (status, said) = verify(&text.replacen("hidden.wild.test", "harmless.wild.test", 1), Some(digest))?;
    ensure!(status == Some(1) && said.contains("was changed"), "{said}");
    // ringfence's own copy is the same.
    let id = events[0]["workflow"].as_str().context("no id")?;
    let own = bed.ringfence.call(&["events", id, "--verify", "--digest", digest, "--json"])?;
    let own: serde_json::Value = serde_json::from_str(&own.stdout)?;
    ensure!(own["good"] == true && own["events"] == events.len(), "{own}");
    expect(outcome.stderr.contains("refused"), "the summary stands before it", &outcome)
}
