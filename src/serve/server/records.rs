//! Networks as records in a file of this `serve`: no bridge is made, since nobody would join it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fences::{broken, random};
use super::http::{Answer, json, nothing};
use super::state::Serving;
use crate::host::clock::unix_seconds;
use crate::serve::answer::asked::AskedFor;
use crate::serve::answer::networks::{NetworkRecord, builtin, find, fits, known_filters};
use crate::serve::decide::ConnectSpec;
use crate::serve::decide::usable;
use crate::serve::denied::Denied;
use crate::serve::request::calls::NetworkCall;
use crate::serve::request::filters::Filters;
use crate::term::{COULD_NOT_RUN, Failure};

/// Networks at once.
const MOST: usize = 500;

/// The file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    networks: Vec<NetworkRecord>,
    /// Memberships that came after a member's creation: network, member, aliases.
    connected: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// Memberships that ended before the member.
    disconnected: BTreeMap<String, Vec<String>>,
}

/// The networks, and their file.
pub(crate) struct NetworkRecords {
    path: PathBuf,
    kept: Kept,
}

impl NetworkRecords {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub(crate) fn read(folder: &Path) -> Result<NetworkRecords, Failure> {
        let path = folder.join("networks.json");
        let unusable = |error: &dyn std::error::Error| {
            Failure::new(COULD_NOT_RUN, format!("cannot use {}", path.display()))
                .caused_by(error)
                .hint("remove the file: the networks of this socket are forgotten then")
        };
        let kept = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| unusable(&error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(unusable(&error)),
        };
        Ok(NetworkRecords { path, kept })
    }

    /// Writes the file, whole or not at all.
    fn write(&self) -> Result<(), Denied> {
        let write = || {
            let folder = self.path.parent().unwrap_or(Path::new("/"));
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&serde_json::to_vec(&self.kept)?)?;
            file.persist(&self.path).map_err(|error| error.error)?;
            std::io::Result::Ok(())
        };
        write().map_err(|error| {
            let what = format!("cannot write {}", self.path.display());
            broken(&Failure::new(COULD_NOT_RUN, what).caused_by(&error))
        })
    }

    /// Lists the own networks.
    pub(crate) fn own(&self) -> &[NetworkRecord] {
        &self.kept.networks
    }

    /// Finds the own network that a word means.
    pub(crate) fn find(&self, word: &str) -> Option<&NetworkRecord> {
        find(&self.kept.networks, word)
    }

    /// Returns the names of a member in a network; none where it is not in it.
    pub(crate) fn aliases(&self, network: &str, member: &str, asked: &AskedFor) -> Option<Vec<String>> {
        if self.kept.disconnected.get(network).is_some_and(|members| members.iter().any(|id| id == member)) {
            return None;
        }
        if let Some(aliases) = self.kept.connected.get(network).and_then(|members| members.get(member)) {
            return Some(aliases.clone());
        }
        asked.networks.values().find(|asked| asked.id == network).map(|asked| asked.aliases.clone())
    }

    /// Forgets a member.
    pub(crate) fn forget(&mut self, member: &str) -> Result<(), Denied> {
        self.kept.connected.values_mut().for_each(|members| _ = members.remove(member));
        self.kept.disconnected.values_mut().for_each(|members| members.retain(|id| id != member));
        self.write()
    }
}

impl Serving {
    /// Lists networks, the engine's own among them.
    ///
    /// # Errors
    /// When a filter is unknown.
    pub(crate) fn networks(&self, filters: &Filters) -> Result<Answer, Denied> {
        known_filters(filters)?;
        let mut all = builtin().to_vec();
        all.extend(self.networks.borrow().own().iter().cloned());
        let fits =
            |record: &&NetworkRecord| fits(filters, record, !self.network_members(&record.id).is_empty());
        let shown: Vec<Value> = all.iter().filter(fits).map(|record| record.answer(&[])).collect();
        Ok(json(200, &Value::Array(shown)))
    }

