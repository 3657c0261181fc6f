//! A registry, open or for who has the password: one image, and a repository that is asked too
//! often.
//!
//! ```text
//!  docker save ─▶ layers, configuration (one variable more, so that it is another image) ─▶ /v2/NAME/{manifests,blobs}/…
//! ```
//! It listens on a loopback address of the namespace that the engine is in, since engines speak
//! plain HTTP to no other.

use std::collections::HashMap;
use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::engine::Engine;
use super::http::{self, Request, Response};
use crate::command::run;

/// The user who may have the image, and the password. In base64 the password has the two characters
/// that alphabets differ in.
pub const CREDENTIALS: (&str, &str) = ("agent", "pa~~~ss???wo>>>rd");
/// The repository that has the image, and the one that is asked too often.
pub const REPOSITORIES: (&str, &str) = ("some/agent", "busy/agent");
/// The tag.
pub const TAG: &str = "1";
/// The variable that only its image sets.
pub const VARIABLE: (&str, &str) = ("CAME_FROM", "the-registry");

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// One question.
#[derive(Debug, Clone)]
pub struct Asked {
    /// GET, HEAD.
    pub method: String,
    /// The path.
    pub path: String,
    /// True when the right credentials came with it.
    pub authorised: bool,
    /// True when any credentials came with it.
    pub credentials: bool,
    /// The answer's status.
    pub status: u16,
}

/// A running registry.
#[derive(Debug, Clone)]
pub struct Registry {
    address: SocketAddr,
    /// The image's digest.
    pub digest: String,
    log: Arc<Mutex<Vec<Asked>>>,
    /// Milliseconds before each layer.
    delay: Arc<AtomicU64>,
}

/// The clients that a registry serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Everybody.
    Open,
    /// Those with the password. Engines learn that from the first answer, so it holds for every
    /// repository.
    Closed,
}

/// A registry's contents, by digest. The manifest is there by its tag too.
struct Contents {
    door: Door,
    manifest: Vec<u8>,
    digest: String,
    blobs: HashMap<String, Vec<u8>>,
}

impl Registry {
    /// Starts one that has `image`, an image of the engine, with a variable more.
    ///
    /// # Errors
    /// When the image cannot be taken from the engine.
    pub fn start(engine: &Engine, image: &str, door: Door) -> Result<Self> {
        let contents = Arc::new(Contents::of(engine, image, door)?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let registry =
            Self { address, digest: contents.digest.clone(), log: Arc::default(), delay: Arc::default() };
        let served = registry.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (served, contents) = (served.clone(), contents.clone());
                thread::spawn(move || served.serve(stream, &contents));
            }
        });
        Ok(registry)
    }

    /// `ADDRESS/REPOSITORY`.
    #[must_use]
    pub fn name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.address)
    }

    /// Its own name in docker's configuration.
    #[must_use]
    pub fn server(&self) -> String {
        self.address.to_string()
    }

    /// Takes so much longer for each layer from now on.
    pub fn delay(&self, by: Duration) {
        self.delay.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Takes the questions since the last look.
    pub fn take(&self) -> Vec<Asked> {
        self.log.lock().map(|mut log| std::mem::take(&mut *log)).unwrap_or_default()
    }

    fn serve(&self, stream: TcpStream, contents: &Contents) -> Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut stream = BufReader::new(stream);
        while let Some(request) = http::read_request(&mut stream)? {
            let (user, password) = CREDENTIALS;
            let right = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            let given = request.header("authorization");
            let authorised = given == Some(&right);
            let response = contents.answer(&request, authorised);
            if let Ok(mut log) = self.log.lock() {
                log.push(Asked {
                    method: request.method.clone(),
                    path: request.path.clone(),
                    authorised,
                    credentials: given.is_some(),
                    status: response.status,
                });
            }
            if request.path.contains("/blobs/") {
                thread::sleep(Duration::from_millis(self.delay.load(Ordering::Relaxed)));
            }
            http::respond(stream.get_mut(), &request, &response)?;
        }
        Ok(())
    }
}

