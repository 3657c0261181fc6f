use std::fs;

use super::*;

fn file(text: &str) -> File {
    File {
        text: Bytes(text.into()),
        whole: digest(text.as_bytes()),
        hidden: vec![],
        mode: 0o640,
        owner: (0, 0),
    }
}

#[test]
fn what_is_put_there_replaces_anything_and_follows_nothing() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = fs::File::open(dir.path()).unwrap();
    fs::create_dir_all(dir.path().join("a/folder/full")).unwrap();
    fs::write(outside.path().join("theirs"), "theirs").unwrap();
    symlink(outside.path().join("theirs"), dir.path().join("a/link")).unwrap();
    symlink(outside.path(), dir.path().join("out")).unwrap();
    nix::unistd::mkfifo(&dir.path().join("a/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for name in ["a/link", "a/folder", "a/pipe", "a/new"] {
        replace(root.as_fd(), Path::new(name), &file("ours"), "2a").unwrap();
        let path = dir.path().join(name);
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
        let meta = path.symlink_metadata().unwrap();
        assert!(meta.is_file() && meta.permissions().mode() & 0o777 == 0o640);
    }
    let aside: Vec<_> =
        fs::read_dir(dir.path().join("a")).unwrap().flatten().map(|entry| entry.path()).collect();
    let is_it = |path: &std::path::PathBuf| {
        path.to_string_lossy().contains("folder.put-aside-2a-") && path.join("full").is_dir()
    };
    assert!(aside.iter().any(is_it), "{aside:?}");
    assert_eq!(aside.len(), 5, "nothing else is left: {aside:?}");
    assert_eq!(fs::read_to_string(outside.path().join("theirs")).unwrap(), "theirs");
    assert!(replace(root.as_fd(), Path::new("out/x"), &file("ours"), "2a").is_err());
    assert_eq!(look(root.as_fd(), Path::new("out/theirs")).unwrap(), Was::Absent);
    assert!(look(root.as_fd(), Path::new("../x")).is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn a_pipe_is_not_waited_for_and_a_large_file_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let root = fs::File::open(dir.path()).unwrap();
    nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(dir.path().join("large"), vec![b'x'; LARGEST as usize + 1]).unwrap();
    for name in ["pipe", "large"] {
        assert_eq!(look(root.as_fd(), Path::new(name)).unwrap(), Was::Else, "{name}");
    }
}

#[test]
fn what_somebody_wrote_meanwhile_is_put_aside_and_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let root = fs::File::open(dir.path()).unwrap();
    let at = dir.path().join("config");
    fs::write(&at, "judged").unwrap();
    let known = digest(b"judged");
    let put = |known| replace_known(root.as_fd(), Path::new("config"), &file("ours"), known, "2a").unwrap();
    assert_eq!(put(Some(&known)), Displaced::Known);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "what was judged is gone");
    for other in ["by hand", "by git"] {
        fs::write(&at, other).unwrap();
        assert_eq!(put(Some(&known)), Displaced::PutAside);
        let aside = fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.path());
        let mut kept = aside.filter(|path| path.to_string_lossy().contains("config.put-aside-2a-"));
        assert!(kept.any(|path| fs::read_to_string(path).unwrap() == other), "{other}");
        assert_eq!(fs::read_to_string(&at).unwrap(), "ours");
    }
    // An index is larger than a configuration, and goes if it was judged.
    let large = vec![b'x'; LARGEST as usize + 1];
    let judged = digest(&large);
    fs::write(&at, &large).unwrap();
    assert_eq!(put(Some(&judged)), Displaced::Known);
    fs::write(&at, &large).unwrap();
    assert_eq!(put(Some(&known)), Displaced::PutAside);
}

/// Plays an agent that swaps the folder for a link to one outside as fast as it can.
#[test]
fn nothing_outside_is_read_changed_or_made_whatever_is_swapped() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = fs::File::open(dir.path()).unwrap();
    fs::create_dir(dir.path().join("git")).unwrap();
    fs::write(outside.path().join("config"), "theirs").unwrap();
    symlink(outside.path(), dir.path().join("bad")).unwrap();
    let closed = fs::Permissions::from_mode(0o500);
    fs::set_permissions(outside.path(), closed.clone()).unwrap();
    let stop = AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let flags = RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&root, "git", &root, "bad", flags).unwrap();
                let _ = fs::set_permissions(dir.path().join("git"), closed.clone());
            }
        });
        let mut done = 0;
        for number in 0..3000 {
            let path = Path::new("git/config");
            done += usize::from(replace(root.as_fd(), path, &file("ours"), "2a").is_ok());
            let _ = link(root.as_fd(), Path::new("git/link"), b"target", "2a");
            let _ = put_aside(root.as_fd(), Path::new("git/link"), "2a");
            if let Ok(Was::File(read)) = look(root.as_fd(), path) {
                assert_eq!(read.text.0, b"ours", "{number}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        done
    });
    assert!(done > 0, "some were done");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(outside.path().join("config")).unwrap(), "theirs");
    let mode = fs::metadata(outside.path()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o500, "its rights stay too");
}
