//! The files that may hold credentials, and by which names each of them speaks of a registry.
//!
//! ```text
//!  docker: $DOCKER_CONFIG | ~/.docker ─▶ config.json          the registry's host, docker.io by its old URL
//!  Podman: $REGISTRY_AUTH_FILE | $XDG_RUNTIME_DIR/containers/auth.json, $XDG_CONFIG_HOME | ~/.config … ─▶ parts of the name too
//! ```
//! The engine's own goes first; the other's counts where that has none.

use std::path::PathBuf;

use super::reference::Reference;
use crate::supervisor::engine::dialect::CredentialFiles;

/// A file that may hold credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CredentialFile {
    /// Path of the file, which need not exist.
    pub(crate) path: PathBuf,
    /// Program whose file it is.
    pub(crate) owner: CredentialFiles,
}

/// Lists all files, in the order in which they are asked; `set` reads a variable.
pub(super) fn in_order(first: CredentialFiles, set: impl Fn(&str) -> Option<PathBuf>) -> Vec<CredentialFile> {
    let home = || set("HOME");
    let docker = set("DOCKER_CONFIG").or_else(|| Some(home()?.join(".docker")));
    let docker = docker.map(|folder| folder.join("config.json"));
    let containers = |folder: PathBuf| folder.join("containers/auth.json");
    let podman = match set("REGISTRY_AUTH_FILE") {
        Some(named) => vec![named],
        None => [
            set("XDG_RUNTIME_DIR").map(containers),
            set("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config"))).map(containers),
        ]
        .into_iter()
        .flatten()
        .collect(),
    };
    let of = |owner, paths: Vec<PathBuf>| paths.into_iter().map(move |path| CredentialFile { path, owner });
    let (docker, podman) =
        (of(CredentialFiles::Docker, docker.into_iter().collect()), of(CredentialFiles::Containers, podman));
    match first {
        CredentialFiles::Docker => docker.chain(podman).collect(),
        CredentialFiles::Containers => podman.chain(docker).collect(),
    }
}

impl CredentialFiles {
    /// Returns the server name that a helper program is asked for.
    pub(crate) fn server(self, reference: &Reference) -> &str {
        match self {
            CredentialFiles::Docker => reference.server(),
            CredentialFiles::Containers => &reference.registry,
        }
    }

    /// Returns the names under which credentials for an image may stand, the better ones first.
    pub(crate) fn names(self, reference: &Reference) -> Vec<String> {
        match self {
            CredentialFiles::Docker => vec![plain(reference.server())],
            CredentialFiles::Containers => reference.scopes(),
        }
    }

    /// Returns the name that a key of the file stands for.
    pub(crate) fn name_of(self, key: &str) -> String {
        let is_url = key.starts_with("https://") || key.starts_with("http://");
        if self == CredentialFiles::Docker {
            return plain(key);
        }
        let name = if is_url { plain(key) } else { key.trim_end_matches('/').to_owned() };
        let (host, rest) = name.split_once('/').map_or((name.as_str(), ""), |(host, rest)| (host, rest));
        let host =
            if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { host };
        if rest.is_empty() { host.to_owned() } else { format!("{host}/{rest}") }
    }
}

/// Returns the host of a key, which may be a URL with a path.
pub(crate) fn plain(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    key.split('/').next().unwrap_or(key).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(first: CredentialFiles, set: &[(&str, &str)]) -> Vec<String> {
        let set =
            |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value));
        in_order(first, set).into_iter().map(|place| place.path.display().to_string()).collect()
    }

    #[test]
    fn the_engines_own_goes_first_and_a_named_file_stands_for_podmans_places() {
        let home = [("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/user/1")];
        let docker = "/h/.docker/config.json";
        let podman = ["/run/user/1/containers/auth.json", "/h/.config/containers/auth.json"];
        assert_eq!(paths(CredentialFiles::Docker, &home), [docker, podman[0], podman[1]]);
        assert_eq!(paths(CredentialFiles::Containers, &home), [podman[0], podman[1], docker]);
        let named = [("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/a.json"), ("DOCKER_CONFIG", "/d")];
        assert_eq!(paths(CredentialFiles::Containers, &named), ["/a.json", "/d/config.json"]);
        assert!(paths(CredentialFiles::Docker, &[]).is_empty());
    }

    #[test]
    fn a_key_is_a_registry_or_with_podman_a_part_of_it() {
        for (key, docker, podman) in [
            ("https://index.docker.io/v1/", "index.docker.io", "docker.io"),
            ("docker.io", "docker.io", "docker.io"),
            ("docker.io/me", "docker.io", "docker.io/me"),
            ("quay.io/team/agent", "quay.io", "quay.io/team/agent"),
            ("https://registry.example/v2/", "registry.example", "registry.example"),
        ] {
            assert_eq!(CredentialFiles::Docker.name_of(key), docker, "{key}");
            assert_eq!(CredentialFiles::Containers.name_of(key), podman, "{key}");
        }
        let reference = Reference::parse("quay.io/team/agent:1").unwrap();
        assert_eq!(
            CredentialFiles::Containers.names(&reference),
            ["quay.io/team/agent", "quay.io/team", "quay.io"]
        );
        assert_eq!(CredentialFiles::Docker.names(&reference), ["quay.io"]);
        let hub = Reference::parse("debian").unwrap();
        assert_eq!(
            CredentialFiles::Containers.names(&hub),
            ["docker.io/library/debian", "docker.io/library", "docker.io"]
        );
        assert_eq!(CredentialFiles::Docker.names(&hub), ["index.docker.io"]);
    }
}
