//! Networks as records in a file of this `serve`: no bridge is made, since nobody would join it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::fences::{broken, random};
use super::http::{Answer, json, nothing};
use super::members::ServedMember;
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
/// The most names that a member has, with those that others and connections give it.
pub(crate) const MOST_NAMES: usize = 200;

/// The file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    networks: Vec<NetworkRecord>,
    /// Memberships that came after a member's creation: network, member, aliases.
    connected: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// Memberships that ended before the member.
    disconnected: BTreeMap<String, BTreeSet<String>>,
}

/// The networks, and their file.
pub(crate) struct NetworkRecords {
    path: PathBuf,
    kept: Kept,
    /// Held by each writing of the file, so that the last one is the newest.
    turn: Arc<Mutex<()>>,
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
        Ok(NetworkRecords { path, kept, turn: Arc::default() })
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
        if self.kept.disconnected.get(network).is_some_and(|members| members.contains(member)) {
            return None;
        }
        if let Some(aliases) = self.kept.connected.get(network).and_then(|members| members.get(member)) {
            return Some(aliases.clone());
        }
        asked.networks.values().find(|asked| asked.id == network).map(|asked| asked.aliases.clone())
    }

    /// Forgets members; tells whether there was something.
    pub(crate) fn forget(&mut self, is_gone: impl Fn(&str) -> bool) -> bool {
        let mut forgotten = false;
        let mut goes = |member: &str| {
            let goes = is_gone(member);
            forgotten |= goes;
            goes
        };
        self.kept.connected.values_mut().for_each(|members| members.retain(|id, _| !goes(id)));
        self.kept.disconnected.values_mut().for_each(|members| members.retain(|id| !goes(id)));
        forgotten
    }

    /// Counts the names that a member has in networks, but for one.
    fn names_elsewhere(&self, network: &str, member: &str) -> usize {
        let others = self.kept.connected.iter().filter(|(other, _)| *other != network);
        others.filter_map(|(_, members)| members.get(member)).map(Vec::len).sum()
    }

    /// Notes that a member is in a network, with its names there.
    fn join(&mut self, network: &str, member: &str, aliases: Vec<String>) {
        self.kept.connected.entry(network.to_owned()).or_default().insert(member.to_owned(), aliases);
        if let Some(gone) = self.kept.disconnected.get_mut(network) {
            gone.remove(member);
        }
    }

    /// Notes that a member is in a network no more.
    fn part(&mut self, network: &str, member: &str) {
        if let Some(members) = self.kept.connected.get_mut(network) {
            members.remove(member);
        }
        self.kept.disconnected.entry(network.to_owned()).or_default().insert(member.to_owned());
    }
}

/// Writes a file, whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("/")))?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

