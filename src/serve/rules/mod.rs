//! The one table of what the socket permits: endpoints, and fields of bodies.
//!
//! ```text
//!                    ┌─▶ request: reads endpoints, parameters and fields by it
//!  table of rules ───┼─▶ `ringfence serve --explain`, docs/serve/fields.md
//!                    └─▶ tests: every field and endpoint of the API's published descriptions has a rule
//! ```

pub(crate) mod create;
pub(crate) mod endpoints;
pub(crate) mod host_config;
pub(crate) mod others;
pub(crate) mod page;
pub(crate) mod refused;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::LazyLock;

/// Parameter of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Param {
    /// Its name.
    pub(crate) name: &'static str,
}

impl Param {
    /// Describes a parameter.
    pub(crate) const fn new(name: &'static str) -> Param {
        Param { name }
    }
}

/// Operation behind a permitted endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is explained by its row")]
pub(crate) enum Operation {
    Ping,
    Version,
    Info,
    Events,
    DiskUse,
    ContainerList,
    ContainerCreate,
    ContainerPrune,
    ContainerInspect,
    ContainerLogs,
    ContainerStats,
    ContainerTop,
    ContainerChanges,
    ContainerWait,
    ContainerResize,
    ContainerStart,
    ContainerRestart,
    ContainerUnpause,
    ContainerStop,
    ContainerKill,
    ContainerPause,
    ContainerRename,
    ContainerRemove,
    ContainerAttach,
    ContainerExec,
    ContainerUpdate,
    ArchiveGet,
    ArchiveHead,
    ArchivePut,
    ContainerExport,
    ExecStart,
    ExecResize,
    ExecInspect,
    ImageList,
    ImageInspect,
    ImageHistory,
    ImagePull,
    ImagePrune,
    NetworkList,
    NetworkCreate,
    NetworkPrune,
    NetworkInspect,
    NetworkRemove,
    NetworkConnect,
    NetworkDisconnect,
    VolumeList,
    VolumeCreate,
    VolumePrune,
    VolumeInspect,
    VolumeRemove,
}

/// Rule of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Permitted, for objects that were made through the socket.
    Permitted(Operation),
    /// Refused, with a status.
    Refused(u16),
}

/// Endpoint of the API, with its rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndpointRule {
    /// Method; `*`: any.
    pub(crate) method: &'static str,
    /// Path. `{id}` is one segment, `{name...}` several, `**` any rest or none.
    pub(crate) path: &'static str,
    /// Permitted or not.
    pub(crate) access: Access,
    /// Parameters that are read.
    pub(crate) params: &'static [Param],
    /// Parameters that the API has and that are left out.
    #[cfg_attr(not(test), allow(dead_code, reason = "a test compares them with the API's descriptions"))]
    pub(crate) left_out: &'static [&'static str],
    /// Explanation.
    pub(crate) reason: &'static str,
}

/// Body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum BodyOf {
    /// `POST /containers/create`.
    Create,
    /// `POST /containers/{id}/exec`.
    Exec,
    /// `POST /exec/{id}/start`.
    ExecStart,
    /// `POST /containers/{id}/update`.
    Update,
    /// `POST /networks/create`.
    Network,
    /// `POST /networks/{id}/connect`.
    Connect,
    /// `POST /networks/{id}/disconnect`.
    Disconnect,
    /// `POST /volumes/create`.
    Volume,
}

impl BodyOf {
    /// All of them.
    pub(crate) const ALL: [BodyOf; 8] = [
        BodyOf::Create,
        BodyOf::Exec,
        BodyOf::ExecStart,
        BodyOf::Update,
        BodyOf::Network,
        BodyOf::Connect,
        BodyOf::Disconnect,
        BodyOf::Volume,
    ];

    /// Returns the name in the table.
    #[cfg(test)]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            BodyOf::Create => "create",
            BodyOf::Exec => "exec",
            BodyOf::ExecStart => "exec-start",
            BodyOf::Update => "update",
            BodyOf::Network => "network",
            BodyOf::Connect => "connect",
            BodyOf::Disconnect => "disconnect",
            BodyOf::Volume => "volume",
        }
    }
}

/// Rule of a field. A field is *set* when it has another value than an absent one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// Passed on, as a value of its type.
    Passed,
    /// Judged by its value: passed on, changed or refused.
    Judged,
    /// Remembered, and shown to clients. The engine does not get it.
    Remembered,
    /// Left out. What it asks for has no meaning here, or ringfence writes a value of its own.
    LeftOut,
    /// Left out, and the answer warns where it is set.
    Warned,
    /// Refused where it is set.
    Refused,
    /// Refused unless it is absent or null: its empty value means something.
    NullOnly,
}

impl Treatment {
    /// Tells whether the field reaches the types of bodies.
    pub(crate) fn is_read(self) -> bool {
        matches!(self, Treatment::Passed | Treatment::Judged | Treatment::Remembered)
    }
}

/// Field of a body, with its rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FieldRule {
    /// Path in the body. `[]` stands behind a list, `{}` behind a map.
    pub(crate) path: &'static str,
    /// Rule.
    pub(crate) treatment: Treatment,
    /// Value that the engine gets, or values that are permitted.
    pub(crate) value: &'static str,
    /// Reason, and what to do instead.
    pub(crate) reason: &'static str,
}

/// Describes a field.
pub(crate) const fn field(
    path: &'static str,
    treatment: Treatment,
    value: &'static str,
    reason: &'static str,
) -> FieldRule {
    FieldRule { path, treatment, value, reason }
}

/// Returns the rules of a body's fields.
pub(crate) fn fields(body: BodyOf) -> impl Iterator<Item = &'static FieldRule> {
    let parts: [&'static [FieldRule]; 2] = match body {
        BodyOf::Create => [create::FIELDS, host_config::FIELDS],
        BodyOf::Exec => [others::EXEC, &[]],
        BodyOf::ExecStart => [others::EXEC_START, &[]],
        BodyOf::Update => [others::UPDATE, &[]],
        BodyOf::Network => [others::NETWORK, &[]],
        BodyOf::Connect => [others::CONNECT, &[]],
        BodyOf::Disconnect => [others::DISCONNECT, &[]],
        BodyOf::Volume => [others::VOLUME, &[]],
    };
    parts.into_iter().flatten()
}

/// Fields of one structure by their names.
pub(crate) type FieldsHere = HashMap<&'static str, &'static FieldRule>;

/// Every structure of every body, by its path.
static PLACES: LazyLock<HashMap<BodyOf, HashMap<&'static str, FieldsHere>>> = LazyLock::new(|| {
    let mut places: HashMap<BodyOf, HashMap<&'static str, FieldsHere>> = HashMap::new();
    for body in BodyOf::ALL {
        for rule in fields(body) {
            let (place, name) = rule.path.rsplit_once('.').unwrap_or(("", rule.path));
            places.entry(body).or_default().entry(place).or_default().insert(name, rule);
        }
    }
    places
});

/// Returns the fields of the structure at a path; none where the value there is no structure with
/// rules of its own.
pub(crate) fn structure(body: BodyOf, path: &str) -> Option<&'static FieldsHere> {
    PLACES.get(&body)?.get(path)
}
