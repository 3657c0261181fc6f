//! Volumes: on the engine, with labels that ringfence gave them. A volume without them does not
//! exist here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{ListVolumesOptions, RemoveVolumeOptions};
use serde_json::{Value, json};

use super::fences::broken;
use super::http::{Answer, json, nothing};
use super::state::Serving;
use super::volume_holds::HeldVolumes;
use super::whole_answers::WholePlace;
use crate::serve::answer::others::{VOLUME_FILTERS, pruned, volume};
use crate::serve::decide::facts::FoundVolume;
use crate::serve::decide::{VolumeSpec, volume_prune};
use crate::serve::denied::Denied;
use crate::serve::request::filters::Filters;
use crate::serve::request::version::ApiMinor;
use crate::supervisor::engine::{describe, is_missing};
use crate::supervisor::spec::workflow::LABEL_SERVE;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;

/// The engine's own label of volumes that nobody named.
const NAMELESS: &str = "com.docker.volume.anonymous";
/// Volumes at once.
const MOST: usize = 500;
/// An engine lists its volumes within this time.
const PATIENCE: Duration = Duration::from_secs(30);
/// The member that a volume goes with.
pub(crate) const LABEL_OF: &str = "dev.ringfence.of";

/// Tells whose a volume is; none where there is none.
///
/// # Errors
/// When the engine does not answer.
pub(crate) async fn owner_of(serving: &Serving, name: &str) -> Result<Option<FoundVolume>, Denied> {
    match serving.facts.engine.api.inspect_volume(name).await {
        Ok(found) => {
            let own = found.labels.get(LABEL_SERVE) == Some(&serving.facts.id)
                && found.options.is_empty()
                && found.driver == "local";
            Ok(Some(if own { FoundVolume::Own } else { FoundVolume::Foreign }))
        }
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(Denied::new(503, describe(&error))),
    }
}

/// Owner of a new volume, and whether its client gave it a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VolumeOf {
    /// Its client named it.
    Named,
    /// It has no name of a client's.
    Nameless,
    /// It has no name, and goes with a member.
    Member(WorkflowId),
}

/// Makes a volume that is held, or finds an own one; its name.
///
/// # Errors
/// When it is somebody else's, or cannot be made.
pub(crate) async fn make_volume(
    serving: &Serving,
    name: &str,
    labels: &BTreeMap<String, String>,
    of: VolumeOf,
    held: &HeldVolumes,
) -> Result<String, Denied> {
    let mut all: HashMap<String, String> = labels.clone().into_iter().collect();
    all.insert(LABEL_SERVE.to_owned(), serving.facts.id.clone());
    if of != VolumeOf::Named {
        all.insert(NAMELESS.to_owned(), String::new());
    }
    if let VolumeOf::Member(member) = of {
        all.insert(LABEL_OF.to_owned(), member.to_string());
    }
    let is_new = owner_of(serving, name).await?.is_none();
    if is_new {
        if serving.own_volumes(false, |_| true).await?.len() >= MOST {
            let what =
                format!("{MOST} volumes are there already; remove some first: docker volume prune --all");
            return Err(Denied::new(503, what));
        }
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".to_owned()),
            labels: Some(all),
            ..Default::default()
        };
        let made = serving.facts.engine.create_volume(request).await;
        made.map_err(|error| Denied::new(500, describe(&error)))?;
    }
    // Somebody else may have made it meanwhile: an engine makes none twice.
    match owner_of(serving, name).await? {
        Some(FoundVolume::Own) => {
            if is_new {
                held.made(name);
            }
            Ok(name.to_owned())
        }
        _ => Err(Denied::volume_taken(name)),
    }
}

