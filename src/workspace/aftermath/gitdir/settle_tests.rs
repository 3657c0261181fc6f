//! Tests of what an agent leaves below `.git`, judged by what the person's own git does afterwards.

#[path = "settle_ordinary_tests.rs"]
mod ordinary;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use super::super::super::find::{Look, find};
use super::super::super::pin::pins;
use super::super::super::record::Root;
use super::super::super::settle::settle as settle_root;
use super::super::MOST;
use super::super::index::{Entry, write};

use super::*;

/// A project with one commit of two files, and a person's configuration.
struct Project {
    dir: tempfile::TempDir,
    outside: tempfile::TempDir,
    root: Root,
}

impl Project {
    fn new() -> Project {
        Project::with(|_| {})
    }

    /// Makes a project. `before` is what the person has there.
    fn with(before: impl Fn(&Project)) -> Project {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = Root {
            path: dir.path().into(),
            way: vec![],
            pinned: vec![],
            risky: vec![],
            hooks: vec![],
            signs: None,
            folders: vec![],
            git: vec![],
            trees: vec![],
        };
        let mut project = Project { dir, outside, root };
        project.git(&["init", "--quiet", "--initial-branch=main", "."]);
        project.put("script.sh", "echo good\n");
        project.put("sub/file", "one\n");
        project.git(&["add", "."]);
        project.git(&["commit", "--quiet", "-m", "start"]);
        before(&project);
        project.begin();
        project
    }

    /// Looks, as before a run.
    fn begin(&mut self) {
        let open: OwnedFd = fs::File::open(self.dir.path()).unwrap().into();
        let found = find(open.as_fd(), Look::default()).unwrap();
        let pins = pins(open.as_fd(), self.dir.path(), &found, &[]).unwrap();
        self.root.pinned = pins.all.into_values().collect();
        self.root.folders = pins.folders;
        self.root.risky =
            found.risky.iter().map(|(path, _, print)| (path.as_path().into(), *print)).collect();
        self.root.git = super::super::facts(open.as_fd(), &found, &[]).unwrap();
    }

    fn settle(&self) -> SettleReport {
        let told = settle_root(&self.root, &fs::File::open(self.dir.path()).unwrap().into(), "2a");
        assert_eq!(told.failures, Vec::<String>::new());
        told
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    /// Runs git as the person, who has no configuration of their own.
    fn try_git(&self, words: &[&str]) -> (bool, String) {
        let output = Command::new("git")
            .args(words)
            .current_dir(self.dir.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_EDITOR", "true")
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "A")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "a@b")))
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    fn git(&self, words: &[&str]) -> String {
        let (good, text) = self.try_git(words);
        assert!(good, "{words:?}: {text}");
        text
    }

    fn status(&self) -> String {
        self.git(&["status", "--porcelain"])
    }

    /// Writes an index by hand, of the one that is there.
    fn bend_index(&self, bend: impl Fn(&mut Vec<Entry>)) {
        let mut now = index::read(&fs::read(self.at(".git/index")).unwrap(), false).unwrap();
        bend(&mut now.entries);
        now.entries.sort_by(|one, other| one.path.cmp(&other.path));
        fs::write(self.at(".git/index"), write(&now, false)).unwrap();
    }

    fn object(&self, text: &str) -> String {
        self.put("object", text);
        let name = self.git(&["hash-object", "-w", "object"]);
        fs::remove_file(self.at("object")).unwrap();
        name.trim().to_owned()
    }
}

fn entry(path: &str, mode: u32, object: &str) -> Entry {
    Entry {
        path: path.into(),
        mode,
        object: hex::decode(object).unwrap(),
        stage: 0,
        valid: false,
        skip: false,
        intent: false,
        stat: [0; 10],
    }
}

#[test]
fn no_entry_of_an_index_writes_where_git_runs_what_lies_there() {
    for (path, lands) in [
        (".git/hooks/post-checkout", ".git/hooks/post-checkout"),
        (".git/info/attributes", ".git/info/attributes"),
        ("sub/../.git/hooks/pre-commit", ".git/hooks/pre-commit"),
    ] {
        let play = |project: &Project| {
            let object = project.object("#!/bin/sh\ntouch ran\n");
            project.bend_index(|entries| entries.push(entry(path, 0o100_755, &object)));
        };
        let control = Project::new();
        play(&control);
        control.try_git(&["restore", "."]);
        let works = control.at(lands).exists();
        if path.starts_with(".git/") {
            assert!(works, "{path}: the attack works where nobody judges");
        }
        let project = Project::new();
        play(&project);
        let told = project.settle().put_back().join("\n");
        assert!(told.contains("taken out") && told.contains(path), "{told}");
        project.try_git(&["restore", "."]);
        project.try_git(&["checkout", "."]);
        assert!(!project.at(lands).exists() && !project.at("ran").exists(), "{path}");
        assert_eq!(project.status(), "");
    }
}

