//! Stand-ins that got into a repository are found, and the command that is told mends it.

use std::fs;
use std::process::Command;

use super::super::own_git_in;
use super::*;
use crate::host::identity::Identity;
use crate::workspace::aftermath::find_for_tests;
use crate::workspace::git_for_tests::git;

struct Project {
    dir: tempfile::TempDir,
    state: tempfile::TempDir,
}

impl Project {
    fn new() -> Project {
        let project = Project { dir: tempfile::tempdir().unwrap(), state: tempfile::tempdir().unwrap() };
        project.git(&["init", "--quiet", "--initial-branch=main", "."]);
        project
    }

    fn at(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    fn put(&self, path: &str, text: &str) {
        fs::write(self.at().join(path), text).unwrap();
    }

    fn git(&self, words: &[&str]) -> String {
        git(&self.at(), words)
    }

    /// Makes the record of a run that covers these.
    fn begin(&self, stand_ins: &[(&str, &str)]) -> RunRoot {
        let open = open_folder(&self.at());
        let stand_in =
            |(path, text): &(&str, &str)| StandIn::of((PathBuf::from(path), text.as_bytes().to_vec()));
        RunRoot {
            path: self.at().as_path().into(),
            identity: Some(Identity::of(&open).unwrap()),
            git: find_for_tests(&open),
            trees: Vec::new(),
            stand_ins: stand_ins.iter().map(stand_in).collect(),
        }
    }

    fn told(&self, root: &RunRoot) -> Vec<String> {
        let mut told = SettleReport::default();
        look_in(root, &mut told, |at, open, facts| own_git_in(self.state.path(), at, open, facts));
        told.put_back()
    }
}

fn open_folder(at: &Path) -> OwnedFd {
    fs::File::open(at).unwrap().into()
}

/// Runs what was told, as a person would.
fn mend(line: &str) {
    let command = line.rsplit_once(": ").unwrap().1;
    let done = Command::new("sh")
        .args(["-c", command])
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "a")))
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "a@example.com")))
        .output()
        .unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_commit_with_a_stand_in_is_told_and_the_command_mends_it() {
    let project = Project::new();
    project.put(".env", "A=committed\n");
    project.put("README", "x\n");
    project.git(&["add", "."]);
    project.git(&["commit", "--quiet", "-m", "one"]);
    project.put(".env", "A=secret\n");
    let root = project.begin(&[(".env", ""), ("b.npmrc", "token=masked-by-ringfence\n")]);
    assert_eq!(project.told(&root), Vec::<String>::new());
    // As inside: the stand-ins are in the files' places.
    project.put(".env", "");
    project.put("b.npmrc", "token=masked-by-ringfence\n");
    project.put("README", "y\n");
    project.git(&["commit", "--quiet", "-am", "two"]);
    project.git(&["add", "b.npmrc"]);
    // And after the run.
    project.put(".env", "A=secret\n");
    project.put("b.npmrc", "token=secret\n");
    let told = project.told(&root);
    let commit = project.git(&["rev-parse", "HEAD"])[..12].to_owned();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with(&format!("commit {commit} has ringfence's stand-in for ")), "{told:?}");
    assert!(
        told[0].contains("/.env, not the file") && told[1].contains("index has ringfence's stand-in"),
        "{told:?}"
    );
    told.iter().rev().for_each(|line| mend(line));
    assert_eq!(project.git(&["show", "HEAD:.env"]), "A=committed\n");
    assert_eq!(project.git(&["show", "HEAD:README"]), "y\n");
    assert_eq!(project.git(&["status", "--short"]), " M .env\n?? b.npmrc\n");
    assert_eq!(fs::read_to_string(project.at().join(".env")).unwrap(), "A=secret\n");
    assert_eq!(fs::read_to_string(project.at().join("b.npmrc")).unwrap(), "token=secret\n");
}

#[test]
fn what_is_empty_elsewhere_is_no_stand_in_and_a_copy_of_a_masked_file_is() {
    let project = Project::new();
    project.put("README", "x\n");
    project.git(&["add", "."]);
    project.git(&["commit", "--quiet", "-m", "one"]);
    let masked = "token=masked-by-ringfence\n";
    let root = project.begin(&[(".env", ""), (".npmrc", masked)]);
    project.git(&["switch", "--quiet", "--create", "work"]);
    project.put("__init__.py", "");
    project.git(&["add", "."]);
    project.git(&["commit", "--quiet", "-m", "no stand-in"]);
    assert_eq!(project.told(&root), Vec::<String>::new());
    project.put("copy", masked);
    project.put(".env", "");
    project.git(&["add", "."]);
    project.git(&["commit", "--quiet", "-m", "two of them"]);
    project.git(&["rm", "--quiet", "copy"]);
    project.git(&["commit", "--quiet", "-m", "later"]);
    project.put(".env", "A=secret\n");
    let told = project.told(&root);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().any(|line| line.contains("/copy,")), "{told:?}");
    let env = told.iter().find(|line| line.contains("/.env,")).unwrap();
    assert!(!env.contains("--amend"), "{env}");
    mend(env);
    assert_eq!(project.git(&["ls-files"]), "README\n__init__.py\n");
    assert_eq!(fs::read_to_string(project.at().join(".env")).unwrap(), "A=secret\n");
}

