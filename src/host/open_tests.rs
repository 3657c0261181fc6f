//! Each case has its control: the same path opens where no agent could have written.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::identity::Identity;
use super::super::territory::GivenDirectory;
use super::*;

/// A project, and a folder beside it with a file that is none of the agent's business.
struct World {
    _dir: tempfile::TempDir,
    root: PathBuf,
    /// Record in which no agent was given anything.
    before: Territory,
    /// The project was given to an agent.
    after: Territory,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for folder in ["project/sub", "outside"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("outside/secret"), "secret").unwrap();
    fs::write(root.join("project/sub/secret"), "own").unwrap();
    fs::write(root.join("project/own"), "own").unwrap();
    let before = Territory::recorded(None);
    let mut after = before.clone();
    let identity = Identity::of(File::open(root.join("project")).unwrap()).unwrap();
    after.add(GivenDirectory::new(Path::new("/somewhere/else"), identity));
    World { _dir: dir, root, before, after }
}

impl World {
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn read(&self, path: &str, territory: &Territory) -> Result<String, Refused> {
        let bytes = read_all(&open_within(&self.at(path), territory)?, 100)?;
        Ok(String::from_utf8(bytes).unwrap())
    }
}

#[test]
fn a_link_that_an_agent_could_have_left_is_not_read_through() {
    let world = world();
    symlink(world.at("outside/secret"), world.at("project/prompt")).unwrap();
    symlink("../outside", world.at("project/folder")).unwrap();
    symlink("own", world.at("project/inner")).unwrap();
    symlink(world.at("project"), world.at("way")).unwrap();
    for (path, text) in [
        ("project/prompt", "secret"),
        ("project/folder/secret", "secret"),
        ("project/sub/../folder/secret", "secret"),
        ("project/inner", "own"),
        ("way/prompt", "secret"),
    ] {
        assert_eq!(world.read(path, &world.before).unwrap(), text, "the control: {path}");
        let refused = world.read(path, &world.after).unwrap_err();
        assert!(matches!(refused, Refused::Link(_)), "{path}: {refused}");
        assert!(refused.to_string().contains("an agent was given"), "{path}: {refused}");
    }
    // A link that lies elsewhere is the person's own, and so is a way out by `..`.
    for (path, text) in [("way/own", "own"), ("project/../outside/secret", "secret"), ("project/own", "own")]
    {
        assert_eq!(world.read(path, &world.after).unwrap(), text, "{path}");
    }
}

#[test]
fn what_an_agent_could_have_left_is_not_written_over() {
    let world = world();
    let secret = || fs::read_to_string(world.at("outside/secret")).unwrap();
    symlink(world.at("outside/secret"), world.at("project/run.jsonl")).unwrap();
    symlink(world.at("outside/new"), world.at("project/dangling")).unwrap();
    symlink("../outside", world.at("project/folder")).unwrap();
    for path in ["project/run.jsonl", "project/dangling", "project/folder/new", "project/folder/secret"] {
        let refused = create_within(&world.at(path), 0o644, &world.after).unwrap_err();
        assert!(matches!(refused, Refused::Link(_)), "{path}: {refused}");
    }
    assert!(secret() == "secret" && !world.at("outside/new").exists());
    let refused = create_within(&world.at("project/own"), 0o644, &world.after).unwrap_err();
    assert!(matches!(refused, Refused::Exists(_)), "{refused}");
    assert_eq!(fs::read_to_string(world.at("project/own")).unwrap(), "own", "it is not emptied");
    let created = create_within(&world.at("project/new"), 0o640, &world.after).unwrap();
    assert!(created.doubt.is_some_and(|why| why.contains("an agent was given")), "and that is said");
    assert_eq!(fs::metadata(world.at("project/new")).unwrap().permissions().mode() & 0o777, 0o640);
    // The control: elsewhere links lead on, and files are written anew.
    let created = create_within(&world.at("project/dangling"), 0o644, &world.before).unwrap();
    assert!(created.doubt.is_none() && world.at("outside/new").exists());
    create_within(&world.at("project/run.jsonl"), 0o644, &world.before).unwrap();
    assert_eq!(secret(), "");
}

#[test]
fn a_checkouts_links_are_not_followed_and_its_files_are_written_anew() {
    let world = world();
    fs::create_dir(world.at("project/.git")).unwrap();
    symlink(world.at("outside/secret"), world.at("project/sub/link")).unwrap();
    for refused in [
        world.read("project/sub/link", &world.before).unwrap_err(),
        create_within(&world.at("project/sub/link"), 0o644, &world.before).unwrap_err(),
    ] {
        assert!(refused.to_string().contains("working tree of git"), "{refused}");
    }
    assert!(create_within(&world.at("project/own"), 0o644, &world.before).unwrap().doubt.is_none());
    assert_eq!(fs::read_to_string(world.at("project/own")).unwrap(), "");
}

