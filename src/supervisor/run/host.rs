//! The addresses of the engine's machine, and the size of its connection table: read in that
//! machine's own network. The addresses are followed while the run goes on.
//!
//! ```text
//!  begin ─┬─ the uplink's bridge is seen from here ─▶ the kernel, asked here ─┬─first line─▶ the floor that the guard starts with
//!         └─ it is not ─▶ a helper: container in the host's network ──────────┘
//!  follow ─▶ a change ──▶ guard's control socket: the floor grows, connections to what is now the host's are reset
//!        └─▶ silence, end ─▶ another helper, a few times ─▶ none: the run ends
//! ```
//! The supervisor may be on another machine, or in a container: then its own addresses do not tell
//! where the guard's packets can arrive.

use std::time::{Duration, Instant};

use bollard::query_parameters::RemoveContainerOptions;
use futures_util::FutureExt;
use ipnet::IpNet;
use netpolicy::ruleset::ConnectionTable;
use tokio::time::timeout;

use super::container_end::last_words;
use super::create::create;
use super::prepared::RunPlan;
use crate::host::network_changes::NetworkChanges;
use crate::host::{connection_table, kernel, network};
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::live;
use crate::supervisor::mounts::nonce;
use crate::supervisor::spec::containers;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::supervisor::watch::helper_lines::HelperLines;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::host_network::{HostNetwork, LONGEST, Line};

/// The first line comes within this time.
const FIRST: Duration = Duration::from_secs(30);
/// A helper that says nothing for three of its beats is taken for gone.
const SILENCE: Duration = Duration::from_secs(15);
/// Number of times that a helper is started anew. A helper that lives for the time below makes
/// earlier ones forgotten.
const RESTARTS: u32 = 3;
const FORGOTTEN: Duration = Duration::from_secs(600);
/// An engine starts another helper within this time.
const RESTART_LIMIT: Duration = Duration::from_secs(60);
/// The time before another helper, or another try to tell the guard.
const PAUSE: Duration = Duration::from_secs(2);
/// Number of times that the guard is told of one change.
const TELLINGS: u32 = 3;
/// The kernel is waited for so long: a look now and then does no harm.
const BEAT: Duration = Duration::from_secs(5);
/// Everything is read again after this time, notice or not.
const ANEW: Duration = Duration::from_secs(60);
/// Digits of a network's id in the name of its bridge (Docker).
const BRIDGE_DIGITS: usize = 12;

/// Facts that making the helper needs.
#[derive(Clone)]
pub(super) struct Recipe {
    pub(super) engine: Engine,
    pub(super) workflow: Workflow,
    /// The engine's id of the helper image.
    pub(super) image: String,
    /// The boot id of this kernel, where the engine's machine was seen to have this supervisor's
    /// network.
    pub(super) here: Option<String>,
}

impl Recipe {
    /// Returns what the helper of a run needs.
    pub(super) fn of(plan: &RunPlan) -> Recipe {
        let (engine, workflow) = (plan.engine.clone(), plan.workflow.clone());
        Recipe { engine, workflow, image: plan.helper.clone(), here: None }
    }

    /// Tells whether the engine may be in this supervisor's own network, so that it is worth a
    /// look. Without root an engine has a network of its own.
    pub(super) fn may_be_here(&self) -> bool {
        let elsewhere = nonce::is_needed(self.engine.info.kernel_version.as_deref());
        self.engine.local && !self.engine.dialect.rootless && !elsewhere
    }

    /// Looks whether the bridge of the uplink is a device of this supervisor's own network. Its
    /// name is of the network's id, which an engine draws; the fence refuses another kernel's,
    /// since a machine may be the copy of another.
    pub(super) fn look(&mut self, network: &str, subnet: &IpNet) {
        let name = network.get(..BRIDGE_DIGITS).map(|id| format!("br-{id}"));
        let is_here = self.may_be_here() && name.is_some_and(|name| network::has_device(&name, subnet));
        // Without that id the fence could not tell that it is on another kernel.
        self.here = is_here.then(kernel::boot_id).flatten();
    }
}

/// A source of lines about the network of the engine's machine.
pub(super) enum HostWatch {
    /// A helper that speaks.
    Helper(HelperLines),
    /// This machine's kernel.
    Here(Here),
}

/// Notices of this machine's kernel.
pub(super) struct Here {
    changes: NetworkChanges,
    read_at: Instant,
}

impl Here {
    /// Reads the network, and listens from before that.
    async fn begin() -> Result<(Here, HostNetwork), String> {
        let changes = NetworkChanges::listen().map_err(|error| error.to_string())?;
        let mut here = Here { changes, read_at: Instant::now() };
        let network = here.read().await?;
        Ok((here, network))
    }

