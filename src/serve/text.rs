//! Words of a client in ringfence's own messages: short, and harmless on a terminal.

/// Characters of one word.
const LONGEST_WORD: usize = 120;
/// Characters of a message.
const LONGEST_LINE: usize = 1000;

/// Returns the text with every character escaped that could act on a terminal.
pub(crate) fn line(text: &str) -> String {
    harmless(text, LONGEST_LINE)
}

/// Returns a client's word as messages show it.
pub(crate) fn shown(word: &str) -> String {
    harmless(word, LONGEST_WORD)
}

fn harmless(text: &str, longest: usize) -> String {
    let mut kept = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == longest {
            kept.push('…');
            break;
        }
        if netpolicy::diagnostic::is_harmless(c) {
            kept.push(c);
        } else {
            kept.extend(c.escape_unicode());
        }
    }
    kept
}

/// Returns the most bytes with which an engine writes a text in JSON.
pub(crate) fn written_length(text: &str) -> usize {
    let of = |c: char| match c {
        '"' | '\\' => 2,
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => 6,
        c if c.is_control() => 6,
        c => c.len_utf8(),
    };
    text.chars().map(of).sum()
}
