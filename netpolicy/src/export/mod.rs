//! A policy in other programs' formats.
//!
//! ```text
//!  Policy ──grants (expired, ceilings, denials taken off)──▶ gitlab | cilium | kubernetes ──block──▶ YAML text
//!                                                                     └──▶ notes: left out, narrower, wider
//! ```
//! Nothing is exported more widely than the policy says without a note that says so. What another
//! program cannot refuse is not permitted to it either.

mod block;
mod cilium;
mod exported;
mod gitlab;
mod grants;
mod kubernetes;

pub use self::exported::{ExportError, Exported, Format};
use crate::policy::{Date, Policy};

/// Exports the policy as it stands on a day.
pub fn export(policy: &Policy, format: Format, today: Date) -> Result<Exported, ExportError> {
    let mut notes = Vec::new();
    let grants = grants::of(policy, today, &mut notes);
    let value = match format {
        Format::Gitlab => gitlab::write(&grants, policy, &mut notes)?,
        Format::Cilium => cilium::write(&grants, policy, &mut notes),
        Format::Kubernetes => kubernetes::write(&grants, policy, &mut notes),
    };
    let head = format!("# Written by `ringfence policy export --to {}`.\n", format.as_str());
    Ok(Exported { text: head + &block::yaml(&value), notes })
}
