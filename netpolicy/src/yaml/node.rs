//! The tree of a file: values, each with its place.

use super::place::SourcePlace;

/// Content of a node.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string, number, boolean or null: plain ones mean what the core schema says.
    Scalar {
        /// The text.
        text: String,
        /// Set where the text has no quotes.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file, each key once.
    Map(Vec<(Node, Node)>),
    /// A node that was reported already.
    Refused,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Content.
    pub value: Value,
    /// Place in the file.
    pub place: SourcePlace,
}

impl Node {
    /// Returns the kind of the node, in the words of a message.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Refused => "something else",
            Value::Scalar { plain: false, .. } => "a string",
            Value::Scalar { text, plain: true } => match text.as_str() {
                "" | "~" | "null" | "Null" | "NULL" => "nothing",
                "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => "a boolean",
                text if is_number(text) => "a number",
                _ => "a string",
            },
        }
    }

    /// Returns the text when the node is a string by the core schema.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if self.kind() == "a string" => Some(text),
            _ => None,
        }
    }

    /// Tells whether the node was reported already.
    pub fn is_refused(&self) -> bool {
        matches!(self.value, Value::Refused)
    }
}

/// Integers and floats of the core schema.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let digits = |text: &str, radix: u32| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return digits(hexadecimal, 16);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8);
    }
    let starts = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    starts && unsigned.chars().any(|c| c.is_ascii_digit()) && unsigned.parse::<f64>().is_ok()
}
