//! Attributes that let git convert a file by more than line endings.
//!
//! Every file with attributes is asked for itself: if one of them names a filter for the path, it
//! counts, whatever the others say. git's own rule of which one wins hangs on which of them git
//! reads: working tree, index or commit.

use std::collections::HashSet;

use gix_attributes::glob::pattern::Case;
use gix_attributes::glob::wildmatch;
use gix_attributes::parse::Kind;
use gix_attributes::{AssignmentRef, StateRef};

/// Attributes that convert a file.
const CONVERTING: [&[u8]; 3] = [b"filter", b"ident", b"working-tree-encoding"];
/// Stars of a pattern: matching takes more time with each.
const MOST_STARS: usize = 8;
/// Macros of a repository; with more, each counts as one that converts.
const MOST_MACROS: usize = 500;

/// A file with attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// The folder that it is about, below the working tree: empty, or with `/` at its end.
    pub(crate) folder: Vec<u8>,
    /// Text of the file.
    pub(crate) text: Vec<u8>,
}

/// One attribute and whether it is set, to whatever value; none where it cannot be read.
type Assigned = Option<(Vec<u8>, bool)>;

/// The names of attributes that convert, macros that set one among them.
#[derive(Debug)]
pub(crate) struct Converting(HashSet<Vec<u8>>);

impl Converting {
    /// Reads the macros of files, which git knows from the topmost ones only.
    pub(crate) fn of<'a>(files: impl Iterator<Item = &'a Attributes>) -> Converting {
        let mut macros: Vec<(Vec<u8>, Vec<Assigned>)> = Vec::new();
        for file in files {
            for (kind, assignments, _) in gix_attributes::parse(&file.text).filter_map(Result::ok) {
                if let Kind::Macro(name) = kind {
                    macros.push((name.as_str().as_bytes().to_vec(), assigned(assignments).collect()));
                }
            }
        }
        let mut all: HashSet<Vec<u8>> = CONVERTING.iter().map(|name| name.to_vec()).collect();
        if macros.len() > MOST_MACROS {
            all.extend(macros.into_iter().map(|(name, _)| name));
            return Converting(all);
        }
        // A macro may set another one.
        loop {
            let before = all.len();
            for (name, means) in &macros {
                let converts = means.iter().any(|means| match means {
                    Some((name, set)) => *set && all.contains(name),
                    None => true,
                });
                if converts {
                    all.insert(name.clone());
                }
            }
            if all.len() == before {
                return Converting(all);
            }
        }
    }

    /// Says whether a file's attributes convert a path of the working tree. A doubt counts as yes.
    pub(crate) fn convert(&self, file: &Attributes, path: &[u8]) -> bool {
        let Some(below) = path.strip_prefix(file.folder.as_slice()) else { return false };
        let base = below.iter().rposition(|byte| *byte == b'/').map(|slash| slash + 1);
        let mut set: HashSet<Vec<u8>> = HashSet::new();
        for line in gix_attributes::parse(&file.text) {
            // git passes over what it cannot read.
            let Ok((Kind::Pattern(pattern), assignments, _)) = line else { continue };
            let mode = wildmatch::Mode::NO_MATCH_SLASH_LITERAL;
            let fits = |case| pattern.matches_repo_relative_path(below.into(), base, Some(false), case, mode);
            let hard = pattern.text.iter().filter(|byte| **byte == b'*').count() > MOST_STARS;
            let surely = !hard && fits(Case::Sensitive);
            // git may be told to take letters of any case for the same.
            if !surely && !hard && !fits(Case::Fold) {
                continue;
            }
            for assigned in assigned(assignments) {
                match assigned {
                    Some((name, _)) if !self.0.contains(&name) => {}
                    Some((name, true)) => _ = set.insert(name),
                    Some((name, false)) if surely => _ = set.remove(&name),
                    Some((_, false)) => {}
                    None => return true,
                }
            }
        }
        !set.is_empty()
    }
}

fn assigned<'a, E>(
    all: impl Iterator<Item = Result<AssignmentRef<'a>, E>>,
) -> impl Iterator<Item = Assigned> {
    all.map(|one| {
        let AssignmentRef { name, state } = one.ok()?;
        let set = !matches!(state, StateRef::Unset | StateRef::Unspecified);
        Some((name.as_str().as_bytes().to_vec(), set))
    })
}
