//! Clients of `ringfence serve` that want more than it gives, each beside what a bare engine does.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::Output;
use integration::testbed::Testbed;
use integration::testbed::canary::LOOPBACK_PORT;

use crate::Test;
use crate::leftovers::only_the_uplink;
use crate::serve::{Served, post, raw};

pub(crate) const TESTS: &[Test] = &[
    ("what leads out is refused, and a bare engine does it", refused),
    ("a request has one reading, or is refused", one_reading),
    ("others' containers, volumes and helpers do not exist", invisible),
    ("only a project is mounted, and its secrets are covered", mounted),
    ("a container begins with its covers in place or not at all", looked_at),
];

/// Returns the path of the engine's socket.
fn engines(bed: &Testbed) -> Result<PathBuf> {
    Ok(bed.engine.host().strip_prefix("unix://").context("the engine has a socket")?.into())
}

/// Makes a project with a secret.
fn project(bed: &Testbed, name: &str) -> Result<PathBuf> {
    let project = bed.directory.path().join(name);
    fs::create_dir_all(project.join("sub"))?;
    fs::write(project.join("plain.txt"), "plain\n")?;
    fs::write(project.join("sub/.env"), "TOKEN=planted-secret\n")?;
    Ok(project)
}

fn refused(bed: &Testbed) -> Result<()> {
    let served = Served::start(bed, "refused", &["a.test"], None)?;
    let image = bed.images.agent.as_str();
    let canary = format!("127.0.0.1:{LOOPBACK_PORT}");
    let syslog = format!("syslog-address=tcp://{canary}");
    let engine = engines(bed)?;
    let socket = format!("{}:/engine.sock", engine.display());
    let own = format!("{}:/own.sock", served.socket.display());
    let profile = bed.directory.path().join("profile.json");
    fs::write(&profile, r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#)?;
    let profile = format!("seccomp={}", profile.display());
    for (options, why) in [
        (&["--privileged"][..], "Privileged"),
        (&["--network", "host"], "NetworkMode"),
        (&["--network", "container:0123456789ab"], "ringfence"),
        (&["--pid", "host"], "PidMode"),
        (&["--ipc", "host"], "IpcMode"),
        (&["--uts", "host"], "UTSMode"),
        (&["--userns", "host"], "UsernsMode"),
        (&["--cgroupns", "host"], "CgroupnsMode"),
        (&["--cap-add", "NET_ADMIN"], "CapAdd"),
        (&["--cap-add", "ALL"], "CapAdd"),
        (&["--device", "/dev/null"], "Devices"),
        (&["--security-opt", &profile], "SecurityOpt"),
        (&["--security-opt", "systempaths=unconfined"], "Paths"),
        (&["--sysctl", "net.ipv4.ip_forward=1"], "Sysctls"),
        (&["--cgroup-parent", "/x"], "CgroupParent"),
        (&["--runtime", "runc"], "Runtime"),
        (&["--volumes-from", "0123456789ab"], "ringfence"),
        (&["--volume", "/etc:/x"], "/etc"),
        (&["--volume", "/:/x"], "Binds"),
        (&["--volume", &socket], "sock"),
        (&["--volume", &own], "sock"),
        (
            &[
                "--mount",
                "type=volume,target=/x,volume-opt=type=none,volume-opt=o=bind,volume-opt=device=/etc",
            ],
            "DriverConfig",
        ),
        (&["--label", "dev.ringfence.role=fence"], "Labels"),
    ] {
        let words = [&["run", "--rm"], options, &[image, "true"]].concat();
        let done = served.try_docker(&words)?;
        ensure!(done.status.code() == Some(125) && done.stderr.contains(why), "{options:?}: {done:?}");
    }
    // A driver that sends the output elsewhere is left out, and told.
    let log = served.try_docker(&[
        "run",
        "--rm",
        "--log-driver",
        "syslog",
        "--log-opt",
        &syslog,
        image,
        "echo",
        "x",
    ])?;
    ensure!(log.status.success() && log.stderr.contains("was left out"), "{log:?}");
    let context = bed.directory.path().join("context");
    fs::create_dir_all(&context)?;
    fs::write(context.join("Dockerfile"), format!("FROM {image}\nADD http://{canary}/x /x\n"))?;
    let context = context.to_string_lossy().into_owned();
    let url = format!("http://{canary}/x.tar");
    let registry = format!("{canary}/image:1");
    for (words, why) in [
        (&["build", &context][..], "builds do not run"),
        (&["import", &url], "ringfence"),
        (&["pull", &registry], "registry"),
        (
            &["volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", "device=/etc", "etc"],
            "DriverOpts",
        ),
        (&["network", "create", "--driver", "macvlan", "m"], "Driver"),
        (&["plugin", "ls"], "ringfence"),
        (&["swarm", "init"], "ringfence"),
        (&["image", "save", image], "ringfence"),
    ] {
        let done = served.try_docker(words)?;
        ensure!(!done.status.success() && done.stderr.contains(why), "{words:?}: {done:?}");
    }
    let heard = bed.canaries.take();
    ensure!(heard.is_empty(), "nobody dialled: {heard:#?}");
    served.end()?;
    // The control: the bare engine does as it is asked, from the host's own network.
    for words in [
        &["run", "--rm", "--log-driver", "syslog", "--log-opt", &syslog, image, "echo", "x"][..],
        &["import", &url],
        &["pull", &registry],
    ] {
        bed.engine.try_docker(words)?;
        let heard = bed.canaries.take();
        ensure!(
            heard.iter().any(|one| one.canary.starts_with("host-loopback")),
            "the bare engine dials: {words:?}"
        );
    }
    only_the_uplink(bed)
}

fn one_reading(bed: &Testbed) -> Result<()> {
    let served = Served::start(bed, "reading", &["a.test"], None)?;
    let image = bed.images.tiny.as_str();
    let body = |host: &str| format!(r#"{{"Image":"{image}","Cmd":["true"],{host}}}"#);
    let create = "/v1.41/containers/create";
    let json = "application/json";
    let status = |answer: &str| answer.split(' ').nth(1).unwrap_or_default().to_owned();
    for (host, wanted) in [
        (r#""hostconfig":{"Privileged":true}"#, "400"),
        (r#""HOSTCONFIG":{"Privileged":true}"#, "400"),
        (r#""Ho\u017ftConfig":{"Privileged":true}"#, "400"),
        (r#""Host\u0043onfig":{"Privileged":true}"#, "400"),
        (r#""HostConfig":{"Privileged":true},"HostConfig":{"Memory":0}"#, "400"),
        (r#""HostConfig":{"Privileged":true,"Privileged":false}"#, "400"),
        (r#""HostConfig":{"networ\u212aMode":"host"}"#, "400"),
        (r#""HostConfig":{"NetworkMode":"host"}"#, "400"),
        (r#""HostConfig":{"MaskedPaths":[]}"#, "400"),
        (r#""HostConfig":{"Mounts":[{"Type":"bind","Source":"/etc","Target":"/x"}]}"#, "400"),
    ] {
        let answer = served.post(create, json, &body(host))?;
        ensure!(status(&answer) == wanted, "{host}: {answer}");
    }
    let junk = format!("{}{}", body(r#""Tty":false"#), r#"{"HostConfig":{"Privileged":true}}"#);
    ensure!(status(&served.post(create, json, &junk)?) == "400", "two documents");
    let long = body(&format!(r#""Labels":{{"a":"{}"}}"#, "x".repeat(2 << 20)));
    ensure!(status(&served.post(create, json, &long)?) == "413", "a body without end");
    // A name twice, an old version, encoded slashes, parameters in the body.
    let plain = body(r#""Tty":false"#);
    ensure!(
        status(&served.post(&format!("{create}?name=one&name=two"), json, &plain)?) == "400",
        "a name twice"
    );
    ensure!(status(&served.post("/v1.23/containers/create", json, &plain)?) == "400", "an old version");
    for path in [
        "/v1.41/containers%2fjson",
        "//containers/json",
        "/v1.41/../containers/json",
        "/v1.041/containers/json",
    ] {
        let answer = served.get(path)?;
        ensure!(["400", "404"].contains(&status(&answer).as_str()), "{path}: {answer}");
    }
    let made = served.post(&format!("{create}?name=real"), json, &plain)?;
    ensure!(status(&made) == "201", "{made}");
    let binds = r#"{"Binds":["/etc:/x"],"NetworkMode":"host","PidMode":"host"}"#;
    ensure!(status(&served.post("/v1.41/containers/real/start", json, binds)?) == "204", "a start");
    let names = bed.engine.docker(&[
        "ps",
        "--all",
        "--filter",
        "label=dev.ringfence.role=member",
        "--format",
        "{{.ID}}",
    ])?;
    let format = "{{.HostConfig.NetworkMode}} {{.HostConfig.PidMode}} {{.HostConfig.Privileged}} {{len .HostConfig.Binds}}";
    let shown = bed.engine.docker(&["inspect", "--format", format, names.trim()])?;
    ensure!(
        shown.starts_with("container:") && shown.trim().ends_with(" false 0"),
        "a body of start counts for nothing: {shown}"
    );
    let form = "application/x-www-form-urlencoded";
    let renamed = served.post("/v1.41/containers/real/rename?name=other", form, "name=evil")?;
    ensure!(status(&renamed) == "204", "{renamed}");
    let listed = served.docker(&["ps", "--all", "--format", "{{.Names}}"])?;
    ensure!(listed == "other\n", "the query's name counts: {listed}");
    // What follows a refused upgrade is read as a request of its own, and decided.
    let next = b"POST /v1.41/containers/other/attach/ws HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n\
        GET /v1.41/swarm HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n";
    let answer = served.raw(next)?;
    ensure!(
        !answer.contains("200 OK") && !answer.contains("101 "),
        "nothing follows a refusal raw: {answer}"
    );
    served.docker(&["rm", "--force", "other"])?;
    served.end()?;
    only_the_uplink(bed)
}

fn invisible(bed: &Testbed) -> Result<()> {
    let served = Served::start(bed, "invisible", &[], None)?;
    let image = bed.images.tiny.as_str();
    let volume = format!("foreign-{}", std::process::id());
    bed.engine.docker(&["volume", "create", &volume])?;
    let labels = ["--label", "dev.ringfence.serve=00000000", "--label", "dev.ringfence.role=member"];
    let words = [&["run", "--detach", "--name", "foreign"][..], &labels, &[image, "sleep", "600"]].concat();
    let foreign = bed.engine.docker(&words)?.trim().to_owned();
    let checked = (|| {
        served.docker(&["run", "--detach", "--name", "own", image, "sleep", "600"])?;
        let exec = raw(
            &engines(bed)?,
            &post(&format!("/containers/{foreign}/exec"), "application/json", r#"{"Cmd":["true"]}"#),
        )?;
        let exec =
            exec.split("\"Id\":\"").nth(1).and_then(|rest| rest.get(..64)).context("an exec")?.to_owned();
        let helpers = bed.engine.docker(&[
            "ps",
            "--filter",
            "label=dev.ringfence.role=fence",
            "--format",
            "{{.ID}} {{.Names}}",
        ])?;
        let (fence_id, fence) = helpers.trim().split_once(' ').context("a fence")?;
        for name in [foreign.as_str(), &foreign[..12], "foreign", fence, fence_id, "FOREIGN"] {
            for call in ["json", "logs?stdout=1", "top", "stats?stream=0", "archive?path=/etc", "export"] {
                let answer = served.get(&format!("/v1.41/containers/{name}/{call}"))?;
                ensure!(
                    answer.contains("404 Not Found") && answer.contains("No such container"),
                    "{name} {call}: {answer}"
                );
            }
            for call in ["start", "kill", "stop", "exec", "attach?stdout=1", "rename?name=mine", "update"] {
                let answer = served.post(
                    &format!("/v1.41/containers/{name}/{call}"),
                    "application/json",
                    r#"{"Cmd":["true"]}"#,
                )?;
                ensure!(answer.contains("404 Not Found"), "{name} {call}: {answer}");
            }
            let joined = served.try_docker(&[
                "run",
                "--rm",
                "--network",
                &format!("container:{name}"),
                image,
                "true",
            ])?;
            ensure!(joined.status.code() == Some(125), "{name} is joined by nobody: {joined:?}");
        }
        ensure!(
            served.get(&format!("/v1.41/exec/{exec}/json"))?.contains("404 Not Found"),
            "an exec of another container"
        );
        let started = served.post(&format!("/v1.41/exec/{exec}/start"), "application/json", "{}")?;
        ensure!(started.contains("404 Not Found"), "{started}");
        ensure!(!served.docker(&["volume", "ls", "--quiet"])?.contains(&volume), "volumes of others");
        let used = served.try_docker(&["run", "--rm", "--volume", &format!("{volume}:/x"), image, "true"])?;
        ensure!(used.status.code() == Some(125), "{used:?}");
        ensure!(
            served.docker(&["ps", "--all", "--format", "{{.Names}}"])? == "own\n",
            "one container is there"
        );
        served.docker(&["rm", "--force", "own"])
    })();
    bed.engine.docker(&["rm", "--force", "foreign"])?;
    bed.engine.docker(&["volume", "rm", &volume])?;
    checked?;
    served.end()?;
    only_the_uplink(bed)
}

fn mounted(bed: &Testbed) -> Result<()> {
    let project = project(bed, "mounted")?;
    let served = Served::start(bed, "mounted", &[], Some(&project))?;
    let image = bed.images.agent.as_str();
    let at = |below: &str| project.join(below).to_string_lossy().into_owned();
    let script = "cat /w/plain.txt; cat /w/sub/.env; echo written > /w/new.txt; rm -f /w/sub/.env 2>/dev/null; test -e /w/sub/.env && echo covered";
    let printed =
        served.docker(&["run", "--rm", "-v", &format!("{}:/w", at("")), image, "sh", "-c", script])?;
    ensure!(printed == "plain\ncovered\n", "{printed}");
    ensure!(fs::read_to_string(project.join("new.txt"))? == "written\n", "the person has what was written");
    ensure!(
        fs::read_to_string(project.join("sub/.env"))?.contains("planted-secret"),
        "the secret is as it was"
    );
    // In a part no cover can be laid safely: the secret is refused with it.
    let sub = format!("{}:/s:ro", at("sub"));
    let part = served.try_docker(&["run", "--rm", "-v", &sub, image, "cat", "/s/.env"])?;
    let is_told = part.stderr.contains("has to be covered") && !part.stdout.contains("planted-secret");
    ensure!(part.status.code() == Some(125) && is_told, "a part with a secret: {part:?}");
    // A place in memory could lie elsewhere than it says: the cover is laid there, too.
    let memory = served.docker(&[
        "run",
        "--rm",
        "-v",
        &format!("{}:/w", at("")),
        "--tmpfs",
        "/w/sub",
        image,
        "sh",
        "-c",
        "ls -A /w/sub; cat /w/sub/.env",
    ])?;
    ensure!(memory == ".env\n", "{memory}");
    // Each leads out, or to the secret itself.
    symlink("/etc", project.join("link"))?;
    for source in [at("link"), at("sub/.env"), at("../"), at("link/passwd"), "/root".to_owned()] {
        let done = served.try_docker(&["run", "--rm", "-v", &format!("{source}:/x:ro"), image, "true"])?;
        ensure!(done.status.code() == Some(125), "{source}: {done:?}");
    }
    let made =
        served.docker(&["run", "--rm", "-v", &format!("{}:/x", at("fresh/deep")), image, "touch", "/x/y"])?;
    ensure!(
        made.is_empty() && project.join("fresh/deep/y").exists(),
        "a directory that compose relies on is made"
    );
    // The control: the bare engine mounts the secret.
    let bare =
        bed.engine.docker(&["run", "--rm", "-v", &format!("{}:/w", at("")), image, "cat", "/w/sub/.env"])?;
    ensure!(bare.contains("planted-secret"), "{bare}");
    served.end()?;
    only_the_uplink(bed)
}

fn looked_at(bed: &Testbed) -> Result<()> {
    let project = project(bed, "looked-at")?;
    let served = Served::start(bed, "looked-at", &[], Some(&project))?;
    let image = bed.images.agent.as_str();
    let mount = format!("{}:/w", project.display());
    let script = "cat /w/sub/.env /w/late/.env 2>/dev/null; echo end";
    served.docker(&["create", "--name", "one", "-v", &mount, image, "sh", "-c", script])?;
    for name in ["late", "gone"] {
        served.docker(&["create", "--name", name, "-v", &mount, image, "sh", "-c", script])?;
    }
    ensure!(served.docker(&["start", "--attach", "one"])? == "end\n", "the only start");
    let shown = served.docker(&["inspect", "--format", "{{.Path}} {{json .Config.Entrypoint}}", "one"])?;
    ensure!(shown.trim() == "sh null", "clients see their own program: {shown}");
    // What was covered is gone by now: an engine would make a file there.
    let (secret, away) = (project.join("sub/.env"), project.join("away"));
    fs::rename(&secret, &away)?;
    let gone = served.try_docker(&["start", "--attach", "gone"])?;
    ensure!(!gone.status.success() && gone.stderr.contains("sub/.env"), "{gone:?}");
    ensure!(!secret.exists(), "nothing was made");
    fs::rename(&away, &secret)?;
    ensure!(served.docker(&["start", "--attach", "gone"])? == "end\n", "what was refused was not started");
    // A secret that is there by now and has no cover in this container.
    fs::create_dir(project.join("late"))?;
    fs::write(project.join("late/.env"), "TOKEN=planted-secret\n")?;
    let late = served.try_docker(&["start", "--attach", "late"])?;
    ensure!(!late.status.success() && late.stderr.contains("has to be covered"), "{late:?}");
    ensure!(!late.stdout.contains("planted-secret"), "{late:?}");
    served.docker(&["rm", "one", "gone", "late"])?;
    // The folder of a covered file is swapped again and again while containers start.
    let (from, to) = (project.join("sub"), project.join("other"));
    fs::create_dir(&to)?;
    fs::write(to.join(".env"), "")?;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapping = {
        let (stop, spare) = (stop.clone(), project.join("spare"));
        std::thread::spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for (a, b) in [(&from, &spare), (&to, &from), (&spare, &to)] {
                    fs::rename(a, b).ok();
                }
                std::thread::sleep(Duration::from_millis(3));
            }
        })
    };
    let script = "cat /w/*/.env; echo end";
    let tried: Result<Vec<Output>> = (0..4)
        .map(|_| served.try_docker(&["run", "--rm", "-v", &mount, image, "sh", "-c", script]))
        .collect();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapping.join().ok();
    for done in tried? {
        ensure!(!done.stdout.contains("planted-secret"), "{done:?}");
    }
    served.docker(&["container", "prune", "--force"])?;
    served.end()?;
    only_the_uplink(bed)
}
