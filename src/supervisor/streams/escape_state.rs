//! State of a terminal's parser, as far as it matters for writing between two sequences.
//!
//! ```text
//!  ground ─ESC─▶ escape ─┬─ [ ▶ CSI ── final byte ──────────▶ ground
//!    ▲                   ├─ ] ▶ OSC ── BEL or ESC \ ────────▶ ground
//!    │                   ├─ P X ^ _ k ▶ text ── ESC \ ──────▶ ground
//!    └─ a whole character└─ other ──────────────────────────▶ ground
//! ```
//! Terminals differ in what ends a sequence early. Where they do, this one takes the later end: it
//! then says less often that it is ground, and never says so within a sequence.

/// State behind the bytes so far. It has a fixed size, whatever an agent writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum EscapeState {
    /// Between two characters.
    #[default]
    Ground,
    /// Within a character of UTF-8: so many bytes are missing. The second byte of some begins a
    /// control sequence.
    Character {
        /// Bytes that are missing.
        missing: u8,
        /// The first byte was that of the C1 controls.
        is_control: bool,
    },
    /// Behind ESC.
    Escape,
    /// Behind ESC and bytes that a final one follows.
    Intermediate,
    /// Within a control sequence (CSI).
    Control,
    /// Within a command for the system (OSC), which BEL ends too.
    Command,
    /// Within a text that nothing but ST ends (DCS, SOS, PM, APC, a title of screen's).
    Text,
    /// Behind ESC in a command or text.
    LeavingText,
}

/// Ends whatever sequence is open. Behind an ESC in a text, the first ST is that text's.
pub(super) const END_SEQUENCE: &[u8] = b"\x1b\\\x1b\\";

const BEL: u8 = 0x07;
const ESC: u8 = 0x1b;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;

impl EscapeState {
    /// Returns the state behind these bytes too.
    pub(super) fn after(self, bytes: &[u8]) -> EscapeState {
        bytes.iter().fold(self, |state, byte| state.step(*byte))
    }

    /// Tells whether a sequence may be written here.
    pub(super) fn is_ground(self) -> bool {
        self == EscapeState::Ground
    }

    fn step(self, byte: u8) -> EscapeState {
        use EscapeState::{Character, Command, Control, Escape, Ground, Intermediate, LeavingText, Text};
        match (self, byte) {
            (Command, BEL) => Ground,
            (Command | Text, ESC) => LeavingText,
            (LeavingText, b'\\') => Ground,
            // Some terminals have begun another sequence here: BEL ends nothing for certain. In the
            // text of a DCS, tmux takes a second ESC for data.
            (LeavingText, _) | (Command, CANCEL | SUBSTITUTE) => Text,
            (Command | Text, _) => self,
            (_, ESC) => Escape,
            (Ground, _) => Self::begin(byte),
            (Character { missing, is_control }, 0x80..=0xbf) => match (missing, is_control) {
                (1, true) => Self::control(byte),
                (1, false) => Ground,
                _ => Character { missing: missing - 1, is_control },
            },
            (Character { .. }, _) => Self::begin(byte),
            (Escape, b'[') => Control,
            (Escape, b']') => Command,
            (Escape, b'P' | b'X' | b'^' | b'_' | b'k') => Text,
            // SS2 and SS3: the next character belongs to it.
            (Escape, b'N' | b'O') | (Escape | Intermediate, 0x20..=0x2f) => Intermediate,
            (Escape | Intermediate, 0x30..=0x7e) => Ground,
            // The console of Linux takes one more.
            (Control, b'[') => Intermediate,
            (Control, 0x40..=0x7e) => Ground,
            // Controls within a sequence are obeyed, and it goes on; some terminals cancel it.
            (Escape | Intermediate | Control, _) => self,
        }
    }

    /// Takes the first byte of a character.
    fn begin(byte: u8) -> EscapeState {
        match byte {
            0x80..=0x9f => EscapeState::control(byte),
            0xc2..=0xdf => EscapeState::Character { missing: 1, is_control: byte == 0xc2 },
            0xe0..=0xef => EscapeState::Character { missing: 2, is_control: false },
            0xf0..=0xf4 => EscapeState::Character { missing: 3, is_control: false },
            _ => EscapeState::Ground,
        }
    }

