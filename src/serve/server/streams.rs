//! Raw connections: attach and exec, once the engine has changed the protocol.
//!
//! ```text
//!  client: Upgrade ─▶ the engine's 101 ─▶ 101 ─▶ bytes both ways, each direction ended apart
//!  client: no Upgrade ─▶ the engine's 200 ─▶ output alone
//! ```
//! Before the engine's 101 no byte of the client's is passed on.

use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::http::{Answer, EngineHttp, Sent, empty, passed};
use crate::serve::denied::Denied;
use crate::serve::request::upstream_line::Line;
use crate::serve::request::version::ApiMinor;

/// Attaches a client to streams of the engine. `head`: the client's request. `has_input`: it wants
/// to write.
///
/// # Errors
/// When it wants to write and has not asked for the raw connection.
pub(crate) async fn hijack(
    engine: &EngineHttp,
    head: Parts,
    line: &Line,
    version: ApiMinor,
    sent: Sent,
    has_input: bool,
) -> Result<Answer, Denied> {
    if !head.headers.contains_key(UPGRADE) {
        if has_input {
            return Err(Denied::new(
                400,
                "stdin needs the header `Upgrade: tcp`; use a client of this decade",
            ));
        }
        return Ok(passed(engine.send(line, version, sent).await?));
    }
    let answer = engine.upgrade(line, version, sent).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(passed(answer));
    }
    let mut switched = Response::new(empty());
    *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    switched.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    switched.headers_mut().insert(UPGRADE, HeaderValue::from_static("tcp"));
    if let Some(kind) = answer.headers().get(CONTENT_TYPE) {
        switched.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    tokio::task::spawn_local(carry(Request::from_parts(head, ()), answer));
    Ok(switched)
}

/// Carries bytes until both sides have ended.
async fn carry(client: Request<()>, engine: Response<Incoming>) {
    let both = tokio::try_join!(hyper::upgrade::on(client), hyper::upgrade::on(engine));
    let Ok((client, engine)) = both else { return };
    // Either side may go at any time.
    let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(engine)).await;
}
