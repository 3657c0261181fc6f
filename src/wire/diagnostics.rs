//! Diagnostics of fence and guard on their way to the supervisor: marked lines of stderr.

/// Beginning of a line that is a diagnostic, and no word of a failure.
pub(crate) const MARK: &str = "ringfence diagnostic: ";
/// The longest line that is kept until its end comes.
const LONGEST: usize = 64 << 10;

/// Reads a line; nothing where it is no diagnostic.
pub(crate) fn read(line: &str) -> Option<&str> {
    line.strip_prefix(MARK)
}

/// The lines of a stream that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    pending: Vec<u8>,
}

impl Diagnostics {
    /// Takes a piece; the diagnostics that it completes.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Vec<String> {
        self.pending.extend_from_slice(piece);
        let Some(end) = self.pending.iter().rposition(|byte| *byte == b'\n') else {
            if self.pending.len() > LONGEST {
                self.pending.clear();
            }
            return Vec::new();
        };
        let whole: Vec<u8> = self.pending.drain(..=end).collect();
        String::from_utf8_lossy(&whole).lines().filter_map(read).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_lines_are_found_however_they_come_and_no_others() {
        let text = format!("ringfence guard: broken\n{MARK}info guard: the guard serves\n{{}}\n{MARK}x\n");
        for size in [1, 7, 4096] {
            let mut diagnostics = Diagnostics::default();
            let found: Vec<String> =
                text.as_bytes().chunks(size).flat_map(|piece| diagnostics.take(piece)).collect();
            assert_eq!(found, ["info guard: the guard serves", "x"], "{size}");
        }
        let mut endless = Diagnostics::default();
        endless.take(&vec![b'x'; LONGEST + 1]);
        assert!(endless.pending.is_empty());
    }
}
