//! `ringfence policy export FILE --to FORMAT`: a policy in another program's format on stdout, what
//! differs on stderr.

use netpolicy::export;
use netpolicy::load::{self, LayerSource};
use netpolicy::policy::Layer;
use serde_json::json;

use super::{COULD_NOT_TELL, say};
use crate::cli::policy::ExportArgs;
use crate::layers::{self, read_any};
use crate::term::Failure;
use crate::term::{print_document, print_json};

/// Writes one policy, as it stands today.
pub(crate) fn export(args: &ExportArgs) -> Result<u8, Failure> {
    let today = crate::host::clock::today();
    let source = LayerSource::files(Layer::Run, vec![args.file.clone()]);
    let loaded = load::load_layers(&[source], today, &mut |_, path| read_any(path))
        .map_err(|errors| Failure { exit: COULD_NOT_TELL, ..layers::unusable(&errors) })?;
    layers::warn(&loaded);
    let exported = export::export(&loaded.policy, args.to, today).map_err(|error| {
        Failure::new(COULD_NOT_TELL, format!("cannot export {} to {}", args.file, args.to.as_str()))
            .caused_by(&error)
    })?;
    if args.json {
        print_json(&json!({"format": args.to, "text": exported.text, "notes": exported.notes}))?;
    } else {
        print_document(&exported.text)?;
        say(&exported.notes);
    }
    Ok(0)
}
