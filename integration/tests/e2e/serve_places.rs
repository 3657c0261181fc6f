//! Places and images behind `ringfence serve` by which something outside of a container could be
//! made, each beside what a bare engine does.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use integration::command::bounded;
use integration::testbed::Testbed;
use integration::testbed::engine::variants::Product;

use crate::leftovers::only_the_uplink;
use crate::serve::{SOON, Served};
use crate::serve_starts::image_with;
use crate::{Test, skip};

pub(crate) const TESTS: &[Test] = &[
    ("beside a part of a project nothing lies inside a mount, and a bare engine makes it outside", beside),
    ("parts of a project alone, and mounts in a whole project, are given", given),
    ("the variant of an image that was looked at is the one that runs", variant),
    ("what only says that it is a look stays, and what is one goes", looks),
    ("known holes of the engine are told, and refused unless they are accepted", holes),
];

/// Makes a project with a folder and a file.
fn project(bed: &Testbed, name: &str) -> Result<PathBuf> {
    let project = bed.directory.path().join(name);
    fs::create_dir_all(project.join("sub"))?;
    fs::create_dir_all(project.join("a"))?;
    fs::write(project.join("f"), "file\n")?;
    Ok(project)
}

fn beside(bed: &Testbed) -> Result<()> {
    let project = project(bed, "beside")?;
    let outside = bed.directory.path().join("beside-outside");
    fs::create_dir_all(&outside)?;
    let at = |below: &str, place: &str| format!("{}:{place}", project.join(below).display());
    let (whole, sub, file) = (at("", "/app"), at("sub", "/h"), at("f", "/app/a/nologin"));
    let image = bed.images.agent.as_str();
    let served = Served::start(bed, "beside", &[], Some(&project))?;
    let in_volume = ["-v", sub.as_str(), "-v", "beside:/v", "-v", "inner:/v/a/unit.service"];
    for words in [
        &["-v", whole.as_str(), "-v", file.as_str()][..],
        &["-v", &whole, "-v", &sub, "-v", "inner:/app/a/unit.service"],
        &in_volume,
        &["-v", &sub, "-v", "beside:/v", "-w", "/v/a/nologin"],
        &["-v", &sub, "-v", "beside:/v", "--tmpfs", "/v/a/nologin"],
    ] {
        let done = served.try_docker(&[&["create"], words, &[image, "true"]].concat())?;
        let is_told = done.stderr.contains("part of a project") && done.stderr.contains("instead");
        ensure!(!done.status.success() && is_told, "{words:?}: {done:?}");
    }
    // A cover is a mount too, and its folders have names of the project's.
    fs::create_dir_all(project.join("sub/nologin"))?;
    fs::write(project.join("sub/nologin/.env"), "TOKEN=planted-secret\n")?;
    let done = served.try_docker(&["create", "-v", &sub, image, "true"])?;
    ensure!(!done.status.success() && done.stderr.contains("has to be covered"), "{done:?}");
    // So are git's files, in a whole project beside a part of it.
    fs::create_dir_all(project.join(".git/objects"))?;
    fs::create_dir_all(project.join(".git/refs"))?;
    fs::write(project.join(".git/HEAD"), "ref: refs/heads/main\n")?;
    fs::write(project.join(".git/config"), "[core]\n\tbare = false\n")?;
    let file = at("f", "/etc/app.conf");
    let done = served.try_docker(&["create", "-v", &whole, "-v", &file, image, "true"])?;
    ensure!(!done.status.success() && done.stderr.contains("has to be covered"), "{done:?}");
    ensure!(served.docker(&["run", "--rm", "-v", &whole, image, "echo", "whole"])? == "whole\n", "alone");
    served.end()?;
    // The control: a member has exchanged both for links, and the engine makes the place outside.
    fs::remove_dir_all(project.join("sub"))?;
    symlink(&outside, project.join("sub"))?;
    fs::remove_dir(project.join("a"))?;
    symlink("/h", project.join("a"))?;
    let bare = ["run", "--rm", "--network", "none", "-v", &whole, "-v", &sub, "-v"];
    let inner = "/app/a/unit.service";
    bed.engine.docker(&[&bare[..], &[inner, image, "true"]].concat())?;
    ensure!(outside.join("unit.service").exists(), "the bare engine makes it outside");
    only_the_uplink(bed)
}

