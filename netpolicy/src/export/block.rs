//! A JSON value laid out as YAML people read. Strings are quoted as in policies.

use std::fmt::Write;

use serde_json::Value;

use crate::print::quoted;

pub(super) fn yaml(value: &Value) -> String {
    let mut text = String::new();
    node(&mut text, value, 0);
    text
}

fn node(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(pairs) if !pairs.is_empty() => {
            for (index, (key, value)) in pairs.iter().enumerate() {
                // The first key of a list's entry stands behind its dash.
                let first = index == 0 && text.ends_with("- ");
                let indent_now = if first { 0 } else { indent };
                push(text, format_args!("{:indent_now$}{}:", "", quoted(key)));
                below(text, value, indent + 2);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                push(text, format_args!("{:indent$}- ", ""));
                match item {
                    Value::Object(pairs) if !pairs.is_empty() => node(text, item, indent + 2),
                    _ => push(text, format_args!("{}\n", flow(item))),
                }
            }
        }
        value => push(text, format_args!("{}\n", flow(value))),
    }
}

fn below(text: &mut String, value: &Value, indent: usize) {
    let empty = match value {
        Value::Object(pairs) => pairs.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    };
    if empty {
        push(text, format_args!(" {}\n", flow(value)));
    } else {
        text.push('\n');
        node(text, value, indent);
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        // An empty list or mapping, a number, a boolean; lists in lists do not occur.
        value => value.to_string(),
    }
}

fn push(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(words);
}
