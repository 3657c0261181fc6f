//! Which files of the machine an agent gets, and the tricks to get others.

use std::fs;
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration::command::bounded;
use integration::testbed::Testbed;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::{Test, expect, expect_status, text};

pub(crate) const TESTS: &[Test] = &[
    ("a project and mounts are there, read-only unless said otherwise", given),
    ("nothing outside a project is given, whatever it is called", tricks),
    ("a directory that is swapped for a link while a run starts gives nothing away", swapped),
    ("links that lead out and sockets in a project are told", told),
    ("a mount is looked through for secrets like the project, and shown by consent", looked_through),
    ("an engine on another kernel shows a file that only the directory has", elsewhere),
];

const LIMIT: Duration = Duration::from_secs(60);

/// An empty directory below the testbed's.
fn fresh(bed: &Testbed, name: &str) -> Result<PathBuf> {
    let path = bed.fresh_directory("mounts")?.join(name);
    fs::remove_dir_all(&path).ok();
    fs::create_dir_all(&path)?;
    Ok(path)
}

fn given(bed: &Testbed) -> Result<()> {
    let (project, library, notes) = (fresh(bed, "project")?, fresh(bed, "library")?, fresh(bed, "notes")?);
    for directory in [&project, &library, &notes] {
        fs::write(directory.join("mark"), directory.file_name().context("a name")?.as_encoded_bytes())?;
    }
    fs::write(project.join("name with: colon"), "kept")?;
    let library = format!("{}:/opt/library", text(&library)?);
    let notes_rw = format!("{}:/notes:rw", text(&notes)?);
    let file = format!("{}:/etc/mark:ro", text(&notes.join("mark"))?);
    // An engine may give an empty directory to the container's user.
    let hollow = fresh(bed, "hollow")?;
    chown(&hollow, Some(1234), Some(1235))?;
    fs::set_permissions(&hollow, fs::Permissions::from_mode(0o710))?;
    let empty = format!("{}:/opt/empty:rw", text(&hollow)?);
    let options = [
        &["--project", text(&project)?, "-v", &library, "--mount", &notes_rw, "--volume", &file][..],
        &["--mount", &empty],
    ]
    .concat();
    let script = "pwd; cat mark /opt/library/mark /notes/mark /etc/mark; echo; for dir in /workspace /opt/library /notes; do \
                  touch $dir/new 2>/dev/null && echo $dir; done; echo x 2>/dev/null > /etc/mark || echo held";
    let policy = bed.ringfence.allowing(&[])?;
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.tiny, &["sh", "-c", script])?;
    let wanted = "/workspace\nprojectlibrarynotesnotes\n/workspace\n/notes\nheld\n";
    expect(outcome.stdout == wanted, "each is there, and written only where it may be", &outcome)?;
    let as_it_was = fs::metadata(&hollow)?;
    ensure!(
        (as_it_was.uid(), as_it_was.gid(), as_it_was.mode() & 0o7777) == (1234, 1235, 0o710)
            && fs::read_dir(&hollow)?.next().is_none(),
        "an empty directory was changed: {as_it_was:?}"
    );
    nothing_of_the_image(bed)?;
    // The volumes are gone, and what they showed is not.
    ensure!(
        project.join("new").exists() && project.join("name with: colon").exists(),
        "the project is whole"
    );
    ensure!(notes.join("new").exists() && fs::read(notes.join("mark"))? == b"notes", "the notes are whole");
    let left =
        bed.engine.docker(&["volume", "ls", "--quiet", "--filter", "label=dev.ringfence.role=mount"])?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

