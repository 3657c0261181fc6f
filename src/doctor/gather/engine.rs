//! What the engine says of itself: `info` and `version`.

use bollard::models::{SystemInfo, SystemVersion};

use crate::doctor::facts::{Component, Engine as Facts, Learned};
use crate::supervisor::engine::abilities::{self, Limits};
use crate::supervisor::engine::{self, Engine};

/// How Podman calls itself.
const PODMAN: &str = "Podman Engine";

/// Asks it.
pub async fn ask(engine: &Engine) -> Learned<Facts> {
    let (info, version) = tokio::join!(engine.api.info(), engine.api.version());
    let info =
        info.map_err(|error| format!("the engine says nothing of itself: {}", engine::describe(&error)))?;
    let version = version
        .map_err(|error| format!("the engine does not tell its version: {}", engine::describe(&error)))?;
    let limits = abilities::said(&info, engine.product);
    Ok(facts(&engine.host, engine.local, limits, info, version))
}

fn facts(host: &str, local: bool, limits: Limits, info: SystemInfo, version: SystemVersion) -> Facts {
    let options = info.security_options.unwrap_or_default();
    let has = |name: &str| {
        options.iter().any(|option| option.split(',').any(|part| part == format!("name={name}")))
    };
    let seccomp = options
        .iter()
        .find(|option| option.starts_with("name=seccomp"))
        .map(|option| option.split_once("profile=").map_or("default", |(_, profile)| profile).to_owned());
    let system = info.operating_system.unwrap_or_default();
    let name = info.name.unwrap_or_default();
    let kernel = info.kernel_version.unwrap_or_default();
    let platform = version.platform.map(|platform| platform.name).unwrap_or_default();
    let backing = info.driver_status.unwrap_or_default().into_iter().find_map(|pair| match pair.as_slice() {
        [key, value] if key == "Backing Filesystem" => Some(value.clone()),
        _ => None,
    });
    let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
    runtimes.sort();
    let mut components = components(version.components.unwrap_or_default());
    if let Some(version) = platform.strip_prefix("Docker Desktop ") {
        let version = version.split(' ').next().unwrap_or_default().to_owned();
        components.push(Component { name: "desktop".to_owned(), version, commit: String::new() });
    }
    components.push(Component { name: "linux".to_owned(), version: kernel.clone(), commit: String::new() });
    let podman = components.iter().any(|component| component.name == "podman");
    Facts {
        host: host.to_owned(),
        local,
        product: product(&platform, &name, &system, podman),
        name,
        system,
        kernel,
        rootless: has("rootless"),
        user_namespaces: has("userns"),
        seccomp: seccomp.filter(|profile| profile != "unconfined"),
        confinement: ["apparmor", "selinux"].into_iter().find(|name| has(name)).map(str::to_owned),
        runtimes,
        default_runtime: info.default_runtime.unwrap_or_default(),
        limits,
        storage: (info.driver.unwrap_or_default(), backing),
        warnings: info.warnings.unwrap_or_default(),
        components,
    }
}

/// The names that the list of known holes uses. Podman is an `Engine` to Docker's clients besides,
/// and tells its other parts in the words that they print: `OCI Runtime (runc)` is of version `runc
/// version 1.1.15`, and more lines.
fn components(told: Vec<bollard::models::SystemVersionComponents>) -> Vec<Component> {
    let podman = told.iter().any(|part| part.name == PODMAN);
    let known = |told: bollard::models::SystemVersionComponents| {
        let runtime = told.name.strip_prefix("OCI Runtime (").and_then(|name| name.strip_suffix(')'));
        let name = match told.name.as_str() {
            "Engine" if podman => return None,
            "Engine" => "engine".to_owned(),
            PODMAN => "podman".to_owned(),
            other => runtime.unwrap_or(other).to_ascii_lowercase(),
        };
        let version = match told.version.split_once(" version ") {
            Some((_, number)) => number.split([',', ' ', '\n']).next().unwrap_or_default().to_owned(),
            None => told.version,
        };
        // Without a commit, the package says whose build it is.
        let details = told.details.unwrap_or_default();
        let told = |key| details.get(key).filter(|text| !text.eq_ignore_ascii_case("unknown")).cloned();
        let commit = told("GitCommit").or_else(|| told("Package")).unwrap_or_default();
        Some(Component { name, version, commit })
    };
    told.into_iter().filter_map(known).collect()
}

