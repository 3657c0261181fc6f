//! The helper that counts what the agent has on the engine's disk, as the supervisor sees it.
//!
//! ```text
//!  agent runs for a while ─▶ container in its process namespace ─a line each look─▶ newest() ─▶ watch
//!                                    └─ silence, end ─▶ another helper, a few times ─▶ an error, each time
//! ```
//! The engine tells a layer's size by the ends of files. It knows neither how many there are, nor
//! what is reserved beyond an end, nor what was deleted and is kept open.

use std::time::{Duration, Instant};

use bollard::errors::Error as ApiError;
use bollard::query_parameters::RemoveContainerOptions;
use netpolicy::service::ServiceName;
use tokio::time::timeout;

use super::helper_lines::HelperLines;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::spec::containers::{self, Counted};
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::term::Warning;
use crate::wire::disk_use::{DiskUse, LONGEST};

/// Most runs are over by then, and need no helper. With a home that survives there is no such
/// delay: many short runs would fill it.
const FIRST: Duration = Duration::from_secs(4);
/// An engine starts a helper within this time.
const START: Duration = Duration::from_secs(60);
/// A helper that says nothing for four of its beats is taken for gone.
const SILENCE: Duration = Duration::from_secs(20);
/// Number of times that a helper is started anew. A helper that lives for the time below makes
/// earlier ones forgotten.
const RESTARTS: u32 = 3;
const FORGOTTEN: Duration = Duration::from_secs(600);
/// The time before another helper.
const PAUSE: Duration = Duration::from_secs(1);

/// The facts that making the helper needs.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    /// The engine's id of the helper image.
    pub(crate) image: String,
    /// The service whose files are counted; none: the agent.
    pub(crate) service: Option<ServiceName>,
    /// Number of the first volume that it counts.
    pub(crate) first_volume: usize,
    /// Number of volumes that it counts.
    pub(crate) volumes: usize,
    /// The engine's name of the volume with the agent's home, which it counts too.
    pub(crate) home: Option<String>,
    /// Tells whether a helper counts. None does under another runtime, whose processes are not seen
    /// from outside.
    pub(crate) by_helper: bool,
}

impl Recipe {
    /// Returns the engine's name of the container whose files are counted.
    pub(super) fn counted(&self, workflow: &Workflow) -> String {
        match &self.service {
            Some(service) => workflow.object_of(Role::Service, service),
            None => workflow.object(Role::Agent),
        }
    }

    /// Returns the engine's name of the helper.
    fn helper(&self, workflow: &Workflow) -> String {
        match &self.service {
            Some(service) => workflow.object_of(Role::Disk, service),
            None => workflow.object(Role::Disk),
        }
    }
}

/// The counting of one container's files.
pub(crate) struct Counting<'a> {
    engine: &'a Engine,
    workflow: &'a Workflow,
    recipe: &'a Recipe,
    /// The engine's name of the container.
    pub(super) container: String,
    helper: Option<Helper>,
    /// The first helper is started then.
    due: Instant,
    /// Time of the last helper's start.
    began: Instant,
    restarts: u32,
    /// Tells whether the engine does not start such a helper at all.
    refused: bool,
    given_up: bool,
    last: DiskUse,
}

struct Helper {
    lines: HelperLines,
    heard: Instant,
}

impl<'a> Counting<'a> {
    /// Begins without a helper.
    pub(crate) fn new(engine: &'a Engine, workflow: &'a Workflow, recipe: &'a Recipe) -> Self {
        Counting {
            engine,
            workflow,
            recipe,
            container: recipe.counted(workflow),
            helper: None,
            due: first_look(recipe),
            began: Instant::now(),
            restarts: 0,
            refused: !recipe.by_helper,
            given_up: false,
            last: DiskUse::default(),
        }
    }

    /// Returns the newest count; an error, while there should be a helper and none counts.
    pub(crate) async fn newest(&mut self) -> Result<DiskUse, String> {
        if self.refused || Instant::now() < self.due {
            return Ok(self.last);
        }
        let recipe = self.recipe;
        let Some(helper) = &mut self.helper else { return self.start(recipe).await };
        match helper.newest() {
            Ok(found) => {
                self.last = found.unwrap_or(self.last);
                if self.began.elapsed() >= FORGOTTEN {
                    self.restarts = 0;
                }
                if self.last.cut_short {
                    return Err("the agent's files are too many, or too deep, to be counted".to_owned());
                }
                Ok(self.last)
            }
            Err(why) => {
                if self.restarts == RESTARTS {
                    self.given_up = true;
                    return Err(why);
                }
                self.restarts += 1;
                self.helper = None;
                // Where the agent has just ended, its end is seen meanwhile.
                tokio::time::sleep(PAUSE).await;
                self.start(recipe).await
            }
        }
    }

    /// Tells whether these are the files of a service that has ended: what it had last counts, and
    /// no helper can be among its processes.
    pub(super) async fn is_over(&mut self) -> bool {
        if self.recipe.service.is_none() {
            return false;
        }
        let looked = timeout(START, self.engine.inspect_container(&self.container, None)).await;
        let state = looked.ok().and_then(Result::ok).and_then(|found| found.state);
        let over = state.is_some_and(|state| state.running == Some(false));
        if over {
            (self.refused, self.given_up, self.helper) = (true, false, None);
            // Files without a name ended with the processes that kept them.
            self.last.nameless = 0;
        }
        over
    }

    /// Returns the last count.
    pub(super) fn last(&self) -> DiskUse {
        self.last
    }

    /// Tells whether no further helper is started, since too many have ended.
    pub(crate) fn has_given_up(&self) -> bool {
        self.given_up
    }

