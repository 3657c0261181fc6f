//! Settings for git in the container about covered files, so that no stand-in is added to a
//! repository.
//!
//! ```text
//!  covers of one working tree ─▶ excludes:   `git add .` passes over what is not tracked
//!                            └─▶ attributes: a filter by which git takes the index's version for the content of what is tracked
//!  GIT_CONFIG_*: includeIf the repository's folder ─▶ a configuration that names both
//! ```
//! The files are ringfence's, outside of the project. Nothing in the repository is changed: neither
//! its configuration nor marks in its index. Other repositories, and the excludes that an image has
//! for them, are left alone.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::decide::{Reason, Verdict};
use super::{Cover, Plan, With, tracked};
use crate::workspace::aftermath::place;

/// Folder in the container with ringfence's files for the agent's git.
pub(crate) const FOLDER: &str = "/run/ringfence/git";
/// A file `.git` is no longer.
const LONGEST: u64 = 4096;

/// Gives git the index's version in the place of a covered file; where there is none, the file is
/// not added.
const FILTER: &str = r#"[filter "ringfence"]
	clean = "f() { git cat-file blob \":$1\" 2>/dev/null && return; echo \"ringfence: $1 is covered, so it cannot be added\" >&2; exit 1; }; f %f"
	smudge = cat
	required = true
"#;

/// Settings for git.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ForGit {
    /// Files by their names in the folder.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// Keys and values of the environment.
    pub(crate) settings: Vec<(String, String)>,
}

/// Returns what git is told of the covers; nothing where no cover hides a file of a working tree.
pub(crate) fn for_git(plans: &[Plan]) -> Option<ForGit> {
    let mut all = ForGit::default();
    for plan in plans {
        let Some(place) = &plan.place else { continue };
        let found = plan.for_git_at(place, FOLDER, all.settings.len()).unwrap_or_default();
        all.files.extend(found.files);
        all.settings.extend(found.settings);
    }
    (!all.settings.is_empty()).then_some(all)
}

impl Plan {
    /// Returns what git is told of the covers of one directory, which is mounted at `place`.
    /// `first` is the number of its first working tree.
    fn for_git_at(&self, place: &str, folder: &str, first: usize) -> Option<ForGit> {
        let mut trees: BTreeMap<PathBuf, (Vec<u8>, Vec<u8>)> = BTreeMap::new();
        for cover in self.covers.iter().filter(|cover| self.differs(cover)) {
            for (tree, path) in in_trees(&self.project, &cover.path) {
                let Some(pattern) = pattern(path) else { continue };
                let (excludes, attributes) = trees.entry(tree.to_owned()).or_default();
                excludes.extend([b"/", &pattern[..], b"\n"].concat());
                attributes.extend([&quoted(&pattern)[..], b" filter=ringfence -text\n"].concat());
            }
        }
        let mut all = ForGit::default();
        for (tree, (excludes, attributes)) in trees {
            let number = first + all.settings.len();
            // A file `.git` that leads elsewhere is covered with the path that holds inside.
            let led = self.led_inside(&tree);
            let below = || own_folder(&self.project, &tree).map(|own| Path::new(place).join(own));
            let own = led.or_else(below).and_then(|own| String::from_utf8(pattern(&own)?).ok());
            let Some(own) = own else { continue };
            let config = format!(
                "[core]\n\texcludesFile = \"{folder}/{number}.excludes\"\n\tattributesFile = \"{folder}/{number}.attributes\"\n{FILTER}"
            );
            let key = format!("includeIf.gitdir:{own}.path");
            all.settings.push((key, format!("{folder}/{number}.config")));
            let files = [("config", config.into_bytes()), ("excludes", excludes), ("attributes", attributes)];
            all.files.extend(files.map(|(name, text)| (format!("{number}.{name}"), text)));
        }
        (!all.settings.is_empty()).then_some(all)
    }

