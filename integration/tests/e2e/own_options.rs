//! A person's own options for a project (`run.yml`), in a run on a real engine.

use std::fs;

use anyhow::{Context, Result};
use integration::command::{Output, bounded};
use integration::testbed::Testbed;

use crate::Test;
use crate::leftovers::only_the_uplink;

pub(crate) const TESTS: &[Test] =
    &[("a run without a word takes policy, variables, image and command from the file", taken)];

const LIMIT: std::time::Duration = std::time::Duration::from_secs(120);
const SCRIPT: &str = "echo =$MARK; pwd; ulimit -n; \
                      curl -s -o /dev/null -w %{http_code} https://a.test/; echo; curl -s https://b.test/ || echo refused";

fn taken(bed: &Testbed) -> Result<()> {
    let project = bed.fresh_directory("own-options")?.join("project");
    fs::create_dir_all(&project)?;
    let config = bed.ringfence.config();
    fs::create_dir_all(&config)?;
    let file = config.join("run.yml");
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let policy = policy.to_str().context("a path of text")?;
    let words = [
        format!("--policy {policy}"),
        "-e MARK=mine".to_owned(),
        "--open-files 777".to_owned(),
        // No quote is in the script.
        format!("{} sh -c '{SCRIPT}'", bed.images.agent),
    ];
    let items: Vec<String> = words
        .iter()
        .map(|words| serde_json::to_string(words).map(|text| format!("    - {text}\n")))
        .collect::<Result<_, _>>()?;
    fs::write(&file, format!("version: 1\nprojects:\n  {}:\n{}", project.display(), items.concat()))?;
    let run = |words: &[&str]| -> Result<Output> {
        let mut command = bed.ringfence.command();
        command.arg("run").args(words).current_dir(&project);
        bounded(&mut command, b"", LIMIT)
    };
    let outcomes = (|| {
        let typed = ["-e", "MARK=typed", &bed.images.tiny, "sh", "-c", "echo =$MARK; ulimit -n"];
        let without = ["--no-defaults", &bed.images.tiny, "sh", "-c", "echo =$MARK"];
        Ok::<_, anyhow::Error>([run(&[])?, run(&typed)?, run(&without)?])
    })();
    fs::remove_file(&file)?;
    let [whole, typed, without] = outcomes?;
    let is = |output: &Output, stdout: &str, what: &str| {
        anyhow::ensure!(output.stdout == stdout, "not so: {what}\n{output:?}");
        Ok(())
    };
    is(&whole, "=mine\n/workspace\n777\n200\nrefused\n", "all of it is taken")?;
    anyhow::ensure!(whole.stderr.contains("run.yml:4") && !whole.stderr.contains("MARK=mine"), "{whole:?}");
    is(&typed, "=typed\n777\n", "what is typed wins")?;
    is(&without, "=\n", "the control: nothing is taken")?;
    only_the_uplink(bed)
}
