//! Puts helper images into the executable: every `*.tar` of the directory
//! `RINGFENCE_HELPER_BUNDLES`, each made by `ringfence helper-image` on a machine of its
//! architecture. Without the variable there are none.
//!
//! Compiles `src/inside/init`, the first program in an agent's container, for a target that runs
//! such containers.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

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
    init(Path::new(&out))
}

/// Compiles it static: it runs in whatever image, before anything of that.
fn init(out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    const SOURCE: &str = "src/inside/init/main.rs";
    println!("cargo::rerun-if-changed=src/inside/init");
    let variable = |name: &str| std::env::var_os(name).ok_or_else(|| format!("no {name}"));
    let (target, code) = (variable("TARGET")?, out.join("init.rs"));
    if !target.to_string_lossy().contains("-linux-") {
        std::fs::write(code, "const INIT: Option<&[u8]> = None;\n")?;
        return Ok(());
    }
    let program = out.join("init");
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args(["--edition=2024", "--crate-name=init", SOURCE, "-Copt-level=s", "-Cpanic=abort"]);
    rustc.args(["-Ctarget-feature=+crt-static", "-Cstrip=symbols", "--target"]).arg(&target);
    if let Some(linker) = std::env::var_os("RUSTC_LINKER") {
        let mut option = std::ffi::OsString::from("-Clinker=");
        option.push(linker);
        rustc.arg(option);
    }
    let status = rustc.arg("-o").arg(&program).status()?;
    if !status.success() {
        return Err(format!(
            "{SOURCE} was not compiled ({status}); a static C library is needed (libc6-dev)"
        )
        .into());
    }
    std::fs::write(
        code,
        format!("const INIT: Option<&[u8]> = Some(include_bytes!({:?}));\n", program.display().to_string()),
    )?;
    Ok(())
}