fn given(bed: &Testbed) -> Result<()> {
    let project = project(bed, "given")?;
    let at = |below: &str, place: &str| format!("{}:{place}", project.join(below).display());
    let image = bed.images.agent.as_str();
    let served = Served::start(bed, "given", &[], Some(&project))?;
    let (sub, conf) = (at("sub", "/app/sub"), at("f", "/srv/app/app.conf:ro"));
    let words = ["run", "--rm", "-w", "/app", "-v", &sub, "-v", &conf, "-v", "beside:/data", image];
    let printed = served.docker(&[&words[..], &["sh", "-c", "cat /srv/app/app.conf; pwd"]].concat())?;
    ensure!(printed == "file\n/app\n", "{printed}");
    let whole = at("", "/app");
    let words = ["run", "--rm", "-w", "/app/new", "-v", &whole, "-v", "modules:/app/node_modules", image];
    let printed = served.docker(&[&words[..], &["sh", "-c", "touch ../node_modules/x; pwd"]].concat())?;
    ensure!(printed == "/app/new\n", "{printed}");
    served.docker(&["volume", "rm", "beside", "modules"])?;
    // The kernel's files are no working directory, for an exec neither.
    served.docker(&["run", "-d", "--name", "runs", image, "sleep", "600"])?;
    for words in [
        &["create", "-w", "/proc/self/fd/8", image, "true"][..],
        &["exec", "-w", "/proc/self/fd/8", "runs", "true"],
        &["exec", "-w", "/x/../proc/self/fd", "runs", "true"],
    ] {
        let done = served.try_docker(words)?;
        ensure!(!done.status.success() && done.stderr.contains("WorkingDir"), "{words:?}: {done:?}");
    }
    served.docker(&["rm", "--force", "runs"])?;
    served.end()?;
    only_the_uplink(bed)
}

