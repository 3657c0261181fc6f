//! Judgement of an agent's first bytes on an `auto` port.
//!
//! ```text
//!  first bytes ─┬─ any server's TLS, however old or odd ──▶ Tls: the name must be in it
//!               ├─ any server's HTTP, however lenient ────▶ Http, Http2, Kin
//!               ├─ on the closed list ───────────────────▶ Known
//!               └─ nothing of these ─────────────────────▶ Unknown: passes only behind a server that spoke first
//! ```
//! Lenience is that of servers that are in use: Python's strip every white space of Latin-1 before
//! and between the words, others skip empty lines, mind no case, take any method, a missing
//! version, or a lone CR as an end. Go takes a record of any version below 0x1000 for TLS, and
//! skips records of other types before the handshake; OpenSSL answers a ClientHello in the form of
//! SSLv2.

use super::protocols::{self, Here, Match};

/// Protocol of an agent's first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Too short to tell.
    Unsure,
    /// Bytes that some server takes for the beginning of a TLS handshake.
    Tls,
    /// Bytes that some server takes for a request of HTTP/1.
    Http,
    /// The preface of HTTP/2.
    Http2,
    /// A relative of HTTP, or what proxies write before a connection: names that nobody here looks
    /// at.
    Kin,
    /// A protocol on the closed list.
    Known,
    /// Bytes of no known protocol.
    Unknown,
}

/// Methods that are in use, so that a request is known by its first word.
const METHODS: [&str; 30] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
    "MERGE",
    "CHECKOUT",
    "MKACTIVITY",
    "PURGE",
    "M-SEARCH",
    "NOTIFY",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "LINK",
    "UNLINK",
    "QUERY",
    "ACL",
];

/// Schemes of HTTP's relatives.
const KIN: [&str; 5] = ["rtsp:", "rtsps:", "sip:", "sips:", "icap:"];

/// Header that a proxy writes before the connection that it passes on, by version.
const PROXY: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];

/// Tells what the first bytes are; `answered` says that the server spoke before them.
pub(crate) fn of(bytes: &[u8], answered: bool, here: Here<'_>) -> Opening {
    if bytes.is_empty() {
        return Opening::Unsure;
    }
    if PROXY.iter().any(|beginning| bytes.starts_with(beginning)) {
        return Opening::Kin;
    }
    match tls(bytes, answered, here) {
        Match::Yes => return Opening::Tls,
        Match::Partial => return Opening::Unsure,
        Match::No => {}
    }
    match (request(bytes, answered), answered) {
        (Opening::Unknown, true) => Opening::Unknown,
        (Opening::Unknown, false) => match protocols::opens(bytes, here) {
            Match::Yes => Opening::Known,
            Match::Partial => Opening::Unsure,
            Match::No if PROXY.iter().any(|beginning| beginning.starts_with(bytes)) => Opening::Unsure,
            Match::No => Opening::Unknown,
        },
        (other, _) => other,
    }
}

/// Looks for `HTTP/`, in any case and with white space before the slash, in the first line that a
/// server may read. Some servers take three words of any kind for a request (Twisted): behind such
/// a line it looks for `Host:` at the beginning of the others.
#[derive(Debug, Default)]
pub(crate) struct FirstLine {
    read: usize,
    matched: usize,
    /// Words of the line so far, and whether the last one goes on.
    words: usize,
    in_word: bool,
    /// Letters of `host` with which a later line begins; none when it begins otherwise.
    header: Option<Option<usize>>,
}

/// Judgement of a first line so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// The line goes on.
    Open,
    /// The line has ended, or is longer than any server reads, without the word.
    Plain,
    /// The line may be that of a request.
    Request,
}

impl FirstLine {
    /// The longest line that some server reads.
    const LONGEST: usize = 64 * 1024;

    /// Takes in more bytes.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Line {
        const WORD: &[u8] = b"http";
        for byte in bytes {
            self.read += 1;
            if let Some(begun) = self.header {
                if self.header_goes_on(begun, byte.to_ascii_lowercase()) {
                    return Line::Request;
                }
                continue;
            }
            let is_word = !is_space(*byte) && !is_end(*byte);
            self.words += usize::from(is_word && !self.in_word);
            self.in_word = is_word;
            if *byte == b'\n' && self.words >= 3 {
                self.header = Some(Some(0));
                continue;
            }
            self.matched = match (byte.to_ascii_lowercase(), self.matched) {
                (b'\n', _) => return Line::Plain,
                (b'/', 4) => return Line::Request,
                (space, 4) if is_space(space) => 4,
                (letter, matched) if WORD.get(matched) == Some(&letter) => matched + 1,
                (b'h', _) => 1,
                _ => 0,
            };
        }
        if self.read > FirstLine::LONGEST { Line::Plain } else { Line::Open }
    }

    /// Follows a later line, and tells whether it turns out to be the Host of a request.
    fn header_goes_on(&mut self, begun: Option<usize>, byte: u8) -> bool {
        const HOST: &[u8] = b"host";
        let next = match (byte, begun) {
            (b'\n' | b'\r', _) => Some(0),
            (b':', Some(4)) => return true,
            (space, Some(begun @ (0 | 4))) if is_space(space) => Some(begun),
            (letter, Some(begun)) if HOST.get(begun) == Some(&letter) => Some(begun + 1),
            _ => None,
        };
        self.header = Some(next);
        false
    }
}

