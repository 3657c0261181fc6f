//! The closed list of protocols whose clients speak first on an `auto` port.
//!
//! ```text
//!  first bytes ──each matcher──▶ No │ Partial: more bytes may complete it │ Yes
//! ```
//! What a matcher says yes to passes unchecked, so in doubt it says no. A request may still hide
//! behind an opening without a line end, since some servers take any word for a method:
//! [`super::opening::FirstLine`] looks for that.

use netpolicy::decide::Target;

use crate::inside::guard::http::is_target;

/// Target and port of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Here<'a> {
    /// The name or address.
    pub(crate) target: &'a Target,
    /// The port.
    pub(crate) port: u16,
}

/// Match of the bytes so far with one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    /// The bytes do not open the protocol.
    No,
    /// The bytes may open the protocol once there are more.
    Partial,
    /// The bytes open the protocol.
    Yes,
}

/// One protocol: its name, as the documentation has it, and its matcher.
pub(crate) type Protocol = (&'static str, fn(&[u8], Here<'_>) -> Match);

/// Every protocol whose opening is recognised.
pub(super) const CLOSED_LIST: [Protocol; 21] = [
    ("AMQP", |bytes, _| amqp(bytes)),
    ("Bolt", |bytes, _| any_of(bytes, &[b"\x60\x60\xb0\x17"])),
    ("Cassandra", |bytes, _| cassandra(bytes)),
    ("git", git),
    ("IRC", |bytes, _| irc(bytes)),
    ("Kafka", |bytes, _| kafka(bytes)),
    ("LDAP", |bytes, _| ldap(bytes)),
    ("Memcached", |bytes, _| memcached(bytes)),
    ("MongoDB", |bytes, _| mongodb(bytes)),
    ("MQTT", |bytes, _| mqtt(bytes)),
    ("Oracle", |bytes, _| oracle(bytes)),
    ("PostgreSQL", |bytes, _| postgresql(bytes)),
    ("RDP", |bytes, _| rdp(bytes)),
    ("Redis", |bytes, _| redis(bytes)),
    ("rsync", |bytes, _| rsync(bytes)),
    ("SMB", |bytes, _| smb(bytes)),
    ("SQL Server", |bytes, _| sql_server(bytes)),
    ("SSH", |bytes, _| ssh(bytes)),
    ("STOMP", |bytes, _| stomp(bytes)),
    ("XMPP", |bytes, _| xmpp(bytes)),
    ("ZooKeeper", |bytes, _| zookeeper(bytes)),
];

/// Compares first bytes with the whole list.
pub(crate) fn opens(bytes: &[u8], here: Here<'_>) -> Match {
    let mut best = Match::No;
    for (_, matcher) in &CLOSED_LIST {
        match matcher(bytes, here) {
            Match::Yes => return Match::Yes,
            Match::Partial => best = Match::Partial,
            Match::No => {}
        }
    }
    best
}

/// Names the protocol that first bytes open.
#[cfg(test)]
pub(crate) fn name_of(bytes: &[u8], here: Here<'_>) -> Option<&'static str> {
    CLOSED_LIST.iter().find(|(_, matcher)| matcher(bytes, here) == Match::Yes).map(|(name, _)| *name)
}

/// Any byte, in the form of a header.
const ANY: Option<u8> = None;

/// Compares bytes with a header of fixed bytes and any bytes, then asks about its values.
fn header<const N: usize>(bytes: &[u8], form: [Option<u8>; N], good: impl FnOnce(&[u8; N]) -> bool) -> Match {
    if !bytes.iter().zip(form).all(|(byte, fixed)| fixed.is_none_or(|fixed| fixed == *byte)) {
        return Match::No;
    }
    match bytes.first_chunk::<N>() {
        None => Match::Partial,
        Some(header) if good(header) => Match::Yes,
        Some(_) => Match::No,
    }
}

/// Compares bytes with several beginnings.
fn any_of(bytes: &[u8], beginnings: &[&[u8]]) -> Match {
    if beginnings.iter().any(|beginning| bytes.starts_with(beginning)) {
        Match::Yes
    } else if beginnings.iter().any(|beginning| beginning.starts_with(bytes)) {
        Match::Partial
    } else {
        Match::No
    }
}

/// Asks about a first line of visible characters and spaces that begins with one of these words.
fn line(bytes: &[u8], words: &[&str], longest: usize, good: impl FnOnce(&[u8]) -> bool) -> Match {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let line = &bytes[..end.unwrap_or(bytes.len())];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > longest || !line.iter().all(|byte| (b' '..0x7f).contains(byte)) {
        return Match::No;
    }
    let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    let whole = end.is_some() || word.len() < line.len();
    let known = |known: &&str| match whole {
        true => known.as_bytes() == word,
        false => known.as_bytes().starts_with(word),
    };
    if !words.iter().any(known) {
        return Match::No;
    }
    match end {
        None => Match::Partial,
        Some(_) if good(line) => Match::Yes,
        Some(_) => Match::No,
    }
}

/// Tells whether a line is a request to servers that take any method, in any case, and any version
/// or none: its second word is a path or an address.
fn asks(line: &[u8]) -> bool {
    let aim = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).nth(1).unwrap_or_default();
    let scheme =
        |known: &str| aim.get(..known.len()).is_some_and(|aim| aim.eq_ignore_ascii_case(known.as_bytes()));
    aim.starts_with(b"/") || scheme("http:") || scheme("https:") || aim.windows(3).any(|part| part == b"://")
}

