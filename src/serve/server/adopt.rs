//! Members of an earlier `serve` on the same socket, found again.
//!
//! Labels alone prove nothing: an image can have them. A member is one whose name ringfence gave,
//! whose network is that of a fence with a record on this machine, and whose labels say that it is
//! this socket's.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::create::{names_with, text};
use super::fences::MemberFence;
use super::files::BindAsk;
use super::http::Sent;
use super::members::{MemberFiles, ServedMember};
use super::start::open_ports;
use super::state::Serving;
use crate::host::clock::unix_seconds;
use crate::host::state;
use crate::serve::answer::asked::{AskedFor, LABEL_ASKED};
use crate::serve::denied::Denied;
use crate::serve::request::filters::Filters;
use crate::serve::request::upstream_line::Line;
use crate::supervisor::inventory::{self, WorkflowSummary};
use crate::supervisor::run::shared_fence::SharedFence;
use crate::supervisor::spec::workflow::{LABEL_COVERS, LABEL_GROUP, LABEL_NAMES, LABEL_SERVE, Role};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;
use crate::wire::init::InitPlace;

/// A first program that was not let begin has ended after these seconds.
const ADMISSION: i64 = 30;

impl Serving {
    /// Finds the members of an earlier `serve`, and keeps their fences.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn find_again(self: &Rc<Self>) -> Result<(), Failure> {
        let version = self.facts.version;
        let lost = |denied: Denied| Failure::new(COULD_NOT_RUN, denied.message);
        let own = format!("{LABEL_SERVE}={}", self.facts.id);
        let filters = Filters::default().with("label", &own);
        let line =
            Line::new("GET", "/containers/json", &[("all", "1".to_owned()), ("filters", filters.json())]);
        let listed = self.http.json(&line, version, Sent::Nothing).await.map_err(lost)?;
        let ids: Vec<&str> =
            listed.as_array().into_iter().flatten().filter_map(|entry| entry["Id"].as_str()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        for found in inventory::workflows(&self.facts.engine).await? {
            let of_it: Vec<String> = found
                .members()
                .map(|part| part.handle.clone())
                .filter(|id| ids.contains(&id.as_str()))
                .collect();
            if of_it.is_empty() || !found.is_recorded() {
                continue;
            }
            if let Err(failure) = self.keep(&found, &of_it).await {
                failure.tell();
            }
        }
        Ok(())
    }

    /// Keeps one fence and its members.
    async fn keep(self: &Rc<Self>, found: &WorkflowSummary, ids: &[String]) -> Result<(), Failure> {
        let shared = SharedFence::adopt(&self.facts.engine, found).await?;
        let mut fence: Option<Rc<MemberFence>> = None;
        let mut shared = Some(shared);
        for id in ids {
            let Ok(inspected) = self.inspect(id, self.facts.version).await else { continue };
            let key = text(&inspected, &format!("/Config/Labels/{LABEL_GROUP}")).to_owned();
            if fence.is_none() {
                fence = shared.take().map(|shared| MemberFence::new(&self.facts, key, shared)).transpose()?;
            }
            let Some(fence) = &fence else { continue };
            match self.known(fence, id, &inspected) {
                Some(member) => self.take_again(Rc::new(member), &inspected).await,
                None => crate::term::talk(format_args!(
                    "{} is no container of this socket's",
                    id.get(..12).unwrap_or(id)
                )),
            }
        }
        let Some(fence) = fence else { return Ok(()) };
        let cell = Rc::new(tokio::sync::OnceCell::new_with(Some(Rc::clone(&fence))));
        self.fences.borrow_mut().insert(fence.key.clone(), cell);
        self.renew_names(&fence).map_err(|denied| Failure::new(COULD_NOT_RUN, denied.message))?;
        self.release(&fence);
        Ok(())
    }

