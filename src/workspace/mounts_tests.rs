//! Tricks with mounts, each beside what may be given.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::super::own_files::Own;
use super::*;

/// A machine below a directory: two homes, an engine, a project of the first.
struct World {
    _dir: tempfile::TempDir,
    root: PathBuf,
    machine: Machine,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for below in ["home/me/work/project/src", "home/you/secret", "srv/shared", "engine/data"] {
            std::fs::create_dir_all(root.join(below)).unwrap();
        }
        std::fs::write(root.join("home/me/.gitconfig"), "[user]").unwrap();
        let machine = Machine {
            homes: vec![root.join("home/me")],
            other_homes: vec![root.join("home/you")],
            engine: vec![root.join("engine/data"), root.join("engine/docker.sock")],
            sockets: Vec::new(),
            engine_ways: Vec::new(),
            helper_ways: Vec::new(),
            own: Own::of(
                &[root.join("home/me/.local/state/ringfence"), root.join("home/me/.config/ringfence")],
                &[root.join("home/me/.config/ringfence/policy.yml")],
            ),
        };
        World { _dir: dir, root, machine }
    }

    fn at(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    fn project(&self, below: &str) -> Result<Bind, Failure> {
        project(&self.at(below), "/workspace", &self.machine)
    }

    fn mount(&self, below: &str, target: &str) -> Result<Bind, Failure> {
        let project = self.project("home/me/work/project").unwrap();
        mount(&format!("{}:{target}", self.at(below).display()), Some(&project), &self.machine)
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Failure>, why: &str) {
    let failure = result.expect_err(why);
    assert_eq!(failure.exit, 125);
    assert!(failure.message.contains(why), "{} instead of {why}", failure.message);
    assert!(failure.hint.is_some(), "{}", failure.message);
}

#[test]
fn a_project_and_a_file_may_be_given() {
    let world = World::new();
    let given = world.project("home/me/work/project").unwrap();
    assert_eq!((given.target.as_str(), given.writable, given.directory), ("/workspace", true, true));
    assert!(given.is_still_there());
    let file = world.mount("home/me/.gitconfig", "/root/.gitconfig").unwrap();
    assert!(!file.writable && !file.directory);
    let shared = world.mount("srv/shared", "/data:rw").unwrap();
    assert!(shared.writable && shared.directory && shared.target == "/data");
}

#[test]
fn home_its_parents_and_the_homes_of_others_are_not_given() {
    let world = World::new();
    refused(world.project("home/me"), "your home directory");
    refused(world.project("home"), "contains your home directory");
    refused(world.project(""), "contains your home directory");
    refused(world.project("home/me/work/../../me"), "your home directory");
    refused(world.project("home/you"), "belongs to another user");
    refused(world.project("home/you/secret"), "belongs to another user");
    refused(project(Path::new("/"), "/workspace", &world.machine), "contains your home directory");
}

#[test]
fn links_are_resolved_first() {
    let world = World::new();
    for (name, target) in [("etc", "/etc"), ("all", "/"), ("proc", "/proc/self/root/etc")] {
        symlink(target, world.at(&format!("home/me/work/{name}"))).unwrap();
        assert!(world.project(&format!("home/me/work/{name}")).is_err(), "{name}");
        assert!(world.mount(&format!("home/me/work/{name}"), "/x").is_err(), "{name}");
    }
    symlink(world.at("home/you"), world.at("home/me/work/friend")).unwrap();
    refused(world.project("home/me/work/friend/secret"), "belongs to another user");
    // A link to a good place is one.
    symlink(world.at("srv/shared"), world.at("home/me/work/link")).unwrap();
    assert_eq!(world.project("home/me/work/link").unwrap().source, world.at("srv/shared"));
}

#[test]
fn directories_of_the_system_are_not_given() {
    let machine = Machine::default();
    for (path, why) in [
        ("/", "of the system"),
        ("/etc", "nothing of /etc"),
        ("/etc/ssl", "nothing of /etc"),
        ("/usr", "of the system"),
        ("/var", "of the system"),
        ("/tmp", "of the system"),
        ("/proc", "nothing of /proc"),
        ("/sys/kernel", "nothing of /sys"),
        ("/dev", "nothing of /dev"),
        ("/proc/self/cwd/../../../../../../..", "of the system"),
    ] {
        refused(project(Path::new(path), "/workspace", &machine), why);
    }
}

#[test]
fn doors_are_not_given_under_any_name() {
    let world = World::new();
    let _listener = UnixListener::bind(world.at("engine/docker.sock")).unwrap();
    refused(world.mount("engine/docker.sock", "/x"), "a socket, pipe or device");
    std::fs::hard_link(world.at("engine/docker.sock"), world.at("home/me/work/innocent")).unwrap();
    refused(world.mount("home/me/work/innocent", "/x"), "a socket, pipe or device");
    symlink(world.at("engine/docker.sock"), world.at("home/me/work/linked")).unwrap();
    refused(world.mount("home/me/work/linked", "/x"), "a socket, pipe or device");
    nix::unistd::mkfifo(&world.at("srv/shared/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused(world.mount("srv/shared/pipe", "/x"), "a socket, pipe or device");
    refused(mount("/dev/null:/x", None, &world.machine), "a socket, pipe or device");
    refused(world.mount("engine", "/x"), "container engine");
    refused(world.mount("engine/data", "/x"), "container engine");
}

#[test]
fn files_of_ringfence_are_not_given() {
    let world = World::new();
    for folder in ["home/me/.config/tool", "home/me/.local/state/ringfence/trust", "home/me/.local/share"] {
        std::fs::create_dir_all(world.at(folder)).unwrap();
    }
    let own = "ringfence's own";
    // The user's policy is not there yet, and nobody may make one.
    refused(world.project("home/me/.config"), own);
    refused(world.mount("home/me/.config", "/x"), own);
    for below in [".local", ".local/state", ".local/state/ringfence", ".local/state/ringfence/trust"] {
        refused(world.mount(&format!("home/me/{below}"), "/x"), own);
        refused(world.project(&format!("home/me/{below}")), own);
    }
    assert!(world.project("home/me/.config/tool").is_ok());
    assert!(world.mount("home/me/.local/share", "/x:rw").is_ok());
    std::fs::create_dir(world.at("home/me/.config/ringfence")).unwrap();
    std::fs::write(world.at("home/me/.config/ringfence/policy.yml"), "").unwrap();
    refused(world.project("home/me/.config/ringfence"), own);
    refused(world.mount("home/me/.config/ringfence/policy.yml", "/x"), own);
}

#[test]
fn a_policy_that_is_a_link_is_not_given_to_be_written() {
    let mut world = World::new();
    for folder in ["home/me/.config/ringfence", "home/me/dots/ringfence", "srv/all"] {
        std::fs::create_dir_all(world.at(folder)).unwrap();
    }
    std::fs::write(world.at("srv/all/policy.yml"), "").unwrap();
    symlink(world.at("srv/all/policy.yml"), world.at("home/me/dots/ringfence/policy.yml")).unwrap();
    let policy = world.at("home/me/.config/ringfence/policy.yml");
    symlink("../../dots/ringfence/policy.yml", &policy).unwrap();
    world.machine.own = Own::of(&[world.at("home/me/.config/ringfence")], &[policy]);
    // The link's folder and the file's, each by itself.
    for folder in ["home/me/dots", "home/me/dots/ringfence", "srv/all", "srv"] {
        refused(world.project(folder), "ringfence's own");
        refused(world.mount(folder, "/x:rw"), "ringfence's own");
        assert!(world.mount(folder, "/x").is_ok(), "{folder}: who only reads it changes nothing");
    }
    refused(world.mount("srv/all/policy.yml", "/x:rw"), "ringfence's own");
    // The whole folder may be a link.
    std::fs::rename(world.at("home/me/.config/ringfence"), world.at("home/me/work/fence")).unwrap();
    symlink("../work/fence", world.at("home/me/.config/ringfence")).unwrap();
    world.machine.own = Own::of(&[world.at("home/me/.config/ringfence")], &[]);
    refused(world.project("home/me/work"), "ringfence's own");
    refused(world.mount("home/me/work/fence", "/x"), "ringfence's own");
    refused(world.mount("home/me/.config", "/x:rw"), "ringfence's own");
}

/// Tries each list that decides on the next run: the file's folder, that of a link to it, and the
/// file itself.
#[test]
fn what_the_next_run_is_made_of_is_not_given_to_be_written() {
    type Ways = fn(&mut Machine) -> &mut Vec<PathBuf>;
    let lists: [(Ways, &str); 2] = [
        (|machine| &mut machine.engine_ways, "which container engine is used"),
        (|machine| &mut machine.helper_ways, "what fence and guard are made of"),
    ];
    for (list, why) in lists {
        let mut world = World::new();
        for folder in ["home/me/work/links", "srv/kept"] {
            std::fs::create_dir_all(world.at(folder)).unwrap();
        }
        std::fs::write(world.at("srv/kept/file"), "").unwrap();
        symlink(world.at("srv/kept/file"), world.at("home/me/work/links/file")).unwrap();
        let ways = crate::host::path_walk::symlink_chain(&world.at("home/me/work/links/file"));
        *list(&mut world.machine) = ways;
        for folder in ["home/me/work/links", "home/me/work", "srv/kept", "srv"] {
            refused(world.project(folder), why);
            refused(world.mount(folder, "/x:rw"), why);
            assert!(world.mount(folder, "/x").is_ok(), "{folder}: who only reads it changes nothing");
        }
        refused(world.mount("srv/kept/file", "/x:rw"), why);
        assert!(world.project("home/me/work/project").is_ok() && world.mount("srv/shared", "/x:rw").is_ok());
    }
}

#[test]
fn what_was_swapped_meanwhile_is_noticed() {
    let world = World::new();
    let bind = world.project("home/me/work/project").unwrap();
    std::fs::rename(world.at("home/me/work/project"), world.at("home/me/work/away")).unwrap();
    assert!(!bind.is_still_there());
    symlink("/etc", world.at("home/me/work/project")).unwrap();
    assert!(!bind.is_still_there());
    std::fs::remove_file(world.at("home/me/work/project")).unwrap();
    std::fs::create_dir(world.at("home/me/work/project")).unwrap();
    assert!(!bind.is_still_there());
    // A directory above it that becomes a link is no way round either.
    let bind = world.project("home/me/work/away").unwrap();
    std::fs::rename(world.at("home/me/work"), world.at("home/me/moved")).unwrap();
    symlink(world.at("home/me/moved"), world.at("home/me/work")).unwrap();
    assert!(!bind.is_still_there());
}

#[test]
fn targets_are_plain_places_that_nothing_else_needs() {
    let world = World::new();
    for target in [
        "relative",
        "/a/../etc",
        "/",
        "/etc",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/proc",
        "/proc/sys",
        "/sys/fs",
        "/dev",
        "/dev/shm",
        "/run",
        "/run/ringfence",
        "/workspace",
        "/workspace/.git/hooks",
        "/workspace/sub/.git",
        "/workspace/sub/.git/objects",
        "/workspace/.ringfence.yml",
        "/workspace/new",
        "/etc//hosts",
        "/a/./../b",
    ] {
        assert!(world.mount("srv/shared", target).is_err(), "{target}");
    }
    for target in ["/data", "/etc/tool.conf", "/run/tool", "/workspace/src", "/home/agent//.cache/"] {
        assert!(world.mount("srv/shared", target).is_ok(), "{target}");
    }
    assert!(memory_target("/cache", None).is_ok());
    refused(memory_target("/proc", None), "nothing is mounted at /proc");
    for init in
        ["/sbin", "/usr", "/usr/sbin", "/sbin/docker-init", "/usr/sbin/docker-init", "/run/podman-init"]
    {
        refused(memory_target(init, None), &format!("nothing is mounted at {init} in"));
        refused(world.mount("srv/shared", init), &format!("nothing is mounted at {init} in"));
    }
    assert!(world.mount("srv/shared", "/usr/local").is_ok());
}

#[test]
fn words_that_are_no_mount_are_told() {
    let machine = Machine::default();
    for words in ["", "/a", "/a:/b:rx", "/a:/b:rw:z", "volume:/data"] {
        assert!(mount(words, None, &machine).is_err(), "{words}");
    }
    refused(mount("volume:/data", None, &machine), "a path is wanted");
}
