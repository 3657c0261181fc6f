//! No file of the libraries uses another in a circle, and none is too long. Which file of a crate
//! uses which is told from the text of its files alone.
//!
//! ```text
//!  files ──tokens──▶ names (use), paths ──resolve, through re-exports──▶ file uses file ──▶ circles
//! ```
//! A re-export is no use: who names an item through it uses the file that defines the item. Tests
//! inside a file and documents do not count.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

/// A module's path from the crate, for example `load`, `shape`.
type Module = Vec<String>;
/// A function that reads a file.
type Reader<'r> = dyn Fn(&Path) -> Option<String> + 'r;

/// One file, as far as names are concerned.
#[derive(Debug, Default)]
struct File {
    path: PathBuf,
    /// Every name that a `use` brings in, with its path and whether it is re-exported.
    names: BTreeMap<String, (Module, bool)>,
    /// Modules of which a `use` takes everything.
    globs: BTreeSet<Module>,
    /// Every path in the code that begins at the crate, a module, or a name of the file.
    paths: BTreeSet<Module>,
    /// Every word of the code outside of `use`.
    words: BTreeSet<String>,
}

/// The files of a crate by their module paths.
#[derive(Debug, Default)]
struct Files(BTreeMap<Module, File>);

impl Files {
    /// Reads every file that `lib.rs` in this folder declares, and those that they declare.
    fn read(folder: &Path) -> Files {
        Files::read_by(folder, &|path| std::fs::read_to_string(path).ok())
    }

    fn read_by(folder: &Path, read: &Reader<'_>) -> Files {
        let mut files = Files::default();
        files.add(Vec::new(), folder.join("lib.rs"), folder, read);
        files
    }

    fn add(&mut self, module: Module, path: PathBuf, folder: &Path, read: &Reader<'_>) {
        let text = read(&path).unwrap_or_else(|| panic!("{} cannot be read", path.display()));
        let tokens = without_tests(&tokens(&text));
        let children = children(&tokens, &path);
        for child in &children {
            let below = folder.join(child);
            let flat = folder.join(format!("{child}.rs"));
            let file = if read(&flat).is_some() { flat } else { below.join("mod.rs") };
            self.add([module.as_slice(), std::slice::from_ref(child)].concat(), file, &below, read);
        }
        let mut file = File { path, ..File::default() };
        file.scan(&module, &children, &tokens);
        self.0.insert(module, file);
    }

    /// Returns the file that defines what a path names; `None` where the path is a module itself,
    /// or foreign.
    fn definer(&self, path: &[String], depth: usize) -> Option<&Module> {
        let mut at: Module = Vec::new();
        for (index, name) in path.iter().enumerate() {
            at.push(name.clone());
            if self.0.contains_key(&at) {
                continue;
            }
            at.pop();
            let (module, file) = self.0.get_key_value(&at)?;
            return match file.names.get(name) {
                Some((target, _)) if depth < 8 => {
                    self.definer(&[target.as_slice(), &path[index + 1..]].concat(), depth + 1)
                }
                _ => Some(module),
            };
        }
        None
    }

    /// Returns for each file the files that it uses, each with a path that says so.
    fn uses(&self) -> BTreeMap<&Module, BTreeMap<&Module, String>> {
        let of = |(module, file)| {
            let file: &File = file;
            let brought =
                file.names.iter().filter(|(name, (_, public))| !public || file.words.contains(*name));
            let paths = brought.map(|(_, (path, _))| path).chain(&file.paths);
            let named = paths.filter_map(|path| Some((self.definer(path, 0)?, path.join("::"))));
            let globs = file.globs.iter().filter_map(|path| {
                self.0.get_key_value(path).map(|(used, _)| (used, format!("{}::*", path.join("::"))))
            });
            (module, named.chain(globs).filter(|(used, _)| *used != module).collect())
        };
        self.0.iter().map(of).collect()
    }

    /// Returns a shortest circle through each file that is in one, in words; each circle once.
    fn circles(&self) -> Vec<String> {
        let uses = self.uses();
        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for start in self.0.keys() {
            let Some(circle) = circle(&uses, start) else { continue };
            if seen.insert(circle.iter().copied().collect::<BTreeSet<_>>()) {
                let mut text = self.0[circle[0]].path.display().to_string();
                for (from, to) in circle.iter().zip(circle.iter().skip(1).chain([&circle[0]])) {
                    text.push_str(&format!("\n  uses {} ({})", self.0[*to].path.display(), uses[*from][*to]));
                }
                circles.push(text);
            }
        }
        circles
    }
}