/// Lists the engine's volumes of this socket; those that no container has, where only these are
/// wanted.
async fn all(serving: &Serving, unused: bool, _place: &WholePlace) -> Result<Vec<Value>, Denied> {
    let label = format!("{LABEL_SERVE}={}", serving.facts.id);
    let mut filters = HashMap::from([("label".to_owned(), vec![label])]);
    if unused {
        filters.insert("dangling".to_owned(), vec!["true".to_owned()]);
    }
    let listed = serving.facts.engine.api.list_volumes(Some(ListVolumesOptions { filters: Some(filters) }));
    let listed = tokio::time::timeout(PATIENCE, listed)
        .await
        .map_err(|_| Denied::new(503, "the engine does not list its volumes"))?;
    let listed = listed.map_err(|error| Denied::new(503, describe(&error)))?;
    let own = listed.volumes.into_iter().flatten().filter(|volume| volume.options.is_empty());
    Ok(own.filter_map(|volume| serde_json::to_value(volume).ok()).collect())
}

fn labels_of(volume: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(volume["Labels"].clone()).unwrap_or_default()
}

/// Returns a volume as clients see it.
fn shown(found: Value) -> Value {
    let name = found["Name"].as_str().unwrap_or_default().to_owned();
    volume(found, &name)
}

/// Removes the volumes that go with a member.
pub(crate) async fn remove_of(serving: &Serving, member: WorkflowId) {
    let of = |volume: &Value| volume["Labels"][LABEL_OF].as_str() == Some(&member.to_string());
    let volumes = serving.own_volumes(false, of).await.unwrap_or_else(|denied| {
        let words = format!("volumes of a container may be left: {}", denied.message);
        crate::term::talk(crate::term::line(&words));
        Vec::new()
    });
    for name in volumes {
        if let Err(denied) = serving.remove_own(&name).await
            && denied.status != 404
        {
            crate::term::talk(format_args!("a volume is left: {}", crate::term::line(&denied.message)));
        }
    }
}

/// Draws the name of a volume, in the form of the engine's: a client that lists it can mount it.
///
/// # Errors
/// When the kernel gives no random bytes.
pub(crate) fn drawn_name() -> Result<String, Denied> {
    (0..8).map(|_| super::fences::random().map(|part| part.to_string())).collect()
}

impl Serving {
    /// Makes a volume for a client.
    ///
    /// # Errors
    /// When it is somebody else's.
    pub(crate) async fn create_volume(&self, spec: VolumeSpec) -> Result<Answer, Denied> {
        let (name, of) = match spec.name {
            Some(name) => (name, VolumeOf::Named),
            None => (drawn_name()?, VolumeOf::Nameless),
        };
        let held = self.hold_volumes(BTreeSet::from([name.clone()])).await?;
        let name = make_volume(self, &name, &spec.labels, of, &held).await?;
        drop(held);
        Ok(json(201, &self.volume(&name).await?))
    }

