//! git's configuration files: reading them as git does, and writing single entries.
//!
//! What git would refuse is refused here too, and a little more: a zero byte, and an entry outside
//! of a section. A test holds this against git itself. Nothing that is read from an agent's file is
//! ever copied as it stands: values are written anew, quoted.

use std::ops::Range;

/// The largest file that is read.
pub(crate) const LARGEST: u64 = 1 << 20;

/// One `name = value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `section.key` or `section.subsection.key`; section and key in lower case.
    pub(crate) name: Vec<u8>,
    /// The key as it is spelled.
    pub(crate) key: Vec<u8>,
    /// Value of the entry. Without `=` an entry has none, which git takes for true.
    pub(crate) value: Option<Vec<u8>>,
    /// The entry's bytes in the text, the end of its line included.
    pub(crate) span: Range<usize>,
}

/// A name in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    /// Before the first dot.
    pub(crate) section: &'a [u8],
    /// Between the first dot and the last.
    pub(crate) subsection: Option<&'a [u8]>,
    /// Behind the last dot.
    pub(crate) key: &'a [u8],
}

impl<'a> Name<'a> {
    /// Splits a whole name into its parts.
    pub(crate) fn of(name: &'a [u8]) -> Name<'a> {
        let is_dot = |byte: &u8| *byte == b'.';
        match (name.iter().position(is_dot), name.iter().rposition(is_dot)) {
            (Some(first), Some(last)) => Name {
                section: &name[..first],
                subsection: (first < last).then(|| &name[first + 1..last]),
                key: &name[last + 1..],
            },
            _ => Name { section: name, subsection: None, key: b"" },
        }
    }
}

/// Returns all entries, in order; nothing when git would not read the text either.
pub(crate) fn parse(text: &[u8]) -> Option<Vec<Entry>> {
    if text.contains(&0) {
        return None;
    }
    Reader { text, at: 0, ended: false }.entries()
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    ended: bool,
}

/// Tells whether git takes a byte for white space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

impl Reader<'_> {
    /// Takes the next byte. The end of a line in any form is `\n`, and so is the end of the text.
    fn next(&mut self) -> u8 {
        let Some(&byte) = self.text.get(self.at) else {
            self.ended = true;
            return b'\n';
        };
        self.at += 1;
        if byte == b'\r' && self.text.get(self.at) == Some(&b'\n') {
            self.at += 1;
            return b'\n';
        }
        byte
    }

    fn entries(mut self) -> Option<Vec<Entry>> {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        if self.text.starts_with(MARK) {
            self.at = MARK.len();
        }
        let (mut entries, mut section, mut comment) = (Vec::new(), None::<Vec<u8>>, false);
        loop {
            let start = self.at;
            match self.next() {
                b'\n' if self.ended => return Some(entries),
                b'\n' => comment = false,
                _ if comment => {}
                byte if is_space(byte) => {}
                b'#' | b';' => comment = true,
                b'[' => section = Some(self.section()?),
                byte if byte.is_ascii_alphabetic() => {
                    let mut key = vec![byte];
                    let value = self.entry(&mut key)?;
                    let name = [section.as_deref()?, &key.to_ascii_lowercase()].concat();
                    entries.push(Entry { name, key, value, span: start..self.at });
                }
                _ => return None,
            }
        }
    }

    /// Reads a section's name in brackets, and returns it with a dot at its end.
    fn section(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        loop {
            let byte = self.next();
            match byte {
                _ if self.ended => return None,
                b']' => break,
                _ if is_space(byte) => {
                    self.subsection(byte, &mut name)?;
                    break;
                }
                _ if is_key(byte) || byte == b'.' => name.push(byte.to_ascii_lowercase()),
                _ => return None,
            }
        }
        name.push(b'.');
        (name != b".").then_some(name)
    }

    fn subsection(&mut self, mut byte: u8, name: &mut Vec<u8>) -> Option<()> {
        while is_space(byte) {
            if byte == b'\n' {
                return None;
            }
            byte = self.next();
        }
        if byte != b'"' {
            return None;
        }
        name.push(b'.');
        loop {
            match self.next() {
                b'\n' => return None,
                b'"' => break,
                b'\\' => match self.next() {
                    b'\n' => return None,
                    byte => name.push(byte),
                },
                byte => name.push(byte),
            }
        }
        (self.next() == b']').then_some(())
    }

    /// Reads the rest of a key, and its value.
    fn entry(&mut self, key: &mut Vec<u8>) -> Option<Option<Vec<u8>>> {
        let mut byte = self.next();
        while !self.ended && is_key(byte) {
            key.push(byte);
            byte = self.next();
        }
        while matches!(byte, b' ' | b'\t') {
            byte = self.next();
        }
        match byte {
            b'\n' => Some(None),
            b'=' => self.value().map(Some),
            _ => None,
        }
    }

    fn value(&mut self) -> Option<Vec<u8>> {
        let (mut value, mut quoted, mut comment) = (Vec::new(), false, false);
        // Where white space began that may be the value's end.
        let mut trim: Option<usize> = None;
        loop {
            let byte = self.next();
            match byte {
                b'\n' if quoted => return None,
                b'\n' => {
                    value.truncate(trim.unwrap_or(value.len()));
                    return Some(value);
                }
                _ if comment => {}
                _ if is_space(byte) && !quoted => {
                    if !value.is_empty() {
                        trim.get_or_insert(value.len());
                        value.push(byte);
                    }
                }
                b';' | b'#' if !quoted => comment = true,
                b'\\' => {
                    trim = None;
                    match self.next() {
                        b'\n' => {}
                        b't' => value.push(b'\t'),
                        b'b' => value.push(8),
                        b'n' => value.push(b'\n'),
                        byte @ (b'\\' | b'"') => value.push(byte),
                        _ => return None,
                    }
                }
                b'"' => {
                    trim = None;
                    quoted = !quoted;
                }
                _ => {
                    trim = None;
                    value.push(byte);
                }
            }
        }
    }
}

/// Writes a section's head, from a name.
pub(crate) fn head(name: &Name<'_>) -> Vec<u8> {
    let mut text = b"[".to_vec();
    text.extend_from_slice(name.section);
    if let Some(subsection) = name.subsection {
        text.extend_from_slice(b" \"");
        for byte in subsection {
            if matches!(byte, b'"' | b'\\') {
                text.push(b'\\');
            }
            text.push(*byte);
        }
        text.push(b'"');
    }
    text.extend_from_slice(b"]\n");
    text
}

/// Writes a line of a section.
pub(crate) fn line(key: &[u8], value: Option<&[u8]>) -> Vec<u8> {
    let mut text = b"\t".to_vec();
    text.extend_from_slice(key);
    let Some(value) = value else {
        text.push(b'\n');
        return text;
    };
    text.extend_from_slice(b" = ");
    let plain = !value.is_empty()
        && value.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b';' | b'#'));
    if plain {
        text.extend_from_slice(value);
    } else {
        text.push(b'"');
        for byte in value {
            match byte {
                b'\n' => text.extend_from_slice(b"\\n"),
                b'\t' => text.extend_from_slice(b"\\t"),
                8 => text.extend_from_slice(b"\\b"),
                b'"' | b'\\' => text.extend_from_slice(&[b'\\', *byte]),
                byte => text.push(*byte),
            }
        }
        text.push(b'"');
    }
    text.push(b'\n');
    text
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
