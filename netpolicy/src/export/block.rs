//! A JSON value laid out as YAML people read. Strings that are no plain words stand in JSON's quotes, which YAML reads alike.

use std::fmt::Write;

use serde_json::Value;

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
                push(text, format_args!("{:indent_now$}{}:", "", scalar(key)));
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
        Value::String(text) => scalar(text),
        // An empty list or mapping, a number, a boolean; lists in lists do not occur.
        value => value.to_string(),
    }
}

fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let word = !matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    if starts && word && text.chars().all(plain) { text.to_owned() } else { Value::from(text).to_string() }
}

fn push(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(words);
}
