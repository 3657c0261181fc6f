//! The files of a run that are laid over the project's, in a private folder of ringfence's state.
//!
//! `workspace/ID/` holds them while workflow ID lives. They hold no secret: only what the agent may
//! read. Who removes the workflow from the engine removes them; what a killed supervisor left goes
//! with the next [`sweep`].

mod writer;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use self::writer::{ENGINE, MOVED, Own, Writer, make_folder, put};
use super::came_off::Covered;
use super::shared::{Guarded, GuardedFile, is_seen};
use super::snapshot::Mark;
use super::walk::MOST_COVERS;
use super::{Plan, git_settings, report};
use crate::host::state;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;
use crate::wire::init::InitPlace;
use crate::workspace::held;
use crate::workspace::mounts::{Bind, Identity};
use crate::workspace::worktree::{Mirror, REPOSITORY};

/// A run that is starting has its folder before its containers.
const YOUNG: Duration = Duration::from_secs(120);

/// A file or folder to be mounted read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Served {
    /// Path on this machine.
    pub(crate) source: PathBuf,
    /// The place in the container that it is laid over.
    pub(crate) target: String,
    /// Identity of the covered file when the cover was made, unless that file is ringfence's own.
    pub(crate) original: Option<Identity>,
}

/// Directories of this machine that the agent is given.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    /// Directories and files.
    pub(crate) binds: &'a [Bind],
    /// Path of the project in the container.
    pub(crate) workspace: &'a str,
    /// Place of a repository that lies outside the project.
    pub(crate) mirror: Option<&'a Mirror>,
    /// Files of ringfence's own, by place and text.
    pub(crate) own: &'a [(&'static str, String)],
    /// The program that waits for the covers, where there is one.
    pub(crate) init: Option<&'static [u8]>,
}

/// Covers of one run, laid over the files that its agent is given.
#[derive(Debug, Default)]
pub(crate) struct Laying {
    /// The mounts that lay the covers.
    pub(crate) served: Vec<Served>,
    /// Places in the agent's container that are covered.
    pub(crate) places: Vec<String>,
    /// Warnings about other runs on the same files.
    pub(crate) told: Vec<String>,
    /// Place of the agent's first program, where that is ringfence's own and waits for the covers.
    pub(crate) by_init: Option<InitPlace>,
    /// Covered files, to be watched while the agent works.
    pub(crate) covered: Arc<Covered>,
}

/// Writes down what is laid over the files of workflow `id`, in the project and wherever else the
/// agent would find them.
pub(crate) fn serve(
    plans: &[Plan],
    given: Given<'_>,
    id: WorkflowId,
    engine: &str,
) -> Result<Laying, Failure> {
    if given.binds.is_empty() && given.own.is_empty() {
        return Ok(Laying::default());
    }
    let folders = state::folder("workspace")?;
    let folder = folders.join(id.to_string());
    let roots = plans.iter().map(|plan| root_of(plan, given)).collect::<Result<Vec<_>, _>>()?;
    let mut writer = Writer {
        plans,
        roots,
        at: 0,
        folder: folder.clone(),
        copied: 0,
        bytes: 0,
        guarded: Guarded::default(),
    };
    let laid = writer.write(engine).and_then(|own| {
        writer.guarded.write(&folder, given.binds)?;
        let told = writer.guarded.add_others(&folders, id)?;
        Ok((own, told))
    });
    let laid = match laid {
        Err(error) => {
            let what = match plans.first() {
                Some(plan) => format!("cannot prepare what the agent may see of {}", plan.project.display()),
                None => "cannot prepare what the agent may see of what is mounted".to_owned(),
            };
            Err(Failure::new(COULD_NOT_RUN, what).caused_by(&error))
        }
        Ok((own, told)) => lay(&writer, own, told, given),
    };
    if laid.is_err() {
        // What was written is of no use; what cannot be removed now is removed by the next sweep.
        let _ = fs::remove_dir_all(&folder);
    }
    laid
}

