//! The helper image, which fence and guard run from: `ringfence` and `nft` with their libraries,
//! for the engine's architecture.
//!
//! ```text
//!  RINGFENCE_HELPER_IMAGE=FILE ─┐
//!  bundles in this executable ──┼─ of the engine's architecture, of this version ─▶ loaded: has the engine this very image? ─▶ id
//!  this machine's own files ────┘
//! ```
//!
//! The first that is there is used; no registry takes part. A release carries bundles (`build.rs`),
//! so that it serves engines of another architecture and starts from machines that have no Linux
//! programs of their own.

#[cfg(target_os = "linux")]
mod assemble;
mod bundle;
mod loaded;
#[cfg(target_os = "linux")]
mod system;

#[cfg(target_os = "linux")]
use std::io::Write;
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
use self::bundle::{Digest, Identity};
use crate::host::open;
use crate::host::owners::Owners;
#[cfg(target_os = "linux")]
use crate::host::state;
use crate::supervisor::engine::Engine;
use crate::term::{COULD_NOT_RUN, Failure};

/// Names a bundle that goes before all others.
const VARIABLE: &str = "RINGFENCE_HELPER_IMAGE";
/// The largest bundle that is read.
const LARGEST_BUNDLE: u64 = 1 << 30;

include!(concat!(env!("OUT_DIR"), "/helper_bundles.rs"));

/// Returns the bundle that was named, if one was. Fence and guard are made of it, so no agent may
/// write it.
pub(crate) fn named() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Makes sure that the engine has the image; the engine's id of it.
pub(crate) async fn ensure(engine: &Engine) -> Result<String, Failure> {
    if let Some(path) = named() {
        return from_file(engine, &path).await;
    }
    if let Some((archive, about)) = carried(BUNDLES, &engine.architecture) {
        return ensure_bundle(engine, &about, archive).await;
    }
    #[cfg(target_os = "linux")]
    if own_architecture() == engine.architecture {
        return from_this_machine(engine).await;
    }
    Err(there_is_none(BUNDLES, &engine.architecture))
}

/// Returns the first of the bundles that an engine of this architecture can run.
fn carried<'a>(bundles: &[&'a [u8]], architecture: &str) -> Option<(&'a [u8], bundle::About)> {
    let mut readable = bundles.iter().filter_map(|archive| Some((*archive, bundle::about(archive).ok()?)));
    readable.find(|(_, about)| fits(about, architecture).is_ok())
}

fn there_is_none(bundles: &[&[u8]], architecture: &str) -> Failure {
    let mut failure = Failure::new(
        COULD_NOT_RUN,
        format!("there is no helper image for the engine's architecture, {architecture}"),
    )
    .hint(format!(
        "a release carries the usual ones; on a Linux machine of that architecture `ringfence helper-image --output FILE` \
         makes one, and {VARIABLE}=FILE has it used here"
    ));
    // One that is there and is not used is what somebody will wonder about.
    failure.causes = bundles
        .iter()
        .map(|archive| match bundle::about(archive).and_then(|about| fits(&about, architecture)) {
            Err(why) => format!("a bundle in this executable is not used: {why}"),
            Ok(()) => "a bundle in this executable fits".to_owned(),
        })
        .collect();
    failure
}

/// Writes a bundle of this machine's files, for [`VARIABLE`] or for a release.
#[cfg(target_os = "linux")]
pub(crate) fn write(output: &Path) -> Result<String, Failure> {
    let layer = assemble::layer(&assemble::inputs()?)?;
    let archive = archive(own_architecture(), &layer)?;
    let cannot = || Failure::new(COULD_NOT_RUN, format!("cannot write {}", output.display()));
    // A bundle that a group can write would not be read again, whatever the caller's umask is.
    let mut created = open::create(output, 0o644).map_err(|refused| refused.explain(cannot()))?;
    created.file.write_all(&archive).map_err(|error| cannot().caused_by(&error))?;
    Ok(of_this_machine(Digest::of(&layer)).tag())
}

async fn from_file(engine: &Engine, path: &Path) -> Result<String, Failure> {
    let cannot = |why: String| {
        let mut failure =
            Failure::new(COULD_NOT_RUN, format!("{VARIABLE}: {} cannot be used", path.display()));
        failure.causes.push(why);
        failure.hint(
            "make it anew with `ringfence helper-image --output FILE`, in a folder that only you or root can write, \
             or unset the variable",
        )
    };
    let archive = bytes_of(path).map_err(cannot)?;
    let about = bundle::about(&archive).map_err(cannot)?;
    fits(&about, &engine.architecture).map_err(cannot)?;
    ensure_bundle(engine, &about, &archive).await
}

/// Reads a bundle from a file that only the caller or root could have written: any author can put
/// any claim into a bundle.
fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    let file = Owners::strict(&[0, rustix::process::geteuid().as_raw()]).open_file(path)?;
    open::read_all(&file, LARGEST_BUNDLE).map_err(|refused| refused.to_string())
}

/// Helpers of another version may understand each other's words otherwise.
fn fits(about: &bundle::About, architecture: &str) -> Result<(), String> {
    let version = env!("CARGO_PKG_VERSION");
    let of_it = &about.identity.architecture;
    if of_it != architecture {
        return Err(format!("it is for {of_it}, and the engine is {architecture}"));
    }
    if about.version != version {
        return Err(format!("it is of version {}, and this is {version}", about.version));
    }
    Ok(())
}

