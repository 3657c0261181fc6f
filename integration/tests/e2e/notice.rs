//! The agent's notice: a file that says what it may reach, for every agent to read and for none to
//! write.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::{bounded, until};
use integration::ringfence::Outcome;
use integration::testbed::Testbed;
use serde_json::{Value, json};

use crate::leftovers::only_the_uplink;
use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("every agent reads what it may reach, and none can write it", read_only),
    ("live changes reach the agent, each in one step", live),
    ("a brief notice names no host and no covered path", brief),
    ("no secret and nothing of this machine is in it", nothing_kept),
    ("neither image nor person sets the variables in ringfence's place", own_variables),
    ("its volume is there during the run and gone afterwards", removed),
];

const PLACE: &str = "/run/ringfence/notice/policy.json";

/// An agent's attempts with a file. Each that succeeds is said.
const TRIES: &str = r#"try() { "$@" 2>/dev/null && echo "did: $1 $2"; }
attack() {
    try sh -c "echo x >> $1"; try sh -c "echo x > $1"; try chmod 777 $1; try touch $1; try touch $(dirname $1)/new
    try ln $1 $(dirname $1)/link; try cp /etc/passwd $1; try mv $1 /tmp/moved; try rm -f $1; try rmdir $(dirname $1)
}
"#;

/// The notice in an agent's output, behind the last line `notice:`.
fn parse(outcome: &Outcome) -> Result<Value> {
    let (_, text) = outcome.stdout.rsplit_once("notice:\n").with_context(|| outcome.shown())?;
    serde_json::from_str(text).with_context(|| outcome.shown())
}

fn read_only(bed: &Testbed) -> Result<()> {
    let policy =
        bed.ringfence.policy("  allow: [a.test, b.test:8443]\n  ceiling: [a.test]\n  deny: [bad.test]")?;
    let script = format!(
        "{TRIES}attack $RINGFENCE_POLICY; mkdir /tmp/own; cp $RINGFENCE_POLICY /tmp/own/f; echo own; attack /tmp/own/f; \
         try mount -o remount,rw $(dirname $RINGFENCE_POLICY); try umount $(dirname $RINGFENCE_POLICY); \
         echo $RINGFENCE $RINGFENCE_POLICY; echo notice:; cat $RINGFENCE_POLICY"
    );
    for user in ["0:0", "1234:1234"] {
        let options = ["--user", user, "--memory", "512m", "--time", "10m"];
        let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", &script])?;
        expect_status(&outcome, 0)?;
        let (attacks, rest) = outcome.stdout.split_once("own\n").with_context(|| outcome.shown())?;
        expect(attacks.is_empty(), "the agent changed its notice", &outcome)?;
        let (control, rest) = rest.split_once(&format!("1 {PLACE}\n")).with_context(|| outcome.shown())?;
        expect(!control.contains("mount"), "the agent moved the mount", &outcome)?;
        // The control: each attempt succeeds with a file of the agent's own.
        expect(control.lines().count() >= 7, "attempts succeed elsewhere", &outcome)?;
        expect(rest.starts_with("notice:\n"), "the variables", &outcome)?;
        let notice = parse(&outcome)?;
        let permitted = json!([{"host": "a.test", "port": 443, "protocol": "tls"}]);
        expect(notice["permitted"] == permitted, "what is permitted after the ceilings", &outcome)?;
        expect(!outcome.stdout.contains("bad.test"), "no denial is said", &outcome)?;
        let says = |key: &str, words: &str| notice[key].as_str().is_some_and(|text| text.contains(words));
        expect(says("when_refused", "ringfence allow "), "whom to ask", &outcome)?;
        expect(notice["covered"] == json!([]), "nothing is covered", &outcome)?;
        expect(notice["limits"]["memory_bytes"] == json!(512 << 20), "the memory", &outcome)?;
        expect(notice["limits"]["ends"].is_string(), "the end", &outcome)?;
    }
    let denied = ["--network", "denied"];
    let outcome = bed.ringfence.run(
        &policy,
        &denied,
        &bed.images.tiny,
        &["sh", "-c", "echo notice:; cat $RINGFENCE_POLICY"],
    )?;
    let notice = parse(&outcome)?;
    let said = notice["network"].as_str().is_some_and(|text| text.contains("no network"));
    expect(said && notice["permitted"] == json!([]), "a denied network", &outcome)
}

