//! Secrets that a person passes: refused in the clear, carried in memory by name, and found in
//! nothing that ringfence writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use integration::command::{Output, bounded};
use integration::testbed::Testbed;

use crate::{Test, text};

pub(crate) const TESTS: &[Test] = &[
    ("a literal secret ends the start, with where it is and what to do", literals),
    ("a secret by name is a file in memory, for the agent's user alone", by_name),
    ("no secret passed in is in any file, label, configuration or log", nowhere),
    ("a prompt arrives as it is", prompt),
];

/// A token as GitLab gives them, put together so that this file holds none.
fn token() -> String {
    format!("glpat-{}", "9dJq4TzX0kV2bLw7NmRs")
}

/// `ringfence run OPTIONS IMAGE COMMAND` with secrets in its environment.
fn run(bed: &Testbed, options: &[&str], image: &str, agent: &[&str]) -> Result<Output> {
    let policy = bed.ringfence.allowing(&[])?;
    let mut command = bed.ringfence.command();
    command
        .env("BY_NAME", "s3cr3t-by-name-8c1f")
        .env("BY_FILE_SOURCE", "unused")
        .env("DB_PASSWORD", "s3cr3t-by-env-77aa")
        .arg("run")
        .arg("--policy")
        .arg(policy)
        .args(options)
        .arg(image)
        .args(agent);
    bounded(&mut command, b"", Duration::from_secs(120))
}

fn refused(bed: &Testbed, options: &[&str], agent: &[&str], expected: &str) -> Result<()> {
    let output = run(bed, options, &bed.images.tiny, agent)?;
    ensure!(output.status.code() == Some(125), "125 expected: {output:?}");
    ensure!(output.stderr.contains(expected), "`{expected}` expected: {output:?}");
    ensure!(!output.stderr.contains("9dJq4TzX"), "the secret is shown: {output:?}");
    ensure!(output.stdout.is_empty(), "{output:?}");
    Ok(())
}

fn literals(bed: &Testbed) -> Result<()> {
    let token = token();
    let folder = bed.fresh_directory("literals")?;
    let (prompt, env_file) = (folder.join("goal.md"), folder.join("env"));
    fs::write(&prompt, format!("# Goal\nPush with {token}, please.\n"))?;
    fs::write(&env_file, format!("# mine\nA=1\nWHATEVER={token}\n"))?;

    refused(bed, &[], &["agent", "--goal", &format!("push with {token}")], "argument:3: gitlab-pat at 1:11")?;
    refused(bed, &["-e", &format!("X={token}")], &["true"], "env:X: gitlab-pat")?;
    refused(bed, &["-e", "DB_PASSWORD=9dJq4TzX"], &["true"], "env:DB_PASSWORD: secret-variable")?;
    refused(bed, &["--prompt", text(&prompt)?], &["true"], "prompt: gitlab-pat at 2:11")?;
    refused(bed, &["--env-file", text(&env_file)?], &["true"], "env-file:WHATEVER: gitlab-pat")?;
    refused(bed, &["--prompt", text(&prompt)?], &["true"], "--allow-secret gitlab-pat@prompt")?;

    // What is asked for by its name goes through, and so does what is allowed.
    let allowed = ["--allow-secret", "gitlab-pat@env:X", "-e", &format!("X={token}")];
    let output = run(bed, &allowed, &bed.images.tiny, &["sh", "-c", "echo $X"])?;
    ensure!(output.stdout.trim() == token, "{output:?}");
    let consent = run(bed, &["-e", "DB_PASSWORD"], &bed.images.tiny, &["sh", "-c", "echo $DB_PASSWORD"])?;
    ensure!(consent.stdout.trim() == "s3cr3t-by-env-77aa", "{consent:?}");
    Ok(())
}

const LOOK: &str = "cat /run/secrets/BY_NAME /run/secrets/other; stat -c '%a %u %F' /run/secrets/BY_NAME; \
    grep ' /run/secrets ' /proc/mounts | cut -d' ' -f3; echo x > /run/secrets/mine && echo wrote; \
    rm -f /run/secrets/BY_NAME; cat /run/secrets/BY_NAME | wc -c";

fn by_name(bed: &Testbed) -> Result<()> {
    let folder = bed.fresh_directory("by-name")?;
    let file = folder.join("source");
    fs::write(&file, "two\nlines\n")?;
    let other = format!("other={}", file.display());
    let options = ["--secret", "BY_NAME", "--secret", &other, "--user", "1234:1234"];
    let output = run(bed, &options, &bed.images.agent, &["sh", "-c", LOOK])?;
    ensure!(
        output.stdout == "s3cr3t-by-name-8c1ftwo\nlines\n400 1234 regular file\ntmpfs\n19\n",
        "what the agent finds: {output:?}"
    );
    // A user whom the image knows by name has them alone as well.
    let named = ["--secret", "BY_NAME", "--user", "games"];
    let script = "stat -c '%a %U' /run/secrets/BY_NAME; cat /run/secrets/BY_NAME";
    let output = run(bed, &named, &bed.images.agent, &["sh", "-c", script])?;
    ensure!(output.stdout == "400 games\ns3cr3t-by-name-8c1f", "{output:?}");
    // The image's own user, and a secret that is not there.
    let root = run(bed, &["--secret", "BY_NAME"], &bed.images.tiny, &["cat", "/run/secrets/BY_NAME"])?;
    ensure!(root.stdout == "s3cr3t-by-name-8c1f", "{root:?}");
    let missing = run(bed, &["--secret", "NOT_SET_ANYWHERE"], &bed.images.tiny, &["true"])?;
    ensure!(missing.status.code() == Some(125) && missing.stderr.contains("is not set here"), "{missing:?}");
    Ok(())
}