    /// Takes a C1 control: some terminals obey it as the byte alone, others as a character.
    fn control(byte: u8) -> EscapeState {
        match byte {
            0x8e | 0x8f => EscapeState::Intermediate,
            0x90 | 0x98 | 0x9e | 0x9f => EscapeState::Text,
            0x9b => EscapeState::Control,
            0x9d => EscapeState::Command,
            _ => EscapeState::Ground,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vte::{Params, Parser, Perform};

    use super::*;

    /// Whole sequences and characters that programs write.
    const WHOLE: &[&[u8]] = &[
        b"a",
        b"\r\n",
        b"\x07",
        "ä".as_bytes(),
        "日".as_bytes(),
        "🦀".as_bytes(),
        "\u{a0}".as_bytes(),
        b"\x1b[0m",
        b"\x1b[38;2;1;2;3m",
        b"\x1b[?2026h",
        b"\x1b[1 q",
        b"\x1b7",
        b"\x1b(B",
        b"\x1b#8",
        b"\x1b]2;title\x07",
        b"\x1b]8;;http://a.test\x1b\\",
        "\u{1b}]2;✜\u{1b}\\".as_bytes(),
        b"\x1bP+q544e\x1b\\",
        b"\x1b_Gi=1;AAAA\x1b\\",
        b"\x1bkscreen\x1b\\",
    ];

    #[test]
    fn a_sequence_is_left_where_it_ends_and_not_before() {
        for whole in WHOLE {
            assert!(EscapeState::default().after(whole).is_ground(), "{whole:?}");
            // A line's two bytes are two characters.
            for end in (1..whole.len()).filter(|_| *whole != b"\r\n") {
                let state = EscapeState::default().after(&whole[..end]);
                assert!(!state.is_ground(), "{:?}", &whole[..end]);
            }
        }
        assert!(size_of::<EscapeState>() <= 4);
    }

    /// Terminals that end a sequence early and others that end it late: it counts as going on.
    #[test]
    fn in_doubt_it_goes_on() {
        for doubtful in [
            &b"\x1bPq\x07"[..],
            b"\x1bP\x1b[0m",
            b"\x1b]2;a\x18",
            b"\x1b]2;a\x9c",
            b"\x1b]2;a\x1b[0m",
            b"\x1b]2;a\x1b[0\x07",
            b"\x1b]2;a\x18\x9b0\x07",
            b"\x9b1",
            b"\xc2\x9d2;a",
            b"\x1b[[",
            b"\x1bO",
            b"\x1bPtmux;\x1b\x1b]2;a\x1b\x1b\\",
            b"\x1bPtmux;\x1b\x1b\\",
            b"\x1b]2;a\x1b\x1b\\",
        ] {
            assert!(!EscapeState::default().after(doubtful).is_ground(), "{doubtful:?}");
        }
    }

    /// Every call that a parser of another author makes.
    #[derive(Default)]
    struct Calls(Vec<String>);

    impl Perform for Calls {
        fn print(&mut self, c: char) {
            self.0.push(format!("print {c}"));
        }

        fn execute(&mut self, byte: u8) {
            self.0.push(format!("execute {byte}"));
        }

        fn hook(&mut self, params: &Params, more: &[u8], _: bool, c: char) {
            self.0.push(format!("hook {params:?} {more:?} {c}"));
        }

        fn put(&mut self, byte: u8) {
            self.0.push(format!("put {byte}"));
        }

        fn unhook(&mut self) {
            self.0.push("unhook".to_owned());
        }

        fn osc_dispatch(&mut self, params: &[&[u8]], _: bool) {
            self.0.push(format!("osc {params:?}"));
        }

        fn csi_dispatch(&mut self, params: &Params, more: &[u8], _: bool, c: char) {
            self.0.push(format!("csi {params:?} {more:?} {c}"));
        }

        fn esc_dispatch(&mut self, more: &[u8], _: bool, byte: u8) {
            self.0.push(format!("esc {more:?} {byte}"));
        }
    }

    fn calls(parts: &[&[u8]]) -> Vec<String> {
        let (mut parser, mut calls) = (Parser::new(), Calls::default());
        parts.iter().for_each(|part| parser.advance(&mut calls, part));
        calls.0
    }

    fn output() -> impl Strategy<Value = Vec<u8>> {
        let whole = prop::sample::select(WHOLE.to_vec()).prop_map(<[u8]>::to_vec);
        let special = prop::sample::select(
            b"\x1b\x1b\x1b[]P\\X^_kNO(;?0m\x07\x18\x1a\x9b\x9c\x9d\x90\xc2\xe2\xf0\x80 ~".to_vec(),
        );
        let piece = prop_oneof![
            whole,
            prop::collection::vec(special, 1..4),
            prop::collection::vec(any::<u8>(), 1..3)
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// The agent's own output means the same with a title in it, wherever that is written.
        #[test]
        fn a_title_at_the_ground_changes_nothing_of_the_output(output in output()) {
            const TITLE: &[u8] = b"\x1b]2;ringfence\x07";
            let plain = calls(&[&output]);
            for at in 0..=output.len() {
                let (before, after) = output.split_at(at);
                if EscapeState::default().after(before).is_ground() {
                    let mut titled = calls(&[before, TITLE, after]);
                    let title = titled.iter().position(|call| call.starts_with("osc [[50], [114"));
                    prop_assert!(title.is_some(), "{before:?}: {titled:?}");
                    titled.remove(title.unwrap_or_default());
                    prop_assert_eq!(&titled, &plain, "{:?} | {:?}", before, after);
                }
            }
        }

        #[test]
        fn the_state_is_the_same_however_the_output_was_cut(output in output(), at in any::<prop::sample::Index>()) {
            let (before, after) = output.split_at(at.index(output.len() + 1));
            let whole = EscapeState::default().after(&output);
            prop_assert_eq!(EscapeState::default().after(before).after(after), whole);
            prop_assert!(whole.after(END_SEQUENCE).is_ground(), "{whole:?}");
        }
    }
}