/// The permitted hosts, as often as they can be read; `broken` for a file that is not whole.
const WATCH: &str = r#"import json, os, time
while True:
    try:
        notice = json.load(open(os.environ['RINGFENCE_POLICY']))
        print(' '.join(['is'] + sorted(one['host'] for one in notice['permitted'])), flush=True)
    except Exception as e: print('broken', type(e).__name__, flush=True)
    time.sleep(.005)
"#;

fn live(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.policy("  allow: [a.test]\n  ceiling: [.test]")?;
    let agent = ["python3", "-u", "-c", WATCH];
    let mut running = bed.ringfence.start(&policy, &["--quiet"], &bed.images.agent, &agent)?;
    running.wait_for_line("is a.test", Duration::from_secs(60))?;
    let next = bed.ringfence.policy("  allow: [model.test]\n  ceiling: [.test]")?;
    let name = running.name.clone();
    let next = next.to_string_lossy();
    let steps: [(&[&str], &str); 8] = [
        (&["allow", &name, "b.test"], "is a.test b.test"),
        (&["deny", &name, "a.test"], "is b.test"),
        (&["allow", &name, "a.test"], "is a.test b.test"),
        (&["deny", &name], "is"),
        (&["net", &name, "restore"], "is a.test b.test"),
        (&["net", &name, "deny", "host=b.test"], "is a.test"),
        (&["net", &name, "restore"], "is a.test b.test"),
        (&["reload", &name, "--policy", &next], "is a.test b.test model.test"),
    ];
    for (step, expected) in steps {
        let mark = running.lines().len();
        let output = bed.ringfence.call(step)?;
        ensure!(output.status.success() && !output.stderr.contains("notice"), "{step:?}: {output:?}");
        let seen = || running.lines().iter().skip(mark).any(|line| line == expected);
        until("the agent reads it", Duration::from_secs(5), seen).with_context(|| format!("{step:?}"))?;
    }
    // What is refused is not told as permitted.
    let refused = bed.ringfence.call(&["allow", &name, "b.example"])?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    let lines = running.lines();
    ensure!(!lines.iter().any(|line| line.contains("b.example")), "a refused change reached the agent");
    let broken = lines.iter().find(|line| line.starts_with("broken"));
    ensure!(broken.is_none(), "{broken:?} among {} readings", lines.len());
    bed.ringfence.call(&["stop", &name])?;
    running.finish(Duration::from_secs(30))?;
    Ok(())
}

fn brief(bed: &Testbed) -> Result<()> {
    let project = bed.fresh_directory("brief-notice")?;
    fs::write(project.join(".env"), "KEY=9dJq4TzX-covered\n")?;
    let options = ["--project", project.to_str().context("a path of text")?];
    for (word, is_full) in [("full", true), ("brief", false)] {
        let policy = bed
            .ringfence
            .policy_file(&format!("version: 1\nnotice: {word}\nnetwork: {{allow: [a.test]}}\n"))?;
        let script = "rm /workspace/.env; echo notice:; cat $RINGFENCE_POLICY";
        let outcome = bed.ringfence.run(&policy, &options, &bed.images.tiny, &["sh", "-c", script])?;
        let notice = parse(&outcome)?;
        expect(notice["permitted"].is_array() == is_full, word, &outcome)?;
        expect(outcome.stdout.contains("a.test") == is_full, word, &outcome)?;
        expect((notice["covered"] == json!(["/workspace/.env"])) == is_full, word, &outcome)?;
        expect(outcome.stdout.contains(".env") == is_full, word, &outcome)?;
        // The words that the notice explains are those that the agent meets.
        let busy = |text: &str| text.to_lowercase().contains("resource busy");
        expect(busy(&outcome.stderr), "the cover's own words", &outcome)?;
        expect(notice["covers"].as_str().is_some_and(busy), "they are explained", &outcome)?;
    }
    Ok(())
}

