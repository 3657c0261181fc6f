//! Tests of what agents may leave of a repository, judged by git itself.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::super::pin::pins;
use super::*;
use crate::wire::event::Observation;

struct Project {
    dir: tempfile::TempDir,
    root: Root,
}

const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tbare = false\n[remote \"origin\"]\n\turl = https://gitlab.com/a/b.git\n[alias]\n\tst = status\n";

impl Project {
    /// Makes a project with a repository in it for each of these tricks, as the agent finds it.
    fn new() -> Project {
        let dir = tempfile::tempdir().unwrap();
        for repository in ["", "sub"] {
            let folder = dir.path().join(repository);
            fs::create_dir_all(folder.join(".git/objects")).unwrap();
            fs::create_dir_all(folder.join(".git/refs")).unwrap();
            fs::write(folder.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
            fs::write(folder.join(".git/config"), CONFIG).unwrap();
        }
        fs::create_dir_all(dir.path().join(".git/hooks")).unwrap();
        let root = Project::seen(dir.path());
        Project { dir, root }
    }

    /// Records a folder as before a run.
    fn seen(at: &Path) -> Root {
        let open = open(at);
        let found = find(open.as_fd(), Look { at: Some(at), ..Look::default() }).unwrap();
        let pins = pins(open.as_fd(), at, &found, &[]).unwrap();
        Root {
            path: at.into(),
            way: vec![],
            pinned: pins.all.into_values().collect(),
            risky: found.risky.iter().map(|(path, _, print)| (path.as_path().into(), *print)).collect(),
            hooks: vec![],
            signs: Some(Bytes(found.signs.seen.clone())),
            folders: pins.folders,
            git: gitdir::facts(open.as_fd(), &found, &[]).unwrap(),
            trees: vec![],
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    fn settle(&self) -> SettleReport {
        settle(&self.root, &open(self.dir.path()), "2a")
    }

    /// Returns the configuration that git reads in a folder.
    fn config(&self, folder: &str) -> String {
        let output = Command::new("git")
            .args(["config", "--local", "--list"])
            .current_dir(self.at(folder))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CEILING_DIRECTORIES", self.dir.path())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

#[test]
fn nothing_is_touched_where_nothing_was_changed() {
    let project = Project::new();
    assert_eq!(project.settle(), SettleReport::default());
    assert_eq!(fs::read_to_string(project.at(".git/config")).unwrap(), CONFIG);
}

#[test]
fn keys_are_put_back_and_the_rest_stays() {
    let project = Project::new();
    project.put(
        ".git/config",
        &format!("{CONFIG}[core]\n\tfsmonitor = ./evil\n[user]\n\tname = A\n[alias]\n\tst = !evil\n"),
    );
    project.put("sub/.git/config", &CONFIG.replace("gitlab.com", "evil.test"));
    project.put(".git/config.worktree", "[core]\n\thooksPath = evil\n\tsparseCheckout = true\n");
    let told = project.settle();
    insta::assert_snapshot!(told.put_back().join("\n"), @r"
    put back in .git/config: alias.st, core.fsmonitor
    put back in .git/config.worktree: core.hookspath
    put back in sub/.git/config: remote.origin.url
    ");
    assert!(project.config("").contains("user.name=A\n"));
    assert!(!project.config("").contains("evil") && project.config("").contains("alias.st=status\n"));
    assert_eq!(fs::read_to_string(project.at("sub/.git/config")).unwrap(), CONFIG);
    assert_eq!(
        fs::read_to_string(project.at(".git/config.worktree")).unwrap(),
        "[core]\n\tsparseCheckout = true\n"
    );
    assert_eq!(project.settle(), SettleReport::default(), "and once is enough");
}

#[test]
fn whatever_else_is_put_in_the_place_of_a_configuration_goes() {
    type Trick = fn(&Path);
    let tricks: [(&str, Trick); 7] = [
        ("unreadable", |config| fs::write(config, "[core").unwrap()),
        ("link", |config| {
            fs::rename(config, config.with_file_name("evil")).unwrap();
            fs::write(config.with_file_name("evil"), "[alias]\n\tst = !evil\n").unwrap();
            symlink("evil", config).unwrap();
        }),
        ("pipe", |config| {
            fs::remove_file(config).unwrap();
            nix::unistd::mkfifo(config, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        ("folder", |config| {
            fs::remove_file(config).unwrap();
            fs::create_dir_all(config.join("x")).unwrap();
        }),
        ("large", |config| fs::write(config, vec![b'\n'; 2 << 20]).unwrap()),
        ("gone", |config| fs::remove_file(config).unwrap()),
        ("zero", |config| fs::write(config, "[alias]\n\tst = !evil\0\n").unwrap()),
    ];
    for (name, trick) in tricks {
        let project = Project::new();
        trick(&project.at(".git/config"));
        let told = project.settle();
        assert_eq!((told.put_back().len(), told.failures.len()), (1, 0), "{name}: {told:?}");
        let meta = project.at(".git/config").symlink_metadata().unwrap();
        assert!(meta.is_file(), "{name}");
        assert_eq!(fs::read_to_string(project.at(".git/config")).unwrap(), CONFIG, "{name}");
    }
}

#[test]
fn a_repository_that_was_exchanged_is_held_against_the_one_that_was_there() {
    let project = Project::new();
    fs::rename(project.at(".git"), project.at("old")).unwrap();
    project.put(".git/HEAD", "ref: refs/heads/main\n");
    project.put(".git/config", "[alias]\n\tst = !evil\n");
    project.put(".git/hooks/pre-commit", "evil");
    fs::create_dir_all(project.at(".git/objects")).unwrap();
    fs::create_dir_all(project.at(".git/refs")).unwrap();
    let told = project.settle();
    let text = [told.put_back(), told.left("x")].concat().join("\n");
    assert!(text.contains("put back in .git/config: alias.st, core.bare, remote.origin.url"), "{text}");
    assert!(text.contains(".git/hooks/pre-commit: put aside"), "{text}");
    assert!(!project.at(".git/hooks/pre-commit").exists());
    assert!(!project.config("").contains("evil") && project.config("").contains("alias.st=status"));
}

#[test]
fn hooks_are_put_aside_wherever_they_are() {
    use std::os::unix::fs::PermissionsExt;
    let project = Project::new();
    project.put("evil/pre-commit", "evil");
    fs::remove_dir(project.at(".git/hooks")).unwrap();
    symlink("../evil", project.at(".git/hooks")).unwrap();
    project.put("sub/.git/hooks/pre-push", "evil");
    project.put("sub/.git/hooks/pre-push.sample", "harmless");
    // A folder that cannot be written, by its owner.
    fs::set_permissions(project.at("sub/.git/hooks"), fs::Permissions::from_mode(0o555)).unwrap();
    let told = project.settle();
    assert_eq!((told.put_back().len(), told.failures.len()), (2, 0), "{told:?}");
    assert!(project.at(".git/hooks").symlink_metadata().is_err());
    let left = fs::read_dir(project.at("sub/.git/hooks")).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(left.len() == 2 && !left.contains(&"pre-push".into()), "{left:?}");
    assert_eq!(project.settle().put_back(), [".git/hooks: gone"], "and once is enough");
}

#[test]
fn what_leads_git_to_another_repository_is_put_aside() {
    for (path, trick) in [(".git", "file"), ("sub/.git", "link"), (".git/commondir", "commondir")] {
        let project = Project::new();
        project.put("evil/HEAD", "ref: refs/heads/main\n");
        project.put("evil/config", "[alias]\n\tst = !evil\n\tx = !evil\n");
        fs::create_dir_all(project.at("evil/objects")).unwrap();
        fs::create_dir_all(project.at("evil/refs")).unwrap();
        match trick {
            "file" => {
                fs::rename(project.at(path), project.at("old")).unwrap();
                project.put(path, "gitdir: evil\n");
            }
            "link" => {
                fs::rename(project.at(path), project.at("old")).unwrap();
                symlink("../evil", project.at(path)).unwrap();
            }
            _ => project.put(path, "../evil\n"),
        }
        let folder = path.strip_suffix(".git").unwrap_or("");
        assert!(project.config(folder).contains("evil"), "{trick} has an effect");
        let told = project.settle();
        assert!(
            told.put_back().iter().any(|line| line.starts_with(&format!("{path}: put aside"))),
            "{told:?}"
        );
        assert!(!project.config(folder).contains("evil"), "{trick}");
        // And the repository that it led to has nothing that runs either.
        assert!(!fs::read_to_string(project.at("evil/config")).unwrap().contains("evil"), "{trick}");
    }
}

#[test]
fn repositories_that_the_agent_makes_keep_what_git_writes() {
    let project = Project::new();
    let git = |words: &[&str]| {
        let done = Command::new("git")
            .args([
                "-c",
                "user.name=A",
                "-c",
                "user.email=a@b",
                "-c",
                "protocol.file.allow=always",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(words)
            .current_dir(project.dir.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    fs::remove_dir_all(project.at("sub")).unwrap();
    git(&["init", "--quiet", "made"]);
    git(&["-C", "made", "commit", "--quiet", "--allow-empty", "-m", "x"]);
    git(&["-C", "made", "worktree", "add", "--quiet", "../tree"]);
    git(&["-C", "made", "config", "core.fsmonitor", "./evil"]);
    git(&["init", "--quiet", "--bare", "bare"]);
    git(&["init", "--quiet", "other"]);
    git(&["-C", "other", "commit", "--quiet", "--allow-empty", "-m", "x"]);
    git(&["-C", "made", "submodule", "--quiet", "add", "../other", "module"]);
    let told = project.settle();
    // Addresses that are paths go: a push to such a path runs the hooks of the repository there.
    insta::assert_snapshot!([told.put_back(), told.left("x")].concat().join("\n"), @r"
    put back in made/.git/config: core.fsmonitor, submodule.module.url
    put back in made/.git/modules/module/config: branch.main.merge, branch.main.remote, remote.origin.url
    sub/.git: gone, with the folder that it was in
    new or changed files can run code on this machine; look before you use them:
      at an ordinary command: made/.gitmodules (new; git)
    all of these are named here: x
    ");
    git(&["-C", "made", "status"]);
    git(&["-C", "tree", "status"]);
    git(&["-C", "made/module", "status"]);
    assert_eq!(fs::read_to_string(project.at("made/.git/worktrees/tree/commondir")).unwrap(), "../..\n");
    assert!(!fs::read_to_string(project.at("made/.git/config")).unwrap().contains("evil"));
}

#[test]
fn files_that_run_code_are_told_when_they_are_new_or_changed() {
    let mut project = Project::new();
    project.put(".envrc", "old");
    project.put(".vscode/tasks.json", "{}");
    let found = find(open(project.dir.path()).as_fd(), Look::default()).unwrap();
    project.root.risky = found.risky.iter().map(|(path, _, print)| (path.as_path().into(), *print)).collect();
    assert_eq!(project.settle().left("x"), Vec::<String>::new());
    project.put(".envrc", "evil");
    project.put(".husky/pre-commit", "evil");
    project.put("src/main.rs", "fn main() {}");
    symlink("/etc", project.at(".idea")).unwrap();
    fs::remove_file(project.at(".vscode/tasks.json")).unwrap();
    insta::assert_snapshot!(project.settle().left("x").join("\n"), @r"
    new or changed files can run code on this machine; look before you use them:
      by itself, as soon as the folder is entered or opened: .envrc (changed; direnv), .idea (new; JetBrains), .vscode/tasks.json (gone; VS Code)
      at an ordinary command: .husky/pre-commit (new; hooks)
    new or changed files give others rights, or lead out:
      links that lead out of the directory: .idea (/etc)
    all of these are named here: x
    ");
}

/// A project of git's own making, and a program of the agent's that leaves a mark.
struct Lure {
    project: Project,
    mark: PathBuf,
    _outside: tempfile::TempDir,
}

const EVIL: &str = "[core]\n\trepositoryformatversion = 0\n\tfsmonitor = EVIL\n";

impl Lure {
    /// Makes a lure. `before` is what the person has there.
    fn new(before: impl Fn(&Lure)) -> Lure {
        use std::os::unix::fs::PermissionsExt;
        let outside = tempfile::tempdir().unwrap();
        let mark = outside.path().join("mark");
        let mut lure = Lure { project: Project::new(), mark, _outside: outside };
        fs::remove_dir_all(lure.project.at("sub")).unwrap();
        lure.git(&["commit", "--quiet", "--allow-empty", "-m", "x"]);
        before(&lure);
        lure.project.root = Project::seen(lure.project.dir.path());
        lure.project.put(".evil", &format!("#!/bin/sh\ntouch {}\n", lure.mark.display()));
        fs::set_permissions(lure.project.at(".evil"), fs::Permissions::from_mode(0o755)).unwrap();
        lure
    }

    fn git(&self, words: &[&str]) -> bool {
        Command::new("git")
            .args(["-c", "user.name=A", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"])
            .args(words)
            .current_dir(self.project.dir.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap()
            .status
            .success()
    }

    /// Returns a configuration that starts the program.
    fn evil(&self) -> String {
        EVIL.replace("EVIL", self.project.at(".evil").to_str().unwrap())
    }

    fn repository(&self, path: &str) {
        fs::create_dir_all(self.project.at(path).join("objects")).unwrap();
        fs::create_dir_all(self.project.at(path).join("refs/heads")).unwrap();
        self.project.put(&format!("{path}/config"), &self.evil());
    }

    /// Makes git take a path for a submodule, in the project's index.
    fn gitlink(&self, path: &str) {
        assert!(self.git(&[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("160000,{},{path}", "1".repeat(40))
        ]));
    }

    /// Tells whether `git status` starts the program.
    fn starts(&self) -> bool {
        let _ = fs::remove_file(&self.mark);
        self.git(&["status"]);
        self.mark.exists()
    }
}

#[test]
fn a_repository_without_a_head_of_its_own_is_judged_as_well() {
    for head in ["none", "folder", "space"] {
        let lure = Lure::new(|_| {});
        lure.repository(".build/foo");
        lure.project.put(".build/foo/hooks/post-checkout", "evil");
        if head == "folder" || head == "space" {
            fs::create_dir_all(lure.project.at(".build/foo/HEAD")).unwrap();
        }
        lure.project.put(".build/foo/worktrees/w/HEAD", "ref: refs/heads/main\n");
        lure.project.put(".build/foo/worktrees/w/commondir", "../..\n");
        lure.project
            .put(".build/foo/worktrees/w/gitdir", &format!("{}\n", lure.project.at("lib/.git").display()));
        if head == "space" {
            // A name of its own to git, which takes off no more than the line's end.
            lure.repository("other/foo");
            fs::create_dir_all(lure.project.at("other/foo/x")).unwrap();
            symlink("../../../../other/foo/x", lure.project.at(".build/foo/worktrees/w/ ..")).unwrap();
            lure.project.put(".build/foo/worktrees/w/commondir", " ../..\n");
            lure.project.put(".build/foo/config", "");
        }
        lure.project.put("lib/.git", "gitdir: ../.build/foo/worktrees/w\n");
        lure.gitlink("lib");
        assert!(lure.starts(), "{head}: it has an effect");
        let told = lure.project.settle();
        assert!(!lure.starts(), "{head}: {told:?}");
        assert!(
            head == "space" || !lure.project.at(".build/foo/hooks/post-checkout").exists(),
            "{head}: {told:?}"
        );
        assert!(!fs::read_to_string(lure.project.at(".build/foo/config")).unwrap().contains("evil"));
        assert_eq!(told.failures, Vec::<String>::new());
    }
}

#[test]
fn a_new_file_that_leads_git_to_what_nobody_judged_is_put_aside() {
    let lure = Lure::new(|_| {});
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), lure.project.at("l")).unwrap();
    let words = ["gitdir: ../l", "gitdir: ../../x", "gitdir: ../l/../x", "gitdir: /tmp", "nothing"];
    for (number, text) in words.iter().enumerate() {
        lure.project.put(&format!("{number}/.git"), text);
    }
    fs::create_dir_all(lure.project.at("link")).unwrap();
    symlink("../.git", lure.project.at("link/.git")).unwrap();
    lure.project.put("good/.git", "gitdir: ../.git\n");
    lure.project.put("inside/.git", "gitdir: /workspace/.git/worktrees/inside\n");
    let told = lure.project.settle();
    assert_eq!((told.put_back().len(), told.failures.len()), (words.len() + 2, 0), "{told:?}");
    assert!(lure.project.at("good/.git").exists());
    assert_eq!(lure.project.at("inside/.git").exists(), !Path::new("/workspace").exists());
}

#[test]
fn no_number_of_other_files_keeps_a_hook_from_being_seen() {
    let project = Project::new();
    fs::create_dir(project.at("d")).unwrap();
    (0..20_001).for_each(|number| fs::write(project.at(&format!("d/{number}.code-workspace")), "").unwrap());
    // Nor the order in which the folder is listed.
    for folder in [".git", "sub/.git", "a/.git", "zz/.git"] {
        fs::create_dir_all(project.at(folder).join("objects")).unwrap();
        fs::create_dir_all(project.at(folder).join("refs")).unwrap();
        project.put(&format!("{folder}/HEAD"), "ref: refs/heads/main\n");
        project.put(&format!("{folder}/hooks/post-checkout"), "evil");
    }
    let told = project.settle();
    for folder in [".git", "sub/.git", "a/.git", "zz/.git"] {
        assert!(!project.at(folder).join("hooks/post-checkout").exists(), "{folder}");
    }
    assert_eq!(told.failures, Vec::<String>::new());
    assert!(told.left("x").iter().any(|line| line.contains("19977 more")), "{told:?}");
    // And a folder of hooks that nobody looks through goes whole.
    (0..2_001).for_each(|number| fs::write(project.at(&format!(".git/hooks/{number}")), "").unwrap());
    let told = project.settle();
    assert!(!project.at(".git/hooks").exists() && told.failures.is_empty(), "{told:?}");
}

#[test]
fn what_the_walk_does_not_reach_is_a_failure_that_says_so() {
    let lure = Lure::new(|_| {});
    let deep = ["d"; 205].join("/");
    lure.repository(&deep);
    lure.project.put(&format!("{deep}/HEAD"), "ref: refs/heads/main\n");
    lure.project.put("lib/.git", &format!("gitdir: ../{deep}\n"));
    lure.gitlink("lib");
    assert!(lure.starts());
    let told = lure.project.settle();
    assert!(!lure.starts(), "{told:?}");
    assert_eq!(told.failures.len(), 1, "{told:?}");
    assert!(told.put_back().iter().any(|line| line.contains("could NOT be looked at")), "{told:?}");
}

#[test]
fn a_folder_that_cannot_be_listed_is_looked_into_by_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let lure = Lure::new(|_| {});
    lure.repository("lib/.git");
    lure.project.put("lib/.git/HEAD", "ref: refs/heads/main\n");
    lure.gitlink("lib");
    fs::set_permissions(lure.project.at("lib"), fs::Permissions::from_mode(0o311)).unwrap();
    assert!(lure.starts());
    let told = lure.project.settle();
    assert!(!lure.starts() && told.failures.is_empty(), "{told:?}");
    // An account that may look into everything sees it anyway.
    let mode = lure.project.at("lib").metadata().unwrap().permissions().mode();
    assert!(mode & 0o400 != 0, "{mode:o}");
}

#[test]
fn a_new_repository_does_not_write_through_a_link() {
    for (links, tree) in [(true, "../../../l"), (true, "../../../l/sub"), (false, "../../../other")] {
        let lure = Lure::new(|_| {});
        lure.repository(".git/modules/lib");
        lure.project.put(".git/modules/lib/HEAD", "ref: refs/heads/main\n");
        lure.project.put(".git/modules/lib/config", &format!("[core]\n\tworktree = {tree}\n"));
        lure.project.put("lib/.git", "gitdir: ../.git/modules/lib\n");
        fs::create_dir_all(lure.project.at("other")).unwrap();
        if links {
            symlink(".git", lure.project.at("l")).unwrap();
        }
        let told = lure.project.settle();
        insta::allow_duplicates! {
            insta::assert_snapshot!(told.put_back().join("\n"), @"put back in .git/modules/lib/config: core.worktree");
        }
    }
    // Where it is its own, it stays.
    let lure = Lure::new(|_| {});
    lure.repository(".git/modules/lib");
    lure.project.put(".git/modules/lib/HEAD", "ref: refs/heads/main\n");
    lure.project.put(".git/modules/lib/config", "[core]\n\tworktree = ../../../lib\n");
    lure.project.put("lib/.git", "gitdir: ../.git/modules/lib\n");
    assert_eq!(lure.project.settle(), SettleReport::default());
}

#[test]
fn a_folder_that_was_exchanged_for_a_link_is_neither_followed_nor_forgotten() {
    let lure = Lure::new(|lure| {
        lure.repository("lib/.git");
        lure.project.put("lib/.git/HEAD", "ref: refs/heads/main\n");
        lure.project.put("lib/.git/config", CONFIG);
    });
    fs::rename(lure.project.at("lib"), lure.project.at(".lib")).unwrap();
    symlink(".lib", lure.project.at("lib")).unwrap();
    lure.project.put(".lib/.git/config", &CONFIG.replace("gitlab.com", "evil.test"));
    assert!(lure.project.config("lib").contains("evil.test"));
    let told = lure.project.settle();
    assert!(lure.project.at("lib").symlink_metadata().is_err(), "{told:?}");
    assert_eq!(fs::read_to_string(lure.project.at(".lib/.git/config")).unwrap(), CONFIG, "{told:?}");
    assert!(told.put_back().iter().any(|line| line.starts_with("lib: put aside")), "{told:?}");
    assert!(
        told.put_back().iter().any(|line| line == "put back in .lib/.git/config: remote.origin.url"),
        "{told:?}"
    );
}

#[test]
fn configurations_are_kept_through_the_persons_own_links() {
    let config = format!("{CONFIG}[include]\n\tpath = ../conf/gc\n");
    let lure = Lure::new(|lure| {
        lure.project.put("real/gc", "[user]\n\tname = A\n");
        symlink("real", lure.project.at("conf")).unwrap();
        lure.project.put(".git/config", &config);
    });
    for trick in ["file", "link"] {
        match trick {
            "file" => lure.project.put("real/gc", "[core]\n\tfsmonitor = ./.evil\n"),
            _ => {
                lure.project.put("bad/gc", "[core]\n\tfsmonitor = ./.evil\n");
                fs::remove_file(lure.project.at("conf")).unwrap();
                symlink("bad", lure.project.at("conf")).unwrap();
            }
        }
        assert!(lure.starts(), "{trick}");
        let told = lure.project.settle();
        assert!(!lure.starts() && told.failures.is_empty(), "{trick}: {told:?}");
        assert!(!told.put_back().is_empty(), "{trick}");
    }
    assert_eq!(fs::read_link(lure.project.at("conf")).unwrap(), Path::new("real"));
}

#[test]
fn a_working_tree_elsewhere_is_not_exchanged_for_a_link() {
    let lure = Lure::new(|lure| {
        lure.repository("store");
        lure.project.put("store/HEAD", "ref: refs/heads/main\n");
        lure.project.put("store/config", "[core]\n\tbare = false\n\tworktree = ../work\n");
        fs::create_dir_all(lure.project.at("work")).unwrap();
    });
    fs::rename(lure.project.at("work"), lure.project.at("w")).unwrap();
    symlink(".git/hooks", lure.project.at("work")).unwrap();
    let told = lure.project.settle();
    assert!(lure.project.at("work").symlink_metadata().is_err() && told.failures.is_empty(), "{told:?}");
}

#[test]
fn old_places_of_addresses_are_put_aside_and_new_remotes_told() {
    let lure = Lure::new(|lure| lure.project.put(".git/remotes/mine", "URL: https://gitlab.com/a/b\n"));
    lure.project.put(".git/remotes/evil", "URL: ext::sh -c touch% /tmp/x\n");
    lure.project.put(".git/branches/evil", "https://evil.test/x\n");
    assert!(lure.git(&["remote", "add", "fork", "https://gitlab.com/me/b"]));
    let told = lure.project.settle();
    assert!(lure.project.at(".git/remotes/mine").exists());
    assert!(
        !lure.project.at(".git/remotes/evil").exists() && !lure.project.at(".git/branches/evil").exists()
    );
    let lines = told.put_back();
    assert!(
        lines.contains(&"new remotes in .git/config: fork (https://gitlab.com/me/b)".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn no_configuration_takes_long() {
    let project = Project::new();
    let many: String = (0..40_000).map(|n| format!("[branch \"{n}\"]\n\tremote = .\n")).collect();
    project.put(".git/config", &many);
    let fewer: String = (0..1_000).map(|n| format!("[branch \"{n}\"]\n\tremote = .\n")).collect();
    project.put("sub/.git/config", &format!("{CONFIG}{fewer}"));
    let began = Instant::now();
    let told = project.settle();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(fs::read_to_string(project.at(".git/config")).unwrap(), CONFIG, "{told:?}");
    assert!(project.config("sub").contains("branch.999.remote=."));
}

#[test]
fn what_lies_behind_the_persons_links_is_told_too() {
    let lure = Lure::new(|lure| {
        lure.project.put("scripts/env.sh", "export A=1\n");
        lure.project.put("conf/vscode/tasks.json", "{}");
        symlink("scripts/env.sh", lure.project.at(".envrc")).unwrap();
        symlink("conf/vscode", lure.project.at(".vscode")).unwrap();
    });
    assert_eq!(lure.project.settle().left("x"), Vec::<String>::new());
    lure.project.put("scripts/env.sh", "evil\n");
    lure.project.put("conf/vscode/tasks.json", "evil");
    lure.project.put("evil/config.yml", "evil");
    symlink("evil", lure.project.at(".circleci")).unwrap();
    let text = lure.project.settle().left("x").join("\n");
    for part in [
        ".envrc (changed; direnv)",
        ".vscode/tasks.json (changed; VS Code)",
        ".circleci (new; CircleCI)",
        ".circleci/config.yml (new",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn what_gives_rights_or_leads_out_is_told_and_nothing_that_was_there() {
    use std::os::unix::fs::PermissionsExt;
    let mode =
        |path: PathBuf, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let lure = Lure::new(|lure| {
        for path in ["had-suid", "had-write", "key", "script", "plain"] {
            lure.project.put(path, "#!/bin/sh\n");
        }
        mode(lure.project.at("had-suid"), 0o4755);
        mode(lure.project.at("had-write"), 0o666);
        mode(lure.project.at("key"), 0o600);
        symlink("/etc/passwd", lure.project.at("had-link")).unwrap();
    });
    assert_eq!(lure.project.settle().left("x"), Vec::<String>::new(), "what was there is not told");
    for (path, bits) in [("plain", 0o2755), ("key", 0o644), ("script", 0o755)] {
        mode(lure.project.at(path), bits);
    }
    lure.project.put("new-suid", "x");
    mode(lure.project.at("new-suid"), 0o4755);
    fs::create_dir(lure.project.at("open")).unwrap();
    mode(lure.project.at("open"), 0o777);
    mode(lure.project.dir.path().to_owned(), 0o777);
    symlink("../../etc", lure.project.at("out")).unwrap();
    symlink("sub/../../../x", lure.project.at("out2\u{1b}[2J")).unwrap();
    symlink("plain", lure.project.at("in")).unwrap();
    fs::hard_link(lure.project.at("plain"), lure.project.at("second")).unwrap();
    nix::unistd::mkfifo(&lure.project.at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(lure.project.at("sock")).unwrap();
    let told = lure.project.settle();
    let text = told.left("x").join("\n");
    for part in [
        "run with their owner's rights, whichever user starts them (set-user-ID): new-suid\n",
        "(set-group-ID): plain, second\n",
        "written by everybody on this machine: .",
        "open to others: ",
        "key",
        "lead out of the directory: out (../../etc), out2\\u{1b}[2J (sub/../../../x)\n",
        "sockets: sock\n",
        "pipes: pipe\n",
        "(hard links): plain, second\n",
        "can be executed, and could not before: plain, script\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("had-") && !text.contains('\u{1b}'), "{text}");
    let (notes, all) = told.notes();
    assert!(
        all && notes.iter().any(|(note, text)| *note == Observation::GivesRights && text.contains("script")),
        "{notes:?}"
    );
    assert!(
        notes.iter().any(|(note, text)| *note == Observation::LeadsOut && text.contains("pipe")),
        "{notes:?}"
    );
}

#[test]
fn a_working_tree_that_was_made_inside_is_told_with_what_mends_it() {
    let lure = Lure::new(|_| {});
    fs::remove_dir_all(lure.project.at(".git")).unwrap();
    assert!(lure.git(&["init", "--quiet"]));
    let id = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
    assert!(lure.git(&[&id[..], &["commit", "--quiet", "--allow-empty", "-m", "x"]].concat()));
    assert!(lure.git(&["worktree", "add", "--quiet", "-b", "made", "made tree"]));
    // As it is where the project lies at the container's path.
    let at = lure.project.dir.path().to_str().unwrap().to_owned();
    for file in [".git/worktrees/made tree/gitdir", "made tree/.git"] {
        let file = fs::read_dir(lure.project.at(".git/worktrees")).unwrap().flatten().next().map_or(
            file.into(),
            |entry| {
                file.replace(
                    "worktrees/made tree",
                    &format!("worktrees/{}", entry.file_name().to_str().unwrap()),
                )
            },
        );
        let text = fs::read_to_string(lure.project.at(&file)).unwrap().replace(&at, "/workspace");
        lure.project.put(&file, &text);
    }
    let broken =
        Command::new("git").args(["status"]).current_dir(lure.project.at("made tree")).output().unwrap();
    assert!(!broken.status.success());
    let lines = lure.project.settle().put_back();
    let line = lines.iter().find(|line| line.contains("new linked working tree")).expect("told");
    let command = line.split('`').nth(1).unwrap();
    assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
    let mended =
        Command::new("git").args(["status"]).current_dir(lure.project.at("made tree")).output().unwrap();
    assert!(mended.status.success(), "{command}: {}", String::from_utf8_lossy(&mended.stderr));
}