fn big_endian(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

fn little_endian(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// Matches the protocol header: 0-9-1, 0-9, 0-10, and 1.0 in plain, before TLS and with SASL.
fn amqp(bytes: &[u8]) -> Match {
    any_of(
        bytes,
        &[
            b"AMQP\x00\x00\x09\x01",
            b"AMQP\x01\x01\x00\x09",
            b"AMQP\x01\x01\x00\x0a",
            b"AMQP\x00\x01\x00\x00",
            b"AMQP\x02\x01\x00\x00",
            b"AMQP\x03\x01\x00\x00",
        ],
    )
}

/// Matches a frame of version 3 to 5, without flags or as a beta, with OPTIONS or STARTUP.
fn cassandra(bytes: &[u8]) -> Match {
    if !matches!(bytes, [] | [3..=5, ..]) {
        return Match::No;
    }
    header(bytes, [ANY, ANY, ANY, ANY, ANY, Some(0), Some(0), ANY, ANY], |frame| {
        // The version's first byte is that of SOCKS too; there, no flags means no method, or no
        // command.
        matches!(frame[1], 0 | 0x10 if frame[1] == 0 || frame[0] == 5)
            && matches!((frame[4], big_endian(&frame[5..])), (5, 0) | (1, 2..=4096))
    })
}

/// Matches the first packet of `git://`. Its `host`, by which a server chooses among its names,
/// must be the target.
fn git(bytes: &[u8], here: Here<'_>) -> Match {
    const SERVICES: [&[u8]; 3] = [b"git-upload-pack ", b"git-receive-pack ", b"git-upload-archive "];
    let digits = bytes.iter().take(4).take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count();
    if digits < bytes.len().min(4) {
        return Match::No;
    }
    let Some((length, rest)) = bytes.split_at_checked(4) else { return Match::Partial };
    match any_of(rest, &SERVICES) {
        Match::Yes => {}
        other => return other,
    }
    let length = std::str::from_utf8(length).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
    let Some(length @ 20..=4096) = length else { return Match::No };
    let Some(packet) = bytes.get(4..length) else { return Match::Partial };
    let mut parts = packet.split(|byte| *byte == 0);
    let path = parts.next().unwrap_or_default();
    let here = |part: &[u8]| match part.split_at_checked(5) {
        Some((key, host)) if key.eq_ignore_ascii_case(b"host=") => {
            std::str::from_utf8(host).is_ok_and(|host| is_target(host, here.target, here.port))
        }
        _ => true,
    };
    let good = path.iter().filter(|byte| **byte == b' ').count() == 1 && !path.contains(&b'\n');
    if good && bytes.len() == length && packet.contains(&0) && parts.all(here) {
        Match::Yes
    } else {
        Match::No
    }
}

/// Matches the words with which a client registers.
fn irc(bytes: &[u8]) -> Match {
    line(bytes, &["CAP", "NICK", "PASS", "USER"], 510, |line| line.contains(&b' ') && !asks(line))
}

/// Matches a request for versions, metadata or a SASL handshake, by a client whose name fits in it.
fn kafka(bytes: &[u8]) -> Match {
    let form = [Some(0), Some(0), ANY, ANY, Some(0), ANY, Some(0), ANY, ANY, ANY, ANY, ANY, ANY, ANY];
    header(bytes, form, |request| {
        let (size, name) = (big_endian(&request[..4]), big_endian(&request[12..]));
        matches!(request[5], 3 | 17 | 18)
            && request[7] <= 20
            && matches!(size, 10..=4096)
            && (name + 10 <= size || name == 0xffff)
    })
}

/// Matches a bind, a search or an extended operation (StartTLS) with a message id.
fn ldap(bytes: &[u8]) -> Match {
    let [0x30, rest @ ..] = bytes else {
        return if bytes.is_empty() { Match::Partial } else { Match::No };
    };
    let (length_bytes, rest) = match rest {
        [] => return Match::Partial,
        [0..=0x7f, rest @ ..] => (0, rest),
        [long @ 0x81..=0x84, rest @ ..] => (usize::from(long & 0x7f), rest),
        _ => return Match::No,
    };
    match rest.get(length_bytes..) {
        None | Some([] | [2] | [2, 1..=4]) => Match::Partial,
        Some([2, size @ 1..=4, rest @ ..]) => match rest.get(usize::from(*size)) {
            None => Match::Partial,
            Some(0x60 | 0x63 | 0x77) => Match::Yes,
            Some(_) => Match::No,
        },
        Some(_) => Match::No,
    }
}

/// Matches a command of the text protocol, or a request of the binary one.
fn memcached(bytes: &[u8]) -> Match {
    const WORDS: [&str; 22] = [
        "add",
        "append",
        "cas",
        "decr",
        "delete",
        "flush_all",
        "gat",
        "gats",
        "get",
        "gets",
        "incr",
        "me",
        "mg",
        "mn",
        "ms",
        "prepend",
        "replace",
        "set",
        "stats",
        "touch",
        "verbosity",
        "version",
    ];
    if matches!(bytes, [0x80, ..]) {
        // An old ClientHello has 1 in the third byte; a key is at most 250 long.
        return header(bytes, [Some(0x80), ANY, Some(0), ANY, ANY, Some(0), Some(0), Some(0)], |request| {
            request[1] <= 0x25 && request[3] <= 250 && request[4] <= 20
        });
    }
    line(bytes, &WORDS, 2048, |line| !asks(line))
}

/// Matches a request with OP_QUERY, OP_MSG or OP_COMPRESSED.
fn mongodb(bytes: &[u8]) -> Match {
    const ZERO: Option<u8> = Some(0);
    // By its length it may begin as a TLS record does. Then the rest of its number tells it from a
    // handshake.
    let number = if matches!(bytes, [0x14..=0x18, ..]) { ZERO } else { ANY };
    let form =
        [ANY, ANY, ANY, ZERO, ANY, number, number, number, ZERO, ZERO, ZERO, ZERO, ANY, ANY, ZERO, ZERO];
    header(bytes, form, |request| {
        matches!(little_endian(&request[..4]), 17..=0x00ff_ffff)
            && matches!(little_endian(&request[12..]), 2004 | 2012 | 2013)
    })
}

/// Matches CONNECT, of any version.
fn mqtt(bytes: &[u8]) -> Match {
    let [0x10, rest @ ..] = bytes else {
        return if bytes.is_empty() { Match::Partial } else { Match::No };
    };
    // The remaining length: up to four bytes, all but the last with the high bit.
    let long = rest.iter().take(3).take_while(|byte| **byte & 0x80 != 0).count();
    match rest.get(long..) {
        None | Some([]) => Match::Partial,
        Some([last, ..]) if last & 0x80 != 0 => Match::No,
        Some([_, name @ ..]) => any_of(name, &[b"\x00\x04MQTT", b"\x00\x06MQIsdp"]),
    }
}

/// Matches a TNS packet of type CONNECT.
fn oracle(bytes: &[u8]) -> Match {
    header(bytes, [ANY, ANY, Some(0), Some(0), Some(1), ANY, Some(0), Some(0), Some(1), ANY], |packet| {
        (58..=8192).contains(&big_endian(&packet[..2])) && packet[5] & 0xf0 == 0
    })
}

/// Matches a startup of version 3, or the request for TLS, for GSSAPI, or to cancel.
fn postgresql(bytes: &[u8]) -> Match {
    header(bytes, [Some(0), Some(0), ANY, ANY, ANY, ANY, ANY, ANY], |start| {
        match (big_endian(&start[..4]), big_endian(&start[4..])) {
            (8, 0x04d2_162f | 0x04d2_1630) | (16..=268, 0x04d2_162e) => true,
            (9..=10_000, version) => version >> 16 == 3,
            _ => false,
        }
    })
}

/// Matches a connection request of X.224 in a TPKT.
fn rdp(bytes: &[u8]) -> Match {
    header(bytes, [Some(3), Some(0), ANY, ANY, ANY, Some(0xe0), Some(0), Some(0)], |request| {
        let length = big_endian(&request[2..4]);
        (11..=512).contains(&length) && usize::from(request[4]) + 5 == length
    })
}

/// Matches a command as an array, as every client library sends it, or a bare PING.
fn redis(bytes: &[u8]) -> Match {
    let ping = any_of(bytes, &[b"PING\r\n"]);
    if ping != Match::No {
        return ping;
    }
    let (Match::Yes, rest) = count(bytes, b'*', 4) else { return count(bytes, b'*', 4).0 };
    count(rest, b'$', 9).0
}

/// Matches a sign, a number from 1 up and the end of its line, and returns the rest.
fn count(bytes: &[u8], sign: u8, longest: usize) -> (Match, &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return (Match::Partial, bytes) };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if *first != sign || digits > longest || rest.first() == Some(&b'0') {
        return (Match::No, bytes);
    }
    match &rest[digits..] {
        [] | [b'\r'] => (Match::Partial, bytes),
        [b'\r', b'\n', rest @ ..] if digits > 0 => (Match::Yes, rest),
        _ => (Match::No, bytes),
    }
}

/// Matches the greeting of a daemon's client: a version, and digests that it knows.
fn rsync(bytes: &[u8]) -> Match {
    line(bytes, &["@RSYNCD:"], 255, |line| {
        let plain = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'.' | b' ');
        line.get(9).is_some_and(u8::is_ascii_digit) && line[8..].iter().all(plain)
    })
}

