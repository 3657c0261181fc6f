//! Tests of what agents may leave of a repository, judged by git itself.

#[path = "settle_lure_tests.rs"]
mod lure;

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
