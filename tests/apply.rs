//! `ringfence policy apply`: names that a run was refused, chosen by a person, in a policy file.

#[path = "support/program.rs"]
mod program;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use program::without_engine;

const POLICY: &str = "# the team's policy
version: 1
network:
  allow:
    # the forge
    - gitlab.com   # 443
    - \"*.pkg.test\"

  deny: [bad.test]   # never
";

/// A log as an agent could have made it.
const EVENTS: &[&str] = &[
    r#""kind":"dns","verdict":"deny","reason":"not-allowed","host":"a.test""#,
    r#""kind":"dns","verdict":"deny","reason":"not-allowed","host":"a.test""#,
    r#""kind":"connect","verdict":"deny","reason":"port","host":"gitlab.com","port":8443"#,
    r#""kind":"connect","verdict":"deny","reason":"metadata-address","address":"169.254.169.254","port":80"#,
    r#""kind":"dns","verdict":"deny","reason":"not-allowed","host":"g1tlab.com""#,
    r#""kind":"dns","verdict":"deny","reason":"not-allowed","host":"xn--80ak6aa92e.com""#,
    r#""kind":"dns","verdict":"deny","reason":"denied-by-rule","host":"bad.test","rule":"\u001b]2;x\u0007""#,
    r#""kind":"dns","verdict":"deny","reason":"not-allowed","host":"host.docker.internal""#,
];

/// A folder with a policy and a log.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("p.yml"), POLICY).expect("a policy");
    let line = |(second, event): (usize, &&str)| {
        format!(
            "{{\"v\":1,\"seq\":{second},\"time\":\"2026-11-30T09:00:{second:02}.000Z\",\"workflow\":\"0000002a\",{event}}}\n"
        )
    };
    let log: String = EVENTS.iter().enumerate().map(line).collect();
    fs::write(dir.path().join("run.jsonl"), log).expect("a log");
    dir
}

fn command(dir: &Path, words: &[&str]) -> Command {
    let mut command = without_engine(dir, dir);
    command.args(["policy", "apply", "./run.jsonl"]).args(words);
    command
}

