//! Candidates for the engine: the one that was asked for, and no other; only if nobody asked, the
//! usual sockets in order.
//!
//! ```text
//!  --engine ─▶ DOCKER_HOST ─▶ DOCKER_CONTEXT ─▶ docker's current context ─▶ the sockets that each product makes
//! ```
//! The first that is set decides, as with docker's own client. The usual sockets are tried one by
//! one, and a failure lists them all. All of them, named or usual, are also what no agent is ever
//! given: there is one list.

use std::path::PathBuf;

use super::address::{Address, CERTIFICATES};
use super::contexts;
use crate::term::{COULD_NOT_RUN, Failure};

/// docker's own socket.
const DOCKER: &str = "/var/run/docker.sock";

/// An engine that may be there.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// Source of the candidate: a variable, a context, a product.
    pub(crate) from: String,
    /// Address of the candidate.
    pub(crate) address: Address,
    /// Set when nobody named the candidate: the owner of its socket must be trusted first
    /// (`owner.rs`).
    pub(crate) found: bool,
}

/// Environment of the process as data, so that the order can be tested.
pub(crate) struct Told<'a> {
    /// `--engine`.
    pub(crate) asked: Option<&'a str>,
    /// A variable of the environment, if it is set and not empty.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
}

/// The engines to try, in order.
pub(crate) fn candidates(told: &Told<'_>) -> Result<Vec<Candidate>, Failure> {
    for way in [by_option, by_host, by_context] {
        if let Some(candidate) = way(told)? {
            return Ok(vec![candidate]);
        }
    }
    Ok(usual(told.variable))
}

/// Every engine's socket that is known here, whichever of them is used: an agent that has one has
/// this machine. Known are the one that was named, those of all contexts of docker's, and the usual
/// ones.
pub(crate) fn sockets(told: &Told<'_>) -> Vec<PathBuf> {
    let ways = [by_option, by_host, by_context];
    // What cannot be read ends a run by `candidates` where it counts.
    let named = ways.into_iter().filter_map(|way| way(told).ok().flatten());
    let all = named.chain(usual(told.variable)).map(|candidate| candidate.address);
    let sockets = all.filter_map(|address| match address {
        Address::Unix(path) => Some(path),
        _ => None,
    });
    sockets.chain(docker_directories(told).iter().flat_map(|docker| contexts::sockets(docker))).collect()
}

/// Files in which docker's configuration says which engine is used, and by which it is known.
/// Another engine may be named for this run: the next one may be without that.
pub(crate) fn configuration(told: &Told<'_>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for docker in docker_directories(told) {
        files.extend(contexts::files(&docker));
        files.extend(CERTIFICATES.map(|name| docker.join(name)));
    }
    if let Some(directory) = (told.variable)("DOCKER_CERT_PATH").map(here) {
        files.extend(CERTIFICATES.map(|name| directory.join(name)));
    }
    files
}

/// `--engine` takes an address, a socket's path, or the name of a context.
fn by_option(told: &Told<'_>) -> Result<Option<Candidate>, Failure> {
    let Some(asked) = told.asked else { return Ok(None) };
    let from = "--engine";
    if asked.contains("://") {
        return Ok(Some(named(from, Address::parse(asked, told.variable)?)));
    }
    if asked.starts_with('/') {
        return Ok(Some(named(from, Address::Unix(PathBuf::from(asked)))));
    }
    if asked == contexts::DEFAULT {
        // docker has no such context in its store: it is what is used without one.
        let own = || named("docker's context `default`", Address::Unix(PathBuf::from(DOCKER)));
        return Ok(Some(by_host(told)?.unwrap_or_else(own)));
    }
    Ok(Some(of_context(asked, told)?))
}

fn by_host(told: &Told<'_>) -> Result<Option<Candidate>, Failure> {
    let host = (told.variable)("DOCKER_HOST");
    host.map(|host| Ok(named("DOCKER_HOST", Address::parse(&host, told.variable)?))).transpose()
}

