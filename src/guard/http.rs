//! HTTP/1 connections: the Host of every request must be the name.
//!
//! ```text
//!  agent ──request──▶ Host = name?, shape sound? ──▶ one connection to the server ──response──▶ agent
//!                         └─ no: 403 as JSON            └─ 101: both become byte streams
//! ```
//! Requests are parsed and written anew by hyper on both sides, so two readers cannot disagree on where one ends.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use netpolicy::decide::{Reason, Target};
use netpolicy::host::HostName;
use tokio::net::TcpStream;

use super::events::Kind;
use super::gate::{Link, Manner, Refusal};
use super::io::{Replay, drain, read_some};

/// The most that the head of a request may take.
const HEAD: usize = 64 * 1024;
/// What an HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A response: the server's, or one of the gate.
type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// What all requests of a connection share.
struct Door {
    link: Arc<Link>,
    /// Refuses every request, for a connection that is not permitted at all.
    closed: Option<Refusal>,
    upstream: tokio::sync::Mutex<Upstream>,
    upgraded: Mutex<Option<(OnUpgrade, OnUpgrade)>>,
    said: Mutex<bool>,
}

/// The connection to the server.
#[derive(Default)]
struct Upstream {
    /// Dialled before the first request was known.
    dialled: Option<TcpStream>,
    sender: Option<SendRequest<Incoming>>,
    running: Option<Running>,
}