    async fn read(&mut self) -> Result<HostNetwork, String> {
        self.read_at = Instant::now();
        let read = tokio::task::spawn_blocking(network::read).await;
        let read = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        read.check().map_err(|error| error.to_string())?;
        Ok(read)
    }

    /// Waits for a change, or for a while; what the network is then.
    async fn line(&mut self) -> Result<Line, String> {
        match timeout(BEAT, self.changes.come()).await {
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) if self.read_at.elapsed() < ANEW => return Ok(Line::Unchanged),
            Ok(Ok(())) | Err(_) => {}
        }
        self.read().await.map(Line::Network)
    }
}

/// A watch that has begun, and what is known of the engine's machine by then.
pub(super) struct BegunWatch {
    /// The watch.
    pub(super) watch: HostWatch,
    /// Network of the machine.
    pub(super) network: HostNetwork,
    /// Connection table of the machine, where its kernel shows it.
    pub(super) table: Option<ConnectionTable>,
}

/// Reads the network here where it is the engine's too; else starts the helper and waits for its
/// first words.
pub(super) async fn begin(recipe: &Recipe) -> Result<BegunWatch, Failure> {
    if recipe.here.is_some()
        && let Ok((here, network)) = Here::begin().await
    {
        return Ok(BegunWatch { watch: HostWatch::Here(here), network, table: connection_table::read() });
    }
    let Recipe { engine, workflow, image, .. } = recipe;
    let remapped = engine.dialect.remaps_users;
    let name = workflow.object(Role::Host);
    let failed = |mut failure: Failure, more: Vec<String>| {
        failure.causes.insert(0, std::mem::take(&mut failure.message));
        failure.causes.extend(more);
        failure.message =
            "the addresses of the engine's machine are not known, so the agent was not started".to_owned();
        failure.hint.get_or_insert_with(|| {
            "let the engine run a container in its host network: `docker run --rm --network host` must work there"
                .to_owned()
        });
        failure
    };
    let speaks = async {
        create(engine, workflow, Role::Host, containers::host(workflow, image, remapped)).await?;
        let lines = HelperLines::of(engine, &name, LONGEST).await;
        let lines = lines.map_err(|error| engine::refused("cannot hear the host's container", &error))?;
        let started = engine.api.start_container(&name, None).await;
        started.map_err(|error| engine::refused("cannot start the host's container", &error))?;
        HostWatch::Helper(lines).first_words().await.map_err(|why| Failure::new(COULD_NOT_RUN, why))
    };
    let silent = || Failure::new(COULD_NOT_RUN, format!("no answer within {} s", FIRST.as_secs()));
    match timeout(FIRST, speaks).await.unwrap_or_else(|_| Err(silent())) {
        Ok(begun) => Ok(begun),
        Err(failure) => Err(failed(failure, last_words(engine, &name).await)),
    }
}

impl HostWatch {
    /// Tells whether this machine's kernel is asked.
    pub(super) fn is_here(&self) -> bool {
        matches!(self, HostWatch::Here(_))
    }

    /// Takes what a helper says first: the table, where its kernel shows one, and the network.
    async fn first_words(mut self) -> Result<BegunWatch, String> {
        let mut line = self.line().await?;
        let mut table = None;
        if let Line::Table(shown) = line {
            table = Some(shown);
            line = self.line().await?;
        }
        match line {
            Line::Network(network) => Ok(BegunWatch { watch: self, network, table }),
            Line::Unchanged | Line::Table(_) => Err("it began without its addresses".to_owned()),
        }
    }

    /// Waits for the next line; an error says why there is none.
    async fn line(&mut self) -> Result<Line, String> {
        let lines = match self {
            HostWatch::Helper(lines) => lines,
            HostWatch::Here(here) => return here.line().await,
        };
        let line = lines.next().await?;
        Line::parse(&line).map_err(|error| format!("a line that is none: {error}"))
    }

    /// Takes what was said since, without a wait: only the newest counts, however slowly the guard
    /// is told. What is no line of the helper's takes the place of one. A reading here is new, and
    /// one that was begun and dropped would have taken the kernel's notice with it.
    fn newest(&mut self, mut line: Result<Line, String>) -> Result<Line, String> {
        if matches!(self, HostWatch::Here(_)) {
            return line;
        }
        while line.is_ok()
            && let Some(next) = self.line().now_or_never()
        {
            if !matches!(next, Ok(Line::Unchanged)) {
                line = next;
            }
        }
        line
    }

