//! Engines that a run is refused on, before anything is created.

use super::Dialect;
use super::differences::{Annotations, Cgroups, NetworkOwner};
use crate::term::{COULD_NOT_RUN, Failure};

impl Dialect {
    /// Refuses an engine that cannot confine an agent as ringfence asks; what a person is to be
    /// told besides.
    ///
    /// # Errors
    /// When an image could change its confinement, a limit is not kept, or system calls are not
    /// filtered.
    pub(crate) fn check(&self) -> Result<Vec<String>, Failure> {
        self.check_annotations()?;
        self.check_limits()?;
        if !self.filters_system_calls {
            let what = "the engine cannot filter the agent's system calls (seccomp)";
            return Err(Failure::new(COULD_NOT_RUN, what)
                .hint("use an engine whose kernel and build have seccomp; `docker info` lists it under Security Options"));
        }
        let swap = (!self.limits.swap).then(|| {
            "the engine cannot limit swap: beyond its memory limit the agent may use the machine's swap"
                .to_owned()
        });
        Ok(swap.into_iter().collect())
    }

    /// Refuses to keep an agent's container where the fence would have to stay with it.
    ///
    /// # Errors
    /// When the engine removes no container whose network another one is in.
    pub(crate) fn check_keeps_agent(&self) -> Result<(), Failure> {
        if self.network_owner == NetworkOwner::GoesAlone {
            return Ok(());
        }
        let what = format!("--keep: {} removes no fence while the agent's container is there", self.title);
        Err(Failure::new(COULD_NOT_RUN, what)
            .hint("use Docker, or have the agent leave what you want to see in the project or in a --home"))
    }

    fn check_annotations(&self) -> Result<(), Failure> {
        if self.annotations == Annotations::KeptBack {
            return Ok(());
        }
        let what = format!(
            "{} lets an image's annotations change how the OCI runtime confines the agent",
            self.title
        );
        Err(Failure::new(COULD_NOT_RUN, what).hint("use Podman 4.6 or later, or Docker"))
    }

    fn check_limits(&self) -> Result<(), Failure> {
        let kept = [("memory", self.limits.memory), ("process", self.limits.pids), ("CPU", self.limits.cpu)];
        let lacking: Vec<&str> = kept.into_iter().filter(|(_, kept)| !kept).map(|(name, _)| name).collect();
        if !lacking.is_empty() {
            let limits = lacking.join(", ");
            return Err(Failure::new(COULD_NOT_RUN, format!("the engine cannot keep these limits: {limits}"))
                .hint("a rootless engine needs cgroup v2 and systemd's delegation of cpu, memory and pids to your user; \
                       `docker info` (or `podman info`) shows its own warnings"));
        }
        // Podman's says what the kernel could limit, not what its user may.
        if self.rootless && self.cgroups == Cgroups::Older {
            let what = "the engine runs without root and without unified cgroups, so it keeps no limit";
            return Err(Failure::new(COULD_NOT_RUN, what)
                .hint("boot with unified cgroups (cgroup v2), or use an engine that runs as root"));
        }
        Ok(())
    }
}