    /// Makes a network.
    ///
    /// # Errors
    /// When its name is taken.
    pub(crate) fn create_network(
        &self,
        record: NetworkRecord,
        warnings: Vec<String>,
    ) -> Result<Answer, Denied> {
        let mut networks = self.networks.borrow_mut();
        if networks.own().iter().any(|other| other.name == record.name) {
            return Err(Denied::network_taken(&record.name));
        }
        if networks.own().len() >= MOST {
            return Err(Denied::new(503, format!("{MOST} networks are there already; remove some first")));
        }
        let mut id = String::new();
        for _ in 0..8 {
            id.push_str(&random()?.to_string());
        }
        let now = i64::try_from(unix_seconds()).unwrap_or_default();
        let created = Timestamp::from_second(now).unwrap_or_default().to_string();
        networks.kept.networks.push(NetworkRecord { id: id.clone(), created, ..record });
        networks.write()?;
        Ok(json(201, &json!({ "Id": id, "Warning": warnings.join("\n") })))
    }

    /// Shows or removes a network.
    ///
    /// # Errors
    /// When there is none, or it is in use.
    pub(crate) fn network(&self, word: &str, call: NetworkCall) -> Result<Answer, Denied> {
        let own = self.networks.borrow().find(word).cloned();
        if call == NetworkCall::Inspect {
            let all = builtin();
            let record = own.as_ref().or_else(|| find(&all, word)).ok_or_else(|| Denied::no_network(word))?;
            return Ok(json(200, &record.answer(&self.network_members(&record.id))));
        }
        let record = own.ok_or_else(|| Denied::no_network(word))?;
        if !self.network_members(&record.id).is_empty() {
            let words = format!("error while removing network: network {} has active endpoints", record.name);
            return Err(Denied::plain(403, words));
        }
        self.drop_network(&record.id)?;
        Ok(nothing(204))
    }

    fn drop_network(&self, id: &str) -> Result<(), Denied> {
        let mut networks = self.networks.borrow_mut();
        networks.kept.networks.retain(|record| record.id != id);
        networks.kept.connected.remove(id);
        networks.kept.disconnected.remove(id);
        networks.write()
    }

    /// Removes the own networks that nobody is in.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub(crate) fn prune_networks(&self, filters: &Filters) -> Result<Answer, Denied> {
        filters.only(&["label", "label!"])?;
        let own = self.networks.borrow().own().to_vec();
        let unused = own.iter().filter(|record| {
            self.network_members(&record.id).is_empty() && filters.admits_labels(&record.labels)
        });
        let mut removed = Vec::new();
        for record in unused {
            self.drop_network(&record.id)?;
            removed.push(record.name.clone());
        }
        Ok(json(200, &json!({ "NetworksDeleted": removed })))
    }

    /// Gives a member names in a network of its group.
    ///
    /// # Errors
    /// When the network is of another group: a container's namespace is chosen when it is made.
    pub(crate) fn connect(&self, word: &str, spec: &ConnectSpec) -> Result<Answer, Denied> {
        let record = self.networks.borrow().find(word).cloned().ok_or_else(|| Denied::no_network(word))?;
        let member = self.member(spec.container.as_str())?;
        let others = self.network_members(&record.id);
        let members = self.members.borrow();
        let is_elsewhere = |other: &crate::serve::answer::networks::NetworkMember| {
            members.get(&other.id).is_some_and(|other| other.fence.id() != member.fence.id())
        };
        if others.iter().any(is_elsewhere) {
            return Err(Denied::new(
                400,
                format!(
                    "containers of the network {} share another fence; name the network when you create the container",
                    record.name
                ),
            ));
        }
        drop(members);
        let mut networks = self.networks.borrow_mut();
        networks
            .kept
            .connected
            .entry(record.id.clone())
            .or_default()
            .insert(member.id.clone(), spec.aliases.clone());
        if let Some(gone) = networks.kept.disconnected.get_mut(&record.id) {
            gone.retain(|id| *id != member.id);
        }
        networks.write()?;
        drop(networks);
        member.names.borrow_mut().extend(spec.aliases.iter().filter_map(|name| usable(name)));
        self.renew_names(&member.fence)?;
        Ok(nothing(200))
    }

    /// Takes a member out of a network. The members of its group reach it all the same.
    ///
    /// # Errors
    /// When it is not in it.
    pub(crate) fn disconnect(&self, word: &str, spec: &ConnectSpec) -> Result<Answer, Denied> {
        let record = self.networks.borrow().find(word).cloned().ok_or_else(|| Denied::no_network(word))?;
        let member = self.member(spec.container.as_str())?;
        let mut networks = self.networks.borrow_mut();
        if let Some(members) = networks.kept.connected.get_mut(&record.id) {
            members.remove(&member.id);
        }
        networks.kept.disconnected.entry(record.id).or_default().push(member.id.clone());
        networks.write()?;
        Ok(nothing(200))
    }
}
