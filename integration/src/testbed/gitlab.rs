//! The web servers' answers: enough of GitLab for git and python-gitlab, a model's API for a coding
//! agent, and a page for every other name.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::http::{Request, Response};
use crate::command::{bounded, run};

/// The token that the API takes.
pub const TOKEN: &str = "glpat-of-the-testbed";
/// Tokens that the API tells about: how each is known, its scopes, and its end.
pub const TOKENS: &[Known] = &[
    Known {
        token: "workflow-of-the-testbed",
        oauth: false,
        scopes: &["ai_workflows"],
        ends: Ends::On("2199-01-01"),
    },
    Known {
        token: "wide-of-the-testbed",
        oauth: false,
        scopes: &["ai_workflows", "api"],
        ends: Ends::On("2199-01-01"),
    },
    Known {
        token: "past-of-the-testbed",
        oauth: false,
        scopes: &["ai_workflows"],
        ends: Ends::On("2020-01-01"),
    },
    Known { token: "endless-of-the-testbed", oauth: false, scopes: &["ai_workflows"], ends: Ends::Never },
    Known { token: "oauth-of-the-testbed", oauth: true, scopes: &["ai_workflows"], ends: Ends::In(7200) },
    Known { token: "brief-of-the-testbed", oauth: true, scopes: &["ai_workflows"], ends: Ends::In(12) },
];

/// The API's words about a token.
#[derive(Debug)]
pub struct Known {
    /// The token.
    pub token: &'static str,
    /// True for an OAuth token.
    pub oauth: bool,
    /// The things that it may do.
    pub scopes: &'static [&'static str],
    /// Its end.
    pub ends: Ends,
}

/// The end of a token.
#[derive(Debug)]
pub enum Ends {
    /// At the beginning of a day.
    On(&'static str),
    /// So many seconds after it was asked about.
    In(u64),
    /// It does not.
    Never,
}

/// A file of the project that can be cloned, and its content.
pub const FILE: (&str, &str) = ("README.md", "# A project of the testbed\n");
/// The model's words.
pub const MODEL_SAYS: &str = "The fence holds.";

/// The repositories behind it.
#[derive(Debug)]
pub struct GitLab {
    repositories: PathBuf,
}

impl GitLab {
    /// Makes `group/project` in `directory`.
    ///
    /// # Errors
    /// When git fails.
    pub fn new(directory: &Path) -> Result<Self> {
        let repositories = directory.join("repositories");
        let (bare, work) = (repositories.join("group/project.git"), directory.join("first-commit"));
        std::fs::create_dir_all(&repositories)?;
        let limit = Duration::from_secs(20);
        let path = |path: &Path| path.to_str().map(str::to_owned).context("a path that is no text");
        let (bare, work_path) = (path(&bare)?, path(&work)?);
        run("git", &["init", "--quiet", "--initial-branch=main", &work_path], limit)?;
        std::fs::write(work.join(FILE.0), FILE.1)?;
        let identity =
            ["-c", "user.name=testbed", "-c", "user.email=testbed@example.com", "-c", "commit.gpgsign=false"];
        run("git", &["-C", &work_path, "add", "."], limit)?;
        run(
            "git",
            &[&identity[..], &["-C", &work_path, "commit", "--quiet", "-m", "Start"]].concat(),
            limit,
        )?;
        run("git", &["clone", "--quiet", "--bare", &work_path, &bare], limit)?;
        Ok(Self { repositories })
    }

    /// Answers a request.
    #[must_use]
    pub fn answer(&self, request: &Request) -> Response {
        if request.path.starts_with("/group/project.git/") {
            // As GitLab: a push says who pushes.
            let pushes =
                request.path.ends_with("git-receive-pack") || request.query.contains("git-receive-pack");
            if pushes && !may_push(request) {
                let headers = vec![("WWW-Authenticate".to_owned(), "Basic realm=\"GitLab\"".to_owned())];
                return Response { status: 401, headers, body: b"HTTP Basic: Access denied\n".to_vec() };
            }
            return self.git(request).unwrap_or_else(|error| text(500, &format!("{error:#}\n")));
        }
        let token = request.header("private-token").or(request.header("authorization")).unwrap_or_default();
        let authorised = token.trim_start_matches("Bearer ") == TOKEN;
        match request.path.as_str() {
            "/api/v4/version" if authorised => json_of(&json!({"version": "18.3.0", "revision": "testbed"})),
            "/api/v4/user" if authorised => json_of(&json!({
                "id": 1, "username": "agent", "name": "Agent", "state": "active",
                "web_url": "https://gitlab.test/agent",
            })),
            "/api/v4/projects" if authorised => json_of(&json!([{
                "id": 7, "name": "project", "path": "project", "path_with_namespace": "group/project",
                "http_url_to_repo": "https://gitlab.test/group/project.git", "default_branch": "main",
            }])),
            "/api/v4/personal_access_tokens/self" => match known(token, false) {
                Some(_) if request.method == "DELETE" => {
                    Response { status: 204, headers: Vec::new(), body: Vec::new() }
                }
                Some(known) => json_of(&json!({
                    "id": 1, "name": "agent", "active": true, "revoked": false, "scopes": known.scopes,
                    "expires_at": match known.ends { Ends::On(day) => json!(day), _ => json!(null) },
                })),
                None => Response { status: 401, ..json_of(&json!({"message": "401 Unauthorized"})) },
            },
            "/oauth/token/info" => match known(token.trim_start_matches("Bearer "), true) {
                Some(known) => json_of(&json!({
                    "resource_owner_id": 1, "scope": known.scopes,
                    "expires_in": match known.ends { Ends::In(seconds) => json!(seconds), _ => json!(null) },
                })),
                None => Response { status: 401, ..json_of(&json!({"error": "invalid_token"})) },
            },
            path if path.starts_with("/api/v4/") => {
                let status = if authorised { 404 } else { 401 };
                Response { status, ..json_of(&json!({"message": format!("{status}")})) }
            }
            "/v1/responses" => model(),
            // So many bytes, for tests of conditions.
            path if path.starts_with("/bytes/") => {
                let length = path.rsplit('/').next().and_then(|length| length.parse().ok()).unwrap_or(0);
                Response { status: 200, headers: Vec::new(), body: vec![b'.'; usize::min(length, 64 << 20)] }
            }
            path => text(200, &format!("{} {path}\n", request.host)),
        }
    }

