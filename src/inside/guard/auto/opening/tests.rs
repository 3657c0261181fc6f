//! First bytes: what real clients send, what passes for HTTP or TLS with some server, and what is
//! nothing known.

use netpolicy::decide::Target;
use netpolicy::host::HostName;

use super::super::protocols::{CLOSED_LIST, name_of};
use super::*;

/// Judges the first bytes of an agent to `gitlab.com:9000` before the server has spoken.
pub(crate) fn judged(bytes: &[u8]) -> Opening {
    let target = Target::Name(HostName::parse("gitlab.com").unwrap());
    of(bytes, false, Here { target: &target, port: 9000 })
}

/// Tells whether all of these bytes reach a server that says nothing.
pub(crate) fn passes(bytes: &[u8]) -> bool {
    let decided = (1..=bytes.len().min(4096)).map(|length| judged(&bytes[..length]));
    decided.into_iter().find(|opening| *opening != Opening::Unsure) == Some(Opening::Known)
        && FirstLine::default().take(bytes) != Line::Request
}

fn judged_after_a_greeting(bytes: &[u8]) -> Opening {
    let target = Target::Name(HostName::parse("gitlab.com").unwrap());
    of(bytes, true, Here { target: &target, port: 9000 })
}

fn known(bytes: &[u8]) -> Option<&'static str> {
    let target = Target::Name(HostName::parse("gitlab.com").unwrap());
    name_of(bytes, Here { target: &target, port: 9000 })
}

