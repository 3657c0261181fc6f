//! The start of a member: only into a fence that stands, and with everything mounted as it was
//! checked.
//!
//! ```text
//!  turn ─▶ fence and guard run? ─▶ ports taken ─▶ files looked at anew ─▶ journal ─▶ the fence waits
//!       ─▶ engine starts it ─▶ first program asks ─▶ go ─▶ ports open
//! ```
//! Whatever fails on the way kills the container before its own program begins, or at once. Where
//! the engine does not kill it, it is killed again until it was seen to end, and files are put back
//! only then. The words of a start are in their file until its program begins, and stay there where
//! it never does: by them a later `serve` knows what was not let begin.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::KillContainerOptions;
use serde_json::Value;

use super::create::{close_covers, text};
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
use crate::supervisor::forward::{ForwardRequest, Forwarding, Loopback, Mapping, reserve_whole};
use crate::term::Failure;
use crate::wire::init::InitKeys;
use crate::workspace::aftermath::Aftermath;

/// Outcome of a start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Started {
    /// It runs now.
    Now,
    /// It ran already.
    Before,
}

/// Failure of a start.
struct StartFailure {
    denied: Denied,
    /// Set when the container could have been started by its own state: engines remove one with
    /// `--rm` then, and clients wait for that.
    was_tried: bool,
}

impl From<Denied> for StartFailure {
    fn from(denied: Denied) -> StartFailure {
        StartFailure { denied, was_tried: false }
    }
}

