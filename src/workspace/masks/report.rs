//! Report on masks: a few lines before a run, all of it in `ringfence project check`.

use std::fmt;
use std::path::Path;

use netpolicy::diagnostic::harmless;
use serde_json::{Value, json};

use super::decide::{Reason, Verdict};
use super::{Cover, Plan, Why, With};

/// Names in a line before "and N more".
const NAMED: usize = 6;

impl Plan {
    /// Summarizes the covers before a run: short, but with every secret that was found by content.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::new();
        let mut line = |what: &str, covers: Vec<&Cover>| {
            if !covers.is_empty() {
                let names = covers.iter().map(|cover| shown(&cover.path));
                text.push_str(&format!("ringfence: {what}: {}\n", few(names.collect())));
            }
        };
        let named = |cover: &&Cover| !cover.by_content_alone();
        let all = || self.covers.iter();
        line("empty to the agent", all().filter(|cover| cover.with == With::Nothing).collect());
        line(
            "without its secret values to the agent",
            all().filter(|cover| cover.is_masked()).filter(named).collect(),
        );
        line(
            "as in git's index to the agent, without what you changed since",
            all().filter(|cover| self.verdict(cover) == Some(&Verdict::Committed)).collect(),
        );
        line(
            "unchangeable to the agent",
            all().filter(|cover| cover.with == With::Itself || self.is_shown(cover)).collect(),
        );
        // A mount may be a library with hundreds of keys for tests.
        let is_many = self.is_mount() && all().filter(|cover| cover.by_content_alone()).count() > NAMED;
        line(
            "a secret is masked and the file unchangeable to the agent",
            all().filter(|cover| is_many && cover.by_content_alone()).collect(),
        );
        for cover in all().filter(|cover| !is_many && cover.by_content_alone()) {
            let places = cover.why.iter().map(ToString::to_string).collect();
            text.push_str(&format!(
                "ringfence: {}: a secret is masked and the file unchangeable to the agent: {}\n",
                shown(&cover.path),
                few(places)
            ));
        }
        let tracked = all().filter(|cover| self.reason(cover).is_some_and(Reason::may_be_tracked));
        let tracked: Vec<String> = tracked
            .filter_map(|cover| Some(format!("{} ({})", shown(&cover.path), self.reason(cover)?)))
            .collect();
        if !tracked.is_empty() {
            text.push_str(&format!(
                "ringfence: a stand-in is there inside, not what git has, so do not let it be committed: {}\n",
                few(tracked)
            ));
        }
        if !self.decided.shown.is_empty() {
            let names = self.decided.shown.iter().map(|one| shown(&one.path)).collect();
            text.push_str(&format!(
                "ringfence: shown to the agent, since git has it just so: {}; change these secrets if they are real: \
                 everybody with the repository can read them\n",
                few(names)
            ));
        }
        for (path, rule) in &self.seen.in_git {
            text.push_str(&format!(
                "ringfence: {} holds a secret ({rule}) that is NOT hidden: git writes this file itself\n",
                shown(path)
            ));
        }
        if !self.seen.too_large.is_empty() {
            let names = self.seen.too_large.iter().map(|path| shown(path)).collect();
            text.push_str(&format!("ringfence: too large to look for secrets in: {}\n", few(names)));
        }
        if self.seen.beyond_budget > 0 {
            text.push_str(&format!(
                "ringfence: too much to look for secrets in: {} files are judged by their names alone\n",
                self.seen.beyond_budget
            ));
        }
        if text.contains("masked") || text.contains("empty") || text.contains("as in git's index") {
            text.push_str(
                "ringfence: --unmask PATH shows a file as it is; `ringfence project check` tells more\n",
            );
        }
        text
    }

    /// Returns the whole report, a line a file.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |word: &str, path: &Path, why: &[Why], then: String| {
            let why: Vec<String> = why.iter().map(ToString::to_string).collect();
            text.push_str(&format!("{word:<9} {}  ({}{then})\n", shown(path), why.join(", ")));
        };
        for cover in self.covers.iter().filter(|cover| !self.is_shown(cover)) {
            let then = match self.verdict(cover) {
                Some(Verdict::StandIn(reason)) => format!("; a stand-in: {reason}"),
                Some(Verdict::Committed) => {
                    "; the index's version, since the file differs from it".to_owned()
                }
                Some(Verdict::Show) | None => String::new(),
            };
            line(cover.with.word(), &cover.path, &cover.why, then);
        }
        for one in &self.decided.shown {
            let fixed = if one.fixed { ", unchangeable" } else { "" };
            line("shown", &one.path, &one.why, format!("; git has it just so{fixed}"));
        }
        for (path, rule) in &self.seen.in_git {
            text.push_str(&format!(
                "{:<9} {}  ({rule}; git writes this file itself)\n",
                "visible",
                shown(path)
            ));
        }
        for path in &self.seen.too_large {
            text.push_str(&format!("{:<9} {}  (too large)\n", "unread", shown(path)));
        }
        for path in &self.seen.caches {
            text.push_str(&format!("{:<9} {}  (a cache: by name, and texts)\n", "unread", shown(path)));
        }
        for path in &self.seen.unmasked {
            text.push_str(&format!("{:<9} {}\n", "unmasked", shown(path)));
        }
        text
    }

    /// Returns the report as JSON.
    pub(crate) fn json(&self) -> Value {
        let path = |path: &Path| path.display().to_string();
        let why = |why: &[Why]| why.iter().map(Why::json).collect::<Vec<_>>();
        let covers: Vec<Value> = self
            .covers
            .iter()
            .filter(|cover| !self.is_shown(cover))
            .map(|cover| {
                let mut one =
                    json!({"path": path(&cover.path), "agent-sees": cover.with.word(), "why": why(&cover.why)});
                match self.verdict(cover) {
                    Some(Verdict::StandIn(reason)) => {
                        one["stand-in"] = json!({"reason": reason.word(), "text": reason.to_string()});
                    }
                    Some(Verdict::Committed | Verdict::Show) | None => {}
                }
                one
            })
            .collect();
        let shown = self.decided.shown.iter().map(|one| {
            json!({"path": path(&one.path), "agent-sees": "shown", "why": why(&one.why), "unchangeable": one.fixed})
        });
        let shown: Vec<Value> = shown.collect();
        let paths = |list: &[std::path::PathBuf]| list.iter().map(|one| path(one)).collect::<Vec<_>>();
        json!({
            "project": path(&self.project),
            "covers": covers,
            "shown": shown,
            "visible-in-git": self.seen.in_git.iter().map(|(one, rule)| json!({"path": path(one), "rule": rule})).collect::<Vec<_>>(),
            "files": self.seen.files,
            "too-large": paths(&self.seen.too_large),
            "caches": paths(&self.seen.caches),
            "unmasked": paths(&self.seen.unmasked),
        })
    }
}

