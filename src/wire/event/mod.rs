//! The decision log: one definition, by which the guard writes lines and everybody reads them.
//!
//! ```text
//!  Line { v, seq, time, workflow, Event, prev }
//!                                  ├─ Access     a question, a connection, a packet: what was decided, and by which rule
//!                                  ├─ Control    a change of the policy or the conditions
//!                                  ├─ Lifecycle  start, ready, agent-ended, end, and what was noted between them
//!                                  └─ Other      a kind that only later versions know
//! ```
//! Logs outlive versions. A reader takes kinds, words and fields that it does not know, and keeps
//! unknown words as [`Word`]s. It refuses what no version writes: an address that is none, a port
//! beyond 65535, a field that stands twice, a kind that has no room for a value of that type.

mod access;
mod control;
mod lifecycle;
mod line;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;
mod word;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

pub(crate) use self::access::{Access, Decision, Kind, Phase, Ruling, Transport};
pub(crate) use self::control::Control;
#[cfg(test)]
pub(crate) use self::control::ControlChannel;
pub(crate) use self::lifecycle::{AgentEnded, How, Lifecycle, Note, Observation, Start, StartConnections};
pub(crate) use self::line::{Line, Time};
pub(crate) use self::word::{Known, Word};

/// Subject of a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Event {
    /// A change that a person made, or wanted to.
    Control(Control),
    /// The run's own life.
    Lifecycle(Lifecycle),
    /// Request of the agent. Its `kind` says what kind.
    #[serde(untagged)]
    Access(Access),
    /// Event of a later version.
    #[serde(untagged)]
    #[cfg_attr(test, schemars(skip))]
    Other(Other),
}

/// An event of a kind that this version does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Other {
    /// The kind.
    #[serde(deserialize_with = "unknown_kind")]
    pub(crate) kind: Word,
    /// Everything else.
    #[serde(flatten)]
    fields: BTreeMap<String, serde_json::Value>,
}

/// Reads a kind. A known one whose fields do not fit is no other one.
fn unknown_kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
    Word::other_than(deserializer, &["dns", "connect", "tls", "http", "datagram", "control", "lifecycle"])
}

impl Other {
    /// Returns the text of a field, where it is a text.
    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field)?.as_str()
    }
}

impl Event {
    /// Returns the word of its kind.
    pub(crate) fn kind(&self) -> &str {
        match self {
            Event::Control(_) => "control",
            Event::Lifecycle(_) => "lifecycle",
            Event::Access(access) => access.kind.as_str(),
            Event::Other(other) => other.kind.as_ref(),
        }
    }

    /// Tells whether something was refused.
    pub(crate) fn is_denied(&self) -> bool {
        let verdict = match self {
            Event::Access(access) => &access.verdict,
            Event::Control(control) => &control.verdict,
            Event::Lifecycle(_) => return false,
            Event::Other(other) => return other.text("verdict") == Some(Decision::Deny.as_str()),
        };
        *verdict == Some(Known::This(Decision::Deny))
    }

    /// Notes how many events like this one have no line.
    pub(crate) fn leave_out(&mut self, more: u64) {
        let left_out = match self {
            Event::Access(access) => &mut access.left_out,
            Event::Lifecycle(Lifecycle::Note(note)) => &mut note.left_out,
            Event::Control(_) | Event::Lifecycle(_) | Event::Other(_) => return,
        };
        *left_out = (more > 0).then_some(more);
    }
}

impl From<Access> for Event {
    fn from(access: Access) -> Event {
        Event::Access(access)
    }
}

impl From<Control> for Event {
    fn from(control: Control) -> Event {
        Event::Control(control)
    }
}

impl From<Lifecycle> for Event {
    fn from(lifecycle: Lifecycle) -> Event {
        Event::Lifecycle(lifecycle)
    }
}

impl From<Note> for Event {
    fn from(note: Note) -> Event {
        Event::Lifecycle(Lifecycle::Note(note))
    }
}
