//! One case: an ordinary `ringfence run` of this very program, with a copy of the project.
//!
//! ```text
//!  temporary folder: project (the copy), events.jsonl, talk.txt, plan.json
//!       │
//!       ▼
//!  ringfence run … ─┬─ stdout, stderr: the agent's, kept up to a bound
//!                   ├─ a limit of time here ends the case; the run has a longer one of its own
//!                   └─ conduct: conditions at their times
//! ```
//! A program of its own, rather than a call: what a person runs is what is tested, and no case has
//! a part of another's.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::capture::{self, Captured};
use super::conduct::Conductor;
use super::judge::judge;
use super::outcome::CaseOutcome;
use super::plan::{Case, Moment, NetworkPlan, Scenario, Step};
use super::results::{CaseEnd, CaseResult};
use super::{copy, files, log};
use crate::supervisor::engine::Engine;
use crate::wire::planned::{ConditionChange, OnConnect, PlannedConditions};

/// Time that a case has without `within`.
const USUAL_LIMIT: Duration = Duration::from_secs(600);
/// Time from the start of a run to the start of its agent: an image may have to be fetched.
const START_LIMIT: Duration = Duration::from_secs(1800);
/// Time by which the run's own limit is longer: the guard counts from before the agent's start, and
/// a network that ends before the case would be another case.
const MARGIN: Duration = Duration::from_secs(300);
/// Time that a run has to end after it was asked to.
const ASKED_LIMIT: Duration = Duration::from_secs(60);
/// Lines of ringfence's own words that are shown of a run that failed.
const MOST_WORDS: usize = 12;

/// Everything that all cases share.
pub(crate) struct Stage<'s> {
    /// The scenario.
    pub(crate) scenario: &'s Scenario,
    /// The folder of its file, from which paths count.
    pub(crate) folder: &'s Path,
    /// The engine.
    pub(crate) engine: &'s Engine,
    /// The engine, as a person named it.
    pub(crate) engine_host: Option<&'s str>,
    /// The signal that ends everything, once it has come.
    pub(crate) stop: watch::Receiver<Option<i32>>,
    /// Folder for the logs of each case.
    pub(crate) logs: Option<&'s Path>,
}

/// Files of one case.
struct Places {
    folder: TempDir,
    project: Option<PathBuf>,
    events: PathBuf,
    talk: PathBuf,
    plan: PathBuf,
}

/// A case that could not be run, and why, line by line.
struct NotRun(Vec<String>);

impl NotRun {
    fn because(what: &str, error: &dyn std::error::Error) -> NotRun {
        NotRun(vec![format!("{what}: {error}")])
    }
}

/// Runs a case to its end, whatever comes.
pub(crate) async fn run(stage: &Stage<'_>, number: usize, case: &Case) -> CaseResult {
    let began = Instant::now();
    let mut result = CaseResult::of(case);
    if stage.stop.borrow().is_some() {
        return result;
    }
    match attempt(stage, number, case, &mut result).await {
        Ok(end) => result.end = end,
        Err(NotRun(why)) => result.end = CaseEnd::NotRun(why),
    }
    result.seconds = began.elapsed().as_secs_f64();
    result
}

