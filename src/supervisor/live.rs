//! Changing a workflow that runs, from any machine that reaches its engine.
//!
//! ```text
//!  closing (deny, cut): what would it be? ─▶ fence: one nft transaction ─▶ guard
//!  opening (allow, restore):                                  guard ─▶ fence: one nft transaction   (fails: guard takes it back)
//!  both (reload):                                             guard ─▶ fence: one nft transaction   (fails: what closed stays closed)
//! ```
//! The side that still refuses is always the last to open and the first to close, so that a failure
//! in between leaves it closed. Both sides are reached by the engine's exec; the guard keeps others
//! waiting until this session ends. The fence is told every time, since nobody but the kernel knows
//! whether it followed the time before.

use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use bollard::container::LogOutput;
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::supervisor::engine::{self, Engine};
use crate::supervisor::exec_stream::{self, AttachedExec};
use crate::supervisor::records::{changes, runs};
use crate::supervisor::spec::workflow::Helpers;
use crate::term::{COULD_NOT_RUN, Failure, Warning};
use crate::wire::control::{Change, ControlAnswer, Good, Request, State};
use crate::wire::event::{AgentEnded, Note, Observation};
use crate::wire::handover::FenceConfig;
use crate::wire::host_network::HostNetwork;

/// Time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Time that a program of the fence may take.
const RULES: Duration = Duration::from_secs(15);

/// Consequence where this machine could not write down what was taken away.
const NOTHING_MORE: &str =
    "the guard enforces it; nothing more is carried to this machine's loopback until the run ends";

/// Outcome of a change.
pub(crate) enum Outcome {
    /// It is made.
    Made(State),
    /// The policy does not permit it; nothing was changed.
    Refused(String),
}

/// Reason for which a change or a question came to nothing.
enum Unmade {
    /// The policy does not permit it, in words.
    Refused(String),
    /// It could not be done.
    Failed(Failure),
}

impl From<Failure> for Unmade {
    fn from(failure: Failure) -> Self {
        Unmade::Failed(failure)
    }
}

/// A question that no policy refuses, refused all the same, is a failure.
impl From<Unmade> for Failure {
    fn from(trouble: Unmade) -> Self {
        match trouble {
            Unmade::Failed(failure) => failure,
            Unmade::Refused(why) => {
                Failure::new(COULD_NOT_RUN, format!("the guard refuses to say how it stands: {why}"))
            }
        }
    }
}

/// Asks how a workflow's network stands.
pub(crate) async fn state(engine: &Engine, to: &Helpers) -> Result<State, Failure> {
    Ok(ask(engine, &to.guard, &Request::State).await?.state)
}

/// Tells whether a supervisor is attached, by the word of the guard's container; none where the
/// guard cannot tell.
pub(crate) async fn is_supervised(engine: &Engine, guard: &str) -> Result<Option<bool>, Failure> {
    Ok(ask(engine, guard, &Request::State).await?.state.supervised)
}

/// Has the guard write down how the agent of a supervisor that is gone ended.
pub(crate) async fn ended(engine: &Engine, to: &Helpers, ended: AgentEnded) -> Result<(), Failure> {
    ask(engine, &to.guard, &Request::Ended(ended)).await.map(|_| ())
}

/// Tells the guard which addresses the engine's machine has now.
pub(crate) async fn host(engine: &Engine, to: &Helpers, network: HostNetwork) -> Result<(), Failure> {
    ask(engine, &to.guard, &Request::Host(network)).await.map(|_| ())
}

/// Tells the guard which name servers the machine has now.
pub(crate) async fn resolvers(engine: &Engine, to: &Helpers, servers: Vec<IpAddr>) -> Result<(), Failure> {
    ask(engine, &to.guard, &Request::Resolvers(servers)).await.map(|_| ())
}

/// Has the guard write down things that only a supervisor sees.
pub(crate) async fn note(
    engine: &Engine,
    to: &Helpers,
    notes: Vec<(Observation, String)>,
) -> Result<(), Failure> {
    if notes.is_empty() {
        return Ok(());
    }
    let mut session = Session::open(engine, &to.guard).await?;
    for (seen, what) in notes {
        session.good(&Request::Noted(Note::new(seen, what))).await?;
    }
    Ok(())
}

/// Asks the guard one thing.
async fn ask(engine: &Engine, guard: &str, request: &Request) -> Result<Good, Failure> {
    Ok(Session::open(engine, guard).await?.good(request).await?)
}

/// Makes a change, in both places.
pub(crate) async fn change(engine: &Engine, to: &Helpers, change: Change) -> Result<Outcome, Failure> {
    let mut session = Session::open(engine, &to.guard).await?;
    // What is written down of a run is for its supervisor here, which follows no other machine.
    let is_own = runs::Run::of(to.id).is_some();
    let write_down = |change: &Change| write_down(is_own, to, change);
    let made = match change.closes() {
        true => close(engine, to, &mut session, change, write_down).await,
        false => open(engine, to, &mut session, change, write_down).await,
    };
    match made {
        Ok(state) => Ok(Outcome::Made(state)),
        Err(Unmade::Refused(why)) => Ok(Outcome::Refused(why)),
        Err(Unmade::Failed(failure)) => Err(failure),
    }
}

