//! What the fence and the guard begin with.

use std::time::{SystemTime, UNIX_EPOCH};

use netpolicy::floor::Surroundings;
use netpolicy::virtual_names::VirtualNames;

use super::super::engine::{Engine, Product};
use super::super::files::{self, File};
use super::super::init;
use super::super::nonce::Planted;
use super::super::seccomp;
use super::super::workflow::Workflow;
use super::Request;
use crate::error::{COULD_NOT_RUN, Failure};
use crate::handover::{FenceConfig, GuardConfig};

/// The files that the fence and the guard begin with, as one archive.
pub(super) fn configuration(
    workflow: &Workflow,
    request: &Request,
    engine: &Engine,
    surroundings: Surroundings,
    planted: &[Planted],
) -> Result<Vec<u8>, Failure> {
    let names = VirtualNames::new(&request.policy);
    let (time, ..) = request.left();
    let end = SystemTime::now() + time;
    let deadline = end.duration_since(UNIX_EPOCH).map(|since| since.as_millis() as u64).unwrap_or(0);
    let fence = FenceConfig {
        workflow: workflow.id.to_string(),
        permits: netpolicy::ruleset::permits(&request.policy, &names),
        cut: netpolicy::ruleset::Cut::Nothing,
        devices: request.agent.runtime.is_some(),
        given: request.agent.binds.expected(planted),
        limits: engine.product == Product::Podman,
        covers: init::expected(&request.agent)?,
    };
    let guard = GuardConfig {
        workflow: workflow.id.to_string(),
        policy: request.policy.clone(),
        surroundings,
        digest: workflow.digest.as_ref().map(ToString::to_string).unwrap_or_default(),
        deadline_unix_ms: Some(deadline),
        image: request.agent.image.id.clone(),
        image_digest: request.agent.image.digest.clone(),
        engine: engine.version.clone(),
    };
    let json = |result: serde_json::Result<Vec<u8>>| {
        result.map_err(|error| {
            Failure::new(COULD_NOT_RUN, "cannot write down the configuration").caused_by(&error)
        })
    };
    let (fence, guard) = (json(serde_json::to_vec(&fence))?, json(serde_json::to_vec(&guard))?);
    let file = |name, content| File { name, content, mode: 0o644, owner: 0 };
    files::archive(&[file("fence.json", &fence), file("guard.json", &guard)])
}

/// The agent's filter, for an engine that wants it as a file.
pub(super) fn filter() -> Result<Vec<u8>, Failure> {
    let content = seccomp::PROFILE.as_bytes();
    files::archive(&[File { name: "seccomp.json", content, mode: 0o644, owner: 0 }])
}