/// The product that the engine is part of, by the marks that it leaves.
fn product(platform: &str, name: &str, system: &str, podman: bool) -> String {
    let marks = [
        ("Docker Desktop", platform.starts_with("Docker Desktop") || system.contains("Docker Desktop")),
        ("OrbStack", system.contains("OrbStack") || name == "orbstack"),
        ("Colima", name.starts_with("colima")),
        ("Rancher Desktop", system.contains("Rancher Desktop") || name.starts_with("lima-rancher-desktop")),
        ("Podman machine", podman && (system.contains("CoreOS") || name.starts_with("podman-machine"))),
        ("Podman", podman),
    ];
    let found = marks.into_iter().find(|(_, there)| *there).map(|(product, _)| product);
    found.map_or_else(
        || if platform.is_empty() { "Docker Engine" } else { platform }.to_owned(),
        str::to_owned,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(info: serde_json::Value, version: serde_json::Value) -> Facts {
        facts(
            "unix:///s",
            true,
            Limits::default(),
            serde_json::from_value(info).unwrap(),
            serde_json::from_value(version).unwrap(),
        )
    }

    #[test]
    fn what_debians_docker_says_is_understood() {
        let facts = told(
            serde_json::json!({
                "OperatingSystem": "Debian GNU/Linux 12 (bookworm)", "KernelVersion": "6.1.0-18-amd64", "Name": "laptop",
                "SecurityOptions": ["name=apparmor", "name=seccomp,profile=default", "name=cgroupns"],
                "DriverStatus": [["Backing Filesystem", "extfs"]], "Driver": "overlay2", "MemoryLimit": true,
                "Runtimes": {"runc": {"path": "runc"}, "runsc": {"path": "runsc"}}, "DefaultRuntime": "runc",
            }),
            serde_json::json!({"Platform": {"Name": ""}, "Components": [
                {"Name": "Engine", "Version": "20.10.24+dfsg1", "Details": {"GitCommit": "5d6db84"}},
                {"Name": "runc", "Version": "1.1.5+ds1", "Details": {"GitCommit": "1.1.5+ds1-1+deb12u1"}},
            ]}),
        );
        assert_eq!((facts.product.as_str(), facts.local, facts.rootless), ("Docker Engine", true, false));
        assert_eq!(
            (facts.seccomp.as_deref(), facts.confinement.as_deref()),
            (Some("default"), Some("apparmor"))
        );
        assert_eq!(facts.storage, ("overlay2".to_owned(), Some("extfs".to_owned())));
        let names: Vec<_> = facts.components.iter().map(|c| format!("{} {}", c.name, c.version)).collect();
        assert_eq!(names, ["engine 20.10.24+dfsg1", "runc 1.1.5+ds1", "linux 6.1.0-18-amd64"]);
    }

    #[test]
    fn podmans_parts_are_told_as_the_list_names_them() {
        let parts = |runtime: &str, said: &str, package: &str| -> Vec<Component> {
            let version = serde_json::json!({"Components": [
                {"Name": "Podman Engine", "Version": "5.4.2", "Details": {"GitCommit": ""}},
                {"Name": "Conmon", "Version": "conmon version 2.1.12, commit: unknown", "Details": {"Package": "Unknown"}},
                {"Name": runtime, "Version": said, "Details": {"Package": package}},
                {"Name": "Engine", "Version": "5.4.2", "Details": {}},
            ]});
            told(serde_json::json!({"KernelVersion": "6.12.0"}), version).components
        };
        let part = |name: &str, version: &str, commit: &str| Component {
            name: name.to_owned(),
            version: version.to_owned(),
            commit: commit.to_owned(),
        };
        let found =
            parts("OCI Runtime (runc)", "runc version 1.1.11\ncommit: 4bccb38c\nspec: 1.0.2", "Unknown");
        let rest = [part("podman", "5.4.2", ""), part("conmon", "2.1.12", ""), part("linux", "6.12.0", "")];
        assert_eq!(found[..2], rest[..2]);
        assert_eq!(found[2..], [part("runc", "1.1.11", ""), rest[2].clone()], "Podman is no Docker Engine");
        let found = parts("OCI Runtime (crun)", "crun version 1.20\ncommit: 9f3", "crun-1.20-2.fc41.x86_64");
        assert_eq!(found[2], part("crun", "1.20", "crun-1.20-2.fc41.x86_64"));
    }

    #[test]
    fn products_are_known_by_their_marks() {
        for (platform, name, system, podman, expected) in [
            ("Docker Desktop 4.34.2 (167172)", "docker-desktop", "Docker Desktop", false, "Docker Desktop"),
            ("Docker Engine - Community", "colima", "Ubuntu 24.04", false, "Colima"),
            ("", "orbstack", "OrbStack", false, "OrbStack"),
            ("", "lima-rancher-desktop", "Rancher Desktop WSL Distribution", false, "Rancher Desktop"),
            ("linux/arm64/fedora-41", "localhost", "Fedora CoreOS", true, "Podman machine"),
            ("linux/amd64/debian-13", "laptop", "debian", true, "Podman"),
            ("Docker Engine - Community", "laptop", "Ubuntu 24.04", false, "Docker Engine - Community"),
        ] {
            assert_eq!(product(platform, name, system, podman), expected);
        }
        let desktop = told(
            serde_json::json!({"SecurityOptions": ["name=seccomp,profile=unconfined", "name=rootless"]}),
            serde_json::json!({"Platform": {"Name": "Docker Desktop 4.34.2 (167172)"}, "Components": []}),
        );
        assert_eq!(desktop.components[0].version, "4.34.2");
        assert_eq!((desktop.seccomp, desktop.rootless), (None, true));
    }
}
