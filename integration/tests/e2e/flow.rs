//! A project's image and setup script (`.gitlab/duo/agent-config.yml`) run as a person approved
//! them, in the fence, and in no other way.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use integration::ringfence::Outcome;
use integration::testbed::Testbed;

use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[("a flow's image and script run as they were approved", approved)];

/// A project with an image's name of its own.
struct Project {
    folder: PathBuf,
    image: String,
}

impl Project {
    fn new(bed: &Testbed) -> Result<Project> {
        let folder = bed.fresh_directory("flow")?.join("project");
        fs::create_dir_all(folder.join(".gitlab/duo"))?;
        let image = format!("ringfence-testbed/flow-{}:1", std::process::id());
        bed.engine.docker(&["tag", &bed.images.agent, &image])?;
        Ok(Project { folder, image })
    }

    fn text(&self) -> &str {
        self.folder.to_str().unwrap_or_default()
    }

    /// Writes the file with these commands.
    fn write(&self, commands: &[&str]) -> Result<()> {
        let text = format!("image: {}\nsetup_script: {commands:?}\ncache: {{paths: [a]}}\n", self.image);
        fs::write(self.folder.join(".gitlab/duo/agent-config.yml"), text)?;
        Ok(())
    }

    /// Runs a command in the flow's environment.
    fn run(&self, bed: &Testbed, policy: &Path, script: &str) -> Result<Outcome> {
        bed.ringfence.run(policy, &["--project", self.text(), "--flow"], "sh", &["-c", script])
    }

    /// Approves the file as it is; what was shown.
    fn approve(&self, bed: &Testbed) -> Result<String> {
        let shown = bed.ringfence.call(&["trust", "--yes", self.text()])?;
        ensure!(shown.status.success(), "{shown:?}");
        Ok(shown.stderr)
    }
}

fn refused(outcome: &Outcome, why: &str) -> Result<()> {
    expect_status(outcome, 125)?;
    expect(outcome.stderr.contains(why) && outcome.stdout.is_empty(), why, outcome)
}

fn approved(bed: &Testbed) -> Result<()> {
    let project = Project::new(bed)?;
    let checked = checks(bed, &project);
    bed.ringfence.call(&["trust", "--revoke", project.text()])?;
    bed.engine.docker(&["rmi", &project.image])?;
    checked
}

fn checks(bed: &Testbed, project: &Project) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let script = [
        "export FROM=setup",
        "getent hosts a.test >/dev/null && echo permitted",
        "getent hosts evil.test || echo refused",
    ];
    project.write(&script)?;
    refused(&project.run(bed, &policy, "echo ran")?, "are not approved")?;

    let shown = project.approve(bed)?;
    let id = bed.engine.docker(&["image", "inspect", "--format", "{{.Id}}", &project.image])?;
    for words in [project.image.as_str(), id.trim(), "| export FROM=setup", "not taken: cache"] {
        ensure!(shown.contains(words), "{words}: {shown}");
    }
    let outcome = project.run(bed, &policy, "echo $FROM; exit 7")?;
    expect_status(&outcome, 7)?;
    expect(outcome.stdout == "permitted\nrefused\nsetup\n", "the script ran first, in the fence", &outcome)?;
    // The control: a run that names an image takes nothing of the file.
    let plain = bed.ringfence.run(
        &policy,
        &["--project", project.text()],
        &bed.images.agent,
        &["sh", "-c", "echo =$FROM"],
    )?;
    expect(plain.stdout == "=\n", "no script", &plain)?;

    // A change of the script, and of what the name stands for.
    project.write(&[&script[..], &["echo more"]].concat())?;
    refused(&project.run(bed, &policy, "echo ran")?, "have changed since they were approved")?;
    project.write(&script)?;
    bed.engine.docker(&["tag", &bed.images.tiny, &project.image])?;
    refused(&project.run(bed, &policy, "echo ran")?, "is not the one that was approved")?;
    bed.engine.docker(&["tag", &bed.images.agent, &project.image])?;

    project.write(&["echo begun", "(exit 9)"])?;
    project.approve(bed)?;
    let failed = project.run(bed, &policy, "echo ran")?;
    expect_status(&failed, 9).with_context(|| failed.shown())?;
    expect(failed.stdout == "begun\n", "the command was not started", &failed)?;
    expect(
        failed.stderr.contains("ended with status 9: the command was not started"),
        "that is said",
        &failed,
    )
}