async fn ensure_bundle(engine: &Engine, about: &bundle::About, content: &[u8]) -> Result<String, Failure> {
    let image = &about.identity;
    loaded::ready(engine, image, || {
        let layer = bundle::layer(content, &image.layer).map_err(|why| {
            let mut failure = Failure::new(COULD_NOT_RUN, format!("the bundle {} is damaged", image.tag()));
            failure.causes.push(why);
            failure
        })?;
        archive(&image.architecture, layer)
    })
    .await
}

#[cfg(target_os = "linux")]
async fn from_this_machine(engine: &Engine) -> Result<String, Failure> {
    let files = assemble::inputs()?;
    let stamp = assemble::stamp(&files)?;
    let remembered = state::directory().ok().map(|dir| dir.join("helper-image"));
    if let Some(layer) = remembered.as_deref().and_then(|path| recall(path, &stamp))
        && let Some(id) = loaded::there(engine, &of_this_machine(layer)).await?
    {
        return Ok(id);
    }
    let progress = crate::term::progress("making the helper image");
    let layer = assemble::layer(&files)?;
    let digest = Digest::of(&layer);
    drop(progress);
    let image = of_this_machine(digest.clone());
    let id = loaded::ready(engine, &image, || archive(own_architecture(), &layer)).await?;
    if let Some(path) = remembered {
        // Only a shortcut: without it the next start hashes the files again.
        let _ = std::fs::write(path, format!("{stamp} {digest}"));
    }
    Ok(id)
}

/// Returns the layer that files of this stamp made.
#[cfg(target_os = "linux")]
fn recall(path: &Path, stamp: &str) -> Option<Digest> {
    let text = std::fs::read_to_string(path).ok()?;
    let (then, digest) = text.split_once(' ')?;
    if then == stamp { Digest::parse(digest) } else { None }
}

#[cfg(target_os = "linux")]
fn of_this_machine(layer: Digest) -> Identity {
    Identity { architecture: own_architecture().to_owned(), layer }
}

fn archive(architecture: &str, layer: &[u8]) -> Result<Vec<u8>, Failure> {
    bundle::write(architecture, layer)
        .map_err(|error| Failure::new(COULD_NOT_RUN, "cannot assemble the helper image").caused_by(&error))
}

/// Returns this machine's architecture in the engine's words.
#[cfg(target_os = "linux")]
fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_version(archive: &[u8], version: &str) -> Vec<u8> {
        let own = env!("CARGO_PKG_VERSION");
        assert_eq!(own.len(), version.len());
        let at = archive.windows(own.len()).position(|part| part == own.as_bytes()).unwrap();
        let mut changed = archive.to_vec();
        changed[at..at + own.len()].copy_from_slice(version.as_bytes());
        changed
    }

    #[test]
    fn a_bundle_that_others_could_have_written_is_not_read() {
        use std::fs::{Permissions, set_permissions};
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (folder, file, link) = (root.join("folder"), root.join("folder/helper.tar"), root.join("link"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&file, "bundle").unwrap();
        symlink(&file, &link).unwrap();
        let mode = |path: &Path, mode| set_permissions(path, Permissions::from_mode(mode)).unwrap();
        for (of_folder, of_file, wrong) in [
            (0o755, 0o644, None),
            (0o1777, 0o644, None),
            (0o755, 0o664, Some("can write it")),
            (0o755, 0o646, Some("can write it")),
            (0o775, 0o644, Some("can replace it")),
            (0o777, 0o644, Some("can replace it")),
        ] {
            mode(&folder, of_folder);
            mode(&file, of_file);
            for path in [&file, &link] {
                let read = bytes_of(path);
                match wrong {
                    None => assert_eq!(read, Ok(b"bundle".to_vec()), "{of_folder:o} {of_file:o}"),
                    Some(why) => assert!(read.as_ref().is_err_and(|said| said.contains(why)), "{read:?}"),
                }
            }
        }
        assert!(bytes_of(&root).is_err());
    }

    #[test]
    fn of_the_bundles_inside_the_one_for_the_engine_is_taken() {
        let [amd, arm] = ["amd64", "arm64"].map(|name| bundle::write(name, name.as_bytes()).unwrap());
        let old = of_version(&arm, "9.9.9");
        let bundles: [&[u8]; 4] = [b"no archive", &old, &amd, &arm];
        for (architecture, layer) in ["amd64", "arm64"].map(|name| (name, name.as_bytes())) {
            let (archive, about) = carried(&bundles, architecture).unwrap();
            assert_eq!(about.identity.architecture, architecture);
            assert_eq!(bundle::layer(archive, &about.identity.layer), Ok(layer));
        }
        assert!(carried(&bundles, "riscv64").is_none());
        assert!(carried(&bundles[..2], "arm64").is_none(), "another version's, and what is none");
        assert!(carried(&[], "amd64").is_none());
    }

    #[test]
    fn without_one_that_fits_it_is_said_why_and_what_to_do() {
        let amd = bundle::write("amd64", b"amd64").unwrap();
        let old = of_version(&amd, "9.9.9");
        let failure = there_is_none(&[&old, b"no archive"], "amd64");
        assert_eq!(failure.message, "there is no helper image for the engine's architecture, amd64");
        assert!(failure.causes[0].contains("it is of version 9.9.9, and this is"), "{:?}", failure.causes);
        assert!(
            failure.causes[1].starts_with("a bundle in this executable is not used"),
            "{:?}",
            failure.causes
        );
        assert!(
            there_is_none(&[&amd], "arm64").causes[0].contains("it is for amd64, and the engine is arm64")
        );
        assert!(there_is_none(&[], "arm64").hint.unwrap().contains("RINGFENCE_HELPER_IMAGE=FILE"));
    }
}
