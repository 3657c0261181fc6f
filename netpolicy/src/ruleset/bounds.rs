//! Bounds of a run's permitted connections: those that policies set, else a share of the connection
//! table of the engine's machine.
//!
//! ```text
//!  table ÷ 8 ÷ runs on the engine ──share──▶ at once, a second ─┐
//!  container.connections, …-per-second ──in its place, or below ─┴─▶ ConnectionBounds ─┬─▶ the fence's rules
//!                                                                                     └─▶ the guard's table and dials
//! ```
//! Each permitted connection takes an entry in that table, and keeps it for a while after its end.
//! The table is everybody's: the machine's own connections are in it too.

use serde::{Deserialize, Serialize};

use crate::policy::{ConnectionLimits, Origin};

/// Permitted connections that any agent may have open at once. The guard's descriptors and its
/// container's memory follow this number; nothing else states it.
pub const GATE_CONNECTIONS: u32 = 10_000;
/// New connections a second that a policy may ask for at most.
pub const MOST_PER_SECOND: u32 = 4000;
/// New connections in a moment, at most: no more than wait in the gate's backlog, so that a busy
/// guard never means a connection that is made and hangs.
pub(super) const MOST_BURST: u32 = 4000;
/// New connections in a moment, at least: what an installer of packages makes when it begins.
const LEAST_BURST: u32 = 256;
/// Seconds of the rate that may come in a moment.
const BURST_SECONDS: u32 = 10;
/// The share of a run that is alone is this part of the table; of several, each has a part of that.
const PART: u32 = 8;
/// This part of a share is for connections that are open.
const OPEN: u32 = 4;
/// Seconds for which a kernel keeps an entry after the end of its connection, unless it says that
/// they are more.
const LINGER: u32 = 120;

/// Numbers of permitted connections that an agent may have. Whole when made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Numbers", into = "Numbers")]
pub struct ConnectionBounds {
    at_once: u32,
    per_second: u32,
}

/// Bounds as they are written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    at_once: u32,
    per_second: u32,
}

/// Numbers that are no bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} connections at once and {1} a second are no bounds")]
pub struct NoBounds(u32, u32);

impl TryFrom<Numbers> for ConnectionBounds {
    type Error = NoBounds;

    fn try_from(Numbers { at_once, per_second }: Numbers) -> Result<Self, NoBounds> {
        let bounds = ConnectionBounds::within(at_once, per_second);
        let are_whole = (bounds.at_once, bounds.per_second) == (at_once, per_second);
        are_whole.then_some(bounds).ok_or(NoBounds(at_once, per_second))
    }
}

impl From<ConnectionBounds> for Numbers {
    fn from(ConnectionBounds { at_once, per_second }: ConnectionBounds) -> Numbers {
        Numbers { at_once, per_second }
    }
}

impl Default for ConnectionBounds {
    /// Returns the smallest share.
    fn default() -> Self {
        ConnectionBounds::LEAST
    }
}

impl ConnectionBounds {
    /// The smallest share: enough for a person's tools, however many runs there are.
    pub const LEAST: ConnectionBounds = ConnectionBounds { at_once: 256, per_second: 2 };
    /// The largest share, however large the table is.
    pub const MOST: ConnectionBounds = ConnectionBounds { at_once: GATE_CONNECTIONS, per_second: 400 };

    /// Makes bounds of these numbers, each as far as it is possible.
    fn within(at_once: u32, per_second: u32) -> ConnectionBounds {
        ConnectionBounds {
            at_once: at_once.clamp(1, GATE_CONNECTIONS),
            per_second: per_second.clamp(1, MOST_PER_SECOND),
        }
    }

    /// Returns the permitted connections that may be open at once.
    pub fn at_once(self) -> u32 {
        self.at_once
    }

    /// Returns the new connections a second.
    pub fn per_second(self) -> u32 {
        self.per_second
    }

    /// Returns the new connections that may come in a moment.
    pub fn burst(self) -> u32 {
        self.per_second.saturating_mul(BURST_SECONDS).clamp(LEAST_BURST, MOST_BURST)
    }

