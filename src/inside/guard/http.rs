//! HTTP/1 connections: the Host of every request must be the name.
//!
//! ```text
//!  agent ──request──▶ Host = name?, shape sound? ──▶ one connection to the server ──response──▶ agent
//!                         └─ no: 403 as JSON            └─ 101: both become byte streams
//! ```
//! Requests are parsed and written anew by hyper on both sides, so two readers cannot disagree on
//! where one ends.

mod interim;
mod patience;
mod request;

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use netpolicy::decide::{Reason, Target};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use self::interim::{Interims, WantedBody, Wish, WithInterims};
pub(crate) use self::patience::Begun;
use self::patience::HeadTimer;
pub(crate) use self::request::is_target;
use self::request::{check, forward_headers, origin_form, upgrade_of, write_anew};
use super::gate::{Link, Manner, Onward, Refusal};
use super::io::{Replay, drain, read_some, write_all};
use super::limits::Limit;
use super::shape::Shaped;
use super::tls::PATIENCE;
use crate::wire::event::Kind;

/// The most that the head of a request may take, and the most of a body that is held while the
/// server is slow.
const HEAD: usize = 32 * 1024;
/// The largest head of a response, and the most of its body that is held while the agent is slow,
/// in bytes.
const ANSWER: usize = 64 * 1024;
/// First line of an HTTP/2 client.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A response: the server's, or one of the gate.
type HttpResponse = Response<Either<Incoming, Full<Bytes>>>;

/// State that all requests of a connection share.
struct Door {
    link: Arc<Link>,
    /// Refuses every request, for a connection that is not permitted at all.
    closed: Option<Refusal>,
    upstream: tokio::sync::Mutex<Upstream>,
    upgraded: Mutex<Option<(OnUpgrade, OnUpgrade)>>,
    said: Mutex<bool>,
    interims: Interims,
}

/// The connection to the server.
#[derive(Default)]
struct Upstream {
    /// Dialled before the first request was known.
    dialled: Option<TcpStream>,
    sender: Option<SendRequest<WantedBody>>,
    running: Option<Running>,
}

/// The task that moves a connection's bytes; it ends with its owner.
struct Running(tokio::task::AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Carries a connection on which HTTP/1 is expected. `start` was read already, `dialled` is used
/// first.
pub(crate) async fn carry(
    link: &Arc<Link>,
    agent: &Arc<TcpStream>,
    start: Vec<u8>,
    dialled: Option<TcpStream>,
) -> Result<Onward, Refusal> {
    if start.is_empty() {
        // Nothing is held, no place and no buffer, while nothing has come. (A fresh connection
        // counts as readable unseen.)
        let _ = agent.peek(&mut [0]).await;
    }
    let Some(_place) = link.guard.limits.requests() else {
        return Err(Refusal::at_limit(Kind::Http, Limit::Requests));
    };
    let start = not_http2(agent, start).await?;
    serve(link, agent, start, dialled, None).await
}

/// Answers the first request of a connection with its refusal, which is in the log already.
pub(crate) async fn refuse(link: &Arc<Link>, agent: &Arc<TcpStream>, reason: Reason) {
    let refusal = Refusal::new(Kind::Http, reason);
    let _ = serve(link, agent, Vec::new(), None, Some(refusal)).await;
}

/// Reads until it is sure that the first bytes are not those of HTTP/2.
async fn not_http2(agent: &TcpStream, mut start: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    // A connection may wait for its first request; one that has begun may not stop in the midst of
    // these few bytes.
    let mut until = None;
    loop {
        let same = start.iter().zip(PREFACE).take_while(|(one, other)| one == other).count();
        if same >= PREFACE.len().min(14) {
            return Err(Refusal::new(Kind::Http, Reason::Http2));
        }
        if same < start.len() {
            return Ok(start);
        }
        if until.is_none() && !start.is_empty() {
            until = Some(Instant::now() + PATIENCE);
        }
        let mut part = [0; 32];
        let read = read_some(agent, &mut part);
        let read = match until {
            Some(until) => timeout_at(until, read).await.map_err(|_| slow())?,
            None => read.await,
        };
        match read {
            Ok(0) | Err(_) => return Ok(start),
            Ok(length) => start.extend_from_slice(&part[..length]),
        }
    }
}

/// Returns the refusal of a head that takes too long.
fn slow() -> Refusal {
    Refusal::new(Kind::Http, Reason::Malformed)
}

async fn serve(
    link: &Arc<Link>,
    agent: &Arc<TcpStream>,
    start: Vec<u8>,
    dialled: Option<TcpStream>,
    closed: Option<Refusal>,
) -> Result<Onward, Refusal> {
    let door = Arc::new(Door {
        link: Arc::clone(link),
        closed,
        upstream: tokio::sync::Mutex::new(Upstream { dialled, sender: None, running: None }),
        upgraded: Mutex::new(None),
        said: Mutex::new(false),
        interims: Interims::default(),
    });
    let timer = HeadTimer::default();
    let io = Replay::new(start, Arc::clone(agent), Arc::clone(&link.counts)).noting(timer.begun());
    let io = WithInterims::new(Shaped::new(Arc::clone(link), io), door.interims.clone());
    let serving = server::Builder::new()
        .preserve_header_case(true)
        .half_close(true)
        .timer(timer)
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(io), service_fn(|request| answer(Arc::clone(&door), request)))
        .with_upgrades();
    let served = tokio::select! {
        biased;
        served = serving => served,
        // An agent that is gone for good, while hyper waits for the server alone.
        _ = agent.ready(Interest::ERROR) => return Ok(Onward::Done),
    };
    let switched = door.upgraded.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((agent_side, server_side)) = switched {
        let (Ok(agent_side), Ok(server_side)) = (agent_side.await, server_side.await) else {
            return Ok(Onward::Done);
        };
        return Ok(switch(link, agent, agent_side, server_side).await.map_or(Onward::Done, Onward::Bytes));
    }
    if *door.said.lock().unwrap_or_else(PoisonError::into_inner) {
        drain(agent).await;
        return Ok(Onward::Done);
    }
    match served {
        Err(error) if error.is_timeout() => Err(slow()),
        Err(error) if error.is_parse() => {
            // hyper has answered 4xx by itself.
            drain(agent).await;
            Err(Refusal::new(Kind::Http, Reason::Malformed).manner(Manner::Said))
        }
        _ => Ok(Onward::Done),
    }
}