impl Serving {
    /// Writes the records, on a thread of its own: the file can be long.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) async fn write_networks(&self) -> Result<(), Denied> {
        let turn = Arc::clone(&self.networks.borrow().turn);
        let turn = turn.lock_owned().await;
        let (path, bytes) = {
            let networks = self.networks.borrow();
            (networks.path.clone(), serde_json::to_vec(&networks.kept).unwrap_or_default())
        };
        let what = format!("cannot write {}", path.display());
        let writing = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            write(&path, &bytes)
        });
        let written = writing.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        written.map_err(|error| broken(&Failure::new(COULD_NOT_RUN, what).caused_by(&error)))
    }

    /// Lists networks, the engine's own among them.
    ///
    /// # Errors
    /// When a filter is unknown.
    pub(crate) async fn networks(&self, filters: &Filters) -> Result<Answer, Denied> {
        known_filters(filters)?;
        let place = self.whole.place().await?;
        let mut all = builtin().to_vec();
        all.extend(self.networks.borrow().own().iter().cloned());
        let fits =
            |record: &&NetworkRecord| fits(filters, record, !self.network_members(&record.id).is_empty());
        let shown: Vec<Value> = all.iter().filter(fits).map(|record| record.answer(&[])).collect();
        Ok(place.answer(Value::Array(shown)).await)
    }

    /// Makes a network.
    ///
    /// # Errors
    /// When its name is taken.
    pub(crate) async fn create_network(
        &self,
        record: NetworkRecord,
        warnings: Vec<String>,
    ) -> Result<Answer, Denied> {
        self.room_for_network(&record.name)?;
        let mut id = String::new();
        for _ in 0..8 {
            id.push_str(&random()?.to_string());
        }
        let now = i64::try_from(unix_seconds()).unwrap_or_default();
        let created = Timestamp::from_second(now).unwrap_or_default().to_string();
        self.networks.borrow_mut().kept.networks.push(NetworkRecord { id: id.clone(), created, ..record });
        self.write_networks().await?;
        Ok(json(201, &json!({ "Id": id, "Warning": warnings.join("\n") })))
    }

    /// Checks that a network of this name can be made.
    fn room_for_network(&self, name: &str) -> Result<(), Denied> {
        let networks = self.networks.borrow();
        if networks.own().iter().any(|other| other.name == name) {
            return Err(Denied::network_taken(name));
        }
        if networks.own().len() >= MOST {
            return Err(Denied::new(503, format!("{MOST} networks are there already; remove some first")));
        }
        Ok(())
    }

    /// Shows or removes a network.
    ///
    /// # Errors
    /// When there is none, or it is in use.
    pub(crate) async fn network(&self, word: &str, call: NetworkCall) -> Result<Answer, Denied> {
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
        self.drop_network(&record.id);
        self.write_networks().await?;
        Ok(nothing(204))
    }

    fn drop_network(&self, id: &str) {
        let mut networks = self.networks.borrow_mut();
        networks.kept.networks.retain(|record| record.id != id);
        networks.kept.connected.remove(id);
        networks.kept.disconnected.remove(id);
    }

    /// Removes the own networks that nobody is in.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub(crate) async fn prune_networks(&self, filters: &Filters) -> Result<Answer, Denied> {
        filters.only(&["label", "label!"])?;
        let own = self.networks.borrow().own().to_vec();
        let unused = own.iter().filter(|record| {
            self.network_members(&record.id).is_empty() && filters.admits_labels(&record.labels)
        });
        let mut removed = Vec::new();
        for record in unused {
            self.drop_network(&record.id);
            removed.push(record.name.clone());
        }
        if !removed.is_empty() {
            self.write_networks().await?;
        }
        Ok(json(200, &json!({ "NetworksDeleted": removed })))
    }

    /// Gives a member names in a network of its group.
    ///
    /// # Errors
    /// When the network is of another group: a container's namespace is chosen when it is made.
    pub(crate) async fn connect(&self, word: &str, spec: &ConnectSpec) -> Result<Answer, Denied> {
        let record = self.networks.borrow().find(word).cloned().ok_or_else(|| Denied::no_network(word))?;
        let member = self.member(spec.container.as_str())?;
        if self.has_members_elsewhere(&record.id, &member) {
            return Err(Denied::new(
                400,
                format!(
                    "containers of the network {} share another fence; name the network when you create the container",
                    record.name
                ),
            ));
        }
        let aliases: Vec<String> = spec.aliases.iter().filter_map(|name| usable(name)).collect();
        let elsewhere = self.networks.borrow().names_elsewhere(&record.id, &member.id);
        if elsewhere + aliases.len() > MOST_NAMES || !give_names(&mut member.names.borrow_mut(), &aliases) {
            let why = format!("a container has at most {MOST_NAMES} names; give fewer");
            return Err(Denied::field("EndpointConfig.Aliases", why));
        }
        self.networks.borrow_mut().join(&record.id, &member.id, aliases);
        self.write_networks().await?;
        self.renew_names(&member.fence)?;
        Ok(nothing(200))
    }

    /// Tells whether a network has members in another fence than a member's.
    fn has_members_elsewhere(&self, network: &str, member: &ServedMember) -> bool {
        let members = self.members.borrow();
        let others = self.network_members(network);
        let mut others = others.iter().filter_map(|other| members.get(&other.id));
        others.any(|other| other.fence.id() != member.fence.id())
    }

    /// Takes a member out of a network. Its names stay, and the members of its group reach it all
    /// the same.
    ///
    /// # Errors
    /// When it is not in it.
    pub(crate) async fn disconnect(&self, word: &str, spec: &ConnectSpec) -> Result<Answer, Denied> {
        let record = self.networks.borrow().find(word).cloned().ok_or_else(|| Denied::no_network(word))?;
        let member = self.member(spec.container.as_str())?;
        if self.networks.borrow().aliases(&record.id, &member.id, &member.asked).is_none() {
            let name = member.name.borrow();
            let words = format!("container {name} is not connected to the network {}", record.name);
            return Err(Denied::plain(404, words));
        }
        self.networks.borrow_mut().part(&record.id, &member.id);
        self.write_networks().await?;
        Ok(nothing(200))
    }
}

/// Gives a member names beside those that it has; tells whether there was room for them.
pub(crate) fn give_names(names: &mut Vec<String>, more: &[String]) -> bool {
    let new: BTreeSet<&String> = more.iter().filter(|name| !names.contains(name)).collect();
    if names.len() + new.len() > MOST_NAMES {
        return false;
    }
    names.extend(new.into_iter().cloned().collect::<Vec<_>>());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_are_sets_and_go_with_their_members() {
        let folder = tempfile::tempdir().unwrap();
        let mut records = NetworkRecords::read(folder.path()).unwrap();
        let asked = AskedFor::default();
        for _ in 0..3 {
            records.join("n", "a", vec!["x".to_owned()]);
            records.part("n", "b");
        }
        assert_eq!(records.aliases("n", "a", &asked), Some(vec!["x".to_owned()]));
        assert_eq!(records.aliases("n", "b", &asked), None);
        assert_eq!((records.names_elsewhere("n", "a"), records.names_elsewhere("m", "a")), (0, 1));
        let text = serde_json::to_string(&records.kept).unwrap();
        assert!(text.contains(r#""disconnected":{"n":["b"]}"#), "{text}");
        write(&records.path, text.as_bytes()).unwrap();
        let mut again = NetworkRecords::read(folder.path()).unwrap();
        assert!(again.forget(|member| member == "b") && !again.forget(|member| member == "b"));
        assert_eq!(again.aliases("n", "a", &asked), Some(vec!["x".to_owned()]), "another one's stay");
        again.part("n", "a");
        assert_eq!(again.aliases("n", "a", &asked), None);
    }

    #[test]
    fn names_are_given_once_and_so_many() {
        let mut names = vec!["own".to_owned()];
        let more = |count: usize| (0..count).map(|number| format!("n{number}")).collect::<Vec<_>>();
        assert!(give_names(&mut names, &more(100)) && give_names(&mut names, &more(100)));
        assert_eq!(names.len(), 101);
        assert!(give_names(&mut names, &more(MOST_NAMES - 1)) && !give_names(&mut names, &more(MOST_NAMES)));
        assert_eq!(names.len(), MOST_NAMES);
    }
}
