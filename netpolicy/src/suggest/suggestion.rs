//! A suggestion, and the places that it rests on.

use serde::Serialize;

use crate::note::Note;
use crate::policy::Rule;

/// A place that shows that a host is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The file.
    pub file: String,
    /// Line, from 1; 0 when the file as a whole implies it.
    pub line: u32,
    /// Kind of the evidence, for example `npm lockfile` or `default of cargo`.
    pub what: String,
}

/// A rule and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// The rule; its origin is the first evidence.
    pub rule: Rule,
    /// The first places that show it.
    pub evidence: Vec<Evidence>,
    /// Number of further places.
    pub more: usize,
    /// Tells whether every place lies below a folder of tests.
    pub only_in_tests: bool,
    /// Data that the host takes from every sender, when it is known to take some.
    pub uploads: Option<&'static str>,
}

/// Suggestions for a project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Suggested {
    /// Sorted by name.
    pub suggestions: Vec<Suggestion>,
    /// Evidence that led to no suggestion.
    pub notes: Vec<Note>,
}
