//! Finding workflows again by their labels, and removing what is theirs.
//!
//! ```text
//!  labels on the engine ─▶ Found (id, members, state) ─▶ ps | stop | gc
//! ```

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::models::ContainerSummaryStateEnum;
use bollard::query_parameters::{
    ListContainersOptions, ListNetworksOptions, ListVolumesOptions, LogsOptions, RemoveContainerOptions,
    RemoveVolumeOptions,
};
use futures_util::StreamExt;
use serde::Serialize;

use super::engine::{self, Engine};
use super::usage::Usage;
use super::workflow::{
    LABEL_CREATED, LABEL_DIGEST, LABEL_IMAGE, LABEL_IMAGE_DIGEST, LABEL_NAME, LABEL_ROLE, LABEL_WORKFLOW,
    Role, object_name,
};
use super::{aftermath, state};
use crate::error::{COULD_NOT_RUN, Failure};
use crate::layers::record;
use crate::workspace::masks;

/// Between two pieces of a log an engine takes no longer than this.
const SILENCE: Duration = Duration::from_secs(30);

/// A workflow as the engine's labels tell of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Found {
    /// Its id.
    pub id: String,
    /// The name that a person gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The agent's image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The same by the digest under which a registry gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// running, exited, created, … of the agent; `absent` without one.
    pub agent: String,
    /// The same of the guard.
    pub guard: String,
    /// The same of the fence.
    pub fence: String,
    /// Digest of the policy.
    pub digest: String,
    /// Unix time of the start, seconds.
    pub created_at: u64,
    /// What a running agent uses of what it may, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// All workflows of which anything is left on the engine, oldest first.
pub async fn workflows(engine: &Engine) -> Result<Vec<Found>, Failure> {
    let cannot = |what: &str| format!("cannot list the engine's {what}");
    let containers = engine
        .api
        .list_containers(Some(ListContainersOptions {
            all: true,
            filters: Some(by_label()),
            ..Default::default()
        }))
        .await
        .map_err(|error| engine::refused(cannot("containers"), &error))?;
    let networks = engine
        .api
        .list_networks(Some(ListNetworksOptions { filters: Some(by_label()) }))
        .await
        .map_err(|error| engine::refused(cannot("networks"), &error))?;
    let volumes = engine
        .api
        .list_volumes(Some(ListVolumesOptions { filters: Some(by_label()) }))
        .await
        .map_err(|error| engine::refused(cannot("volumes"), &error))?;

    let mut found = BTreeMap::new();
    for container in containers {
        let labels = container.labels.unwrap_or_default();
        let Some(entry) = entry(&mut found, &labels) else { continue };
        let state = container.state.unwrap_or(ContainerSummaryStateEnum::EMPTY).to_string();
        match labels.get(LABEL_ROLE).map(String::as_str) {
            Some("agent") => {
                entry.agent = state;
                entry.image = labels.get(LABEL_IMAGE).cloned().or(container.image);
                entry.image_digest = labels.get(LABEL_IMAGE_DIGEST).cloned();
            }
            Some("guard") => entry.guard = state,
            Some("fence") => entry.fence = state,
            _ => {}
        }
    }
    for labels in networks.into_iter().filter_map(|network| network.labels) {
        entry(&mut found, &labels);
    }
    for volume in volumes.volumes.unwrap_or_default() {
        entry(&mut found, &volume.labels);
    }
    let mut all: Vec<Found> = found.into_values().collect();
    all.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    Ok(all)
}

fn by_label() -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![LABEL_WORKFLOW.to_owned()])])
}

fn entry<'a>(
    found: &'a mut BTreeMap<String, Found>,
    labels: &HashMap<String, String>,
) -> Option<&'a mut Found> {
    let id = labels.get(LABEL_WORKFLOW)?;
    let text = |label: &str| labels.get(label).cloned().unwrap_or_default();
    Some(found.entry(id.clone()).or_insert_with(|| Found {
        id: id.clone(),
        name: labels.get(LABEL_NAME).cloned(),
        agent: "absent".to_owned(),
        guard: "absent".to_owned(),
        fence: "absent".to_owned(),
        digest: text(LABEL_DIGEST),
        created_at: text(LABEL_CREATED).parse().unwrap_or(0),
        image: None,
        image_digest: None,
        usage: None,
    }))
}

/// The one workflow that is meant by an id, a unique prefix of one, or a name.
pub fn pick<'a>(all: &'a [Found], wanted: &str) -> Result<&'a Found, Failure> {
    let exact = all.iter().find(|found| found.id == wanted);
    let named: Vec<_> = all.iter().filter(|found| found.name.as_deref() == Some(wanted)).collect();
    let begun: Vec<_> =
        all.iter().filter(|found| !wanted.is_empty() && found.id.starts_with(wanted)).collect();
    match (exact, named.as_slice(), begun.as_slice()) {
        (Some(found), ..) => Ok(found),
        (None, [found], _) | (None, [], [found]) => Ok(found),
        (None, [], []) => {
            Err(Failure::new(COULD_NOT_RUN, format!("no workflow `{wanted}` is on this engine"))
                .hint("`ringfence ps` lists them"))
        }
        _ => Err(Failure::new(COULD_NOT_RUN, format!("`{wanted}` may mean several workflows"))
            .hint("give more of the id; `ringfence ps` lists them")),
    }
}

/// Saves the events of workflow `id`, whose agent has ended, and removes it. What cannot be saved is not removed: an agent that fills a
/// disk would be rid of its traces. What it left in the project is settled all the same.
pub async fn end(engine: &Engine, id: &str) -> Result<(), Failure> {
    let Err(mut failure) = save_events(engine, id).await else { return remove(engine, id).await };
    if let Err(other) = aftermath::settle_abandoned(engine, id).await {
        failure.causes.extend(std::iter::once(other.message).chain(other.causes));
    }
    Err(failure.hint(format!("workflow {id} is kept until its events can be saved; then `ringfence gc`")))
}

