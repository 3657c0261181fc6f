//! Finding the container engine and speaking to it: `--engine`, else `DOCKER_HOST`, else the usual sockets.

use std::path::PathBuf;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as ApiError;

use crate::error::{COULD_NOT_RUN, Failure};

/// The lowest API version that has all that ringfence asks for (Docker 20.10).
const LOWEST_API: (usize, usize) = (1, 41);

/// A connection to an engine that answered.
#[derive(Clone)]
pub struct Engine {
    /// The API.
    pub api: Docker,
    /// Where it was found.
    pub host: String,
    /// Product and version, for the events.
    pub version: String,
}

/// Connects to the engine, or says everything that was tried.
pub async fn connect(asked: Option<&str>) -> Result<Engine, Failure> {
    let candidates = match asked.map(str::to_owned).or_else(|| std::env::var("DOCKER_HOST").ok()) {
        Some(host) if !host.is_empty() => vec![host],
        _ => usual_sockets(),
    };
    let mut tried = Vec::new();
    for host in candidates {
        match try_host(&host).await {
            Ok(engine) => return Ok(engine),
            Err(why) => tried.push(format!("{host}: {why}")),
        }
    }
    let mut failure = Failure::new(COULD_NOT_RUN, "no container engine answers");
    failure.causes = tried;
    Err(failure.hint("start Docker or Podman, or name the engine with --engine or DOCKER_HOST"))
}

fn usual_sockets() -> Vec<String> {
    let mut paths = vec![PathBuf::from("/var/run/docker.sock")];
    if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        paths.push(runtime.join("docker.sock"));
        paths.push(runtime.join("podman/podman.sock"));
    }
    if let Some(home) = std::env::var_os("HOME").map(PathBuf::from) {
        paths.push(home.join(".docker/run/docker.sock"));
        paths.push(home.join(".colima/default/docker.sock"));
        paths.push(home.join(".rd/docker.sock"));
        paths.push(home.join(".orbstack/run/docker.sock"));
    }
    paths.push(PathBuf::from("/run/podman/podman.sock"));
    paths.into_iter().map(|path| format!("unix://{}", path.display())).collect()
}

async fn try_host(host: &str) -> Result<Engine, String> {
    // An engine may need minutes to load an image; what must not hang has limits of its own.
    const TIMEOUT_SECONDS: u64 = 600;
    let version = bollard::API_DEFAULT_VERSION;
    let api = if let Some(path) = host.strip_prefix("unix://") {
        if !std::path::Path::new(path).exists() {
            return Err("no such socket".to_owned());
        }
        Docker::connect_with_unix(path, TIMEOUT_SECONDS, version)
    } else if host.starts_with("tcp://") || host.starts_with("http://") {
        Docker::connect_with_http(host, TIMEOUT_SECONDS, version)
    } else {
        return Err("only unix:// and tcp:// are supported by this version".to_owned());
    };
    let api = api.map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(Duration::from_secs(10), api.negotiate_version()).await;
    let api = match answer {
        Ok(negotiated) => negotiated.map_err(|error| describe(&error))?,
        Err(_) => return Err("no answer within 10 s".to_owned()),
    };
    let spoken = api.client_version();
    if (spoken.major_version, spoken.minor_version) < LOWEST_API {
        return Err(format!("it speaks API {spoken}, 1.41 (Docker 20.10) is the lowest that will do"));
    }
    let info = api.version().await.map_err(|error| describe(&error))?;
    let product = info.platform.map(|platform| platform.name).filter(|name| !name.is_empty());
    let version =
        format!("{} {}", product.unwrap_or_else(|| "engine".to_owned()), info.version.unwrap_or_default());
    Ok(Engine { api, host: host.to_owned(), version })
}

/// The engine's own words of an error, without the layers of the transport around them.
pub fn describe(error: &ApiError) -> String {
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

/// Whether the engine said that the object does not exist.
pub fn is_missing(error: &ApiError) -> bool {
    matches!(error, ApiError::DockerResponseServerError { status_code: 404, .. })
}

/// A failure of one engine call: what was being done, and the engine's words.
pub fn refused(doing: impl Into<String>, error: &ApiError) -> Failure {
    let text = describe(error);
    let mut failure = Failure::new(COULD_NOT_RUN, doing.into());
    let hint = if text.contains("iptables") || text.contains("No chain/target/match") {
        Some(
            "the host's firewall was flushed under the engine: restart the engine, which puts its rules back",
        )
    } else if text.contains("permission denied") {
        Some("let your user reach the engine's socket (group docker), or name another engine with --engine")
    } else {
        None
    };
    failure.causes.push(text);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