    /// Starts a helper. An engine that does not answer is asked again at the next look.
    async fn start(&mut self, recipe: &Recipe) -> Result<DiskUse, String> {
        let is_first = self.restarts == 0;
        self.began = Instant::now();
        let started = timeout(START, begin(self.engine, self.workflow, recipe)).await;
        let why = match started.unwrap_or_else(|_| Err("the engine does not start a helper".to_owned())) {
            Ok(helper) => {
                self.helper = Some(helper);
                return Ok(self.last);
            }
            Err(why) => why,
        };
        tokio::time::sleep(PAUSE).await;
        // No agent has a part in that: the helper has not run.
        if !is_first || !self.engine.answers().await {
            return Err(why);
        }
        match refusal(recipe.volumes + usize::from(recipe.home.is_some()), &why) {
            Refusal::GoOn(why) => {
                self.refused = true;
                crate::term::warn(Warning::DiskNotCounted(why));
                Ok(self.last)
            }
            Refusal::End(why) => {
                self.given_up = true;
                Err(why)
            }
        }
    }
}

/// Returns the time at which the first helper is started.
fn first_look(recipe: &Recipe) -> Instant {
    Instant::now() + if recipe.home.is_some() { Duration::ZERO } else { FIRST }
}

/// Returns what follows where the engine answers, and does not start the helper.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// The engine's word on the layer is enough: said once.
    GoOn(String),
    /// No helper will count the agent's files, for this reason.
    End(String),
}

/// Decides what a refusal means for a run with so many volumes, which nobody else counts.
/// Another try would be refused as well, and the agent would write without a limit meanwhile.
fn refusal(volumes: usize, why: &str) -> Refusal {
    match volumes {
        0 => Refusal::GoOn(why.to_owned()),
        _ => Refusal::End(format!(
            "the engine starts no helper that counts the agent's files, and nobody else counts its volumes ({volumes}): \
             {why}; mount something of your own where the image declares a VOLUME, and leave out --home"
        )),
    }
}

impl Helper {
    /// Returns what was said since, without a wait; an error when it is gone or says what is no
    /// count.
    fn newest(&mut self) -> Result<Option<DiskUse>, String> {
        let mut newest = None;
        while let Some(line) = self.lines.at_hand() {
            let line = line.map_err(|why| format!("the helper that counts the agent's files: {why}"))?;
            newest = Some(DiskUse::parse(&line).map_err(|error| format!("a line that is none: {error}"))?);
            self.heard = Instant::now();
        }
        if newest.is_none() && self.heard.elapsed() > SILENCE {
            return Err(format!("no count of the agent's files for {} s", SILENCE.as_secs()));
        }
        Ok(newest)
    }
}

async fn begin(engine: &Engine, workflow: &Workflow, recipe: &Recipe) -> Result<Helper, String> {
    let said = |error: ApiError| engine::describe(&error);
    let (name, container) = (recipe.helper(workflow), recipe.counted(workflow));
    let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
    match engine.api.remove_container(&name, Some(options)).await {
        Err(error) if !engine::is_missing(&error) => return Err(said(error)),
        _ => {}
    }
    let counted = Counted {
        container: &container,
        first_volume: recipe.first_volume,
        volumes: recipe.volumes,
        home: recipe.home.as_deref(),
    };
    let body = containers::disk(workflow, &recipe.image, counted);
    engine.create_container(name.clone(), body).await.map_err(said)?;
    let lines = HelperLines::of(engine, &name, LONGEST).await.map_err(said)?;
    engine.api.start_container(&name, None).await.map_err(said)?;
    Ok(Helper { lines, heard: Instant::now() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(parts: &[&[u8]], lives: bool) -> Helper {
        let parts = parts.iter().map(|part| part.to_vec());
        Helper { lines: HelperLines::said(parts, lives, LONGEST), heard: Instant::now() }
    }

    #[test]
    fn a_home_that_survives_is_counted_from_the_start() {
        let recipe = |home: Option<&str>| Recipe {
            image: "i".into(),
            service: None,
            first_volume: 0,
            volumes: 1,
            home: home.map(str::to_owned),
            by_helper: true,
        };
        assert!(first_look(&recipe(Some("home"))) <= Instant::now());
        assert!(first_look(&recipe(None)) > Instant::now() + FIRST / 2);
    }

    #[test]
    fn a_refusal_ends_a_run_whose_volumes_nobody_counts() {
        assert!(
            matches!(refusal(0, "no"), Refusal::GoOn(why) if Warning::DiskNotCounted(why.clone()).to_string().contains("layer"))
        );
        let Refusal::End(why) = refusal(2, "authorization denied") else { panic!("volumes have no limit") };
        assert!(why.contains("(2): authorization denied") && why.contains("VOLUME"), "{why}");
    }

    #[test]
    fn the_newest_count_is_believed_and_no_other_word() {
        let line = |files| DiskUse { files, ..DiskUse::default() }.text().unwrap();
        let all = [line(1), line(2), line(3)].concat();
        let mut lives = said(&[&all[..30], &all[30..]], true);
        assert_eq!(lives.newest().unwrap().unwrap().files, 3);
        assert_eq!(lives.newest().unwrap(), None, "nothing is new");
        lives.heard -= 2 * SILENCE;
        assert!(lives.newest().is_err(), "it is silent");
        assert!(said(&[&all], false).newest().is_err(), "it has ended");
        assert!(said(&[b"{}\n"], true).newest().is_err());
        assert!(said(&[&b" ".repeat(LONGEST + 1)], true).newest().is_err());
    }
}
