//! The kind of a file whose name others have too: `auth.json` is Composer's store, and the texts of
//! a login form.

use std::path::Path;

use serde_json::Value;

use super::manner::{Manner, is_human};
use super::patterns::Patterns;
use super::{Form, each_line};

/// Names of folders that hold translations.
const TRANSLATIONS: &[&str] = &[
    "_locales",
    "i18n",
    "intl",
    "l10n",
    "lang",
    "langs",
    "language",
    "languages",
    "locale",
    "locales",
    "messages",
    "nls",
    "translation",
    "translations",
];
/// Keys of stores, each of an object: Composer's, docker's and Podman's, agents', Google's clients.
const STORES: &[&str] = &[
    "auths",
    "bearer",
    "bitbucket-oauth",
    "client-certificate",
    "credHelpers",
    "custom-headers",
    "forgejo-token",
    "github-oauth",
    "gitlab-oauth",
    "gitlab-token",
    "http-basic",
    "installed",
    "tokens",
    "web",
];
/// Keys of stores, each of a text.
const STORED: &[&str] = &[
    "access_token",
    "client_secret",
    "private_key",
    "refresh_token",
    "OPENAI_API_KEY",
    "accessToken",
    "refreshToken",
];
/// Words by which files in other forms show that they are what their name says.
const MAVEN: &[&str] =
    &["<servers", "<server>", "maven.apache.org/SETTINGS", "<ivysettings", "<proxies", "<profiles"];
const PHP: &[&str] =
    &["class JConfig", "$cfg['Servers']", "$cfg[\"Servers\"]", "$databases[", "$settings['hash_salt']"];
/// dbt's targets.
const LINES: &[&str] = &["outputs:", "secret_key_base:"];
/// A translation has more than a few texts; one that lies elsewhere has sentences, too.
const FEWEST_TEXTS: usize = 3;
const FEWEST_SENTENCES: usize = 4;
/// Types of values in a schema.
pub(super) const TYPES: &[&str] = &["array", "boolean", "integer", "null", "number", "object", "string"];
/// Keys of which an object in a schema has one besides `type`.
const OF_SCHEMA: &[&str] = &[
    "$ref",
    "default",
    "description",
    "enum",
    "format",
    "in",
    "items",
    "name",
    "optional",
    "properties",
    "required",
    "schema",
    "title",
    "minLength",
];

/// Chooses the rules by which a file's values are judged.
pub(super) fn manner(form: Form, path: &Path, text: &[u8]) -> Manner {
    let has = |words: &[&str]| words.iter().any(|word| contains(text, word.as_bytes()));
    let is_store = match form {
        Form::Json => serde_json::from_slice(text).is_ok_and(|value| is_json_store(&value)),
        Form::Xml => has(MAVEN),
        Form::Php => has(PHP),
        Form::Lines | Form::Values => has(LINES),
        _ => false,
    };
    match is_store {
        true => Manner::Strict,
        false if is_translation(form, path, text) => Manner::Texts,
        false => Manner::Loose,
    }
}

fn is_json_store(value: &Value) -> bool {
    let Value::Object(map) = value else { return false };
    STORES.iter().any(|key| map.get(*key).is_some_and(Value::is_object))
        || STORED
            .iter()
            .any(|key| map.get(*key).and_then(Value::as_str).is_some_and(|text| !is_human(text.as_bytes())))
}

/// Tells whether this is a translation by its place and by what most of its texts are. An agent can
/// choose the place, and cannot read the texts of what was covered; so a random text counts as a
/// secret in a translation too.
fn is_translation(form: Form, path: &Path, text: &[u8]) -> bool {
    let named = path
        .parent()
        .into_iter()
        .flat_map(Path::iter)
        .any(|part| TRANSLATIONS.iter().any(|name| part.eq_ignore_ascii_case(name)));
    let (mut human, mut sentences, mut all) = (0, 0, 0);
    let mut count = |text: &[u8]| {
        all += 1;
        human += usize::from(is_human(text));
        sentences += usize::from(is_human(text) && text.iter().filter(|byte| **byte == b' ').count() >= 2);
    };
    match (form, serde_json::from_slice(text)) {
        (Form::Json, Ok(value)) => each_text(&value, &mut count),
        (Form::Json, Err(_)) => return false,
        _ => {
            let given = &Patterns::get().any_line;
            for (_, line) in each_line(text).filter(|(_, line)| !line.trim_ascii_start().starts_with(b"#")) {
                let value = given.captures(line).and_then(|found| found.name("v"));
                let value = value.map_or(&b""[..], |value| super::unquoted(value.as_bytes()));
                if !value.is_empty() {
                    count(value);
                }
            }
        }
    }
    let elsewhere = sentences >= FEWEST_SENTENCES && sentences * 2 >= all;
    (named || elsewhere) && all >= FEWEST_TEXTS && human * 4 >= all * 3
}

fn each_text(value: &Value, count: &mut impl FnMut(&[u8])) {
    match value {
        Value::Object(map) => map.values().for_each(|value| each_text(value, count)),
        Value::Array(items) => items.iter().for_each(|value| each_text(value, count)),
        Value::String(text) => count(text.as_bytes()),
        _ => {}
    }
}

/// Tells whether a JSON file describes values, as a schema or the description of an API does: an
/// object has a type and a further key of schemas.
pub(super) fn describes(value: &Value) -> bool {
    match value {
        Value::Object(map) => {
            let typed = map.get("type").and_then(Value::as_str).is_some_and(|word| TYPES.contains(&word));
            (typed && OF_SCHEMA.iter().any(|key| map.contains_key(*key))) || map.values().any(describes)
        }
        Value::Array(items) => items.iter().any(describes),
        _ => false,
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}
