//! Finding the container engine and speaking to it.
//!
//! ```text
//!  discover ─▶ candidates ─▶ address ─┬─ unix://, tcp:// on this machine ──▶ dial, a span for each call (calls)
//!  contexts ──┘                       └─ tcp:// with TLS, ssh:// ─────────▶ the same, by tls and ssh
//! ```

mod address;
mod calls;
mod contexts;
mod creations;
mod dial;
pub(crate) mod dialect;
mod discover;
mod owner;
mod ssh;
mod states;
mod tls;
pub(crate) mod warnings;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as ApiError;
use bollard::models::{
    ContainerCreateBody, ContainerCreateResponse, NetworkCreateRequest, SystemInfo, SystemVersion,
    VolumeCreateRequest,
};
use bollard::query_parameters::CreateContainerOptions;

use self::address::Address;
use self::creations::Creations;
use self::dialect::{ApiVersion, Dialect};
use self::discover::{Candidate, Told};
use self::owner::Person;
use self::ssh::Ssh;
use crate::term::{COULD_NOT_RUN, Failure};

/// An engine may need minutes to load an image; what must not hang has limits of its own.
const TIMEOUT_SECONDS: u64 = 600;
/// An engine answers a first question within this time. ssh may have to ask the person for a
/// password.
const ANSWER_LIMIT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
const SSH_ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// An engine that answered tells all of itself within this time: it counts its containers and
/// images for that.
const INFO_LIMIT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });

/// The version of the API, 1.48, since which an engine tells the manifest of a container.
const TELLS_MANIFEST: usize = 48;

/// A connection to an engine that answered.
#[derive(Clone)]
pub(crate) struct Engine {
    /// The API.
    pub(crate) api: Docker,
    /// Address at which the engine was found.
    pub(crate) host: String,
    /// Everything in which the engine differs from others.
    pub(crate) dialect: Arc<Dialect>,
    /// The engine's answer to `/info`, from when it was connected to. Its differences are in
    /// `dialect`.
    pub(crate) info: Arc<SystemInfo>,
    /// Architecture of its containers, in the engine's own words: `amd64`, `arm64`.
    pub(crate) architecture: String,
    /// Set where the engine's socket is on this machine; the engine may live in a virtual machine
    /// all the same.
    pub(crate) local: bool,
    /// Requests to make something.
    pub(crate) creations: Creations,
}

impl Engine {
    /// Creates a container.
    pub(crate) async fn create_container(
        &self,
        name: String,
        body: ContainerCreateBody,
    ) -> Result<ContainerCreateResponse, ApiError> {
        let (api, object) = (self.api.clone(), format!("container {name}"));
        let options = CreateContainerOptions { name: Some(name), ..Default::default() };
        let request = async move { api.create_container(Some(options), body).await };
        self.creations.follow(object, request).await
    }

    /// Creates a volume.
    pub(crate) async fn create_volume(&self, request: VolumeCreateRequest) -> Result<(), ApiError> {
        let object = format!("volume {}", request.name.as_deref().unwrap_or_default());
        let api = self.api.clone();
        self.creations.follow(object, async move { api.create_volume(request).await.map(|_| ()) }).await
    }

    /// Creates a network; its id.
    pub(super) async fn create_network(&self, request: NetworkCreateRequest) -> Result<String, ApiError> {
        let object = format!("network {}", request.name);
        let api = self.api.clone();
        self.creations
            .follow(object, async move { api.create_network(request).await.map(|made| made.id) })
            .await
    }

    /// Returns the same engine, for a work whose requests are followed apart from those of others.
    pub(crate) fn apart(&self) -> Engine {
        Engine { creations: Creations::default(), ..self.clone() }
    }

    /// Refuses an engine with which `serve` was never tried.
    ///
    /// # Errors
    /// When it is elsewhere, is not Docker, or does not take ringfence's own files.
    pub(crate) fn check_is_servable(&self) -> Result<(), Failure> {
        let why = if self.socket().is_none() {
            "its socket is not on this machine"
        } else if !self.dialect.serves {
            "this version serves with Docker Engine as root only"
        } else if self.has_variants() && self.api_minor() < TELLS_MANIFEST {
            "it keeps images in containerd's store, and does not tell which variant of an image a container has: \
             Docker 28 and later do"
        } else if self.dialect.labels_files {
            "SELinux labels keep containers from ringfence's own files"
        } else {
            return Ok(());
        };
        Err(Failure::new(COULD_NOT_RUN, format!("no socket can be served before {}: {why}", self.host))
            .hint("use `ringfence run` with this engine, or name another: ringfence --engine HOST serve"))
    }

