//! `services`: containers beside the agent.

use std::collections::BTreeMap;

use super::container::seconds;
use super::draft::{Draft, set_already};
use super::shape::{self, list, map, string, whole_number, wrong_type};
use crate::diagnostic::Diagnostic;
use crate::policy::{Layer, Policy};
use crate::service::{LONGEST_WITHIN, MOST, Readiness, Service, ServiceName};
use crate::yaml::{Findings, Node, SourcePlace, Value};

/// Reads `services` into the draft. Of one layer's files the one that extends the other wins.
pub(super) fn services(node: &Node, layer: Layer, draft: &mut Draft, findings: &mut Findings) {
    for (key, value) in map(node, "`services` is a mapping of names", findings) {
        let Value::Scalar { text, .. } = &key.value else { continue };
        let name: ServiceName = match text.parse() {
            Ok(name) => name,
            Err(why) => {
                let hint = Some("write a name such as `db`".into());
                findings.push(key.place.error(
                    "service",
                    format!("`{text}` cannot be a service: {why}"),
                    hint,
                ));
                continue;
            }
        };
        if let Some(read) = service(value, layer, findings) {
            draft.services.insert(name, (read, key.place.clone()));
        }
    }
}

/// Reads one service: its image, or a mapping.
fn service(node: &Node, layer: Layer, findings: &mut Findings) -> Option<Service> {
    let mut found = Service::of_image("");
    for (word, _, value) in shape::SERVICE.pairs(node, layer, findings) {
        match word {
            "image" => found.image = image(value, findings)?,
            "env" => found.env = variables(value, findings),
            "command" => found.command = words(value, "command", findings),
            "ready" => found.ready = Some(readiness(value, layer, findings)?),
            "within" => found.within = Some(within(value, findings)?),
            _ => {}
        }
    }
    if found.image.is_empty() {
        if !node.is_refused() {
            let hint = Some("write `image: NAME`".into());
            findings.push(node.place.error("service", "a service needs an image", hint));
        }
        return None;
    }
    Some(found)
}

fn image(node: &Node, findings: &mut Findings) -> Option<String> {
    let text = string(node, "an image such as `redis:7`", findings)?;
    let good = (1..=512).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !good {
        let hint = Some("write it as for `docker run`".into());
        findings.push(node.place.error("image", format!("`{text}` is no name of an image"), hint));
    }
    good.then(|| text.to_owned())
}

/// Reads the variables of a service.
fn variables(node: &Node, findings: &mut Findings) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (key, value) in map(node, "`env` is a mapping of variables", findings) {
        let Value::Scalar { text: name, .. } = &key.value else { continue };
        if name.is_empty() || name.contains(['=', '\0']) || name.contains(char::is_whitespace) {
            let hint = Some("write `NAME: value`".into());
            findings.push(key.place.error("variable", format!("`{name}` is no name of a variable"), hint));
            continue;
        }
        match &value.value {
            Value::Refused => {}
            Value::Scalar { text, .. } if value.kind() != "nothing" && !text.contains('\0') => {
                found.insert(name.clone(), text.clone());
            }
            _ => {
                let hint = format!("give the value of your own environment by --service-env SERVICE:{name}");
                findings.push(wrong_type(value, &format!("the variable `{name}` is a text"), Some(hint)));
            }
        }
    }
    found
}

/// Reads a command, word by word.
fn words(node: &Node, what: &str, findings: &mut Findings) -> Vec<String> {
    let mut found = Vec::new();
    for item in list(node, &format!("`{what}` is a list of words"), findings) {
        match &item.value {
            Value::Refused => {}
            Value::Scalar { text, .. } if item.kind() != "nothing" && !text.contains('\0') => {
                found.push(text.clone());
            }
            _ => findings.push(wrong_type(item, &format!("a word of `{what}` is a text"), None)),
        }
    }
    if found.is_empty() && matches!(&node.value, Value::List(items) if items.is_empty()) {
        let hint = Some("leave it out for the image's own command".into());
        findings.push(node.place.error("command", format!("`{what}` has no word"), hint));
    }
    found
}

/// Reads `ready`: one sign.
fn readiness(node: &Node, layer: Layer, findings: &mut Findings) -> Option<Readiness> {
    let mut signs = Vec::new();
    let known = shape::READY.pairs(node, layer, findings);
    for (word, _, value) in &known {
        match *word {
            "tcp" => {
                let port = whole_number(value, 1, 65_535, "tcp", findings)?;
                signs.push(Readiness::Tcp(u16::try_from(port).ok()?));
            }
            _ => signs.push(Readiness::Command(words(value, "command", findings))),
        }
    }
    if signs.len() != 1 && known.len() == signs.len() && !node.is_refused() {
        let hint = Some("write `{tcp: PORT}` or `{command: [PROGRAM, ARGUMENT]}`".into());
        findings.push(node.place.error("ready", "`ready` is one sign", hint));
    }
    (signs.len() == 1).then(|| signs.remove(0))
}

fn within(node: &Node, findings: &mut Findings) -> Option<u64> {
    let found = seconds(node, "within", findings)?;
    if found > LONGEST_WITHIN {
        let hint = Some(format!("write a time up to {LONGEST_WITHIN}s"));
        findings.push(node.place.error("time", "`within` is too long", hint));
        return None;
    }
    Some(found)
}

/// Merges the services of all layers. No layer changes a service of a stronger one.
pub(super) fn merged(drafts: &[Draft], diagnostics: &mut Vec<Diagnostic>) -> BTreeMap<ServiceName, Service> {
    let mut all: BTreeMap<ServiceName, (Service, Layer, &SourcePlace)> = BTreeMap::new();
    for draft in drafts {
        for (name, (service, place)) in &draft.services {
            match all.get(name) {
                Some((_, layer, strong)) => {
                    diagnostics.push(set_already(&format!("services.{name}"), *layer, strong, place));
                }
                None => _ = all.insert(name.clone(), (service.clone(), draft.layer, place)),
            }
        }
    }
    all.into_iter().map(|(name, (service, ..))| (name, service)).collect()
}

/// Checks that there are not too many services, and that none has the name of a permitted host.
pub(super) fn check(drafts: &[Draft], policy: &Policy, diagnostics: &mut Vec<Diagnostic>) {
    let all = || drafts.iter().flat_map(|draft| &draft.services);
    if policy.services.len() > MOST
        && let Some((_, (_, place))) = all().last()
    {
        let message = format!("{} services, and one run has at most {MOST}", policy.services.len());
        diagnostics.push(place.error("service", message, None));
    }
    for (name, (_, place)) in all() {
        if let Some(rule) = policy.host_of_service(name) {
            let message = format!("`{name}` is a permitted host too ({})", rule.origin.place());
            let hint = Some("give the service another name".into());
            diagnostics.push(place.error("service", message, hint));
        }
    }
}
