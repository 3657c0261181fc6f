//! The first program of containers behind `ringfence serve`, and what must not happen around a
//! start.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use integration::command::until;
use integration::testbed::Testbed;

use crate::Test;
use crate::leftovers::only_the_uplink;
use crate::serve::{SOON, Served};

pub(crate) const TESTS: &[Test] = &[
    ("the first program takes ended children, hands signals on and tells the status", first_process),
    ("the terminal is the container's own program's", terminal),
    ("no mount and no link takes the first program's place, and a bare engine lets it", first_place),
    ("what has files starts once, and a bare engine's second start begins with a mounted program", one_start),
    ("a volume that a container has is filled from no image, and a bare engine does it", filled),
    ("no mount is led by a link of an image, and a bare engine follows it", led),
    ("nothing is copied from or to what has mounts or runs, nor started meanwhile", copies),
    ("a lost fence has no containers that run, and starts none", lost),
];

/// Names the first process of a container.
pub(crate) const FIRST: &str = "tr '\\0' ' ' < /proc/1/cmdline; echo end";

fn project(bed: &Testbed, name: &str) -> Result<PathBuf> {
    let project = bed.directory.path().join(name);
    fs::create_dir_all(&project)?;
    Ok(project)
}

/// Starts a `serve` with a project, and returns the words that mount it.
fn with_project(bed: &Testbed, name: &str) -> Result<(Served, PathBuf, String)> {
    let project = project(bed, name)?;
    let served = Served::start(bed, name, &[], Some(&project))?;
    let mount = format!("{}:/w", project.display());
    Ok((served, project, mount))
}

fn first_process(bed: &Testbed) -> Result<()> {
    let (served, _, mount) = with_project(bed, "first-process")?;
    let image = bed.images.agent.as_str();
    for (script, status) in [("exit 3", 3), ("kill -KILL $$", 137), ("kill -SEGV $$", 139)] {
        let done = served.try_docker(&["run", "--rm", "-v", &mount, image, "sh", "-c", script])?;
        ensure!(done.status.code() == Some(status), "{script}: {done:?}");
    }
    let missing = served.try_docker(&["run", "--rm", "-v", &mount, image, "no-such-program"])?;
    ensure!(missing.status.code() == Some(127), "{missing:?}");
    let script = "trap 'echo asked; exit 3' TERM; echo up; while :; do sleep 0.1; done";
    served.docker(&["run", "-d", "--name", "one", "-v", &mount, image, "sh", "-c", script])?;
    until("it is up", SOON, || served.docker(&["logs", "one"]).is_ok_and(|said| said == "up\n"))?;
    served.docker(&["stop", "--time", "60", "one"])?;
    ensure!(served.docker(&["wait", "one"])? == "3\n", "the signal came");
    // A child whose parent is gone is the first process' to take.
    let orphan = "sh -c 'sleep 0.1 & echo $! > /tmp/child'; child=$(cat /tmp/child); ";
    let gone = format!("{orphan} while [ -e /proc/$child ]; do sleep 0.1; done; echo gone");
    served.docker(&["run", "-d", "--name", "two", "-v", &mount, image, "sleep", "600"])?;
    ensure!(served.docker(&["exec", "two", "timeout", "20", "sh", "-c", &gone])? == "gone\n", "no zombie");
    served.docker(&["rm", "--force", "one", "two"])?;
    // The control: a first process that takes no children.
    let name = format!("zombie-{}", std::process::id());
    bed.engine.docker(&["run", "-d", "--name", &name, "--network", "none", image, "sleep", "600"])?;
    let zombie =
        format!("{orphan} until grep -q '^State:.Z' /proc/$child/status; do sleep 0.1; done; echo zombie");
    let left = bed.engine.docker(&["exec", &name, "timeout", "20", "sh", "-c", &zombie]);
    bed.engine.docker(&["rm", "--force", &name])?;
    let left = left?;
    ensure!(left.trim() == "zombie", "a bare first process leaves it: {left}");
    served.end()?;
    only_the_uplink(bed)
}

