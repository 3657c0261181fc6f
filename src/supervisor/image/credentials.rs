//! The credentials for a registry, as docker and Podman keep them: in a file, or with a helper
//! program.
//!
//! ```text
//!  files of both, the engine's own first ─▶ one by one ─┬─ credHelpers[registry], credsStore ─▶ docker-credential-NAME get ─▶ JSON
//!                                                       └─ auths[registry]: auth | identitytoken
//! ```
//! The crate for this (`docker_credential`) waits for a helper without end, so it is done here: a
//! helper that asks a locked keychain must not hang a run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::places::{self, CredentialFile, plain};
use super::reference::Reference;
use crate::host::open;
use crate::host::programs;
use crate::supervisor::engine::dialect::CredentialFiles;
use crate::term::{COULD_NOT_RUN, Failure};

/// A helper may ask its person for a password.
const HELPER_LIMIT: Duration = Duration::from_secs(60);
/// The largest file of credentials that is read.
const LARGEST: u64 = 4 << 20;
/// The most bytes that are read from a helper.
const MOST_OUTPUT: u64 = 64 << 10;
/// Answer of a helper, by its protocol, when it has no credentials.
const NOT_FOUND: &str = "credentials not found";
/// The user name by which a helper says that its secret is a token.
const TOKEN_USER: &str = "<token>";

/// Credentials for a registry. The type has no `Debug`: nothing of it is ever to be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    user: String,
    secret: Secret,
}

#[derive(Clone, PartialEq, Eq)]
enum Secret {
    Password(String),
    IdentityToken(String),
}

impl Credentials {
    /// Returns the credentials for the engine, which passes them on to `server`.
    pub(crate) fn for_engine(&self, server: &str) -> DockerCredentials {
        let (password, identitytoken) = match &self.secret {
            Secret::Password(password) => (Some(password.clone()), None),
            Secret::IdentityToken(token) => (None, Some(token.clone())),
        };
        DockerCredentials {
            username: Some(self.user.clone()),
            password,
            identitytoken,
            serveraddress: Some(server.to_owned()),
            ..Default::default()
        }
    }

    /// Returns a text without the secret, should an engine or a registry repeat it.
    pub(super) fn hide_in(&self, text: &str) -> String {
        let (Secret::Password(secret) | Secret::IdentityToken(secret)) = &self.secret;
        let encoded = STANDARD.encode(format!("{}:{secret}", self.user));
        let mut hidden = text.to_owned();
        for secret in [secret.as_str(), encoded.as_str()].into_iter().filter(|secret| !secret.is_empty()) {
            hidden = hidden.replace(secret, "***");
        }
        hidden
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: HashMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// Answer of a helper.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// Finds the credentials for an image, where there are any.
pub(crate) async fn find(
    reference: &Reference,
    first: CredentialFiles,
) -> Result<Option<Credentials>, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    for CredentialFile { path, owner } in places::in_order(first, set) {
        let config = match open::read(&path, LARGEST) {
            Ok(bytes) => parse(&path, &bytes)?,
            Err(refused) if refused.is_missing() => continue,
            Err(refused) => return Err(refused.explain(unusable(&path))),
        };
        let server = owner.server(reference);
        let found = match config.helper(server) {
            Some(helper) => ask(helper, server).await?,
            None => config.own(owner, reference).map_err(|why| {
                let mut failure = unusable(&path);
                failure.causes.push(why);
                failure
            })?,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn unusable(path: &Path) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("the credentials in {} cannot be used", path.display()))
        .hint("correct it, or name another by DOCKER_CONFIG (a folder) or REGISTRY_AUTH_FILE; `docker login` and `podman login` write them")
}

/// Reads a configuration. The position of a mistake is told, never the text: it may be a secret.
fn parse(path: &Path, bytes: &[u8]) -> Result<Config, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        let mut failure = unusable(path);
        failure.causes.push(format!("it is not the JSON that is expected, at line {}", error.line()));
        failure
    })
}