/// Opens the project that was looked through, if it is the one that the agent gets.
fn root_of(plan: &Plan, given: Given<'_>) -> Result<OwnedFd, Failure> {
    let opened = held::open(&plan.project).and_then(held::reopen_directory);
    let found = opened.and_then(|opened| {
        let now = Mark::of(&rustix::fs::fstat(&opened)?);
        let bind = given.binds.iter().find(|bind| bind.source == plan.project);
        let same = plan.root.is_some_and(|was| was.still(&now))
            && bind.is_none_or(|bind| bind.identity == now.identity);
        if same { Ok(opened) } else { Err(std::io::Error::other(MOVED)) }
    });
    found.map_err(|error| {
        Failure::new(
            COULD_NOT_RUN,
            format!("{} was looked through and cannot be covered", plan.project.display()),
        )
        .caused_by(&error)
        .hint("stop other programs and agents that are at work there, then try again")
    })
}

/// Finds the place of every cover.
fn lay(
    writer: &Writer<'_>,
    own: Vec<Own<'_>>,
    mut told: Vec<String>,
    given: Given<'_>,
) -> Result<Laying, Failure> {
    let mount_of = |plan: &Plan| given.binds.iter().find(|bind| bind.source == plan.project);
    let by_path: HashMap<&Path, Identity> =
        writer.guarded.0.iter().map(|(identity, laid)| (&*laid.path, *identity)).collect();
    let mut all: BTreeMap<String, (PathBuf, Option<Identity>)> = BTreeMap::new();
    // A mount over a place in another one hides it, and is checked by its identity before the agent
    // begins. A place in memory has none: a link could lead it elsewhere while an engine mounts, so
    // covers are laid in it too.
    let targets: Vec<&str> = given.binds.iter().map(|bind| &*bind.target).collect();
    for Own { plan, below, source } in own {
        let Some(bind) = mount_of(plan) else { continue };
        let original = by_path.get(&*plan.project.join(&below)).copied();
        let target = format!("{}/{}", bind.target, below.display());
        if is_seen(&target, &bind.target, &targets) {
            all.insert(target, (source, original));
        }
    }
    // A look at one directory finds every name in it of what it covers. It knows nothing of what
    // the look at another one covers, and the same file may be in both: by a mount around the
    // project, or by a second name.
    let alone = writer.plans.iter().all(|plan| !plan.is_mount() || plan.covers.is_empty());
    let own = writer.plans.iter().filter(|plan| alone && !plan.is_mount());
    let known: Vec<&Bind> = own.filter_map(mount_of).collect();
    let places = writer.guarded.places(given.binds, &known)?;
    let mut of_others = Vec::new();
    let mut watched: Vec<(PathBuf, PathBuf)> = Vec::new();
    for GuardedFile { target, of, path, identity } in places {
        let Some(laid) = writer.guarded.0.get(&identity) else { continue };
        if !is_seen(&target, &of, &targets) {
            continue;
        }
        let source = writer.copy_of(laid, identity).map_err(|error| {
            let what = format!("cannot prepare what the agent may see at {target}");
            Failure::new(COULD_NOT_RUN, what).caused_by(&error)
        })?;
        if let Some(id) = laid.of {
            of_others.push(format!("{} ({id})", report::shown(&path)));
            watched.push((path.clone(), path));
        }
        all.insert(target, (source, Some(identity)));
    }
    if !of_others.is_empty() {
        told.push(format!(
            "covered here too, as in another workflow that works on the same files: {}",
            report::few(of_others)
        ));
    }
    let mut served: Vec<Served> = Vec::new();
    for (target, (source, original)) in all {
        // A folder's copy holds what is in it.
        let inside = |one: &Served| one.source.is_dir() && Path::new(&target).starts_with(&one.target);
        if !served.iter().any(inside) {
            served.push(Served { source, target, original });
        }
    }
    if served.len() > MOST_COVERS {
        let what = format!("{} files would have to be covered, more than {MOST_COVERS}", served.len());
        return Err(Failure::new(COULD_NOT_RUN, what).hint("mount less of what is covered"));
    }
    let places = served.iter().map(|cover| cover.target.clone()).collect();
    if let Some(mirror) = given.mirror {
        // Beneath what is mounted in it, and no copy of anything.
        let source = writer.folder.join("repository");
        mirror_into(&source, mirror, given.workspace).map_err(|error| cannot("make", &source, &error))?;
        served.push(Served { source, target: REPOSITORY.to_owned(), original: None });
    }
    let mut by_init = None;
    if let Some(program) = given.init.filter(|_| !served.is_empty()) {
        let source = writer.folder.join("init");
        put(&source, program, 0o555).map_err(|error| cannot("write", &source, &error))?;
        let place = InitPlace::random().map_err(|error| cannot("draw a place for", &source, &error))?;
        served.push(Served { source, target: place.program().to_owned(), original: None });
        by_init = Some(place);
    }
    for (number, (target, text)) in given.own.iter().enumerate() {
        let source = writer.folder.join(format!("own-{number}"));
        put(&source, text.as_bytes(), 0o444).map_err(|error| cannot("write", &source, &error))?;
        served.push(Served { source, target: (*target).to_owned(), original: None });
    }
    if let Some(for_git) = git_settings::for_git(writer.plans) {
        let source = writer.folder.join("git");
        make_folder(&source).map_err(|error| cannot("make", &source, &error))?;
        for (name, text) in for_git.files {
            let file = source.join(name);
            put(&file, &text, 0o444).map_err(|error| cannot("write", &file, &error))?;
        }
        served.push(Served { source, target: git_settings::FOLDER.to_owned(), original: None });
    }
    let covered = Arc::new(Covered::of(writer.plans, watched));
    Ok(Laying { served, places, told, by_init, covered })
}

