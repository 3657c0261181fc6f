//! Repositories that the real git made: what is read there is what git says.

mod attributes;
mod forms;
mod fuzzing;
mod hostile;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::workspace::git_for_tests;

/// A directory with a project in it, and whatever lies beside.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        World { dir: tempfile::tempdir().unwrap() }
    }

    /// Makes a world with a repository in `project`.
    fn with_repository(options: &[&str]) -> World {
        let world = World::new();
        fs::create_dir(world.at("")).unwrap();
        world.git(&[&["init", "--quiet", "--initial-branch=main"], options].concat());
        world
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("project").join(path)
    }

    fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        git_for_tests::command(&self.at(""), words)
    }

    fn bytes(&self, words: &[&str]) -> Vec<u8> {
        git_for_tests::bytes(&self.at(""), words)
    }

    fn git(&self, words: &[&str]) -> String {
        String::from_utf8(self.bytes(words)).unwrap().trim().to_owned()
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", "x"]);
    }

    fn versions(&self) -> Versions {
        Versions::open(&self.at("")).unwrap()
    }

    fn of(&self, path: &str) -> Result<Version, Doubt> {
        self.versions().of(Path::new(path))
    }

    /// Tells whether the file that is there is shown.
    fn shows(&self, path: &str) -> bool {
        self.of(path).is_ok_and(|version| version.shows(&fs::read(self.at(path)).unwrap()))
    }

    /// Returns what git has under these names, in order.
    fn blobs(&self, names: &[String]) -> Vec<Vec<u8>> {
        use std::io::Write;
        use std::process::Stdio;
        let mut command = self.command(&["cat-file", "--batch"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all((names.join("\n") + "\n").as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap().stdout;
        let (mut rest, mut blobs) = (output.as_slice(), Vec::new());
        for name in names {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
            let head = std::str::from_utf8(&rest[..end]).unwrap();
            let size: usize = head.strip_prefix(&format!("{name} blob ")).expect(head).parse().unwrap();
            blobs.push(rest[end + 1..][..size].to_vec());
            rest = &rest[end + size + 2..];
        }
        blobs
    }

    /// Compares every path of the index with what git says of it.
    #[track_caller]
    fn is_as_git_says(&self) {
        let versions = self.versions();
        let mut entries = Vec::new();
        let (mut staged, mut committed) = (String::new(), String::new());
        let listed = self.git(&["ls-files"]) + "\n" + &self.git(&["ls-tree", "-r", "--name-only", "HEAD"]);
        let paths: BTreeSet<&str> = listed.lines().collect();
        for path in paths {
            let version = versions.of(Path::new(path)).unwrap();
            for (entry, listed) in [(version.index, &mut staged), (version.head, &mut committed)] {
                let Some(entry) = entry else { continue };
                let mode = if entry.executable { "100755" } else { "100644" };
                listed.push_str(&format!("{mode} {} {path}\n", entry.id));
                entries.push(entry);
            }
        }
        let format = "--format=%(objectmode) %(objectname) %(path)";
        assert_eq!(staged.trim(), self.git(&["ls-files", format]));
        assert_eq!(committed.trim(), self.git(&["ls-tree", "-r", format, "HEAD"]));
        assert!(entries.len() > 10, "there is something to compare");
        let names: Vec<String> = entries.iter().map(|entry| entry.id.to_string()).collect();
        for (entry, blob) in entries.iter().zip(self.blobs(&names)) {
            assert!(entry.blob().unwrap() == blob, "{}", entry.id);
        }
    }
}

/// Returns the index of some pack.
fn pack_index(world: &World) -> PathBuf {
    let mut paths = fs::read_dir(world.at(".git/objects/pack")).unwrap().flatten().map(|entry| entry.path());
    paths.find(|path| path.extension().is_some_and(|end| end == "idx")).unwrap()
}

#[test]
fn a_file_is_shown_if_git_has_it_but_for_line_ends() {
    let world = World::with_repository(&[]);
    world.put("unix", "a\nb\n");
    world.put("dos", "a\r\nb\r\n");
    world.put("mixed", "a\r\nb\n\r");
    world.put("mac", "a\rb\r");
    world.commit();
    for name in ["unix", "dos", "mixed", "mac"] {
        assert!(world.shows(name), "{name}");
    }
    let version = world.of("unix").unwrap();
    assert!(version.shows(b"a\r\nb\r\n") && version.shows(b"a\r\nb\n") && version.shows(b"a\nb\n"));
    for other in [&b"a\nb"[..], b"a\nb\n\n", b"a \nb\n", b"a\rb\r", b"", b"\xef\xbb\xbfa\nb\n", b"a\r\r\nb\n"]
    {
        assert!(!version.shows(other), "{other:?}");
    }
    // git itself: what it converts is shown, and nothing else is the same file to it.
    for (key, value) in [("core.autocrlf", "true"), ("core.eol", "crlf")] {
        let world = World::with_repository(&[]);
        world.git(&["config", key, value]);
        world.put(".gitattributes", "*.txt text\n*.bin -text\n*.auto text=auto\n");
        for name in ["a.txt", "a.auto", "plain"] {
            world.put(name, "a\nb\n");
        }
        world.put("a.bin", "a\r\nb\r\n");
        world.commit();
        for name in ["a.txt", "a.auto", "plain", "a.bin"] {
            fs::remove_file(world.at(name)).unwrap();
        }
        world.git(&["checkout", "--", "."]);
        assert_eq!(fs::read(world.at("a.txt")).unwrap(), b"a\r\nb\r\n", "{key}");
        assert_eq!(world.git(&["status", "--porcelain"]), "");
        for name in ["a.txt", "a.auto", "plain", "a.bin"] {
            assert!(world.shows(name), "{key}: {name}");
            assert!(!world.of(name).unwrap().filtered, "{key}: {name}");
        }
    }
}

#[test]
fn staged_and_committed_content_both_count_and_no_other() {
    let world = World::with_repository(&[]);
    world.put(".env", "KEY=old\n");
    world.commit();
    world.put(".env", "KEY=committed\n");
    world.commit();
    world.put(".env", "KEY=staged\n");
    world.git(&["add", ".env"]);
    assert!(world.shows(".env"));
    let version = world.of(".env").unwrap();
    assert!(version.shows(b"KEY=committed\n"));
    assert!(!version.shows(b"KEY=old\n"), "older commits do not count");
    world.put(".env", "KEY=changed\n");
    assert!(!world.shows(".env"));
    world.put("untracked", "KEY=staged\n");
    assert!(!world.shows("untracked"), "the same content under another path is another file");
    let version = world.of("untracked").unwrap();
    assert!(version.index.is_none() && version.head.is_none());
}

#[test]
fn a_doubt_is_named() {
    let world = World::with_repository(&[]);
    world.put("file", "x\n");
    symlink("file", world.at("link")).unwrap();
    world.commit();
    world.put("later", "x\n");
    world.git(&["add", "--intent-to-add", "later"]);
    assert_eq!(world.of("later").unwrap_err(), Doubt::IntentToAdd);
    fs::remove_file(world.at("link")).unwrap();
    world.put("link", "file");
    assert_eq!(world.of("link").unwrap_err(), Doubt::NotAFile);
    let world = World::with_repository(&[]);
    world.put("file", "x\n");
    world.commit();
    world.git(&["checkout", "--quiet", "-b", "other"]);
    world.put("file", "theirs\n");
    world.git(&["commit", "--quiet", "-m", "x", "file"]);
    world.git(&["checkout", "--quiet", "main"]);
    world.put("file", "ours\n");
    world.git(&["commit", "--quiet", "-m", "x", "file"]);
    let merge = world.command(&["merge", "other"]).output().unwrap();
    assert!(String::from_utf8_lossy(&merge.stdout).contains("CONFLICT"), "{merge:?}");
    assert_eq!(world.of("file").unwrap_err(), Doubt::Conflicted);
    for path in ["../x", "/etc/passwd", "a/../file"] {
        assert!(world.of(path).is_err(), "{path}");
    }
    let version = world.of(".git/config").unwrap();
    assert!(version.index.is_none() && version.head.is_none());
}

#[test]
fn working_trees_submodules_and_nested_repositories_are_their_own() {
    let world = World::with_repository(&[]);
    world.put(".env", "KEY=outer\n");
    world.commit();
    world.put("vendor/dep/.env", "KEY=nested\n");
    world.put("vendor/dep/sub/.env", "KEY=deeper\n");
    world.git(&["-C", "vendor/dep", "init", "--quiet", "--object-format=sha256"]);
    world.git(&["-C", "vendor/dep", "add", "."]);
    world.git(&["-C", "vendor/dep", "commit", "--quiet", "-m", "x"]);
    assert!(world.shows("vendor/dep/.env") && world.shows("vendor/dep/sub/.env") && world.shows(".env"));
    let library = world.dir.path().join("library");
    fs::create_dir(&library).unwrap();
    let at = library.display().to_string();
    world.git(&["-C", &at, "init", "--quiet"]);
    fs::write(library.join(".env"), "KEY=library\n").unwrap();
    world.git(&["-C", &at, "add", "."]);
    world.git(&["-C", &at, "commit", "--quiet", "-m", "x"]);
    world.git(&["submodule", "--quiet", "add", &at, "library"]);
    assert!(world.at("library/.git").is_file());
    assert!(world.shows("library/.env"), "its repository lies in the project");
    assert!(!world.of("library/.env").unwrap().shows(b"KEY=outer\n"));
    world.git(&["worktree", "add", "--quiet", "tree"]);
    // git writes absolute paths, which lead nowhere inside the container.
    assert_eq!(world.of("tree/.env").unwrap_err(), Doubt::Outside);
    world.put("tree/.git", "gitdir: ../.git/worktrees/tree\n");
    assert!(world.shows("tree/.env"));
    let outside = world.dir.path().join("outside").display().to_string();
    world.git(&["worktree", "add", "--quiet", &outside]);
    let versions = Versions::open(&Path::new(&outside).canonicalize().unwrap()).unwrap();
    assert_eq!(versions.of(Path::new(".env")).unwrap_err(), Doubt::Outside);
    // A folder that git does not take for a repository.
    world.put("plain/.env", "KEY=plain\n");
    world.commit();
    fs::create_dir(world.at("plain/.git")).unwrap();
    assert!(world.shows("plain/.env"));
    // A project without a repository, one in it with.
    let above = Versions::open(&world.dir.path().canonicalize().unwrap()).unwrap();
    assert!(above.of(Path::new("project/.env")).unwrap().shows(b"KEY=outer\n"));
    let none = above.of(Path::new("elsewhere")).unwrap();
    assert!(none.index.is_none() && none.head.is_none() && !none.filtered);
}

#[test]
fn shallow_and_partial_clones_have_what_they_have() {
    let world = World::with_repository(&[]);
    world.put(".env", "KEY=first\n");
    world.commit();
    world.put(".env", "KEY=1\n");
    world.commit();
    world.git(&["config", "uploadpack.allowFilter", "true"]);
    let from = format!("file://{}", world.at("").display());
    for (name, options, checkout) in [
        ("shallow", &["--depth=1"][..], true),
        ("partial", &["--filter=blob:none"], true),
        ("empty", &["--filter=blob:none", "--no-checkout"], false),
    ] {
        let clone = World::new();
        let into = clone.dir.path().join("project").display().to_string();
        world.git(&[&["clone", "--quiet"], options, &[&from, &into]].concat());
        if checkout {
            assert!(clone.shows(".env"), "{name}");
        } else {
            clone.git(&["reset", "--quiet"]);
            clone.put(".env", "KEY=1\n");
            assert!(!clone.shows(".env"), "{name}");
            let index = clone.of(".env").unwrap().index.unwrap();
            assert!(matches!(index.blob(), Err(Doubt::PartialClone(_))), "{name}: {:?}", index.blob());
        }
    }
}
