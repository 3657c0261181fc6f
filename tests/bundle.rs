//! The bundle of `ringfence doctor --bundle` holds no secret, wherever one lies.

use std::fs;
use std::path::Path;
use std::process::Command;

/// A word that is planted everywhere.
const PLANTED: &str = "hunter2hunter2";

/// Runs the doctor in a home full of planted words: exit status, stdout, stderr, the bundle.
fn bundle(home: &Path, more: &[&str]) -> (Option<i32>, String, String, String) {
    let project = home.join(format!("{PLANTED}-project"));
    let file = home.join(format!("bundle{}.json", more.len()));
    let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["doctor", "--bundle", file.to_str().expect("text"), "--allow"])
        .arg(format!("allowed-{PLANTED}.example"))
        .args(more)
        .current_dir(&project)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home)
        .env("USER", "anna-planted")
        .env("API_KEY", PLANTED)
        .env("HTTPS_PROXY", format!("http://user:{PLANTED}@proxy.example:3128"))
        .env("DOCKER_HOST", format!("unix:///nonexistent/{PLANTED}.sock"))
        .output()
        .expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let written = fs::read_to_string(&file).unwrap_or_default();
    (output.status.code(), text(output.stdout), text(output.stderr), written)
}

/// Makes a home with a planted word in every file that ringfence reads.
fn home() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix(PLANTED).tempdir().expect("a temporary directory");
    let write = |below: &str, text: String| {
        let path = dir.path().join(below);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    write(
        ".config/ringfence/policy.yml",
        format!("version: 1\nnetwork: {{allow: [user-{PLANTED}.example], deny: [no-{PLANTED}.example]}}\n"),
    );
    write(&format!("{PLANTED}-project/.env"), format!("KEY={PLANTED}\n"));
    let lines = [
        format!(
            r#"{{"v":1,"seq":0,"time":"2026-11-30T09:00:00.000Z","workflow":"0000002a","kind":"lifecycle","reason":"start","version":"0.1.0","user":"{PLANTED}","image_name":"{PLANTED}","project":"/{PLANTED}","command":["{PLANTED}"]}}"#
        ),
        format!(
            r#"{{"v":1,"seq":1,"time":"2026-11-30T09:00:02.500Z","workflow":"0000002a","kind":"dns","verdict":"deny","reason":"not-allowed","host":"{PLANTED}.example"}}"#
        ),
        format!(
            r#"{{"v":1,"seq":2,"time":"2026-11-30T09:00:03.000Z","workflow":"0000002a","kind":"dns","verdict":"deny","reason":"{PLANTED}","host":"x.example"}}"#
        ),
    ];
    write(".local/state/ringfence/events/0000002a.jsonl", lines.map(|line| line + "\n").concat());
    dir
}

#[test]
fn no_planted_word_is_in_the_bundle_and_its_facts_are() {
    let home = home();
    let root = home.path().canonicalize().expect("a folder");
    let (status, printed, said, written) = bundle(&root, &[]);
    assert_eq!(status, Some(2), "no engine answers: {said}");
    assert_eq!(printed.trim_end(), root.join("bundle0.json").display().to_string());
    for word in
        [PLANTED, "anna-planted", "proxy.example", "example", &root.display().to_string(), "/nonexistent"]
    {
        assert!(!written.contains(word), "{word}: {written}");
    }
    // The controls: the log was read, and so were the layers.
    let json: serde_json::Value = serde_json::from_str(&written).expect("JSON");
    let run = &json["runs"][0];
    assert_eq!((run["id"].as_str(), run["lasted_ms"].as_u64()), (Some("0000002a"), Some(3000)), "{written}");
    assert_eq!(
        (&run["refused"]["not-allowed"], &run["refused"]["other"]),
        (&1.into(), &1.into()),
        "{written}"
    );
    assert_eq!(json["policy"]["files"][0]["name"], "policy.yml");
    assert_eq!((json["policy"]["allow"].as_u64(), json["policy"]["deny"].as_u64()), (Some(2), Some(1)));
    assert_eq!(json["doctor"].as_array().map(Vec::len), Some(10));
    assert!(
        json["state"]
            .as_array()
            .expect("folders")
            .iter()
            .any(|found| found["name"] == "events" && found["entries"] == 1)
    );
    // What is in it was said before.
    assert!(said.contains("the bundle holds:") && said.contains("It is sent nowhere"), "{said}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(root.join("bundle0.json")).expect("a file").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn names_are_added_when_asked_for_and_values_are_not() {
    let home = home();
    let root = home.path().canonicalize().expect("a folder");
    let (_, _, said, written) = bundle(&root, &["--names"]);
    assert!(written.contains("allowed-") && written.contains("evidence"), "{written}");
    assert!(said.contains("its names and rules"), "{said}");
    for word in [PLANTED, "anna-planted", &root.display().to_string()] {
        assert!(!written.contains(word), "{word}: {written}");
    }
}
