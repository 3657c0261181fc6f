//! Copies from and to containers: only while nothing runs that could lead the engine elsewhere.
//!
//! ```text
//!  first block of the tar ─▶ turn ─▶ does it run? has it mounts? ─▶ counted ─▶ engine ⇄ client ─▶ last byte: no longer counted
//! ```
//! The engine follows paths in the container as root. So neither its own program may run then, nor
//! another container that has one of its volumes: a container with any mount is copied from and to
//! by nobody.

use std::sync::Arc;

use http_body_util::BodyExt as _;
use serde_json::Value;

use super::archive;
use super::containers::Received;
use super::http::{Answer, Body, Sent, passed};
use super::members::ServedMember;
use super::start::never_ran;
use super::state::Serving;
use crate::serve::denied::Denied;
use crate::serve::request::calls::ContainerCall;

impl Serving {
    /// Carries out a copy. The container is not started before its end.
    ///
    /// # Errors
    /// When it is refused, or the engine does not answer.
    pub(crate) async fn copy(
        &self,
        member: &ServedMember,
        call: &ContainerCall,
        received: Received,
    ) -> Result<Answer, Denied> {
        // Its client can take any time for that, in which the container may be started.
        let tar = match (call, received.tar) {
            (ContainerCall::ArchivePut { .. }, Some(body)) => Some(archive::plain(body).await?),
            (ContainerCall::ArchivePut { .. }, None) => {
                return Err(Denied::new(400, "the request has no body"));
            }
            _ => None,
        };
        let version = received.version;
        let counted = {
            let _turn = member.fence.turn.lock().await;
            let now = self.inspect(&member.id, version).await?;
            refuse(member, &now, tar.is_some())?;
            Arc::clone(&member.copies)
        };
        let sent = tar.map_or(Sent::Nothing, |tar| Sent::Tar(until_its_end(tar, Arc::clone(&counted))));
        let answer = self.http.send(&call.upstream(&member.id), version, sent).await?;
        Ok(passed(answer).map(|body| until_its_end(body, counted)))
    }
}

impl ServedMember {
    /// Tells whether something is being copied from or to it.
    pub(crate) fn is_copied(&self) -> bool {
        Arc::strong_count(&self.copies) > 1
    }
}

/// Keeps a copy counted for as long as a body is there.
fn until_its_end(body: Body, counted: Arc<()>) -> Body {
    body.map_frame(move |frame| {
        let _held = &counted;
        frame
    })
    .boxed_unsync()
}

/// Refuses copying where the engine would follow paths that a program can change.
fn refuse(member: &ServedMember, now: &Value, into: bool) -> Result<(), Denied> {
    let what = if member.is_leaving.get() {
        return Err(Denied::no_container(&member.name.borrow()));
    } else if member.files.is_some() {
        "copying from or to a container that has files of this machine is refused; use the files themselves"
    } else if !member.asked.targets.is_empty() {
        "copying from or to a container that has volumes is refused; use tar in a container: docker exec -i NAME tar -x"
    } else if ServedMember::runs(now) {
        "copying from or to a container that runs is refused; use exec with tar: docker exec -i NAME tar -x"
    } else if into && !never_ran(now) {
        "copying into a container that ran is refused; copy before its first start"
    } else {
        return Ok(());
    };
    Err(Denied::endpoint(what))
}
