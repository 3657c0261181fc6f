//! Members: containers that clients made through this socket. Nothing else on the engine exists
//! for them.
//!
//! A container is a member if this process made it, or, after a restart, if its labels, its name
//! and its network mode all say so and its fence has a record on this machine.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use super::fences::{MemberFence, put};
use super::files::BindAsk;
use super::state::Serving;
use super::uncovered::CoverWatch;
use crate::serve::answer::asked::AskedFor;
use crate::serve::answer::shown::ServedPort;
use crate::serve::denied::Denied;
use crate::supervisor::forward::Forwarding;
use crate::supervisor::spec::workflow::Role;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;
use crate::workspace::aftermath::Aftermath;

/// The shortest beginning of an id that means a container.
const SHORTEST_ID: usize = 4;

/// A member.
pub(crate) struct ServedMember {
    /// The engine's id.
    pub(crate) id: String,
    /// Name that clients know.
    pub(crate) name: RefCell<String>,
    /// The fence that it is in.
    pub(crate) fence: Rc<MemberFence>,
    /// The client's wishes.
    pub(crate) asked: AskedFor,
    /// Its names in the fence.
    pub(crate) names: RefCell<Vec<String>>,
    /// Files of this machine, and how they are covered.
    pub(crate) files: Option<MemberFiles>,
    /// The id under which volumes and covers of its own are kept.
    pub(crate) covers: WorkflowId,
    /// Set while its own program may run: what is not begun has no exec.
    pub(crate) has_begun: Cell<bool>,
    /// Set while its start is under way.
    pub(crate) is_starting: Cell<bool>,
    /// Set while it was not seen to end after a kill, so that its files are not put back yet.
    pub(crate) is_unsettled: Cell<bool>,
    /// Held by each restart of it that is under way: between stop and start it is not removed.
    pub(crate) restarts: Rc<()>,
    /// Ports that lead to it.
    pub(crate) ports: RefCell<Vec<ServedPort>>,
    /// The carrying of those ports.
    pub(crate) forwarding: RefCell<Option<Forwarding>>,
    /// Journal by which files are put back after its end.
    pub(crate) aftermath: RefCell<Option<Aftermath>>,
    /// Watch over its covered files while it runs.
    pub(crate) watch: RefCell<Option<CoverWatch>>,
    /// Held by each copy from or to it that is under way.
    pub(crate) copies: Arc<()>,
    /// Set when it is being removed.
    pub(crate) is_leaving: Cell<bool>,
}

/// Facts of a member that stay as they are, or begin so.
pub(crate) struct MemberFacts {
    /// The engine's id.
    pub(crate) id: String,
    /// Name that clients know.
    pub(crate) name: String,
    /// The fence that it is in.
    pub(crate) fence: Rc<MemberFence>,
    /// The client's wishes.
    pub(crate) asked: AskedFor,
    /// Its names in the fence.
    pub(crate) names: Vec<String>,
    /// Files of this machine, and how they are covered.
    pub(crate) files: Option<MemberFiles>,
    /// The id under which volumes and covers of its own are kept.
    pub(crate) covers: WorkflowId,
}

impl MemberFacts {
    /// Makes the member, of which nothing is known to run.
    pub(crate) fn member(self) -> ServedMember {
        ServedMember {
            id: self.id,
            name: RefCell::new(self.name),
            fence: self.fence,
            asked: self.asked,
            names: RefCell::new(self.names),
            files: self.files,
            covers: self.covers,
            has_begun: Cell::new(false),
            is_starting: Cell::new(false),
            is_unsettled: Cell::new(false),
            restarts: Rc::default(),
            ports: RefCell::default(),
            forwarding: RefCell::default(),
            aftermath: RefCell::default(),
            watch: RefCell::default(),
            copies: Arc::default(),
            is_leaving: Cell::new(false),
        }
    }
}

/// Files of this machine that a member has.
pub(crate) struct MemberFiles {
    /// Files that it was given.
    pub(crate) asked: Vec<BindAsk>,
    /// Covers: their file on this machine, and their place.
    pub(crate) laid: Vec<(PathBuf, String)>,
    /// The file with the words of its first program. It is empty before its start, and once its own
    /// program was let begin. A container that runs while it is not empty was not let begin.
    pub(crate) words: PathBuf,
    /// Its places in memory.
    pub(crate) memory: Vec<String>,
    /// Set when a start was ever asked of the engine: the place of its first program may be known.
    pub(crate) was_asked: Cell<bool>,
}

impl Serving {
    /// Finds the member that a client means: by its id, its name, or the beginning of one id.
    ///
    /// # Errors
    /// When there is none: what is somebody else's does not exist.
    pub(crate) fn member(&self, word: &str) -> Result<Rc<ServedMember>, Denied> {
        let members = self.members.borrow();
        if let Some(member) = members.get(word) {
            return Ok(Rc::clone(member));
        }
        if let Some(member) = members.values().find(|member| *member.name.borrow() == word) {
            return Ok(Rc::clone(member));
        }
        let is_start = word.len() >= SHORTEST_ID && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut begun = members.values().filter(|member| is_start && member.id.starts_with(word));
        match (begun.next(), begun.next()) {
            (Some(member), None) => Ok(Rc::clone(member)),
            _ => Err(Denied::no_container(word)),
        }
    }

    /// Lists the members of a fence.
    pub(crate) fn members_of(&self, fence: &MemberFence) -> Vec<Rc<ServedMember>> {
        let members = self.members.borrow();
        members.values().filter(|member| member.fence.id() == fence.id()).cloned().collect()
    }

    /// Returns the engine's name of a member.
    pub(crate) fn engine_name(fence: &MemberFence, name: &str) -> String {
        format!("{}-{name}", fence.shared.workflow.object(Role::Member))
    }
}

impl ServedMember {
    /// Tells whether an answer of the engine says that a container runs.
    pub(crate) fn runs(inspected: &Value) -> bool {
        inspected["State"]["Running"].as_bool() == Some(true)
    }

    /// Empties the file with the words of its first program, which was let begin.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn empty_words(&self) -> Result<(), Failure> {
        let Some(files) = &self.files else { return Ok(()) };
        put(&files.words, "").map_err(|error| {
            Failure::new(COULD_NOT_RUN, format!("cannot empty {}", files.words.display())).caused_by(&error)
        })
    }

    /// Refuses another start of a member with files of this machine. Its program, or the engine's
    /// words of a start that failed, may have told the place of the first program, over which a
    /// mount can be led then.
    ///
    /// # Errors
    /// When a start was ever asked of the engine.
    pub(crate) fn may_be_started(&self) -> Result<(), Denied> {
        match self.files.as_ref().is_some_and(|files| files.was_asked.get()) {
            true => Err(Denied::new(
                409,
                "a container with files of this machine is started once; remove it and make it again",
            )),
            false => Ok(()),
        }
    }

    /// Tells whether something is put back after its end.
    pub(crate) fn is_to_be_settled(&self) -> bool {
        self.has_begun.get() || self.is_unsettled.get()
    }

    /// Tells whether a restart of it is under way.
    pub(crate) fn is_restarted(&self) -> bool {
        Rc::strong_count(&self.restarts) > 1
    }
}
