//! Values that are no secret, though their key says so.
//!
//! In a credential store every literal value counts. A name such as `auth.json` is also that of
//! translations, schemas and examples: there a value counts unless it stands in every guide, says
//! that something is to be filled in, or is a text for people to read.

use std::sync::OnceLock;

use regex::bytes::Regex;

use super::patterns::{Patterns, regex};

/// Rules by which a value is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Rules for a credential store: only references are no secrets.
    Strict,
    /// Rules for a file that may be something else: placeholders are no secrets either.
    Loose,
    /// Rules for a translation: texts for people are no secrets either.
    Texts,
}

/// Words that stand in the place of a secret, whole and in any case.
const PLACEHOLDERS: &[&str] = &[
    // Words that ask to be replaced.
    r"change[-_ ]?(?:me|it|this|that)[!.]*",
    r"(?:please[-_ ])?(?:replace|fill)[-_ ]?(?:me|this|in|with[-_ ].{1,60})?",
    r"examples?|samples?|placeholder|dummy|redacted|masked|hidden|todo|tbd|fixme|foo|bar|baz|foobar|foobared",
    r"x{3,}|\*{3,}|\.{3,}|-{3,}|_{3,}|#{3,}|\?{3,}",
    r"<[^<>]{1,80}>|&lt;.{1,80}&gt;|\[(?:your|my|insert|enter|put)[-_ ][^\[\]]{1,80}\]",
    r"(?:(?:please|insert|enter|put|type|paste)[-_ ])*(?:your|insert|enter|put|type|paste)[-_ ](?:[\w.']{1,20}[-_ ]){0,5}(?:pass|password|passphrase|phrase|pwd|token|secret|key|value|credentials?)(?:[-_ ](?:goes[-_ ])?here)?",
    // Symfony's.
    r"this[-_ ]?token[-_ ]?is[-_ ]?not[-_ ]?so[-_ ]?secret(?:change[-_ ]?it)?",
    r"my[-_ ]?(?:super[-_ ]?)?(?:secret|token|password|passphrase|key|api[-_ ]?key)(?:[-_ ]?(?:token|key|password|here))?",
    r"[\w-]{1,40}[-_ ](?:goes[-_ ])?here|optional\b[\w .;,'-]*",
    // The key itself said again, and what a schema says of a value.
    r"pass|passwd|passwords?|passphrase|secrets?|tokens?|key|keys|api[-_]?key|credentials?",
    r"string|str|text|number|integer|int|boolean|bool|object|array|any|required",
    // Plain words of fixtures.
    r"test(?:ing)?|test[-_]?(?:test|pass(?:word|wd|phrase)?|key|phrase|secret|token|user)\d{0,3}",
    // References in the words of other programs.
    r"(?-i:\$[A-Z][A-Z0-9]*_[A-Z0-9_]+|\$\([A-Za-z_]\w*\)|@[A-Za-z][\w.-]*@|__[A-Z][A-Z0-9_]+__|%[A-Z][A-Z0-9_]*%)",
    r"%env\([\w:]+\)%|#\{[^{}]{1,80}\}|\$\{[\w.:-]{1,80}\}|\{\{[^{}]*\}\}|(?-i:\{[a-z][a-z_.]{0,30}\})",
    r"process\.env\.\w+|env\(\w+\)|!(?:ref|sub|secret|env_var)\s+[\w./${}-]+|op://[^\s]+|ENC\[[^\]]+\]",
];

impl Manner {
    /// Tells whether a value is no secret, whatever its key.
    pub(super) fn is_plain(self, value: &[u8]) -> bool {
        Patterns::get().is_plain(value)
            || (self != Manner::Strict && is_placeholder(value))
            || (self == Manner::Texts && is_human(value))
    }

    /// Judges what was commented out as well, though comments also explain.
    pub(super) fn of_comment(self) -> Manner {
        if self == Manner::Strict { Manner::Loose } else { self }
    }
}

/// Tells whether a value stands in the place of a secret.
fn is_placeholder(value: &[u8]) -> bool {
    static WHOLE: OnceLock<Regex> = OnceLock::new();
    let whole = WHOLE.get_or_init(|| regex(&format!("^(?:{})$", PLACEHOLDERS.join("|"))));
    whole.is_match(super::unquoted(value.trim_ascii()))
}

/// Marks that programs put into texts: `{{name}}`, `%{count}`, `%1$s`, `<b>`, `&nbsp;`, `\n`.
const INSERTED: &str =
    r"\{\{?[^{}]*\}?\}|[%$]\{[^{}]*\}|%\(?\w*\)?\$?[sdif@]|</?[a-z][^<>]*>|&[a-z]+;|\\[nrt\x22']";