/// Removes the files of workflow `id`, if there are any.
pub(crate) fn close(id: WorkflowId) -> Result<(), Failure> {
    remove(&state::folder("workspace")?.join(id.to_string()))
}

/// Lets other runs be held to the covers of workflow `id` no more. The covers stay, for a container
/// that has them and does not run.
pub(crate) fn let_go(id: WorkflowId) -> Result<(), Failure> {
    super::shared::forget(&state::folder("workspace")?.join(id.to_string())).map_err(|error| {
        Failure::new(COULD_NOT_RUN, format!("cannot let go of the covers of {id}")).caused_by(&error)
    })
}

/// Removes the files of workflows that are no longer on their engine.
pub(crate) fn sweep(engine: &str, living: &[WorkflowId]) -> Result<(), Failure> {
    let folder = state::folder("workspace")?;
    let listed = fs::read_dir(&folder).map_err(|error| cannot("list", &folder, &error))?;
    for entry in listed.flatten() {
        let path = entry.path();
        // What has another name was not put here by a run.
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let of_this_engine = fs::read_to_string(path.join(ENGINE)).is_ok_and(|name| name == engine);
        let age = entry.metadata().and_then(|meta| meta.modified()).ok();
        let old =
            age.and_then(|time| SystemTime::now().duration_since(time).ok()).is_some_and(|age| age > YOUNG);
        if of_this_engine && old && !living.contains(&id) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(cannot("remove", folder, &error)),
        _ => Ok(()),
    }
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot {what} {}", path.display())).caused_by(error)
}

/// Makes the folder with the way to a repository, and the link to its working tree.
fn mirror_into(folder: &Path, mirror: &Mirror, workspace: &str) -> std::io::Result<()> {
    make_folder(folder)?;
    let make = |below: &Path| {
        let mut at = folder.to_owned();
        for part in below {
            at.push(part);
            if !at.is_dir() {
                make_folder(&at)?;
            }
        }
        std::io::Result::Ok(())
    };
    make(&mirror.git)?;
    make(mirror.tree.parent().unwrap_or(Path::new("")))?;
    std::os::unix::fs::symlink(workspace, folder.join(&mirror.tree))
}

#[cfg(test)]
mod tests;
