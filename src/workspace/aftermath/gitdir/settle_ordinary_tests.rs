//! Tests of ordinary work, of pushes, and of what leaves no room.

use super::*;

/// Does what a person, or an agent, does every day. Nothing of it is lost, and nothing is put back.
#[test]
fn ordinary_operations_stay_as_they_are() {
    type Work = fn(&Project);
    fn work(project: &Project, message: &str) {
        project.put(message, message);
        project.git(&["add", "."]);
        project.git(&["commit", "--quiet", "-m", message]);
    }
    /// Makes two branches that change one line.
    fn conflict(project: &Project) {
        project.git(&["checkout", "--quiet", "-b", "other"]);
        project.put("sub/file", "theirs\n");
        work(project, "theirs");
        project.git(&["checkout", "--quiet", "main"]);
        project.put("sub/file", "ours\n");
        work(project, "ours");
    }
    let all: [(&str, Work); 14] = [
        ("commit", |project| work(project, "one")),
        ("branch, tag, switch", |project| {
            project.git(&["switch", "--quiet", "-c", "feature"]);
            work(project, "two");
            project.git(&["tag", "-a", "v1", "-m", "v1"]);
        }),
        ("staged and not staged", |project| {
            project.put("staged", "x");
            project.git(&["add", "staged"]);
            project.git(&["rm", "--quiet", "sub/file"]);
            project.put("script.sh", "echo more\n");
            project.put("later", "x");
            project.git(&["add", "--intent-to-add", "later"]);
        }),
        ("stash", |project| {
            project.put("script.sh", "echo stashed\n");
            project.git(&["stash", "--quiet"]);
        }),
        ("merge", |project| {
            project.git(&["checkout", "--quiet", "-b", "other"]);
            work(project, "theirs");
            project.git(&["checkout", "--quiet", "main"]);
            work(project, "ours");
            project.git(&["merge", "--quiet", "--no-edit", "other"]);
        }),
        ("merge with a conflict", |project| {
            conflict(project);
            assert!(!project.try_git(&["merge", "other"]).0);
        }),
        ("rebase", |project| {
            project.git(&["checkout", "--quiet", "-b", "other"]);
            work(project, "theirs");
            project.git(&["checkout", "--quiet", "main"]);
            work(project, "ours");
            project.git(&["rebase", "--quiet", "other"]);
        }),
        ("rebase with a conflict", |project| {
            conflict(project);
            assert!(!project.try_git(&["rebase", "other"]).0);
        }),
        ("cherry-pick with a conflict", |project| {
            conflict(project);
            assert!(
                !project.try_git(&["cherry-pick", "other~"]).0
                    || !project.try_git(&["cherry-pick", "other"]).0
            );
        }),
        ("gc", |project| {
            work(project, "one");
            project.git(&["gc", "--quiet", "--prune=now"]);
        }),
        ("worktree", |project| _ = project.git(&["worktree", "add", "--quiet", "-b", "w", "tree"])),
        ("sparse checkout", |project| {
            project.git(&["sparse-checkout", "set", "--cone", "sub"]);
            work(project, "sub/more");
        }),
        ("bisect", |project| {
            work(project, "one");
            work(project, "two");
            work(project, "three");
            project.git(&["bisect", "start", "HEAD", "HEAD~3"]);
        }),
        ("notes and reset", |project| {
            work(project, "one");
            project.git(&["notes", "add", "-m", "note"]);
            project.git(&["reset", "--quiet", "--hard", "HEAD~"]);
        }),
    ];
    for (name, operation) in all {
        let project = Project::new();
        operation(&project);
        let seen = |project: &Project| {
            [
                &["status", "--porcelain=v2", "--branch", "--untracked-files=all"][..],
                &["for-each-ref"],
                &["reflog", "--all"],
                &["stash", "list"],
                &["ls-files", "--stage", "-v"],
                &["log", "--all", "--oneline", "--graph"],
                &["config", "--local", "--list"],
                &["worktree", "list"],
            ]
            .map(|words| project.git(words))
        };
        let before = seen(&project);
        let told = project.settle();
        assert_eq!(seen(&project), before, "{name}: {told:?}");
        let put_back = told.put_back();
        assert!(
            put_back.iter().all(|line| name == "gc" && line.contains("removed; git makes it anew")),
            "{name}: {put_back:?}"
        );
        project.git(&["fsck", "--strict"]);
        match name {
            "merge with a conflict" => _ = project.git(&["merge", "--abort"]),
            "rebase with a conflict" => {
                project.put("sub/file", "both\n");
                project.git(&["add", "."]);
                project.git(&["rebase", "--continue"]);
            }
            "cherry-pick with a conflict" => _ = project.git(&["cherry-pick", "--abort"]),
            "bisect" => _ = project.git(&["bisect", "good"]),
            "stash" => _ = project.git(&["stash", "pop"]),
            "worktree" => {
                let told = project.git(&["-C", "tree", "status", "--porcelain"]);
                assert_eq!(told, "");
            }
            _ => {}
        }
        if name.ends_with("conflict") {
            assert!(told.changes().join("\n").contains("unfinished"), "{name}: {told:?}");
        }
    }
}

