//! Other programs' allowlists as rules.
//!
//! ```text
//!  text ──detect or --from──▶ gitlab | srt | gh-aw | httpjail | squid ──▶ Intake ──▶ Imported (rules, notes)
//! ```
//! An import never permits a name that its source does not: what cannot be said exactly is
//! permitted more narrowly or left out, and denied more widely. Whatever differs is in the notes.

mod gh_aw;
mod gitlab;
mod httpjail;
mod imported;
mod intake;
mod json;
mod squid;
mod srt;

pub use self::imported::{Format, ImportError, Imported, MAX_TEXT};
use self::intake::Intake;
use crate::policy::Layer;
use crate::yaml::Node;

/// Reads `text`, in `format` or in the one that it looks like.
pub fn import(file: &str, text: &str, format: Option<Format>, layer: Layer) -> Result<Imported, ImportError> {
    if text.len() > MAX_TEXT {
        return Err(ImportError::TooLarge);
    }
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let format = match format {
        Some(format) => format,
        None => detect(file, text)?,
    };
    let mut intake = Intake::new(file, layer);
    match format {
        Format::Gitlab => gitlab::read(text, &mut intake)?,
        Format::Srt => srt::read(text, &mut intake)?,
        Format::GhAw => gh_aw::read(text, &mut intake)?,
        Format::Httpjail => httpjail::read(text, &mut intake)?,
        Format::Squid => squid::read(text, &mut intake)?,
    }
    intake.finish(format)
}

/// Tells the format, by the structure of a file: its keys, or what its lines are. Words in comments
/// and values say nothing.
fn detect(file: &str, text: &str) -> Result<Format, ImportError> {
    if file.ends_with(".js") || file.ends_with(".mjs") {
        return Err(ImportError::Program);
    }
    match intake::root(file, text) {
        Ok(root) => {
            if let Some(format) = by_keys(&root) {
                return Ok(format);
            }
        }
        // Nothing else looks like JSON.
        Err(error) if intake::is_json(text) => return Err(error),
        Err(_) => {}
    }
    if file.ends_with("agent-config.yml") {
        return Ok(Format::Gitlab);
    }
    let lines: Vec<&str> = intake::lines(text).map(|(_, line)| line).collect();
    if lines.first().is_some_and(|line| httpjail::is_rule(line)) {
        return Ok(Format::Httpjail);
    }
    if lines.iter().any(|line| line.starts_with("acl ") || line.starts_with("http_access ")) {
        return Ok(Format::Squid);
    }
    let names = |line: &&str| !line.contains([':', '{', '=', '"']) || line.contains("://");
    if lines.is_empty() || !lines.iter().all(names) {
        return Err(ImportError::Unknown);
    }
    // Guessing wrong would widen: a name is read with everything below it only where nobody else
    // writes so.
    let awf = lines.iter().any(|line| line.contains("://") || line.contains(','));
    let squid = lines.iter().any(|line| line.starts_with('.'));
    match (awf, squid) {
        (true, false) => Ok(Format::GhAw),
        (false, true) if !lines.iter().any(|line| line.contains('*')) => Ok(Format::Squid),
        _ => Err(ImportError::Ambiguous),
    }
}

/// Tells the format of a mapping by its keys.
fn by_keys(root: &[(Node, Node)]) -> Option<Format> {
    let get = |pairs: &[(Node, Node)], wanted: &str| {
        let found = pairs.iter().find(|(key, _)| key.as_str() == Some(wanted));
        found.map(|(_, value)| intake::pairs(wanted, value).map(<[_]>::to_vec).unwrap_or_default())
    };
    let has = |pairs: &[(Node, Node)], words: &[&str]| words.iter().any(|word| get(pairs, word).is_some());
    if has(root, &["network_policy"]) {
        return Some(Format::Gitlab);
    }
    let sandbox = get(root, "sandbox").and_then(|sandbox| get(&sandbox, "network"));
    let network = get(root, "network").or(sandbox)?;
    if has(&network, &["allowedDomains", "deniedDomains"]) {
        Some(Format::Srt)
    } else if has(&network, &["allowDomains", "blockDomains"]) {
        Some(Format::GhAw)
    } else {
        None
    }
}
