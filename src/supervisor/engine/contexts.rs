//! docker's contexts: named engines in the client's own configuration.
//!
//! ```text
//!  ~/.docker/config.json                      currentContext
//!  ~/.docker/contexts/meta/SHA256/meta.json   name, address        SHA256 is the name's
//!  ~/.docker/contexts/tls/SHA256/docker/      ca.pem, cert.pem, key.pem
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::address::{Address, Authority, TlsFiles, plain_accepted};
use crate::host::open::{self, Refused};
use crate::term::{COULD_NOT_RUN, Failure};

/// The context that stands for no context.
pub(crate) const DEFAULT: &str = "default";
/// The largest configuration that is read.
const LARGEST: u64 = 1 << 20;

#[derive(Deserialize)]
struct Configuration {
    #[serde(rename = "currentContext")]
    current: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: Option<Endpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint {
    #[serde(default)]
    host: String,
    #[serde(default, rename = "SkipTLSVerify")]
    skip_verify: bool,
}

/// The context that docker's client uses, if it is told to use one.
pub(crate) fn current(docker: &Path) -> Result<Option<String>, Failure> {
    let path = docker.join("config.json");
    let text = match open::read(&path, LARGEST) {
        Ok(text) => text,
        Err(refused) if refused.is_missing() => return Ok(None),
        // Another user's home, say: docker's client would not know of a context either.
        Err(Refused::System(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Ok(None);
        }
        Err(refused) => return Err(cannot_read(&path, &refused)),
    };
    let configuration: Configuration = serde_json::from_slice(&text).map_err(|error| {
        cannot_read(&path, &error)
            .hint("docker's context is named there; DOCKER_HOST or --engine make it unneeded")
    })?;
    Ok(configuration.current.filter(|name| !name.is_empty()))
}

/// Returns the files that decide which engine is used: the choice, and the contexts themselves.
pub(crate) fn files(docker: &Path) -> [PathBuf; 2] {
    ["config.json", "contexts"].map(|name| docker.join(name))
}

/// The sockets of all contexts, whichever is used: as far as they can be read, each by itself.
pub(crate) fn sockets(docker: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(docker.join("contexts/meta")).into_iter().flatten().flatten();
    let metas = entries.filter_map(|entry| {
        let text = std::fs::read(entry.path().join("meta.json")).ok()?;
        serde_json::from_slice::<Meta>(&text).ok()
    });
    metas
        .filter_map(|meta| meta.endpoints.docker?.host.strip_prefix("unix://").map(PathBuf::from))
        .filter(|socket| socket.is_absolute())
        .collect()
}

/// Reads the address of a context's engine.
pub(crate) fn read(
    docker: &Path,
    name: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Address, Failure> {
    let directory = id(name);
    let path = docker.join("contexts/meta").join(&directory).join("meta.json");
    let text = match open::read(&path, LARGEST) {
        Ok(text) => text,
        Err(refused) if refused.is_missing() => return Err(unknown(name)),
        Err(refused) => return Err(cannot_read(&path, &refused)),
    };
    let meta: Meta = serde_json::from_slice(&text).map_err(|error| cannot_read(&path, &error))?;
    let endpoint = meta.endpoints.docker.filter(|endpoint| !endpoint.host.is_empty()).ok_or_else(|| {
        Failure::new(COULD_NOT_RUN, format!("docker's context `{name}` names no engine"))
            .hint(format!("see `docker context inspect {name}`"))
    })?;
    if endpoint.skip_verify {
        return Err(Failure::new(
            COULD_NOT_RUN,
            format!("docker's context `{name}` does not check who answers (SkipTLSVerify)"),
        )
        .hint(
            "an engine that anybody can stand in for keeps no fence; give the context the engine's ca.pem",
        ));
    }
    let certificates = docker.join("contexts/tls").join(&directory).join("docker");
    let tls = || match certificates.try_exists() {
        Ok(false) => Ok(None),
        Ok(true) => TlsFiles::in_directory(&certificates, Authority::Named).map(Some),
        Err(error) => Err(cannot_read(&certificates, &error)),
    };
    Address::with_tls(&endpoint.host, tls, plain_accepted(variable))
}

/// A context that docker's client does not know either.
pub(crate) fn unknown(name: &str) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("docker has no context `{name}`"))
        .hint("`docker context ls` lists them; --engine takes an address too, such as unix:///path")
}

fn cannot_read(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot read {}", path.display())).caused_by(error)
}

/// The directory of a context.
fn id(name: &str) -> String {
    hex::encode(Sha256::digest(name))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A context as docker's client writes it.
    pub(crate) fn write(docker: &Path, name: &str, host: &str, tls: &[&str]) {
        let meta = docker.join("contexts/meta").join(id(name));
        std::fs::create_dir_all(&meta).unwrap();
        let text = format!(
            r#"{{"Name":"{name}","Metadata":{{}},"Endpoints":{{"docker":{{"Host":"{host}","SkipTLSVerify":false}}}}}}"#
        );
        std::fs::write(meta.join("meta.json"), text).unwrap();
        for file in tls {
            let directory = docker.join("contexts/tls").join(id(name)).join("docker");
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join(file), "").unwrap();
        }
    }

