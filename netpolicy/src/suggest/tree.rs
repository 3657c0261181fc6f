//! JSON, TOML and YAML as one kind of tree in which every value knows its line.
//!
//! ```text
//!  text ──jsonc-parser | toml | saphyr-parser──▶ Tree ──get, text, items, entries──▶ readers
//! ```
//! The files are a stranger's: depth and size are bounded, and what does not parse says where.

use jsonc_parser::ast;
use saphyr_parser::{Event, Parser};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Nesting that no lockfile needs.
const MAX_DEPTH: usize = 64;
/// Nodes of one file, those of YAML aliases included.
const MAX_NODES: usize = 4_000_000;

/// A value and the line where it begins, from 1.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) line: u32,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    /// A string.
    Text(String),
    /// A number, a boolean, a date, or nothing, as it is written.
    Other(String),
    List(Vec<Tree>),
    Map(Vec<Entry>),
}

/// A key of a mapping, and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: u32,
    pub(super) value: Tree,
}

/// Reason for which a file could not be understood.
#[derive(Clone, Debug)]
pub(super) struct Unreadable {
    pub(super) line: u32,
    pub(super) why: String,
}

impl Tree {
    /// Returns the value under a key of a mapping; the last one, where there are several.
    pub(super) fn get(&self, key: &str) -> Option<&Tree> {
        self.entries().iter().rev().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// Follows keys through nested mappings.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Tree> {
        path.iter().try_fold(self, |tree, key| tree.get(key))
    }

    /// Returns the string, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Tells whether the value is a given word that is no string, for example `false`.
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(&self.value, Value::Other(text) if text == word)
    }

    /// Returns the items of a list; of anything else, none.
    pub(super) fn items(&self) -> &[Tree] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Returns the entries of a mapping; of anything else, none.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Calls `visit` with every string in the tree, and the key under which it or its list stands.
    pub(super) fn texts<'t>(&'t self, key: &'t str, visit: &mut dyn FnMut(&'t str, u32, &'t str)) {
        match &self.value {
            Value::Text(text) => visit(key, self.line, text),
            Value::Other(_) => {}
            Value::List(items) => items.iter().for_each(|item| item.texts(key, visit)),
            Value::Map(entries) => entries.iter().for_each(|entry| entry.value.texts(&entry.key, visit)),
        }
    }
}

/// Offsets at which lines begin in a text.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        Lines(text.match_indices('\n').map(|(at, _)| at + 1).collect())
    }

    /// Returns the line of a byte, from 1.
    fn line(&self, byte: usize) -> u32 {
        u32::try_from(self.0.partition_point(|begin| *begin <= byte) + 1).unwrap_or(u32::MAX)
    }
}

/// Reads JSON, with comments and trailing commas where a tool permits them.
pub(super) fn json(text: &str) -> Result<Tree, Unreadable> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let lines = Lines::of(text);
    let parsed =
        jsonc_parser::parse_to_ast(text, &Default::default(), &Default::default()).map_err(|error| {
            Unreadable { line: lines.line(error.range().start), why: format!("no JSON: {}", error.kind()) }
        })?;
    let value = parsed.value.ok_or_else(|| Unreadable { line: 1, why: "it is empty".to_owned() })?;
    from_json(&value, &lines, 0)
}

fn from_json(value: &ast::Value<'_>, lines: &Lines, depth: usize) -> Result<Tree, Unreadable> {
    use jsonc_parser::common::Ranged;
    let line = lines.line(value.start());
    shallow(depth, line)?;
    let value = match value {
        ast::Value::StringLit(text) => Value::Text(text.value.clone().into_owned()),
        ast::Value::NumberLit(number) => Value::Other(number.value.to_owned()),
        ast::Value::BooleanLit(boolean) => Value::Other(boolean.value.to_string()),
        ast::Value::NullKeyword(_) => Value::Other("null".to_owned()),
        ast::Value::Array(array) => Value::List(
            array.elements.iter().map(|item| from_json(item, lines, depth + 1)).collect::<Result<_, _>>()?,
        ),
        ast::Value::Object(object) => {
            let entry = |property: &ast::ObjectProp<'_>| {
                Ok(Entry {
                    key: property.name.as_str().to_owned(),
                    line: lines.line(property.start()),
                    value: from_json(&property.value, lines, depth + 1)?,
                })
            };
            Value::Map(object.properties.iter().map(entry).collect::<Result<_, _>>()?)
        }
    };
    Ok(Tree { line, value })
}

/// Reads TOML.
pub(super) fn toml(text: &str) -> Result<Tree, Unreadable> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let lines = Lines::of(text);
    let table = DeTable::parse(text).map_err(|error| Unreadable {
        line: error.span().map_or(0, |span| lines.line(span.start)),
        why: format!("no TOML: {}", error.message()),
    })?;
    from_table(table.get_ref(), 1, &lines, 0)
}

fn from_table(table: &DeTable<'_>, line: u32, lines: &Lines, depth: usize) -> Result<Tree, Unreadable> {
    shallow(depth, line)?;
    let entry = |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
        Ok(Entry {
            key: key.get_ref().clone().into_owned(),
            line: lines.line(key.span().start),
            value: from_toml(value, lines, depth + 1)?,
        })
    };
    let mut entries = table.iter().map(entry).collect::<Result<Vec<_>, Unreadable>>()?;
    entries.sort_by_key(|entry| entry.line);
    Ok(Tree { line, value: Value::Map(entries) })
}

