//! Tests that git reads the indexes that we write, and that we read git's.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;

fn git(at: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=A", "-c", "user.email=a@b"])
        .args(words)
        .current_dir(at)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a repository with some of everything that an index can hold.
fn repository(form: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    git(at, &["init", "--quiet", &format!("--object-format={form}"), "."]);
    for number in 0..40 {
        fs::create_dir_all(at.join(format!("d{}/long-name-{}", number % 3, "x".repeat(number)))).unwrap();
        fs::write(at.join(format!("d{}/long-name-{}/{number}", number % 3, "x".repeat(number))), "x")
            .unwrap();
    }
    std::os::unix::fs::symlink("d0", at.join("link")).unwrap();
    git(at, &["add", "."]);
    git(at, &["commit", "--quiet", "-m", "x"]);
    fs::write(at.join("new"), "x").unwrap();
    git(at, &["add", "--intent-to-add", "new"]);
    git(at, &["update-index", "--assume-unchanged", "link"]);
    git(at, &["update-index", "--skip-worktree", "d1/long-name-x/1"]);
    dir
}

/// Lists an index as git itself reads it, without stat data.
fn listed(at: &Path) -> String {
    git(at, &["ls-files", "--stage", "-v", "-f"])
}

fn index(at: &Path) -> Vec<u8> {
    fs::read(at.join(".git/index")).unwrap()
}

#[test]
fn every_form_is_read_and_written_as_git_does() {
    for form in ["sha1", "sha256"] {
        for version in ["2", "3", "4"] {
            let dir = repository(form);
            let at = dir.path();
            git(at, &["update-index", "--index-version", version]);
            git(at, &["update-index", "--force-untracked-cache"]);
            let (seen, status) = (listed(at), git(at, &["status", "--porcelain"]));
            let read = read(&index(at), form == "sha256").unwrap();
            assert!(
                read.entries.iter().any(|entry| entry.valid) && read.entries.iter().any(|entry| entry.skip)
            );
            assert!(read.entries.iter().any(|entry| entry.intent) && read.entries.len() == 42);
            fs::write(at.join(".git/index"), write(&read, form == "sha256")).unwrap();
            assert_eq!(listed(at), seen, "{form} {version}");
            assert_eq!(git(at, &["status", "--porcelain"]), status, "{form} {version}");
            git(at, &["fsck"]);
        }
    }
}

#[test]
fn a_split_index_is_joined_with_its_shared_one() {
    let dir = repository("sha1");
    let at = dir.path();
    git(at, &["config", "splitIndex.maxPercentChange", "100"]);
    git(at, &["update-index", "--split-index"]);
    fs::write(at.join("later"), "x").unwrap();
    git(at, &["add", "later"]);
    git(at, &["rm", "--quiet", "--cached", "d2/long-name-xx/2"]);
    fs::write(at.join("d0/long-name-/0"), "other").unwrap();
    git(at, &["add", "d0"]);
    let seen = listed(at);
    let split = read(&index(at), false).unwrap();
    let base = split.base.clone().expect("it is split");
    assert!(!base.gone.is_empty() && !base.replaced.is_empty(), "{base:?}");
    let shared = fs::read(at.join(format!(".git/sharedindex.{}", hex::encode(&base.name)))).unwrap();
    let whole = joined(split, read(&shared, false).unwrap()).unwrap();
    fs::write(at.join(".git/index"), write(&whole, false)).unwrap();
    assert_eq!(listed(at), seen);
}

#[test]
fn a_merge_that_is_not_finished_and_a_sparse_index_stay_what_they_are() {
    let dir = repository("sha1");
    let at = dir.path();
    git(at, &["update-index", "--no-assume-unchanged", "link"]);
    git(at, &["update-index", "--no-skip-worktree", "d1/long-name-x/1"]);
    git(at, &["rm", "--quiet", "--force", "new"]);
    for (branch, text) in [("one", "1"), ("two", "2")] {
        git(at, &["checkout", "--quiet", "-b", branch, "HEAD"]);
        fs::write(at.join("both"), text).unwrap();
        git(at, &["add", "both"]);
        git(at, &["commit", "--quiet", "-m", branch]);
        if branch == "one" {
            git(at, &["checkout", "--quiet", "HEAD~"]);
        }
    }
    let merged = Command::new("git")
        .args(["-c", "user.name=A", "-c", "user.email=a@b", "merge", "one"])
        .current_dir(at)
        .output()
        .unwrap();
    assert!(!merged.status.success());
    let (seen, status) = (listed(at), git(at, &["status", "--porcelain"]));
    assert!(status.contains("AA both"), "{status}");
    fs::write(at.join(".git/index"), write(&read(&index(at), false).unwrap(), false)).unwrap();
    assert_eq!((listed(at), git(at, &["status", "--porcelain"])), (seen, status));

    git(at, &["reset", "--quiet", "--hard", "one"]);
    git(at, &["sparse-checkout", "set", "--cone", "--sparse-index", "d0"]);
    let sparse = read(&index(at), false).unwrap();
    assert!(sparse.entries.iter().any(|entry| entry.mode == FOLDER), "{sparse:?}");
    let seen = git(at, &["ls-files", "--sparse", "--stage"]);
    fs::write(at.join(".git/index"), write(&sparse, false)).unwrap();
    assert_eq!(git(at, &["ls-files", "--sparse", "--stage"]), seen);
    assert_eq!(git(at, &["status", "--porcelain"]), "");
}

#[test]
fn what_git_might_read_otherwise_is_not_read() {
    let dir = repository("sha1");
    let good = index(dir.path());
    assert!(read(&good, false).is_some());
    for (what, bent) in [
        ("cut", good[..good.len() - 40].to_vec()),
        ("mark", [b"DIRX", &good[4..]].concat()),
        ("version", [b"DIRC\0\0\0\x05", &good[8..]].concat()),
        ("more than there are", [b"DIRC\0\0\0\x03\0\0\xff\xff", &good[12..]].concat()),
        ("other names of objects", good.clone()),
    ] {
        assert_eq!(read(&bent, what == "other names of objects"), None, "{what}");
    }
    let entry = |path: &str, stage| Entry {
        path: path.into(),
        mode: 0o100_644,
        object: vec![1; 20],
        stage,
        valid: false,
        skip: false,
        intent: false,
        stat: [0; 10],
    };
    for entries in [
        vec![entry("b", 0), entry("a", 0)],
        vec![entry("a", 0), entry("a", 0)],
        vec![entry("a", 0), entry("a", 1)],
        vec![entry("", 0)],
    ] {
        let bent = write(&Index { version: 2, entries: entries.clone(), base: None }, false);
        assert_eq!(read(&bent, false), None, "{entries:?}");
    }
    let unknown = [&good[..good.len() - 20], b"evil\0\0\0\0", &[0; 20]].concat();
    assert_eq!(read(&unknown, false), None, "what must be understood");
    let known = [&good[..good.len() - 20], b"EVIL\0\0\0\x01x", &[0; 20]].concat();
    assert_eq!(read(&known, false), read(&good, false), "what need not");
}

/// Tries a lure of version 4, in which an entry of 65 bytes can have a path of any length: a file
/// of some megabytes would fill the memory.
#[test]
fn a_small_index_does_not_stand_for_more_than_memory_holds() {
    let many = |length: usize, count: usize| {
        let mut bytes = [&b"DIRC\0\0\0\x04"[..], &u32::try_from(count).unwrap().to_be_bytes()].concat();
        for number in 0..count {
            let end = format!("{number:07}");
            let path = if number == 0 { "a".repeat(length) + &end } else { end };
            let said = u16::try_from((length + 7).min(0xfff)).unwrap();
            bytes.extend([0; 60]);
            bytes.extend(said.to_be_bytes());
            bytes.push(if number == 0 { 0 } else { 7 });
            bytes.extend(path.as_bytes());
            bytes.push(0);
        }
        bytes.extend([0; 20]);
        bytes
    };
    assert!(read(&many(100, 3), false).is_some() && read(&many(4089, 3), false).is_some());
    assert!(read(&many(4090, 3), false).is_none(), "no file has such a path");
    assert!(read(&many(4000, 140_000), false).is_none());
}

/// Makes a small index: entries in two forms, with long and equal beginnings.
fn small(version: u32) -> Vec<u8> {
    let entry = |path: &str, skip| Entry {
        path: path.into(),
        mode: 0o100_644,
        object: vec![1; 20],
        stage: 0,
        valid: skip,
        skip,
        intent: false,
        stat: [0; 10],
    };
    write(
        &Index {
            version,
            entries: vec![entry("a/b", false), entry("a/bc", true), entry("d", false)],
            base: None,
        },
        false,
    )
}

/// Feeds bytes of chance, and bent good ones. They are read in time or refused; what is read is
/// written so that it is read again as it was.
#[test]
fn fuzz_any_bytes_are_read_or_refused() {
    let words: [&[u8]; 6] = [b"DIRC", b"TREE", b"link", b"sdir", b".git/", b"\0\0\0\x01"];
    ::fuzz::run("git's index", &::fuzz::bytes([2, 3, 4].map(small).to_vec(), &words, 2000), |bytes| {
        if let Some(index) = read(&bytes.0, false)
            && index.base.is_none()
        {
            let again = read(&write(&index, false), false).expect("what is written is read");
            let plain = |index: &Index| -> Vec<Entry> {
                index.entries.iter().map(|entry| Entry { stat: [0; 10], ..entry.clone() }).collect()
            };
            assert_eq!(plain(&again), plain(&index));
        }
        Ok(())
    });
}