    /// Tells whether an image of the engine can have several variants under one id.
    pub(crate) fn has_variants(&self) -> bool {
        has_index_store(&self.info)
    }

    /// Returns the engine's socket on this machine, if that is how it is reached.
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.host.strip_prefix("unix://").map(Path::new)
    }

    /// Returns the minor number of the newest version of the API that both sides speak.
    pub(crate) fn api_minor(&self) -> usize {
        self.api.client_version().minor_version
    }

    /// Tells whether the engine answers now.
    pub(crate) async fn answers(&self) -> bool {
        matches!(tokio::time::timeout(Duration::from_secs(2), self.api.ping()).await, Ok(Ok(_)))
    }

    /// Waits until it answers again, at most this long.
    pub(super) async fn back_within(&self, limit: Duration) {
        let back = async {
            while !self.answers().await {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        // The next caller is told what is wrong.
        let _ = tokio::time::timeout(limit, back).await;
    }
}

/// Choice of the engine. It is read once, so that the files that are kept from an agent belong to
/// the very engine that is spoken to.
pub(crate) struct Choice {
    candidates: Vec<Candidate>,
    /// Sockets of this engine and of others here: never given to an agent.
    pub(crate) sockets: Vec<PathBuf>,
    /// Files that decide in this run or may in the next: not for an agent to write.
    pub(crate) configuration: Vec<PathBuf>,
}

impl Choice {
    /// By `--engine`, the environment and docker's configuration; no engine is asked yet.
    pub(crate) fn of(asked: Option<&str>) -> Result<Choice, Failure> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let told = Told { asked, variable: &variable };
        Ok(Choice {
            candidates: discover::candidates(&told)?,
            sockets: discover::sockets(&told),
            configuration: discover::configuration(&told),
        })
    }

    /// Connects to the engine, or says everything that was tried.
    pub(crate) async fn connect(&self) -> Result<Engine, Failure> {
        let mut tried = Vec::new();
        let progress = crate::term::progress("waiting for the engine");
        for candidate in &self.candidates {
            progress.detail(candidate.address.to_string());
            match try_address(&candidate.address, candidate.found).await {
                Ok(engine) => return Ok(engine),
                Err(Unusable { why, answered }) => {
                    tried.push((candidate, why));
                    // Workflows may run there: another engine in its place would be a surprise.
                    if answered {
                        break;
                    }
                }
            }
        }
        Err(discover::none_answers(&tried))
    }
}

/// Connects to the engine that is meant.
pub(crate) async fn connect(asked: Option<&str>) -> Result<Engine, Failure> {
    Choice::of(asked)?.connect().await
}

/// An address at which no engine can be used.
#[derive(Debug)]
struct Unusable {
    /// The reason.
    why: String,
    /// Tells whether an engine is there: it said its version, and then nothing that can be used.
    answered: bool,
}

impl From<String> for Unusable {
    fn from(why: String) -> Unusable {
        Unusable { why, answered: false }
    }
}

