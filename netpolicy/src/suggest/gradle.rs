//! Gradle: repositories in Groovy and Kotlin scripts, read as far as a script can be without
//! running it.
//!
//! ```text
//!  script ──tokens──▶ word, string, sign ──blocks──▶ repositories { maven { url = … } }
//!  gradle.properties, `val x = "…"` ──▶ what a name in a URL stands for
//! ```

use std::collections::HashMap;

use super::collector::Collector;
use super::ini;

const REPOSITORY: &str = "gradle repository";

/// Keeps what `gradle.properties` says, for the scripts; a URL of its own is no repository.
pub(super) fn properties(_: &str, text: &str, found: &mut Collector) {
    for setting in ini::properties(text) {
        found.variable(&setting.key, &setting.value);
    }
}

/// A piece of a script.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// A string; `$` in it stands for a value unless it was written in single quotes.
    Text {
        text: String,
        filled: bool,
    },
    Sign(char),
    /// The end of a line.
    Break,
}

/// Functions that stand for a repository of their own.
const KNOWN: &[(&str, &str)] = &[
    ("mavenCentral", "gradle mavenCentral()"),
    ("google", "gradle google()"),
    ("gradlePluginPortal", "gradle gradlePluginPortal()"),
];
/// Words behind which a repository's URL stands.
const URLS: &[&str] = &["url", "setUrl", "uri", "maven", "ivy", "artifactUrls", "URI", "create"];

pub(super) fn read(name: &str, text: &str, found: &mut Collector) {
    let tokens = tokens(text);
    let own = values(&tokens);
    let mut blocks: Vec<String> = Vec::new();
    let mut plugins_with_version = false;
    let mut plugin_repositories = false;
    let mut statement = Statement::default();
    for (at, (line, token)) in tokens.iter().enumerate() {
        match token {
            Token::Sign('{') => {
                blocks.push(statement.opens());
                statement = Statement::default();
            }
            Token::Sign('}') => {
                blocks.pop();
                statement = Statement::default();
            }
            Token::Break | Token::Sign(';') => statement = Statement::default(),
            Token::Sign(_) => {}
            Token::Word(word) => {
                let repositories = blocks.iter().any(|block| block == "repositories")
                    && !blocks.iter().any(|block| matches!(block.as_str(), "publishing" | "uploadArchives"));
                let called = matches!(tokens.get(at + 1), Some((_, Token::Sign('(' | '{'))));
                if repositories
                    && called
                    && let Some((_, tool)) = KNOWN.iter().find(|(known, _)| known == word)
                {
                    found.default_of(tool);
                }
                plugin_repositories |= repositories && blocks.iter().any(|block| block == "pluginManagement");
                plugins_with_version |= word == "version" && blocks.iter().any(|block| block == "plugins");
                // `url nexusUrl`, `uri(nexusUrl)`, `property("nexusUrl")`.
                if repositories && statement.about_url() {
                    let value =
                        own.get(word.as_str()).cloned().or_else(|| found.value_of(word).map(str::to_owned));
                    if let Some(value) = value.filter(|value| value.contains("://")) {
                        found.reference(*line, &fill(&value, &own, found), REPOSITORY);
                    }
                }
                statement.word(word);
            }
            Token::Text { text, filled } => {
                let published =
                    blocks.iter().any(|block| matches!(block.as_str(), "publishing" | "uploadArchives"));
                let repositories = blocks.iter().any(|block| block == "repositories");
                if !repositories || published || !statement.about_url() {
                    continue;
                }
                let text = if *filled { fill(text, &own, found) } else { text.clone() };
                if text.contains("://") {
                    found.reference(*line, &text, REPOSITORY);
                } else if statement.asks_for_property()
                    && let Some(value) = found.value_of(&text)
                {
                    let value = value.to_owned();
                    found.reference(*line, &value, REPOSITORY);
                } else if text.contains('$') {
                    found.leave_out(*line, REPOSITORY, "its URL is put together when the script runs");
                }
            }
        }
    }
    if plugin_repositories {
        found.mirrored(&["gradle plugins"]);
    }
    if plugins_with_version && !name.starts_with("settings") {
        found.default_of("gradle plugins");
    }
}

/// The words of a statement so far.
#[derive(Default)]
struct Statement(Vec<String>);