/// Matches a negotiation of version 1 or 2 and later.
fn smb(bytes: &[u8]) -> Match {
    let form = [Some(0), Some(0), ANY, ANY, ANY, Some(b'S'), Some(b'M'), Some(b'B')];
    header(bytes, form, |packet| matches!(packet[4], 0xfe | 0xff))
}

/// Matches a prelogin whose first option is the version.
fn sql_server(bytes: &[u8]) -> Match {
    let form = [Some(0x12), ANY, ANY, ANY, Some(0), Some(0), ANY, Some(0), Some(0)];
    header(bytes, form, |packet| {
        packet[1] <= 1 && (14..=4096).contains(&big_endian(&packet[2..4])) && packet[6] <= 1
    })
}

/// Matches the identification line of version 2. With a second space, or a slash, it would be a
/// request to servers that take any method.
fn ssh(bytes: &[u8]) -> Match {
    match any_of(bytes, &[b"SSH-2.0-", b"SSH-1.99-"]) {
        Match::Yes => {}
        other => return other,
    }
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let line = &bytes[..end.unwrap_or(bytes.len())];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let spaces = line.iter().filter(|byte| **byte == b' ').count();
    let visible = line.iter().all(|byte| (b' '..0x7f).contains(byte) && *byte != b'/');
    match end {
        _ if line.len() > 253 || spaces > 1 || !visible => Match::No,
        None => Match::Partial,
        Some(_) => Match::Yes,
    }
}

/// Matches the frame that opens a connection: its command alone on a line.
fn stomp(bytes: &[u8]) -> Match {
    any_of(bytes, &[b"CONNECT\n", b"CONNECT\r\n", b"STOMP\n", b"STOMP\r\n"])
}

/// Matches the head of a stream, whole.
fn xmpp(bytes: &[u8]) -> Match {
    const STREAM: &[u8] = b"<stream:stream ";
    match any_of(bytes, &[b"<?xml version=", STREAM]) {
        Match::Yes => {}
        other => return other,
    }
    let head = &bytes[..bytes.len().min(1024)];
    let begin = head.windows(STREAM.len()).position(|part| part == STREAM);
    match begin.map(|begin| head[begin..].contains(&b'>')) {
        Some(true) => Match::Yes,
        _ if bytes.len() > head.len() => Match::No,
        _ => Match::Partial,
    }
}

/// Matches a connect request, with the flag for read-only or without it.
fn zookeeper(bytes: &[u8]) -> Match {
    let zero = Some(0);
    header(bytes, [zero, zero, zero, ANY, zero, zero, zero, zero], |request| {
        matches!(request[3], 28 | 29 | 44 | 45)
    })
}
