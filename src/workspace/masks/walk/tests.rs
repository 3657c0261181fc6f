//! A project full of corners.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use super::super::look::{HEAD, open};
use super::super::scrub;
use super::*;

/// Returns a token as GitLab gives them, put together so that this file holds none.
fn token() -> String {
    format!("glpat-{}", "9dJq4TzX0kV2bLw7NmRs")
}

/// Returns a reflog with a password in a URL.
fn log() -> String {
    let name = "0".repeat(40);
    format!("{name} {name} A <a@b.example> 1 +0000\tclone: from https://x:{}@gitlab.com/a\n", token())
}

struct Project(tempfile::TempDir);

impl Project {
    fn new() -> Project {
        Project(tempfile::tempdir().unwrap())
    }

    fn put(&self, path: &str, text: &str) -> &Project {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn root(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    /// Returns path and word of every cover.
    fn covers(&self, mask: &[&str], unmask: &[&str]) -> BTreeMap<String, String> {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let wishes = Wishes { mask: words(mask), unmask: words(unmask), ..Wishes::default() };
        let plan = plan(&self.root(), &wishes).unwrap();
        plan.covers
            .iter()
            .map(|cover| {
                let with = match &cover.with {
                    With::Nothing => "empty".to_owned(),
                    With::Itself => "itself".to_owned(),
                    With::Committed { text, .. } => format!("committed: {}", String::from_utf8_lossy(text)),
                    With::Masked(text) => String::from_utf8_lossy(text).replace(scrub::MASK, "MASK"),
                    With::Instead(text) => String::from_utf8_lossy(text).into_owned(),
                };
                (cover.path.display().to_string(), with)
            })
            .collect()
    }
}

fn expected(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(path, with)| ((*path).to_owned(), (*with).to_owned())).collect()
}

#[test]
fn names_and_contents_at_any_depth() {
    let project = Project::new();
    project
        .put(".env", "A=1\n")
        .put(".env.example", "A=\n")
        .put("web/node_modules/x/.ENV.local", "A=1\n")
        .put("src/config.py", &format!("A = 1\nKEY = \"{}\"  # mine\n", token()))
        .put("src/main.py", "print('hello')\n")
        .put("web/.npmrc", "registry=https://r.example/\n")
        .put("api/.npmrc", "//r.example/:_authToken=abc\n")
        .put(".vscode/tasks.json", "{}")
        .put(".vscode/settings.json", &format!("{{\"token\": \"{}\"}}", token()))
        .put(".envrc", "use flake\nexport API_KEY=abc\n");
    assert_eq!(
        project.covers(&[], &[]),
        expected(&[
            (".env", "empty"),
            (".envrc", "use flake\nexport API_KEY=MASK\n"),
            (".vscode/settings.json", "{\"token\": \"MASK\"}"),
            (".vscode/tasks.json", "itself"),
            ("api/.npmrc", "//r.example/:_authToken=MASK\n"),
            ("src/config.py", "A = 1\nKEY = \"MASK\"  # mine\n"),
            ("web/node_modules/x/.ENV.local", "empty"),
        ])
    );
}

#[test]
fn an_example_with_a_real_secret_is_masked() {
    let project = Project::new();
    project.put(".env.example", &format!("TOKEN={}\nA=\n", token()));
    assert_eq!(project.covers(&[], &[]), expected(&[(".env.example", "TOKEN=MASK\nA=\n")]));
}

#[test]
fn links_to_secrets_and_other_names_of_them() {
    let project = Project::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "A=1\n").unwrap();
    project.put("config/production", "A=1\n").put("keys/id_rsa", "key").put("notes/hard", "x");
    let root = project.root();
    symlink("config/production", root.join(".env")).unwrap();
    symlink(outside.path().join("secret"), root.join(".env.local")).unwrap();
    symlink("nowhere", root.join(".netrc")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    fs::remove_file(root.join("notes/hard")).unwrap();
    fs::hard_link(root.join("keys/id_rsa"), root.join("notes/hard")).unwrap();
    assert_eq!(
        project.covers(&[], &[]),
        expected(&[("config/production", "empty"), ("keys/id_rsa", "empty"), ("notes/hard", "empty")])
    );
}

#[test]
fn repositories_of_every_kind() {
    let project = Project::new();
    let config = "[remote \"o\"]\n\turl = https://me:pw@gitlab.com/a.git\n";
    let masked = "[remote \"o\"]\n\turl = https://MASK@gitlab.com/a.git\n";
    for repository in [".git", ".git/modules/sub", "mirror.git"] {
        project
            .put(&format!("{repository}/HEAD"), "ref: refs/heads/main\n")
            .put(&format!("{repository}/config"), config)
            .put(&format!("{repository}/hooks/pre-commit"), "#!/bin/sh\n")
            .put(&format!("{repository}/objects/aa/{}", "b".repeat(38)), &token())
            .put(&format!("{repository}/objects/pack/pack-{}.pack", "c".repeat(40)), &token())
            .put(&format!("{repository}/lfs/objects/dd/dd/{}", "d".repeat(64)), &token())
            .put(&format!("{repository}/refs/heads/main"), "0\n");
    }
    project
        .put(".git/worktrees/w/config.worktree", config)
        .put(".git/logs/HEAD", &log())
        .put("sub/.git", "gitdir: ../.git/modules/sub\n")
        .put("other/config", config);
    assert_eq!(
        project.covers(&[], &[]),
        expected(&[
            (".git/config", masked),
            (".git/hooks", "itself"),
            (".git/modules/sub/config", masked),
            (".git/modules/sub/hooks", "itself"),
            (".git/worktrees/w/config.worktree", masked),
            ("mirror.git/config", masked),
            ("mirror.git/hooks", "itself"),
        ])
    );
    let plan = plan(&project.root(), &Wishes::default()).unwrap();
    let told: Vec<_> = plan.seen.in_git.iter().map(|(path, _)| path.display().to_string()).collect();
    assert_eq!(told, [".git/logs/HEAD"]);
}

#[test]
fn a_folder_that_was_moved_into_a_store_is_looked_at() {
    let project = Project::new();
    let source = format!("KEY = '{}'\n", token());
    for store in ["x/objects", "x/lfs", "x/objects/pack", "x/objects/aa", ".git/objects/info"] {
        project.put(&format!("{store}/.env"), "A=1\n").put(&format!("{store}/src/main.py"), &source);
    }
    for repository in ["x", ".git"] {
        project
            .put(&format!("{repository}/HEAD"), "ref: refs/heads/main\n")
            .put(&format!("{repository}/refs/heads/main"), "0\n")
            .put(&format!("{repository}/objects/bb/{}", "b".repeat(38)), &token());
    }
    let expected: BTreeMap<String, String> =
        [".git/objects/info", "x/lfs", "x/objects", "x/objects/aa", "x/objects/pack"]
            .into_iter()
            .flat_map(|store| {
                let (environment, source) = (format!("{store}/.env"), format!("{store}/src/main.py"));
                [(environment, "empty".to_owned()), (source, "KEY = 'MASK'\n".to_owned())]
            })
            .collect();
    assert_eq!(project.covers(&[], &[]), expected);
}

#[test]
fn only_git_s_own_files_stay_visible() {
    let project = Project::new();
    let source = format!("KEY = '{}'\n", token());
    project
        .put("HEAD", "ref: refs/heads/main\n")
        .put("refs/heads/main", "0\n")
        .put("objects/info/packs", "\n")
        .put("logs/HEAD", &log())
        .put("main.py", &source)
        .put(".git/logs/HEAD", &log())
        .put(".git/COMMIT_EDITMSG", &source)
        .put(".git/logs/app/main.py", &source)
        .put(".git/refs/app/main.py", &source)
        .put(".git/tool/main.py", &source)
        .put("mirror.git/HEAD", "ref: refs/heads/main\n")
        .put("mirror.git/refs/heads/main", "0\n")
        .put("mirror.git/objects/info/packs", "\n")
        .put("mirror.git/logs/HEAD", &log())
        .put("mirror.git/logs/main.py", &source);
    let plan = plan(&project.root(), &Wishes::default()).unwrap();
    let covered: Vec<_> = plan.covers.iter().map(|cover| cover.path.display().to_string()).collect();
    assert_eq!(
        covered,
        [
            ".git/logs/app/main.py",
            ".git/refs/app/main.py",
            ".git/tool/main.py",
            "logs/HEAD",
            "main.py",
            "mirror.git/logs/main.py"
        ]
    );
    let mut told: Vec<_> = plan.seen.in_git.iter().map(|(path, _)| path.display().to_string()).collect();
    told.sort();
    assert_eq!(told, [".git/COMMIT_EDITMSG", ".git/logs/HEAD", "mirror.git/logs/HEAD"]);
}

#[test]
fn people_may_show_and_hide_and_hiding_wins() {
    let project = Project::new();
    project
        .put("tests/keys/a.env", "A=1\n")
        .put("tests/keys/b.p12", "b")
        .put("other/b.p12", "b")
        .put("deploy/values", "x")
        .put("src/config.py", &format!("KEY = '{}'\n", token()));
    assert_eq!(
        project.covers(&["deploy"], &["tests/keys", "config.py", "deploy"]),
        expected(&[("deploy/values", "empty"), ("other/b.p12", "empty")])
    );
    assert_eq!(
        project.covers(&["tests/keys/*.p12"], &["tests/keys/"]).keys().collect::<Vec<_>>(),
        ["other/b.p12", "src/config.py", "tests/keys/b.p12"]
    );
}

#[test]
fn large_files_are_not_read_nor_what_is_no_text_in_caches() {
    let project = Project::new();
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n# made by a test\n";
    project
        .put("target/CACHEDIR.TAG", tag)
        .put("CACHEDIR.TAG", tag)
        .put("main.txt", &token())
        .put("target/debug/x.txt", &token())
        .put("target/debug/.env", "A=1\n")
        .put("fake/CACHEDIR.TAG", "no\n")
        .put("fake/x.txt", &token())
        .put("large.log", &format!("{}{}", "x".repeat(8 << 20), token()));
    fs::write(project.root().join("large.bin"), [vec![0; 2 << 20], token().into_bytes()].concat()).unwrap();
    fs::write(project.root().join("huge.bin"), vec![0; 9 << 20]).unwrap();
    for (path, zeros) in [("small.db", 100), ("target/small.db", HEAD)] {
        fs::write(project.root().join(path), [vec![0; zeros], token().into_bytes()].concat()).unwrap();
    }
    let plan = plan(&project.root(), &Wishes::default()).unwrap();
    let paths: Vec<_> = plan.covers.iter().map(|cover| cover.path.display().to_string()).collect();
    assert_eq!(paths, ["fake/x.txt", "main.txt", "small.db", "target/debug/.env", "target/debug/x.txt"]);
    assert_eq!(plan.seen.too_large, [PathBuf::from("large.log")]);
    assert_eq!(plan.seen.caches, [PathBuf::from("target")]);
    let With::Masked(text) = &plan.covers[2].with else { panic!("masked") };
    assert_eq!(text.len(), 100 + token().len(), "what is no text keeps its layout");
}

#[test]
fn what_cannot_be_covered_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let project = Project::new();
    let name = std::ffi::OsStr::from_bytes(b"\xff.env");
    fs::write(project.root().join(name), "A=1\n").unwrap();
    let failure = plan(&project.root(), &Wishes::default()).unwrap_err();
    assert!(failure.message.contains("no UTF-8"), "{failure}");
    fs::remove_file(project.root().join(name)).unwrap();
    for number in 0..=MOST_COVERS {
        project.put(&format!("keys/{number}.env"), "A=1\n");
    }
    let failure = plan(&project.root(), &Wishes::default()).unwrap_err();
    assert!(failure.hint.unwrap().contains("`keys`"));
    assert_eq!(project.covers(&[], &["keys"]), expected(&[]));
}

#[test]
fn no_device_and_no_pipe_is_opened() {
    let project = Project::new();
    nix::unistd::mkfifo(&project.root().join(".env"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    nix::unistd::mkfifo(&project.root().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(project.root().join("socket")).unwrap();
    assert_eq!(project.covers(&[], &[]), expected(&[]));
}

#[test]
fn a_folder_that_became_a_link_leads_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "theirs").unwrap();
    let project = Project::new();
    project.put("folder/file", "ours");
    let path = project.root().join("folder/file");
    let opened = std::fs::File::open(project.root()).unwrap();
    assert!(open(opened.as_fd(), Path::new("folder/file")).is_ok());
    fs::rename(project.root().join("folder"), project.root().join("other")).unwrap();
    symlink(outside.path(), project.root().join("folder")).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "theirs", "the path leads there");
    assert!(open(opened.as_fd(), Path::new("folder/file")).is_err());
}
