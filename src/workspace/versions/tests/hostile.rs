//! Tests with files that an agent of an earlier run, or the project's author, could have left.

use std::time::Duration;

use super::*;

#[test]
fn a_repository_that_lies_elsewhere_is_a_doubt() {
    let world = World::with_repository(&[]);
    world.put(".env", "KEY=1\n");
    world.commit();
    let outside = world.dir.path().canonicalize().unwrap();
    let move_out = || fs::rename(world.at(".git"), outside.join("store")).unwrap();
    let move_in = || {
        fs::remove_file(world.at(".git")).unwrap();
        fs::rename(outside.join("store"), world.at(".git")).unwrap();
    };
    assert!(world.shows(".env"));
    move_out();
    for target in [outside.join("store").display().to_string(), "../store".to_owned()] {
        world.put(".git", format!("gitdir: {target}\n"));
        assert_eq!(world.git(&["status", "--porcelain"]), "", "git reads it");
        assert_eq!(world.of(".env").unwrap_err(), Doubt::Outside, "{target}");
        fs::remove_file(world.at(".git")).unwrap();
    }
    symlink(outside.join("store"), world.at(".git")).unwrap();
    assert_eq!(world.of(".env").unwrap_err(), Doubt::Outside);
    move_in();
    // Objects that lie elsewhere.
    fs::rename(world.at(".git/objects"), outside.join("objects")).unwrap();
    symlink(outside.join("objects"), world.at(".git/objects")).unwrap();
    assert_eq!(world.git(&["status", "--porcelain"]), "", "git reads it");
    assert_eq!(world.of(".env").unwrap_err(), Doubt::Outside);
    fs::remove_file(world.at(".git/objects")).unwrap();
    fs::create_dir_all(world.at(".git/objects/info")).unwrap();
    world.put(".git/objects/info/alternates", format!("{}\n", outside.join("objects").display()));
    assert_eq!(world.git(&["status", "--porcelain"]), "", "git reads it");
    assert!(!world.shows(".env"));
    let index = world.of(".env").unwrap().index.unwrap();
    assert!(matches!(index.blob(), Err(Doubt::Missing(_))));
    // Inside again, and the control.
    world.git(&["repack", "-a", "-d", "--quiet"]);
    assert!(world.shows(".env"));
    world.git(&["config", "core.worktree", &outside.display().to_string()]);
    assert_eq!(world.of(".env").unwrap_err(), Doubt::ElsewhereWorktree);
    world.git(&["config", "core.worktree", ".."]);
    assert!(world.shows(".env"));
}

#[test]
fn links_among_the_objects_are_not_followed() {
    let world = World::with_repository(&[]);
    world.put(".env", "KEY=1\n");
    world.commit();
    let id = world.git(&["rev-parse", ":.env"]);
    let (folder, name) = id.split_at(2);
    let place = format!(".git/objects/{folder}");
    let outside = world.dir.path().join("outside");
    let object = format!("{place}/{name}");
    fs::rename(world.at(&object), &outside).unwrap();
    symlink(&outside, world.at(&object)).unwrap();
    assert_eq!(world.git(&["cat-file", "-p", &id]), "KEY=1", "git reads it");
    assert!(!world.shows(".env"));
    fs::remove_file(world.at(&object)).unwrap();
    fs::copy(&outside, world.at(&object)).unwrap();
    assert!(world.shows(".env"));
    let moved = world.dir.path().join("moved");
    fs::rename(world.at(&place), &moved).unwrap();
    symlink(&moved, world.at(&place)).unwrap();
    assert_eq!(world.git(&["cat-file", "-p", &id]), "KEY=1", "git reads it");
    assert!(!world.shows(".env"));
    fs::remove_file(world.at(&place)).unwrap();
    fs::rename(&moved, world.at(&place)).unwrap();
    world.git(&["gc", "--quiet"]);
    assert!(world.shows(".env"));
    let pack = pack_index(&world).with_extension("pack");
    fs::rename(&pack, world.dir.path().join("pack")).unwrap();
    symlink(world.dir.path().join("pack"), &pack).unwrap();
    assert_eq!(world.git(&["cat-file", "-p", &id]), "KEY=1", "git reads it");
    assert!(!world.shows(".env"));
}

