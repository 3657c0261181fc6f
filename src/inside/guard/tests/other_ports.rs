//! Other ports: who speaks first, and what the first bytes are.

use super::*;

#[tokio::test]
async fn other_ports_pass_bytes_and_look_at_tls_and_http() {
    let (guard, log) = guard_with(policy(), Some(echo().await), None);
    let mut agent = connect(&guard, "gitlab.com", 22).await;
    agent.write_all(b"SSH-2.0-client\r\n").await.unwrap();
    agent.shutdown().await.unwrap();
    assert_eq!(read_all(&mut agent).await.unwrap(), b"SSH-2.0-client\r\n");
    let mut agent = connect(&guard, "gitlab.com", 9000).await;
    let bytes = hello(Some("gitlab.com"), 100, 0);
    agent.write_all(&bytes).await.unwrap();
    agent.shutdown().await.unwrap();
    assert_eq!(read_all(&mut agent).await.unwrap(), bytes);
    let mut agent = connect(&guard, "gitlab.com", 9000).await;
    agent.write_all(&hello(Some("evil.example"), 100, 0)).await.unwrap();
    assert_eq!(read_all(&mut agent).await.unwrap()[6], 49);
    let mut agent = connect(&guard, "gitlab.com", 9000).await;
    agent.write_all(b"GET / HTTP/1.1\r\nHost: evil.example:9000\r\n\r\n").await.unwrap();
    assert!(read_all(&mut agent).await.unwrap().starts_with(b"HTTP/1.1 403"));
    // What may still become a request, and ends.
    let mut agent = connect(&guard, "gitlab.com", 9000).await;
    agent.write_all(b"FOO x").await.unwrap();
    agent.shutdown().await.unwrap();
    assert!(read_all(&mut agent).await.is_err());
    eventually(|| reasons(&log) == ["sni-mismatch", "host-mismatch", "protocol"]).await;
}

/// Sends bytes of an agent, and returns the reason of a refusal, and the bytes that a server got
/// that says nothing.
async fn judge(bytes: &[u8], patience: u64) -> (String, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (guard, log) = guard_with(policy(), Some(listener.local_addr().unwrap()), None);
    let mut agent = connect(&guard, "gitlab.com", 9000).await;
    let (mut server, _) = listener.accept().await.unwrap();
    agent.write_all(bytes).await.unwrap();
    let ends = tokio::time::timeout(Duration::from_millis(patience), agent.read(&mut [0; 64])).await;
    if ends.is_err() {
        agent.shutdown().await.ok();
    }
    drop(agent);
    let got = read_all(&mut server).await.unwrap_or_default();
    (reasons(&log).join(" "), got)
}

#[tokio::test]
async fn what_is_not_recognised_is_refused_and_reaches_no_server() {
    let long = [&[b'M'; 40][..], b" / HTTP/1.1\r\nHost: evil.example\r\n\r\n"].concat();
    let hidden = b"AMQP\0\0\x09\x01 HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    for (bytes, reason) in [
        (&long[..], "host-mismatch"),
        (b"\x0bGET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "malformed"),
        (&hello_with(&[(0, names(&[(0, b"evil.example")]))], [4, 3], 16_000), "malformed"),
        (&hello_with(&[(0, names(&[(0, b"evil.example")]))], [3, 3], 1), "sni-mismatch"),
        (b"\x15\x03\x03\0\x02\x01\0\x16\x03\x01", "not-tls"),
        (b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10", "not-tls"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n\r\n", "protocol"),
        (b"OPTIONS rtsp://evil.example/ RTSP/1.0\r\n\r\n", "protocol"),
        (b"hello\n", "protocol"),
        (b"\x05\x01\0\x03\x0cevil.example\x01\xbb", "protocol"),
        (hidden, "protocol"),
        (b"CAP LS 302\r\nHost: evil.example\r\n\r\n", "protocol"),
        (b"GET /\r\n", "malformed"),
    ] {
        let judged = judge(bytes, 3000).await;
        assert_eq!(judged, (reason.to_owned(), Vec::new()), "{}", bytes.escape_ascii());
    }
}

#[tokio::test]
async fn the_closed_list_passes_as_it_is() {
    let all = crate::inside::guard::auto::openings();
    let judged = futures_util::future::join_all(all.iter().map(|(_, bytes)| judge(bytes, 400))).await;
    for ((name, bytes), (reason, got)) in all.into_iter().zip(judged) {
        assert_eq!((reason.as_str(), &got), ("", &bytes), "{name}: {}", bytes.escape_ascii());
    }
}

#[tokio::test]
async fn a_request_behind_an_opening_is_refused_until_the_server_has_answered() {
    for answers in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (guard, log) = guard_with(policy(), Some(listener.local_addr().unwrap()), None);
        let mut agent = connect(&guard, "gitlab.com", 9000).await;
        let (mut server, _) = listener.accept().await.unwrap();
        agent.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
        server.read_exact(&mut [0; 8]).await.unwrap();
        if answers {
            server.write_all(b"\x01\0\0").await.unwrap();
            agent.read_exact(&mut [0; 3]).await.unwrap();
        }
        for part in [&b" HT"[..], b"TP /1.1\r\n"] {
            agent.write_all(part).await.ok();
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        drop(agent);
        let got = read_all(&mut server).await.unwrap_or_default();
        assert!(answers || !got.contains(&b'\n'), "{}", got.escape_ascii());
        assert_eq!(reasons(&log), if answers { &[][..] } else { &["protocol"] });
        assert!(!answers || got == b" HTTP /1.1\r\n", "{}", got.escape_ascii());
    }
}

