//! Execs: only in members.

use std::rc::Rc;

use super::containers::Received;
use super::http::{Answer, Sent, json, passed};
use super::members::ServedMember;
use super::state::Serving;
use super::streams::{RawAsk, hijack};
use crate::serve::answer::others;
use crate::serve::decide::exec_start;
use crate::serve::denied::Denied;
use crate::serve::request::calls::ExecCall;
use crate::serve::request::fields::read;

impl Serving {
    /// Carries out a call on one exec.
    ///
    /// # Errors
    /// When it runs in no member.
    pub(crate) async fn exec(&self, id: &str, call: &ExecCall, received: Received) -> Result<Answer, Denied> {
        let version = received.version;
        let found = self.http.json(&ExecCall::Inspect.upstream(id), version, Sent::Nothing).await;
        let found =
            found.map_err(|denied| if denied.status == 404 { Denied::no_exec(id) } else { denied })?;
        let container = found["ContainerID"].as_str().unwrap_or_default().to_owned();
        let member: Option<Rc<ServedMember>> = self.members.borrow().get(&container).cloned();
        let member = member.ok_or_else(|| Denied::no_exec(id))?;
        // The engine's own id: what was written may be the beginning of another.
        let id = found["ID"].as_str().unwrap_or_default().to_owned();
        match call {
            ExecCall::Inspect => Ok(json(200, &others::exec(found, &member.id))),
            ExecCall::Resize { .. } => {
                Ok(passed(self.http.send(&call.upstream(&id), version, Sent::Nothing).await?))
            }
            ExecCall::Start => {
                if !member.has_begun.get() {
                    return Err(Denied::plain(
                        409,
                        format!("Container {} is not running", member.name.borrow()),
                    ));
                }
                let spec = exec_start(&read(&received.json)?)?;
                let body = Sent::Json(spec.json().to_string());
                let line = call.upstream(&id);
                if spec.detach {
                    return Ok(passed(self.http.send(&line, version, body).await?));
                }
                let has_input = found["OpenStdin"].as_bool() == Some(true);
                hijack(&self.http, received, RawAsk { line, sent: body, has_input }).await
            }
        }
    }
}
