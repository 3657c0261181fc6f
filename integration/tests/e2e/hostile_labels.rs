//! Labels that an image or a person chose: nothing on this machine is touched by them, nobody's run
//! is meant by them, and no terminal gets them raw. Beside them: whose workflow is whose, and who
//! may remove it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration::command::{Output, bounded, until};
use integration::testbed::Testbed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::leftovers::only_the_uplink;
use crate::{Test, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("labels of plain containers lead nowhere, and a real leftover goes", plain_containers),
    ("an image's labels are not its run's, and another machine asks first", images_labels),
    ("a supervisor that is stopped elsewhere keeps its workflow", stopped_supervisor),
];

/// A leftover's id, as version 0.1 named its objects.
const LEFT: &str = "00c0ffee";
const ESCAPES: &str = "\u{1b}[2J\u{9b}31m\u{202e}x";

/// `ringfence ARGUMENTS` of a person with another state folder.
fn elsewhere(bed: &Testbed, state: &Path, arguments: &[&str]) -> Result<Output> {
    bounded(
        bed.ringfence.command().env("XDG_STATE_HOME", state).args(arguments),
        b"",
        Duration::from_secs(120),
    )
}

/// A folder below the testbed's with a file in it.
fn victim(bed: &Testbed, name: &str) -> Result<PathBuf> {
    let folder = bed.ringfence.state().join("..").join(name);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("precious"), "precious")?;
    Ok(folder.canonicalize()?)
}

fn is_whole(folder: &Path) -> Result<()> {
    let text = fs::read_to_string(folder.join("precious"));
    ensure!(
        text.as_deref().is_ok_and(|text| text == "precious"),
        "{} was touched: {text:?}",
        folder.display()
    );
    Ok(())
}

fn shows_nothing_raw(output: &Output) -> Result<()> {
    for text in [&output.stdout, &output.stderr] {
        let raw = text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}');
        ensure!(!raw, "raw text for the terminal: {output:?}");
    }
    Ok(())
}

/// Makes a container, as a person does who looks into an image.
fn create(bed: &Testbed, name: Option<&str>, image: &str, labels: &[(&str, &str)]) -> Result<String> {
    let labels: Vec<String> =
        labels.iter().map(|(label, value)| format!("dev.ringfence.{label}={value}")).collect();
    let mut arguments = vec!["create"];
    arguments.extend(name.iter().flat_map(|name| ["--name", name]));
    arguments.extend(labels.iter().flat_map(|label| ["--label", label.as_str()]));
    arguments.extend([image, "true"]);
    Ok(bed.engine.docker(&arguments)?.trim().to_owned())
}

fn is_there(bed: &Testbed, container: &str) -> Result<bool> {
    Ok(bed.engine.try_docker(&["inspect", container])?.status.success())
}

fn plain_containers(bed: &Testbed) -> Result<()> {
    let folder = victim(bed, "victim")?;
    let path = folder.to_str().context("a path that is text")?;
    let below = format!("../../../{}", path.trim_start_matches('/'));
    let kept = bed.ringfence.state().join("workspace").join(LEFT);
    fs::create_dir_all(&kept)?;
    fs::write(kept.join("precious"), "precious")?;

    let old = [("role", "agent"), ("created-at", "1"), ("name", "nightly")];
    let mut hostile = Vec::new();
    for workflow in [path, &below, "..", "", ESCAPES, "00112233"] {
        let labels = [&[("workflow", workflow)], &old[..]].concat();
        hostile.push(create(bed, None, &bed.images.tiny, &labels)?);
    }
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let run = bed.ringfence.run(&policy, &[], &bed.images.tiny, &["true"])?;
    expect_status(&run, 0)?;
    // The name that a constructed one would be, and labels that no run has.
    for (label, value) in [("name", ESCAPES), ("image", ESCAPES), ("created-at", "x"), ("role", "king")] {
        let labels = [&[("workflow", "00112244")], &old[..], &[(label, value)]].concat();
        hostile.push(create(bed, Some("ringfence-00112244-agent"), &bed.images.tiny, &labels)?);
        let everything = all_commands(bed, &["00112244", "nightly", path])?;
        everything.iter().try_for_each(shows_nothing_raw)?;
        for container in &hostile {
            ensure!(is_there(bed, container)?, "{container} was removed");
        }
        bed.engine.docker(&["rm", &hostile.pop().context("the last one")?])?;
        is_whole(&folder)?;
    }

    // The control: what is a workflow's by name and labels goes, by the engine's id, and nothing on
    // this machine with it.
    let digest = format!("sha256:{}", "d".repeat(64));
    let label = |role: &str| {
        [("workflow", LEFT), ("role", role), ("created-at", "1"), ("policy-digest", &digest)]
            .map(|(label, value)| format!("--label=dev.ringfence.{label}={value}"))
    };
    let [workflow, role, created, policy] = label("agent");
    let name = format!("--name=ringfence-{LEFT}-agent");
    bed.engine.docker(&["create", &name, &workflow, &role, &created, &policy, &bed.images.tiny, "true"])?;
    let [workflow, role, created, policy] = label("network");
    let network = format!("ringfence-{LEFT}-network");
    bed.engine.docker(&["network", "create", &workflow, &role, &created, &policy, &network])?;
    let [workflow, role, created, policy] = label("volume");
    let volume = format!("ringfence-{LEFT}-volume");
    bed.engine.docker(&["volume", "create", &workflow, &role, &created, &policy, &volume])?;
    let listed = bed.ringfence.call(&["ps"])?;
    ensure!(listed.stdout.contains(LEFT), "ps shows it: {listed:?}");
    let gone = bed.ringfence.call(&["gc"])?;
    ensure!(gone.stdout.trim() == LEFT && gone.status.success(), "gc removes it, and it alone: {gone:?}");
    ensure!(gone.stderr.contains("no record"), "and says what it leaves out: {gone:?}");
    is_whole(&kept)?;
    is_whole(&folder)?;
    fs::remove_dir_all(&kept)?;
    for container in &hostile {
        bed.engine.docker(&["rm", container])?;
    }
    only_the_uplink(bed)
}

