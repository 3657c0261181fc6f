//! The files of this machine that the agent is given: the project, mounts, its repository; and
//! places in memory.

use std::os::fd::AsFd;
use std::path::Path;

use crate::cli::run::RunArgs;
use crate::commands::machine;
use crate::host::{programs, territory};
use crate::supervisor::engine::Choice;
use crate::supervisor::spec::places::WORKSPACE;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::workspace::machine::Machine;
use crate::workspace::masks::GivenMounts;
use crate::workspace::mounts::{self, Bind};
use crate::workspace::repository;
use crate::workspace::survey::Survey;
use crate::workspace::worktree::{self, REPOSITORY, Worktree};

/// The files that the agent is given.
pub(crate) struct Files {
    /// Directories and files, the project first.
    pub(crate) binds: Vec<Bind>,
    /// Number of the binds that are the project and its repository.
    own: usize,
    /// Places in memory.
    pub(crate) tmpfs: Vec<String>,
    /// The project's owner, as `UID:GID`, unless that is root.
    pub(crate) owner: Option<String>,
    /// The project as a working tree whose repository lies elsewhere.
    pub(crate) worktree: Option<Worktree>,
}

impl Files {
    /// Opens and checks everything that the command line names, and tells what a person should know
    /// of it.
    ///
    /// # Errors
    /// When something cannot be opened, or is not given to an agent.
    pub(crate) fn gather(engine: &Choice, args: &RunArgs) -> Result<Files, Failure> {
        let machine = machine::with(engine);
        let project = args.project.as_deref();
        let project = project.map(|given| mounts::project(given, WORKSPACE, &machine)).transpose()?;
        project.iter().try_for_each(count_as_agents)?;
        let worktree = project.as_ref().filter(|_| args.worktree);
        let worktree = worktree.map(|project| Worktree::of(project, &machine)).transpose()?;
        let owner = project.as_ref().map(|project| project.owner).filter(|(user, _)| *user != 0);
        let root = worktree.as_ref().map(|worktree| worktree.root.clone()).or_else(|| project.clone());
        let mut binds = own_binds(project, worktree.as_ref())?;
        let own = binds.len();
        binds.extend(mounts(args, root.as_ref(), worktree.is_some(), &machine)?);
        let memory = args.tmpfs.iter().map(|target| mounts::memory_target(target, root.as_ref()));
        let tmpfs = memory.collect::<Result<Vec<_>, _>>()?;
        mounts::all_differ(&binds, &tmpfs)?;
        for bind in binds.iter().filter(|bind| bind.directory) {
            survey(bind, &machine, worktree.is_some())?;
        }
        // Before the first of the person's own programs is asked for something.
        programs::keep_from(binds.iter().map(|bind| bind.source.clone()));
        Ok(Files { binds, own, tmpfs, worktree, owner: owner.map(|(user, group)| format!("{user}:{group}")) })
    }

    /// Returns the directory that is mounted as the project.
    pub(crate) fn project(&self) -> Option<&Bind> {
        self.binds.iter().find(|bind| bind.target == WORKSPACE)
    }

    /// Returns what is given, the project apart from other mounts.
    pub(crate) fn given(&self) -> GivenMounts<'_> {
        let (own, others) = self.binds.split_at(self.own.min(self.binds.len()));
        GivenMounts { own, others }
    }

    /// Returns the folder that the person named as the project: with a repository around it, a part
    /// of what is mounted.
    pub(crate) fn folder(&self) -> Option<&Path> {
        let part = self.worktree.as_ref().and_then(|worktree| worktree.part.as_ref());
        part.or(self.project()).map(|bind| bind.source.as_path())
    }
}

/// Returns the mounts of the project and of its repository.
fn own_binds(project: Option<Bind>, worktree: Option<&Worktree>) -> Result<Vec<Bind>, Failure> {
    let Some(worktree) = worktree else { return Ok(project.into_iter().collect()) };
    let binds = worktree.binds();
    binds.iter().try_for_each(count_as_agents)?;
    crate::term::talk(format_args!("{}", worktree.told));
    Ok(binds)
}

/// Returns the mounts of `--mount`. `root`: the directory that is mounted as the project.
fn mounts(
    args: &RunArgs,
    root: Option<&Bind>,
    has_repository: bool,
    machine: &Machine,
) -> Result<Vec<Bind>, Failure> {
    let mut binds = Vec::new();
    for given in &args.mounts {
        let bind = mounts::mount(given, root, machine)?;
        if has_repository && worktree::is_below_repository(&bind.target) {
            let what = format!("--mount {given}: {REPOSITORY} is where the repository is");
            return Err(Failure::new(COULD_NOT_RUN, what).hint("choose another place in the container"));
        }
        count_as_agents(&bind)?;
        binds.push(bind);
    }
    Ok(binds)
}

/// Counts a directory as the agent's: from here on no link in it is followed that leads to another
/// file of the command line.
fn count_as_agents(bind: &Bind) -> Result<(), Failure> {
    let given = bind.given().map_err(|error| {
        Failure::new(COULD_NOT_RUN, format!("cannot look at {}", bind.source.display())).caused_by(&error)
    })?;
    given.into_iter().for_each(territory::add);
    Ok(())
}

/// Tells what is in a directory that a person should know of. The engine's socket in it ends the
/// run.
fn survey(bind: &Bind, machine: &Machine, worktree: bool) -> Result<(), Failure> {
    let survey = bind
        .reopen()
        .and_then(|opened| Survey::of(opened, &bind.source, &machine.sockets))
        .map_err(|error| {
            Failure::new(COULD_NOT_RUN, format!("cannot look through {}", bind.source.display()))
                .caused_by(&error)
        })?;
    if let Some(socket) = &survey.engine_socket {
        let what =
            format!("{} in {} is the container engine's socket", socket.display(), bind.source.display());
        return Err(Failure::new(COULD_NOT_RUN, what)
            .hint("this socket controls the machine: move it out of the mounted directory"));
    }
    survey.warnings(&bind.source).into_iter().for_each(crate::term::warn);
    let root = bind.reopen().ok().filter(|_| bind.target == WORKSPACE && !worktree);
    if let Some(why) = root.and_then(|root| repository::outside(root.as_fd(), &bind.source)) {
        crate::term::talk(why);
    }
    Ok(())
}
