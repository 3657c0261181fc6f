//! Whole outcomes of policies in layers: the user's file, the run's options, the project's own
//! policy and its approval.

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use program::without_engine;

/// A home and a project of somebody; the project is the current directory of every command.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new(user: Option<&str>, project: Option<&str>) -> Place {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        let place = Place { dir };
        place.make("project");
        if let Some(text) = user {
            place.write("home/.config/ringfence/policy.yml", text);
        }
        if let Some(text) = project {
            place.write("project/.ringfence.yml", text);
        }
        place
    }

    fn make(&self, folder: &str) {
        fs::create_dir_all(self.dir.path().join(folder)).expect("a folder");
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).expect("a folder");
        }
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path)
    }

    /// The outcome as text, digests and the folder replaced.
    fn ringfence(&self, args: &[&str]) -> String {
        let mut command = without_engine(&self.path("project"), &self.path("home"));
        let output = command.args(args).output().expect("the program starts");
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).replace(&self.dir.path().display().to_string(), "DIR");
            without_digests(&text)
        };
        format!(
            "exit: {}\n--- stdout\n{}--- stderr\n{}",
            output.status.code().map_or("signal".to_owned(), |code| code.to_string()),
            text(&output.stdout),
            text(&output.stderr)
        )
    }
}

fn without_digests(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push_str("sha256:DIGEST");
        shown.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    shown
}

const USER: &str = r#"version: 1
network:
  allow: [gitlab.com, {host: gitlab.corp.example, private: [10.20.0.0/16], reason: ours}]
  deny: [.pastebin.com]
  ceiling: [.gitlab.com, "*.corp.example", {host: registry.example, ports: [443, 5000]}]
container: {memory: 2GiB}
"#;
const PROJECT: &str = r#"version: 1
network:
  allow: [api.gitlab.com, registry.example:5000, elsewhere.example, {host: db.corp.example, private: [10.20.0.0/16]}]
  deny: [secret.gitlab.com]
container: {memory: 1GiB}
tests:
  - allow: https://api.gitlab.com/
  - deny: https://elsewhere.example/
"#;

#[test]
fn all_layers_together() {
    let place = Place::new(Some(USER), Some(PROJECT));
    insta::assert_snapshot!(place.ringfence(&[
        "policy",
        "show",
        "--allow",
        "www.gitlab.com",
        "--deny",
        "10.0.0.0/8"
    ]));
}

#[test]
fn a_project_is_held_by_the_ceiling() {
    let place = Place::new(Some(USER), Some(PROJECT));
    let explain = |target: &str| place.ringfence(&["policy", "explain", target]);
    insta::assert_snapshot!("explain_inside_the_ceiling", explain("api.gitlab.com"));
    insta::assert_snapshot!("explain_outside_the_ceiling", explain("elsewhere.example"));
    insta::assert_snapshot!("explain_a_project_denial", explain("secret.gitlab.com"));
    // `private` is the ceiling's to give.
    assert!(explain("tcp://10.20.0.1:443").starts_with("exit: 1"));
}

