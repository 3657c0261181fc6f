//! Images with several variants behind `ringfence serve`, on an engine that keeps them under one id
//! (containerd's store), each beside what a bare engine makes of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use integration::command::run;
use integration::testbed::Testbed;
use serde_json::{Value, json};

use crate::leftovers::only_the_uplink;
use crate::serve::{SOON, Served};
use crate::{Test, skip};

pub(crate) const TESTS: &[Test] = &[
    ("a variant that is made in another one's place is refused, and a bare engine makes it", other_variant),
    ("an image whose variants are as its index says is served", honest),
];

/// Words of a refusal for labels that are too long.
const LABELS: &str = "labels are longer";
/// The media types of an image's parts.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A variant: the processor that the index names, the one that its configuration names, and the
/// rest of its configuration.
type OneVariant<'a> = (&'a str, &'a str, Value);

/// Skips what asks for variants under one id.
fn needs_variants(bed: &Testbed) -> Result<()> {
    match bed.engine.docker(&["info", "--format", "{{.DriverStatus}}"])?.contains("io.containerd.snapshotter")
    {
        true => Ok(()),
        false => skip("this engine keeps one variant of an image under an id"),
    }
}

/// Puts bytes into a layout; their descriptor.
fn blob(layout: &Path, kind: &str, bytes: &[u8]) -> Result<Value> {
    let file = layout.join("blob");
    fs::write(&file, bytes)?;
    let sum = Command::new("sha256sum").arg(&file).output()?;
    let sum = String::from_utf8(sum.stdout)?;
    let sum = sum.split(' ').next().context("a sum")?;
    fs::rename(&file, layout.join("blobs/sha256").join(sum))?;
    Ok(json!({"mediaType": kind, "digest": format!("sha256:{sum}"), "size": bytes.len()}))
}

