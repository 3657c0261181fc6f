//! Two texts that differ in one place, as lines with some around them.

use crate::term;

/// Lines around the place.
const AROUND: usize = 3;

/// Writes the lines that differ, with their sign; nothing where the texts are one.
pub(super) fn lines(file: &str, old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    let (before, after): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = |(a, b): &(&&str, &&str)| a == b;
    let head = before.iter().zip(&after).take_while(same).count();
    let rest = (&before[head..], &after[head..]);
    let tail = rest.0.iter().rev().zip(rest.1.iter().rev()).take_while(same).count();
    let (gone, come) = (&before[head..before.len() - tail], &after[head..after.len() - tail]);
    let first = head.saturating_sub(AROUND);
    let mut text = format!("{}, line {}:\n", term::line(file), head + 1);
    let behind = &before[before.len() - tail..];
    for (sign, lines) in [(' ', &before[first..head]), ('-', gone), ('+', come), (' ', behind)] {
        let shown = if sign == ' ' { lines.len().min(AROUND) } else { lines.len() };
        for line in &lines[..shown] {
            text.push_str(format!("  {sign} {}", term::line(line)).trim_end());
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_is_shown_with_its_neighbours() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n";
        assert_eq!(lines("p", old, old), "");
        assert_eq!(
            lines("p", old, "1\n2\n3\n4\n5\nnew\n6\n7\n8\n"),
            "p, line 6:\n    3\n    4\n    5\n  + new\n    6\n    7\n    8\n"
        );
        assert_eq!(lines("p", "a: []\n", "a: [x]\n"), "p, line 1:\n  - a: []\n  + a: [x]\n");
        assert_eq!(lines("p", "a", "a\nb"), "p, line 2:\n    a\n  + b\n");
        assert_eq!(lines("p", "a\na\n", "a\na\na\n"), "p, line 3:\n    a\n    a\n  + a\n");
        assert!(!lines("p\u{1b}", "\u{1b}[2J\n", "\u{1b}[2J\nx\n").contains('\u{1b}'));
    }
}
