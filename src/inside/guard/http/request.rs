//! One request: whether it is for the name of its connection, and what of it goes on to the server.
//!
//! ```text
//!  request ──check──▶ Host = name, once? what stands for Host agrees? a shape with one meaning?
//!              └────▶ origin form, headers of this hop out, what frames and routes written anew
//! ```
//! Decision 20 says what becomes of each header.

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri, Version};
use netpolicy::decide::{Reason, Target};
use netpolicy::host::HostName;

/// Headers that frame a message, choose who answers it, or belong to one connection.
const RESERVED: [&str; 21] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-host",
    "x-forwarded-server",
    "x-host",
    "x-http-host-override",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
];
/// Headers that servers take for the Host.
const HOSTS: [&str; 5] =
    ["x-forwarded-host", "x-forwarded-server", "x-host", "x-http-host-override", "x-original-host"];
/// Headers that servers take for the path.
const PATHS: [&str; 2] = ["x-original-url", "x-rewrite-url"];
/// Value of `Expect` from a client that waits for the server's word before it sends a body.
const CONTINUE: &str = "100-continue";

/// Refuses a request that is not for the name of its connection, or has more than one meaning.
pub(crate) fn check<B>(request: &Request<B>, target: &Target, port: u16) -> Result<(), Reason> {
    if request.method() == Method::CONNECT {
        return Err(Reason::Protocol);
    }
    if request.version() > Version::HTTP_11 {
        return Err(Reason::Http2);
    }
    let headers = request.headers();
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(encoding) = encodings.next() {
        // `chunked`, alone and once: whatever else stands here, some server takes for no encoding
        // at all.
        let plain = encoding.as_bytes().eq_ignore_ascii_case(b"chunked") && encodings.next().is_none();
        if !plain || headers.contains_key(header::CONTENT_LENGTH) || request.version() != Version::HTTP_11 {
            return Err(Reason::Malformed);
        }
    }
    if headers.keys().any(|name| folds(name.as_str())) {
        return Err(Reason::Malformed);
    }
    let mut expectations = headers.get_all(header::EXPECT).iter();
    let one = expectations.next().is_none_or(|one| one.as_bytes().eq_ignore_ascii_case(CONTINUE.as_bytes()));
    if !one || expectations.next().is_some() {
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
    let agrees = |value: &HeaderValue, good: &dyn Fn(&str) -> bool| value.to_str().is_ok_and(good);
    let host = |text: &str| text.split(',').all(|one| is_target(one.trim(), target, port));
    let path = |text: &str| text.starts_with('/') && !text.starts_with("//");
    let hosts = HOSTS.iter().flat_map(|name| headers.get_all(*name)).all(|value| agrees(value, &host));
    let paths = PATHS.iter().flat_map(|name| headers.get_all(*name)).all(|value| agrees(value, &path));
    let forwarded = headers.get_all(header::FORWARDED).iter();
    let forwarded = forwarded.into_iter().all(|value| agrees(value, &|text| forwards(text, target, port)));
    if hosts && paths && forwarded { Ok(()) } else { Err(Reason::HostMismatch) }
}

/// Tells whether some server takes a header's name for a reserved one, since it takes other
/// characters for a dash.
fn folds(name: &str) -> bool {
    let folded: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let folded = folded.trim_matches('-');
    folded != name && RESERVED.contains(&folded)
}

/// Tells whether every `host` of a `Forwarded` header is the target. Quoted text is compared as it
/// stands.
fn forwards(text: &str, target: &Target, port: u16) -> bool {
    text.split([',', ';']).all(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        !key.trim().trim_matches('"').eq_ignore_ascii_case("host") || is_target(value, target, port)
    })
}

/// Tells whether the text of a Host is the target, with its port or without.
pub(crate) fn is_target(text: &str, target: &Target, port: u16) -> bool {
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

/// Returns a request's path and query, without the host that was checked.
pub(super) fn origin_form(uri: &Uri) -> Result<Uri, ()> {
    if uri.authority().is_none() {
        return Ok(uri.clone());
    }
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    // `http://name?query` has no path.
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{slash}{path}").parse().map_err(|_| ())
}

/// Returns the protocols that a request wants to switch to, when all of them stay with this host.
/// HTTP/2 would carry names that nobody looks at.
pub(super) fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(header::UPGRADE).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let text = value.to_str().ok()?.to_ascii_lowercase();
    let harmless = text.split(',').map(str::trim).all(|one| one == "websocket");
    harmless.then(|| HeaderValue::from_static("websocket"))
}

/// Takes out what is meant for one connection only; what a `Connection` header names as well.
pub(super) fn forward_headers(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| {
            let kept =
                [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::TE, header::EXPECT];
            !kept.contains(name)
        })
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

