//! `policy check` on every bad policy of the corpus: the status says so, and nothing panics.

#[path = "../netpolicy/tests/corpus/mod.rs"]
mod corpus;

use std::path::Path;
use std::process::{Command, Output};

use corpus::{BAD, BAD_BYTES, document, files};

fn check(dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["policy", "check", "x/p.yml"])
        .current_dir(dir)
        .env_clear()
        .env("HOME", dir)
        .output()
        .expect("the program starts")
}

fn judge(title: &str, text: &[u8]) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(dir.path().join("x")).expect("a folder");
    for (path, other) in files("version: 1\n") {
        if !path.ends_with("/p.yml") && !path.contains("..") {
            std::fs::write(dir.path().join(path), other).expect("a file");
        }
    }
    std::fs::write(dir.path().join("x/p.yml"), text).expect("a file");
    let output = check(dir.path());
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let all = format!("{title}\n{stdout}\n{stderr}");
    assert_eq!(output.status.code(), Some(1), "{all}");
    assert!(stdout.contains(": error: "), "{all}");
    assert!(!all.contains("panicked"), "{all}");
}

#[test]
fn every_bad_policy_is_refused_with_status_1() {
    for (title, text) in BAD {
        judge(title, document(text).as_bytes());
    }
    for (title, text) in BAD_BYTES {
        judge(title, text);
    }
}
