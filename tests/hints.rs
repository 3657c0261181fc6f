//! Small mistakes around policies and logs: what is said names the way out.

#[path = "support/program.rs"]
mod program;

use std::fs;

use program::without_engine;

/// Runs a command beside some files; the status and all that was said.
fn ask(files: &[(&str, &str)], line: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    let words: Vec<&str> = line.split(' ').collect();
    let output = without_engine(dir.path(), dir.path()).args(words).output().expect("the program starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

const EMPTY: &str = "version: 1\n";

#[test]
fn a_file_that_is_taken_for_a_preset_is_pointed_at() {
    for line in ["policy check x", "policy show --policy x", "policy diff x x", "policy test x"] {
        let (status, said) = ask(&[("x", EMPTY)], line);
        assert!(status == Some(2) && said.contains("`x` is a file here: write `./x`"), "{line}: {said}");
        assert!(!said.contains("give a file by a path with its extension"), "{line}: {said}");
        let (_, said) = ask(&[], line);
        assert!(!said.contains("is a file here"), "{line}: {said}");
    }
    assert_eq!(ask(&[("x", EMPTY)], "policy check ./x").0, Some(0));
}

#[test]
fn a_folder_is_no_policy_and_standard_input_is_none() {
    let (status, said) = ask(&[("dir/x", EMPTY)], "policy check ./dir");
    assert!(status == Some(2) && said.contains("name a regular file"), "{said}");
    assert!(!said.contains("standard input"), "{said}");
}

/// Without an approval a project's rules count for nothing, which is no fault of theirs. Some count
/// for nothing with one too.
#[test]
fn what_no_approval_covers_is_told_by_check() {
    let beyond = "version: 1\nnetwork: {allow: [a.example, {host: b.example, private: [10.1.0.0/16]}]}\n";
    let (status, said) = ask(&[(".ringfence.yml", beyond)], "policy check .ringfence.yml");
    assert!(status == Some(0) && said.contains("[needs-ceiling]") && said.contains("b.example"), "{said}");
    let plain = "version: 1\nnetwork: {allow: [a.example]}\n";
    let (_, said) = ask(&[(".ringfence.yml", plain)], "policy check .ringfence.yml");
    assert!(said.contains("0 warnings"), "{said}");
}

#[test]
fn a_private_range_is_warned_of_in_one_voice() {
    let range = "version: 1\nnetwork: {allow: [{cidr: 10.0.0.1/32, ports: [22]}]}\n";
    let (_, said) = ask(&[("p.yml", range)], "policy check p.yml");
    assert!(said.contains("unless the rule names it as `private`"), "{said}");
    assert!(!said.contains("whatever a policy says"), "{said}");
}

#[test]
fn a_wildcard_that_no_policy_may_hold_is_not_proposed() {
    let (status, said) = ask(&[("log.jsonl", "")], "policy learn log.jsonl --wildcard *.com");
    assert!(status == Some(125) && said.contains("*.com"), "{said}");
}

#[test]
fn the_agents_own_loopback_is_explained() {
    for target in ["localhost:3000", "tcp://127.0.0.1:3000"] {
        let (status, said) = ask(&[], &format!("policy explain {target}"));
        assert!(status == Some(1) && said.contains("the agent's own loopback"), "{said}");
    }
    let (_, said) = ask(&[], "policy explain host.docker.internal:3000");
    assert!(!said.contains("the agent's own loopback"), "{said}");
}

#[test]
fn nothing_is_not_approved() {
    let config = "image: nowhere.example/agent:1\nsetup_script: make\n";
    let files = [(".gitlab/duo/agent-config.yml", config)];
    let (status, said) = ask(&files, "trust . --yes");
    assert!(status == Some(125) && said.contains("nothing was approved"), "{said}");
    assert!(said.contains("agent-config.yml") && !said.contains(".ringfence.yml"), "{said}");
}

#[test]
fn rules_that_were_needed_are_told_without_a_double_negative() {
    const LOG: &str = r#"{"v":1,"seq":0,"time":"2026-11-30T00:00:00.000Z","workflow":"0000002a","kind":"lifecycle","reason":"start"}"#;
    let policy = "version: 1\nnetwork: {allow: [a.example]}\n";
    let (status, said) =
        ask(&[("log.jsonl", LOG), ("p.yml", policy)], "policy unused log.jsonl --policy p.yml");
    assert!(status == Some(1) && said.contains("1 of 1 rules was not needed"), "{said}");
}

#[test]
fn a_changed_limit_is_told_as_policies_write_it() {
    let old = "version: 1\ncontainer: {memory: 4GiB, time: 90m, cpus: 1.5}\n";
    let new = "version: 1\ncontainer: {memory: 8GiB, time: 10h, cpus: 4}\n";
    let (_, said) = ask(&[("old.yml", old), ("new.yml", new)], "policy diff old.yml new.yml");
    for words in ["memory: 4GiB → 8GiB", "time: 90m → 10h", "cpus: 1.5 → 4"] {
        assert!(said.contains(words), "{said}");
    }
}
