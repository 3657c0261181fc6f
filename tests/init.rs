//! `ringfence init` by the real program, and the files that it shares with `docs/agents`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

const AGENTS: [&str; 5] = ["claude", "codex", "gemini", "opencode", "shell"];
const POLICY: &str = ".ringfence.yml";
const DOCKERFILE: &str = "Dockerfile.ringfence";

fn ringfence(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", dir.join("home"))
        .output()
        .expect("the program starts")
}

fn talk(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn template(agent: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/agents").join(agent).join("Dockerfile");
    fs::read_to_string(path).expect("a template")
}

#[test]
fn each_page_shows_its_dockerfile_as_it_is() {
    for agent in AGENTS {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/agents").join(agent).join("README.md");
        let page = fs::read_to_string(page).expect("a page");
        let shown = format!("```dockerfile\n{}```", template(agent));
        assert!(page.contains(&shown), "docs/agents/{agent}/README.md shows another Dockerfile");
    }
}

#[test]
fn each_agent_gets_a_policy_without_a_warning_and_its_dockerfile() {
    for agent in AGENTS {
        let dir = tempfile::tempdir().expect("a folder");
        let lock = r#"{"lockfileVersion": 3, "packages": {"node_modules/a": {"version": "1.0.0", "resolved": "https://npm.corp.example/a.tgz"}}}"#;
        fs::write(dir.path().join("package-lock.json"), lock).expect("a file");
        let dry = ringfence(dir.path(), &["init", "--agent", agent, "--dry-run"]);
        assert_eq!(dry.status.code(), Some(0), "{}", talk(&dry));
        assert!(!dir.path().join(POLICY).exists() && !dir.path().join(DOCKERFILE).exists());

        let made = ringfence(dir.path(), &["init", "--agent", agent]);
        assert_eq!(made.status.code(), Some(0), "{}", talk(&made));
        assert!(
            talk(&made).contains(&format!("docker build --tag ringfence-{agent} - < ")),
            "{}",
            talk(&made)
        );
        let policy = fs::read_to_string(dir.path().join(POLICY)).expect("a policy");
        let dockerfile = fs::read_to_string(dir.path().join(DOCKERFILE)).expect("a Dockerfile");
        assert!(policy.contains("- npm.corp.example  # package-lock.json"), "{policy}");
        assert_eq!(dockerfile, template(agent));
        let printed = String::from_utf8_lossy(&dry.stdout).into_owned();
        assert!(printed.contains(&policy) && printed.contains(&dockerfile), "{printed}");
        let mode = fs::metadata(dir.path().join(POLICY)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o133, 0, "{mode:o}");

        let checked = ringfence(dir.path(), &["policy", "check", POLICY]);
        assert_eq!(checked.status.code(), Some(0), "{}", talk(&checked));
        assert!(talk(&checked).contains("0 errors, 0 warnings"), "{}", talk(&checked));
    }
}

#[test]
fn what_is_there_is_never_changed_and_no_link_is_followed() {
    let dir = tempfile::tempdir().expect("a folder");
    let (project, outside) = (dir.path().join("project"), dir.path().join("outside"));
    fs::create_dir(&project).expect("a folder");
    fs::write(project.join(DOCKERFILE), "FROM mine\n").expect("a file");
    // A link that leads to no file, which opening to write would make.
    symlink(&outside, project.join(POLICY)).expect("a link");
    let output = ringfence(dir.path(), &["init", "--agent", "claude", "--project", "project"]);
    assert_eq!(output.status.code(), Some(125), "{}", talk(&output));
    assert!(talk(&output).contains("nothing was written"), "{}", talk(&output));
    assert!(!outside.exists(), "the link was followed");
    assert_eq!(fs::read_to_string(project.join(DOCKERFILE)).expect("a file"), "FROM mine\n");

    // One of the two: the other one is written.
    fs::remove_file(project.join(POLICY)).expect("a link");
    let output = ringfence(dir.path(), &["init", "--agent", "claude", "--project", "project"]);
    assert_eq!(output.status.code(), Some(0), "{}", talk(&output));
    assert!(
        talk(&output).contains("Dockerfile.ringfence is there already and stays as it is"),
        "{}",
        talk(&output)
    );
    assert_eq!(fs::read_to_string(project.join(DOCKERFILE)).expect("a file"), "FROM mine\n");
    assert!(fs::read_to_string(project.join(POLICY)).expect("a policy").contains("anthropic@1"));
}

#[test]
fn a_project_that_is_not_there_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = ringfence(dir.path(), &["init", "--project", "nowhere"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(talk(&output).contains("cannot look through nowhere"), "{}", talk(&output));
    assert!(fs::read_dir(dir.path()).expect("a folder").next().is_none());
}
