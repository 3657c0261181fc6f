//! One request: whether it is for the name of its connection, and what of it goes on to the server.
//!
//! ```text
//!  request ──check──▶ Host = name, once? absolute form agrees? a shape with one meaning? ──▶ origin form, headers of this hop out
//! ```

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri, Version};
use netpolicy::decide::{Reason, Target};
use netpolicy::host::HostName;

/// Whether a request is for the name of its connection and has one meaning only.
pub fn check<B>(request: &Request<B>, target: &Target, port: u16) -> Result<(), Reason> {
    if request.method() == Method::CONNECT {
        return Err(Reason::Protocol);
    }
    if request.version() > Version::HTTP_11 {
        return Err(Reason::Http2);
    }
    let headers = request.headers();
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(encoding) = encodings.next() {
        // `chunked`, alone and once: whatever else stands here, some server takes for no encoding at all.
        let plain = encoding.as_bytes().eq_ignore_ascii_case(b"chunked") && encodings.next().is_none();
        if !plain || headers.contains_key(header::CONTENT_LENGTH) || request.version() != Version::HTTP_11 {
            return Err(Reason::Malformed);
        }
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

/// What a request asks for, without the host that was checked.
pub fn origin_form(uri: &Uri) -> Result<Uri, ()> {
    if uri.authority().is_none() {
        return Ok(uri.clone());
    }
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    // `http://name?query` has no path.
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{slash}{path}").parse().map_err(|_| ())
}

/// The protocols that a request wants to switch to, when all of them stay with this host. HTTP/2 would carry
/// names that nobody looks at.
pub fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(header::UPGRADE).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let text = value.to_str().ok()?.to_ascii_lowercase();
    let harmless = text.split(',').map(str::trim).all(|one| one == "websocket");
    harmless.then(|| value.clone())
}

/// Takes out what is meant for one connection only; what a `Connection` header names as well.
pub fn forward_headers(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
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
