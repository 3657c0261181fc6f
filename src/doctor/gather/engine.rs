//! Facts about the engine, as it reports them.

use bollard::models::SystemInfo;

use crate::doctor::facts::Engine as Facts;
use crate::supervisor::engine::Engine;
use crate::supervisor::engine::dialect::Dialect;

/// Returns the facts that the engine told when it was connected to.
pub(crate) fn facts(engine: &Engine) -> Facts {
    told(&engine.host, engine.local, &engine.dialect, &engine.info)
}

fn told(host: &str, local: bool, dialect: &Dialect, info: &SystemInfo) -> Facts {
    let mut runtimes: Vec<String> = info.runtimes.iter().flatten().map(|(name, _)| name.clone()).collect();
    runtimes.sort();
    let backing = info.driver_status.iter().flatten().find_map(|pair| match pair.as_slice() {
        [key, value] if key == "Backing Filesystem" => Some(value.clone()),
        _ => None,
    });
    Facts {
        host: host.to_owned(),
        local,
        product: dialect.distribution.clone(),
        name: info.name.clone().unwrap_or_default(),
        system: info.operating_system.clone().unwrap_or_default(),
        kernel: info.kernel_version.clone().unwrap_or_default(),
        rootless: dialect.rootless,
        user_namespaces: dialect.remaps_users,
        seccomp: dialect.default_profile.clone(),
        confinement: dialect.confinement.map(|module| module.name().to_owned()),
        runtimes,
        default_runtime: info.default_runtime.clone().unwrap_or_default(),
        limits: dialect.limits,
        storage: (info.driver.clone().unwrap_or_default(), backing),
        warnings: info.warnings.clone().unwrap_or_default(),
        components: dialect.components.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_debians_docker_says_is_understood() {
        let info = serde_json::json!({
            "OperatingSystem": "Debian GNU/Linux 12 (bookworm)", "KernelVersion": "6.1.0-18-amd64", "Name": "laptop",
            "SecurityOptions": ["name=apparmor", "name=seccomp,profile=default", "name=cgroupns"],
            "DriverStatus": [["Backing Filesystem", "extfs"]], "Driver": "overlay2", "MemoryLimit": true,
            "Runtimes": {"runc": {"path": "runc"}, "runsc": {"path": "runsc"}}, "DefaultRuntime": "runc",
        });
        let version = serde_json::json!({"ApiVersion": "1.41", "Platform": {"Name": ""}, "Components": [
            {"Name": "Engine", "Version": "20.10.24+dfsg1", "Details": {"GitCommit": "5d6db84"}},
            {"Name": "runc", "Version": "1.1.5+ds1", "Details": {"GitCommit": "1.1.5+ds1-1+deb12u1"}},
        ]});
        let info = serde_json::from_value(info).unwrap();
        let dialect = Dialect::of(&serde_json::from_value(version).unwrap(), &info).unwrap();
        let facts = told("unix:///s", true, &dialect, &info);
        assert_eq!((facts.product.as_str(), facts.local, facts.rootless), ("Docker Engine", true, false));
        assert_eq!(
            (facts.seccomp.as_deref(), facts.confinement.as_deref()),
            (Some("default"), Some("apparmor"))
        );
        assert_eq!(facts.storage, ("overlay2".to_owned(), Some("extfs".to_owned())));
        assert!(facts.limits.memory && !facts.limits.pids);
        assert_eq!((facts.runtimes.len(), facts.default_runtime.as_str()), (2, "runc"));
        let names: Vec<_> = facts.components.iter().map(|c| format!("{} {}", c.name, c.version)).collect();
        assert_eq!(names, ["engine 20.10.24+dfsg1", "runc 1.1.5+ds1", "linux 6.1.0-18-amd64"]);
    }
}