    /// Returns the path inside to which the cover of a working tree's `.git` leads.
    fn led_inside(&self, tree: &Path) -> Option<PathBuf> {
        let gitfile = tree.join(".git");
        let cover = self.covers.iter().find(|cover| cover.path == gitfile)?;
        let With::Instead(text) = &cover.with else { return None };
        let target = text.strip_prefix(b"gitdir: ").map(place::one_path)?;
        Some(PathBuf::from(OsStr::from_bytes(target)))
    }

    /// Tells whether the agent finds something else than the file, in a working tree.
    fn differs(&self, cover: &Cover) -> bool {
        let hides = matches!(cover.with, With::Nothing | With::Masked(_) | With::Committed { .. });
        hides
            && matches!(
                self.decided.verdicts.get(&cover.path),
                Some(Verdict::Committed | Verdict::StandIn(_))
            )
            && self.decided.verdicts.get(&cover.path) != Some(&Verdict::StandIn(Reason::GitsOwn))
    }

    /// Returns the texts that stand in for files of working trees, by the files' paths.
    pub(crate) fn stand_ins(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let text = |cover: &Cover| match &cover.with {
            With::Nothing => Some(Vec::new()),
            With::Masked(text) => Some(text.clone()),
            With::Committed { .. } | With::Itself | With::Instead(_) => None,
        };
        let all = self.covers.iter().filter(|cover| self.differs(cover));
        all.filter_map(|cover| Some((cover.path.clone(), text(cover)?))).collect()
    }

    /// Explains, for the end of a run, the error by which git says that it cannot replace a covered
    /// file; nothing where no tracked file is covered.
    pub(crate) fn busy(&self) -> Option<String> {
        let tracked = |cover: &&Cover| match self.decided.verdicts.get(&cover.path) {
            Some(Verdict::Committed) => true,
            Some(Verdict::StandIn(reason)) => reason.may_be_tracked(),
            Some(Verdict::Show) | None => false,
        };
        let names: Vec<String> =
            self.covers.iter().filter(tracked).map(|cover| super::report::shown(&cover.path)).collect();
        (!names.is_empty()).then(|| {
            format!(
                "covered in this run: {}; where git said \"Device or resource busy\" of them, it could not replace the cover, \
                 and your own file is as it was",
                super::report::few(names)
            )
        })
    }
}

/// Lists every folder that is, or may become, a working tree with the path in it, and the path
/// there: the project, and each with a `.git` of whatever kind. Which of these git takes for a
/// repository may change during the run, by one file in `.git`. A pattern too many does nothing,
/// since git looks at no path of another repository.
fn in_trees<'a>(project: &Path, path: &'a Path) -> impl Iterator<Item = (&'a Path, &'a Path)> {
    let is_tree = |folder: &&Path| {
        folder.as_os_str().is_empty() || project.join(folder).join(".git").symlink_metadata().is_ok()
    };
    let trees = path.ancestors().skip(1).filter(is_tree);
    trees.filter_map(|tree| Some((tree, path.strip_prefix(tree).ok()?)))
}

/// Returns the folder below the project in which git keeps the files of a working tree. The agent
/// may make one that is not there yet.
fn own_folder(project: &Path, tree: &Path) -> Option<PathBuf> {
    let own = tree.join(".git");
    let mut text = Vec::new();
    match tracked::open(&project.join(&own)) {
        Ok(file) => file.take(LONGEST).read_to_end(&mut text).ok()?,
        Err(_) => return Some(own),
    };
    let target = text.strip_prefix(b"gitdir: ").map(place::one_path)?;
    place::below(tree, Path::new(OsStr::from_bytes(target)))
}

/// Returns a pattern that fits this path alone; nothing for a path that no line can hold.
fn pattern(path: &Path) -> Option<Vec<u8>> {
    let mut pattern = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'\n' | b'\r' | 0 => return None,
            b'*' | b'?' | b'[' | b'\\' | b' ' | b'\t' => pattern.extend([b'\\', *byte]),
            other => pattern.push(*other),
        }
    }
    Some(pattern)
}

