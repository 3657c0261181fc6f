//! Members of an earlier `serve` on the same socket, found again.
//!
//! Labels alone prove nothing: an image can have them. A member is one whose name ringfence gave,
//! whose network is that of a fence with a record on this machine, and whose labels say that it is
//! this socket's. A fence that was made with another policy is as good as lost. Members of a fence
//! that is lost are ended and stay, so that a client can remove them. What is no member and says
//! that it is, is ended too.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bollard::query_parameters::{KillContainerOptions, ListContainersOptions};
use netpolicy::policy::Policy;
use serde_json::Value;

use super::create::{names_with, text};
use super::fences::{ALONE, FenceProof, MemberFence};
use super::files::BindAsk;
use super::made::volumes_of;
use super::members::{MemberFacts, MemberFiles, ServedMember};
use super::start::{never_ran, open_ports};
use super::state::Serving;
use crate::host::state;
use crate::serve::answer::asked::{AskedFor, LABEL_ASKED};
use crate::supervisor::engine::describe;
use crate::supervisor::inventory::{self, WorkflowSummary};
use crate::supervisor::records::runs::Run;
use crate::supervisor::run::shared_fence::{Adoption, SharedFence};
use crate::supervisor::spec::workflow::{LABEL_COVERS, LABEL_GROUP, LABEL_NAMES, LABEL_SERVE, Role};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::init::InitPlace;
use crate::wire::{PolicyDigest, WorkflowId};

impl Serving {
    /// Finds the members of an earlier `serve`, and keeps their fences.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn find_again(self: &Rc<Self>) -> Result<(), Failure> {
        self.remove_looks().await?;
        let own = format!("{LABEL_SERVE}={}", self.facts.id);
        let filters = Some(HashMap::from([("label".to_owned(), vec![own])]));
        // Of any length: labels of images can be long.
        let listed = ListContainersOptions { all: true, filters, ..Default::default() };
        let listed = self.facts.engine.list_containers(listed).await;
        let listed = listed.map_err(|error| Failure::new(COULD_NOT_RUN, describe(&error)))?;
        let ids: Vec<&str> = listed.iter().filter_map(|entry| entry.id.as_deref()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        for found in inventory::workflows(&self.facts.engine).await? {
            let of_it: Vec<String> = found
                .members()
                .map(|part| part.handle.clone())
                .filter(|id| ids.contains(&id.as_str()))
                .collect();
            if of_it.is_empty() {
                continue;
            }
            let kept = match found.is_recorded() {
                true => self.keep(&found, &of_it).await,
                false => {
                    let what = format!("no record of {} is on this machine", found.id);
                    Err(Failure::new(COULD_NOT_RUN, what))
                }
            };
            if let Err(failure) = kept {
                failure.tell();
                self.end_unkept(found.id, &of_it).await;
            }
        }
        Ok(())
    }

    /// Keeps one fence and its members.
    async fn keep(self: &Rc<Self>, found: &WorkflowSummary, ids: &[String]) -> Result<(), Failure> {
        let (mut there, mut unkept) = (Vec::new(), Vec::new());
        let mut unread = None;
        for id in ids {
            match self.inspect(id, self.facts.version).await {
                Ok(inspected) => there.push((id, inspected)),
                Err(denied) if denied.status == 404 => {}
                // One that the engine describes at too great a length ends no other member.
                Err(denied) => {
                    unkept.push(id.clone());
                    unread = Some(Failure::new(COULD_NOT_RUN, denied.message));
                }
            }
        }
        let Some((_, first)) = there.first() else { return unread.map_or(Ok(()), Err) };
        // That of a fence whose proof is gone, and which is lost.
        let said = text(first, &format!("/Config/Labels/{LABEL_GROUP}"));
        let fence = self.keep_fence(found, said).await?;
        // It stays until all of them were looked at.
        let _claim = self.hold(&fence);
        for (id, inspected) in &there {
            match self.known(&fence, id, inspected) {
                Some(member) => {
                    self.take_filled(inspected).await;
                    self.take_again(Rc::new(member), inspected).await;
                }
                None => unkept.push((*id).clone()),
            }
        }
        fence.holds_others.set(!unkept.is_empty());
        self.end_unkept(found.id, &unkept).await;
        if fence.shared.check().is_none() {
            self.fences.put(&fence.key, &fence);
        }
        self.renew_names(&fence).map_err(|denied| Failure::new(COULD_NOT_RUN, denied.message))
    }