impl Contents {
    fn of(engine: &Engine, image: &str, door: Door) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = |path: &Path| path.to_str().map(str::to_owned).context("a path that is no text");
        let (tar, tree) = (folder.path().join("image.tar"), folder.path().join("image"));
        engine.docker(&["save", "--output", &path(&tar)?, image])?;
        std::fs::create_dir(&tree)?;
        run("tar", &["-C", &path(&tree)?, "-xf", &path(&tar)?], Duration::from_secs(60))?;
        let read = |name: &Value| -> Result<Vec<u8>> {
            Ok(std::fs::read(tree.join(name.as_str().context("a file's name")?))?)
        };
        let list: Value = serde_json::from_slice(&read(&json!("manifest.json"))?)?;
        let saved = &list[0];
        let mut config: Value = serde_json::from_slice(&read(&saved["Config"])?)?;
        let variable = format!("{}={}", VARIABLE.0, VARIABLE.1);
        config["config"]["Env"].as_array_mut().context("the image's variables")?.push(json!(variable));
        let mut blobs = HashMap::new();
        let mut keep = |content: Vec<u8>, kind: &str| {
            let digest = format!("sha256:{:x}", Hex(&content));
            let described = json!({"mediaType": kind, "size": content.len(), "digest": digest});
            blobs.insert(digest, content);
            described
        };
        let config = keep(serde_json::to_vec(&config)?, "application/vnd.docker.container.image.v1+json");
        let layers = saved["Layers"].as_array().context("layers")?;
        let layers = layers
            .iter()
            .map(|layer| Ok(keep(read(layer)?, "application/vnd.docker.image.rootfs.diff.tar")))
            .collect::<Result<Vec<Value>>>()?;
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let manifest = serde_json::to_vec(&manifest)?;
        Ok(Self { door, digest: format!("sha256:{:x}", Hex(&manifest)), manifest, blobs })
    }

    fn answer(&self, request: &Request, authorised: bool) -> Response {
        let challenge = || {
            let headers = vec![("WWW-Authenticate".to_owned(), "Basic realm=\"testbed\"".to_owned())];
            Response { headers, ..refusal(401, "UNAUTHORIZED", "authentication required") }
        };
        let path = request.path.strip_prefix("/v2/").unwrap_or_default();
        let (some, busy) = REPOSITORIES;
        if self.door == Door::Closed && !authorised {
            return challenge();
        }
        match path {
            "" => json_answer(b"{}".to_vec()),
            path if path.starts_with(busy) => {
                refusal(429, "TOOMANYREQUESTS", "too many requests for one day")
            }
            path => match path.strip_prefix(some) {
                Some(part) => self.part(part),
                None => refusal(404, "NAME_UNKNOWN", "repository name not known to registry"),
            },
        }
    }

    fn part(&self, path: &str) -> Response {
        let manifest = path.strip_prefix("/manifests/");
        if manifest.is_some_and(|reference| reference == TAG || reference == self.digest) {
            let headers = vec![
                ("Content-Type".to_owned(), MANIFEST.to_owned()),
                ("Docker-Content-Digest".to_owned(), self.digest.clone()),
            ];
            return Response { status: 200, headers, body: self.manifest.clone() };
        }
        match path.strip_prefix("/blobs/").and_then(|digest| self.blobs.get(digest)) {
            Some(blob) => {
                let headers = vec![("Content-Type".to_owned(), "application/octet-stream".to_owned())];
                Response { status: 200, headers, body: blob.clone() }
            }
            None => refusal(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        }
    }
}

fn json_answer(body: Vec<u8>) -> Response {
    let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    Response { status: 200, headers, body }
}

fn refusal(status: u16, code: &str, message: &str) -> Response {
    let text = json!({"errors": [{"code": code, "message": message}]}).to_string();
    Response { status, ..json_answer(text.into_bytes()) }
}

/// The sha256 of bytes, as `{:x}`.
struct Hex<'a>(&'a [u8]);

impl std::fmt::LowerHex for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Sha256::digest(self.0).iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
