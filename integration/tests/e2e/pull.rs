//! Images that a registry has: fetched with the credentials of docker's configuration, which show
//! up nowhere.
//!
//! The registry's own log is the judge of who asked what, and with which credentials.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use integration::command::{Output, bounded, until};
use integration::testbed::Testbed;
use integration::testbed::engine::variants::Product;
use integration::testbed::registry::{CREDENTIALS, Door, REPOSITORIES, Registry, TAG, VARIABLE};
use serde_json::{Value, json};

use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    ("with the credentials of docker's configuration, which show up nowhere", configured),
    ("with those of a helper program", helper),
    ("with those of Podman's auth.json", podmans),
    ("progress on a terminal, and none in a pipe", progress),
    ("a wrong password is refused and not repeated", wrong_password),
    ("without credentials, the open registry only", anonymous),
    ("never, missing, always", when),
    ("by digest", by_digest),
    ("what a registry refuses is told apart", refusals),
];

/// A registry, a folder for docker's configuration, and the run's policy.
struct Stage<'a> {
    bed: &'a Testbed,
    registry: Registry,
    folder: PathBuf,
    policy: PathBuf,
}

impl<'a> Stage<'a> {
    fn set(bed: &'a Testbed, door: Door) -> Result<Stage<'a>> {
        let registry = Registry::start(&bed.engine, &bed.images.tiny, door)?;
        let folder = bed.fresh_directory(&format!("docker-{}", registry.server().replace(':', "-")))?;
        Ok(Stage { bed, registry, folder, policy: bed.ringfence.allowing(&["a.test"])? })
    }

    fn image(&self) -> String {
        format!("{}:{TAG}", self.registry.name(REPOSITORIES.0))
    }

    fn configure(&self, config: &Value) -> Result<()> {
        Ok(fs::write(self.folder.join("config.json"), config.to_string())?)
    }

    fn log_in(&self, password: &str) -> Result<()> {
        let auth = STANDARD.encode(format!("{}:{password}", CREDENTIALS.0));
        self.configure(&json!({"auths": {self.registry.server(): {"auth": auth}}}))
    }

    fn events(&self) -> PathBuf {
        self.folder.join("events.jsonl")
    }

    fn command(&self, options: &[&str], image: &str, agent: &[&str]) -> Command {
        let mut command = self.bed.ringfence.command();
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("DOCKER_CONFIG", &self.folder)
            .env("PATH", format!("{}:{path}", self.folder.display()))
            .arg("run")
            .args([Path::new("--policy"), &self.policy, Path::new("--events"), &self.events()])
            .args(options)
            .arg(image)
            .args(agent);
        command
    }

    fn run(&self, options: &[&str], image: &str) -> Result<Output> {
        let script = format!("echo ${}", VARIABLE.0);
        bounded(&mut self.command(options, image, &["sh", "-c", &script]), b"", Duration::from_secs(120))
    }

    /// It ran, from the registry's image.
    fn runs(&self, options: &[&str], image: &str) -> Result<Output> {
        let output = self.run(options, image)?;
        ensure!(output.status.code() == Some(0) && output.stdout.trim() == VARIABLE.1, "{output:?}");
        no_secret(&output.stderr)?;
        Ok(output)
    }

    /// It was refused with all of these words, and nothing was created.
    fn refuses(&self, options: &[&str], image: &str, words: &[&str]) -> Result<()> {
        let before = self.bed.engine.of_ringfence()?;
        let output = self.run(options, image)?;
        ensure!(output.status.code() == Some(125) && output.stdout.is_empty(), "{output:?}");
        for word in words {
            ensure!(output.stderr.contains(word), "`{word}` expected: {}", output.stderr);
        }
        no_secret(&output.stderr)?;
        let after = self.bed.engine.of_ringfence()?;
        ensure!(before == after, "something was created: {after:?}");
        Ok(())
    }

    /// Podman speaks plain HTTP to no registry that its configuration does not name; then that must
    /// be what is said.
    fn is_trusted(&self) -> Result<bool> {
        if self.bed.engine.product() != Product::Podman {
            return Ok(true);
        }
        self.refuses(&[], &self.image(), &["does not trust"])?;
        Ok(false)
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        for image in
            [self.image(), format!("{}@{}", self.registry.name(REPOSITORIES.0), self.registry.digest)]
        {
            self.bed.engine.docker(&["rmi", &image]).ok();
        }
    }
}

fn no_secret(text: &str) -> Result<()> {
    let (user, password) = CREDENTIALS;
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    ensure!(!text.contains(password) && !text.contains(&encoded), "a secret is in: {text}");
    Ok(())
}

fn configured(bed: &Testbed) -> Result<()> {
    let stage = Stage::set(bed, Door::Closed)?;
    if !stage.is_trusted()? {
        return Ok(());
    }
    stage.log_in(CREDENTIALS.1)?;
    let image = stage.image();
    let mut child = stage
        .command(&["--name", "pulled"], &image, &["sh", "-c", "echo up; sleep 600"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let looked = look_at_it(&stage);
    bed.ringfence.call(&["stop", "pulled"])?;
    child.wait()?;
    looked?;

    let asked = stage.registry.take();
    let manifests: Vec<_> = asked.iter().filter(|one| one.path.contains("/manifests/")).collect();
    ensure!(
        manifests.iter().any(|one| one.authorised && one.status == 200),
        "the password did not arrive: {asked:?}"
    );
    let events = fs::read_to_string(stage.events())?;
    no_secret(&events)?;
    let first: Value = serde_json::from_str(events.lines().next().context("no events")?)?;
    let digest = format!("{}@{}", stage.registry.name(REPOSITORIES.0), stage.registry.digest);
    ensure!(first["image_digest"] == json!(digest), "{first}");
    ensure!(
        first["digest"].is_string() && first["engine"].is_string() && first["image"].is_string(),
        "{first}"
    );
    let verified = bed.ringfence.call(&["events", "--verify", &stage.events().to_string_lossy()])?;
    ensure!(verified.status.success(), "{verified:?}");
    Ok(())
}

/// While it runs: labels and containers tell the image, and nothing of the credentials.
fn look_at_it(stage: &Stage<'_>) -> Result<()> {
    let bed = stage.bed;
    let mut found = Value::Null;
    until("the workflow runs", Duration::from_secs(60), || {
        let list = bed.ringfence.call(&["ps", "--json"]).map(|output| output.stdout).unwrap_or_default();
        let list: Value = serde_json::from_str(&list).unwrap_or_default();
        let one = list.as_array().and_then(|list| list.iter().find(|one| one["name"] == "pulled").cloned());
        found = one.unwrap_or_default();
        found["agent"] == "running"
    })?;
    ensure!(found["image"] == json!(stage.image()), "{found}");
    ensure!(
        found["image_digest"].as_str().is_some_and(|text| text.ends_with(&stage.registry.digest)),
        "{found}"
    );
    let id = found["id"].as_str().context("an id")?;
    for part in ["agent", "guard", "fence"] {
        let inspected = bed.engine.docker(&["inspect", &format!("ringfence-{id}-{part}")])?;
        ensure!(inspected.contains("dev.ringfence.role"), "{inspected}");
        no_secret(&inspected)?;
    }
    Ok(())
}

fn helper(bed: &Testbed) -> Result<()> {
    let stage = Stage::set(bed, Door::Closed)?;
    if !stage.is_trusted()? {
        return Ok(());
    }
    let write = |script: &str| -> Result<()> {
        let path = stage.folder.join("docker-credential-testbed");
        fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?)
    };
    stage.configure(&json!({"credHelpers": {stage.registry.server(): "testbed"}}))?;
    write("echo credentials not found in native keychain; exit 1")?;
    stage.refuses(&[], &stage.image(), &["without credentials"])?;
    write("echo boom; exit 1")?;
    stage.refuses(&[], &stage.image(), &["docker-credential-testbed"])?;
    write("echo no JSON")?;
    stage.refuses(&[], &stage.image(), &["docker-credential-testbed", "JSON"])?;
    let answer =
        json!({"ServerURL": stage.registry.server(), "Username": CREDENTIALS.0, "Secret": CREDENTIALS.1});
    write(&format!(
        "read -r server\n[ \"$1 $server\" = 'get {}' ] || exit 9\ncat <<'END'\n{answer}\nEND",
        stage.registry.server()
    ))?;
    stage.registry.take();
    stage.runs(&[], &stage.image())?;
    ensure!(stage.registry.take().iter().any(|one| one.authorised), "the helper's password did not arrive");
    Ok(())
}

fn podmans(bed: &Testbed) -> Result<()> {
    let stage = Stage::set(bed, Door::Closed)?;
    if !stage.is_trusted()? {
        return Ok(());
    }
    let (name, file) = (stage.registry.name(REPOSITORIES.0), stage.folder.join("auth.json"));
    let auth = |password: &str| json!({"auth": STANDARD.encode(format!("{}:{password}", CREDENTIALS.0))});
    let run = || {
        let mut command = stage.command(&[], &stage.image(), &["true"]);
        bounded(command.env("REGISTRY_AUTH_FILE", &file), b"", Duration::from_secs(120))
    };
    // What is for another part of the registry is not for this one.
    let other = format!("{}/elsewhere", stage.registry.server());
    fs::write(&file, json!({"auths": {other: auth(CREDENTIALS.1)}}).to_string())?;
    let output = run()?;
    ensure!(output.status.code() == Some(125), "{output:?}");
    ensure!(!stage.registry.take().iter().any(|one| one.credentials), "another part's credentials were sent");
    let both = json!({"auths": {
        stage.registry.server(): auth("s3cret-but-wrong"),
        name: auth(CREDENTIALS.1),
    }});
    fs::write(&file, both.to_string())?;
    let output = run()?;
    ensure!(output.status.success(), "{output:?}");
    no_secret(&output.stderr)?;
    ensure!(stage.registry.take().iter().any(|one| one.authorised), "the password did not arrive");
    Ok(())
}

fn progress(bed: &Testbed) -> Result<()> {
    let stage = Stage::set(bed, Door::Open)?;
    if !stage.is_trusted()? {
        return Ok(());
    }
    // A line is worth its while after a second.
    stage.registry.delay(Duration::from_secs(2));
    let output = stage.runs(&[], &stage.image())?;
    ensure!(!output.stderr.contains(['\r', '\x1b']), "a pipe got a terminal's line: {}", output.stderr);
    bed.engine.docker(&["rmi", &stage.image()])?;

    let line = format!("ringfence: pulling {}", stage.image());
    let (output, screen) = on_a_terminal(&stage, &[], false)?;
    ensure!(output.status.success() && output.stdout == b"up\n", "{output:?} {screen}");
    ensure!(screen.contains(&line), "no progress: {screen:?}");
    bed.engine.docker(&["rmi", &stage.image()])?;

    let (output, screen) = on_a_terminal(&stage, &[], true)?;
    let (_, after) = screen.rsplit_once(&line).with_context(|| format!("no progress: {screen:?}"))?;
    let (cleared, agents) = after.split_once("up\r\n").with_context(|| format!("no agent: {screen:?}"))?;
    ensure!(
        output.status.success() && cleared.contains("\x1b[2K"),
        "the agent's screen is not clear: {screen:?}"
    );
    ensure!(!agents.contains(&line), "progress of the pull beside the agent: {screen:?}");
    bed.engine.docker(&["rmi", &stage.image()])?;

    let (output, screen) = on_a_terminal(&stage, &["--quiet"], true)?;
    ensure!(output.status.success() && screen == "up\r\n", "--quiet is not: {screen:?}");
    Ok(())
}

/// Runs `echo up`, with a terminal for stderr and perhaps for stdout too: what was on it.
fn on_a_terminal(
    stage: &Stage<'_>,
    options: &[&str],
    stdout: bool,
) -> Result<(std::process::Output, String)> {
    let terminal = nix::pty::openpty(None, None)?;
    let mut command = stage.command(options, &stage.image(), &["echo", "up"]);
    let out = if stdout { Stdio::from(terminal.slave.try_clone()?) } else { Stdio::piped() };
    command.env("TERM", "xterm").stdin(Stdio::null()).stdout(out).stderr(terminal.slave);
    let mut child = command.spawn()?;
    // The command keeps the other end open.
    drop(command);
    let mut master = fs::File::from(terminal.master);
    let (sender, shown) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut screen, mut part) = (Vec::new(), [0; 4096]);
        // A terminal whose last user has gone is an error, not an end.
        while let Ok(length @ 1..) = std::io::Read::read(&mut master, &mut part) {
            screen.extend_from_slice(part.get(..length).unwrap_or_default());
        }
        sender.send(screen)
    });
    let screen = shown.recv_timeout(Duration::from_secs(120));
    if screen.is_err() {
        child.kill()?;
    }
    let output = child.wait_with_output()?;
    Ok((output, String::from_utf8_lossy(&screen.context("the run did not end")?).into_owned()))
}

