//! Files of this machine for the agent: mounts that the fence has looked at before.
//!
//! ```text
//!  Bind ─▶ volume whose content is the directory ─▶ mounted once by the engine ─┬─▶ fence: is it what was checked? (device, inode)
//!                                                                               └─▶ agent: the same mount, later
//! ```
//! An engine resolves the path of a plain bind anew for every container, at its start. A volume is
//! mounted when the first container needs it and shared by the next, so nobody can put something
//! else between the fence's look and the agent. Files, and what an engine cannot mount once, are
//! plain binds: the fence looks all the same, and the path is looked at once more when the agent
//! has been started.

use bollard::models::{Mount, MountBindOptions, MountType, MountVolumeOptions, VolumeCreateRequest};

use super::containers::labelled;
use super::workflow::{Role, Workflow};
use crate::supervisor::engine::dialect::Sharing;
use crate::wire::handover::{GIVEN, Given, Nonce};
use crate::workspace::mounts::Bind;

/// Everything of this machine that an agent is given, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Binds {
    /// The project first, if there is one.
    pub(crate) all: Vec<Bind>,
    /// The engine's way to mount a directory.
    pub(crate) sharing: Sharing,
}

impl Binds {
    /// Returns the mounts of the agent.
    pub(crate) fn for_agent(&self, workflow: &Workflow) -> Vec<Mount> {
        self.mounts(workflow, |_, bind| (bind.target.clone(), !bind.writable))
    }

    /// Returns the mounts of the fence, which only looks.
    pub(super) fn for_fence(&self, workflow: &Workflow) -> Vec<Mount> {
        self.mounts(workflow, |index, _| (format!("{GIVEN}/{index}"), true))
    }

    /// Returns what the fence must find; with nonces, one for each, where device and inode mean
    /// nothing. `kernel`: the boot id of this machine, where the fence can compare it.
    pub(crate) fn expected(&self, nonces: &[Nonce], kernel: Option<&str>) -> Vec<Given> {
        let given = |(index, bind): (usize, &Bind)| Given {
            nonce: nonces.get(index).cloned(),
            at: format!("{GIVEN}/{index}"),
            source: bind.source.to_string_lossy().into_owned(),
            device: bind.identity.device,
            inode: bind.identity.inode,
            kernel: kernel.filter(|_| nonces.get(index).is_none()).map(str::to_owned),
        };
        self.all.iter().enumerate().map(given).collect()
    }

    /// Returns what the engine is asked for as volumes, each with the directory that it shows.
    pub(crate) fn volumes(&self, workflow: &Workflow) -> Vec<(&Bind, VolumeCreateRequest)> {
        let shared = self.all.iter().enumerate().filter(|(_, bind)| self.is_shared(bind));
        shared.map(|(index, bind)| (bind, self.volume(workflow, index, bind))).collect()
    }

    fn volume(&self, workflow: &Workflow, index: usize, bind: &Bind) -> VolumeCreateRequest {
        let device = bind.source.to_string_lossy();
        let mut options = vec![("type", "none"), ("o", "bind"), ("device", &device)];
        if self.sharing == Sharing::OwnedVolume {
            options[1].1 = "bind,uid=0,gid=0";
            // What the mount says of this is lost in Podman's API, and an empty directory would be
            // filled from the image.
            options.push(("nocopy", "true"));
        }
        let options = options.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        VolumeCreateRequest {
            name: Some(name(workflow, index)),
            driver: Some("local".to_owned()),
            driver_opts: Some(options.collect()),
            labels: Some(workflow.labels(Role::Mount)),
            ..Default::default()
        }
    }

    /// Tells whether the engine mounts a directory once, for fence and agent.
    pub(crate) fn is_shared(&self, bind: &Bind) -> bool {
        self.sharing != Sharing::Never && bind.directory
    }

    fn mounts(&self, workflow: &Workflow, place: impl Fn(usize, &Bind) -> (String, bool)) -> Vec<Mount> {
        let mount = |(index, bind): (usize, &Bind)| {
            let (target, read_only) = place(index, bind);
            let base = Mount { target: Some(target), read_only: Some(read_only), ..Default::default() };
            if self.is_shared(bind) {
                let mount = Mount {
                    source: Some(name(workflow, index)),
                    typ: Some(MountType::VOLUME),
                    // Else an empty directory would be filled from the image.
                    volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..Default::default() }),
                    ..base
                };
                labelled(mount, workflow, Role::Mount)
            } else {
                Mount {
                    source: Some(bind.source.to_string_lossy().into_owned()),
                    typ: Some(MountType::BIND),
                    // Other file systems below are not given, as with a volume.
                    bind_options: bind
                        .directory
                        .then(|| MountBindOptions { non_recursive: Some(true), ..Default::default() }),
                    ..base
                }
            }
        };
        self.all.iter().enumerate().map(mount).collect()
    }
}

/// The engine's name of one volume.
fn name(workflow: &Workflow, index: usize) -> String {
    format!("{}-{index}", workflow.object(Role::Mount))
}
