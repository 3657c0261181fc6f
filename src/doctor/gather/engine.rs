//! What the engine says of itself: `info` and `version`.

use bollard::models::{SystemInfo, SystemVersion};

use crate::doctor::facts::{Component, Engine as Facts, Learned};
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::kept::{self, Limits};

/// Asks it.
pub async fn ask(engine: &Engine) -> Learned<Facts> {
    let (info, version) = tokio::join!(engine.api.info(), engine.api.version());
    let info =
        info.map_err(|error| format!("the engine says nothing of itself: {}", engine::describe(&error)))?;
    let version = version
        .map_err(|error| format!("the engine does not tell its version: {}", engine::describe(&error)))?;
    let limits = kept::said(&info, engine.product);
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

/// The names that the list of known holes uses.
fn components(told: Vec<bollard::models::SystemVersionComponents>) -> Vec<Component> {
    let known = |told: bollard::models::SystemVersionComponents| {
        let name = match told.name.as_str() {
            "Engine" => "engine".to_owned(),
            "Podman Engine" => "podman".to_owned(),
            other => other.to_ascii_lowercase(),
        };
        let commit = told.details.and_then(|details| details.get("GitCommit").cloned()).unwrap_or_default();
        Component { name, version: told.version, commit }
    };
    told.into_iter().map(known).collect()
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
