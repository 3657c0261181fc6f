//! Calls on containers: only on members, by the engine's whole id.

use std::rc::Rc;

use hyper::body::{Bytes, Incoming};
use hyper::http::request::Parts;
use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use super::http::{Answer, Sent, json, nothing, passed};
use super::members::ServedMember;
use super::start::Started;
use super::state::Serving;
use super::streams::{Place, RawAsk, hijack};
use super::whole_answers::WholePlace;
use crate::serve::answer::container::{
    ENGINES_FILTERS, NamePatterns, OWN_FILTERS, fits, inspect, known_filters, listed, put_command_back,
    put_program_back,
};
use crate::serve::decide::{exec, update};
use crate::serve::denied::Denied;
use crate::serve::request::calls::{ContainerCall, Stopping};
use crate::serve::request::fields::read;
use crate::serve::request::filters::Filters;
use crate::serve::request::upstream_line::Line;
use crate::serve::request::version::ApiMinor;
use crate::supervisor::spec::workflow::LABEL_SERVE;

/// The longest stop, in seconds, while the whole group waits for it, and one of no other time.
const LONGEST_STOP: i64 = 30;
const USUAL_STOP: i64 = 10;

/// A request, as far as handlers need it.
pub(crate) struct Received {
    /// Its head, which holds the connection.
    pub(crate) head: Parts,
    /// Its JSON body, where it has one.
    pub(crate) json: Bytes,
    /// Its body, where that is a tar.
    pub(crate) tar: Option<Incoming>,
    /// The version that is spoken with the engine.
    pub(crate) version: ApiMinor,
    /// The connection's place among those that are open.
    pub(crate) place: Place,
}

