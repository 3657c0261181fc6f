//! Homes that survive runs: kept, owned by the agent, of one project and one image, used by one run
//! at a time.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::ringfence::Outcome;
use integration::testbed::Testbed;
use integration::testbed::engine::variants::Product;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::leftovers::only_the_uplink;
use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("a home survives with the right place and owner for each kind of user", survives),
    ("a home is of one project and one image", belongs),
    ("a home has one agent at a time, and a killed supervisor leaves it free", one_at_a_time),
    ("what a run adds to its home counts as disk", counted),
    ("another volume of a home's name is neither used nor removed", foreign),
    ("a mount at the agent's home leaves the account", mounted),
    ("no link leads a home, or a mount below it, elsewhere", links),
];

/// Seconds for an agent to come up.
const UP: Duration = Duration::from_secs(60);
/// Writes into the home, and says whose it is.
const WRITE: &str = "echo kept > ~/file; echo $HOME; stat -c '%u:%g %a' ~; id -u";
/// Reads what an earlier run has written.
const READ: &str = "cat ~/file; echo $HOME; touch ~/more && id -u";

/// A name that no other test and no other testbed uses.
fn name(word: &str) -> String {
    format!("{word}-{}", std::process::id())
}

fn project(bed: &Testbed, name: &str, owner: u32) -> Result<String> {
    let path: PathBuf = bed.fresh_directory("home")?.join(name);
    fs::remove_dir_all(&path).ok();
    fs::create_dir_all(&path)?;
    chown(&path, Some(owner), Some(owner))?;
    Ok(path.to_str().context("a path of text")?.to_owned())
}

fn sh(script: &str) -> [&str; 3] {
    ["sh", "-c", script]
}

/// A run must be refused with these words, before its agent began.
fn refused(outcome: &Outcome, words: &[&str]) -> Result<()> {
    expect_status(outcome, 125)?;
    for words in words {
        expect(outcome.stderr.contains(words), &format!("`{words}` is said"), outcome)?;
    }
    expect(outcome.stdout.is_empty(), "no agent began", outcome)
}

fn removed(bed: &Testbed, names: &[&str]) -> Result<()> {
    let removed = bed.ringfence.call(&[&["home", "rm"], names].concat())?;
    ensure!(removed.status.success(), "{removed:?}");
    ensure!(removed.stdout.lines().eq(names.iter().copied()), "{removed:?}");
    let left = bed.engine.docker(&["volume", "ls", "--quiet"])?;
    for name in names {
        ensure!(!left.lines().any(|line| line == format!("ringfence-home-{name}")), "{left}");
    }
    Ok(())
}

/// An image with a user of its own, something in that user's home, and another tag of it.
fn with_user(bed: &Testbed) -> Result<[String; 2]> {
    let names = [1, 2].map(|tag| format!("ringfence-testbed/home-{}:{tag}", std::process::id()));
    let container = name("ringfence-testbed-home");
    let script = "echo 'worker:x:77:78::/home/worker:/bin/sh' >> /etc/passwd; mkdir -p /home/worker; \
                  echo of-the-image > /home/worker/.profile; chown -R 77:78 /home/worker";
    let run = ["run", "--name", &container, "--network", "none", &bed.images.agent, "sh", "-c", script];
    bed.engine.docker(&run)?;
    let changes = ["commit", "--change", "USER worker", &container];
    let committed = bed.engine.docker(&[&changes[..], &[&names[0]]].concat());
    bed.engine.docker(&["rm", "--force", &container])?;
    committed?;
    bed.engine.docker(&["tag", &names[0], &names[1]])?;
    Ok(names)
}