async fn attempt(
    stage: &Stage<'_>,
    number: usize,
    case: &Case,
    result: &mut CaseResult,
) -> Result<CaseEnd, NotRun> {
    let places = prepare(stage, result).await?;
    if stage.stop.borrow().is_some() {
        return Ok(CaseEnd::Interrupted);
    }
    let steps = match &case.network {
        NetworkPlan::Steps(steps) => steps.as_slice(),
        NetworkPlan::Permitted | NetworkPlan::Denied => &[],
    };
    write_plan(&places.plan, steps).map_err(|error| NotRun::because("cannot write the plan", &error))?;
    let (ended, mut outcome) = run_and_read(stage, case, steps, &places, result).await?;
    if let Some(logs) = stage.logs {
        super::results::keep(logs, number, &case.name, &places.events, &outcome)
            .map_err(|error| NotRun::because("cannot write to the folder for logs", &error))?;
    }
    let end = match ended {
        RunEnd::Interrupted => CaseEnd::Interrupted,
        RunEnd::NotStarted => CaseEnd::NotRun(words(&places.talk, "the agent was not started in time")),
        RunEnd::Ended if outcome.ended.is_none() => {
            CaseEnd::NotRun(words(&places.talk, "the agent was not run"))
        }
        RunEnd::Ended | RunEnd::OutOfTime => {
            if let Some(project) = &places.project {
                outcome.files = files::look(project, case.expect.files.iter().map(|(path, _)| path.as_str()));
            }
            CaseEnd::Judged(judge(&case.expect, &outcome))
        }
    };
    let kept = places.folder.path().to_owned();
    if let Err(error) = places.folder.close() {
        result.notes.push(format!("{} cannot be removed: {error}", kept.display()));
    }
    Ok(end)
}

/// Runs the agent, and reads what is known of it afterwards.
async fn run_and_read(
    stage: &Stage<'_>,
    case: &Case,
    steps: &[Step],
    places: &Places,
    result: &mut CaseResult,
) -> Result<(RunEnd, CaseOutcome), NotRun> {
    let child = command(stage, case, places).and_then(|mut command| command.spawn());
    let mut child = child.map_err(|error| NotRun::because("cannot start ringfence again", &error))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = (tokio::spawn(capture::read(stdout)), tokio::spawn(capture::read(stderr)));
    let mut conductor = Conductor::new(stage.engine, &places.events, steps);
    let ended = supervise(stage, &mut child, &mut conductor, limit(case)).await;
    let events = places.events.clone();
    // A long log must not hold up the other cases. Where there is none, no agent has run.
    let read = tokio::task::spawn_blocking(move || {
        let mut outcome = CaseOutcome::default();
        let facts = log::read(&events, &mut outcome).unwrap_or_default();
        (outcome, facts)
    });
    let read = read.await.map_err(|error| NotRun::because("the log was not read to its end", &error))?;
    let (mut outcome, facts) = read;
    (outcome.stdout, outcome.stderr) = (output(stdout).await, output(stderr).await);
    outcome.out_of_time = matches!(ended, RunEnd::OutOfTime).then(|| limit(case));
    outcome.missed = conductor.missed();
    outcome.missed.extend(facts.missed(steps.iter()));
    if outcome.log_fault.is_none() {
        result.notes.extend(facts.changes.notes(steps));
    }
    result.run = facts.id;
    result.tried = outcome.attempts.targets().filter(|_| outcome.log_fault.is_none());
    result.exit_status = outcome.ended.as_ref().and_then(|end| end.how.exit_status);
    Ok((ended, outcome))
}

/// Makes the folder of a case, with the copy of the project.
async fn prepare(stage: &Stage<'_>, result: &mut CaseResult) -> Result<Places, NotRun> {
    let folder = tempfile::Builder::new().prefix("ringfence-test-").tempdir();
    let folder = folder.map_err(|error| NotRun::because("cannot make a temporary folder", &error))?;
    let at = |name: &str| folder.path().join(name);
    let (events, talk, plan) = (at("events.jsonl"), at("talk.txt"), at("plan.json"));
    let project = stage.scenario.project.as_ref().map(|project| (stage.folder.join(project), at("project")));
    let project = match project {
        None => None,
        Some((from, to)) => {
            let copied = {
                let to = to.clone();
                tokio::task::spawn_blocking(move || copy::copy(&from, &to)).await
            };
            let copied = copied
                .map_err(|error| NotRun::because("the copy of the project ended early", &error))?
                .map_err(|error| NotRun::because("the project cannot be copied", &error))?;
            if copied.left_out > 0 {
                result.notes.push(format!("{} sockets, pipes or devices were not copied", copied.left_out));
            }
            Some(to)
        }
    };
    Ok(Places { folder, project, events, talk, plan })
}

