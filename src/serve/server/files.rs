//! This machine's files on their way to a member: checked, looked through and covered as those of
//! a run.
//!
//! ```text
//!  BindAsk ─▶ Bind (no link on its way, below a root) ─▶ look for secrets ─▶ covers in workspace/ID
//!  each start: the same again; what is covered now must be covered in the container too
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::territory;
use crate::serve::text::line;
use crate::supervisor::spec::places::WORKSPACE;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;
use crate::wire::handover::Cover;
use crate::workspace::machine::Machine;
use crate::workspace::masks::{self, GivenMounts, Laying, Plan, Wishes};
use crate::workspace::mounts::{self, Bind};
use crate::workspace::survey::Survey;

/// The most warnings about the files of one container.
const MOST_WARNINGS: usize = 20;

/// A file or directory that a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BindAsk {
    /// Path on this machine, without links.
    pub(crate) source: PathBuf,
    /// Place in the container.
    pub(crate) target: String,
    /// Set when the container may write it.
    pub(crate) writable: bool,
}

/// Facts that every look needs.
#[derive(Debug)]
pub(crate) struct Ground {
    /// Directories below which files are given.
    pub(crate) roots: Vec<PathBuf>,
    /// The policy's wishes about covers.
    pub(crate) wishes: Wishes,
    /// This machine.
    pub(crate) machine: Machine,
    /// Address of the engine.
    pub(crate) engine: String,
}

/// Files that were looked through.
#[derive(Debug)]
pub(crate) struct LookedFiles {
    /// Mounts.
    pub(crate) binds: Vec<Bind>,
    /// The looks.
    pub(crate) plans: Vec<Plan>,
    /// Covers over them.
    pub(crate) laying: Laying,
    /// Warnings for the client.
    pub(crate) warnings: Vec<String>,
}

/// Looks at files beside everything else, and keeps their covers under `id`.
///
/// # Errors
/// When one is not to be given.
pub(crate) async fn look(
    ground: &Arc<Ground>,
    asked: Vec<BindAsk>,
    memory: Vec<String>,
    id: WorkflowId,
) -> Result<LookedFiles, Failure> {
    let ground = Arc::clone(ground);
    let looking = tokio::task::spawn_blocking(move || look_now(&ground, &asked, &memory, id));
    looking.await.unwrap_or_else(|_| Err(Failure::new(COULD_NOT_RUN, "the look at the files was ended")))
}

fn look_now(
    ground: &Ground,
    asked: &[BindAsk],
    memory: &[String],
    id: WorkflowId,
) -> Result<LookedFiles, Failure> {
    let mut warnings = Vec::new();
    let binds = asked.iter().map(|ask| ground.bind(ask, &mut warnings)).collect::<Result<Vec<_>, _>>()?;
    mounts::all_differ(&binds, memory)?;
    remember(&binds)?;
    let is_root = |bind: &&Bind| ground.roots.contains(&bind.source);
    let (own, others): (Vec<Bind>, Vec<Bind>) = (
        binds.iter().filter(is_root).cloned().collect(),
        binds.iter().filter(|bind| !is_root(bind)).cloned().collect(),
    );
    let mut plans: Vec<Plan> = Vec::new();
    for bind in &own {
        if !plans.iter().any(|plan| plan.project == bind.source) {
            plans.push(masks::plan(&bind.source, &ground.wishes)?);
        }
    }
    plans.extend(masks::plan_mounts(GivenMounts { own: &own, others: &others }, &ground.wishes, &[])?);
    let given = masks::Given { binds: &binds, workspace: WORKSPACE, mirror: None, own: &[], init: None };
    let laying = masks::serve(&plans, given, id, &ground.engine)?;
    warnings.extend(laying.told.iter().cloned());
    let warnings =
        warnings.iter().map(|words| line(&format!("ringfence: {words}"))).take(MOST_WARNINGS).collect();
    Ok(LookedFiles { binds, plans, laying, warnings })
}