/// Loads an image with variants onto the engine.
fn load(bed: &Testbed, name: &str, variants: &[OneVariant<'_>]) -> Result<String> {
    let image = format!("ringfence-testbed/{name}-{}:1", std::process::id());
    let layout = bed.directory.path().join(format!("{name}-layout"));
    fs::create_dir_all(layout.join("blobs/sha256"))?;
    let root = bed.directory.path().join(format!("{name}-root"));
    fs::create_dir_all(&root)?;
    let mut manifests = Vec::new();
    for (number, (said, own, config)) in variants.iter().enumerate() {
        fs::write(root.join("of"), format!("variant {number}\n"))?;
        let tar = bed.directory.path().join(format!("{name}-{number}.tar"));
        let (into, from) = (tar.to_string_lossy(), root.to_string_lossy());
        run("tar", &["-C", &from, "-cf", &into, "of"], SOON)?;
        let layer = blob(&layout, LAYER, &fs::read(&tar)?)?;
        let rootfs = json!({"type": "layers", "diff_ids": [layer["digest"]]});
        let config = json!({"os": "linux", "architecture": own, "config": config, "rootfs": rootfs});
        let config = blob(&layout, CONFIG, config.to_string().as_bytes())?;
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        let mut manifest = blob(&layout, MANIFEST, manifest.to_string().as_bytes())?;
        manifest["platform"] = json!({"os": "linux", "architecture": said});
        manifests.push(manifest);
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    let mut top = blob(&layout, INDEX, index.to_string().as_bytes())?;
    top["annotations"] = json!({"io.containerd.image.name": format!("docker.io/{image}")});
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#)?;
    fs::write(layout.join("index.json"), json!({"schemaVersion": 2, "manifests": [top]}).to_string())?;
    let tar = bed.directory.path().join(format!("{name}.tar"));
    let (into, from) = (tar.to_string_lossy(), layout.to_string_lossy());
    run("tar", &["-C", &from, "-cf", &into, "oci-layout", "index.json", "blobs"], SOON)?;
    bed.engine.docker(&["load", "--quiet", "--input", &into])?;
    Ok(image)
}

/// Returns the processor of the engine, and another one that it never has.
fn processors(bed: &Testbed) -> Result<(String, &'static str)> {
    let own = bed.engine.docker(&["version", "--format", "{{.Server.Arch}}"])?;
    Ok((own.trim().to_owned(), "s390x"))
}

fn other_variant(bed: &Testbed) -> Result<()> {
    needs_variants(bed)?;
    let (own, foreign) = processors(bed)?;
    let plain = json!({"Cmd": ["true"]});
    for (name, config, word) in [
        ("declares", json!({"Cmd": ["true"], "Volumes": {"/h/x.service": {}}}), "/h/x.service"),
        ("begins", json!({"Cmd": ["true"], "WorkingDir": "/h/nologin"}), "/h/nologin"),
        ("labels", json!({"Cmd": ["true"], "Labels": {"long": "x".repeat(40_000)}}), LABELS),
    ] {
        let variants = [(own.as_str(), foreign, plain.clone()), (foreign, foreign, config)];
        let image = load(bed, name, &variants)?;
        let checked = made_elsewhere(bed, name, &image, foreign, word);
        bed.engine.docker(&["rmi", "--force", &image])?;
        checked.with_context(|| name.to_owned())?;
    }
    only_the_uplink(bed)
}

fn made_elsewhere(bed: &Testbed, name: &str, image: &str, foreign: &str, word: &str) -> Result<()> {
    // The control: the engine describes one variant by the processor of the other, and makes that.
    let described = bed.engine.docker(&["image", "inspect", "--format", "{{json .}}", image])?;
    ensure!(described.contains(foreign) && !described.contains(word), "{described}");
    let bare = format!("bare-{name}-{}", std::process::id());
    let platform = format!("linux/{foreign}");
    bed.engine.docker(&["create", "--name", &bare, "--platform", &platform, image])?;
    let made = bed.engine.docker(&["inspect", &bare])?;
    bed.engine.docker(&["rm", "--volumes", &bare])?;
    let shown = if word == LABELS { "xxxx" } else { word };
    ensure!(made.contains(shown), "a bare engine makes the other: {made}");
    // Those of the fence go with it, a moment later.
    let volumes = || -> Result<Vec<String>> {
        let all = bed.engine.docker(&["volume", "ls", "--quiet"])?;
        Ok(all.lines().filter(|name| !name.starts_with("ringfence-")).map(str::to_owned).collect())
    };
    let served = Served::start(bed, name, &[], None)?;
    let before = volumes()?;
    for words in [&["create", image][..], &["create", "-v", "data:/v", image]] {
        let done = served.try_docker(words)?;
        let is_told = done.stderr.contains("another variant") && done.stderr.contains(word);
        ensure!(!done.status.success() && is_told, "{words:?}: {done:?}");
    }
    served.docker(&["volume", "rm", "data"])?;
    ensure!(volumes()? == before, "no volume is left: {:?}", volumes()?);
    let members = ["ps", "--all", "--quiet", "--filter", "label=dev.ringfence.role=member"];
    ensure!(bed.engine.docker(&members)?.is_empty(), "no container of it is left");
    served.end()
}

fn honest(bed: &Testbed) -> Result<()> {
    needs_variants(bed)?;
    let (own, foreign) = processors(bed)?;
    let config = json!({"Cmd": ["true"], "WorkingDir": "/app/", "Volumes": {"/data/": {}}});
    let variants = [(foreign, foreign, json!({"Cmd": ["true"]})), (own.as_str(), own.as_str(), config)];
    let image = load(bed, "honest", &variants)?;
    let checked = (|| {
        let served = Served::start(bed, "honest", &[], None)?;
        served.docker(&["create", "--name", "first", &image])?;
        served.docker(&["create", "--name", "second", "-v", "more:/more", &image])?;
        let format = "{{.Config.WorkingDir}} {{len .Mounts}}";
        let shown = served.docker(&["inspect", "--format", format, "second"])?;
        ensure!(shown == "/app 2\n", "{shown}");
        served.docker(&["rm", "--volumes", "first", "second"])?;
        served.docker(&["volume", "rm", "more"])?;
        served.end()
    })();
    bed.engine.docker(&["rmi", "--force", &image])?;
    checked?;
    only_the_uplink(bed)
}
