//! TLS ports: what a ClientHello must be, with bytes made by hand.

use super::*;

#[tokio::test]
async fn tls_with_the_right_name_is_carried_whole() {
    let (guard, log) = guard_with(policy(), Some(echo().await), None);
    let mut agent = connect(&guard, "gitlab.com", 443).await;
    let mut bytes = hello(Some("gitlab.com"), 16_000, 1500);
    bytes.extend_from_slice(b"and more");
    for part in bytes.chunks(100) {
        agent.write_all(part).await.unwrap();
    }
    agent.shutdown().await.unwrap();
    assert_eq!(read_all(&mut agent).await.unwrap(), bytes);
    assert_eq!(*stage(&guard).dialled.lock().unwrap(), ["198.51.100.7:443".parse().unwrap()]);
    eventually(|| log.lines().len() == 2).await;
    let lines = log.lines();
    assert_eq!(lines[0]["phase"], "open");
    assert_eq!(lines[0]["address"], "198.51.100.7");
    assert_eq!(lines[0]["rule"], "a rule");
    assert_eq!(lines[1]["phase"], "close");
    assert_eq!(lines[1]["conn"], lines[0]["conn"]);
    assert_eq!(lines[1]["bytes_out"], bytes.len());
    assert_eq!(lines[1]["bytes_in"], bytes.len());
}

#[tokio::test]
async fn tls_of_another_name_or_none_gets_an_alert_and_nothing_is_dialled() {
    let (guard, log) = guard_with(policy(), Some(echo().await), None);
    for (name, reason) in [(Some("evil.example"), "sni-mismatch"), (None, "no-sni")] {
        let mut agent = connect(&guard, "gitlab.com", 443).await;
        agent.write_all(&hello(name, 16_000, 0)).await.unwrap();
        assert_eq!(read_all(&mut agent).await.unwrap(), [0x15, 3, 3, 0, 2, 2, 49]);
        eventually(|| reasons(&log).last().is_some_and(|last| last == reason)).await;
    }
    let mut agent = connect(&guard, "gitlab.com", 443).await;
    agent.write_all(b"SSH-2.0-x\r\n").await.unwrap();
    assert_eq!(read_all(&mut agent).await, Err(std::io::ErrorKind::ConnectionReset));
    eventually(|| reasons(&log).last().is_some_and(|last| last == "not-tls")).await;
    assert!(stage(&guard).dialled.lock().unwrap().is_empty());
}

/// Begins a connection to gitlab.com:443 with these bytes, and returns the server's echo, an alert,
/// or a reset; and the reason.
async fn outcome(bytes: &[u8]) -> String {
    let (guard, log) = guard_with(policy(), Some(echo().await), None);
    let mut agent = connect(&guard, "gitlab.com", 443).await;
    agent.write_all(bytes).await.unwrap();
    agent.shutdown().await.ok();
    let seen = match read_all(&mut agent).await {
        Ok(back) if back == bytes => "carried".to_owned(),
        Ok(back) if back.len() == 7 && back[..6] == [0x15, 3, 3, 0, 2, 2] => format!("alert {}", back[6]),
        Ok(back) => format!("{} bytes", back.len()),
        Err(error) => format!("{error:?}"),
    };
    eventually(|| !log.lines().is_empty()).await;
    let dialled = stage(&guard).dialled.lock().unwrap().len();
    let reason = reasons(&log).first().cloned().unwrap_or_default();
    format!("{seen}, dialled {dialled}, {reason}")
}

