//! A review for a person's terminal. Whatever an agent named is escaped by one function.

use super::files::{Change, File};
use super::{Directory, Repository, Review};

/// Files of one kind that are listed; `--json` has all.
const MOST: usize = 500;

/// Letters of an agent's that reach the terminal only as they are meant.
fn shown(text: &str) -> String {
    crate::term::line(text)
}

impl Review {
    /// Returns the review in lines.
    pub(crate) fn text(&self) -> String {
        let name = self.name.as_deref().map(|name| format!(" ({})", shown(name))).unwrap_or_default();
        let mut text = format!("run {}{name}\n", self.id);
        for directory in &self.directories {
            directory.write(&mut text);
        }
        section(&mut text, "put back, put aside or removed when it ended", &self.put_back);
        section(&mut text, "changed below .git, and left so", &self.git_changed);
        section(&mut text, "can run code on this machine", &self.runs_code);
        text
    }
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        text.push_str(&format!("{title}:\n"));
        lines.iter().for_each(|line| text.push_str(&format!("  {}\n", shown(line))));
    }
}

impl Directory {
    fn write(&self, text: &mut String) {
        text.push_str(&format!("{}\n", shown(&self.path)));
        for doubt in &self.doubts {
            text.push_str(&format!("  DOUBT: {}\n", shown(doubt)));
        }
        for repository in &self.repositories {
            repository.write(text);
        }
        if self.files.is_empty() {
            text.push_str("  no file is other than it was\n");
        }
        let plain: Vec<&File> = self.files.iter().filter(|file| file.ignored_by.is_none()).collect();
        let ignored: Vec<&File> = self.files.iter().filter(|file| file.ignored_by.is_some()).collect();
        list(text, &plain);
        if !ignored.is_empty() {
            text.push_str("  ignored by git, so `git status` does not show them:\n");
            list(text, &ignored);
        }
    }
}

fn list(text: &mut String, files: &[&File]) {
    for file in files.iter().take(MOST) {
        let word = match file.change {
            Change::Added => "added",
            Change::Changed => "changed",
            Change::Deleted => "deleted",
        };
        let by = file.ignored_by.as_deref().map(|by| {
            let new = if file.newly_ignored { ", WHICH THIS RUN CHANGED" } else { "" };
            format!("  ({}{new})", shown(by))
        });
        text.push_str(&format!("  {word:<8} {}{}\n", shown(&file.path), by.unwrap_or_default()));
    }
    let more = files.len().saturating_sub(MOST);
    if more > 0 {
        text.push_str(&format!("  and {more} more; `--json` has all\n"));
    }
}

impl Repository {
    fn write(&self, text: &mut String) {
        let quiet = self.moves.is_empty() && self.commits.is_empty() && self.doubts.is_empty();
        if quiet {
            return;
        }
        text.push_str(&format!("  {}\n", shown(&self.path)));
        for doubt in &self.doubts {
            text.push_str(&format!("    DOUBT: {}\n", shown(doubt)));
        }
        let value = |value: &Option<String>| value.as_deref().map_or("none".to_owned(), shown);
        for one in &self.moves {
            text.push_str(&format!("    {}: {} → {}\n", shown(&one.name), value(&one.old), value(&one.new)));
        }
        for commit in &self.commits {
            let id: String = commit.id.chars().take(12).collect();
            text.push_str(&format!(
                "    commit {} {}  {}\n",
                shown(&id),
                shown(&commit.author),
                shown(&commit.subject)
            ));
        }
        if self.more_commits {
            text.push_str("    and more commits\n");
        }
    }
}
