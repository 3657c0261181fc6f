//! Whole outcomes of the program (exit status, stdout, stderr) where no engine is needed.

use std::path::Path;
use std::process::Command;

/// Runs `ringfence` in `dir` with an environment of its own and no engine; the outcome as text.
fn ringfence(dir: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", dir)
        .env("DOCKER_HOST", "unix:///nonexistent/engine.sock")
        .output()
        .expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&dir.display().to_string(), "DIR");
    format!(
        "exit: {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().map_or("signal".to_owned(), |code| code.to_string()),
        text(&output.stdout),
        text(&output.stderr)
    )
}

fn with_files(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).expect("a file");
    }
    dir
}

#[test]
fn without_an_engine_everything_tried_is_told() {
    let dir = with_files(&[]);
    insta::assert_snapshot!(ringfence(dir.path(), &["run", "--allow", "gitlab.com", "image", "true"]));
}

#[test]
fn an_unknown_key_is_told_before_the_engine_is_asked() {
    let dir = with_files(&[("p.yml", "version: 1\nnetwork:\n  alow:\n    - gitlab.com\n")]);
    insta::assert_snapshot!(ringfence(dir.path(), &["run", "--policy", "p.yml", "image", "true"]));
}

#[test]
fn bad_yaml_is_told_with_its_place() {
    let dir = with_files(&[("p.yml", "version: 1\nnetwork: [unclosed\n")]);
    insta::assert_snapshot!(ringfence(dir.path(), &["run", "--policy", "p.yml", "image", "true"]));
}

#[test]
fn a_policy_that_extends_itself_is_refused() {
    let dir = with_files(&[("p.yml", "version: 1\nextends: [./p.yml]\n")]);
    insta::assert_snapshot!(ringfence(dir.path(), &["run", "--policy", "p.yml", "image", "true"]));
}

#[test]
fn a_policy_that_is_not_there_is_refused() {
    let dir = with_files(&[]);
    insta::assert_snapshot!(ringfence(dir.path(), &["run", "--policy", "./p.yml", "image", "true"]));
}

#[test]
fn a_project_that_is_not_there_is_refused() {
    let dir = with_files(&[]);
    insta::assert_snapshot!(ringfence(dir.path(), &["run", "--project", "nowhere", "image", "true"]));
}

#[test]
fn a_system_directory_is_no_project() {
    let dir = with_files(&[]);
    insta::assert_snapshot!(ringfence(dir.path(), &["run", "--project", "/etc", "image", "true"]));
}

#[test]
fn wrong_usage_ends_with_125_as_docker_does() {
    let dir = with_files(&[]);
    let outcome = ringfence(dir.path(), &["run", "--no-such-option"]);
    assert!(outcome.starts_with("exit: 125\n--- stdout\n--- stderr\n"), "{outcome}");
}

#[test]
fn explain_names_rule_file_and_line() {
    let dir = with_files(&[(
        "p.yml",
        "version: 1\nnetwork:\n  allow:\n    - gitlab.com\n  deny:\n    - api.gitlab.com\n",
    )]);
    let explain = |target| ringfence(dir.path(), &["policy", "explain", target, "--policy", "p.yml"]);
    insta::assert_snapshot!("explain_allowed", explain("https://gitlab.com/x"));
    insta::assert_snapshot!("explain_other_port", explain("gitlab.com:8443"));
    insta::assert_snapshot!("explain_denied", explain("api.gitlab.com"));
    insta::assert_snapshot!("explain_bad_input", explain("gitlab.com:443:443"));
    insta::assert_snapshot!(
        "explain_json",
        ringfence(dir.path(), &["policy", "explain", "gitlab.com", "--policy", "p.yml", "--json"])
    );
}

#[test]
fn check_tells_all_errors_at_once() {
    let dir = with_files(&[(
        "p.yml",
        "version: 1\nnetwork:\n  allow:\n    - '*.com'\n    - http://x.test\n    - 1.2.3.4\n    - x.test:0\n",
    )]);
    insta::assert_snapshot!(ringfence(dir.path(), &["policy", "check", "p.yml"]));
}
