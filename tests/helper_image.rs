//! The helper image is of the system's own programs and libraries, whatever folders the caller's
//! surroundings put in front.

#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A program that leaves a mark and does nothing else.
fn plant(folder: &Path, name: &str, mark: &Path) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\necho {name} >> {}\n", mark.display())).expect("a program");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

fn bundle(output: &Path, surroundings: &[(&str, String)], folder: &Path) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.args(["helper-image", "--output"]).arg(output).current_dir(folder);
    command.envs(surroundings.iter().map(|(name, value)| (name, value)));
    let made = command.output().expect("ringfence starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::read(output).expect("a bundle")
}

#[test]
fn nothing_that_an_agent_may_have_put_on_the_way_is_run_or_taken() {
    let dir = tempfile::tempdir().unwrap();
    let [programs, libraries] = ["programs", "libraries"].map(|name| dir.path().join(name));
    let mark = dir.path().join("mark");
    fs::create_dir(&programs).unwrap();
    fs::create_dir(&libraries).unwrap();
    for name in ["ldd", "nft", "strip"] {
        plant(&programs, name, &mark);
    }
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let library_path = libraries.display().to_string();

    // The traps work: a program by name is the planted one, and so is a library of nft's.
    let ldd = || {
        let mut command = Command::new("ldd");
        command.arg("/usr/sbin/nft").env("LD_LIBRARY_PATH", &library_path);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let shown = ldd();
    let own =
        shown.split_whitespace().find(|word| word.starts_with('/') && word.contains("/libmnl.so")).unwrap();
    fs::copy(own, libraries.join(Path::new(own).file_name().unwrap())).unwrap();
    assert!(ldd().contains(&library_path), "{}", ldd());
    for name in ["ldd", "nft", "strip"] {
        assert!(Command::new("sh").args(["-c", name]).env("PATH", &path).status().unwrap().success());
    }
    assert_eq!(fs::read_to_string(&mark).unwrap(), "ldd\nnft\nstrip\n");
    fs::remove_file(&mark).unwrap();

    let plain = bundle(&dir.path().join("plain.tar"), &[], Path::new("/"));
    let surroundings = [("PATH", path), ("LD_LIBRARY_PATH", library_path)];
    let among_traps = bundle(&dir.path().join("trapped.tar"), &surroundings, &programs);
    assert!(!mark.exists(), "it ran {}", fs::read_to_string(&mark).unwrap());
    assert!(plain == among_traps, "the image depends on the caller's surroundings");
}
