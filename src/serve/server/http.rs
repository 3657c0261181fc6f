//! HTTP on both sides: answers to clients, and requests to the engine, each over a connection of
//! its own.
//!
//! ```text
//!  client ─▶ hyper ─▶ (read, decided, written anew) ─▶ EngineHttp ─▶ engine's socket
//!         ◀─ Answer ◀─ head and body as they are, or made anew ◀─┘
//! ```
//! A connection for each request: nothing of one request can become part of another. Bytes are
//! carried raw only when the engine has changed the protocol itself.

use std::path::PathBuf;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::serve::denied::Denied;
use crate::serve::request::upstream_line::Line;
use crate::serve::request::version::ApiMinor;

/// Errors of bodies on their way.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// Body of a message.
pub(crate) type Body = UnsyncBoxBody<Bytes, BodyError>;
/// Answer to a client.
pub(crate) type Answer = Response<Body>;

/// The longest answer of the engine about one object. Longer ones, such as lists, are kept by
/// `whole_answers`.
const LONGEST_ANSWER: usize = 8 << 20;
/// Headers of the engine's answers that clients read.
const PASSED: [&str; 7] = [
    "content-type",
    "api-version",
    "docker-experimental",
    "ostype",
    "server",
    "x-docker-container-path-stat",
    "content-length",
];

/// Body of a request to the engine.
pub(crate) enum Sent {
    /// None.
    Nothing,
    /// JSON that ringfence wrote.
    Json(String),
    /// A tar, on its way.
    Tar(Body),
}

/// The engine's socket.
#[derive(Debug, Clone)]
pub(crate) struct EngineHttp {
    socket: PathBuf,
}

impl EngineHttp {
    pub(crate) fn new(socket: PathBuf) -> EngineHttp {
        EngineHttp { socket }
    }

    /// Sends a request; the engine's answer, whatever it is.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn send(
        &self,
        line: &Line,
        version: ApiMinor,
        sent: Sent,
    ) -> Result<Response<Incoming>, Denied> {
        self.call(line, version, sent, false).await
    }

    /// Sends a request that asks for the raw connection.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn upgrade(
        &self,
        line: &Line,
        version: ApiMinor,
        sent: Sent,
    ) -> Result<Response<Incoming>, Denied> {
        self.call(line, version, sent, true).await
    }

    async fn call(
        &self,
        line: &Line,
        version: ApiMinor,
        sent: Sent,
        upgrade: bool,
    ) -> Result<Response<Incoming>, Denied> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| silent(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| silent(&error))?;
        tokio::task::spawn_local(async move {
            // Its end is the end of the answer's body.
            let _ = connection.with_upgrades().await;
        });
        let mut request = Request::builder()
            .method(line.method)
            .uri(format!("/v{version}{}", line.path))
            .header(HOST, "docker");
        if upgrade {
            request = request.header(CONNECTION, "Upgrade").header(UPGRADE, "tcp");
        }
        let (kind, body) = match sent {
            Sent::Nothing => (None, empty()),
            Sent::Json(text) => (Some("application/json"), full(text)),
            Sent::Tar(body) => (Some("application/x-tar"), body),
        };
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        let request = request.body(body).map_err(|error| silent(&error))?;
        sender.send_request(request).await.map_err(|error| silent(&error))
    }

    /// Asks for JSON.
    ///
    /// # Errors
    /// With the engine's own status and words where it refuses.
    pub(crate) async fn json(&self, line: &Line, version: ApiMinor, sent: Sent) -> Result<Value, Denied> {
        let answer = self.send(line, version, sent).await?;
        read(answer).await
    }
}

/// Reads an answer of the engine as JSON; no content is null.
///
/// # Errors
/// With the engine's own status and words where it refuses.
pub(crate) async fn read(answer: Response<Incoming>) -> Result<Value, Denied> {
    let status = answer.status();
    let bytes = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
    let bytes =
        bytes.map_err(|error| Denied::new(502, format!("the engine's answer was lost: {error}")))?.to_bytes();
    meant(status, &bytes)
}

/// Reads the bytes of an answer as JSON.
///
/// # Errors
/// With the engine's own status and words where it refuses.
pub(crate) fn meant(status: StatusCode, bytes: &[u8]) -> Result<Value, Denied> {
    let value: Value = match bytes.is_empty() {
        true => Value::Null,
        false => {
            serde_json::from_slice(bytes).map_err(|_| Denied::new(502, "the engine's answer is no JSON"))?
        }
    };
    match status.is_success() || status == StatusCode::NOT_MODIFIED {
        true => Ok(value),
        false => {
            let words = value["message"].as_str().unwrap_or("the engine refuses, and does not say why");
            Err(Denied::plain(status.as_u16(), words))
        }
    }
}

fn silent(error: &dyn std::fmt::Display) -> Denied {
    Denied::new(503, format!("the engine does not answer: {error}"))
}

/// Returns an empty body.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Returns a body that is there.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Returns a body that comes in pieces.
pub(crate) fn streamed(
    pieces: impl futures_util::Stream<Item = Result<Bytes, BodyError>> + Send + 'static,
) -> Body {
    use futures_util::StreamExt as _;
    http_body_util::StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// Makes an answer of JSON.
pub(crate) fn json(status: u16, value: &Value) -> Answer {
    with(status, "application/json", full(value.to_string()))
}

/// Makes an answer without a body.
pub(crate) fn nothing(status: u16) -> Answer {
    let mut answer = Response::new(empty());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

/// Makes an answer of a kind.
pub(crate) fn with(status: u16, kind: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// Makes the answer of a refusal.
pub(crate) fn denied(denied: &Denied) -> Answer {
    with(denied.status, "application/json", full(denied.json()))
}

/// Passes an answer of the engine on.
pub(crate) fn passed(answer: Response<Incoming>) -> Answer {
    let (head, body) = answer.into_parts();
    let mut passed = Response::new(body.map_err(BodyError::from).boxed_unsync());
    *passed.status_mut() = head.status;
    for name in PASSED {
        if let Some(value) = head.headers.get(name) {
            passed.headers_mut().insert(HeaderName::from_static(name), value.clone());
        }
    }
    passed
}
