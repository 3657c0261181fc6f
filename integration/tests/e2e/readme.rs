//! The first run in the README prints what the README shows.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::bounded;
use integration::testbed::Testbed;

use crate::Test;

pub(crate) const TESTS: &[Test] = &[("the first run prints what the README shows", first_run)];

const README: &str = include_str!("../../../README.md");
/// Beginning of the section with the transcript.
const SECTION: &str = "## A first run";
/// Time for one command.
const LIMIT: Duration = Duration::from_secs(120);

/// Returns the block of the section that begins with this line, without that line.
fn block(first: &str) -> Result<Vec<&'static str>> {
    let (_, section) = README.split_once(SECTION).context("the section")?;
    let mut lines = section.lines().skip_while(|line| *line != first).skip(1);
    let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
    ensure!(!block.is_empty(), "no block begins with {first}");
    Ok(block)
}

/// Replaces what differs from run to run: ids, digests, moments, durations, and how often something
/// was tried.
fn plain(line: &str) -> String {
    let digits = |word: &str| word.chars().filter(char::is_ascii_digit).count();
    let word = |word: &str| match word {
        _ if word.len() == 24 && word.ends_with('Z') => "TIME".to_owned(),
        _ if word.starts_with("sha256:") => "DIGEST".to_owned(),
        _ if word.len() == 8 && digits(word) > 0 && word.chars().all(|c| c.is_ascii_hexdigit()) => {
            "ID".to_owned()
        }
        _ => word.to_owned(),
    };
    let words: Vec<String> = line.split_whitespace().map(word).collect();
    let mut plain = words.join(" ");
    for unit in [" times:", " ×", " events,"] {
        if let Some((before, rest)) = plain.split_once(unit) {
            plain = format!("{}N{unit}{rest}", before.trim_end_matches(|c: char| c.is_ascii_digit()));
        }
    }
    if let Some((before, rest)) = plain.split_once(" after ")
        && let Some((_, rest)) = rest.split_once(" ms")
    {
        plain = format!("{before} after N ms{rest}");
    }
    plain
}

fn first_run(bed: &Testbed) -> Result<()> {
    let folder = bed.fresh_directory("readme")?;
    let script = block("```sh")?;
    fs::write(folder.join("look.sh"), script.join("\n") + "\n")?;
    fs::write(folder.join(".env"), "KEY=hunter2\n")?;
    let image = format!("my-agent-{}", std::process::id());
    bed.engine.docker(&["tag", &bed.images.agent, &image])?;
    let seen = transcript(bed, &folder, &image);
    bed.engine.docker(&["rmi", &image])?;
    let (shown, seen) = seen?;
    ensure!(shown == seen, "the README shows {shown:#?}\nand the program {seen:#?}");
    Ok(())
}

/// Runs the commands of the transcript: the lines as they are shown, and as they are. Their order
/// is left aside, since two streams are shown as one.
fn transcript(
    bed: &Testbed,
    folder: &std::path::Path,
    image: &str,
) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let (mut shown, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut id = String::new();
    for line in block("```console")? {
        let Some(command) = line.strip_prefix("$ ringfence ") else {
            shown.insert(plain(line));
            continue;
        };
        // What is shown as `my-agent` and as an id is this testbed's.
        let words = command.split(' ').map(|word| match plain(word).as_str() {
            "my-agent" => image.to_owned(),
            "ID" => id.clone(),
            _ => word.to_owned(),
        });
        let mut command = bed.ringfence.command();
        // The testbed's authorities are no part of a first run.
        command.args(words).current_dir(folder).env_remove("SSL_CERT_FILE");
        let output = bounded(&mut command, b"", LIMIT)?;
        // A person sees both streams together; the agent's own words are on both.
        let text = format!("{}{}", output.stderr, output.stdout);
        let last = |line: &str| line.split_once("ringfence events ").map(|(_, rest)| rest.to_owned());
        if let Some(rest) = text.lines().find_map(last) {
            id = rest.split(' ').next().unwrap_or_default().to_owned();
        }
        seen.extend(text.lines().map(plain));
    }
    Ok((shown, seen))
}
