//! Things that git makes, and others that somebody could leave in a project, beside it.

use std::fs;
use std::os::unix::fs::symlink;

use super::super::own_files::Own;
use super::*;
use crate::workspace::git_for_tests::git;

/// A machine with repositories of git's own making.
struct World {
    _dir: tempfile::TempDir,
    at: PathBuf,
    machine: Machine,
}

impl World {
    /// Makes `main` with a submodule `libs/sub`, a linked working tree `tree` with the same, and
    /// another one, `other`.
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap().join("home/me");
        fs::create_dir_all(at.join("state")).unwrap();
        git(&at, &["init", "--quiet", "-b", "main", "dep"]);
        git(&at.join("dep"), &["commit", "--quiet", "--allow-empty", "-m", "x"]);
        git(&at, &["init", "--quiet", "-b", "main", "main"]);
        let main = at.join("main");
        fs::create_dir_all(main.join("packages/app")).unwrap();
        fs::write(main.join("packages/app/a"), "a").unwrap();
        git(&main, &["add", "."]);
        git(&main, &["submodule", "--quiet", "add", "../dep", "libs/sub"]);
        git(&main, &["commit", "--quiet", "-m", "x"]);
        git(&main, &["worktree", "add", "--quiet", "-b", "mine", "../tree"]);
        git(&main, &["worktree", "add", "--quiet", "-b", "theirs", "../other"]);
        git(&at.join("tree"), &["submodule", "--quiet", "update", "--init"]);
        let machine = Machine {
            homes: vec![at.clone()],
            other_homes: Vec::new(),
            engine: Vec::new(),
            sockets: Vec::new(),
            engine_ways: Vec::new(),
            helper_ways: Vec::new(),
            own: Own::of(&[at.join("state")], &[]),
        };
        World { _dir: dir, at, machine }
    }

    fn of(&self, project: &str) -> Result<Worktree, Failure> {
        let project = mounts::project(&self.at.join(project), PROJECT, &self.machine)?;
        Worktree::of(&project, &self.machine)
    }

    fn refused(&self, project: &str, why: &str) {
        let failure = self.of(project).expect_err(why);
        let words = format!("{}: {}", failure.message, failure.causes.join(": "));
        assert!(!why.is_empty(), "a refusal has a reason: {words}");
        assert!(failure.exit == 125 && words.contains(why), "{words}, instead of {why}");
        eprintln!("{words}");
        assert!(failure.hint.is_some(), "{words}");
    }

    fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.at.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Returns what is mounted where, and whether it can be written.
fn places(world: &World, found: &Worktree) -> Vec<String> {
    let place = |bind: Bind| {
        let source = bind.source.strip_prefix(&world.at).unwrap().display().to_string();
        format!("{source} {} {}", bind.target, if bind.writable { "rw" } else { "ro" })
    };
    found.binds().into_iter().map(place).collect()
}

fn pointers(world: &World, found: &Worktree) -> Vec<String> {
    let pointer = |pointer: &Pointer| {
        format!("{} {}", pointer.path.strip_prefix(&world.at).unwrap().display(), pointer.text.trim_end())
    };
    let mut all: Vec<_> = found.pointers.iter().map(pointer).collect();
    all.sort();
    all
}

