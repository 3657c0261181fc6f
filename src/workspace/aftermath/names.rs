//! Names that an agent gave, written so that a terminal obeys nothing in them and none is taken for
//! two.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use netpolicy::diagnostic::harmless;

/// A person is shown no more of a name; its end is kept, where the file's own name is.
const LONGEST_SHOWN: usize = 120;
/// The longest name in an event.
pub(super) const LONGEST_LISTED: usize = 1_000;
/// The names of one event, in bytes.
const PART: usize = 4_000;

/// Writes a name in full, as text. Bytes that are no text, and characters that are not seen, are
/// written as escapes.
pub(crate) fn exact(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        // So that a name that looks like an escape is no escape.
        text.push_str(&harmless(&chunk.valid().replace('\\', "\\\\")));
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// Writes a name for the person.
pub(crate) fn shown(path: &Path) -> String {
    quoted(cut(&exact(path), LONGEST_SHOWN))
}

/// Writes a name for an event.
pub(crate) fn listed(path: &Path) -> String {
    quoted(cut(&exact(path), LONGEST_LISTED))
}

/// Returns a text with its middle left out where it is long.
pub(crate) fn cut(text: &str, longest: usize) -> String {
    let count = text.chars().count();
    if count <= longest {
        return text.to_owned();
    }
    let (front, back) = (longest / 3, longest - longest / 3);
    let head: String = text.chars().take(front).collect();
    let tail: String = text.chars().skip(count - back).collect();
    format!("{head}…{tail}")
}

/// Puts a name in quotes that could be taken for several, or for a part of the sentence.
fn quoted(name: String) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@=~#%^{}[]$\\…".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) {
        return name;
    }
    format!("\"{}\"", name.replace('"', "\\\""))
}

/// Writes names behind a head, in as many texts as their length asks for.
pub(crate) fn parts(head: &str, names: Vec<String>) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut room = 0;
    for name in names {
        match parts.last_mut().filter(|_| name.len() < room) {
            Some(part) => part.push_str(&format!(", {name}")),
            None => {
                parts.push(format!("{head}{name}"));
                room = PART;
            }
        }
        room = room.saturating_sub(name.len() + 2);
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn no_name_is_obeyed_or_taken_for_another() {
        let of = |bytes: &[u8]| shown(Path::new(OsStr::from_bytes(bytes)));
        assert_eq!(of(b"a/.envrc"), "a/.envrc");
        assert_eq!(of("ä/日本".as_bytes()), "ä/日本");
        assert_eq!(of(b"a, .envrc"), "\"a, .envrc\"");
        assert_eq!(of(b"a\x1b[2J\r\nb"), "a\\u{1b}[2J\\u{d}\\u{a}b");
        assert_eq!(of(b"a\\u{1b}"), "a\\\\u{1b}");
        assert_eq!(of(b"\xff\"x"), "\"\\xff\\\"x\"");
        assert_eq!(of("a\u{202e}b\u{200c}".as_bytes()), "a\\u{202e}b\\u{200c}");
        let long = of(format!("{}/.envrc", "x".repeat(3_000)).as_bytes());
        assert!(long.ends_with("/.envrc") && long.chars().count() < 130, "{long}");
    }
}