    #[test]
    fn a_context_lies_where_docker_puts_it() {
        // As `docker context create lab` of Docker 20.10 names it.
        assert_eq!(id("lab"), "a51146d38077ff992eba84cf1d5e9b249073503eb74868699016153b031a38f7");
    }

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn its_certificates_come_with_it() {
        let docker = tempfile::tempdir().unwrap();
        write(docker.path(), "far", "tcp://far.example:2376", &["ca.pem", "cert.pem", "key.pem"]);
        let Address::Tls(at, files) = read(docker.path(), "far", &nothing).unwrap() else {
            panic!("not TLS")
        };
        assert_eq!(at.to_string(), "far.example:2376");
        assert!(files.ca.is_some() && files.cert.is_some() && files.key.is_some());
        // Without its authority any other would do.
        write(docker.path(), "half", "tcp://far.example:2376", &["cert.pem", "key.pem"]);
        let failure = read(docker.path(), "half", &nothing).unwrap_err();
        assert!(failure.message.contains("ca.pem"), "{failure}");
        write(docker.path(), "socket", "unix:///x.sock", &["cert.pem"]);
        assert!(read(docker.path(), "socket", &nothing).unwrap().is_local());
    }

    #[test]
    fn in_the_clear_it_is_as_with_an_address() {
        let docker = tempfile::tempdir().unwrap();
        write(docker.path(), "bare", "tcp://far.example:2376", &[]);
        let set = |value: &'static str| {
            move |name: &str| (name == "RINGFENCE_ALLOW_PLAIN_TCP").then(|| value.to_owned())
        };
        let failure = read(docker.path(), "bare", &set("0")).unwrap_err();
        assert!(failure.message.contains("nothing proves"), "{failure}");
        assert!(failure.hint.unwrap().contains("RINGFENCE_ALLOW_PLAIN_TCP=1"));
        assert!(matches!(read(docker.path(), "bare", &set("1")), Ok(Address::Plain(_))));
    }

    #[test]
    fn one_that_checks_nothing_is_refused() {
        let docker = tempfile::tempdir().unwrap();
        write(docker.path(), "lax", "tcp://far.example:2376", &["ca.pem"]);
        let meta = docker.path().join("contexts/meta").join(id("lax")).join("meta.json");
        let text = std::fs::read_to_string(&meta).unwrap().replace("false", "true");
        std::fs::write(&meta, text).unwrap();
        assert!(read(docker.path(), "lax", &nothing).unwrap_err().message.contains("SkipTLSVerify"));
    }

    #[test]
    fn the_sockets_of_all_contexts_are_known_beside_one_that_cannot_be_read() {
        let docker = tempfile::tempdir().unwrap();
        assert!(sockets(docker.path()).is_empty());
        for (name, host) in [
            ("one", "unix:///srv/one.sock"),
            ("broken", "unix:///srv/broken.sock"),
            ("far", "tcp://far.example:2376"),
            ("bare", "unix://bare.sock"),
            ("two", "unix:///srv/two.sock"),
        ] {
            write(docker.path(), name, host, &[]);
        }
        std::fs::write(docker.path().join("contexts/meta").join(id("broken")).join("meta.json"), "{")
            .unwrap();
        std::fs::write(docker.path().join("contexts/meta/file"), "").unwrap();
        let mut found = sockets(docker.path());
        found.sort();
        assert_eq!(found, ["/srv/one.sock", "/srv/two.sock"].map(PathBuf::from));
    }

    #[test]
    fn a_broken_configuration_is_told() {
        let docker = tempfile::tempdir().unwrap();
        assert_eq!(current(docker.path()).unwrap(), None);
        std::fs::write(docker.path().join("config.json"), "{").unwrap();
        assert!(current(docker.path()).unwrap_err().message.contains("config.json"));
    }
}
