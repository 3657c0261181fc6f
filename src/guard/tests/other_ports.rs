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
    let mut agent = connect(&guard, "gitlab.com", 9000).await;
    agent.write_all(b"GET / HTTP/1.1").await.unwrap();
    agent.shutdown().await.unwrap();
    assert!(read_all(&mut agent).await.is_err());
    eventually(|| reasons(&log) == ["sni-mismatch", "host-mismatch", "malformed"]).await;
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
    // SMTP with STARTTLS, as far as the gate can see it: banner, lines both ways, then bytes of any kind.
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
        // Longer than they are held back: what completes a request is refused, and never reaches the server whole.
        (b"GET / HTTP/1.1\r\nHost: evil.example:9000\r\n\r\n", 80, "protocol"),
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
        assert!(got.is_empty() || got == start, "{}", got.escape_ascii());
    }
}
