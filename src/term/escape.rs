//! Text without anything that a terminal obeys.

use std::fmt::Write as _;

use netpolicy::diagnostic::is_harmless;

/// A text on one line: line breaks and whatever else a terminal obeys are written out.
pub(crate) fn line(text: &str) -> String {
    netpolicy::diagnostic::harmless(text)
}

/// A text of several lines: its line breaks stay, whatever else a terminal obeys is written out.
pub(crate) fn lines(text: &str) -> String {
    escaped(text, |c| c == '\n', |out, c| out.extend(c.escape_unicode()))
}

/// The output of a program: its line breaks and tabs stay, whatever else a terminal obeys is
/// written out.
pub(crate) fn page(text: &str) -> String {
    let stays = |c| matches!(c, '\n' | '\t');
    escaped(&text.replace("\r\n", "\n"), stays, |out, c| out.extend(c.escape_unicode()))
}

/// A text whose further lines are set off, so that none of them looks like the program's own.
pub(super) fn indented(text: &str, by: usize) -> String {
    lines(text.trim_end()).replace('\n', &format!("\n{:by$}", ""))
}

/// JSON with the same value, in which nothing stands that a terminal obeys.
pub(super) fn json_text(text: &str) -> String {
    escaped(
        text,
        |c| matches!(c, '\n' | '\r' | '\t'),
        |out, c| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a text does not fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

fn escaped(text: &str, stays: impl Fn(char) -> bool, escape: impl Fn(&mut String, char)) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmless(c) || stays(c) { shown.push(c) } else { escape(&mut shown, c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Characters that terminals obey: CSI, OSC, C1, erasing, bidi overrides and isolates, line and
    /// paragraph separators, tags, a bell.
    const HOSTILE: &str = "a\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}31m\u{85}\r\u{8}\u{7f}\u{202e}\u{2066}\u{2028}\u{2029}\u{200b}\u{feff}\u{e0041}\0z";

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        for shown in [line(HOSTILE), lines(HOSTILE), page(HOSTILE), indented(HOSTILE, 4), json_text(HOSTILE)]
        {
            let left: Vec<char> = shown.chars().filter(|c| !is_harmless(*c) && *c != '\r').collect();
            assert!(left.is_empty(), "{shown:?}: {left:?}");
            assert!(shown.starts_with('a') && shown.ends_with('z'));
        }
        assert!(!line(HOSTILE).contains('\r') && !lines(HOSTILE).contains('\r'));
    }

    #[test]
    fn a_new_line_cannot_pass_for_our_own() {
        assert_eq!(line("x\nringfence: all is well"), "x\\u{a}ringfence: all is well");
        assert_eq!(indented("x\nringfence: all is well\n", 3), "x\n   ringfence: all is well");
    }

    #[test]
    fn what_is_harmless_stays_as_it_is() {
        for text in ["plain", "ä 漢字 ±", "a \\u{1b} that was escaped before"] {
            assert_eq!((line(text), lines(text), json_text(text)), (text.into(), text.into(), text.into()));
        }
    }

    #[test]
    fn json_has_the_same_value() {
        let value = serde_json::json!({"a": HOSTILE, "b": [1, "x\ny"]});
        for text in [serde_json::to_string_pretty(&value).unwrap(), value.to_string()] {
            let shown = json_text(&text);
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
            assert!(!shown.contains('\u{9b}') && !shown.contains('\u{202e}'));
        }
    }
}