/// Lists the first bytes of clients of the closed list, by protocol.
pub(crate) fn openings() -> Vec<(&'static str, Vec<u8>)> {
    const POSTGRESQL: &[u8] = b"\0\0\0\x27\0\x03\0\0user\0postgres\0database\0app\0\0";
    const MONGODB: &[u8] =
        b"\x3a\0\0\0\x01\0\0\0\0\0\0\0\xd4\x07\0\0\0\0\0\0admin.$cmd\0\0\0\0\0\xff\xff\xff\xff";
    const LONG_MONGODB: &[u8] = b"\x16\x01\0\0\x02\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0";
    const MQTT: &[u8] = b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04dev1";
    const OLD_MQTT: &[u8] = b"\x10\x12\0\x06MQIsdp\x03\x02\0\x3c\0\x04dev1";
    const LDAP: &[u8] = b"0\x0c\x02\x01\x01`\x07\x02\x01\x03\x04\0\x80\0";
    const ACTIVE_DIRECTORY: &[u8] = b"0\x84\0\0\0\x10\x02\x01\x01`\x84\0\0\0\x07\x02\x01\x03\x04\0\x80\0";
    const XMPP: &[u8] = b"<?xml version='1.0'?><stream:stream to='gitlab.com' xmlns='jabber:client' \
        xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
    const ORACLE: &[u8] = b"\0\xc6\0\0\x01\0\0\0\x01\x3f\x01\x2c\x0c\x41\x20\0\xff\xff";
    const SQL_SERVER: &[u8] = b"\x12\x01\0\x2f\0\0\x01\0\0\0\x1a\0\x06\x01\0 \0\x01";
    const RDP: &[u8] = b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x0b\0\0\0";
    const KAFKA: &[u8] = b"\0\0\0\x1a\0\x12\0\x03\0\0\0\x01\0\x07rdkafka";
    const ZOOKEEPER: &[u8] = b"\0\0\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x75\x30";
    const GIT: &[u8] = b"0037git-upload-pack /team/app.git\0host=gitlab.com:9000\0";
    const BINARY_MEMCACHED: &[u8] = b"\x80\x0b\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    [
        ("AMQP", &b"AMQP\0\0\x09\x01"[..]),
        ("AMQP", b"AMQP\x03\x01\0\0"),
        ("Bolt", b"\x60\x60\xb0\x17\0\x02\x05\x05\0\0\x04\x04\0\0\0\0\0\0\0\0"),
        ("Cassandra", b"\x04\0\0\0\x05\0\0\0\0"),
        ("Cassandra", b"\x05\x10\0\0\x05\0\0\0\0"),
        ("git", GIT),
        ("IRC", b"CAP LS 302\r\n"),
        ("IRC", b"NICK agent\r\nUSER agent 0 * :An agent\r\n"),
        ("Kafka", KAFKA),
        ("LDAP", LDAP),
        ("LDAP", ACTIVE_DIRECTORY),
        ("Memcached", b"version\r\n"),
        ("Memcached", b"get user:1\r\n"),
        ("Memcached", b"get views/user/1 views/user/2\r\n"),
        ("Memcached", b"set session/1 0 0 5\r\nhosts\r\n"),
        ("Memcached", BINARY_MEMCACHED),
        ("MongoDB", MONGODB),
        ("MongoDB", LONG_MONGODB),
        ("MQTT", MQTT),
        ("MQTT", OLD_MQTT),
        ("Oracle", ORACLE),
        ("PostgreSQL", b"\0\0\0\x08\x04\xd2\x16\x2f"),
        ("PostgreSQL", b"\0\0\0\x08\x04\xd2\x16\x30"),
        ("PostgreSQL", b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\x01\x01\0\0\x02\x02"),
        ("PostgreSQL", POSTGRESQL),
        ("RDP", RDP),
        ("Redis", b"*1\r\n$4\r\nPING\r\n"),
        ("Redis", b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"),
        ("Redis", b"PING\r\n"),
        ("rsync", b"@RSYNCD: 31.0 sha512 sha256 sha1 md5 md4\n"),
        ("SMB", b"\0\0\0\x6c\xfeSMB\x40\0"),
        ("SQL Server", SQL_SERVER),
        ("SSH", b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"),
        ("SSH", b"SSH-2.0-Go\r\n"),
        ("STOMP", b"CONNECT\naccept-version:1.2\nhost:/\n\n\0"),
        ("STOMP", b"STOMP\r\naccept-version:1.2\r\n\r\n\0"),
        ("XMPP", XMPP),
        ("ZooKeeper", ZOOKEEPER),
    ]
    .map(|(name, bytes)| (name, bytes.to_vec()))
    .to_vec()
}

#[test]
fn every_protocol_of_the_closed_list_passes_whole_and_waits_for_more() {
    for (name, bytes) in openings() {
        assert_eq!(known(&bytes), Some(name), "{}", bytes.escape_ascii());
        assert_eq!(judged(&bytes), Opening::Known, "{name} {}", bytes.escape_ascii());
        let mut told = Opening::Unsure;
        for length in 1..=bytes.len() {
            let opening = judged(&bytes[..length]);
            assert!(matches!(opening, Opening::Unsure | Opening::Known), "{name}, {length}: {opening:?}");
            assert!(told == Opening::Unsure || opening == told, "{name}, {length}: no longer known");
            told = opening;
        }
    }
    for (listed, _) in &CLOSED_LIST {
        assert!(openings().iter().any(|(name, _)| name == listed), "{listed}");
    }
}

#[test]
fn the_documentation_has_the_same_list() {
    let policy = include_str!("../../../../../docs/policy.md");
    let (_, list) = policy.split_once("\nThe closed list: ").expect("a paragraph with the list");
    let list = list.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let listed: Vec<&str> = list.trim_end_matches('.').split(", ").collect();
    assert_eq!(listed, CLOSED_LIST.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

#[test]
fn what_some_server_takes_for_http_is_http() {
    let long = [&[b'M'; 40][..], b" / HTTP/1.1\r\nHost: evil.example\r\n\r\n"].concat();
    for (bytes, opening) in [
        (&b"GET / HTTP/1.1\r\n"[..], Opening::Http),
        (b"GET /", Opening::Http),
        (b"GET", Opening::Unsure),
        (b"GET ", Opening::Unsure),
        (b"GET /\r\n", Opening::Http),
        (b" GET / HTTP/1.1\r\n", Opening::Http),
        (b"\r\n\nget / http/1.1\n", Opening::Http),
        (b"\x0bGET / HTTP/1.1\r\n", Opening::Http),
        (b"\x0c\x1c\x1d\x85\xa0GET / HTTP/1.1\r\n", Opening::Http),
        (b"\xef\xbb\xbfGET / HTTP/1.1\r\n", Opening::Http),
        (b"GET\x0b/\x0cHTTP/1.1\r\n", Opening::Http),
        (b"GET\t/ HTTP/1.1\n", Opening::Http),
        (b"FOO\xa0/\xa0HTTP/1.1\r\n", Opening::Http),
        (&long, Opening::Http),
        (b"FOO x HTTP/1.1\r\nHost", Opening::Http),
        (b"FOO x hTTp \t/1.1\r\n", Opening::Http),
        (b"FOO x", Opening::Unsure),
        (b"FOO x\r\n", Opening::Unknown),
        (b"get http://evil.example/\r\n", Opening::Http),
        (b"get /index\r\n", Opening::Http),
        (b"GET / HTTP/1.1\rHost: x\r\r", Opening::Http),
        (b"GET /\0 HTTP/1.1\r\n", Opening::Http),
        (b"PRI * HTTP/2.0\r\n\r\nSM", Opening::Http2),
        (b"\r\nPRI * HTTP/2.0\r\n\r\nSM", Opening::Http2),
        (b"PRI ", Opening::Unsure),
        (b"SSH-2.0-x / HTTP/1.1\r\n", Opening::Http),
        (b"USER / HTTP/1.1\r\n", Opening::Http),
        (b"0042git-upload-pack /x HTTP/1.1\r\nHost: evil.example\r\n", Opening::Http),
        (b"OPTIONS rtsp://evil.example/ RTSP/1.0\r\n", Opening::Kin),
        (b"OPTIONS sip:evil.example SIP/2.0\r\n", Opening::Kin),
        (b"OPTIONS icap://evil.example/ ICAP/1.0\r\n", Opening::Kin),
        (b"REGISTER sip:evil.example SIP/2.0\r\n", Opening::Unknown),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n", Opening::Kin),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", Opening::Kin),
        (b"\r\n\r\n", Opening::Unsure),
    ] {
        assert_eq!(judged(bytes), opening, "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_some_server_takes_for_tls_is_tls() {
    for (bytes, opening) in [
        (&b"\x16"[..], Opening::Unsure),
        (b"\x16\x03\x01\x02\0\x01", Opening::Tls),
        (b"\x16\x04\x03\x02\0\x01", Opening::Tls),
        (b"\x16\0\0\x02\0\x01", Opening::Tls),
        (b"\x16\x0f\xff\x02\0\x01", Opening::Tls),
        (b"\x16\xfe\xfd\x02\0\x01", Opening::Tls),
        (b"\x15\x03\x03\0\x02\x01\0", Opening::Tls),
        (b"\x14\x03\x03\0\x01\x01", Opening::Tls),
        (b"\x17\x03\x03\0\0\x16\x03\x01", Opening::Tls),
        (b"\x18\x03\x02\0\x03\x01\0", Opening::Tls),
        // A handshake record in which the ClientHello comes byte by byte.
        (b"\x16\x03\x01\0\x01\x01", Opening::Tls),
        // The form of SSLv2, for TLS and for itself.
        (b"\x80\x2e\x01\x03\x01\0\x15", Opening::Tls),
        (b"\x80\x2e\x01\0\x02\0\x15", Opening::Tls),
        (b"\x80\x2e\x01", Opening::Unsure),
    ] {
        assert_eq!(judged(bytes), opening, "{}", bytes.escape_ascii());
        let greeted = judged_after_a_greeting(bytes);
        assert!(matches!(greeted, Opening::Tls | Opening::Unsure), "{}: {greeted:?}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_nearly_on_the_list_is_not_on_it() {
    for bytes in [
        &b"\x13BitTorrent protocol"[..],
        b"\x05\x01\0\x03\x0cevil.example\x01\xbb",
        b"\x04\x01\x01\xbb\xc6\x33\x64\x14\0",
        b"\0\x1d\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04evil\x07example\0\0\x01\0\x01",
        b"0038git-upload-pack /team/app.git\0host=evil.example:900\0",
        b"0044git-upload-pack /team/app.git\0host=gitlab.com\0HOST=evil.example\0",
        b"SSH-2.0-x / y\r\n",
        b"SSH-2.0-x/y\r\n",
        b"AMQP\0\0\x0a\0",
        b"PING /\r\n",
        b"USER /x y\r\n",
        b"USER  http:evil.example y\r\n",
        b"gets /x\r\n",
        b"touch ftp://evil.example/ 1\r\n",
        b"*1\r\nGET\r\n",
        b"@RSYNCD: 31.0 / x\n",
        b"EHLO me\r\n",
        b"hello\n",
        b"\0\0\0\x08\x04\xd2\x16\x31",
        b"\xff\xfb\x18\xff",
    ] {
        assert_eq!(judged(bytes), Opening::Unknown, "{}", bytes.escape_ascii());
    }
}

#[test]
fn behind_a_greeting_everything_passes_but_http_tls_and_their_relatives() {
    for (bytes, opening) in [
        (&b"EHLO me\r\n"[..], Opening::Unknown),
        (b"EHLO httpd1.corp.example\r\n", Opening::Unknown),
        (b"USER \0", Opening::Unknown),
        (b"a1 CAPABILITY\r\n", Opening::Unknown),
        (b"HEAD 12\r\n", Opening::Unknown),
        (b"get key\r\n", Opening::Unknown),
        (b"r", Opening::Unsure),
        // MySQL: 32, 278 and 790 bytes, the second message.
        (b"\x20\0\0\x01\x85\xae", Opening::Unknown),
        (b"\x16\x01\0\x01\x85\xae", Opening::Unknown),
        (b"\x16\x03\0\x01\x85\xae", Opening::Unknown),
        (b"\x16\x03\0\x01\x85\x01", Opening::Tls),
        (b"\x16\x03\x01\x02\0\x01", Opening::Tls),
        (b"GET / HTTP/1.1\r\n", Opening::Http),
        (b"G", Opening::Unsure),
        (b"\x0bget /x\r\n", Opening::Http),
        (b"FOO / HTTP/1.1\r\n", Opening::Http),
        (b"PRI * HTTP/2.0\r\n", Opening::Http2),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Opening::Kin),
    ] {
        assert_eq!(judged_after_a_greeting(bytes), opening, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_first_line_is_read_to_its_end_however_it_is_cut() {
    for (bytes, line) in [
        (&b"AMQP\0\0\x09\x01 HTTP/1.1\r\n"[..], Line::Request),
        (b"AMQP\0\0\x09\x01 hhttp \x0b/1.1\r\n", Line::Request),
        (b"AMQP\0\0\x09\x01htt\0p/\n HTTP/1.1", Line::Plain),
        (b"AMQP\0\0\x09\x01 httpd", Line::Open),
        // Three words of any kind are a request to some servers.
        (b"USER / x\r\nHost: evil.example\r\n", Line::Request),
        (b"CAP LS 302\r\nx: y\r\nHOST : evil.example\r\n", Line::Request),
        (b"get a b\nhost:evil.example\n\n", Line::Request),
        (b"set a 0 0 5\r\nhosts\r\nghost:\r\n", Line::Open),
        (b"NICK agent\r\nUSER agent 0 host: :x\r\n", Line::Plain),
        (b"CONNECT\naccept-version:1.2\nhost:/\n\n\0", Line::Plain),
    ] {
        assert_eq!(FirstLine::default().take(bytes), line, "{}", bytes.escape_ascii());
        let mut first = FirstLine::default();
        let by_byte = bytes.iter().map(|byte| first.take(&[*byte])).find(|line| *line != Line::Open);
        assert_eq!(by_byte.unwrap_or(Line::Open), line, "{}", bytes.escape_ascii());
    }
    assert_eq!(FirstLine::default().take(&[b'a'; FirstLine::LONGEST + 1]), Line::Plain);
}