#[test]
fn a_linked_working_tree_gets_its_repository() {
    let world = World::new();
    let found = world.of("tree").unwrap();
    assert_eq!(places(&world, &found), ["tree /workspace rw", "main/.git /repository/main/.git rw"]);
    assert_eq!(found.record, Path::new("worktrees/tree"));
    assert_eq!(
        pointers(&world, &found),
        [
            "main/.git/worktrees/tree/gitdir /workspace/.git",
            "tree/.git gitdir: /repository/main/.git/worktrees/tree",
            "tree/libs/sub/.git gitdir: /repository/main/.git/worktrees/tree/modules/libs/sub",
        ]
    );
    let submodules = vec![(world.at.join("tree/libs/sub"), PathBuf::from("worktrees/tree/modules/libs/sub"))];
    assert_eq!(found.submodules(), submodules);
    // What a project leads to is not its own by that.
    for (place, target) in
        [("a", "worktrees/other"), ("b", "modules/libs/sub"), ("c", "worktrees/other/modules/x")]
    {
        let text = format!("gitdir: {}\n", world.at.join("main/.git").join(target).display());
        world.put(&format!("tree/{place}/.git"), text);
    }
    let more = world.of("tree").unwrap();
    assert_eq!((more.pointers.len(), more.submodules()), (6, submodules));
    ["a", "b", "c"].iter().for_each(|place| fs::remove_dir_all(world.at.join("tree").join(place)).unwrap());
    let mirror = Mirror { git: "main/.git".into(), tree: "tree".into() };
    assert_eq!(found.mirror, Some(mirror));
    let main = world.at.join("main").display().to_string();
    assert!(found.told.contains(&format!("a linked working tree of {main};")), "{}", found.told);
    assert!(found.told.contains(&format!("may also write {main}/.git,")), "{}", found.told);
    // As git 2.48 writes them where it is asked to.
    world.put("tree/.git", "gitdir: ../main/.git/worktrees/tree\n");
    world.put("main/.git/worktrees/tree/gitdir", "../../../../tree/.git\n");
    assert_eq!(places(&world, &world.of("tree").unwrap()), places(&world, &found));
}

#[test]
fn a_submodule_gets_its_own_repository_alone() {
    let world = World::new();
    let found = world.of("main/libs/sub").unwrap();
    assert_eq!(
        places(&world, &found),
        ["main/libs/sub /workspace rw", "main/.git/modules/libs/sub /repository/.git/modules/libs/sub rw"]
    );
    assert_eq!(pointers(&world, &found), ["main/libs/sub/.git gitdir: /repository/.git/modules/libs/sub"]);
    assert_eq!(found.mirror.unwrap().tree, Path::new("libs/sub"));
    let of_tree = world.of("tree/libs/sub").unwrap();
    assert_eq!(
        places(&world, &of_tree)[1],
        "main/.git/worktrees/tree/modules/libs/sub /repository/main/.git/worktrees/tree/modules/libs/sub rw"
    );
    // git moves it there in a sparse submodule.
    let config = world.at.join("main/.git/modules/libs/sub/config");
    git(&world.at, &["config", "--file", config.to_str().unwrap(), "--unset", "core.worktree"]);
    world.refused("main/libs/sub", "names no working tree");
    world.put("main/.git/modules/libs/sub/config.worktree", "[core]\n\tworktree = ../../../../libs/sub\n");
    world.of("main/libs/sub").unwrap();
}

#[test]
fn of_a_working_tree_only_the_part_that_was_named_can_be_written() {
    let world = World::new();
    let found = world.of("main/packages/app").unwrap();
    assert_eq!(
        places(&world, &found),
        [
            "main /workspace ro",
            "main/packages/app /workspace/packages/app rw",
            "main/.git /workspace/.git rw"
        ]
    );
    assert!(found.pointers.is_empty() && found.mirror.is_none() && found.record.as_os_str().is_empty());
    assert_eq!(found.workdir().as_deref(), Some("/workspace/packages/app"));
    let linked = world.of("tree/packages/app").unwrap();
    assert_eq!(
        places(&world, &linked),
        [
            "tree /workspace ro",
            "tree/packages/app /workspace/packages/app rw",
            "main/.git /repository/main/.git rw"
        ]
    );
    // A part of what is never given is none either.
    git(&world.at, &["init", "--quiet", "."]);
    fs::create_dir_all(world.at.join("notes")).unwrap();
    world.refused("notes", "your home directory is not given");
}

#[test]
fn where_it_is_not_needed_it_says_so() {
    let world = World::new();
    world.refused("main", "its repository lies in it");
    fs::create_dir(world.at.join("none")).unwrap();
    world.refused("none", "no git repository is there or above");
    fs::create_dir(world.at.join("within")).unwrap();
    git(&world.at, &["init", "--quiet", "--separate-git-dir", "within/store", "within"]);
    git(&world.at.join("within"), &["config", "core.worktree", ".."]);
    world.refused("within", "lies in the working tree");
}

