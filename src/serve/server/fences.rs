//! Fences of groups: made with the first member, removed after the last.

use std::cell::Cell;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::create::text;
use super::made::DecidedFacts;
use super::members::ServedMember;
use super::state::{Facts, Serving};
use crate::host::clock::unix_seconds;
use crate::layers::record::Record;
use crate::serve::decide::member::{GroupKey, MemberSpec};
use crate::serve::denied::Denied;
use crate::supervisor::forward::ForwardRequest;
use crate::supervisor::run::RunRequest;
use crate::supervisor::run::shared_fence::SharedFence;
use crate::supervisor::spec::etc;
use crate::supervisor::spec::request::AgentRequest;
use crate::supervisor::spec::workflow::Helpers;
use crate::supervisor::streams::Surfaces;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::planned::PlannedConditions;
use crate::wire::{WorkflowId, init};

/// A fence without members is removed after this time: the next command of a client comes soon.
const IDLE: Duration = Duration::from_secs(120);
/// Fences at once: each has three containers.
const MOST: usize = 64;
/// Beginning of the key of a fence for one container.
pub(super) const ALONE: &str = "alone:";

/// A fence with the members' files of names.
pub(crate) struct MemberFence {
    /// Key of its group.
    pub(crate) key: String,
    /// The fence.
    pub(crate) shared: SharedFence,
    /// Facts of its proof.
    pub(crate) proof: FenceProof,
    /// Held while a member starts or ends: the fence waits for one first program at a time.
    pub(crate) turn: Mutex<()>,
    /// Set when containers are in it that this `serve` does not keep: a person removes them.
    pub(crate) holds_others: Cell<bool>,
    /// Creations that are under way in it.
    busy: Cell<usize>,
    folder: PathBuf,
}

/// Facts of a fence when it was proven, written down beside its files: no container's label says
/// them. A helper that was started again since is not the one that was proven.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FenceProof {
    /// Key of its group.
    pub(crate) key: String,
    /// The time of the fence's start, as the engine tells it.
    pub(crate) fence: String,
    /// That of the guard.
    pub(crate) guard: String,
    /// The end of its time, in seconds of the epoch.
    pub(crate) ends: u64,
}

/// Name of its file.
const PROOF: &str = "proof.json";

impl FenceProof {
    /// Reads that of a fence of an earlier `serve`; none where it cannot be read.
    pub(crate) fn read(facts: &Facts, id: WorkflowId) -> Option<FenceProof> {
        let text = fs::read(facts.folder.join(id.to_string()).join(PROOF)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// A fence that is kept for a creation.
pub(crate) struct Claim {
    serving: Rc<Serving>,
    pub(crate) fence: Rc<MemberFence>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.fence.busy.set(self.fence.busy.get() - 1);
        self.serving.release(&self.fence);
    }
}

impl MemberFence {
    /// Makes the files of a fence's members; their folder.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn files(facts: &Facts, id: WorkflowId, proof: &FenceProof) -> Result<PathBuf, Failure> {
        let folder = facts.folder.join(id.to_string());
        let made = fs::create_dir_all(&folder).and_then(|()| {
            for (place, text) in etc::files(None, facts.policy.dns.virtual_range.broadcast(), &[]) {
                put(&folder.join(name_of(place)), &text)?;
            }
            put(&folder.join(PROOF), &serde_json::to_string(proof)?)
        });
        made.map(|()| folder.clone()).map_err(|error| cannot(&folder, &error))
    }

    /// Makes a fence of its parts.
    pub(crate) fn new(shared: SharedFence, proof: FenceProof, folder: PathBuf) -> MemberFence {
        let key = proof.key.clone();
        let (turn, busy, holds_others) = (Mutex::new(()), Cell::new(0), Cell::new(false));
        MemberFence { key, shared, proof, turn, holds_others, busy, folder }
    }

    /// Returns the id of its workflow.
    pub(crate) fn id(&self) -> WorkflowId {
        self.shared.id()
    }

    /// Lists the files of names, each with its place in a member.
    pub(crate) fn name_files(&self) -> Vec<(PathBuf, &'static str)> {
        ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]
            .into_iter()
            .map(|place| (self.folder.join(name_of(place)), place))
            .collect()
    }

    /// Returns the place of the file for the words of a member's first program.
    pub(crate) fn words_of(&self, member: WorkflowId) -> PathBuf {
        self.folder.join(format!("words-{member}"))
    }

    /// Makes that file.
    pub(crate) fn words(&self, member: WorkflowId) -> Result<PathBuf, Failure> {
        let path = self.words_of(member);
        put(&path, "").map_err(|error| cannot(&path, &error))?;
        Ok(path)
    }

    /// Writes down that a start of a member is asked of the engine.
    pub(crate) fn ask_start(&self, member: WorkflowId) -> Result<(), Failure> {
        let path = self.folder.join(format!("asked-{member}"));
        put(&path, "").map_err(|error| cannot(&path, &error))
    }

