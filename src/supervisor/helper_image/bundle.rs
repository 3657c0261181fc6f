//! The helper image as one file, as `docker load` takes it: manifest, configuration, one layer.
//!
//! The same layer gives the same bytes: entries in one order, no times, no owners. The tag is the
//! layer's hash, so two contents never meet in one tag, and a file that was changed is told from
//! what it says it is.
//!
//! Of a file from elsewhere only the layer goes to an engine, in an archive that is written here:
//! the rest is read for what the file says of itself, since an engine may read double entries and
//! links between them in another way.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Cursor;

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::supervisor::spec::workflow::LABEL_VERSION;

/// The image's name before the tag.
const REPOSITORY: &str = "ringfence-helper";
/// Names in the archive.
const LAYER: &str = "layer.tar";
const MANIFEST: &str = "manifest.json";
const CONFIG: &str = "config.json";
const NAMES: [&str; 3] = [MANIFEST, CONFIG, LAYER];

/// The layer's SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digest(String);

impl Digest {
    /// Digests a layer.
    pub(crate) fn of(layer: &[u8]) -> Digest {
        Digest(hex::encode(Sha256::digest(layer)))
    }

    /// Reads a digest that was written down.
    pub(crate) fn parse(text: &str) -> Option<Digest> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (text.len() == 64 && digits).then(|| Digest(text.to_owned()))
    }

    /// Returns the layer's name in an image's configuration.
    pub(super) fn diff_id(&self) -> String {
        format!("sha256:{}", self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identity of an image: all else in it follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Architecture in the engine's words.
    pub(crate) architecture: String,
    /// Digest of the one layer.
    pub(crate) layer: Digest,
}

impl Identity {
    /// Returns name and tag of the image.
    pub(crate) fn tag(&self) -> String {
        let digest = &self.layer.0;
        format!("{REPOSITORY}:{}", digest.get(..24).unwrap_or(digest))
    }

    /// Returns the image's configuration. Its hash is the image's id, where an engine makes ids of
    /// configurations.
    pub(crate) fn config(&self) -> String {
        json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": settings(),
            "rootfs": {"type": "layers", "diff_ids": [self.layer.diff_id()]},
        })
        .to_string()
    }
}

/// Returns the settings that containers get from the image, besides its files.
pub(crate) fn settings() -> Value {
    json!({
        "Entrypoint": ["/usr/bin/ringfence"],
        "Env": ["PATH=/usr/sbin:/usr/bin"],
        "Labels": {LABEL_VERSION: env!("CARGO_PKG_VERSION")},
    })
}

/// A bundle's claims about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct About {
    /// The image in it.
    pub(crate) identity: Identity,
    /// The version of ringfence in it.
    pub(crate) version: String,
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

/// Writes the archive of a layer.
pub(crate) fn write(architecture: &str, layer: &[u8]) -> std::io::Result<Vec<u8>> {
    let identity = Identity { architecture: architecture.to_owned(), layer: Digest::of(layer) };
    let manifest = json!([{"Config": CONFIG, "RepoTags": [identity.tag()], "Layers": [LAYER]}]).to_string();
    let mut tar = tar::Builder::new(Vec::new());
    let contents = [manifest.as_bytes(), identity.config().as_bytes(), layer].map(<[u8]>::to_vec);
    for (name, content) in NAMES.into_iter().zip(contents) {
        let mut header = header(tar::EntryType::Regular, 0o644, content.len() as u64);
        tar.append_data(&mut header, name, content.as_slice())?;
    }
    tar.into_inner()
}

/// Reads an archive's claims about itself. The archive's layer is not looked at: see [`layer`].
pub(crate) fn about(archive: &[u8]) -> Result<About, String> {
    let entries = entries(archive)?;
    let manifests: Vec<Manifest> = parse(&entries, MANIFEST)?;
    let config: Config = parse(&entries, CONFIG)?;
    let [layer] = config.rootfs.diff_ids.as_slice() else {
        return Err(format!("it has {} layers", config.rootfs.diff_ids.len()));
    };
    let layer = layer.strip_prefix("sha256:").and_then(Digest::parse).ok_or("its layer has no SHA-256")?;
    let identity = Identity { architecture: config.architecture, layer };
    let tags: Vec<String> = manifests.into_iter().flat_map(|manifest| manifest.repo_tags).collect();
    if tags != [identity.tag()] {
        return Err(format!(
            "its configuration is that of {}, and it names {}",
            identity.tag(),
            tags.join(", ")
        ));
    }
    let version = config.config.labels.get(LABEL_VERSION).cloned().unwrap_or_default();
    Ok(About { identity, version })
}