/// Takes both connections back from hyper, with what it had read beyond the switch. None when one
/// of them is gone.
async fn switch(
    link: &Link,
    agent: &TcpStream,
    agent_side: Upgraded,
    server_side: Upgraded,
) -> Option<TcpStream> {
    let agent_side = agent_side.downcast::<TokioIo<WithInterims<Shaped<Replay>>>>().ok()?;
    let server_side = server_side.downcast::<TokioIo<TcpStream>>().ok()?;
    let server = server_side.io.into_inner();
    let unread = agent_side.io.into_inner().into_inner().into_inner().into_unread();
    write_all(&server, &agent_side.read_buf).await.ok()?;
    write_all(&server, &unread).await.ok()?;
    link.sent(unread.len());
    write_all(agent, &server_side.read_buf).await.ok()?;
    link.counts.back.fetch_add(server_side.read_buf.len() as u64, Ordering::Relaxed);
    Some(server)
}

/// Answers one request.
async fn answer(door: Arc<Door>, request: Request<Incoming>) -> Result<HttpResponse, Infallible> {
    let asked = asked_host(&request);
    let refusal = match door.pass(request).await {
        Ok(response) => return Ok(response),
        Err(refusal) => refusal,
    };
    if door.closed.is_none() {
        door.link.refused(&refusal);
    }
    *door.said.lock().unwrap_or_else(PoisonError::into_inner) = true;
    Ok(refused(
        &refusal,
        asked.or_else(|| match &door.link.target {
            Target::Name(name) => Some(name.to_string()),
            Target::Address(address) => Some(address.to_string()),
        }),
    ))
}

/// Returns the host that a request names, for the words of a refusal.
fn asked_host<B>(request: &Request<B>) -> Option<String> {
    let value = request.headers().get(header::HOST)?.to_str().ok()?;
    Some(value.chars().filter(|c| c.is_ascii_graphic()).take(255).collect())
}