fn wrong_password(bed: &Testbed) -> Result<()> {
    let stage = Stage::set(bed, Door::Closed)?;
    if !stage.is_trusted()? {
        return Ok(());
    }
    stage.log_in("s3cret-but-wrong")?;
    stage.refuses(&[], &stage.image(), &["denies", &stage.image(), "docker login"])?;
    let asked = stage.registry.take();
    ensure!(asked.iter().any(|one| one.credentials) && !asked.iter().any(|one| one.authorised), "{asked:?}");
    let said = stage.run(&[], &stage.image())?.stderr;
    ensure!(!said.contains("s3cret-but-wrong"), "{said}");
    // The control: the right one opens it.
    stage.log_in(CREDENTIALS.1)?;
    stage.runs(&[], &stage.image())?;
    Ok(())
}

fn anonymous(bed: &Testbed) -> Result<()> {
    let stage = Stage::set(bed, Door::Closed)?;
    if !stage.is_trusted()? {
        return Ok(());
    }
    stage.refuses(&[], &stage.image(), &["without credentials", "docker login"])?;
    let open = Stage::set(bed, Door::Open)?;
    open.runs(&[], &open.image())?;
    let asked = [stage.registry.take(), open.registry.take()].concat();
    ensure!(
        !asked.is_empty() && !asked.iter().any(|one| one.credentials),
        "credentials from nowhere: {asked:?}"
    );
    Ok(())
}