/// Writes what frames and routes a checked request anew, so that the server gets one spelling of
/// it, and takes out what only a proxy may say. `length` is that of the body, where it is known.
pub(super) fn write_anew(headers: &mut HeaderMap, version: Version, target: &Target, length: Option<u64>) {
    if let (Target::Name(name), Some(host)) = (target, headers.get(header::HOST)) {
        // The port that the agent wrote was checked.
        let port = host.to_str().ok().and_then(|host| host.rsplit_once(':'));
        let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
        let host = port.map_or_else(|| name.to_string(), |port| format!("{name}:{port}"));
        if let Ok(host) = HeaderValue::from_str(&host) {
            headers.insert(header::HOST, host);
        }
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if let (true, Some(length)) = (headers.contains_key(header::CONTENT_LENGTH), length) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    // Without a body there is nothing to wait for, and HTTP/1.0 has no interim responses.
    if headers.remove(header::EXPECT).is_some() && length != Some(0) && version == Version::HTTP_11 {
        headers.insert(header::EXPECT, HeaderValue::from_static(CONTINUE));
    }
    let trailers = headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    let trailers =
        trailers.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case("trailers"));
    if headers.remove(header::TE).is_some() && trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.append(header::CONNECTION, HeaderValue::from_static("te"));
    }
    // A field behind a body would be one that nobody looked at.
    headers.remove(header::TRAILER);
    let proxy: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str() == "proxy" || name.as_str().starts_with("proxy-"))
        .cloned()
        .collect();
    for name in proxy {
        headers.remove(name);
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
    fn what_stands_for_the_host_must_be_the_name_too() {
        for (name, value, good) in [
            ("x-forwarded-host", "gitlab.com", true),
            ("x-forwarded-host", "GitLab.com:80, gitlab.com", true),
            ("x-forwarded-host", "gitlab.com, evil.example", false),
            ("x-forwarded-host", "", false),
            ("x-host", "evil.example", false),
            ("x-original-host", "gitlab.com:81", false),
            ("x-http-host-override", "evil.example", false),
            ("x-forwarded-server", "evil.example", false),
            ("x-forwarded-for", "192.0.2.1", true),
            ("forwarded", "for=192.0.2.1;host=gitlab.com;proto=https", true),
            ("forwarded", "for=192.0.2.1, Host = \"gitlab.com\"", true),
            ("forwarded", "for=\"x\";host=evil.example", false),
            ("forwarded", "host=\"evil.example\"", false),
            ("forwarded", "for=x;\"host\"=evil.example", false),
            ("x-original-url", "/admin", true),
            ("x-original-url", "http://evil.example/", false),
            ("x-rewrite-url", "//evil.example/", false),
            ("x_forwarded_host", "gitlab.com", false),
            ("transfer_encoding", "chunked", false),
            ("content.length", "3", false),
            ("host_", "evil.example", false),
            ("content-length_", "3", false),
            ("te_", "x", false),
            ("my_header", "x", true),
            ("expect", "100-Continue", true),
            ("expect", "y 100-continue", false),
            ("expect", "", false),
        ] {
            let mut request = request("/", &["gitlab.com"]);
            request.headers_mut().append(name, HeaderValue::from_static(value));
            assert_eq!(check(&request, &target(), 80).is_ok(), good, "{name}: {value}");
        }
        let mut twice = request("/", &["gitlab.com"]);
        for _ in 0..2 {
            twice.headers_mut().append("expect", HeaderValue::from_static("100-continue"));
        }
        assert_eq!(check(&twice, &target(), 80), Err(Reason::Malformed));
    }

    #[test]
    fn what_frames_and_routes_is_written_anew() {
        let written = |lines: &[(&'static str, &'static str)], length| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            write_anew(&mut headers, Version::HTTP_11, &target(), length);
            let line =
                |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
            headers.iter().map(line).collect::<Vec<_>>().join(", ")
        };
        for (lines, length, expected) in [
            (&[("host", "GITLAB.com.:80")][..], Some(0), "host: gitlab.com:80"),
            (&[("content-length", "0064")], Some(64), "content-length: 64"),
            (&[("transfer-encoding", "ChUnKeD")], None, "transfer-encoding: chunked"),
            (&[("expect", "100-CONTINUE")], Some(3), "expect: 100-continue"),
            (&[("expect", "100-continue")], Some(0), ""),
            (&[("te", "gzip, Trailers;q=1")], Some(0), ""),
            (&[("te", "gzip, Trailers")], Some(0), "te: trailers, connection: te"),
            (&[("trailer", "x-forwarded-host"), ("proxy", "x"), ("proxy-authorization", "x")], Some(0), ""),
        ] {
            assert_eq!(written(lines, length), expected, "{lines:?}");
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
