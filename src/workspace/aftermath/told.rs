//! What is said about what a run left: to the person, and as events.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use netpolicy::diagnostic::harmless;

use crate::control::Note;

/// Names in a line before "and N more".
const NAMED: usize = 10;
/// A name is shown no longer than this.
const LONGEST: usize = 200;
/// Lines about what was put back.
const LINES: usize = 30;

/// What came of a run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Told {
    /// Keys that were put back, by file.
    keys: BTreeMap<PathBuf, Vec<String>>,
    /// Files that were put back whole, or put aside, in words.
    whole: Vec<String>,
    /// Files that run code later and were not there before.
    new: Vec<PathBuf>,
    /// The same that were.
    changed: Vec<PathBuf>,
    /// What could not be put back.
    pub failures: Vec<String>,
    /// Whether not everything was looked at.
    cut_short: bool,
    /// Remotes that the agent added, in words.
    remotes: Vec<String>,
    /// What to do about the failures.
    advice: Vec<String>,
    /// References that moved, in words.
    moves: Vec<String>,
    /// What was left as it is and should be known, in words.
    notes: Vec<String>,
}

impl Told {
    /// Keys of a configuration were put back.
    pub fn keys(&mut self, path: PathBuf, keys: Vec<String>) {
        if !keys.is_empty() {
            self.keys.entry(path).or_default().extend(keys);
        }
    }

    /// Something was done with a file as a whole.
    pub fn whole(&mut self, path: &Path, what: &str) {
        self.whole.push(format!("{}: {what}", shown(path)));
    }

    /// A reference moved.
    pub fn moved(&mut self, repository: &Path, name: &str, old: &str, new: &str) {
        self.moves.push(format!(
            "{}: {} moved: {} → {}",
            shown(repository),
            short(name),
            short(old),
            short(new)
        ));
    }

    /// Something was left as it is that a person should know of.
    pub fn noted(&mut self, path: &Path, what: &str) {
        self.notes.push(format!("{}: {}", shown(path), short(what)));
    }

    /// Something could not be done.
    pub fn failed(&mut self, path: &Path, error: &dyn std::fmt::Display) {
        self.failures.push(format!("{} could NOT be put back: {error}", shown(path)));
    }

    /// Something could not be looked at.
    pub fn unseen(&mut self, what: &str) {
        self.failures.push(format!(
            "{} could NOT be looked at for repositories whose configuration runs code",
            short(what)
        ));
    }

    /// What to do about the failures, said behind all of them.
    pub fn advise(&mut self, what: String) {
        self.advice.push(what);
    }

    /// The agent added remotes: whoever pushes there sends it there.
    pub fn remotes(&mut self, path: &Path, remotes: &[String]) {
        if !remotes.is_empty() {
            let names = few(remotes.iter().map(|remote| short(remote)).collect());
            self.remotes.push(format!("new remotes in {}: {names}", shown(path)));
        }
    }

    /// A file that runs code later appeared, or changed.
    pub fn risky(&mut self, path: PathBuf, new: bool) {
        if new { self.new.push(path) } else { self.changed.push(path) }
    }

    /// Not everything was looked at.
    pub fn cut_short(&mut self) {
        self.cut_short = true;
    }

    /// Lines for the person about what was put back, or could not be.
    pub fn put_back(&self) -> Vec<String> {
        let keys = self.keys.iter().map(|(path, keys)| {
            format!("put back in {}: {}", shown(path), few(keys.iter().map(|key| short(key)).collect()))
        });
        let mut lines: Vec<String> = keys.chain(self.whole.iter().cloned()).collect();
        let more = lines.len().saturating_sub(LINES);
        if more > 0 {
            lines.truncate(LINES);
            lines.push(format!("{more} further files of git were put back"));
        }
        lines.extend(self.remotes.iter().take(LINES).cloned());
        lines.extend(self.failures.iter().take(LINES).cloned());
        lines.extend(self.advice.iter().take(LINES).cloned());
        lines
    }

    /// Lines for the person about references that moved, and what else is not as it was below `.git`.
    pub fn changes(&self) -> Vec<String> {
        let some = |all: &[String], what: &str| {
            let mut lines: Vec<String> = all.iter().take(LINES).cloned().collect();
            let more = all.len().saturating_sub(LINES);
            if more > 0 {
                lines.push(format!("{more} further {what}; `ringfence review` lists them"));
            }
            lines
        };
        [some(&self.moves, "references moved"), some(&self.notes, "changes below .git")].concat()
    }

    /// The same without a bound.
    pub fn all_changes(&self) -> impl Iterator<Item = &String> {
        self.moves.iter().chain(&self.notes)
    }

    /// Lines for the person about files that run code later.
    pub fn risks(&self) -> Vec<String> {
        let line = |what: &str, paths: &[PathBuf]| {
            let names = paths.iter().map(|path| shown(path)).collect();
            (!paths.is_empty()).then(|| {
                format!("{what}, and can run code on this machine; look before you use it: {}", few(names))
            })
        };
        let mut lines: Vec<String> =
            [line("new", &self.new), line("changed", &self.changed)].into_iter().flatten().collect();
        if self.cut_short {
            lines.push(
                "there are more files that run code than are remembered: not all that are new are named"
                    .to_owned(),
            );
        }
        lines
    }

    /// The same as events.
    pub fn notes(&self) -> Vec<(Note, String)> {
        let put_back = self.put_back().into_iter().map(|line| (Note::PutBack, line));
        let risks = self.risks().into_iter().map(|line| (Note::RunsCode, line));
        let changes = self.changes().into_iter().map(|line| (Note::GitChanged, line));
        put_back.chain(risks).chain(changes).collect()
    }

    /// Takes in what came of another directory.
    pub fn add(&mut self, other: Told) {
        self.keys.extend(other.keys);
        self.whole.extend(other.whole);
        self.new.extend(other.new);
        self.changed.extend(other.changed);
        self.failures.extend(other.failures);
        self.remotes.extend(other.remotes);
        self.advice.extend(other.advice);
        self.moves.extend(other.moves);
        self.notes.extend(other.notes);
        self.cut_short |= other.cut_short;
    }
}

fn few(mut names: Vec<String>) -> String {
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", names.join(", "))
}

/// A name that an agent gave never reaches the terminal raw, nor in any length.
fn shown(path: &Path) -> String {
    short(&path.to_string_lossy())
}

fn short(text: &str) -> String {
    let text = harmless(text);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_told_and_nothing_of_it_raw_or_without_end() {
        let mut told = Told::default();
        told.keys("a\u{1b}[2J/.git/config".into(), vec!["alias.x\u{1b}".to_owned(), "core.pager".to_owned()]);
        told.whole(Path::new(".git"), "put aside");
        (0..1000).for_each(|number| told.risky(format!("{number}/{}", "x".repeat(900)).into(), true));
        told.risky(".envrc".into(), false);
        told.cut_short();
        (0..1000).for_each(|number| told.whole(Path::new(&format!("{number}")), "put aside"));
        let lines = [told.put_back(), told.risks()].concat();
        let text = lines.join("\n");
        assert!(
            text.contains("core.pager") && text.contains(".envrc") && text.contains("and 990 more"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}') && text.len() < 5000, "{}: {text}", text.len());
        assert_eq!(told.notes().len(), lines.len());
    }
}
