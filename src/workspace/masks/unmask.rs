//! Wishes to show what is not there: a person who mistyped a path would find out from the agent's confusion.

use std::path::Path;

use super::Plan;
use super::walk::patterns;
use crate::error::Failure;

/// The first of these patterns that shows nothing of the project, since nothing there has such a path.
///
/// # Errors
/// When one is no pattern.
pub fn showing_nothing<'a>(plan: &Plan, wishes: &'a [String]) -> Result<Option<&'a str>, Failure> {
    for wish in wishes {
        let set = patterns("unmask", std::slice::from_ref(wish))?;
        let shows = plan.seen.unmasked.iter().any(|path| set.is_match(path) || is_below(path, wish));
        // A policy's `mask` goes before it, or the folder is empty.
        let is_there = || plan.project.join(below(wish)).symlink_metadata().is_ok();
        if !shows && !is_there() && !plan.covers.iter().any(|cover| set.is_match(&cover.path)) {
            return Ok(Some(wish));
        }
    }
    Ok(None)
}

/// Tells whether a shown folder contains what is wished for: what is in it was not looked at one by one.
fn is_below(shown: &Path, wish: &str) -> bool {
    Path::new(below(wish)).starts_with(shown)
}

fn below(wish: &str) -> &str {
    wish.trim_start_matches("./").trim_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::masks::{Wishes, plan};

    #[test]
    fn a_path_from_the_root_shows_that_file_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        for file in [".env", "a/.env", "a/.netrc"] {
            std::fs::write(dir.path().join(file), "TOKEN=x").unwrap();
        }
        for (unmask, left) in [
            ("./.env", &["a/.env", "a/.netrc"][..]),
            (".env", &["a/.netrc"]),
            ("./a/.env", &[".env", "a/.netrc"]),
            ("a/./.env", &[".env", "a/.netrc"]),
            ("./a/", &[".env"]),
        ] {
            let plan =
                plan(dir.path(), &Wishes { unmask: vec![unmask.to_owned()], ..Wishes::default() }).unwrap();
            let covered: Vec<_> = plan.covers.iter().map(|cover| cover.path.to_str().unwrap()).collect();
            assert_eq!(covered, left, "{unmask}");
        }
    }

    #[test]
    fn a_wish_to_show_what_is_not_there_is_found() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/keys")).unwrap();
        for file in ["a/.env", "a/keys/id_rsa", "plain", ".npmrc"] {
            std::fs::write(dir.path().join(file), "x").unwrap();
        }
        std::os::unix::fs::symlink("a/.env", dir.path().join("linked.env")).unwrap();
        let nothing = |unmask: &[&str], mask: &[&str]| {
            let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
            let wishes = Wishes { mask: words(mask), unmask: words(unmask), ..Wishes::default() };
            let plan = plan(dir.path(), &wishes).unwrap();
            showing_nothing(&plan, &wishes.unmask).unwrap().map(str::to_owned)
        };
        for there in [
            ".env",
            "a/.env",
            "a/keys",
            "keys/",
            "a/keys/id_rsa",
            "*.env",
            "./a/.env",
            "plain",
            "linked.env",
            "a/**",
        ] {
            assert_eq!(nothing(&[there], &[]), None, "{there}");
            assert_eq!(nothing(&[there], &["*rsa"]), None, "{there}, beside a mask");
        }
        assert_eq!(nothing(&["a", "a/keys/id_rsa"], &[]), None, "in a shown folder");
        for not_there in ["a/env", "./.env", "keys/id_rsa", "b/**", "nowhere", "*.key"] {
            assert_eq!(nothing(&[".env", not_there], &[]).as_deref(), Some(not_there));
        }
    }
}