#[test]
fn a_push_goes_where_it_went_before_the_run() {
    let remote = tempfile::tempdir().unwrap();
    let url = remote.path().to_str().unwrap().to_owned();
    let with = |project: &Project| {
        project.git(&["init", "--quiet", "--bare", "--initial-branch=main", &url]);
        project.git(&["remote", "add", "origin", &url]);
        project.git(&["push", "--quiet", "--force", "-u", "origin", "main"]);
        project.git(&["checkout", "--quiet", "-b", "feature"]);
        project.git(&["push", "--quiet", "--force", "-u", "origin", "feature"]);
    };
    let play = |project: &Project| {
        project.git(&["config", "push.default", "upstream"]);
        project.git(&["config", "branch.feature.merge", "refs/heads/main"]);
        project.git(&["config", "remote.origin.fetch", "+refs/heads/*:refs/heads/*"]);
        project.git(&["commit", "--quiet", "--allow-empty", "-m", "work"]);
    };
    let main = |project: &Project| project.git(&["ls-remote", &url, "refs/heads/main"]);
    let control = Project::with(with);
    play(&control);
    let was = main(&control);
    control.git(&["push", "--quiet"]);
    assert_ne!(main(&control), was, "the control moves the remote's main");

    fs::remove_dir_all(remote.path()).unwrap();
    let project = Project::with(with);
    play(&project);
    let was = main(&project);
    let told = project.settle();
    let keys = "put back in .git/config: branch.feature.merge, push.default, remote.origin.fetch";
    assert_eq!(told.put_back(), [keys]);
    project.git(&["push", "--quiet"]);
    assert_eq!(main(&project), was);
    assert!(
        project
            .git(&["ls-remote", &url, "refs/heads/feature"])
            .starts_with(project.git(&["rev-parse", "feature"]).trim())
    );
}

/// Tries a reference by which git shows `evil` in the place of the script, in every form that git
/// reads.
#[test]
fn no_object_is_shown_in_the_place_of_another_whatever_the_form() {
    let forms: [fn(&Project, &str, &str); 7] = [
        |project, old, new| project.put(&format!(".git/refs/replace/{old}"), &format!("{new}\n")),
        |project, old, new| project.put(&format!(".git/refs/replace/{old}"), &new.to_uppercase()),
        |project, old, new| project.put(&format!(".git/refs/replace/{old}"), &format!("{new} and more")),
        |project, old, new| {
            project.put(&format!(".git/refs/replace/{old}"), &format!("{new}{}", " ".repeat(5000)));
        },
        |project, old, new| {
            project.put(".git/ORIG_HEAD", &format!("{new}\n"));
            project.put(&format!(".git/refs/replace/below/{old}"), "ref: ORIG_HEAD\n");
        },
        |project, old, new| project.put(".git/packed-refs", &format!("{new}\trefs/replace/{old}\n")),
        |project, old, new| {
            project.put(".git/packed-refs", &format!("{} refs/replace/{old}\n", new.to_uppercase()));
        },
    ];
    for (number, form) in forms.iter().enumerate() {
        let project = Project::new();
        let old = project.git(&["rev-parse", "HEAD:script.sh"]);
        let show = || project.git(&["show", "HEAD:script.sh"]);
        form(&project, old.trim(), &project.object("echo evil\n"));
        assert_eq!(show(), "echo evil\n", "git reads form {number}");
        let told = project.settle().put_back().join("\n");
        assert_eq!(show(), "echo good\n", "{number}: {told}");
        assert!(told.contains("in the place of one"), "{number}: {told}");
    }
    // The person's own stays.
    let project = Project::with(|project| {
        let old = project.git(&["rev-parse", "HEAD:script.sh"]);
        project.git(&["replace", old.trim(), &project.object("mine\n")]);
        project.git(&["pack-refs", "--all"]);
    });
    assert_eq!(project.settle(), SettleReport::default());
    assert_eq!(project.git(&["show", "HEAD:script.sh"]), "mine\n");
}

#[test]
fn what_cannot_be_looked_through_keeps_nothing_else_from_being_judged() {
    let deep = |project: &Project| {
        fs::create_dir_all(project.at(&format!(".git/objects/{}", "d/".repeat(70)))).unwrap();
    };
    let many = |project: &Project| {
        for number in 0..=MOST {
            fs::File::create(project.at(&format!(".git/objects/pack/{number}.bitmap"))).unwrap();
        }
    };
    for crowd in [&deep as &dyn Fn(&Project), &many] {
        let project = Project::new();
        crowd(&project);
        let blob = project.object("echo evil\n");
        project.bend_index(|entries| entries.push(entry(".git/hooks/post-checkout", 0o100_755, &blob)));
        project.put(&format!(".git/refs/replace/{blob}"), &format!("{blob}\n"));
        let told = settle_root(&project.root, &fs::File::open(project.dir.path()).unwrap().into(), "2a");
        assert_eq!(told.failures.len(), 1, "it is said: {:?}", told.failures);
        assert!(!project.git(&["ls-files"]).contains("hooks"), "{told:?}");
        assert!(!project.at(&format!(".git/refs/replace/{blob}")).exists(), "{told:?}");
    }
}

#[test]
fn a_name_that_leaves_no_room_is_put_aside_all_the_same() {
    let project = Project::new();
    let path = format!(".git/logs/refs/{}", "a".repeat(250));
    symlink(project.outside.path(), project.at(&path)).unwrap();
    project.settle();
    assert!(project.at(&path).symlink_metadata().is_err());
}

#[test]
fn a_persons_own_link_to_an_index_stays() {
    let project = Project::with(|project| {
        fs::rename(project.at(".git/index"), project.at(".git/elsewhere")).unwrap();
        symlink("elsewhere", project.at(".git/index")).unwrap();
    });
    assert_eq!(project.settle(), SettleReport::default());
    assert_eq!(project.status(), "");
}
