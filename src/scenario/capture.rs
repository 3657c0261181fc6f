//! Bytes of an agent, up to a bound.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that are kept of each stream and file.
pub(crate) const MOST: usize = 4 << 20;

/// The beginning of what an agent wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Captured {
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
    /// Set where there was more.
    pub(crate) is_cut_short: bool,
}

impl Captured {
    /// Adds bytes as long as there is room.
    fn add(&mut self, bytes: &[u8]) {
        let room = MOST - self.bytes.len();
        self.is_cut_short |= bytes.len() > room;
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Returns the last lines, for a person: at most `lines` of at most 200 characters.
    pub(crate) fn tail(&self, lines: usize) -> Vec<String> {
        const LONGEST: usize = 200;
        // No more is looked at than can be shown.
        let from = self.bytes.len().saturating_sub(lines * LONGEST * 4);
        let text = String::from_utf8_lossy(&self.bytes[from..]);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..]
            .iter()
            .map(|line| line.chars().take(LONGEST).collect())
            .collect()
    }
}

/// Reads a pipe to its end, so that its writer never waits; the rest is dropped.
pub(crate) async fn read(pipe: Option<impl AsyncRead + Unpin>) -> Captured {
    let mut captured = Captured::default();
    let Some(mut pipe) = pipe else { return captured };
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read) = pipe.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        captured.add(&buffer[..read]);
    }
    captured
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_is_read_to_its_end_and_kept_up_to_the_bound() {
        let bytes = vec![b'x'; MOST + 1];
        let captured = read(Some(bytes.as_slice())).await;
        assert!(captured.is_cut_short && captured.bytes.len() == MOST);
        let exact = read(Some(&bytes[..MOST])).await;
        assert!(!exact.is_cut_short);
        assert_eq!(exact.tail(3), ["x".repeat(200)]);
        let some = Captured { bytes: b"a\nb\nc\xff\n".to_vec(), is_cut_short: false };
        assert_eq!(some.tail(2), ["b", "c\u{fffd}"]);
    }
}
