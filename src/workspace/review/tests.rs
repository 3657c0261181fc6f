//! Tests of reviews of runs whose agents hide what they did.

use std::fs;
use std::process::Command;

use super::super::aftermath::find_for_tests;
use super::super::aftermath::listing::list;
use super::*;

struct Project {
    dir: tempfile::TempDir,
    state: tempfile::TempDir,
}

impl Project {
    fn new() -> Project {
        let project = Project { dir: tempfile::tempdir().unwrap(), state: tempfile::tempdir().unwrap() };
        project.git(&["init", "--quiet", "--initial-branch=main", "."]);
        project.put("script.sh", "echo good\n");
        project.put("lines.txt", "one\ntwo\n");
        project.put("gone", "x");
        project.put(".gitignore", "*.log\n");
        project.git(&["add", "."]);
        project.git(&["commit", "--quiet", "-m", "start"]);
        project.put("old.log", "old");
        project
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn git(&self, words: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=A\u{1b}[31m", "-c", "user.email=a@b"])
            .args(words)
            .current_dir(self.dir.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn open(&self) -> OwnedFd {
        fs::File::open(self.dir.path()).unwrap().into()
    }

    /// Reviews the project after `work`.
    fn review(&self, work: impl Fn(&Project)) -> Directory {
        let open = self.open();
        let at = self.dir.path().canonicalize().unwrap();
        let facts = find_for_tests(&open);
        let before = list(open.as_fd()).unwrap();
        // The kernel's clock for files moves in steps.
        std::thread::sleep(std::time::Duration::from_millis(20));
        work(self);
        let mut directory = Directory::default();
        let mut heads = BTreeMap::new();
        for facts in &facts {
            let git = own_git_in(self.state.path(), &at, &open, facts);
            let (repository, tracked) =
                repository(&open, facts, facts.refs.head_object(), git.as_ref().map_err(ToString::to_string));
            directory.repositories.push(repository);
            heads.insert(facts.tree.as_ref().unwrap().path(), (git.ok(), tracked));
        }
        directory.files = files::compare(&at, &open, &before, &heads, &mut directory.doubts).unwrap();
        assert_eq!(fs::read_dir(self.state.path()).unwrap().count(), heads.len());
        drop(heads);
        assert_eq!(fs::read_dir(self.state.path()).unwrap().count(), 0, "nothing of it stays");
        directory
    }
}

/// Returns kind of change, path, and a mark of files that are ignored: by a pattern that was there,
/// or a new one.
fn lines(directory: &Directory) -> Vec<String> {
    let line = |file: &files::File| {
        let mark = match (&file.ignored_by, file.newly_ignored) {
            (None, _) => "",
            (Some(_), false) => " ignored",
            (Some(_), true) => " newly ignored",
        };
        format!("{:?} {}{mark}", file.change, file.path)
    };
    directory.files.iter().map(line).collect()
}

#[test]
fn what_changed_is_shown_against_the_start() {
    let project = Project::new();
    let was = project.git(&["rev-parse", "main"]);
    let shown = project.review(|project| {
        project.put("script.sh", "echo evil\n");
        project.put("lines.txt", "one\r\ntwo\r\n");
        project.put("new.sh", "x");
        project.put("old.log", "new");
        project.put("new.log", "x");
        project.put("sub/.gitignore", "*\n");
        project.put("sub/evil.sh", "x");
        fs::remove_file(project.dir.path().join("gone")).unwrap();
        project.git(&["add", "new.sh"]);
        project.git(&["commit", "--quiet", "-m", "work \u{1b}[2J"]);
        project.git(&["checkout", "--quiet", "-b", "feature"]);
    });
    assert_eq!(
        lines(&shown),
        [
            "Deleted gone",
            "Added new.log ignored",
            "Added new.sh",
            "Changed old.log ignored",
            "Changed script.sh",
            "Added sub/.gitignore newly ignored",
            "Added sub/evil.sh newly ignored",
        ]
    );
    let [repository] = shown.repositories.as_slice() else { panic!("{shown:?}") };
    let now = project.git(&["rev-parse", "main"]);
    let some = |text: &str| Some(text.trim().to_owned());
    assert!(repository.moves.contains(&Move {
        name: "refs/heads/main".to_owned(),
        old: some(&was),
        new: some(&now)
    }));
    assert!(repository.moves.contains(&Move {
        name: "refs/heads/feature".to_owned(),
        old: None,
        new: some(&now)
    }));
    assert_eq!(repository.commits.len(), 1);
    assert_eq!(repository.objects_are_good, Some(true), "{repository:?}");
    assert_eq!((shown.doubts.len(), repository.doubts.len()), (0, 0), "{shown:?}");
    let mut text = String::new();
    let review = Review {
        id: "x".to_owned(),
        name: None,
        began: 0,
        ended: None,
        put_back: vec!["\u{1b}[2J".to_owned()],
        git_changed: vec![],
        runs_code: vec![],
        directories: vec![shown],
    };
    text.push_str(&review.text());
    assert!(text.contains("changed  script.sh") && text.contains("WHICH THIS RUN CHANGED"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
    assert!(serde_json::to_string(&review).unwrap().contains("\"newly-ignored\":true"));
}

#[test]
fn nothing_in_the_project_decides_what_is_shown_and_nothing_of_it_runs() {
    let project = Project::new();
    let mark = project.state.path().with_extension("mark");
    let evil = format!("touch {}", mark.display());
    let shown = project.review(|project| {
        for key in [
            "core.fsmonitor",
            "core.pager",
            "diff.external",
            "filter.e.clean",
            "diff.e.textconv",
            "core.sshCommand",
            "core.hooksPath",
        ] {
            project.git(&["config", key, &evil]);
        }
        project.git(&["config", "extensions.partialClone", "origin"]);
        project.git(&["config", "remote.origin.url", &format!("ext::sh -c {}", evil.replace(' ', "% "))]);
        project.put(".gitattributes", "* filter=e diff=e\n");
        project.put(".git/info/attributes", "* filter=e diff=e\n");
        project.put(".git/info/grafts", "nonsense\n");
        project.put(".git/objects/info/commit-graph", "nonsense\n");
        project.put(".git/index", "nonsense\n");
        project.put("script.sh", "echo evil\n");
    });
    assert!(!mark.exists());
    assert_eq!(lines(&shown), ["Added .gitattributes", "Changed script.sh"]);
    assert_eq!(shown.repositories[0].objects_are_good, Some(true), "{shown:?}");
}

#[test]
fn replaced_and_forged_objects_are_no_word_on_what_was_there() {
    // By a reference.
    let project = Project::new();
    let shown = project.review(|project| {
        project.put("script.sh", "echo evil\n");
        project.git(&["add", "script.sh"]);
        let was = project.git(&["rev-parse", "HEAD^{tree}"]);
        let now = project.git(&["write-tree"]);
        project.git(&["replace", was.trim(), now.trim()]);
    });
    assert_eq!(lines(&shown), ["Changed script.sh"]);
    // By writing another object under its name: a file's, and a tree's.
    let project = Project::new();
    let shown = project.review(|project| {
        let was = project.git(&["rev-parse", "HEAD:script.sh"]);
        project.put("script.sh", "echo evil\n");
        let now = project.git(&["hash-object", "-w", "script.sh"]);
        project.git(&["restore", "script.sh"]);
        let place =
            |name: &str| project.dir.path().join(".git/objects").join(&name[..2]).join(name[2..].trim());
        fs::remove_file(place(&was)).unwrap();
        fs::copy(place(&now), place(&was)).unwrap();
    });
    assert_eq!(shown.repositories[0].objects_are_good, Some(false), "{shown:?}");
    let project = Project::new();
    let shown = project.review(|project| {
        project.put("script.sh", "echo evil\n");
        project.git(&["add", "script.sh"]);
        let (was, now) = (project.git(&["rev-parse", "HEAD^{tree}"]), project.git(&["write-tree"]));
        let place =
            |name: &str| project.dir.path().join(".git/objects").join(&name[..2]).join(name[2..].trim());
        fs::remove_file(place(&was)).unwrap();
        fs::copy(place(&now), place(&was)).unwrap();
    });
    assert_ne!(shown.repositories[0].objects_are_good, Some(true), "{shown:?}");
    assert!(!shown.repositories[0].doubts.is_empty());
}
