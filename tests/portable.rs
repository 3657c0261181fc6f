//! Things that only Linux has stay with fence and guard: everywhere else a file must build on
//! macOS, or say that an item is Linux's. (`.ci/run` checks the types for macOS too, where the
//! target is installed; this says at once which line is to blame.)

#[path = "support/sources.rs"]
mod sources;

use std::path::{Path, PathBuf};

use self::sources::{root, sources};

/// Crates, modules and names that are nowhere else. `/proc` is a path like others: who reads it
/// lives with its absence.
const LINUX_ALONE: [&str; 15] = [
    "caps::",
    "netlink_packet",
    "nix::mount",
    "nix::sched",
    "use object::",
    "std::os::linux",
    "std::os::android",
    "openat2",
    "ResolveFlags",
    "OFlags::PATH",
    "OFlags::TMPFILE",
    "/proc/self/fd",
    "eventfd",
    "rustix::pipe::splice",
    "crate::inside",
];
const GUARDED: &str = "#[cfg(target_os = \"linux\")]";
/// Files that are Linux's as a whole, where their module is declared.
const ITS_OWN: [&str; 4] = [
    "src/inside",
    "src/host/netlink.rs",
    "src/supervisor/helper_image/assemble.rs",
    "src/supervisor/helper_image/system.rs",
];

/// The lines of a file that use such a thing in an item which is not marked.
fn unmarked(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let (mut announced, mut marked, mut before) = (false, false, "");
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with("#[cfg(test)]") {
            break;
        }
        let starts_an_item = line.starts_with(|c: char| c.is_ascii_alphabetic());
        if line == GUARDED {
            announced = true;
        } else if starts_an_item {
            (marked, announced) = (announced, false);
        }
        let said = line.trim_start().starts_with("//");
        if !said && !marked && before.trim() != GUARDED && LINUX_ALONE.iter().any(|name| line.contains(name))
        {
            found.push((number, line.to_owned()));
        }
        before = line;
    }
    found
}

/// Lists the sources that both systems compile; tests in files of their own are left out.
fn shared_sources() -> Vec<PathBuf> {
    let is_own = |file: &Path| {
        let within = file.strip_prefix(root()).expect("below the root");
        ITS_OWN.iter().any(|own| within.starts_with(own))
    };
    let is_test =
        |file: &Path| file.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"));
    let files = sources(root().join("src")).into_iter();
    files.filter(|file| !is_own(file) && !is_test(file)).collect()
}

#[test]
fn what_only_linux_has_stays_with_fence_and_guard() {
    let sources = shared_sources();
    assert!(sources.len() > 100, "only {} files were found", sources.len());
    for own in ITS_OWN {
        assert!(root().join(own).exists(), "{own} is no more");
    }
    let all: Vec<String> = sources
        .iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).expect("a source file");
            let lines = unmarked(&text).into_iter();
            lines.map(|(number, line)| format!("{}:{number}: {line}", path.display())).collect::<Vec<_>>()
        })
        .collect();
    assert!(all.is_empty(), "not marked as Linux's:\n{}", all.join("\n"));
}

#[test]
fn an_unmarked_use_is_found() {
    let marked = "#[cfg(target_os = \"linux\")]\nfn f() {\n    crate::inside::hold();\n}\n";
    assert!(unmarked(marked).is_empty());
    assert_eq!(unmarked("fn f() {\n    crate::inside::hold();\n}\n").len(), 1);
    assert_eq!(unmarked(&format!("{marked}fn g() {{\n    crate::inside::run();\n}}\n")).len(), 1);
    assert_eq!(unmarked("use caps::CapSet;\n").len(), 1);
}
