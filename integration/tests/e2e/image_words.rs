//! Things that an image asks the engine for in its configuration, beside the program to run.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::until;
use integration::testbed::Testbed;
use integration::testbed::engine::variants::Product;
use serde_json::json;

use crate::{Test, expect_status};

pub(crate) const TESTS: &[Test] =
    &[("an image's health check never runs beside its agent, and its labels have no value", words)];

const CHECK: &str = "test -d /workspace && echo checked >> /workspace/checked";
/// By it `podman auto-update` restarts what another label names.
const LABEL: &str = "io.containers.autoupdate";
const SECOND: u64 = 1_000_000_000;

fn words(bed: &Testbed) -> Result<()> {
    let image = "ringfence-testbed/checked:latest";
    let check = json!({"Test": ["CMD-SHELL", CHECK], "Interval": SECOND, "Timeout": SECOND, "Retries": 1});
    bed.engine.load_changed(&bed.images.tiny, image, |config| {
        config["Healthcheck"] = check;
        config["Labels"] = json!({LABEL: "registry"});
    })?;
    // The control: a plain container has both.
    let of = |container: &str| {
        let format =
            format!("{{{{json .Config.Healthcheck}}}} {{{{json (index .Config.Labels {LABEL:?})}}}}");
        bed.engine.docker(&["inspect", "--format", &format, container])
    };
    let plain = bed.engine.docker(&["create", image, "true"])?;
    let asked = of(&plain)?;
    bed.engine.docker(&["rm", &plain])?;
    ensure!(asked.contains("CMD-SHELL"), "a plain container has the image's check: {asked}");
    ensure!(asked.ends_with(" \"registry\""), "and its label: {asked}");
    let project = bed.fresh_directory("health-check")?;
    fs::write(project.join(".env"), "KEY=9dJq4TzX-covered\n")?;
    let at = project.to_str().context("a path of text")?;
    // And the engine runs it. Podman does so by timers of systemd, which the testbed has not.
    if bed.engine.product() == Product::Docker {
        let mount = format!("{at}:/workspace");
        let plain = ["run", "--detach", "--init", "--volume", &mount, image, "sleep", "60"];
        let plain = bed.engine.docker(&plain)?;
        let checked = until("the check runs", Duration::from_secs(20), || project.join("checked").exists());
        bed.engine.docker(&["rm", "--force", &plain])?;
        checked?;
        fs::remove_file(project.join("checked"))?;
    }
    let policy = bed.ringfence.allowing(&[])?;
    let script = "echo up; sleep 8";
    let mut running = bed.ringfence.start(&policy, &["--project", at], image, &["sh", "-c", script])?;
    running.wait_for_line("up", Duration::from_secs(60))?;
    let agent = bed.engine.docker(&["ps", "--quiet", "--filter", "label=dev.ringfence.role=agent"])?;
    let kept = of(&agent)?;
    let outcome = running.finish(Duration::from_secs(60))?;
    expect_status(&outcome, 0)?;
    ensure!(!kept.contains("CMD-SHELL"), "the agent's container has a check: {kept}");
    ensure!(kept.ends_with(" \"\""), "the image's label has a value: {kept}");
    ensure!(!project.join("checked").exists(), "the check ran");
    bed.engine.docker(&["rmi", image])?;
    Ok(())
}