impl Serving {
    /// Lists members.
    ///
    /// # Errors
    /// When a filter is unknown, or the engine does not answer.
    pub(crate) async fn containers(
        &self,
        all: bool,
        limit: Option<i64>,
        filters: &Filters,
        version: ApiMinor,
    ) -> Result<(Vec<Value>, WholePlace), Denied> {
        known_filters(filters)?;
        let names = NamePatterns::read(filters)?;
        let own = format!("{LABEL_SERVE}={}", self.facts.id);
        let engines = filters.clone().without(&OWN_FILTERS).with("label", &own);
        debug_assert!(engines.keys().all(|key| ENGINES_FILTERS.contains(&key)));
        // With a limit engines show those that do not run, too.
        let all = all || limit.is_some_and(|limit| limit > 0);
        let mut query = vec![("filters", engines.json())];
        if all {
            query.push(("all", "1".to_owned()));
        }
        let line = Line::new("GET", "/containers/json", &query);
        let (found, place) = self.http.list(&line, version, &self.whole).await?;
        let mut shown = Vec::new();
        for entry in if let Value::Array(found) = found { found } else { Vec::new() } {
            let Some(member) = entry["Id"].as_str().and_then(|id| self.members.borrow().get(id).cloned())
            else {
                continue;
            };
            let running = entry["State"].as_str() == Some("running");
            let image = entry["ImageID"].as_str().unwrap_or_default().to_owned();
            let one = self
                .show(&member, running, |of| fits(filters, &names, of, &image).then(|| listed(entry, of)));
            // A long list does not keep others waiting.
            tokio::task::yield_now().await;
            shown.extend(one.map(|mut one| {
                if member.files.is_some() {
                    put_command_back(&mut one);
                }
                one
            }));
        }
        if let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0) {
            shown.truncate(limit);
        }
        Ok((shown, place))
    }

    /// Carries out a call on one member.
    ///
    /// # Errors
    /// When it is none, or the call is refused.
    pub(crate) async fn container(
        self: &Rc<Self>,
        word: &str,
        call: &ContainerCall,
        received: Received,
    ) -> Result<Answer, Denied> {
        let member = self.member(word)?;
        let version = received.version;
        match call {
            ContainerCall::Inspect { .. } => self.show_member(&member, call, version).await,
            ContainerCall::Start => self.started(&member, version).await,
            ContainerCall::Restart(stopping) => self.restart(&member, stopping.clone(), version).await,
            ContainerCall::Rename { name } => self.rename(&member, name.as_str(), version).await,
            ContainerCall::Remove { volumes, force } => self.remove(&member, *volumes, *force, version).await,
            ContainerCall::Attach(query) => {
                let line = call.upstream(&member.id);
                let asked = RawAsk { line, sent: Sent::Nothing, has_input: query.stdin && query.stream };
                hijack(&self.http, received, asked).await
            }
            ContainerCall::CreateExec => self.create_exec(&member, &received).await,
            ContainerCall::Update => self.update(&member, &received).await,
            ContainerCall::ArchiveGet { .. }
            | ContainerCall::ArchiveHead { .. }
            | ContainerCall::ArchivePut { .. }
            | ContainerCall::Export => self.copy(&member, call, received).await,
            ContainerCall::Logs(_)
            | ContainerCall::Stats { .. }
            | ContainerCall::Top
            | ContainerCall::Changes
            | ContainerCall::Wait { .. }
            | ContainerCall::Resize { .. } => self.pass(&member, call, version).await,
            ContainerCall::Unpause
            | ContainerCall::Stop(Stopping { .. })
            | ContainerCall::Kill { .. }
            | ContainerCall::Pause => {
                let turn = self.unless_starting(&member).await?;
                match call {
                    ContainerCall::Stop(stopping) if turn.is_some() => {
                        let call = ContainerCall::Stop(soon(stopping));
                        self.pass(&member, &call, version).await
                    }
                    call => self.pass(&member, call, version).await,
                }
            }
        }
    }

    /// Refuses what ends a member, or holds it up, while its start is under way: its first program
    /// would stand still before it was let begin. Nothing starts one that does not run while the
    /// returned turn is held.
    async fn unless_starting<'a>(
        &self,
        member: &'a ServedMember,
    ) -> Result<Option<MutexGuard<'a, ()>>, Denied> {
        if member.is_starting.get() {
            return Err(Denied::new(409, "the container's start is under way; ask again after that"));
        }
        Ok(match member.has_begun.get() {
            true => None,
            false => Some(member.fence.turn.lock().await),
        })
    }

    /// Passes a call on, written anew.
    async fn pass(
        &self,
        member: &ServedMember,
        call: &ContainerCall,
        version: ApiMinor,
    ) -> Result<Answer, Denied> {
        Ok(passed(self.http.send(&call.upstream(&member.id), version, Sent::Nothing).await?))
    }

    /// Stops a member and starts it. It goes on when the client goes away.
    async fn restart(
        self: &Rc<Self>,
        member: &Rc<ServedMember>,
        stopping: Stopping,
        version: ApiMinor,
    ) -> Result<Answer, Denied> {
        // What cannot be started again is not stopped.
        member.may_be_started()?;
        let member = Rc::clone(member);
        self.to_its_end(|serving| async move {
            // It is not removed between its end and its start.
            let held = Rc::clone(&member.restarts);
            let turn = serving.unless_starting(&member).await?;
            let stop = ContainerCall::Stop(if turn.is_some() { soon(&stopping) } else { stopping });
            serving.http.json(&stop.upstream(&member.id), version, Sent::Nothing).await?;
            drop(turn);
            let started = serving.start_or_remove(&member, version).await;
            drop(held);
            if started.is_err() && !member.is_leaving.get() {
                // It has ended, and its end was passed over.
                serving.remove_if_asked(&member, version).await;
            }
            started.map(|_| nothing(204))
        })
        .await
    }

    async fn started(
        self: &Rc<Self>,
        member: &Rc<ServedMember>,
        version: ApiMinor,
    ) -> Result<Answer, Denied> {
        Ok(nothing(match self.start(member, version).await? {
            Started::Now => 204,
            Started::Before => 304,
        }))
    }

    /// Shows one member.
    async fn show_member(
        &self,
        member: &ServedMember,
        call: &ContainerCall,
        version: ApiMinor,
    ) -> Result<Answer, Denied> {
        let line = call.upstream(&member.id);
        let (found, place) = self.http.whole(&line, version, &self.whole).await?;
        let running = ServedMember::runs(&found);
        let mut shown = self.show(member, running, |of| inspect(found, of));
        if member.files.is_some() {
            put_program_back(&mut shown, member.asked.entrypoint);
        }
        Ok(place.answer(shown).await)
    }

    /// Renames a member. It goes on when the client goes away: the engine and the fence have one
    /// name for it.
    async fn rename(
        self: &Rc<Self>,
        member: &Rc<ServedMember>,
        name: &str,
        version: ApiMinor,
    ) -> Result<Answer, Denied> {
        let (member, name) = (Rc::clone(member), name.to_owned());
        self.to_its_end(|serving| async move { serving.rename_now(&member, &name, version).await }).await
    }

    async fn rename_now(
        self: &Rc<Self>,
        member: &ServedMember,
        name: &str,
        version: ApiMinor,
    ) -> Result<Answer, Denied> {
        let _naming = self.name(name.to_owned())?;
        let query = [("name", Serving::engine_name(&member.fence, name))];
        let line = Line::new("POST", &format!("/containers/{}/rename", member.id), &query);
        self.http.json(&line, version, Sent::Nothing).await?;
        let before = member.name.replace(name.to_owned());
        let mut names = member.names.take();
        // A name that it was asked to have besides stays.
        let asked = member.asked.networks.values().flat_map(|network| &network.aliases);
        if !asked.chain([&member.asked.hostname]).any(|name| name.eq_ignore_ascii_case(&before)) {
            names.retain(|other| !other.eq_ignore_ascii_case(&before));
        }
        let names = super::create::names_with(names, name, &member.id);
        member.names.replace(names);
        self.renew_names(&member.fence)?;
        Ok(nothing(204))
    }

    async fn update(&self, member: &ServedMember, received: &Received) -> Result<Answer, Denied> {
        let spec = update(&read(&received.json)?, &self.ground())?;
        if let Some(body) = spec.json() {
            let line = ContainerCall::Update.upstream(&member.id);
            self.http.json(&line, received.version, Sent::Json(body.to_string())).await?;
        }
        Ok(json(200, &json!({ "Warnings": spec.warnings })))
    }

    async fn create_exec(&self, member: &ServedMember, received: &Received) -> Result<Answer, Denied> {
        let spec = exec(&read(&received.json)?)?;
        if !member.has_begun.get() {
            let line = ContainerCall::Inspect { size: false }.upstream(&member.id);
            let (now, _place) = self.http.whole(&line, received.version, &self.whole).await?;
            let words = match ServedMember::runs(&now) {
                true => "it is being started".to_owned(),
                false => format!("Container {} is not running", member.name.borrow()),
            };
            return Err(Denied::plain(409, words));
        }
        let line = ContainerCall::CreateExec.upstream(&member.id);
        let made = self.http.json(&line, received.version, Sent::Json(spec.json().to_string())).await?;
        Ok(json(201, &json!({ "Id": made["Id"] })))
    }
}

/// Bounds the time of a stop for which the group waits.
fn soon(stopping: &Stopping) -> Stopping {
    let t = match stopping.t.unwrap_or(USUAL_STOP) {
        t if (0..LONGEST_STOP).contains(&t) => t,
        _ => LONGEST_STOP,
    };
    Stopping { t: Some(t), signal: stopping.signal.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_waits_for_a_stop_for_so_long() {
        for (asked, given) in
            [(None, 10), (Some(0), 0), (Some(7), 7), (Some(86_400), 30), (Some(-1), 30), (Some(30), 30)]
        {
            let stopping = Stopping { t: asked, signal: Some("HUP".to_owned()) };
            assert_eq!(soon(&stopping), Stopping { t: Some(given), ..stopping.clone() });
        }
    }
}
