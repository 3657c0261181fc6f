//! One line of the log: an event, its place in the chain, and when it was.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Event;
use crate::wire::{LineHash, WorkflowId};

/// The longest line that is read, in bytes. The first one holds the virtual addresses of a whole
/// policy.
const LONGEST: usize = 32 << 20;

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Line {
    /// Version of the schema: 1. Kinds, words and fields are added without a new number.
    #[cfg_attr(test, schemars(schema_with = "super::schema::version"))]
    pub(crate) v: Version,
    /// Number of the line, from 0.
    pub(crate) seq: u64,
    /// The time, UTC, in milliseconds.
    #[cfg_attr(test, schemars(schema_with = "super::schema::time"))]
    pub(crate) time: Time,
    /// Id of the run.
    #[cfg_attr(test, schemars(schema_with = "super::schema::workflow"))]
    pub(crate) workflow: WorkflowId,
    /// The event of the line.
    #[serde(flatten)]
    pub(crate) event: Event,
    /// SHA-256 of the line before, without its end; absent in the first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "super::schema::hash"))]
    pub(crate) prev: Option<LineHash>,
}

impl Line {
    /// Returns the line of an event that happens now.
    pub(crate) fn now(seq: u64, workflow: WorkflowId, event: Event, prev: Option<LineHash>) -> Line {
        Line { v: Version, seq, time: Time::now(), workflow, event, prev }
    }

    /// Reads a line, without its end; none when it is no event.
    pub(crate) fn read(line: &[u8]) -> Option<Line> {
        (line.len() <= LONGEST).then(|| serde_json::from_slice(line).ok()).flatten()
    }
}

/// The version of the schema: there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Version;

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(Version),
            other => Err(serde::de::Error::custom(format!("version {other} is not known"))),
        }
    }
}

/// A moment, to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(SystemTime);

/// The last moment of the year 9999, in seconds: later ones have another form.
const LAST: u64 = 253_402_300_799;

impl Time {
    /// Returns the present moment.
    pub(crate) fn now() -> Time {
        Time::of(SystemTime::now())
    }

    /// Returns the time that has passed since another moment; none where that is a later one.
    pub(crate) fn after(self, other: Time) -> Duration {
        self.0.duration_since(other.0).unwrap_or_default()
    }

    /// Returns the seconds since 1970.
    pub(crate) fn unix_seconds(self) -> u64 {
        self.0.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// Rounds a moment down to the millisecond, and to what can be written.
    fn of(time: SystemTime) -> Time {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs().min(LAST);
        Time(UNIX_EPOCH + Duration::from_millis(seconds * 1000 + u64::from(since.subsec_millis())))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis(self.0).fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map(Time::of).map_err(serde::de::Error::custom)
    }
}