#[test]
fn a_policys_own_tests() {
    let place = Place::new(Some(USER), Some(PROJECT));
    insta::assert_snapshot!("tests_hold", place.ringfence(&["policy", "test"]));
    place.write(
        "project/more.yml",
        "version: 1\ntests: [{allow: elsewhere.example}, {deny: gitlab.com}, {deny: udp://a.example:53}]\n",
    );
    let junit = place.path("junit.xml");
    let args = ["policy", "test", "more.yml", "--junit", junit.to_str().expect("text")];
    insta::assert_snapshot!("tests_fail", place.ringfence(&args));
    let xml = fs::read_to_string(junit).expect("JUnit XML");
    assert!(
        xml.contains(r#"tests="5""#) && xml.contains(r#"failures="2""#) && xml.contains("deny: gitlab.com"),
        "{xml}"
    );
    let nothing = Place::new(None, None);
    insta::assert_snapshot!("no_tests", nothing.ringfence(&["policy", "test"]));
}

#[test]
fn an_approval_pins_what_was_approved() {
    let first = "version: 1\nextends: [./more.yml]\nnetwork: {allow: [a.example, {host: b.example, private: [10.0.0.0/16]}]}\n";
    let place = Place::new(None, Some(first));
    place.write("project/more.yml", "version: 1\nnetwork: {allow: [c.example]}\n");
    let explain = |target: &str| place.ringfence(&["policy", "explain", target]);
    insta::assert_snapshot!("not_approved_yet", explain("a.example"));
    insta::assert_snapshot!("nobody_to_ask", place.ringfence(&["trust"]));
    assert!(explain("a.example").starts_with("exit: 1"));
    insta::assert_snapshot!("approved", place.ringfence(&["trust", "--yes"]));
    insta::assert_snapshot!("counts_now", explain("a.example"));
    assert!(explain("c.example").starts_with("exit: 0"));
    // An approval covers names, not ways into private networks.
    insta::assert_snapshot!("beyond_trust", explain("b.example"));
    assert!(place.ringfence(&["trust", "--yes"]).contains("is approved as it is"));

    // A change anywhere in the closure ends it.
    place.write("project/more.yml", "version: 1\nnetwork: {allow: [d.example]}\n");
    assert!(explain("a.example").starts_with("exit: 1"));
    insta::assert_snapshot!("what_changed", place.ringfence(&["trust"]));
    assert!(place.ringfence(&["trust", "--yes"]).starts_with("exit: 0"));
    assert!(explain("d.example").starts_with("exit: 0"));
    assert!(place.ringfence(&["trust", "--revoke"]).starts_with("exit: 0"));
    assert!(explain("d.example").starts_with("exit: 1"));
}

#[test]
fn approvals_are_listed_with_what_became_of_them() {
    let place = Place::new(None, Some("version: 1\nnetwork: {allow: [a.example]}\n"));
    let mut all = place.ringfence(&["trust", "--list"]);
    place.ringfence(&["trust", "--yes"]);
    place.make("other");
    place.write("other/.ringfence.yml", "version: 1\nnetwork: {allow: [b.example]}\n");
    place.ringfence(&["trust", "--yes", "../other"]);
    place.make("third");
    place.write("third/.ringfence.yml", "version: 1\nnetwork: {allow: [c.example]}\n");
    place.ringfence(&["trust", "--yes", "../third"]);
    all += &place.ringfence(&["trust", "--list"]);
    place.write("other/.ringfence.yml", "version: 1\nnetwork: {allow: [evil.example]}\n");
    fs::remove_dir_all(place.path("third")).expect("removed");
    all += &place.ringfence(&["trust", "--list", "--json"]);
    insta::assert_snapshot!(all);
}

#[test]
fn a_test_names_the_rule_of_the_command_line_that_decided() {
    let place = Place::new(None, Some("version: 1\ntests: [{deny: a.example}]\n"));
    insta::assert_snapshot!(place.ringfence(&["policy", "test", "--allow", "a.example"]));
}

#[test]
fn what_a_project_may_not_hold() {
    let project = "version: 1\nextends: [../outside.yml]\nnetwork:\n  allow: [{host: host.docker.internal, ports: [3000], host-access: true}]\n  ceiling: []\n  dns: {upstreams: [10.0.0.53]}\n  proxy: http://p.example:1\nengine: {require: [vm]}\ncontainer: {runtime: runsc, cpus: 1}\n";
    let place = Place::new(None, Some(project));
    insta::assert_snapshot!(place.ringfence(&["policy", "explain", "a.example"]));
}

#[test]
fn a_projects_policy_is_checked_as_one() {
    let place = Place::new(None, Some("version: 1\nnetwork: {allow: [a.example], ceiling: []}\n"));
    insta::assert_snapshot!("checked_as_a_project", place.ringfence(&["policy", "check", ".ringfence.yml"]));
    place.write("project/.ringfence.yml", "version: 1\nnetwork: {allow: [a.example]}\n");
    insta::assert_snapshot!(
        "good_as_a_project",
        place.ringfence(&["policy", "check", ".ringfence.yml", "--json"])
    );
}

#[test]
fn a_link_out_of_the_project_is_refused() {
    let place = Place::new(None, None);
    place.write("outside.yml", "version: 1\n");
    std::os::unix::fs::symlink(place.path("outside.yml"), place.path("project/.ringfence.yml"))
        .expect("a link");
    insta::assert_snapshot!(place.ringfence(&["policy", "show"]));
}

#[test]
fn a_users_file_that_others_can_write_is_refused() {
    let place = Place::new(Some("version: 1\nnetwork: {deny: [a.example]}\n"), None);
    let path = place.path("home/.config/ringfence/policy.yml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("a mode");
    insta::assert_snapshot!(
        "others_can_write",
        place.ringfence(&["run", "--allow", "a.example", "image", "true"])
    );
    fs::rename(&path, path.with_extension("yaml")).expect("renamed");
    insta::assert_snapshot!(
        "the_other_extension",
        place.ringfence(&["run", "--allow", "a.example", "image", "true"])
    );
}

#[test]
fn what_the_strongest_layer_sets_stays_set() {
    let place = Place::new(
        Some("version: 1\nnetwork: {dns: {upstreams: [10.0.0.53]}}\ncontainer: {ca: system}\n"),
        None,
    );
    place.write(
        "project/p.yml",
        "version: 1\nnetwork: {dns: {upstreams: [10.0.0.54]}}\ncontainer: {ca: /etc/ca.pem}\n",
    );
    insta::assert_snapshot!(place.ringfence(&["policy", "show", "--policy", "p.yml"]));
}

#[test]
fn a_run_wants_the_policy_that_was_agreed_on() {
    let place = Place::new(Some("version: 1\nnetwork: {allow: [a.example]}\n"), None);
    let none = place.ringfence(&["run", "--expect-digest", "sha256:00", "image", "true"]);
    assert!(none.contains("a digest has 64 hexadecimal digits"), "{none}");
    let other = format!("sha256:{}", "00".repeat(32));
    let wrong = place.ringfence(&["run", "--expect-digest", &other, "image", "true"]);
    insta::assert_snapshot!("another_digest", wrong);
    let shown = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["policy", "show", "--json"])
        .current_dir(place.path("project"))
        .env_clear()
        .env("HOME", place.path("home"))
        .output()
        .expect("the program starts");
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    let digest = shown["digest"].as_str().expect("a digest");
    // The right digest goes on to the engine, which is not there.
    let right = place.ringfence(&["run", "--expect-digest", digest, "image", "true"]);
    assert!(right.contains("no container engine answers"), "{right}");
    // The canonical text is what is digested.
    let canonical = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["policy", "show", "--canonical"])
        .current_dir(place.path("project"))
        .env_clear()
        .env("HOME", place.path("home"))
        .output()
        .expect("the program starts");
    assert_eq!(digest_of(&canonical.stdout, place.dir.path()), digest);
}

