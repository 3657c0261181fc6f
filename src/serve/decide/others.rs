//! The decisions about bodies beside that of a new container.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::facts::Ground;
use super::limits::Asking;
use super::places::refuse_kernels;
use super::{labels, mount_asks};
use crate::serve::answer::networks::NetworkRecord;
use crate::serve::denied::{BUILD, Denied};
use crate::serve::request::bodies::{
    ConnectBody, DisconnectBody, ExecBody, ExecStartBody, NetworkBody, UpdateBody, VolumeBody, Words,
};
use crate::serve::request::fields::Taken;
use crate::serve::request::filters::Filters;
use crate::serve::request::names::{ImageRef, ObjectRef, free_name, is_name};
use crate::serve::request::version::ApiMinor;
use crate::serve::text::shown;
use crate::supervisor::spec::limits::for_engine;

/// The most rows and columns of a terminal.
const MOST_CELLS: u32 = 10_000;
/// The most bytes of what a network's record keeps of its `IPAM`.
const LONGEST_IPAM: usize = 4096;

/// An exec as it will be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ExecSpec {
    /// The body that the engine gets.
    body: BTreeMap<&'static str, Value>,
    /// Set when a client attaches its input.
    pub(crate) stdin: bool,
    /// Warnings; an exec's answer has no place for them.
    pub(crate) warnings: Vec<String>,
}

impl ExecSpec {
    /// Returns the body that the engine gets.
    pub(crate) fn json(&self) -> Value {
        json!(self.body)
    }
}

/// Decides on an exec.
///
/// # Errors
/// When it has no command, or a text that no engine takes.
pub(crate) fn exec(taken: &Taken<ExecBody>) -> Result<ExecSpec, Denied> {
    let asked = &taken.body;
    let cmd = asked.cmd.as_ref().map(Words::list).unwrap_or_default();
    if cmd.is_empty() {
        return Err(Denied::plain(400, "No exec command specified"));
    }
    let env = asked.env.clone().unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (user, workdir, keys) = (text(&asked.user), text(&asked.working_dir), text(&asked.detach_keys));
    let texts = cmd.iter().chain(&env).chain([&user, &workdir, &keys]);
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(Denied::field("Cmd", "a text has a NUL in it; leave it out"));
    }
    refuse_kernels(&workdir)?;
    let stdin = asked.attach_stdin == Some(true);
    let mut body = BTreeMap::from([
        ("AttachStdin", json!(stdin)),
        ("AttachStdout", json!(asked.attach_stdout == Some(true))),
        ("AttachStderr", json!(asked.attach_stderr == Some(true))),
        ("Tty", json!(asked.tty == Some(true))),
        ("Cmd", json!(cmd)),
        ("Privileged", json!(false)),
    ]);
    if !env.is_empty() {
        body.insert("Env", json!(env));
    }
    for (name, value) in [("User", user), ("WorkingDir", workdir), ("DetachKeys", keys)] {
        if !value.is_empty() {
            body.insert(name, json!(value));
        }
    }
    if let Some(size) = console_size(asked.console_size.as_deref())? {
        body.insert("ConsoleSize", size);
    }
    Ok(ExecSpec { body, stdin, warnings: taken.warnings.clone() })
}

/// The start of an exec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ExecStartSpec {
    /// Set when nobody is attached.
    pub(crate) detach: bool,
    /// Set for a terminal.
    pub(crate) tty: bool,
    /// Rows and columns.
    size: Option<Value>,
}

impl ExecStartSpec {
    /// Returns the body that the engine gets.
    pub(crate) fn json(&self) -> Value {
        let mut body = json!({ "Detach": self.detach, "Tty": self.tty });
        if let Some(size) = &self.size {
            body["ConsoleSize"] = size.clone();
        }
        body
    }
}

/// Decides on the start of an exec.
///
/// # Errors
/// When the size is none.
pub(crate) fn exec_start(taken: &Taken<ExecStartBody>) -> Result<ExecStartSpec, Denied> {
    let asked = &taken.body;
    let size = console_size(asked.console_size.as_deref())?;
    Ok(ExecStartSpec { detach: asked.detach == Some(true), tty: asked.tty == Some(true), size })
}

