//! Two short containers that are made as a workflow's are, asked what they see, and removed again.
//!
//! ```text
//!  helper image ─┬─ the guard's container, on no network ─▶ `probe container` ─▶ Inside
//!                └─ the fence's container, on no network ─▶ `probe fence` ─────▶ Fence
//! ```
//! They carry the labels and names of a workflow without an agent, so that `ps` shows them while
//! they are there, and `gc` removes what a killed doctor leaves.

use std::net::Ipv4Addr;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::AttachContainerOptions;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use crate::doctor::facts::{Fence, Inside, Learned};
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::helper_image;
use crate::supervisor::inventory::Extent;
use crate::supervisor::run::removal::{self, GuardAtRemoval, Removal};
use crate::supervisor::signals::interrupt::{Tidies, unless_interrupted};
use crate::supervisor::spec::binds::Binds;
use crate::supervisor::spec::containers;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::term::Failure;
use crate::wire::UnixTime;

/// Longer than the probe gives itself.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most bytes that are read of a probe's output.
const MOST_OUTPUT: usize = 1 << 20;

/// Runs both containers. Fails only when it is interrupted.
pub(crate) async fn everything(engine: &Engine) -> Result<(Learned<Inside>, Learned<Fence>), Failure> {
    let _tidies = Tidies::begin();
    let stage = match Stage::set(engine).await {
        Ok(stage) => stage,
        Err(why) => return Ok((Err(why.clone()), Err(why))),
    };
    let played = unless_interrupted(async { tokio::join!(stage.container(), stage.fence()) }).await;
    let struck = stage.strike().await;
    // What is left behind is told with the fence, since a workflow's would be left behind too.
    played.map(|(inside, fence)| (inside, fence.and_then(|fence| struck.map(|()| fence))))
}

/// Runs the first container alone. Fails only when it is interrupted.
pub(super) async fn container_alone(engine: &Engine) -> Result<Learned<Inside>, Failure> {
    let _tidies = Tidies::begin();
    let stage = match Stage::set(engine).await {
        Ok(stage) => stage,
        Err(why) => return Ok(Err(why)),
    };
    let played = unless_interrupted(stage.container()).await;
    let struck = stage.strike().await;
    played.map(|inside| struck.and(inside))
}

struct Stage<'a> {
    engine: &'a Engine,
    workflow: Workflow,
    helper: String,
}

impl<'a> Stage<'a> {
    async fn set(engine: &'a Engine) -> Result<Stage<'a>, String> {
        let helper = helper_image::ensure(engine).await.map_err(words)?;
        let workflow = Workflow::new(None, None, UnixTime(crate::host::clock::unix_seconds()))
            .map_err(|error| format!("cannot make an id: {error}"))?;
        Ok(Stage { engine, workflow, helper })
    }

    async fn container(&self) -> Learned<Inside> {
        let mut body = containers::guard(&self.workflow, &self.helper, "none", false, 0);
        body.networking_config = None;
        if let Some(host) = &mut body.host_config {
            host.nano_cpus = Some(500_000_000);
        }
        self.play(Role::Guard, body, "container").await
    }

    async fn fence(&self) -> Learned<Fence> {
        let body = containers::fence(
            &self.workflow,
            &self.helper,
            Ipv4Addr::LOCALHOST,
            false,
            false,
            &Binds::default(),
        );
        self.play(Role::Fence, body, "fence").await
    }

    /// Runs a probe to its end and reads its last line.
    async fn play<T: DeserializeOwned>(
        &self,
        role: Role,
        mut body: ContainerCreateBody,
        probe: &str,
    ) -> Learned<T> {
        body.cmd = Some(vec!["probe".to_owned(), probe.to_owned()]);
        if let Some(host) = &mut body.host_config {
            host.mounts = None;
        }
        let name = self.workflow.object(role);
        let said = tokio::time::timeout(PATIENCE, self.run(&name, body))
            .await
            .map_err(|_| format!("the probe `{probe}` did not end within {} s", PATIENCE.as_secs()))??;
        let line = said.stdout.trim_end().rsplit('\n').next().unwrap_or_default();
        serde_json::from_str(line).map_err(|_| {
            let heard = [said.stderr.trim(), said.stdout.trim()].into_iter().find(|text| !text.is_empty());
            format!("the probe `{probe}` said no facts but: {}", heard.unwrap_or("nothing"))
        })
    }

    async fn run(&self, name: &str, body: ContainerCreateBody) -> Result<ProbeOutput, String> {
        let api = &self.engine.api;
        let refused = |doing: &str, error| {
            format!("the engine does not {doing} a container: {}", engine::describe(&error))
        };
        let created = self.engine.create_container(name.to_owned(), body).await;
        created.map_err(|error| refused("create", error))?;
        let attach =
            AttachContainerOptions { stream: true, stdout: true, stderr: true, ..Default::default() };
        let mut output = api
            .attach_container(name, Some(attach))
            .await
            .map_err(|error| refused("attach to", error))?
            .output;
        api.start_container(name, None).await.map_err(|error| refused("start", error))?;
        let mut said = ProbeOutput::default();
        while let Some(piece) = output.next().await {
            match piece.map_err(|error| refused("read from", error))? {
                LogOutput::StdErr { message } => said.stderr.push_str(&String::from_utf8_lossy(&message)),
                LogOutput::StdOut { message } => said.stdout.push_str(&String::from_utf8_lossy(&message)),
                _ => {}
            }
            if said.stdout.len() + said.stderr.len() > MOST_OUTPUT {
                return Err("a probe said more than anybody wants to read".to_owned());
            }
        }
        Ok(said)
    }

    async fn strike(&self) -> Result<(), String> {
        let whole = Removal { guard: GuardAtRemoval::Rehearsed, extent: Extent::Whole };
        removal::remove(self.engine, &self.workflow, whole).await.map_err(words)
    }
}

#[derive(Default)]
struct ProbeOutput {
    stdout: String,
    stderr: String,
}

/// Returns a failure in one line, for the evidence.
fn words(failure: Failure) -> String {
    let mut text = failure.message;
    for cause in failure.causes {
        text.push_str(": ");
        text.push_str(cause.trim());
    }
    text
}