async fn try_address(address: &Address, found: bool) -> Result<Engine, Unusable> {
    let version = bollard::API_DEFAULT_VERSION;
    let (api, about, info) = match address {
        Address::Unix(path) if !path.exists() => return Err("no such socket".to_owned().into()),
        Address::Unix(path) => {
            if found {
                Person::here().doubt(path)?;
            }
            let socket = dial::Socket(path.clone());
            asked(dial::client(socket, TIMEOUT_SECONDS, version), ANSWER_LIMIT).await?
        }
        Address::Plain(at) => {
            let port = dial::Port(at.to_string());
            asked(dial::client(port, TIMEOUT_SECONDS, version), ANSWER_LIMIT).await?
        }
        Address::Tls(at, files) => {
            let tls = tls::Tls::new(at.clone(), files)?;
            asked(dial::client(tls, TIMEOUT_SECONDS, version), ANSWER_LIMIT).await?
        }
        Address::Ssh { user, host, port } => {
            let ssh = Ssh { user: user.clone(), host: host.clone(), port: *port, may_ask: false };
            let by = |ssh: Ssh| asked(dial::client(ssh, TIMEOUT_SECONDS, version), SSH_ANSWER_LIMIT);
            match by(ssh.clone()).await {
                Err(Unusable { why, .. }) if ssh::needs_a_person(&why) => {
                    // ssh asks on the terminal, about the host's key among others.
                    let screen = crate::term::leave_screen();
                    let once = by(Ssh { may_ask: true, ..ssh.clone() }).await;
                    drop(screen);
                    once?;
                    by(ssh).await.map_err(|mut unusable| {
                        unusable.why = format!("{}; {}", unusable.why, ssh::ONCE);
                        unusable
                    })?
                }
                answer => answer?,
            }
        }
    };
    let dialect = Dialect::of(&about, &info).map_err(|why| Unusable { why, answered: true })?;
    let spoken = api.client_version();
    let spoken = ApiVersion { major: spoken.major_version, minor: spoken.minor_version };
    if !dialect.api.has(spoken) {
        return Err(format!("it speaks API {}, and ringfence {spoken}", dialect.api).into());
    }
    Ok(Engine {
        api,
        host: address.to_string(),
        dialect: Arc::new(dialect),
        info: Arc::new(info),
        architecture: about.arch.unwrap_or_default(),
        local: address.is_local(),
        creations: Creations::default(),
    })
}

/// Asks an engine for its first words within the limit, and then for what it says of itself and its
/// machine.
#[expect(
    clippy::disallowed_methods,
    reason = "everybody else asks the dialect that is made of these answers"
)]
async fn asked(
    api: Result<Docker, ApiError>,
    limit: Duration,
) -> Result<(Docker, SystemVersion, SystemInfo), Unusable> {
    let api = api.map_err(|error| error.to_string())?;
    let words = async {
        let api = api.negotiate_version().await.map_err(|error| describe(&error))?;
        let about = api.version().await.map_err(|error| describe(&error))?;
        Ok((api, about))
    };
    let silent = |limit: Duration| format!("no answer within {} s", limit.as_secs());
    let words = tokio::time::timeout(limit, words).await.unwrap_or_else(|_| Err(silent(limit)));
    let (api, about) = words?;
    let of_itself = |why: &str| {
        let why = format!("it says its version, and nothing of itself (docker info): {why}");
        Unusable { why, answered: true }
    };
    let info = tokio::time::timeout(INFO_LIMIT, api.info()).await;
    let info = info.map_err(|_| of_itself(&silent(INFO_LIMIT)))?;
    let info = info.map_err(|error| of_itself(&describe(&error)))?;
    Ok((api, about, info))
}

/// The engine's own words of an error, without the layers of the transport around them.
pub(crate) fn describe(error: &ApiError) -> String {
    match error {
        ApiError::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        other => {
            let mut text = other.to_string();
            let mut next = std::error::Error::source(other);
            while let Some(cause) = next {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                next = cause.source();
            }
            text
        }
    }
}

/// Tells whether the engine said that the object does not exist. Podman says so with another status
/// when somebody else removes it meanwhile.
pub(crate) fn is_missing(error: &ApiError) -> bool {
    match error {
        ApiError::DockerResponseServerError { status_code: 404, .. } => true,
        ApiError::DockerResponseServerError { status_code: 500, message } => {
            ["no such container", "no such volume", "no such network"]
                .iter()
                .any(|words| message.trim().ends_with(words) || message.contains(&format!("{words}:")))
        }
        _ => false,
    }
}

/// Tells whether the engine said that it removes the container just now, for somebody else or since
/// an earlier question, and so does nothing else with it.
pub(crate) fn is_being_removed(error: &ApiError) -> bool {
    let ApiError::DockerResponseServerError { message, .. } = error else { return false };
    ["dead or marked for removal", "is already in progress", "is marked for removal", "in state removing"]
        .iter()
        .any(|words| message.contains(words))
}

/// Returns the reason for which no connection to the engine came about, where that is the failure.
/// An engine's own words may be of permissions too: a file's, say.
fn no_connection(error: &ApiError) -> Option<std::io::ErrorKind> {
    if let ApiError::IOError { err } = error {
        return Some(err.kind());
    }
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind).next()
}

