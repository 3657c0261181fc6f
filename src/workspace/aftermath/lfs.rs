//! The values and hooks that `git lfs install` writes: they start git-lfs from where the person has
//! it, and nothing else.
//!
//! Only the very texts count. A value or a hook that is another by one byte is put back or aside
//! like any other.

use std::ffi::OsStr;
use std::path::Path;

/// Hooks that git-lfs installs.
const HOOKS: [&str; 4] = ["pre-push", "post-checkout", "post-commit", "post-merge"];
/// Keys of `filter.lfs` with their values, as `git lfs install` and `git lfs install --skip-smudge`
/// write them.
const VALUES: [(&str, &str); 6] = [
    ("clean", "git-lfs clean -- %f"),
    ("smudge", "git-lfs smudge -- %f"),
    ("smudge", "git-lfs smudge --skip -- %f"),
    ("process", "git-lfs filter-process"),
    ("process", "git-lfs filter-process --skip"),
    ("required", "true"),
];
/// Ways in which versions of git-lfs print the complaint of a hook, around its text.
const PRINTED: [(&str, &str); 2] = [("echo >&2 \"\\n", "\\n\""), ("printf >&2 \"\\n%s\\n\\n\" \"", "\"")];
/// Words by which versions of git-lfs call the file of a hook; `HOOK` is its name.
const CALLED: [&str; 3] = [
    ".git/hooks/HOOK",
    "'.git/hooks/HOOK'",
    "the 'HOOK' file in the hooks directory (set by 'core.hookspath'; usually '.git/hooks')",
];
const COMPLAINT: &str = "This repository is configured for Git LFS but 'git-lfs' was not found on your path. \
                         If you no longer wish to use Git LFS, remove this hook by deleting";

/// Tells whether git-lfs writes this value of `filter.lfs.KEY`.
pub(super) fn is_value(key: &[u8], value: &str) -> bool {
    VALUES.iter().any(|(known, text)| known.as_bytes() == key && *text == value)
}

/// Tells whether a file below a repository's own folder is a hook just as git-lfs writes it.
pub(super) fn is_hook(path: &Path, text: &[u8]) -> bool {
    let in_hooks = path.parent().is_some_and(|folder| folder.ends_with("hooks"));
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    in_hooks && HOOKS.contains(&name) && texts(name).any(|known| known.as_bytes() == text)
}

/// Returns the texts that a hook has in versions of git-lfs since 2.0.
fn texts(hook: &str) -> impl Iterator<Item = String> + '_ {
    let called = CALLED.iter().map(move |called| called.replace("HOOK", hook));
    called.flat_map(move |called| {
        PRINTED.map(|(before, after)| {
            format!(
                "#!/bin/sh\ncommand -v git-lfs >/dev/null 2>&1 || {{ {before}{COMPLAINT} {called}.{after}; exit 2; }}\ngit lfs {hook} \"$@\"\n"
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hook as git-lfs 3.3.0 writes it.
    const PRE_PUSH: &str = "#!/bin/sh\ncommand -v git-lfs >/dev/null 2>&1 || { echo >&2 \"\\nThis repository is configured for Git LFS but 'git-lfs' was not found on your path. If you no longer wish to use Git LFS, remove this hook by deleting '.git/hooks/pre-push'.\\n\"; exit 2; }\ngit lfs pre-push \"$@\"\n";

    #[test]
    fn a_hook_of_git_lfs_is_known_and_one_that_differs_in_a_byte_is_not() {
        let is = |path: &str, text: &str| is_hook(Path::new(path), text.as_bytes());
        assert!(is(".git/hooks/pre-push", PRE_PUSH));
        let printed = "#!/bin/sh\ncommand -v git-lfs >/dev/null 2>&1 || { printf >&2 \"\\n%s\\n\\n\" \"This repository is configured for Git LFS but 'git-lfs' was not found on your path. If you no longer wish to use Git LFS, remove this hook by deleting the 'post-merge' file in the hooks directory (set by 'core.hookspath'; usually '.git/hooks').\"; exit 2; }\ngit lfs post-merge \"$@\"\n";
        assert!(is(".git/modules/x/hooks/post-merge", printed));
        for (path, text) in [
            (".git/hooks/post-commit", PRE_PUSH.to_owned()),
            (".git/hooks/pre-commit", PRE_PUSH.replace("pre-push", "pre-commit")),
            (".git/elsewhere/pre-push", PRE_PUSH.to_owned()),
            (".git/hooks/pre-push", format!("{PRE_PUSH}touch x\n")),
            (".git/hooks/pre-push", PRE_PUSH.trim_end().to_owned()),
            (".git/hooks/pre-push", PRE_PUSH.replace("#!/bin/sh", "#!./evil")),
            (".git/hooks/pre-push", PRE_PUSH.replace("git lfs", "git LFS")),
        ] {
            assert!(!is(path, &text), "{path}: {text}");
        }
    }

    #[test]
    fn a_value_of_git_lfs_is_known_under_its_own_key_alone() {
        for (key, value, expected) in [
            ("process", "git-lfs filter-process", true),
            ("process", "git-lfs filter-process --skip", true),
            ("required", "true", true),
            ("clean", "git-lfs clean -- %f", true),
            ("clean", "git-lfs smudge -- %f", false),
            ("process", "git-lfs filter-process; evil", false),
            ("process", "./git-lfs filter-process", false),
            ("required", "false", false),
            ("other", "true", false),
        ] {
            assert_eq!(is_value(key.as_bytes(), value), expected, "{key} = {value}");
        }
    }
}
