//! The decision what an agent finds at the path of a secret: the file as committed, the index's
//! version, or a stand-in.
//!
//! ```text
//!  what was found about the file ─┐
//!  what git has for its path ─────┼─▶ decide ─▶ Show │ Committed │ StandIn(reason)
//!  what the policy demands ───────┘
//! ```
//! It is a pure function over plain data. The person's own demand comes first, then doubt, then the
//! rule of the documents: a file is shown only if the agent can read the same bytes in git's
//! objects anyway.

use std::fmt;

/// Git's knowledge of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// No repository in the project has the path.
    Untracked,
    /// The file is a part of a repository's own folder.
    GitsOwn,
    /// Nothing certain can be said about the file, for this reason.
    Doubt(String),
    /// The index, or the commit that HEAD names, has the path.
    Tracked(Tracked),
}

/// A path that the index, or the commit that HEAD names, has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tracked {
    /// The file's bytes, after line-ending conversion alone, are a version that lies in the
    /// project's own objects.
    pub(crate) as_committed: bool,
    /// The index has an ordinary file there, whose content could be read and verified.
    pub(crate) in_index: bool,
    /// git converts the content by more than line endings.
    pub(crate) filtered: bool,
    /// The index's version leads programs to the same places as the file. True where the file leads
    /// nowhere.
    pub(crate) routes_alike: bool,
}

/// People's words about a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Demands {
    /// A policy's `workspace.mask` names it.
    pub(crate) masked: bool,
    /// A policy demands stand-ins for tracked files.
    pub(crate) stand_ins: bool,
}

/// The thing that the agent finds at the path of a file that holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The file itself.
    Show,
    /// The index's version.
    Committed,
    /// A stand-in: the file without its secrets, or an empty one.
    StandIn(Reason),
}

/// A reason for a stand-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    /// `workspace.mask` names the path.
    Mask,
    /// git does not track the file.
    Untracked,
    /// The file is a part of a repository's own folder.
    GitsOwn,
    /// A policy demands stand-ins for tracked files.
    Demanded,
    /// git filters the file.
    Filtered,
    /// The file is not in the index, and differs from HEAD's version.
    NotInIndex,
    /// The index's version leads programs elsewhere.
    Routes,
    /// Nothing certain can be said about git's versions.
    Doubt(String),
    /// The file is the same as another one that has a stand-in.
    SameFile,
}

/// Decides.
pub(crate) fn decide(known: &Known, demands: Demands) -> Verdict {
    let stand_in = Verdict::StandIn;
    match known {
        _ if demands.masked => stand_in(Reason::Mask),
        Known::GitsOwn => stand_in(Reason::GitsOwn),
        Known::Untracked => stand_in(Reason::Untracked),
        Known::Doubt(why) => stand_in(Reason::Doubt(why.clone())),
        Known::Tracked(_) if demands.stand_ins => stand_in(Reason::Demanded),
        Known::Tracked(Tracked { as_committed: true, .. }) => Verdict::Show,
        Known::Tracked(Tracked { filtered: true, .. }) => stand_in(Reason::Filtered),
        Known::Tracked(Tracked { in_index: false, .. }) => stand_in(Reason::NotInIndex),
        Known::Tracked(Tracked { routes_alike: false, .. }) => stand_in(Reason::Routes),
        Known::Tracked(_) => Verdict::Committed,
    }
}

impl Reason {
    /// Tells whether git tracks the file, or may.
    pub(super) fn may_be_tracked(&self) -> bool {
        !matches!(self, Reason::Untracked | Reason::GitsOwn)
    }