/// By the system's own tool, not by our code.
fn digest_of(text: &[u8], dir: &Path) -> String {
    let file = dir.join("canonical");
    fs::write(&file, text).expect("a file");
    let output = Command::new("sha256sum").arg(file).output().expect("sha256sum");
    let line = String::from_utf8(output.stdout).expect("text");
    format!("sha256:{}", line.split(' ').next().unwrap_or_default())
}

#[test]
fn a_run_needs_layers_that_can_be_read() {
    let place = Place::new(None, Some("version: 1\nnetwork: [\n"));
    let project = place.path("project");
    let args = ["run", "--project", project.to_str().expect("text"), "--allow", "a.example", "image", "true"];
    insta::assert_snapshot!(place.ringfence(&args));
}

#[test]
fn explain_says_whether_a_ceiling_leaves_room() {
    let ceiling =
        "version: 1\nnetwork:\n  ceiling:\n    - .gitlab.com\n    - {cidr: 198.51.100.0/24, ports: [22]}\n";
    let (held, free) = (Place::new(Some(ceiling), None), Place::new(None, None));
    let explain = |place: &Place, target: &str| place.ringfence(&["policy", "explain", target]);
    insta::assert_snapshot!("room_under_a_ceiling", explain(&held, "gitlab.com"));
    insta::assert_snapshot!("no_room_under_a_ceiling", explain(&held, "elsewhere.example:8443"));
    insta::assert_snapshot!("room_without_a_ceiling", explain(&free, "a.example:8443"));
    insta::assert_snapshot!("room_for_an_address", explain(&free, "tcp://198.51.100.7:22"));
    insta::assert_snapshot!(
        "room_json",
        held.ringfence(&["policy", "explain", "--json", "elsewhere.example"])
    );
    let empty = Place::new(Some("version: 1\nnetwork: {ceiling: []}\n"), None);
    insta::assert_snapshot!("no_room_at_all", explain(&empty, "a.example"));
    // A ceiling in the way of a rule that is there.
    let run = ["policy", "explain", "a.example", "--allow", "a.example"];
    assert!(held.ringfence(&run).contains("no room: the user's ceiling does not contain it"));
    // What no ceiling has to do with.
    for target in ["tcp://10.0.0.1:22", "udp://a.example:53", "tcp://[2001:db8::1]:443"] {
        let told = explain(&free, target);
        assert!(told.starts_with("exit: 1") && !told.contains("room"), "{target}: {told}");
    }
    // What it says is true.
    let allowed = free.ringfence(&["policy", "explain", "a.example:8443", "--allow", "a.example:8443"]);
    assert!(allowed.starts_with("exit: 0"), "{allowed}");
}

#[test]
fn trust_approves_nothing_that_no_ceiling_lets_through() {
    let place = Place::new(Some(USER), Some(PROJECT));
    insta::assert_snapshot!("trust_under_a_ceiling", place.ringfence(&["trust", "--yes"]));
    insta::assert_snapshot!("trusted_under_a_ceiling", place.ringfence(&["trust"]));
    place.write(
        "project/.ringfence.yml",
        "version: 1\nnetwork: {allow: [gitlab.com, outside.example, \"*.registry.example\", .corp.example]}\n",
    );
    insta::assert_snapshot!("trust_again_under_a_ceiling", place.ringfence(&["trust", "--yes"]));
    place.write(
        "project/.ringfence.yml",
        "version: 1\nnetwork: {allow: [gitlab.com, .registry.example, outside.example]}\n",
    );
    place.ringfence(&["trust", "--revoke"]);
    insta::assert_snapshot!("trust_in_part", place.ringfence(&["trust", "--yes"]));
    place.write("home/.config/ringfence/policy.yml", "version: 1\nnetwork: {ceiling: []}\n");
    place.ringfence(&["trust", "--revoke"]);
    insta::assert_snapshot!("trust_under_an_empty_ceiling", place.ringfence(&["trust", "--yes"]));
}