/// The task that moves a connection's bytes; it ends with its owner.
struct Running(tokio::task::AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Carries a connection on which HTTP/1 is expected. `start` was read already, `dialled` is used first.
pub async fn carry(
    link: &Arc<Link>,
    agent: &Arc<TcpStream>,
    start: Vec<u8>,
    dialled: Option<TcpStream>,
) -> Result<(), Refusal> {
    let start = not_http2(agent, start).await?;
    serve(link, agent, start, dialled, None).await
}

/// Answers the first request of a connection with its refusal, which is in the log already.
pub async fn refuse(link: &Arc<Link>, agent: &Arc<TcpStream>, reason: Reason) {
    let refusal = Refusal::new(Kind::Http, reason);
    let _ = serve(link, agent, Vec::new(), None, Some(refusal)).await;
}

/// Reads until it is sure that the first bytes are not those of HTTP/2.
async fn not_http2(agent: &TcpStream, mut start: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    loop {
        let same = start.iter().zip(PREFACE).take_while(|(one, other)| one == other).count();
        if same >= PREFACE.len().min(14) {
            return Err(Refusal::new(Kind::Http, Reason::Http2));
        }
        if same < start.len() {
            return Ok(start);
        }
        let mut part = [0; 512];
        match read_some(agent, &mut part).await {
            Ok(0) | Err(_) => return Ok(start),
            Ok(length) => start.extend_from_slice(&part[..length]),
        }
    }
}

async fn serve(
    link: &Arc<Link>,
    agent: &Arc<TcpStream>,
    start: Vec<u8>,
    dialled: Option<TcpStream>,
    closed: Option<Refusal>,
) -> Result<(), Refusal> {
    let door = Arc::new(Door {
        link: Arc::clone(link),
        closed,
        upstream: tokio::sync::Mutex::new(Upstream { dialled, sender: None, running: None }),
        upgraded: Mutex::new(None),
        said: Mutex::new(false),
    });
    let io = TokioIo::new(Replay::new(start, Arc::clone(agent), Arc::clone(&link.counts)));
    let served = server::Builder::new()
        .preserve_header_case(true)
        .half_close(true)
        .header_read_timeout(None)
        .max_buf_size(HEAD)
        .serve_connection(io, service_fn(|request| answer(Arc::clone(&door), request)))
        .with_upgrades()
        .await;
    let switched = door.upgraded.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((agent_side, server_side)) = switched {
        if let (Ok(agent_side), Ok(server_side)) = (agent_side.await, server_side.await) {
            let (mut one, mut other) = (TokioIo::new(agent_side), TokioIo::new(server_side));
            // Its end, however it comes, is the end of the connection.
            let _ = tokio::io::copy_bidirectional(&mut one, &mut other).await;
        }
        return Ok(());
    }
    if *door.said.lock().unwrap_or_else(PoisonError::into_inner) {
        drain(agent).await;
        return Ok(());
    }
    match served {
        Err(error) if error.is_parse() => {
            // hyper has answered 400 by itself.
            drain(agent).await;
            Err(Refusal::new(Kind::Http, Reason::Malformed).manner(Manner::Said))
        }
        _ => Ok(()),
    }
}

/// One request.
async fn answer(door: Arc<Door>, request: Request<Incoming>) -> Result<Answer, Infallible> {
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

/// The host that a request names, for the words of a refusal.
fn asked_host<B>(request: &Request<B>) -> Option<String> {
    let value = request.headers().get(header::HOST)?.to_str().ok()?;
    Some(value.chars().filter(|c| c.is_ascii_graphic()).take(255).collect())
}

/// The response that is a refusal, or a failure on the way out.
fn refused(refusal: &Refusal, host: Option<String>) -> Answer {
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
    async fn pass(&self, mut request: Request<Incoming>) -> Result<Answer, Refusal> {
        if let Some(closed) = &self.closed {
            return Err(Refusal::new(closed.kind, closed.reason));
        }
        if let Some(reason) = self.link.guard.closed() {
            return Err(Refusal::new(Kind::Http, reason));
        }
        check(&request, &self.link.target, self.link.port)
            .map_err(|reason| Refusal::new(Kind::Http, reason))?;
        let upgrade = upgrade_of(request.headers());
        forward_headers(request.headers_mut(), upgrade.as_ref());
        if let Ok(uri) = origin_form(request.uri()) {
            *request.uri_mut() = uri;
        }
        *request.version_mut() = Version::HTTP_11;
        let agent_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        let mut response = self.send(request).await?;
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
            let upgrade = None;
            forward_headers(response.headers_mut(), upgrade);
        }
        Ok(response.map(Either::Left))
    }

    /// Sends a request on the connection to the server, a new one when the last has ended.
    async fn send(&self, mut request: Request<Incoming>) -> Result<Response<Incoming>, Refusal> {
        let failed = |error: hyper::Error| Refusal::failed(Reason::ConnectFailed, error.to_string());
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
                    // The server closed an idle connection at this moment: nothing of the request was sent.
                    Some(unsent) if !last => request = unsent,
                    _ => return Err(failed(error.into_error())),
                },
            }
        }
        Err(Refusal::failed(Reason::ConnectFailed, "the server closed the connection".to_owned()))
    }

    /// A new connection to the server.
    async fn dial(&self, upstream: &mut Upstream) -> Result<SendRequest<Incoming>, Refusal> {
        let stream = match upstream.dialled.take() {
            Some(stream) => stream,
            None => self.link.guard.outside.connect(&self.link).await?,
        };
        let (mut sender, connection) = client::Builder::new()
            .preserve_header_case(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Refusal::failed(Reason::ConnectFailed, error.to_string()))?;
        upstream.running = Some(Running(tokio::spawn(connection.with_upgrades()).abort_handle()));
        sender.ready().await.map_err(|error| Refusal::failed(Reason::ConnectFailed, error.to_string()))?;
        Ok(sender)
    }
}

/// A sender whose connection is still there.
async fn ready(sender: Option<SendRequest<Incoming>>) -> Option<SendRequest<Incoming>> {
    let mut sender = sender?;
    sender.ready().await.is_ok().then_some(sender)
}

/// Whether a request is for the name of its connection and has one meaning only.
fn check<B>(request: &Request<B>, target: &Target, port: u16) -> Result<(), Reason> {
    if request.method() == Method::CONNECT {
        return Err(Reason::Protocol);
    }
    if request.version() > Version::HTTP_11 {
        return Err(Reason::Http2);
    }
    let headers = request.headers();
    if headers.contains_key(header::TRANSFER_ENCODING)
        && (headers.contains_key(header::CONTENT_LENGTH) || request.version() != Version::HTTP_11)
    {
        return Err(Reason::Malformed);
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(Reason::HostMismatch) };
    let host = host.to_str().map_err(|_| Reason::HostMismatch)?;
    if !is_target(host, target, port) {
        return Err(Reason::HostMismatch);
    }
    if let Some(authority) = request.uri().authority() {
        let scheme = request.uri().scheme_str();
        if scheme != Some("http") || !is_target(authority.as_str(), target, port) {
            return Err(Reason::HostMismatch);
        }
    }
    Ok(())
}