    /// Returns the reason as a word of the JSON.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Reason::Mask => "workspace-mask",
            Reason::Untracked => "untracked",
            Reason::GitsOwn => "gits-own",
            Reason::Demanded => "workspace-hide-committed",
            Reason::Filtered => "filtered",
            Reason::NotInIndex => "not-in-index",
            Reason::Routes => "routes-differ",
            Reason::Doubt(_) => "doubt",
            Reason::SameFile => "same-file",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Mask => "workspace.mask names it",
            Reason::Untracked => "git does not track it",
            Reason::GitsOwn => "it is git's own file",
            Reason::Demanded => "workspace.hide-committed demands it",
            Reason::Filtered => "git filters it",
            Reason::NotInIndex => "git's index does not have it",
            Reason::Routes => "the index's version leads programs elsewhere",
            Reason::Doubt(why) => return write!(f, "not compared with git: {why}"),
            Reason::SameFile => "it is the same file as another stand-in",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO: Demands = Demands { masked: false, stand_ins: false };
    const MASK: Demands = Demands { masked: true, stand_ins: false };
    const STAND_INS: Demands = Demands { masked: false, stand_ins: true };

    fn tracked(as_committed: bool, in_index: bool, filtered: bool, routes_alike: bool) -> Known {
        Known::Tracked(Tracked { as_committed, in_index, filtered, routes_alike })
    }

    #[test]
    fn every_cell_of_the_table() {
        let doubt = || Known::Doubt("it is so".to_owned());
        let stand_in = Verdict::StandIn;
        let why = || Reason::Doubt("it is so".to_owned());
        // What git has, and the outcome where nobody demands anything, and where stand-ins are
        // demanded.
        let mut table = vec![
            (Known::Untracked, stand_in(Reason::Untracked), stand_in(Reason::Untracked)),
            (Known::GitsOwn, stand_in(Reason::GitsOwn), stand_in(Reason::GitsOwn)),
            (doubt(), stand_in(why()), stand_in(why())),
        ];
        // as committed, in the index, filtered, routes alike
        for (cells, outcome) in [
            // What is committed as it stands is shown, whatever else is so.
            ([true, true, false, true], Verdict::Show),
            ([true, true, false, false], Verdict::Show),
            ([true, true, true, true], Verdict::Show),
            ([true, true, true, false], Verdict::Show),
            ([true, false, false, true], Verdict::Show),
            ([true, false, false, false], Verdict::Show),
            ([true, false, true, true], Verdict::Show),
            ([true, false, true, false], Verdict::Show),
            // What is not is covered by what git has.
            ([false, true, false, true], Verdict::Committed),
            ([false, true, false, false], stand_in(Reason::Routes)),
            // What git has under a filter is no file of a working tree.
            ([false, true, true, true], stand_in(Reason::Filtered)),
            ([false, true, true, false], stand_in(Reason::Filtered)),
            ([false, false, true, true], stand_in(Reason::Filtered)),
            ([false, false, true, false], stand_in(Reason::Filtered)),
            ([false, false, false, true], stand_in(Reason::NotInIndex)),
            ([false, false, false, false], stand_in(Reason::NotInIndex)),
        ] {
            let [as_committed, in_index, filtered, routes_alike] = cells;
            let known = tracked(as_committed, in_index, filtered, routes_alike);
            table.push((known, outcome, stand_in(Reason::Demanded)));
        }
        assert_eq!(table.len(), 3 + 16, "every cell is there");
        for (known, plain, demanded) in table {
            assert_eq!(decide(&known, NO), plain, "{known:?}");
            assert_eq!(decide(&known, STAND_INS), demanded, "{known:?}, demanded");
            assert_eq!(decide(&known, MASK), stand_in(Reason::Mask), "{known:?}, masked");
        }
    }

    #[test]
    fn nothing_is_shown_but_what_is_committed_as_it_stands() {
        for bits in 0..16 {
            let cell = |bit: u8| bits >> bit & 1 == 1;
            let known = tracked(cell(0), cell(1), cell(2), cell(3));
            for demands in [NO, MASK, STAND_INS] {
                let shown = decide(&known, demands) == Verdict::Show;
                assert_eq!(shown, cell(0) && demands == NO, "{known:?} {demands:?}");
            }
        }
    }
}
