//! Tests of the list of files that run code. Claims about programs are tried with the programs
//! themselves where they are on this machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::*;

fn tier(path: &str) -> Option<Tier> {
    Kinds::get().of(Path::new(path)).map(|kind| kind.tier)
}

#[test]
fn every_line_has_a_tier_a_pattern_and_a_reason() {
    let mut tiers: BTreeMap<&str, usize> = BTreeMap::new();
    for line in TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap();
        assert!(["opens", "command", "agent", "push", "build"].contains(&word), "{line}");
        let (pattern, why) = rest.trim_start().split_once("  ").expect(line);
        assert!(!pattern.contains(' ') && !why.trim().is_empty(), "{line}");
        for one in expanded(pattern) {
            assert!(!one.contains(['{', '}']) && !one.is_empty(), "{line}: {one}");
            let place = one.find("**");
            assert!(place.is_none_or(|at| at + 2 == one.len()), "{line}: `**` stands at the end only");
        }
        *tiers.entry(word).or_default() += 1;
    }
    assert!(tiers.values().sum::<usize>() > 214, "{tiers:?}");
}

#[test]
fn files_of_every_tier_are_known_and_others_are_not() {
    for path in [
        ".envrc",
        "a/.vscode/tasks.json",
        ".config/mise/config.toml",
        ".opencode/plugin/x.ts",
        ".mcp.json",
        ".cursor/mcp.json",
        ".gemini/settings.json",
        ".kiro/settings/mcp.json",
        "flake.nix",
        ".nvim.lua",
        ".bsp/evil.json",
        "hie.yaml",
        ".ssh/authorized_keys",
        ".venv/bin/python3",
    ] {
        assert_eq!(tier(path), Some(Tier::Opens), "{path}");
    }
    for path in [
        "rust-toolchain.toml",
        "rust-toolchain",
        ".cargo/config.toml",
        ".husky/pre-push",
        ".npmrc",
        "tools/bazel",
        "gradlew",
        ".pdbrc",
        ".Rprofile.site/.gdbinit",
        "Directory.Build.props",
        "ansible.cfg",
        "Vagrantfile",
        ".ringfence.yml",
    ] {
        assert_eq!(tier(path), Some(Tier::Command), "{path}");
    }
    for path in [
        "CLAUDE.md",
        "sub/AGENTS.md",
        ".cursorrules",
        ".cursor/rules/a.mdc",
        ".github/copilot-instructions.md",
    ] {
        assert_eq!(tier(path), Some(Tier::Agent), "{path}");
    }
    for path in [
        ".circleci/config.yml",
        "Jenkinsfile",
        ".gitlab-ci.yml",
        "ci/deploy.gitlab-ci.yml",
        ".github/workflows/x.yml",
        "azure-pipelines-nightly.yml",
        ".woodpecker/a.yml",
        "renovate.json",
    ] {
        assert_eq!(tier(path), Some(Tier::Push), "{path}");
    }
    for path in ["Makefile", "package.json", "build.rs", "eslint.config.mjs", "x/conftest.py", "run.sh"] {
        assert_eq!(tier(path), Some(Tier::Build), "{path}");
    }
    for path in [
        "src/main.rs",
        "README.md",
        "x/hooks/y",
        "HEAD",
        "node_modules/x/package.json",
        "vendor/github.com/x/Makefile",
        ".git/hooks/pre-commit.sample",
        ".git/description",
        "envrc",
        ".envrc2",
    ] {
        assert_eq!(tier(path), None, "{path}");
    }
    // What acts by itself does so in fetched packages too.
    assert_eq!(tier("node_modules/x/.envrc"), Some(Tier::Opens));
}

#[test]
fn names_are_known_as_file_systems_take_them() {
    for path in [
        ".ENVRC",
        ".VſCode/tasKs.json",
        ".vs\u{200c}code/tasks.json",
        ".\u{feff}envrc",
        ".tas\u{00ad}k/../.envrc",
        ".envrc. .",
        ".mcp.json ",
        ".Claude./settings.json",
    ] {
        let path = path.replace(".tas\u{00ad}k/../", "");
        assert_eq!(tier(&path), Some(Tier::Opens), "{path:?}");
    }
    use std::ffi::OsStr;
    let path = Path::new(OsStr::from_bytes(b"\xff\xfe/.envrc"));
    assert_eq!(Kinds::get().of(path).map(|kind| kind.tier), Some(Tier::Opens));
}

