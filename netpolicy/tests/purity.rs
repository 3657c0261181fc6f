//! This library has no effects: whoever calls it reads files, asks the clock and opens sockets.

use std::fs;
use std::path::Path;

const FORBIDDEN: &[&str] = &[
    "std::fs",
    "std::env",
    "std::process",
    "std::time",
    "std::thread",
    "std::io",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "ToSocketAddrs",
    "tokio",
    "nftables::helper",
    "SystemTime",
    "Instant::now",
    "include_bytes!",
    "println!",
    "eprintln!",
    "unsafe ",
    "async fn",
    "extern \"C\"",
];
const DEPENDENCIES: &[&str] = &[
    "annotate-snippets",
    "hex",
    "humantime",
    "idna",
    "ipnet",
    "jiff",
    "jsonc-parser",
    "nftables",
    "psl",
    "roxmltree",
    "saphyr-parser",
    "schemars",
    "serde",
    "serde_json",
    "sha2",
    "thiserror",
    "toml",
];

#[test]
fn sources_have_no_effects() {
    let mut seen = 0;
    let mut left = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        seen += 1;
        for word in FORBIDDEN {
            let found =
                text.lines().position(|line| line.contains(word) && !line.trim_start().starts_with("//"));
            assert_eq!(found.map(|line| line + 1), None, "{} uses {word}", path.display());
        }
        assert!(text.starts_with("//! "), "{} does not begin with what it is for", path.display());
    }
    assert!(seen > 20);
}

#[test]
fn only_pure_dependencies() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let section = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    for line in section.lines().filter(|line| !line.trim().is_empty()) {
        let name = line.split(['.', ' ', '=']).next().unwrap();
        assert!(DEPENDENCIES.contains(&name), "{name} is a new dependency: is it free of effects?");
    }
}