    /// Keeps a fence: one that stands as it was proven, or one that is lost.
    async fn keep_fence(
        self: &Rc<Self>,
        found: &WorkflowSummary,
        said: &str,
    ) -> Result<Rc<MemberFence>, Failure> {
        let proof = FenceProof::read(&self.facts, found.id);
        // What is gone is known by its record.
        let helpers = found.helpers().or_else(|| Run::of(found.id)?.helpers());
        let unknown = || Failure::new(COULD_NOT_RUN, format!("the fence of {} is gone", found.id));
        let helpers = helpers.ok_or_else(unknown)?;
        let doubt = match &proof {
            None => Some("nothing says how its fence was proven".to_owned()),
            Some(proof) if !is_made_with(&self.facts.policy, found.digest.as_ref(), &proof.key) => {
                Some("it was made with another policy".to_owned())
            }
            Some(proof) => match self.prove(&helpers, &proof.key, proof.ends).await {
                Ok(now) if now == *proof => None,
                Ok(_) => Some("the fence or the guard was started again".to_owned()),
                Err(why) => Some(why),
            },
        };
        let proof = proof.unwrap_or_else(|| FenceProof { key: said.to_owned(), ..FenceProof::default() });
        let ends = SystemTime::UNIX_EPOCH + Duration::from_secs(proof.ends);
        let adoption = Adoption { found, helpers, doubt, ends };
        let folder = MemberFence::files(&self.facts, found.id, &proof)?;
        let shared = SharedFence::adopt(&self.facts.engine, adoption).await?;
        let fence = Rc::new(MemberFence::new(shared, proof, folder));
        self.all_fences.borrow_mut().push(Rc::clone(&fence));
        Ok(fence)
    }

    /// Ends containers that this `serve` does not keep: nobody would watch over them.
    async fn end_unkept(&self, of: WorkflowId, ids: &[String]) {
        let unkept: Vec<&String> = ids.iter().filter(|id| !self.members.borrow().contains_key(*id)).collect();
        for id in &unkept {
            let options = KillContainerOptions { signal: "KILL".to_owned() };
            // It may have ended.
            let _ = self.facts.engine.api.kill_container(id, Some(options)).await;
        }
        if !unkept.is_empty() {
            let names: Vec<&str> = unkept.iter().map(|id| id.get(..12).unwrap_or(id)).collect();
            crate::term::essential(format_args!(
                "{}: containers that cannot be kept were ended; `ringfence stop {of}` removes them",
                names.join(", ")
            ));
        }
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
        is_as_decided(fence, covers, inspected).map_err(|failure| failure.tell()).ok()?;
        let facts = MemberFacts {
            id: id.to_owned(),
            names: names_with(names, &name, id),
            name,
            fence: Rc::clone(fence),
            asked: AskedFor::read(label(LABEL_ASKED))?,
            files: self.files_of(fence, inspected, covers).map_err(|failure| failure.tell()).ok()?,
            covers,
        };
        Some(facts.member())
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
        // What is in it tells whether a start is under way.
        let words = fence.words_of(covers);
        let was_asked = Cell::new(fence.was_asked(covers) || !never_ran(inspected));
        Ok(Some(MemberFiles { asked, laid, words, memory: memory.unwrap_or_default(), was_asked }))
    }

    /// Gives the volumes of a member back that an earlier `serve` let the engine fill. An engine
    /// has a container in no list before it has filled its volumes, and one creation alone was let
    /// fill them.
    async fn take_filled(&self, inspected: &Value) {
        for name in volumes_of(inspected) {
            let Some(_held) = self.volumes.hold_left(&name) else { continue };
            match self.fills.take_out(&BTreeSet::from([name.clone()])).await {
                Ok(()) => self.volumes.give_up(&name),
                Err(failure) => failure.tell(),
            }
        }
    }

