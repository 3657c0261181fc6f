//! `ringfence policy import FILE`: another program's allowlist as a policy on stdout, what differs
//! on stderr.

use netpolicy::import::{self, ImportError, Imported};
use netpolicy::policy::{Layer, Policy, Rule};
use netpolicy::print;
use serde_json::json;

use super::{COULD_NOT_TELL, say};
use crate::cli::policy::ImportArgs;
use crate::layers::read_any;
use crate::term::Failure;
use crate::term::{print_document as out, print_json};

/// Translates one file.
pub(crate) fn import(args: &ImportArgs) -> Result<u8, Failure> {
    let bytes = read_any(&args.file).map_err(|why| bad(&args.file, why))?;
    let text = String::from_utf8(bytes).map_err(|_| bad(&args.file, "it is not UTF-8 text".to_owned()))?;
    let imported = import::import(&args.file, &text, args.from, Layer::Run)
        .map_err(|error| refused(&args.file, error))?;
    let policy = policy(&imported);
    if args.json {
        print_json(&json!({"format": imported.format, "policy": policy, "notes": imported.notes}))?;
    } else {
        out(&policy)?;
        say(&imported.notes);
    }
    Ok(0)
}

fn policy(imported: &Imported) -> String {
    let shared = |rules: &[Rule]| rules.iter().cloned().map(Into::into).collect();
    let policy = Policy { allow: shared(&imported.allow), deny: shared(&imported.deny), ..Policy::nothing() };
    let head = format!("# Imported by `ringfence policy import --from {}`.\n", imported.format.as_str());
    head + &print::policy(&policy, &|rule| Some(format!("{}:{}", rule.origin.file, rule.origin.line)))
}

fn bad(file: &str, why: String) -> Failure {
    let mut failure = Failure::new(COULD_NOT_TELL, format!("cannot import {file}"));
    failure.causes.push(why);
    failure
}

fn refused(file: &str, error: ImportError) -> Failure {
    let mut failure = bad(file, error.to_string());
    let formats: Vec<&str> = import::Format::ALL.iter().map(|format| format.as_str()).collect();
    match error {
        ImportError::Unreadable(findings) => failure.causes = vec![netpolicy::diagnostic::render(&findings)],
        ImportError::Unknown => {
            failure = failure.hint(format!("say what it is: --from {}", formats.join("|")))
        }
        ImportError::Ambiguous => failure = failure.hint("say whose it is: --from gh-aw or --from squid"),
        ImportError::Program => {
            failure = failure.hint("write the names that it permits into a policy by hand")
        }
        _ => {}
    }
    failure
}
