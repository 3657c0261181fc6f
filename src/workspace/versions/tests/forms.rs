//! Every form in which git keeps objects, the index and HEAD.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// Makes many files that resemble each other, so that packs have deltas; one is executable, one is
/// large.
fn many(world: &World) {
    let text = |number: usize| -> String {
        (0..2000)
            .map(|line| format!("{} {}\n", line * 7919, if line % 97 == number { number } else { 0 }))
            .collect()
    };
    for number in 0..12 {
        world.put(&format!("sub/deep/{number}"), text(number));
    }
    world.put("empty", "");
    world.put(
        "large",
        (0..3_000_000u32).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>(),
    );
    world.put("script.sh", "#!/bin/sh\n");
    fs::set_permissions(world.at("script.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    world.commit();
    for number in 0..12 {
        world.put(&format!("sub/deep/{number}"), text(number + 20) + "more\n");
    }
    world.put("name with spaces \u{e4}", "x\n");
    world.git(&["config", "core.quotePath", "false"]);
    world.commit();
    world.put("sub/staged", "staged\n");
    world.put("script.sh", "#!/bin/sh\nexit 1\n");
    world.git(&["add", "--all"]);
}

#[test]
fn loose_and_packed_objects_of_both_forms_are_what_git_reads() {
    for form in ["sha1", "sha256"] {
        let world = World::with_repository(&[&format!("--object-format={form}")]);
        many(&world);
        world.is_as_git_says();
        for repack in [
            &["repack", "-a", "-d", "-f", "--depth=250", "--window=50"][..],
            &["-c", "repack.useDeltaBaseOffset=false", "repack", "-a", "-d", "-f"],
            &["-c", "pack.indexVersion=1", "repack", "-a", "-d", "-f"],
            &["-c", "pack.packSizeLimit=1m", "-c", "core.bigFileThreshold=1k", "repack", "-a", "-d", "-F"],
            &["multi-pack-index", "write"],
            &["gc", "--quiet", "--aggressive", "--prune=now"],
        ] {
            world.git(repack);
            world.is_as_git_says();
        }
        let chain = world.git(&["verify-pack", "-v", &pack_index(&world).display().to_string()]);
        assert!(chain.contains("chain length = "), "there were deltas: {chain}");
    }
}

#[test]
fn every_form_of_the_index_is_read() {
    for version in ["2", "3", "4"] {
        let world = World::with_repository(&[]);
        many(&world);
        world.git(&["update-index", "--index-version", version]);
        world.git(&["update-index", "--skip-worktree", "empty"]);
        world.git(&["update-index", "--assume-unchanged", "large"]);
        world.is_as_git_says();
    }
    let world = World::with_repository(&[]);
    many(&world);
    world.git(&["config", "splitIndex.maxPercentChange", "100"]);
    world.git(&["update-index", "--split-index"]);
    world.put("later", "x");
    world.git(&["add", "later"]);
    world.git(&["rm", "--quiet", "--cached", "empty"]);
    world.is_as_git_says();
    assert!(world.of("empty").unwrap().index.is_none() && world.of("empty").unwrap().head.is_some());
    let shared = fs::read_dir(world.at(".git")).unwrap().flatten().map(|entry| entry.path());
    let shared = shared.into_iter().find(|path| path.to_string_lossy().contains("sharedindex")).unwrap();
    fs::remove_file(shared).unwrap();
    assert!(matches!(world.of("later"), Err(Doubt::Unreadable(_))));
}

#[test]
fn a_sparse_index_has_what_lies_in_its_folders() {
    let world = World::with_repository(&[]);
    world.put("in/file", "in\n");
    world.put("out/a/b/.env", "KEY=1\n");
    world.put("out/file", "out\n");
    world.commit();
    world.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "in"]);
    assert!(
        world.git(&["ls-files", "--sparse"]).contains("out/\n")
            || world.git(&["ls-files", "--sparse"]).ends_with("out/")
    );
    world.put("out/a/b/.env", "KEY=1\n");
    assert!(world.shows("out/a/b/.env") && world.shows("in/file"));
    let index = world.of("out/a/b/.env").unwrap().index.unwrap();
    assert_eq!(index.id.to_string(), world.git(&["rev-parse", "HEAD:out/a/b/.env"]));
    assert!(world.of("out/a/other").unwrap().index.is_none());
}

#[test]
fn head_is_found_in_every_form_but_a_reftable() {
    let world = World::with_repository(&[]);
    many(&world);
    world.git(&["pack-refs", "--all"]);
    assert!(!world.at(".git/refs/heads/main").exists());
    world.is_as_git_says();
    world.git(&["symbolic-ref", "refs/heads/other", "refs/heads/main"]);
    world.git(&["symbolic-ref", "HEAD", "refs/heads/other"]);
    world.is_as_git_says();
    world.git(&["checkout", "--quiet", "--detach"]);
    world.is_as_git_says();
    // A commit on top of a packed reference.
    world.git(&["checkout", "--quiet", "main"]);
    world.commit();
    world.is_as_git_says();

    let world = World::with_repository(&[]);
    world.put("new", "x");
    world.git(&["add", "new"]);
    let version = world.of("new").unwrap();
    assert!(version.index.is_some() && version.head.is_none(), "there is no commit yet");

    // What git writes there: references are in a table, and HEAD says nothing.
    let world = World::with_repository(&[]);
    world.put("file", "x\n");
    world.commit();
    world.git(&["config", "core.repositoryFormatVersion", "1"]);
    world.git(&["config", "extensions.refStorage", "reftable"]);
    world.put(".git/HEAD", "ref: refs/heads/.invalid\n");
    let version = world.of("file").unwrap();
    assert!(version.head.is_none() && world.shows("file"), "the index counts alone");
}
