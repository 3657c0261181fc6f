//! How an agent gets the files of this machine: by a mount that the fence has looked at before.
//!
//! ```text
//!  Bind ─▶ volume whose content is the directory ─▶ mounted once by the engine ─┬─▶ fence: is it what was checked? (device, inode)
//!                                                                               └─▶ agent: the same mount, later
//! ```
//! An engine resolves the path of a plain bind anew for every container, at its start. A volume is mounted when the first container
//! needs it and shared by the next, so nobody can put something else between the fence's look and the agent. Files, and what an
//! engine cannot mount once, are plain binds: the fence looks all the same, and the path is looked at once more when the agent has
//! been started.

use bollard::models::{Mount, MountBindOptions, MountType, MountVolumeOptions, VolumeCreateRequest};

use super::nonce::Planted;
use crate::host::kernel;
use crate::supervisor::engine::dialect::Sharing;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::term::Failure;
use crate::wire::handover::{GIVEN, Given};
use crate::workspace::mounts::Bind;

/// Everything of this machine that an agent is given, in order.
#[derive(Debug, Clone, Default)]
pub struct Binds {
    /// The project first, if there is one.
    pub all: Vec<Bind>,
    /// How the engine mounts a directory.
    pub sharing: Sharing,
}

impl Binds {
    /// For the agent.
    pub fn for_agent(&self, workflow: &Workflow) -> Vec<Mount> {
        self.mounts(workflow, |_, bind| (bind.target.clone(), !bind.writable))
    }

    /// For the fence, which only looks.
    pub fn for_fence(&self, workflow: &Workflow) -> Vec<Mount> {
        self.mounts(workflow, |index, _| (format!("{GIVEN}/{index}"), true))
    }

    /// What the fence must find; with nonces, one for each, where device and inode mean nothing.
    pub fn expected(&self, planted: &[Planted]) -> Vec<Given> {
        let given = |(index, bind): (usize, &Bind)| Given {
            nonce: planted.get(index).map(Planted::nonce),
            at: format!("{GIVEN}/{index}"),
            source: bind.source.to_string_lossy().into_owned(),
            device: bind.identity.device,
            inode: bind.identity.inode,
            kernel: planted.get(index).is_none().then(kernel::boot_id).flatten(),
        };
        self.all.iter().enumerate().map(given).collect()
    }

    /// The first that an engine may have mounted anew for the agent, and whose path leads elsewhere by now.
    pub fn swapped(&self) -> Option<&Bind> {
        self.all.iter().find(|bind| !self.is_shared(bind) && !bind.is_still_there())
    }

    /// Makes the volumes; nothing is mounted yet.
    pub async fn create(&self, engine: &Engine, workflow: &Workflow) -> Result<(), Failure> {
        for (index, bind) in self.all.iter().enumerate().filter(|(_, bind)| self.is_shared(bind)) {
            let device = bind.source.to_string_lossy();
            let mut options = vec![("type", "none"), ("o", "bind"), ("device", &device)];
            if self.sharing == Sharing::OwnedVolume {
                options[1].1 = "bind,uid=0,gid=0";
                // What the mount says of this is lost in Podman's API, and an empty directory would be filled from the image.
                options.push(("nocopy", "true"));
            }
            let request = VolumeCreateRequest {
                name: Some(name(workflow, index)),
                driver: Some("local".to_owned()),
                driver_opts: Some(
                    options.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
                ),
                labels: Some(workflow.labels(Role::Mount)),
                ..Default::default()
            };
            engine.create_volume(request).await.map_err(|error| {
                engine::refused(format!("cannot create the volume for {}", bind.source.display()), &error)
            })?;
        }
        Ok(())
    }

    fn is_shared(&self, bind: &Bind) -> bool {
        self.sharing != Sharing::Never && bind.directory
    }

    fn mounts(&self, workflow: &Workflow, place: impl Fn(usize, &Bind) -> (String, bool)) -> Vec<Mount> {
        let mount = |(index, bind): (usize, &Bind)| {
            let (target, read_only) = place(index, bind);
            let base = Mount { target: Some(target), read_only: Some(read_only), ..Default::default() };
            if self.is_shared(bind) {
                Mount {
                    source: Some(name(workflow, index)),
                    typ: Some(MountType::VOLUME),
                    // Else an empty directory would be filled from the image.
                    volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..Default::default() }),
                    ..base
                }
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