#[tokio::test]
async fn the_name_of_a_hello_in_every_shape() {
    const CARRIED: &str = "carried, dialled 1, ";
    const MISMATCH: &str = "alert 49, dialled 0, sni-mismatch";
    const NO_SNI: &str = "alert 49, dialled 0, no-sni";
    const MALFORMED: &str = "alert 49, dialled 0, malformed";
    let long = "a".repeat(300);
    let label = format!("{}.com", "a".repeat(64));
    // "outer", HKDF-SHA256 with AES-128-GCM, a configuration's number, a key, what is encrypted.
    let ech = [&[0, 0, 1, 0, 1, 7][..], &vector(2, &[5; 32]), &vector(2, &[6; 200])].concat();
    type Extensions = Vec<(u16, Vec<u8>)>;
    let cases: Vec<(&str, Extensions, &str)> = vec![
        ("the name", vec![(0, names(&[(0, b"gitlab.com")]))], CARRIED),
        ("upper case", vec![(0, names(&[(0, b"GITLAB.Com")]))], CARRIED),
        ("a trailing dot", vec![(0, names(&[(0, b"gitlab.com.")]))], CARRIED),
        ("two trailing dots", vec![(0, names(&[(0, b"gitlab.com..")]))], MALFORMED),
        ("no extension", vec![], NO_SNI),
        ("another name", vec![(0, names(&[(0, b"evil.example")]))], MISMATCH),
        ("a name below", vec![(0, names(&[(0, b"x.gitlab.com")]))], MISMATCH),
        ("a name above", vec![(0, names(&[(0, b"com")]))], MISMATCH),
        ("the name and more", vec![(0, names(&[(0, b"gitlab.com.evil.example")]))], MISMATCH),
        ("an IPv4 address", vec![(0, names(&[(0, b"198.51.100.7")]))], NO_SNI),
        ("an IPv6 address", vec![(0, names(&[(0, b"2001:db8::1")]))], NO_SNI),
        ("an address in brackets", vec![(0, names(&[(0, b"[2001:db8::1]")]))], MALFORMED),
        ("an empty name", vec![(0, names(&[(0, b"")]))], MALFORMED),
        ("an empty list", vec![(0, names(&[]))], MALFORMED),
        ("an empty extension", vec![(0, vec![])], MALFORMED),
        ("a name of 300", vec![(0, names(&[(0, long.as_bytes())]))], MALFORMED),
        ("a label of 64", vec![(0, names(&[(0, label.as_bytes())]))], MALFORMED),
        ("not ASCII", vec![(0, names(&[(0, "gıtlab.com".as_bytes())]))], MALFORMED),
        ("punycode of something else", vec![(0, names(&[(0, b"xn--gtlab-q4a.com")]))], MISMATCH),
        ("a NUL", vec![(0, names(&[(0, b"gitlab.com\0.evil.example")]))], MALFORMED),
        ("a space", vec![(0, names(&[(0, b"gitlab.com ")]))], MALFORMED),
        ("two names", vec![(0, names(&[(0, b"gitlab.com"), (0, b"evil.example")]))], MALFORMED),
        ("the same name twice", vec![(0, names(&[(0, b"gitlab.com"), (0, b"gitlab.com")]))], MALFORMED),
        (
            "another kind of name first",
            vec![(0, names(&[(7, b"evil.example"), (0, b"gitlab.com")]))],
            MALFORMED,
        ),
        (
            "two extensions",
            vec![(0, names(&[(0, b"gitlab.com")])), (0, names(&[(0, b"evil.example")]))],
            MALFORMED,
        ),
        ("a length that lies", vec![(0, vec![0, 200, 0, 0, 10, b'g'])], MALFORMED),
        // Encrypted ClientHello: the outer name is what is looked at, and no client here ever gets
        // the key for an inner one.
        ("ECH, outer the name", vec![(0, names(&[(0, b"gitlab.com")])), (0xfe0d, ech.clone())], CARRIED),
        ("ECH, outer another", vec![(0, names(&[(0, b"ech.example")])), (0xfe0d, ech.clone())], MISMATCH),
    ];
    let mut seen = Vec::new();
    for (what, extensions, expected) in &cases {
        let got = outcome(&hello_with(extensions, [3, 1], 16_000)).await;
        if got != *expected {
            seen.push(format!("{what}: {got}, not {expected}"));
        }
    }
    assert!(seen.is_empty(), "{seen:#?}");
}

