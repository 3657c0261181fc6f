//! An agent's part of the kernel: each thing that it must not have is tried, also where it may be
//! had.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration::command::until;
use integration::testbed::Testbed;
use integration::testbed::engine::variants::Product;

use crate::refused::running_agent;
use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("without a fence the same attempts succeed", control),
    ("system calls, sockets, devices and files are closed to root in the container", as_root),
    ("and to another user", as_user),
    ("every capability can be taken, by an option and by a policy", no_capabilities),
    ("a read-only image has room in memory", read_only),
    ("the container has no device, no privilege, no namespace of the host", by_construction),
];

/// Things that ordinary programs need.
const OPEN: [&str; 6] = ["unix", "inet", "netlink-route", "socketpair-unix", "node-fifo", "socket-32-inet"];
/// Families that the filter answers as if the kernel did not have them.
const NO_SUCH_FAMILY: [&str; 13] = [
    "vsock",
    "vsock-high-bits",
    "alg",
    "alg-high-bits",
    "packet",
    "key",
    "tipc",
    "bluetooth",
    "xdp",
    "netlink-netfilter",
    "netlink-xfrm",
    "socketpair-tipc",
    "socket-32-vsock",
];
const NO_SUCH_CALL: [&str; 6] = [
    "io-uring",
    "socketcall-32-inet",
    "socketcall-32-vsock",
    // Newer than the oldest engine's own filter.
    "process-vm-readv",
    "pkey-alloc",
    "fchmodat2",
];
/// Things that a container does without a filter, with some powers, and with the kernel's files
/// open.
const SUCCEED: [&str; 19] = [
    "raw",
    "packet",
    "route",
    "mount",
    "unshare-user",
    "unshare-mounts",
    "clone-user",
    "setns",
    "sethostname",
    "chroot",
    "keyctl",
    "add-key",
    "node-char",
    "sysctl",
    "core-pattern",
    "set-uid",
    "io-uring",
    "netlink-netfilter",
    "process-vm-readv",
];
/// A kernel without 32-bit programs ends them.
const FAULT: &str = "14 ";

type Answers = BTreeMap<String, String>;

fn answers(printed: &str) -> Answers {
    let lines = printed.lines().filter_map(|line| line.split_once([' ', '\t']));
    lines.map(|(name, answer)| (name.to_owned(), answer.trim().to_owned())).collect()
}

fn control(bed: &Testbed) -> Result<()> {
    let mut command = vec!["run", "--rm", "--network", "none"];
    for capability in ["SYS_ADMIN", "NET_ADMIN", "NET_RAW", "MKNOD", "SYS_CHROOT", "SYSLOG"] {
        command.extend(["--cap-add", capability]);
    }
    for part in ["seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"] {
        command.extend(["--security-opt", part]);
    }
    command.extend([bed.images.agent.as_str(), "surface"]);
    let printed = bed.engine.docker(&command)?;
    let answers = answers(&printed);
    // Podman's API cannot be asked to leave these files open.
    let always =
        |name: &str| bed.engine.product() == Product::Podman && ["sysctl", "core-pattern"].contains(&name);
    let failed: Vec<_> = SUCCEED
        .iter()
        .filter(|name| !always(name) && answers.get(**name).is_none_or(|answer| answer != "ok"))
        .collect();
    ensure!(
        failed.is_empty(),
        "{failed:?} fail without a fence too, so the others prove nothing:\n{printed}"
    );
    Ok(())
}

fn judge(answers: &Answers, printed: &str) -> Result<()> {
    ensure!(answers.len() > 50, "only {} attempts:\n{printed}", answers.len());
    let starts = |name: &str, with: &str| answers.get(name).is_some_and(|answer| answer.starts_with(with));
    let mut wrong: Vec<&str> = Vec::new();
    for (name, answer) in answers {
        let is_status = name.ends_with(':');
        let open = OPEN.contains(&name.as_str());
        if !is_status && (answer == "ok") != open && !(open && starts(name, FAULT)) {
            wrong.push(name);
        }
    }
    let has = |name: &str| answers.contains_key(name);
    wrong.extend(
        NO_SUCH_FAMILY.iter().filter(|name| has(name) && !starts(name, "97 ") && !starts(name, FAULT)),
    );
    wrong
        .extend(NO_SUCH_CALL.iter().filter(|name| has(name) && !starts(name, "38 ") && !starts(name, FAULT)));
    if !wrong.is_empty() {
        bail!("wrong: {wrong:?} in\n{printed}");
    }
    ensure!(answers["NoNewPrivs:"] == "1" && answers["Seccomp:"] == "2", "{printed}");
    Ok(())
}