fn survives(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let owned = project(bed, "owned", 4321)?;
    let [image, upgraded] = with_user(bed)?;
    let agent = &bed.images.agent;
    let (root, owner, user) = (name("root"), name("owner"), name("user"));
    let of_owner = ["--project", &*owned, "--home", &owner];
    for (options, image, written, read) in [
        (&["--home", &*root][..], agent, "/root\n0:0 700\n0\n", "kept\n/root\n0\n"),
        (&of_owner, agent, "/home/agent\n4321:4321 700\n4321\n", "kept\n/home/agent\n4321\n"),
        (&["--home", &user], &image, "/home/worker\n77:78 700\n77\n", "kept\n/home/worker\n77\n"),
    ] {
        let first = bed.ringfence.run(&policy, options, image, &sh(WRITE))?;
        // Podman takes the mode of the image's own folder, at the first use of a volume.
        let podman = bed.engine.product() == Product::Podman;
        let said = if podman { first.stdout.replace(" 755\n", " 700\n") } else { first.stdout.clone() };
        expect(said == written, "the home is the agent's", &first)?;
        let again = bed.ringfence.run(&policy, options, image, &sh(READ))?;
        expect(again.stdout == read, "it is there in the next run", &again)?;
        // The control: a run without it has none of that.
        let without = &options[..options.len() - 2];
        let control = bed.ringfence.run(&policy, without, image, &sh("cat ~/file || id -u"))?;
        expect(!control.stdout.contains("kept"), "another run has a home of its own", &control)?;
    }
    // The account is a whole one, and the home works without network and in an image that cannot be
    // written.
    let outcome =
        bed.ringfence.run(&policy, &of_owner, agent, &sh("id -un; cd; pwd; getent passwd agent"))?;
    let account = "agent\n/home/agent\nagent:x:4321:4321:the project's owner:/home/agent:/bin/sh\n";
    expect(outcome.stdout == account, "the account stays", &outcome)?;
    for more in [&["--read-only"][..], &["--network", "denied"], &["--read-only", "--no-network"]] {
        let options = [&of_owner[..], more].concat();
        let outcome = bed.ringfence.run(&policy, &options, agent, &sh(READ))?;
        expect(outcome.stdout == "kept\n/home/agent\n4321\n", &format!("{more:?}"), &outcome)?;
    }
    // What the image has in its home is there, and another tag of the image is an upgrade.
    let script = sh("cat ~/.profile ~/file");
    let outcome = bed.ringfence.run(&policy, &["--home", &user], &upgraded, &script)?;
    expect(outcome.stdout == "of-the-image\nkept\n", "an upgrade keeps the home", &outcome)?;
    // gc takes none of them for a leftover, and they are listed.
    let swept = bed.ringfence.call(&["gc", "--all"])?;
    ensure!(swept.status.success(), "{swept:?}");
    let listed = bed.ringfence.call(&["home", "ls", "--json"])?;
    let rows: Vec<Value> = serde_json::from_str(&listed.stdout)?;
    let row = rows.iter().find(|row| row["name"] == *owner).context("it is listed")?;
    ensure!(row["project"] == *owned && row["in_use"] == false && row["last_use"].is_u64(), "{row}");
    let table = bed.ringfence.call(&["home", "ls"])?.stdout;
    ensure!([&root, &owner, &user].iter().all(|name| table.contains(&**name)), "{table}");
    removed(bed, &[&root, &owner, &user])?;
    let again = bed.ringfence.call(&["home", "rm", &owner])?;
    ensure!(again.status.code() == Some(125) && again.stderr.contains("no home"), "{again:?}");
    bed.engine.docker(&["rmi", &image, &upgraded])?;
    Ok(())
}

