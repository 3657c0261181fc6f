//! The third phase: the engine has the helpers of the run, and nothing of the agent runs.
//!
//! ```text
//!  measuring ────────────────────────────────────────────────────────────────▶ Watch
//!  uplink ─┬─▶ guard ─▶ roots, credentials ─▶ attached, started: it waits for its configuration
//!          └─▶ host's addresses, from here or by a helper ─▶ configuration, for the fence that runs
//!  volumes ─▶ fence ─┬─ with --ca: agent, services ─▶ authorities ─▶ sent to the fence
//!                    └─ filter ─▶ else agent, services while the fence is proven
//! ```

use std::net::IpAddr;

use bollard::models::{ContainerCreateBody, Network};
use ipnet::IpNet;
use netpolicy::ruleset::{ConnectionShare, ConnectionTable};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::checked::Gathered;
use super::checks::surroundings;
use super::configuration::configuration;
use super::create::{create, create_agent, create_volume};
use super::events::EventFiles;
use super::guard_link::GuardLink;
use super::host::{self, BegunWatch, HostWatch, Recipe};
use super::prepared::RunPlan;
use super::{account, home, services, system_calls};
use crate::host::nameservers::nameservers;
use crate::supervisor::engine::dialect::HostNames;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::inventory;
use crate::supervisor::mounts::nonce::{self, Planted};
use crate::supervisor::mounts::{directories, image_volumes};
use crate::supervisor::networks;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::supervisor::spec::{containers, etc};
use crate::supervisor::upload::{authorities, secrets, ssh_folder};
use crate::supervisor::watch::Watch;
use crate::term::{COULD_NOT_RUN, Failure, Warning, trace};
use crate::wire::handover::FirstFiles;
use crate::wire::host_network::HostNetwork;

/// A run of which the engine has all but the agent and the services.
pub(super) struct Created<'a> {
    /// The plan.
    pub(super) plan: &'a RunPlan,
    /// The measuring of what the agent may write, which goes on.
    pub(super) measuring: JoinHandle<Result<Watch, Failure>>,
    /// The guard, which waits for the fence.
    pub(super) guard: BegunGuard,
    /// Parts of the configuration that are not known yet.
    pub(super) awaited: Awaited,
    /// The filter of system calls of agent and services, as the engine takes it.
    pub(super) filter: String,
    /// The engine's id of the fence.
    pub(super) fence: String,
    /// Tells whether agent and services were created already.
    pub(super) has_agent: bool,
    /// Marks in directories of this machine, which go before the agent comes.
    pub(super) planted: Vec<Planted>,
}

/// Facts of the configuration that the fence and the guard are started without.
pub(super) struct Awaited {
    /// The asking for the addresses of the engine's machine.
    asking: JoinSet<Result<KnownHost, Failure>>,
    /// All subnets of the engine.
    subnets: Vec<IpNet>,
}

/// The helper that tells the addresses of the engine's machine, and what it told first.
pub(super) struct KnownHost {
    /// The helper.
    pub(super) watch: HostWatch,
    /// Facts to make another one.
    pub(super) recipe: Recipe,
    /// Network that the guard starts with.
    pub(super) network: HostNetwork,
    /// Connection table of the engine's machine, where its kernel shows it.
    pub(super) table: Option<ConnectionTable>,
    /// Resolvers of this machine before the guard was created.
    pub(super) resolvers: Vec<IpAddr>,
}

impl KnownHost {
    /// Reads the network where it is seen from here, else starts the helper and waits for its first
    /// word.
    async fn ask(recipe: Recipe, resolvers: Vec<IpAddr>) -> Result<KnownHost, Failure> {
        let BegunWatch { watch, network, table } = host::begin(&recipe).await?;
        Ok(KnownHost { watch, recipe, network, table, resolvers })
    }
}

