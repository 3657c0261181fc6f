//! Covers where the same files are reached by another way: another mount, another run, another
//! name.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::ringfence::Outcome;
use integration::testbed::Testbed;
use integration::testbed::engine::variants::Product;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::serve_starts::{FIRST, evil, image_with};
use crate::{Test, expect, expect_status, skip, text};

pub(crate) const TESTS: &[Test] = &[
    ("a cover holds in every mount of a run", every_mount),
    ("an agent begins with every cover in its place, or not at all", out_of_place),
    ("no link of an image takes the first program's place, and a bare engine lets it", first_place),
    (
        "a run is held to the covers of another on the same files, and a cover that comes off is told",
        other_runs,
    ),
];

const SECRET: &str = "9dJq4TzX-covered";

/// `above/project` with secrets, `above/beside` with a hard link to one.
fn files(bed: &Testbed, name: &str) -> Result<PathBuf> {
    let above = bed.fresh_directory(name)?;
    for folder in ["project/sub", "beside"] {
        fs::create_dir_all(above.join(folder))?;
    }
    let secret = format!("KEY={SECRET}\n");
    for path in ["project/.env", "project/sub/.env", "project/sub/prod.env"] {
        fs::write(above.join(path), &secret)?;
    }
    fs::write(above.join("project/.npmrc"), format!("//r.example/:_authToken={SECRET}\nplain=npm\n"))?;
    for path in ["project/plain", "project/sub/plain", "beside/plain"] {
        fs::write(above.join(path), "in the clear\n")?;
    }
    fs::hard_link(above.join("project/.env"), above.join("beside/notes"))?;
    Ok(above)
}

fn first_place(bed: &Testbed) -> Result<()> {
    if bed.engine.product() == Product::Podman {
        return skip("this engine by itself follows no such link: there is no control");
    }
    let project = bed.fresh_directory("first-place-of-a-run")?;
    fs::write(project.join(".env"), format!("KEY={SECRET}\n"))?;
    evil(&project.join("s/docker-init"))?;
    let linked = image_with(bed, "linked-in-run", "ln -sfn /workspace/s /sbin", None)?;
    let checked = (|| {
        let policy = bed.ringfence.allowing(&[])?;
        let options = ["--project", text(&project)?];
        let outcome = bed.ringfence.run(&policy, &options, &linked, &["sh", "-c", FIRST])?;
        expect_status(&outcome, 0)?;
        let is_own = outcome.stdout.starts_with("/.ringfence-") && !outcome.stdout.contains("evil-first");
        expect(is_own, "the first process is ringfence's program", &outcome)?;
        let mount = format!("{}:/workspace", text(&project)?);
        let words = ["run", "--rm", "--init", "--network", "none", "-v", &mount, &linked, "true"];
        let bare = bed.engine.docker(&words)?;
        ensure!(bare.trim() == "evil-first", "the bare engine begins what the link leads to: {bare}");
        Ok(())
    })();
    bed.engine.docker(&["rmi", &linked])?;
    checked
}

const READ_ALL: &str = "for dir in /workspace /sub /above /beside; do find $dir -type f | sort | while read f; do \
                        echo \"== $f\"; cat \"$f\"; done; done 2>/dev/null; true";

