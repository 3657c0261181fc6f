//! Puts helper images into the executable: every `*.tar` of the directory `RINGFENCE_HELPER_BUNDLES`, each made by
//! `ringfence helper-image` on a machine of its architecture. Without the variable there are none.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const VARIABLE: &str = "RINGFENCE_HELPER_BUNDLES";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let mut bundles: Vec<PathBuf> = Vec::new();
    if let Some(directory) = std::env::var_os(VARIABLE) {
        let directory =
            Path::new(&directory).canonicalize().map_err(|error| format!("{VARIABLE}: {error}"))?;
        println!("cargo::rerun-if-changed={}", directory.display());
        for entry in std::fs::read_dir(&directory)? {
            bundles.push(entry?.path());
        }
        bundles.retain(|path| path.extension().is_some_and(|extension| extension == "tar"));
        if bundles.is_empty() {
            return Err(format!("{VARIABLE}: there is no *.tar in {}", directory.display()).into());
        }
    }
    bundles.sort();
    let mut code = "/// The bundles that this executable carries.\nconst BUNDLES: &[&[u8]] = &[".to_owned();
    for bundle in &bundles {
        println!("cargo::rerun-if-changed={}", bundle.display());
        write!(code, "include_bytes!({:?}), ", bundle.display().to_string())?;
    }
    code.push_str("];\n");
    let out = std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?;
    std::fs::write(Path::new(&out).join("helper_bundles.rs"), code)?;
    Ok(())
}
