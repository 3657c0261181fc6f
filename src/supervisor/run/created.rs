//! The third phase: the engine has everything of the run, and nothing of the agent runs.
//!
//! ```text
//!  measuring ───────────────────────────────────────────────────────────────────────────▶ Watch
//!  host's helper ─▶ first word: addresses ──────────────┐
//!  networks, volumes ─▶ fence, guard ─┬─ configuration ◀┘ ─▶ sent to the fence ─┐
//!                                     ├─ roots, credentials ─▶ sent to the guard ─┼─▶ account, authorities
//!                                     └─ filter ─▶ agent, services, not started ──┘
//! ```

use std::net::IpAddr;

use bollard::models::ContainerCreateBody;
use ipnet::IpNet;
use tokio::task::{JoinHandle, JoinSet};

use super::checked::Gathered;
use super::checks::surroundings;
use super::configuration::{Configuration, configuration};
use super::create::{create, create_agent, create_volume};
use super::host::{self, HostWatch, Recipe};
use super::prepared::RunPlan;
use super::{account, home, services, system_calls};
use crate::host::nameservers::nameservers;
use crate::supervisor::engine::dialect::HostNames;
use crate::supervisor::mounts::nonce::{self, Planted};
use crate::supervisor::mounts::{directories, image_volumes};
use crate::supervisor::networks;
use crate::supervisor::spec::workflow::Role;
use crate::supervisor::spec::{containers, etc};
use crate::supervisor::upload::files::upload;
use crate::supervisor::upload::{authorities, secrets};
use crate::supervisor::watch::Watch;
use crate::term::{COULD_NOT_RUN, Failure, Warning, trace};
use crate::wire::handover::{NOTICE, SHARED};
use crate::wire::host_network::HostNetwork;

/// A run of which the engine has every part.
pub(super) struct Created<'a> {
    /// The plan.
    pub(super) plan: &'a RunPlan,
    /// The measuring of what the agent may write, which goes on.
    pub(super) measuring: JoinHandle<Result<Watch, Failure>>,
    /// The addresses of the engine's machine.
    pub(super) host: KnownHost,
    /// Marks in directories of this machine, which go before the agent comes.
    pub(super) planted: Vec<Planted>,
}

/// The helper that tells the addresses of the engine's machine, and what it told first.
pub(super) struct KnownHost {
    /// The helper.
    pub(super) watch: HostWatch,
    /// Facts to make another one.
    pub(super) recipe: Recipe,
    /// Network that the guard starts with.
    pub(super) network: HostNetwork,
    /// Resolvers of this machine before the guard was created.
    pub(super) resolvers: Vec<IpAddr>,
}

impl KnownHost {
    /// Starts the helper, and waits for its first word.
    async fn ask(recipe: Recipe, resolvers: Vec<IpAddr>) -> Result<KnownHost, Failure> {
        let (watch, network) = host::begin(&recipe).await?;
        Ok(KnownHost { watch, recipe, network, resolvers })
    }
}

