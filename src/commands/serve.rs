//! `ringfence serve`: everything that can be checked before the socket is there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use netpolicy::policy::Policy;

use crate::cli::serve::ServeArgs;
use crate::commands::{gc, machine, policy, project};
use crate::doctor::known_holes::{self, KnownHoles};
use crate::doctor::require;
use crate::host::{open_files, state};
use crate::layers;

use crate::serve::rules::page;
use crate::serve::server::{self, ServeRequest, service_manager};
use crate::supervisor::engine::{Choice, Engine};
use crate::supervisor::mounts::nonce;
use crate::supervisor::signals::Signals;
use crate::supervisor::signals::interrupt::until_signal;
use crate::supervisor::spec::limits::Asked;
use crate::term::{COULD_NOT_RUN, Failure, Warning};
use crate::workspace::mounts;

/// Streams and ports of many containers.
const OPEN_FILES: u64 = 1 << 16;
/// A group of containers is ended after this time, unless anybody says otherwise.
const TIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// Serves until a signal comes.
pub(crate) async fn serve(engine_host: Option<&str>, args: ServeArgs) -> Result<u8, Failure> {
    if args.explain {
        return crate::term::print(&page::explanation()).map(|()| 0);
    }
    let handed = service_manager::handed()?;
    open_files::raise_limit(OPEN_FILES);
    state::is_usable()?;
    let choice = Choice::of(engine_host)?;
    let wanted = policy::wanted(&args.policy, None);
    let loaded = layers::load(&wanted)?;
    layers::warn(&loaded);
    check_policy(&loaded.policy)?;
    let machine = machine::with(&choice);
    let roots = roots(&args.projects, &machine)?;
    let limits = Asked {
        cpus: args.cpus,
        memory: args.memory,
        pids: args.pids,
        open_files: None,
        disk: None,
        time: Some(args.time.unwrap_or(TIME)),
    };
    let wishes = project::wishes(&loaded.policy);
    let mut signals = Signals::new()?;
    let engine = until_signal(&mut signals, ready(&choice, &loaded.policy, args.accept_known_holes)).await?;
    let socket = args.socket;
    let policy = loaded.policy;
    let named = named(&args.projects);
    let request = ServeRequest {
        engine,
        socket,
        handed,
        policy,
        layers: wanted,
        roots,
        named,
        limits,
        wishes,
        machine,
    };
    server::serve(request, &mut signals).await
}

/// Refuses what a policy wants and this command does not do.
fn check_policy(policy: &Policy) -> Result<(), Failure> {
    let container = &policy.container;
    let of = [
        (
            container.ca.is_some(),
            "container.ca",
            "authorities are given to the agent of `ringfence run` only",
        ),
        (container.runtime.is_some(), "container.runtime", "another runtime is for `ringfence run` only"),
    ];
    match of.into_iter().find(|(is_set, ..)| *is_set) {
        Some((_, key, why)) => Err(Failure::new(COULD_NOT_RUN, format!("{key} in the policy: {why}"))
            .hint("name a policy without it: ringfence serve --policy FILE")),
        None => Ok(()),
    }
}

/// Opens and checks the directories below which files are given.
fn roots(
    projects: &[PathBuf],
    machine: &crate::workspace::machine::Machine,
) -> Result<Vec<PathBuf>, Failure> {
    let root = |given: &PathBuf| mounts::project(given, "/workspace", machine).map(|bind| bind.source);
    let mut roots = projects.iter().map(root).collect::<Result<Vec<_>, _>>()?;
    roots.sort();
    roots.dedup();
    let within = |root: &Path| roots.iter().find(|other| *other != root && root.starts_with(other));
    match roots.iter().find_map(|root| Some((root, within(root)?))) {
        Some((root, other)) => {
            let what = format!("--project {}: it lies in {}", root.display(), other.display());
            Err(Failure::new(COULD_NOT_RUN, what).hint("name one of them"))
        }
        None => Ok(roots),
    }
}

/// Returns projects as programs beside this one name them: tools take the folder that they are in
/// from the shell, with the links by which the person came.
fn named(projects: &[PathBuf]) -> Vec<PathBuf> {
    let shells = std::env::var_os("PWD").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let of_shell = projects.iter().filter_map(|given| Some(shells.as_ref()?.join(given)));
    let absolute = projects.iter().filter_map(|given| std::path::absolute(given).ok());
    absolute.chain(of_shell).map(|path| path.components().collect()).collect()
}

/// Connects to the engine, and makes sure that it can be served with.
async fn ready(choice: &Choice, policy: &Policy, accepts_holes: bool) -> Result<Engine, Failure> {
    let engine = choice.connect().await?;
    engine.check_is_servable()?;
    if nonce::is_needed(engine.info.kernel_version.as_deref()) {
        let what = "the engine runs on another kernel than this program, and files cannot be proven there";
        return Err(Failure::new(COULD_NOT_RUN, what).hint("use `ringfence run` with this engine"));
    }
    check_holes(known_holes::of_engine(&engine), accepts_holes)?;
    gc::quietly(&engine).await;
    require::refuse_unmet(&engine, policy).await?;
    Ok(engine)
}

/// Refuses an engine with known holes, unless the person accepts them, and tells of what is
/// accepted or unknown. Clients of a socket choose mounts, images and working directories, by which
/// most of these holes are reached.
fn check_holes(holes: KnownHoles, are_accepted: bool) -> Result<(), Failure> {
    for unknown in holes.unknown {
        crate::term::warn(Warning::Noted(format!(
            "{unknown}. Whoever reaches the socket could use such a hole"
        )));
    }
    if holes.open.is_empty() {
        return Ok(());
    }
    if are_accepted {
        for open in &holes.open {
            crate::term::essential(format_args!(
                "--accept-known-holes: {open}: whoever reaches the socket can use that to reach this machine"
            ));
        }
        return Ok(());
    }
    let what = "the engine has known holes that whoever reaches the socket could use to reach this machine";
    let mut failure = Failure::new(COULD_NOT_RUN, what)
        .hint(format!("{}; or accept that: --accept-known-holes", holes.updates.join("; ")));
    failure.causes = holes.open;
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holes(open: &[&str]) -> KnownHoles {
        KnownHoles {
            open: open.iter().map(|part| (*part).to_owned()).collect(),
            updates: vec!["update runc to 1.3.7 or later".to_owned()],
            unknown: Vec::new(),
        }
    }

    #[test]
    fn known_holes_are_refused_unless_they_are_accepted() {
        let open = ["runc 1.1.15 has CVE-2025-31133"];
        let failure = check_holes(holes(&open), false).unwrap_err();
        assert_eq!(failure.causes, open);
        let hint = failure.hint.unwrap();
        assert!(hint.contains("1.3.7") && hint.contains("--accept-known-holes"), "{hint}");
        assert!(check_holes(holes(&open), true).is_ok());
        assert!(check_holes(holes(&[]), false).is_ok());
    }
}
