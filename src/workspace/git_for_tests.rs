//! Runs the real git in tests, under a fixed name and without the configuration of the account that
//! runs the tests.

use std::path::Path;
use std::process::Command;

/// Makes `git WORDS` in a folder.
pub(crate) fn command(at: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .args(["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "protocol.file.allow=always"])
        .args(words)
        .current_dir(at)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

/// Runs it; it must succeed. Returns what it printed.
pub(crate) fn git(at: &Path, words: &[&str]) -> String {
    String::from_utf8(bytes(at, words)).unwrap()
}

/// Runs it; it must succeed. Returns what it printed, whatever bytes these are.
pub(crate) fn bytes(at: &Path, words: &[&str]) -> Vec<u8> {
    let done = command(at, words).output().unwrap();
    assert!(done.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}