impl Config {
    fn helper(&self, server: &str) -> Option<&str> {
        let own =
            self.cred_helpers.iter().find(|(key, _)| plain(key) == plain(server)).map(|(_, helper)| helper);
        own.or(self.creds_store.as_ref()).map(String::as_str).filter(|helper| !helper.is_empty())
    }

    /// Finds the credentials that stand in the file itself.
    fn own(&self, owner: CredentialFiles, reference: &Reference) -> Result<Option<Credentials>, String> {
        let exact = self.auths.get(owner.server(reference)).filter(|_| owner == CredentialFiles::Docker);
        let found = exact.or_else(|| {
            let under = |name: &String| {
                let all = self.auths.iter();
                all.filter(|(key, _)| owner.name_of(key) == *name).map(|(_, entry)| entry).next()
            };
            owner.names(reference).iter().find_map(under)
        });
        let Some(entry) = found else { return Ok(None) };
        let server = owner.server(reference);
        let (user, password) = if entry.auth.is_empty() {
            (entry.username.clone(), entry.password.clone())
        } else {
            decode(&entry.auth)
                .ok_or_else(|| format!("`auth` of {server} is not the base64 of USER:PASSWORD"))?
        };
        Ok(match (entry.identitytoken.is_empty(), user.is_empty()) {
            (false, _) => {
                Some(Credentials { user, secret: Secret::IdentityToken(entry.identitytoken.clone()) })
            }
            (true, false) => Some(Credentials { user, secret: Secret::Password(password) }),
            (true, true) => None,
        })
    }
}

fn decode(auth: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// Asks a helper program, by docker's protocol: the server on stdin, JSON on stdout.
async fn ask(helper: &str, server: &str) -> Result<Option<Credentials>, Failure> {
    let program = format!("docker-credential-{helper}");
    let cannot = |why: String| {
        let mut failure = Failure::new(COULD_NOT_RUN, format!("{program} gives no credentials for {server}"));
        failure.causes.push(why);
        failure.hint(format!("see what it says: echo {server} | {program} get"))
    };
    // A name from a file becomes a program's: no path, no option.
    if !helper.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
        return Err(cannot("that is no helper's name".to_owned()));
    }
    let answered = tokio::time::timeout(HELPER_LIMIT, run(&program, server)).await;
    let (good, said) = answered
        .map_err(|_| cannot(format!("no answer within {} s", HELPER_LIMIT.as_secs())))?
        .map_err(|error| cannot(error.to_string()))?;
    if !good {
        let none = String::from_utf8_lossy(&said).contains(NOT_FOUND);
        return if none { Ok(None) } else { Err(cannot("it ended with an error".to_owned())) };
    }
    let answer: HelperAnswer = serde_json::from_slice(&said)
        .map_err(|_| cannot("its answer is not the JSON that is expected".to_owned()))?;
    let secret = if answer.username == TOKEN_USER {
        Secret::IdentityToken(answer.secret)
    } else {
        Secret::Password(answer.secret)
    };
    Ok(Some(Credentials { user: answer.username, secret }))
}

