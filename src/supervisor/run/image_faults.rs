//! Faults between an image and the user that the agent is, told where the engine itself starts the
//! agent. Elsewhere ringfence's first program tells them (`src/inside/init/refusal.rs`), in the
//! same words.
//!
//! ```text
//!  agent's container, created and not started: HOME ─▶ may the user write it? ─▶ a warning
//!  status 126 or 127: the program's places ─▶ none there? below a folder that the user may not enter? ─▶ hint, or warning
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::query_parameters::{ContainerArchiveInfoOptions, DownloadFromContainerOptions};
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::prepared::RunPlan;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::spec::agent::AgentSpec;
use crate::supervisor::spec::workflow::Role;
use crate::term::{Failure, Warning};

/// The engine says what a path is within this time. It is a matter of words alone.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an archive in which its first entry is.
const FIRST: usize = 4 << 10;
/// Places of one program that are looked at. With more nobody says that it is in none.
const PLACES: usize = 32;
/// The words for a program that is nowhere.
const LACKING: &str = "the image has no such program on its PATH: install it in the image's Dockerfile";

/// Owner and mode of a folder in the agent's image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Folder {
    owner: u64,
    mode: u32,
}

impl Folder {
    /// Tells whether a user may do something in it, as far as owner and mode say it. Groups are
    /// given the benefit of the doubt.
    fn is_open(self, uid: u32, right: u32) -> bool {
        let group_or_others = right << 3 | right;
        let is_owner = self.owner == u64::from(uid) && self.mode & right << 6 != 0;
        uid == 0 || is_owner || self.mode & group_or_others != 0
    }
}

/// Warns of a home that the agent's user (`UID` or `UID:GID`) cannot write, in a container that is
/// not started yet.
pub(super) async fn warn_of_home(plan: &RunPlan, user: Option<&str>) {
    let agent = &plan.agent;
    let (Some(uid), Some(home)) = (number(user), variable(agent, "HOME")) else { return };
    if agent.by_init.is_some() || agent.home.is_some() || home == "/" || is_mounted_over(agent, home) {
        return;
    }
    let container = plan.workflow.object(Role::Agent);
    let found = folder(&plan.engine, &container, Path::new(home)).await;
    if found.is_some_and(|found| !found.is_open(uid, 0o2)) {
        crate::term::warn(Warning::HomeNotWritable { uid, home: home.to_owned() });
    }
}

/// Gives the failure of a start the remedy, where the image and the user are the reason.
pub(super) async fn explain(plan: &RunPlan, user: Option<&str>, failure: &mut Failure) {
    if let Some(remedy) = remedy(plan, user, failure.exit.into()).await {
        failure.hint = Some(remedy);
    }
}

/// Warns of a program that could not be started, which the engine's init tells by its status alone.
pub(super) async fn warn_of_program(plan: &RunPlan, user: Option<&str>, status: i32) {
    if let Some(remedy) = remedy(plan, user, status).await {
        crate::term::warn(Warning::Noted(remedy));
    }
}

/// Says what to do about a program that could not be started with this status. A program that ends
/// with it by itself is there, and can be reached.
async fn remedy(plan: &RunPlan, user: Option<&str>, status: i32) -> Option<String> {
    let agent = &plan.agent;
    if agent.by_init.is_some() || !matches!(status, 126 | 127) {
        return None;
    }
    let container = plan.workflow.object(Role::Agent);
    let places = places(program(agent)?, variable(agent, "PATH"));
    let (mut lacks_it, mut closed) = (status == 127 && !places.is_empty(), None);
    for place in places {
        let is_there = is_there(&plan.engine, &container, &place).await;
        lacks_it &= is_there == Some(false);
        if is_there != Some(true) {
            continue;
        }
        let uid = number(user)?;
        // The search along the PATH goes on behind a closed folder.
        let above = closed_above(&plan.engine, &container, &place, uid).await?;
        closed.get_or_insert_with(|| closed_folder(uid, &above));
    }
    closed.or_else(|| lacks_it.then(|| LACKING.to_owned()))
}

/// The words for a program below a folder that its user may not enter.
fn closed_folder(uid: u32, folder: &Path) -> String {
    format!(
        "user {uid} may not enter {}: install the program where every user can read it, such as /usr/local/bin, \
         or give --user root",
        folder.display()
    )
}

fn number(user: Option<&str>) -> Option<u32> {
    user?.split(':').next()?.parse().ok().filter(|uid| *uid != 0)
}

/// Returns a variable of the agent: the one that was given, else the image's.
fn variable<'a>(agent: &'a AgentSpec, name: &str) -> Option<&'a str> {
    let of = |env: &'a [String]| {
        let pairs = env.iter().rev().filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    };
    of(&agent.env).or_else(|| of(&agent.image.env))
}

/// Returns the first word of what the engine starts.
fn program(agent: &AgentSpec) -> Option<&str> {
    let entrypoint = agent.entrypoint.as_deref().or(agent.image.entrypoint.first().map(String::as_str));
    let command = agent.command.first().or(agent.image.command.first()).map(String::as_str);
    entrypoint.filter(|word| !word.is_empty()).or(command)
}

