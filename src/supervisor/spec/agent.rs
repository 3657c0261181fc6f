//! The agent as it will be made: everything that the engine is asked for, decided.

use super::binds::Binds;
use super::home::HomePlace;
use super::image::Image;
use super::init::FirstProgram;
use super::limits::Limits;
use super::places::{AUTHORITIES, NOTICE, SECRETS, WORKSPACE};
use super::request::AgentRequest;
use super::surface::Surface;
use super::{environment, image_volumes};
use crate::supervisor::engine::dialect::{Dialect, ReadOnlyPaths};
use crate::term::Failure;
use crate::workspace::masks::{Laying, Served};

/// SpecFacts of the engine and its machine beside the dialect, as far as the agent depends on them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EngineFacts {
    /// Tells whether the storage driver may hold a disk limit for one container.
    pub(crate) quotas: bool,
    /// Tells whether the agent can have files of this machine in the place of the engine's own.
    pub(crate) own_files: bool,
    /// Tells whether the engine runs on another kernel, where device and inode mean nothing.
    pub(crate) elsewhere: bool,
}

/// All that a request does not say and a spec needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpecFacts<'a> {
    /// The image on the engine.
    pub(crate) image: &'a Image,
    /// Everything in which the engine differs from others.
    pub(crate) dialect: &'a Dialect,
    /// The engine's machine.
    pub(crate) engine: EngineFacts,
    /// The limits: what was asked for, lowered by the policy and by what the engine has.
    pub(crate) limits: Limits,
    /// Covers over the files of this machine.
    pub(crate) covers: &'a Laying,
    /// The home that survives the run, where there is one.
    pub(crate) home: Option<&'a HomePlace>,
}

/// An agent as it will be made. A service beside it is made of the same facts.
#[derive(Debug, Clone)]
pub(crate) struct AgentSpec {
    /// Image; by its id, what was looked at is what runs.
    pub(crate) image: Image,
    /// Command; empty: the image's.
    pub(crate) command: Vec<String>,
    /// Program in the place of the image's entrypoint.
    pub(crate) entrypoint: Option<String>,
    /// `NAME=VALUE`.
    pub(crate) env: Vec<String>,
    /// Files and directories of this machine; the project is mounted at [`WORKSPACE`].
    pub(crate) binds: Binds,
    /// Files that are laid over those that it is given.
    pub(crate) served: Vec<Served>,
    /// ringfence's own first program, which waits until the covers were looked at; none where the
    /// agent begins without it.
    pub(crate) by_init: Option<FirstProgram>,
    /// Working directory; none: the project's, else the image's.
    pub(crate) workdir: Option<String>,
    /// Places of the volumes that its image declares.
    pub(crate) data: Vec<String>,
    /// Number of the first of these volumes.
    pub(crate) first_volume: usize,
    /// The home that survives the run, where there is one.
    pub(crate) home: Option<HomePlace>,
    /// The option by which a place in memory begins empty, where the engine needs one.
    pub(crate) empty_memory: Option<&'static str>,
    /// Tells whether the engine's own files that name hosts and resolvers are to be read-only.
    pub(crate) names_read_only: bool,
    /// Tells whether it is handed files in memory.
    pub(crate) handed: bool,
    /// Tells whether it trusts authorities besides its image's own.
    pub(crate) trust: bool,
    /// User; none: the image's.
    pub(crate) user: Option<String>,
    /// OCI runtime; none: the engine's own.
    pub(crate) runtime: Option<String>,
    /// Tells whether stdin stays open.
    pub(crate) interactive: bool,
    /// Tells whether it has a terminal.
    pub(crate) tty: bool,
    /// Tells whether nobody is attached to it from the start.
    pub(crate) detached: bool,
    /// Tells whether its container stays after its end.
    pub(crate) keep: bool,
    /// Limits.
    pub(crate) limits: Limits,
    /// Tells whether the storage driver is to hold the disk limit for the container's layer.
    pub(crate) quota: bool,
    /// Access to the kernel and the image.
    pub(crate) surface: Surface,
}

impl AgentSpec {
    /// Decides what will be made. Nothing of it changes afterwards.
    ///
    /// # Errors
    /// When the image declares a volume where none can be.
    pub(crate) fn new(asked: &AgentRequest, facts: SpecFacts<'_>) -> Result<AgentSpec, Failure> {
        let SpecFacts { image, dialect, engine, limits, covers, home } = facts;
        let trust = asked.ca.is_some();
        let by_init = covers.by_init.as_ref().map(FirstProgram::at).transpose()?;
        Ok(AgentSpec {
            image: image.clone(),
            command: asked.command.clone(),
            entrypoint: asked.entrypoint.clone(),
            env: environment::variables(
                &asked.env,
                trust.then_some(&image.env),
                home.map(|home| &*home.path),
                dialect.removes_variable,
            ),
            binds: Binds { all: asked.binds.clone(), sharing: dialect.shares_binds },
            served: covers.served.clone(),
            by_init,
            workdir: asked.workdir.clone(),
            data: places_of_volumes(asked, image, &covers.served, home)?,
            first_volume: 0,
            home: home.cloned(),
            empty_memory: dialect.empty_memory,
            names_read_only: !engine.own_files && dialect.read_only_paths == ReadOnlyPaths::Kept,
            handed: !asked.handed.is_empty(),
            trust,
            user: user_asked(asked, dialect),
            runtime: asked.runtime.clone(),
            interactive: asked.interactive,
            tty: asked.tty,
            detached: asked.detached,
            keep: asked.keep,
            limits,
            quota: engine.quotas,
            surface: asked.surface.clone(),
        })
    }