fn belongs(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let (mine, other) = (project(bed, "mine", 4321)?, project(bed, "other", 4321)?);
    let home = name("mine");
    let options = ["--project", &*mine, "--home", &home];
    expect_status(&bed.ringfence.run(&policy, &options, &bed.images.agent, &sh(WRITE))?, 0)?;
    let wrong = ["--project", &*other, "--home", &home];
    let remedy = format!("ringfence home rm {home}");
    let outcome = bed.ringfence.run(&policy, &wrong, &bed.images.agent, &sh("cat ~/file"))?;
    refused(&outcome, &[&mine, "another name"])?;
    // It would end the other project's logins.
    expect(!outcome.stderr.contains(&remedy), "its removal is no remedy here", &outcome)?;
    let outcome = bed.ringfence.run(&policy, &wrong[2..], &bed.images.agent, &sh("cat ~/file"))?;
    refused(&outcome, &[&mine])?;
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.tiny, &sh("cat ~/file"))?;
    refused(&outcome, &["belongs to the image", &remedy])?;
    // The control: the right project and image have it.
    let control = bed.ringfence.run(&policy, &options, &bed.images.agent, &sh("cat ~/file"))?;
    expect(control.stdout == "kept\n", "it is there", &control)?;
    // A name that is no name, a home over what is mounted, and a place that is no home.
    for (options, words) in [
        (&["--home", "../x"][..], "cannot be a home's name"),
        (&["--home", "x", "--tmpfs", "/root"], "is taken"),
        (&["--home", "x", "-e", "HOME=/etc"], "where none can be kept"),
        (&["--home", "x", "--user", "nobody-here"], "no account"),
    ] {
        refused(&bed.ringfence.run(&policy, options, &bed.images.agent, &sh("id"))?, &[words])?;
    }
    removed(bed, &[&home])?;
    only_the_uplink(bed)
}

fn one_at_a_time(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let home = name("busy");
    let options = ["--home", &*home];
    let mut first = bed.ringfence.start(
        &policy,
        &options,
        &bed.images.agent,
        &sh("echo kept > ~/file; echo up; sleep 600"),
    )?;
    first.wait_for_line("up", UP)?;
    let run = |script| bed.ringfence.run(&policy, &options, &bed.images.agent, &sh(script));
    refused(&run("id")?, &["is in use by the run", &first.name])?;
    let kept = bed.ringfence.call(&["home", "rm", &home])?;
    ensure!(kept.status.code() == Some(125) && kept.stderr.contains(&first.name), "{kept:?}");
    // Its supervisor is killed: the lock is free, and the agent has the home all the same.
    first.signal(Signal::SIGKILL)?;
    let first = (first.name.clone(), first.finish(Duration::from_secs(20)).ok()).0;
    refused(&run("id")?, &["is in use by the run", &first])?;
    let kept = bed.ringfence.call(&["home", "rm", &home])?;
    ensure!(kept.status.code() == Some(125) && kept.stderr.contains(&first), "{kept:?}");
    let stopped = bed.ringfence.call(&["stop", &first])?;
    ensure!(stopped.status.success(), "{stopped:?}");
    let again = run("cat ~/file")?;
    expect(again.stdout == "kept\n", "it is free, and has what was kept", &again)?;
    removed(bed, &[&home])?;
    only_the_uplink(bed)
}

fn counted(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let home = name("full");
    let fill = "head -c 100000000 /dev/zero > ~/fill";
    // The control: what is within the limit is kept, and does not count in the next run.
    let options = ["--home", &*home, "--disk", "1GiB"];
    let script = format!("{fill}; sleep 10");
    expect_status(&bed.ringfence.run(&policy, &options, &bed.images.agent, &sh(&script))?, 0)?;
    let options = ["--home", &*home, "--disk", "64MiB"];
    let script = "stat -c %s ~/fill; sleep 10";
    let control = bed.ringfence.run(&policy, &options, &bed.images.agent, &sh(script))?;
    expect_status(&control, 0)?;
    expect(control.stdout == "100000000\n", "it was there before", &control)?;
    let script = format!("rm ~/fill; {fill}; sleep 600");
    let over = bed.ringfence.run(&policy, &options, &bed.images.agent, &sh(&script))?;
    expect_status(&over, 123)?;
    expect(over.stderr.contains("more than its limit of 64MiB"), "it is told", &over)?;
    removed(bed, &[&home])
}

