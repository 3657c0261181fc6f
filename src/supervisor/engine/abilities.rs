//! Whether the engine keeps what it is asked for: before, by what it says of itself; after, by its warnings.
//!
//! Engines drop limits that their kernel or cgroups cannot give and say so in a warning that no program has to read. Here
//! a dropped limit ends the start.

use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum};

use crate::supervisor::engine::Product;
use crate::term::{COULD_NOT_RUN, Failure};

/// What an engine says that it can limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory.
    pub memory: bool,
    /// Swap.
    pub swap: bool,
    /// CPU time.
    pub cpu: bool,
    /// Processes.
    pub pids: bool,
}

/// Its own word; whoever says nothing promises nothing. Podman looks for files of the older cgroups (`pkg/sysinfo`) and denies limits
/// that it keeps where they are unified: there its OCI runtime refuses what it cannot limit, and the fence finds limits on itself.
pub fn said(info: &SystemInfo, product: Product) -> Limits {
    let blind = product == Product::Podman && info.cgroup_version == Some(SystemInfoCgroupVersionEnum::_2);
    Limits {
        memory: info.memory_limit == Some(true),
        swap: blind || info.swap_limit == Some(true),
        cpu: blind || info.cpu_cfs_quota == Some(true),
        pids: info.pids_limit == Some(true),
    }
}

/// Tells whether the engine runs as a person, whose files are root's in its containers.
pub fn is_rootless(info: &SystemInfo) -> bool {
    info.security_options.iter().flatten().any(|option| option.split(',').any(|word| word == "name=rootless"))
}

/// Refuses an engine that says of itself that it does not keep a limit; what is to be told a person besides.
pub fn by_engine(info: &SystemInfo, product: Product) -> Result<Vec<String>, Failure> {
    let said = said(info, product);
    let kept = [("memory", said.memory), ("process", said.pids), ("CPU", said.cpu)];
    let lacking: Vec<&str> = kept.into_iter().filter(|(_, kept)| !kept).map(|(name, _)| name).collect();
    if !lacking.is_empty() {
        let limits = lacking.join(", ");
        return Err(Failure::new(COULD_NOT_RUN, format!("the engine cannot keep these limits: {limits}"))
            .hint("a rootless engine needs cgroup v2 and systemd's delegation of cpu, memory and pids to your user; \
                   `docker info` (or `podman info`) shows its own warnings"));
    }
    // Podman's says what the kernel could limit, not what its user may.
    if is_rootless(info) && info.cgroup_version == Some(SystemInfoCgroupVersionEnum::_1) {
        let what = "the engine runs without root and without unified cgroups, so it keeps no limit";
        return Err(Failure::new(COULD_NOT_RUN, what)
            .hint("boot with unified cgroups (cgroup v2), or use an engine that runs as root"));
    }
    let filtered = info.security_options.iter().flatten().any(|option| option.contains("seccomp"));
    if !filtered {
        return Err(Failure::new(COULD_NOT_RUN, "the engine cannot filter the agent's system calls (seccomp)")
            .hint("use an engine whose kernel and build have seccomp; `docker info` lists it under Security Options"));
    }
    let swap = (!said.swap).then(|| {
        "the engine cannot limit swap: beyond its memory limit the agent may use the machine's swap"
            .to_owned()
    });
    Ok(swap.into_iter().collect())
}