impl Plan {
    fn verdict(&self, cover: &Cover) -> Option<&Verdict> {
        self.decided.verdicts.get(&cover.path)
    }

    fn reason(&self, cover: &Cover) -> Option<&Reason> {
        match self.verdict(cover) {
            Some(Verdict::StandIn(reason)) => Some(reason),
            _ => None,
        }
    }

    /// Tells whether the agent finds what is in the file, though it cannot change it.
    fn is_shown(&self, cover: &Cover) -> bool {
        self.decided.shown.iter().any(|shown| shown.path == cover.path)
    }
}

impl Cover {
    fn is_masked(&self) -> bool {
        matches!(self.with, With::Masked(_))
    }

    fn by_content_alone(&self) -> bool {
        self.is_masked() && self.why.iter().all(|why| matches!(why, Why::Content { .. }))
    }
}

impl With {
    fn word(&self) -> &'static str {
        match self {
            With::Nothing => "empty",
            With::Masked(_) => "masked",
            With::Committed { .. } => "committed",
            With::Itself => "read-only",
            With::Instead(_) => "paths",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Name(pattern) => write!(f, "by its name, {pattern}"),
            Why::Policy(pattern) => write!(f, "workspace.mask, {pattern}"),
            Why::Git => f.write_str("git"),
            Why::Record => f.write_str("git keeps it for another working tree"),
            Why::Content { rule, line, column } => write!(f, "{rule} at {line}:{column}"),
            Why::Unclear => f.write_str("it cannot be read for certain"),
            Why::Unreadable => f.write_str("ringfence may not read it"),
            Why::SameFile(other) => write!(f, "the same file as {}", shown(other)),
        }
    }
}

impl Why {
    fn json(&self) -> Value {
        match self {
            Why::Name(pattern) => json!({"by": "name", "pattern": pattern}),
            Why::Policy(pattern) => json!({"by": "policy", "pattern": pattern}),
            Why::Git => json!({"by": "git"}),
            Why::Record => json!({"by": "record"}),
            Why::Content { rule, line, column } => {
                json!({"by": "content", "rule": rule, "line": line, "column": column})
            }
            Why::Unclear => json!({"by": "unclear"}),
            Why::Unreadable => json!({"by": "unreadable"}),
            Why::SameFile(other) => json!({"by": "same-file", "path": other.display().to_string()}),
        }
    }
}

/// Returns a path for a person's terminal: an agent may have named the file.
pub(super) fn shown(path: &Path) -> String {
    harmless(&path.display().to_string())
}

/// Returns a few of many names.
pub(super) fn few(names: Vec<String>) -> String {
    match names.len().checked_sub(NAMED) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..NAMED].join(", ")),
    }
}