/// Reads rows and columns; none where there is no terminal.
fn console_size(asked: Option<&[u32]>) -> Result<Option<Value>, Denied> {
    match asked {
        None | Some([] | [0, 0]) => Ok(None),
        Some([rows, columns]) if rows.max(columns) <= &MOST_CELLS => Ok(Some(json!([rows, columns]))),
        Some(_) => Err(Denied::field("ConsoleSize", "it is no size of a terminal; give rows and columns")),
    }
}

/// New limits of a container as the engine gets them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UpdateSpec {
    body: BTreeMap<&'static str, Value>,
    /// Warnings.
    pub(crate) warnings: Vec<String>,
}

impl UpdateSpec {
    /// Returns the body that the engine gets; none where nothing changes there.
    pub(crate) fn json(&self) -> Option<Value> {
        (!self.body.is_empty()).then(|| json!(self.body))
    }
}

/// Decides on new limits.
///
/// # Errors
/// When one is of no use.
pub(crate) fn update(taken: &Taken<UpdateBody>, ground: &Ground<'_>) -> Result<UpdateSpec, Denied> {
    let mut warnings = taken.warnings.clone();
    let asked = Asking::of_update(&taken.body);
    let mut body: BTreeMap<&'static str, Value> = BTreeMap::new();
    if let Some(memory) = asked.memory(ground, &mut warnings)? {
        body.insert("Memory", json!(for_engine(memory)));
        body.insert("MemorySwap", json!(for_engine(memory)));
        if let Some(reservation) = asked.reservation(memory) {
            body.insert("MemoryReservation", json!(for_engine(reservation)));
        }
    }
    if let Some(cpus) = asked.nano_cpus(ground, &mut warnings) {
        body.insert("NanoCpus", json!(cpus));
    }
    if let Some(pids) = asked.pids(ground, &mut warnings) {
        body.insert("PidsLimit", json!(for_engine(pids)));
    }
    if let Some(shares) = asked.shares() {
        body.insert("CpuShares", json!(shares));
    }
    let (cpus, memory_nodes) = asked.sets()?;
    for (name, set) in [("CpusetCpus", cpus), ("CpusetMems", memory_nodes)] {
        if let Some(set) = set {
            body.insert(name, json!(set));
        }
    }
    Ok(UpdateSpec { body, warnings })
}

/// Decides on a new network, of which ringfence keeps a record. Id and time are the caller's.
///
/// # Errors
/// When it is no bridge, or has no name of its own.
pub(crate) fn network(taken: &Taken<NetworkBody>) -> Result<NetworkRecord, Denied> {
    let asked = &taken.body;
    let name = asked.name.clone().unwrap_or_default();
    if !is_name(&name) {
        return Err(Denied::field(
            "Name",
            format!("{} is no name of a network; choose another", shown(&name)),
        ));
    }
    free_name("Name", &name)?;
    if ["bridge", "host", "none", "default"].contains(&name.as_str()) {
        let words = format!("operation is not permitted on predefined {name} network");
        return Err(Denied::plain(403, words));
    }
    let driver = asked.driver.as_deref().unwrap_or_default();
    if !["", "bridge"].contains(&driver) {
        let why = format!("the driver {} is not served; leave it out", shown(driver));
        return Err(Denied::field("Driver", why));
    }
    if !["", "local"].contains(&asked.scope.as_deref().unwrap_or_default()) {
        return Err(Denied::field("Scope", "swarm is not served; leave it out"));
    }
    let ipam = asked.ipam.clone().filter(Value::is_object);
    if ipam.as_ref().is_some_and(|ipam| ipam.to_string().len() > LONGEST_IPAM) {
        return Err(Denied::field("IPAM", "it is too long; leave it out, since the fence gives addresses"));
    }
    Ok(NetworkRecord {
        name,
        labels: labels::decide("Labels", asked.labels.as_ref())?,
        internal: asked.internal == Some(true),
        attachable: asked.attachable == Some(true),
        ipam,
        ..NetworkRecord::default()
    })
}

