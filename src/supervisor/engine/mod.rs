//! Finding the container engine and speaking to it.
//!
//! ```text
//!  discover ─▶ candidates ─▶ address ─┬─ unix://, tcp:// on this machine ─▶ bollard's own transports
//!  contexts ──┘                       └─ tcp:// with TLS, ssh:// ─────────▶ dial: tls, ssh
//! ```

mod address;
mod contexts;
mod dial;
mod discover;
mod ssh;
mod tls;

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as ApiError;
use bollard::models::SystemVersion;

use self::address::Address;
use self::discover::{Candidate, Told};
use crate::error::{COULD_NOT_RUN, Failure};

/// The lowest API version that has all that ringfence asks for (Docker 20.10).
const LOWEST_API: (usize, usize) = (1, 41);
/// An engine may need minutes to load an image; what must not hang has limits of its own.
const TIMEOUT_SECONDS: u64 = 600;
/// An engine answers a first question within this time. ssh may have to ask the person for a password.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const SSH_ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// What speaks the API: they differ in places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// dockerd, wherever it lives.
    Docker,
    /// Podman's service.
    Podman,
}

/// A connection to an engine that answered.
#[derive(Clone)]
pub struct Engine {
    /// The API.
    pub api: Docker,
    /// Where it was found.
    pub host: String,
    /// Product and version, for the events.
    pub version: String,
    /// What it is.
    pub product: Product,
    /// What its containers run on, in its own words: `amd64`, `arm64`.
    pub architecture: String,
    /// Whether its socket is on this machine; the engine may live in a virtual machine all the same.
    pub local: bool,
}

impl Engine {
    /// Whether it answers now.
    pub async fn answers(&self) -> bool {
        matches!(tokio::time::timeout(Duration::from_secs(2), self.api.ping()).await, Ok(Ok(_)))
    }

    /// Waits until it answers again, at most this long.
    pub async fn back_within(&self, limit: Duration) {
        let back = async {
            while !self.answers().await {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        // Whoever asks next is told what is wrong.
        let _ = tokio::time::timeout(limit, back).await;
    }
}

/// Connects to the engine, or says everything that was tried.
pub async fn connect(asked: Option<&str>) -> Result<Engine, Failure> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut tried = Vec::new();
    for Candidate { from, address } in discover::candidates(&Told { asked, variable: &variable })? {
        match try_address(&address).await {
            Ok(engine) => return Ok(engine),
            Err(why) => tried.push(format!("{from}, {address}: {why}")),
        }
    }
    Err(discover::none_answers(tried))
}

async fn try_address(address: &Address) -> Result<Engine, String> {
    let version = bollard::API_DEFAULT_VERSION;
    let api = match address {
        Address::Unix(path) if !path.exists() => return Err("no such socket".to_owned()),
        Address::Unix(path) => {
            let path = path.to_str().ok_or("its path is no text")?;
            Docker::connect_with_unix(path, TIMEOUT_SECONDS, version)
        }
        Address::Plain(at) => Docker::connect_with_http(&format!("tcp://{at}"), TIMEOUT_SECONDS, version),
        Address::Tls(at, files) => dial::client(tls::Tls::new(at.clone(), files)?, TIMEOUT_SECONDS, version),
        Address::Ssh { user, host, port } => {
            let ssh = ssh::Ssh { user: user.clone(), host: host.clone(), port: *port };
            dial::client(ssh, TIMEOUT_SECONDS, version)
        }
    };
    let api = api.map_err(|error| error.to_string())?;
    let limit = if matches!(address, Address::Ssh { .. }) { SSH_ANSWER_LIMIT } else { ANSWER_LIMIT };
    let answer = tokio::time::timeout(limit, api.negotiate_version()).await;
    let api = match answer {
        Ok(negotiated) => negotiated.map_err(|error| describe(&error))?,
        Err(_) => return Err(format!("no answer within {} s", limit.as_secs())),
    };
    let spoken = api.client_version();
    if (spoken.major_version, spoken.minor_version) < LOWEST_API {
        return Err(format!("it speaks API {spoken}, 1.41 (Docker 20.10) is the lowest that will do"));
    }
    let about = api.version().await.map_err(|error| describe(&error))?;
    let product = product(&about);
    Ok(Engine {
        api,
        host: address.to_string(),
        version: version_of(product, &about),
        product,
        architecture: about.arch.unwrap_or_default(),
        local: address.is_local(),
    })
}

fn product(about: &SystemVersion) -> Product {
    let parts = about.components.iter().flatten();
    let podman = parts.map(|part| part.name.as_str()).any(|name| name.contains("Podman"));
    if podman { Product::Podman } else { Product::Docker }
}

/// Podman puts the machine's kind where Docker has the product's name.
fn version_of(product: Product, about: &SystemVersion) -> String {
    let platform = about.platform.as_ref().map(|platform| platform.name.as_str()).unwrap_or_default();
    let name = match product {
        Product::Podman => "Podman",
        Product::Docker if platform.is_empty() => "Docker",
        Product::Docker => platform,
    };
    format!("{name} {}", about.version.as_deref().unwrap_or_default())
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

/// Whether the engine said that the object does not exist. Podman says so with another status when somebody else removes it meanwhile.
pub fn is_missing(error: &ApiError) -> bool {
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