/// Finds the shortest way from a file back to itself.
fn circle<'m>(
    uses: &BTreeMap<&'m Module, BTreeMap<&'m Module, String>>,
    start: &'m Module,
) -> Option<Vec<&'m Module>> {
    let mut before: BTreeMap<&Module, &'m Module> = BTreeMap::new();
    let mut left = VecDeque::from([start]);
    while let Some(at) = left.pop_front() {
        for next in uses[at].keys() {
            if *next == start {
                let mut way = vec![at];
                while let Some(previous) =
                    before.get(way[way.len() - 1]).filter(|_| way[way.len() - 1] != start)
                {
                    way.push(previous);
                }
                way.reverse();
                return Some(way);
            }
            if !before.contains_key(next) {
                before.insert(next, at);
                left.push_back(next);
            }
        }
    }
    None
}

impl File {
    fn scan(&mut self, module: &[String], children: &BTreeSet<String>, tokens: &[String]) {
        let mut index = 0;
        while index < tokens.len() {
            let token = tokens[index].as_str();
            if token == "use" && !(index > 0 && tokens[index - 1] == "::") {
                let public = index > 0 && matches!(tokens[index - 1].as_str(), "pub" | ")");
                let mut leaves = Vec::new();
                index = leaves_of(tokens, index + 1, &[], &mut leaves);
                for (path, name) in leaves {
                    let Some(path) = from_crate(module, children, &path) else { continue };
                    if name == "*" {
                        self.globs.insert(path[..path.len() - 1].to_vec());
                    } else {
                        self.names.insert(name, (path, public));
                    }
                }
                continue;
            }
            self.words.insert(token.to_owned());
            let begins = index == 0 || !matches!(tokens[index - 1].as_str(), "::" | "in" | ".");
            if begins && is_word(token) && tokens.get(index + 1).is_some_and(|next| next == "::") {
                let mut leaves = Vec::new();
                leaves_of(tokens, index, &[], &mut leaves);
                for (path, _) in leaves {
                    let known = self.names.get(&path[0]).map(|(known, _)| [known, &path[1..]].concat());
                    self.paths.extend(from_crate(module, children, &path).or(known));
                }
            }
            index += 1;
        }
    }
}

/// Writes a path of a file from the crate on; `None` for one that begins elsewhere.
fn from_crate(module: &[String], children: &BTreeSet<String>, path: &[String]) -> Option<Module> {
    let mut at = match path[0].as_str() {
        "crate" => Vec::new(),
        "super" => module[..module.len().checked_sub(1)?].to_vec(),
        "self" => module.to_vec(),
        child if children.contains(child) => [module, &path[..1]].concat(),
        _ => return None,
    };
    for part in &path[1..] {
        if part == "super" {
            at.pop();
        } else if part != "self" {
            at.push(part.clone());
        }
    }
    Some(at)
}

/// Collects every path of a tree such as `a::{b, c as d}` with the name that it brings in; returns
/// where the tree ends.
fn leaves_of(
    tokens: &[String],
    mut index: usize,
    above: &[String],
    leaves: &mut Vec<(Module, String)>,
) -> usize {
    let token = |index: usize| tokens.get(index).map_or("", String::as_str);
    let mut path = above.to_vec();
    if token(index) == "::" {
        index += 1;
    }
    loop {
        if token(index) == "{" {
            index += 1;
            while !matches!(token(index), "}" | "") {
                index = leaves_of(tokens, index, &path, leaves);
                if token(index) == "," {
                    index += 1;
                }
            }
            return index + 1;
        }
        if !is_word(token(index)) && token(index) != "*" {
            break;
        }
        path.push(token(index).to_owned());
        index += 1;
        if token(index) != "::" {
            break;
        }
        index += 1;
    }
    let mut name = path.iter().rev().find(|part| *part != "self").cloned().unwrap_or_default();
    if token(index) == "as" {
        name = token(index + 1).to_owned();
        index += 2;
    }
    if !path.is_empty() {
        leaves.push((path, name));
    }
    index.max(1)
}

/// Lists the modules that a file declares and that have files of their own.
fn children(tokens: &[String], path: &Path) -> BTreeSet<String> {
    let mut children = BTreeSet::new();
    for three in tokens.windows(3).filter(|three| three[0] == "mod" && is_word(&three[1])) {
        assert!(
            three[2] == ";",
            "{}: a module inside a file is not understood: {}",
            path.display(),
            three[1]
        );
        children.insert(three[1].clone());
    }
    children
}