/// Runs the commands that a person may type, with each of these words.
fn all_commands(bed: &Testbed, words: &[&str]) -> Result<Vec<Output>> {
    let call = |arguments: &[&str]| bed.ringfence.call(arguments);
    let mut all = vec![call(&["ps"])?, call(&["ps", "--json"])?, call(&["gc"])?];
    for word in words {
        for arguments in [
            &["stop", word][..],
            &["allow", word, "evil.test"],
            &["deny", word],
            &["net", word, "cut"],
            &["reload", word, "--allow", "evil.test"],
            &["events", word],
        ] {
            let output = call(arguments)?;
            ensure!(!output.status.success(), "{arguments:?} was done: {output:?}");
            all.push(output);
        }
    }
    Ok(all)
}

/// An image with labels of its own.
fn labelled_image(bed: &Testbed) -> Result<String> {
    let container = create(bed, None, &bed.images.tiny, &[])?;
    let image = "ringfence-test-labelled:1";
    let mut arguments = vec!["commit".to_owned()];
    for (label, value) in [
        ("workflow", "/some/folder"),
        ("role", "guard"),
        ("name", "nightly"),
        ("created-at", "1"),
        ("image", "trusted:1"),
        ("image-digest", "trusted@sha256:0"),
        ("policy-digest", "x"),
        ("disk-limit", "1"),
        ("time-limit", "1"),
    ] {
        arguments.push(format!("--change=LABEL dev.ringfence.{label}={value}"));
    }
    arguments.extend([container.clone(), image.to_owned()]);
    bed.engine.docker(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    bed.engine.docker(&["rm", &container])?;
    Ok(image.to_owned())
}

/// A supervisor without `--name`, whose agent sleeps.
struct Supervisor(Child);

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Supervisor {
    fn start(bed: &Testbed, image: &str, seconds: &str) -> Result<Supervisor> {
        let policy = bed.ringfence.allowing(&["a.test"])?;
        let mut command = bed.ringfence.command();
        command.arg("run").arg("--policy").arg(policy).args([image, "sleep", seconds]);
        Ok(Supervisor(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.0.id())?), signal)?)
    }
}

/// The one workflow, when its agent is in this state.
fn listed(bed: &Testbed, agent: &str) -> Result<Value> {
    let mut found = Value::Null;
    until("ps shows the workflow", Duration::from_secs(60), || {
        let list = bed.ringfence.call(&["ps", "--json"]).map(|output| output.stdout).unwrap_or_default();
        found = serde_json::from_str::<Value>(&list).map(|all| all[0].clone()).unwrap_or_default();
        found["agent"] == agent
    })?;
    Ok(found)
}

/// The guard's word on its supervisor.
fn supervised(bed: &Testbed, state: &Path, id: &str) -> Result<bool> {
    let output = elsewhere(bed, state, &["net", id, "--json", "--without-record"])?;
    let answer: Value = serde_json::from_str(&output.stdout).with_context(|| format!("{output:?}"))?;
    answer["supervised"].as_bool().with_context(|| format!("the guard does not say: {answer}"))
}

