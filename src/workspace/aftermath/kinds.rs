//! The kinds of files by which code runs on a person's machine later. The list itself is
//! `risky.txt`.
//!
//! ```text
//!  path ─▶ names as a file system without case, or one that ignores invisible characters, takes them ─▶ the first line that fits
//! ```

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use netpolicy::diagnostic::is_harmless;

const TEXT: &str = include_str!("risky.txt");

/// Risk classes of a file that runs code, the most direct first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// Code that runs by itself, on entering or opening the folder.
    Opens,
    /// Code that runs by a command that a person gives without thinking of code.
    Command,
    /// Words that the next coding agent takes for its person's.
    Agent,
    /// Elsewhere, when it is pushed.
    Push,
    /// Code that runs by building, testing or running the project.
    Build,
}

impl Tier {
    /// All of them, in order.
    pub(crate) const ALL: [Tier; 5] = [Tier::Opens, Tier::Command, Tier::Agent, Tier::Push, Tier::Build];

    fn read(word: &str) -> Tier {
        match word {
            "command" => Tier::Command,
            "agent" => Tier::Agent,
            "push" => Tier::Push,
            "build" => Tier::Build,
            // An unknown word is told first.
            _ => Tier::Opens,
        }
    }

    /// Says in words when a file of this class runs code.
    pub(crate) fn when(self) -> &'static str {
        match self {
            Tier::Opens => "by itself, as soon as the folder is entered or opened",
            Tier::Command => "at an ordinary command",
            Tier::Agent => "as instructions to the next coding agent",
            Tier::Push => "in CI or a service, when it is pushed",
            Tier::Build => "at a build, a test or a start of the project",
        }
    }
}

/// A line of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Risk class of the file.
    pub(crate) tier: Tier,
    /// The place in the list: of one tier, the lower is told first.
    pub(crate) place: usize,
    /// Position of the matching pattern in its line.
    pub(crate) pattern: usize,
    /// The program that runs the code, and when.
    pub(crate) why: &'static str,
}

/// The kind of files that git itself reads, such as hooks and attributes, wherever they are found.
pub(super) const GITS: Kind =
    Kind { tier: Tier::Command, place: 0, pattern: 0, why: "git: hooks, filters, commands of a rebase" };

/// Folders whose files come from elsewhere, or are made: nobody works on them by hand.
const VENDORED: [&str; 22] = [
    ".git",
    "node_modules",
    "bower_components",
    "vendor",
    "third_party",
    "site-packages",
    "dist-packages",
    "__pypackages__",
    ".venv",
    "venv",
    ".tox",
    ".nox",
    ".yarn",
    ".pnpm-store",
    ".cargo-home",
    ".gradle",
    ".m2",
    "pods",
    "deps",
    "_build",
    "target",
    ".cache",
];

/// The kind that every file of a folder has by its place.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FolderKind {
    /// The first line of the list by which every file counts, and its pattern.
    tree: Option<(usize, usize)>,
    is_vendored: bool,
}

/// Patterns, and of each the line and its own number.
type Patterns = (GlobSet, Vec<(usize, usize)>);

/// The list, made once.
pub(crate) struct Kinds {
    lines: Vec<Kind>,
    /// Patterns of files, and the lines that they are from.
    files: Patterns,
    /// Patterns of folders of which every file counts.
    trees: Patterns,
    /// Folders on the way to any of these.
    ways: Patterns,
}

