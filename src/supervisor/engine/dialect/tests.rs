//! Engines by their answers, without an engine.

use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum, SystemVersion};
use serde_json::json;

use super::examples::{NAMES, answers, example};
use super::{Annotations, ApiVersion, Component, Dialect, Sharing};

/// An engine that says no more than which API it speaks.
fn silent() -> (SystemVersion, SystemInfo) {
    let version = json!({"ApiVersion": "1.45", "MinAPIVersion": "1.24"});
    (serde_json::from_value(version).unwrap(), SystemInfo::default())
}

#[test]
fn the_whole_dialect_of_each_engine() {
    for name in NAMES {
        insta::assert_debug_snapshot!(name.replace([' ', ',', '.'], "_").to_lowercase(), example(name));
    }
    let (version, info) = silent();
    insta::assert_debug_snapshot!("one_that_says_nothing", Dialect::of(&version, &info).unwrap());
}

#[test]
fn engines_that_may_run_an_agent() {
    for (name, refused) in [
        ("Docker 20.10", None),
        ("Docker 26.1", None),
        ("Docker 28.5", None),
        ("Docker 26.1, rootless", None),
        ("Docker 20.10, userns-remap", None),
        ("Podman 4.3", Some("Podman 4.3.1 lets an image's annotations")),
        ("Podman 4.3, rootless", Some("Podman 4.3.1 lets an image's annotations")),
        ("Podman 4.9", None),
        ("Podman 4.9, rootless", None),
        ("Podman 5.4", None),
        ("Podman 5.4, rootless", None),
    ] {
        let checked = example(name).check();
        match refused {
            None => assert_eq!(checked.unwrap(), Vec::<String>::new(), "{name}"),
            Some(why) => assert!(checked.unwrap_err().message.starts_with(why), "{name}"),
        }
    }
}

#[test]
fn an_agents_container_is_kept_where_its_fence_can_go() {
    assert!(example("Docker 20.10").check_keeps_agent().is_ok());
    let refused = example("Podman 5.4").check_keeps_agent().unwrap_err();
    assert!(refused.message.starts_with("--keep: Podman 5.4.2 removes no fence"), "{}", refused.message);
}

#[test]
fn an_engine_without_a_readable_api_gets_no_dialect() {
    for (api, lowest, why) in [
        (None, None, "does not say which API"),
        (Some(""), None, "no version"),
        (Some("x"), None, "no version"),
        (Some("1"), None, "no version"),
        (Some("1.45\u{1b}[2J"), None, "`1.45\\u{1b}[2J`"),
        (Some("-1.45"), None, "no version"),
        (Some("1.99999999999999999999"), None, "no version"),
        (Some("1.40"), Some("1.12"), "it speaks API 1.40, 1.41 (Docker 20.10) is the lowest that will do"),
        (Some("1.45"), Some("1.x"), "no version"),
        (Some("1.45"), Some("1.46"), "1.46 at least and 1.45 at most"),
    ] {
        let version = SystemVersion {
            api_version: api.map(str::to_owned),
            min_api_version: lowest.map(str::to_owned),
            ..SystemVersion::default()
        };
        let refused = Dialect::of(&version, &answers("Docker 28.5").1).unwrap_err();
        assert!(refused.contains(why), "{api:?} {lowest:?}: {refused}");
    }
}

#[test]
fn a_range_of_apis_is_as_wide_as_ringfence_can_use_it() {
    let version = |minor| ApiVersion { major: 1, minor };
    let range = |api: &str, lowest: Option<&str>| {
        let version = json!({"ApiVersion": api, "MinAPIVersion": lowest});
        Dialect::of(&serde_json::from_value(version).unwrap(), &SystemInfo::default()).unwrap().api
    };
    let old = range("1.41", Some("1.12"));
    assert_eq!((old.lowest, old.highest), (version(41), version(41)));
    let new = range("1.52", Some("1.44"));
    assert_eq!((new.lowest, new.highest), (version(44), version(52)));
    assert!(new.has(version(44)) && new.has(version(52)) && !new.has(version(43)) && !new.has(version(53)));
    assert_eq!(range("1.45", None).lowest, version(41), "one that names no lowest version");
    assert_eq!(range("1.45", Some("")).lowest, version(41));
}