    /// Passes every change on to the guard; returns, with the reason, when that is not possible any
    /// more. `known` is what the guard has already.
    pub(super) async fn follow(mut self, mut recipe: Recipe, mut known: HostNetwork) -> String {
        let (mut restarts, mut began) = (0, Instant::now());
        loop {
            let line = timeout(SILENCE, self.line()).await;
            let line = line.unwrap_or_else(|_| Err(format!("no word for {} s", SILENCE.as_secs())));
            let now = match self.newest(line) {
                Ok(Line::Unchanged | Line::Table(_)) => continue,
                Ok(Line::Network(now)) => now,
                Err(mut why) => loop {
                    if began.elapsed() >= FORGOTTEN {
                        restarts = 0;
                    }
                    if restarts == RESTARTS {
                        return format!(
                            "nothing says any more which addresses the engine's machine has: {why}"
                        );
                    }
                    restarts += 1;
                    // What could not be read here a helper may say.
                    recipe.here = None;
                    tokio::time::sleep(PAUSE).await;
                    began = Instant::now();
                    match timeout(RESTART_LIMIT, again(&recipe)).await {
                        Ok(Ok(BegunWatch { watch, network, .. })) => {
                            self = watch;
                            break network;
                        }
                        Ok(Err(failure)) => why = failure.causes.first().cloned().unwrap_or(failure.message),
                        Err(_) => why = "the engine does not start another helper".to_owned(),
                    }
                },
            };
            if now == known {
                continue;
            }
            if let Err(why) = tell(&recipe, &now).await {
                return format!("the guard could not be told of the machine's new addresses: {why}");
            }
            known = now;
        }
    }
}

/// Another helper in the place of one that is gone.
pub(super) async fn again(recipe: &Recipe) -> Result<BegunWatch, Failure> {
    let name = recipe.workflow.object(Role::Host);
    let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
    match recipe.engine.api.remove_container(&name, Some(options)).await {
        Err(error) if !engine::is_missing(&error) => {
            Err(engine::refused("cannot remove the host's container", &error))
        }
        _ => begin(recipe).await,
    }
}

/// Tells the guard of the machine's addresses.
pub(super) async fn tell(recipe: &Recipe, network: &HostNetwork) -> Result<(), String> {
    let mut why = String::new();
    for _ in 0..TELLINGS {
        match live::host(&recipe.engine, &recipe.workflow.helpers(), network.clone()).await {
            Ok(()) => return Ok(()),
            Err(failure) => why = failure.message,
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn network(last: u8) -> HostNetwork {
        HostNetwork { addresses: [IpAddr::from([192, 0, 2, last])].into(), ..HostNetwork::default() }
    }

    /// A helper that has said so much already.
    fn said(bytes: Vec<Vec<u8>>, and_lives: bool) -> HostWatch {
        HostWatch::Helper(HelperLines::said(bytes, and_lives, LONGEST))
    }

    #[tokio::test]
    async fn of_what_a_helper_has_said_only_the_newest_counts() {
        let mut all: Vec<u8> =
            (1..=200).flat_map(|last| Line::Network(network(last)).text().unwrap()).collect();
        all.extend(Line::Unchanged.text().unwrap());
        let parts = |all: &[u8]| all.chunks(700).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let mut lives = said(parts(&all), true);
        let first = lives.line().await;
        assert_eq!(lives.newest(first), Ok(Line::Network(network(200))));
        assert!(lives.line().now_or_never().is_none(), "nothing is left");
        // A helper that is gone, or says what is no line, is not believed for what it said before.
        let mut gone = said(parts(&all), false);
        let first = gone.line().await;
        assert_eq!(gone.newest(first), Err("it has ended".to_owned()));
        all.extend(b"{}\n");
        let mut strange = said(parts(&all), true);
        let first = strange.line().await;
        assert!(strange.newest(first).is_err());
    }

    #[tokio::test]
    async fn a_helper_says_its_table_before_its_network_or_shows_none() {
        let shown = Line::Table(ConnectionTable { entries: 65_536, linger: 120 });
        let text = |lines: &[&Line]| lines.iter().map(|line| line.text().unwrap()).collect::<Vec<_>>();
        let first = |lines: &[&Line]| said(text(lines), true).first_words().now_or_never().unwrap();
        let network = Line::Network(network(1));
        let begun = first(&[&shown, &network]).unwrap();
        assert_eq!(
            (Some(Line::Table(begun.table.unwrap())), begun.network.addresses.len()),
            (Some(shown.clone()), 1)
        );
        assert_eq!(first(&[&network]).unwrap().table, None);
        assert!(first(&[&shown, &shown]).is_err());
        assert!(first(&[&Line::Unchanged]).is_err());
    }
}