fn foreign(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let home = name("foreign");
    let volume = format!("ringfence-home-{home}");
    let run = || bed.ringfence.run(&policy, &["--home", &home], &bed.images.agent, &sh("touch ~/mine; ls ~"));
    // One that was there before, with a label that anybody can write.
    let label = format!("dev.ringfence.home={home}");
    bed.engine.docker(&["volume", "create", "--label", &label, &volume])?;
    refused(&run()?, &[&volume, "docker volume rm"])?;
    let removed = bed.ringfence.call(&["home", "rm", &home])?;
    ensure!(!removed.status.success() && removed.stderr.contains("has no home"), "{removed:?}");
    let mountpoint = bed.engine.docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", &volume])?;
    ensure!(fs::read_dir(mountpoint.trim())?.next().is_none(), "it stays, and nothing is in it");
    // The control: without it the name is free.
    bed.engine.docker(&["volume", "rm", &volume])?;
    let outcome = run()?;
    expect(outcome.stdout.contains("mine"), "it works", &outcome)?;
    // One that was put in the place of the home.
    bed.engine.docker(&["volume", "rm", &volume])?;
    bed.engine.docker(&["volume", "create", &volume])?;
    refused(&run()?, &[&volume])?;
    bed.engine.docker(&["volume", "rm", &volume])?;
    let removed = bed.ringfence.call(&["home", "rm", &home])?;
    ensure!(removed.status.success(), "{removed:?}");
    only_the_uplink(bed)
}

fn mounted(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let (project, given) = (project(bed, "project", 4321)?, project(bed, "given", 4321)?);
    fs::write(format!("{given}/file"), "given\n")?;
    let mode = || fs::metadata(&given).map(|found| (found.uid(), found.gid(), found.mode()));
    let before = mode()?;
    let script = sh("id -un; echo $HOME; cat ~/file; touch ~/made 2>/dev/null || echo held");
    for (mount, wanted) in [(":rw", "agent\n/home/agent\ngiven\n"), ("", "agent\n/home/agent\ngiven\nheld\n")]
    {
        let mount = format!("{given}:/home/agent{mount}");
        let outcome =
            bed.ringfence.run(&policy, &["--project", &project, "-v", &mount], &bed.images.agent, &script)?;
        expect(outcome.stdout == wanted, "the account stays, the files are the mount's", &outcome)?;
    }
    ensure!(mode()? == before, "the person's directory has the owner and mode that it had");
    ensure!(fs::metadata(format!("{given}/made"))?.uid() == 4321);
    let mount = format!("{given}:/home:rw");
    let script = sh("id -un; echo $HOME; ls /home");
    let outcome =
        bed.ringfence.run(&policy, &["--project", &project, "-v", &mount], &bed.images.agent, &script)?;
    expect(outcome.stdout == "agent\n/home/agent\nfile\nmade\n", "above the home too", &outcome)?;
    ensure!(mode()? == before, "that directory too");
    let both = ["--project", &*project, "-v", &mount, "--home", "both"];
    refused(&bed.ringfence.run(&policy, &both, &bed.images.agent, &sh("id"))?, &["/home is taken"])
}

/// The testbed's image has `/var/run` as a link to `/run`, where ringfence's own files lie.
fn links(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let home = name("links");
    let run = |options: &[&str]| {
        let options = [&["--home", &*home], options].concat();
        bed.ringfence.run(&policy, &options, &bed.images.agent, &sh("echo $HOME; touch ~/file && ls ~"))
    };
    refused(&run(&["-e", "HOME=/var/run/ringfence"])?, &["/var/run is a link"])?;
    let control = run(&["-e", "HOME=/var/lib/agent"])?;
    expect(control.stdout == "/var/lib/agent\nfile\n", "beside that link a home is kept", &control)?;
    let given = project(bed, "given", 0)?;
    let below = format!("{given}:/var/lib/agent/.cache:rw");
    let outcome = run(&["-e", "HOME=/var/lib/agent", "-v", &below])?;
    refused(&outcome, &["/var/lib/agent/.cache is taken"])?;
    removed(bed, &[&home])?;
    only_the_uplink(bed)
}