/// Returns the layer, and checks that it has the digest that the archive claims.
pub(crate) fn layer<'a>(archive: &'a [u8], digest: &Digest) -> Result<&'a [u8], String> {
    let layer = of(&entries(archive)?, LAYER)?;
    if Digest::of(layer) == *digest {
        Ok(layer)
    } else {
        Err("its content is not what its tag says".to_owned())
    }
}

fn parse<T: for<'de> Deserialize<'de>>(entries: &BTreeMap<&str, &[u8]>, name: &str) -> Result<T, String> {
    serde_json::from_slice(of(entries, name)?).map_err(|error| format!("{name} in it: {error}"))
}

fn of<'a>(entries: &BTreeMap<&str, &'a [u8]>, name: &str) -> Result<&'a [u8], String> {
    entries.get(name).copied().ok_or_else(|| format!("there is no {name} in it"))
}

/// Returns the files of an archive: those of a bundle, each once, and nothing else.
fn entries(archive: &[u8]) -> Result<BTreeMap<&'static str, &[u8]>, String> {
    let mut found = BTreeMap::new();
    let mut tar = tar::Archive::new(Cursor::new(archive));
    for entry in tar.entries_with_seek().map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        let path = entry.path().map_err(|error| error.to_string())?;
        let known = NAMES.into_iter().find(|name| path.as_os_str() == *name);
        let (Some(name), tar::EntryType::Regular) = (known, entry.header().entry_type()) else {
            return Err(format!("{} in it is part of no bundle", path.display()));
        };
        let begin = usize::try_from(entry.raw_file_position()).ok();
        let end =
            begin.zip(usize::try_from(entry.size()).ok()).and_then(|(begin, size)| begin.checked_add(size));
        let content = begin.zip(end).and_then(|(begin, end)| archive.get(begin..end));
        if found.insert(name, content.ok_or_else(|| format!("{name} in it is cut short"))?).is_some() {
            return Err(format!("{name} is in it twice"));
        }
    }
    Ok(found)
}

/// Makes a header that depends on nothing but its arguments.
pub(crate) fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
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
        let identity = Identity { architecture: "arm64".to_owned(), layer: Digest::of(b"a layer") };
        assert_eq!((&about.identity, about.version.as_str()), (&identity, env!("CARGO_PKG_VERSION")));
        assert_eq!(layer(&archive, &identity.layer), Ok(&b"a layer"[..]));
        let at = archive.windows(7).position(|bytes| bytes == b"a layer").unwrap();
        let mut changed = archive.clone();
        changed[at] = b'b';
        assert!(layer(&changed, &identity.layer).unwrap_err().contains("not what its tag says"));
        assert!(super::about(&archive[..600]).is_err() && super::about(b"no archive at all").is_err());
        assert!(super::about(b"").unwrap_err().contains("there is no manifest.json"));
    }

    /// Makes an archive with these entries.
    fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in entries {
            let mut header = header(tar::EntryType::Regular, 0o644, content.len() as u64);
            tar.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn what_an_engine_could_read_in_another_way_is_refused() {
        let identity = Identity { architecture: "amd64".to_owned(), layer: Digest::of(b"layer") };
        let config = identity.config();
        let manifest = format!(
            r#"[{{"Config":"config.json","RepoTags":["{}"],"Layers":["layer.tar"]}}]"#,
            identity.tag()
        );
        let good = [(MANIFEST, manifest.as_str()), (CONFIG, &config), (LAYER, "layer")];
        let refusal = |entries: &[(&str, &str)]| about(&archive(entries)).map(drop).unwrap_err();
        assert_eq!(about(&archive(&good)).unwrap().identity, identity);

        for more in [(LAYER, "other"), (CONFIG, "{}"), (MANIFEST, "[]")] {
            assert_eq!(refusal(&[good[0], good[1], good[2], more]), format!("{} is in it twice", more.0));
        }
        let besides = refusal(&[good[0], good[1], good[2], ("other.json", "{}")]);
        assert_eq!(besides, "other.json in it is part of no bundle");
        let two = manifest.replace("RepoTags\":[", "RepoTags\":[\"agent:1\",");
        assert!(
            refusal(&[(MANIFEST, &two), good[1], good[2]]).contains("it names agent:1, ringfence-helper:")
        );
        let other = config.replace(&identity.layer.0, &"0".repeat(64));
        assert!(
            refusal(&[good[0], (CONFIG, &other), good[2]])
                .contains("is that of ringfence-helper:000000000000000000000000")
        );
    }
}
