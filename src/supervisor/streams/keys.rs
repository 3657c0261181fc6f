//! Keys by which a person leaves an agent that goes on: `ctrl-p,ctrl-q`, as docker has them.

use std::fmt;
use std::str::FromStr;

/// docker's keys.
const USUAL: &str = "ctrl-p,ctrl-q";

/// A sequence of keys, and how much of it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    typed: usize,
}

impl Default for DetachKeys {
    fn default() -> DetachKeys {
        DetachKeys { keys: vec![16, 17], typed: 0 }
    }
}

impl fmt::Display for DetachKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.keys.iter().map(|key| word(*key)).collect();
        f.write_str(&words.join(","))
    }
}

/// Returns the word of the byte that a key sends.
fn word(key: u8) -> String {
    match key {
        127 => "DEL".to_owned(),
        0..32 => format!("ctrl-{}", char::from(key | 0x40).to_ascii_lowercase()),
        _ => char::from(key).to_string(),
    }
}

impl FromStr for DetachKeys {
    type Err = String;

    fn from_str(text: &str) -> Result<DetachKeys, String> {
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        let keys = keys.filter(|keys| !keys.is_empty() && keys.len() <= 16);
        keys.map(|keys| DetachKeys { keys, typed: 0 }).ok_or_else(|| {
            format!(
                "expected keys such as `{USUAL}`: letters, and ctrl- with a letter or one of @ [ \\ ] ^ _"
            )
        })
    }
}

/// Returns the byte that a key sends.
fn key(word: &str) -> Option<u8> {
    if word == "DEL" {
        return Some(127);
    }
    let (control, letter) = match word.strip_prefix("ctrl-") {
        Some(letter) => (true, letter),
        None => (false, word),
    };
    let [letter] = letter.as_bytes() else { return None };
    match (control, letter) {
        (false, b' '..=b'~') => Some(*letter),
        (true, b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_') => Some(letter & 0x1f),
        _ => None,
    }
}

impl DetachKeys {
    /// Takes what was typed. Returns what of it is the agent's, and whether the sequence is whole.
    /// The beginning of a sequence is kept back until the next key.
    pub(super) fn take(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len() + self.typed);
        for byte in typed {
            if self.keys.get(self.typed) != Some(byte) {
                passed.extend_from_slice(&self.keys[..self.typed]);
                self.typed = 0;
            }
            match self.keys.get(self.typed) == Some(byte) {
                true => self.typed += 1,
                false => passed.push(*byte),
            }
            if self.typed == self.keys.len() {
                self.typed = 0;
                return (passed, true);
            }
        }
        (passed, false)
    }

    /// Returns what was kept back at the end of the input.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        self.keys[..std::mem::take(&mut self.typed)].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &str, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut keys: DetachKeys = keys.parse().unwrap();
        let mut all = Vec::new();
        for piece in pieces {
            let (passed, whole) = keys.take(piece);
            all.extend(passed);
            if whole {
                return (all, true);
            }
        }
        all.extend(keys.rest());
        (all, false)
    }

    #[test]
    fn a_sequence_is_found_wherever_it_is_split_and_everything_else_passes() {
        assert_eq!(USUAL.parse(), Ok(DetachKeys::default()));
        assert_eq!(typed(USUAL, &[b"ab\x10\x11cd"]), (b"ab".to_vec(), true));
        assert_eq!(typed(USUAL, &[b"ab\x10", b"\x11"]), (b"ab".to_vec(), true));
        assert_eq!(typed(USUAL, &[b"\x10", b"x\x11\x10"]), (b"\x10x\x11\x10".to_vec(), false));
        assert_eq!(typed(USUAL, &[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(typed("a,DEL", &[b"ba", b"a\x7f"]), (b"ba".to_vec(), true));
    }

    #[test]
    fn keys_are_read_as_docker_reads_them() {
        for (text, keys) in [("ctrl-@", 0u8), ("ctrl-a", 1), ("ctrl-[", 27), ("ctrl-_", 31), ("x", b'x')] {
            let read: DetachKeys = text.parse().unwrap();
            assert_eq!((read.to_string().as_str(), read.keys), (text, vec![keys]));
        }
        for bad in ["", "ctrl-", "ctrl-P", "ctrl-1", "ab", "a,,b", "ä", "ctrl-p,"] {
            assert!(bad.parse::<DetachKeys>().is_err(), "{bad:?}");
        }
    }
}