    /// Tells whether that was written down, or nobody knows.
    pub(crate) fn was_asked(&self, member: WorkflowId) -> bool {
        self.folder.join(format!("asked-{member}")).try_exists().unwrap_or(true)
    }

    fn decided_of(&self, member: WorkflowId) -> PathBuf {
        self.folder.join(format!("decided-{member}"))
    }

    /// Writes down what a container is judged by once it was made.
    pub(super) fn put_decided(&self, member: WorkflowId, decided: &DecidedFacts) -> Result<(), Failure> {
        let path = self.decided_of(member);
        let text = serde_json::to_string(decided).map_err(|error| cannot(&path, &error.into()))?;
        put(&path, &text).map_err(|error| cannot(&path, &error))
    }

    /// Reads what a container is to be judged by; none where it was.
    ///
    /// # Errors
    /// When that is there and cannot be read.
    pub(super) fn decided(&self, member: WorkflowId) -> std::io::Result<Option<DecidedFacts>> {
        match fs::read(self.decided_of(member)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes that a container was judged.
    pub(super) fn forget_decided(&self, member: WorkflowId) {
        // What stays is judged once more by the next `serve`.
        let _ = fs::remove_file(self.decided_of(member));
    }

    /// Removes the files of a member.
    pub(crate) fn forget_words(&self, member: WorkflowId) {
        self.forget_decided(member);
        for path in [self.words_of(member), self.folder.join(format!("asked-{member}"))] {
            // Most members have none.
            let _ = fs::remove_file(path);
        }
    }

    /// Writes the names of all members into the file that all of them have.
    fn write_names(&self, facts: &Facts, names: &[String]) -> Result<(), Failure> {
        let resolver = facts.policy.dns.virtual_range.broadcast();
        let own = etc::files(None, resolver, &[]).into_iter().find(|(place, _)| *place == "/etc/hosts");
        let mut text = own.map(|(_, text)| text).unwrap_or_default();
        names.iter().for_each(|name| text.push_str(&format!("127.0.0.1\t{name}\n")));
        let path = self.folder.join("hosts");
        put(&path, &text).map_err(|error| cannot(&path, &error))
    }

    /// Removes its files on this machine.
    fn forget(&self) {
        if let Err(error) = fs::remove_dir_all(&self.folder)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            cannot(&self.folder, &error).tell();
        }
    }
}

fn name_of(place: &str) -> &str {
    place.rsplit('/').next().unwrap_or(place)
}

/// Writes a file in its place: what is mounted stays the same file.
pub(crate) fn put(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    // Any user of a container reads it; the folder is the person's alone.
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.write_all(text.as_bytes())
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot write {}", path.display())).caused_by(error)
}

impl Serving {
    /// Returns the fence that a container is to be in: that of the member beside which it is, or
    /// that of its group, which is made where there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) async fn claim(self: &Rc<Self>, spec: &MemberSpec) -> Result<Claim, Denied> {
        if let Some(id) = &spec.beside {
            // Another fence of the same key reaches other names.
            return Ok(self.hold(&self.member(id.as_ref())?.fence));
        }
        let key = match &spec.group {
            GroupKey::Joins(key) => key.clone(),
            GroupKey::Alone => format!("{ALONE}{}", random()?),
        };
        if let Some(lost) = self.fences.get(&key).filter(|fence| fence.shared.check().is_some()) {
            // Its members keep it; a new member gets a new one.
            self.fences.take_out(&lost);
        }
        let is_there = self.fences.get(&key).is_some();
        if !is_there && self.all_fences.borrow().len() + self.fences.in_making() >= MOST {
            let what = format!(
                "{MOST} groups of containers are there already, those whose containers have ended among them; \
                 remove some first: docker container prune"
            );
            return Err(Denied::new(503, what));
        }
        let made = self.fences.get_or_make(&key, || self.make_fence(&key, spec.cut_off)).await;
        Ok(self.hold(&made.map_err(|failure| broken(&failure))?))
    }

    /// Keeps a fence while the claim is there.
    pub(crate) fn hold(self: &Rc<Self>, fence: &Rc<MemberFence>) -> Claim {
        fence.busy.set(fence.busy.get() + 1);
        Claim { serving: Rc::clone(self), fence: Rc::clone(fence) }
    }