#[test]
fn nothing_that_an_agent_could_leave_is_trusted() {
    let base = || {
        let world = World::with_repository(&[]);
        world.put(".env", "KEY=public\n");
        world.commit();
        world.put(".env", "KEY=secret\n");
        let id = world.git(&["hash-object", ".env"]);
        (world, id)
    };
    let place = |world: &World, id: &str| {
        let (folder, name) = id.split_at(2);
        fs::create_dir_all(world.at(&format!(".git/objects/{folder}"))).unwrap();
        world.at(&format!(".git/objects/{folder}/{name}"))
    };
    // An index that names the secret's hash, which is not in the store.
    let (world, id) = base();
    world.git(&["update-index", "--cacheinfo", &format!("100644,{id},.env")]);
    assert!(!world.shows(".env"));
    // A wrong object under that name.
    let public = world.git(&["rev-parse", "HEAD:.env"]);
    fs::copy(place(&world, &public), place(&world, &id)).unwrap();
    assert!(!world.shows(".env"));
    assert!(matches!(world.of(".env").unwrap().index.unwrap().blob(), Err(Doubt::Damaged(_))));
    // What git does not look at, since stat data or a bit say that nothing changed.
    let (world, _) = base();
    world.git(&["update-index", "--assume-unchanged", ".env"]);
    assert_eq!(world.git(&["status", "--porcelain"]), "", "git believes it");
    assert!(!world.shows(".env"));
    // A replaced object, a graft, and a filter that makes every content the same.
    let (world, _) = base();
    let other = world.git(&["hash-object", "-w", ".env"]);
    world.git(&["replace", &public, &other]);
    assert_eq!(world.git(&["cat-file", "-p", &public]), "KEY=secret", "git shows the other one");
    assert!(!world.shows(".env"));
    let (world, _) = base();
    world.git(&["config", "filter.x.clean", "echo KEY=public"]);
    world.put(".git/info/attributes", ".env filter=x\n");
    assert_eq!(world.git(&["status", "--porcelain"]), "", "git believes it");
    assert!(!world.shows(".env") && world.of(".env").unwrap().filtered);
    // A blob that is a tree, a commit or a tag to others.
    let (world, _) = base();
    let tree = world.git(&["rev-parse", "HEAD^{tree}"]);
    world.git(&["update-index", "--cacheinfo", &format!("100644,{tree},.env")]);
    assert!(matches!(world.of(".env").unwrap().index.unwrap().blob(), Err(Doubt::Damaged(_))));
    // A pipe in the place of each file that is read.
    for name in ["index", "HEAD", "config", "packed-refs", "refs/heads/main", "commondir", "info/attributes"]
    {
        let (world, _) = base();
        let _ = fs::remove_file(world.at(&format!(".git/{name}")));
        nix::unistd::mkfifo(&world.at(&format!(".git/{name}")), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(!world.shows(".env"), "{name}");
    }
}

#[test]
fn large_contents_are_a_doubt() {
    let world = World::with_repository(&[]);
    let text = "x".repeat(8 << 20);
    world.put("fits", &text);
    world.put("not", text.clone() + "x");
    world.commit();
    for _ in 0..2 {
        assert!(world.shows("fits") && !world.shows("not"));
        assert!(matches!(world.of("not").unwrap().index.unwrap().blob(), Err(Doubt::TooLarge(_))));
        world.git(&["gc", "--quiet"]);
    }
}

/// Shows that one budget holds for all repositories of a project, loose or packed: beyond it
/// nothing certain is said.
#[test]
fn what_is_beyond_the_budget_of_the_look_is_a_doubt() {
    let world = World::with_repository(&[]);
    world.put(".env", "A=1\n");
    world.commit();
    world.git(&["init", "--quiet", "sub"]);
    world.put("sub/.env", "A=2\n");
    world.git(&["-C", "sub", "add", ".env"]);
    let shown = |bounds| {
        let versions = Versions::within(&world.at(""), bounds).unwrap();
        [".env", "sub/.env"].map(|path| {
            let version = versions.of(Path::new(path));
            version.and_then(|version| version.index.unwrap().blob()).map(|_| ())
        })
    };
    let spent = Err(Doubt::Spent);
    for packed in [false, true] {
        assert_eq!(shown(BOUNDS), [Ok(()), Ok(())], "packed {packed}");
        // HEAD's commit, its tree, and the file of the first.
        assert_eq!(shown(Bounds { objects: 3, ..BOUNDS }), [Ok(()), spent.clone()], "packed {packed}");
        assert_eq!(shown(Bounds { bytes: 0, ..BOUNDS }), [spent.clone(), spent.clone()]);
        assert_eq!(shown(Bounds { time: Duration::ZERO, ..BOUNDS }), [spent.clone(), spent.clone()]);
        let one = fs::metadata(world.at(".git/index")).unwrap().len();
        assert_eq!(shown(Bounds { kept: one, ..BOUNDS }), [Ok(()), spent.clone()]);
        world.git(&["gc", "--quiet"]);
    }
}
