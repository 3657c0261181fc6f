//! Files by which code runs later, as a run left them: the riskiest first for the person, every one
//! in the events.
//!
//! ```text
//!  changed, new, gone ─▶ rank (tier ─ fetched folders last ─ one of each pattern before the next ─ shallow first)
//!      ├─▶ stderr: some of each tier, how many more, where all are named
//!      ├─▶ events: all, many in one
//!      └─▶ a list in ringfence's state folder, where the events cannot hold them all
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::kinds::{Kind, Tier, is_vendored};
use super::names::{listed, shown};

/// Change of a file that runs code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// The file was there, and has another content now.
    Changed,
    /// The file was not there.
    New,
    /// The file is not there any more.
    Gone,
}

impl State {
    /// Returns the state in a word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            State::Changed => "changed",
            State::New => "new",
            State::Gone => "gone",
        }
    }
}

/// A file by which code runs later.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Risk {
    path: PathBuf,
    kind: Kind,
    state: State,
}

/// All of a run's.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Risks {
    all: Vec<Risk>,
    /// More than are remembered, by tier.
    forgotten: BTreeMap<Tier, u64>,
}

/// Returns the most files of a class that a person is shown. Of builds only the number is shown.
fn most_shown(tier: Tier) -> usize {
    match tier {
        Tier::Opens => 24,
        Tier::Command => 16,
        Tier::Agent | Tier::Push => 8,
        Tier::Build => 0,
    }
}

impl Risks {
    /// Takes in a file.
    pub(crate) fn add(&mut self, path: PathBuf, kind: Kind, state: State) {
        self.all.push(Risk { path, kind, state });
    }

    /// Adds the number of files that are not remembered, since there were too many.
    pub(crate) fn forget(&mut self, forgotten: &BTreeMap<Tier, u64>) {
        forgotten.iter().for_each(|(tier, more)| *self.forgotten.entry(*tier).or_default() += more);
    }

    /// Takes in those of another directory.
    pub(crate) fn append(&mut self, other: Risks) {
        self.all.extend(other.all);
        self.forget(&other.forgotten);
    }

    /// Tells whether there is nothing to report.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.forgotten.is_empty()
    }

    /// Ranks the risks, the riskiest first. Of files that one pattern names, the second comes
    /// behind the first of every other pattern: many of a kind hide none of another.
    fn ranked(&self) -> Vec<&Risk> {
        let is_fetched = |risk: &Risk| risk.state == State::New && is_vendored(&risk.path);
        let depth = |risk: &Risk| risk.path.components().count();
        let mut all: Vec<&Risk> = self.all.iter().collect();
        all.sort_by_cached_key(|risk| {
            (risk.state == State::Gone, is_fetched(risk), depth(risk), risk.path.clone())
        });
        let mut rounds: BTreeMap<usize, usize> = BTreeMap::new();
        let mut ranked: Vec<_> = all
            .into_iter()
            .map(|risk| {
                let round = rounds.entry(risk.kind.pattern).or_default();
                *round += 1;
                let gone = risk.state == State::Gone;
                ((risk.kind.tier, gone, is_fetched(risk), *round, risk.kind.place), risk)
            })
            .collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, risk)| risk).collect()
    }

    /// Returns the lines for the person.
    pub(crate) fn lines(&self) -> Vec<String> {
        if self.is_empty() {
            return Vec::new();
        }
        let ranked = self.ranked();
        let mut lines = Vec::new();
        for tier in Tier::ALL {
            let of_tier: Vec<&&Risk> = ranked.iter().filter(|risk| risk.kind.tier == tier).collect();
            let forgotten = self.forgotten.get(&tier).copied().unwrap_or(0);
            let total = of_tier.len() as u64 + forgotten;
            if total == 0 {
                continue;
            }
            let first: Vec<String> = of_tier.iter().take(most_shown(tier)).map(|risk| risk.shown()).collect();
            let more = total - first.len() as u64;
            lines.push(match (first.is_empty(), more) {
                (true, 1) => format!("  {}: 1 file", tier.when()),
                (true, more) => format!("  {}: {more} files", tier.when()),
                (false, 0) => format!("  {}: {}", tier.when(), first.join(", ")),
                (false, more) => format!("  {}: {} and {more} more", tier.when(), first.join(", ")),
            });
        }
        lines.insert(
            0,
            "new or changed files can run code on this machine; look before you use them:".to_owned(),
        );
        let forgotten: u64 = self.forgotten.values().sum();
        if forgotten > 0 {
            lines.push(format!("  of {forgotten} of them no name is kept"));
        }
        lines
    }

    /// Returns every file, the riskiest first, in as many texts as it takes.
    pub(crate) fn events(&self) -> Vec<String> {
        let mut groups: BTreeMap<(Tier, State), Vec<String>> = BTreeMap::new();
        for risk in self.ranked() {
            groups.entry((risk.kind.tier, risk.state)).or_default().push(listed(&risk.path));
        }
        let texts = groups.into_iter().flat_map(|((tier, state), names)| {
            super::names::parts(&format!("{}; {}: ", tier.when(), state.word()), names)
        });
        let forgotten = self
            .forgotten
            .iter()
            .map(|(tier, more)| format!("{}: {more} more files, of which no name is kept", tier.when()));
        texts.chain(forgotten).collect()
    }

    /// Returns every file as data, for the list.
    pub(crate) fn json(&self) -> Vec<Value> {
        let ranked = self.ranked();
        let files = ranked.iter().map(|risk| {
            json!({
                "reason": "runs-code", "path": super::names::exact(&risk.path), "state": risk.state.word(),
                "when": risk.kind.tier.when(), "why": risk.kind.why,
            })
        });
        let forgotten = self.forgotten.iter().map(
            |(tier, more)| json!({"reason": "runs-code", "when": tier.when(), "more-without-a-name": more}),
        );
        files.chain(forgotten).collect()
    }
}

