//! Ends of members: what the engine tells of them, and their removal.
//!
//! ```text
//!  engine's events ─ die ─▶ ports closed, files settled, removed where that was asked for
//!                  └ destroy ─▶ forgotten; the last one of a group takes its fence along
//! ```

use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::http::{Answer, Sent, json, nothing};
use super::members::ServedMember;
use super::state::Serving;
use crate::serve::answer::others::pruned;
use crate::serve::denied::Denied;
use crate::serve::request::calls::ContainerCall;
use crate::serve::request::filters::Filters;
use crate::serve::request::upstream_line::Line;
use crate::serve::request::version::ApiMinor;
use crate::supervisor::spec::workflow::LABEL_SERVE;

/// Time before the engine is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest event.
const LONGEST: usize = 1 << 20;

impl Serving {
    /// Follows what happens to members, for as long as this `serve` lives.
    pub(crate) async fn follow(self: Rc<Self>) {
        loop {
            let version = self.facts.version;
            let own = format!("{LABEL_SERVE}={}", self.facts.id);
            let filters = Filters::default().with("label", &own).with("type", "container");
            let line = Line::new("GET", "/events", &[("filters", filters.json())]);
            if let Ok(answer) = self.http.send(&line, version, Sent::Nothing).await {
                // What happened before is looked at once the events come.
                self.look_at_all(version).await;
                let mut pieces = answer.into_body().into_data_stream();
                let mut pending = Vec::new();
                while let Some(Ok(piece)) = pieces.next().await {
                    pending.extend_from_slice(&piece);
                    for event in lines(&mut pending) {
                        self.happened(&event, version);
                    }
                    if pending.len() > LONGEST {
                        break;
                    }
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn happened(self: &Rc<Self>, event: &Value, version: ApiMinor) {
        let id = event["Actor"]["ID"].as_str().unwrap_or_default();
        let Some(member) = self.members.borrow().get(id).cloned() else { return };
        let action = event["Action"].as_str().unwrap_or_default().to_owned();
        if !matches!(action.as_str(), "die" | "destroy") {
            return;
        }
        let (serving, under_way) = (Rc::clone(self), self.work.begin());
        tokio::task::spawn_local(async move {
            serving.look_at(&member, version).await;
            drop(under_way);
        });
    }

    /// Looks at every member.
    pub(crate) async fn look_at_all(self: &Rc<Self>, version: ApiMinor) {
        let members: Vec<Rc<ServedMember>> = self.members.borrow().values().cloned().collect();
        for member in members {
            self.look_at(&member, version).await;
        }
    }

    /// Looks at a member that may have ended or be gone.
    async fn look_at(self: &Rc<Self>, member: &Rc<ServedMember>, version: ApiMinor) {
        let turn = member.fence.turn.lock().await;
        if member.is_leaving.get() {
            return;
        }
        let found = self.inspect(&member.id, version).await;
        match found {
            Err(denied) if denied.status == 404 => {
                let settled = self.gone(member).await;
                drop(turn);
                self.forget_gone(member, false, settled).await;
            }
            Ok(found) if !ServedMember::runs(&found) && member.is_to_be_settled() => {
                self.settle(member).await;
                drop(turn);
                self.remove_if_asked(member, version).await;
            }
            // It runs, never ran, or the engine is away: its events come later.
            _ => {}
        }
    }

    /// Removes a member. It goes on when the client goes away.
    ///
    /// # Errors
    /// When the engine does not remove it.
    pub(crate) async fn remove(
        self: &Rc<Self>,
        member: &Rc<ServedMember>,
        volumes: bool,
        force: bool,
        version: ApiMinor,
    ) -> Result<Answer, Denied> {
        let member = Rc::clone(member);
        self.to_its_end(|serving| async move { serving.remove_now(&member, volumes, force, version).await })
            .await
            .map(|()| nothing(204))
    }

    /// Removes a member that has ended, where its client asked for that.
    pub(crate) async fn remove_if_asked(self: &Rc<Self>, member: &Rc<ServedMember>, version: ApiMinor) {
        if member.asked.auto_remove
            && !member.is_restarted()
            && let Err(denied) = self.remove_now(member, true, false, version).await
        {
            crate::term::talk(crate::term::line(&denied.message));
        }
    }

    pub(crate) async fn remove_now(
        self: &Rc<Self>,
        member: &Rc<ServedMember>,
        volumes: bool,
        force: bool,
        version: ApiMinor,
    ) -> Result<(), Denied> {
        let turn = member.fence.turn.lock().await;
        if member.is_leaving.replace(true) {
            let words = format!("removal of container {} is already in progress", member.name.borrow());
            return Err(Denied::plain(409, words));
        }
        let line = ContainerCall::Remove { volumes, force }.upstream(&member.id);
        match self.http.json(&line, version, Sent::Nothing).await {
            Err(denied) if denied.status != 404 => {
                member.is_leaving.set(false);
                Err(denied)
            }
            _ => {
                let settled = self.gone(member).await;
                // An engine that is slow with volumes holds up no other member.
                drop(turn);
                self.forget_gone(member, volumes, settled).await;
                Ok(())
            }
        }
    }

    /// Forgets a member that is not on the engine any more; tells whether what it left was put
    /// back.
    async fn gone(self: &Rc<Self>, member: &Rc<ServedMember>) -> bool {
        member.is_leaving.set(true);
        let settled = self.settle(member).await;
        self.members.borrow_mut().remove(&member.id);
        member.fence.forget_words(member.covers);
        let forgotten = self.networks.borrow_mut().forget(|id| id == member.id);
        let written = match forgotten {
            true => self.write_networks().await,
            false => Ok(()),
        };
        for done in [written, self.renew_names(&member.fence)] {
            if let Err(denied) = done {
                crate::term::talk(crate::term::line(&denied.message));
            }
        }
        self.release(&member.fence);
        settled
    }

    /// Forgets the files of a member that is gone, with the volumes of its own, once what it left
    /// was put back. An engine that does not say that it has ended is asked again and again.
    async fn forget_gone(self: &Rc<Self>, member: &Rc<ServedMember>, volumes: bool, settled: bool) {
        if settled {
            self.forget_files(member.covers, volumes).await;
            return;
        }
        // The guard is there until then, and writes down what is put back.
        let (serving, member, claim) = (Rc::clone(self), Rc::clone(member), self.hold(&member.fence));
        tokio::task::spawn_local(async move {
            while !serving.settle_gone(&member).await {
                tokio::time::sleep(AGAIN).await;
            }
            drop(claim);
            serving.forget_files(member.covers, volumes).await;
        });
    }

    async fn settle_gone(&self, member: &ServedMember) -> bool {
        let _turn = member.fence.turn.lock().await;
        self.settle(member).await
    }

    /// Removes the members that do not run.
    ///
    /// # Errors
    /// When a filter is unknown, or the engine does not answer.
    pub(crate) async fn prune(
        self: &Rc<Self>,
        filters: &Filters,
        version: ApiMinor,
    ) -> Result<Answer, Denied> {
        filters.only(&["label", "label!"])?;
        let (found, place) = self.containers(true, None, filters, version).await?;
        let is_over = |entry: &&Value| matches!(entry["State"].as_str(), Some("created" | "exited" | "dead"));
        let over = found.iter().filter(is_over).filter_map(|entry| entry["Id"].as_str());
        let over: Vec<String> = over.map(str::to_owned).collect();
        drop((found, place));
        let mut removed = Vec::new();
        for id in over {
            let Ok(member) = self.member(&id) else { continue };
            if self.remove(&member, false, false, version).await.is_ok() {
                removed.push(id);
            }
        }
        Ok(json(200, &pruned("ContainersDeleted", &removed)))
    }
}

/// Takes whole lines of JSON out of what has arrived.
pub(crate) fn lines(pending: &mut Vec<u8>) -> Vec<Value> {
    let mut found = Vec::new();
    while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
        let line: Vec<u8> = pending.drain(..=end).collect();
        found.extend(serde_json::from_slice::<Value>(&line));
    }
    found
}