fn from_toml(value: &Spanned<DeValue<'_>>, lines: &Lines, depth: usize) -> Result<Tree, Unreadable> {
    let line = lines.line(value.span().start);
    shallow(depth, line)?;
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Boolean(boolean) => Value::Other(boolean.to_string()),
        DeValue::Array(array) => {
            Value::List(array.iter().map(|item| from_toml(item, lines, depth + 1)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => return from_table(table, line, lines, depth),
        _ => Value::Other(String::new()),
    };
    Ok(Tree { line, value })
}

/// Reads the documents of a YAML file. Unlike a policy, a tool's file may hold anchors and tags.
pub(super) fn yaml(text: &str) -> Result<Vec<Tree>, Unreadable> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut builder = YamlBuilder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Unreadable {
            line: u32::try_from(error.marker().line()).unwrap_or(u32::MAX),
            why: format!("no YAML: {}", error.info()),
        })?;
        builder.take(event, u32::try_from(span.start.line()).unwrap_or(u32::MAX))?;
    }
    Ok(builder.documents)
}

/// A list or mapping that is not closed yet.
struct Open {
    line: u32,
    anchor: usize,
    map: bool,
    children: Vec<Tree>,
}

#[derive(Default)]
struct YamlBuilder {
    documents: Vec<Tree>,
    open: Vec<Open>,
    anchored: std::collections::HashMap<usize, (Tree, usize)>,
    nodes: usize,
}

impl YamlBuilder {
    fn take(&mut self, event: Event<'_>, line: u32) -> Result<(), Unreadable> {
        match event {
            Event::SequenceStart(.., anchor, _) => self.begin(line, anchor, false),
            Event::MappingStart(.., anchor, _) => self.begin(line, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => self.end(line),
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == saphyr_parser::ScalarStyle::Plain;
                let other = plain && matches!(text.as_ref(), "" | "~" | "null" | "true" | "false");
                let text = text.into_owned();
                let value = if other { Value::Other(text) } else { Value::Text(text) };
                self.put(Tree { line, value }, anchor, 1, line)
            }
            Event::Alias(anchor) => {
                let (tree, nodes) = self
                    .anchored
                    .get(&anchor)
                    .cloned()
                    .ok_or_else(|| Unreadable { line, why: "no YAML: an alias of nothing".to_owned() })?;
                self.put(tree, 0, nodes, line)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, line: u32, anchor: usize, map: bool) -> Result<(), Unreadable> {
        shallow(self.open.len(), line)?;
        self.open.push(Open { line, anchor, map, children: Vec::new() });
        Ok(())
    }

    fn end(&mut self, line: u32) -> Result<(), Unreadable> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = if open.map {
            let mut entries = Vec::new();
            let mut children = open.children.into_iter();
            while let (Some(key), Some(value)) = (children.next(), children.next()) {
                let text = match key.value {
                    Value::Text(text) | Value::Other(text) => text,
                    _ => continue,
                };
                entries.push(Entry { key: text, line: key.line, value });
            }
            Value::Map(entries)
        } else {
            Value::List(open.children)
        };
        self.put(Tree { line: open.line, value }, open.anchor, 1, line)
    }

    fn put(&mut self, tree: Tree, anchor: usize, nodes: usize, line: u32) -> Result<(), Unreadable> {
        // An alias counts as often as it is used, so that a small file makes no large tree.
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(Unreadable { line, why: "it has more values than are read".to_owned() });
        }
        if anchor > 0 {
            let size = size_of(&tree);
            self.anchored.insert(anchor, (tree.clone(), size));
        }
        match self.open.last_mut() {
            Some(open) => open.children.push(tree),
            None => self.documents.push(tree),
        }
        Ok(())
    }
}

fn size_of(tree: &Tree) -> usize {
    match &tree.value {
        Value::List(items) => 1 + items.iter().map(size_of).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| size_of(&entry.value)).sum::<usize>(),
        _ => 1,
    }
}

fn shallow(depth: usize, line: u32) -> Result<(), Unreadable> {
    if depth > MAX_DEPTH {
        return Err(Unreadable { line, why: "it is nested deeper than is read".to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Tree, json, toml, yaml};

    fn shown(tree: &Tree) -> Vec<(String, u32, String)> {
        let mut all = Vec::new();
        tree.texts("", &mut |key, line, text| all.push((key.to_owned(), line, text.to_owned())));
        all
    }

    #[test]
    fn every_format_keeps_keys_lines_and_texts() {
        let expected = vec![("u".to_owned(), 2, "x".to_owned()), ("l".to_owned(), 3, "y".to_owned())];
        assert_eq!(shown(&json("{ // why\n\"u\": \"x\",\n\"l\": [1, \"y\",],\n}").unwrap()), expected);
        assert_eq!(shown(&toml("[a]\nu = 'x'\nl = [ 1, \"y\" ]\n").unwrap()), expected);
        assert_eq!(shown(&yaml("a: &a\n  u: x\n  l: [null, y]\n").unwrap()[0]), expected);
    }

    #[test]
    fn what_does_not_parse_says_where() {
        assert_eq!(json("{\n\"a\": }").unwrap_err().line, 2);
        assert_eq!(toml("a = 1\nb = \n").unwrap_err().line, 2);
        assert!(yaml("a: 1\nb: [\n").unwrap_err().line > 1);
    }

    #[test]
    fn small_files_make_no_large_trees() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let used = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb += &format!("a{level}: &a{level} [{used}]\n");
        }
        assert!(yaml(&bomb).is_err());
        assert!(json(&"[".repeat(100_000)).is_err());
        assert!(yaml(&"[".repeat(100_000)).is_err());
        assert!(toml(&format!("a = {}", "[".repeat(100_000))).is_err());
    }
}