impl Statement {
    fn word(&mut self, word: &str) {
        self.0.push(word.to_owned());
    }

    /// Names the block that opens behind these words: `maven` in `maven("…") {`.
    fn opens(&self) -> String {
        self.0.first().cloned().unwrap_or_default()
    }

    fn about_url(&self) -> bool {
        self.0.iter().any(|word| URLS.contains(&word.as_str()))
    }

    fn asks_for_property(&self) -> bool {
        let last = self.0.last().map(String::as_str);
        matches!(last, Some("property" | "gradleProperty" | "findProperty" | "getProperty"))
    }
}

/// Takes `val x = "…"`, `def x = '…'`, `ext.x = "…"` of the script itself.
fn values(tokens: &[(u32, Token)]) -> HashMap<String, String> {
    let mut values = HashMap::new();
    for window in tokens.windows(3) {
        if let [(_, Token::Word(name)), (_, Token::Sign('=')), (_, Token::Text { text, .. })] = window {
            values.entry(name.clone()).or_insert_with(|| text.clone());
        }
    }
    values
}

/// Replaces `$name` and `${name}` by what script and `gradle.properties` say.
fn fill(text: &str, own: &HashMap<String, String>, found: &Collector) -> String {
    let mut text = text.to_owned();
    // A value may name another; not for ever.
    for _ in 0..8 {
        let Some((before, rest)) = text.split_once('$') else { break };
        let (expression, after) = match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((expression, after)) => (expression, after),
            None => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                rest.split_at(end)
            }
        };
        // `project.property("name")`, `rootProject.ext.name`: the last word is the name.
        let name = expression
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .rfind(|word| !word.is_empty())
            .unwrap_or_default();
        let Some(value) = own.get(name).map(String::as_str).or_else(|| found.value_of(name)) else { break };
        text = format!("{before}{value}{after}");
    }
    text
}

/// Splits a script. Comments are passed over; a string keeps its text.
fn tokens(script: &str) -> Vec<(u32, Token)> {
    let mut tokens = Vec::new();
    let mut line = 1_u32;
    let mut rest = script;
    while let Some(c) = rest.chars().next() {
        let (token, length) = if rest.starts_with("//") {
            (None, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (None, rest.find("*/").map_or(rest.len(), |end| end + 2))
        } else if matches!(c, '"' | '\'') {
            string(rest, c)
        } else if c == '\n' {
            (Some(Token::Break), 1)
        } else if c.is_alphanumeric() || matches!(c, '_' | '$') {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$')));
            let end = end.unwrap_or(rest.len());
            (Some(Token::Word(rest[..end].to_owned())), end)
        } else if c.is_whitespace() {
            (None, c.len_utf8())
        } else {
            (Some(Token::Sign(c)), c.len_utf8())
        };
        if let Some(token) = token {
            tokens.push((line, token));
        }
        let (taken, after) = rest.split_at(length);
        line = line.saturating_add(u32::try_from(taken.matches('\n').count()).unwrap_or(0));
        rest = after;
    }
    tokens
}

/// Reads a string that begins `rest`; the token and its length in bytes.
fn string(rest: &str, quote: char) -> (Option<Token>, usize) {
    let filled = quote == '"';
    let triple = if quote == '"' { "\"\"\"" } else { "'''" };
    if let Some(inner) = rest.strip_prefix(triple) {
        let end = inner.find(triple).unwrap_or(inner.len());
        let length = (end + 6).min(rest.len());
        return (Some(Token::Text { text: inner[..end].to_owned(), filled }), length);
    }
    let mut text = String::new();
    // Within `${…}` a quote begins a string of its own.
    let mut depth = 0_usize;
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '{' if filled && (depth > 0 || text.ends_with('$')) => {
                depth += 1;
                text.push(c);
            }
            '}' if depth > 0 => {
                depth -= 1;
                text.push(c);
            }
            '"' | '\'' if depth > 0 => text.push(c),
            '\\' => text.extend(characters.next().map(|(_, c)| c)),
            c if c == quote => return (Some(Token::Text { text, filled }), at + 1),
            '\n' => return (Some(Token::Text { text, filled }), at),
            c => text.push(c),
        }
    }
    (Some(Token::Text { text, filled }), rest.len())
}
