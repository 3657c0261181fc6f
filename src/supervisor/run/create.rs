//! Creates containers and volumes, and reads what the engine says of them.

use bollard::errors::Error as ApiError;
use bollard::models::{ContainerCreateBody, ContainerCreateResponse, VolumeCreateRequest};

use crate::supervisor::engine::warnings;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::spec::agent::AgentSpec;
use crate::supervisor::spec::containers;
use crate::supervisor::spec::etc;
use crate::supervisor::spec::service::ServiceSpec;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::term::{Failure, Warning, trace};

/// Creates one container as it is asked for, and returns its id; one that is less than that is a
/// failure.
pub(super) async fn create(
    engine: &Engine,
    workflow: &Workflow,
    role: Role,
    mut body: ContainerCreateBody,
) -> Result<String, Failure> {
    if matches!(role, Role::Fence | Role::Guard) {
        body.env.get_or_insert_default().extend(trace::variable());
    }
    let created = try_create(engine, workflow, role, body).await.map_err(|error| refused(role, &error))?;
    for words in warnings::judge(&created.warnings)? {
        crate::term::warn(Warning::ByEngine { about: Some(role.to_string()), words });
    }
    Ok(created.id)
}

/// The agent. A storage driver that was asked to hold the disk limit may say only now that it
/// cannot; the limit is watched all the same.
pub(super) async fn create_agent(
    engine: &Engine,
    workflow: &Workflow,
    agent: &AgentSpec,
    filter: &str,
    fence: &str,
) -> Result<(), Failure> {
    let asked = |agent: &AgentSpec| {
        let mut body = containers::agent(workflow, agent, filter, fence);
        etc::name_agent(engine.dialect.hostname, &mut body);
        body
    };
    let body = asked(agent);
    if !agent.quota {
        return create(engine, workflow, Role::Agent, body).await.map(drop);
    }
    match try_create(engine, workflow, Role::Agent, body).await {
        Ok(created) => {
            for words in warnings::judge(&created.warnings)? {
                crate::term::warn(Warning::ByEngine { about: Some(Role::Agent.to_string()), words });
            }
            Ok(())
        }
        Err(error) if engine::describe(&error).contains("storage-opt") => {
            let without = asked(&AgentSpec { quota: false, ..agent.clone() });
            create(engine, workflow, Role::Agent, without).await.map(drop)
        }
        Err(error) => Err(refused(Role::Agent, &error)),
    }
}

async fn try_create(
    engine: &Engine,
    workflow: &Workflow,
    role: Role,
    body: ContainerCreateBody,
) -> Result<ContainerCreateResponse, ApiError> {
    engine.create_container(workflow.object(role), body).await
}

fn refused(role: Role, error: &ApiError) -> Failure {
    engine::refused(format!("cannot create the {role}'s container"), error)
}

/// Creates the container of a service.
pub(super) async fn create_service(
    engine: &Engine,
    workflow: &Workflow,
    service: &ServiceSpec,
    filter: &str,
    fence: &str,
) -> Result<(), Failure> {
    let mut body = containers::service(workflow, &service.container, filter, fence);
    etc::name_agent(engine.dialect.hostname, &mut body);
    let (name, what) =
        (workflow.object_of(Role::Service, &service.name), format!("service `{}`", service.name));
    let created = engine.create_container(name, body).await;
    let created = created
        .map_err(|error| engine::refused(format!("cannot create the container of the {what}"), &error))?;
    for words in warnings::judge(&created.warnings)? {
        crate::term::warn(Warning::ByEngine { about: Some(what.clone()), words });
    }
    Ok(())
}

/// One of the workflow's volumes, if it is wanted.
pub(super) async fn create_volume(
    engine: &Engine,
    workflow: &Workflow,
    role: Role,
    wanted: bool,
) -> Result<(), Failure> {
    if !wanted {
        return Ok(());
    }
    let request = VolumeCreateRequest {
        name: Some(workflow.object(role)),
        labels: Some(workflow.labels(role)),
        ..Default::default()
    };
    let created = engine.create_volume(request).await;
    created.map_err(|error| engine::refused(format!("cannot create the {role} volume"), &error))
}