impl<'a> Created<'a> {
    /// Creates everything.
    ///
    /// # Errors
    /// When a part cannot be made as it was asked for.
    pub(super) async fn create(plan: &'a RunPlan, gathered: Gathered) -> Result<Created<'a>, Failure> {
        let mut step = trace::step("networks");
        let RunPlan { engine, workflow, agent, .. } = plan;
        let writable = agent.binds.all.iter().filter(|bind| bind.writable).cloned().collect();
        let measuring = tokio::spawn(Watch::begin(agent.limits, writable));
        // It goes on beside the steps that follow, and ends with this function where one of them
        // fails.
        let mut asking = JoinSet::new();
        let recipe = Recipe::of(plan);
        asking.spawn(KnownHost::ask(recipe, nameservers()));
        let places = create_places(plan, &gathered).await?;
        step.then("containers");
        create_helpers(plan, &gathered, &places).await?;
        let planted = match plan.facts.elsewhere {
            true => nonce::plant(&agent.binds.all)?,
            false => Vec::new(),
        };
        let (host, (), ()) = tokio::try_join!(
            configure(plan, asking, places.subnets, &planted),
            gathered.means.hand_over(engine, workflow),
            create_agent_last(plan)
        )?;
        give_account(plan).await;
        if let Some(corporate) = &gathered.corporate {
            authorities::install(engine, workflow, corporate).await?;
        }
        drop(step);
        Ok(Created { plan, measuring, host, planted })
    }
}

/// The networks of a run.
struct Places {
    /// The engine's id of the fence's network.
    own: String,
    /// The engine's id of the guard's network.
    uplink: String,
    /// All subnets of the engine, these among them.
    subnets: Vec<IpNet>,
}

/// Creates networks and volumes.
async fn create_places(plan: &RunPlan, gathered: &Gathered) -> Result<Places, Failure> {
    let RunPlan { engine, workflow, agent, .. } = plan;
    let mut subnets = networks::subnets(&gathered.networks);
    let (own, uplink, volume, notice, trust, given, data, of_services) = tokio::join!(
        networks::create_own(engine, workflow, &subnets),
        networks::ensure_uplink(engine, &gathered.networks),
        create_volume(engine, workflow, Role::Volume, true),
        create_volume(engine, workflow, Role::Notice, true),
        create_volume(engine, workflow, Role::Trust, agent.trust),
        directories::create(engine, workflow, &agent.binds),
        image_volumes::create(engine, workflow, agent),
        services::create_volumes(plan),
    );
    let ((own, own_subnet), (uplink, uplink_subnet)) = (own?, uplink?);
    volume.and(notice).and(trust).and(given).and(data).and(of_services)?;
    subnets.push(own_subnet);
    subnets.extend(uplink_subnet);
    Ok(Places { own, uplink, subnets })
}

/// Creates the fence and the guard.
async fn create_helpers(plan: &RunPlan, gathered: &Gathered, places: &Places) -> Result<(), Failure> {
    let RunPlan { engine, workflow, agent, .. } = plan;
    if agent.handed {
        secrets::create_volume(engine, workflow).await?;
    }
    let fence = fence(plan, &places.own);
    // On another kernel this machine's addresses are not the host's as containers see it
    // (192.168.65.254), and the floor is to have that. A port of the host may be permitted while
    // the agent works. A dockerd without its own bridge does not know the host.
    let can_name_host =
        engine.dialect.host_names == HostNames::OnRequest && networks::has_default_bridge(&gathered.networks);
    let knows_host = gathered.means.knows_host || can_name_host;
    let cpus = agent.limits.nano_cpus;
    let guard = containers::guard(workflow, &plan.helper, &places.uplink, knows_host, cpus);
    tokio::try_join!(
        create(engine, workflow, Role::Fence, fence),
        create(engine, workflow, Role::Guard, guard),
    )?;
    Ok(())
}

/// Returns what the engine is asked for as the fence.
fn fence(plan: &RunPlan, network: &str) -> ContainerCreateBody {
    let RunPlan { engine, workflow, agent, helper, request, .. } = plan;
    let resolver = request.policy.dns.virtual_range.broadcast();
    let (trust, handed) = (agent.trust, agent.handed);
    let mut fence = containers::fence(workflow, helper, network, resolver, trust, handed, &agent.binds);
    etc::name_host(engine.dialect.host_names, &request.policy, &mut fence);
    etc::name_services(&request.service_names(), &mut fence);
    fence
}

/// Sends fence and guard what they begin with, and the agent its notice, once the addresses of the
/// engine's machine are known.
async fn configure(
    plan: &RunPlan,
    mut asking: JoinSet<Result<KnownHost, Failure>>,
    subnets: Vec<IpNet>,
    planted: &[Planted],
) -> Result<KnownHost, Failure> {
    let host = match asking.join_next().await {
        Some(Ok(begun)) => begun?,
        _ => return Err(Failure::new(COULD_NOT_RUN, "the asking for the machine's addresses was ended")),
    };
    let known = surroundings(&plan.request.policy, subnets, host.network.clone())?;
    let Configuration { shared, notice } = configuration(plan, known, planted)?;
    let fence = plan.workflow.object(Role::Fence);
    upload(&plan.engine, &fence, SHARED, shared).await?;
    upload(&plan.engine, &fence, NOTICE, notice).await?;
    Ok(host)
}

/// Creates the containers of the agent and of the services, which are started by nobody yet.
async fn create_agent_last(plan: &RunPlan) -> Result<(), Failure> {
    let RunPlan { engine, workflow, agent, .. } = plan;
    let (filter, home) =
        tokio::join!(system_calls::filter_for_agent(engine, workflow), home::make_ready(plan));
    let filter = home.and(filter)?;
    tokio::try_join!(create_agent(engine, workflow, agent, &filter), services::create(plan, &filter))?;
    image_volumes::check(engine, &workflow.object(Role::Agent), "the agent").await
}

/// Gives the agent's user an account. Only programs that ask for their user's name miss one.
async fn give_account(plan: &RunPlan) {
    if let Err(failure) = account::give(&plan.engine, &plan.workflow, &plan.agent).await {
        crate::term::warn(Warning::NoAccount(failure));
    }
}
