//! Tests of a program of the agent's that git must not start.

use super::*;

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
