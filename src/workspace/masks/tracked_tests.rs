//! Projects with git's own versions, made by git itself, and what becomes of the covers.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::*;
use crate::workspace::git_for_tests::git as git_in;
use crate::workspace::masks::{Plan, Wishes, plan};

fn token(letter: char) -> String {
    format!("glpat-{letter}dJq4TzX0kV2bLw7NmRs")
}

struct Project(tempfile::TempDir);

impl Project {
    fn new() -> Project {
        let project = Project(tempfile::tempdir().unwrap());
        project.git(&["init", "--quiet", "."]);
        project
    }

    fn root(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    fn put(&self, path: &str, text: &str) -> &Project {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn git(&self, words: &[&str]) -> String {
        git_in(&self.root(), words)
    }

    fn commit(&self) -> &Project {
        self.git(&["add", "--all", "--force"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", "x"]);
        self
    }

    fn plan(&self) -> Plan {
        plan(&self.root(), &Wishes::default()).unwrap()
    }

    /// Returns what the agent finds at each path that is of interest.
    fn seen(&self) -> BTreeMap<String, String> {
        seen(&self.plan())
    }
}

fn seen(plan: &Plan) -> BTreeMap<String, String> {
    let name = |path: &Path| path.display().to_string();
    let shown = plan.decided.shown.iter().map(|one| (name(&one.path), "shown".to_owned()));
    let verdicts = plan.decided.verdicts.iter().map(|(path, verdict)| {
        let word = match verdict {
            Verdict::Show => "shown without being so",
            Verdict::Committed => "committed",
            Verdict::StandIn(reason) => reason.word(),
        };
        (name(path), word.to_owned())
    });
    shown.chain(verdicts).collect()
}

fn expected(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(path, word)| ((*path).to_owned(), (*word).to_owned())).collect()
}

/// Returns the project as the agent finds it: with the covers in place of the files.
fn as_seen(project: &Project, plan: &Plan) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let at = copy.path();
    assert!(Command::new("cp").arg("-a").arg(project.root().join(".")).arg(at).status().unwrap().success());
    for cover in &plan.covers {
        let path = at.join(&cover.path);
        match &cover.with {
            With::Itself | With::Instead(_) => continue,
            With::Nothing => fs::write(&path, "").unwrap(),
            With::Masked(text) => fs::write(&path, text).unwrap(),
            With::Committed { text, executable } => {
                fs::write(&path, text).unwrap();
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
    copy
}

#[test]
fn what_git_has_just_so_is_shown_and_what_it_has_otherwise_covers_the_rest() {
    let project = Project::new();
    let key = format!("KEY = '{}'\n", token('9'));
    project
        .put("README", "x\n")
        .put(".env", "A=committed\n")
        .put("changed/.env", "A=old\n")
        .put("changed/run.env", "A=old\n")
        .put("staged/.env", "A=old\n")
        .put("gone/.env", "A=old\n")
        .put("src/a.py", &key)
        .put("src/b.py", &key)
        .put("tests/id_rsa", "a key of a test\n")
        .put("vendor/x/.cargo-checksum.json", &format!("{{\"files\": {{\"a\": \"{}\"}}}}", token('7')))
        .commit();
    project.put("changed/.env", "A=secret\n").put("changed/run.env", "A=secret\n");
    fs::set_permissions(project.root().join("changed/run.env"), fs::Permissions::from_mode(0o755)).unwrap();
    project.put("staged/.env", "A=staged\n").git(&["add", "staged/.env"]);
    project.git(&["rm", "--quiet", "--cached", "gone/.env"]);
    project.put("gone/.env", "A=secret\n").put("src/b.py", &format!("# more\n{key}"));
    project.put("new/.env", "A=1\n").put("new/c.py", &key);
    assert_eq!(
        project.seen(),
        expected(&[
            (".env", "shown"),
            ("changed/.env", "committed"),
            ("changed/run.env", "committed"),
            ("gone/.env", "not-in-index"),
            ("new/.env", "untracked"),
            ("new/c.py", "untracked"),
            ("src/a.py", "shown"),
            ("src/b.py", "committed"),
            ("staged/.env", "shown"),
            ("tests/id_rsa", "shown"),
            ("vendor/x/.cargo-checksum.json", "shown"),
        ])
    );
    // git itself finds no change in any tracked file, by content or mode, but what was staged.
    let plan = project.plan();
    let copy = as_seen(&project, &plan);
    assert_eq!(git_in(copy.path(), &["status", "--short", "-uno"]), "D  gone/.env\nM  staged/.env\n");
    assert_eq!(git_in(copy.path(), &["diff"]), "");
    // A commit of everything that is tracked, beside an edit, takes the edit alone.
    fs::write(copy.path().join("README"), "edited\n").unwrap();
    git_in(copy.path(), &["commit", "--quiet", "-m", "fix", "--", "README", "changed", "src"]);
    assert_eq!(git_in(copy.path(), &["show", "--format=", "--name-only"]), "README\n");
}

#[test]
fn line_ends_alone_make_no_difference() {
    let project = Project::new();
    project.git(&["config", "core.autocrlf", "true"]);
    project.put(".env", "A=1\r\nB=2\r\n").put("b.env", "A=1\r\n").put("raw/.env", "A=1\n").commit();
    project.put("b.env", "A=secret\r\n");
    let seen = project.seen();
    assert_eq!(seen, expected(&[(".env", "shown"), ("b.env", "committed"), ("raw/.env", "shown")]));
    let copy = as_seen(&project, &project.plan());
    assert_eq!(git_in(copy.path(), &["status", "--short"]), "");
}

#[test]
fn what_git_filters_has_a_stand_in() {
    let project = Project::new();
    project.git(&["config", "filter.crypt.clean", "tr a-z A-Z"]);
    project.git(&["config", "filter.crypt.smudge", "tr A-Z a-z"]);
    project
        .put(".gitattributes", "*.env filter=crypt\n")
        .put("a.env", "key=secret\n")
        .put(".env", "A=1\n")
        .commit();
    assert_eq!(project.seen(), expected(&[(".env", "shown"), ("a.env", "filtered")]));
}

#[test]
fn what_a_partial_clone_lacks_is_not_shown() {
    let project = Project::new();
    project.put(".env", "A=1\n").commit();
    let object = project.git(&["rev-parse", ":.env"]);
    let (folder, file) = object.trim().split_at(2);
    let path = project.root().join(".git/objects").join(folder).join(file);
    // A file of that name that is no object at all, as somebody could leave it who knows the name
    // alone.
    for broken in [None, Some("not an object")] {
        fs::remove_file(&path).unwrap();
        if let Some(text) = broken {
            fs::write(&path, text).unwrap();
        }
        assert_eq!(project.seen(), expected(&[(".env", "doubt")]), "{broken:?}");
        fs::write(&path, "").unwrap();
    }
}

#[test]
fn a_name_that_is_hidden_hides_all_names_of_the_file() {
    let project = Project::new();
    project.put("tests/id_rsa", "a key\n").commit();
    let root = project.root();
    fs::hard_link(root.join("tests/id_rsa"), root.join("id_rsa")).unwrap();
    assert_eq!(project.seen(), expected(&[("id_rsa", "untracked"), ("tests/id_rsa", "same-file")]));
    let plan = project.plan();
    let of_keys = plan.covers.iter().filter(|cover| cover.path.ends_with("id_rsa"));
    assert_eq!(of_keys.filter(|cover| cover.with == With::Nothing).count(), 2);
}

#[test]
fn a_link_with_a_telling_name_is_judged_by_the_file_that_it_leads_to() {
    let project = Project::new();
    project.put("config/production", "A=1\n");
    symlink("config/production", project.root().join(".env")).unwrap();
    project.commit();
    assert_eq!(project.seen(), expected(&[("config/production", "shown")]));
    project.put("config/production", "A=secret\n");
    assert_eq!(project.seen(), expected(&[("config/production", "committed")]));
}

#[test]
fn what_must_not_be_changed_is_shown_and_stays_so() {
    let project = Project::new();
    let text = format!("export TOKEN={}\n", token('9'));
    project.put(".envrc", &text).put(".idea/a.xml", &format!("<a>{}</a>\n", token('8'))).commit();
    let plan = project.plan();
    assert_eq!(seen(&plan), expected(&[(".envrc", "shown"), (".idea/a.xml", "shown")]));
    let envrc = plan.covers.iter().find(|cover| cover.path == Path::new(".envrc")).unwrap();
    assert_eq!(envrc.with, With::Committed { text: text.into_bytes(), executable: false });
    assert!(plan.covers.iter().any(|cover| cover.path == Path::new(".idea") && cover.with == With::Itself));
}

#[test]
fn what_a_policy_hides_is_hidden_though_git_has_it() {
    let project = Project::new();
    project.put(".env", "A=1\n").put("dump", "A=1\n").put("new/.env", "A=1\n").commit();
    project.git(&["rm", "--quiet", "--cached", "new/.env"]);
    project.git(&["commit", "--quiet", "-m", "y"]);
    let wishes = Wishes { mask: vec!["dump".to_owned()], ..Wishes::default() };
    let named = seen(&plan(&project.root(), &wishes).unwrap());
    assert_eq!(named, expected(&[(".env", "shown"), ("dump", "workspace-mask"), ("new/.env", "untracked")]));
    let wishes = Wishes { stand_ins: true, ..Wishes::default() };
    let demanded = seen(&plan(&project.root(), &wishes).unwrap());
    assert_eq!(demanded, expected(&[(".env", "workspace-hide-committed"), ("new/.env", "untracked")]));
    // Where the objects are hidden too, the agent cannot read what git has.
    let wishes = Wishes { mask: vec![".git/objects".to_owned()], ..Wishes::default() };
    let hidden = plan(&project.root(), &wishes).unwrap();
    assert_eq!(seen(&hidden).get(".env").map(String::as_str), Some("doubt"));
}

#[test]
fn configuration_keeps_its_registries() {
    let project = Project::new();
    let registry = "@corp:registry=https://npm.corp.example/\n";
    let token = "//npm.corp.example/:_authToken=abc\n";
    project.put(".npmrc", registry).put("b/.npmrc", "x=1\n").commit();
    project.put(".npmrc", &format!("{registry}{token}")).put("b/.npmrc", &format!("x=1\n{registry}{token}"));
    let plan = project.plan();
    assert_eq!(seen(&plan), expected(&[(".npmrc", "committed"), ("b/.npmrc", "routes-differ")]));
    let masked = plan.covers.iter().find(|cover| cover.path == Path::new("b/.npmrc")).unwrap();
    let With::Masked(text) = &masked.with else { panic!("{masked:?}") };
    assert!(String::from_utf8_lossy(text).contains(registry));
}

#[test]
fn without_a_repository_everything_has_a_stand_in() {
    let project = Project(tempfile::tempdir().unwrap());
    project.put(".env", "A=1\n");
    assert_eq!(project.seen(), expected(&[(".env", "untracked")]));
}

#[test]
fn what_is_said_names_each_file_and_the_reason() {
    let project = Project::new();
    project.put(".env", "A=1\n").put("b/.env", "A=1\n").put("c/.npmrc", "x=1\n").commit();
    project.put("b/.env", "A=2\n").put("new/.env", "A=1\n");
    project.put("c/.npmrc", "registry=https://a.example/\n//a.example/:_authToken=x\n");
    let plan = project.plan();
    let text = plan.text();
    for line in [
        "committed b/.env  (by its name, .env; the index's version, since the file differs from it)\n",
        "empty     new/.env  (by its name, .env; a stand-in: git does not track it)\n",
        "; a stand-in: the index's version leads programs elsewhere)\n",
        "shown     .env  (by its name, .env; git has it just so)\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let summary = plan.summary();
    for part in [
        "empty to the agent: new/.env\n",
        "as in git's index to the agent, without what you changed since: b/.env\n",
        "since git has it just so: .env; change these secrets",
        "do not let it be committed: c/.npmrc (the index's version leads programs elsewhere)\n",
    ] {
        assert!(summary.contains(part), "{summary}");
    }
    let json = plan.json();
    assert_eq!(json["shown"][0]["path"], ".env");
    let stand_in = json["covers"].as_array().unwrap().iter().find(|one| one["path"] == "new/.env").unwrap();
    assert_eq!(stand_in["stand-in"]["reason"], "untracked");
    assert_eq!(stand_in["agent-sees"], "empty");
}

/// Tries more texts than this machine has memory: beyond the bound nothing is compared, shown or
/// kept.
#[test]
fn texts_beyond_the_bound_are_not_kept() {
    let project = Project::new();
    let names = ["a.env", "b.env", "c.env"];
    names.iter().for_each(|name| _ = project.put(name, "A=1\n"));
    let settled = |most: usize, known: Known| {
        let mut covers = plan(&project.root(), &Wishes::default()).unwrap().covers;
        assert_eq!(covers.iter().filter(|cover| hides(cover)).count(), names.len());
        let asked = std::cell::Cell::new(0);
        let ask = |_: &Cover, _: Option<&[u8]>| {
            asked.set(asked.get() + 1);
            (known.clone(), Some(InIndex { text: b"A=2\n".to_vec(), executable: false }))
        };
        let decided = settle_by(&project.root(), &mut covers, false, most, ask);
        let stands = |verdict: &&Verdict| matches!(verdict, Verdict::StandIn(Reason::Doubt(_)));
        (asked.get(), decided.shown.len(), decided.verdicts.values().filter(stands).count())
    };
    let tracked = |as_committed| {
        Known::Tracked(Tracked { as_committed, in_index: true, filtered: false, routes_alike: true })
    };
    for shown in [true, false] {
        let count = |many: usize| if shown { many } else { 0 };
        assert_eq!(settled(KEPT, tracked(shown)), (3, count(3), 0), "the positive control");
        assert_eq!(settled(4, tracked(shown)), (2, count(2), 1));
        assert_eq!(settled(0, tracked(shown)), (1, count(1), 2));
    }
}