/// Returns the response for a refusal, or for a failure on the way out.
fn refused(refusal: &Refusal, host: Option<String>) -> HttpResponse {
    let (status, error, hint) = if refusal.is_failure() {
        (
            StatusCode::BAD_GATEWAY,
            "ringfence-upstream",
            "permitted by policy, but the server cannot be reached",
        )
    } else {
        (StatusCode::FORBIDDEN, "ringfence-denied", "blocked by policy; do not retry; ask the user")
    };
    let body = Refused { error, host: host.unwrap_or_default(), reason: refusal.reason.as_str(), hint };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let mut response = Response::new(Either::Right(Full::new(Bytes::from(body))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The body of a refusal.
#[derive(serde::Serialize)]
struct Refused<'a> {
    error: &'a str,
    host: String,
    reason: &'a str,
    hint: &'a str,
}

impl Door {
    /// Checks a request and has the server answer it.
    async fn pass(&self, mut request: Request<Incoming>) -> Result<HttpResponse, Refusal> {
        if let Some(closed) = &self.closed {
            return Err(Refusal::new(closed.kind, closed.reason));
        }
        if let Some(reason) = self.link.guard.closed() {
            return Err(Refusal::new(Kind::Http, reason));
        }
        check(&request, &self.link.target, self.link.port)
            .map_err(|reason| Refusal::new(Kind::Http, reason))?;
        self.interims.place().await;
        let upgrade = upgrade_of(request.headers());
        let (version, length) = (request.version(), request.body().size_hint().exact());
        forward_headers(request.headers_mut(), upgrade.as_ref());
        write_anew(request.headers_mut(), version, &self.link.target, length);
        *request.uri_mut() =
            origin_form(request.uri()).map_err(|()| Refusal::new(Kind::Http, Reason::Malformed))?;
        *request.version_mut() = Version::HTTP_11;
        let agent_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        let (wish, expects) = (Wish::default(), request.headers().contains_key(header::EXPECT));
        if version == Version::HTTP_11 {
            self.interims.relay(&mut request);
        }
        let mut response = self.send(request.map(|body| wish.of(body))).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(agent_side) = agent_side else {
                return Err(Refusal::failed(
                    Reason::ConnectFailed,
                    "the server switched protocols unasked".to_owned(),
                ));
            };
            let server_side = hyper::upgrade::on(&mut response);
            *self.upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some((agent_side, server_side));
        } else {
            forward_headers(response.headers_mut(), None);
            if expects && wish.end() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
        }
        Ok(response.map(Either::Left))
    }

    /// Sends a request on the connection to the server, a new one when the last has ended.
    async fn send(&self, mut request: Request<WantedBody>) -> Result<Response<Incoming>, Refusal> {
        let failed = |error: hyper::Error| match error.is_user() {
            // The body that the agent sends, not the server: chunks that are none, or an end in the
            // midst.
            true => Refusal::new(Kind::Http, Reason::Malformed),
            false => Refusal::failed(Reason::ConnectFailed, error.to_string()),
        };
        let mut upstream = self.upstream.lock().await;
        for last in [false, true] {
            let mut sender = match ready(upstream.sender.take()).await {
                Some(sender) => sender,
                None => self.dial(&mut upstream).await?,
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    upstream.sender = Some(sender);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    // The server closed an idle connection at this moment: nothing of the request
                    // was sent.
                    Some(unsent) if !last => request = unsent,
                    _ => return Err(failed(error.into_error())),
                },
            }
        }
        Err(Refusal::failed(Reason::ConnectFailed, "the server closed the connection".to_owned()))
    }

    /// Opens a new connection to the server.
    async fn dial(&self, upstream: &mut Upstream) -> Result<SendRequest<WantedBody>, Refusal> {
        let stream = match upstream.dialled.take() {
            Some(stream) => stream,
            None => self.link.connect().await?,
        };
        let (mut sender, connection) = client::Builder::new()
            .preserve_header_case(true)
            .max_buf_size(ANSWER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Refusal::failed(Reason::ConnectFailed, error.to_string()))?;
        upstream.running = Some(Running(tokio::spawn(connection.with_upgrades()).abort_handle()));
        sender.ready().await.map_err(|error| Refusal::failed(Reason::ConnectFailed, error.to_string()))?;
        Ok(sender)
    }
}

/// Returns a sender whose connection is still there.
async fn ready(sender: Option<SendRequest<WantedBody>>) -> Option<SendRequest<WantedBody>> {
    let mut sender = sender?;
    sender.ready().await.is_ok().then_some(sender)
}
