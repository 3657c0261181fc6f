//! `ringfence trust`: a person approves a project's own policy, as it is now.
//!
//! ```text
//!  PROJECT/.ringfence.yml ──load, alone──▶ what it says, against what was approved ──yes?──▶ approval kept
//! ```

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use netpolicy::load::{self, LayerSource};
use netpolicy::policy::{Layer, Policy, Rule};
use netpolicy::print;
use netpolicy::reach::difference;
use serde::Serialize;

use crate::cli::policy::TrustArgs;
use crate::host::open;
use crate::layers::{self, trust};
use crate::term;
use crate::term::{COULD_NOT_RUN, Failure};

/// A person said no.
const NOT_APPROVED: u8 = 1;

/// Approves, or takes an approval back.
pub(crate) fn trust(args: &TrustArgs) -> Result<u8, Failure> {
    if args.list {
        return list(args.json);
    }
    let folder = project_of(&args.file)?;
    if args.revoke {
        let was = trust::forget(&folder)?;
        let what = if was { "is no longer approved" } else { "was not approved" };
        term::talk_lines(format_args!("{} {what}\n", term::line(&folder.to_string_lossy())));
        return Ok(0);
    }
    let source = layers::project_source(&folder)?.ok_or_else(|| {
        Failure::new(COULD_NOT_RUN, format!("{} has no {}", folder.display(), layers::PROJECT))
            .hint("name a project with a policy of its own; no other needs approval")
    })?;
    let now = layers::load_alone(source, &folder)?;
    let digest = now.closure_digest(Layer::Project);
    let before = trust::approved(&folder)?;
    if before.as_ref().is_some_and(|approval| approval.digest == digest) {
        term::talk_lines(format_args!(
            "{} is approved as it is: {digest}\n",
            term::line(&folder.to_string_lossy())
        ));
        return Ok(0);
    }
    let earlier = before.as_ref().map(|approval| policy_of(&approval.files));
    let summary = summary(&folder, &now.policy, earlier.as_ref(), &digest);
    // Nobody is asked to approve something that is not shown.
    match args.yes {
        true => term::talk_lines(summary),
        false => term::essential_lines(summary),
    }
    if !args.yes && !agreed()? {
        term::talk_lines("not approved\n");
        return Ok(NOT_APPROVED);
    }
    trust::keep(&trust::Approval::of(&folder, digest, &now.files)?)?;
    term::talk_lines("approved\n");
    Ok(0)
}

/// An approval, as it stands now.
#[derive(Serialize)]
struct Listed {
    project: PathBuf,
    digest: String,
    state: &'static str,
}

/// Prints what was approved, and whether it still counts.
fn list(json: bool) -> Result<u8, Failure> {
    let listed: Vec<Listed> = trust::all()?
        .into_iter()
        .map(|approval| Listed {
            state: state_of(&approval),
            project: approval.project,
            digest: approval.digest,
        })
        .collect();
    if json {
        crate::term::print_json(&listed)?;
    } else {
        let line = |one: &Listed| format!("{:<7}  {}  {}\n", one.state, one.digest, one.project.display());
        crate::term::print(&listed.iter().map(line).collect::<String>())?;
    }
    Ok(0)
}

/// Compares an approval with the project's present policy. A policy that cannot be read now does
/// not count now, whatever the reason.
fn state_of(approval: &trust::Approval) -> &'static str {
    let folder = &approval.project;
    let now = match layers::project_source(folder) {
        Ok(Some(source)) => layers::load_alone(source, folder).ok(),
        Ok(None) => return "gone",
        Err(_) => None,
    };
    match now {
        Some(now) if now.closure_digest(Layer::Project) == approval.digest => "counts",
        _ => "changed",
    }
}

