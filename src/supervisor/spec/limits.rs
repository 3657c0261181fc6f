//! The agent's limits: the smallest of what the command line and the layers of policy say, else
//! what is usual here.
//!
//! A demand of a policy that this version cannot keep ends the start: nothing of a policy is
//! ignored.

use std::time::Duration;

use netpolicy::policy::Policy;

use crate::term::{COULD_NOT_RUN, Failure};

/// Memory unless anybody says otherwise.
const MEMORY: u64 = 4 << 30;
/// Processes and threads unless anybody says otherwise.
const PIDS: u64 = 1024;
/// Open files of a process unless anybody says otherwise: some engines set no limit, others have a
/// low one that cannot be passed.
const OPEN_FILES: u64 = 16_384;
/// Disk unless anybody says otherwise.
const DISK: u64 = 10 << 30;
/// Disk for each file and folder.
const FILE: u64 = 4096;
/// Files and folders that every agent may make: what a package manager unpacks.
const LEAST_FILES: u64 = 65_536;
/// Wall-clock time unless anybody says otherwise: long enough for every task, and an end to what
/// was forgotten.
const TIME: Duration = Duration::from_secs(24 * 3600);

/// Limits as somebody asks for them; absent where nobody said anything.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Asked {
    /// CPUs.
    pub(crate) cpus: Option<f64>,
    /// Bytes; swap is equal, so none is added.
    pub(crate) memory: Option<u64>,
    /// Processes and threads.
    pub(crate) pids: Option<u64>,
    /// Files that a process may have open.
    pub(crate) open_files: Option<u64>,
    /// Bytes in the container's layer, and in writable mounts beyond what was there.
    pub(crate) disk: Option<u64>,
    /// Wall-clock time.
    pub(crate) time: Option<Duration>,
}

/// Limits of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// CPUs, in billionths.
    pub(crate) nano_cpus: i64,
    /// Bytes; swap is equal, so none is added.
    pub(crate) memory: u64,
    /// Processes and threads.
    pub(crate) pids: u64,
    /// Files that a process may have open.
    pub(crate) open_files: u64,
    /// Bytes in the container's layer, and in writable mounts beyond what was there.
    pub(crate) disk: u64,
    /// Wall-clock time.
    pub(crate) time: Duration,
}

impl Limits {
    /// Files and folders that an agent may make: one for each 4 KiB of its disk limit. Each takes
    /// an inode, of which a file system has so many and no more.
    pub(crate) fn files(&self) -> u64 {
        (self.disk / FILE).max(LEAST_FILES)
    }
}

impl Asked {
    /// Returns the command line's limits, lowered by the policy's. `engine_cpus`: the CPUs that the
    /// engine has.
    ///
    /// # Errors
    /// When more CPUs were asked for than the engine has.
    pub(crate) fn within(self, policy: &Policy, engine_cpus: f64) -> Result<Limits, Failure> {
        let of = &policy.container;
        let cpus = cpus(self.cpus, policy, engine_cpus).ok_or_else(|| {
            let asked = self.cpus.unwrap_or_default();
            Failure::new(COULD_NOT_RUN, format!("--cpus {asked}: the engine has {engine_cpus}"))
                .hint(format!("give a number from 0.01 to {engine_cpus}"))
        })?;
        Ok(Limits {
            nano_cpus: (cpus * 1e9) as i64,
            memory: smallest(self.memory, of.memory).unwrap_or(MEMORY),
            pids: smallest(self.pids, of.pids).unwrap_or(PIDS),
            open_files: smallest(self.open_files, of.open_files).unwrap_or(OPEN_FILES),
            disk: smallest(self.disk, of.disk).unwrap_or(DISK),
            time: smallest(self.time, of.seconds.map(Duration::from_secs)).unwrap_or(TIME),
        })
    }
}

#[cfg(test)]
impl Default for Limits {
    fn default() -> Self {
        Asked::default().within(&Policy::nothing(), 8.0).unwrap()
    }
}