fn every_mount(bed: &Testbed) -> Result<()> {
    let above = files(bed, "every-mount")?;
    let project = above.join("project");
    let mounts = [
        format!("{}:/sub", text(&project.join("sub"))?),
        format!("{}:/above", text(&above)?),
        format!("{}:/beside:rw", text(&above.join("beside"))?),
    ];
    let options = ["--project", text(&project)?, "-v", &mounts[0], "-v", &mounts[1], "-v", &mounts[2]];
    let policy = bed.ringfence.allowing(&[])?;
    let read = ["sh", "-c", READ_ALL];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.tiny, &read)?;
    expect_status(&outcome, 0)?;
    expect(!outcome.stdout.contains(SECRET), "no mount shows what another one covers", &outcome)?;
    for place in ["/workspace/plain", "/sub/plain", "/above/project/sub/plain", "/beside/plain"] {
        let shown = format!("== {place}\nin the clear\n");
        expect(outcome.stdout.contains(&shown), &format!("{place} is there"), &outcome)?;
    }
    let masked = "== /above/project/.npmrc\n//r.example/:_authToken=masked-by-ringfence\nplain=npm\n";
    expect(outcome.stdout.contains(masked), "configuration keeps the rest there too", &outcome)?;
    // The control: without covers each of these places shows it.
    let shown = [&options[..], &["--unmask", "*env", "--unmask", ".npmrc"]].concat();
    let control = bed.ringfence.run(&policy, &shown, &bed.images.tiny, &read)?;
    ensure!(control.stdout.matches(SECRET).count() == 12, "{}", control.shown());
    // The covered file itself is not given by another name.
    let file = format!("{}:/key", text(&project.join(".env"))?);
    let options = ["--project", text(&project)?, "-v", &file];
    let refused = bed.ringfence.run(&policy, &options, &bed.images.tiny, &["cat", "/key"])?;
    expect_status(&refused, 125)?;
    expect(refused.stderr.contains("--unmask .env"), "what to do is said", &refused)?;
    // A mount over a part of the project gets no cover of what lies beneath it.
    let over = format!("{}:/workspace/sub:rw", text(&above.join("beside"))?);
    let options = ["--project", text(&project)?, "-v", &over];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.tiny, &["ls", "-A", "/workspace/sub"])?;
    expect(outcome.stdout == "notes\nplain\n", "only what was mounted is there", &outcome)?;
    ensure!(fs::read_dir(above.join("beside"))?.count() == 2, "nothing was made in what was mounted");
    // A place in memory could be led elsewhere by a link while an engine mounts it: covers of what
    // it hides are in their places all the same, and the agent begins with them alone.
    let options = ["--project", text(&project)?, "--tmpfs", "/workspace/sub"];
    let look = ["sh", "-c", "ls -A /workspace/sub; grep -c ' /workspace/sub/.*env ' /proc/self/mountinfo"];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.tiny, &look)?;
    expect(outcome.stdout == ".env\nprod.env\n2\n", "covers lie in a place in memory", &outcome)?;
    Ok(())
}

fn other_runs(bed: &Testbed) -> Result<()> {
    let above = files(bed, "other-runs")?;
    let project = above.join("project");
    let policy = bed.ringfence.allowing(&[])?;
    let (given, unmasked) = (["--project", text(&project)?], ["--unmask", "*env"]);
    let waiting = ["sh", "-c", "echo up; sleep 300"];
    let mut first = bed.ringfence.start(&policy, &given, &bed.images.tiny, &waiting)?;
    first.wait_for_line("up", Duration::from_secs(60))?;
    let read = ["sh", "-c", READ_ALL];
    let shown = [&given[..], &unmasked].concat();
    let second = bed.ringfence.run(&policy, &shown, &bed.images.tiny, &read)?;
    expect_status(&second, 0)?;
    expect(!second.stdout.contains(SECRET), "the second run is held to the first's covers", &second)?;
    expect(second.stderr.contains("covered here too"), "that is told", &second)?;
    let part = format!("{}:/sub", text(&project.join("sub"))?);
    let third = bed.ringfence.run(&policy, &["-v", &part], &bed.images.tiny, &read)?;
    expect(third.stdout.contains("in the clear"), "a mount without a project is there", &third)?;
    expect(!third.stdout.contains(SECRET), "and held to them too", &third)?;
    // An editor saves by a rename, and a person links a file, beside the covers.
    fs::write(project.join("new"), "KEY=new\n")?;
    fs::rename(project.join("new"), project.join(".env"))?;
    fs::hard_link(project.join("sub/.env"), project.join("copy"))?;
    let began = Instant::now();
    let name = first.name.clone();
    let told = loop {
        let events = bed.ringfence.call(&["events", &name, "--json"])?;
        if events.stdout.contains("uncovered") || began.elapsed() > Duration::from_secs(20) {
            break events;
        }
        std::thread::sleep(Duration::from_millis(300));
    };
    ensure!(told.stdout.contains("uncovered"), "while the run goes on: {told:?}");
    bed.ringfence.call(&["stop", &name])?;
    let first = first.finish(Duration::from_secs(60))?;
    for part in [".env (was replaced)", "sub/.env (got another name)"] {
        expect(first.stderr.contains(part), part, &first)?;
    }
    // The control: alone, the second run is shown what it asks for. And one that is shown it is
    // told to the next.
    let mut alone = bed.ringfence.start(
        &policy,
        &shown,
        &bed.images.tiny,
        &["sh", "-c", "cat /workspace/sub/.env; sleep 300"],
    )?;
    alone.wait_for_line("KEY=", Duration::from_secs(60))?;
    let next = bed.ringfence.run(&policy, &given, &bed.images.tiny, &["true"])?;
    expect(next.stderr.contains("is shown what is covered here"), "who can pass it on is told", &next)?;
    let name = alone.name.clone();
    bed.ringfence.call(&["stop", &name])?;
    alone.finish(Duration::from_secs(60))?;
    Ok(())
}

