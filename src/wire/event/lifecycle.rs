//! The life of a run: its beginning, what was noted in it, its end.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netpolicy::policy::Origin;
use netpolicy::ruleset::AppliedBounds;
use serde::{Deserialize, Deserializer, Serialize};

use super::word::{Known, Word};
use crate::wire::{ImageDigest, ImageName, PolicyDigest, WorkflowName};

/// Event in the life of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub(crate) enum Lifecycle {
    /// The guard began. The first line of a log.
    Start(Box<Start>),
    /// The fence is proven and the guard serves it: the agent may be started.
    Ready,
    /// The agent has ended, or was ended.
    AgentEnded(AgentEnded),
    /// The guard ended, and nothing of its log is missing.
    End,
    /// Observation, in words.
    #[serde(untagged)]
    Note(Note),
}

impl Lifecycle {
    /// Tells whether the event is a note of this observation.
    pub(crate) fn is_note(&self, seen: Observation) -> bool {
        matches!(self, Lifecycle::Note(note) if note.reason == Known::This(seen))
    }
}

/// Start of a run: the person, the image and command, and the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Start {
    /// Digest of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "super::schema::sha256"))]
    pub(crate) digest: Option<PolicyDigest>,
    /// The agent's image, by the engine's id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,
    /// The agent's image, by the digest under which a registry gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(crate) image_digest: Option<ImageDigest>,
    /// The agent's image, as it was typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(crate) image_name: Option<ImageName>,
    /// Product and version of the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) engine: Option<String>,
    /// Version of ringfence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// The run's name (`--name`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(crate) name: Option<WorkflowName>,
    /// The name of the account that started the run, by the account's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// The number of the account that started the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uid: Option<u32>,
    /// The project's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<String>,
    /// The entrypoint (`--entrypoint`), where it is not the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) entrypoint: Option<String>,
    /// The agent's command, word by word, without secrets; absent where it is the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<Vec<String>>,
    /// The services beside the agent by their names, each with the engine's id of its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) services: Option<BTreeMap<String, String>>,
    /// The bounds of permitted connections, and what set them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) connections: Option<StartConnections>,
    /// The virtual addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "super::schema::map"))]
    pub(crate) map: Option<BTreeMap<String, IpAddr>>,
}

/// Bounds of a run's permitted connections, and what set them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct StartConnections {
    /// Connections at once.
    pub(crate) at_once: u32,
    /// New connections in a moment.
    pub(crate) burst: u32,
    /// New connections a second after that.
    pub(crate) per_second: u32,
    /// Lines of policies that set bounds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) set_by: Vec<String>,
    /// Runs on the engine, this one included; absent where policies set all bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) runs: Option<u32>,
    /// Entries of the machine's connection table, of which the other bounds are a share; absent
    /// where the table is not known, so that the share is the smallest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) table: Option<u32>,
}

impl StartConnections {
    /// Writes bounds down.
    pub(crate) fn of(applied: &AppliedBounds) -> StartConnections {
        let AppliedBounds { bounds, share, set_by } = applied;
        let line = |origin: &Origin| format!("{} ({}, {})", origin.text, origin.layer, origin.place());
        StartConnections {
            at_once: bounds.at_once(),
            burst: bounds.burst(),
            per_second: bounds.per_second(),
            set_by: set_by.iter().map(line).collect(),
            runs: share.map(|share| share.runs),
            table: share.and_then(|share| share.table).map(|table| table.entries),
        }
    }
}

/// End of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct AgentEnded {
    /// Cause of the end.
    pub(crate) how: Known<How>,
    /// Exit status of `ringfence run`. Where no supervisor was left: the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exit_status: Option<u8>,
}

/// Cause of an agent's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum How {
    /// The agent ended by itself.
    Exited,
    /// A person ended it: `ringfence stop`, or a signal to `ringfence run`.
    Stopped,
    /// The agent's time was over.
    TimeLimit,
    /// The agent's GitLab token was over.
    TokenOver,
    /// The agent reached its disk limit, or that limit could not be watched.
    DiskLimit,
    /// The kernel ended it for want of memory.
    MemoryLimit,
    /// The agent's fence or guard had ended.
    HelperLost,
    /// The engine did not answer any more.
    EngineLost,
    /// The addresses of the engine's machine could not be followed any more.
    HostUnknown,
    /// The agent ended while nobody supervised it, and was removed later.
    SupervisorLost,
}

/// Observation in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Note {
    /// The observation.
    #[serde(deserialize_with = "observation")]
    pub(crate) reason: Known<Observation>,
    /// Subject of the observation, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) what: Option<String>,
    /// Notes like this one that have no line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_out: Option<u64>,
}

impl Note {
    /// Returns a note in words.
    pub(crate) fn new(reason: Observation, what: impl Into<String>) -> Note {
        Note { reason: reason.into(), what: Some(what.into()), left_out: None }
    }
}

/// Observation in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Observation {
    /// The log has reached its bound: the network was closed.
    LogFull,
    /// The guard stood still for a while, and everything waited meanwhile.
    GuardPaused,
    /// The engine's machine has other addresses than before.
    HostAddresses,
    /// The machine has other name servers than before.
    Resolvers,
    /// The agent met its memory limit.
    MemoryLimit,
    /// The agent had every process and thread that it may have.
    PidsLimit,
    /// The agent met its disk limit.
    DiskLimit,
    /// The time of the run is over.
    TimeLimit,
    /// The agent's token is over.
    TokenOver,
    /// The agent's token ends soon.
    TokenEnds,
    /// A change that the agent left was put back.
    PutBack,
    /// The agent left files that run code on the person's machine.
    RunsCode,
    /// The agent moved references, or changed something else below `.git`.
    GitChanged,
    /// The agent left files that give others rights.
    GivesRights,
    /// The agent left links, sockets and the like, which lead out of the project.
    LeadsOut,
    /// Covers are where the agent moved the folders around them.
    CoverMoved,
    /// A commit, or the index, holds a stand-in for a covered file.
    StandIn,
    /// A covered file was replaced from outside, or got another name.
    Uncovered,
    /// Another run works on the same files.
    SharedFiles,
    /// A port of the person's machine leads to one of the agent's.
    Forward,
    /// The person's ssh agent is asked to sign a login.
    SshSigned,
    /// A service beside the agent has ended.
    ServiceEnded,
    /// A person asked for the end of the run (`ringfence stop`).
    StopAsked,
    /// A person attached to the agent (`ringfence attach`).
    Attached,
    /// A person had a program run in the agent's container (`ringfence exec`).
    ExecStarted,
    /// The supervisor has gone: nobody holds the limits of time and disk any more.
    SupervisorLost,
}

/// The words of [`Lifecycle`] that are no note's.
const STEPS: [&str; 4] = ["start", "ready", "agent-ended", "end"];

/// Reads the word of a note. A step whose fields do not fit is no note.
fn observation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Known<Observation>, D::Error> {
    let read = Known::deserialize(deserializer)?;
    match &read {
        Known::Other(word) if STEPS.contains(&Word::as_ref(word)) => {
            Err(serde::de::Error::custom("a step of the run with fields that do not fit"))
        }
        _ => Ok(read),
    }
}
