//! Wishes to show what is not there: a person who mistyped a path would find out from the agent's
//! confusion.

use std::path::Path;

use super::walk::patterns;
use super::{Plan, Wishes};
use crate::term::Failure;

/// Returns the first of these patterns that shows nothing of the project, since nothing there has
/// such a path.
///
/// # Errors
/// When one is no pattern.
fn showing_nothing<'a>(plan: &Plan, wishes: &'a [String]) -> Result<Option<&'a str>, Failure> {
    for wish in wishes {
        let set = patterns("unmask", std::slice::from_ref(wish))?;
        let shows = plan.seen.unmasked.iter().any(|path| set.is_match(path) || is_below(path, wish));
        // A policy's `mask` goes before it, or the folder is empty.
        let is_there = || exists(plan, below(wish));
        if !shows && !is_there() && !plan.covers.iter().any(|cover| set.is_match(&cover.path)) {
            return Ok(Some(wish));
        }
    }
    Ok(None)
}

/// Returns the first wish that shows nothing in any plan. The plan of the working tree comes first,
/// that of a repository elsewhere behind it. `part` is the folder of the tree from which wishes
/// count.
///
/// # Errors
/// When one is no pattern.
pub(crate) fn showing_nothing_in<'a>(
    plans: &[Plan],
    part: Option<&Path>,
    wishes: &'a [String],
) -> Result<Option<&'a str>, Failure> {
    for wish in wishes {
        let one = Wishes { unmask: vec![wish.clone()], ..Wishes::default() };
        let mut shows = false;
        for (number, plan) in plans.iter().enumerate() {
            let here = match (number, part) {
                (0, None) => one.clone(),
                (0, Some(part)) => one.of_part(part),
                _ => one.below_git(),
            };
            let in_git = || number > 0 && of_git(wish).is_some_and(|path| exists(plan, path));
            shows |= in_git() || (!here.unmask.is_empty() && showing_nothing(plan, &here.unmask)?.is_none());
        }
        if !shows {
            return Ok(Some(wish));
        }
    }
    Ok(None)
}

/// Tells whether a shown folder contains what is wished for: what is in it was not looked at one by
/// one.
fn is_below(shown: &Path, wish: &str) -> bool {
    Path::new(below(wish)).starts_with(shown)
}

fn exists(plan: &Plan, path: &str) -> bool {
    plan.project.join(path).symlink_metadata().is_ok()
}

/// Returns the path in the repository's own folder that a wish about `.git` means.
pub(super) fn of_git(wish: &str) -> Option<&str> {
    below(wish).strip_prefix(".git/")
}

fn below(wish: &str) -> &str {
    wish.trim_start_matches("./").trim_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::masks::{plan, plan_repository};

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

    #[test]
    fn with_a_repository_elsewhere_a_wish_to_show_what_is_not_there_is_found_too() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        for folder in ["tree/part/keys", "main.git/objects", "main.git/refs/heads"] {
            std::fs::create_dir_all(at.join(folder)).unwrap();
        }
        for file in ["tree/.env", "tree/part/.env", "tree/part/keys/id_rsa", "main.git/notes.env"] {
            std::fs::write(at.join(file), "TOKEN=x").unwrap();
        }
        std::fs::write(at.join("main.git/HEAD"), "ref: refs/heads/main\n").unwrap();
        let secret = "[remote \"o\"]\n\turl = https://me:s3cret-of-mine@x.test/\n";
        std::fs::write(at.join("main.git/config"), secret).unwrap();
        let part = Path::new("part");
        let plans = |part: Option<&Path>, unmask: &[&str]| {
            let unmask = unmask.iter().map(|word| (*word).to_owned()).collect();
            let wishes = Wishes { unmask, ..Wishes::default() };
            let tree = part.map_or(wishes.clone(), |part| wishes.of_part(part));
            let plans = vec![
                plan(&at.join("tree"), &tree).unwrap(),
                plan_repository(&at.join("main.git"), Path::new("worktrees/tree"), &wishes).unwrap(),
            ];
            let nothing = showing_nothing_in(&plans, part, &wishes.unmask).unwrap().map(str::to_owned);
            (plans, nothing)
        };
        for (part, there) in [
            (None, "./.env"),
            (None, "part/keys"),
            (None, "id_rsa"),
            (Some(part), "./.env"),
            (Some(part), "keys"),
            (Some(part), "keys/id_rsa"),
            (None, ".git/config"),
            (Some(part), ".git/refs/heads"),
            (Some(part), "./.git/config"),
        ] {
            assert_eq!(plans(part, &[there]).1, None, "{part:?} {there}");
        }
        for (part, not_there) in [
            (None, "keys/id_rsa"),
            (None, "nowhere"),
            (None, ".git/nowhere"),
            (None, "config/.git"),
            (Some(part), "part/.env"),
            (Some(part), "*.key"),
            (Some(part), "./.git/objects/nothing"),
        ] {
            assert_eq!(plans(part, &[".env", not_there]).1.as_deref(), Some(not_there), "{part:?}");
        }
        // However it is written, it shows the repository's own file.
        for wish in [".git/config", "./.git/config"] {
            let (plans, _) = plans(Some(part), &[wish]);
            let covered = |name: &str| plans[1].covers.iter().any(|cover| cover.path == Path::new(name));
            assert!(!covered("config") && covered("notes.env"), "{wish}");
        }
    }
}
