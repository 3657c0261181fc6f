//! `ringfence policy check FILE…`: every finding of every file.

use std::path::Path;

use netpolicy::diagnostic::{Diagnostic, Severity, render};
use netpolicy::load::{self, LayerSource};
use netpolicy::policy::Layer;

use crate::layers::{self, PROJECT, read_any};
use crate::term::Failure;
use crate::term::{print, print_json, talk_lines};

const GOOD: u8 = 0;
const NOT_GOOD: u8 = 1;
const COULD_NOT_CHECK: u8 = 2;

/// Checks each file by itself. 0: all can be used, perhaps with warnings; 1: one cannot; 2: one
/// cannot be read.
pub(crate) fn check(files: &[String], layer: Option<Layer>, json: bool) -> Result<u8, Failure> {
    let mut findings: Vec<Diagnostic> = Vec::new();
    let mut status = GOOD;
    for file in files {
        let source = source_of(file, layer);
        let mut found =
            match load::load_layers(&[source], crate::host::clock::today(), &mut |_, path| read_any(path)) {
                Ok(loaded) => loaded.warnings,
                Err(found) => found,
            };
        // Looked at by itself, a project's policy has no ceiling over it and no approval: that is
        // no fault of its own. What no approval would cover is told (`needs-ceiling`).
        found.retain(|finding| finding.code != "untrusted");
        layers::point_at_files(&mut found);
        status = status.max(status_of(file, &found));
        findings.extend(found);
    }
    if json {
        print_json(&findings)?;
    } else {
        print(&render(&findings))?;
        talk_lines(format_args!("{}\n", summary(files.len(), &findings)));
    }
    Ok(status)
}

/// Returns a file as its layer. A project's policy is held to what projects may say, any other file
/// to nothing more than the language.
fn source_of(file: &str, layer: Option<Layer>) -> LayerSource {
    let path = Path::new(file);
    if layer.is_some() || path.file_name().is_none_or(|name| name != PROJECT) {
        return LayerSource::files(layer.unwrap_or(Layer::Run), vec![file.to_owned()]);
    }
    let root = path.parent().map(|folder| folder.display().to_string());
    LayerSource { root, ..LayerSource::files(Layer::Project, vec![file.to_owned()]) }
}

fn status_of(file: &str, findings: &[Diagnostic]) -> u8 {
    let unread = |finding: &Diagnostic| finding.file == file && finding.line == 0;
    let errors = || findings.iter().filter(|finding| finding.severity == Severity::Error);
    if errors().any(|finding| {
        unread(finding) && matches!(finding.code, "unreadable" | "too-large" | "unknown-preset")
    }) {
        COULD_NOT_CHECK
    } else if errors().next().is_some() {
        NOT_GOOD
    } else {
        GOOD
    }
}

fn summary(files: usize, findings: &[Diagnostic]) -> String {
    let count = |severity: Severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let many = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let mut text = format!(
        "{}: {}, {}",
        many(files, "file"),
        many(count(Severity::Error), "error"),
        many(count(Severity::Warning), "warning")
    );
    if count(Severity::Note) > 0 {
        text.push_str(&format!(", {}", many(count(Severity::Note), "note")));
    }
    text
}
