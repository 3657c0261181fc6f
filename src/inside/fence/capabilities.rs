//! Giving up every power over the fence before anything is handed over.
//!
//! ```text
//!  no new privileges ─▶ bounding, ambient ─▶ effective, permitted, inheritable ─▶ not dumpable ─▶ read back
//! ```
//!
//! What holds the sockets afterwards parses bytes of the guard; it needs nothing for that, so it
//! has nothing.

use std::path::Path;

use caps::CapSet;
use nix::sys::prctl;

use super::{failed, failure};
use crate::term::Failure;

/// The sets that must be empty afterwards.
const EMPTY: [&str; 4] = ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"];

/// Drops every capability of this process, for good, and reads back that it did.
pub(super) fn drop_all() -> Result<(), Failure> {
    prctl::set_no_new_privs().map_err(failed("cannot renounce new privileges"))?;
    // Takes CAP_SETPCAP, which the container does not have; without new privileges nothing comes
    // out of it anyway.
    let _ = caps::clear(None, CapSet::Bounding);
    // Absent before Linux 4.3; read back below.
    let _ = caps::clear(None, CapSet::Ambient);
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set).map_err(failed(format!("cannot drop the {set:?} capabilities")))?;
    }
    prctl::set_dumpable(false).map_err(failed("cannot keep other processes out of the memory"))?;
    read_back()
}

/// Reads back every thread's capabilities, since the kernel keeps them for each thread.
fn read_back() -> Result<(), Failure> {
    let tasks = Path::new("/proc/self/task");
    for task in std::fs::read_dir(tasks).map_err(failed("cannot list the own threads"))? {
        let path = task.map_err(failed("cannot list the own threads"))?.path().join("status");
        let status =
            std::fs::read_to_string(&path).map_err(failed(format!("cannot read {}", path.display())))?;
        if let Some(left) = left_over(&status) {
            return Err(failure(format!("capabilities are left in {}: {left}", path.display())));
        }
    }
    if !prctl::get_no_new_privs().unwrap_or(false) || prctl::get_dumpable().unwrap_or(true) {
        return Err(failure("the kernel did not take away new privileges or dumps"));
    }
    Ok(())
}

/// Returns the first set that is not empty, or is not there to be read.
fn left_over(status: &str) -> Option<String> {
    EMPTY.iter().find_map(|set| {
        let line = status.lines().find_map(|line| line.strip_prefix(set)).map(str::trim);
        let empty = line.is_some_and(|mask| !mask.is_empty() && mask.bytes().all(|digit| digit == b'0'));
        (!empty).then(|| format!("{set} {}", line.unwrap_or("absent")))
    })
}

#[cfg(test)]
mod tests {
    use super::left_over;

    #[test]
    fn one_capability_anywhere_is_seen() {
        let none = "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t1\nCapAmb:\t0000000000000000\n";
        assert_eq!(left_over(none), None);
        let admin = none.replace("CapPrm:\t0000000000000000", "CapPrm:\t0000000000001000");
        assert_eq!(left_over(&admin).as_deref(), Some("CapPrm: 0000000000001000"));
        assert!(left_over("").is_some());
    }
}
