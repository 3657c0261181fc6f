//! Knowledge of one `ringfence serve`: its engine, its ground, its members, fences and networks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use netpolicy::policy::Policy;

use super::fences::MemberFence;
use super::files::Ground as FileGround;
use super::fill_record::FillRecord;
use super::http::EngineHttp;
use super::image_links::KnownLinks;
use super::members::ServedMember;
use super::once_per_key::OncePerKey;
use super::records::NetworkRecords;
use super::volume_holds::VolumeHolds;
use super::whole_answers::WholeAnswers;
use super::work::ClientWork;
use crate::layers::Wanted;
use crate::serve::decide::facts::{Ground, ProjectRoot};
use crate::serve::request::version::ApiMinor;
use crate::supervisor::engine::Engine;
use crate::supervisor::spec::limits::{Asked, Limits};
use crate::wire::WorkflowId;

/// Facts that do not change while a `serve` lives.
pub(crate) struct Facts {
    /// The engine, for ringfence's own calls.
    pub(crate) engine: Engine,
    /// The engine's newest version of the API.
    pub(crate) version: ApiMinor,
    /// Id of this `serve`: the same after a restart.
    pub(crate) id: String,
    /// Folder of its own files.
    pub(crate) folder: PathBuf,
    /// Its socket.
    pub(crate) socket: PathBuf,
    /// The policy of every fence.
    pub(crate) policy: Policy,
    /// The origin of that policy.
    pub(crate) layers: Wanted,
    /// Limits of one container, as they were asked for.
    pub(crate) asked: Asked,
    /// Limits of one container.
    pub(crate) limits: Limits,
    /// Directories below which files are given.
    pub(crate) roots: Vec<ProjectRoot>,
    /// The ways in which a client may write them.
    pub(crate) spellings: Arc<Vec<RootSpelling>>,
    /// Numbers of groups that no container gets.
    pub(crate) denied_groups: Vec<u32>,
    /// Facts that files are checked against.
    pub(crate) files: Arc<FileGround>,
}

/// A root as somebody may write it: by its own path, or as the person named it, links and all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootSpelling {
    /// The path as it is written.
    pub(crate) named: PathBuf,
    /// The root, without links.
    pub(crate) root: PathBuf,
}

impl RootSpelling {
    /// Lists the ways to write roots. `named`: paths as a person gave them; those that do not lead
    /// to a root are left out.
    pub(crate) fn all(roots: &[PathBuf], named: &[PathBuf]) -> Vec<RootSpelling> {
        let own = roots.iter().map(|root| RootSpelling { named: root.clone(), root: root.clone() });
        let others = named.iter().filter_map(|named| {
            let root = named.canonicalize().ok().filter(|root| roots.contains(root))?;
            Some(RootSpelling { named: named.clone(), root })
        });
        own.chain(others).collect()
    }
}

/// Everything that handlers share. All of it lives on one thread.
pub(crate) struct Serving {
    /// Facts that do not change.
    pub(crate) facts: Facts,
    /// The engine, for what is passed on.
    pub(crate) http: EngineHttp,
    /// Members by the engine's id.
    pub(crate) members: RefCell<BTreeMap<String, Rc<ServedMember>>>,
    /// Fences that new members join, by the key of their group.
    pub(crate) fences: OncePerKey<MemberFence>,
    /// Every fence that is there, lost ones too.
    pub(crate) all_fences: RefCell<Vec<Rc<MemberFence>>>,
    /// Networks, which the engine does not know.
    pub(crate) networks: RefCell<NetworkRecords>,
    /// Work that comes to its end before this `serve` does.
    pub(crate) work: ClientWork,
    /// Names that are being given.
    pub(crate) names: RefCell<Vec<String>>,
    /// Published ports of members that are being made: the fence, and how many.
    pub(crate) promised: RefCell<Vec<(WorkflowId, usize)>>,
    /// Volumes that are being given.
    pub(crate) volumes: Rc<VolumeHolds>,
    /// Volumes that the engine is being let fill, on disk.
    pub(crate) fills: FillRecord,
    /// Room for answers that are kept whole.
    pub(crate) whole: WholeAnswers,
    /// Links on the way to places in images.
    pub(crate) links: KnownLinks,
}

impl Serving {
    /// Begins without members.
    pub(crate) fn new(
        facts: Facts,
        http: EngineHttp,
        networks: NetworkRecords,
        fills: FillRecord,
    ) -> Rc<Serving> {
        Rc::new(Serving {
            facts,
            http,
            members: RefCell::default(),
            fences: OncePerKey::new(),
            all_fences: RefCell::default(),
            networks: RefCell::new(networks),
            work: ClientWork::new(),
            names: RefCell::default(),
            promised: RefCell::default(),
            volumes: Rc::new(VolumeHolds::after(fills.names())),
            fills,
            whole: WholeAnswers::new(),
            links: KnownLinks::default(),
        })
    }

    /// Returns what decisions depend on.
    pub(crate) fn ground(&self) -> Ground<'_> {
        Ground {
            limits: self.facts.limits,
            roots: &self.facts.roots,
            socket: &self.facts.socket,
            registries: &self.facts.policy.images,
            capabilities: &[],
            denied_groups: &self.facts.denied_groups,
        }
    }
}
