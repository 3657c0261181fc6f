//! Reports and unused rules, from logs that are on this machine.

#[path = "support/program.rs"]
mod program;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use program::without_engine;

const ID: &str = "0000002a";

/// Makes the log of one event.
fn log(event: &str) -> String {
    format!("{{\"v\":1,\"seq\":0,\"time\":\"2026-11-30T09:00:00.000Z\",\"workflow\":\"{ID}\",{event}}}\n")
}

fn run(folder: &Path, words: &[&str]) -> Output {
    without_engine(folder, folder).args(words).output().expect("the program starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_page_that_others_can_exchange_is_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("run.jsonl"), log(r#""kind":"dns","verdict":"deny","host":"a.test""#))
        .expect("a log");
    let open = dir.path().join("open");
    fs::create_dir(&open).expect("a folder");
    for (mode, told) in [(0o777, true), (0o755, false)] {
        fs::set_permissions(&open, Permissions::from_mode(mode)).expect("a mode");
        let page = open.join(format!("{mode:o}.html"));
        let output =
            run(dir.path(), &["report", "./run.jsonl", "--html", page.to_str().expect("a path of text")]);
        assert!(output.status.success() && page.exists(), "{output:?}");
        assert_eq!(said(&output).contains("can be exchanged"), told, "{}", said(&output));
    }
}

#[test]
fn a_policy_that_changed_since_the_run_is_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let policy = |text: &str| fs::write(dir.path().join("p.yml"), text).expect("a policy");
    policy("version: 1\nnetwork: {allow: [a.test]}\n");
    let shown = run(dir.path(), &["policy", "show", "--policy", "./p.yml", "--canonical"]);
    let digest = sha256(&shown.stdout);
    let state = dir.path().join(".local/state/ringfence");
    for (folder, name, text) in [
        (
            "events",
            format!("{ID}.jsonl"),
            log(&format!(r#""kind":"lifecycle","reason":"start","digest":"sha256:{digest}""#)),
        ),
        (
            "layers",
            format!("{ID}.json"),
            format!(
                r#"{{"wanted":{{"policies":["./p.yml"],"allow":[],"deny":[],"gitlab":null,"project":null,"network_denied":false}},"directory":{:?}}}"#,
                dir.path()
            ),
        ),
    ] {
        fs::create_dir_all(state.join(folder)).expect("a folder");
        fs::write(state.join(folder).join(name), text).expect("a record");
    }
    let output = run(dir.path(), &["policy", "unused", ID]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!said(&output).contains("not the one"), "{}", said(&output));
    policy("version: 1\nnetwork: {allow: [a.test, b.test]}\n");
    let output = run(dir.path(), &["policy", "unused", ID]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("b.test:443"), "{output:?}");
    assert!(said(&output).contains("not the one"), "{}", said(&output));
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