/// Leaves out what stands behind `#[cfg(test)]`.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        if tokens[index..].len() < TEST.len() || tokens[index..index + TEST.len()] != TEST {
            kept.push(tokens[index].clone());
            index += 1;
            continue;
        }
        let mut depth = 0usize;
        while index < tokens.len() {
            let token = tokens[index].as_str();
            index += 1;
            match token {
                "{" => depth += 1,
                "}" if depth == 1 => break,
                "}" => depth -= 1,
                ";" if depth == 0 => break,
                _ => {}
            }
        }
    }
    kept
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Cuts a text into words, `::` and single characters; comments, strings and characters are left
/// out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = string(rest) {
            length
        } else if first == '\'' {
            character(rest)
        } else if word > 0 {
            tokens.push(rest[..word].to_owned());
            word
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// Returns the length of the string that a text begins with.
fn string(text: &str) -> Option<usize> {
    let plain = text.trim_start_matches(['b', 'c']);
    if let Some(raw) = plain.strip_prefix('r') {
        let inner = raw.trim_start_matches('#');
        if let Some(body) = inner.strip_prefix('"') {
            let end = format!("\"{}", "#".repeat(raw.len() - inner.len()));
            let closed = body.find(&end).map_or(inner.len(), |at| 1 + at + end.len());
            return Some(text.len() - inner.len() + closed);
        }
    }
    if !plain.starts_with('"') {
        return None;
    }
    let mut escaped = false;
    for (at, c) in plain.char_indices().skip(1) {
        match c {
            '"' if !escaped => return Some(text.len() - plain.len() + at + 1),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    Some(text.len())
}

/// Returns the length of a character; of a lifetime it is the quote alone.
fn character(text: &str) -> usize {
    let mut inside = text.chars().skip(1);
    match (inside.next(), inside.next()) {
        (Some('\\'), _) => text[3..].find('\'').map_or(text.len(), |end| end + 4),
        (Some(c), Some('\'')) => c.len_utf8() + 2,
        _ => 1,
    }
}

/// The circles of a crate of these files, given as path and text.
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let read = |path: &Path| {
        files.iter().find(|(name, _)| path == Path::new(name)).map(|(_, text)| (*text).to_owned())
    };
    Files::read_by(Path::new(""), &read).circles()
}

#[test]
fn no_files_of_the_libraries_use_each_other_in_a_circle() {
    let circles: Vec<String> = ["netpolicy/src", "integration/src"]
        .iter()
        .flat_map(|folder| Files::read(&crate::root().join(folder)).circles())
        .collect();
    assert!(circles.is_empty(), "{} circles:\n{}", circles.len(), circles.join("\n"));
}

/// Lines of a source file. A file does one thing; a longer one does two.
const MOST_LINES: usize = 500;

#[test]
fn no_source_file_is_too_long() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for folder in ["src", "tests", "netpolicy", "integration", "fuzz"] {
        for file in crate::sources(crate::root().join(folder)) {
            let lines = std::fs::read_to_string(&file).expect("a source file").lines().count();
            seen += 1;
            if lines > MOST_LINES {
                wrong.push(format!("{}: {lines} lines", file.display()));
            }
        }
    }
    assert!(seen > 400, "{seen} files were looked at");
    assert!(wrong.is_empty(), "split these by subject:\n{}", wrong.join("\n"));
}

#[test]
fn a_circle_is_found_and_a_re_export_is_none() {
    let circles = |files: &[(&str, &str)]| circles_of(files).len();
    let lib = ("lib.rs", "pub mod a;\nmod b;\n");
    let b = ("b.rs", "pub struct B;");
    assert_eq!(circles(&[lib, ("a.rs", "use crate::b::B;\nfn f(_: B) {}"), b]), 0);
    let back = ("b.rs", "pub struct B;\nfn g() { crate::a::f(B) }");
    assert_eq!(circles(&[lib, ("a.rs", "use crate::b::B;\nfn f(_: B) {}"), back]), 1);
    assert_eq!(circles(&[lib, ("a.rs", "// crate::b\nfn f() -> &'static str { \"crate::b::B\" }"), back]), 0);
    // Through a module's name, through a group, from a test.
    let by_name = ("b.rs", "use super::{a as other};\npub struct B;\nfn g() { other::f(B) }");
    assert_eq!(circles(&[lib, ("a.rs", "use crate::b::B;"), by_name]), 1);
    let test = ("b.rs", "pub struct B;\n#[cfg(test)]\nmod tests { use crate::a::f; }");
    assert_eq!(circles(&[lib, ("a.rs", "use crate::b::B;"), test]), 0);
    // A parent that hands on its child's names is none of it; one that its child needs is.
    let child = ("a/child.rs", "use crate::b::B;\npub fn f(_: B) {}");
    assert_eq!(circles(&[lib, ("a.rs", "mod child;\npub use child::f;"), child, back]), 1);
    assert_eq!(circles(&[lib, ("a.rs", "mod child;\npub use child::f;"), child, b]), 0);
    let child = ("a/child.rs", "use super::A;\npub fn f(_: A) {}");
    assert_eq!(circles(&[lib, ("a/mod.rs", "mod child;\npub use child::f;\npub struct A;"), child, b]), 0);
    let parent = ("a/mod.rs", "mod child;\npub struct A;\nfn g() { child::f(A) }");
    assert_eq!(circles(&[lib, parent, child, b]), 1);
}
