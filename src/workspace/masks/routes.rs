//! A comparison of two versions of a file: do they lead programs to the same places: registries,
//! mirrors, hosts.
//!
//! A package manager that loses a registry's line asks the public one instead. So the index's
//! version covers a file only where nothing but secrets makes the difference. What this module
//! cannot tell for certain counts as a difference.

use super::names::{Names, Treatment};
use super::scrub::{self, Form, MASK, Scrubbed};
use super::{Cover, Why, With};
use crate::workspace::secrets::Rules;

/// Says whether git's version of a covered file leads to the same places as the file itself.
pub(super) fn routes_alike(cover: &Cover, version: &[u8]) -> bool {
    // What is empty otherwise leads nowhere otherwise.
    let With::Masked(file) = &cover.with else { return true };
    let pattern = cover.why.iter().find_map(|why| match why {
        Why::Name(pattern) => Some(*pattern),
        _ => None,
    });
    let form = match pattern.map(|pattern| Names::get().by_pattern(pattern)) {
        None | Some(Some(Treatment::Fixed)) => None,
        Some(Some(Treatment::Scrub(form) | Treatment::Judge(form))) => Some(form),
        // A name that the list does not have.
        Some(_) => return false,
    };
    masked(form, version).is_some_and(|version| alike(form, file, &version))
}

/// Returns a version without its secrets; nothing where it cannot be read for certain.
fn masked(form: Option<Form>, text: &[u8]) -> Option<Vec<u8>> {
    let spans = Rules::get().find(text).into_iter().map(|finding| finding.span).collect();
    let known = scrub::replace(text, spans, |_| MASK.into());
    match form.map(|form| scrub::scrub(form, &known)) {
        Some(Scrubbed::Unclear) => None,
        Some(Scrubbed::Masked(left)) => Some(left),
        Some(Scrubbed::Clean) | None => Some(known),
    }
}

/// Compares two versions without their secrets. In configuration, the file may have more lines with
/// a secret, as long as these name no address; in any other text, the lines that name an address
/// must be the same.
fn alike(form: Option<Form>, file: &[u8], version: &[u8]) -> bool {
    let (file, version) = (lines(file), lines(version));
    if form.is_none() {
        let addresses = |lines: &[&[u8]]| -> Vec<Vec<u8>> {
            lines.iter().filter(|line| has(line, b"://")).map(|line| line.to_vec()).collect()
        };
        return addresses(&file) == addresses(&version);
    }
    let mut version = version.into_iter().peekable();
    for line in file {
        if version.peek() == Some(&line) {
            version.next();
        } else if !has(line, MASK.as_bytes()) || has(line, b"://") {
            return false;
        }
    }
    version.next().is_none()
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    lines.filter(|line| !line.is_empty()).collect()
}

fn has(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::super::Mark;
    use super::*;

    fn mark() -> Mark {
        Mark::of(&rustix::fs::stat("/").unwrap())
    }

    fn cover(name: &str, file: &str) -> Cover {
        let found = Names::get().of_file(name.as_ref());
        let form = match found {
            Some((Treatment::Scrub(form) | Treatment::Judge(form), _)) => Some(form),
            _ => None,
        };
        let with = With::Masked(masked(form, file.as_bytes()).unwrap());
        let why = found.map(|(_, pattern)| Why::Name(pattern)).into_iter().collect();
        Cover { path: name.into(), mark: mark(), with, why }
    }

    #[test]
    fn a_registry_that_only_one_version_names_makes_a_difference() {
        let token = "//npm.corp.example/:_authToken=abc\n";
        let registry = "@corp:registry=https://npm.corp.example/\n";
        for (name, file, version, expected) in [
            (".npmrc", format!("{registry}{token}"), registry.to_owned(), true),
            (
                ".npmrc",
                format!("{registry}{token}"),
                format!("{registry}{token}").replace("abc", "old"),
                true,
            ),
            (".npmrc", format!("{registry}{token}"), String::new(), false),
            (".npmrc", token.to_owned(), registry.to_owned(), false),
            (".npmrc", token.to_owned(), String::new(), true),
            (
                "pip.conf",
                "[global]\nindex-url = https://me:pw@pip.corp.example/simple\n".to_owned(),
                "[global]\n".to_owned(),
                false,
            ),
            (
                "pip.conf",
                "[global]\nindex-url = https://me:pw@pip.corp.example/simple\n".to_owned(),
                "[global]\nindex-url = https://me:old@pip.corp.example/simple\n".to_owned(),
                true,
            ),
            (
                ".docker/config.json",
                "{\"auths\": {\"a.example\": {\"auth\": \"x\"}}}".to_owned(),
                "{\"auths\": {}}".to_owned(),
                false,
            ),
            // No configuration: an address is what counts.
            (
                "src/a.py",
                "KEY = 1\nURL = 'https://a.example/'\n".to_owned(),
                "URL = 'https://a.example/'\n".to_owned(),
                true,
            ),
            ("requirements.txt", "--index-url https://a.example/\nx\n".to_owned(), "x\n".to_owned(), false),
        ] {
            assert_eq!(
                routes_alike(&cover(name, &file), version.as_bytes()),
                expected,
                "{name}: {file} {version}"
            );
        }
    }

    #[test]
    fn an_empty_stand_in_leads_nowhere() {
        let cover = Cover { path: ".env".into(), mark: mark(), with: With::Nothing, why: Vec::new() };
        assert!(routes_alike(&cover, b"PIP_INDEX_URL=https://a.example/\n"));
    }
}