/// Tells whether some server takes the bytes for TLS.
fn tls(bytes: &[u8], answered: bool, here: Here<'_>) -> Match {
    match bytes {
        // A record of any type and version. MySQL answers its server with a length, which may begin
        // so: its next byte is a number, 1, and the second one of its flags is never just 1, as the
        // type of a ClientHello is.
        [0x14..=0x18, ..] if answered => match bytes {
            [_, _, 0, 1, _, sixth, ..] if *sixth != 1 => Match::No,
            [_, _, 0, 1] | [_, _, 0, 1, _] | [_] | [_, _] | [_, _, _] => Match::Partial,
            _ => Match::Yes,
        },
        // MongoDB's requests begin with a length too.
        [0x14..=0x18, ..] => match protocols::opens(bytes, here) {
            Match::Yes => Match::No,
            Match::Partial => Match::Partial,
            Match::No => Match::Yes,
        },
        // A ClientHello in the form of SSLv2: its length with the high bit, type 1, version 2 or 3.
        [0x80..=0xff] | [0x80..=0xff, _] | [0x80..=0xff, _, 1] => Match::Partial,
        [0x80..=0xff, _, 1, 0 | 2 | 3, ..] => Match::Yes,
        _ => Match::No,
    }
}

/// Tells whether some server takes the bytes for a request.
fn request(bytes: &[u8], answered: bool) -> Opening {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let blank = bytes.iter().take_while(|byte| is_space(**byte) || is_end(**byte)).count();
    let text = &bytes[blank..];
    let token = text.iter().take_while(|byte| is_token(**byte)).count();
    let Some(behind) = text.get(token) else { return Opening::Unsure };
    if token == 0 || !is_space(*behind) {
        return Opening::Unknown;
    }
    let end = end_of_line(text);
    let line = &text[..end.unwrap_or(text.len())];
    let gap = line[token..].iter().take_while(|byte| is_space(**byte)).count();
    let (word, aim) = (&line[..token], &line[token + gap..]);
    let decided = end.is_some() || !aim.is_empty();
    if word == b"PRI" && decided {
        return if aim.starts_with(b"*") { Opening::Http2 } else { Opening::Unknown };
    }
    if METHODS.iter().any(|method| word.eq_ignore_ascii_case(method.as_bytes())) {
        if !decided {
            return Opening::Unsure;
        }
        match beginning_of(aim, &KIN, end.is_some()) {
            Match::Yes => return Opening::Kin,
            Match::Partial => return Opening::Unsure,
            Match::No => {}
        }
        // Lower case may be another protocol's word, and a server that spoke may be no HTTP server:
        // a path tells.
        let exact = word.iter().all(|byte| !byte.is_ascii_lowercase());
        if (exact && !answered) || aim.starts_with(b"/") || has_scheme(aim) {
            return Opening::Http;
        }
    }
    if names_http(line) {
        return Opening::Http;
    }
    // Bytes that no request line has end the question, where nothing of HTTP came before them.
    let strange = |byte: &u8| *byte < b' ' && !is_space(*byte) && *byte != b'\r';
    if end.is_some() || line.iter().any(strange) { Opening::Unknown } else { Opening::Unsure }
}

/// Compares a text with several beginnings, in any case.
fn beginning_of(text: &[u8], beginnings: &[&str], whole: bool) -> Match {
    let matches = |beginning: &&str| {
        let length = beginning.len().min(text.len());
        text[..length].eq_ignore_ascii_case(&beginning.as_bytes()[..length])
    };
    match beginnings.iter().filter(|beginning| matches(beginning)).map(|beginning| beginning.len()).min() {
        None => Match::No,
        Some(length) if length <= text.len() => Match::Yes,
        Some(_) if whole => Match::No,
        Some(_) => Match::Partial,
    }
}

fn has_scheme(aim: &[u8]) -> bool {
    beginning_of(aim, &["http:", "https:"], true) == Match::Yes
}

/// Tells whether a line has `HTTP/` in it, in any case and with white space before the slash.
fn names_http(line: &[u8]) -> bool {
    FirstLine::default().take(line) == Line::Request
}

/// Returns the offset at which a line ends. Some servers end a line at a lone CR.
fn end_of_line(text: &[u8]) -> Option<usize> {
    let ends = |pair: &[u8]| pair[0] == b'\n' || (pair[0] == b'\r' && pair[1] != b'\n');
    text.windows(2).position(ends).or_else(|| text.ends_with(b"\n").then(|| text.len() - 1))
}

/// Tells whether some server takes a byte for white space within a line.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x0b | 0x0c | 0x1c..=0x20 | 0x85 | 0xa0)
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Tells whether a byte may be in the method of a request.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
pub(crate) mod tests;
