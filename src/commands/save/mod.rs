//! Chosen names put into a policy file: what changes is shown, and a person agrees.
//!
//! ```text
//!  FILE, else the run's ──target──▶ PolicyFile ─┐
//!  names ───────────────────────────────────────┴─ plan: netpolicy::edit, both texts loaded, decide ──▶ PolicyEdit
//!  PolicyEdit ── lines, and what they reach ──▶ y/N or --yes ──▶ host::replace
//! ```
//! The names come from a run: an agent chose them. They are host names by their type, and only
//! exact names on one port are written.

mod difference;
pub(crate) mod target;

use netpolicy::decide::{Question, Target, Verdict, decide};
use netpolicy::edit::{Permission, Unedited, permit};
use netpolicy::floor::Surroundings;
use netpolicy::host::{HostName, HostPattern};
use netpolicy::load::{self, LayerSource, MAX_FILE};
use netpolicy::lookalike::lookalike;
use netpolicy::policy::{Layer, Matcher, Policy};
use netpolicy::presets::PRESETS;
use netpolicy::reach;

use self::target::PolicyFile;
use super::ask;
use crate::host::clock::today;
use crate::host::replace::Original;
use crate::layers;
use crate::term::{self, COULD_NOT_RUN, Failure};
use crate::wire::event::Ruling;

/// A policy file, and the same with more names.
pub(crate) struct PolicyEdit {
    file: PolicyFile,
    original: Original,
    old: String,
    new: String,
    /// Policy of the file alone, before and after.
    policies: (Policy, Policy),
    /// Names that are added.
    added: Vec<Permission>,
}

impl PolicyEdit {
    /// Plans the edit. Names that the file permits already are left out.
    ///
    /// # Errors
    /// When the file is not one to write into, or the names would not be permitted afterwards.
    pub(crate) fn plan(file: PolicyFile, names: &[Permission]) -> Result<PolicyEdit, Failure> {
        let original = file.open()?;
        let shown = file.shown();
        let old = String::from_utf8(original.content.clone()).map_err(|error| {
            Failure::new(COULD_NOT_RUN, format!("{shown} is no UTF-8 text")).caused_by(&error)
        })?;
        let before = policy_of(&file, &old)?;
        let is_new = |name: &&Permission| !verdict(&before, name).allowed;
        let added: Vec<Permission> = names.iter().filter(is_new).cloned().collect();
        let new = permit(&shown, &old, &added).map_err(|why| by_hand(&shown, &why, &added))?;
        let after = policy_of(&file, &new)?;
        for name in &added {
            let found = verdict(&after, name);
            if !found.allowed {
                let why = Ruling::from(&found);
                let what = format!("{shown} would refuse {name} all the same ({}): {why}", found.reason);
                return Err(Failure::new(COULD_NOT_RUN, what)
                    .hint("change that line by hand first; nothing was written"));
            }
        }
        Ok(PolicyEdit { file, original, old, new, policies: (before, after), added })
    }

    /// Tells whether the file says all of it already.
    pub(crate) fn is_empty(&self) -> bool {
        self.added.is_empty()
    }

    /// Returns the names of the file as a person sees it.
    pub(crate) fn shown(&self) -> String {
        self.file.shown()
    }

    /// Shows what changes, and asks; `true` when a person agrees.
    ///
    /// # Errors
    /// When nobody can be asked.
    pub(crate) fn agreed(&self, yes: bool) -> Result<bool, Failure> {
        let text = self.words();
        if yes {
            term::talk_lines(text);
            return Ok(true);
        }
        // Nobody is asked to agree to something that is not shown.
        term::essential_lines(text);
        ask::agreed(
            &format!("write it to {}? [y/N] ", term::line(&self.shown())),
            "look at it first, then give --yes; nothing was written",
        )
    }

    /// Describes the edit: its lines, what it reaches, and names to look at twice.
    fn words(&self) -> String {
        let (before, after) = &self.policies;
        let mut text = difference::lines(&self.shown(), &self.old, &self.new);
        let found = reach::difference(before, after, today());
        text.push_str(&super::policy::diff::to_words(&found));
        let known = known_names(before);
        for name in &self.added {
            if let Some(mark) = lookalike(&name.host, &known) {
                text.push_str(&format!("look twice at {name}: {mark}\n"));
            }
        }
        text
    }

    /// Writes the file, and says what has to happen for it to count.
    ///
    /// # Errors
    /// When it cannot be written whole.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        let shown = self.shown();
        self.original.replace(self.new.as_bytes()).map_err(|error| {
            Failure::new(COULD_NOT_RUN, format!("cannot write {shown}; it is as it was"))
                .caused_by(&error)
                .hint("try again")
        })?;
        term::talk(format_args!("wrote {shown}: {}", listed(&self.added)));
        if let Some(next) = self.file.next() {
            term::talk(next);
        }
        Ok(())
    }
}

/// Lists names in words.
pub(crate) fn listed(names: &[Permission]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Says why a file is not edited, and which lines to add by hand.
fn by_hand(file: &str, why: &Unedited, names: &[Permission]) -> Failure {
    let mut failure = Failure::new(COULD_NOT_RUN, format!("{file} was not written")).caused_by(why);
    if let Unedited::Mistakes(found) = why {
        return Failure { exit: COULD_NOT_RUN, ..layers::unusable(found) };
    }
    let lines: String = names.iter().map(|name| format!("    - {}\n", name.entry())).collect();
    failure.causes.push(format!("add these lines by hand:\nnetwork:\n  allow:\n{lines}"));
    failure.hint("`ringfence policy check FILE` finds mistakes afterwards")
}

/// Loads a file by itself with this text. Its layer decides nothing about names.
fn policy_of(file: &PolicyFile, text: &str) -> Result<Policy, Failure> {
    let path = file.entry();
    let source = LayerSource::files(Layer::Run, vec![path.clone()]);
    let mut read = |_: Layer, other: &str| match other == path {
        true => Ok(text.as_bytes().to_vec()),
        false => layers::read_any(other),
    };
    load::load_layers(&[source], today(), &mut read)
        .map(|loaded| loaded.policy)
        .map_err(|found| layers::unusable(&found))
}

/// Asks the one decision function about a name.
pub(crate) fn verdict(policy: &Policy, name: &Permission) -> Verdict {
    let target = Target::Name(name.host.clone());
    let question = Question::about(&target, today()).port(name.port);
    decide(policy, &Surroundings::default(), &question)
}

/// Lists the names that a person knows, which others may look like: those of the policy and of the
/// presets.
pub(crate) fn known_names(policy: &Policy) -> Vec<HostName> {
    let of_policy = |policy: &Policy| -> Vec<HostName> {
        let exact = policy.allow.iter().filter_map(|rule| match &rule.matcher {
            Matcher::Host(HostPattern::Exact(name)) => Some(name.clone()),
            _ => None,
        });
        exact.collect()
    };
    let mut known = of_policy(policy);
    for preset in PRESETS {
        let read = load::load(preset.name, Layer::Run, today(), &mut |_| Err(String::new()));
        known.extend(read.map(|loaded| of_policy(&loaded.policy)).unwrap_or_default());
    }
    known
}

/// The largest policy file that is read.
const LARGEST: u64 = MAX_FILE as u64;
