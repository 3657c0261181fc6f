//! Attributes, held against `git check-attr`.

use super::*;

#[test]
fn attributes_that_convert_are_seen_as_git_sees_them() {
    let world = World::with_repository(&[]);
    let lines = "*.crypt filter=git-crypt diff=git-crypt\n\
        /rooted/* filter=lfs -text\n\
        deep/**/x filter=a\n\
        \"quoted \\303\\244\" filter=b\n\
        [attr]secret filter=c diff=c\n\
        [attr]other secret\n\
        *.macro other\n\
        *.ident ident\n\
        *.wide working-tree-encoding=UTF-16LE eol=crlf\n\
        *.crypt.plain !filter\n\
        *.undone filter=d\n\
        *.undone -filter\n\
        !not filter=e\n\
        *.txt text eol=crlf\n\
        [a-c]?.set filter=f\n\
        folder/ filter=g\n";
    world.put(".gitattributes", lines);
    world.put("sub/.gitattributes", "*.local filter=h\n[attr]no filter\n*.txt no\n/only filter=i\n");
    world.put(".git/info/attributes", "info filter=j\n");
    let paths = [
        "a.crypt",
        "sub/b.crypt",
        "rooted/x",
        "rooted/sub/x",
        "sub/rooted/x",
        "deep/a/b/x",
        "deep/x",
        "quoted \u{e4}",
        "a.macro",
        "a.ident",
        "a.wide",
        "a.crypt.plain",
        "a.undone",
        "not",
        "!not",
        "a.txt",
        "sub/a.txt",
        "a1.set",
        "d1.set",
        "folder/x",
        "a.local",
        "sub/a.local",
        "sub/only",
        "sub/sub/only",
        "info",
        "sub/info",
        ".env",
        ".gitattributes",
    ];
    for path in paths {
        if !path.ends_with(".gitattributes") {
            world.put(path, "x\n");
        }
    }
    let versions = world.versions();
    let mut filtered = 0;
    for path in paths {
        let said = world.git(&["check-attr", "-z", "filter", "ident", "working-tree-encoding", "--", path]);
        let is = said.split('\0').skip(2).step_by(3).any(|value| !matches!(value, "unspecified" | "unset"));
        assert_eq!(versions.of(Path::new(path)).unwrap().filtered, is, "{path}: {said:?}");
        filtered += usize::from(is);
    }
    assert_eq!(filtered, 14);
}

#[test]
fn attributes_of_index_and_commit_count_too_and_a_doubt_is_a_yes() {
    let filtered = |world: &World| world.of("sub/.env").unwrap().filtered;
    let plain = || {
        let world = World::with_repository(&[]);
        world.put("sub/.env", "KEY=1\n");
        world.commit();
        assert!(!filtered(&world));
        world
    };
    // Only in the index; only in the commit.
    let world = plain();
    world.put("sub/.gitattributes", ".env filter=x\n");
    world.git(&["add", "--all"]);
    fs::remove_file(world.at("sub/.gitattributes")).unwrap();
    assert!(filtered(&world));
    world.git(&["commit", "--quiet", "-m", "x"]);
    world.git(&["rm", "--quiet", "--cached", "sub/.gitattributes"]);
    assert!(filtered(&world));
    type Left = (&'static str, fn(&World));
    let doubts: [Left; 6] = [
        ("a link", |world| symlink("other", world.at(".gitattributes")).unwrap()),
        ("a folder", |world| fs::create_dir(world.at(".gitattributes")).unwrap()),
        ("too large", |world| world.put(".gitattributes", "#".repeat(300 << 10))),
        ("a broken attribute", |world| world.put(".gitattributes", "*.env ok =bad\n")),
        ("elsewhere", |world| _ = world.git(&["config", "core.attributesFile", "/x"])),
        ("many stars", |world| world.put(".gitattributes", format!("{}x filter=y\n", "*a".repeat(30)))),
    ];
    for (what, doubt) in doubts {
        let world = plain();
        doubt(&world);
        assert!(filtered(&world), "{what}");
    }
}