    /// Reads a member; none where something does not agree.
    fn known(&self, fence: &Rc<MemberFence>, id: &str, inspected: &Value) -> Option<ServedMember> {
        let label = |name: &str| text(inspected, &format!("/Config/Labels/{name}"));
        let begin = format!("/{}-", fence.shared.workflow.object(Role::Member));
        let name = text(inspected, "/Name").strip_prefix(&begin)?.to_owned();
        let network = text(inspected, "/HostConfig/NetworkMode");
        let is_own = label(LABEL_SERVE) == self.facts.id
            && label(LABEL_GROUP) == fence.key
            && network == format!("container:{}", fence.shared.helpers.fence);
        if !is_own {
            return None;
        }
        let names: Vec<String> =
            label(LABEL_NAMES).split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let covers = label(LABEL_COVERS).parse().ok()?;
        Some(ServedMember {
            id: id.to_owned(),
            names: RefCell::new(names_with(names, &name, id)),
            name: RefCell::new(name),
            fence: Rc::clone(fence),
            asked: AskedFor::read(label(LABEL_ASKED))?,
            files: self.files_of(fence, inspected, covers).map_err(|failure| failure.tell()).ok()?,
            covers,
            has_begun: Cell::new(false),
            ports: RefCell::default(),
            forwarding: RefCell::default(),
            aftermath: RefCell::default(),
            copies: Arc::default(),
            is_leaving: Cell::new(false),
        })
    }

    /// Reads which files of this machine a member has; none where it begins by itself. One whose
    /// files cannot be read is no member.
    fn files_of(
        &self,
        fence: &MemberFence,
        inspected: &Value,
        covers: WorkflowId,
    ) -> Result<Option<MemberFiles>, Failure> {
        let unread = || Failure::new(COULD_NOT_RUN, "the engine says nothing known of its mounts");
        let entrypoint: Vec<String> = match inspected.pointer("/Config/Entrypoint") {
            None | Some(Value::Null) => Vec::new(),
            Some(words) => serde_json::from_value(words.clone()).map_err(|_| unread())?,
        };
        if entrypoint.first().and_then(|first| InitPlace::read(first)).is_none() {
            return Ok(None);
        }
        let of_covers = state::folder("workspace")?.join(covers.to_string());
        let (mut asked, mut laid) = (Vec::new(), Vec::new());
        for mount in inspected["HostConfig"]["Mounts"].as_array().ok_or_else(unread)? {
            if mount["Type"].as_str().ok_or_else(unread)? != "bind" {
                continue;
            }
            let source = PathBuf::from(mount["Source"].as_str().ok_or_else(unread)?);
            let target = mount["Target"].as_str().ok_or_else(unread)?.to_owned();
            if source.starts_with(&of_covers) {
                laid.push((source, target));
            } else if !source.starts_with(&self.facts.folder) {
                let writable = mount["ReadOnly"].as_bool() != Some(true);
                asked.push(BindAsk { source, target, writable });
            }
        }
        let memory = inspected["HostConfig"]["Tmpfs"].as_object().map(|all| all.keys().cloned().collect());
        let words = fence.words(covers)?;
        Ok(Some(MemberFiles { asked, laid, words, memory: memory.unwrap_or_default() }))
    }

    /// Takes a member, with its ports if it runs.
    async fn take_again(self: &Rc<Self>, member: Rc<ServedMember>, inspected: &Value) {
        self.members.borrow_mut().insert(member.id.clone(), Rc::clone(&member));
        if !ServedMember::runs(inspected) {
            self.settle(&member).await;
            return;
        }
        let begun = text(inspected, "/State/StartedAt").parse::<Timestamp>().map(Timestamp::as_second);
        let now = i64::try_from(unix_seconds()).unwrap_or(i64::MAX);
        let is_old = begun.is_ok_and(|begun| now - begun >= ADMISSION);
        if member.files.is_some() && !is_old {
            // Nobody may have let it begin.
            self.kill(&member).await;
            self.settle(&member).await;
            return;
        }
        member.has_begun.set(true);
        if let Err(denied) = open_ports(self, &member).await {
            crate::term::talk(crate::term::line(&denied.message));
        }
    }
}
