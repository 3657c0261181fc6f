//! Where an engine may be: what was asked for, and nothing else; only if nobody asked, the usual sockets in order.
//!
//! ```text
//!  --engine ─▶ DOCKER_HOST ─▶ DOCKER_CONTEXT ─▶ docker's current context ─▶ the sockets that each product makes
//! ```
//! The first that is set decides, as with docker's own client. The usual sockets are tried one by one, and a failure lists them all.

use std::path::{Path, PathBuf};

use super::address::Address;
use super::contexts;
use crate::error::{COULD_NOT_RUN, Failure};

/// An engine that may be there.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Who says so: a variable, a context, a product.
    pub from: String,
    /// Where it is.
    pub address: Address,
}

/// What the process is told: the environment as data, so that the order can be tested.
pub struct Told<'a> {
    /// `--engine`.
    pub asked: Option<&'a str>,
    /// A variable of the environment, if it is set and not empty.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

/// The engines to try, in order.
pub fn candidates(told: &Told<'_>) -> Result<Vec<Candidate>, Failure> {
    let docker = docker_directory(told);
    if let Some(asked) = told.asked {
        return Ok(vec![named("--engine", asked, told, docker.as_deref())?]);
    }
    if let Some(host) = (told.variable)("DOCKER_HOST") {
        return Ok(vec![Candidate {
            from: "DOCKER_HOST".to_owned(),
            address: Address::parse(&host, told.variable)?,
        }]);
    }
    let context = match (told.variable)("DOCKER_CONTEXT") {
        Some(name) => Some(name),
        None => docker.as_deref().map(contexts::current).transpose()?.flatten(),
    };
    match (context.filter(|name| name != contexts::DEFAULT), docker.as_deref()) {
        (Some(name), Some(docker)) => Ok(vec![of_context(&name, docker)?]),
        (Some(name), None) => Err(contexts::unknown(&name)),
        (None, _) => Ok(usual(told.variable)),
    }
}

/// `--engine` takes an address, a socket's path, or the name of a context.
fn named(from: &str, asked: &str, told: &Told<'_>, docker: Option<&Path>) -> Result<Candidate, Failure> {
    if asked.contains("://") {
        return Ok(Candidate { from: from.to_owned(), address: Address::parse(asked, told.variable)? });
    }
    if asked.starts_with('/') {
        return Ok(Candidate { from: from.to_owned(), address: Address::Unix(PathBuf::from(asked)) });
    }
    of_context(asked, docker.ok_or_else(|| contexts::unknown(asked))?)
}

fn of_context(name: &str, docker: &Path) -> Result<Candidate, Failure> {
    Ok(Candidate { from: format!("docker's context `{name}`"), address: contexts::read(docker, name)? })
}

/// docker's own configuration: `DOCKER_CONFIG`, else `~/.docker`.
fn docker_directory(told: &Told<'_>) -> Option<PathBuf> {
    (told.variable)("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&(told.variable)("HOME")?).join(".docker")))
}

/// The sockets that products make when nobody says otherwise.
fn usual(variable: &dyn Fn(&str) -> Option<String>) -> Vec<Candidate> {
    let mut all = Vec::new();
    let mut add = |product: &str, path: PathBuf| {
        all.push(Candidate { from: product.to_owned(), address: Address::Unix(path) });
    };
    let home = variable("HOME").map(PathBuf::from);
    let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from);

    add("Docker", PathBuf::from("/var/run/docker.sock"));
    if let Some(runtime) = &runtime {
        add("rootless Docker", runtime.join("docker.sock"));
    }
    for (product, path) in [
        ("Docker Desktop", ".docker/run/docker.sock"),
        ("Docker Desktop", ".docker/desktop/docker.sock"),
        ("OrbStack", ".orbstack/run/docker.sock"),
        ("Colima", ".colima/default/docker.sock"),
        ("Colima", ".config/colima/default/docker.sock"),
        ("Rancher Desktop", ".rd/docker.sock"),
        ("Lima", ".lima/docker/sock/docker.sock"),
        ("Lima", ".lima/default/sock/docker.sock"),
    ] {
        if let Some(path) = below_home(path) {
            add(product, path);
        }
    }
    if let Some(runtime) = &runtime {
        add("rootless Podman", runtime.join("podman/podman.sock"));
    }
    if let Some(temporary) = variable("TMPDIR").map(PathBuf::from) {
        add("Podman machine", temporary.join("podman/podman-machine-default-api.sock"));
    }
    for path in
        ["machine/podman.sock", "machine/qemu/podman.sock", "machine/podman-machine-default/podman.sock"]
    {
        if let Some(path) = below_home(&format!(".local/share/containers/podman/{path}")) {
            add("Podman machine", path);
        }
    }
    add("Podman", PathBuf::from("/run/podman/podman.sock"));
    all
}

/// What is said when none of them answers.
pub fn none_answers(tried: Vec<String>) -> Failure {
    let forbidden = tried.iter().any(|why| why.contains("ermission denied"));
    let hint = if forbidden {
        "let your user use the engine's socket (group docker, then log in anew), or name another engine with --engine"
    } else {
        "start Docker or Podman, or name the engine with --engine, DOCKER_HOST or a docker context"
    };
    let mut failure = Failure::new(COULD_NOT_RUN, "no container engine answers");
    failure.causes = tried;
    failure.hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(asked: Option<&str>, variables: &[(&str, &str)]) -> Result<Vec<String>, Failure> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let candidates = candidates(&Told { asked, variable: &variable })?;
        Ok(candidates.iter().map(|one| format!("{}: {}", one.from, one.address)).collect())
    }

    #[test]
    fn the_first_that_is_set_decides() {
        let home = tempfile::tempdir().unwrap();
        let docker = home.path().join(".docker");
        contexts::tests::write(&docker, "lab", "ssh://me@lab:2222", &[]);
        contexts::tests::write(&docker, "desk", "unix:///desk.sock", &[]);
        std::fs::write(docker.join("config.json"), r#"{"currentContext": "lab"}"#).unwrap();
        let home = home.path().to_str().unwrap();

        let all = [("HOME", home), ("DOCKER_HOST", "unix:///host.sock"), ("DOCKER_CONTEXT", "desk")];
        assert_eq!(found(Some("/my.sock"), &all).unwrap(), ["--engine: unix:///my.sock"]);
        assert_eq!(found(Some("lab"), &all).unwrap(), ["docker's context `lab`: ssh://me@lab:2222"]);
        assert_eq!(found(None, &all).unwrap(), ["DOCKER_HOST: unix:///host.sock"]);
        assert_eq!(found(None, &[all[0], all[2]]).unwrap(), ["docker's context `desk`: unix:///desk.sock"]);
        assert_eq!(found(None, &all[..1]).unwrap(), ["docker's context `lab`: ssh://me@lab:2222"]);
        let usual = found(None, &[all[0], ("DOCKER_CONTEXT", "default")]).unwrap();
        assert_eq!(usual[0], "Docker: unix:///var/run/docker.sock");
        assert_eq!(usual.last().unwrap(), "Podman: unix:///run/podman/podman.sock");
    }

    #[test]
    fn a_context_that_is_not_there_is_no_reason_to_take_another_engine() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().to_str().unwrap();
        for (asked, context) in [(Some("gone"), None), (None, Some("gone"))] {
            let mut variables = vec![("HOME", home)];
            variables.extend(context.map(|name| ("DOCKER_CONTEXT", name)));
            let failure = found(asked, &variables).unwrap_err();
            assert!(failure.message.contains("gone"), "{failure}");
        }
    }
}