/// The time between two kills of a member that does not end.
const AGAIN: Duration = Duration::from_secs(5);
/// Looks at a copy that may be at its end.
const COPIES: usize = 20;

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
        self.to_its_end(|serving| async move { serving.start_or_remove(&member, version).await }).await
    }

    /// Starts a member; one that cannot be started is removed, where its client asked for that.
    pub(crate) async fn start_or_remove(
        self: &Rc<Self>,
        member: &Rc<ServedMember>,
        version: ApiMinor,
    ) -> Result<Started, Denied> {
        let failure = match self.start_now(member, version).await {
            Ok(started) => return Ok(started),
            Err(failure) => failure,
        };
        if failure.was_tried && member.asked.auto_remove && !member.is_leaving.get() {
            // Its client was told, and removes nothing itself. One that somebody else started
            // meanwhile stays, and one that was not seen to end is removed after that.
            let _ = self.remove_now(member, true, false, version).await;
        }
        Err(failure.denied)
    }

    async fn start_now(
        self: &Rc<Self>,
        member: &Rc<ServedMember>,
        version: ApiMinor,
    ) -> Result<Started, StartFailure> {
        let _turn = member.fence.turn.lock().await;
        member.is_starting.set(true);
        let started = self.start_in_turn(member, version).await;
        member.is_starting.set(false);
        started
    }

    async fn start_in_turn(
        self: &Rc<Self>,
        member: &Rc<ServedMember>,
        version: ApiMinor,
    ) -> Result<Started, StartFailure> {
        if member.is_leaving.get() {
            return Err(Denied::no_container(&member.name.borrow()).into());
        }
        // Engines answer nothing about a container while they copy.
        copied(member).await?;
        let now = self.inspect(&member.id, version).await?;
        if ServedMember::runs(&now) {
            return Ok(Started::Before);
        }
        member.may_be_started()?;
        if !self.settle(member).await {
            return Err(Denied::new(409, "the container's end was not seen yet; ask again").into());
        }
        match self.try_start(member, version).await {
            Ok(()) => Ok(Started::Now),
            Err(denied) => {
                self.end(member).await;
                Err(StartFailure { denied, was_tried: true })
            }
        }
    }

    async fn try_start(&self, member: &ServedMember, version: ApiMinor) -> Result<(), Denied> {
        self.check_fence(member).await?;
        let request = forwards(member)?;
        let prepared = match &member.files {
            Some(files) => Some(self.prepare(member, files).await?),
            None => None,
        };
        if let Some(files) = &member.files {
            member.fence.ask_start(member.covers).map_err(|failure| broken(&failure))?;
            files.was_asked.set(true);
        }
        self.begin_and_serve(member, prepared, request, version).await
    }

    /// Has the engine start a member, and opens its ports once its program has begun.
    async fn begin_and_serve(
        &self,
        member: &ServedMember,
        prepared: Option<(LookedFiles, Admission)>,
        request: ForwardRequest,
        version: ApiMinor,
    ) -> Result<(), Denied> {
        let covered = prepared.as_ref().map(|(looked, _)| Arc::clone(&looked.laying.covered));
        self.begin(member, prepared, version).await?;
        // The one place that empties them: what was not let begin has its words for ever.
        member.empty_words().map_err(|failure| broken(&failure))?;
        if let Some(why) = member.fence.shared.check() {
            // Those that ran when it was lost were ended; this one did not run yet.
            return Err(lost(&why));
        }
        member.has_begun.set(true);
        member.watch.replace(covered.map(|covered| self.watch_covers(member, covered)));
        serve_ports(self, member, request).await
    }

    /// Refuses a fence that does not stand.
    async fn check_fence(&self, member: &ServedMember) -> Result<(), Denied> {
        let shared = &member.fence.shared;
        if let Some(why) = shared.check() {
            return Err(lost(&why));
        }
        let proof = &member.fence.proof;
        match self.prove(&shared.helpers, &proof.key, proof.ends).await {
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
        close_covers(scratch).await.map_err(|failure| broken(&failure))?;
        let looked = looked.map_err(|failure| Denied::new(409, words(&failure)))?;
        if let Some(place) = looked.gone(&files.laid) {
            return Err(Denied::new(
                409,
                format!(
                    "{} was covered and is gone by now; remove the container and make it again",
                    crate::serve::text::shown(place)
                ),
            ));
        }
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
        let (covers, host) = (member.covers, self.facts.engine.host.clone());
        // It walks through whole projects, and nobody else waits for that.
        let (looked, journal) = tokio::task::spawn_blocking(move || {
            let begun = Aftermath::begin(&looked.binds, &looked.plans, None, covers, Some(&name), &host);
            (looked, begun)
        })
        .await
        .map_err(|_| Denied::new(500, "the look at git's files was ended"))?;
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

    /// Kills a member that is not to run, and puts back after it. One that is not seen to end is
    /// killed again and again.
    pub(crate) async fn end(self: &Rc<Self>, member: &Rc<ServedMember>) {
        self.kill(member).await;
        if self.settle(member).await {
            return;
        }
        let (serving, member) = (Rc::clone(self), Rc::clone(member));
        tokio::task::spawn_local(async move {
            while !serving.end_again(&member).await {
                tokio::time::sleep(AGAIN).await;
            }
            if !member.is_leaving.get() {
                serving.remove_if_asked(&member, serving.facts.version).await;
            }
        });
    }

    /// Kills a member once more, unless it was settled meanwhile; tells whether nothing is left.
    async fn end_again(&self, member: &ServedMember) -> bool {
        let _turn = member.fence.turn.lock().await;
        if member.is_leaving.get() || !member.is_unsettled.get() {
            return true;
        }
        self.kill(member).await;
        self.settle(member).await
    }

    async fn kill(&self, member: &ServedMember) {
        let options = KillContainerOptions { signal: "KILL".to_owned() };
        // It may have ended. Whether it has is looked at afterwards.
        let _ = self.facts.engine.api.kill_container(&member.id, Some(options)).await;
    }

    /// Puts back after a member that does not run, and closes its ports. Tells whether it was seen
    /// to have ended; otherwise its files wait.
    pub(crate) async fn settle(&self, member: &ServedMember) -> bool {
        member.has_begun.set(false);
        member.ports.take();
        let forwarding = member.forwarding.take();
        if let Some(forwarding) = forwarding {
            forwarding.end(&self.facts.engine).await;
        }
        let (engine, shared) = (&self.facts.engine, &member.fence.shared);
        let ended = aftermath::has_ended(engine, &member.id).await;
        if !ended {
            if !member.is_unsettled.replace(true) {
                let name = crate::term::line(&member.name.borrow());
                crate::term::essential(format_args!(
                    "{name} was not seen to end yet; what it left is put back after that"
                ));
            }
            return false;
        }
        member.is_unsettled.set(false);
        let watch = member.watch.take();
        let covered = watch.as_ref().map(|watch| &*watch.covered);
        let mut held = member.aftermath.take();
        if held.is_some() {
            let report =
                aftermath::settle_apart(engine, &shared.workflow, &member.id, &mut held, covered).await;
            report.iter().for_each(aftermath::tell);
            member.aftermath.replace(held);
        } else if member.files.is_some() {
            // Of an earlier `serve`.
            let helpers = shared.helpers.clone();
            if let Err(failure) = aftermath::settle_abandoned_apart(engine, member.covers, helpers).await {
                failure.tell();
            }
        }
        true
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

/// Refuses a start while something is copied. The last bytes of a copy come a moment after its
/// answer.
async fn copied(member: &ServedMember) -> Result<(), Denied> {
    for _ in 0..COPIES {
        if !member.is_copied() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(Denied::new(409, "a copy from or to the container is under way; start it after that"))
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
    let ports = reserve_whole(&mappings).map_err(|failure| unserved(member, &failure))?;
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