fn out_of_place(bed: &Testbed) -> Result<()> {
    let project = files(bed, "out-of-place")?.join("project");
    fs::create_dir(project.join("other"))?;
    fs::write(project.join("other/plain"), "in the clear\n")?;
    let policy = bed.ringfence.allowing(&[])?;
    let options = ["--project", text(&project)?];
    let read = ["sh", "-c", READ_ALL];
    let (sub, other) = (project.join("sub"), project.join("other"));
    // The copies of a run are written when its project has been looked through.
    let covers = bed.ringfence.state().join("workspace");
    let runs = || fs::read_dir(&covers).into_iter().flatten().flatten().map(|run| run.file_name());
    let earlier: HashSet<_> = runs().collect();
    let is_laid = || runs().any(|run| !earlier.contains(&run));
    let (stop, only_later) = (AtomicBool::new(false), AtomicBool::new(false));
    let (moving, starting) = std::thread::scope(|scope| -> Result<_> {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if !only_later.load(Ordering::Relaxed) || is_laid() {
                    // Two folders change places at once, as another agent can have it.
                    renameat2(AT_FDCWD, &sub, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE).ok();
                }
                let later = only_later.load(Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(if later { 3000 } else { 300 }));
            }
        });
        let run = || bed.ringfence.run(&policy, &options, &bed.images.tiny, &read);
        let moving: Vec<_> = (0..4).map(|_| run()).collect();
        only_later.store(true, Ordering::Relaxed);
        let mut starting = Vec::new();
        for _ in 0..12 {
            let outcome = run();
            let caught = outcome.as_ref().map_or(true, was_caught);
            starting.push(outcome);
            if caught {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        let whole = |outcomes: Vec<Result<Outcome>>| outcomes.into_iter().collect::<Result<Vec<_>>>();
        Ok((whole(moving)?, whole(starting)?))
    })?;
    for outcome in moving.iter().chain(&starting) {
        expect(matches!(outcome.status, 0 | 125), "it begins as it should or not at all", outcome)?;
        expect(!outcome.stdout.contains(SECRET), "nothing is given away", outcome)?;
        let nothing = outcome.status == 0 || !outcome.stdout.contains("==");
        expect(nothing, "no instruction of an agent ran that was refused", outcome)?;
    }
    let told = moving.iter().find(|outcome| outcome.stderr.contains("changed places meanwhile: "));
    let told = told.with_context(|| format!("no look was in vain: {}", moving[0].shown()))?;
    expect(told.status == 125 && told.stderr.contains("--unmask"), "what to do is said", told)?;
    ensure!(starting.iter().any(was_caught), "the first program never refused: {}", starting[0].shown());
    // The control: where nobody moves anything the agent begins.
    expect_status(&bed.ringfence.run(&policy, &options, &bed.images.tiny, &read)?, 0)
}

/// Tells whether the first program in the agent's container refused to begin the agent.
fn was_caught(outcome: &Outcome) -> bool {
    outcome.stderr.contains("ringfence: the agent was not started")
}
