//! The Debian package that `.ci/deb` makes: what `Cargo.toml` names for it is there, or is made by
//! that script.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads the section for cargo-deb, as cargo reads it.
fn section() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{output:?}");
    let whole: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = whole["packages"].as_array().expect("packages");
    let own = packages.iter().find(|package| package["name"] == "ringfence").expect("the program");
    own["metadata"]["deb"].clone()
}

#[test]
fn everything_in_the_package_is_there_or_is_made() {
    let section = section();
    let script = std::fs::read_to_string(root().join(".ci/deb")).expect("a script");
    let mut targets = BTreeSet::new();
    for asset in section["assets"].as_array().expect("assets") {
        let [source, target] = [0, 1].map(|at| asset[at].as_str().expect("text"));
        targets.insert(target);
        if let Some(made) = source.strip_prefix("target/deb/") {
            let folder = made.rsplit_once('/').map_or("", |(folder, _)| folder);
            let by_name = script.contains(&format!("> {source}\n"));
            assert!(by_name || script.contains(&format!("--output target/deb/{folder}\n")), "{source}");
        } else if source != "target/release/ringfence" {
            assert!(root().join(source).is_file(), "{source}");
        }
    }
    for folder in ["usr/bin/", "usr/share/man/man1/", "usr/share/doc/ringfence/"] {
        assert!(targets.contains(folder), "{folder}");
    }
}

#[test]
fn a_run_finds_what_its_helper_image_is_made_of() {
    let section = section();
    let words = |key: &str| section[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(words("depends"), "$auto, nftables");
    assert!(words("recommends").contains("docker.io | docker-ce | podman"));
}
