//! A repository's own folder that an agent could write, with its working tree elsewhere, judged by
//! the person's own git.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::find::{Look, find};
use super::gitdir;
use super::pin::pins;
use super::record::{Root, Tree};
use super::report::SettleReport;
use super::settle::{settle, trees_apart};
use crate::host::identity::Identity;
use crate::workspace::git_for_tests::command;

struct World {
    _dir: tempfile::TempDir,
    at: PathBuf,
}

fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

impl World {
    /// Makes `main`, and the linked working trees `tree` and `other`, all with `script` and
    /// `left/out`; `tree` is sparse.
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let world = World { at: dir.path().canonicalize().unwrap(), _dir: dir };
        world.git("", &["init", "--quiet", "-b", "main", "main"]);
        fs::create_dir(world.at.join("main/left")).unwrap();
        for path in ["main/script", "main/left/out"] {
            fs::write(world.at.join(path), "good\n").unwrap();
        }
        world.git("main", &["add", "."]);
        world.git("main", &["commit", "--quiet", "-m", "start"]);
        for name in ["tree", "other"] {
            world.git("main", &["worktree", "add", "--quiet", &format!("../{name}")]);
            world.git(name, &["sparse-checkout", "set", "--no-cone", "/script"]);
        }
        world
    }

    fn git(&self, at: &str, words: &[&str]) -> String {
        let output = command(&self.at.join(at), words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// Begins as before a run in `tree`; without `trees`, as if nobody knew where the working tree
    /// is.
    fn begin(&self, knows: bool) -> Root {
        let at = self.at.join("main/.git");
        let open = open(&at);
        let found = find(open.as_fd(), Look::default()).unwrap();
        let pins = pins(open.as_fd(), &at, &found, &[]).unwrap();
        let tree = self.at.join("tree");
        let identity = Identity::of(self::open(&tree)).unwrap();
        let tree =
            Tree { repository: Path::new("worktrees/tree").into(), path: tree.as_path().into(), identity };
        let trees = if knows { vec![tree] } else { Vec::new() };
        Root {
            path: at.as_path().into(),
            way: vec![],
            pinned: pins.all.into_values().collect(),
            risky: found.risky.iter().map(|(path, _, print)| (path.as_path().into(), *print)).collect(),
            hooks: vec![],
            signs: None,
            folders: pins.folders,
            git: gitdir::facts(open.as_fd(), &found, &trees_apart(&trees)).unwrap(),
            trees,
        }
    }

    fn settle(&self, root: &Root) -> SettleReport {
        let told = settle(root, &open(&self.at.join("main/.git")), "2a");
        assert_eq!(told.failures, Vec::<String>::new());
        told
    }
}

/// Forges as an agent does: writes a file, gives it its old size and time, and writes these into
/// the index.
fn forge(world: &World) {
    let script = world.at.join("tree/script");
    let modified = script.metadata().unwrap().modified().unwrap();
    fs::write(&script, "evil\n").unwrap();
    fs::File::open(&script).unwrap().set_modified(modified).unwrap();
    world.git("tree", &["update-index", "--assume-unchanged", "script"]);
}

#[test]
fn what_an_agent_hides_in_a_linked_working_tree_is_shown_and_what_the_person_left_out_stays_out() {
    let world = World::new();
    let root = world.begin(true);
    forge(&world);
    assert_eq!(world.git("tree", &["status", "--porcelain"]), "", "the control: git shows nothing");
    let told = world.settle(&root).put_back().join("\n");
    assert_eq!(world.git("tree", &["status", "--porcelain"]), " M script\n", "{told}");
    assert!(told.contains("had told it not to look at: script"), "{told}");
    assert_eq!(world.git("other", &["status", "--porcelain"]), "", "another one is as it was");
    // What a journal says is read again.
    let text = serde_json::to_vec(&root).unwrap();
    assert_eq!(serde_json::from_slice::<Root>(&text).unwrap().trees, root.trees);
}

#[test]
fn marks_of_the_person_stay_where_the_working_tree_is_not_known() {
    let world = World::new();
    let root = world.begin(false);
    fs::write(world.at.join("tree/script"), "work\n").unwrap();
    world.git("tree", &["add", "script"]);
    world.settle(&root);
    assert_eq!(world.git("tree", &["status", "--porcelain"]), "M  script\n");
}

#[test]
fn records_of_other_working_trees_hooks_and_configuration_are_put_back() {
    let world = World::new();
    let root = world.begin(true);
    let git = world.at.join("main/.git");
    let before = fs::read(git.join("worktrees/other/gitdir")).unwrap();
    fs::write(git.join("worktrees/other/gitdir"), "/elsewhere/.git\n").unwrap();
    fs::write(git.join("worktrees/other/HEAD"), "../../../evil\n").unwrap();
    fs::create_dir_all(git.join("hooks")).unwrap();
    fs::write(git.join("hooks/post-commit"), "evil").unwrap();
    world.git("tree", &["config", "core.sshCommand", "evil"]);
    world.git("tree", &["config", "--worktree", "core.hooksPath", "evil"]);
    world.git("tree", &["commit", "--quiet", "--allow-empty", "-m", "work"]);
    let told = world.settle(&root);
    assert_eq!(fs::read(git.join("worktrees/other/gitdir")).unwrap(), before);
    assert_eq!(world.git("other", &["symbolic-ref", "HEAD"]), "refs/heads/other\n", "{told:?}");
    assert!(!git.join("hooks/post-commit").exists());
    let config = world.git("tree", &["config", "--list", "--show-scope"]);
    assert!(!config.contains("evil") && config.contains("core.sparsecheckout=true"), "{config}");
    assert_eq!(world.git("tree", &["log", "-1", "--format=%s"]), "work\n", "the control: work stays");
    // Below the repository's own folder, its path is empty.
    let (was, now) = (world.git("main", &["rev-parse", "main"]), world.git("main", &["rev-parse", "tree"]));
    let moved = format!("{}: refs/heads/tree moved: {} → {}", git.display(), &was[..12], &now[..12]);
    assert!(told.changes().contains(&moved), "{moved}: {told:?}");
    let put_back = told.put_back().join("\n");
    assert!(
        put_back.contains(&format!("put back in {}/config: core.sshcommand", git.display())),
        "{put_back}"
    );
}

#[test]
fn what_an_agent_begins_for_a_working_tree_that_it_was_not_given_is_put_aside() {
    let world = World::new();
    world.git("main", &["commit", "--quiet", "--allow-empty", "-m", "mine"]);
    let before = world.git("main", &["rev-parse", "main"]);
    world.git("main", &["init", "--quiet", "--bare", ".git/worktrees/tree/modules/sub"]);
    let root = world.begin(true);
    let (git, own) = (world.at.join("main/.git"), world.at.join("main/.git/worktrees/tree"));
    // A stash that the next commit would lay over the person's files, made by git itself.
    fs::write(world.at.join("tree/script"), "evil\n").unwrap();
    let stash = world.git("tree", &["stash", "create"]);
    let object = world.git("tree", &["rev-parse", "HEAD"]);
    for folder in [&git, &own] {
        for name in ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "BISECT_START", "BISECT_LOG"] {
            fs::write(folder.join(name), &object).unwrap();
        }
        fs::write(folder.join("MERGE_AUTOSTASH"), &stash).unwrap();
        fs::write(folder.join("MERGE_MSG"), "evil\n").unwrap();
        fs::create_dir(folder.join("rebase-merge")).unwrap();
        fs::write(folder.join("rebase-merge/git-rebase-todo"), "exec evil\n").unwrap();
        fs::create_dir(folder.join("sequencer")).unwrap();
    }
    // A submodule of the given working tree may be in the middle of something too.
    fs::write(own.join("modules/sub/MERGE_HEAD"), &object).unwrap();
    let told = world.settle(&root);
    let names = |folder: &Path| {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| {
            ["MERGE", "CHERRY", "REVERT", "BISECT", "rebase", "sequencer"]
                .iter()
                .any(|one| name.starts_with(one))
        });
        names
    };
    let left = names(&git);
    assert!(left.len() == 9 && left.iter().all(|name| name.contains(".put-aside-2a-")), "{left:?}");
    let kept = names(&own);
    assert!(own.join("modules/sub/MERGE_HEAD").exists());
    assert!(kept.len() == 9 && kept.iter().all(|name| !name.contains("put-aside")), "{kept:?}");
    let lines = told.put_back().join("\n");
    assert!(lines.contains(&format!("{}: put aside", git.join("MERGE_HEAD").display())), "{lines}");
    assert!(told.changes().join("\n").contains("left a rebase unfinished"), "{told:?}");
    // The person's own git commits what is the person's.
    fs::write(world.at.join("main/new"), "mine\n").unwrap();
    world.git("main", &["add", "new"]);
    world.git("main", &["commit", "--quiet", "-m", "next"]);
    let parents = world.git("main", &["log", "-1", "--format=%P"]);
    assert_eq!(parents, before);
    assert_eq!(fs::read_to_string(world.at.join("main/script")).unwrap(), "good\n");
    assert_eq!(world.settle(&root).put_back(), Vec::<String>::new(), "and once is enough");
}
