//! Facts of the engine that hold no name of this machine and nothing that a person configured in
//! words.

use serde::Serialize;

use super::scrub::version;
use crate::supervisor::engine::Engine;

/// An engine, as far as a helper needs to know it.
#[derive(Debug, Serialize)]
pub(super) struct EngineFacts {
    title: String,
    distribution: String,
    /// `unix`, `tcp`, `ssh`.
    reached_by: &'static str,
    local: bool,
    api: String,
    architecture: String,
    rootless: bool,
    remaps_users: bool,
    components: Vec<(String, String)>,
    kernel: Option<String>,
    storage_driver: Option<String>,
    cgroups: String,
    cpus: Option<i64>,
    memory: Option<i64>,
    containers: Option<i64>,
    images: Option<i64>,
}

impl EngineFacts {
    /// Takes the fields that are known to hold no secret.
    pub(super) fn of(engine: &Engine) -> EngineFacts {
        let (info, dialect) = (&engine.info, &engine.dialect);
        let word = |text: &Option<String>| text.as_deref().map(version);
        EngineFacts {
            title: version(&dialect.title.to_string()),
            distribution: version(&dialect.distribution),
            reached_by: scheme(&engine.host),
            local: engine.local,
            api: version(&format!("{:?}", dialect.api)),
            architecture: version(&engine.architecture),
            rootless: dialect.rootless,
            remaps_users: dialect.remaps_users,
            components: dialect
                .components
                .iter()
                .map(|part| (version(&part.name), version(&part.version)))
                .collect(),
            kernel: word(&info.kernel_version),
            storage_driver: word(&info.driver),
            cgroups: format!("{:?}", dialect.cgroups),
            cpus: info.ncpu,
            memory: info.mem_total,
            containers: info.containers,
            images: info.images,
        }
    }
}

/// Returns the kind of an engine's address. Everything behind it names a machine, a user or a path.
fn scheme(host: &str) -> &'static str {
    match host.split_once("://").map(|(scheme, _)| scheme) {
        Some("tcp" | "http" | "https") => "tcp",
        Some("ssh") => "ssh",
        _ => "unix",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_only_its_kind_is_kept() {
        for (host, kind) in [
            ("ssh://anna@build.corp.example", "ssh"),
            ("tcp://10.0.0.7:2376", "tcp"),
            ("unix:///home/anna/.docker/run/docker.sock", "unix"),
            ("/run/docker.sock", "unix"),
        ] {
            assert_eq!(scheme(host), kind);
        }
    }
}