    /// Tells whether it begins as root, by its own user or its image's. One that has root's number
    /// under another name does not count.
    pub(super) fn is_root(&self) -> bool {
        let user = self.user.as_deref().unwrap_or(&self.image.user);
        matches!(user.split(':').next(), None | Some("" | "0" | "root"))
    }

    /// Tells whether it is given a project.
    pub(super) fn has_project(&self) -> bool {
        self.binds.all.iter().any(|bind| bind.target == WORKSPACE)
    }
}

/// Returns the user that an agent is to have; none: the image's. On a rootless engine the person is
/// root in the container, and the owner's number would be somebody else.
pub(crate) fn user_asked(asked: &AgentRequest, dialect: &Dialect) -> Option<String> {
    asked.user.clone().or_else(|| asked.owner.clone().filter(|_| !dialect.rootless))
}

/// Finds the places of the volumes that the image declares: all but those where something else is
/// mounted.
fn places_of_volumes(
    asked: &AgentRequest,
    image: &Image,
    served: &[Served],
    home: Option<&HomePlace>,
) -> Result<Vec<String>, Failure> {
    let memory = asked.surface.places_in_memory();
    let binds = asked.binds.iter().map(|bind| &*bind.target);
    let served = served.iter().map(|served| &*served.target);
    let handed = (!asked.handed.is_empty()).then_some(SECRETS);
    let trust = asked.ca.is_some().then_some(AUTHORITIES);
    let home = home.map(|home| &*home.path);
    let mounted =
        binds.chain(served).chain([NOTICE]).chain(memory.iter().map(|at| &**at)).chain(handed).chain(trust);
    let mounted = mounted.chain(home);
    image_volumes::places(&image.volumes, &mounted.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::engine::dialect::example;

    fn facts<'a>(dialect: &'a Dialect, image: &'a Image, covers: &'a Laying) -> SpecFacts<'a> {
        let engine = EngineFacts { quotas: true, own_files: true, elsewhere: false };
        SpecFacts { image, dialect, engine, limits: Limits::default(), covers, home: None }
    }

    #[test]
    fn a_rootless_engine_takes_the_owners_number_from_nobody_who_asked_for_a_user() {
        let (image, covers) = (Image::default(), Laying::default());
        let made = |user: Option<&str>, rootless| {
            let user = user.map(str::to_owned);
            let asked = AgentRequest { user, owner: Some("1000:1000".to_owned()), ..Default::default() };
            let dialect = Dialect { rootless, ..example("Docker 26.1") };
            AgentSpec::new(&asked, facts(&dialect, &image, &covers)).unwrap().user
        };
        assert_eq!(made(None, false).as_deref(), Some("1000:1000"));
        assert_eq!(made(None, true), None);
        assert_eq!(made(Some("7"), false).as_deref(), Some("7"));
        assert_eq!(made(Some("7"), true).as_deref(), Some("7"));
    }

    #[test]
    fn the_engines_own_name_files_are_read_only_where_ringfences_cannot_be_given() {
        let (image, covers) = (Image::default(), Laying::default());
        for (name, own_files, read_only) in
            [("Docker 20.10", true, false), ("Docker 20.10", false, true), ("Podman 5.4", false, false)]
        {
            let dialect = example(name);
            let facts = facts(&dialect, &image, &covers);
            let engine = EngineFacts { own_files, ..facts.engine };
            let made = AgentSpec::new(&AgentRequest::default(), SpecFacts { engine, ..facts }).unwrap();
            assert_eq!(made.names_read_only, read_only, "{name} {own_files}");
        }
    }

    #[test]
    fn an_image_declares_no_volume_over_what_is_mounted() {
        let volumes = ["/data", "/run/secrets", "/etc/ringfence", "/tmp", NOTICE].map(str::to_owned).to_vec();
        let (image, covers) = (Image { volumes, ..Image::default() }, Laying::default());
        let dialect = example("Docker 20.10");
        let plain = AgentSpec::new(&AgentRequest::default(), facts(&dialect, &image, &covers)).unwrap();
        assert_eq!(plain.data, ["/data", "/etc/ringfence", "/run/secrets", "/tmp"]);
        assert!(!plain.trust && plain.env.iter().all(|pair| !pair.starts_with("PIP_CERT=")));
        let surface = Surface { read_only: true, ..Surface::default() };
        let ca = Some(netpolicy::settings::Ca::System);
        let asked = AgentRequest { surface, ca, ..AgentRequest::default() };
        let made = AgentSpec::new(&asked, facts(&dialect, &image, &covers)).unwrap();
        assert_eq!(made.data, ["/data", "/run/secrets"]);
        assert!(made.trust && made.env.iter().any(|pair| pair.starts_with("PIP_CERT=")));
    }
}
