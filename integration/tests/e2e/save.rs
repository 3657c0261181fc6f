//! Refused names that a person permits: by the command as it is printed, and in a policy file.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::{Output, bounded, until};
use integration::ringfence::Running;
use integration::testbed::Testbed;

use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    ("the command of a refusal works as it is printed", as_printed),
    ("a name is saved with the change, and nothing else is", saved),
    ("names of a run are applied to its policy", applied),
];

/// Asks for both names again and again, and says when each is reached.
const ASK: &str = "while true; do for name in a.test b.test; do \
    curl -sS --max-time 5 -o /dev/null https://$name/ 2>/dev/null && echo \"reached $name\"; done; sleep .2; done";

const SOON: Duration = Duration::from_secs(60);

fn begin(bed: &Testbed, policy: &std::path::Path) -> Result<Running> {
    bed.ringfence.start(policy, &["--quiet"], &bed.images.agent, &["sh", "-c", ASK])
}

fn end(bed: &Testbed, running: Running) -> Result<()> {
    bed.ringfence.call(&["stop", &running.name])?;
    running.finish(SOON).map(drop)
}

/// Returns the command behind the first refusal of a name, as `ringfence events` prints it.
fn printed(bed: &Testbed, name: &str, host: &str) -> Result<String> {
    let mut found = None;
    until("the refusal is printed", SOON, || {
        let output = bed.ringfence.call(&["events", name, "--denied"]);
        let text = output.map(|output| output.stdout).unwrap_or_default();
        let command = |line: &str| Some(line.split_once("(now: ")?.1.split_once(')')?.0.to_owned());
        found = text.lines().filter_map(command).find(|command| command.ends_with(host));
        found.is_some()
    })?;
    found.context("a command")
}

/// Runs a line in a shell that finds ringfence.
fn in_shell(bed: &Testbed, line: &str) -> Result<Output> {
    let folder = bed.ringfence.executable().parent().context("a folder")?;
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let template = bed.ringfence.command();
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    for (key, value) in template.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    command.env("PATH", path);
    bounded(&mut command, b"", SOON)
}

fn as_printed(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.policy("  allow: [a.test]")?;
    let mut running = begin(bed, &policy)?;
    // The control: the permitted name is reached, the other one is not.
    running.wait_for_line("reached a.test", SOON)?;
    let command = printed(bed, &running.name, "b.test")?;
    ensure!(command.starts_with("ringfence allow "), "{command}");
    ensure!(!running.lines().iter().any(|line| line == "reached b.test"), "reached before");
    let output = in_shell(bed, &command)?;
    ensure!(output.status.success(), "{command}: {output:?}");
    running.wait_for_line("reached b.test", SOON)?;
    end(bed, running)
}

fn saved(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.policy("  # ours\n  allow:\n    - a.test   # first\n  ceiling: [.test]")?;
    let before = fs::read_to_string(&policy)?;
    let mut running = begin(bed, &policy)?;
    running.wait_for_line("reached a.test", SOON)?;
    let name = running.name.clone();
    // Nobody can be asked, a pattern, and a name that the ceiling keeps out: nothing changes.
    for (words, status) in [
        (&["b.test", "--save"][..], 125),
        (&["*.b.test", "--save", "--yes"], 125),
        (&["host.docker.internal:80", "--save", "--yes"], 125),
        (&["b.example", "--save", "--yes"], 125),
    ] {
        let output = bed.ringfence.call(&[&["allow", &name], words].concat())?;
        ensure!(output.status.code() == Some(status), "{words:?}: {output:?}");
        ensure!(fs::read_to_string(&policy)? == before, "{words:?} wrote");
    }
    let output = bed.ringfence.call(&["allow", &name, "b.test", "--save", "--yes"])?;
    ensure!(output.status.success() && output.stderr.contains("+ b.test:443"), "{output:?}");
    ensure!(
        fs::read_to_string(&policy)? == before.replace("# first\n", "# first\n    - b.test\n"),
        "the file"
    );
    running.wait_for_line("reached b.test", SOON)?;
    end(bed, running)
}

fn applied(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.policy("  allow: [a.test]")?;
    let before = fs::read_to_string(&policy)?;
    let running = begin(bed, &policy)?;
    let name = running.name.clone();
    printed(bed, &name, "b.test")?;
    let output = bed.ringfence.call(&["policy", "apply", &name, "--name", "b.test", "--yes"])?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(fs::read_to_string(&policy)? == before.replace("[a.test]", "[a.test, b.test]"), "the file");
    // The run goes on as before until it is told.
    let reload = bed.ringfence.call(&["reload", &name])?;
    ensure!(reload.status.success(), "{reload:?}");
    let mut running = running;
    running.wait_for_line("reached b.test", SOON)?;
    end(bed, running)
}
