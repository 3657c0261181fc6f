//! `ringfence policy suggest [DIR]`: a policy of the names that a project's own files show to be
//! needed.
//!
//! ```text
//!  DIR ──walk (bounded, no links)──▶ paths, texts ──netpolicy::suggest──▶ policy on stdout, each line with its evidence
//! ```

use std::collections::HashMap;
use std::path::Path;

use netpolicy::policy::{Policy, Rule};
use netpolicy::print;
use netpolicy::suggest::{self, Evidence, Suggested, Suggestion};
use serde_json::json;

use super::{COULD_NOT_TELL, say, walk};
use crate::cli::policy::SuggestArgs;
use crate::term::Failure;
use crate::term::{print_document as out, print_json, talk_lines};

const HEAD: &str =
    "# Suggested by `ringfence policy suggest` from the project's own files: read it before you use it.\n";

/// Looks through one project.
pub(crate) fn suggest(args: &SuggestArgs) -> Result<u8, Failure> {
    let (suggested, files) = look_through(&args.dir)?;
    if args.json {
        print_json(&json!({
            "files": files,
            "suggestions": suggested.suggestions,
            "notes": suggested.notes,
        }))?;
    } else {
        out(&(HEAD.to_owned() + &rules(&suggested.suggestions)))?;
        say(&suggested.notes);
        let (names, files) = (suggested.suggestions.len(), files.len());
        talk_lines(format_args!("{names} name{} from {files} file{}\n", plural(names), plural(files)));
    }
    Ok(0)
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Finds the names that a project's files show.
pub(crate) fn of_project(dir: &Path) -> Result<Suggested, Failure> {
    look_through(dir).map(|(suggested, _)| suggested)
}

/// Finds the names that a project's files show, and lists the files that were read.
fn look_through(dir: &Path) -> Result<(Suggested, Vec<String>), Failure> {
    let walked = walk::walk(dir).map_err(|error| {
        Failure::new(COULD_NOT_TELL, format!("cannot look through {}", dir.display()))
            .caused_by(&error)
            .hint("name the project's folder")
    })?;
    let files = walked.files.iter().map(|file| (file.path.as_str(), file.text.as_str()));
    let mut suggested = suggest::suggest(files);
    suggested.notes.extend(walked.notes);
    Ok((suggested, walked.files.into_iter().map(|file| file.path).collect()))
}

/// Writes a policy that permits what was suggested, each line with its evidence.
pub(crate) fn rules(suggestions: &[Suggestion]) -> String {
    let by_text: HashMap<&str, &Suggestion> =
        suggestions.iter().map(|suggestion| (suggestion.rule.origin.text.as_str(), suggestion)).collect();
    let allow = suggestions.iter().map(|suggestion| suggestion.rule.clone().into()).collect();
    let policy = Policy { allow, ..Policy::nothing() };
    let comment = |rule: &Rule| by_text.get(rule.origin.text.as_str()).map(|suggestion| words(suggestion));
    print::policy(&policy, &comment)
}

fn words(suggestion: &Suggestion) -> String {
    let place = |evidence: &Evidence| match evidence.line {
        0 => format!("{} ({})", evidence.file, evidence.what),
        line => format!("{}:{line} ({})", evidence.file, evidence.what),
    };
    let mut words: Vec<String> = suggestion.evidence.iter().map(place).collect();
    if suggestion.more > 0 {
        words.push(format!("{} more", suggestion.more));
    }
    let uploads = suggestion.uploads.map_or_else(String::new, |what| format!("; accepts uploads: {what}"));
    let tests = if suggestion.only_in_tests { "; only in tests" } else { "" };
    words.join(", ") + tests + &uploads
}