/// A container that is connected to a network, or disconnected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectSpec {
    /// The container.
    pub(crate) container: ObjectRef,
    /// Names that it gets.
    pub(crate) aliases: Vec<String>,
}

/// Decides on a connection to a network.
///
/// # Errors
/// When it names no container.
pub(crate) fn connect(taken: &Taken<ConnectBody>) -> Result<ConnectSpec, Denied> {
    let aliases = taken.body.endpoint_config.clone().unwrap_or_default().aliases.unwrap_or_default();
    if aliases.len() > 100 {
        return Err(Denied::field("EndpointConfig.Aliases", "there are too many; give fewer"));
    }
    Ok(ConnectSpec { container: container_of(taken.body.container.as_deref())?, aliases })
}

/// Decides on a disconnection from a network.
///
/// # Errors
/// When it names no container.
pub(crate) fn disconnect(taken: &Taken<DisconnectBody>) -> Result<ConnectSpec, Denied> {
    Ok(ConnectSpec { container: container_of(taken.body.container.as_deref())?, aliases: Vec::new() })
}

fn container_of(asked: Option<&str>) -> Result<ObjectRef, Denied> {
    let asked = asked.unwrap_or_default();
    ObjectRef::read(asked).ok_or_else(|| Denied::no_container(asked))
}

/// A volume as it will be made, or an own one that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct VolumeSpec {
    /// Its name; none: a new one.
    pub(crate) name: Option<String>,
    /// The client's labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Warnings; the answer has no place for them.
    pub(crate) warnings: Vec<String>,
}

/// Decides on a volume.
///
/// # Errors
/// When it is not a local one without options.
pub(crate) fn volume(taken: &Taken<VolumeBody>) -> Result<VolumeSpec, Denied> {
    let asked = &taken.body;
    let driver = asked.driver.as_deref().unwrap_or_default();
    if !["", "local"].contains(&driver) {
        let why = format!("the driver {} is not served; leave it out", shown(driver));
        return Err(Denied::field("Driver", why));
    }
    let name = asked.name.as_deref().filter(|name| !name.is_empty());
    let name = name.map(|name| mount_asks::volume_name("Name", name)).transpose()?;
    let labels = labels::decide("Labels", asked.labels.as_ref())?;
    Ok(VolumeSpec { name, labels, warnings: taken.warnings.clone() })
}

/// Decides whether a prune of volumes takes those with a name, too. Since version 1.42 it takes the
/// nameless ones alone, unless all are asked for.
///
/// # Errors
/// When a filter is not known, or its value.
pub(crate) fn volume_prune(filters: &Filters, version: ApiMinor) -> Result<bool, Denied> {
    filters.only(&["label", "label!", "all"])?;
    let mut all = version.0 < 42;
    for value in filters.values("all") {
        match value {
            "1" | "true" => all = true,
            "0" | "false" => {}
            _ => return Err(Denied::plain(400, format!("invalid filter 'all={}'", shown(value)))),
        }
    }
    Ok(all)
}

/// Decides on a pull; the repository as the engine gets it, with its registry written out.
///
/// # Errors
/// When the policy does not name the registry.
pub(crate) fn pull(image: &ImageRef, ground: &Ground<'_>) -> Result<String, Denied> {
    let repository = image.repository();
    if repository.ends_with("moby/buildkit") {
        return Err(Denied::endpoint(BUILD));
    }
    let is_named = ground.registries.iter().any(|named| named.eq_ignore_ascii_case(image.registry()));
    if let Some(written) = image.written_out().filter(|_| is_named) {
        return Ok(written);
    }
    Err(Denied::endpoint(format!(
        "POST /images/create: the registry {} is not named in the policy; pull the image with the real engine \
         (env -u DOCKER_HOST docker --context default pull {})",
        shown(image.registry()),
        shown(image.as_str())
    )))
}
