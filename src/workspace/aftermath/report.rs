//! Report on what a run left behind, for the person and as events.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use netpolicy::diagnostic::harmless;
use serde_json::{Value, json};

use super::names::{LONGEST_LISTED, cut, exact, listed, parts, shown};
use super::risks::Risks;
use super::signs;
use crate::wire::event::Observation;

/// Names in a line before "and N more".
const NAMED: usize = 10;
/// A name is shown no longer than this.
const LONGEST: usize = 200;
/// Words before the files whose covers are off at the end of a run.
const CAME_OFF: &str = "covered in this run, and moved or replaced since: ";
/// Lines about what was put back.
const LINES: usize = 30;
/// Bytes of one run's notes in the events, and how many.
const MOST_NOTED: usize = 1 << 20;
const MOST_NOTES: usize = 1_000;

/// Report on a run's changes, and on what was put back.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct SettleReport {
    /// The directory that paths are told below, while it is settled; nothing where a path below it
    /// says enough.
    place: PathBuf,
    /// Keys that were put back, by file.
    keys: BTreeMap<PathBuf, Vec<String>>,
    /// Files that were put back whole, or put aside, and in words what was done.
    whole: Vec<(PathBuf, String)>,
    /// Files that run code later.
    pub(crate) risks: Risks,
    /// New signs that give others rights, or lead out of the directory.
    pub(crate) signs: signs::NewSigns,
    /// Covered files that are not where they were.
    pub(crate) uncovered: Vec<PathBuf>,
    /// Files that could not be put back.
    pub(crate) failures: Vec<String>,
    /// Remotes and linked working trees that the agent added, in words.
    remotes: Vec<String>,
    /// Advice about the failures.
    advice: Vec<String>,
    /// References that moved, in words.
    moves: Vec<String>,
    /// Things that were left as they are and that the person should know, in words.
    notes: Vec<String>,
    /// Commits, and files in the index, that hold a stand-in, in words.
    stand_ins: Vec<String>,
}

/// A stand-in that git has in the place of a covered file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldStandIn {
    /// The working tree.
    pub(crate) tree: PathBuf,
    /// The file's path there.
    pub(crate) path: PathBuf,
    /// The commit that brought it; none: it is only in the index.
    pub(crate) commit: Option<String>,
    /// Tells whether that commit is what HEAD names.
    pub(crate) is_head: bool,
    /// The commit that has the file as it was; none: git did not have it.
    pub(crate) was_in: Option<String>,
}

impl HeldStandIn {
    /// Returns the command that puts into git what was there, and touches no file of the working
    /// tree.
    fn mended_by(&self) -> String {
        let (git, path) = (format!("git -C {}", quoted(&self.tree)), quoted(&self.path));
        let mut command = match (&self.was_in, &self.commit) {
            (Some(commit), _) => format!("{git} restore --staged --source={} -- {path}", short(commit)),
            (None, _) => format!("{git} rm --cached --force --quiet -- {path}"),
        };
        match (&self.commit, self.is_head) {
            (None, _) => {}
            (Some(_), true) => command.push_str(&format!(" && {git} commit --amend --no-edit --allow-empty")),
            (Some(_), false) => command.push_str(&format!(" && {git} commit -m 'Put back what was covered'")),
        }
        command
    }
}

impl SettleReport {
    /// Begins an empty report, of a directory whose paths are to be named in full.
    pub(super) fn below(place: PathBuf) -> SettleReport {
        SettleReport { place, ..SettleReport::default() }
    }

    /// Ends the report of one directory, when it is settled.
    pub(super) fn settled(self) -> SettleReport {
        SettleReport { place: PathBuf::new(), ..self }
    }

    /// Returns the path as the report names it.
    fn path(&self, path: &Path) -> PathBuf {
        match path.as_os_str().is_empty() {
            true => self.place.clone(),
            false => self.place.join(path),
        }
    }

    fn named(&self, path: &Path) -> String {
        shown(&self.path(path))
    }

    /// Keys of a configuration were put back.
    pub(crate) fn keys(&mut self, path: PathBuf, keys: Vec<String>) {
        if !keys.is_empty() {
            self.keys.entry(self.path(&path)).or_default().extend(keys);
        }
    }

    /// Reports that something was done with a file as a whole.
    pub(crate) fn whole(&mut self, path: &Path, what: &str) {
        self.whole.push((self.path(path), what.to_owned()));
    }

    /// Reports a reference that moved.
    pub(crate) fn moved(&mut self, repository: &Path, name: &str, old: &str, new: &str) {
        self.moves.push(format!(
            "{}: {} moved: {} → {}",
            self.named(repository),
            short(name),
            short(old),
            short(new)
        ));
    }

    /// Reports something that was left as it is and that a person should know.
    pub(crate) fn noted(&mut self, path: &Path, what: &str) {
        self.notes.push(format!("{}: {}", self.named(path), short(what)));
    }