/// Has the fence follow what the guard changed by itself: a planned condition.
pub(crate) async fn follow(engine: &Engine, to: &Helpers) -> Result<(), Failure> {
    let mut session = Session::open(engine, &to.guard).await?;
    // A change of nothing: it asks for the rules as they are, and keeps other sessions out.
    let nothing = Change::Conditions { set: Vec::new(), host: None };
    let now = session.good(&Request::Propose(nothing)).await?.plan;
    apply(engine, to, &now).await
}

/// Writes a change of rules down for the supervisor of the run.
fn write_down(is_own: bool, to: &Helpers, change: &Change) -> Result<(), Failure> {
    match change {
        Change::Allow(_) | Change::Deny(_) | Change::Reload(_) if is_own => changes::add(to.id, change),
        _ => Ok(()),
    }
}

/// Closes: the fence first, then the guard.
async fn close(
    engine: &Engine,
    to: &Helpers,
    session: &mut Session,
    change: Change,
    write_down: impl Fn(&Change) -> Result<(), Failure>,
) -> Result<State, Unmade> {
    // The guard lets one session change things from here on, so what is written down has the order
    // in which it is made. A guard that does not answer keeps nothing open on this machine.
    let proposed = session.good(&Request::Propose(change.clone())).await;
    // Where it cannot be written down, the guard closes all the same.
    let written = write_down(&change).map_err(|failure| failure.hint(NOTHING_MORE));
    let would = proposed?.plan;
    // What fails here is told at the end: the guard refuses all the same.
    let applied = apply(engine, to, &would).await;
    let made = session.good(&Request::Make(change)).await?;
    renew_notice(engine, to, made.notice.as_deref()).await;
    applied.map_err(|failure| {
        not_followed("the guard refuses it now; the fence's rules could not be changed", failure)
    })?;
    if made.plan != would {
        // A name got its address meanwhile.
        apply(engine, to, &made.plan).await?;
    }
    written?;
    Ok(made.state)
}

/// Opens, or does both (a reload): the guard first, then the fence. If the fence does not follow,
/// what was opened is taken back. A reload stays with the guard: nothing that the new policy
/// refuses passes once the guard has it, and nothing that it permits anew before the fence has it
/// too, so that is the most closed state there is.
async fn open(
    engine: &Engine,
    to: &Helpers,
    session: &mut Session,
    change: Change,
    write_down: impl Fn(&Change) -> Result<(), Failure>,
) -> Result<State, Unmade> {
    let is_reload = matches!(change, Change::Reload(_));
    let made = session.good(&Request::Make(change.clone())).await?;
    let written = match is_reload {
        true => write_down(&change).map_err(|failure| failure.hint(NOTHING_MORE)),
        false => Ok(()),
    };
    let applied = apply(engine, to, &made.plan).await;
    if applied.is_ok() || is_reload {
        renew_notice(engine, to, made.notice.as_deref()).await;
    }
    if let Err(mut failure) = applied {
        failure.causes.extend(written.err().map(|written| written.message));
        let now = if is_reload {
            "the guard enforces the new policy; the fence refuses what it permits anew, since its rules could not be changed"
        } else if session.good(&Request::TakeBack).await.is_ok() {
            "nothing was opened: the fence's rules could not be changed"
        } else {
            "the fence still refuses: the fence's rules could not be changed"
        };
        return Err(not_followed(now, failure).into());
    }
    if is_reload {
        written?
    } else {
        write_down(&change)?
    }
    Ok(made.state)
}

/// Replaces the notice that the agent reads, while nobody else changes the workflow. A notice that
/// cannot be replaced changes nothing of what is permitted, so it is a warning.
async fn renew_notice(engine: &Engine, to: &Helpers, notice: Option<&str>) {
    // A guard of an earlier version has an agent without a notice.
    let Some(notice) = notice else { return };
    if let Err(failure) = tell_fence(engine, to, "notice", &notice).await {
        crate::term::warn(Warning::NoticeNotRenewed(failure));
    }
}

/// Makes the failure of a change that the fence did not follow.
fn not_followed(now: &str, failure: Failure) -> Failure {
    Failure { message: format!("{now}: {}", failure.message), ..failure }
}

/// One nft transaction in the fence, by a process that has NET_ADMIN, does this, and ends.
async fn apply(engine: &Engine, to: &Helpers, plan: &FenceConfig) -> Result<(), Failure> {
    tell_fence(engine, to, "apply", plan).await
}

