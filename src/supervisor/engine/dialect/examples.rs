//! Answers of engines, shortened to the words that a dialect is made of.
//!
//! The answers have the form of the engines that docs/engines.md names as seen. Podman 4.3 and 4.9,
//! and an engine with `userns-remap`, are written after them.

use bollard::models::{SystemInfo, SystemVersion};
use serde_json::{Value, json};

use super::Dialect;

/// The engines, by the names that [`example`] knows.
pub(super) const NAMES: [&str; 11] = [
    "Docker 20.10",
    "Docker 26.1",
    "Docker 28.5",
    "Docker 26.1, rootless",
    "Docker 20.10, userns-remap",
    "Podman 4.3",
    "Podman 4.3, rootless",
    "Podman 4.9",
    "Podman 4.9, rootless",
    "Podman 5.4",
    "Podman 5.4, rootless",
];

/// Returns the dialect of an engine.
pub(crate) fn example(name: &str) -> Dialect {
    let (version, info) = answers(name);
    Dialect::of(&version, &info).unwrap()
}

/// Returns an engine's answers to `/version` and `/info`.
pub(super) fn answers(name: &str) -> (SystemVersion, SystemInfo) {
    let (engine, kind) = name.split_once(", ").unwrap_or((name, ""));
    let version = match engine {
        "Docker 20.10" => docker("20.10.24+dfsg1", "1.41", "1.12"),
        "Docker 26.1" => docker("26.1.5+dfsg1", "1.45", "1.24"),
        "Docker 28.5" => docker("28.5.2+dfsg4", "1.51", "1.24"),
        "Podman 4.3" => podman("4.3.1"),
        "Podman 4.9" => podman("4.9.3"),
        "Podman 5.4" => podman("5.4.2"),
        other => panic!("no engine {other}"),
    };
    let mut info = match engine {
        "Docker 20.10" => info(
            "Debian GNU/Linux 12 (bookworm)",
            "6.1.0-18-amd64",
            "2",
            &["name=apparmor", "name=seccomp,profile=default", "name=cgroupns"],
        ),
        "Docker 26.1" | "Docker 28.5" => info(
            "Debian GNU/Linux 13 (trixie)",
            "6.12.0",
            "2",
            &["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"],
        ),
        _ => info("debian", "6.12.0", "2", &["name=apparmor", "name=seccomp,profile=default"]),
    };
    // Podman denies both in unified control groups, and keeps them.
    if engine.starts_with("Podman") {
        (info["SwapLimit"], info["CpuCfsQuota"]) = (json!(false), json!(false));
    }
    let mut add = |option: &str| info["SecurityOptions"].as_array_mut().unwrap().push(json!(option));
    match kind {
        "rootless" => add("name=rootless"),
        "userns-remap" => add("name=userns"),
        _ => {}
    }
    (serde_json::from_value(version).unwrap(), serde_json::from_value(info).unwrap())
}

fn docker(version: &str, api: &str, lowest: &str) -> Value {
    json!({
        "Platform": {"Name": ""}, "Version": version, "ApiVersion": api, "MinAPIVersion": lowest,
        "Arch": "amd64", "Os": "linux", "Components": [
            {"Name": "Engine", "Version": version, "Details": {"ApiVersion": api, "GitCommit": "5d6db84"}},
            {"Name": "containerd", "Version": "1.7.24~ds1", "Details": {"GitCommit": "1.7.24~ds1-6+b4"}},
            {"Name": "runc", "Version": "1.1.15+ds1", "Details": {"GitCommit": "1.1.15+ds1-2+b4"}},
            {"Name": "docker-init", "Version": "0.19.0", "Details": {"GitCommit": ""}},
        ],
    })
}

fn podman(version: &str) -> Value {
    json!({
        "Platform": {"Name": "linux/amd64/debian-13"}, "Version": version, "ApiVersion": "1.41", "MinAPIVersion": "1.24",
        "Arch": "amd64", "Os": "linux", "Components": [
            {"Name": "Podman Engine", "Version": version, "Details": {"APIVersion": version, "GitCommit": ""}},
            {"Name": "Conmon", "Version": "conmon version 2.1.12, commit: unknown", "Details": {"Package": "Unknown"}},
            {"Name": "OCI Runtime (crun)", "Version": "crun version 1.20\ncommit: 9f3", "Details": {"Package": "crun_1.20-1"}},
            {"Name": "Engine", "Version": version, "Details": {"APIVersion": "1.41"}},
        ],
    })
}

fn info(system: &str, kernel: &str, cgroups: &str, options: &[&str]) -> Value {
    json!({
        "Name": "laptop", "OperatingSystem": system, "KernelVersion": kernel, "CgroupVersion": cgroups,
        "MemoryLimit": true, "SwapLimit": true, "CpuCfsQuota": true, "PidsLimit": true, "SecurityOptions": options,
    })
}