/// Tries a project from elsewhere that names a repository of the person's.
#[test]
fn a_repository_that_does_not_lead_back_is_not_given() {
    let world = World::new();
    let at = |path: &str| world.at.join(path).display().to_string();
    let hostile = |target: String| world.put("download/x/.git", format!("gitdir: {target}\n"));
    for (target, why) in [
        // Repositories, and what they keep for another working tree.
        (at("main/.git"), "its core.worktree names no working tree"),
        (at("main/.git/worktrees/tree"), "does not lead back: it is kept for"),
        (at("main/.git/modules/libs/sub"), "its core.worktree names ../../../../libs/sub"),
        ("../../main/.git/worktrees/other".to_owned(), "does not lead back: it is kept for"),
        // What is no repository at all.
        (at("state"), "is no repository"),
        (at("nothing"), "cannot be used"),
        ("/proc/self/root".to_owned() + &at("main/.git"), "its core.worktree names no working tree"),
    ] {
        hostile(target);
        world.refused("download/x", why);
    }
    // What a project brings along and says of itself proves nothing about a repository elsewhere.
    for name in ["rec/x", "fake/worktrees/x"] {
        world.put(&format!("download/{name}/gitdir"), at("download/x/.git"));
        world.put(&format!("download/{name}/commondir"), at("main/.git"));
        world.put(&format!("download/{name}/HEAD"), "ref: refs/heads/main\n");
        hostile(at(&format!("download/{name}")));
        world.refused("download/x", "it lies in no folder `worktrees` of the repository that it names");
    }
    // A link to what does lead to somewhere.
    symlink(at("main/.git/worktrees/tree"), world.at.join("download/link")).unwrap();
    hostile("../link".to_owned());
    world.refused("download/x", "does not lead back: it is kept for");
    fs::remove_file(world.at.join("download/x/.git")).unwrap();
    symlink(at("main/.git"), world.at.join("download/x/.git")).unwrap();
    world.refused("download/x", "is a link");
    // The control: one that does lead back is given.
    world.of("tree").unwrap();
}

#[test]
fn a_link_that_an_agent_could_have_left_is_not_followed() {
    let world = World::new();
    let moved = world.at.join("main/moved");
    fs::rename(world.at.join("main/.git/worktrees"), &moved).unwrap();
    symlink(&moved, world.at.join("main/.git/worktrees")).unwrap();
    world.refused("tree", "worktrees is a link that is not followed");
    fs::remove_file(world.at.join("main/.git/worktrees")).unwrap();
    fs::rename(&moved, world.at.join("main/.git/worktrees")).unwrap();
    world.of("tree").unwrap();
}

#[test]
fn a_repository_of_ringfences_own_or_with_other_working_trees_in_it_is_not_given() {
    let world = World::new();
    git(&world.at, &["clone", "--quiet", "--bare", "main", "bare"]);
    git(&world.at.join("bare"), &["worktree", "add", "--quiet", "-b", "a", "../apart"]);
    assert_eq!(
        places(&world, &world.of("apart").unwrap()),
        ["apart /workspace rw", "bare /repository/bare rw"]
    );
    git(&world.at.join("bare"), &["worktree", "add", "--quiet", "-b", "b", "inner"]);
    world.refused("apart", "inner lies in the repository's own folder");
    world.refused("bare/inner", "lies in the repository's own folder");
    git(&world.at, &["clone", "--quiet", "--bare", "main", "state/bare"]);
    git(&world.at.join("state/bare"), &["worktree", "add", "--quiet", "-b", "a", "../../own"]);
    world.refused("own", "ringfence's own");
}

#[test]
fn a_repository_that_names_its_working_tree_by_an_absolute_path_says_how_to_mend_it() {
    let world = World::new();
    git(&world.at, &["init", "--quiet", "--separate-git-dir", "store", "apart"]);
    world.refused("apart", "names no working tree");
    let tree = world.at.join("apart").display().to_string();
    git(&world.at.join("apart"), &["config", "core.worktree", &tree]);
    world.refused("apart", "by an absolute path");
    let hint = world.of("apart").unwrap_err().hint.unwrap();
    let words: Vec<&str> = hint.split("git ").nth(1).unwrap().split(' ').collect();
    git(&world.at, &words);
    assert_eq!(
        places(&world, &world.of("apart").unwrap()),
        ["apart /workspace rw", "store /repository/store rw"]
    );
}