/// A failure of one engine call: what was being done, and the engine's words.
pub(crate) fn refused(doing: impl Into<String>, error: &ApiError) -> Failure {
    let text = describe(error);
    let mut failure = Failure::new(COULD_NOT_RUN, doing.into());
    let hint = if text.contains("iptables") || text.contains("No chain/target/match") {
        Some(
            "the host's firewall was flushed under the engine: restart the engine, which puts its rules back",
        )
    } else if no_connection(error) == Some(std::io::ErrorKind::PermissionDenied) {
        Some(
            "let your user reach the engine's socket (group docker), or name another engine with --engine: one that you run yourself, rootless, needs no group",
        )
    } else {
        None
    };
    failure.causes.push(text);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Tells whether the engine keeps images in containerd's store: an image is an index there, and the
/// engine chooses a variant by words of the index, which need not be those of the variant.
fn has_index_store(info: &SystemInfo) -> bool {
    let pairs = info.driver_status.iter().flatten();
    pairs.flatten().any(|word| word.contains("io.containerd.snapshotter"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn an_engine_with_the_store_of_containerd_is_known() {
        let of = |key: &str, value: &str| SystemInfo {
            driver_status: Some(vec![vec![key.to_owned(), value.to_owned()]]),
            ..SystemInfo::default()
        };
        assert!(has_index_store(&of("driver-type", "io.containerd.snapshotter.v1")));
        assert!(!has_index_store(&of("Backing Filesystem", "extfs")));
        assert!(!has_index_store(&SystemInfo::default()));
    }

    #[test]
    fn a_container_that_is_removed_just_now_is_known_by_the_engines_words() {
        let said = |status_code, message: &str| {
            is_being_removed(&ApiError::DockerResponseServerError {
                status_code,
                message: message.to_owned(),
            })
        };
        // Docker 20.10 to 28, of a log and of a removal.
        assert!(said(409, "can not get logs from container which is dead or marked for removal"));
        assert!(said(409, "removal of container 0a1b is already in progress"));
        assert!(said(
            409,
            "cannot stop container: 0a1b: container is marked for removal and cannot be stopped"
        ));
        assert!(!said(409, "Conflict. The container name \"/x\" is already in use by container 0a1b"));
        assert!(!said(500, "open /srv/x: permission denied"));
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "any question will do")]
    async fn only_a_closed_socket_is_a_matter_of_the_group() {
        let said = ApiError::DockerResponseServerError {
            status_code: 500,
            message: "open /srv/x: permission denied".to_owned(),
        };
        assert_eq!(refused("cannot", &said).hint, None);
        let closed = ApiError::from(std::io::Error::from(std::io::ErrorKind::PermissionDenied));
        assert!(refused("cannot", &closed).hint.unwrap().contains("group docker"));
        // As the library wraps a connection that did not come about: nobody listens on this socket.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        drop(UnixListener::bind(&path).unwrap());
        let version = bollard::API_DEFAULT_VERSION;
        let api = Docker::connect_with_unix(path.to_str().unwrap(), 1, version).unwrap();
        let gone = api.version().await.unwrap_err();
        assert_eq!(no_connection(&gone), Some(std::io::ErrorKind::ConnectionRefused), "{gone:?}");
        assert_eq!(refused("cannot", &gone).hint, None);
    }

    /// An engine that answers the first question and never another one.
    #[tokio::test]
    async fn an_engine_that_falls_silent_is_waited_for_within_the_limit() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        let answered = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let count = std::sync::Arc::clone(&answered);
        tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = [0; 4096];
                let _ = stream.read(&mut bytes).await;
                if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
                    let body = r#"{"ApiVersion":"1.45","MinAPIVersion":"1.24","Version":"x"}"#;
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                } else {
                    held.push(stream);
                }
            }
        });
        let address = Address::Unix(path);
        let tried = tokio::time::timeout(Duration::from_secs(30), try_address(&address, false));
        let why = tried.await.expect("it gives up by itself").map(|_| ()).unwrap_err();
        assert_eq!((why.why.as_str(), why.answered), ("no answer within 1 s", false));
        assert!(answered.load(std::sync::atomic::Ordering::SeqCst) > 1, "it was asked a second time");
    }
}