/// Removes everything of workflow `id`: agent first, so that it never runs without a guard, then the
/// guard and the fence, then what they used. All of it is tried; all errors are told.
pub async fn remove(engine: &Engine, id: &str) -> Result<(), Failure> {
    let mut errors = Vec::new();
    let gone = |role: Role| async move {
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        match engine.api.remove_container(&object_name(id, role), Some(options)).await {
            Err(error) if !engine::is_missing(&error) => {
                let why = engine::describe(&error);
                // Somebody else removes it just now: the supervisor, or `stop`.
                let done =
                    why.contains("already in progress") && is_gone_soon(engine, &object_name(id, role)).await;
                (!done).then(|| format!("{role}: {why}"))
            }
            _ => None,
        }
    };
    let agent = gone(Role::Agent).await;
    if agent.is_none() {
        match aftermath::settle_abandoned(engine, id).await {
            Ok(true) => _ = save_events(engine, id).await,
            Ok(false) => {}
            Err(failure) => errors.extend(std::iter::once(failure.message).chain(failure.causes)),
        }
    }
    errors.extend(agent);
    let (guard, fence, probe) = tokio::join!(gone(Role::Guard), gone(Role::Fence), gone(Role::Probe));
    errors.extend([guard, fence, probe].into_iter().flatten());
    let network = object_name(id, Role::Network);
    let (network, volumes) = tokio::join!(engine.api.remove_network(&network), remove_volumes(engine, id));
    if let Err(error) = network
        && !engine::is_missing(&error)
    {
        errors.push(format!("{}: {}", Role::Network, engine::describe(&error)));
    }
    errors.extend(volumes);
    if let Err(failure) = masks::close(id) {
        errors.push(failure.message);
        errors.extend(failure.causes);
    }
    if let Err(failure) = record::forget(id) {
        errors.push(failure.message);
    }
    if errors.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(COULD_NOT_RUN, format!("workflow {id} could not be removed whole"));
    failure.causes = errors;
    Err(failure.hint("`ringfence gc` tries again"))
}

/// Waits for the end of a removal that is under way.
async fn is_gone_soon(engine: &Engine, container: &str) -> bool {
    for _ in 0..100 {
        let inspected = engine.api.inspect_container(container, None).await;
        if inspected.is_err_and(|error| engine::is_missing(&error)) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

/// Removes every volume of workflow `id`; errors in words. Of a volume that shows a directory of a machine, the engine ends the mount
/// first and removes its own empty directory.
async fn remove_volumes(engine: &Engine, id: &str) -> Vec<String> {
    let filters = HashMap::from([("label".to_owned(), vec![format!("{LABEL_WORKFLOW}={id}")])]);
    let listed = match engine.api.list_volumes(Some(ListVolumesOptions { filters: Some(filters) })).await {
        Ok(listed) => listed.volumes.unwrap_or_default(),
        Err(error) => return vec![format!("volumes: {}", engine::describe(&error))],
    };
    let removals = listed.iter().map(|volume| async {
        let force = Some(RemoveVolumeOptions { force: true });
        let removed = engine.api.remove_volume(&volume.name, force).await;
        let error = removed.err().filter(|error| !engine::is_missing(error))?;
        Some(format!("volume {}: {}", volume.name, engine::describe(&error)))
    });
    futures_util::future::join_all(removals).await.into_iter().flatten().collect()
}

/// Keeps the events of a workflow that no supervisor follows, from the guard's log; where they are.
pub async fn save_events(engine: &Engine, id: &str) -> Result<Option<std::path::PathBuf>, Failure> {
    let path = state::events_file(id)?;
    let guard = object_name(id, Role::Guard);
    let options = LogsOptions { stdout: true, stderr: false, ..Default::default() };
    let mut lines = engine.api.logs(&guard, Some(options)).boxed();
    let mut bytes = Vec::new();
    loop {
        let next = tokio::time::timeout(SILENCE, lines.next()).await;
        let Some(chunk) = next.map_err(|_| {
            let what = format!("cannot read the events of {id}");
            Failure::new(COULD_NOT_RUN, format!("{what}: no word for {} s", SILENCE.as_secs()))
        })?
        else {
            break;
        };
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk.into_bytes()),
            Err(error) if engine::is_missing(&error) => return Ok(None),
            Err(error) => return Err(engine::refused(format!("cannot read the events of {id}"), &error)),
        }
    }
    let had = std::fs::metadata(&path).map(|meta| meta.len()).unwrap_or(0);
    if bytes.len() as u64 > had {
        std::fs::write(&path, bytes).map_err(|error| {
            Failure::new(COULD_NOT_RUN, format!("cannot write {}", path.display())).caused_by(&error)
        })?;
    }
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(id: &str, name: Option<&str>) -> Found {
        Found { id: id.to_owned(), name: name.map(str::to_owned), ..Found::default() }
    }

    #[test]
    fn a_workflow_is_meant_by_id_prefix_or_name_and_never_by_chance() {
        let all = [found("aa01", Some("night")), found("aa02", None), found("bb03", None)];
        assert_eq!(pick(&all, "aa02").unwrap().id, "aa02");
        assert_eq!(pick(&all, "b").unwrap().id, "bb03");
        assert_eq!(pick(&all, "night").unwrap().id, "aa01");
        for unclear in ["aa", "", "c", "nigh"] {
            assert!(pick(&all, unclear).is_err(), "{unclear:?}");
        }
    }
}
