//! `ringfence trust`: a person approves a project's own policy, as it is now.
//!
//! ```text
//!  image and setup script of GitLab's file ──▶ what they are, with the image's digest ──┐
//!  PROJECT/.ringfence.yml ──load, alone──────▶ what it says, against what was approved ─┴─yes?──▶ approval kept
//! ```

mod flow;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use netpolicy::load::{self, LayerSource};
use netpolicy::policy::{Ceiling, Layer, Policy, Rule};
use netpolicy::print;
use netpolicy::reach::{Line, Whose, difference};
use serde::Serialize;

use self::flow::Looked;
use super::ask;
use crate::cli::policy::TrustArgs;
use crate::host::open;
use crate::layers::{self, trust};
use crate::term;
use crate::term::{COULD_NOT_RUN, Failure};

/// A person said no.
const NOT_APPROVED: u8 = 1;

/// Approves, or takes an approval back.
pub(crate) async fn trust(engine: Option<&str>, args: &TrustArgs) -> Result<u8, Failure> {
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
    let mut now = layers::load_alone(source, &folder)?;
    let digest = now.closure_digest(Layer::Project);
    now.policy.ceilings = layers::ceilings()?;
    let looked = flow::look(engine, &folder).await?;
    let flow = looked.as_ref().and_then(Looked::approvable);
    let before = trust::approved(&folder)?;
    if before.as_ref().is_some_and(|approval| approval.digest == digest && approval.flow == flow) {
        term::talk_lines(format_args!(
            "{} is approved as it is: {digest}\n",
            term::line(&folder.to_string_lossy())
        ));
        term::talk_lines(kept_out(&now.policy));
        // Why image and script of the project are no part of it.
        term::talk_lines(
            looked.filter(|_| flow.is_none()).map_or_else(String::new, |looked| looked.summary(None)),
        );
        return Ok(0);
    }
    if let Some(looked) = looked.as_ref().filter(|_| flow.is_none() && now.files.is_empty()) {
        term::talk_lines(looked.summary(None));
        return Err(Failure::new(
            COULD_NOT_RUN,
            "nothing was approved: the project has nothing else to approve",
        )
        .hint("put right what is named above, then `ringfence trust` again"));
    }
    let earlier = before.as_ref().map(|approval| policy_of(&approval.files));
    let earlier_flow = before.as_ref().and_then(|approval| approval.flow.as_ref());
    // What is permitted comes last: a long script must not scroll it away.
    let mut text =
        looked.as_ref().map_or_else(String::new, |looked| format!("{}\n", looked.summary(earlier_flow)));
    text.push_str(&summary(&folder, &now.policy, earlier.as_ref(), &digest));
    // Nobody is asked to approve something that is not shown.
    match args.yes {
        true => term::talk_lines(text),
        false => term::essential_lines(text),
    }
    if !args.yes && !ask::agreed("approve it? [y/N] ", "look at it first, then give --yes")? {
        term::talk_lines("not approved\n");
        return Ok(NOT_APPROVED);
    }
    trust::keep(&trust::Approval { flow, ..trust::Approval::of(&folder, digest, &now.files)? })?;
    let whole = kept_out(&now.policy).is_empty();
    term::talk_lines(if whole { "approved\n" } else { "approved, as far as the ceilings let through\n" });
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
        Some(now) if now.closure_digest(Layer::Project) == approval.digest && is_same_flow(approval) => {
            "counts"
        }
        _ => "changed",
    }
}

/// Tells whether the project's file still has the image and script that were approved, if any were.
/// The image's content is compared when it runs.
fn is_same_flow(approval: &trust::Approval) -> bool {
    approval.flow.is_none() || layers::flow::approved(&approval.project).is_ok()
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
    let file = project.join(layers::PROJECT).display().to_string();
    text.push_str(&format!("{}\n{digest}\n\n", term::line(&file)));
    match earlier {
        None => {
            let covered = |passage| counted(now, passage).filter(|rule| !rule.is_beyond_trust());
            text.push_str("it permits:\n");
            text.push_str(&entries(covered(Passage::Whole), "  nothing\n"));
            let parts = entries(covered(Passage::Part), "");
            if !parts.is_empty() {
                text.push_str(&format!("it permits, as far as a ceiling contains it:\n{parts}"));
            }
        }
        Some(earlier) => {
            text.push_str("since it was approved:\n");
            let earlier = Policy { ceilings: now.ceilings.clone(), ..earlier.clone() };
            let found = difference(&approved(&earlier), &approved(now), crate::host::clock::today());
            let words = super::policy::diff::to_words(&found);
            text.push_str(if words.is_empty() { "it reaches the same\n" } else { &words });
        }
    }
    let beyond = now.allow.iter().filter(|rule| rule.is_beyond_trust());
    let beyond = entries(beyond.filter(|rule| passage(rule, now) != Passage::None), "");
    if !beyond.is_empty() {
        text.push_str("counts only inside a ceiling of your own policy, approved or not:\n");
        text.push_str(&beyond);
    }
    text + &kept_out(now)
}

/// Writes the rules that no ceiling lets through, with a title; nothing where there are none.
fn kept_out(now: &Policy) -> String {
    let rules = entries(counted(now, Passage::None), "");
    if rules.is_empty() {
        return rules;
    }
    format!(
        "counts for nothing, approved or not, while no ceiling contains it (`ringfence policy explain NAME` shows which):\n{rules}"
    )
}

/// Extent to which the ceilings let a rule through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passage {
    Whole,
    Part,
    None,
}

/// Returns the rules that the ceilings let through to this extent.
fn counted(policy: &Policy, wanted: Passage) -> impl Iterator<Item = &Arc<Rule>> {
    policy.allow.iter().filter(move |rule| passage(rule, policy) == wanted)
}

/// Compares the reach of an approved rule with the reach it would have without ceilings. Rules that
/// need a ceiling pass where there is none: they are told apart anyway.
fn passage(rule: &Arc<Rule>, policy: &Policy) -> Passage {
    if policy.ceilings.is_empty() {
        return Passage::Whole;
    }
    let today = crate::host::clock::today();
    let alone = |rule: &Arc<Rule>, ceilings: &[Ceiling]| Policy {
        allow: vec![Arc::clone(rule)],
        ceilings: ceilings.to_vec(),
        project_trusted: true,
        ..Policy::nothing()
    };
    let mut free = Rule::clone(rule);
    free.origin.layer = Layer::Run;
    let (held, free) = (alone(rule, &policy.ceilings), alone(&free.into(), &[]));
    let nothing = Policy { allow: Vec::new(), ..held.clone() };
    let of_agent = |line: &Line| line.whose == Whose::Agent;
    if !difference(&nothing, &held, today).opens.iter().any(of_agent) {
        Passage::None
    } else if difference(&held, &free, today).opens.iter().any(of_agent) {
        Passage::Part
    } else {
        Passage::Whole
    }
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
