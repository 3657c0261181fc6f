//! The table as text: for `ringfence serve --explain`, and for docs/serve/fields.md.

use super::endpoints::PERMITTED;
use super::refused::REFUSED;
use super::{Access, BodyOf, EndpointRule, Treatment, fields};

/// One row as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleRow {
    /// Endpoint or field.
    pub(crate) place: String,
    /// Word of the rule.
    pub(crate) rule: String,
    /// Value that the engine gets.
    pub(crate) value: String,
    /// Reason.
    pub(crate) reason: String,
}

/// A head, and the rows below it.
pub(crate) type Chapter = (String, Vec<RuleRow>);

/// Returns the whole table.
pub(crate) fn chapters() -> Vec<Chapter> {
    let endpoints = PERMITTED.iter().chain(REFUSED).map(row_of_endpoint).collect();
    let mut all = vec![("Endpoints".to_owned(), endpoints)];
    for body in BodyOf::ALL {
        let rows = fields(body).map(|rule| RuleRow {
            place: rule.path.to_owned(),
            rule: word(rule.treatment).to_owned(),
            value: rule.value.to_owned(),
            reason: rule.reason.to_owned(),
        });
        all.push((format!("Fields of `{}`", endpoint_of(body)), rows.collect()));
    }
    all
}

fn row_of_endpoint(rule: &EndpointRule) -> RuleRow {
    let names: Vec<&str> = rule.params.iter().map(|param| param.name).collect();
    let (word, value) = match rule.access {
        Access::Permitted(_) => ("permitted".to_owned(), names.join(", ")),
        Access::Refused(status) => (format!("refused ({status})"), String::new()),
    };
    let place = format!("{} {}", rule.method.replace('*', "any"), rule.path);
    RuleRow { place, rule: word, value, reason: rule.reason.to_owned() }
}

/// Returns the endpoint of a body.
fn endpoint_of(body: BodyOf) -> &'static str {
    match body {
        BodyOf::Create => "POST /containers/create",
        BodyOf::Exec => "POST /containers/{id}/exec",
        BodyOf::ExecStart => "POST /exec/{id}/start",
        BodyOf::Update => "POST /containers/{id}/update",
        BodyOf::Network => "POST /networks/create",
        BodyOf::Connect => "POST /networks/{id}/connect",
        BodyOf::Disconnect => "POST /networks/{id}/disconnect",
        BodyOf::Volume => "POST /volumes/create",
    }
}

/// Returns the word of a rule.
fn word(treatment: Treatment) -> &'static str {
    match treatment {
        Treatment::Passed => "passed on",
        Treatment::Judged => "judged",
        Treatment::Remembered => "remembered",
        Treatment::LeftOut => "left out",
        Treatment::Warned => "left out, with a warning",
        Treatment::Refused => "refused",
        Treatment::NullOnly => "refused unless null",
    }
}

/// Returns the table for a terminal: a head, and for each row its place, rule, value and reason.
pub(crate) fn explanation() -> String {
    let mut text = String::new();
    for (head, rows) in chapters() {
        text.push_str(&format!("{}\n", head.replace('`', "")));
        let width = rows.iter().map(|row| row.place.len()).max().unwrap_or_default();
        for RuleRow { place, rule, value, reason } in rows {
            let value = if value.is_empty() { String::new() } else { format!(" [{value}]") };
            text.push_str(&format!("  {place:width$}  {rule}{value}: {reason}\n"));
        }
        text.push('\n');
    }
    text
}

/// Returns the table as the page of the documents has it.
#[cfg(test)]
pub(crate) fn page() -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let mut text = String::new();
    for (head, rows) in chapters() {
        let value =
            if head == "Endpoints" { "parameters that are read" } else { "value that the engine gets" };
        text.push_str(&format!("\n## {head}\n\n| | rule | {value} | why |\n|---|---|---|---|\n"));
        for row in rows {
            let value = cell(&row.value);
            text.push_str(&format!("| `{}` | {} | {value} | {} |\n", row.place, row.rule, cell(&row.reason)));
        }
    }
    text
}