#[test]
fn folders_on_the_way_are_known_and_their_files_are_theirs() {
    for path in [".vscode", "a/.github", ".github/workflows", ".config", ".config/mise", ".claude", ".SSH"] {
        assert!(Kinds::get().below(Path::new(path)).is_some(), "{path}");
    }
    for path in ["src", "lib", "a/b"] {
        assert!(Kinds::get().below(Path::new(path)).is_none(), "{path}");
    }
}

#[test]
fn a_million_names_are_looked_up_in_seconds() {
    let began = Instant::now();
    for number in 0..20_000 {
        let path =
            format!("packages/module-{number}/node_modules/some-package/lib/internal/file-{number}.js");
        assert_eq!(tier(&path), None);
    }
    // A million would take fifty times that; the look through a directory has 20 seconds, in a
    // build that is faster by far.
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

/// Tries files that run a command of theirs, and the program that does so without naming code.
#[test]
fn programs_do_what_the_list_says_of_them() {
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    let mark = "touch \"$MARK\"\n";
    let script = format!("#!/bin/sh\n{mark}exit 1\n");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let manifest = "[package]\nname = \"a\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
    // It is beside the real home, and the tests' home is another.
    let rustup = std::env::var_os("RUSTUP_HOME").map(std::path::PathBuf::from);
    let rustup = rustup.or_else(|| Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".rustup")));
    // Of these, cargo, git and bash are there wherever the tests are.
    /// A program, its words, and the files there.
    type Claim<'a> = (&'a str, Vec<&'a str>, Vec<(&'a str, &'a str)>);
    let claims: Vec<Claim<'_>> = vec![
        (
            &cargo,
            vec!["build", "--offline"],
            vec![
                (".cargo/config.toml", "[build]\nrustc-wrapper = \"./evil\"\n"),
                ("evil", &script),
                ("Cargo.toml", manifest),
                ("src/lib.rs", ""),
            ],
        ),
        ("bash", vec!["-i", "-c", "true"], vec![(".bashrc", mark)]),
        ("bash", vec!["-l", "-c", "true"], vec![(".bash_profile", mark)]),
        ("git", vec!["st"], vec![(".gitconfig", "[alias]\nst = \"!touch \\\"$MARK\\\"\"\n")]),
        ("git", vec!["st"], vec![(".config/git/config", "[alias]\nst = \"!touch \\\"$MARK\\\"\"\n")]),
        ("make", vec!["clean"], vec![("Makefile", "clean:\n\ttouch \"$$MARK\"\n")]),
        (".venv/bin/python", vec!["-c", "0"], vec![(".venv/bin/python", &script)]),
    ];
    let mut tried = Vec::new();
    for (program, words, files) in &claims {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let program = if program.starts_with('.') { dir.path().join(program) } else { (*program).into() };
        let done = Command::new(&program)
            .args(words)
            .current_dir(dir.path())
            .envs([("HOME", dir.path()), ("MARK", &mark)])
            .env("CARGO_HOME", dir.path().join("cargo-home"))
            .envs(rustup.iter().map(|home| ("RUSTUP_HOME", home)))
            .env_remove("RUSTC_WRAPPER")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("GIT_CONFIG_GLOBAL")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let name = program.file_name().unwrap().to_string_lossy().into_owned();
        // What is not on this machine cannot be asked.
        if done.is_err() {
            continue;
        }
        assert!(mark.exists(), "{name} {words:?} ran nothing of {files:?}");
        assert!(Kinds::get().of(Path::new(files[0].0)).is_some(), "{}", files[0].0);
        tried.push(name);
    }
    for needed in ["cargo", "bash", "git", "python"] {
        assert!(tried.iter().any(|name| name == needed), "{needed} was not asked: {tried:?}");
    }
}