/// An engine may fill an empty directory with what the image has at that place.
fn nothing_of_the_image(bed: &Testbed) -> Result<()> {
    let places = ["/usr/share/git-core", "/usr/share/perl"];
    let (writable, readable) = (fresh(bed, "writable")?, fresh(bed, "readable")?);
    let mounts =
        [format!("{}:{}:rw", text(&writable)?, places[0]), format!("{}:{}", text(&readable)?, places[1])];
    let policy = bed.ringfence.allowing(&[])?;
    let list = ["ls", "-A", places[0], places[1]];
    let control = bed.ringfence.run(&policy, &[], &bed.images.agent, &list)?;
    expect(control.stdout.lines().count() > 3, "the image has something there", &control)?;
    let options = ["--mount", &mounts[0], "--mount", &mounts[1]];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &list)?;
    expect_status(&outcome, 0)?;
    for directory in [&writable, &readable] {
        ensure!(
            fs::read_dir(directory)?.next().is_none(),
            "filled: {}\n{}",
            directory.display(),
            outcome.shown()
        );
    }
    expect(outcome.stdout.lines().count() == 3, "the agent sees them empty", &outcome)
}

fn looked_through(bed: &Testbed) -> Result<()> {
    let place = fresh(bed, "looked-through")?;
    let secret = format!("9dJq4TzX{}", "mounted");
    let token = format!("glpat-{}", "Jq4TzX0kV2bLw7NmRs3Y");
    for (path, text) in [
        (".aws/credentials", format!("[default]\naws_secret_access_key = {secret}\n")),
        (".aws/config", "[default]\nregion = eu-west-1\n".to_owned()),
        ("library/notes.txt", format!("token {token} here\n")),
        (
            "library/deep/.npmrc",
            format!("registry=https://npm.corp.example/\n//npm.corp.example/:_authToken={secret}\n"),
        ),
        ("library/.ssh/config", "Host gitlab.example\n".to_owned()),
    ] {
        let path = place.join(path);
        fs::create_dir_all(path.parent().context("a parent")?)?;
        fs::write(path, text)?;
    }
    let (aws, library) = (place.join(".aws"), place.join("library"));
    let mounts = [format!("{}:/aws", text(&aws)?), format!("{}:/opt/library:rw", text(&library)?)];
    let policy = bed.ringfence.allowing(&[])?;
    let script =
        "cat /aws/* /opt/library/notes.txt /opt/library/deep/.npmrc; touch /opt/library/new && echo written";
    let run = |more: &[&str]| {
        let options = [&["-v", &mounts[0], "-v", &mounts[1]], more].concat();
        bed.ringfence.run(&policy, &options, &bed.images.tiny, &["sh", "-c", script])
    };
    let outcome = run(&[])?;
    expect_status(&outcome, 0)?;
    for kept in [
        "region = eu-west-1",
        "registry=https://npm.corp.example/",
        "written",
        "token masked-by-ringfence here",
    ] {
        expect(outcome.stdout.contains(kept), kept, &outcome)?;
    }
    expect(
        !outcome.stdout.contains(&secret) && !outcome.stdout.contains(&token),
        "no secret is read",
        &outcome,
    )?;
    for told in [
        format!("in {}: empty to the agent: credentials", aws.display()),
        format!("in {}: notes.txt: a secret is masked", library.display()),
        format!("--unmask {}/PATH shows", library.display()),
        ".aws is for logins".to_owned(),
    ] {
        expect(outcome.stderr.contains(&told), &told, &outcome)?;
    }
    // The control: what is named is shown, and nothing else.
    let shown = run(&["--unmask", text(&aws.join("credentials"))?])?;
    expect(shown.stdout.contains(&secret) && !shown.stdout.contains(&token), "one file is shown", &shown)?;
    // A secret alone, and a folder for secrets to be written, are refused, unless named twice.
    for (given, named) in [
        (format!("{}:/x", text(&aws.join("credentials"))?), aws.join("credentials")),
        (format!("{}:/x:rw", text(&library.join(".ssh"))?), library.join(".ssh")),
    ] {
        let options = ["-v", given.as_str()];
        refused(&bed.ringfence.run(&policy, &options, &bed.images.tiny, &["echo", "RAN"])?, &given)?;
        let options = ["-v", given.as_str(), "--unmask", text(&named)?];
        expect_status(&bed.ringfence.run(&policy, &options, &bed.images.tiny, &["ls", "/x"])?, 0)?;
    }
    Ok(())
}