impl<'a> Created<'a> {
    /// Creates volumes and helpers, and has the guard started, which waits for the fence.
    ///
    /// # Errors
    /// When a part cannot be made as it was asked for.
    pub(super) async fn create(
        plan: &'a RunPlan,
        gathered: Gathered,
        events: EventFiles,
    ) -> Result<Created<'a>, Failure> {
        let RunPlan { engine, workflow, agent, .. } = plan;
        let writable = agent.binds.all.iter().filter(|bind| bind.writable).cloned().collect();
        let measuring = tokio::spawn(Watch::begin(agent.limits, writable));
        // Both helpers mount it, so it is there with its labels before them.
        create_volume(engine, workflow, Role::Volume, true).await?;
        let mut step = trace::step("networks");
        let (uplink, subnet) = networks::ensure_uplink(engine, &gathered.networks).await?;
        let awaited = Awaited::begin(plan, &gathered.networks, &uplink, subnet);
        step.then("containers");
        let (guard, fence) =
            tokio::try_join!(begin_guard(plan, &gathered, events, &uplink), create_fence(plan))?;
        drop(step);
        let planted = match plan.facts.elsewhere {
            true => nonce::plant(&agent.binds.all)?,
            false => Vec::new(),
        };
        // Docker's filter is plain text; Podman's lies in the volume before the agent comes.
        let filter = system_calls::filter_for_agent(engine, workflow).await?;
        // The image's own authorities are read in the agent's container, before the fence runs.
        let has_agent = gathered.corporate.is_some();
        if let Some(corporate) = &gathered.corporate {
            create_agent_last(plan, &filter, &fence).await?;
            authorities::install(engine, workflow, corporate).await?;
        }
        Ok(Created { plan, measuring, guard, awaited, filter, fence, has_agent, planted })
    }
}

/// A guard that is started.
pub(super) struct BegunGuard {
    /// Its streams.
    pub(super) link: GuardLink,
    /// Its word that it serves.
    pub(super) is_ready: oneshot::Receiver<()>,
    /// Its start, which goes on.
    pub(super) starting: JoinSet<Result<(), Failure>>,
}

impl BegunGuard {
    /// Waits until the engine has started the guard.
    pub(super) async fn started(mut starting: JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
        match starting.join_next().await {
            Some(Ok(started)) => started,
            _ => Err(Failure::new(COULD_NOT_RUN, "the starting of the guard was ended")),
        }
    }
}

/// Creates the guard, hands it its inputs and has it started.
async fn begin_guard(
    plan: &RunPlan,
    gathered: &Gathered,
    events: EventFiles,
    uplink: &str,
) -> Result<BegunGuard, Failure> {
    let RunPlan { engine, workflow, agent, .. } = plan;
    // On another kernel this machine's addresses are not the host's as containers see it
    // (192.168.65.254), and the floor is to have that. A port of the host may be permitted while
    // the agent works. A dockerd without its own bridge does not know the host.
    let can_name_host =
        engine.dialect.host_names == HostNames::OnRequest && networks::has_default_bridge(&gathered.networks);
    let knows_host = gathered.means.knows_host || can_name_host;
    let cpus = agent.limits.nano_cpus;
    let guard = containers::guard(workflow, &plan.helper, uplink, knows_host, cpus);
    create(engine, workflow, Role::Guard, guard).await?;
    gathered.means.hand_over(engine, workflow).await?;
    let (link, is_ready) = GuardLink::attach(plan, events).await?;
    let mut starting = JoinSet::new();
    let (engine, workflow) = (engine.clone(), workflow.clone());
    starting.spawn(async move { start(&engine, &workflow, Role::Guard).await });
    Ok(BegunGuard { link, is_ready, starting })
}

/// Creates the fence, with all that it mounts; its id.
async fn create_fence(plan: &RunPlan) -> Result<String, Failure> {
    let RunPlan { engine, workflow, agent, .. } = plan;
    let (notice, trust, given, data, of_services) = tokio::join!(
        create_volume(engine, workflow, Role::Notice, true),
        create_volume(engine, workflow, Role::Trust, agent.trust),
        directories::create(engine, workflow, &agent.binds),
        image_volumes::create(engine, workflow, agent),
        services::create_volumes(plan),
    );
    notice.and(trust).and(given).and(data).and(of_services)?;
    if agent.handed {
        secrets::create_volume(engine, workflow).await?;
    }
    let id = create(engine, workflow, Role::Fence, fence(plan)).await?;
    if let Some(ssh_agent) = &plan.request.ssh_agent {
        ssh_folder::install(engine, workflow, &ssh_agent.known.text()).await?;
    }
    Ok(id)
}

