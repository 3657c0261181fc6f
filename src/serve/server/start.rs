//! The start of a member: only into a fence that stands, and with everything mounted as it was
//! checked.
//!
//! ```text
//!  turn ─▶ fence and guard run? ─▶ ports taken ─▶ files looked at anew ─▶ journal ─▶ the fence waits
//!       ─▶ engine starts it ─▶ first program asks ─▶ go ─▶ ports open
//! ```
//! Whatever fails on the way kills the container before its own program begins, or at once.

use std::rc::Rc;

use bollard::query_parameters::KillContainerOptions;
use serde_json::Value;

use super::create::text;
use super::fences::{broken, put, random, words};
use super::files::{LookedFiles, look};
use super::http::Sent;
use super::members::{MemberFiles, ServedMember};
use super::state::Serving;
use crate::serve::answer::shown::ServedPort;
use crate::serve::denied::Denied;
use crate::serve::request::calls::ContainerCall;
use crate::serve::request::upstream_line::Line;
use crate::serve::request::version::ApiMinor;
use crate::supervisor::admission::Admission;
use crate::supervisor::aftermath;
use crate::supervisor::forward::{ForwardRequest, Forwarding, Loopback, Mapping, reserve};
use crate::term::Failure;
use crate::wire::init::InitKeys;
use crate::workspace::aftermath::Aftermath;
use crate::workspace::masks;

/// Outcome of a start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Started {
    /// It runs now.
    Now,
    /// It ran already.
    Before,
}

impl Serving {
    /// Starts a member. It goes on when the client goes away.
    ///
    /// # Errors
    /// When it cannot be started as it was checked; it does not run then.
    pub(crate) async fn start(
        self: &Rc<Self>,
        member: &Rc<ServedMember>,
        version: ApiMinor,
    ) -> Result<Started, Denied> {
        let member = Rc::clone(member);
        self.to_its_end(|serving| async move {
            let started = serving.start_now(&member, version).await;
            if started.is_err() && member.asked.auto_remove && !member.is_leaving.get() {
                // Its client was told, and removes nothing itself.
                let _ = serving.remove_now(&member, true, true, version).await;
            }
            started
        })
        .await
    }

    async fn start_now(&self, member: &ServedMember, version: ApiMinor) -> Result<Started, Denied> {
        let _turn = member.fence.turn.lock().await;
        if member.is_leaving.get() {
            return Err(Denied::no_container(&member.name.borrow()));
        }
        if member.is_copied() {
            let what = "a copy from or to the container is under way; start it after that";
            return Err(Denied::new(409, what));
        }
        let now = self.inspect(&member.id, version).await?;
        if ServedMember::runs(&now) {
            return Ok(Started::Before);
        }
        self.settle(member).await;
        self.check_fence(member).await?;
        let request = forwards(member)?;
        let prepared = match &member.files {
            Some(files) => Some(self.prepare(member, files).await?),
            None => None,
        };
        let mut started = self.begin(member, prepared, version).await;
        if let Some(files) = &member.files {
            // The container's own program finds no words of any start.
            let emptied = put(&files.words, "");
            started = started.and(emptied.map_err(|error| {
                Denied::new(500, format!("cannot empty {}: {error}", files.words.display()))
            }));
        }
        if let Some(why) = member.fence.shared.check() {
            // Those that ran when it was lost were ended; this one did not run yet.
            started = started.and(Err(lost(&why)));
        }
        if started.is_ok() {
            member.has_begun.set(true);
            started = serve_ports(self, member, request).await;
        }
        if let Err(denied) = started {
            self.kill(member).await;
            self.settle(member).await;
            return Err(denied);
        }
        Ok(Started::Now)
    }

    /// Refuses a fence that does not stand.
    async fn check_fence(&self, member: &ServedMember) -> Result<(), Denied> {
        let shared = &member.fence.shared;
        if let Some(why) = shared.check() {
            return Err(lost(&why));
        }
        let proof = &member.fence.proof;
        match self.prove(&shared.helpers, proof.ends).await {
            Ok(now) if now == *proof => Ok(()),
            Ok(_) => Err(lost("the fence or the guard was started again")),
            Err(why) => Err(lost(&why)),
        }
    }

    /// Looks at the files of a member anew, and has the fence wait for its first program.
    async fn prepare(
        &self,
        member: &ServedMember,
        files: &MemberFiles,
    ) -> Result<(LookedFiles, Admission), Denied> {
        let scratch = random()?;
        let looked = look(&self.facts.files, files.asked.clone(), files.memory.clone(), scratch).await;
        // What was written for this look alone is not mounted anywhere.
        masks::close(scratch).map_err(|failure| broken(&failure))?;
        let looked = looked.map_err(|failure| Denied::new(409, words(&failure)))?;
        if let Some(place) = looked.uncovered(&files.laid) {
            return Err(Denied::new(
                409,
                format!(
                    "{} has to be covered by now and is not in this container; remove it and make it again",
                    crate::serve::text::shown(place)
                ),
            ));
        }
        let expected = looked.expected(&files.laid).map_err(|failure| broken(&failure))?;
        let name = member.name.borrow().clone();
        let journal = Aftermath::begin(
            &looked.binds,
            &looked.plans,
            None,
            member.covers,
            Some(&name),
            &self.facts.engine.host,
        );
        member.aftermath.replace(journal.map_err(|failure| broken(&failure))?);
        let fence = &member.fence.shared.helpers.fence;
        let keys =
            InitKeys::random().map_err(|error| Denied::new(500, format!("no random bytes: {error}")))?;
        let words = put(&files.words, &format!("{}\n{}\n", keys.ask, keys.go));
        words
            .map_err(|error| Denied::new(500, format!("cannot write {}: {error}", files.words.display())))?;
        let admission = Admission::open(&self.facts.engine, fence, &expected, &keys).await;
        Ok((looked, admission.map_err(|failure| broken(&failure))?))
    }