impl Kinds {
    /// Returns the list.
    pub(crate) fn get() -> &'static Kinds {
        static KINDS: OnceLock<Kinds> = OnceLock::new();
        KINDS.get_or_init(|| {
            Kinds::read().unwrap_or_else(|error| unreachable!("a test reads the list: {error}"))
        })
    }

    fn read() -> Result<Kinds, globset::Error> {
        let (mut lines, mut patterns) = (Vec::new(), 0);
        let (mut files, mut trees, mut ways) = (Vec::new(), Vec::new(), Vec::new());
        for line in TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (pattern, why) = rest.trim_start().split_once("  ").unwrap_or((rest, ""));
            let place = lines.len();
            lines.push(Kind { tier: Tier::read(word), place, pattern: 0, why: why.trim() });
            for pattern in expanded(pattern.trim()) {
                patterns += 1;
                let folder = pattern.rsplit_once('/').map(|(folder, _)| folder.to_owned());
                ways.extend(
                    folder.iter().flat_map(|folder| prefixes(folder)).map(|way| (way, (place, patterns))),
                );
                match pattern.strip_suffix("/**") {
                    Some(tree) => trees.push((tree.to_owned(), (place, patterns))),
                    None => files.push((pattern, (place, patterns))),
                }
            }
        }
        Ok(Kinds { lines, files: set(files)?, trees: set(trees)?, ways: set(ways)? })
    }

    /// Classifies a file by its path below the root. Returns nothing for a file that runs no code.
    pub(crate) fn of(&self, path: &Path) -> Option<Kind> {
        self.in_folder(self.of_folder(path.parent().unwrap_or(Path::new(""))), path)
    }

    /// Classifies a folder, for the files that lie in it.
    pub(crate) fn of_folder(&self, folder: &Path) -> FolderKind {
        // Names are folded as those of a path: the last one is no file's.
        let path = folder.join("file");
        let path = folded(&path);
        let path = Path::new(path.as_ref());
        let (set, places) = &self.trees;
        let above = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        let trees = above.flat_map(|folder| set.matches(folder)).map(|index| places[index]);
        FolderKind { tree: trees.min(), is_vendored: is_vendored(path) }
    }

    /// Classifies a file by its path, and by what its folder is.
    pub(crate) fn in_folder(&self, folder: FolderKind, path: &Path) -> Option<Kind> {
        let path = folded(path);
        let (set, places) = &self.files;
        let files = set.matches(path.as_ref()).into_iter().map(|index| places[index]);
        let (place, pattern) = folder.tree.into_iter().chain(files).min()?;
        let kind = Kind { pattern, ..self.lines[place] };
        // What is built from fetched packages is no more than any other file there.
        (kind.tier != Tier::Build || !folder.is_vendored).then_some(kind)
    }

    /// Returns the most direct kind that a file below a folder of this name can be: a link in the
    /// folder's place brings such files in.
    pub(crate) fn below(&self, path: &Path) -> Option<Kind> {
        let (set, places) = &self.ways;
        let kinds = set.matches(folded(path).as_ref()).into_iter().map(|index| places[index]);
        let kinds = kinds.map(|(place, pattern)| Kind { pattern, ..self.lines[place] });
        kinds.min_by_key(|kind| (kind.tier, kind.place))
    }
}

/// Tells whether a path lies in a folder of fetched or built files.
pub(super) fn is_vendored(path: &Path) -> bool {
    let above = path.parent().into_iter().flat_map(Path::components);
    above.into_iter().any(|part| VENDORED.iter().any(|name| part.as_os_str().eq_ignore_ascii_case(name)))
}

/// Patterns without braces: these are found by their hash.
fn expanded(pattern: &str) -> Vec<String> {
    let Some((before, rest)) = pattern.split_once('{') else { return vec![pattern.to_owned()] };
    let (inside, behind) = rest.split_once('}').unwrap_or((rest, ""));
    inside.split(',').flat_map(|word| expanded(&format!("{before}{word}{behind}"))).collect()
}

/// Returns a folder and those above it.
fn prefixes(folder: &str) -> Vec<String> {
    let ends = folder.match_indices('/').map(|(end, _)| end).chain([folder.len()]);
    ends.map(|end| folder[..end].to_owned()).collect()
}

fn set(patterns: Vec<(String, (usize, usize))>) -> Result<Patterns, globset::Error> {
    let mut set = GlobSetBuilder::new();
    let mut places = Vec::new();
    for (pattern, place) in patterns {
        let pattern = format!("**/{}", pattern.to_ascii_lowercase());
        set.add(GlobBuilder::new(&pattern).literal_separator(true).backslash_escape(false).build()?);
        places.push(place);
    }
    Ok((set.build()?, places))
}

/// Folds a path as file systems may take it that know no case, leave out invisible characters, or
/// drop dots and spaces at a name's end (APFS, ext4 with `casefold`, HFS+, NTFS): of all letters
/// beyond ASCII, two are the same as one in it.
fn folded(path: &Path) -> Cow<'_, str> {
    let bytes = path.as_os_str().as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
    let ends = bytes.windows(2).any(|pair| matches!(pair, b"./")) || bytes.ends_with(b".");
    if bytes.iter().all(is_plain)
        && !ends
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return Cow::Borrowed(text);
    }
    let text = String::from_utf8_lossy(bytes);
    let seen = text.chars().filter(|c| c.is_control() || is_harmless(*c));
    let folded: String = seen
        .map(|c| match c {
            'ſ' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        })
        .collect();
    let names: Vec<&str> = folded.split('/').map(|name| name.trim_end_matches(['.', ' '])).collect();
    Cow::Owned(names.join("/"))
}

#[cfg(test)]
#[path = "kinds_tests.rs"]
mod tests;
