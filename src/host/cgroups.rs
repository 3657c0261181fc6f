//! The limits of this process's own cgroup, as a container sees them: unified cgroups first, then
//! the older ones.

use std::fs;

/// Returns the limit of memory, in bytes; `None`: without a limit, or not to be seen.
pub(crate) fn memory() -> Option<u64> {
    limit(&["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"])
}

/// Tells whether swap is limited as well, or there is none. Only unified cgroups are looked at:
/// every engine knows about the older ones by itself, and crun passes over a `memory.swap.max` that
/// is not there.
pub(crate) fn bounds_swap() -> bool {
    if read("/sys/fs/cgroup/cgroup.controllers").is_none() {
        return true;
    }
    match read("/sys/fs/cgroup/memory.swap.max") {
        Some(max) => max != "max",
        // One line of headings.
        None => read("/proc/swaps").is_none_or(|swaps| swaps.lines().count() < 2),
    }
}

/// Returns the limit of processes; `None`: without a limit, or not to be seen.
pub(crate) fn processes() -> Option<u64> {
    limit(&["/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"])
}

/// Tells whether the CPU time has a limit that can be seen.
pub(crate) fn bounds_cpu() -> bool {
    let unified = read("/sys/fs/cgroup/cpu.max").map(|max| !max.starts_with("max"));
    let older = || {
        let quota = read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
            .or_else(|| read("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us"))?;
        Some(quota.parse::<i64>().is_ok_and(|quota| quota > 0))
    };
    unified.or_else(older).unwrap_or(false)
}

/// Returns the first of these files that is there, unless it says `max` or the kernel's greatest
/// number.
fn limit(files: &[&str]) -> Option<u64> {
    let number: u64 = files.iter().find_map(|file| read(file))?.parse().ok()?;
    (number < 1 << 60).then_some(number)
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}