/// Returns the time after which the agent is ended.
fn limit(case: &Case) -> Duration {
    case.expect.within.unwrap_or(USUAL_LIMIT)
}

/// Writes down what the guard itself has to do.
fn write_plan(path: &Path, steps: &[Step]) -> io::Result<()> {
    let mut planned = PlannedConditions::default();
    for step in steps {
        match (&step.when, &step.change) {
            (Moment::Start, ConditionChange::Set(applied)) => planned.start.push(applied.clone()),
            (Moment::OnConnect(to), change) => {
                planned.on_connect.push(OnConnect { to: to.clone(), change: change.clone() });
            }
            (Moment::Start, ConditionChange::Restore(_)) | (Moment::After(_), _) => {}
        }
    }
    std::fs::write(path, serde_json::to_vec(&planned)?)
}

/// Returns the run of a case, as a person would type it.
fn command(stage: &Stage<'_>, case: &Case, places: &Places) -> io::Result<Command> {
    let Stage { scenario, folder, .. } = stage;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(stage.engine_host.iter().flat_map(|host| ["--engine", host]));
    command.args(["run", "--no-defaults"]);
    let network = if case.network == NetworkPlan::Denied { "denied" } else { "policy" };
    let time = humantime::format_duration(limit(case) + MARGIN).to_string().replace(' ', "");
    command.args(["--network", network, "--time", &time]);
    for (option, path) in [
        ("--events", Some(&places.events)),
        ("--talk", Some(&places.talk)),
        ("--planned-conditions", Some(&places.plan)),
        ("--project", places.project.as_ref()),
    ] {
        if let Some(path) = path {
            command.arg(option).arg(path);
        }
    }
    for (option, values) in [("--policy", &scenario.policies), ("--env", &scenario.env)] {
        command.args(values.iter().flat_map(|value| [option, value]));
    }
    command.arg(&scenario.image).args(&scenario.command).current_dir(folder);
    // A terminal's signals come to this program alone, which passes an end on.
    command.process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// End of a run, by its cause.
enum RunEnd {
    /// By itself.
    Ended,
    /// By a signal to this program.
    Interrupted,
    /// The case was at its limit.
    OutOfTime,
    /// No agent was there in time.
    NotStarted,
}

/// Waits for the end of a run, and takes the steps of its network meanwhile.
async fn supervise(
    stage: &Stage<'_>,
    child: &mut Child,
    conductor: &mut Conductor<'_>,
    limit: Duration,
) -> RunEnd {
    let mut stop = stage.stop.clone();
    let late = async {
        // The start has a limit of its own: the agent's time begins with the agent.
        if timeout(START_LIMIT, conductor.conduct_to_start()).await.is_err() {
            return RunEnd::NotStarted;
        }
        let _ = timeout(limit, conductor.conduct()).await;
        RunEnd::OutOfTime
    };
    let end_of_run = tokio::select! {
        _ = child.wait() => return RunEnd::Ended,
        _ = stop.wait_for(Option::is_some) => RunEnd::Interrupted,
        end = late => end,
    };
    end(child).await;
    end_of_run
}

/// Ends a run: it is asked to, and killed where it goes on. Its guard has the time of the run too.
async fn end(child: &mut Child) {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        // It may have ended just now.
        let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
    }
    if timeout(ASKED_LIMIT, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// Returns what was captured. A process that the run left behind may hold the pipe.
async fn output(reading: tokio::task::JoinHandle<Captured>) -> Captured {
    timeout(Duration::from_secs(10), reading).await.ok().and_then(Result::ok).unwrap_or_default()
}

/// Returns what went wrong, and the last words of ringfence about it.
fn words(talk: &Path, what: &str) -> Vec<String> {
    let bytes = std::fs::read(talk).unwrap_or_default();
    let said = Captured { bytes, is_cut_short: false };
    std::iter::once(what.to_owned()).chain(said.tail(MOST_WORDS)).collect()
}
