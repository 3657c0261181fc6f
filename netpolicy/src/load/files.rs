//! Files and presets that a policy is made of: how they are named and told apart.

use super::shape::{list, nearest, string, wrong_type};
use crate::diagnostic::Diagnostic;
use crate::presets;
use crate::yaml::{Findings, Node, SourcePlace, Value};

/// Reports the first byte that is no text, in its place.
pub(super) fn not_utf8(file: &str, error: &std::string::FromUtf8Error) -> Diagnostic {
    let bytes = error.as_bytes();
    let at = error.utf8_error().valid_up_to();
    let before = bytes.get(..at).unwrap_or_default();
    let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let end =
        bytes.iter().skip(at).position(|byte| *byte == b'\n').map_or(bytes.len(), |newline| at + newline);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = String::from_utf8_lossy(bytes.get(begin..at).unwrap_or_default()).chars().count();
    let shown = String::from_utf8_lossy(bytes.get(begin..end).unwrap_or_default());
    let message = format!("byte {:#04x} is no UTF-8 text", bytes.get(at).copied().unwrap_or_default());
    let hint = Some("save the file as UTF-8; international names may be written in their `xn--` form".into());
    SourcePlace::line_of(file, line, column, &shown).error("encoding", message, hint)
}

/// Source of a text.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A policy file, by its path as the caller sees it.
    File(String),
    /// A preset, `NAME` or `NAME@VERSION`.
    Preset(String),
}

/// Returns the name of a preset when a text is one: no path and no extension.
pub fn preset_reference(text: &str) -> Option<&str> {
    (!text.is_empty() && !text.contains(['/', '\\', '.'])).then_some(text)
}

/// Returns the sources that a file extends. `within` is the folder that the file may not leave.
pub(super) fn extended(
    from: &Source,
    node: &Node,
    within: Option<&str>,
    findings: &mut Findings,
) -> Vec<(Source, SourcePlace)> {
    let mut sources = Vec::new();
    for item in list(node, "`extends` is a list", findings) {
        let Some(text) = string(item, "a preset such as `gitlab@1`, or a path", findings) else { continue };
        let preset = text.contains('@') && !text.contains('/');
        if !preset && preset_reference(text).is_some() {
            let hint = match presets::find(text) {
                Some(newest) => {
                    format!("write `{}@{}`, or `./{text}` for a file", newest.name, newest.version)
                }
                None => format!("write `./{text}` for a file, or `NAME@VERSION` for a preset"),
            };
            let message = format!("`{text}` is neither a preset with its version nor a path");
            findings.push(item.place.error("extends", message, Some(hint)));
            continue;
        }
        let source = match (from, preset) {
            (_, true) => Source::Preset(text.to_owned()),
            (Source::File(path), false) => {
                let path = joined(path, text);
                if within.is_some_and(|folder| !is_inside(&path, folder)) {
                    let hint = Some("copy what is needed into the project, or extend a preset".into());
                    let message = format!("`{text}` lies outside the project");
                    findings.push(item.place.error("extends", message, hint));
                    continue;
                }
                Source::File(path)
            }
            (Source::Preset(_), false) => {
                findings.push(item.place.error("extends", "a preset extends presets only", None));
                continue;
            }
        };
        sources.push((source, item.place.clone()));
    }
    sources
}

/// Returns a path as written in `file`, seen from where `file` is seen from.
fn joined(file: &str, path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    match file.rfind('/') {
        Some(slash) if !path.starts_with('/') => format!("{}/{path}", &file[..slash]),
        _ => path.to_owned(),
    }
}

/// Tells whether a path lies in a folder, by its words alone; the reader of the file looks at
/// links.
fn is_inside(path: &str, folder: &str) -> bool {
    let (path, folder) = (normal(path), normal(folder));
    let rest = if folder.is_empty() { Some(path.as_str()) } else { path.strip_prefix(folder.as_str()) };
    match rest {
        Some(rest) if folder.is_empty() => !rest.starts_with('/') && rest.split('/').next() != Some(".."),
        Some(rest) => rest.starts_with('/'),
        None => false,
    }
}

/// Returns the path without `.` and `..`, so that two paths can be compared.
pub(super) fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

pub(super) fn other_extension(path: &str) -> Option<String> {
    path.strip_suffix(".yaml")
        .map(|stem| format!("{stem}.yml"))
        .or_else(|| path.strip_suffix(".yml").map(|stem| format!("{stem}.yaml")))
}

pub(super) fn unknown_preset(reference: &str, from: &SourcePlace) -> Diagnostic {
    let known: Vec<String> =
        presets::PRESETS.iter().map(|preset| format!("{}@{}", preset.name, preset.version)).collect();
    let near = nearest(reference, &known.iter().map(String::as_str).collect::<Vec<_>>());
    let hint = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            format!("there is {}; a file is named by a path such as `./policy.yml`", known.join(", "))
        }
    };
    from.error("unknown-preset", format!("there is no preset `{reference}`"), Some(hint))
}

fn missing_version(place: &SourcePlace) -> Diagnostic {
    place.error("version", "`version` is missing", Some("begin the file with `version: 1`".into()))
}

pub(super) fn version(node: &Node, findings: &mut Findings) {
    match &node.value {
        Value::Scalar { text, plain: true } if text == "1" => {}
        Value::Refused => {}
        Value::Scalar { text, plain: false } if text == "1" => {
            findings.push(wrong_type(node, "`version` is a number", Some("write `version: 1`".into())));
        }
        Value::Scalar { text, plain: true } if node.kind() == "a number" => findings.push(node.place.error(
            "version",
            format!("version {text} is not supported by this version of ringfence"),
            Some("write `version: 1`".into()),
        )),
        _ => findings.push(wrong_type(node, "`version` is a number", Some("write `version: 1`".into()))),
    }
}

/// Returns the pairs of a policy file, whatever else it is, and reports faults of its beginning.
pub(super) fn top_level<'n>(
    root: Option<&'n Node>,
    file: &str,
    findings: &mut Findings,
) -> &'n [(Node, Node)] {
    let Some(root) = root else {
        if !findings.has_errors() {
            findings.push(missing_version(&SourcePlace::file(file)));
        }
        return &[];
    };
    match &root.value {
        Value::Refused => &[],
        Value::Map(pairs) => {
            let versioned = pairs.iter().any(|(key, _)| key.as_str() == Some("version"));
            if !versioned && !pairs.is_empty() {
                findings.push(missing_version(&root.place));
            }
            pairs
        }
        _ if root.kind() == "nothing" => {
            findings.push(missing_version(&SourcePlace::file(file)));
            &[]
        }
        _ => {
            let hint = Some("begin with `version: 1`".into());
            findings.push(wrong_type(root, "a policy is a mapping", hint));
            &[]
        }
    }
}
