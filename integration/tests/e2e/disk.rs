//! Parts of the engine's disk that an agent can use up beside the bytes of its files: volumes of
//! its image, files without a name, space beyond an end, empty files.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::ringfence::Outcome;
use integration::testbed::Testbed;
use nix::sys::signal::Signal;

use crate::leftovers::only_the_uplink;
use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("volumes that the image declares count, and go with the run", declared_volumes),
    ("what has no name, no bytes or no end counts", beyond_bytes),
    ("an agent that ends who counts its files is ended", counting_ended),
];

fn ended(outcome: &Outcome, why: &str) -> Result<()> {
    expect_status(outcome, 123)?;
    expect(outcome.stderr.contains(why), &format!("`{why}` is told"), outcome)?;
    expect(outcome.has_event(&[("kind", "lifecycle"), ("reason", "disk-limit")]), "an event says so", outcome)
}

/// An image with two volumes and something in one of them, made of the tiny one.
fn with_volumes(bed: &Testbed) -> Result<String> {
    let name = format!("ringfence-testbed/volumes:{}", std::process::id());
    let container = format!("ringfence-testbed-volumes-{}", std::process::id());
    let script =
        "mkdir -p /data/sub /var/db; echo kept > /data/file; chown -R 7:8 /data; chmod 751 /data/sub";
    bed.engine.docker(&[
        "run",
        "--name",
        &container,
        "--network",
        "none",
        &bed.images.tiny,
        "sh",
        "-c",
        script,
    ])?;
    let changes = ["--change", "VOLUME /data /var/db/ /workspace", "--change", "USER 0"];
    let committed = bed.engine.docker(&[&["commit"][..], &changes, &[&container, &name]].concat());
    bed.engine.docker(&["rm", "--force", &container])?;
    committed?;
    Ok(name)
}

fn declared_volumes(bed: &Testbed) -> Result<()> {
    let image = with_volumes(bed)?;
    let tested = with_image(bed, &image);
    bed.engine.docker(&["rmi", &image])?;
    tested
}

fn with_image(bed: &Testbed, image: &str) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let project = bed.fresh_directory("volumes")?;
    fs::write(project.join("here"), "the project")?;
    let volumes = || bed.engine.docker(&["volume", "ls", "--quiet"]);
    let before = volumes()?;
    let fill = "cat /data/file /workspace/here; stat -c '%u:%g %a' /data/sub; dd if=/dev/zero of=/var/db/fill bs=1M count=100 2>/dev/null";
    // The control: the image's own files are there, the project is the project, and a wide limit is
    // not met.
    let project = project.to_str().context("a path")?;
    let options = ["--disk", "1GiB", "--project", project, "--user", "0:0"];
    let script = format!("{fill}; sleep 10");
    let control = bed.ringfence.run(&policy, &options, image, &["sh", "-c", &script])?;
    expect_status(&control, 0)?;
    expect(control.stdout == "kept\nthe project7:8 751\n", "the image's files are there", &control)?;
    let script = format!("{fill}; sleep 600");
    let options = ["--disk", "64MiB", "--user", "0:0"];
    ended(
        &bed.ringfence.run(&policy, &options, image, &["sh", "-c", &script])?,
        "more than its limit of 64MiB",
    )?;
    // A killed supervisor's are found by their labels.
    let mut killed = bed.ringfence.start(&policy, &[], image, &["sh", "-c", "echo up; sleep 600"])?;
    killed.wait_for_line("up", Duration::from_secs(60))?;
    let names =
        bed.engine.docker(&["volume", "ls", "--quiet", "--filter", "label=dev.ringfence.role=data"])?;
    let name = killed.name.clone();
    killed.signal(Signal::SIGKILL)?;
    killed.finish(Duration::from_secs(20)).ok();
    let stopped = bed.ringfence.call(&["stop", &name])?;
    ensure!(stopped.status.success(), "{stopped:?}");
    ensure!(names.lines().count() == 3, "three volumes of the run's own: {names}");
    let after = volumes()?;
    ensure!(before == after, "volumes before: {before}\nafter: {after}");
    only_the_uplink(bed)
}

/// Writes 100 MB into a file whose name is gone.
const NAMELESS: &str = "exec 3>/fill; rm /fill; head -c 100000000 /dev/zero >&3";
/// Reserves 100 MB behind the end of an empty file.
const RESERVED: &str = "python3 -c \"
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open('/reserved', os.O_CREAT | os.O_WRONLY)
size = ctypes.c_int64(100 << 20)
assert libc.fallocate(fd, 1, ctypes.c_int64(0), size) == 0, os.strerror(ctypes.get_errno())
assert os.fstat(fd).st_size == 0\"";
/// Makes 70,000 empty files, more than one for each KiB of 64 MiB.
const EMPTY: &str = "python3 -c \"
import os
os.mkdir('/empty')
for number in range(70000): open(f'/empty/{number}', 'w').close()\"";

fn beyond_bytes(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let run = |disk, script: String| {
        bed.ringfence.run(&policy, &["--disk", disk], &bed.images.agent, &["sh", "-ec", &script])
    };
    let control = run("1GiB", format!("{NAMELESS}\n{RESERVED}\n{EMPTY}\nsleep 10; echo all"))?;
    expect_status(&control, 0)?;
    expect(control.stdout == "all\n", "all of it is possible within the limit", &control)?;
    let over = "more than its limit of 64MiB";
    ended(&run("64MiB", format!("{NAMELESS}\nsleep 600"))?, "in deleted files that it keeps open")?;
    ended(&run("64MiB", format!("{RESERVED}\nsleep 600"))?, over)?;
    ended(&run("64MiB", format!("{EMPTY}\nsleep 600"))?, "files, more than the 65536")
}

/// Root in the agent's container may end a process of root, and sees the one that counts.
fn counting_ended(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let script = "python3 -c \"
import os, time
told = set()
while True:
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try: words = open(f'/proc/{pid}/cmdline').read().split('\\0')
        except OSError: continue
        if words[1:3] != ['disk', 'watch']: continue
        for what in ('root/etc', 'fd/0', 'mem'):
            try: open(f'/proc/{pid}/{what}') if what == 'mem' else os.stat(f'/proc/{pid}/{what}'); told.add('entered ' + what)
            except OSError: pass
        try: os.kill(int(pid), 9); told.add('ended')
        except OSError: pass
        print(sorted(told), flush=True)
    time.sleep(0.02)\"";
    let options = ["--user", "0:0"];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-ec", script])?;
    ended(&outcome, "the disk limit cannot be watched any more")?;
    expect(outcome.stdout.contains("ended"), "it was ended", &outcome)?;
    expect(!outcome.stdout.contains("entered"), "and never entered", &outcome)
}