    async fn make_fence(&self, key: &str, cut_off: bool) -> Result<Rc<MemberFence>, Failure> {
        let mut policy = self.facts.policy.clone();
        policy.network_denied |= cut_off;
        let request = RunRequest {
            name: None,
            policy,
            layers: Record::of(self.facts.layers.clone())?,
            agent: AgentRequest { limits: self.facts.asked, ..AgentRequest::default() },
            shared: true,
            services: Vec::new(),
            masks: Vec::new(),
            worktree: None,
            token_ends: None,
            home: None,
            forwards: ForwardRequest::default(),
            ssh_agent: None,
            surfaces: Surfaces::default(),
            apply: None,
            tells_all: false,
            events: None,
            planned: PlannedConditions::default(),
        };
        let ends = unix_seconds().saturating_add(self.facts.limits.time.as_secs());
        let shared = SharedFence::make(&self.facts.engine, request).await?;
        crate::term::talk(format_args!("fence {} for {}", shared.id(), crate::term::line(key)));
        let proven = self.prove(&shared.helpers, key, ends).await;
        let made = proven.map_err(|why| Failure::new(COULD_NOT_RUN, why)).and_then(|proof| {
            let folder = MemberFence::files(&self.facts, shared.id(), &proof)?;
            Ok((proof, folder))
        });
        match made {
            Ok((proof, folder)) => {
                let fence = Rc::new(MemberFence::new(shared, proof, folder));
                self.all_fences.borrow_mut().push(Rc::clone(&fence));
                Ok(fence)
            }
            Err(failure) => {
                // Nobody else would: its keeper waits to be told.
                shared.remove().await;
                Err(failure)
            }
        }
    }

    /// Asks when a fence and its guard were started.
    ///
    /// # Errors
    /// In words, when one of them does not run.
    pub(crate) async fn prove(&self, helpers: &Helpers, key: &str, ends: u64) -> Result<FenceProof, String> {
        let started = async |id: &str, what: &str| {
            let found = self.inspect(id, self.facts.version).await.map_err(|_| format!("{what} is gone"))?;
            match ServedMember::runs(&found) {
                true => Ok(text(&found, "/State/StartedAt").to_owned()),
                false => Err(format!("{what} does not run")),
            }
        };
        let fence = started(&helpers.fence, "the fence").await?;
        let guard = started(&helpers.guard, "the guard").await?;
        Ok(FenceProof { key: key.to_owned(), fence, guard, ends })
    }

    /// Removes a fence some time after its last member.
    pub(crate) fn release(self: &Rc<Self>, fence: &Rc<MemberFence>) {
        if !self.is_free(fence) {
            return;
        }
        let (serving, fence) = (Rc::clone(self), Rc::clone(fence));
        let wait = if fence.key.starts_with(ALONE) { Duration::ZERO } else { IDLE };
        tokio::task::spawn_local(async move {
            tokio::time::sleep(wait).await;
            if serving.is_free(&fence) {
                serving.remove_fence(&fence).await;
            }
        });
    }

    /// Tells whether a fence has nobody, and nobody comes.
    pub(crate) fn is_free(&self, fence: &MemberFence) -> bool {
        fence.busy.get() == 0 && !fence.holds_others.get() && self.members_of(fence).is_empty()
    }

    /// Removes a fence that has no members.
    pub(crate) async fn remove_fence(&self, fence: &Rc<MemberFence>) {
        let _under_way = self.work.begin();
        self.fences.take_out(fence);
        self.all_fences.borrow_mut().retain(|other| !Rc::ptr_eq(other, fence));
        fence.shared.remove().await;
        fence.forget();
    }

    /// Gives every member of a fence the names of all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn renew_names(&self, fence: &MemberFence) -> Result<(), Denied> {
        let mut names: Vec<String> =
            self.members_of(fence).iter().flat_map(|member| member.names.borrow().clone()).collect();
        names.sort();
        names.dedup();
        fence.write_names(&self.facts, &names).map_err(|failure| broken(&failure))
    }

    /// Returns the program that begins a member which has files of this machine.
    ///
    /// # Errors
    /// When this build has none, or it cannot be written.
    pub(crate) fn init(&self) -> Result<PathBuf, Failure> {
        let program = init::PROGRAM.ok_or_else(|| {
            Failure::new(COULD_NOT_RUN, "this build of ringfence has no first program for containers")
                .hint("build it with libc6-dev installed")
        })?;
        let path = self.facts.folder.join(format!("init-{}", env!("CARGO_PKG_VERSION")));
        let is_there = fs::read(&path).is_ok_and(|found| found == program);
        if !is_there {
            let mut file =
                tempfile::NamedTempFile::new_in(&self.facts.folder).map_err(|error| cannot(&path, &error))?;
            let written = file
                .write_all(program)
                .and_then(|()| file.as_file().set_permissions(fs::Permissions::from_mode(0o555)));
            written.map_err(|error| cannot(&path, &error))?;
            file.persist(&path).map_err(|error| cannot(&path, &error.error))?;
        }
        Ok(path)
    }
}

/// Draws an id.
///
/// # Errors
/// When the kernel gives no random bytes.
pub(crate) fn random() -> Result<WorkflowId, Denied> {
    WorkflowId::random().map_err(|error| Denied::new(500, format!("no random bytes: {error}")))
}

/// Makes the answer of a failure of ringfence's own.
pub(crate) fn broken(failure: &Failure) -> Denied {
    Denied::new(500, words(failure))
}

/// Puts a failure in one line.
pub(crate) fn words(failure: &Failure) -> String {
    let mut text = failure.message.clone();
    for cause in &failure.causes {
        text.push_str(": ");
        text.push_str(cause);
    }
    if let Some(hint) = &failure.hint {
        text.push_str("; ");
        text.push_str(hint);
    }
    text
}
