//! The helper image as one file, as `docker load` takes it: manifest, configuration, one layer.
//!
//! The same layer gives the same bytes: entries in one order, no times, no owners. The tag is the layer's hash, so two contents
//! never meet in one tag, and a file that was changed is told from what it says it is.

use std::io::Read as _;

use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::supervisor::workflow::LABEL_VERSION;

/// The image's name before the tag.
const REPOSITORY: &str = "ringfence-helper";
/// Names in the archive.
const LAYER: &str = "layer.tar";
const MANIFEST: &str = "manifest.json";
const CONFIG: &str = "config.json";

/// What a bundle says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Name and tag of the image.
    pub tag: String,
    /// The architecture, in the engine's words.
    pub architecture: String,
    /// The version of ringfence in it.
    pub version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    repo_tags: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    architecture: String,
    config: Settings,
    rootfs: Rootfs,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Settings {
    labels: std::collections::HashMap<String, String>,
}

#[derive(Deserialize)]
struct Rootfs {
    diff_ids: Vec<String>,
}

/// The tag of a layer.
pub fn tag(layer: &[u8]) -> String {
    let digest = hex::encode(Sha256::digest(layer));
    format!("{REPOSITORY}:{}", digest.get(..24).unwrap_or(&digest))
}

/// The archive of a layer.
pub fn write(architecture: &str, layer: &[u8]) -> std::io::Result<Vec<u8>> {
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Entrypoint": ["/usr/bin/ringfence"],
            "Env": ["PATH=/usr/sbin:/usr/bin"],
            "Labels": {LABEL_VERSION: env!("CARGO_PKG_VERSION")},
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id(layer)]},
    })
    .to_string();
    let manifest = json!([{"Config": CONFIG, "RepoTags": [tag(layer)], "Layers": [LAYER]}]).to_string();
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in [(MANIFEST, manifest.as_bytes()), (CONFIG, config.as_bytes()), (LAYER, layer)] {
        let mut header = header(tar::EntryType::Regular, 0o644, content.len() as u64);
        tar.append_data(&mut header, name, content)?;
    }
    tar.into_inner()
}

/// What an archive says of itself.
pub fn about(archive: &[u8]) -> Result<About, String> {
    let manifests: Vec<Manifest> = parse(archive, MANIFEST)?;
    let config: Config = parse(archive, CONFIG)?;
    let tag = manifests.into_iter().flat_map(|manifest| manifest.repo_tags).next();
    Ok(About {
        tag: tag.ok_or("its manifest names no image")?,
        architecture: config.architecture,
        version: config.config.labels.get(LABEL_VERSION).cloned().unwrap_or_default(),
    })
}

/// Whether the layer is the one that tag and configuration speak of.
pub fn check(archive: &[u8]) -> Result<(), String> {
    let layer = entry(archive, LAYER)?;
    let config: Config = parse(archive, CONFIG)?;
    if about(archive)?.tag == tag(&layer) && config.rootfs.diff_ids == [diff_id(&layer)] {
        Ok(())
    } else {
        Err("its content is not what its tag says".to_owned())
    }
}

fn diff_id(layer: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(layer)))
}

fn parse<T: for<'de> Deserialize<'de>>(archive: &[u8], name: &str) -> Result<T, String> {
    serde_json::from_slice(&entry(archive, name)?).map_err(|error| format!("{name} in it: {error}"))
}

fn entry(archive: &[u8], name: &str) -> Result<Vec<u8>, String> {
    let mut tar = tar::Archive::new(archive);
    let entries = tar.entries().map_err(|error| error.to_string())?;
    for entry in entries {
        let mut entry = entry.map_err(|error| error.to_string())?;
        if entry.path().is_ok_and(|path| path.as_os_str() == name) {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(|error| error.to_string())?;
            return Ok(content);
        }
    }
    Err(format!("there is no {name} in it"))
}

/// A header that depends on nothing but its arguments.
pub fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_says_what_it_is_and_a_changed_one_is_found_out() {
        let archive = write("arm64", b"a layer").unwrap();
        assert_eq!(archive, write("arm64", b"a layer").unwrap());
        let about = about(&archive).unwrap();
        assert_eq!(
            (about.architecture.as_str(), about.version.as_str()),
            ("arm64", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(about.tag, tag(b"a layer"));
        check(&archive).unwrap();
        let at = archive.windows(7).position(|bytes| bytes == b"a layer").unwrap();
        let mut changed = archive.clone();
        changed[at] = b'b';
        assert!(check(&changed).unwrap_err().contains("not what its tag says"));
        assert!(check(&archive[..600]).is_err() && super::about(b"no archive at all").is_err());
    }
}