impl Risk {
    fn shown(&self) -> String {
        let program = self.kind.why.split(':').next().unwrap_or_default();
        format!("{} ({}; {program})", shown(&self.path), self.state.word())
    }
}

/// Returns the order in which files are remembered when there is no room for all: the last in this
/// order are forgotten first.
pub(crate) fn worth(path: &Path, kind: Kind) -> (Tier, bool, usize) {
    (kind.tier, is_vendored(path), path.components().count())
}

#[cfg(test)]
mod tests {
    use super::super::kinds::Kinds;
    use super::*;

    fn risks(paths: &[(&str, State)]) -> Risks {
        let mut risks = Risks::default();
        for (path, state) in paths {
            risks.add(path.into(), Kinds::get().of(Path::new(path)).expect(path), *state);
        }
        risks
    }

    #[test]
    fn decoys_hide_nothing() {
        let mut paths: Vec<(String, State)> =
            (0..40).map(|n| (format!(".idea/a{n}.xml"), State::New)).collect();
        paths.extend((0..40).map(|n| (format!("a{n}/.envrc"), State::New)));
        paths.extend((0..40).map(|n| (format!(".claude/commands/{n}.md"), State::New)));
        for name in [
            ".exrc",
            ".nvimrc",
            ".vimrc",
            ".lvimrc",
            ".gvimrc",
            ".dir-locals.el",
            ".kakrc",
            ".emacs",
            ".nanorc",
            ".bashrc",
            ".zshrc",
        ] {
            paths.push((name.to_owned(), State::New));
        }
        for (path, state) in [
            (".vscode/tasks.json", State::Changed),
            (".envrc", State::New),
            ("rust-toolchain.toml", State::New),
            ("Makefile", State::Changed),
        ] {
            paths.push((path.to_owned(), state));
        }
        let paths: Vec<(&str, State)> = paths.iter().map(|(path, state)| (path.as_str(), *state)).collect();
        let lines = risks(&paths).lines();
        assert!(
            lines[1].contains("opened: .envrc (new; direnv), .vscode/tasks.json (changed; VS Code), "),
            "{lines:#?}"
        );
        assert!(lines[1].contains(" more"), "{lines:#?}");
        assert_eq!(lines[2], "  at an ordinary command: rust-toolchain.toml (new; rustup)");
        assert_eq!(lines[3], "  at a build, a test or a start of the project: 1 file");
    }

    #[test]
    fn what_is_fetched_or_deep_comes_behind_what_is_not() {
        let risks = risks(&[
            ("node_modules/x/.envrc", State::New),
            ("a/b/.envrc", State::New),
            ("z/.envrc", State::New),
            (".mcp.json", State::Gone),
        ]);
        let names: Vec<_> =
            risks.ranked().iter().map(|risk| risk.path.to_str().unwrap().to_owned()).collect();
        assert_eq!(names, ["z/.envrc", "a/b/.envrc", "node_modules/x/.envrc", ".mcp.json"]);
    }

    #[test]
    fn a_flood_is_named_to_the_last_in_the_events() {
        let mut risks = Risks::default();
        let kind = Kinds::get().of(Path::new(".envrc")).unwrap();
        (0..5_000).for_each(|n| risks.add(format!("decoys/{n}/.envrc").into(), kind, State::New));
        risks.add("sub/.envrc".into(), kind, State::Changed);
        let events = risks.events();
        let text = events.join("\n");
        assert!(
            (0..5_000).all(|n| text.contains(&format!("decoys/{n}/.envrc")))
                && text.contains("changed: sub/.envrc")
        );
        assert!(events.len() < 60 && events.iter().all(|event| event.len() < 5_000), "{}", events.len());
        let lines = risks.lines();
        assert!(
            lines.iter().map(String::len).sum::<usize>() < 4_000 && lines[1].contains("4977 more"),
            "{lines:?}"
        );
        assert_eq!(risks.json().len(), 5_001);
    }
}
