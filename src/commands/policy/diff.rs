//! `ringfence policy diff OLD NEW`: what NEW reaches that OLD does not, for review gates.
//!
//! ```text
//!  OLD, NEW ──load, each by itself──▶ two policies ──reach::difference──▶ opens, closes, changes ──▶ words or JSON
//! ```

use netpolicy::load::{self, LayerSource, Loaded};
use netpolicy::policy::Layer;
use netpolicy::reach::{Change, Difference, Line, difference};
use serde_json::json;

use super::COULD_NOT_TELL;
use crate::cli::policy::DiffArgs;
use crate::layers::{self, read_any};
use crate::term::Failure;
use crate::term::{print, print_json, talk_lines};

const NOTHING_MORE: u8 = 0;
const MORE: u8 = 1;

/// Compares two policies from today on. 0: NEW reaches nothing more; 1: it reaches more; 2: one
/// cannot be used.
pub(crate) fn diff(args: &DiffArgs) -> Result<u8, Failure> {
    let old = load_one(&args.old, args.layer)?.policy;
    let new = load_one(&args.new, args.layer)?.policy;
    let found = difference(&old, &new, crate::host::clock::today());
    if args.json {
        let mut whole = found.to_json();
        whole["digests"] = json!({ "old": old.digest(), "new": new.digest() });
        print_json(&whole)?;
    } else {
        print(&to_words(&found))?;
        talk_lines(format_args!("{}\n", summary(&found)));
    }
    Ok(if found.reaches_more() { MORE } else { NOTHING_MORE })
}

/// Loads one policy by itself.
fn load_one(entry: &str, layer: Layer) -> Result<Loaded, Failure> {
    let source = LayerSource::files(layer, vec![entry.to_owned()]);
    let mut read = |_: Layer, path: &str| read_any(path);
    load::load_layers(&[source], crate::host::clock::today(), &mut read).map_err(|errors| {
        let failure = layers::unusable(&errors);
        Failure { exit: COULD_NOT_TELL, message: format!("{} ({entry})", failure.message), ..failure }
    })
}

/// Writes a difference, a line each with the rules behind it.
pub(crate) fn to_words(found: &Difference) -> String {
    let mut text = String::new();
    for (title, sign, lines) in [("opens", '+', &found.opens), ("closes", '-', &found.closes)] {
        if !lines.is_empty() {
            text.push_str(&format!("{title}\n"));
        }
        for line in lines {
            text.push_str(&of_line(sign, line));
        }
    }
    if !found.changes.is_empty() {
        text.push_str("changes\n");
    }
    for change in &found.changes {
        text.push_str(&of_change(change));
    }
    text
}

fn of_line(sign: char, line: &Line) -> String {
    let (old, new) = line.causes();
    format!("  {sign} {line}\n      old: {old}\n      new: {new}\n")
}

fn of_change(change: &Change) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
    let widens = if change.widens { " (lets more through)" } else { "" };
    format!("  ~ {}: {} → {}{widens}\n", change.key, value(&change.old), value(&change.new))
}

fn summary(found: &Difference) -> String {
    let Difference { opens, closes, changes } = found;
    if found.is_empty() {
        return "both reach the same".to_owned();
    }
    let widening = changes.iter().filter(|change| change.widens).count();
    let mut text = format!("{} opened, {} closed, {} changed", opens.len(), closes.len(), changes.len());
    if widening > 0 {
        text.push_str(&format!(", {widening} of which let more through"));
    }
    text
}
