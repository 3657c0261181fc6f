//! A person's own options for a project (`run.yml`), as the program takes them; no engine is
//! needed.

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use program::without_engine;

/// A home with a project in it.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new(options: &str) -> Home {
        let home = Home { dir: tempfile::tempdir().expect("a temporary directory") };
        fs::create_dir_all(home.path("shop/src")).expect("a folder");
        fs::create_dir_all(home.path(".config/ringfence")).expect("a folder");
        fs::write(home.file(), options).expect("a file");
        home
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().canonicalize().expect("a folder").join(below)
    }

    fn file(&self) -> PathBuf {
        self.path(".config/ringfence/run.yml")
    }

    /// Runs `ringfence WORDS` in a folder of the home, without an engine: exit status, stdout and
    /// stderr.
    fn ringfence(&self, folder: &str, words: &str) -> (Option<i32>, String, String) {
        let mut command = without_engine(&self.path(folder), &self.path(""));
        let output = command.args(words.split_whitespace()).output().expect("the program starts");
        let root = self.path("").display().to_string();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(root.trim_end_matches('/'), "HOME");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

const SHOP: &str = "\
version: 1
projects:
  ~/shop:
    - --allow gitlab.example
    - -e KEY=hunter2
    - --memory 8g
    - shop-agent:1 claude --resume
";

/// Lists the values of one key that a dry run prints.
fn values(printed: &str, key: &str) -> Vec<String> {
    let lines = printed.lines().filter_map(|line| line.strip_prefix(key));
    lines.map(|rest| rest.trim().to_owned()).collect()
}

#[test]
fn a_run_without_words_takes_all_of_them_and_says_from_where() {
    let home = Home::new(SHOP);
    let (status, printed, said) = home.ringfence("shop", "run --dry-run");
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(values(&printed, "image"), ["shop-agent:1"]);
    assert_eq!(values(&printed, "command"), ["claude --resume"]);
    assert_eq!(values(&printed, "project"), ["HOME/shop"]);
    let taken = values(&printed, "default");
    assert_eq!(
        taken,
        [
            "HOME/.config/ringfence/run.yml:4  --allow gitlab.example",
            "HOME/.config/ringfence/run.yml:5  -e KEY=…",
            "HOME/.config/ringfence/run.yml:6  --memory 8g",
            "HOME/.config/ringfence/run.yml:7  shop-agent:1 claude --resume",
        ]
    );
    assert!(taken.iter().all(|line| said.contains(line)), "{said}");
    assert!(!printed.contains("hunter2") && !said.contains("hunter2"), "{printed}{said}");
    // What is not a dry run says the same at its start, and goes on to the engine.
    let (status, printed, said) = home.ringfence("shop", "run");
    assert_eq!((status, printed.as_str()), (Some(125), ""));
    assert!(taken.iter().all(|line| said.contains(line)), "{said}");
    assert!(said.contains("no container engine answers"), "{said}");
}

#[test]
fn what_is_typed_wins_and_another_folder_has_none() {
    let home = Home::new(SHOP);
    let (_, printed, _) = home.ringfence("", "run --dry-run --project shop --allow other.example other:2");
    assert_eq!((values(&printed, "image"), values(&printed, "command")), (vec!["other:2".into()], vec![]));
    let taken = values(&printed, "default").join("\n");
    assert!(
        taken.contains("--memory 8g") && !taken.contains("--allow") && !taken.contains("claude"),
        "{taken}"
    );
    for (folder, words) in
        [("shop", "run --dry-run --no-defaults"), ("shop/src", "run --dry-run"), ("", "run")]
    {
        let (status, printed, said) = home.ringfence(folder, words);
        assert_eq!((status, printed.as_str()), (Some(125), ""), "{said}");
        assert!(said.contains("no image is named"), "{folder} {words}: {said}");
    }
    let (status, printed, said) = home.ringfence("shop", "run --dry-run --no-defaults image");
    assert_eq!(status, Some(0), "{said}");
    assert!(values(&printed, "default").is_empty() && values(&printed, "project").is_empty(), "{printed}");
}

#[test]
fn a_file_that_cannot_count_ends_the_run() {
    let home = Home::new(SHOP);
    fs::set_permissions(home.file(), fs::Permissions::from_mode(0o666)).expect("a mode");
    let (status, _, said) = home.ringfence("shop", "run --dry-run image");
    assert!(status == Some(125) && said.contains("others than its owner can write it"), "{said}");
    assert_eq!(home.ringfence("shop", "run --dry-run --no-defaults image").0, Some(0));

    for (options, why) in [
        ("projects: {}\n", "`version` is missing"),
        (
            "version: 1\nprojects:\n  ~/shop:\n    - --no-such\n",
            "run.yml:4: `--no-such`: unexpected argument",
        ),
        ("version: 1\nprojects:\n  ~/shop:\n    - image\n    - -it\n", "the image is not the last item"),
        ("version: 1\nprojects:\n  ~/shop:\n    - \"--name 'a\"\n", "a quote is not closed"),
        ("version: 1\nprojects:\n  ~/shop:\n    - --policy p.yml\n", "depends on where you are"),
    ] {
        let (status, _, said) = Home::new(options).ringfence("shop", "run --dry-run image");
        assert!(status == Some(125) && said.contains(why), "{options}: {said}");
    }
}

/// An agent that can write the file decides on the next run.
#[test]
fn no_agent_is_given_the_file_or_what_leads_to_it() {
    let home = Home::new(SHOP);
    let refused = |words: &str| {
        let (status, _, said) = home.ringfence("", words);
        assert_eq!(status, Some(125), "{words}: {said}");
        said
    };
    let given = |path: &str| refused(&format!("run -v {}:/x:rw image", home.path(path).display()));
    assert!(
        given(".config/ringfence").contains("is not given to an agent"),
        "{}",
        given(".config/ringfence")
    );
    // The file may be a link into a folder of configurations.
    fs::create_dir(home.path("dotfiles")).expect("a folder");
    fs::rename(home.file(), home.path("dotfiles/run.yml")).expect("moved");
    std::os::unix::fs::symlink(home.path("dotfiles/run.yml"), home.file()).expect("a link");
    assert!(home.ringfence("shop", "run --dry-run").0 == Some(0), "a link of the person's own counts");
    assert!(!given("dotfiles").contains("no container engine answers"), "{}", given("dotfiles"));
    // The control: another folder gets as far as the engine.
    assert!(given("shop").contains("no container engine answers"), "{}", given("shop"));
}

/// A project's own file of the same name is nobody's defaults.
#[test]
fn a_project_has_no_defaults_of_its_own() {
    let home = Home::new("version: 1\n");
    for at in ["shop/run.yml", "shop/.ringfence/run.yml", "shop/.config/ringfence/run.yml"] {
        let path = home.path(at);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a folder");
        fs::write(path, SHOP).expect("a file");
    }
    let (status, _, said) = home.ringfence("shop", "run --dry-run");
    assert!(status == Some(125) && said.contains("no image is named"), "{said}");
}