impl Ground {
    /// Opens what a client asks for, and checks it.
    fn bind(&self, ask: &BindAsk, warnings: &mut Vec<String>) -> Result<Bind, Failure> {
        let bind = mounts::of_client(&ask.source, &ask.target, ask.writable, &self.machine)?;
        let shown = bind.source.display();
        if !self.roots.iter().any(|root| bind.source.starts_with(root)) {
            let what = format!("{shown} lies below no project of this socket");
            return Err(Failure::new(COULD_NOT_RUN, what).hint("name it: ringfence serve --project DIR"));
        }
        if bind.directory {
            let survey =
                bind.reopen().and_then(|opened| Survey::of(opened, &bind.source, &self.machine.sockets));
            let survey = survey.map_err(|error| {
                Failure::new(COULD_NOT_RUN, format!("cannot look through {shown}")).caused_by(&error)
            })?;
            warnings.extend(survey.warnings(&bind.source).iter().map(ToString::to_string));
            if let Some(socket) = survey.engine_socket {
                let what = format!("{} in {shown} is a container engine's socket", socket.display());
                return Err(Failure::new(COULD_NOT_RUN, what).hint("move it out of the project"));
            }
        }
        Ok(bind)
    }
}

/// Writes down what a container will be able to write: no later run follows a link that it left
/// there.
fn remember(binds: &[Bind]) -> Result<(), Failure> {
    let given: std::io::Result<Vec<_>> = binds.iter().filter_map(|bind| bind.given().transpose()).collect();
    given.and_then(|given| territory::record(&given)).map_err(|error| {
        Failure::new(COULD_NOT_RUN, "cannot write down what the container is given").caused_by(&error)
    })
}

impl LookedFiles {
    /// Returns what the container's first program must find: its mounts, and the covers that its
    /// container was made with.
    ///
    /// # Errors
    /// When a cover is gone from this machine.
    pub(crate) fn expected(&self, laid: &[(PathBuf, String)]) -> Result<Vec<Cover>, Failure> {
        use std::os::unix::fs::MetadataExt as _;
        let roots = self.binds.iter().map(|bind| {
            let (device, inode) = (bind.identity.device, bind.identity.inode);
            Ok(Cover { at: bind.target.clone(), device, inode, beneath: None })
        });
        let covers = laid.iter().map(|(source, target)| {
            let found = source.metadata().map_err(|error| {
                Failure::new(COULD_NOT_RUN, format!("cannot look at {}", source.display())).caused_by(&error)
            })?;
            Ok(Cover { at: target.clone(), device: found.dev(), inode: found.ino(), beneath: None })
        });
        roots.chain(covers).collect()
    }

    /// Returns a place that was covered when a container was made, and where nothing is by now: an
    /// engine would make a file there.
    pub(crate) fn gone<'a>(&self, laid: &'a [(PathBuf, String)]) -> Option<&'a str> {
        let is_there = |target: &str| {
            let around = self
                .binds
                .iter()
                .filter_map(|bind| Some((bind, Path::new(target).strip_prefix(&bind.target).ok()?)));
            let inner = around.max_by_key(|(bind, _)| bind.target.len());
            // Ringfence's own files lie below no bind.
            inner.is_none_or(|(bind, below)| match below.as_os_str().is_empty() {
                true => bind.source.symlink_metadata().is_ok(),
                false => bind.source.join(below).symlink_metadata().is_ok(),
            })
        };
        laid.iter().map(|(_, target)| target.as_str()).find(|target| !is_there(target))
    }

    /// Returns a place that has to be covered now and is not in a container, which was made with
    /// those covers.
    pub(crate) fn uncovered(&self, laid: &[(PathBuf, String)]) -> Option<&str> {
        let laid: BTreeSet<&str> = laid.iter().map(|(_, target)| target.as_str()).collect();
        let is_laid = |place: &str| laid.iter().any(|above| std::path::Path::new(place).starts_with(above));
        self.laying.places.iter().map(String::as_str).find(|place| !is_laid(place))
    }
}
