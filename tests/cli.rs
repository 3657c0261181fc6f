//! Whole outcomes of the program (exit status, stdout, stderr) where no engine is needed.

#[path = "support/program.rs"]
mod program;

use std::path::Path;
use std::process::Command;

use program::without_engine;

/// Runs `ringfence` in `dir` with an environment of its own and no engine; the outcome as text.
fn ringfence(dir: &Path, args: &[&str]) -> String {
    let output = without_engine(dir, dir).args(args).output().expect("the program starts");
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
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }
    dir
}

#[test]
fn without_an_engine_everything_tried_is_told() {
    let dir = with_files(&[]);
    insta::assert_snapshot!(ringfence(dir.path(), &["run", "--allow", "gitlab.com", "image", "true"]));
}

/// A run without any policy has no network: somebody who asked for quiet would look elsewhere.
#[test]
fn that_there_is_no_policy_is_told_though_quiet() {
    let dir = with_files(&[]);
    for quiet in [&["--quiet"][..], &[]] {
        let said = ringfence(dir.path(), &[quiet, &["run", "image", "true"]].concat());
        assert!(said.contains("no policy is given, so nothing is permitted"), "{said}");
    }
    // The control: with a policy there is nothing to say.
    let said = ringfence(dir.path(), &["run", "--allow", "gitlab.com", "image", "true"]);
    assert!(!said.contains("no policy is given"), "{said}");
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

/// An engine's socket in the project, found in each way that names an engine: a program that has
/// the socket has this machine.
#[test]
fn a_project_with_the_engines_socket_is_refused_however_the_engine_is_named() {
    let meta = |socket: &Path| {
        format!(r#"{{"Name":"lab","Endpoints":{{"docker":{{"Host":"unix://{}"}}}}}}"#, socket.display())
    };
    // The SHA-256 of `lab`.
    let at = "contexts/meta/a51146d38077ff992eba84cf1d5e9b249073503eb74868699016153b031a38f7";
    let dir = with_files(&[("work/src/main.rs", ""), ("chosen/config.json", r#"{"currentContext": "lab"}"#)]);
    let root = dir.path().canonicalize().expect("a folder");
    let socket = root.join("work/docker.sock");
    // Nobody listens any more: who is asked refuses at once.
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
    for configuration in ["named", "chosen"] {
        let folder = root.join(configuration).join(at);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("meta.json"), meta(&socket)).expect("a context");
    }
    std::os::unix::fs::symlink(&socket, root.join("link.sock")).expect("a link");
    std::os::unix::fs::symlink("/nonexistent/engine.sock", root.join("work/link.sock")).expect("a link");
    let path = |below: &str| root.join(below).display().to_string();
    let unix = |below: &str| format!("unix://{}", path(below));
    let run = |asked: Option<&str>, variables: &[(&str, &str)], given: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", path("nowhere"));
        command.envs(variables.iter().copied()).args(asked.map(|asked| format!("--engine={asked}")));
        command.args(["run", "--project", given, "image", "true"]).current_dir(&root);
        let output = command.output().expect("the program starts");
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let (named, chosen) = (path("named"), path("chosen"));
    let (named, chosen) = (("DOCKER_CONFIG", named.as_str()), ("DOCKER_CONFIG", chosen.as_str()));
    let (bare, whole, linked) = (path("work/docker.sock"), unix("work/docker.sock"), path("link.sock"));
    let work = path("work");
    for (asked, variables) in [
        (Some(bare.as_str()), vec![]),
        (Some(whole.as_str()), vec![]),
        (Some(linked.as_str()), vec![]),
        (Some("lab"), vec![named]),
        (None, vec![("DOCKER_HOST", whole.as_str())]),
        (None, vec![named, ("DOCKER_CONTEXT", "lab")]),
        (None, vec![chosen]),
        (Some("default"), vec![chosen, ("DOCKER_HOST", whole.as_str())]),
    ] {
        let said = run(asked, &variables, &work);
        let why = format!("the container engine's {bare} is not given to an agent");
        assert!(said.contains(&why), "{asked:?} {variables:?}: {said}");
        // The control: a folder beside it is given, and the engine that nobody is behind is asked.
        let beside = run(asked, &variables, &path("work/src"));
        assert!(beside.contains("no container engine answers"), "{asked:?} {variables:?}: {beside}");
    }
    let said = run(None, &[("XDG_RUNTIME_DIR", &work)], &work);
    assert!(said.contains("the container engine's"), "a usual one: {said}");
    // Who can exchange the link, or the choice, decides which engine the next run speaks to.
    let said = run(Some(&path("work/link.sock")), &[], &work);
    assert!(said.contains("says which container engine is used"), "{said}");
    let said = run(None, &[chosen], &path("chosen"));
    assert!(said.contains("config.json says which container engine is used"), "{said}");
}

/// Each file that the next run may obey lies in the project, which the agent may write; without it
/// the same run goes on to the engine.
#[test]
fn a_project_that_decides_on_the_next_run_is_refused() {
    let dir =
        with_files(&[("work/src/main.rs", ""), ("work/docker/config.json", "{}"), ("work/helper.tar", "")]);
    let root = dir.path().canonicalize().expect("a folder");
    let path = |below: &str| root.join(below).display().to_string();
    let none = path("none.sock");
    let (by_path, by_port) = (format!("--engine={none}"), "--engine=tcp://127.0.0.1:1");
    let run = |engine: Option<&str>, variable: (&str, &str), given: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", path("nowhere"));
        command.env(variable.0, variable.1).args(engine);
        command.args(["run", "--project", given, "image", "true"]).current_dir(root.join("work"));
        let output = command.output().expect("the program starts");
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let (whole, host) = (path("work/docker"), format!("unix://{none}"));
    for (engine, variable, why) in [
        // Relative, as docker takes it; and whether this run asks it or not.
        (None, ("DOCKER_CONFIG", "docker"), "docker/config.json says which container engine is used"),
        (Some(by_path.as_str()), ("DOCKER_CONFIG", "docker"), "docker/config.json says"),
        (Some(by_path.as_str()), ("DOCKER_CONFIG", whole.as_str()), "docker/config.json says"),
        (
            Some(by_port),
            ("DOCKER_CERT_PATH", "."),
            "work/ca.pem says which container engine is used, or proves",
        ),
        (
            Some(by_path.as_str()),
            ("RINGFENCE_HELPER_IMAGE", "helper.tar"),
            "helper.tar is what fence and guard",
        ),
    ] {
        let said = run(engine, variable, ".");
        assert!(said.contains(why) && said.contains("hint:"), "{engine:?} {variable:?}: {said}");
        let engine = engine.or(Some(by_path.as_str()));
        let beside = run(engine, variable, "src");
        assert!(beside.contains("no container engine answers"), "{engine:?} {variable:?}: {beside}");
    }
    // A variable settles this run, and not the next.
    let own = root.join("work/.docker");
    std::fs::create_dir(&own).expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", path("nowhere"));
    command.env("DOCKER_CONFIG", &own).env("DOCKER_HOST", host);
    let output = command.args(["run", "--project"]).arg(&own).args(["image", "true"]).output();
    let said = String::from_utf8_lossy(&output.expect("the program starts").stderr).into_owned();
    assert!(said.contains(".docker/config.json says which container engine is used"), "{said}");
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
    std::fs::write(
        dir.path().join("below.yml"),
        "version: 1\nnetwork:\n  allow: [\"*.a.test\", {host: \"*.b.test\", expires: 2020-01-01}]\n",
    )
    .unwrap();
    let below =
        |target| ringfence(dir.path(), &["policy", "explain", target, "--policy", "below.yml", "--json"]);
    assert!(below("a.test").contains("\"hint\": \"`.a.test` in place of `*.a.test"), "{}", below("a.test"));
    for without in ["x.a.test", "a.test:80", "b.test", "test"] {
        assert!(!below(without).contains("hint"), "{without}: {}", below(without));
    }
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

#[test]
fn an_import_is_a_policy_and_says_what_it_leaves_out() {
    let dir = with_files(&[
        (
            ".gitlab/duo/agent-config.yml",
            "image: x\nnetwork_policy:\n  include_recommended_allowed: true\n  allowed_domains: [api.osv.dev, \"*.corp.example\", localhost]\n  denied_domains: [bad.corp.example]\n",
        ),
        ("names.txt", "x.example\n"),
        ("rules.js", "r.host === 'x.example'\n"),
        ("bad.json", "{\"network\": {\"allowedDomains\": [\"x.example\"}}\n"),
    ]);
    let import = |args: &[&str]| ringfence(dir.path(), &[&["policy", "import"], args].concat());
    let outcome = import(&[".gitlab/duo/agent-config.yml"]);
    insta::assert_snapshot!("import_gitlab", outcome);
    insta::assert_snapshot!("import_ambiguous", import(&["names.txt"]));
    insta::assert_snapshot!("import_given", import(&["names.txt", "--from", "squid", "--json"]));
    insta::assert_snapshot!("import_program", import(&["rules.js"]));
    insta::assert_snapshot!("import_broken", import(&["bad.json"]));
    insta::assert_snapshot!("import_missing", import(&["nowhere.json"]));

    // What is printed is a policy.
    let policy = outcome.split("--- stdout\n").nth(1).unwrap().split("--- stderr").next().unwrap();
    std::fs::write(dir.path().join("p.yml"), policy).unwrap();
    let verdict = |target| ringfence(dir.path(), &["policy", "explain", "--policy", "p.yml", target]);
    assert!(verdict("api.osv.dev").starts_with("exit: 0\n"));
    assert!(verdict("a.corp.example").starts_with("exit: 0\n"));
    assert!(verdict("bad.corp.example").starts_with("exit: 1\n"));
    assert!(verdict("corp.example").starts_with("exit: 1\n"));
}

#[test]
fn an_export_says_where_it_differs() {
    let dir = with_files(&[(
        "p.yml",
        "version: 1\nnetwork:\n  allow: [gitlab.com, {cidr: 198.51.100.0/24, ports: [443]}]\n  deny: [\"*.gitlab.com\"]\n",
    )]);
    let export = |args: &[&str]| ringfence(dir.path(), &[&["policy", "export"], args].concat());
    insta::assert_snapshot!("export_to_gitlab", export(&["p.yml", "--to", "gitlab"]));
    insta::assert_snapshot!("export_to_kubernetes", export(&["p.yml", "--to", "kubernetes"]));
    insta::assert_snapshot!("export_json", export(&["p.yml", "--to", "gitlab", "--json"]));
    insta::assert_snapshot!("export_missing", export(&["./gone.yml", "--to", "cilium"]));
}

#[test]
fn a_suggestion_shows_its_evidence_and_follows_no_link() {
    let dir = with_files(&[
        ("p/Cargo.lock", "[[package]]\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n"),
        ("p/.git/config", "[remote \"origin\"]\n\turl = https://user:secret@gitlab.com/x/y.git\n"),
        ("p/.env", "GOPROXY=https://secret.example\n"),
        ("p/node_modules/x/package-lock.json", "{\n\"resolved\": \"https://inner.example/x.tgz\"\n}\n"),
        ("outside/.npmrc", "registry=https://outside.example/\n"),
    ]);
    std::os::unix::fs::symlink("../outside", dir.path().join("p/linked")).unwrap();
    std::os::unix::fs::symlink("../outside/.npmrc", dir.path().join("p/.npmrc")).unwrap();
    nix_fifo(&dir.path().join("p/yarn.lock"));
    insta::assert_snapshot!("suggest", ringfence(dir.path(), &["policy", "suggest", "p"]));
    insta::assert_snapshot!("suggest_json", ringfence(dir.path(), &["policy", "suggest", "p", "--json"]));
    insta::assert_snapshot!("suggest_missing", ringfence(dir.path(), &["policy", "suggest", "nowhere"]));
    insta::assert_snapshot!(
        "suggest_nothing",
        ringfence(&dir.path().join("outside"), &["policy", "suggest", "../p/.git"])
    );
}

#[test]
fn names_of_test_data_are_no_names_of_the_project() {
    let pom = "<project><repositories><repository><url>https://NAME.example/</url></repository></repositories></project>";
    let pom = |name: &str| pom.replace("NAME", name);
    let dir = with_files(&[
        ("p/pom.xml", &pom("real")),
        ("p/core/src/test/resources/a/pom.xml", &pom("resource")),
        ("p/core/src/it/b/pom.xml", &pom("invoker")),
        ("p/tests/deep/fixtures/pom.xml", &pom("fixture")),
        ("p/web/__fixtures__/pom.xml", &pom("fixture")),
        ("p/pkg/testdata/pom.xml", &pom("testdata")),
        ("p/resources/pom.xml", &pom("kept")),
        ("p/tests/suite/in/pom.xml", &pom("git")),
        ("p/tests/both/pom.xml", &pom("real")),
    ]);
    let said = ringfence(dir.path(), &["policy", "suggest", "p"]);
    for name in ["- real.example ", "- kept.example ", "- git.example "] {
        assert!(said.contains(name), "{name}: {said}");
    }
    for name in ["resource.", "invoker.", "fixture.example", "testdata.example"] {
        assert!(!said.contains(name), "{name}: {said}");
    }
    assert!(said.contains("5 folders of test data"), "what is not read is told: {said}");
    assert!(said.contains("core/src/it, core/src/test/resources, pkg/testdata"), "{said}");
    assert_eq!(said.matches("only in tests").count(), 1, "{said}");
    assert!(said.contains("tests/suite/in/pom.xml:1 (maven repository); only in tests"), "{said}");
    // The folder that is asked about is read, whatever its name.
    let said = ringfence(dir.path(), &["policy", "suggest", "p/tests/deep/fixtures"]);
    assert!(said.contains("- fixture.example ") && !said.contains("only in tests"), "{said}");
}

/// A file that nobody must wait for.
fn nix_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo starts");
    assert!(made.success());
}

#[test]
fn presets_are_listed_and_printed() {
    let dir = with_files(&[]);
    insta::assert_snapshot!("presets", ringfence(dir.path(), &["policy", "presets"]));
    insta::assert_snapshot!("presets_one", ringfence(dir.path(), &["policy", "presets", "gitlab-ssh"]));
    insta::assert_snapshot!("presets_unknown", ringfence(dir.path(), &["policy", "presets", "nobody"]));
}

#[test]
fn diff_tells_what_opens_and_closes() {
    let dir = with_files(&[
        (
            "old.yml",
            "version: 1\nnetwork:\n  allow:\n    - gitlab.com\n    - '*.example.org'\n    - host: git.corp.example\n      private: [10.20.0.0/16]\n  deny:\n    - .secret.example.org\n    - cidr: 203.0.113.0/24\n",
        ),
        (
            "new.yml",
            "version: 1\nnetwork:\n  allow:\n    - gitlab.com\n    - .example.org\n    - host: git.corp.example\n      private: [10.20.0.0/15]\n      expires: 2999-12-31\n  deny:\n    - api.secret.example.org\n    - cidr: 203.0.113.0/25\n  dns:\n    upstreams: [10.0.0.53]\n",
        ),
        ("same.yml", "# another text\nversion: 1\nextends: [./old.yml]\n"),
        ("bad.yml", "version: 1\nnetwork: {alow: []}\n"),
    ]);
    let diff = |old, new| ringfence(dir.path(), &["policy", "diff", old, new]);
    insta::assert_snapshot!("diff_opens", diff("old.yml", "new.yml"));
    insta::assert_snapshot!("diff_same", diff("old.yml", "same.yml"));
    insta::assert_snapshot!("diff_bad_input", diff("old.yml", "bad.yml"));
    insta::assert_snapshot!(
        "diff_json",
        ringfence(dir.path(), &["policy", "diff", "same.yml", "gitlab@1", "--json"])
    );
}

#[test]
fn diff_exits_0_when_things_only_close() {
    let dir = with_files(&[
        ("old.yml", "version: 1\nnetwork: {allow: [a.example, b.example]}\n"),
        ("new.yml", "version: 1\nnetwork: {allow: [a.example], deny: ['*.a.example']}\n"),
    ]);
    insta::assert_snapshot!(ringfence(dir.path(), &["policy", "diff", "old.yml", "new.yml"]));
}

#[test]
fn diff_tells_what_a_ceiling_lets_weaker_layers_permit() {
    let dir = with_files(&[
        ("old.yml", "version: 1\nnetwork: {ceiling: [.gitlab.com]}\n"),
        ("new.yml", "version: 1\nnetwork: {ceiling: [.gitlab.com, example.org]}\n"),
        ("none.yml", "version: 1\n"),
    ]);
    let diff = |old, new| ringfence(dir.path(), &["policy", "diff", old, new]);
    insta::assert_snapshot!("diff_wider_ceiling", diff("old.yml", "new.yml"));
    insta::assert_snapshot!("diff_ceiling_gone", diff("old.yml", "none.yml"));
}

#[test]
fn what_the_fence_keeps_for_itself_is_an_error_in_a_policy_and_denied_by_explain() {
    let text = |rule: &str| format!("version: 1\nnetwork:\n  allow: [gitlab.com, {rule}]\n");
    for rule in [
        "'gitlab.com:53'",
        "{host: gitlab.com, ports: [443, 53], protocol: tcp}",
        "{host: '*.gitlab.com', ports: [65443]}",
        "{cidr: 198.51.100.0/24, ports: [65053]}",
        "{host: host.docker.internal, ports: [53], host-access: true}",
        "{cidr: 127.0.0.0/8, ports: [80]}",
        "{cidr: 127.0.0.11/32, ports: [80]}",
    ] {
        let dir = with_files(&[("p.yml", &text(rule))]);
        let checked = ringfence(dir.path(), &["policy", "check", "p.yml"]);
        assert!(checked.starts_with("exit: 1") && checked.contains("[reserved-"), "{rule}: {checked}");
        let run = ringfence(dir.path(), &["run", "--policy", "p.yml", "image", "true"]);
        assert!(run.starts_with("exit: 125") && run.contains("[reserved-"), "{rule}: {run}");
    }
    let dir = with_files(&[("p.yml", "version: 1\nnetwork: {allow: [gitlab.com]}\n")]);
    let explain = |target| ringfence(dir.path(), &["policy", "explain", "--policy", "p.yml", target]);
    for target in ["gitlab.com:53", "tcp://198.51.100.1:53", "tcp://127.0.0.11:53", "tcp://gitlab.com:65443"]
    {
        let said = explain(target);
        assert!(said.starts_with("exit: 1") && said.contains("(reserved-port)"), "{target}: {said}");
    }
    // Inside the fence this address is the name.
    let said = explain("tcp://25.0.0.1:443");
    assert!(said.starts_with("exit: 0") && said.contains("allowed: gitlab.com:443"), "{said}");
    for allow in ["gitlab.com:53", "x.example:65053"] {
        let said = ringfence(dir.path(), &["run", "--allow", allow, "image", "true"]);
        assert!(said.starts_with("exit: 125") && said.contains("[reserved-port]"), "{said}");
    }
}

#[test]
fn a_directory_in_the_place_of_the_image_is_told() {
    let dir = with_files(&[("Project/file", ""), ("debian/file", "")]);
    let run = |args: &[&str]| ringfence(dir.path(), &[&["run"], args].concat());
    insta::assert_snapshot!("run_here", run(&[".", "debian:12", "sh"]));
    insta::assert_snapshot!("run_a_directory", run(&["--allow", "a.example", "Project"]));
    insta::assert_snapshot!("run_a_path", run(&["/nonexistent/project", "debian"]));
    insta::assert_snapshot!("run_here_twice", run(&["--project", ".", ".", "debian"]));
    for word in ["..", "./Project", "Project/", "debian/"] {
        assert!(run(&[word, "image"]).contains(&format!("hint: write --project {word} image")), "{word}");
        let without = run(&[word, "--dry-run"]);
        assert!(without.contains(&format!("hint: write --project {word} IMAGE")), "{without}");
    }
    // Names of images go on to the engine, also where a directory has that name.
    for name in ["debian", "debian:12", "registry.example/team/agent", "nowhere/Project"] {
        assert!(run(&[name, "sh"]).contains("no container engine answers"), "{name}");
    }
}

#[test]
fn each_mistake_of_the_first_hour_has_one_message_that_says_what_to_do() {
    let dir = with_files(&[("file.txt", "")]);
    let run = |args: &[&str]| ringfence(dir.path(), &[&["run"], args].concat());
    insta::assert_snapshot!("mistake_no_policy", run(&["image", "true"]));
    insta::assert_snapshot!("mistake_no_image", run(&["--allow", "a.example"]));
    // A socket that nobody listens at any more: the engine was stopped.
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("engine.sock")).expect("a socket"));
    let engine = format!("unix://{}/engine.sock", dir.path().display());
    insta::assert_snapshot!(
        "mistake_stopped_engine",
        run(&["--allow", "a.example", "--engine", &engine, "image", "sh"])
    );
    insta::assert_snapshot!("mistake_project_that_is_a_file", run(&["--project", "file.txt", "image", "sh"]));
    for (name, host) in [
        ("mistake_host_with_a_space", "gitlab .com"),
        ("mistake_host_with_a_comma", "gitlab,com"),
        ("mistake_host_with_two_dots", "gitlab..com"),
        ("mistake_host_as_a_url", "https://gitlab.com/group"),
        ("mistake_host_with_a_word_as_port", "gitlab.com:https"),
        ("mistake_host_that_is_an_address", "10.0.0.1"),
    ] {
        insta::assert_snapshot!(name, run(&["--allow", host, "image", "sh"]));
    }
}