fn nothing_kept(bed: &Testbed) -> Result<()> {
    let project = bed.fresh_directory("kept-notice")?;
    fs::write(project.join(".env"), "KEY=9dJq4TzX-covered\n")?;
    let at = project.to_str().context("a path of text")?;
    let policy = bed.ringfence.policy(
        "  allow: [{host: a.test, reason: kept-reason}]\n  deny: [kept-denial.test]\n  ceiling: [{host: a.test, reason: kept-ceiling}]",
    )?;
    let mut command = bed.ringfence.command();
    command.env("BY_NAME", "s3cr3t-by-name").env("DB_PASSWORD", "s3cr3t-by-env");
    command.args(["run", "--policy"]).arg(&policy).args([
        "--project",
        at,
        "--secret",
        "BY_NAME",
        "-e",
        "DB_PASSWORD",
    ]);
    command.arg(&bed.images.tiny).args(["sh", "-c", "cat $RINGFENCE_POLICY; echo; cat /run/secrets/BY_NAME"]);
    let output = bounded(&mut command, b"", Duration::from_secs(120))?;
    ensure!(output.status.success(), "{output:?}");
    // The control: the agent has the secret, and another file says it.
    let (notice, secret) = output.stdout.rsplit_once("}\n").context("a notice")?;
    ensure!(secret.trim() == "s3cr3t-by-name" && notice.contains("a.test"), "{output:?}");
    for kept in ["s3cr3t", "9dJq4TzX", "kept-", at, &*policy.to_string_lossy(), "policy.yml"] {
        ensure!(!notice.contains(kept), "`{kept}` is in the notice: {output:?}");
    }
    Ok(())
}

fn own_variables(bed: &Testbed) -> Result<()> {
    let image = "ringfence-testbed/announced:latest";
    bed.engine.load_changed(&bed.images.tiny, image, |config| {
        config["Env"] =
            json!(["PATH=/bin:/usr/bin:/sbin", "RINGFENCE=0", "RINGFENCE_POLICY=/image", "OF_IMAGE=1"]);
    })?;
    let policy = bed.ringfence.allowing(&[])?;
    let script = "echo $OF_IMAGE $RINGFENCE $RINGFENCE_POLICY $MINE; test -s $RINGFENCE_POLICY";
    let options = ["-e", "RINGFENCE=0", "-e", "RINGFENCE_POLICY=/mine", "-e", "MINE=2"];
    for given in [&[][..], &options] {
        let outcome = bed.ringfence.run(&policy, given, image, &["sh", "-c", script])?;
        expect_status(&outcome, 0)?;
        let mine = if given.is_empty() { "" } else { " 2" };
        expect(outcome.stdout == format!("1 1 {PLACE}{mine}\n"), "ringfence's values", &outcome)?;
        for name in ["-e RINGFENCE:", "-e RINGFENCE_POLICY:"] {
            expect(outcome.stderr.contains(name) != given.is_empty(), "the person is told", &outcome)?;
        }
    }
    bed.engine.docker(&["rmi", image])?;
    Ok(())
}

fn removed(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let mut running =
        bed.ringfence.start(&policy, &[], &bed.images.tiny, &["sh", "-c", "echo up; sleep 600"])?;
    running.wait_for_line("up", Duration::from_secs(60))?;
    let volumes =
        bed.engine.docker(&["volume", "ls", "--quiet", "--filter", "label=dev.ringfence.role=notice"])?;
    ensure!(volumes.lines().count() == 1, "one volume of its own: {volumes:?}");
    let name = running.name.clone();
    bed.ringfence.call(&["stop", &name])?;
    running.finish(Duration::from_secs(30))?;
    only_the_uplink(bed)
}
