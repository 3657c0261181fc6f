//! The engines that are known: one constructor each.

use super::Dialect;
use super::answers::Answers;
use super::api::ApiRange;
use super::described::{Title, components, distribution, is_podman_machine};
use super::differences::{
    Annotations, Cgroups, CredentialFiles, HelperImage, HostNames, Hostname, Limits, LimitsShown,
    NetworkOwner, ReadOnlyPaths, RemovesVariable, Sharing, TakesProfile, TakesRuntime, UnstartableCommand,
};

/// The first version of Podman that keeps an image's annotations from the OCI runtime.
const WITHOUT_ANNOTATIONS: (u32, u32) = (4, 6);
/// The first version of Podman whose volumes of directories were looked at.
const WITH_VOLUMES: u32 = 5;

/// Recognises every engine: what is nothing else is held to be dockerd, wherever it lives, and has
/// to prove itself like it.
pub(super) fn is_anything(_: &Answers) -> bool {
    true
}

/// Describes Docker.
pub(super) fn docker(answers: &Answers, api: ApiRange) -> Dialect {
    let platform = answers.platform();
    Dialect {
        title: Title::new(if platform.is_empty() { "Docker" } else { platform }, answers),
        distribution: distribution(answers, if platform.is_empty() { "Docker Engine" } else { platform }),
        components: components(answers),
        api,
        rootless: answers.has_option("rootless"),
        remaps_users: answers.has_option("userns"),
        cgroups: answers.cgroups(),
        limits: answers.limits(),
        limits_shown: LimitsShown::ByWarnings,
        annotations: Annotations::KeptBack,
        filters_system_calls: answers.mentions("seccomp"),
        default_profile: answers.default_profile(),
        takes_profile: TakesProfile::Inline,
        confinement: answers.confinement(),
        labels_files: answers.mentions("selinux"),
        serves: !answers.has_option("rootless") && !answers.has_option("userns"),
        takes_runtime: TakesRuntime::ByName,
        shares_binds: Sharing::Volume,
        host_names: HostNames::OnRequest,
        hostname: Hostname::SharedWithFence,
        network_owner: NetworkOwner::GoesAlone,
        container_mark: None,
        empty_memory: None,
        read_only_paths: ReadOnlyPaths::Kept,
        removes_variable: RemovesVariable::NameAlone,
        helper_image: HelperImage::ByName,
        credentials: CredentialFiles::Docker,
        unstartable_command: UnstartableCommand::HasOwnStatus,
        process_columns: None,
    }
}

/// Recognises Podman's service by the name of one of its parts.
pub(super) fn is_podman(answers: &Answers) -> bool {
    answers.has_part("Podman")
}

/// Describes Podman.
pub(super) fn podman(answers: &Answers, api: ApiRange) -> Dialect {
    let rootless = answers.has_option("rootless");
    let (major, minor) = answers.numbers();
    let keeps_back = major.zip(minor).is_some_and(|version| version >= WITHOUT_ANNOTATIONS);
    let shares = !rootless && major.is_some_and(|major| major >= WITH_VOLUMES);
    let cgroups = answers.cgroups();
    let said = answers.limits();
    // It denies what it keeps in unified control groups: see `LimitsShown`.
    let denies = cgroups == Cgroups::Unified;
    Dialect {
        // Podman puts the machine's kind where Docker has the name.
        title: Title::new("Podman", answers),
        distribution: distribution(
            answers,
            if is_podman_machine(answers) { "Podman machine" } else { "Podman" },
        ),
        components: components(answers),
        api,
        rootless,
        remaps_users: false,
        cgroups,
        limits: Limits { swap: denies || said.swap, cpu: denies || said.cpu, ..said },
        limits_shown: LimitsShown::FromWithin,
        annotations: if keeps_back { Annotations::KeptBack } else { Annotations::PassedOn },
        filters_system_calls: answers.mentions("seccomp"),
        default_profile: answers.default_profile(),
        takes_profile: TakesProfile::ByPathInVolume,
        confinement: answers.confinement(),
        labels_files: answers.mentions("selinux"),
        serves: false,
        takes_runtime: TakesRuntime::No,
        shares_binds: if shares { Sharing::OwnedVolume } else { Sharing::Never },
        host_names: HostNames::Always,
        hostname: Hostname::OfEachContainer,
        network_owner: NetworkOwner::GoesLast,
        container_mark: Some("/run/.containerenv"),
        empty_memory: Some("notmpcopyup"),
        read_only_paths: ReadOnlyPaths::NotAsked,
        removes_variable: RemovesVariable::EmptyValue,
        helper_image: HelperImage::ByHashOfConfiguration,
        credentials: CredentialFiles::Containers,
        unstartable_command: UnstartableCommand::IsToldInWords,
        process_columns: Some("pid,args"),
    }
}
