//! HTTP ports: requests in every shape, and what reaches the server.

use super::*;

#[tokio::test]
async fn http_checks_every_request_of_a_connection() {
    let (guard, log) = guard_with(policy(), Some(web(false).await), None);
    let mut agent = connect(&guard, "gitlab.com", 80).await;
    for _ in 0..2 {
        agent
            .write_all(b"GET http://gitlab.com/a?b HTTP/1.1\r\nHost: gitlab.com\r\nX-Some: 1\r\n\r\n")
            .await
            .unwrap();
        assert!(head(&mut agent).await.starts_with("HTTP/1.1 200"));
        let forwarded = head(&mut agent).await;
        assert!(forwarded.starts_with("GET /a?b HTTP/1.1\r\n"), "{forwarded}");
        assert!(forwarded.contains("X-Some: 1\r\n"), "{forwarded}");
    }
    agent.write_all(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n").await.unwrap();
    let rest = String::from_utf8(read_all(&mut agent).await.unwrap()).unwrap();
    assert!(rest.starts_with("HTTP/1.1 403"), "{rest}");
    assert!(
        rest.contains("content-type: application/json") || rest.contains("Content-Type: application/json"),
        "{rest}"
    );
    assert!(
        rest.ends_with(
            r#"{"error":"ringfence-denied","host":"evil.example","reason":"host-mismatch","hint":"blocked by policy; do not retry; ask the user"}"#
        ),
        "{rest}"
    );
    assert_eq!(reasons(&log), ["host-mismatch"]);
    assert_eq!(stage(&guard).dialled.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn http_refuses_http2_smuggling_and_what_the_policy_refuses() {
    let (guard, log) = guard_with(policy(), Some(web(false).await), None);
    let mut agent = connect(&guard, "gitlab.com", 80).await;
    agent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert!(read_all(&mut agent).await.is_err());
    let mut agent = connect(&guard, "gitlab.com", 80).await;
    agent.write_all(b"POST / HTTP/1.1\r\nHost: gitlab.com\r\nContent-Length: 1, 2\r\n\r\nx").await.unwrap();
    assert!(read_all(&mut agent).await.unwrap().starts_with(b"HTTP/1.1 400"));
    eventually(|| reasons(&log).len() == 2).await;
    assert!(stage(&guard).dialled.lock().unwrap().is_empty());
    let mut agent = connect(&guard, "inside.example", 80).await;
    agent.write_all(b"GET / HTTP/1.1\r\nHost: inside.example\r\n\r\n").await.unwrap();
    let answer = String::from_utf8(read_all(&mut agent).await.unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("private-address"), "{answer}");
    let mut agent = connect(&guard, "gone.example", 80).await;
    agent.write_all(b"GET / HTTP/1.1\r\nHost: gone.example\r\n\r\n").await.unwrap();
    let answer = String::from_utf8(read_all(&mut agent).await.unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("ringfence-upstream"), "{answer}");
    assert_eq!(reasons(&log), ["http2", "malformed", "private-address", "resolve-failed"]);
}

#[tokio::test]
async fn websockets_become_bytes() {
    let (guard, _) = guard_with(policy(), Some(web(true).await), None);
    let mut agent = connect(&guard, "gitlab.com", 80).await;
    agent
        .write_all(b"GET / HTTP/1.1\r\nHost: gitlab.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await
        .unwrap();
    assert!(head(&mut agent).await.starts_with("HTTP/1.1 101"));
    agent.write_all(b"\x81\x02hi").await.unwrap();
    let mut back = [0; 4];
    agent.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"\x81\x02hi");
}

/// Starts a server that keeps what it gets, answers 200 to the first head, and ends.
async fn recorder() -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
    let keeps = Arc::clone(&kept);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let keeps = Arc::clone(&keeps);
            tokio::spawn(async move {
                let mut answered = false;
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    keeps.lock().unwrap().extend_from_slice(&buffer[..length]);
                    let whole = keeps.lock().unwrap().windows(4).any(|end| end == b"\r\n\r\n");
                    if whole && !answered {
                        answered = true;
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.ok();
                    }
                }
            });
        }
    });
    (address, kept)
}

