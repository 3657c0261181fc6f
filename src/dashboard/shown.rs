//! Text from elsewhere, made fit for the view.

use std::fmt;
use std::ops::Deref;

/// Characters of a text that are shown.
const LONGEST: usize = 300;

/// Text of one line in which a terminal finds nothing to obey, and that is not long.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Shown(String);

impl Shown {
    /// Makes a text fit to be shown.
    pub(crate) fn of(text: &str) -> Shown {
        let mut shown: String = text.chars().take(LONGEST).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Shown(crate::term::line(&shown))
    }

    /// Makes the lines of a text fit to be shown, at most so many.
    pub(crate) fn lines(text: &str, most: usize) -> Vec<Shown> {
        let mut lines: Vec<Shown> = text.lines().take(most).map(Shown::of).collect();
        if text.lines().nth(most).is_some() {
            lines.push(Shown::of("…"));
        }
        lines
    }
}

impl Deref for Shown {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