/// Tells whether a value is a text for people: words of letters, with the marks that stand between
/// words.
pub(super) fn is_human(value: &[u8]) -> bool {
    static PARTS: OnceLock<Regex> = OnceLock::new();
    let parts = PARTS.get_or_init(|| regex(INSERTED));
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let left = parts.replace_all(text.as_bytes(), &b" "[..]);
    let Ok(text) = std::str::from_utf8(&left) else { return false };
    let words: Vec<&str> = text
        .split(|mark: char| {
            mark.is_whitespace() || ".,;:!?'\"()…‘’“”«»–—/&*|·•。、，：！？（）".contains(mark)
        })
        .filter(|word| !word.is_empty() && !word.chars().all(|mark| mark == '-'))
        .collect();
    let lettered = words.iter().filter(|word| is_word(word)).count();
    // In prose a word may be a name of something: OAuth2, 2FA, API-Key.
    let odd = words.len() - lettered;
    lettered > 0
        && (odd == 0 || (words.len() >= 4 && odd * 4 <= words.len() && text.len() / words.len() < 20))
}

/// Letters, perhaps with a hyphen or accents; a number of few digits. A change to capitals within a
/// Latin word is none of a language.
fn is_word(word: &str) -> bool {
    let number = word.len() <= 4 && word.bytes().all(|byte| byte.is_ascii_digit());
    let parts = || word.split('-').filter(|part| !part.is_empty());
    let letters = parts().all(|part| {
        let inner_capital = part
            .as_bytes()
            .windows(2)
            .any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
        let latin = part.is_ascii();
        part.chars().all(|letter| letter.is_alphabetic() || is_mark(letter))
            && !inner_capital
            && (!latin || part.len() <= 30)
    });
    number || letters
}

/// Tells whether a letter is a mark that is written with letters: vowels of Indic scripts, accents,
/// joiners.
fn is_mark(letter: char) -> bool {
    matches!(letter as u32, 0x300..=0x36f | 0x483..=0x489 | 0x591..=0x5c7 | 0x610..=0x6ed | 0x900..=0xdff | 0xe31..=0xe4e
        | 0x1000..=0x109f | 0x1780..=0x17d3 | 0x200c..=0x200f | 0x3005..=0x30ff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_known_whole_and_what_is_like_them_is_not() {
        for value in [
            "changeme",
            "change-me",
            "CHANGE_IT",
            "<your token>",
            "&lt;master-password&gt;",
            "xxxxxxxx",
            "********",
            "...",
            "example",
            "your-api-key",
            "YOUR_TOKEN_HERE",
            "Enter your password",
            "password_here",
            "put your unique phrase here",
            "string",
            "password",
            "secret",
            "mysecretpassword",
            "my-api-key",
            "testpass",
            "test_token1",
            "$NPM_TOKEN",
            "$(DB_PASSWORD)",
            "@db.password@",
            "%env(DB_PASSWORD)%",
            "!secret wifi_password",
            "op://vault/item/field",
            "ENC[AES256_GCM,data:abc=,iv:x,tag:y,type:str]",
            "optional; leave empty if not used.",
            "{password}",
            "foobared",
        ] {
            assert!(Manner::Loose.is_plain(value.as_bytes()), "{value}");
        }
        for value in [
            "changeme2-9dJq4",
            "hunter2",
            "Tr0ub4dor&3",
            "9dJq4TzX0kV2bLw7",
            "correct horse battery staple",
            "passw0rd-9dJq",
            "secret-9dJq4TzX",
            "my9dJq4TzX",
            "$2y$10$9dJq4TzX0kV2bLw7",
            "{BteqUEnqHecHM7MZfnj9}",
            "sommer",
            "xx",
            "token:9dJq",
            "test-9dJq4TzX",
            "AKIAQ4TZX7KV2BLW6NMR",
            "exampleXY",
            "geheim!",
            "admin",
        ] {
            assert!(!Manner::Loose.is_plain(value.as_bytes()), "{value}");
        }
        // In a store every literal value counts.
        for value in ["changeme", "example", "password", "xxxx", "test"] {
            assert!(!Manner::Strict.is_plain(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn texts_for_people_are_known_and_random_ones_are_not() {
        for value in [
            "Passwort",
            "Mot de passe",
            "パスワード",
            "Пароль",
            "密码",
            "Adgangskode",
            "पासवर्ड",
            "รหัสผ่าน",
            "كلمة المرور",
            "Forgot your password?",
            "Your token expires in {{count}} days.",
            "Le jeton d’accès est invalide",
            "Secret key (optional)",
            "Use your OAuth2 token to sign in again",
            "At least 12 characters",
            "Passwort-Wiederholung",
        ] {
            assert!(is_human(value.as_bytes()), "{value}");
        }
        for value in [
            "9dJq4TzX",
            "hunter2",
            "tYkLmQwErTz",
            "Tr0ub4dor&3",
            "a1b2c3d4 e5f6a7b8",
            "glpat-9dJq4TzX0kV2bLw7NmRs",
            "p@ssword",
            "AbCdEfGh",
            "eyJhbGciOiJIUzI1NiJ9",
            "12345678",
            "dTpwMQ==",
            "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd",
        ] {
            assert!(!is_human(value.as_bytes()), "{value}");
        }
    }
}