#[test]
fn other_users_folders_count_as_an_agents() {
    let world = world();
    let mode = |path: &str, mode| {
        fs::set_permissions(world.at(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    symlink(world.at("outside/secret"), world.at("project/sub/link")).unwrap();
    for (bits, refused) in [(0o777, true), (0o1777, false), (0o755, false)] {
        for folder in ["project/sub", "project"] {
            mode(folder, bits);
            assert_eq!(world.read("project/sub/link", &world.before).is_err(), refused, "{folder} {bits:o}");
            mode(folder, 0o755);
        }
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    // In a folder like /tmp: whose link, or file, is it?
    mode("project/sub", 0o1777);
    std::os::unix::fs::lchown(world.at("project/sub/link"), Some(4711), None).unwrap();
    assert!(world.read("project/sub/link", &world.before).is_err());
    fs::write(world.at("project/sub/planted"), "").unwrap();
    std::os::unix::fs::chown(world.at("project/sub/planted"), Some(4711), None).unwrap();
    let planted = create_within(&world.at("project/sub/planted"), 0o644, &world.before);
    assert!(matches!(planted, Err(Refused::Exists(_))), "{planted:?}");
    mode("project/sub", 0o755);
    std::os::unix::fs::chown(world.at("project"), Some(4711), None).unwrap();
    assert!(world.read("project/sub/link", &world.before).is_err(), "its owner could have made it");
}

#[test]
fn fifos_and_devices_are_neither_waited_for_nor_read() {
    let world = world();
    nix::unistd::mkfifo(&world.at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("/dev/zero", world.at("zero")).unwrap();
    for (path, kind) in [("fifo", "no regular file"), ("zero", "no regular file"), ("project", "a directory")]
    {
        for refused in [
            world.read(path, &world.before).unwrap_err(),
            create_within(&world.at(path), 0o644, &world.before).unwrap_err(),
        ] {
            assert!(refused.to_string().contains(kind) && refused.hint().is_some(), "{path}: {refused}");
        }
    }
    assert!(read(Path::new("/dev/zero"), 10).is_err());
    fs::write(world.at("large"), [b'x'; 101]).unwrap();
    assert!(matches!(world.read("large", &world.before), Err(Refused::TooLarge(100))));
    assert!(world.read("none", &world.before).unwrap_err().is_missing());
}

#[test]
fn what_the_shell_opened_is_read_as_it_comes() {
    use std::os::fd::AsRawFd;
    let (read_end, write_end) = rustix::pipe::pipe().unwrap();
    rustix::io::write(&write_end, b"from a process").unwrap();
    drop(write_end);
    let path = format!("/dev/fd/{}", read_end.as_raw_fd());
    assert_eq!(read(Path::new(&path), 100).unwrap(), b"from a process");
    assert_eq!(read(Path::new("/dev/null"), 100).unwrap(), b"");
    for other in ["/dev/fd/", "/dev/fd/../../etc/passwd", "/dev/fd/1x"] {
        assert!(of_this_process(Path::new(other)).is_none(), "{other}");
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Plays an agent that swaps a folder, and a file, for a link out of the project as fast as it can.
#[test]
fn a_swap_at_any_moment_leads_nowhere() {
    let world = world();
    symlink(world.at("outside"), world.at("project/bad")).unwrap();
    symlink(world.at("outside/secret"), world.at("project/bad file")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let swap = |a: &str, b: &str| {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, world.at(a), rustix::fs::CWD, world.at(b), flags)
            };
            while !stop.load(Ordering::Relaxed) {
                swap("project/sub", "project/bad").unwrap();
                swap("project/own", "project/bad file").unwrap();
            }
        });
        // Also when this ends by a panic.
        let _stopped = Stop(&stop);
        let (mut read, mut refused) = (0, 0);
        for number in 0..5_000 {
            for path in ["project/sub/secret", "project/own"] {
                match world.read(path, &world.after) {
                    Ok(text) => {
                        assert_eq!(text, "own");
                        read += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
            if number < 1000 {
                let _ = create_within(&world.at(&format!("project/sub/{number}")), 0o600, &world.after);
            }
        }
        assert!(read > 0 && refused > 0, "both were met: {read}, {refused}");
    });
    let left = if world.at("project/sub").is_symlink() { "project/bad" } else { "project/sub" };
    assert!(fs::read_dir(world.at(left)).unwrap().count() > 1, "some were created");
    assert_eq!(fs::read_dir(world.at("outside")).unwrap().count(), 1, "and none outside");
    assert_eq!(fs::read_to_string(world.at("outside/secret")).unwrap(), "secret");
}

#[test]
fn a_file_that_decides_on_consent_is_read_where_no_agent_could_have_written_it() {
    let world = world();
    let read = |path: &str, territory: &Territory| read_trusted_within(&world.at(path), 100, territory);
    symlink(world.at("project/own"), world.at("outside/link")).unwrap();
    assert!(read("outside/secret", &world.after).is_ok());
    for path in ["project/own", "outside/link"] {
        assert!(read(path, &world.before).is_ok(), "the control: {path}");
        assert!(matches!(read(path, &world.after), Err(Refused::Distrusted(_))), "{path}");
    }
    // A working tree has files of others, and so has a file that others write.
    fs::create_dir(world.at("project/.git")).unwrap();
    assert!(matches!(read("project/own", &world.before), Err(Refused::Distrusted(_))));
    fs::set_permissions(world.at("outside/secret"), fs::Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(read("outside/secret", &world.before), Err(Refused::Distrusted(_))));
    assert!(read("outside/none", &world.before).unwrap_err().is_missing());
    assert!(matches!(read("outside", &world.before), Err(Refused::Kind(_))));
}
