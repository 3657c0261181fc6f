//! Answers of an engine, and the reading of single words in them.

use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum, SystemVersion};

use super::differences::{Cgroups, Confinement, Limits};

/// An engine's answers to `/version` and `/info`.
pub(super) struct Answers<'a> {
    pub(super) version: &'a SystemVersion,
    pub(super) info: &'a SystemInfo,
}

impl Answers<'_> {
    /// Returns the name of what the engine is part of, which Docker tells; Podman tells its
    /// machine's kind here.
    pub(super) fn platform(&self) -> &str {
        self.version.platform.as_ref().map(|platform| platform.name.as_str()).unwrap_or_default()
    }

    /// Tells whether a part of the engine has a name with this word in it.
    pub(super) fn has_part(&self, word: &str) -> bool {
        self.version.components.iter().flatten().any(|part| part.name.contains(word))
    }

    /// Returns the version's first two numbers; none where there is none that can be read.
    pub(super) fn numbers(&self) -> (Option<u32>, Option<u32>) {
        let mut parts = self.version.version.as_deref().unwrap_or_default().split('.');
        let mut next = || parts.next().and_then(|part| part.parse().ok());
        (next(), next())
    }

    /// Tells whether the engine lists a security option of this name.
    pub(super) fn has_option(&self, name: &str) -> bool {
        let is_it = |word: &str| word.strip_prefix("name=") == Some(name);
        self.options().any(|option| option.split(',').any(is_it))
    }

    /// Tells whether a security option has this word anywhere: for what is to be seen rather too
    /// often.
    pub(super) fn mentions(&self, word: &str) -> bool {
        self.options().any(|option| option.contains(word))
    }

    /// Returns the filter of system calls that containers get unasked.
    pub(super) fn default_profile(&self) -> Option<String> {
        let option = self.options().find(|option| option.starts_with("name=seccomp"))?;
        let profile = option.split_once("profile=").map_or("default", |(_, profile)| profile);
        (profile != "unconfined").then(|| profile.to_owned())
    }

    /// Returns the security module that confines containers.
    pub(super) fn confinement(&self) -> Option<Confinement> {
        let known = [("apparmor", Confinement::AppArmor), ("selinux", Confinement::SeLinux)];
        known.into_iter().find(|(name, _)| self.has_option(name)).map(|(_, found)| found)
    }

    /// Returns the control groups; all but a clear word for unified ones counts as the older kind.
    pub(super) fn cgroups(&self) -> Cgroups {
        match self.info.cgroup_version {
            Some(SystemInfoCgroupVersionEnum::_2) => Cgroups::Unified,
            _ => Cgroups::Older,
        }
    }

    /// Returns the limits that the engine reports; a missing field counts as unsupported.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            memory: self.info.memory_limit == Some(true),
            swap: self.info.swap_limit == Some(true),
            cpu: self.info.cpu_cfs_quota == Some(true),
            pids: self.info.pids_limit == Some(true),
        }
    }

    fn options(&self) -> impl Iterator<Item = &str> {
        self.info.security_options.iter().flatten().map(String::as_str)
    }
}