#[tokio::test]
async fn a_client_that_was_quicker_than_the_greeting_waits_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (guard, log) = guard_with(policy(), Some(listener.local_addr().unwrap()), None);
    let mut agent = connect(&guard, "gitlab.com", 9000).await;
    let (mut server, _) = listener.accept().await.unwrap();
    agent.write_all(b"EHLO me\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.write_all(b"220 hello\r\n").await.unwrap();
    let mut said = [0; 9];
    server.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"EHLO me\r\n");
    assert_eq!(reasons(&log), Vec::<String>::new());
}

#[tokio::test]
async fn behind_a_greeting_a_request_is_refused_however_it_comes() {
    for pause in [0, 80] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (guard, log) = guard_with(policy(), Some(listener.local_addr().unwrap()), None);
        let mut agent = connect(&guard, "gitlab.com", 9000).await;
        let (mut server, _) = listener.accept().await.unwrap();
        server.write_all(b"!").await.unwrap();
        agent.read_exact(&mut [0; 1]).await.unwrap();
        for part in [&b"G"[..], b"ET", b" / HTTP/1.1\r\nHost: evil.example\r\n\r\n"] {
            agent.write_all(part).await.ok();
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        eventually(|| reasons(&log) == ["protocol"]).await;
        drop(agent);
        let got = read_all(&mut server).await.unwrap_or_default();
        assert!(b"GET".starts_with(&got[..]), "{}", got.escape_ascii());
    }
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (guard, _) = guard_with(policy(), Some(listener.local_addr().unwrap()), None);
    let mut agent = connect(&guard, "gitlab.com", 22).await;
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(b"220 hello\r\n").await.unwrap();
    let mut greeting = [0; 11];
    agent.read_exact(&mut greeting).await.unwrap();
    agent.write_all(b"EHLO me\r\n").await.unwrap();
    let mut said = [0; 9];
    server.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"EHLO me\r\n");
}

#[tokio::test]
async fn a_dialogue_that_the_server_begins_goes_on_as_bytes() {
    // SMTP with STARTTLS, as far as the gate can see it: banner, lines both ways, then bytes of any
    // kind.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (guard, log) = guard_with(policy(), Some(listener.local_addr().unwrap()), None);
    let mut agent = connect(&guard, "gitlab.com", 9000).await;
    let (mut server, _) = listener.accept().await.unwrap();
    let mut said = [0; 64];
    for (speaks_first, line) in [
        (true, &b"220 mail ESMTP\r\n"[..]),
        (false, b"EHLO agent\r\n"),
        (true, b"250 STARTTLS\r\n"),
        (false, b"STARTTLS\r\n"),
        (true, b"220 go\r\n"),
        (false, b"\x16\x03\x01\0\x02\x01\0"),
    ] {
        let (from, to) = if speaks_first { (&mut server, &mut agent) } else { (&mut agent, &mut server) };
        from.write_all(line).await.unwrap();
        to.read_exact(&mut said[..line.len()]).await.unwrap();
        assert_eq!(&said[..line.len()], line);
    }
    drop((agent, server));
    eventually(|| log.lines().len() == 2).await;
    let close = &log.lines()[1];
    assert_eq!((&close["bytes_out"], &close["bytes_in"]), (&29.into(), &38.into()));
}

#[tokio::test]
async fn a_server_that_ends_first_is_heard_to_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (guard, _log) = guard_with(policy(), Some(listener.local_addr().unwrap()), None);
    let mut agent = connect(&guard, "gitlab.com", 9000).await;
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(b"220 busy, go away\r\n").await.unwrap();
    drop(server);
    assert_eq!(read_all(&mut agent).await.unwrap(), b"220 busy, go away\r\n");
}

#[tokio::test]
async fn the_first_bytes_of_http_and_tls_are_looked_at_however_they_come() {
    for (bytes, pause, reason) in [
        (&b"GET / HTTP/1.1\r\nHost: evil.example:9000\r\n\r\n"[..], 0, "host-mismatch"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, "http2"),
        (b"\r\n\r\nPOST /x HTTP/1.1\r\n\r\n", 0, "host-mismatch"),
        (b"GETX / HTTP/1.1\r\nHost: evil.example:9000\r\n\r\n", 80, "host-mismatch"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (guard, log) = guard_with(policy(), Some(listener.local_addr().unwrap()), None);
        let mut agent = connect(&guard, "gitlab.com", 9000).await;
        agent.set_nodelay(true).unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let (start, rest) = bytes.split_at(6);
        agent.write_all(start).await.unwrap();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        agent.write_all(rest).await.ok();
        eventually(|| reasons(&log) == [reason]).await;
        drop(agent);
        let got = read_all(&mut server).await.unwrap_or_default();
        assert!(got.is_empty(), "{}", got.escape_ascii());
    }
}
