//! `ringfence policy show`: what all layers say together, each line with its origin.

use netpolicy::policy::{Ceiling, Policy, Rule};
use netpolicy::print;

use super::load_for;
use crate::cli::policy::ShowArgs;
use crate::cli::run::Network;
use crate::term::Failure;
use crate::term::{print_document as out, print_json};

/// Prints the policy, its canonical text, or all of it as JSON.
pub(crate) fn show(args: &ShowArgs) -> Result<u8, Failure> {
    let loaded = load_for(&args.policy, &args.layers, Network::Policy)?;
    crate::layers::warn(&loaded);
    let policy = loaded.policy;
    if args.canonical {
        // Nothing is added, not even a line end: this very text is digested.
        out(&policy.canonical())?;
    } else if args.json {
        let mut value = serde_json::to_value(&policy)
            .map_err(|error| Failure::new(super::COULD_NOT_TELL, "cannot write JSON").caused_by(&error))?;
        value["digest"] = policy.digest().into();
        print_json(&value)?;
    } else {
        out(&text(&policy))?;
    }
    Ok(0)
}

fn text(policy: &Policy) -> String {
    let mut text = format!("# digest: {}\n", policy.digest());
    for ceiling in policy.ceilings.iter().skip(1) {
        text.push_str(&further_ceiling(ceiling));
    }
    if policy.project_trusted {
        text.push_str("# the project's policy is approved\n");
    }
    text.push_str(&print::policy(policy, &|rule| Some(origin(rule))));
    text
}

/// Writes a further ceiling as a comment: a file has one ceiling, and those of weaker layers hold
/// as well.
fn further_ceiling(ceiling: &Ceiling) -> String {
    let mut text = format!("# ceiling of the {}'s layer, which holds as well:\n", ceiling.layer);
    for rule in &ceiling.rules {
        text.push_str(&format!("#   - {}  # {}\n", print::entry(rule, false), origin(rule)));
    }
    text
}

fn origin(rule: &Rule) -> String {
    format!("{}, {}", rule.origin.layer, rule.origin.place())
}