    /// Reports a stand-in that git has in the place of a covered file.
    pub(crate) fn stand_in(&mut self, held: &HeldStandIn) {
        let path = shown(&held.tree.join(&held.path));
        let mend = held.mended_by();
        self.stand_ins.push(match &held.commit {
            None => format!("git's index has ringfence's stand-in for {path}, not the file; this mends it: {mend}"),
            Some(commit) => format!(
                "commit {} has ringfence's stand-in for {path}, not the file; this mends it on its branch, before a push: {mend}",
                harmless(commit).chars().take(12).collect::<String>()
            ),
        });
    }

    /// Reports that git could not be searched for stand-ins.
    pub(crate) fn unlooked(&mut self, why: &str) {
        self.stand_ins.push(format!(
            "it could not be looked whether commits hold stand-ins for covered files: {}",
            short(why)
        ));
    }

    /// Reports something that could not be done.
    pub(crate) fn failed(&mut self, path: &Path, error: &dyn std::fmt::Display) {
        self.failures.push(format!("{} could NOT be put back: {error}", self.named(path)));
    }

    /// Reports something that could not be looked at.
    pub(super) fn unseen(&mut self, what: &str) {
        self.failures.push(format!(
            "{} could NOT be looked at for repositories whose configuration runs code",
            short(what)
        ));
    }

    /// Adds advice about the failures, which is printed behind all of them.
    pub(crate) fn advise(&mut self, what: String) {
        self.advice.push(what);
    }

    /// Reports remotes that the agent added: a person who pushes to one sends the commits to the
    /// agent's address.
    pub(super) fn remotes(&mut self, path: &Path, remotes: &[String]) {
        if !remotes.is_empty() {
            let names = few(remotes.iter().map(|remote| short(remote)).collect());
            self.remotes.push(format!("new remotes in {}: {names}", self.named(path)));
        }
    }

    /// Returns the lines for the person about what was put back, or could not be, and about covers
    /// that came off: `--quiet` does not leave them out.
    pub(crate) fn put_back(&self) -> Vec<String> {
        let keys = self.keys.iter().map(|(path, keys)| {
            format!("put back in {}: {}", shown(path), few(keys.iter().map(|key| short(key)).collect()))
        });
        let mut lines: Vec<String> =
            keys.chain(self.whole.iter().map(|(path, what)| format!("{}: {what}", shown(path)))).collect();
        let more = lines.len().saturating_sub(LINES);
        if more > 0 {
            lines.truncate(LINES);
            lines.push(format!("{more} further files of git were put back"));
        }
        lines.extend(self.remotes.iter().take(LINES).cloned());
        lines.extend(self.stand_ins.iter().take(LINES).cloned());
        let more = self.stand_ins.len().saturating_sub(LINES);
        lines.extend((more > 0).then(|| format!("{more} further stand-ins in commits or the index")));
        lines.extend(self.failures.iter().take(LINES).cloned());
        lines.extend(self.advice.iter().take(LINES).cloned());
        if !self.uncovered.is_empty() {
            let names = few(self.uncovered.iter().map(|path| shown(path)).collect());
            lines.push(format!("{CAME_OFF}{names}"));
        }
        lines
    }