/// Writes a pattern for a file of attributes: from the top, and in quotes, since white space ends a
/// pattern.
fn quoted(pattern: &[u8]) -> Vec<u8> {
    let mut quoted = b"\"/".to_vec();
    for byte in pattern {
        match byte {
            b'"' | b'\\' => quoted.extend([b'\\', *byte]),
            b'\t' => quoted.extend(b"\\t"),
            other => quoted.push(*other),
        }
    }
    quoted.push(b'"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::super::{Mark, Why, Wishes, plan};
    use super::*;
    use crate::workspace::git_for_tests;

    struct Repository {
        dir: tempfile::TempDir,
        plan: Plan,
    }

    impl Repository {
        /// Makes a repository with these files, tracked or not, each covered by a stand-in.
        fn new(files: &[(&str, bool)]) -> Repository {
            let dir = tempfile::tempdir().unwrap();
            let tree = dir.path().join("tree");
            fs::create_dir(&tree).unwrap();
            let mut plan = plan(&tree.canonicalize().unwrap(), &Wishes::default()).unwrap();
            git(&plan, &["init", "--quiet", "."]);
            fs::write(tree.join("README"), "x\n").unwrap();
            for (name, tracked) in files {
                let path = tree.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, "A=old\n").unwrap();
                if *tracked {
                    git(&plan, &["add", "--force", "--", name]);
                }
                let reason = if *tracked { Reason::Demanded } else { Reason::Untracked };
                plan.decided.verdicts.insert(name.into(), Verdict::StandIn(reason));
                let mark = Mark::of(&rustix::fs::stat(&path).unwrap());
                plan.covers.push(Cover {
                    path: name.into(),
                    mark,
                    with: With::Nothing,
                    why: vec![Why::Name(".env")],
                });
            }
            git(&plan, &["add", "README"]);
            git(&plan, &["commit", "--quiet", "-m", "x"]);
            // As inside: the stand-in has the file's place.
            files.iter().for_each(|(name, _)| fs::write(tree.join(name), "").unwrap());
            Repository { dir, plan }
        }

        /// Runs git as the agent has it.
        fn inside(&self, words: &[&str]) -> (bool, String) {
            let folder = self.dir.path().join("for git");
            let for_git = self
                .plan
                .for_git_at(self.plan.project.to_str().unwrap(), folder.to_str().unwrap(), 0)
                .unwrap();
            fs::create_dir_all(&folder).unwrap();
            for (name, text) in for_git.files {
                fs::write(folder.join(name), text).unwrap();
            }
            let mut command = command(&self.plan, words);
            for (number, (key, value)) in for_git.settings.iter().enumerate() {
                command.env(format!("GIT_CONFIG_KEY_{number}"), key);
                command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
            }
            command.env("GIT_CONFIG_COUNT", for_git.settings.len().to_string());
            let done = command.output().unwrap();
            (
                done.status.success(),
                String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned(),
            )
        }
    }

    fn command(plan: &Plan, words: &[&str]) -> Command {
        git_for_tests::command(&plan.project, words)
    }

    fn git(plan: &Plan, words: &[&str]) -> String {
        git_for_tests::git(&plan.project, words)
    }

    #[test]
    fn no_stand_in_gets_into_a_commit() {
        let odd = "s p/we*rd[x]?\\\"q\t.env ";
        let repository = Repository::new(&[
            (".env", true),
            ("s p/.env", true),
            (odd, true),
            ("new/.env", false),
            ("new/o*d .env", false),
        ]);
        let plan = &repository.plan;
        for (number, words) in [
            &["commit", "--quiet", "-am", "all that is tracked"][..],
            &["add", "--all"],
            &["add", "."],
            &["add", "--update"],
            &["add", ".env", "s p"],
        ]
        .into_iter()
        .enumerate()
        {
            fs::write(plan.project.join("README"), format!("{number}\n")).unwrap();
            let (good, said) = repository.inside(words);
            assert!(good, "{words:?}: {said}");
            let (good, said) = repository.inside(&["commit", "--quiet", "--allow-empty", "-m", "y"]);
            assert!(good, "{words:?}: {said}");
        }
        let changed = git(plan, &["log", "--format=", "--name-only", "HEAD~6..HEAD"]);
        assert_eq!(changed.lines().collect::<std::collections::BTreeSet<_>>().len(), 1, "{changed}");
        assert!(changed.contains("README"), "{changed}");
        // By force neither.
        let (good, said) = repository.inside(&["add", "--force", "new/.env"]);
        assert!(!good && said.contains("new/.env is covered"), "{said}");
        // The positive control: without these settings, the stand-in is committed.
        git(plan, &["commit", "--quiet", "-am", "z"]);
        assert!(git(plan, &["show", "--format=", "--name-only"]).contains(".env"));
    }

    #[test]
    fn what_is_covered_alone_is_named() {
        let repository = Repository::new(&[("a*.env", true), ("new/b?.env", false)]);
        let plan = &repository.plan;
        for name in ["aa.env", "new/bb.env", "other/new/b?.env"] {
            fs::create_dir_all(plan.project.join(name).parent().unwrap()).unwrap();
            fs::write(plan.project.join(name), "A=agents own\n").unwrap();
        }
        let (good, said) = repository.inside(&["add", "--all"]);
        assert!(good, "{said}");
        assert_eq!(git(plan, &["diff", "--cached", "--name-only"]), "aa.env\nnew/bb.env\nother/new/b?.env\n");
        assert_eq!(git(plan, &["show", ":aa.env"]), "A=agents own\n");
    }

    #[test]
    fn a_path_is_seen_from_each_working_tree() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("sub/deep/.git")).unwrap();
        for (path, expected) in [
            ("sub/deep/a/.env", &["a/.env", "sub/deep/a/.env"][..]),
            ("sub/.env", &["sub/.env"]),
            (".env", &[".env"]),
        ] {
            let found: Vec<_> = in_trees(dir.path(), Path::new(path)).map(|(_, path)| path).collect();
            assert_eq!(found, expected.iter().map(Path::new).collect::<Vec<_>>());
        }
        fs::create_dir(dir.path().join("module")).unwrap();
        fs::write(dir.path().join("module/.git"), "gitdir: ../.git/modules/x\n").unwrap();
        fs::write(dir.path().join("sub/.git"), "gitdir: ../../elsewhere\n").unwrap();
        let own = |tree: &str| own_folder(&dir.path().canonicalize().unwrap(), Path::new(tree));
        assert_eq!(own("module"), Some(".git/modules/x".into()));
        assert_eq!(own("sub"), None);
        assert_eq!(own("sub/deep"), Some("sub/deep/.git".into()));
        assert_eq!(own(""), Some(".git".into()));
    }

    /// Tries a `.git` that is no repository's: git passes over it, and adds the files beside it to
    /// the repository above.
    #[test]
    fn a_git_that_is_no_repository_leads_no_stand_in_into_the_one_above() {
        let forms: [(&str, &[(&str, &str)]); 6] = [
            ("empty folder", &[]),
            ("no refs", &[("HEAD", "ref: refs/heads/main\n"), ("objects/x", "")]),
            ("no HEAD", &[("objects/x", ""), ("refs/x", "")]),
            ("HEAD that says nothing", &[("HEAD", "x\n"), ("objects/x", ""), ("refs/x", "")]),
            ("file", &[("", "x\n")]),
            ("file that leads nowhere", &[("", "gitdir: ../.git/modules/gone\n")]),
        ];
        for (form, files) in forms {
            let repository = Repository::new(&[("sub/deep/.env", false), ("sub/old.env", true)]);
            let plan = &repository.plan;
            let own = plan.project.join("sub/.git");
            if files.first().is_none_or(|(name, _)| !name.is_empty()) {
                fs::create_dir(&own).unwrap();
            }
            for (name, text) in files {
                let path = if name.is_empty() { own.clone() } else { own.join(name) };
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            fs::write(plan.project.join("sub/new"), "x\n").unwrap();
            let (good, said) = repository.inside(&["add", "--all"]);
            assert!(good, "{form}: {said}");
            assert_eq!(git(plan, &["diff", "--cached", "--name-only"]), "sub/new\n", "{form}");
            // The positive control: without these settings, both get in.
            git(plan, &["add", "--all"]);
            assert_eq!(
                git(plan, &["diff", "--cached", "--name-only"]),
                "sub/deep/.env\nsub/new\nsub/old.env\n",
                "{form}"
            );
        }
    }

    #[test]
    fn a_repository_in_the_tree_keeps_its_own_stand_ins_out() {
        let repository = Repository::new(&[("sub/deep/.env", false)]);
        let plan = &repository.plan;
        git(plan, &["init", "--quiet", "sub"]);
        fs::write(plan.project.join("sub/new"), "x\n").unwrap();
        let (good, said) = repository.inside(&["-C", "sub", "add", "--all"]);
        assert!(good, "{said}");
        assert_eq!(git(plan, &["-C", "sub", "ls-files"]), "new\n");
    }

    #[test]
    fn no_stand_in_gets_into_a_commit_where_the_repository_lies_elsewhere() {
        let mut repository = Repository::new(&[(".env", true), ("sub/.env", true), ("new/b*d .env", false)]);
        // A linked working tree of it, and a submodule there, as `--worktree` gives them: the
        // covers of `.git` lead elsewhere.
        let main = repository.plan.project.clone();
        let tree = repository.dir.path().canonicalize().unwrap().join("linked");
        git(&repository.plan, &["worktree", "add", "--quiet", tree.to_str().unwrap()]);
        let module = main.join(".git/worktrees/linked/modules/m");
        fs::create_dir_all(tree.join("m")).unwrap();
        fs::create_dir_all(module.parent().unwrap()).unwrap();
        let words = ["init", "--quiet", "--separate-git-dir", module.to_str().unwrap(), "m"];
        git_for_tests::git(&tree, &words);
        fs::create_dir_all(tree.join("new")).unwrap();
        for name in [".env", "new/b*d .env", "m/.env"] {
            fs::write(tree.join(name), "").unwrap();
        }
        let mark = repository.plan.covers[0].mark;
        let cover = |path: &str, with: With| Cover { path: path.into(), mark, with, why: Vec::new() };
        repository.plan.project = tree.clone();
        repository.plan.covers.push(cover("m/.env", With::Nothing));
        let untracked = Verdict::StandIn(Reason::Untracked);
        repository.plan.decided.verdicts.insert("m/.env".into(), untracked);
        for (gitfile, own) in [(".git", main.join(".git/worktrees/linked")), ("m/.git", module)] {
            let text = format!("gitdir: {}\n", own.display());
            repository.plan.covers.push(cover(gitfile, With::Instead(text.into_bytes())));
        }
        for at in ["m", "."] {
            fs::write(tree.join(at).join("README"), "changed\n").unwrap();
            let (good, said) = repository.inside(&["-C", at, "add", "--all"]);
            assert!(good, "{said}");
            let (good, said) = repository.inside(&["-C", at, "commit", "--quiet", "-am", "work"]);
            assert!(good, "{said}");
            let words = ["-C", at, "show", "--format=", "--name-only"];
            let changed = git_for_tests::git(&tree, &words);
            let expected = if at == "." { "README\nm\n" } else { "README\n" };
            assert_eq!(changed, expected, "{at}");
        }
        let (good, said) = repository.inside(&["add", "--force", "new/b*d .env"]);
        assert!(!good && said.contains("is covered"), "{said}");
        // The positive control: without these settings, the stand-in is committed.
        git(&repository.plan, &["commit", "--quiet", "-am", "z"]);
        assert!(git(&repository.plan, &["show", "--format=", "--name-only"]).contains(".env"));
    }

    #[test]
    fn other_repositories_are_left_alone() {
        let repository = Repository::new(&[(".env", true)]);
        let plan = &repository.plan;
        git(plan, &["init", "--quiet", "other"]);
        fs::write(plan.project.join("other/.env"), "A=agents own\n").unwrap();
        let (good, said) = repository.inside(&["-C", "other", "add", "--all"]);
        assert!(good, "{said}");
        assert_eq!(git(plan, &["-C", "other", "show", ":.env"]), "A=agents own\n");
    }
}