/// Sends a request on a connection to gitlab.com:80, and returns the answer, the reason, and the
/// bytes that the server got.
async fn exchange(request: &[u8]) -> String {
    let (server, kept) = recorder().await;
    let (guard, log) = guard_with(policy(), Some(server), None);
    let mut agent = connect(&guard, "gitlab.com", 80).await;
    agent.write_all(request).await.unwrap();
    agent.shutdown().await.ok();
    let answer = match read_all(&mut agent).await {
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer).into_owned();
            let statuses: Vec<&str> =
                text.match_indices("HTTP/1.1 ").map(|(at, found)| &text[at + found.len()..][..3]).collect();
            if statuses.is_empty() { "closed".to_owned() } else { statuses.join(" then ") }
        }
        Err(error) => format!("{error:?}"),
    };
    guard.events.finish();
    let reason = reasons(&log).join(" ");
    let got = kept.lock().unwrap().escape_ascii().to_string();
    format!("{answer}; {reason}\n    {got}")
}

#[tokio::test]
async fn requests_in_every_shape() {
    const H: &str = "Host: gitlab.com\r\n";
    let many: String = (0..120).map(|number| format!("X-{number}: 1\r\n")).collect();
    let big = format!("GET / HTTP/1.1\r\n{H}X: {}\r\n\r\n", "a".repeat(40_000));
    let path = format!("GET /{} HTTP/1.1\r\n{H}\r\n", "a".repeat(40_000));
    let cases: Vec<(&str, String)> = vec![
        ("plain", format!("GET /a?b HTTP/1.1\r\n{H}\r\n")),
        ("upper-case host", "GET / HTTP/1.1\r\nHost: GITLAB.COM\r\n\r\n".into()),
        ("trailing dot", "GET / HTTP/1.1\r\nHost: gitlab.com.\r\n\r\n".into()),
        ("its port", "GET / HTTP/1.1\r\nHost: gitlab.com:80\r\n\r\n".into()),
        ("another port", "GET / HTTP/1.1\r\nHost: gitlab.com:81\r\n\r\n".into()),
        ("no host", "GET / HTTP/1.1\r\nX: 1\r\n\r\n".into()),
        ("empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n".into()),
        ("host twice", format!("GET / HTTP/1.1\r\n{H}{H}\r\n")),
        ("two hosts", format!("GET / HTTP/1.1\r\n{H}Host: evil.example\r\n\r\n")),
        ("two hosts, the other first", format!("GET / HTTP/1.1\r\nHost: evil.example\r\n{H}\r\n")),
        ("two hosts in one", "GET / HTTP/1.1\r\nHost: gitlab.com, evil.example\r\n\r\n".into()),
        ("host with user", "GET / HTTP/1.1\r\nHost: a@gitlab.com\r\n\r\n".into()),
        ("host with path", "GET / HTTP/1.1\r\nHost: gitlab.com/x\r\n\r\n".into()),
        ("an address", "GET / HTTP/1.1\r\nHost: 198.51.100.7\r\n\r\n".into()),
        ("space before colon", "GET / HTTP/1.1\r\nHost : gitlab.com\r\n\r\n".into()),
        ("host folded", "GET / HTTP/1.1\r\nHost:\r\n gitlab.com\r\n\r\n".into()),
        ("header folded", format!("GET / HTTP/1.1\r\n{H}X: 1\r\n Host: evil.example\r\n\r\n")),
        ("first header folded", format!("GET / HTTP/1.1\r\n Host: evil.example\r\n{H}\r\n")),
        ("bare line feeds", "GET / HTTP/1.1\nHost: gitlab.com\n\n".into()),
        ("bare line feed hides a host", format!("GET / HTTP/1.1\r\n{H}X: 1\nHost: evil.example\r\n\r\n")),
        ("bare carriage return", format!("GET / HTTP/1.1\r\n{H}X: 1\rHost: evil.example\r\n\r\n")),
        ("a NUL", format!("GET / HTTP/1.1\r\n{H}X: 1\0\r\n\r\n")),
        ("HTTP/1.0 with host", format!("GET / HTTP/1.0\r\n{H}\r\n")),
        ("HTTP/1.0 without", "GET / HTTP/1.0\r\n\r\n".into()),
        ("HTTP/1.2", format!("GET / HTTP/1.2\r\n{H}\r\n")),
        ("HTTP/2.0", format!("GET / HTTP/2.0\r\n{H}\r\n")),
        ("HTTP/0.9", "GET /\r\n".into()),
        ("blank lines first", format!("\r\n\r\nGET / HTTP/1.1\r\n{H}\r\n")),
        ("two spaces", format!("GET  / HTTP/1.1\r\n{H}\r\n")),
        ("absolute form", format!("GET http://gitlab.com/a HTTP/1.1\r\n{H}\r\n")),
        ("absolute form, port", format!("GET http://gitlab.com:80/a HTTP/1.1\r\n{H}\r\n")),
        ("absolute form without path", format!("GET http://gitlab.com?x HTTP/1.1\r\n{H}\r\n")),
        ("absolute form, another host", format!("GET http://evil.example/a HTTP/1.1\r\n{H}\r\n")),
        (
            "absolute form, host another",
            "GET http://gitlab.com/ HTTP/1.1\r\nHost: evil.example\r\n\r\n".into(),
        ),
        ("absolute form, no host", "GET http://gitlab.com/ HTTP/1.1\r\n\r\n".into()),
        ("absolute form, https", format!("GET https://gitlab.com/ HTTP/1.1\r\n{H}\r\n")),
        ("absolute form, user", format!("GET http://gitlab.com@evil.example/ HTTP/1.1\r\n{H}\r\n")),
        ("two slashes", format!("GET //evil.example/ HTTP/1.1\r\n{H}\r\n")),
        ("asterisk", format!("OPTIONS * HTTP/1.1\r\n{H}\r\n")),
        ("CONNECT", "CONNECT gitlab.com:80 HTTP/1.1\r\nHost: gitlab.com:80\r\n\r\n".into()),
        ("CONNECT elsewhere", "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n".into()),
        ("length", format!("POST / HTTP/1.1\r\n{H}Content-Length: 3\r\n\r\nabc")),
        (
            "same length twice",
            format!("POST / HTTP/1.1\r\n{H}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
        ),
        ("two lengths", format!("POST / HTTP/1.1\r\n{H}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd")),
        ("signed length", format!("POST / HTTP/1.1\r\n{H}Content-Length: +3\r\n\r\nabc")),
        ("length with zeros", format!("POST / HTTP/1.1\r\n{H}Content-Length: 003\r\n\r\nabc")),
        (
            "length, and chunked under a name that folds",
            format!("POST / HTTP/1.1\r\n{H}Content-Length: 3\r\nTransfer_Encoding: chunked\r\n\r\nabc"),
        ),
        ("host under a name that folds", format!("GET / HTTP/1.1\r\n{H}Host_: evil.example\r\n\r\n")),
        (
            "another host behind a proxy",
            format!("GET / HTTP/1.1\r\n{H}X-Forwarded-Host: evil.example\r\n\r\n"),
        ),
        (
            "another host forwarded",
            format!("GET / HTTP/1.1\r\n{H}Forwarded: for=a;host=evil.example\r\n\r\n"),
        ),
        (
            "another host as the path",
            format!("GET / HTTP/1.1\r\n{H}X-Original-URL: http://evil.example/\r\n\r\n"),
        ),
        (
            "another expectation",
            format!("POST / HTTP/1.1\r\n{H}Expect: y 100-continue\r\nContent-Length: 3\r\n\r\nabc"),
        ),
        ("huge length", format!("POST / HTTP/1.1\r\n{H}Content-Length: 99999999999999999999\r\n\r\nabc")),
        (
            "length then chunked",
            format!(
                "POST / HTTP/1.1\r\n{H}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
            ),
        ),
        (
            "chunked then length",
            format!(
                "POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n1\r\na\r\n0\r\n\r\n"
            ),
        ),
        ("chunked", format!("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")),
        (
            "chunked, odd case",
            format!("POST / HTTP/1.1\r\n{H}tRANSFER-eNCODING: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
        ),
        (
            "chunked twice",
            format!("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
        ),
        (
            "not chunked last",
            format!("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked, gzip\r\n\r\n1\r\na\r\n0\r\n\r\n"),
        ),
        (
            "gzip, chunked",
            format!("POST / HTTP/1.1\r\n{H}Transfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
        ),
        ("xchunked", format!("POST / HTTP/1.1\r\n{H}Transfer-Encoding: xchunked\r\n\r\n1\r\na\r\n0\r\n\r\n")),
        (
            "chunked with a tab",
            format!("POST / HTTP/1.1\r\n{H}Transfer-Encoding:\tchunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
        ),
        (
            "chunked in 1.0",
            format!("POST / HTTP/1.0\r\n{H}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
        ),
        (
            "chunk extension",
            format!("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1;x=\"y\"\r\na\r\n0\r\n\r\n"),
        ),
        (
            "chunk extension with a line feed",
            format!("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1;x\ny\r\na\r\n0\r\n\r\n"),
        ),
        (
            "chunk size in C",
            format!("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n"),
        ),
        (
            "chunk size too large",
            format!(
                "POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n11111111111111111\r\na\r\n0\r\n\r\n"
            ),
        ),
        (
            "chunk without end",
            format!("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1\r\nab0\r\n\r\n"),
        ),
        (
            "trailer with a host",
            format!(
                "POST / HTTP/1.1\r\n{H}Trailer: Host\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nHost: evil.example\r\n\r\n"
            ),
        ),
        (
            "request in a body",
            format!(
                "POST / HTTP/1.1\r\n{H}Content-Length: 40\r\n\r\nGET / HTTP/1.1\r\nHost: evil.example\r\n\r\nab"
            ),
        ),
        (
            "request after a body",
            format!(
                "POST / HTTP/1.1\r\n{H}Content-Length: 1\r\n\r\naGET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"
            ),
        ),
        ("body of a GET", format!("GET / HTTP/1.1\r\n{H}Content-Length: 1\r\n\r\na")),
        (
            "upgrade to h2c",
            format!(
                "GET / HTTP/1.1\r\n{H}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
            ),
        ),
        ("upgrade to TLS", format!("GET / HTTP/1.1\r\n{H}Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n\r\n")),
        (
            "upgrade to either",
            format!("GET / HTTP/1.1\r\n{H}Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n"),
        ),
        ("h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".into()),
        ("h2 preface after a request", format!("GET / HTTP/1.1\r\n{H}\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
        (
            "connection names host",
            format!("GET / HTTP/1.1\r\n{H}Connection: host, content-length, x\r\nX: 1\r\n\r\n"),
        ),
        (
            "expectation",
            format!("POST / HTTP/1.1\r\n{H}Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"),
        ),
        ("too many headers", format!("GET / HTTP/1.1\r\n{H}{many}\r\n")),
        ("a header of 40,000", big),
        ("a path of 40,000", path),
        ("TLS", "\x16\x03\x01\0\x05\x01\0\0\x01\0".into()),
        ("half a head", "GET / HTTP/1.1\r\nHost: git".into()),
    ];
    let mut outcomes = String::new();
    for (what, request) in &cases {
        let mut outcome = exchange(request.as_bytes()).await;
        outcome.truncate(500);
        outcomes.push_str(&format!("{what}: {outcome}\n"));
    }
    insta::assert_snapshot!("requests", outcomes);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_turn_up_to_the_one_that_is_refused() {
    let (guard, log) = guard_with(policy(), Some(web(false).await), None);
    let mut agent = connect(&guard, "gitlab.com", 80).await;
    let good = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: gitlab.com\r\n\r\n");
    let bad = "GET /3 HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    let all = [good("/1"), good("/2"), bad.to_owned(), good("/4")].concat();
    agent.write_all(all.as_bytes()).await.unwrap();
    let text = String::from_utf8(read_all(&mut agent).await.unwrap()).unwrap();
    let statuses: Vec<&str> = text.lines().filter(|line| line.starts_with("HTTP/1.1")).collect();
    assert_eq!(statuses, ["HTTP/1.1 200 OK", "HTTP/1.1 200 OK", "HTTP/1.1 403 Forbidden"], "{text}");
    assert!(text.contains("GET /2") && !text.contains("GET /3") && !text.contains("GET /4"), "{text}");
    assert_eq!(reasons(&log), ["host-mismatch"]);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_ends_ten_seconds_after_its_first_byte_and_a_kept_connection_does_not() {
    let (guard, log) = guard_with(policy(), Some(web(false).await), None);
    let mut agent = connect(&guard, "gitlab.com", 80).await;
    let request = b"GET / HTTP/1.1\r\nHost: gitlab.com\r\n\r\n";
    for _ in 0..2 {
        // Between two requests a connection may wait, though not for ever.
        tokio::time::sleep(Duration::from_secs(1800)).await;
        agent.write_all(request).await.unwrap();
        assert!(head(&mut agent).await.starts_with("HTTP/1.1 200"));
        head(&mut agent).await;
    }
    let begin = tokio::time::Instant::now();
    agent.write_all(b"GET / HTTP/1.1\r\nHost: gitlab.com\r\nX: ").await.unwrap();
    while reasons(&log).is_empty() && begin.elapsed().as_secs() < 60 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        agent.write_all(b"a").await.ok();
    }
    let seconds = begin.elapsed().as_secs_f64();
    assert!((9.5..11.5).contains(&seconds), "{seconds}");
    assert_eq!(reasons(&log), ["malformed"]);
    // No answer: whatever it is, it is no request.
    assert_eq!(read_all(&mut agent).await.unwrap_or_default(), b"");
}

#[tokio::test(start_paused = true)]
async fn first_bytes_that_could_be_http2_may_not_stop_there() {
    let (guard, log) = guard_with(policy(), Some(web(false).await), None);
    let mut agent = connect(&guard, "gitlab.com", 80).await;
    agent.write_all(b"PRI").await.unwrap();
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(reasons(&log), ["malformed"]);
}

#[tokio::test]
async fn connections_whose_requests_are_read_have_a_table_of_their_own() {
    let (guard, log) = guard_with(policy(), Some(web(false).await), None);
    guard.limits.leave(10, 1, 10_000);
    let request = b"GET / HTTP/1.1\r\nHost: gitlab.com\r\n\r\n";
    let mut first = connect(&guard, "gitlab.com", 80).await;
    first.write_all(request).await.unwrap();
    head(&mut first).await;
    // One that has said nothing yet takes no place.
    let mut second = connect(&guard, "gitlab.com", 80).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(reasons(&log), Vec::<String>::new());
    second.write_all(request).await.unwrap();
    assert!(read_all(&mut second).await.is_err());
    assert_eq!(reasons(&log), ["limit"]);
    drop(first);
    eventually(|| guard.limits.requests().is_some()).await;
    let mut third = connect(&guard, "gitlab.com", 80).await;
    third.write_all(request).await.unwrap();
    assert!(head(&mut third).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_agent_that_is_gone_frees_its_place_though_the_server_never_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (guard, _log) = guard_with(policy(), Some(listener.local_addr().unwrap()), None);
    guard.limits.leave(10, 1, 10_000);
    let mut agent = connect(&guard, "gitlab.com", 80).await;
    agent.write_all(b"GET / HTTP/1.1\r\nHost: gitlab.com\r\n\r\n").await.unwrap();
    agent.shutdown().await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    head(&mut server).await;
    assert!(guard.limits.requests().is_none());
    agent.set_zero_linger().unwrap();
    drop(agent);
    eventually(|| guard.limits.requests().is_some()).await;
    assert_eq!(read_all(&mut server).await.unwrap_or_default(), b"");
}

#[tokio::test]
async fn a_websocket_leaves_the_table_of_requests_and_keeps_every_byte() {
    // A server that sends a frame with its answer, and echoes.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (guard, log) = guard_with(policy(), Some(listener.local_addr().unwrap()), None);
    guard.limits.leave(10, 1, 10_000);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
        let answer = b"HTTP/1.1 101 -\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05first";
        stream.write_all(answer).await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.ok();
        write.shutdown().await.ok();
    });
    let mut agent = connect(&guard, "gitlab.com", 80).await;
    let request = b"GET / HTTP/1.1\r\nHost: gitlab.com\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n\x81\x05early";
    agent.write_all(request).await.unwrap();
    assert!(head(&mut agent).await.starts_with("HTTP/1.1 101"));
    let mut back = [0; 14];
    agent.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"\x81\x05first\x81\x05early");
    eventually(|| guard.limits.requests().is_some()).await;
    let long = vec![7; 3 << 20];
    let (mut read, mut write) = agent.into_split();
    let (written, rest) = tokio::join!(
        async {
            write.write_all(&long).await?;
            write.shutdown().await
        },
        async {
            let mut all = Vec::new();
            read.read_to_end(&mut all).await.map(|_| all)
        }
    );
    written.unwrap();
    assert!(rest.unwrap() == long);
    eventually(|| log.lines().iter().any(|line| line["phase"] == "close")).await;
    let close = log.lines().into_iter().find(|line| line["phase"] == "close").unwrap();
    assert_eq!(close["bytes_out"], request.len() + long.len());
}

#[tokio::test]
async fn a_large_body_passes_a_slow_server_without_being_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (guard, _log) = guard_with(policy(), Some(listener.local_addr().unwrap()), None);
    let mut agent = connect(&guard, "gitlab.com", 80).await;
    let length = 64 << 20;
    let head_of = format!("POST / HTTP/1.1\r\nHost: gitlab.com\r\nContent-Length: {length}\r\n\r\n");
    agent.write_all(head_of.as_bytes()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    head(&mut server).await;
    // The server stands still: what fits into the kernel's buffers and a little more is taken, the
    // rest waits at the agent.
    let part = vec![1; 64 << 10];
    let mut sent = 0;
    while let Ok(done) = tokio::time::timeout(Duration::from_millis(300), agent.write(&part)).await {
        sent += done.unwrap();
    }
    assert!(sent < length, "{sent}");
    let (written, got) = tokio::join!(
        async {
            while sent < length {
                sent += agent.write(&part[..part.len().min(length - sent)]).await.unwrap();
            }
        },
        async {
            let mut got = 0;
            let mut buffer = vec![0; 1 << 20];
            while got < length {
                got += server.read(&mut buffer).await.unwrap();
            }
            server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            got
        }
    );
    let () = written;
    assert_eq!(got, length);
    assert!(head(&mut agent).await.starts_with("HTTP/1.1 204"));
}