    /// Returns the lines for the person about references that moved, and other changes below
    /// `.git`.
    pub(crate) fn changes(&self) -> Vec<String> {
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

    /// Returns all changes, without the bound on their number.
    pub(super) fn all_changes(&self) -> impl Iterator<Item = &String> {
        self.moves.iter().chain(&self.notes)
    }

    /// Returns the lines for the person about what was left; `place` says where all of it is named.
    pub(crate) fn left(&self, place: &str) -> Vec<String> {
        let mut lines = [self.risks.lines(), self.signs.lines()].concat();
        if !lines.is_empty() {
            lines.push(format!("all of these are named here: {place}"));
        }
        lines
    }

    /// Returns the report as events, and whether that is all of it: a flood must not push the
    /// agent's own deeds out of the log.
    pub(crate) fn notes(&self) -> (Vec<(Observation, String)>, bool) {
        let keys = self.keys.iter().flat_map(|(path, keys)| {
            let keys = keys.iter().map(|key| cut(&harmless(key), LONGEST_LISTED)).collect();
            parts(&format!("put back in {}: ", listed(path)), keys)
        });
        let whole = self.whole.iter().map(|(path, what)| format!("{}: {what}", listed(path)));
        let others = [&self.remotes, &self.failures, &self.advice].into_iter().flatten().cloned();
        let moved = self.uncovered.iter().map(|path| listed(path)).collect();
        let moved = parts(CAME_OFF, moved);
        let put_back = keys.chain(whole).chain(others).map(|text| (Observation::PutBack, text));
        let risks = self.risks.events().into_iter().map(|text| (Observation::RunsCode, text));
        let changes = self.all_changes().map(|text| (Observation::GitChanged, text.clone()));
        let all = put_back
            .chain(risks)
            .chain(changes)
            .chain(self.signs.events())
            .chain(self.stand_ins.iter().map(|text| (Observation::StandIn, text.clone())))
            .chain(moved.into_iter().map(|text| (Observation::CoverMoved, text)));
        let (mut notes, mut bytes, mut more) = (Vec::new(), 0, 0u64);
        for (note, text) in all {
            bytes += text.len();
            match bytes <= MOST_NOTED && notes.len() < MOST_NOTES {
                true => notes.push((note, text)),
                false => more += 1,
            }
        }
        if more > 0 {
            let text = format!("{more} more lines like these; all are in ringfence's state folder (told/)");
            notes.push((Observation::RunsCode, text));
        }
        (notes, more == 0)
    }

    /// Returns the report as data, for a list in a file.
    pub(crate) fn list(&self) -> Vec<Value> {
        let keys = self.keys.iter().flat_map(|(path, keys)| {
            keys.iter()
                .map(move |key| json!({"reason": "put-back", "path": exact(path), "key": harmless(key)}))
        });
        let whole = self
            .whole
            .iter()
            .map(|(path, what)| json!({"reason": "put-back", "path": exact(path), "what": what}));
        let others = [&self.remotes, &self.failures, &self.advice].into_iter().flatten();
        let others = others.map(|text| json!({"reason": "put-back", "what": text}));
        let moved = self.uncovered.iter().map(|path| json!({"reason": "cover-moved", "path": exact(path)}));
        let changes = self.all_changes().map(|text| json!({"reason": "git-changed", "what": text}));
        keys.chain(whole)
            .chain(others)
            .chain(changes)
            .chain(self.risks.json())
            .chain(self.signs.json())
            .chain(self.stand_ins.iter().map(|text| json!({"reason": "stand-in", "what": text})))
            .chain(moved)
            .collect()
    }

    /// Tells whether there is nothing to report.
    pub(crate) fn is_empty(&self) -> bool {
        *self == SettleReport::default()
    }

    /// Reports a linked working tree that the agent made, whose paths hold in the container alone.
    pub(crate) fn tree(&mut self, tree: &Path, main: &Path, whole: &Path) {
        self.remotes.push(format!(
            "new linked working tree {}: git finds it here after `git -C {} worktree repair {}`",
            shown(tree),
            quoted(main),
            quoted(whole)
        ));
    }

    /// Takes in what came of another directory.
    pub(crate) fn add(&mut self, other: SettleReport) {
        self.keys.extend(other.keys);
        self.whole.extend(other.whole);
        self.risks.append(other.risks);
        self.signs.append(other.signs);
        self.uncovered.extend(other.uncovered);
        self.failures.extend(other.failures);
        self.remotes.extend(other.remotes);
        self.advice.extend(other.advice);
        self.moves.extend(other.moves);
        self.notes.extend(other.notes);
        self.stand_ins.extend(other.stand_ins);
    }
}

fn few(mut names: Vec<String>) -> String {
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", names.join(", "))
}

/// Quotes a path for a shell.
fn quoted(path: &Path) -> String {
    let text = exact(path);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@=".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
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
    use super::super::risks::State;
    use super::*;

    #[test]
    fn everything_is_told_and_nothing_of_it_raw_or_without_end() {
        let mut told = SettleReport::default();
        let kind = crate::workspace::aftermath::kinds::GITS;
        told.keys("a\u{1b}[2J/.git/config".into(), vec!["alias.x\u{1b}".to_owned(), "core.pager".to_owned()]);
        told.whole(Path::new(".git"), "put aside");
        (0..1000).for_each(|n| told.risks.add(format!("{n}/{}", "x".repeat(900)).into(), kind, State::New));
        told.risks.add(".envrc".into(), kind, State::Changed);
        (0..1000).for_each(|number| told.whole(Path::new(&format!("{number}")), "put aside"));
        told.uncovered.push("c\u{1b}d".into());
        let text = [told.put_back(), told.left("x")].concat().join("\n");
        assert!(text.contains("core.pager") && text.contains("985 more"), "{text}");
        assert!(text.contains("971 further files") || text.contains("972 further files"), "{text}");
        assert!(!text.contains('\u{1b}') && text.len() < 8000, "{}: {text}", text.len());
        let (notes, all) = told.notes();
        let text = notes.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n");
        assert!(!all && !text.contains('\u{1b}') && text.len() < MOST_NOTED + 1000, "{}", text.len());
        assert_eq!(told.list().len(), 2 + 1 + 1001 + 1000 + 1);
    }

    #[test]
    fn what_fits_is_whole_in_the_events() {
        let mut told = SettleReport::default();
        (0..900).for_each(|number| told.whole(Path::new(&format!("{number}-file")), "put aside"));
        told.keys(".git/config".into(), (0..900).map(|number| format!("alias.a{number}")).collect());
        let (notes, all) = told.notes();
        let text: String = notes.iter().map(|(_, text)| format!("{text}\n")).collect();
        assert!(all && (0..900).all(|n| text.contains(&format!("{n}-file: put aside\n"))));
        assert!((0..900).all(|n| text.contains(&format!("alias.a{n}"))));
    }
}