#[tokio::test]
async fn records_of_every_version_and_cut_are_read_and_others_refused() {
    let good = [(0, names(&[(0, &b"gitlab.com"[..])]))];
    for version in [[3, 0], [3, 1], [3, 3], [3, 4]] {
        assert_eq!(outcome(&hello_with(&good, version, 16_000)).await, "carried, dialled 1, ", "{version:?}");
    }
    for version in [[2, 0], [4, 0], [0x7f, 0x7f]] {
        let got = outcome(&hello_with(&good, version, 16_000)).await;
        assert_eq!(got, "alert 49, dialled 0, malformed", "{version:?}");
    }
    // A record a byte, as many records as the handshake has bytes.
    assert_eq!(outcome(&hello_with(&good, [3, 1], 1)).await, "carried, dialled 1, ");
    // The hello, and the client's first request in the same segment (TLS 1.3 early data looks so).
    let early = [hello_with(&good, [3, 1], 16_000), vec![0x17, 3, 3, 0, 5, 1, 2, 3, 4, 5]].concat();
    assert_eq!(outcome(&early).await, "carried, dialled 1, ");
    // Empty records, an alert first, a second handshake message first.
    for (what, bytes) in [
        ("empty records", [[0x16, 3, 1, 0, 0].repeat(20), hello_with(&good, [3, 1], 16_000)].concat()),
        ("another message", vec![0x16, 3, 1, 0, 4, 0, 0, 0, 0]),
        ("a record of 20,000", [vec![0x16, 3, 1, 0x4e, 0x20, 1], vec![0; 300]].concat()),
    ] {
        assert_eq!(outcome(&bytes).await, "alert 49, dialled 0, malformed", "{what}");
    }
    for (what, bytes) in [
        ("an alert", vec![0x15, 3, 1, 0, 2, 1, 0]),
        ("SSLv2", vec![0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10]),
        ("SSH", b"SSH-2.0-x\r\n".to_vec()),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: gitlab.com\r\n\r\n".to_vec()),
    ] {
        assert_eq!(outcome(&bytes).await, "ConnectionReset, dialled 0, not-tls", "{what}");
    }
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_refused_only_when_it_stays_silent() {
    let (guard, log) = guard_with(policy(), Some(echo().await), None);
    // A look whether the port is open: by an end, by a reset.
    for reset in [false, true] {
        let mut agent = connect(&guard, "gitlab.com", 443).await;
        if reset {
            agent.set_zero_linger().unwrap();
            drop(agent);
        } else {
            agent.shutdown().await.unwrap();
            assert_eq!(read_all(&mut agent).await, Ok(Vec::new()), "it ends as it was ended");
        }
    }
    // A spare connection of a busy program.
    let mut spare = connect(&guard, "gitlab.com", 443).await;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(50)).await;
    tokio::time::resume();
    let bytes = hello(Some("gitlab.com"), 16_000, 0);
    spare.write_all(&bytes).await.unwrap();
    spare.shutdown().await.unwrap();
    assert_eq!(read_all(&mut spare).await.unwrap(), bytes);
    eventually(|| log.lines().len() == 2).await;
    assert!(reasons(&log).iter().all(String::is_empty), "{:?}", reasons(&log));
    // The control: one that stays so.
    let mut silent = connect(&guard, "gitlab.com", 443).await;
    tokio::time::pause();
    let begin = tokio::time::Instant::now();
    let ended = silent.read_u8().await;
    let seconds = begin.elapsed().as_secs_f64();
    tokio::time::resume();
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!((60.0..61.5).contains(&seconds), "{seconds}");
    eventually(|| reasons(&log).last().is_some_and(|last| last == "silent")).await;
    assert_eq!(stage(&guard).dialled.lock().unwrap().len(), 1, "nothing but the spare one was dialled");
}

#[tokio::test]
async fn sixteen_kibibytes_are_enough_and_one_more_is_refused() {
    // 5 bytes of record, and what a hello without padding has.
    let bare = hello(Some("gitlab.com"), 16_384, 0).len();
    let fits = hello(Some("gitlab.com"), 16_384, 16_384 - bare);
    assert_eq!(fits.len(), 16_384);
    assert_eq!(outcome(&fits).await, "carried, dialled 1, ");
    let over = hello(Some("gitlab.com"), 16_379, 16_384 - bare + 1);
    assert_eq!(outcome(&over).await, "alert 49, dialled 0, malformed");
}

#[tokio::test(start_paused = true)]
async fn a_hello_that_trickles_ends_after_ten_seconds_however_alive_it_looks() {
    let (guard, log) = guard_with(policy(), Some(echo().await), None);
    let mut agent = connect(&guard, "gitlab.com", 443).await;
    let begin = tokio::time::Instant::now();
    let bytes = hello(Some("gitlab.com"), 16_000, 0);
    let mut sent = 0;
    while reasons(&log).is_empty() && sent < bytes.len() {
        agent.write_all(&bytes[sent..=sent]).await.ok();
        sent += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let seconds = begin.elapsed().as_secs_f64();
    assert!((10.0..11.5).contains(&seconds), "{seconds}");
    assert_eq!(reasons(&log), ["malformed"]);
    assert!(stage(&guard).dialled.lock().unwrap().is_empty());
}

#[tokio::test]
async fn hellos_that_never_end_cannot_fill_the_guards_memory() {
    let (guard, log) = guard_with(policy(), Some(echo().await), None);
    guard.limits.leave(100, 100, 50_000);
    let part = &hello(Some("gitlab.com"), 16_000, 12_000)[..10_000];
    let mut held = Vec::new();
    for _ in 0..6 {
        let mut agent = connect(&guard, "gitlab.com", 443).await;
        agent.write_all(part).await.unwrap();
        held.push(agent);
    }
    // Five times ten thousand bytes have room; the sixth is refused at once, not after its ten
    // seconds.
    eventually(|| reasons(&log) == ["limit"]).await;
    held.clear();
    eventually(|| reasons(&log).len() >= 2).await;
    let mut agent = connect(&guard, "gitlab.com", 443).await;
    agent.write_all(&hello(Some("gitlab.com"), 16_000, 12_000)).await.unwrap();
    assert_eq!(agent.read_u8().await.unwrap(), 0x16, "room that was freed is used again");
}
