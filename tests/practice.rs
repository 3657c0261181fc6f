//! Reports, unused rules and observed runs, as far as they need no engine.

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

/// Makes a home with a project in it.
fn home() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(dir.path().join("project")).expect("a folder");
    dir
}

/// Dry-runs an agent in the project of a home: status, stdout and stderr.
fn dry_run(home: &Path, options: &[&str]) -> (Option<i32>, String, String) {
    let words = [&["run", "--dry-run", "--project", "."][..], options, &["agent:1"]].concat();
    let mut command = without_engine(&home.join("project"), home);
    let output =
        command.args(words).env("GITLAB_TOKEN", "a-made-up-word").output().expect("the program starts");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), said(&output))
}

#[test]
fn a_project_asks_for_no_observed_run_and_can_forbid_one() {
    let dir = home();
    let observe = &["--network", "observe"][..];
    let (status, stdout, stderr) = dry_run(dir.path(), observe);
    assert_eq!((status, stdout.contains("network  observe\n")), (Some(0), true), "{stdout}{stderr}");
    for (asks, without_option, with_option) in
        [("true", "can only be `false`", ""), ("false", "", "forbids it")]
    {
        let policy = format!("version: 1\nnetwork: {{observe: {asks}}}\n");
        fs::write(dir.path().join("project/.ringfence.yml"), policy).expect("a policy");
        for (options, words) in [(&[][..], without_option), (observe, without_option.max(with_option))] {
            let (status, stdout, stderr) = dry_run(dir.path(), options);
            let expected = if words.is_empty() { Some(0) } else { Some(125) };
            assert_eq!(status, expected, "{asks} {options:?}: {stdout}{stderr}");
            assert!(stderr.contains(words) && !stdout.contains("observe"), "{asks} {options:?}: {stderr}");
        }
    }
}

#[test]
fn an_observed_run_says_what_could_leave_with_it() {
    let dir = home();
    let (_, _, plain) = dry_run(dir.path(), &["-e", "GITLAB_TOKEN"]);
    assert!(!plain.contains("observed"), "{plain}");
    let (_, _, observed) = dry_run(dir.path(), &["--network", "observe"]);
    assert!(observed.contains("this run is observed") && observed.contains("your project"), "{observed}");
    assert!(!observed.contains("DANGER"), "{observed}");
    let (_, _, at_home) = dry_run(dir.path(), &["--network", "observe", "--home", "mine"]);
    assert!(at_home.contains("DANGER: it is given the home mine with its logins"), "{at_home}");
    for more in [&[][..], &["--quiet"]] {
        let options = [&["--network", "observe", "-e", "GITLAB_TOKEN"][..], more].concat();
        let (status, _, stderr) = dry_run(dir.path(), &options);
        assert!(status == Some(0) && stderr.contains("DANGER: it is given GITLAB_TOKEN"), "{stderr}");
        assert!(!stderr.contains("a-made-up-word"), "{stderr}");
    }
}

#[test]
fn explain_and_test_know_an_observed_run() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let text = "version: 1\nnetwork: {deny: [bad.test]}\ntests: [{allow: \"https://good.test\"}, {deny: \"https://bad.test\"}]\n";
    fs::write(dir.path().join("p.yml"), text).expect("a policy");
    let explain = |target: &str, network: &str| {
        let output =
            run(dir.path(), &["policy", "explain", "--policy", "./p.yml", "--network", network, target]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (status, words) = explain("https://good.test", "observe");
    assert!(status == Some(0) && words.starts_with("allowed: good.test:443 (observed)\n"), "{words}");
    assert!(words.contains("rule: every public name (run, --network observe)"), "{words}");
    for (target, network, reason) in [
        ("https://good.test", "policy", "not-allowed"),
        ("https://good.test", "denied", "network-denied"),
        ("https://bad.test", "observe", "denied-by-rule"),
        ("wiki.internal", "observe", "not-allowed"),
        ("tcp://10.0.0.1:22", "observe", "private-address"),
    ] {
        let (status, words) = explain(target, network);
        assert!(status == Some(1) && words.contains(&format!("({reason})")), "{target} {network}: {words}");
    }
    let test =
        |network: &str| run(dir.path(), &["policy", "test", "./p.yml", "--network", network]).status.code();
    assert_eq!((test("observe"), test("policy")), (Some(0), Some(1)));
    fs::write(dir.path().join("p.yml"), "version: 1\nnetwork: {observe: false}\n").expect("a policy");
    assert_eq!(explain("https://good.test", "observe").0, Some(2));
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