/// Lists the places where a program is looked for.
fn places(program: &str, path: Option<&str>) -> Vec<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|place| place.is_absolute()).into_iter().collect();
    }
    let folders: Vec<&Path> = path.unwrap_or_default().split(':').map(Path::new).collect();
    // A folder that is named from the working directory is not looked for.
    match folders.len() <= PLACES && folders.iter().all(|folder| folder.is_absolute()) {
        true => folders.into_iter().map(|folder| folder.join(program)).collect(),
        false => Vec::new(),
    }
}

/// Tells whether something is mounted at a folder, above or below it: the image's own owner and
/// mode then say nothing.
fn is_mounted_over(agent: &AgentSpec, folder: &str) -> bool {
    let memory = agent.surface.places_in_memory();
    let binds = agent.binds.all.iter().map(|bind| &*bind.target);
    let mut all = binds.chain(agent.data.iter().map(|at| &**at)).chain(memory.iter().map(|at| &**at));
    let folder = Path::new(folder);
    all.any(|at| folder.starts_with(at) || Path::new(at).starts_with(folder))
}

/// Finds the first folder on the way to a place that a user may not enter.
async fn closed_above(engine: &Engine, container: &str, place: &Path, uid: u32) -> Option<PathBuf> {
    let mut above: Vec<&Path> = place.ancestors().skip(1).filter(|at| *at != Path::new("/")).collect();
    above.reverse();
    for at in above {
        if folder(engine, container, at).await.is_some_and(|found| !found.is_open(uid, 0o1)) {
            return Some(at.to_owned());
        }
    }
    None
}

/// Tells whether something is at a place; none where nobody can tell.
async fn is_there(engine: &Engine, container: &str, place: &Path) -> Option<bool> {
    let options = ContainerArchiveInfoOptions { path: place.display().to_string() };
    match timeout(PATIENCE, engine.api.get_container_archive_info(container, Some(options))).await.ok()? {
        Ok(_) => Some(true),
        Err(error) if engine::is_missing(&error) => Some(false),
        Err(_) => None,
    }
}

/// Asks for a folder: the first entry of the engine's archive of it. What comes behind is not
/// taken.
async fn folder(engine: &Engine, container: &str, path: &Path) -> Option<Folder> {
    let options = DownloadFromContainerOptions { path: path.display().to_string() };
    let mut chunks = engine.api.download_from_container(container, Some(options)).boxed();
    let begun = async {
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().await {
            bytes.extend_from_slice(&chunk.ok()?);
            if bytes.len() >= FIRST {
                break;
            }
        }
        Some(bytes)
    };
    first_folder(&timeout(PATIENCE, begun).await.ok()??)
}

/// Reads the first entry of an archive that may break off behind it; none where it is no folder.
fn first_folder(archive: &[u8]) -> Option<Folder> {
    let mut archive = tar::Archive::new(archive);
    let entry = archive.entries().ok()?.next()?.ok()?;
    let header = entry.header();
    (header.entry_type() == tar::EntryType::Directory).then_some(())?;
    Some(Folder { owner: header.uid().ok()?, mode: header.mode().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_from_the_beginning_of_an_archive() {
        let mut tar = tar::Builder::new(Vec::new());
        for (kind, name) in [(tar::EntryType::Directory, "root/"), (tar::EntryType::Regular, "root/large")] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o700);
            header.set_uid(7);
            header.set_size(0);
            tar.append_data(&mut header, name, std::io::empty()).unwrap();
        }
        let archive = tar.into_inner().unwrap();
        assert_eq!(first_folder(&archive[..512]), Some(Folder { owner: 7, mode: 0o700 }));
        assert_eq!(first_folder(&archive[512..]), None, "a file");
        assert_eq!(first_folder(&archive[..100]), None);
    }

    #[test]
    fn a_folder_is_open_to_its_owner_to_others_and_to_root() {
        let folder = |owner, mode| Folder { owner, mode };
        for (found, uid, is_open) in [
            (folder(0, 0o700), 1000, false),
            (folder(0, 0o700), 0, true),
            (folder(1000, 0o700), 1000, true),
            (folder(1000, 0o600), 1000, false),
            (folder(0, 0o711), 1000, true),
            (folder(0, 0o710), 1000, true),
        ] {
            assert_eq!(found.is_open(uid, 0o1), is_open, "{found:?} {uid}");
        }
    }

    #[test]
    fn a_program_is_looked_for_along_the_path() {
        let found = |program, path| places(program, path);
        assert_eq!(found("agent", Some("/usr/bin:/root/bin")).len(), 2);
        assert!(
            found("agent", Some("/usr/bin:bin")).is_empty() && found("agent", Some("/usr/bin:")).is_empty()
        );
        assert_eq!(found("/root/agent", Some("/usr/bin")), [PathBuf::from("/root/agent")]);
        assert!(found("./agent", Some("/usr/bin")).is_empty() && found("agent", None).is_empty());
    }

    #[test]
    fn the_words_are_those_of_the_first_program() {
        let source = include_str!("../../inside/init/refusal.rs");
        let joined = source.split("\\\n").map(str::trim_start).collect::<String>();
        let says =
            closed_folder(7, Path::new("/root")).replace("/root", "{}").replace("user 7", "user {uid}");
        assert!(joined.contains(&says), "{says}");
        let home = Warning::HomeNotWritable { uid: 7, home: "/root".to_owned() }.to_string();
        let home = home.replace("/root", "{}").replace("user 7", "user {uid}");
        assert!(joined.contains(&home), "{home}");
        assert!(joined.contains(LACKING));
    }
}
