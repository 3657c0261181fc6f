//! `key value`: yarn 1, Redis, and curl's options.

use std::ops::Range;

use super::manner::Manner;
use super::patterns::Patterns;
use super::{each_line, unquoted};

/// curl's options that take a value which is no secret. Their URLs lose what stands before `@`.
const CURL_PLAIN: &[&str] = &[
    "cacert",
    "capath",
    "cert-type",
    "ciphers",
    "config",
    "connect-timeout",
    "connect-to",
    "continue-at",
    "cookie-jar",
    "create-file-mode",
    "crlfile",
    "curves",
    "dns-servers",
    "doh-url",
    "dump-header",
    "engine",
    "expect100-timeout",
    "happy-eyeballs-timeout-ms",
    "interface",
    "ipfs-gateway",
    "keepalive-time",
    "key",
    "key-type",
    "limit-rate",
    "local-port",
    "max-filesize",
    "max-redirs",
    "max-time",
    "netrc-file",
    "noproxy",
    "output",
    "output-dir",
    "parallel-max",
    "pinnedpubkey",
    "preproxy",
    "proto",
    "proto-default",
    "proto-redir",
    "proxy",
    "proxy-cacert",
    "proxy-capath",
    "proxy-key",
    "proxy1.0",
    "range",
    "rate",
    "referer",
    "request",
    "resolve",
    "retry",
    "retry-delay",
    "retry-max-time",
    "socks4",
    "socks4a",
    "socks5",
    "socks5-hostname",
    "speed-limit",
    "speed-time",
    "stderr",
    "time-cond",
    "tls-max",
    "tls13-ciphers",
    "trace",
    "trace-ascii",
    "unix-socket",
    "url",
    "user-agent",
    "write-out",
];
/// Short options of curl without a secret. A letter of `CURL_FLAGS` takes no value.
const CURL_PLAIN_LETTERS: &[u8] = b"AcCDeKmortwxXyYzT";
const CURL_FLAGS: &[u8] = b"#0123456:aBfgGiIjJklLMnNOpqRsSvVZ";

/// Finds the values of secret keys.
pub(super) fn find(text: &[u8], manner: Manner) -> Vec<Range<usize>> {
    let patterns = Patterns::get();
    let mut spans = patterns.in_urls(text);
    for (start, line) in each_line(text) {
        let Some((key, value)) = split(line) else { continue };
        let word = &line[key.clone()];
        let comment = line.trim_ascii_start().starts_with(b"#");
        let manner = if comment { manner.of_comment() } else { manner };
        // Prose has no key in quotes, or goes on after it with more than one word.
        let goes_on = |value: &[u8]| value.contains(&b' ') && !matches!(value.first(), Some(b'"' | b'\''));
        let prose = !matches!(word.first(), Some(b'"' | b'\''))
            || key.end == value.start
            || goes_on(&line[value.clone()]);
        if comment && prose {
            continue;
        }
        let text = &line[value.clone()];
        // `user default on >password`, `sentinel auth-pass NAME PASSWORD`.
        let first = text.split(|byte| *byte == b' ').next().unwrap_or_default();
        let of_redis = (word == b"user" && text.iter().any(|byte| matches!(byte, b'>' | b'#' | b'<')))
            || (word == b"sentinel" && patterns.is_secret(first));
        if of_redis || patterns.is_secret(word) {
            take(&mut spans, manner, start, line, value);
        }
    }
    spans
}

/// Returns the places of a line's first word, or quoted text, and of the rest.
fn split(line: &[u8]) -> Option<(Range<usize>, Range<usize>)> {
    let blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'#' | b';');
    let from = line.iter().take_while(blank).count();
    let body = &line[from..];
    let length = match body.first()? {
        quote @ (b'"' | b'\'') => body.iter().skip(1).position(|byte| byte == quote)? + 2,
        _ => body.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'='))?,
    };
    let rest = &body[length..];
    let gap = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'=' | b':')).count();
    (gap < rest.len()).then(|| (from..from + length, from + length + gap..line.len()))
}

/// Takes a value without its quotes, unless it is no secret.
fn take(spans: &mut Vec<Range<usize>>, manner: Manner, start: usize, line: &[u8], value: Range<usize>) {
    let inner = unquoted(&line[value.clone()]);
    if !manner.is_plain(inner) {
        let from = start + value.start + usize::from(line[value.start] == b'"' || line[value.start] == b'\'');
        spans.push(from..from + inner.len());
    }
}

/// Finds what curl's options say that is not known to be harmless: a new option may hold a secret.
pub(super) fn find_curl(text: &[u8], manner: Manner) -> Vec<Range<usize>> {
    let patterns = Patterns::get();
    let mut spans = patterns.in_urls(text);
    for (start, line) in each_line(text) {
        let blank = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'#')).count();
        let comment = line[..blank].contains(&b'#');
        let manner = if comment { manner.of_comment() } else { manner };
        let body = &line[blank..];
        let dashes = body.iter().take_while(|byte| **byte == b'-').count();
        let value = if dashes == 1 { after_letters(body) } else { after_word(body, dashes, comment) };
        if let Some(value) = value.filter(|at| *at < body.len()) {
            let value = blank + value..line.len();
            let has_user = line[value.clone()].contains(&b'@');
            // Prose in a comment is no option: it has several words and no password's mark.
            if !comment || has_user || line[value.clone()].contains(&b':') {
                take(&mut spans, manner, start, line, value);
            }
        }
    }
    spans
}

/// Returns the offset at which the value of `-u value`, `-uvalue` or `-sSu value` begins, if it may
/// be a secret.
fn after_letters(body: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let letter = body.get(at)?;
        at += 1;
        if CURL_PLAIN_LETTERS.contains(letter) {
            return None;
        }
        if !CURL_FLAGS.contains(letter) {
            return Some(at + separators(&body[at..]));
        }
    }
}

/// Returns the offset at which the value of `user = value` or `--user value` begins, if it may be a
/// secret.
fn after_word(body: &[u8], dashes: usize, comment: bool) -> Option<usize> {
    let word = &body[dashes..];
    let length = word.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'=' | b':'))?;
    let name = std::str::from_utf8(&word[..length]).ok()?;
    let at = dashes + length;
    let value = at + separators(&body[at..]);
    // `cert` is a file, and its password behind a colon.
    let plain = CURL_PLAIN.contains(&name)
        || (matches!(name, "cert" | "proxy-cert") && !body[value..].contains(&b':'));
    (!plain && (!comment || name.chars().all(|c| c.is_ascii_lowercase() || c == '-'))).then_some(value)
}

fn separators(text: &[u8]) -> usize {
    text.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'=' | b':')).count()
}
