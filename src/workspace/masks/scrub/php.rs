//! PHP that configures: `define('DB_PASSWORD', 'x')`, `$secret = 'x'`, `'password' => 'x'`.

use std::ops::Range;
use std::sync::OnceLock;

use regex::bytes::Regex;

use super::manner::Manner;
use super::patterns::{Patterns, regex};

/// Names whose texts are secrets. A key of WordPress ends in `_KEY` or `_SALT`.
const NAMES: &str = r"[\w.-]*(?:password|passwd|pass|pwd|secret|token|_key|salt|apikey|credential)[\w]*|key";
/// A text in quotes.
const TEXTS: [&str; 2] = [r"'(?P<s>(?:[^'\\]|\\.)*)'", r#""(?P<s>(?:[^"\\]|\\.)*)""#];

/// Finds the secrets.
pub(super) fn find(text: &[u8], manner: Manner) -> Vec<Range<usize>> {
    static PATTERNS: OnceLock<Vec<Regex>> = OnceLock::new();
    let all = PATTERNS.get_or_init(|| {
        let given = |value: &str| {
            [
                format!(r#"(?s)define\s*\(\s*["'](?:{NAMES})["']\s*,\s*{value}"#),
                format!(r#"(?s)\$(?:{NAMES})\s*=\s*{value}"#),
                format!(r#"(?s)["'](?:{NAMES})["']\s*(?:=>|\]\s*=)\s*{value}"#),
            ]
        };
        TEXTS.iter().flat_map(|value| given(value)).map(|pattern| regex(&pattern)).collect()
    });
    let patterns = Patterns::get();
    let mut spans = patterns.in_urls(text);
    spans.extend(all.iter().flat_map(|regex| patterns.secrets(regex, text, manner)));
    spans
}