    /// Returns the connections that the guard makes in a moment; those beyond wait for their turn,
    /// at the rate. Half of what the fence lets in, so that a fast client is slowed down by the
    /// guard before the fence lets it wait.
    pub fn dials_burst(self) -> u32 {
        self.burst() / 2
    }

    /// Returns the most entries that a run has in the table, where each stays for so many seconds
    /// after the end of its connection.
    pub fn entries(self, linger: u32) -> u64 {
        let ended = u64::from(self.per_second) * u64::from(linger);
        u64::from(self.at_once) + u64::from(self.burst()) + ended
    }
}

/// Connection table of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionTable {
    /// Entries that the table holds.
    pub entries: u32,
    /// Seconds for which an entry stays after the end of its connection.
    pub linger: u32,
}

/// A run's share of the connection table of the engine's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionShare {
    /// The table, where it is known.
    pub table: Option<ConnectionTable>,
    /// Runs on the engine, this one included.
    pub runs: u32,
}

impl ConnectionShare {
    /// Returns the share as bounds: the smallest where the table is not known.
    pub fn bounds(self) -> ConnectionBounds {
        let (least, most) = (ConnectionBounds::LEAST, ConnectionBounds::MOST);
        let Some(ConnectionTable { entries, linger }) = self.table else { return least };
        let entries = entries / PART / self.runs.max(1);
        let linger = linger.max(LINGER);
        // What ends at the smallest rate takes more than the rest where entries stay for long.
        let least_rest = LEAST_BURST.saturating_add(least.per_second.saturating_mul(linger));
        let open = (entries / OPEN).min(entries.saturating_sub(least_rest));
        let at_once = open.clamp(least.at_once, most.at_once);
        let rest = entries.saturating_sub(at_once);
        // A burst is so many seconds of the rate, and never less than the smallest.
        let by_rate = rest / linger.saturating_add(BURST_SECONDS);
        let beside_least = rest.saturating_sub(LEAST_BURST) / linger;
        let per_second = by_rate.min(beside_least).clamp(least.per_second, most.per_second);
        ConnectionBounds { at_once, per_second }
    }
}

/// Bounds of a run, and what set them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedBounds {
    /// The bounds.
    pub bounds: ConnectionBounds,
    /// The share, where one of the numbers is the share's.
    pub share: Option<ConnectionShare>,
    /// Lines of policies that set the others.
    pub set_by: Vec<Origin>,
}