/// Tries each trick that hides a changed script from `git status`.
#[test]
fn a_changed_script_is_shown_whatever_the_agent_did_to_hide_it() {
    type Trick = fn(&Project);
    let evil = |project: &Project| project.put("script.sh", "echo evil\n");
    let tricks: [(&str, Trick); 9] = [
        ("assume-unchanged", |project| _ = project.git(&["update-index", "--assume-unchanged", "script.sh"])),
        ("skip-worktree", |project| _ = project.git(&["update-index", "--skip-worktree", "script.sh"])),
        ("stat data", |project| {
            // The entry has what lstat says of the changed file, which is older than the index.
            let earlier = std::time::SystemTime::now() - std::time::Duration::from_secs(100);
            fs::File::options()
                .write(true)
                .open(project.at("script.sh"))
                .unwrap()
                .set_modified(earlier)
                .unwrap();
            let object = project.git(&["rev-parse", "HEAD:script.sh"]);
            project.git(&["add", "script.sh"]);
            let mut bytes = fs::read(project.at(".git/index")).unwrap();
            let now = project.git(&["rev-parse", ":script.sh"]);
            let [now, object] = [now, object].map(|name| hex::decode(name.trim()).unwrap());
            let place = bytes.windows(20).position(|part| part == now).unwrap();
            bytes[place..place + 20].copy_from_slice(&object);
            // Without the cached trees, which would say otherwise.
            let end = bytes.windows(4).position(|part| part == b"TREE").unwrap();
            bytes.truncate(end);
            bytes.extend_from_slice(&[0; 20]);
            fs::write(project.at(".git/index"), bytes).unwrap();
        }),
        ("a replaced object", |project| {
            project.git(&["add", "script.sh"]);
            let [was, now] = ["HEAD^{tree}", ":script.sh"].map(|name| project.git(&["rev-parse", name]));
            let tree = project.git(&["write-tree"]);
            assert!(!now.is_empty());
            project.git(&["replace", was.trim(), tree.trim()]);
        }),
        ("a replaced object, packed", |project| {
            project.git(&["add", "script.sh"]);
            let was = project.git(&["rev-parse", "HEAD^{tree}"]);
            let tree = project.git(&["write-tree"]);
            project.git(&["replace", was.trim(), tree.trim()]);
            project.git(&["pack-refs", "--all"]);
        }),
        ("core.fileMode", |project| {
            use std::os::unix::fs::PermissionsExt;
            project.git(&["config", "core.fileMode", "false"]);
            project.git(&["restore", "script.sh"]);
            fs::set_permissions(project.at("script.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        }),
        ("core.ignoreStat", |project| {
            project.git(&["restore", "script.sh"]);
            project.git(&["config", "core.ignoreStat", "true"]);
            project.git(&["update-index", "--really-refresh"]);
            project.put("sub/file", "two\n");
            project.git(&["add", "."]);
            project.git(&["restore", "--staged", "--worktree", "."]);
            project.put("script.sh", "echo evil\n");
        }),
        ("core.checkStat", |project| {
            project.git(&["restore", "script.sh"]);
            let before = fs::metadata(project.at("script.sh")).unwrap().modified().unwrap();
            let earlier = before - std::time::Duration::from_secs(100);
            let set = |time| {
                fs::File::options()
                    .write(true)
                    .open(project.at("script.sh"))
                    .unwrap()
                    .set_modified(time)
                    .unwrap();
            };
            set(earlier);
            project.git(&["config", "core.checkStat", "minimal"]);
            project.git(&["config", "core.trustctime", "false"]);
            project.git(&["update-index", "--refresh"]);
            // In place, so that only the time of the change tells.
            fs::write(project.at("script.sh"), "echo evil\n").unwrap();
            set(earlier);
        }),
        ("core.autocrlf", |project| {
            project.git(&["config", "core.autocrlf", "input"]);
            project.put("script.sh", "echo good\r\n");
            project.git(&["add", "script.sh"]);
        }),
    ];
    for (name, trick) in tricks {
        let control = Project::new();
        evil(&control);
        trick(&control);
        assert!(!control.status().contains(" M script.sh"), "{name} hides it: {}", control.status());
        let project = Project::new();
        evil(&project);
        trick(&project);
        let told = project.settle();
        let status = project.status();
        assert!(status.contains("script.sh"), "{name}: `{status}` {told:?}");
        assert!(
            !project.settle().put_back().iter().any(|line| line.contains("script.sh")),
            "{name}: once is enough"
        );
    }
}

#[test]
fn a_staged_change_is_not_hidden_by_a_cached_tree() {
    let play = |project: &Project| {
        // The index says evil, its cached tree says what HEAD has.
        let object = project.object("echo evil\n");
        let bytes = fs::read(project.at(".git/index")).unwrap();
        let was = hex::decode(project.git(&["rev-parse", "HEAD:sub/file"]).trim()).unwrap();
        let place = bytes.windows(20).position(|part| part == was).unwrap();
        let mut bent = bytes.clone();
        bent[place..place + 20].copy_from_slice(&hex::decode(object).unwrap());
        fs::write(project.at(".git/index"), bent).unwrap();
        project.put("sub/file", "echo evil\n");
    };
    let control = Project::new();
    play(&control);
    assert!(!control.git(&["diff", "--cached", "--name-only"]).contains("sub/file"), "the control hides it");
    let project = Project::new();
    play(&project);
    project.settle();
    assert_eq!(project.git(&["diff", "--cached", "--name-only"]), "sub/file\n");
}

#[test]
fn new_files_are_shown_whatever_the_agent_excludes() {
    type Trick = fn(&Project);
    let tricks: [(&str, Trick); 4] = [
        ("info/exclude", |project| project.put(".git/info/exclude", "*\n")),
        ("core.excludesFile", |project| {
            project.put(".git/mine", "*\n");
            project.git(&["config", "core.excludesFile", ".git/mine"]);
        }),
        ("status.showUntrackedFiles", |project| {
            _ = project.git(&["config", "status.showUntrackedFiles", "no"])
        }),
        ("a link", |project| {
            project.put(".git/mine", "*\n");
            fs::remove_file(project.at(".git/info/exclude")).unwrap();
            symlink("../mine", project.at(".git/info/exclude")).unwrap();
        }),
    ];
    for (name, trick) in tricks {
        let project = Project::new();
        project.put("evil.sh", "echo evil\n");
        trick(&project);
        assert_eq!(project.status(), "", "{name} hides it");
        let told = project.settle();
        assert_eq!(project.status(), "?? evil.sh\n", "{name}: {told:?}");
        assert!(!told.put_back().is_empty(), "{name}");
    }
    // And what a person excludes stays so, though the whole folder is gone.
    let project = Project::with(|project| {
        project.put(".git/info/exclude", "mine\n");
        project.put("mine", "mine");
    });
    fs::remove_dir_all(project.at(".git/info")).unwrap();
    project.settle();
    assert_eq!(project.status(), "");
}

#[test]
fn what_leads_git_to_other_objects_or_another_history_is_put_aside() {
    for (path, text) in [
        ("objects/info/alternates", "/nonexistent/objects\n"),
        ("objects/info/http-alternates", "http://evil.test/objects\n"),
        ("info/grafts", "0123456789abcdef0123456789abcdef01234567\n"),
        ("info/attributes", "* diff=evil\n"),
    ] {
        let project = Project::new();
        project.put(&format!(".git/{path}"), text);
        let told = project.settle();
        assert!(!project.at(&format!(".git/{path}")).exists(), "{path}");
        assert!(told.put_back().join("\n").contains(path), "{told:?}");
        // The person's own stays, and comes back.
        let project = Project::with(|project| project.put(&format!(".git/{path}"), "# mine\n"));
        assert_eq!(project.settle(), SettleReport::default(), "{path}");
        project.put(&format!(".git/{path}"), text);
        project.settle();
        assert_eq!(project.read(&format!(".git/{path}")), "# mine\n");
    }
}

#[test]
fn git_writes_through_no_link_that_the_agent_left() {
    for path in [
        "logs/HEAD",
        "COMMIT_EDITMSG",
        "logs/refs/heads/main",
        "logs",
        "refs/heads",
        "objects/ab",
        "ORIG_HEAD",
        "index",
    ] {
        let project = Project::new();
        let place = project.at(&format!(".git/{path}"));
        let victim = project.outside.path().join("bashrc");
        let is_folder = place.is_dir() || path == "objects/ab";
        if is_folder {
            if place.is_dir() {
                fs::rename(&place, &victim).unwrap();
            } else {
                fs::create_dir(&victim).unwrap();
            }
        } else {
            fs::write(&victim, if path == "index" { fs::read(&place).unwrap() } else { b"mine\n".to_vec() })
                .unwrap();
            let _ = fs::remove_file(&place);
        }
        let before = fs::read(&victim).ok();
        symlink(&victim, &place).unwrap();
        let told = project.settle();
        assert!(told.put_back().join("\n").contains(path), "{path}: {told:?}");
        assert!(place.symlink_metadata().is_err(), "{path}");
        project.try_git(&["commit", "--quiet", "--allow-empty", "-m", "x; touch ran"]);
        project.try_git(&["reset", "--quiet", "--hard"]);
        assert_eq!(fs::read(&victim).ok(), before, "{path}");
    }
    // A link of the person's own stays, and one of a program that nobody knows is told.
    let project = Project::with(|project| {
        fs::rename(project.at(".git/logs"), project.at("elsewhere")).unwrap();
        symlink("../elsewhere", project.at(".git/logs")).unwrap();
    });
    fs::create_dir(project.at(".git/annex")).unwrap();
    symlink("x", project.at(".git/annex/link")).unwrap();
    let told = project.settle();
    assert_eq!(told.put_back(), Vec::<String>::new());
    assert!(project.at(".git/annex/link").symlink_metadata().is_ok());
    let noted = told.changes().join("\n");
    assert!(noted.contains(".git/annex: new") && noted.contains(".git/annex/link: new"), "{noted}");
}

#[test]
fn what_git_trusts_of_its_own_is_made_anew() {
    let project = Project::new();
    project.git(&["commit", "--quiet", "--allow-empty", "-m", "second"]);
    project.git(&["-c", "gc.writeCommitGraph=true", "gc", "--quiet"]);
    project.git(&["multi-pack-index", "write"]);
    let log = project.git(&["log", "--oneline"]);
    for path in ["objects/info/commit-graph", "objects/pack/multi-pack-index"] {
        assert!(project.at(&format!(".git/{path}")).exists(), "{path}");
    }
    let told = project.settle();
    for path in ["objects/info/commit-graph", "objects/pack/multi-pack-index"] {
        assert!(!project.at(&format!(".git/{path}")).exists(), "{path}: {told:?}");
    }
    assert_eq!(project.git(&["log", "--oneline"]), log);
    project.git(&["fsck", "--full"]);
    // Those of the person stay.
    let project = Project::with(|project| _ = project.git(&["commit-graph", "write", "--reachable"]));
    assert_eq!(project.settle(), SettleReport::default());
    assert!(project.at(".git/objects/info/commit-graph").exists());
}

#[test]
fn a_socket_for_a_monitor_and_resolutions_of_conflicts_do_not_stay() {
    let project = Project::new();
    let socket = std::os::unix::net::UnixListener::bind(project.at(".git/fsmonitor--daemon.ipc")).unwrap();
    project.put(".git/rr-cache/1234/postimage", "evil");
    let told = project.settle().put_back().join("\n");
    drop(socket);
    assert!(told.contains("fsmonitor--daemon.ipc") && told.contains("rr-cache"), "{told}");
    assert!(
        !project.at(".git/rr-cache").exists()
            && project.at(".git/fsmonitor--daemon.ipc").symlink_metadata().is_err()
    );
}

#[test]
fn an_index_and_a_head_that_nobody_can_read_are_mended() {
    for text in ["nonsense", ""] {
        let project = Project::new();
        project.put(".git/index", text);
        project.put(".git/HEAD", "ref: ../../elsewhere\n");
        let told = project.settle().put_back().join("\n");
        assert!(told.contains(".git/index: put aside") && told.contains("git reset"), "{told}");
        assert!(told.contains(".git/HEAD: put back"), "{told}");
        project.git(&["reset", "--quiet"]);
        assert_eq!(project.status(), "");
    }
}

#[test]
fn a_persons_own_marks_stay_and_what_they_hide_is_told() {
    let project = Project::with(|project| {
        project.git(&["update-index", "--assume-unchanged", "script.sh"]);
        project.git(&["update-index", "--skip-worktree", "sub/file"]);
    });
    project.git(&["update-index", "--no-assume-unchanged", "script.sh"]);
    project.git(&["commit", "--quiet", "--allow-empty", "-m", "work"]);
    project.put("sub/file", "evil\n");
    let told = project.settle();
    assert!(told.changes().join("\n").contains("sub/file: changed, which"), "{told:?}");
    let marks = project.git(&["ls-files", "-v"]);
    assert!(marks.contains("S sub/file") && marks.contains("h script.sh"), "{marks}");
}

#[test]
fn references_that_moved_are_told_old_and_new() {
    let project = Project::with(|project| _ = project.git(&["branch", "old"]));
    let was = project.git(&["rev-parse", "main"]);
    project.git(&["commit", "--quiet", "--allow-empty", "-m", "work"]);
    project.git(&["checkout", "--quiet", "-b", "feature"]);
    project.git(&["branch", "--quiet", "-D", "old"]);
    project.git(&["tag", "v1"]);
    let now = project.git(&["rev-parse", "main"]);
    let told = project.settle().changes().join("\n");
    let moved = format!("refs/heads/main moved: {} → {}", &was[..12], &now[..12]);
    for line in [
        moved.as_str(),
        "HEAD moved: refs/heads/main → refs/heads/feature",
        "refs/heads/old moved",
        "refs/tags/v1 moved: none",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
}