/// Returns the project's folder, given it or its policy.
fn project_of(file: &Path) -> Result<PathBuf, Failure> {
    let cannot =
        |folder: &Path| Failure::new(COULD_NOT_RUN, format!("cannot find the project {}", folder.display()));
    let real = |folder: &Path| open::real(folder).map_err(|refused| refused.explain(cannot(folder)));
    if file.is_dir() {
        return real(file);
    }
    if file.file_name().is_none_or(|name| name != layers::PROJECT) {
        return Err(Failure::new(COULD_NOT_RUN, format!("{} is no project's policy", file.display()))
            .hint(format!("name {} in the project's topmost folder", layers::PROJECT)));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    real(folder.unwrap_or(Path::new(".")))
}

/// Returns the policy that was approved, from the texts that were kept; nothing where they can no
/// longer be read.
fn policy_of(files: &[(String, String)]) -> Policy {
    let mut read = |_: Layer, path: &str| {
        let found = files.iter().find(|(name, _)| name == path);
        found.map(|(_, text)| text.clone().into_bytes()).ok_or_else(|| "it was not kept".to_owned())
    };
    let (configs, own): (Vec<_>, Vec<_>) =
        files.iter().map(|(name, _)| name).partition(|name| name.ends_with("agent-config.yml"));
    let source = LayerSource {
        agent_config: configs.first().map(|name| (*name).clone()),
        ..LayerSource::files(Layer::Project, own.first().map(|name| (*name).clone()).into_iter().collect())
    };
    load::load_layers(&[source], crate::host::clock::today(), &mut read)
        .map_or_else(|_| Policy::nothing(), |loaded| loaded.policy)
}

fn summary(folder: &Path, now: &Policy, earlier: Option<&Policy>, digest: &str) -> String {
    let mut text = String::new();
    let project = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    text.push_str(&format!("{}\n{digest}\n\n", project.join(layers::PROJECT).display()));
    match earlier {
        None => {
            text.push_str("it permits:\n");
            let covered = now.allow.iter().filter(|rule| !rule.is_beyond_trust());
            text.push_str(&entries(covered, "  nothing\n"));
        }
        Some(earlier) => {
            text.push_str("since it was approved:\n");
            let found = difference(&approved(earlier), &approved(now), crate::host::clock::today());
            let words = super::policy::diff::to_words(&found);
            text.push_str(if words.is_empty() { "it reaches the same\n" } else { &words });
        }
    }
    let beyond = entries(now.allow.iter().filter(|rule| rule.is_beyond_trust()), "");
    if !beyond.is_empty() {
        text.push_str("counts only inside a ceiling of your own policy, approved or not:\n");
        text.push_str(&beyond);
    }
    text
}

/// Writes a line for each different rule, or the text that stands for none.
fn entries<'r>(rules: impl Iterator<Item = &'r Arc<Rule>>, none: &str) -> String {
    let lines: BTreeSet<String> = rules.map(|rule| format!("  {}\n", print::entry(rule, false))).collect();
    if lines.is_empty() { none.to_owned() } else { lines.into_iter().collect() }
}

/// Returns the policy as it counts once it is approved.
fn approved(policy: &Policy) -> Policy {
    Policy { project_trusted: true, ..policy.clone() }
}

/// Asks on the terminal; without one nobody can agree.
fn agreed() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(COULD_NOT_RUN, "nobody can be asked: stdin is no terminal")
            .hint("look at it first, then give --yes"));
    }
    let answer = term::ask("approve it? [y/N] ")
        .map_err(|error| Failure::new(COULD_NOT_RUN, "cannot ask").caused_by(&error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use netpolicy::load::SourceFile;

    use super::*;

    #[test]
    fn what_was_approved_can_be_read_again_and_compared() {
        let files = |text: &str| vec![(".ringfence.yml".to_owned(), text.to_owned())];
        let old = policy_of(&files("version: 1\nnetwork: {allow: [a.example, b.example]}\n"));
        let new =
            policy_of(&files("version: 1\nnetwork: {allow: [a.example, c.example], deny: [x.example]}\n"));
        let text = summary(Path::new("/nonexistent"), &new, Some(&old), "sha256:d");
        assert!(text.contains("+ c.example:443") && text.contains("- b.example:443"), "{text}");
        assert!(!text.contains("a.example"), "{text}");
        // A denial alone closes something, and is told as that.
        let narrower = policy_of(&files("version: 1\nnetwork: {allow: [a.example], deny: [a.example]}\n"));
        let text = summary(Path::new("/nonexistent"), &narrower, Some(&old), "sha256:d");
        assert!(text.contains("- a.example:443") && !text.contains("+ "), "{text}");
    }

    #[test]
    fn an_approval_remembers_every_text() {
        let file = SourceFile { layer: Layer::Project, name: "n".into(), text: "t".into() };
        let approval = trust::Approval::of(Path::new("/"), "sha256:d".into(), &[file]).unwrap();
        assert_eq!(approval.files, [("n".to_owned(), "t".to_owned())]);
    }
}