fn tricks(bed: &Testbed) -> Result<()> {
    let work = fresh(bed, "work")?;
    let home = bed.directory.path().join("ringfence/home");
    let socket = bed.engine.host().strip_prefix("unix://").context("an engine on a socket")?.to_owned();
    for (name, target) in [
        ("etc", "/etc"),
        ("root", "/"),
        ("docker", socket.as_str()),
        ("engine", text(Path::new(&socket).parent().context("a parent")?)?),
        ("home", text(&home)?),
        ("magic", "/proc/self/root/etc"),
    ] {
        symlink(target, work.join(name))?;
    }
    nix::unistd::mkfifo(&work.join("pipe"), nix::sys::stat::Mode::S_IRWXU)?;
    let policy = bed.ringfence.allowing(&[])?;
    let agent = ["sh", "-c", "echo RAN; ls /workspace /x"];
    let before = bed.engine.docker(&["ps", "--all", "--quiet"])?;
    let below = |name: &str| work.join(name).to_string_lossy().into_owned();
    let mut projects: Vec<String> =
        ["etc", "root", "docker", "engine", "home", "magic", "pipe", "etc/../../../../../.."]
            .map(below)
            .into();
    projects.extend(
        ["/", "/etc", "/etc/ssl", "/var/run", "/proc", "/dev", "/sys/kernel", "/usr", "/var/lib/docker"]
            .map(str::to_owned),
    );
    projects.extend([text(&home)?.to_owned(), text(home.parent().context("a parent")?)?.to_owned()]);
    for project in &projects {
        let outcome = bed.ringfence.run(&policy, &["--project", project], &bed.images.tiny, &agent)?;
        refused(&outcome, project)?;
        let mount = format!("{project}:/x");
        let outcome = bed.ringfence.run(&policy, &["-v", &mount], &bed.images.tiny, &agent)?;
        refused(&outcome, &mount)?;
    }
    // The engine at a place where projects are, as `ssh -L` makes it.
    let folder = fresh(bed, "tunnel")?;
    let tunnel = folder.join("engine.sock");
    forward(UnixListener::bind(&tunnel)?, socket);
    for naming in ["url", "path", "link", "context", "chosen"] {
        let mut command = named(bed, text(&tunnel)?, naming)?;
        command.arg("run").arg("--policy").arg(&policy).arg("--project").arg(&folder);
        let output = bounded(command.arg(&bed.images.tiny).args(agent), b"", LIMIT)?;
        let right = output.status.code() == Some(125) && output.stderr.contains("the container engine's");
        ensure!(right && !output.stdout.contains("RAN"), "the engine by {naming}: {output:#?}");
        // The control: named like this it is the engine.
        let mut command = named(bed, text(&tunnel)?, naming)?;
        let output = bounded(command.arg("ps"), b"", LIMIT)?;
        ensure!(output.status.success(), "the engine by {naming}: {output:#?}");
    }
    for target in ["/proc", "/sys/x", "/dev/x", "/etc/resolv.conf", "/", "/a/../etc/hosts", "relative"] {
        let mount = format!("{}:{target}", text(&work)?);
        refused(&bed.ringfence.run(&policy, &["-v", &mount], &bed.images.tiny, &agent)?, &mount)?;
    }
    ensure!(bed.engine.docker(&["ps", "--all", "--quiet"])? == before, "nothing was created");
    // The control: what lies beside all of these is given.
    let good = fresh(bed, "good")?;
    let outcome = bed.ringfence.run(&policy, &["--project", text(&good)?], &bed.images.tiny, &["true"])?;
    expect_status(&outcome, 0)
}

/// Joins who comes to `listener` with `socket`, as long as the tests run.
fn forward(listener: UnixListener, socket: String) {
    let copy = |mut from: UnixStream, mut to: UnixStream| {
        std::thread::spawn(move || {
            std::io::copy(&mut from, &mut to).ok();
            to.shutdown(Shutdown::Write).ok();
        })
    };
    std::thread::spawn(move || -> std::io::Result<()> {
        for near in listener.incoming() {
            let (near, far) = (near?, UnixStream::connect(&socket)?);
            copy(near.try_clone()?, far.try_clone()?);
            copy(far, near);
        }
        Ok(())
    });
}