fn by_context(told: &Told<'_>) -> Result<Option<Candidate>, Failure> {
    let context = match (told.variable)("DOCKER_CONTEXT") {
        Some(name) => Some(name),
        None => docker_directory(told).as_deref().map(contexts::current).transpose()?.flatten(),
    };
    context.filter(|name| name != contexts::DEFAULT).map(|name| of_context(&name, told)).transpose()
}

fn of_context(name: &str, told: &Told<'_>) -> Result<Candidate, Failure> {
    let docker = docker_directory(told).ok_or_else(|| contexts::unknown(name))?;
    let address = contexts::read(&docker, name, told.variable)?;
    Ok(named(&format!("docker's context `{name}`"), address))
}

fn named(from: &str, address: Address) -> Candidate {
    Candidate { from: from.to_owned(), address, found: false }
}

/// docker's own configuration: `DOCKER_CONFIG`, else `~/.docker`.
fn docker_directory(told: &Told<'_>) -> Option<PathBuf> {
    docker_directories(told).into_iter().next()
}

/// Returns docker's folders of configuration, with that variable and without, which the next run
/// may use.
fn docker_directories(told: &Told<'_>) -> Vec<PathBuf> {
    let named = (told.variable)("DOCKER_CONFIG").map(here);
    let own = (told.variable)("HOME").map(|home| here(home).join(".docker"));
    named.into_iter().chain(own).collect()
}

/// A path in a variable, which counts from the working directory. Where there is none, nothing is
/// found by it either.
fn here(path: String) -> PathBuf {
    std::path::absolute(&path).unwrap_or_else(|_| PathBuf::from(path))
}