    /// Takes a member, with its ports if it runs. One that ended while nobody was there is removed,
    /// where its client asked for that.
    async fn take_again(self: &Rc<Self>, member: Rc<ServedMember>, inspected: &Value) {
        self.members.borrow_mut().insert(member.id.clone(), Rc::clone(&member));
        let runs = ServedMember::runs(inspected);
        if runs && self.may_go_on(&member) {
            member.has_begun.set(true);
            if let Err(denied) = open_ports(self, &member).await {
                crate::term::talk(crate::term::line(&denied.message));
            }
            return;
        }
        if runs {
            self.end(&member).await;
        } else {
            self.settle(&member).await;
        }
        if member.asked.auto_remove
            && !never_ran(inspected)
            && let Err(denied) = self.remove_now(&member, true, true, self.facts.version).await
        {
            crate::term::talk(crate::term::line(&denied.message));
        }
    }

    /// Tells whether a member that runs may go on: its fence stands, a `serve` started it and let
    /// it begin, and its files lie below projects that are still given.
    fn may_go_on(&self, member: &ServedMember) -> bool {
        let is_given = |ask: &BindAsk| self.facts.roots.iter().any(|root| ask.source.starts_with(&root.path));
        let was_begun = |files: &MemberFiles| {
            // What somebody else started has an empty file, too.
            member.fence.was_asked(member.covers) && was_let_begin(&files.words)
        };
        let of_files = |files: &MemberFiles| was_begun(files) && files.asked.iter().all(is_given);
        member.fence.shared.check().is_none() && member.files.as_ref().is_none_or(of_files)
    }
}

/// Judges a container that the `serve` which made it did not judge any more.
fn is_as_decided(fence: &MemberFence, covers: WorkflowId, inspected: &Value) -> Result<(), Failure> {
    let unread = |error: std::io::Error| {
        Failure::new(COULD_NOT_RUN, "nobody can say what a container was decided to be").caused_by(&error)
    };
    if let Some(decided) = fence.decided(covers).map_err(unread)? {
        decided.judge(inspected).map_err(|denied| Failure::new(COULD_NOT_RUN, denied.message))?;
        fence.forget_decided(covers);
    }
    Ok(())
}

/// Tells whether a fence was made with a policy. That of a container alone may be cut off.
fn is_made_with(policy: &Policy, digest: Option<&PolicyDigest>, key: &str) -> bool {
    let is_that_of = |policy: &Policy| digest.is_some_and(|digest| digest.to_string() == policy.digest());
    let cut_off = || is_that_of(&Policy { network_denied: true, ..policy.clone() });
    is_that_of(policy) || key.starts_with(ALONE) && cut_off()
}

/// Tells whether a first program that was started was let begin, by the file with its words: they
/// are in it until then, and for ever where it was not.
fn was_let_begin(words: &Path) -> bool {
    fs::metadata(words).is_ok_and(|found| found.len() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_of_another_policy_is_none_of_this_one() {
        let now = Policy::nothing();
        let cut_off = Policy { network_denied: true, ..now.clone() };
        let other = Policy { project_trusted: !now.project_trusted, ..now.clone() };
        let digest = |policy: &Policy| policy.digest().parse::<PolicyDigest>().unwrap();
        for (made_with, key, kept) in [
            (&now, "compose:shop", true),
            (&now, "alone:0000002a", true),
            (&cut_off, "alone:0000002a", true),
            (&cut_off, "compose:shop", false),
            (&other, "compose:shop", false),
            (&other, "alone:0000002a", false),
        ] {
            assert_eq!(is_made_with(&now, Some(&digest(made_with)), key), kept, "{key}");
        }
        assert!(!is_made_with(&cut_off, Some(&digest(&now)), "alone:0000002a"), "what is cut off now");
        assert!(!is_made_with(&now, None, "alone:0000002a"));
    }

    #[test]
    fn words_that_are_there_say_that_nobody_let_it_begin() {
        let folder = tempfile::tempdir().unwrap();
        let words = folder.path().join("words");
        assert!(!was_let_begin(&words), "nobody knows");
        fs::write(&words, "ask\ngo\n").unwrap();
        assert!(!was_let_begin(&words));
        fs::write(&words, "").unwrap();
        assert!(was_let_begin(&words));
    }
}
