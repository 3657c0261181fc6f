//! Permissions added to the text of a policy file, which otherwise stays as a person wrote it.
//!
//! ```text
//!  text, names ──spot──▶ one insertion ──▶ new text ──parse──▶ exactly the old content plus the names? ─┬─ yes ▶ Edited
//!                                                                                                      └─ no ─▶ Unedited
//! ```
//! The insertion is a guess about YAML that nobody has to trust: what counts is the comparison of
//! both texts, as the loader's own parser reads them.

mod permission;
mod shape;
mod spot;

pub use self::permission::{ByHand, Permission};
use self::shape::Shape;
use crate::diagnostic::Diagnostic;
use crate::yaml::{self, Findings};

/// Mark of the encoding at the beginning of a text.
const BYTE_ORDER_MARK: char = '\u{FEFF}';

/// Reason for which a text was not edited.
#[derive(Debug, thiserror::Error)]
pub enum Unedited {
    /// The file has mistakes of its own.
    #[error("the file has mistakes")]
    Mistakes(Vec<Diagnostic>),
    /// The file has a form that only a person should write into.
    #[error("the file is written in a form that ringfence does not write into")]
    Form,
}

/// Adds names to `network.allow` of a policy's text, and returns the new text.
///
/// # Errors
/// When the text is no policy, or the new text would say anything else than the old one and these
/// names.
pub fn permit(file: &str, text: &str, names: &[Permission]) -> Result<String, Unedited> {
    let old = shape(file, text)?;
    if names.is_empty() {
        return Ok(text.to_owned());
    }
    let entries: Vec<String> = names.iter().map(Permission::entry).collect();
    let bare = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let spot = spot::find(bare, &entries).ok_or(Unedited::Form)?;
    let at = text.len() - bare.len() + spot.at;
    let (before, after) = text.split_at_checked(at).ok_or(Unedited::Form)?;
    let edited = format!("{before}{}{after}", spot.text);
    let texts = names.iter().map(|name| (name.to_string(), !name.entry().starts_with('"')));
    let wanted = old.with(texts).ok_or(Unedited::Form)?;
    match shape(file, &edited) {
        Ok(new) if new == wanted => Ok(edited),
        _ => Err(Unedited::Form),
    }
}

/// Reads a text as the loader does.
fn shape(file: &str, text: &str) -> Result<Shape, Unedited> {
    let mut findings = Findings::default();
    let root = yaml::parse(file, text, &mut findings);
    if findings.has_errors() {
        return Err(Unedited::Mistakes(findings.finish(file)));
    }
    root.as_ref().and_then(Shape::of).ok_or(Unedited::Form)
}