impl AppliedBounds {
    /// Decides the bounds of a run.
    pub fn of(limits: &ConnectionLimits, share: ConnectionShare) -> AppliedBounds {
        let shared = share.bounds();
        let (at_once, at_once_by) = limits.at_once.within(shared.at_once);
        let (per_second, per_second_by) = limits.per_second.within(shared.per_second);
        let origins = [at_once_by, per_second_by];
        AppliedBounds {
            bounds: ConnectionBounds::within(at_once, per_second),
            share: origins.contains(&None).then_some(share),
            set_by: origins.into_iter().flatten().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share(entries: u32, runs: u32) -> ConnectionBounds {
        ConnectionShare { table: Some(ConnectionTable { entries, linger: LINGER }), runs }.bounds()
    }

    #[test]
    fn the_share_is_part_of_the_table_divided_by_the_runs() {
        let numbers = |bounds: ConnectionBounds| (bounds.at_once, bounds.burst(), bounds.per_second);
        assert_eq!(numbers(share(262_144, 1)), (8192, 1890, 189));
        assert_eq!(numbers(share(262_144, 10)), (819, 256, 18));
        assert_eq!(numbers(share(65_536, 1)), (2048, 470, 47));
        assert_eq!(numbers(share(65_536, 4)), (512, 256, 10));
        assert_eq!(numbers(share(1 << 20, 1)), (10_000, 4000, 400));
        assert_eq!(share(u32::MAX, 1), ConnectionBounds::MOST);
        assert_eq!(share(262_144, 0), share(262_144, 1));
        for (entries, runs) in [(0, 1), (4096, 1), (65_536, 11), (262_144, 44), (u32::MAX, u32::MAX)] {
            assert_eq!(share(entries, runs), ConnectionBounds::LEAST, "{entries} {runs}");
        }
        assert_eq!(ConnectionShare { table: None, runs: 1 }.bounds(), ConnectionBounds::LEAST);
        assert_eq!(ConnectionBounds::LEAST.entries(LINGER), 752);
        assert_eq!(ConnectionBounds::MOST.entries(LINGER), 62_000);
    }

    /// The table of decision 47: percent of the table that all runs take together.
    #[test]
    fn all_shares_together_take_what_is_written_down() {
        let percent = |entries: u32, runs: u32| {
            let all: u64 = (1..=runs).map(|run| share(entries, run).entries(LINGER)).sum();
            all * 100 / u64::from(entries)
        };
        assert_eq!([1, 10, 40, 100].map(|runs| percent(65_536, runs)), [12, 35, 70, 139]);
        assert_eq!([1, 10, 40, 100].map(|runs| percent(262_144, runs)), [12, 36, 52, 69]);
        assert_eq!([1, 10, 40, 100].map(|runs| percent(1 << 20, runs)), [5, 29, 46, 57]);
    }

    #[test]
    fn what_is_no_bound_is_not_read() {
        let read = |text: &str| serde_json::from_str::<ConnectionBounds>(text);
        assert_eq!(read(r#"{"at_once":10,"per_second":1}"#).unwrap(), ConnectionBounds::within(10, 1));
        for bad in [
            r#"{"at_once":0,"per_second":1}"#,
            r#"{"at_once":1,"per_second":0}"#,
            r#"{"at_once":10001,"per_second":1}"#,
            r#"{"at_once":1,"per_second":4001}"#,
            r#"{"at_once":1}"#,
            r#"{"at_once":1,"per_second":1,"burst":9}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2048) })]

        #[test]
        fn a_share_stays_within_its_part_or_is_the_smallest(
            entries in any::<u32>(), runs in 1u32..200, linger in prop_oneof![0u32..1000, any::<u32>()],
        ) {
            let shared = ConnectionShare { table: Some(ConnectionTable { entries, linger }), runs }.bounds();
            let part = u64::from(entries / PART / runs);
            let least = ConnectionBounds::LEAST.entries(linger.max(LINGER));
            prop_assert!(shared.entries(linger.max(LINGER)) <= part.max(least));
            prop_assert!(shared.at_once >= ConnectionBounds::LEAST.at_once);
            prop_assert!(shared.per_second >= ConnectionBounds::LEAST.per_second);
            prop_assert!(shared.at_once <= ConnectionBounds::MOST.at_once);
            prop_assert!(shared.per_second <= ConnectionBounds::MOST.per_second);
            // One run more never makes a share larger.
            let beside = ConnectionShare { table: Some(ConnectionTable { entries, linger }), runs: runs + 1 };
            prop_assert!(beside.bounds().at_once <= shared.at_once);
        }

        #[test]
        fn a_project_never_raises_a_bound(
            entries in any::<u32>(), runs in 1u32..200,
            replacing in proptest::option::of(1u32..=20_000), lowering in proptest::option::of(1u32..=20_000),
        ) {
            use crate::policy::{ConnectionLimit, Layer, SetNumber};
            let number = |layer| move |most| SetNumber {
                most,
                origin: Origin { layer, file: "p.yml".into(), line: 1, text: "x".into() },
            };
            let replacing = replacing.map(number(Layer::Organisation));
            let of = |lowering: Option<u32>| {
                let limit = ConnectionLimit { replacing: replacing.clone(), lowering: lowering.map(number(Layer::Project)) };
                let limits = ConnectionLimits { at_once: limit.clone(), per_second: limit };
                let table = Some(ConnectionTable { entries, linger: LINGER });
                AppliedBounds::of(&limits, ConnectionShare { table, runs })
            };
            let (with, without) = (of(lowering), of(None));
            prop_assert!(with.bounds.at_once <= without.bounds.at_once);
            prop_assert!(with.bounds.per_second <= without.bounds.per_second);
            prop_assert_eq!(without.set_by.is_empty(), replacing.is_none());
            prop_assert_eq!(with.share.is_none(), with.set_by.len() == 2);
        }
    }
}
