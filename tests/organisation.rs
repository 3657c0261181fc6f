//! An organisation's policy, looked at as what it is going to be: in its layer, and alone.
//!
//! ```text
//!  docs/starter/organisation-policy.yml ─┬─ as it is ────────────▶ its tests hold
//!                                        └─ a part cut out of it ─▶ a test fails
//! ```

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::path::Path;

use program::without_engine;

const STARTER: &str = include_str!("../docs/starter/organisation-policy.yml");

/// A folder with a home in which some policy is the user's and some the project's.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new(user: &str, project: &str) -> Desk {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let desk = Desk { dir };
        desk.write("home/.config/ringfence/policy.yml", user);
        desk.write("project/.ringfence.yml", project);
        desk
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// The exit status, and all that was said.
    fn ask(&self, args: &[&str]) -> (Option<i32>, String) {
        let (project, home): (&Path, &Path) =
            (&self.dir.path().join("project"), &self.dir.path().join("home"));
        let output = without_engine(project, home).args(args).output().expect("the program starts");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Tests a policy as the organisation's, alone.
    fn proven(&self, policy: &str) -> (Option<i32>, String) {
        self.write("project/organisation.yml", policy);
        self.ask(&["policy", "test", "organisation.yml", "--layer", "organisation", "--alone"])
    }
}

/// The text without a block: its key, at this depth, and all that stands deeper.
fn without(text: &str, key: &str) -> String {
    let depth = key.len() - key.trim_start().len();
    let mut inside = false;
    let kept = text.lines().filter(|line| {
        let own = line.len() - line.trim_start().len();
        if line.starts_with(key) {
            inside = true;
        } else if own <= depth {
            inside = false;
        }
        !inside
    });
    kept.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_starters_tests_fail_when_what_they_guard_is_cut_out() {
    let desk = Desk::new("version: 1\n", "version: 1\n");
    let (status, said) = desk.proven(STARTER);
    assert_eq!(status, Some(0), "{said}");
    for (key, guarded) in [("  ceiling:", "example.org"), ("  deny:", "payroll.corp.example")] {
        let cut = without(STARTER, key);
        assert_ne!(cut, STARTER, "{key}");
        let (status, said) = desk.proven(&cut);
        assert_eq!(status, Some(1), "without {key}: {said}");
        assert!(said.lines().any(|line| line.starts_with("not ok") && line.contains(guarded)), "{said}");
    }
    let wider = STARTER.replace("  ceiling:\n", "  ceiling:\n    - example.org\n");
    assert_eq!(desk.proven(&wider).0, Some(1));
    let narrower = STARTER.replace("    - gitlab.com ", "    - gitlab.test ");
    assert_eq!(desk.proven(&narrower).0, Some(1), "a name that people need is held too");
}

#[test]
fn a_policy_is_judged_in_its_own_layer_and_alone() {
    let desk = Desk::new(
        "version: 1\nnetwork: {allow: [example.org]}\n",
        "version: 1\nnetwork: {deny: [.gitlab.com]}\n",
    );
    desk.write("project/org.yml", STARTER);
    let explain = |target: &str, more: &[&str]| {
        desk.ask(&[&["policy", "explain", "--policy", "org.yml", target], more].concat())
    };
    // As the run's policy, its ceiling does not hold the user's layer.
    assert_eq!(explain("example.org", &[]).0, Some(0));
    let (status, said) = explain("example.org", &["--layer", "organisation"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("outside the organisation's ceiling"), "{said}");

    // The project in this folder denies what the policy lets people permit.
    let gitlab = ["--allow", "gitlab.com", "--layer", "organisation"];
    assert_eq!(explain("gitlab.com", &gitlab).0, Some(1));
    let alone = [&gitlab[..], &["--alone"]].concat();
    assert_eq!(explain("gitlab.com", &alone).0, Some(0));
    // A project that is named counts all the same.
    assert_eq!(explain("gitlab.com", &[&alone[..], &["--project", "."]].concat()).0, Some(1));

    let shown = desk.ask(&["policy", "show", "--policy", "org.yml", "--layer", "organisation", "--alone"]).1;
    assert!(shown.contains("# organisation, org.yml:") && !shown.contains("example.org  #"), "{shown}");
    let (status, said) = desk.ask(&["policy", "show", "--layer", "project"]);
    assert!(status == Some(125) && said.contains("`--project`"), "{said}");
    let (status, said) = desk.ask(&["policy", "show", "--project", "nowhere"]);
    assert!(status == Some(2) && said.contains("nowhere is no folder"), "{said}");
    let (status, said) = desk.ask(&["policy", "diff", "org.yml", "gitlab", "--layer", "organisation"]);
    assert!(status == Some(1) && said.contains("of the organisation's layer"), "{said}");
    assert_eq!(desk.ask(&["policy", "check", "org.yml", "--layer", "organisation"]).0, Some(0));
}

/// A person who works under the starter finds the names that the agents' pages speak of.
#[test]
fn the_starters_ceiling_holds_the_presets_of_the_agents() {
    let desk = Desk::new("version: 1\n", "version: 1\n");
    let of_all = STARTER.replace("    # - ", "    - ");
    for (text, presets) in [(STARTER, &["gitlab", "anthropic"][..]), (&of_all, &["openai", "google"])] {
        desk.write("home/.config/ringfence/policy.yml", text);
        for preset in presets {
            let (status, said) = desk.ask(&["run", "--dry-run", "--policy", preset, "image"]);
            assert!(status == Some(0) && !said.contains("outside-ceiling"), "{preset}: {said}");
        }
    }
    let narrower = without(STARTER, "    - platform.claude.com");
    desk.write("home/.config/ringfence/policy.yml", &narrower);
    let (status, said) = desk.ask(&["run", "--dry-run", "--policy", "anthropic", "image"]);
    assert!(status == Some(0) && said.contains("1 of the 3 rules of preset anthropic@1"), "{said}");
    assert!(said.contains("platform.claude.com:443"), "{said}");
}

/// The digest that `show` prints for a project is the one that its run has.
#[test]
fn a_digest_can_be_had_for_the_run_of_a_project() {
    let desk = Desk::new("version: 1\n", "version: 1\nnetwork: {deny: [here.example]}\n");
    desk.write("copy/.ringfence.yml", "version: 1\nnetwork: {deny: [there.example]}\n");
    let digest = |args: &[&str]| {
        let said = desk.ask(args).1;
        let at = said.find("sha256:").expect("a digest");
        said[at..at + 71].to_owned()
    };
    let of_run = digest(&["run", "--dry-run", "--allow", "a.example", "--project", "../copy", "image"]);
    assert_eq!(digest(&["policy", "show", "--allow", "a.example", "--project", "../copy"]), of_run);
    assert_ne!(digest(&["policy", "show", "--allow", "a.example"]), of_run);
}

#[test]
fn a_deny_test_that_cannot_fail_is_spoken_of() {
    let desk = Desk::new("version: 1\n", "version: 1\n");
    let (status, said) = desk.proven("version: 1\ntests: [{deny: a.example}]\n");
    assert!(status == Some(0) && said.contains("`never: TARGET`"), "{said}");
    let (_, said) = desk.proven("version: 1\nnetwork: {allow: [b.example]}\ntests: [{deny: a.example}]\n");
    assert!(!said.contains("never"), "{said}");
}
