//! Words of the agent's first program about mistakes in an image.

#[path = "../src/inside/init/refusal.rs"]
mod refusal;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use refusal::{home_fault, remedy};

#[test]
fn a_closed_folder_and_a_foreign_home_are_told_with_user_and_remedy() {
    let dir = tempfile::tempdir().expect("a folder");
    let home = dir.path().join("home");
    fs::create_dir_all(home.join("bin")).expect("a folder");
    let mode = |mode| fs::set_permissions(&home, fs::Permissions::from_mode(mode)).expect("a mode");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let owner = fs::metadata(&home).expect("a folder").uid();
    let (other, places) = (owner + 4321, [home.join("bin/agent")]);

    mode(0o700);
    let told = remedy(ErrorKind::PermissionDenied, other, &places).expect("a remedy");
    assert!(told.contains(&format!("user {other} may not enter {}:", home.display())), "{told}");
    assert!(told.contains("--user root"), "{told}");
    let told_of_home = home_fault(&home, other).expect("a fault");
    assert!(told_of_home.contains(&format!("user {other} cannot write HOME=")), "{told_of_home}");
    let plain =
        |text: &str| text.replace(&home.display().to_string(), "/root").replace(&other.to_string(), "1000");
    insta::assert_snapshot!("a_program_below_another_users_home", plain(&told));
    insta::assert_snapshot!("a_home_of_another_user", plain(&told_of_home));
    // The controls: the owner, root, and a folder that is open to all.
    for user in [owner, 0] {
        assert_eq!(remedy(ErrorKind::PermissionDenied, user, &places), None);
        assert_eq!(home_fault(&home, user), None);
    }
    mode(0o777);
    assert_eq!(remedy(ErrorKind::PermissionDenied, other, &places), None);
    assert_eq!(home_fault(&home, other), None);
}

#[test]
fn a_program_that_is_missing_is_told_with_a_remedy() {
    let told = remedy(ErrorKind::NotFound, 1000, &[]).expect("a remedy");
    assert!(told.contains("Dockerfile"), "{told}");
    insta::assert_snapshot!("a_program_that_the_image_lacks", told);
    assert_eq!(remedy(ErrorKind::InvalidInput, 1000, &[]), None);
}

#[test]
fn a_program_that_is_there_and_lacks_something_is_told_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let told = |name: &str, content: &[u8]| {
        let place = dir.path().join(name);
        fs::write(&place, content).expect("a file");
        // The places before it on the PATH lack it.
        remedy(ErrorKind::NotFound, 1000, &[dir.path().join("nowhere"), place]).expect("a remedy")
    };
    let script = told("script", b"#! /opt/node/bin/node --flag\nrest");
    assert!(script.contains("script is a script for /opt/node/bin/node, which the image lacks"), "{script}");
    assert!(told("dos", b"#!/bin/sh\r\nrest").contains("Unix line ends"));
    let binary = told("binary", b"\x7fELF\x02\x01\x01");
    assert!(binary.contains("the loader that it was linked for") && binary.contains("musl"), "{binary}");
    // The controls: a text that names nothing, a folder, and nothing at all.
    assert!(told("text", b"echo").contains("no such program on its PATH"));
    fs::create_dir(dir.path().join("folder")).expect("a folder");
    for place in ["folder", "nowhere"] {
        let said = remedy(ErrorKind::NotFound, 1000, &[dir.path().join(place)]).expect("a remedy");
        assert!(said.contains("no such program on its PATH"), "{said}");
    }
}