#[test]
fn a_stand_in_in_a_stash_or_a_merge_is_found() {
    let project = Project::new();
    project.put(".env", "A=committed\n");
    project.git(&["add", "."]);
    project.git(&["commit", "--quiet", "-m", "one"]);
    let root = project.begin(&[(".env", "A=masked\n")]);
    project.put(".env", "A=masked\n");
    project.git(&["stash", "--quiet"]);
    let told = project.told(&root);
    assert!(!told.is_empty() && told.iter().all(|line| line.contains("/.env")), "{told:?}");
}

#[test]
fn a_commit_in_a_working_tree_whose_repository_lies_elsewhere_is_told_and_the_command_mends_it() {
    let project = Project::new();
    project.put(".env", "A=committed\n");
    project.put("README", "x\n");
    project.git(&["add", "."]);
    project.git(&["commit", "--quiet", "-m", "one"]);
    let outside = tempfile::tempdir().unwrap();
    let tree = outside.path().canonicalize().unwrap().join("tree");
    project.git(&["worktree", "add", "--quiet", "-b", "mine", tree.to_str().unwrap()]);
    let sub = tree.join("sub");
    let module = project.at().join(".git/worktrees/tree/modules/sub");
    fs::create_dir_all(module.parent().unwrap()).unwrap();
    git(&tree, &["init", "--quiet", "--separate-git-dir", module.to_str().unwrap(), "sub"]);
    fs::write(sub.join(".env"), "S=committed\n").unwrap();
    git(&sub, &["add", "."]);
    git(&sub, &["commit", "--quiet", "-m", "one"]);
    // The record of a run in `tree`, whose covers are counted from there.
    let repository = project.at().join(".git");
    let open = open_folder(&repository);
    let apart = |path: &Path, repository: &str| crate::workspace::aftermath::record::Tree {
        repository: Path::new(repository).into(),
        path: path.into(),
        identity: Identity::of(open_folder(path)).unwrap(),
    };
    let stand_in = |(path, text): (&str, &str)| StandIn::of((path.into(), text.as_bytes().to_vec()));
    let root = RunRoot {
        path: repository.as_path().into(),
        identity: Some(Identity::of(&open).unwrap()),
        git: find_for_tests(&open),
        trees: vec![apart(&tree, "worktrees/tree"), apart(&sub, "worktrees/tree/modules/sub")],
        stand_ins: [(".env", ""), ("b.npmrc", "t=masked\n"), ("sub/.env", "S=masked\n")].map(stand_in).into(),
    };
    assert_eq!(project.told(&root), Vec::<String>::new());
    fs::write(tree.join(".env"), "").unwrap();
    fs::write(tree.join("b.npmrc"), "t=masked\n").unwrap();
    git(&tree, &["commit", "--quiet", "-m", "two", ".env"]);
    git(&tree, &["add", "b.npmrc"]);
    fs::write(sub.join(".env"), "S=masked\n").unwrap();
    git(&sub, &["commit", "--quiet", "-am", "two"]);
    for (path, text) in [(".env", "A=secret\n"), ("b.npmrc", "t=secret\n"), ("sub/.env", "S=secret\n")] {
        fs::write(tree.join(path), text).unwrap();
    }
    let told = project.told(&root);
    let id = |at: &Path| git(at, &["rev-parse", "HEAD"])[..12].to_owned();
    let line =
        |id: String| told.iter().find(|line| line.starts_with(&format!("commit {id} has ringfence's")));
    let staged = told.iter().find(|line| line.contains("index has ringfence's stand-in")).unwrap();
    assert!(told.len() == 3 && staged.contains("tree/b.npmrc"), "{told:?}");
    mend(staged);
    mend(line(id(&tree)).unwrap());
    mend(line(id(&sub)).unwrap());
    assert_eq!(git(&tree, &["show", "HEAD:.env"]), "A=committed\n");
    assert_eq!(git(&sub, &["show", "HEAD:.env"]), "S=committed\n");
    assert_eq!(git(&tree, &["status", "--short"]), " M .env\n?? b.npmrc\n?? sub/\n");
    assert_eq!(fs::read_to_string(tree.join(".env")).unwrap(), "A=secret\n");
    assert_eq!(project.git(&["log", "--format=%s", "main"]), "one\n", "another branch is as it was");
    assert_eq!(project.told(&root), Vec::<String>::new(), "and once is enough");
}