fn variant(bed: &Testbed) -> Result<()> {
    let served = Served::start(bed, "variant", &[], None)?;
    let image = image_with(bed, "variant", "mkdir /srv/ws; ln -s /srv/ws /w", Some("WORKDIR /w/deep"))?;
    let long = format!("LABEL long={}", "x".repeat(40_000));
    let labels = image_with(bed, "labels", "true", Some(&long));
    let checked = (|| {
        let labels = labels.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let own =
            bed.engine.docker(&["image", "inspect", "--format", "{{.Os}}/{{.Architecture}}", &image])?;
        let own = own.trim();
        let ran = served.docker(&["run", "--rm", "--platform", own, "-w", "/", &image, "echo", "ran"])?;
        ensure!(ran == "ran\n", "{ran}");
        let asked = "/v1.41/containers/create?platform=linux%2Fs390x";
        let body = format!(r#"{{"Image":"{image}"}}"#);
        let other = served.post(asked, "application/json", &body)?;
        ensure!(other.contains("400 Bad Request") && other.contains(own), "{other}");
        // The working directory of the image lies behind a link: with a mount it is refused.
        let done = served.try_docker(&["run", "--rm", "-v", "variant:/v", &image, "true"])?;
        let is_told = done.stderr.contains("WorkingDir") && done.stderr.contains("to /srv/ws");
        ensure!(done.status.code() == Some(125) && is_told, "{done:?}");
        let deep = format!("deep:{}", "/d".repeat(40));
        let done = served.try_docker(&["create", "-v", &deep, "-w", "/", &image, "true"])?;
        ensure!(!done.status.success() && done.stderr.contains("parts"), "{done:?}");
        let done = served.try_docker(&["create", labels, "true"])?;
        ensure!(!done.status.success() && done.stderr.contains("labels"), "{done:?}");
        Ok(())
    })();
    bed.engine.docker(&["rmi", &image])?;
    if let Ok(labels) = &labels {
        bed.engine.docker(&["rmi", labels])?;
    }
    checked?;
    served.end()?;
    only_the_uplink(bed)
}

fn looks(bed: &Testbed) -> Result<()> {
    let served = Served::start(bed, "looks", &[], None)?;
    let agent = bed.images.agent.as_str();
    served.docker(&["create", "--name", "first", agent, "true"])?;
    let member = ["ps", "--all", "--latest", "--quiet", "--filter", "label=dev.ringfence.role=member"];
    let member = bed.engine.docker(&member)?;
    let label = |name: &str, of: &str| {
        let format = format!("{{{{index .Config.Labels \"{name}\"}}}}");
        bed.engine.docker(&["inspect", "--format", &format, of]).map(|said| said.trim().to_owned())
    };
    let serve = label("dev.ringfence.serve", member.trim())?;
    ensure!(!serve.is_empty(), "the member says whose it is");
    let image = image_with(bed, "looks", "true", Some(&format!("LABEL dev.ringfence.look={serve}")))?;
    let database = format!("database-{}", std::process::id());
    let look = "ringfence-look-00c0ffee";
    let checked = (|| {
        served.docker(&["create", "--name", "second", &image, "true"])?;
        drop(served);
        bed.engine.docker(&[
            "run",
            "-d",
            "--name",
            &database,
            "--network",
            "none",
            &image,
            "sleep",
            "600",
        ])?;
        bed.engine.docker(&["create", "--name", look, "--network", "none", &image, "true"])?;
        let served = Served::start(bed, "looks", &[], None)?;
        let listed = served.docker(&["ps", "--all", "--format", "{{.Names}}"])?;
        ensure!(listed == "second\nfirst\n", "its members are there: {listed}");
        let named = format!("name={look}");
        let left = bed.engine.docker(&["ps", "--all", "--quiet", "--filter", &named])?;
        ensure!(left.trim().is_empty(), "a look of an earlier serve is gone");
        let runs = bed.engine.docker(&["inspect", "--format", "{{.State.Running}}", &database])?;
        ensure!(runs.trim() == "true", "what only has the label runs on");
        served.docker(&["rm", "first", "second"])?;
        served.end()
    })();
    bed.engine.try_docker(&["rm", "--force", "--volumes", &database, look])?;
    bed.engine.docker(&["rmi", "--force", &image])?;
    checked?;
    only_the_uplink(bed)
}

fn holes(bed: &Testbed) -> Result<()> {
    if bed.engine.product() == Product::Podman {
        return skip("ringfence serves with Docker only");
    }
    let format = "{{range .Server.Components}}{{if eq .Name \"runc\"}}{{.Version}}{{end}}{{end}}";
    let runc = bed.engine.docker(&["version", "--format", format])?;
    let runc = runc.trim();
    let socket = bed.directory.path().join("holes.sock");
    // A policy without a name server ends nothing: the engine is asked before anything is made.
    let mut command = bed.ringfence.command();
    let policy = bed.ringfence.allowing(&[])?;
    command.args(["serve", "--socket"]).arg(&socket).arg("--policy").arg(policy);
    if runc.chars().all(|c| c.is_ascii_digit() || c == '.') {
        // The projects' own builds that the tests know have holes of the list.
        let done = bounded(&mut command, b"", SOON)?;
        let is_told = done.stderr.contains("known holes") && done.stderr.contains("--accept-known-holes");
        ensure!(done.status.code() == Some(125) && is_told, "{runc}: {done:?}");
    }
    // Of a distribution's build nobody can say; and what is accepted is told at each begin.
    let served = Served::start(bed, "holes", &[], None)?;
    let said = served.said();
    let part = said.lines().find(|line| line.contains("runc")).context("runc is told of")?;
    ensure!(part.contains(runc) && part.contains("reach"), "{said}");
    served.end()?;
    only_the_uplink(bed)
}