/// ringfence, told of the engine at `socket` in one of the ways but by `DOCKER_HOST`.
fn named(bed: &Testbed, socket: &str, naming: &str) -> Result<Command> {
    let mut command = bed.ringfence.command();
    command.env_remove("DOCKER_HOST");
    let place = fresh(bed, &format!("by-{naming}"))?;
    match naming {
        "url" => drop(command.arg(format!("--engine=unix://{socket}"))),
        "path" => drop(command.arg(format!("--engine={socket}"))),
        "link" => {
            symlink(socket, place.join("engine.sock"))?;
            command.arg(format!("--engine={}", text(&place.join("engine.sock"))?));
        }
        _ => {
            let client = |arguments: &[&str]| -> Result<()> {
                let mut docker = Command::new("docker");
                docker.env("DOCKER_CONFIG", &place).env_remove("DOCKER_HOST").args(arguments);
                let made = bounded(&mut docker, b"", LIMIT)?;
                ensure!(made.status.success(), "{made:?}");
                Ok(())
            };
            client(&["context", "create", "lab", "--docker", &format!("host=unix://{socket}")])?;
            command.env("DOCKER_CONFIG", &place);
            if naming == "context" {
                command.arg("--engine=lab");
            } else {
                client(&["context", "use", "lab"])?;
            }
        }
    }
    Ok(command)
}

fn refused(outcome: &integration::ringfence::Outcome, what: &str) -> Result<()> {
    if outcome.status != 125 || outcome.stdout.contains("RAN") || !outcome.stderr.contains("hint:") {
        bail!("{what}: {}", outcome.shown());
    }
    Ok(())
}

fn swapped(bed: &Testbed) -> Result<()> {
    let place = fresh(bed, "swapped")?;
    let home = bed.directory.path().join("ringfence/home");
    fs::write(home.join("mark"), "SECRET")?;
    fs::create_dir(place.join("project"))?;
    fs::write(place.join("project/mark"), "good")?;
    symlink(&home, place.join("link"))?;
    let (project, link) = (place.join("project"), place.join("link"));
    let stop = AtomicBool::new(false);
    let outcomes = std::thread::scope(|scope| -> Result<_> {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // A directory and a link change places at once.
                renameat2(AT_FDCWD, &project, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE).ok();
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
        });
        let tried = try_swapped(bed, &project);
        stop.store(true, Ordering::Relaxed);
        tried
    });
    fs::remove_file(home.join("mark"))?;
    let (leaked, outcomes) = outcomes?;
    ensure!(leaked, "a plain bind of the engine never leaked, so the swapping proves nothing");
    let shown = outcomes[0].shown();
    ensure!(outcomes.iter().any(is_caught), "nothing was ever swapped at the right moment: {shown}");
    for outcome in &outcomes {
        // A file that could not be looked at for secrets, since its folder was a link just then, is
        // covered.
        let covered = outcome.stdout.is_empty() && outcome.stderr.contains("empty to the agent: mark");
        let good = outcome.status == 0 && (outcome.stdout == "good" || covered);
        expect(good || outcome.status == 125, "the project or nothing", outcome)?;
        expect(!outcome.stdout.contains("SECRET"), "nothing is given away", outcome)?;
    }
    // The control: at rest the project is given.
    if project.is_symlink() {
        renameat2(AT_FDCWD, &project, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE)?;
    }
    let policy = bed.ringfence.allowing(&[])?;
    let options = ["--project", text(&project)?];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.tiny, &["cat", "/workspace/mark"])?;
    expect(outcome.status == 0 && outcome.stdout == "good", "at rest the project is given", &outcome)
}

/// Tells whether a run was refused for what changed after its path was taken for a project's.
fn is_caught(outcome: &integration::ringfence::Outcome) -> bool {
    let words = ["something else than", "changed places meanwhile", "moved, replaced", "was changed while"];
    outcome.status == 125 && words.iter().any(|words| outcome.stderr.contains(words))
}