/// Every file below a folder that holds one of these.
fn holding(folder: &Path, secrets: &[&str]) -> Result<Vec<PathBuf>> {
    let (mut found, mut waiting) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder)?.flatten() {
            let kind = entry.file_type()?;
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                let bytes = fs::read(entry.path()).unwrap_or_default();
                let has =
                    |secret: &&str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                if secrets.iter().any(has) {
                    found.push(entry.path());
                }
            }
        }
    }
    Ok(found)
}

fn nowhere(bed: &Testbed) -> Result<()> {
    let folder = bed.fresh_directory("nowhere")?;
    fs::write(folder.join("prompt.md"), "s3cr3t-in-prompt-55dd\n")?;
    fs::write(folder.join("secret.txt"), "s3cr3t-by-file-41ee\n")?;
    let secrets = ["s3cr3t-by-name-8c1f", "s3cr3t-by-file-41ee", "s3cr3t-in-prompt-55dd", "Basic czNjcjN0"];
    let policy = bed.ringfence.allowing(&[])?;
    let (file, prompt) = (format!("FILE={}", folder.join("secret.txt").display()), folder.join("prompt.md"));
    let events = bed.fresh_directory("nowhere-events")?.join("events.jsonl");
    let mut command = bed.ringfence.command();
    command
        .env("BY_NAME", secrets[0])
        .args(["run", "--name", "nowhere", "--timings", "--policy"])
        .arg(policy);
    command.arg("--events").arg(&events).args(["--secret", "BY_NAME", "--secret", &file, "--prompt"]);
    command.arg(prompt).arg(&bed.images.agent).args(["sh", "-c", "cat /run/secrets/* | wc -c; sleep 8"]);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    let child = command.stderr(std::process::Stdio::piped()).spawn()?;

    // While it runs: what the engine and ringfence tell about it.
    let mut told = String::new();
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(200));
        let listed = bed.engine.docker(&[
            "ps",
            "-q",
            "--filter",
            "label=dev.ringfence.name=nowhere",
            "--filter",
            "label=dev.ringfence.role=agent",
        ])?;
        if !listed.trim().is_empty() {
            break;
        }
    }
    let ids = bed.engine.docker(&["ps", "-aq", "--filter", "label=dev.ringfence.name=nowhere"])?;
    let number = ids.lines().count();
    ensure!(
        (3..=5).contains(&number),
        "agent, guard, fence, perhaps the look at the host, and later the one at files: {ids:?}"
    );
    for id in ids.lines() {
        told += &bed.engine.docker(&["inspect", id])?;
        told += &bed.engine.docker(&["logs", id])?;
    }
    let volumes =
        bed.engine.docker(&["volume", "ls", "-q", "--filter", "label=dev.ringfence.name=nowhere"])?;
    for volume in volumes.lines() {
        told += &bed.engine.docker(&["volume", "inspect", volume])?;
    }
    told += &bed.ringfence.call(&["ps", "--json"])?.stdout;
    told += &bed.engine.docker(&["events", "--since", "60s", "--until", "0s"])?;
    let output = child.wait_with_output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    // The positive control: the agent had them all.
    ensure!(printed.trim() == (19 + 20 + 22).to_string(), "the agent reads them: {printed:?} {output:?}");
    told += &String::from_utf8_lossy(&output.stderr);
    told += &fs::read_to_string(&events)?;
    for secret in secrets {
        if let Some(at) = told.find(secret) {
            bail!("{secret} is told: {}", &told[at.saturating_sub(200)..(at + 60).min(told.len())]);
        }
    }
    let found = holding(bed.directory.path(), &secrets)?;
    let own = found.iter().filter(|path| !path.starts_with(&folder)).collect::<Vec<_>>();
    ensure!(found.len() >= 2, "the search finds the sources themselves: {found:?}");
    ensure!(own.is_empty(), "written down in {own:?}");
    Ok(())
}

fn prompt(bed: &Testbed) -> Result<()> {
    let file = bed.fresh_directory("prompt")?.join("goal.md");
    fs::write(&file, "# Goal\n\nDo it: \"well\" – with $care.\n")?;
    let options = ["--prompt", text(&file)?];
    let output = run(bed, &options, &bed.images.tiny, &["sh", "-c", "cat $RINGFENCE_PROMPT"])?;
    ensure!(output.stdout == "# Goal\n\nDo it: \"well\" – with $care.\n", "{output:?}");
    Ok(())
}
