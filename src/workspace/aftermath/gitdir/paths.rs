//! Paths that git may write in a working tree: none that is, or that some file system takes for, a
//! part of a repository's own folder.
//!
//! git itself checks what it adds to an index, and not what it reads from one. So an index written
//! by hand can name `.git/hooks/post-checkout`, and `git restore .` writes it.

/// Letters that HFS+ passes over in a name.
const IGNORED: [(u32, u32); 4] = [(0x200c, 0x200f), (0x202a, 0x202e), (0x206a, 0x206f), (0xfeff, 0xfeff)];

/// Tells whether git may write a path below a working tree. `is_link` says that the entry is a
/// symbolic link.
pub(crate) fn is_good(path: &[u8], is_link: bool) -> bool {
    let good = |part: &[u8]| {
        !part.is_empty()
            && part != b"."
            && part != b".."
            // To Windows both separate.
            && part.split(|byte| *byte == b'\\').all(|part| !is_dot_git(part))
            && !(is_link && is_read_by_git(part))
    };
    !path.is_empty() && !path.contains(&0) && path.split(|byte| *byte == b'/').all(good)
}

/// Tells whether some file system takes a name for `.git`.
fn is_dot_git(name: &[u8]) -> bool {
    let plain = plain(name);
    plain == ".git" || plain == "git~1"
}

/// Tells whether a name is `.gitmodules` to some file system. Git reads submodules' places from
/// that file, so it must be no link; git follows no link at its other files.
fn is_read_by_git(name: &[u8]) -> bool {
    let plain = plain(name);
    let short = |start: &str| {
        plain
            .strip_prefix(start)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    plain == ".gitmodules" || short("gitmod~")
}

/// Returns a name as file systems compare it: without case, without letters that HFS+ ignores, and
/// without the ends that NTFS cuts off.
fn plain(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let seen = text.chars().filter(|c| {
        let code = u32::from(*c);
        !IGNORED.iter().any(|(first, last)| (*first..=*last).contains(&code))
    });
    let lower: String = seen.flat_map(char::to_lowercase).collect();
    // `.git::$INDEX_ALLOCATION` is the folder itself.
    let before_stream = lower.split(':').next().unwrap_or_default();
    before_stream.trim_end_matches([' ', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_any_file_system_takes_for_git_is_no_path() {
        for bad in [
            "",
            "/etc/passwd",
            "a//b",
            "a/",
            "./a",
            "a/.",
            "..",
            "../a",
            "a/../b",
            ".git",
            ".git/hooks/post-checkout",
            "sub/.git/config",
            ".GIT/config",
            ".Git/config",
            "git~1/config",
            "GIT~1/config",
            ".git /config",
            ".git./config",
            ".git. . /config",
            ".git::$INDEX_ALLOCATION/config",
            ".git:x",
            ".g\u{200c}it/config",
            "\u{feff}.git/config",
            ".GI\u{200d}T/config",
            "a\\.git\\config",
            "..git\\..\\.git",
        ] {
            assert!(!is_good(bad.as_bytes(), false), "{bad:?}");
        }
        for good in [
            "a",
            "a/b",
            ".gitignore",
            ".gitmodules",
            ".github/x",
            "git",
            "x.git/config",
            "git~2",
            "a\\b",
            "...",
            ".gitx",
            "a:b",
            "dir/..x",
        ] {
            assert!(is_good(good.as_bytes(), false), "{good:?}");
        }
        assert!(is_good(b"\xff\xfe", false) && !is_good(b"a\0b", false));
        for bad in [".gitmodules", "a/.GITMODULES", "gitmod~1"] {
            assert!(!is_good(bad.as_bytes(), true), "{bad}");
        }
        assert!(is_good(b".gitignore", true) && is_good(b"gitmod", true) && is_good(b"gitmod~x", true));
    }

    #[test]
    fn git_itself_refuses_to_add_what_is_no_path_here() {
        use std::process::Command;
        let dir = tempfile::tempdir().unwrap();
        let git = |words: &[&str]| {
            let mut git = Command::new("git");
            git.args(["-c", "core.protectHFS=true", "-c", "core.protectNTFS=true"]).args(words);
            git.current_dir(dir.path()).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
            git.output().unwrap().status.success()
        };
        assert!(git(&["init", "--quiet"]));
        let empty = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
        for path in [
            ".git/x",
            "a/.GIT/x",
            "git~1/x",
            ".git /x",
            ".g\u{200c}it/x",
            "../x",
            "a//b",
            ".git::$INDEX_ALLOCATION/x",
            "a/../b",
            "./a",
        ] {
            let entry = format!("100644,{empty},{path}");
            assert!(!git(&["update-index", "--add", "--info-only", "--cacheinfo", &entry]), "{path}");
        }
        for path in ["x", "a/b", ".github/x", "a\\b"] {
            let entry = format!("100644,{empty},{path}");
            assert!(git(&["update-index", "--add", "--info-only", "--cacheinfo", &entry]), "{path}");
        }
    }
}