    fn git(&self, request: &Request) -> Result<Response> {
        let output = bounded(
            Command::new("git")
                .arg("http-backend")
                .env("GIT_PROJECT_ROOT", &self.repositories)
                .env("GIT_HTTP_EXPORT_ALL", "1")
                .env("GIT_CONFIG_COUNT", "1")
                .env("GIT_CONFIG_KEY_0", "safe.directory")
                .env("GIT_CONFIG_VALUE_0", "*")
                .env("PATH_INFO", &request.path)
                .env("QUERY_STRING", &request.query)
                .env("REQUEST_METHOD", &request.method)
                .env("CONTENT_LENGTH", request.body.len().to_string())
                .env("CONTENT_TYPE", request.header("content-type").unwrap_or_default())
                .env("HTTP_CONTENT_ENCODING", request.header("content-encoding").unwrap_or_default())
                .env("GIT_PROTOCOL", request.header("git-protocol").unwrap_or_default())
                .env("REMOTE_USER", "agent")
                .env("REMOTE_ADDR", "198.51.100.1"),
            &request.body,
            Duration::from_secs(20),
        )?;
        cgi(&output.bytes)
    }
}

/// Tells whether a request has a token as its password.
fn may_push(request: &Request) -> bool {
    let given = request.header("authorization").and_then(|header| header.strip_prefix("Basic "));
    let given =
        given.and_then(|text| STANDARD.decode(text).ok()).and_then(|text| String::from_utf8(text).ok());
    given.is_some_and(|pair| {
        pair.split_once(':').is_some_and(|(_, password)| {
            password == TOKEN || TOKENS.iter().any(|known| known.token == password)
        })
    })
}

/// The token of this text and kind.
fn known(token: &str, oauth: bool) -> Option<&'static Known> {
    TOKENS.iter().find(|known| known.token == token && known.oauth == oauth)
}

/// Reads what a CGI program printed.
fn cgi(printed: &[u8]) -> Result<Response> {
    let end = printed.windows(4).position(|window| window == b"\r\n\r\n").context("CGI without headers")?;
    let mut response = Response { status: 200, headers: Vec::new(), body: printed[end + 4..].to_vec() };
    for line in String::from_utf8_lossy(&printed[..end]).lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        match name {
            "Status" => response.status = value.trim().split(' ').next().unwrap_or_default().parse()?,
            _ => response.headers.push((name.to_owned(), value.trim().to_owned())),
        }
    }
    Ok(response)
}

/// A model's answer, as a stream of events: one message.
fn model() -> Response {
    let item = json!({
        "type": "message", "id": "m1", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": MODEL_SAYS, "annotations": []}],
    });
    let usage = json!({
        "input_tokens": 1, "output_tokens": 1, "total_tokens": 2,
        "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
    });
    let events = [
        json!({"type": "response.created", "response": {"id": "r1"}}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
        json!({"type": "response.completed", "response": {"id": "r1", "output": [item], "usage": usage}}),
    ];
    let body: String = events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()))
        .collect();
    Response {
        status: 200,
        headers: vec![("Content-Type".to_owned(), "text/event-stream".to_owned())],
        body: body.into_bytes(),
    }
}

fn json_of(value: &serde_json::Value) -> Response {
    let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    Response { status: 200, headers, body: value.to_string().into_bytes() }
}

fn text(status: u16, body: &str) -> Response {
    let headers = vec![("Content-Type".to_owned(), "text/plain".to_owned())];
    Response { status, headers, body: body.as_bytes().to_vec() }
}