/// Tries whether the engine's own bind gives the secret away, and what ringfence does.
fn try_swapped(bed: &Testbed, project: &Path) -> Result<(bool, Vec<integration::ringfence::Outcome>)> {
    let mut leaked = false;
    for _ in 0..20 {
        let mount = format!("type=bind,source={},target=/x", text(project)?);
        let command =
            ["run", "--rm", "--network", "none", "--mount", &mount, &bed.images.tiny, "cat", "/x/mark"];
        leaked |= bed.engine.try_docker(&command)?.stdout.contains("SECRET");
        if leaked {
            break;
        }
    }
    let policy = bed.ringfence.allowing(&[])?;
    let mut outcomes = Vec::new();
    // Until a run was swapped after its path had been looked at, and at least ten times.
    for number in 0..40 {
        let options = ["--project", text(project)?];
        outcomes.push(bed.ringfence.run(&policy, &options, &bed.images.tiny, &["cat", "/workspace/mark"])?);
        if number >= 9 && outcomes.iter().any(is_caught) {
            break;
        }
    }
    Ok((leaked, outcomes))
}

fn told(bed: &Testbed) -> Result<()> {
    let project = fresh(bed, "told")?;
    symlink("/etc/passwd", project.join("accounts"))?;
    symlink("../../..", project.join("up"))?;
    fs::write(project.join("file"), "")?;
    symlink("file", project.join("inside"))?;
    let _listener = UnixListener::bind(project.join("service.sock"))?;
    nix::unistd::mkfifo(&project.join("pipe"), nix::sys::stat::Mode::S_IRWXU)?;
    let policy = bed.ringfence.allowing(&[])?;
    // The links resolve inside the container.
    let agent = ["sh", "-c", "cat accounts 2>/dev/null || echo no such file"];
    let outcome = bed.ringfence.run(&policy, &["--project", text(&project)?], &bed.images.tiny, &agent)?;
    expect(outcome.stdout == "no such file\n", "the machine's file is not there", &outcome)?;
    for part in [
        "2 links lead out of it",
        "accounts -> /etc/passwd",
        "1 socket",
        "service.sock",
        "1 pipe or device node",
        "pipe",
    ] {
        expect(outcome.stderr.contains(part), part, &outcome)?;
    }
    expect(!outcome.stderr.contains("inside ->"), "a link inside is none of them", &outcome)
}

/// Makes this machine what a machine is to an engine in a virtual machine: the kernel has another
/// name, so device and inode are not asked.
fn elsewhere(bed: &Testbed) -> Result<()> {
    let (project, other) = (fresh(bed, "elsewhere")?, fresh(bed, "other")?);
    fs::write(project.join("mark"), "project")?;
    let policy = bed.ringfence.allowing(&[])?;
    let run = |before: &str, options: &[&str]| {
        let script = format!("{before}; exec setarch --uname-2.6 \"$@\"");
        let mut command = bed.ringfence.behind("unshare", ["--mount", "sh", "-c", &script, "sh"]);
        command.args(["run", "--policy", text(&policy)?]).args(options);
        command.args([bed.images.tiny.as_str(), "sh", "-c", "ls -A; touch made"]);
        integration::command::bounded(&mut command, b"", std::time::Duration::from_secs(60))
    };
    let seen = run("true", &["--project", text(&project)?])?;
    ensure!(seen.status.success() && seen.stdout == "mark\n", "{seen:?}");
    let names: Vec<_> = fs::read_dir(&project)?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(names.len() == 2 && project.join("made").exists(), "{names:?}");

    // What ringfence sees at that path is not what the engine sees.
    let swapped = format!("mount --bind {} {}", text(&other)?, text(&project)?);
    let hidden = run(&swapped, &["--project", text(&project)?])?;
    ensure!(hidden.status.code() == Some(125) && hidden.stdout.is_empty(), "{hidden:?}");
    ensure!(hidden.stderr.contains("does not show"), "{}", hidden.stderr);
    let file = format!("{}:/mark", text(&project.join("mark"))?);
    let single = run("true", &["--mount", &file])?;
    ensure!(single.status.code() == Some(125) && single.stderr.contains("single file"), "{single:?}");
    let left = fs::read_dir(&other)?.count();
    ensure!(left == 0, "{left} files are left where nothing was mounted");
    Ok(())
}
