//! Volumes that the engine fills from an image while `ringfence serve` waits, or is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use integration::command::until;
use integration::testbed::Testbed;

use crate::Test;
use crate::leftovers::only_the_uplink;
use crate::serve::{SOON, Served};
use crate::serve_starts::image_with;

pub(crate) const TESTS: &[Test] = &[(
    "what the engine goes on filling after a kill of serve is given to nobody until it has ended",
    killed,
)];

/// Files of the image's directory: the engine needs seconds for them.
const FILES: usize = 40_000;

/// Counts the files of a volume, by its place on this machine.
fn files_in(volume: &Path) -> usize {
    fs::read_dir(volume).map_or(0, Iterator::count)
}

/// Returns the place of a volume on this machine, once it is there.
fn place(bed: &Testbed, volume: &str) -> Result<PathBuf> {
    let ask = ["volume", "inspect", "--format", "{{.Mountpoint}}", volume];
    until("the volume is there", SOON, || bed.engine.docker(&ask).is_ok())?;
    Ok(PathBuf::from(bed.engine.docker(&ask)?.trim()))
}

fn killed(bed: &Testbed) -> Result<()> {
    let script = format!("mkdir /data; cd /data; seq {FILES} | xargs touch");
    let image = image_with(bed, "fills", &script, None)?;
    let checked = killed_with(bed, &image);
    bed.engine.docker(&["rmi", "--force", &image])?;
    checked?;
    only_the_uplink(bed)
}

fn killed_with(bed: &Testbed, image: &str) -> Result<()> {
    let served = Served::start(bed, "fills", &[], None)?;
    let agent = bed.images.agent.as_str();
    served.docker(&["volume", "create", "other"])?;
    served.docker(&["volume", "create", "goes"])?;
    served.docker(&["network", "create", "group"])?;
    served.docker(&["create", "--name", "old", "--network", "group", "-v", "/v", agent, "true"])?;
    let host = format!("unix://{}", served.socket.display());
    let mut filling = Command::new("docker");
    filling.args(["-H", &host, "create", "--name", "fills", "--network", "group"]);
    filling.args(["-v", "full:/data", image, "true"]);
    let mut filling = filling.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let full = place(bed, "full")?;
    until("the engine fills it", SOON, || files_in(&full) > 0)?;
    // A creation that takes long holds up no removal, not in its own group either.
    served.docker(&["volume", "rm", "goes"])?;
    served.docker(&["rm", "--volumes", "old"])?;
    let refused = served.try_docker(&["volume", "rm", "full"])?;
    ensure!(refused.stderr.contains("is being given"), "it is held: {refused:?}");
    ensure!(filling.try_wait()?.is_none(), "the engine had not answered yet");
    // A drop kills it.
    drop(served);
    let (done, there) = (filling.wait()?, files_in(&full));
    ensure!(!done.success() && there < FILES, "serve was killed in the middle: {done:?}, {there} files");
    let served = Served::start(bed, "fills", &[], None)?;
    let held = |served: &Served, words: &[&str]| {
        let refused = served.try_docker(words)?;
        let said = !refused.status.success() && refused.stderr.contains("nobody saw the end");
        ensure!(said, "{words:?}: {refused:?}");
        Ok(())
    };
    held(&served, &["run", "--rm", "-v", "full:/v", agent, "true"])?;
    ensure!(served.said().contains("full"), "the person is told: {}", served.said());
    held(&served, &["volume", "rm", "full"])?;
    // The control: another one is given, and the engine went on as root.
    ensure!(served.docker(&["run", "--rm", "-v", "other:/v", agent, "echo", "given"])? == "given\n", "given");
    until("the engine fills the rest", SOON * 2, || files_in(&full) == FILES)?;
    held(&served, &["run", "--rm", "-v", "full:/v", agent, "true"])?;
    let made = ["ps", "--all", "--quiet", "--filter", "name=-member-fills$"];
    until("its container is there", SOON, || bed.engine.docker(&made).is_ok_and(|made| !made.is_empty()))?;
    served.end()?;
    // An engine has a container in no list before it has filled its volumes. The next serve finds
    // this one, and its volume is one of those that somebody had: given, and not filled again.
    let served = Served::start(bed, "fills", &[], None)?;
    ensure!(!served.said().contains("may still be filling"), "nothing is left: {}", served.said());
    let script = "ls /v | wc -l; rm -rf /v/*";
    let counted = served.docker(&["run", "--rm", "-v", "full:/v", agent, "sh", "-c", script])?;
    ensure!(counted.trim() == FILES.to_string(), "all of it is there: {counted}");
    served.docker(&["rm", "fills"])?;
    let listed = served.docker(&["run", "--rm", "-v", "full:/data", image, "ls", "/data"])?;
    ensure!(listed.is_empty(), "it is not filled again: {listed}");
    served.docker(&["volume", "rm", "full", "other"])?;
    served.docker(&["network", "rm", "group"])?;
    served.end()
}