/// Whether the text of a Host is the target, with its port or without.
fn is_target(text: &str, target: &Target, port: u16) -> bool {
    let Target::Name(name) = target else {
        // A range of addresses: whatever is asked for, it goes there.
        return true;
    };
    let host = match text.rsplit_once(':') {
        Some((host, given)) if given.parse() == Ok(port) && given.bytes().all(|b| b.is_ascii_digit()) => host,
        Some(_) => return false,
        None => text,
    };
    // No conversion of other scripts here: what the server compares are these bytes.
    host.is_ascii()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && HostName::parse(host).is_ok_and(|host| host == *name)
}

/// The path of a request, without the host that was checked.
fn origin_form(uri: &Uri) -> Result<Uri, ()> {
    if uri.authority().is_none() {
        return Err(());
    }
    uri.path_and_query().map_or("/", |path| path.as_str()).parse().map_err(|_| ())
}

/// The protocols that a request wants to switch to, when all of them stay with this host. HTTP/2 would carry
/// names that nobody looks at.
fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(header::UPGRADE).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let text = value.to_str().ok()?.to_ascii_lowercase();
    let harmless = text.split(',').map(str::trim).all(|one| one == "websocket");
    harmless.then(|| value.clone())
}

/// Takes out what is meant for one connection only; what a `Connection` header names as well.
fn forward_headers(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| ![header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in ["connection", "keep-alive", "proxy-connection", "upgrade", "http2-settings"] {
        headers.remove(name);
    }
    if let Some(upgrade) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, upgrade.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target::Name(HostName::parse("gitlab.com").unwrap())
    }

    fn request(uri: &str, hosts: &[&str]) -> Request<()> {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn the_host_must_be_the_name() {
        for (uri, hosts, good) in [
            ("/", &["gitlab.com"][..], true),
            ("/", &["GitLab.COM"], true),
            ("/", &["gitlab.com."], true),
            ("/", &["gitlab.com:80"], true),
            ("/", &["gitlab.com:+80"], false),
            ("/", &["gitlab.com:8080"], false),
            ("/", &["gitlab.com:"], false),
            ("/", &["gitlab.com.."], false),
            ("/", &["evil.example"], false),
            ("/", &["gitlab.com, evil.example"], false),
            ("/", &["gitlab.com@evil.example"], false),
            ("/", &["ｇitlab.com"], false),
            ("/", &[""], false),
            ("/", &[], false),
            ("/", &["gitlab.com", "gitlab.com"], false),
            ("/", &["gitlab.com", "evil.example"], false),
            ("http://gitlab.com/x", &["gitlab.com"], true),
            ("http://evil.example/x", &["gitlab.com"], false),
            ("https://gitlab.com/x", &["gitlab.com"], false),
            ("http://user@gitlab.com/x", &["gitlab.com"], false),
        ] {
            let request = request(uri, hosts);
            assert_eq!(check(&request, &target(), 80).is_ok(), good, "{uri} {hosts:?}");
        }
    }

    #[test]
    fn two_lengths_and_tunnels_are_refused() {
        let mut two = request("/", &["gitlab.com"]);
        two.headers_mut().insert("content-length", HeaderValue::from_static("3"));
        two.headers_mut().insert("transfer-encoding", HeaderValue::from_static("chunked"));
        assert_eq!(check(&two, &target(), 80), Err(Reason::Malformed));
        let mut tunnel = request("/", &["gitlab.com"]);
        *tunnel.method_mut() = Method::CONNECT;
        assert_eq!(check(&tunnel, &target(), 80), Err(Reason::Protocol));
    }

    #[test]
    fn only_websockets_switch_and_a_connection_header_removes_no_host() {
        let mut headers = HeaderMap::new();
        headers.insert("upgrade", HeaderValue::from_static("h2c"));
        headers.insert("connection", HeaderValue::from_static("upgrade, host, x-secret, HTTP2-Settings"));
        headers.insert("host", HeaderValue::from_static("gitlab.com"));
        headers.insert("x-secret", HeaderValue::from_static("1"));
        assert!(upgrade_of(&headers).is_none());
        forward_headers(&mut headers, None);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["host"]);
        headers.insert("upgrade", HeaderValue::from_static("websocket"));
        assert!(upgrade_of(&headers).is_some());
    }
}