fn images_labels(bed: &Testbed) -> Result<()> {
    let other = victim(bed, "other-state")?;
    let image = labelled_image(bed)?;
    let supervisor = Supervisor::start(bed, &image, "600")?;
    let found = listed(bed, "running")?;
    let id = found["id"].as_str().context("an id")?.to_owned();
    ensure!(found["name"].is_null() && found["image"] == image.as_str(), "its own words: {found}");
    // Podman has a digest for what no registry gave too.
    let digest = found["image_digest"].as_str().unwrap_or_default();
    ensure!(found["recorded"] == true && !digest.contains("trusted"), "{found}");
    let hostile = bed.ringfence.call(&["allow", "nightly", "evil.test"])?;
    ensure!(hostile.stderr.contains("no workflow `nightly`"), "{hostile:?}");
    let meant = bed.ringfence.call(&["allow", &id, "b.test"])?;
    ensure!(meant.status.success(), "the control, by its id: {meant:?}");

    // A machine without the record.
    for arguments in [&["allow", &id, "evil.test"][..], &["deny", &id], &["net", &id], &["reload", &id]] {
        let refused = elsewhere(bed, &other, arguments)?;
        ensure!(refused.status.code() == Some(125), "{arguments:?}: {refused:?}");
        ensure!(refused.stderr.contains("--without-record"), "{arguments:?}: {refused:?}");
    }
    let confirmed = elsewhere(bed, &other, &["allow", &id, "c.test", "--without-record"])?;
    ensure!(confirmed.status.success(), "{confirmed:?}");
    let shown = elsewhere(bed, &other, &["events", &id, "--json"])?;
    ensure!(shown.stdout.contains("\"ready\""), "its events can be read: {shown:?}");
    ensure!(!other.join("ringfence/events").join(format!("{id}.jsonl")).exists(), "and are not kept there");

    // The guard knows a supervisor that is stopped from one that is gone.
    ensure!(supervised(bed, &other, &id)?, "a supervisor is attached");
    supervisor.signal(Signal::SIGSTOP)?;
    ensure!(supervised(bed, &other, &id)?, "a stopped one is attached");
    supervisor.signal(Signal::SIGKILL)?;
    until("the guard notices", Duration::from_secs(10), || {
        supervised(bed, &other, &id).is_ok_and(|there| !there)
    })?;

    let stopped = elsewhere(bed, &other, &["stop", &id])?;
    ensure!(stopped.status.success() && stopped.stderr.contains("no record"), "{stopped:?}");
    is_whole(&other)?;
    only_the_uplink(bed)?;
    // The record that is left here is of no workflow any more.
    let record = bed.ringfence.state().join("runs").join(format!("{id}.json"));
    ensure!(record.exists(), "the run was recorded at {}", record.display());
    bed.ringfence.call(&["gc"])?;
    ensure!(!record.exists(), "and is forgotten");
    bed.engine.docker(&["rmi", &image])?;
    fs::remove_dir_all(&other)?;
    Ok(())
}

fn stopped_supervisor(bed: &Testbed) -> Result<()> {
    let other = victim(bed, "third-state")?;
    let began = Instant::now();
    let supervisor = Supervisor::start(bed, &bed.images.tiny, "15")?;
    listed(bed, "running")?;
    supervisor.signal(Signal::SIGSTOP)?;
    let found = listed(bed, "exited")?;
    let id = found["id"].as_str().context("an id")?.to_owned();
    // Younger ones are left alone whatever the guard says.
    sleep(Duration::from_secs(123).saturating_sub(began.elapsed()));
    for _ in 0..2 {
        let swept = elsewhere(bed, &other, &["gc"])?;
        ensure!(swept.status.success() && !swept.stdout.contains(&id), "{swept:?}");
        let here = bed.ringfence.call(&["gc"])?;
        ensure!(here.status.success() && !here.stdout.contains(&id), "{here:?}");
    }
    listed(bed, "exited")?;
    // The control: without a supervisor it goes.
    supervisor.signal(Signal::SIGKILL)?;
    until("the guard notices", Duration::from_secs(10), || {
        supervised(bed, &other, &id).is_ok_and(|there| !there)
    })?;
    let swept = elsewhere(bed, &other, &["gc"])?;
    if swept.stdout.trim() != id {
        bail!("gc removes what nobody supervises: {swept:?}");
    }
    fs::remove_dir_all(&other)?;
    only_the_uplink(bed)
}