    /// Has the engine start it, and lets its own program begin.
    async fn begin(
        &self,
        member: &ServedMember,
        prepared: Option<(LookedFiles, Admission)>,
        version: ApiMinor,
    ) -> Result<(), Denied> {
        let line = ContainerCall::Start.upstream(&member.id);
        self.http.json(&line, version, Sent::Nothing).await?;
        if let Some((looked, admission)) = prepared {
            let covered = &looked.laying.covered;
            admission.admit(|| covered.are_in_place()).await.map_err(|failure| broken(&failure))?;
        }
        Ok(())
    }

    /// Kills a member that is not to run.
    pub(crate) async fn kill(&self, member: &ServedMember) {
        let options = KillContainerOptions { signal: "KILL".to_owned() };
        // It may have ended.
        let _ = self.facts.engine.api.kill_container(&member.id, Some(options)).await;
    }

    /// Puts back after a member that does not run, and closes its ports.
    pub(crate) async fn settle(&self, member: &ServedMember) {
        member.has_begun.set(false);
        member.ports.take();
        let forwarding = member.forwarding.take();
        if let Some(forwarding) = forwarding {
            forwarding.end(&self.facts.engine).await;
        }
        let shared = &member.fence.shared;
        let mut held = member.aftermath.take();
        if held.is_some() {
            let report = aftermath::settle(&self.facts.engine, &shared.workflow, &mut held, None).await;
            report.iter().for_each(aftermath::tell);
        } else if member.files.is_some() {
            // Of an earlier `serve`.
            let settled =
                aftermath::settle_abandoned(&self.facts.engine, member.covers, Some(shared.helpers.clone()))
                    .await;
            if let Err(failure) = settled {
                failure.tell();
            }
        }
    }

    /// Asks the engine for a container.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn inspect(&self, id: &str, version: ApiMinor) -> Result<Value, Denied> {
        let line = Line::new("GET", &format!("/containers/{id}/json"), &[]);
        self.http.json(&line, version, Sent::Nothing).await
    }
}

/// Makes the refusal for a fence that is lost.
fn lost(why: &str) -> Denied {
    let what = format!("the fence of this container is lost ({why}); remove the container and make it again");
    Denied::new(503, what)
}

/// Opens the ports of a member that runs.
///
/// # Errors
/// When one is another program's.
pub(crate) async fn open_ports(serving: &Serving, member: &ServedMember) -> Result<(), Denied> {
    serve_ports(serving, member, forwards(member)?).await
}

async fn serve_ports(
    serving: &Serving,
    member: &ServedMember,
    request: ForwardRequest,
) -> Result<(), Denied> {
    if request.is_empty() {
        return Ok(());
    }
    let served = served(member, &request);
    let helpers = &member.fence.shared.helpers;
    let forwarding = Forwarding::begin(&serving.facts.engine, helpers, request).await;
    member.forwarding.replace(Some(forwarding.map_err(|failure| unserved(member, &failure))?));
    member.ports.replace(served);
    Ok(())
}

/// Takes the ports that a member is to be reached at.
fn forwards(member: &ServedMember) -> Result<ForwardRequest, Denied> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for port in &member.asked.ports {
        // A port of the fence's own was told at the creation.
        let Ok(agent) = port.container.try_into() else { continue };
        let at = if port.host_ip == "127.0.0.1" {
            Loopback::V4
        } else if port.host_ip == "::1" {
            Loopback::V6
        } else {
            Loopback::Both
        };
        mappings.push(Mapping { at, local: port.host, agent });
    }
    let ports = reserve(&mappings).map_err(|failure| unserved(member, &failure))?;
    Ok(ForwardRequest { ports, auto: false, silent: true })
}

/// Lists ports as clients are shown them.
fn served(member: &ServedMember, request: &ForwardRequest) -> Vec<ServedPort> {
    let asked = &member.asked.ports;
    request
        .ports
        .iter()
        .map(|port| ServedPort {
            container: port.agent.get(),
            host_ip: asked
                .iter()
                .find(|asked| asked.container == port.agent.get())
                .and_then(|asked| asked.host_ip.parse().ok())
                .filter(|ip: &std::net::IpAddr| ip.is_loopback())
                .unwrap_or(super::shown::ADDRESS),
            host: port.local,
        })
        .collect()
}

/// Makes the answer for ports that cannot be served, in words that clients know.
fn unserved(member: &ServedMember, failure: &Failure) -> Denied {
    let name = member.name.borrow();
    Denied::plain(
        500,
        format!(
            "driver failed programming external connectivity on endpoint {name}: {} (port is already allocated, or not to be had)",
            words(failure)
        ),
    )
}

/// Tells whether a member never ran.
pub(crate) fn never_ran(inspected: &Value) -> bool {
    text(inspected, "/State/Status") == "created" && text(inspected, "/State/StartedAt").starts_with("0001-")
}
