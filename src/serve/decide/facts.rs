//! Facts that decisions depend on, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::serve::request::bodies::CreateBody;
use crate::serve::request::fields::Taken;
use crate::serve::request::names::MemberName;
use crate::supervisor::spec::image::Image;
use crate::supervisor::spec::limits::Limits;
use crate::wire::EngineId;

/// Facts that are the same for every request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'a> {
    /// The most that one container gets.
    pub(crate) limits: Limits,
    /// Directories below which files are given to containers.
    pub(crate) roots: &'a [ProjectRoot],
    /// ringfence's own socket, without links.
    pub(crate) socket: &'a Path,
    /// Registries from which the policy permits pulls.
    pub(crate) registries: &'a [String],
    /// Capabilities that the policy permits beside the usual ones, without `CAP_`.
    pub(crate) capabilities: &'a [String],
    /// Numbers of the machine's groups that own its devices or its engine.
    pub(crate) denied_groups: &'a [u32],
}

/// Directory below which files are given to containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProjectRoot {
    /// Path without links.
    pub(crate) path: PathBuf,
    /// Set when containers may write below it.
    pub(crate) writable: bool,
}

/// A wish for a container: body and query.
#[derive(Debug, Clone)]
pub(crate) struct CreateAsk {
    /// Its name.
    pub(crate) name: Option<MemberName>,
    /// Its platform.
    pub(crate) platform: Option<String>,
    /// The body.
    pub(crate) taken: Taken<CreateBody>,
}

/// Words of a body that mean objects, to be looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The image.
    pub(crate) image: String,
    /// Containers.
    pub(crate) containers: BTreeSet<String>,
    /// Networks.
    pub(crate) networks: BTreeSet<String>,
    /// Volumes.
    pub(crate) volumes: BTreeSet<String>,
    /// Paths of this machine.
    pub(crate) sources: BTreeSet<String>,
}

/// Meanings of the words. A word that means nothing of this socket's is absent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// The image, where the engine has it.
    pub(crate) image: Option<Image>,
    /// Own containers.
    pub(crate) containers: BTreeMap<String, FoundMember>,
    /// Every own container that has an address.
    pub(crate) peers: Vec<FoundMember>,
    /// Own networks.
    pub(crate) networks: BTreeMap<String, FoundNetwork>,
    /// Volumes, own and foreign.
    pub(crate) volumes: BTreeMap<String, FoundVolume>,
    /// Paths of this machine.
    pub(crate) sources: BTreeMap<String, FoundSource>,
}

/// An own container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundMember {
    /// Its id.
    pub(crate) id: EngineId,
    /// The key of its group.
    pub(crate) group: String,
    /// Its address in the fence.
    pub(crate) address: Option<IpAddr>,
}

/// An own network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FoundNetwork {
    /// Its id.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// Its labels: those of compose and of test sessions say which group it belongs to.
    pub(crate) labels: BTreeMap<String, String>,
}

/// Owner of a volume that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FoundVolume {
    /// It was made through this socket.
    Own,
    /// It is somebody else's.
    Foreign,
}

/// Kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceKind {
    /// Directory.
    Directory,
    /// Regular file.
    File,
    /// Nothing is there.
    Missing,
    /// Socket, pipe or device.
    Other,
}

/// A path of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundSource {
    /// Path without links.
    pub(crate) path: PathBuf,
    /// Kind of file there.
    pub(crate) kind: SourceKind,
    /// Set when a link lies on the way below a root.
    pub(crate) linked: bool,
}