/// Refuses a container that the engine made with less than it was asked for; the other warnings, to be told.
pub fn by_warnings(warnings: &[String]) -> Result<Vec<String>, Failure> {
    // Swap was told before anything was created.
    let is_swap = |text: &str| text.contains("swap limit");
    let dropped = |text: &str| {
        let text = text.to_ascii_lowercase();
        ["discarded", "ignored", "not support"].iter().any(|word| text.contains(word))
    };
    let mut told = Vec::new();
    let mut lost = Vec::new();
    for warning in warnings.iter().map(|warning| warning.trim()).filter(|warning| !is_swap(warning)) {
        if dropped(warning) { lost.push(warning.to_owned()) } else { told.push(warning.to_owned()) }
    }
    if lost.is_empty() {
        return Ok(told);
    }
    let mut failure =
        Failure::new(COULD_NOT_RUN, "the engine did not keep all of what the container was to be");
    failure.causes = lost;
    Err(failure
        .hint("ringfence runs nothing with less than was asked for; see what the engine lacks: docker info"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn able() -> SystemInfo {
        SystemInfo {
            memory_limit: Some(true),
            swap_limit: Some(true),
            pids_limit: Some(true),
            cpu_cfs_quota: Some(true),
            security_options: Some(vec!["name=seccomp,profile=default".to_owned()]),
            ..SystemInfo::default()
        }
    }

    #[test]
    fn an_engine_that_cannot_limit_is_refused_and_one_without_swap_limits_is_told_of() {
        let docker = |info: SystemInfo| by_engine(&info, Product::Docker);
        assert_eq!(docker(able()).unwrap(), Vec::<String>::new());
        let failure =
            docker(SystemInfo { pids_limit: Some(false), memory_limit: None, ..able() }).unwrap_err();
        assert_eq!(failure.message, "the engine cannot keep these limits: memory, process");
        let failure = docker(SystemInfo { security_options: None, ..able() }).unwrap_err();
        assert!(failure.message.contains("seccomp"));
        assert_eq!(docker(SystemInfo { swap_limit: Some(false), ..able() }).unwrap().len(), 1);
    }

    #[test]
    fn without_root_only_unified_cgroups_limit() {
        let rootless = |version| SystemInfo {
            cgroup_version: Some(version),
            security_options: Some(vec![
                "name=seccomp,profile=default".to_owned(),
                "name=rootless".to_owned(),
            ]),
            ..able()
        };
        for product in [Product::Docker, Product::Podman] {
            let failure = by_engine(&rootless(SystemInfoCgroupVersionEnum::_1), product).unwrap_err();
            assert!(failure.message.contains("without unified cgroups"), "{failure}");
            assert!(by_engine(&rootless(SystemInfoCgroupVersionEnum::_2), product).is_ok());
        }
    }

    #[test]
    fn an_engine_that_runs_as_a_person_says_so() {
        let of = |options: &[&str]| SystemInfo {
            security_options: Some(options.iter().map(|option| (*option).to_owned()).collect()),
            ..SystemInfo::default()
        };
        assert!(is_rootless(&of(&["name=seccomp,profile=builtin", "name=rootless"])));
        assert!(!is_rootless(&of(&["name=seccomp,profile=rootless", "name=cgroupns"])));
        assert!(!is_rootless(&SystemInfo::default()));
    }

    #[test]
    fn podman_does_not_know_what_it_limits_in_unified_cgroups() {
        let version = |version| SystemInfo {
            cgroup_version: Some(version),
            cpu_cfs_quota: Some(false),
            swap_limit: Some(false),
            ..able()
        };
        let unified = version(SystemInfoCgroupVersionEnum::_2);
        assert_eq!(by_engine(&unified, Product::Podman).unwrap(), Vec::<String>::new());
        assert!(by_engine(&unified, Product::Docker).is_err());
        assert!(by_engine(&version(SystemInfoCgroupVersionEnum::_1), Product::Podman).is_err());
        let memory = SystemInfo { memory_limit: Some(false), ..unified };
        assert!(by_engine(&memory, Product::Podman).is_err());
    }

    #[test]
    fn a_dropped_limit_is_no_warning() {
        // The words of Docker 20.10 to 28.5, and of Podman 5.
        for lost in [
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
            "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
            "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.",
            "Resource limits are not supported and ignored on cgroups V1 rootless systems",
        ] {
            assert!(by_warnings(&[lost.to_owned()]).is_err(), "{lost}");
        }
        let swap = "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.";
        let other = "IPv4 forwarding is disabled. Networking will not work.";
        assert_eq!(by_warnings(&[swap.to_owned(), other.to_owned()]).unwrap(), [other]);
    }
}
