//! Projects in which something moves while they are looked through.

use std::cell::Cell;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::*;

/// Returns a token as GitLab gives them, put together so that this file holds none.
fn token() -> String {
    format!("glpat-{}", "9dJq4TzX0kV2bLw7NmRs")
}

fn project(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for (path, text) in files {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), text).unwrap();
    }
    (dir, root)
}

fn exchange(one: &Path, other: &Path) {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

fn covered(plan: &Plan) -> Vec<String> {
    plan.covers.iter().map(|cover| cover.path.display().to_string()).collect()
}

/// Looks through a project in which others `do_it` at each step.
fn look_while(root: &Path, mut do_it: impl FnMut(Step)) -> Result<Plan, Failure> {
    plan_while(&Eye::new(root, &Wishes::default())?, Patience::short(), &mut do_it)
}

fn is_refused(looked: &Result<Plan, Failure>, names: &[&str]) -> bool {
    let Err(failure) = looked else { return false };
    failure.exit == COULD_NOT_RUN
        && failure.message.contains("changed places")
        && names.iter().any(|name| failure.message.contains(name))
        && failure.hint.as_ref().is_some_and(|hint| hint.contains("--unmask"))
}

#[test]
fn folders_that_move_all_the_time_hide_nothing() {
    let secret = format!("KEY = '{}'\n", token());
    for (one, other) in [("sub", "other"), ("a/moving", "z/moving")] {
        let (_dir, root) = project(&[("a/x", ""), ("z/x", ""), ("m/1/x", ""), ("m/2/x", "")]);
        for number in 0..30 {
            fs::create_dir_all(root.join(format!("n/{number}"))).unwrap();
        }
        let (one, other) = (root.join(one), root.join(other));
        fs::create_dir(&one).unwrap();
        fs::write(one.join("config.py"), &secret).unwrap();
        let exchanged = one.parent() == other.parent();
        if exchanged {
            fs::create_dir(&other).unwrap();
            fs::write(other.join("config.py"), "KEY = None\n").unwrap();
        }
        let stop = AtomicBool::new(false);
        let (mut refused, mut seen) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    if exchanged {
                        exchange(&one, &other);
                    } else if fs::rename(&one, &other).is_err() {
                        fs::rename(&other, &one).unwrap();
                    }
                    std::thread::sleep(Duration::from_micros(300));
                }
            });
            for _ in 0..60 {
                match look_while(&root, |_| {}) {
                    Ok(plan) => {
                        seen += 1;
                        if !covered(&plan).iter().any(|path| path.ends_with("config.py")) {
                            stop.store(true, Ordering::Relaxed);
                            panic!("look {seen}, after {refused} refused, missed the secret");
                        }
                    }
                    refusal => {
                        refused += 1;
                        if !is_refused(&refusal, &["sub", "other", "moving", "a", "z"]) {
                            stop.store(true, Ordering::Relaxed);
                            panic!("{refusal:?}");
                        }
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        // The control: at rest it is covered.
        assert_eq!(covered(&plan(&root, &Wishes::default()).unwrap()).len(), 1);
        assert!(refused > 0, "nothing moved in {seen} looks");
    }
}

#[test]
fn a_file_that_changes_places_is_judged_for_what_it_is() {
    let secret = format!("KEY = '{}'\n", token());
    let (_dir, root) = project(&[("config.py", &secret), ("plain.py", "KEY = None\n")]);
    let swap = || exchange(&root.join("config.py"), &root.join("plain.py"));
    // Away and back: what was read is not what was listed.
    let looks = Cell::new(0);
    let plan = look_while(&root, |_| {
        looks.set(looks.get() + 1);
        if looks.get() <= 2 {
            swap();
        }
    });
    assert_eq!(covered(&plan.unwrap()), ["config.py"]);
    assert_eq!(looks.get(), 4, "two looks");
    // Once, after it was read.
    let done = Cell::new(false);
    let plan = look_while(&root, |step| {
        if step == Step::Read && !done.replace(true) {
            swap();
        }
    });
    assert_eq!(covered(&plan.unwrap()), ["plain.py"]);
    assert!(is_refused(&look_while(&root, |_| swap()), &["config.py, plain.py", "."]));
    // Another one in its place, with the same name.
    let other = root.join("new");
    let plan = look_while(&root, |step| {
        if step == Step::Read && done.replace(false) {
            fs::write(&other, &secret).unwrap();
            fs::rename(&other, root.join("config.py")).unwrap();
        }
    });
    assert_eq!(covered(&plan.unwrap()), ["config.py", "plain.py"]);
}

#[test]
fn a_hard_link_that_comes_and_goes_is_noticed() {
    let (_dir, root) = project(&[("keys/.env", "A=1\n"), ("src/x", "")]);
    let (file, link) = (root.join("keys/.env"), root.join("src/notes"));
    let toggle = || {
        if fs::remove_file(&link).is_err() {
            fs::hard_link(&file, &link).unwrap();
        }
    };
    for step in [Step::Listed, Step::Read] {
        let done = Cell::new(false);
        let plan = look_while(&root, |now| {
            if now == step && !done.replace(true) {
                toggle();
            }
        });
        let expected: &[&str] = if link.exists() { &["keys/.env", "src/notes"] } else { &["keys/.env"] };
        assert_eq!(covered(&plan.unwrap()), expected, "{step:?}");
    }
    assert!(!link.exists());
    // There only while the files are read, every time.
    assert!(is_refused(&look_while(&root, |_| toggle()), &["src"]));
    // From outside of what is looked through.
    let outside = tempfile::tempdir_in(root.parent().unwrap()).unwrap();
    let (first, second) = (outside.path().join("1"), outside.path().join("2"));
    fs::hard_link(&file, &first).unwrap();
    let refused = look_while(&root, |_| {
        let (old, new) = if first.exists() { (&first, &second) } else { (&second, &first) };
        fs::hard_link(&file, new).unwrap();
        fs::remove_file(old).unwrap();
    });
    assert!(is_refused(&refused, &["keys/.env"]));
}

#[test]
fn files_that_are_written_meanwhile_do_not_end_the_start() {
    let (_dir, root) = project(&[("app.log", ""), (".env", "A=1\n"), ("target/x", "")]);
    let (looks, log) = (Cell::new(0), root.join("app.log"));
    let plan = look_while(&root, |_| {
        looks.set(looks.get() + 1);
        fs::write(&log, format!("GET {} {}\n", looks.get(), token())).unwrap();
        fs::write(root.join(".env"), "A=2\n").unwrap();
    });
    let plan = plan.unwrap();
    assert_eq!(covered(&plan), [".env", "app.log"]);
    assert_eq!(looks.get(), 2, "one look");
    let With::Masked(text) = &plan.covers[1].with else { panic!("masked") };
    assert_eq!(text, b"GET 2 masked-by-ringfence\n");
    // A build that makes files, and comes to a rest.
    let count = Cell::new(0);
    let plan = look_while(&root, |_| {
        count.set(count.get() + 1);
        if count.get() <= 4 {
            fs::write(root.join(format!("target/{}.env", count.get())), "A=1\n").unwrap();
        }
    });
    assert_eq!(covered(&plan.unwrap()).len(), 6);
}