/// The sockets that products make when nobody says otherwise.
fn usual(variable: &dyn Fn(&str) -> Option<String>) -> Vec<Candidate> {
    let mut all = Vec::new();
    let mut add = |product: &str, path: PathBuf| {
        all.push(Candidate { from: product.to_owned(), address: Address::Unix(path), found: true });
    };
    let home = variable("HOME").map(PathBuf::from);
    let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from);

    add("Docker", PathBuf::from(DOCKER));
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
    // A folder of the person's own on macOS alone; elsewhere it may be everybody's.
    if let Some(temporary) = variable("TMPDIR").map(PathBuf::from).filter(|_| cfg!(target_os = "macos")) {
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

/// Reports that none of the candidates answers, with the reasons.
pub(super) fn none_answers(tried: &[(&Candidate, String)]) -> Failure {
    // ssh's own "Permission denied" is another matter.
    let closed =
        |(one, why): &(&Candidate, String)| one.address.is_local() && why.contains("ermission denied");
    let hint = if tried.iter().any(closed) {
        "let your user use the engine's socket (group docker, then log in anew), or name another engine with --engine: one that you run yourself, rootless, needs no group"
    } else {
        "start Docker or Podman, or name the engine with --engine, DOCKER_HOST or a docker context"
    };
    let mut failure = Failure::new(COULD_NOT_RUN, "no container engine answers");
    failure.causes = tried.iter().map(|(one, why)| format!("{}, {}: {why}", one.from, one.address)).collect();
    failure.hint(hint)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
    fn the_context_default_is_docker_without_a_context() {
        let home = tempfile::tempdir().unwrap();
        let docker = home.path().join(".docker");
        contexts::tests::write(&docker, "lab", "ssh://me@lab:2222", &[]);
        std::fs::write(docker.join("config.json"), r#"{"currentContext": "lab"}"#).unwrap();
        let home = [("HOME", home.path().to_str().unwrap())];
        assert_eq!(
            found(Some("default"), &home).unwrap(),
            ["docker's context `default`: unix:///var/run/docker.sock"]
        );
        let with = [home[0], ("DOCKER_HOST", "unix:///host.sock"), ("DOCKER_CONTEXT", "lab")];
        assert_eq!(found(Some("default"), &with).unwrap(), ["DOCKER_HOST: unix:///host.sock"]);
    }

    #[test]
    fn a_temporary_folder_is_looked_into_where_it_is_the_persons_own() {
        let usual = found(None, &[("TMPDIR", "/tmp")]).unwrap();
        assert_eq!(usual.iter().any(|one| one.contains("/tmp/")), cfg!(target_os = "macos"), "{usual:?}");
    }

    #[test]
    fn every_socket_is_known_however_it_is_named() {
        let home = tempfile::tempdir().unwrap();
        let docker = home.path().join(".docker");
        contexts::tests::write(&docker, "desk", "unix:///srv/desk.sock", &[]);
        contexts::tests::write(&docker, "other", "unix:///srv/other.sock", &[]);
        std::fs::write(docker.join("config.json"), r#"{"currentContext": "other"}"#).unwrap();
        let home = home.path().to_str().unwrap();
        let known = |asked: Option<&str>, more: &[(&str, &str)]| {
            let variables = [&[("HOME", home)], more].concat();
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            let told = Told { asked, variable: &variable };
            sockets(&told).iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        for (asked, more, wanted) in [
            (Some("/srv/a.sock"), None, "/srv/a.sock"),
            (Some("unix:///srv/a.sock"), None, "/srv/a.sock"),
            (Some("desk"), None, "/srv/desk.sock"),
            (None, Some(("DOCKER_HOST", "unix:///srv/h.sock")), "/srv/h.sock"),
            (None, Some(("DOCKER_CONTEXT", "desk")), "/srv/desk.sock"),
            (None, None, "/srv/other.sock"),
            // What is not used now is somebody's engine too.
            (Some("/srv/a.sock"), Some(("DOCKER_HOST", "unix:///srv/h.sock")), "/srv/h.sock"),
            (Some("tcp://127.0.0.1:1"), None, "/var/run/docker.sock"),
            (None, None, "/srv/desk.sock"),
            (Some("/srv/a.sock"), Some(("DOCKER_CONFIG", "/none")), "/srv/other.sock"),
        ] {
            let sockets = known(asked, more.as_slice());
            assert!(sockets.iter().any(|socket| socket == wanted), "{asked:?} {more:?}: {sockets:?}");
        }
    }

    #[test]
    fn what_the_next_run_obeys_is_known_whatever_this_one_is_told() {
        let known = |asked: Option<&str>, more: &[(&str, &str)]| {
            let variables = [&[("HOME", "/home/me")], more].concat();
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            configuration(&Told { asked, variable: &variable })
        };
        let all = ["config.json", "contexts", "ca.pem", "cert.pem", "key.pem"];
        let of =
            |folder: &Path, names: &[&str]| names.iter().map(|name| folder.join(name)).collect::<Vec<_>>();
        let own = of(Path::new("/home/me/.docker"), &all);
        assert_eq!(known(None, &[]), own);
        for asked in ["/srv/a.sock", "unix:///srv/a.sock", "tcp://127.0.0.1:1", "lab", "default"] {
            assert_eq!(known(Some(asked), &[]), own, "{asked}");
        }
        assert_eq!(known(None, &[("DOCKER_HOST", "unix:///srv/h.sock")]), own);
        // As docker takes it: from the working directory.
        let here = std::env::current_dir().unwrap();
        let with = known(None, &[("DOCKER_CONFIG", ".docker"), ("DOCKER_CERT_PATH", "certs")]);
        let wanted = [of(&here.join(".docker"), &all), own, of(&here.join("certs"), &all[2..])].concat();
        assert_eq!(with, wanted);
    }

    #[test]
    fn only_a_socket_here_is_a_matter_of_the_group() {
        for (address, why, group) in [
            ("unix:///x.sock", "Permission denied (os error 13)", true),
            ("unix:///x.sock", "Connection refused (os error 111)", false),
            ("ssh://me@lab", "ssh: me@lab: Permission denied (publickey).", false),
        ] {
            let candidate = named("--engine", Address::parse(address, &|_| None).unwrap());
            let failure = none_answers(&[(&candidate, why.to_owned())]);
            assert_eq!(failure.causes, [format!("--engine, {address}: {why}")]);
            assert_eq!(failure.hint.unwrap().contains("group docker"), group, "{address}: {why}");
        }
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
