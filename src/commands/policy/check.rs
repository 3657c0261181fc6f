//! `ringfence policy check FILE…`: every finding of every file.

use netpolicy::diagnostic::{Diagnostic, Severity, render};
use netpolicy::load;
use netpolicy::policy::Layer;

use crate::commands::{print, print_json};
use crate::error::Failure;
use crate::layers::read_any;

const GOOD: u8 = 0;
const NOT_GOOD: u8 = 1;
const COULD_NOT_CHECK: u8 = 2;

/// Checks each file by itself. 0: all can be used, perhaps with warnings; 1: one cannot; 2: one cannot be read.
pub fn check(files: &[String], json: bool) -> Result<u8, Failure> {
    let mut findings: Vec<Diagnostic> = Vec::new();
    let mut status = GOOD;
    for file in files {
        let found = match load::load(file, Layer::Run, crate::clock::today(), &mut read_any) {
            Ok(loaded) => loaded.warnings,
            Err(found) => found,
        };
        status = status.max(status_of(file, &found));
        findings.extend(found);
    }
    if json {
        print_json(&findings)?;
    } else {
        print(&render(&findings))?;
        eprintln!("{}", summary(files.len(), &findings));
    }
    Ok(status)
}

fn status_of(file: &str, findings: &[Diagnostic]) -> u8 {
    let unread = |finding: &Diagnostic| finding.file == file && finding.line == 0;
    let errors = || findings.iter().filter(|finding| finding.severity == Severity::Error);
    if errors().any(|finding| unread(finding) && matches!(finding.code, "unreadable" | "unknown-preset")) {
        COULD_NOT_CHECK
    } else if errors().next().is_some() {
        NOT_GOOD
    } else {
        GOOD
    }
}

fn summary(files: usize, findings: &[Diagnostic]) -> String {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = findings.len() - errors;
    let many = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    format!("{}: {}, {}", many(files, "file"), many(errors, "error"), many(warnings, "warning"))
}
