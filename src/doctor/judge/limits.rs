//! R3: whether what a container may use is bounded. The engine says what it can bound; a container
//! was asked whether it is.

use super::{known, list};
use crate::doctor::facts::{Engine, Inside, Learned};
use crate::doctor::row::{Row, Verdict};

/// Judges R3 and returns its row.
pub(crate) fn row(engine: &Learned<Engine>, inside: &Learned<Inside>) -> Row {
    let mut row = Row::new("R3", "CPU, memory, processes, disk");
    let Some(engine) = known(&mut row, engine) else { return row };
    let said = engine.limits;
    let seen = inside.as_ref().ok();
    let bounds = [
        ("memory", said.memory, seen.map(|inside| inside.memory.is_some())),
        ("processes", said.pids, seen.map(|inside| inside.pids.is_some())),
        ("CPU time", said.cpu, seen.map(|inside| inside.cpu)),
    ];
    let held: Vec<&str> =
        bounds.iter().filter(|(_, _, seen)| *seen == Some(true)).map(|(name, ..)| *name).collect();
    if !held.is_empty() {
        row.found(format!("a container found itself bounded in {}", list(&held)));
    }
    for (name, said, seen) in bounds {
        match (said, seen) {
            (_, Some(true)) => {}
            (true, Some(false)) => row.held_against(
                Verdict::Unknown,
                format!("the engine says that it bounds {name}, and a container given a bound saw none"),
            ),
            (false, _) => {
                row.held_against(Verdict::Fail, format!("the engine does not bound {name}"));
                row.advise("a rootless engine needs cgroup v2 with delegated controllers; a kernel may need `cgroup_enable=memory`");
            }
            (true, None) => row.found(format!("the engine says that it bounds {name}")),
        }
    }
    if let Err(why) = inside {
        row.held_against(Verdict::Unknown, format!("no container could be asked: {why}"));
    }
    if !said.swap {
        row.held_against(
            Verdict::Warn,
            "the engine does not bound swap: an agent may fill it beyond its memory",
        );
        row.advise("add `swapaccount=1` to the kernel's command line, or use cgroup v2");
    }
    let (driver, backing) = &engine.storage;
    let on = backing.as_deref().map(|backing| format!(" on {backing}")).unwrap_or_default();
    row.held_against(
        Verdict::Warn,
        format!("what an agent writes to disk is watched, and its run ended past its limit; the storage may not hold it by itself ({driver}{on})"),
    );
    row.advise("keep an eye on the engine's disk, or give the engine a disk of its own");
    row
}