fn in_fence(bed: &Testbed, options: &[&str]) -> Result<(Answers, String)> {
    let policy = bed.ringfence.allowing(&[])?;
    let outcome = bed.ringfence.run(&policy, options, &bed.images.agent, &["surface"])?;
    expect_status(&outcome, 0)?;
    Ok((answers(&outcome.stdout), outcome.stdout))
}

fn as_root(bed: &Testbed) -> Result<()> {
    let (answers, printed) = in_fence(bed, &[])?;
    judge(&answers, &printed)?;
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID.
    ensure!(answers["CapBnd:"] == "00000000000000fb", "{printed}");
    Ok(())
}

fn as_user(bed: &Testbed) -> Result<()> {
    let (answers, printed) = in_fence(bed, &["--user", "1000:1000"])?;
    judge(&answers, &printed)?;
    ensure!(answers["CapPrm:"] == "0000000000000000", "{printed}");
    Ok(())
}

fn no_capabilities(bed: &Testbed) -> Result<()> {
    let script = "grep CapBnd /proc/self/status; chown 7 /tmp && echo changed";
    let asked = |options: &[&str], text: &str| {
        let policy = bed.ringfence.policy_file(text)?;
        bed.ringfence.run(&policy, options, &bed.images.tiny, &["sh", "-c", script])
    };
    let usual = asked(&[], "version: 1\n")?;
    expect(usual.stdout.contains("changed"), "installing packages needs some", &usual)?;
    let option = asked(&["--no-capabilities"], "version: 1\n")?;
    let policy = asked(&[], "version: 1\ncontainer: {capabilities: none}\n")?;
    for none in [option, policy] {
        expect(none.stdout.contains("0000000000000000"), "none is left", &none)?;
        expect(!none.stdout.contains("changed"), "and none works", &none)?;
    }
    Ok(())
}

fn read_only(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let script = "touch /image 2>/dev/null && echo image; for dir in /tmp /run /var/tmp /cache; do \
                  cp /bin/busybox $dir/busybox && $dir/busybox echo $dir; done; df -m /dev/shm | awk 'END {print $2}'";
    let agent = ["sh", "-c", script];
    let options = ["--read-only", "--tmpfs", "/cache", "--shm-size", "64MiB"];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.tiny, &agent)?;
    expect(outcome.stdout == "/tmp\n/run\n/var/tmp\n/cache\n64\n", "memory alone can be written", &outcome)?;
    let usual = bed.ringfence.run(&policy, &[], &bed.images.tiny, &["touch", "/image"])?;
    expect_status(&usual, 0)
}

fn by_construction(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let mut running =
        bed.ringfence.start(&policy, &[], &bed.images.tiny, &["sh", "-c", "ls /dev; echo up; sleep 600"])?;
    running.wait_for_line("up", Duration::from_secs(60))?;
    // An agent may speak before its engine says that it runs.
    until("an agent runs", Duration::from_secs(30), || running_agent(bed).is_some())?;
    let workflow = running_agent(bed).context("an agent runs")?;
    let format = "{{.HostConfig.Privileged}} {{len .HostConfig.Devices}} {{len .HostConfig.DeviceRequests}} \
                  [{{.HostConfig.PidMode}}] [{{.HostConfig.UTSMode}}] [{{.HostConfig.UsernsMode}}] {{.HostConfig.IpcMode}} \
                  {{len .HostConfig.MaskedPaths | lt 5}} {{len .HostConfig.ReadonlyPaths | lt 3}}";
    let told = bed.engine.docker(&["inspect", "--format", format, &format!("ringfence-{workflow}-agent")])?;
    let devices = running.lines();
    bed.ringfence.call(&["stop", &running.name])?;
    running.finish(Duration::from_secs(30))?;
    // Podman gives its own names to what is the container's own, and does not tell which paths are
    // masked: what they hide is tried above.
    let expected = match bed.engine.product() {
        Product::Docker => "false 0 0 [] [] [] private true true",
        Product::Podman => "false 0 0 [private] [private] [] private false false",
    };
    ensure!(told == expected, "{told}");
    let known = [
        "console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
        "stdout", "tty", "urandom", "zero", "up",
    ];
    let others: Vec<_> = devices.iter().filter(|name| !known.contains(&name.as_str())).collect();
    ensure!(others.is_empty(), "{others:?}");
    Ok(())
}
