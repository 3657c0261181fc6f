//! Files that the fence, the guard and the agent begin with.

use std::time::{SystemTime, UNIX_EPOCH};

use netpolicy::floor::Surroundings;
use netpolicy::ruleset::{AppliedBounds, ConnectionShare};
use netpolicy::virtual_names::VirtualNames;

use super::prepared::RunPlan;
use crate::host::{account, clock, kernel};
use crate::supervisor::engine::dialect::LimitsShown;
use crate::supervisor::mounts::covers;
use crate::supervisor::mounts::nonce::Planted;
use crate::supervisor::spec::service::ServiceSpec;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::event::{Start, StartConnections};
use crate::wire::handover::{FenceConfig, FirstFiles, GuardConfig};
use crate::wire::notice::{self, NoticeFacts, NoticeService};
use crate::workspace::secrets::{is_secret_variable, without_secrets};

/// Writes down what the fence and the guard begin with, and what the agent is told. `kernel`: see
/// [`FenceConfig::kernel`].
pub(super) fn configuration(
    plan: &RunPlan,
    surroundings: Surroundings,
    planted: &[Planted],
    share: ConnectionShare,
    kernel: Option<String>,
) -> Result<FirstFiles, Failure> {
    let RunPlan { engine, workflow, request, agent, .. } = plan;
    let names = VirtualNames::new(&request.policy);
    let end = SystemTime::now() + request.deadline(&agent.limits).left;
    let deadline = end.duration_since(UNIX_EPOCH).map(|since| since.as_millis() as u64).unwrap_or(0);
    let connections = AppliedBounds::of(&request.policy.connections, share);
    let nonces: Vec<_> = planted.iter().map(Planted::nonce).collect();
    let fence = FenceConfig {
        workflow: workflow.id.to_string(),
        permits: netpolicy::ruleset::permits(&request.policy, &names),
        cut: netpolicy::ruleset::Cut::Nothing,
        connections: connections.bounds,
        devices: agent.runtime.is_some(),
        given: agent.binds.expected(&nonces, kernel::boot_id().as_deref()),
        limits: engine.dialect.limits_shown == LimitsShown::FromWithin,
        covers: covers::expected(agent)?,
        init: agent.by_init.as_ref().map(|first| first.keys.clone()),
        kernel,
    };
    let facts = notice_facts(plan, deadline);
    let notice = notice::text(workflow.id, &request.policy, &surroundings, &facts, clock::today());
    let guard = GuardConfig {
        workflow: workflow.id,
        policy: request.policy.clone(),
        surroundings,
        deadline_unix_ms: Some(deadline),
        connections: connections.bounds,
        start: Start { connections: Some(StartConnections::of(&connections)), ..start(plan) },
        notice: Some(facts),
        planned: request.planned.clone(),
    };
    let json = |result: serde_json::Result<String>| {
        result.map_err(|error| {
            Failure::new(COULD_NOT_RUN, "cannot write down the configuration").caused_by(&error)
        })
    };
    Ok(FirstFiles {
        fence: json(serde_json::to_string(&fence))?,
        guard: json(serde_json::to_string(&guard))?,
        notice,
    })
}

/// Returns what the agent is told beside its network.
fn notice_facts(plan: &RunPlan, ends_unix_ms: u64) -> NoticeFacts {
    let limits = &plan.agent.limits;
    NoticeFacts {
        covered: plan.covers.places.clone(),
        memory: limits.memory,
        disk: limits.disk,
        pids: limits.pids,
        ends_unix_ms: Some(ends_unix_ms),
        services: plan.services.iter().map(notice_service).collect(),
    }
}

/// Returns what the agent is told of a service.
fn notice_service(service: &ServiceSpec) -> NoticeService {
    NoticeService { name: service.name.clone(), ports: service.ports() }
}

/// Returns who started what, for the first line of the log. No secret is in it.
fn start(plan: &RunPlan) -> Start {
    let RunPlan { engine, workflow, request, agent, .. } = plan;
    let (uid, user) = account::of_caller();
    let of_variables = agent.env.iter().filter_map(|pair| pair.split_once('='));
    let of_variables = of_variables.filter(|(name, value)| is_secret_variable(name, value.as_bytes()));
    let of_files = request.agent.handed.iter().filter(|file| !file.is_prompt());
    let known: Vec<&[u8]> = of_variables
        .map(|(_, value)| value.as_bytes())
        .chain(of_files.map(|file| file.content.as_slice()))
        .collect();
    let written = |words: &[String]| without_secrets(words, &known);
    let named = |service: &ServiceSpec| (service.name.to_string(), service.container.image.id.clone());
    Start {
        digest: workflow.digest.clone(),
        image: Some(agent.image.id.clone()),
        image_digest: agent.image.digest.as_ref().and_then(|digest| digest.parse().ok()),
        image_name: agent.image.name.parse().ok(),
        engine: Some(engine.dialect.title.to_string()),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        name: workflow.name.clone(),
        user,
        uid: Some(uid),
        project: request.project().map(|project| project.source.display().to_string()),
        entrypoint: agent.entrypoint.as_ref().and_then(|word| written(std::slice::from_ref(word)).pop()),
        command: (!agent.command.is_empty()).then(|| written(&agent.command)),
        services: (!plan.services.is_empty()).then(|| plan.services.iter().map(named).collect()),
        connections: None,
        map: None,
    }
}
