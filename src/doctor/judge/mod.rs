//! From facts to ten rows. Nothing here has an effect, so every verdict can be tested with a table
//! of facts.
//!
//! A row's judge takes the facts that it needs and no others: `run` asks the same judges when a
//! policy demands something.

pub(crate) mod boundary;
mod confinement;
mod limits;
mod network;
mod others;
mod project;
pub(crate) mod vulnerabilities;

#[cfg(test)]
mod tests;

use super::cves::Vulnerabilities;
use super::facts::{Facts, Learned};
use super::require;
use super::row::{Row, Verdict};

/// Returns the ten rows, in order.
pub(crate) fn rows(facts: &Facts, known: &Result<Vulnerabilities, String>) -> Vec<Row> {
    let mut rows = vec![
        boundary::row(&facts.machine, &facts.engine, &facts.inside),
        network::row(&facts.machine, &facts.engine, &facts.fence),
        limits::row(&facts.engine, &facts.inside),
        confinement::row(&facts.machine, &facts.engine, &facts.inside),
        vulnerabilities::row(&facts.engine, known, facts.today),
        project::mounts(facts.project.as_ref()),
        project::secrets(facts.project.as_ref()),
        others::row(&facts.engine, &facts.others),
        project::token(),
        project::messages(),
    ];
    for unmet in require::unmet(facts, known) {
        if let Some(row) = rows.iter_mut().find(|row| row.risk == unmet.risk) {
            let demand = unmet.requirement.as_str();
            row.held_against(
                Verdict::Fail,
                format!("the policy demands `{demand}` (engine.require): {}", unmet.why),
            );
            row.advise(unmet.remedy);
        }
    }
    rows
}

/// Returns the fact, or notes in the row why there is none.
fn known<'a, T>(row: &mut Row, fact: &'a Learned<T>) -> Option<&'a T> {
    match fact {
        Ok(fact) => Some(fact),
        Err(why) => {
            row.held_against(Verdict::Unknown, why.clone());
            None
        }
    }
}

/// Writes `a, b and c`.
fn list(items: &[impl AsRef<str>]) -> String {
    match items {
        [] => String::new(),
        [only] => only.as_ref().to_owned(),
        [most @ .., last] => {
            let most: Vec<&str> = most.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", most.join(", "), last.as_ref())
        }
    }
}
