//! Line formats without a kept parser that tells places: ini files, Java properties, git's
//! configuration.
//!
//! ```text
//!  text ──sections──▶ Setting (section, key, value, line)
//! ```

/// One `key = value` of a line format.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// The section as it is written between its brackets; empty before the first.
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: String,
    /// Number of the line, from 1.
    pub(super) line: u32,
}

/// Reads an ini file as Python's `configparser` and npm do: comments on lines of their own, a value
/// may go on on indented lines when `continued`.
pub(super) fn ini(text: &str, continued: bool) -> Vec<Setting> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut settings: Vec<Setting> = Vec::new();
    let mut section = String::new();
    let mut open: Option<(String, String)> = None;
    for (line, raw) in (1u32..).zip(text.lines()) {
        let content = raw.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if continued
            && raw.starts_with([' ', '\t'])
            && let Some((section, key)) = &open
        {
            let (section, key) = (section.clone(), key.clone());
            settings.push(Setting { section, key, value: content.to_owned(), line });
            continue;
        }
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = name.trim().to_owned();
            open = None;
            continue;
        }
        let at = if continued { content.find(['=', ':']) } else { content.find('=') };
        let (key, value) = at.map_or((content, ""), |at| (&content[..at], &content[at + 1..]));
        let (key, value) = (unquoted(key.trim()), unquoted(value.trim()));
        open = Some((section.clone(), key.clone()));
        settings.push(Setting { section: section.clone(), key, value, line });
    }
    settings
}

fn unquoted(text: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner.to_owned();
        }
    }
    text.to_owned()
}

/// Reads Java properties (`java.util.Properties.load`): escapes, `=`, `:` or white space, lines
/// that go on.
pub(super) fn properties(text: &str) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut lines = (1u32..).zip(text.lines());
    while let Some((line, raw)) = lines.next() {
        let content = raw.trim_start();
        if content.is_empty() || content.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = content.to_owned();
        while ends_open(&whole) {
            whole.pop();
            let Some((_, next)) = lines.next() else { break };
            whole.push_str(next.trim_start());
        }
        let mut escaped = false;
        let at = whole.find(|c: char| {
            let separates = !escaped && (matches!(c, '=' | ':') || c.is_whitespace());
            escaped = !escaped && c == '\\';
            separates
        });
        let (key, rest) = whole.split_at(at.unwrap_or(whole.len()));
        let rest = rest.trim_start();
        let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
        let (key, value) = (unescaped(key), unescaped(rest));
        settings.push(Setting { section: String::new(), key, value, line });
    }
    settings
}

/// Tells whether a line ends in an odd number of backslashes.
fn ends_open(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some('t') => plain.push('\t'),
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => {}
            },
            other => plain.push(other),
        }
    }
    plain
}

/// Reads git's configuration (git-config(1), "Syntax"): several settings may share a line with
/// their section, values may be quoted, commented and go on on the next line.
pub(super) fn git(text: &str) -> Vec<Setting> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut settings = Vec::new();
    let mut section = String::new();
    let mut lines = (1u32..).zip(text.lines());
    while let Some((line, raw)) = lines.next() {
        let mut rest = raw.trim().to_owned();
        while rest.starts_with('[') {
            // A subsection may hold a bracket in its quotes.
            let mut quoted = false;
            let mut escaped = false;
            let end = rest.find(|c: char| {
                let ends = c == ']' && !quoted;
                if c == '"' && !escaped {
                    quoted = !quoted;
                }
                escaped = c == '\\' && !escaped;
                ends
            });
            let Some(end) = end else { break };
            rest[1..end].trim().clone_into(&mut section);
            rest = rest[end + 1..].trim().to_owned();
        }
        if rest.is_empty() || rest.starts_with(['#', ';', '[']) {
            continue;
        }
        while ends_open(&rest) {
            rest.pop();
            let Some((_, next)) = lines.next() else { break };
            rest.push_str(next.trim());
        }
        let (key, value) = rest.split_once('=').unwrap_or((&rest, "true"));
        settings.push(Setting {
            section: section.clone(),
            key: key.trim().to_ascii_lowercase(),
            value: git_value(value),
            line,
        });
    }
    settings
}

fn git_value(text: &str) -> String {
    let mut value = String::new();
    let mut quoted = false;
    let mut characters = text.trim().chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' => value.extend(characters.next()),
            '#' | ';' if !quoted => break,
            other => value.push(other),
        }
    }
    value.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{git, ini, properties};

    #[test]
    fn python_ini_goes_on_on_indented_lines() {
        let settings = ini("[global]\nindex-url: https://a.example\nextra =\n  b\n  # c\n  d\n", true);
        let shown: Vec<_> = settings.iter().map(|s| (s.key.as_str(), s.value.as_str(), s.line)).collect();
        assert_eq!(
            shown,
            [("index-url", "https://a.example", 2), ("extra", "", 3), ("extra", "b", 4), ("extra", "d", 6)]
        );
        assert!(settings.iter().all(|setting| setting.section == "global"));
    }

    #[test]
    fn properties_are_escaped_and_go_on() {
        let settings = properties("# c\na\\ b = x\\:\\\n   y\nurl:https\\://h\nflag\n");
        let shown: Vec<_> = settings.iter().map(|s| (s.key.as_str(), s.value.as_str(), s.line)).collect();
        assert_eq!(shown, [("a b", "x:y", 2), ("url", "https://h", 4), ("flag", "", 5)]);
    }

    #[test]
    fn git_configuration_in_all_its_forms() {
        let text = "[remote \"a]b\"] url = \"https://a.example/#x\" ; why\n[Remote \"c\"]\n\tURL = https://\\\nc.example\n\tflag\n";
        let settings = git(text);
        let shown: Vec<_> =
            settings.iter().map(|s| (s.section.as_str(), s.key.as_str(), s.value.as_str(), s.line)).collect();
        assert_eq!(
            shown,
            [
                ("remote \"a]b\"", "url", "https://a.example/#x", 1),
                ("Remote \"c\"", "url", "https://c.example", 3),
                ("Remote \"c\"", "flag", "true", 5)
            ]
        );
    }
}
