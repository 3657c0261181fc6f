use super::super::{Wishes, plan_repository};
use super::writer::MOST_BYTES;
use super::*;

#[test]
fn submodules_of_other_working_trees_are_not_copied_and_their_secrets_are_guarded() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().canonicalize().unwrap();
    let git = at.join("main.git");
    let put = |path: &str, text: &[u8]| {
        fs::create_dir_all(git.join(path).parent().unwrap()).unwrap();
        fs::write(git.join(path), text).unwrap();
    };
    let secret = b"[remote \"o\"]\n\turl = https://me:s3cret-of-mine@x.test/\n";
    for (folder, config) in
        [("", &b"[core]\n"[..]), ("modules/a/", secret), ("worktrees/other/modules/b/", secret)]
    {
        put(&format!("{folder}HEAD"), b"ref: refs/heads/main\n");
        put(&format!("{folder}index"), b"DIRC");
        put(&format!("{folder}refs/heads/main"), b"0\n");
        put(&format!("{folder}config"), config);
        // More than is copied, without a block on the disk.
        put(&format!("{folder}objects/pack/large"), b"");
        let large = fs::File::options().write(true).open(git.join(folder).join("objects/pack/large"));
        large.unwrap().set_len(MOST_BYTES + 1).unwrap();
    }
    put("worktrees/other/gitdir", b"/elsewhere/.git\n");
    put("worktrees/other/HEAD", b"ref: refs/heads/theirs\n");
    put("worktrees/tree/modules/c/HEAD", b"ref: refs/heads/main\n");
    let plans = [plan_repository(&git, Path::new("worktrees/tree"), &Wishes::default()).unwrap()];
    let folder = at.join("served");
    let roots = vec![held::reopen_directory(held::open(&git).unwrap()).unwrap()];
    let guarded = Guarded::default();
    let mut writer =
        Writer { plans: &plans, roots, at: 0, folder: folder.clone(), copied: 0, bytes: 0, guarded };
    let own = writer.write("engine").unwrap();
    let source = |path: &str| &own.iter().find(|own| own.below == Path::new(path)).expect(path).source;
    assert_eq!(fs::read_dir(source("modules")).unwrap().count(), 0);
    let other = source("worktrees/other");
    assert_eq!(fs::read_to_string(other.join("HEAD")).unwrap(), "ref: refs/heads/theirs\n");
    assert_eq!(fs::read_dir(other.join("modules")).unwrap().count(), 0);
    assert!(own.iter().all(|own| !own.below.starts_with("worktrees/tree/modules")));
    // Where another mount shows the same file, there is something to lay over it.
    for path in ["modules/a/config", "worktrees/other/modules/b/config"] {
        let laid = writer.guarded.0.values().find(|laid| laid.path == git.join(path)).expect(path);
        let text = fs::read_to_string(&laid.source).unwrap();
        assert!(!text.contains("s3cret") && text.contains("x.test"), "{path}: {text}");
    }
}