/// Starts the container of a helper.
pub(super) async fn start(engine: &Engine, workflow: &Workflow, role: Role) -> Result<(), Failure> {
    let started = engine.api.start_container(&workflow.object(role), None).await;
    started.map_err(|error| engine::refused(format!("cannot start the {role}'s container"), &error))
}

/// Returns what the engine is asked for as the fence.
fn fence(plan: &RunPlan) -> ContainerCreateBody {
    let RunPlan { engine, workflow, agent, helper, request, .. } = plan;
    let resolver = request.policy.dns.virtual_range.broadcast();
    let (trust, handed) = (agent.trust, agent.handed);
    let mut fence = containers::fence(workflow, helper, resolver, trust, handed, &agent.binds);
    etc::name_host(engine.dialect.host_names, &request.policy, &mut fence);
    etc::name_services(&request.service_names(), &mut fence);
    fence
}

impl Awaited {
    /// Begins to ask for the addresses of the engine's machine. That goes on beside the steps that
    /// follow, and ends with them where one fails.
    fn begin(plan: &RunPlan, networks: &[Network], uplink: &str, subnet: Option<IpNet>) -> Awaited {
        let (mut asking, mut recipe) = (JoinSet::new(), Recipe::of(plan));
        if let Some(subnet) = &subnet {
            recipe.look(uplink, subnet);
        }
        asking.spawn(KnownHost::ask(recipe, nameservers()));
        let subnets = networks::subnets(networks).into_iter().chain(subnet).collect();
        Awaited { asking, subnets }
    }

    /// Waits for the addresses of the engine's machine, counts the runs that share its connection
    /// table, and writes down what fence, guard and agent begin with.
    ///
    /// # Errors
    /// When the addresses are not known, or the engine does not list its containers.
    pub(super) async fn come(
        mut self,
        plan: &RunPlan,
        planted: &[Planted],
    ) -> Result<(KnownHost, FirstFiles), Failure> {
        let asked = async {
            let ended = || Failure::new(COULD_NOT_RUN, "the asking for the machine's addresses was ended");
            self.asking.join_next().await.and_then(Result::ok).ok_or_else(ended)?
        };
        // This run's fence is there, so of several that begin at once each counts those before it.
        let (host, runs) = tokio::try_join!(asked, inventory::count_runs(&plan.engine))?;
        let known = surroundings(&plan.request.policy, self.subnets, host.network.clone())?;
        let share = ConnectionShare { table: host.table, runs };
        let kernel = host.recipe.here.clone().filter(|_| host.watch.is_here());
        let files = configuration(plan, known, planted, share, kernel)?;
        Ok((host, files))
    }
}

/// Creates the containers of the agent and of the services, which are started by nobody yet.
pub(super) async fn create_agent_last(plan: &RunPlan, filter: &str, fence: &str) -> Result<(), Failure> {
    let RunPlan { engine, workflow, agent, .. } = plan;
    if plan.request.shared {
        return Ok(());
    }
    home::make_ready(plan).await?;
    let services = services::create(plan, filter, fence);
    tokio::try_join!(create_agent(engine, workflow, agent, filter, fence), services)?;
    let name = workflow.object(Role::Agent);
    let (checked, ()) = tokio::join!(image_volumes::check(engine, &name, "the agent"), give_account(plan));
    checked
}

/// Gives the agent's user an account. Only programs that ask for their user's name miss one.
async fn give_account(plan: &RunPlan) {
    if let Err(failure) = account::give(&plan.engine, &plan.workflow, &plan.agent).await {
        crate::term::warn(Warning::NoAccount(failure));
    }
}