fn when(bed: &Testbed) -> Result<()> {
    let stage = Stage::set(bed, Door::Open)?;
    if !stage.is_trusted()? {
        return Ok(());
    }
    stage.refuses(&["--pull", "never"], &stage.image(), &["--pull is never", &stage.image()])?;
    ensure!(stage.registry.take().is_empty(), "`never` asked the registry");
    stage.runs(&["--pull", "missing"], &stage.image())?;
    ensure!(!stage.registry.take().is_empty(), "`missing` did not ask the registry");
    for pull in ["never", "missing"] {
        stage.runs(&["--pull", pull], &stage.image())?;
        ensure!(stage.registry.take().is_empty(), "`{pull}` asked for an image that is there");
    }
    stage.runs(&["--pull", "always"], &stage.image())?;
    ensure!(!stage.registry.take().is_empty(), "`always` did not ask");
    Ok(())
}

fn by_digest(bed: &Testbed) -> Result<()> {
    let stage = Stage::set(bed, Door::Closed)?;
    if !stage.is_trusted()? {
        return Ok(());
    }
    stage.log_in(CREDENTIALS.1)?;
    let name = stage.registry.name(REPOSITORIES.0);
    let wrong = format!("{name}@sha256:{}", "0".repeat(64));
    stage.refuses(&[], &wrong, &[&wrong, "has no image"])?;
    stage.registry.take();
    stage.runs(&[], &format!("{name}@{}", stage.registry.digest))?;
    let asked = stage.registry.take();
    ensure!(asked.iter().any(|one| one.path.ends_with(&stage.registry.digest)), "{asked:?}");
    ensure!(!asked.iter().any(|one| one.path.ends_with("/latest")), "a tag was asked for: {asked:?}");
    Ok(())
}

fn refusals(bed: &Testbed) -> Result<()> {
    let stage = Stage::set(bed, Door::Open)?;
    if !stage.is_trusted()? {
        return Ok(());
    }
    let busy = format!("{}:{TAG}", stage.registry.name(REPOSITORIES.1));
    stage.refuses(&[], &busy, &["rate limit"])?;
    let absent = format!("{}:2", stage.registry.name(REPOSITORIES.0));
    stage.refuses(&[], &absent, &["has no image", &absent])?;
    // Nothing listens on the discard port.
    stage.refuses(&[], "127.0.0.1:9/open/agent:1", &["does not reach 127.0.0.1:9"])?;
    fs::write(stage.folder.join("config.json"), "{\"auths\": s3cret")?;
    stage.refuses(&[], &stage.image(), &["config.json cannot be used", "line 1"])?;
    ensure!(!stage.run(&[], &stage.image())?.stderr.contains("s3cret"), "the configuration is repeated");
    Ok(())
}