#[test]
fn an_engine_that_says_nothing_runs_no_agent() {
    let (version, info) = silent();
    let dialect = Dialect::of(&version, &info).unwrap();
    let failure = dialect.check().unwrap_err();
    assert_eq!(failure.message, "the engine cannot keep these limits: memory, process, CPU");
    // A name alone makes no Podman that can be trusted.
    let version = SystemVersion { components: answers("Podman 5.4").0.components, ..version };
    let dialect = Dialect::of(&version, &info).unwrap();
    assert_eq!((dialect.annotations, dialect.shares_binds), (Annotations::PassedOn, Sharing::Never));
    assert!(dialect.check().is_err());
}

fn able() -> SystemInfo {
    answers("Docker 20.10").1
}

fn docker(info: SystemInfo) -> Dialect {
    Dialect::of(&answers("Docker 20.10").0, &info).unwrap()
}

fn podman(info: SystemInfo) -> Dialect {
    Dialect::of(&answers("Podman 5.4").0, &info).unwrap()
}

#[test]
fn an_engine_that_cannot_limit_is_refused_and_one_without_swap_limits_is_told_of() {
    assert_eq!(docker(able()).check().unwrap(), Vec::<String>::new());
    let lacking = SystemInfo { pids_limit: Some(false), memory_limit: None, ..able() };
    let failure = docker(lacking).check().unwrap_err();
    assert_eq!(failure.message, "the engine cannot keep these limits: memory, process");
    let failure = docker(SystemInfo { security_options: None, ..able() }).check().unwrap_err();
    assert!(failure.message.contains("seccomp"));
    assert_eq!(docker(SystemInfo { swap_limit: Some(false), ..able() }).check().unwrap().len(), 1);
}

#[test]
fn without_root_only_unified_cgroups_limit() {
    for name in ["Docker 26.1, rootless", "Podman 5.4, rootless"] {
        let (version, info) = answers(name);
        let with = |cgroup_version| {
            let limits = SystemInfo { swap_limit: Some(true), cpu_cfs_quota: Some(true), ..info.clone() };
            Dialect::of(&version, &SystemInfo { cgroup_version, ..limits }).unwrap().check()
        };
        for older in [Some(SystemInfoCgroupVersionEnum::_1), None] {
            let failure = with(older).unwrap_err();
            assert!(failure.message.contains("without unified cgroups"), "{failure}");
        }
        assert!(with(Some(SystemInfoCgroupVersionEnum::_2)).is_ok());
    }
}

#[test]
fn an_engine_that_runs_as_a_person_says_so() {
    let of = |options: &[&str]| {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        docker(SystemInfo { security_options: Some(options), ..SystemInfo::default() })
    };
    assert!(of(&["name=seccomp,profile=builtin", "name=rootless"]).rootless);
    assert!(!of(&["name=seccomp,profile=rootless", "name=cgroupns"]).rootless);
    assert!(!of(&[]).rootless);
    assert!(of(&["name=userns"]).remaps_users && !of(&["name=seccomp,profile=userns"]).remaps_users);
    assert_eq!(of(&["name=seccomp,profile=unconfined"]).default_profile, None);
    assert!(of(&["name=selinux"]).labels_files && !of(&["name=apparmor"]).labels_files);
}

#[test]
fn podman_does_not_know_what_it_limits_in_unified_cgroups() {
    let version = |cgroups| SystemInfo {
        cgroup_version: Some(cgroups),
        cpu_cfs_quota: Some(false),
        swap_limit: Some(false),
        ..able()
    };
    let unified = version(SystemInfoCgroupVersionEnum::_2);
    assert_eq!(podman(unified.clone()).check().unwrap(), Vec::<String>::new());
    assert!(docker(unified.clone()).check().is_err());
    assert!(podman(version(SystemInfoCgroupVersionEnum::_1)).check().is_err());
    assert!(podman(SystemInfo { memory_limit: Some(false), ..unified }).check().is_err());
}

/// The dialect of a Podman of this version.
fn podman_of(version: Option<&str>) -> Dialect {
    let (about, info) = answers("Podman 5.4");
    Dialect::of(&SystemVersion { version: version.map(str::to_owned), ..about }, &info).unwrap()
}

#[test]
fn a_podman_that_believes_an_images_annotations_is_refused() {
    for (version, expected) in [
        (Some("3.4.4"), false),
        (Some("4.3.1"), false),
        (Some("4.5.1"), false),
        (Some(""), false),
        (None, false),
        (Some("4"), false),
        (Some("4.x"), false),
        (Some("99999999999.9"), false),
        (Some("4.6.0"), true),
        (Some("4.9.3"), true),
        (Some("5.4.2"), true),
        (Some("6.0.0-dev"), true),
    ] {
        let dialect = podman_of(version);
        assert_eq!(dialect.annotations == Annotations::KeptBack, expected, "{version:?}");
        assert_eq!(dialect.check().is_ok(), expected, "{version:?}");
    }
}

