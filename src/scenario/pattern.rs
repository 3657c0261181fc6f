//! Patterns of output and of files.

use regex::bytes::{Regex, RegexBuilder};

/// Memory that a compiled pattern may take.
const LARGEST: usize = 4 << 20;
/// The longest pattern.
const LONGEST: usize = 4096;

/// A regular expression; `^` and `$` stand for the ends of lines.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// Reads a pattern, between slashes or not.
    ///
    /// # Errors
    /// When it is no regular expression, in words.
    pub(crate) fn parse(text: &str) -> Result<Pattern, String> {
        if text.len() > LONGEST {
            return Err(format!("it has more than {LONGEST} bytes"));
        }
        let inner = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')).unwrap_or(text);
        if inner.is_empty() {
            return Err("it is empty, and would be found everywhere".to_owned());
        }
        let built =
            RegexBuilder::new(inner).multi_line(true).size_limit(LARGEST).dfa_size_limit(LARGEST).build();
        let regex = built.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
            // The last line says what is wrong; those before draw the pattern.
            error => {
                let said = error.to_string();
                said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
            }
        })?;
        Ok(Pattern { text: inner.to_owned(), regex })
    }

    /// Tells whether the pattern is found.
    pub(crate) fn is_in(&self, bytes: &[u8]) -> bool {
        self.regex.is_match(bytes)
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}/", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_may_stand_around_a_pattern() {
        for text in ["/^no net/", "^no net"] {
            let pattern = Pattern::parse(text).unwrap();
            assert!(pattern.is_in(b"x\nno network\n") && !pattern.is_in(b"say no net"), "{text}");
            assert_eq!(pattern.to_string(), "/^no net/");
        }
        for text in ["", "//", "(", "a{1000}{1000}{1000}", "(?<", "\\"] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
        assert!(Pattern::parse(&"x".repeat(5000)).is_err());
        assert!(Pattern::parse("x").unwrap().is_in(b"\xff x"));
    }
}
