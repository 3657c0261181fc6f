//! A file's content without places, to be compared with what an edit should have made of it.

use crate::yaml::{Node, Value};

/// A value, and nothing about where or how it was laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Scalar { text: String, plain: bool },
    List(Vec<Shape>),
    Map(Vec<(Shape, Shape)>),
}

impl Shape {
    /// Returns the content of a tree; nothing where a part of it was refused.
    pub(super) fn of(node: &Node) -> Option<Shape> {
        Some(match &node.value {
            Value::Scalar { text, plain } => Shape::Scalar { text: text.clone(), plain: *plain },
            Value::List(items) => Shape::List(items.iter().map(Shape::of).collect::<Option<_>>()?),
            Value::Map(pairs) => {
                let pairs = pairs.iter().map(|(key, value)| Some((Shape::of(key)?, Shape::of(value)?)));
                Shape::Map(pairs.collect::<Option<_>>()?)
            }
            Value::Refused => return None,
        })
    }

    fn word(text: &str) -> Shape {
        Shape::Scalar { text: text.to_owned(), plain: true }
    }

    /// Returns the value of a key, which is added at the given place where it is missing.
    fn value(&mut self, word: &str, missing: Shape, at_the_end: bool) -> Option<&mut Shape> {
        let Shape::Map(pairs) = self else { return None };
        let is_it = |(key, _): &(Shape, Shape)| matches!(key, Shape::Scalar { text, .. } if text == word);
        let index = match pairs.iter().position(is_it) {
            Some(index) => index,
            None => {
                let index = if at_the_end { pairs.len() } else { 0 };
                pairs.insert(index, (Shape::word(word), missing));
                index
            }
        };
        pairs.get_mut(index).map(|(_, value)| value)
    }

    /// Returns the content with these texts at the end of `network.allow`, each with whether it is
    /// plain.
    pub(super) fn with(mut self, texts: impl Iterator<Item = (String, bool)>) -> Option<Shape> {
        let network = self.value("network", Shape::Map(Vec::new()), true)?;
        let Shape::List(items) = network.value("allow", Shape::List(Vec::new()), false)? else {
            return None;
        };
        items.extend(texts.map(|(text, plain)| Shape::Scalar { text, plain }));
        Some(self)
    }
}
