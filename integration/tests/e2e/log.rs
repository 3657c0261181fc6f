//! The decision log under floods, and what can be proven of it afterwards.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use integration::command::until;
use integration::ringfence::Outcome;
use integration::testbed::{Testbed, dns};
use serde_json::{Value, json};

use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("a flood hides nothing, a fast client is served, and the log can be proven", whole),
    ("the log says who started what, and how it ended", started_and_ended),
];

/// Refused names, then one under a wildcard; then more connections than may be made in a moment,
/// fifty at once.
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
    let policy = bed.ringfence.with_most_connections(bed.ringfence.policy_file(&rules)?)?;
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
    hold_against_schema(&events)?;
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

/// Holds each event of a log against the published schema, which describes no field more than are
/// written.
fn hold_against_schema(events: &[Value]) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.enable_format_assertions();
    compiler.add_resource("events.schema.json", schema).map_err(|error| anyhow!("{error}"))?;
    let compiled =
        compiler.compile("events.schema.json", &mut schemas).map_err(|error| anyhow!("{error}"))?;
    for event in events {
        schemas.validate(event, compiled).map_err(|error| anyhow!("{event}\n{error}"))?;
    }
    ensure!(!events.is_empty(), "no events");
    Ok(())
}

/// The events of a run, by ringfence's own copy.
fn of_run(bed: &Testbed, run: &str) -> Result<Vec<Value>> {
    let said = bed.ringfence.call(&["events", run, "--json"])?;
    Ok(said.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn find<'a>(events: &'a [Value], reason: &str) -> Result<&'a Value> {
    events.iter().find(|event| event["reason"] == reason).with_context(|| format!("no {reason}: {events:#?}"))
}

fn started_and_ended(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let image = bed.images.agent.as_str();
    let project = bed.fresh_directory("audited")?.join("project");
    fs::create_dir_all(&project)?;
    let project = project.to_string_lossy().into_owned();

    // An agent that ends by itself, with words that no log may have.
    let secret = format!("glpat-{}", "9dJq4TzX0kV2bLw7NmRs");
    let script = format!("echo {secret} >/dev/null; exit 3");
    let options =
        ["--project", project.as_str(), "-e", "COLOUR=chartreuse", "--allow-secret", "gitlab-pat@argument:3"];
    let outcome: Outcome = bed.ringfence.run(
        &policy,
        &options,
        image,
        &["sh", "-c", &script, "x", "--password", "Tr0ub4dor-3"],
    )?;
    expect_status(&outcome, 3)?;
    hold_against_schema(&outcome.events)?;
    let start = find(&outcome.events, "start")?;
    ensure!(start["uid"] == own_uid() && start["user"].is_string(), "{start}");
    ensure!(start["image_name"] == image && start["project"] == project, "{start}");
    ensure!(start["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{start}");
    let command =
        ["sh", "-c", "echo masked-by-ringfence >/dev/null; exit 3", "x", "--password", "masked-by-ringfence"];
    ensure!(start["command"] == json!(command), "{start}");
    let text = fs::read_to_string(&outcome.events_file)?;
    for word in [secret.as_str(), "Tr0ub4dor", "chartreuse"] {
        ensure!(!text.contains(word), "{word} is in the log");
    }
    let ended = find(&outcome.events, "agent-ended")?;
    ensure!(ended["how"] == "exited" && ended["exit_status"] == 3, "{ended}");
    ensure!(outcome.events.last().is_some_and(|last| last["reason"] == "end"), "{text}");

    // One whose time is over.
    let outcome = bed.ringfence.run(&policy, &["--time", "2s"], image, &["sleep", "60"])?;
    expect_status(&outcome, 124)?;
    let ended = find(&outcome.events, "agent-ended")?;
    ensure!(ended["how"] == "time-limit" && ended["exit_status"] == 124, "{ended}");

    // One that is stopped.
    let wait = Duration::from_secs(60);
    let agent = ["sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done"];
    let mut running = bed.ringfence.start(&policy, &[], image, &agent)?;
    running.wait_for_line("up", wait)?;
    let stopped = bed.ringfence.call(&["stop", &running.name])?;
    ensure!(stopped.status.success(), "{stopped:?}");
    let outcome = running.finish(wait)?;
    ensure!(
        find(&outcome.events, "stop-asked")?["what"].as_str().is_some_and(|by| by.contains("uid")),
        "{outcome:?}"
    );
    ensure!(find(&outcome.events, "agent-ended")?["how"] == "stopped", "{outcome:?}");
    hold_against_schema(&outcome.events)?;

    // One whose supervisor is killed: the guard says so, and who removes the run says how the agent
    // ended.
    let agent = ["sh", "-c", "echo up; sleep 3; exit 7"];
    let mut running = bed.ringfence.start(&policy, &[], image, &agent)?;
    running.wait_for_line("up", wait)?;
    let id = find(&of_run(bed, &running.name)?, "start")?["workflow"].as_str().context("no id")?.to_owned();
    drop(running);
    until("the guard misses its supervisor, and the agent ends", wait, || {
        let ended = bed.ringfence.call(&["ps", "--json"]).is_ok_and(|listed| {
            let all: Value = serde_json::from_str(&listed.stdout).unwrap_or_default();
            all.as_array().into_iter().flatten().any(|run| run["id"] == id && run["agent"] == "exited")
        });
        ended && of_run(bed, &id).is_ok_and(|events| find(&events, "supervisor-lost").is_ok())
    })?;
    let removed = bed.ringfence.call(&["stop", &id])?;
    ensure!(removed.status.success(), "{removed:?}");
    let events = of_run(bed, &id)?;
    ensure!(find(&events, "stop-asked").is_err(), "nobody was stopped: {events:#?}");
    let ended = find(&events, "agent-ended")?;
    ensure!(ended["how"] == "supervisor-lost" && ended["exit_status"] == 7, "{ended}");
    hold_against_schema(&events)
}

/// The number of the account that runs the tests.
fn own_uid() -> u32 {
    nix::unistd::Uid::current().as_raw()
}
