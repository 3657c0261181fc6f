//! Requests that are permitted, as types.

use super::filters::Filters;
use super::names::{ImageRef, MemberName, ObjectRef};
use super::version::ApiMinor;

/// A request whose endpoint is permitted. Its body is read apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiRequest {
    /// Its meaning.
    pub(crate) call: ApiCall,
    /// Version that is spoken with the engine.
    pub(crate) version: ApiMinor,
    /// Endpoint as events show it: `POST /containers/create`.
    pub(crate) endpoint: String,
}

/// Meaning of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ApiCall {
    /// A client looks whether somebody is there.
    Ping,
    /// Versions.
    Version,
    /// Facts about the engine.
    Info,
    /// Events from now on, or between two times.
    Events {
        /// Time of the first.
        since: Option<String>,
        /// Time of the last.
        until: Option<String>,
        /// Filters.
        filters: Filters,
    },
    /// Use of the disk.
    DiskUse,
    /// Own containers.
    Containers {
        /// Set when those that do not run are wanted too.
        all: bool,
        /// The most that are wanted.
        limit: Option<i64>,
        /// Filters.
        filters: Filters,
    },
    /// A new container.
    CreateContainer {
        /// Its name.
        name: Option<MemberName>,
        /// Its platform.
        platform: Option<String>,
    },
    /// Removal of own containers that do not run.
    PruneContainers(Filters),
    /// A call on one container.
    Container(ObjectRef, ContainerCall),
    /// A call on one exec.
    Exec(ObjectRef, ExecCall),
    /// Images on the engine.
    Images {
        /// Set when those between others are wanted too.
        all: bool,
        /// Set when their digests are wanted.
        digests: bool,
        /// Set when the size that they share is wanted.
        shared_size: bool,
        /// Filters.
        filters: Filters,
    },
    /// One image as the engine describes it.
    InspectImage(ImageRef),
    /// The layers of one image.
    ImageHistory(ImageRef),
    /// A pull.
    Pull {
        /// The image.
        image: ImageRef,
        /// Its platform.
        platform: Option<String>,
    },
    /// Removal of unused images, which removes none.
    PruneImages,
    /// Networks.
    Networks(Filters),
    /// A new network.
    CreateNetwork,
    /// Removal of own networks that nobody uses.
    PruneNetworks(Filters),
    /// A call on one network.
    Network(ObjectRef, NetworkCall),
    /// Own volumes.
    Volumes(Filters),
    /// A new volume.
    CreateVolume,
    /// Removal of own volumes that nobody uses.
    PruneVolumes(Filters),
    /// One volume.
    InspectVolume(ObjectRef),
    /// Removal of one volume.
    RemoveVolume {
        /// The volume.
        of: ObjectRef,
        /// Set when one that is not there is no error.
        force: bool,
    },
}

/// A call on one container.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) enum ContainerCall {
    Inspect { size: bool },
    Logs(LogsQuery),
    Stats { stream: bool, one_shot: bool },
    Top,
    Changes,
    Wait { condition: WaitCondition },
    Resize { h: i64, w: i64 },
    Start,
    Restart(Stopping),
    Unpause,
    Stop(Stopping),
    Kill { signal: Option<String> },
    Pause,
    Rename { name: MemberName },
    Remove { volumes: bool, force: bool },
    Attach(AttachQuery),
    CreateExec,
    Update,
    ArchiveGet { path: String },
    ArchiveHead { path: String },
    ArchivePut { path: String, no_overwrite: bool, copy_ids: bool },
    Export,
}

/// A call on one exec.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) enum ExecCall {
    Start,
    Resize { h: i64, w: i64 },
    Inspect,
}

/// A call on one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) enum NetworkCall {
    Inspect,
    Remove,
    Connect,
    Disconnect,
}

/// Time and signal of a stop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stopping {
    /// Seconds until the kill; -1: none.
    pub(crate) t: Option<i64>,
    /// Signal.
    pub(crate) signal: Option<String>,
}

/// State for which a client waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum WaitCondition {
    /// It does not run.
    #[default]
    NotRunning,
    /// It ends once more.
    NextExit,
    /// It is gone.
    Removed,
}

/// Part of the output that a client wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct LogsQuery {
    pub(crate) follow: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) timestamps: bool,
    pub(crate) since: Option<String>,
    pub(crate) until: Option<String>,
    pub(crate) tail: Option<String>,
}

/// Streams to which a client attaches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct AttachQuery {
    pub(crate) detach_keys: Option<String>,
    pub(crate) logs: bool,
    pub(crate) stream: bool,
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// Kind of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// None; what a client sends is not read.
    Nothing,
    /// JSON of at most [`LONGEST_BODY`] bytes.
    Json,
    /// A tar that is streamed.
    Tar,
}

/// The most bytes of a JSON body.
pub(crate) const LONGEST_BODY: usize = 1 << 20;

impl ApiCall {
    /// Returns the kind of body that the call has.
    pub(crate) fn body(&self) -> BodyKind {
        match self {
            ApiCall::CreateContainer { .. }
            | ApiCall::CreateNetwork
            | ApiCall::CreateVolume
            | ApiCall::Network(_, NetworkCall::Connect | NetworkCall::Disconnect)
            | ApiCall::Container(_, ContainerCall::CreateExec | ContainerCall::Update)
            | ApiCall::Exec(_, ExecCall::Start) => BodyKind::Json,
            ApiCall::Container(_, ContainerCall::ArchivePut { .. }) => BodyKind::Tar,
            _ => BodyKind::Nothing,
        }
    }
}
