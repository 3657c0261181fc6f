//! The target of a request line: version, path and query, decoded once.
//!
//! Engines decode, clean and redirect paths. Here, a path that means something else after any of
//! that is refused, so that there is one reading.

use super::version::ApiMinor;
use crate::serve::denied::Denied;

/// The longest target that is read.
const LONGEST: usize = 64 << 10;

/// The target of a request line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Version, where the path begins with one.
    pub(crate) version: Option<ApiMinor>,
    /// Segments of the path behind the version, decoded.
    pub(crate) segments: Vec<String>,
    /// Query as it was sent.
    pub(crate) query: String,
}

/// Reads the target of a request line, of origin form or absolute form.
///
/// # Errors
/// When the path has more than one reading.
pub(crate) fn read(target: &str) -> Result<Target, Denied> {
    if target.len() > LONGEST {
        return Err(Denied::plain(414, "ringfence: the request's target is too long; send a shorter one"));
    }
    let path = origin_form(target)?;
    if path.contains('#') {
        return Err(bad("it has a fragment"));
    }
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let rest = path.strip_prefix('/').ok_or_else(|| bad("it does not begin with `/`"))?;
    let mut segments = rest.split('/').map(segment).collect::<Result<Vec<_>, _>>()?;
    let version = match segments.first().and_then(|first| first.strip_prefix('v')) {
        Some(text) if text.starts_with(|c: char| c.is_ascii_digit()) => {
            Some(ApiMinor::read(text).ok_or_else(|| bad("its version has not the form v1.41"))?)
        }
        _ => None,
    };
    if version.is_some() {
        // What is percent-encoded in a prefix is no prefix to an engine.
        if rest.split('/').next().is_some_and(|first| first.contains('%')) {
            return Err(bad("its version is percent-encoded"));
        }
        segments.remove(0);
    }
    Ok(Target { version, segments, query: query.to_owned() })
}

/// Returns path and query of an absolute form; another is returned as it is.
fn origin_form(target: &str) -> Result<&str, Denied> {
    let Some(rest) = target.strip_prefix("http://") else { return Ok(target) };
    rest.find('/').map(|at| &rest[at..]).ok_or_else(|| bad("it has no path"))
}

fn bad(why: &str) -> Denied {
    Denied::malformed(format!(
        "the path of the request cannot be read: {why}; send it as the API's description has it"
    ))
}

/// Decodes one segment.
fn segment(raw: &str) -> Result<String, Denied> {
    let decoded = decode(raw, false).ok_or_else(|| bad("its percent-encoding is not valid"))?;
    if decoded.is_empty() {
        return Err(bad("it has an empty segment"));
    }
    if decoded == "." || decoded == ".." {
        return Err(bad("it has a dot segment"));
    }
    if decoded.contains(|c: char| c == '/' || c == '\\' || c.is_control()) {
        return Err(bad("a segment has an encoded slash or a control character"));
    }
    Ok(decoded)
}

/// Decodes percent-encoding, once. `plus` is a space in a query and itself in a path.
pub(super) fn decode(raw: &str, plus: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'%' => {
                let digits = after.get(..2).filter(|two| two.iter().all(u8::is_ascii_hexdigit))?;
                bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                rest = &after[2..];
            }
            b'+' if plus => bytes.push(b' '),
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// Encodes a text for a segment of a path or a value of a query: everything but unreserved
/// characters.
pub(crate) fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut made, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            made.push(char::from(byte));
        } else {
            made.push_str(&format!("%{byte:02X}"));
        }
        made
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spelling_of_a_path_has_one_reading() {
        let plain = Target {
            version: Some(ApiMinor(41)),
            segments: vec!["containers".to_owned(), "json".to_owned()],
            query: "all=1".to_owned(),
        };
        for same in [
            "/v1.41/containers/json?all=1",
            "http://d/v1.41/containers/json?all=1",
            "/v1.41/containers/%6ason?all=1",
            "/v1.41/%63ontainers/json?all=1",
        ] {
            assert_eq!(read(same).as_ref(), Ok(&plain), "{same}");
        }
        assert_eq!(
            read("/_ping").unwrap(),
            Target { version: None, segments: vec!["_ping".to_owned()], query: String::new() }
        );
        assert_eq!(read("/volumes/v1").unwrap().segments, ["volumes", "v1"], "a name is no version");
    }

    #[test]
    fn a_path_with_two_readings_is_refused() {
        for bad in [
            "//containers/json",
            "/v1.41//containers/json",
            "/v1.41/../containers/json",
            "/v1.41/./containers/json",
            "/v1.41/%2e%2e/containers/json",
            "/v1.41/containers%2fjson",
            "/v1.41/containers%2Fjson",
            "/v1.41/containers/a%00/json",
            "/v1.41/containers/a%0a/json",
            "/v1.41/containers/a%5c/json",
            "/v1.041/containers/json",
            "/v1.41.0/containers/json",
            "/v2.0/containers/json",
            "/%76%31.41/containers/json",
            "/v%31.41/containers/json",
            "/v1.41/containers/json/",
            "/v1.41/",
            "/",
            "",
            "*",
            "containers/json",
            "http://d",
            "https://d/v1.41/containers/json",
            "/containers/%zz/json",
            "/containers/%f/json",
            "/containers/%/json",
            "/containers/%ff/json",
            "/containers/json#x",
        ] {
            assert_eq!(read(bad).unwrap_err().status, 400, "{bad}");
        }
        assert_eq!(read(&format!("/{}", "a".repeat(LONGEST))).unwrap_err().status, 414);
    }

    #[test]
    fn what_is_encoded_is_decoded_to_the_text() {
        for text in ["a b", "ä/%?&=+#", "library/debian:12", ""] {
            assert_eq!(decode(&encode(text), true).as_deref(), Some(text));
        }
    }
}