/// Runs one of the fence's programs, which takes one line and ends.
async fn tell_fence(
    engine: &Engine,
    to: &Helpers,
    program: &'static str,
    what: &impl serde::Serialize,
) -> Result<(), Failure> {
    let mut exec = Exec::start(engine, &to.fence, ["fence", program]).await?;
    exec.say(what).await?;
    let said =
        timeout(RULES, exec.rest()).await.unwrap_or_else(|_| vec!["no end within its time".to_owned()]);
    match exec.status(engine).await? {
        Some(0) => Ok(()),
        status => {
            let ended =
                status.map_or("it did not end".to_owned(), |status| format!("it ended with {status}"));
            let mut failure =
                Failure::new(COULD_NOT_RUN, format!("`fence {program}` failed in the fence of {}", to.id));
            failure.causes.push(ended);
            failure.causes.extend(said);
            Err(failure)
        }
    }
}

/// A conversation with the guard.
struct Session(Exec);

impl Session {
    async fn open(engine: &Engine, guard: &str) -> Result<Session, Failure> {
        Exec::start(engine, guard, ["guard", "control"]).await.map(Session)
    }

    /// Asks one thing.
    async fn good(&mut self, request: &Request) -> Result<Good, Unmade> {
        self.0.say(request).await?;
        let line = timeout(PATIENCE, self.0.line()).await.unwrap_or(None);
        let answer = line.as_deref().and_then(|line| serde_json::from_slice::<ControlAnswer>(line).ok());
        match answer {
            Some(ControlAnswer::Good(good)) => Ok(*good),
            Some(ControlAnswer::Refused { reason, rule }) => {
                Err(Unmade::Refused(rule.map_or(reason.to_string(), |rule| format!("{reason}: {rule}"))))
            }
            Some(ControlAnswer::Failed(why)) => Err(Failure::new(COULD_NOT_RUN, why).into()),
            None => {
                let mut failure = Failure::new(COULD_NOT_RUN, "the guard does not answer");
                failure.causes = std::mem::take(&mut self.0.complaints);
                Err(failure.hint("does the workflow still run? `ringfence ps` says").into())
            }
        }
    }
}

/// One of ringfence's own programs in one of a workflow's helpers.
pub(super) struct Exec {
    id: String,
    input: Pin<Box<dyn AsyncWrite + Send>>,
    output: Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>,
    pending: Vec<u8>,
    complaints: Vec<String>,
}

impl Exec {
    async fn start(engine: &Engine, container: &str, words: [&str; 2]) -> Result<Exec, Failure> {
        Exec::start_as(engine, container, words, None).await
    }

    /// Starts it as another user than the container's.
    pub(super) async fn start_as(
        engine: &Engine,
        container: &str,
        words: [&str; 2],
        user: Option<&str>,
    ) -> Result<Exec, Failure> {
        let cannot = format!("cannot run `{}` in {container}", words.join(" "));
        let AttachedExec { id, input, output } =
            exec_stream::attach(engine, container, words, user, cannot).await?;
        Ok(Exec { id, input, output, pending: Vec::new(), complaints: Vec::new() })
    }

    /// Writes one line.
    pub(super) async fn say(&mut self, what: &impl serde::Serialize) -> Result<(), Failure> {
        let failed = |error: &dyn std::error::Error| {
            Failure::new(COULD_NOT_RUN, "cannot speak to a helper of the workflow").caused_by(error)
        };
        let mut line = serde_json::to_vec(what).map_err(|error| failed(&error))?;
        line.push(b'\n');
        self.input.write_all(&line).await.map_err(|error| failed(&error))?;
        self.input.flush().await.map_err(|error| failed(&error))
    }

    /// The next line that it prints; none when it has ended.
    pub(super) async fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                return Some(self.pending.drain(..=end).collect());
            }
            match self.output.next().await? {
                Ok(LogOutput::StdErr { message }) => self.complain(&message),
                Ok(output) => self.pending.extend_from_slice(&output.into_bytes()),
                Err(_) => return None,
            }
        }
    }

    /// Everything it complains about until its end.
    pub(super) async fn rest(&mut self) -> Vec<String> {
        while let Some(Ok(output)) = self.output.next().await {
            self.complain(&output.into_bytes());
        }
        std::mem::take(&mut self.complaints)
    }

    fn complain(&mut self, bytes: &[u8]) {
        self.complaints.extend(String::from_utf8_lossy(bytes).lines().map(str::to_owned));
    }

    /// Returns the status that it ended with, if it did.
    pub(super) async fn status(&self, engine: &Engine) -> Result<Option<i64>, Failure> {
        exec_status(engine, &self.id, Duration::from_secs(1))
            .await
            .map_err(|error| engine::refused("cannot ask how a helper's program ended", &error))
    }
}

/// Returns the status of a program that has ended in a container, or nothing when the engine does
/// not say it in time: it may notice the end a little later than its output's.
pub(crate) async fn exec_status(
    engine: &Engine,
    id: &str,
    within: Duration,
) -> Result<Option<i64>, bollard::errors::Error> {
    const STEP: Duration = Duration::from_millis(25);
    for _ in 0..within.as_millis() / STEP.as_millis() {
        let inspected = engine.api.inspect_exec(id).await?;
        if inspected.running == Some(false) && inspected.exit_code.is_some() {
            return Ok(inspected.exit_code);
        }
        tokio::time::sleep(STEP).await;
    }
    Ok(None)
}