#[test]
fn an_engine_that_may_change_a_directorys_owner_gets_no_volume_of_it() {
    for (name, expected) in [
        ("Docker 20.10", Sharing::Volume),
        ("Docker 26.1, rootless", Sharing::Volume),
        ("Podman 5.4", Sharing::OwnedVolume),
        ("Podman 5.4, rootless", Sharing::Never),
        ("Podman 4.9", Sharing::Never),
    ] {
        assert_eq!(example(name).shares_binds, expected, "{name}");
    }
    assert_eq!(podman_of(Some("")).shares_binds, Sharing::Never);
}

#[test]
fn podmans_parts_are_told_as_the_list_names_them() {
    let parts = |runtime: &str, said: &str, package: &str| -> Vec<Component> {
        let version = json!({"ApiVersion": "1.41", "Components": [
            {"Name": "Podman Engine", "Version": "5.4.2", "Details": {"GitCommit": ""}},
            {"Name": "Conmon", "Version": "conmon version 2.1.12, commit: unknown", "Details": {"Package": "Unknown"}},
            {"Name": runtime, "Version": said, "Details": {"Package": package}},
            {"Name": "Engine", "Version": "5.4.2", "Details": {}},
        ]});
        told(json!({"KernelVersion": "6.12.0"}), version).components
    };
    let part = |name: &str, version: &str, commit: &str| Component {
        name: name.to_owned(),
        version: version.to_owned(),
        commit: commit.to_owned(),
    };
    let found = parts("OCI Runtime (runc)", "runc version 1.1.11\ncommit: 4bccb38c\nspec: 1.0.2", "Unknown");
    let rest = [part("podman", "5.4.2", ""), part("conmon", "2.1.12", ""), part("linux", "6.12.0", "")];
    assert_eq!(found[..2], rest[..2]);
    assert_eq!(found[2..], [part("runc", "1.1.11", ""), rest[2].clone()], "Podman is no Docker Engine");
    let found = parts("OCI Runtime (crun)", "crun version 1.20\ncommit: 9f3", "crun-1.20-2.fc41.x86_64");
    assert_eq!(found[2], part("crun", "1.20", "crun-1.20-2.fc41.x86_64"));
}

fn told(info: serde_json::Value, mut version: serde_json::Value) -> Dialect {
    version["ApiVersion"] = json!("1.45");
    Dialect::of(&serde_json::from_value(version).unwrap(), &serde_json::from_value(info).unwrap()).unwrap()
}

#[test]
fn distributions_are_known_by_their_marks() {
    for (platform, name, system, podman, expected) in [
        ("Docker Desktop 4.34.2 (167172)", "docker-desktop", "Docker Desktop", false, "Docker Desktop"),
        ("Docker Engine - Community", "colima", "Ubuntu 24.04", false, "Colima"),
        ("", "orbstack", "OrbStack", false, "OrbStack"),
        ("", "lima-rancher-desktop", "Rancher Desktop WSL Distribution", false, "Rancher Desktop"),
        ("linux/arm64/fedora-41", "localhost", "Fedora CoreOS", true, "Podman machine"),
        ("linux/amd64/debian-13", "laptop", "debian", true, "Podman"),
        ("Docker Engine - Community", "laptop", "Ubuntu 24.04", false, "Docker Engine - Community"),
        ("", "laptop", "Debian GNU/Linux 12", false, "Docker Engine"),
    ] {
        let engine = if podman { "Podman Engine" } else { "Engine" };
        let info = json!({"Name": name, "OperatingSystem": system});
        let version =
            json!({"Platform": {"Name": platform}, "Components": [{"Name": engine, "Version": "1.2"}]});
        assert_eq!(told(info, version).distribution, expected);
    }
    let desktop = told(
        json!({"SecurityOptions": ["name=seccomp,profile=unconfined", "name=rootless"]}),
        json!({"Platform": {"Name": "Docker Desktop 4.34.2 (167172)"}, "Components": []}),
    );
    assert_eq!(desktop.components[0].version, "4.34.2");
    assert_eq!((desktop.default_profile, desktop.rootless), (None, true));
}
