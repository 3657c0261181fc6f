//! JSON with comments, as the nodes that YAML gives.
//!
//! ```text
//!  text ──jsonc-parser──▶ ast ──parse──▶ Node (value, place)
//! ```

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;

use super::imported::ImportError;
use crate::yaml::{Node, SourcePlace, Value};

/// Nesting that no allowlist needs.
const MAX_DEPTH: usize = 32;

/// Reads one file. A key that stands twice in a mapping is an error: two readers might take two
/// values.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, ImportError> {
    let reader = Reader { file, text, begins: begins(text) };
    let parsed = jsonc_parser::parse_to_ast(text, &Default::default(), &Default::default())
        .map_err(|error| reader.unreadable(error.range().start, format!("not JSON: {}", error.kind())))?;
    let value = parsed.value.ok_or_else(|| reader.unreadable(0, "the file is empty".to_owned()))?;
    reader.node(&value, 0)
}

/// Returns the offsets at which lines begin.
fn begins(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

struct Reader<'t> {
    file: &'t str,
    text: &'t str,
    begins: Vec<usize>,
}

impl Reader<'_> {
    fn node(&self, value: &ast::Value<'_>, depth: usize) -> Result<Node, ImportError> {
        let at = value.start();
        if depth > MAX_DEPTH {
            return Err(self.unreadable(at, "it is nested deeper than is read".to_owned()));
        }
        let scalar = |text: &str, plain| Value::Scalar { text: text.to_owned(), plain };
        let value = match value {
            ast::Value::StringLit(text) => scalar(&text.value, false),
            ast::Value::NumberLit(number) => scalar(number.value, true),
            ast::Value::BooleanLit(boolean) => scalar(&boolean.value.to_string(), true),
            ast::Value::NullKeyword(_) => scalar("null", true),
            ast::Value::Array(array) => Value::List(
                array.elements.iter().map(|item| self.node(item, depth + 1)).collect::<Result<_, _>>()?,
            ),
            ast::Value::Object(object) => {
                let mut pairs: Vec<(Node, Node)> = Vec::new();
                let mut keys = std::collections::HashSet::new();
                for property in &object.properties {
                    let key = property.name.as_str();
                    let at = property.start();
                    if !keys.insert(key.to_owned()) {
                        return Err(self.unreadable(at, "a key stands twice in one mapping".to_owned()));
                    }
                    let name = Node { value: scalar(key, false), place: self.place(at) };
                    pairs.push((name, self.node(&property.value, depth + 1)?));
                }
                Value::Map(pairs)
            }
        };
        Ok(Node { value, place: self.place(at) })
    }

    /// Returns the line of an offset, from 0.
    fn line(&self, at: usize) -> usize {
        self.begins.partition_point(|begin| *begin <= at).saturating_sub(1)
    }

    fn place(&self, at: usize) -> SourcePlace {
        let line = self.line(at);
        let begin = self.begins.get(line).copied().unwrap_or_default();
        let whole = self.text.get(begin..).unwrap_or_default().lines().next().unwrap_or_default();
        let column = self.text.get(begin..at).unwrap_or_default().chars().count();
        SourcePlace::line_of(self.file, line + 1, column, whole)
    }

    fn unreadable(&self, at: usize, message: String) -> ImportError {
        ImportError::Unreadable(vec![self.place(at).error("json", message, None)])
    }
}
