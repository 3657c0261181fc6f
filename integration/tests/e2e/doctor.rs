//! `ringfence doctor` on a real engine, and `engine.require` as a refusal.
//!
//! The engine of the tests shares the machine's kernel, so what is refused here is refused rightly;
//! the controls are demands that it meets.

use std::fs;
use std::os::unix::net::UnixListener;

use anyhow::{Context, Result, bail, ensure};
use integration::command::Output;
use integration::testbed::Testbed;
use integration::testbed::engine::variants::Product;
use serde_json::{Value, json};

use crate::{Test, expect_status, skip};

pub(crate) const TESTS: &[Test] = &[
    ("ten rows, each with a verdict and evidence", ten_rows),
    ("the kernel is found to be shared", shared_kernel),
    ("the fence is made and proven", fence),
    ("what a container without powers finds", walls_and_limits),
    ("a distribution's build is unknown, not ok", distribution),
    ("containers that open something are named", others),
    ("a privileged container beside is named", privileged),
    ("a default runtime that cannot hold a fence is named", default_runtime),
    ("what would be covered of a project is counted", project),
    ("the bundle for somebody who helps holds facts and no name", bundle),
    ("no engine: nothing is known, and that is said", no_engine),
    ("a demand that is not met refuses the run, and nothing is created", refused),
    ("a demand that cannot be heard from the engine is looked into, and nothing is left", looked_into),
    ("a demand that is met lets the run through", met),
];

struct Report {
    status: i32,
    rows: Vec<Value>,
}

impl Report {
    fn of(output: &Output) -> Result<Report> {
        let rows = serde_json::from_str(&output.stdout).with_context(|| format!("no JSON: {output:?}"))?;
        Ok(Report { status: output.status.code().context("a signal")?, rows })
    }

    fn row(&self, risk: &str) -> Result<(&str, &str)> {
        let row = self.rows.iter().find(|row| row["risk"] == risk).with_context(|| format!("no {risk}"))?;
        Ok((row["verdict"].as_str().context("a verdict")?, row["evidence"].as_str().context("evidence")?))
    }
}

/// The doctor's report; it must leave nothing behind.
fn report(bed: &Testbed, options: &[&str]) -> Result<Report> {
    let before = bed.engine.of_ringfence()?;
    let output = bed.ringfence.call(&[&["doctor", "--json"], options].concat())?;
    ensure!(bed.engine.of_ringfence()? == before, "left behind: {:?}", bed.engine.of_ringfence()?);
    Report::of(&output)
}