/// Runs it without a terminal; status, and what it said.
fn apply(dir: &Path, words: &[&str]) -> (Option<i32>, String) {
    let output = command(dir, words).stdin(Stdio::null()).output().expect("the program starts");
    assert!(output.stdout.is_empty(), "{output:?}");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Runs it on a terminal, with these words typed; status, and the screen.
fn on_terminal(dir: &Path, words: &[&str], typed: &str) -> (Option<i32>, String) {
    let pty = nix::pty::openpty(None, None).expect("a terminal");
    let mut command = command(dir, words);
    command.stdin(pty.slave.try_clone().expect("a terminal")).stdout(Stdio::null()).stderr(pty.slave);
    let mut child = command.spawn().expect("the program starts");
    drop(command);
    let mut master = File::from(pty.master);
    master.write_all(typed.as_bytes()).expect("typing");
    let (mut screen, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = master.read(&mut part) {
        screen.extend_from_slice(part.get(..length).unwrap_or_default());
    }
    let status = child.wait().expect("it ends").code();
    (status, String::from_utf8_lossy(&screen).replace("\r\n", "\n"))
}

fn policy(dir: &Path) -> String {
    fs::read_to_string(dir.join("p.yml")).expect("the policy")
}

#[test]
fn named_names_are_added_and_everything_else_stays() {
    let dir = folder();
    let (status, said) =
        apply(dir.path(), &["./p.yml", "--name", "a.test", "--name", "gitlab.com:8443", "--yes"]);
    assert_eq!(status, Some(0), "{said}");
    let wanted = POLICY.replace("\"*.pkg.test\"\n", "\"*.pkg.test\"\n    - a.test\n    - gitlab.com:8443\n");
    assert_eq!(policy(dir.path()), wanted);
    for told in [
        "+     - a.test",
        "opens",
        "+ a.test:443",
        "+ gitlab.com:8443",
        "wrote ./p.yml: a.test, gitlab.com:8443",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    // A second time there is nothing to do.
    let (status, said) = apply(dir.path(), &["./p.yml", "--name", "a.test", "--yes"]);
    assert!(status == Some(0) && said.contains("permits a.test already"), "{said}");
    assert_eq!(policy(dir.path()), wanted);
}

#[test]
fn a_person_chooses_on_a_terminal_and_agrees() {
    let dir = folder();
    let (status, screen) = on_terminal(dir.path(), &["./p.yml"], "2 1\ny\n");
    assert_eq!(status, Some(0), "{screen}");
    for told in [
        "1      1 × since 2026-11-30T09:00:00.000Z  - a.test\n",
        "2      1 × since 2026-11-30T09:00:02.000Z  - gitlab.com:8443\n",
        "- g1tlab.com   look twice: look-alike of gitlab.com\n",
        "- xn--80ak6aa92e.com   look twice: international name, reads аррӏе.com\n",
        "1 × 169.254.169.254:80  (cannot be permitted: the floor refuses it",
        "1 × bad.test  (take the denial away",
        "1 × host.docker.internal  (`host.docker.internal` stands for the machine itself and is refused",
        "write it to ./p.yml? [y/N] ",
    ] {
        assert!(screen.contains(told), "{told}: {screen}");
    }
    assert!(!screen.contains('\u{1b}') && !screen.contains('\u{7}'), "{screen:?}");
    assert!(policy(dir.path()).contains("    - gitlab.com:8443\n    - a.test\n"));
    for (typed, status, words) in [
        ("1\nn\n", 1, "nothing was written"),
        ("\n", 1, "nothing was written"),
        ("9\n", 125, "`9` is no number"),
    ] {
        let dir = folder();
        let (code, screen) = on_terminal(dir.path(), &["./p.yml"], typed);
        assert!(code == Some(status) && screen.contains(words), "{typed:?}: {code:?} {screen}");
        assert_eq!(policy(dir.path()), POLICY, "{typed:?}");
    }
}

#[test]
fn nothing_is_written_that_nobody_agreed_to_or_that_is_more_than_a_name() {
    let dir = folder();
    for (words, why) in [
        (&["./p.yml"][..], "nobody can be asked"),
        (&["./p.yml", "--name", "a.test"], "nobody can be asked"),
        (&["./p.yml", "--name", "*.a.test", "--yes"], "write this line by hand: - \"*.a.test\""),
        (&["./p.yml", "--name", "host.docker.internal:80", "--yes"], "host.docker.internal"),
        (&["./p.yml", "--name", "169.254.169.254", "--yes"], "is an address"),
        (&["./p.yml", "--name", "other.test", "--yes"], "the run was not refused other.test"),
        (&["./none.yml", "--name", "a.test", "--yes"], "ringfence init"),
        (&["gitlab", "--name", "a.test", "--yes"], "names a preset"),
        (&["./", "--name", "a.test", "--yes"], "a directory"),
        (&["--name", "a.test", "--yes"], "which policy file is meant"),
    ] {
        let (status, said) = apply(dir.path(), words);
        assert!(status == Some(125) && said.contains(why), "{words:?}: {status:?} {said}");
        assert!(said.contains("hint") || said.contains("by hand"), "{words:?}: {said}");
    }
    assert_eq!(policy(dir.path()), POLICY);
    // A denial of the file's own would refuse it all the same.
    let log = fs::read_to_string(dir.path().join("run.jsonl")).expect("the log");
    fs::write(dir.path().join("run.jsonl"), log.replace("a.test", "bad.test")).expect("the log");
    let (status, said) = apply(dir.path(), &["./p.yml", "--name", "bad.test", "--yes"]);
    assert!(status == Some(125) && said.contains("would refuse bad.test all the same"), "{said}");
    assert_eq!(policy(dir.path()), POLICY);
}

#[test]
fn no_link_is_written_through_and_a_form_that_is_not_understood_is_left_to_a_person() {
    let dir = folder();
    symlink("p.yml", dir.path().join("link.yml")).expect("a link");
    let (status, said) = apply(dir.path(), &["./link.yml", "--name", "a.test", "--yes"]);
    assert!(status == Some(125) && said.contains("nothing is written through links"), "{said}");
    assert!(dir.path().join("link.yml").is_symlink());
    let flow = "{version: 1, network: {allow: [gitlab.com]}}\n";
    fs::write(dir.path().join("p.yml"), "{version: 1}\n").expect("a policy");
    let (status, said) = apply(dir.path(), &["./p.yml", "--name", "a.test", "--yes"]);
    assert!(status == Some(125) && said.contains("add these lines by hand"), "{said}");
    assert!(said.contains("- a.test"), "{said}");
    fs::write(dir.path().join("p.yml"), flow).expect("a policy");
    let (status, said) = apply(dir.path(), &["./p.yml", "--name", "a.test", "--yes"]);
    assert_eq!(
        (status, policy(dir.path())),
        (Some(0), flow.replace("gitlab.com", "gitlab.com, a.test")),
        "{said}"
    );
}

#[test]
fn a_projects_policy_has_to_be_approved_again() {
    let dir = folder();
    fs::rename(dir.path().join("p.yml"), dir.path().join(".ringfence.yml")).expect("a policy");
    let (status, said) = apply(dir.path(), &[".ringfence.yml", "--name", "a.test", "--yes"]);
    assert!(status == Some(0) && said.contains("until it is approved again: ringfence trust .\n"), "{said}");
}

#[test]
fn a_named_name_that_another_layer_refuses_is_not_written() {
    let dir = folder();
    let user = dir.path().join(".config/ringfence");
    fs::create_dir_all(&user).expect("a folder");
    fs::write(user.join("policy.yml"), "version: 1\nnetwork: {deny: [a.test]}\n").expect("a policy");
    let (status, said) = apply(dir.path(), &["./p.yml", "--name", "a.test", "--yes"]);
    assert!(status == Some(125) && said.contains("a.test would be refused all the same (denied"), "{said}");
    assert_eq!(policy(dir.path()), POLICY);
    // The control: the same file says nothing about another name.
    let (status, said) = apply(dir.path(), &["./p.yml", "--name", "gitlab.com:8443", "--yes"]);
    assert_eq!(status, Some(0), "{said}");
}