fn terminal(bed: &Testbed) -> Result<()> {
    let (served, _, mount) = with_project(bed, "terminal")?;
    // What is in the background gets no word of a terminal, and no Ctrl-C.
    let script =
        "trap 'echo caught; exit 4' INT; echo up; read word; echo \"got $word\"; while :; do sleep 0.1; done";
    let image = bed.images.agent.as_str();
    served.docker(&["create", "-ti", "--name", "term", "-v", &mount, image, "sh", "-c", script])?;
    let mut stream = UnixStream::connect(&served.socket)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(
        b"POST /v1.41/containers/term/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\
          Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n",
    )?;
    hear(&mut stream, "\r\n\r\n").context("the attachment")?;
    served.docker(&["start", "term"])?;
    hear(&mut stream, "up")?;
    stream.write_all(b"word\n")?;
    hear(&mut stream, "got word")?;
    stream.write_all(&[3])?;
    hear(&mut stream, "caught")?;
    ensure!(served.docker(&["wait", "term"])? == "4\n", "Ctrl-C");
    served.docker(&["rm", "term"])?;
    served.end()?;
    only_the_uplink(bed)
}

/// Reads until something was said.
fn hear(stream: &mut UnixStream, wanted: &str) -> Result<()> {
    let (mut said, mut buffer) = (String::new(), [0; 4096]);
    while !said.contains(wanted) {
        let length = stream.read(&mut buffer).with_context(|| format!("{wanted:?} after {said:?}"))?;
        ensure!(length > 0, "no {wanted:?}: {said:?}");
        said.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    Ok(())
}

/// Writes a program that says that it came first.
pub(crate) fn evil(path: &Path) -> Result<()> {
    fs::create_dir_all(path.parent().context("a folder")?)?;
    fs::write(path, "#!/bin/sh\necho evil-first\n")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Makes an image out of the agent's.
pub(crate) fn image_with(bed: &Testbed, name: &str, script: &str, change: Option<&str>) -> Result<String> {
    let container = format!("{name}-{}", std::process::id());
    let image = format!("ringfence-testbed/{container}");
    let agent = bed.images.agent.as_str();
    let made =
        bed.engine.docker(&["run", "--name", &container, "--network", "none", agent, "sh", "-c", script]);
    let kept = made.and_then(|_| {
        let change: Vec<&str> = change.iter().flat_map(|change| ["--change", change]).collect();
        bed.engine
            .docker(&[&["commit"], &change[..], &["--change", "CMD [\"true\"]", &container, &image]].concat())
    });
    bed.engine.docker(&["rm", "--force", &container])?;
    kept.map(|_| image)
}

fn first_place(bed: &Testbed) -> Result<()> {
    let (served, project, mount) = with_project(bed, "first-place")?;
    let agent = bed.images.agent.as_str();
    for place in ["s/docker-init", "r/ringfence/init", "alone/docker-init"] {
        evil(&project.join(place))?;
    }
    fs::write(project.join(".env"), "TOKEN=planted-secret\n")?;
    let over = format!("{}:/sbin/docker-init", project.join("s/docker-init").display());
    let above = format!("{}:/usr/sbin", project.join("alone").display());
    for (what, place) in [(over.as_str(), "docker-init"), (&above, "/usr/sbin"), ("evil:/sbin", "/sbin")] {
        let done = served.try_docker(&["run", "--rm", "-v", what, "-v", &mount, agent, "true"])?;
        ensure!(done.status.code() == Some(125) && done.stderr.contains(place), "{what}: {done:?}");
    }
    let mut images = Vec::new();
    let checked = (|| {
        for (name, script, change) in [
            ("declared", "cp -a /usr/sbin /s; rm /sbin; mv /s /sbin", Some("VOLUME /sbin")),
            ("state", "rm -rf /run; ln -s /w/r /run", None),
            ("linked", "ln -sfn /w/s /sbin", None),
        ] {
            images.push(image_with(bed, name, script, change)?);
        }
        let [declared, state, linked] = &images[..] else { return Ok(()) };
        let done = served.try_docker(&["run", "--rm", "-v", &mount, declared, "true"])?;
        ensure!(done.status.code() == Some(125) && done.stderr.contains("/sbin"), "{done:?}");
        let done = served.try_docker(&["run", "--rm", "-v", &mount, state, "sh", "-c", FIRST])?;
        let refused = done.status.code() == Some(125) && done.stderr.contains("is a link of the image");
        ensure!(refused, "{done:?}");
        ensure!(!done.stdout.contains("evil-first"), "{done:?}");
        let printed = served.docker(&["run", "--rm", "-v", &mount, linked, "sh", "-c", FIRST])?;
        ensure!(printed.starts_with("/.ringfence-") && printed.ends_with("end\n"), "{printed}");
        ensure!(!printed.contains("evil-first"), "{printed}");
        // The control: what is mounted, or linked, is the first program.
        let bare = ["run", "--rm", "--init", "--network", "none", "-v"];
        for words in [[over.as_str(), agent], [&mount, linked]] {
            let printed = bed.engine.docker(&[&bare[..], &words, &["true"]].concat())?;
            ensure!(printed.trim() == "evil-first", "the bare engine begins it: {words:?}: {printed}");
        }
        Ok(())
    })();
    for image in &images {
        bed.engine.docker(&["rmi", image])?;
    }
    checked?;
    served.end()?;
    only_the_uplink(bed)
}

fn one_start(bed: &Testbed) -> Result<()> {
    let (served, project, _) = with_project(bed, "one-start")?;
    let agent = bed.images.agent.as_str();
    evil(&project.join("evil"))?;
    let first = project.join("first");
    evil(&first)?;
    fs::write(&first, "#!/bin/sh\necho first\nsleep 600\n")?;
    let app = format!("{}:/a/app", project.display());
    let prog = format!("{}:/x/prog", project.join("evil").display());
    let mounts = ["-u", "0", "-v", app.as_str(), "-v", prog.as_str()];
    let create = |name: &'static str, words: &[&str]| {
        served.docker(&[&["create", "--name", name], &mounts[..], words].concat())
    };
    create("leads", &[agent, "sleep", "600"])?;
    served.docker(&["start", "leads"])?;
    let lead = |at: &str| format!("mv /x /y && mkdir /x && ln -s {at} /x/prog");
    let at = "$(ls -d /.ringfence-* | grep -v words)";
    served.docker(&["exec", "leads", "sh", "-c", &lead(at)])?;
    let once = |served: &Served, words: &[&str]| {
        let done = served.try_docker(words)?;
        ensure!(!done.status.success() && done.stderr.contains("make it again"), "{words:?}: {done:?}");
        Ok(())
    };
    once(&served, &["restart", "leads"])?;
    let runs = served.docker(&["inspect", "--format", "{{.State.Running}}", "leads"])?;
    ensure!(runs == "true\n", "a restart that is refused stops nothing");
    served.docker(&["stop", "--time", "0", "leads"])?;
    once(&served, &["start", "leads"])?;
    // A start that failed counts, and its words name no place.
    create("fails", &["-u", "nobody-of-this-name", agent, "true"])?;
    let done = served.try_docker(&["start", "fails"])?;
    ensure!(!done.status.success() && !done.stderr.contains("/.ringfence-"), "{done:?}");
    ensure!(!done.stderr.contains("make it again"), "the first one is asked of the engine: {done:?}");
    once(&served, &["start", "fails"])?;
    served.end()?;
    let served = Served::start(bed, "one-start", &[], Some(&project))?;
    for name in ["leads", "fails"] {
        once(&served, &["start", name])?;
    }
    let said = served.docker(&["logs", "leads"])?;
    ensure!(!said.contains("evil-first"), "{said}");
    served.docker(&["rm", "leads", "fails"])?;
    served.end()?;
    // The control: the second start of the same container begins with what was mounted elsewhere.
    let name = format!("second-{}", std::process::id());
    let first = format!("{}:/.first", first.display());
    let bare = ["-v", first.as_str(), "--network", "none", "--entrypoint", "/.first", agent];
    bed.engine.docker(&[&["run", "-d", "--name", &name], &mounts[..], &bare].concat())?;
    let started = (|| {
        bed.engine.docker(&["exec", &name, "sh", "-c", &lead("/.first")])?;
        bed.engine.docker(&["stop", "--time", "0", &name])?;
        bed.engine.docker(&["start", &name])?;
        bed.engine.docker(&["wait", &name])?;
        bed.engine.docker(&["logs", &name])
    })();
    bed.engine.docker(&["rm", "--force", &name])?;
    let said = started?;
    ensure!(said.contains("evil-first"), "a bare engine's second start: {said}");
    only_the_uplink(bed)
}

fn filled(bed: &Testbed) -> Result<()> {
    let served = Served::start(bed, "filled", &[], None)?;
    let agent = bed.images.agent.as_str();
    let image = image_with(bed, "filled", "mkdir /data; touch /data/z", None)?;
    let has = ["run", "-d", "--name", "has", "-v", "has:/v", agent, "sleep", "600"];
    let checked = (|| {
        served.docker(&has)?;
        served.docker(&["create", "--name", "fills", "-v", "has:/data", &image, "true"])?;
        let listed = served.docker(&["exec", "has", "ls", "-A", "/v"])?;
        ensure!(listed.is_empty(), "nothing is written into what somebody has: {listed}");
        // The first container of a volume gets what its image has there, though a client made it.
        served.docker(&["volume", "create", "new"])?;
        for volume in ["new:/data", "other:/data", "/data"] {
            let listed = served.docker(&["run", "--rm", "-v", volume, &image, "ls", "/data"])?;
            ensure!(listed == "z\n", "{volume}: {listed}");
        }
        served.docker(&["rm", "--force", "has", "fills"])?;
        served.docker(&["volume", "rm", "has", "new", "other"])?;
        // The control: an engine fills it, as root and by its paths.
        let name = format!("has-{}", std::process::id());
        let volume = format!("{name}:/v");
        let bare = ["run", "-d", "--name", &name, "--network", "none", "-v", &volume, agent, "sleep", "600"];
        bed.engine.docker(&bare)?;
        let fills = format!("fills-{name}");
        let data = format!("{name}:/data");
        let listed = bed
            .engine
            .docker(&["create", "--name", &fills, "-v", &data, &image, "true"])
            .and_then(|_| bed.engine.docker(&["exec", &name, "ls", "/v"]));
        bed.engine.docker(&["rm", "--force", &name, &fills])?;
        bed.engine.docker(&["volume", "rm", &name])?;
        let listed = listed?;
        ensure!(listed.trim() == "z", "a bare engine fills it: {listed}");
        Ok(())
    })();
    bed.engine.docker(&["rmi", &image])?;
    checked?;
    served.end()?;
    only_the_uplink(bed)
}

fn led(bed: &Testbed) -> Result<()> {
    let (served, _, mount) = with_project(bed, "led")?;
    let image = image_with(bed, "led", "mkdir /srv/end; ln -s /srv/end /x; ln -s / /root-link", None)?;
    let checked = (|| {
        for place in ["/x", "/x/deep", "/root-link", "/root-link/srv/end"] {
            let (tmpfs, volume) = (place.to_owned(), format!("led:{place}"));
            for words in [["--tmpfs", &tmpfs], ["-v", &volume]] {
                let done = served.try_docker(
                    &[&["run", "--rm", "-v", mount.as_str()], &words[..], &[&image, "true"]].concat(),
                )?;
                let refused = done.status.code() == Some(125)
                    && done.stderr.contains("is a link of the image")
                    && done.stderr.contains(place);
                ensure!(refused, "{words:?}: {done:?}");
            }
        }
        let bound = mount.replace(":/w", ":/x");
        let done = served.try_docker(&["run", "--rm", "-v", &bound, &image, "true"])?;
        ensure!(done.status.code() == Some(125) && done.stderr.contains("to /srv/end"), "{done:?}");
        let kept =
            served.docker(&["run", "--rm", "-v", &mount, "--tmpfs", "/srv/end", &image, "echo", "y"])?;
        ensure!(kept == "y\n", "{kept}");
        let looks = ["ps", "--all", "--quiet", "--filter", "label=dev.ringfence.look"];
        ensure!(bed.engine.docker(&looks)?.trim().is_empty(), "what was looked into is gone");
        // The control: the engine mounts where the link leads.
        let bare = ["run", "--rm", "--network", "none", "--tmpfs", "/x", &image, "cat", "/proc/mounts"];
        ensure!(bed.engine.docker(&bare)?.contains(" /srv/end tmpfs"), "a bare engine follows it");
        Ok(())
    })();
    bed.engine.docker(&["rmi", &image])?;
    checked?;
    served.end()?;
    only_the_uplink(bed)
}

fn copies(bed: &Testbed) -> Result<()> {
    let served = Served::start(bed, "copies", &[], None)?;
    let image = bed.images.agent.as_str();
    served.docker(&["create", "--name", "shares", "-v", "shared:/v", image, "true"])?;
    let done = served.try_docker(&["cp", "shares:/etc/hostname", "-"])?;
    ensure!(!done.status.success() && done.stderr.contains("has volumes"), "{done:?}");
    served.docker(&["create", "--name", "late", image, "sh", "-c", "echo up; sleep 600"])?;
    // The head alone: the container starts before the archive comes.
    let mut put = UnixStream::connect(&served.socket)?;
    put.set_read_timeout(Some(SOON))?;
    put.write_all(
        b"PUT /v1.41/containers/late/archive?path=/ HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\
          Content-Type: application/x-tar\r\nContent-Length: 1024\r\n\r\n",
    )?;
    served.docker(&["start", "late"])?;
    put.write_all(&[0; 1024])?;
    hear(&mut put, "that runs is refused")?;
    let done = served.try_docker(&["cp", "late:/etc/hostname", "-"])?;
    ensure!(!done.status.success() && done.stderr.contains("that runs"), "{done:?}");
    served.docker(&["rm", "--force", "late"])?;
    // An answer that nobody reads to its end holds the start up.
    served.docker(&["create", "--name", "read", image, "true"])?;
    let mut get = UnixStream::connect(&served.socket)?;
    get.set_read_timeout(Some(SOON))?;
    get.write_all(b"GET /v1.41/containers/read/archive?path=/usr HTTP/1.1\r\nHost: d\r\n\r\n")?;
    hear(&mut get, "200 OK")?;
    let done = served.try_docker(&["start", "read"])?;
    ensure!(!done.status.success() && done.stderr.contains("copy"), "{done:?}");
    drop(get);
    until("it starts after the copy", SOON, || served.docker(&["start", "read"]).is_ok())?;
    served.docker(&["rm", "--force", "shares", "read"])?;
    served.docker(&["volume", "rm", "shared"])?;
    // The control: the bare engine copies into what runs.
    let name = format!("runs-{}", std::process::id());
    bed.engine.docker(&["run", "-d", "--name", &name, "--network", "none", image, "sleep", "600"])?;
    let copied = bed.engine.docker(&["cp", &format!("{name}:/etc/hostname"), "-"]);
    bed.engine.docker(&["rm", "--force", &name])?;
    ensure!(copied?.contains("hostname"), "the bare engine copies");
    served.end()?;
    only_the_uplink(bed)
}

fn lost(bed: &Testbed) -> Result<()> {
    let served = Served::start(bed, "lost", &[], None)?;
    let image = bed.images.tiny.as_str();
    served.docker(&["network", "create", "group"])?;
    let group = ["--network", "group", image, "sleep", "600"];
    served.docker(&[&["run", "-d", "--name", "runs"], &group[..]].concat())?;
    served.docker(&[&["create", "--name", "waits"], &group[..]].concat())?;
    let guard = ["ps", "--quiet", "--filter", "label=dev.ringfence.role=guard"];
    let guard = bed.engine.docker(&guard)?;
    bed.engine.docker(&["kill", guard.trim()])?;
    let state = |name: &str| served.docker(&["inspect", "--format", "{{.State.Status}}", name]);
    until("it is ended", SOON, || state("runs").is_ok_and(|state| state == "exited\n"))?;
    for name in ["runs", "waits"] {
        let done = served.try_docker(&["start", name])?;
        ensure!(!done.status.success() && done.stderr.contains("lost"), "{name}: {done:?}");
    }
    // Who starts one at the engine itself finds it ended, too.
    let inside = ["ps", "--all", "--quiet", "--filter", "label=dev.ringfence.role=member", "--latest"];
    let member = bed.engine.docker(&inside)?;
    bed.engine.docker(&["start", member.trim()])?;
    until("it is ended again", SOON, || state("waits").is_ok_and(|state| state == "exited\n"))?;
    served.docker(&["rm", "--force", "runs", "waits"])?;
    served.docker(&["network", "rm", "group"])?;
    served.end()?;
    only_the_uplink(bed)
}