fn ten_rows(bed: &Testbed) -> Result<()> {
    let report = report(bed, &[])?;
    let risks: Vec<&str> = report.rows.iter().filter_map(|row| row["risk"].as_str()).collect();
    ensure!(risks == ["R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "R9", "R10"], "{risks:?}");
    for row in &report.rows {
        ensure!(row["evidence"].as_str().is_some_and(|text| !text.is_empty()), "no evidence: {row}");
        ensure!(
            ["ok", "warn", "fail", "unknown"].contains(&row["verdict"].as_str().unwrap_or_default()),
            "{row}"
        );
        ensure!(row["title"].is_string() && row["remedy"].is_string(), "{row}");
        let idle = row["verdict"] == "ok" || row["remedy"].as_str().is_some_and(|text| !text.is_empty());
        ensure!(idle, "nothing to do about it: {row}");
    }
    let failed = report.rows.iter().any(|row| row["verdict"] == "fail");
    ensure!(report.status == i32::from(failed), "exit {} and {failed}", report.status);
    let text = bed.ringfence.call(&["doctor"])?;
    ensure!(text.stdout.contains("R10 ") && text.stdout.contains("10 risks: "), "{}", text.stdout);
    ensure!(!text.stdout.contains('\x1b') && text.stderr.is_empty(), "colour or talk in a pipe: {text:?}");
    Ok(())
}

fn bundle(bed: &Testbed) -> Result<()> {
    let folder = bed.fresh_directory("bundle")?;
    let (project, file) = (folder.join("project-of-anna"), folder.join("bundle.json"));
    fs::create_dir_all(&project)?;
    fs::write(project.join(".env"), "KEY=hunter2hunter2\n")?;
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let options =
        ["--project", project.to_str().context("text")?, "--name", "name-of-anna", "-e", "MARK=m4rk"];
    let script = "getent hosts b.test; echo word-of-the-agent; exit 7";
    expect_status(&bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", script])?, 7)?;
    let before = bed.engine.of_ringfence()?;
    let said = bed.ringfence.call(&["doctor", "--bundle", file.to_str().context("text")?])?;
    ensure!(said.status.code().is_some_and(|status| status < 2), "{said:?}");
    ensure!(bed.engine.of_ringfence()? == before, "left behind: {:?}", bed.engine.of_ringfence()?);
    let text = fs::read_to_string(&file)?;
    let planted = ["anna", "hunter2", "m4rk", "word-of-the-agent", "a.test", "b.test", &bed.images.agent];
    for word in planted.into_iter().chain([bed.ringfence.state().to_str().context("text")?]) {
        ensure!(!text.contains(word), "{word}: {text}");
    }
    let facts: Value = serde_json::from_str(&text)?;
    let run = &facts["runs"][0];
    ensure!(run["exit_status"] == 7 && run["refused"]["not-allowed"].as_u64() > Some(0), "{run}");
    ensure!(
        run["ready_ms"].is_u64() && facts["doctor"].as_array().is_some_and(|rows| rows.len() == 10),
        "{text}"
    );
    ensure!(facts["engine"].is_object() && said.stderr.contains("It is sent nowhere"), "{text}\n{said:?}");
    Ok(())
}

fn shared_kernel(bed: &Testbed) -> Result<()> {
    let here = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let report = report(bed, &[])?;
    let (verdict, evidence) = report.row("R1")?;
    ensure!(verdict == "warn", "{verdict}: {evidence}");
    ensure!(evidence.contains(here.get(..8).context("a boot id")?), "{evidence}");
    Ok(())
}

fn fence(bed: &Testbed) -> Result<()> {
    let report = report(bed, &[])?;
    let (verdict, evidence) = report.row("R2")?;
    ensure!(verdict != "fail" && verdict != "unknown", "{verdict}: {evidence}");
    ensure!(evidence.contains("every attempt to leave it failed"), "{evidence}");
    for feature in
        ["nftables", "redirects", "sets of ranges and ports", "rules for ARP", "nflog", "netdev egress"]
    {
        ensure!(evidence.contains(feature), "{feature} was not tried: {evidence}");
    }
    Ok(())
}

fn walls_and_limits(bed: &Testbed) -> Result<()> {
    let report = report(bed, &[])?;
    let (verdict, evidence) = report.row("R4")?;
    ensure!(verdict == "ok" || verdict == "warn", "{verdict}: {evidence}");
    for found in [
        "no device but the pseudo ones",
        "shares no namespace",
        "no-new-privileges holds",
        "filtered by seccomp",
    ] {
        ensure!(evidence.contains(found), "`{found}` expected: {evidence}");
    }
    let (_, evidence) = report.row("R3")?;
    ensure!(evidence.contains("bounded in memory, processes and CPU time"), "{evidence}");
    Ok(())
}

fn distribution(bed: &Testbed) -> Result<()> {
    let version = bed.engine.docker(&["version", "--format", "{{.Server.Version}}"])?;
    let report = report(bed, &[])?;
    let (verdict, evidence) = report.row("R5")?;
    ensure!(evidence.contains(version.trim()), "{version} is not named: {evidence}");
    if version.contains(['+', '~']) {
        ensure!(
            verdict == "unknown" && evidence.contains("a distribution built it"),
            "{verdict}: {evidence}"
        );
    }
    Ok(())
}

fn others(bed: &Testbed) -> Result<()> {
    let name = |what: &str| format!("testbed-{what}-{}", std::process::id());
    let (web, root) = (name("publishes"), name("watches"));
    let sleep = ["sleep", "600"];
    let start = |name: &str, options: &[&str]| {
        let words =
            [&["run", "--detach", "--rm", "--name", name], options, &[bed.images.tiny.as_str()], &sleep]
                .concat();
        bed.engine.docker(&words)
    };
    let run = || -> Result<Report> {
        start(&web, &["--publish", "127.0.0.1:18080:80"])?;
        // Not --privileged: where the tests themselves lack powers, none can be given.
        // One of the test's own: an engine makes a folder of a path that is not there.
        let socket = bed.fresh_directory("watched")?.join("docker.sock");
        fs::remove_file(&socket).ok();
        let _listener = UnixListener::bind(&socket)?;
        let volume = format!("{}:/var/run/docker.sock", socket.display());
        start(&root, &["--network", "host", "--pid", "host", "--volume", &volume])?;
        report(bed, &[])
    };
    let found = run();
    for name in [&web, &root] {
        bed.engine.docker(&["rm", "--force", name]).ok();
    }
    let found = found?;
    let (verdict, evidence) = found.row("R8")?;
    ensure!(verdict == "warn", "{verdict}: {evidence}");
    let line = |words: &str| evidence.lines().find(|line| line.starts_with(words)).unwrap_or_default();
    for (words, who) in [
        ("publish ports", format!("{web} (127.0.0.1:18080)")),
        ("are in namespaces of the host", format!("{root} (network and processes)")),
        ("hold an engine's socket", format!("{root} (")),
    ] {
        ensure!(line(words).contains(&who), "`{words}: {who}` expected: {evidence}");
    }
    // The control: without them the row is silent.
    let report = report(bed, &[])?;
    let (_, evidence) = report.row("R8")?;
    ensure!(!evidence.contains(&web) && !evidence.contains(&root), "{evidence}");
    Ok(())
}

/// A runtime that is runc, but for what it changes in a container's configuration (its first
/// argument, for sed).
const WRAPPER: &str = r#"edit=$1 bundle= previous=
shift
for word; do
    [ "$previous" = --bundle ] && bundle=$word
    previous=$word
done
[ -n "$bundle" ] && sed -i "$edit" "$bundle/config.json"
PATH=$PATH:/usr/sbin:/usr/bin exec runc "$@"
"#;

/// A test with such a runtime registered, as `wrapper`.
fn with_wrapper(
    bed: &Testbed,
    edit: &str,
    by_default: bool,
    test: impl FnOnce() -> Result<()>,
) -> Result<()> {
    if !bed.engine.is_private() || bed.engine.product() != Product::Docker {
        return skip("no dockerd of the tests' own, whose settings could be changed");
    }
    // Beside the socket, where the engine sees files whatever tree it lives in.
    let socket = bed.engine.host().strip_prefix("unix://").context("a socket")?;
    let script = std::path::Path::new(socket).with_file_name("wrapper.sh");
    std::fs::write(&script, WRAPPER)?;
    let default = if by_default { "wrapper" } else { "runc" };
    let wrapper = json!({"path": "/bin/sh", "runtimeArgs": [script, edit]});
    bed.engine.restart(&json!({"default-runtime": default, "runtimes": {"wrapper": wrapper}}))?;
    let tested = test();
    bed.engine.restart(&Value::Null)?;
    std::fs::remove_file(&script)?;
    tested
}

fn privileged(bed: &Testbed) -> Result<()> {
    // Where the tests have not every power themselves, runc can give none: it is to give fewer, and
    // the engine's word stays.
    with_wrapper(bed, r#"s/"CAP_[A-Z_]*"/"CAP_CHOWN"/g"#, false, || {
        let name = format!("testbed-privileged-{}", std::process::id());
        let options = ["run", "--detach", "--rm", "--privileged", "--runtime", "wrapper", "--name", &name];
        bed.engine.docker(&[&options[..], &[bed.images.tiny.as_str(), "sleep", "600"]].concat())?;
        let found = report(bed, &[]);
        bed.engine.docker(&["rm", "--force", &name])?;
        let found = found?;
        let (verdict, evidence) = found.row("R8")?;
        ensure!(verdict == "warn", "{verdict}: {evidence}");
        let line = evidence.lines().find(|line| line.starts_with("have every power")).unwrap_or_default();
        ensure!(line.contains(&format!("{name} (privileged)")), "{evidence}");
        // The control: without it the row is silent.
        let found = report(bed, &[])?;
        ensure!(!found.row("R8")?.1.contains(&name), "{:?}", found.row("R8")?);
        Ok(())
    })
}

fn default_runtime(bed: &Testbed) -> Result<()> {
    // What stands for a sandbox here gives a container no power over the network that the engine
    // made for it.
    with_wrapper(bed, "s/CAP_NET_ADMIN/CAP_CHOWN/g", true, || {
        // The control: plain containers run in it.
        bed.engine.docker(&["run", "--rm", "--network", "none", &bed.images.tiny, "true"])?;
        let found = report(bed, &[])?;
        let (verdict, evidence) = found.row("R2")?;
        ensure!(verdict == "fail" || verdict == "unknown", "{verdict}: {evidence}");
        ensure!(evidence.contains("default runtime, `wrapper`"), "{evidence}");
        let policy = bed.ringfence.allowing(&["a.test"])?;
        let outcome = bed.ringfence.run(&policy, &[], &bed.images.tiny, &["echo", "ran"])?;
        expect_status(&outcome, 125)?;
        ensure!(outcome.stdout.is_empty(), "the agent ran: {}", outcome.shown());
        ensure!(outcome.stderr.contains("default runtime, `wrapper`"), "{}", outcome.shown());
        ensure!(outcome.stderr.contains("--runtime"), "{}", outcome.shown());
        Ok(())
    })
}

fn project(bed: &Testbed) -> Result<()> {
    let folder = bed.fresh_directory("doctors-project")?;
    std::fs::write(folder.join(".env"), "TOKEN=glpat-0123456789abcdefghij\n")?;
    let report = report(bed, &["--project", &folder.to_string_lossy()])?;
    let (verdict, evidence) = report.row("R7")?;
    ensure!(verdict == "ok" && evidence.contains("1 files without their secrets"), "{verdict}: {evidence}");
    let refused = bed.ringfence.call(&["doctor", "--json", "--project", "/etc"])?;
    ensure!(refused.status.code() == Some(2) && refused.stdout.is_empty(), "{refused:?}");
    Ok(())
}

fn no_engine(bed: &Testbed) -> Result<()> {
    let output = bed.ringfence.call(&["doctor", "--json", "--engine", "unix:///nowhere/engine.sock"])?;
    let report = Report::of(&output)?;
    ensure!(report.status == 2, "exit {}", report.status);
    for risk in ["R1", "R2", "R3", "R4", "R5", "R8"] {
        let (verdict, evidence) = report.row(risk)?;
        ensure!(
            verdict == "unknown" && evidence.contains("/nowhere/engine.sock"),
            "{risk} {verdict}: {evidence}"
        );
    }
    Ok(())
}

fn demanding(bed: &Testbed, demands: &str) -> Result<String> {
    let text = format!("version: 1\nnetwork:\n  allow: [a.test]\nengine:\n  require: [{demands}]\n");
    Ok(bed.ringfence.policy_file(&text)?.to_string_lossy().into_owned())
}

fn refused(bed: &Testbed) -> Result<()> {
    for (demand, risk) in [("vm", "R1"), ("rootless", "R1"), ("patched", "R5")] {
        let policy = demanding(bed, demand)?;
        let looked = report(bed, &["--policy", &policy])?;
        let (verdict, evidence) = looked.row(risk)?;
        if verdict != "fail" {
            // An engine from its makers, up to date, is patched.
            ensure!(demand == "patched", "{demand} should not be met here: {evidence}");
            continue;
        }
        ensure!(looked.status == 1 && evidence.contains(&format!("demands `{demand}`")), "{evidence}");
        let (before, began) = (bed.engine.of_ringfence()?, engine_time(bed)?);
        let output = bed.ringfence.call(&["run", "--policy", &policy, &bed.images.tiny, "true"])?;
        ensure!(output.status.code() == Some(125), "exit 125 expected: {output:?}");
        ensure!(
            output.stderr.contains("engine.require") && output.stderr.contains(demand),
            "{}",
            output.stderr
        );
        ensure!(output.stdout.is_empty(), "{}", output.stdout);
        let (after, made) = (bed.engine.of_ringfence()?, made_since(bed, &began)?);
        ensure!(before == after && made == 0, "something was created: {made} {before:?} {after:?}");
    }
    Ok(())
}

/// Returns the engine's time, which Podman does not tell.
fn engine_time(bed: &Testbed) -> Result<String> {
    if bed.engine.product() == Product::Podman {
        return Ok(String::new());
    }
    Ok(bed.engine.docker(&["info", "--format", "{{.SystemTime}}"])?.trim().to_owned())
}

/// Counts the containers that the engine has made since then. The count is always 0 on Podman,
/// which tells few of its past events.
fn made_since(bed: &Testbed, since: &str) -> Result<usize> {
    if bed.engine.product() == Product::Podman {
        return Ok(0);
    }
    let until = engine_time(bed)?;
    let words = ["events", "--since", since, "--until", &until, "--filter", "event=create"];
    Ok(bed.engine.docker(&words)?.lines().count())
}

/// Under another host name the engine no longer says that it is here, so that a container must show
/// it.
fn looked_into(bed: &Testbed) -> Result<()> {
    let policy = demanding(bed, "vm")?;
    let (before, began) = (bed.engine.of_ringfence()?, engine_time(bed)?);
    let renamed = ["--uts", "sh", "-c", "hostname elsewhere && exec \"$@\"", "sh"];
    let mut command = bed.ringfence.behind("unshare", renamed);
    command.args(["run", "--policy", &policy, &bed.images.tiny, "true"]);
    let output = integration::command::bounded(&mut command, b"", std::time::Duration::from_secs(60))?;
    ensure!(output.status.code() == Some(125), "exit 125 expected: {output:?}");
    ensure!(output.stderr.contains("this machine's own kernel"), "{}", output.stderr);
    let (after, made) = (bed.engine.of_ringfence()?, made_since(bed, &began)?);
    ensure!(before == after, "left behind: {after:?}");
    let looks = usize::from(bed.engine.product() == Product::Docker);
    ensure!(made == looks, "one container was to look, and {made} were made");
    Ok(())
}

fn met(bed: &Testbed) -> Result<()> {
    let policy = demanding(bed, "patched-or-unknown")?;
    let looked = report(bed, &["--policy", &policy])?;
    if looked.row("R5")?.0 == "fail" {
        bail!("this engine has known holes, and its makers built it: {:?}", looked.row("R5")?);
    }
    let outcome = bed.ringfence.run(std::path::Path::new(&policy), &[], &bed.images.tiny, &["true"])?;
    expect_status(&outcome, 0)
}