/// A limit as engines take it.
pub(crate) fn for_engine(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Bytes as a person reads them: `1.5GiB`, and exactly where the number is a whole one of its unit.
pub(crate) fn bytes(number: u64) -> String {
    let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| number >= *unit) {
        Some((unit, word)) if number.is_multiple_of(*unit) => format!("{}{word}", number / unit),
        Some((unit, word)) => format!("{:.1}{word}", number as f64 / *unit as f64),
        None => format!("{number}B"),
    }
}

/// CPUs, of those that the engine has: asked for, lowered by the policy's, by default 2. `None`
/// when more are asked for than there are; a policy that would permit more than there are permits
/// all.
fn cpus(asked: Option<f64>, policy: &Policy, has: f64) -> Option<f64> {
    let most = policy.container.milli_cpus.map(|milli| milli as f64 / 1000.0);
    let asked = match asked {
        Some(asked) if !(0.01..=has).contains(&asked) => return None,
        Some(asked) => asked,
        None => most.unwrap_or(2.0),
    };
    Some(asked.min(most.unwrap_or(has)).min(has))
}

fn smallest<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_counts() {
        let mut policy = Policy::nothing();
        let within = |asked: Asked, policy: &Policy| asked.within(policy, 8.0).unwrap();
        let asked = Asked { memory: Some(8 << 30), disk: Some(1 << 30), ..Asked::default() };
        assert_eq!(within(asked, &policy), Limits { memory: 8 << 30, disk: 1 << 30, ..Limits::default() });
        policy.container.memory = Some(2 << 30);
        policy.container.pids = Some(64);
        policy.container.open_files = Some(128);
        policy.container.disk = Some(2 << 30);
        policy.container.seconds = Some(60);
        let held = Limits {
            nano_cpus: 2_000_000_000,
            memory: 2 << 30,
            pids: 64,
            open_files: 128,
            disk: 1 << 30,
            time: Duration::from_secs(60),
        };
        assert_eq!(within(asked, &policy), held);
        // A policy may allow more than the default, and the command line less than the policy.
        policy.container.memory = Some(16 << 30);
        assert_eq!(within(Asked::default(), &policy).memory, 16 << 30);
        assert_eq!(within(asked, &policy).memory, 8 << 30);
    }

    #[test]
    fn the_number_of_files_follows_the_disk() {
        assert_eq!(Limits::default().files(), 2_621_440);
        assert_eq!(Limits { disk: 1 << 20, ..Limits::default() }.files(), 65_536);
        assert_eq!(Limits { disk: 1 << 30, ..Limits::default() }.files(), 262_144);
    }

    #[test]
    fn every_limit_is_on_without_anybody_asking() {
        let usual = Limits {
            nano_cpus: 2_000_000_000,
            memory: 4 << 30,
            pids: 1024,
            open_files: 16_384,
            disk: 10 << 30,
            time: Duration::from_secs(86_400),
        };
        assert_eq!(Limits::default(), usual);
    }

    #[test]
    fn cpus_are_those_that_the_engine_has() {
        let mut policy = Policy::nothing();
        assert_eq!(cpus(None, &policy, 8.0), Some(2.0));
        assert_eq!(cpus(None, &policy, 1.0), Some(1.0));
        assert_eq!(cpus(Some(4.0), &policy, 8.0), Some(4.0));
        assert_eq!(cpus(Some(9.0), &policy, 8.0), None);
        assert_eq!(cpus(Some(0.0), &policy, 8.0), None);
        policy.container.milli_cpus = Some(500);
        assert_eq!(cpus(Some(4.0), &policy, 8.0), Some(0.5));
        policy.container.milli_cpus = Some(16_000);
        assert_eq!(cpus(None, &policy, 8.0), Some(8.0));
    }

    #[test]
    fn bytes_are_read_as_they_are_written() {
        let shown = [1000, 64 << 10, 100 << 20, (3 << 30) + (512 << 20), 10 << 30].map(bytes);
        assert_eq!(shown, ["1000B", "64KiB", "100MiB", "3.5GiB", "10GiB"]);
    }
}