/// Runs a helper; returns whether it ended well, and its output.
async fn run(program: &str, server: &str) -> std::io::Result<(bool, Vec<u8>)> {
    let mut child = tokio::process::Command::from(programs::command(program)?)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // One that needs no input may have ended already; its answer counts.
        let _ = input.write_all(server.as_bytes()).await;
    }
    let mut said = Vec::new();
    if let Some(output) = child.stdout.take() {
        output.take(MOST_OUTPUT).read_to_end(&mut said).await?;
    }
    Ok((child.wait().await?.success(), said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        parse(Path::new("config.json"), text.as_bytes()).unwrap()
    }

    type OwnCredentials = Option<(String, Option<String>, Option<String>)>;

    fn own_of(config: &Config, owner: CredentialFiles, image: &str) -> OwnCredentials {
        let reference = Reference::parse(image).unwrap();
        let found = config.own(owner, &reference).unwrap()?.for_engine(reference.server());
        Some((found.username.unwrap_or_default(), found.password, found.identitytoken))
    }

    fn own(config: &Config, image: &str) -> OwnCredentials {
        own_of(config, CredentialFiles::Docker, image)
    }

    #[test]
    fn a_file_may_have_them_in_three_ways_and_under_two_keys() {
        let config = config(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "YWRhOnMzY3JldDpvcGVu"},
                "https://registry.example/v2/": {"username": "u", "password": "p"},
                "ghcr.io": {"auth": "PHRva2VuPjo=", "identitytoken": "t0ken"},
                "empty.example": {}
            }, "HttpHeaders": {"User-Agent": "x"}}"#,
        );
        let password = |user: &str, password: &str| Some((user.to_owned(), Some(password.to_owned()), None));
        assert_eq!(own(&config, "debian"), password("ada", "s3cret:open"));
        assert_eq!(own(&config, "registry.example/a/b"), password("u", "p"));
        assert_eq!(own(&config, "ghcr.io/a/b"), Some(("<token>".to_owned(), None, Some("t0ken".to_owned()))));
        assert_eq!(own(&config, "empty.example/a/b"), None);
        assert_eq!(own(&config, "registry.example.evil/a/b"), None);
        // Without a dot it is a user of Docker Hub.
        assert_eq!(own(&config, "example/a/b"), password("ada", "s3cret:open"));
    }

    #[test]
    fn podmans_file_may_have_them_for_a_part_of_a_registry() {
        let config = config(
            r#"{"auths": {
                "quay.io": {"auth": "YTphbGw="},
                "quay.io/team": {"auth": "YTp0ZWFt"},
                "quay.io/team/agent": {"auth": "YTphZ2VudA=="},
                "docker.io/me": {"auth": "YTptZQ=="}
            }}"#,
        );
        let podman = |image: &str| {
            own_of(&config, CredentialFiles::Containers, image).and_then(|(_, password, _)| password)
        };
        for (image, expected) in [
            ("quay.io/team/agent:1", Some("agent")),
            ("quay.io/team/other", Some("team")),
            ("quay.io/teamwork/agent", Some("all")),
            ("me/agent", Some("me")),
            ("you/agent", None),
            ("ghcr.io/team/agent", None),
        ] {
            assert_eq!(podman(image).as_deref(), expected, "{image}");
        }
    }

    #[test]
    fn a_registrys_own_helper_goes_before_the_store() {
        let config = config(r#"{"credsStore": "desktop", "credHelpers": {"gcr.io": "gcloud"}}"#);
        assert_eq!(config.helper("gcr.io"), Some("gcloud"));
        assert_eq!(config.helper("https://index.docker.io/v1/"), Some("desktop"));
        assert_eq!(super::Config::default().helper("gcr.io"), None);
    }

    #[test]
    fn mistakes_are_told_without_what_stands_there() {
        let broken = parse(Path::new("/c/config.json"), br#"{"auths": {"a": {"auth": s3cret"#)
            .map(|_| ())
            .unwrap_err();
        assert!(
            !broken.to_string().contains("s3cret") && broken.to_string().contains("/c/config.json"),
            "{broken}"
        );
        let reference = Reference::parse("a.b/c").unwrap();
        let wrong = config(r#"{"auths": {"a.b": {"auth": "s3cret!"}}}"#);
        let wrong = wrong.own(CredentialFiles::Docker, &reference).map(|_| ()).unwrap_err();
        assert!(!wrong.contains("s3cret"), "{wrong}");
    }

    #[test]
    fn what_repeats_a_secret_is_hidden() {
        let credentials =
            Credentials { user: "ada".to_owned(), secret: Secret::Password("s3cret".to_owned()) };
        assert_eq!(credentials.hide_in("bad s3cret, YWRhOnMzY3JldA=="), "bad ***, ***");
    }

    #[tokio::test]
    async fn a_helpers_name_is_no_path() {
        for name in ["../evil", "a b", "/bin/sh", "x;y"] {
            let failure = ask(name, "r.example").await.map(|_| ()).unwrap_err();
            assert!(failure.to_string().contains("no helper's name"), "{failure}");
        }
    }
}