    /// Shows an own volume.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn volume(&self, name: &str) -> Result<Value, Denied> {
        if owner_of(self, name).await? != Some(FoundVolume::Own) {
            return Err(Denied::no_volume(name));
        }
        let found = self.facts.engine.api.inspect_volume(name).await;
        let found = found.map_err(|error| Denied::new(503, describe(&error)))?;
        Ok(shown(serde_json::to_value(found).unwrap_or_default()))
    }

    /// Lists the own volumes that pass the filters.
    ///
    /// # Errors
    /// When a filter is unknown, or the engine does not answer.
    pub(crate) async fn volumes(&self, filters: &Filters) -> Result<Answer, Denied> {
        filters.only(&VOLUME_FILTERS)?;
        let unused = self.own_volumes(true, |_| true).await?;
        let place = self.whole.place().await?;
        let fits = |found: &Value| {
            let name = found["Name"].as_str().unwrap_or_default();
            let is_used = !unused.iter().any(|other| other == name);
            filters.admits("name", |wanted| name.contains(wanted))
                && filters.admits("driver", |wanted| wanted == "local")
                && filters.admits("dangling", |word| matches!(word, "true" | "1") != is_used)
                && filters.admits_labels(&labels_of(found))
        };
        let found = all(self, false, &place).await?.into_iter().filter(fits);
        let found = json!({ "Volumes": found.map(shown).collect::<Vec<_>>(), "Warnings": null });
        Ok(place.answer(found).await)
    }

    /// Lists the names of own volumes; of those that no container has, where only these are wanted.
    async fn own_volumes(&self, unused: bool, fits: impl Fn(&Value) -> bool) -> Result<Vec<String>, Denied> {
        let place = self.whole.own_place().await?;
        let found = all(self, unused, &place).await?;
        let fitting = found.iter().filter(|volume| fits(volume));
        Ok(fitting.filter_map(|volume| Some(volume["Name"].as_str()?.to_owned())).collect())
    }

    /// Holds volumes for a creation. One whose filling nobody saw the end of is another one once it
    /// was gone.
    ///
    /// # Errors
    /// When one is not to be had, or the engine does not answer.
    pub(crate) async fn hold_volumes(&self, names: BTreeSet<String>) -> Result<HeldVolumes, Denied> {
        let left = self.volumes.left();
        for name in names.intersection(&left) {
            self.look_for_left(name).await?;
        }
        self.volumes.hold(names).await
    }

    /// Looks for the volumes that an earlier `serve` let the engine fill, and no member has.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn find_left_volumes(&self) -> Result<(), Failure> {
        for name in self.volumes.left() {
            let found = self.look_for_left(&name).await;
            found.map_err(|denied| Failure::new(COULD_NOT_RUN, denied.message))?;
        }
        let left = self.volumes.left();
        if !left.is_empty() {
            let names = left.into_iter().collect::<Vec<_>>().join(", ");
            crate::term::essential(format_args!(
                "the engine may still be filling volumes for an earlier serve, and no container gets them: {}",
                crate::term::line(&names)
            ));
        }
        Ok(())
    }

    /// Gives up a left volume that is gone.
    async fn look_for_left(&self, name: &str) -> Result<(), Denied> {
        // Nobody makes one of that name meanwhile, whose filling would then be in no record.
        let Some(_held) = self.volumes.hold_left(name) else { return Ok(()) };
        if owner_of(self, name).await?.is_none() {
            let names = BTreeSet::from([name.to_owned()]);
            self.fills.take_out(&names).await.map_err(|failure| broken(&failure))?;
            self.volumes.give_up(name);
        }
        Ok(())
    }

    /// Removes an own volume that nobody holds.
    ///
    /// # Errors
    /// When there is none, somebody holds it, or a container has it.
    async fn remove_own(&self, name: &str) -> Result<(), Denied> {
        let _held = self.volumes.hold_to_remove(name)?;
        if owner_of(self, name).await? != Some(FoundVolume::Own) {
            return Err(Denied::no_volume(name));
        }
        let options: Option<RemoveVolumeOptions> = None;
        let removed = self.facts.engine.api.remove_volume(name, options).await;
        removed.map_err(|error| Denied::plain(409, describe(&error)))?;
        self.volumes.forget(name);
        Ok(())
    }

    /// Removes an own volume.
    ///
    /// # Errors
    /// When there is none, or a container has it.
    pub(crate) async fn remove_volume(&self, name: &str, force: bool) -> Result<Answer, Denied> {
        match owner_of(self, name).await? {
            None if force => {}
            Some(FoundVolume::Own) => self.remove_own(name).await?,
            _ => return Err(Denied::no_volume(name)),
        }
        Ok(nothing(204))
    }

    /// Removes the own volumes that nobody has.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn prune_volumes(&self, filters: &Filters, version: ApiMinor) -> Result<Answer, Denied> {
        let takes_named = volume_prune(filters, version)?;
        let is_meant = |found: &Value| {
            let labels = labels_of(found);
            (takes_named || labels.contains_key(NAMELESS)) && filters.admits_labels(&labels)
        };
        let mut removed = Vec::new();
        for name in self.own_volumes(true, is_meant).await? {
            if self.remove_own(&name).await.is_ok() {
                removed.push(name);
            }
        }
        Ok(json(200, &pruned("VolumesDeleted", &removed)))
    }
}
