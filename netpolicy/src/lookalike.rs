//! Names that a person may take for others.
//!
//! ```text
//!  name ─┬─ a label in punycode ─▶ how it reads, and whether scripts mix in it
//!        └─ skeleton (0 → o, 1 → l, rn → m, а → a) equal to that of a known name ─▶ that name
//! ```
//! A mark is a warning and no verdict: a name without a mark may deceive as well.

use std::fmt;

use crate::host::HostName;

/// Reason to look at a name twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookalike {
    /// The name is international.
    International {
        /// The name as it reads; nothing where its letters turn the direction of a line.
        reads: Option<String>,
        /// Letters of several scripts stand in one label.
        mixed: bool,
        /// A known name that looks the same.
        resembles: Option<HostName>,
    },
    /// The name looks like a known one.
    Resembles(HostName),
}

/// Returns the reason to look at a name twice, if there is one. `known` are names that a person
/// knows.
pub fn lookalike<'n>(name: &HostName, known: impl IntoIterator<Item = &'n HostName>) -> Option<Lookalike> {
    let is_international = name.as_str().split('.').any(|label| label.starts_with("xn--"));
    let shown = if is_international { idna::domain_to_unicode(name.as_str()).0 } else { name.to_string() };
    let own = skeleton(&shown);
    let resembles =
        known.into_iter().find(|other| *other != name && skeleton(other.as_str()) == own).cloned();
    if !is_international {
        return resembles.map(Lookalike::Resembles);
    }
    let readable = shown.chars().all(|c| c.is_ascii() || script(c).is_some());
    Some(Lookalike::International {
        mixed: shown.split('.').any(mixes),
        reads: readable.then_some(shown),
        resembles,
    })
}

/// Scripts that are written from left to right, and whose letters look like Latin ones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Greek,
    Cyrillic,
}

fn script(c: char) -> Option<Script> {
    match u32::from(c) {
        0x61..=0x7A | 0xC0..=0x24F | 0x1E00..=0x1EFF => Some(Script::Latin),
        0x370..=0x3FF | 0x1F00..=0x1FFF => Some(Script::Greek),
        0x400..=0x52F => Some(Script::Cyrillic),
        _ => None,
    }
}

/// Tells whether letters of more than one script stand in a label. Letters of all scripts that have
/// no name here count as one.
fn mixes(label: &str) -> bool {
    let mut scripts = label.chars().filter(|c| c.is_alphabetic()).map(script);
    let first = scripts.next();
    scripts.any(|other| Some(other) != first)
}

/// Writes a name with one letter for all that look alike.
fn skeleton(name: &str) -> String {
    let one = |c: char| match c {
        '0' | 'о' | 'ο' => 'o',
        '1' | 'i' | 'і' | 'ӏ' | 'ι' | 'ı' => 'l',
        '5' | 'ѕ' => 's',
        'а' | 'α' => 'a',
        'е' => 'e',
        'р' | 'ρ' => 'p',
        'с' => 'c',
        'х' | 'χ' => 'x',
        'у' | 'γ' => 'y',
        'ј' => 'j',
        'ԁ' => 'd',
        'һ' => 'h',
        'ԛ' => 'q',
        'ԝ' | 'ω' => 'w',
        'ν' => 'v',
        'κ' | 'к' => 'k',
        'т' | 'τ' => 't',
        '_' => '-',
        other => other,
    };
    let single: String = name.chars().map(one).collect();
    single.replace("rn", "m").replace("vv", "w").replace("cl", "d")
}

impl fmt::Display for Lookalike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lookalike::Resembles(other) => write!(f, "look-alike of {other}"),
            Lookalike::International { reads, mixed, resembles } => {
                f.write_str("international name")?;
                if let Some(reads) = reads {
                    write!(f, ", reads {reads}")?;
                }
                if *mixed {
                    f.write_str(", mixes scripts")?;
                }
                match resembles {
                    Some(other) => write!(f, ", look-alike of {other}"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str) -> String {
        let known: Vec<HostName> =
            ["apple.com", "gitlab.com", "modern.test", "a-b.test"].map(|name| name.parse().unwrap()).into();
        lookalike(&name.parse().unwrap(), &known).map(|mark| mark.to_string()).unwrap_or_default()
    }

    #[test]
    fn names_that_deceive_are_marked_and_others_are_not() {
        for (name, mark) in [
            ("gitlab.com", ""),
            ("gitlab.example", ""),
            ("github.com", ""),
            ("g1tlab.com", "look-alike of gitlab.com"),
            ("git1ab.com", "look-alike of gitlab.com"),
            ("modem.test", "look-alike of modern.test"),
            ("a_b.test", "look-alike of a-b.test"),
            ("аррӏе.com", "international name, reads аррӏе.com, look-alike of apple.com"),
            ("gitlаb.com", "international name, reads gitlаb.com, mixes scripts, look-alike of gitlab.com"),
            ("bücher.test", "international name, reads bücher.test"),
            ("例え.test", "international name"),
            ("אבג.test", "international name"),
        ] {
            assert_eq!(said(name), mark, "{name}");
        }
    }
}
