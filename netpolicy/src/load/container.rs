//! `container`, `engine` and `tests`.

use super::draft::{Draft, Set};
use super::shape::{self, list, nearest, string, wrong_type};
use crate::diagnostic::Diagnostic;
use crate::policy::{Expectation, Layer, Origin};
use crate::ruleset::{GATE_CONNECTIONS, MOST_PER_SECOND};
use crate::settings::{Ca, Capabilities, Requirement, size};
use crate::target::Endpoint;
use crate::yaml::{Findings, Node, Value};

/// Reads `container` into the draft; of several layers the smallest limit counts.
pub(super) fn container(node: &Node, layer: Layer, draft: &mut Draft, findings: &mut Findings) {
    for (word, _, value) in shape::CONTAINER.pairs(node, layer, findings) {
        let place = &value.place;
        match word {
            "cpus" => {
                if let Some(cpus) = cpus(value, findings) {
                    draft.limits.milli_cpus = Set::at(cpus, place);
                }
            }
            "memory" => {
                if let Some(bytes) = bytes(value, "memory", 6 << 20, findings) {
                    draft.limits.memory = Set::at(bytes, place);
                }
            }
            "disk" => {
                if let Some(bytes) = bytes(value, "disk", 1 << 20, findings) {
                    draft.limits.disk = Set::at(bytes, place);
                }
            }
            "pids" => {
                if let Some(number) = shape::whole_number(value, 1, 4_194_304, "pids", findings) {
                    draft.limits.pids = Set::at(number, place);
                }
            }
            "open-files" => {
                if let Some(number) = shape::whole_number(value, 64, 1_048_576, "open-files", findings) {
                    draft.limits.open_files = Set::at(number, place);
                }
            }
            "capabilities" => {
                if let Some(kept) = capabilities(value, findings) {
                    draft.limits.capabilities = Set::at(kept, place);
                }
            }
            "time" => {
                if let Some(seconds) = seconds(value, "time", findings) {
                    draft.limits.seconds = Set::at(seconds, place);
                }
            }
            "connections" => {
                if let Some(number) = connections(value, word, GATE_CONNECTIONS, findings) {
                    draft.limits.connections = Set::at(number, place);
                }
            }
            "connections-per-second" => {
                if let Some(number) = connections(value, word, MOST_PER_SECOND, findings) {
                    draft.limits.connections_per_second = Set::at(number, place);
                }
            }
            "runtime" => {
                if let Some(name) = runtime(value, findings) {
                    draft.limits.runtime = Set::at(name, place);
                }
            }
            "ca" => {
                if let Some(text) = string(value, "`system`, or the path of a PEM file", findings) {
                    let ca = if text == "system" { Ca::System } else { Ca::File(text.to_owned()) };
                    draft.limits.ca = Set::at(ca, place);
                }
            }
            _ => {}
        }
    }
}

fn connections(node: &Node, what: &str, most: u32, findings: &mut Findings) -> Option<u32> {
    let number = shape::whole_number(node, 1, u64::from(most), what, findings)?;
    u32::try_from(number).ok()
}

fn cpus(node: &Node, findings: &mut Findings) -> Option<u64> {
    let number = match &node.value {
        Value::Refused => return None,
        Value::Scalar { text, plain: true } if node.kind() == "a number" => text.parse::<f64>().ok(),
        _ => None,
    };
    let good = number.filter(|number| (0.01..=4096.0).contains(number));
    if good.is_none() {
        let hint = Some("write a number such as `2` or `0.5`".into());
        findings.push(node.place.error("number", "`cpus` is a number from 0.01 to 4096", hint));
    }
    good.map(|number| (number * 1000.0).round() as u64)
}

fn bytes(node: &Node, what: &str, least: u64, findings: &mut Findings) -> Option<u64> {
    let text = match &node.value {
        Value::Refused => return None,
        Value::Scalar { text, .. } => text.as_str(),
        _ => {
            findings.push(wrong_type(node, &format!("`{what}` is a size such as `4GiB`"), None));
            return None;
        }
    };
    let good = size(text).filter(|bytes| *bytes >= least);
    if good.is_none() {
        let hint = Some("write a size such as `512MiB` or `4GiB`".into());
        let message = format!("`{text}` is no size for `{what}`");
        findings.push(node.place.error("size", message, hint));
    }
    good
}

/// Reads a time for the key `what`, in seconds.
pub(super) fn seconds(node: &Node, what: &str, findings: &mut Findings) -> Option<u64> {
    let text = match &node.value {
        Value::Refused => return None,
        Value::Scalar { text, .. } => text.as_str(),
        _ => {
            findings.push(wrong_type(node, &format!("`{what}` is a time such as `2h`"), None));
            return None;
        }
    };
    let hint = if text.contains(':') {
        "hours and minutes with a colon mean something else to other readers of YAML: write `1h 30m`"
    } else if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        "a unit is missing: write `90s`, `30m` or `2h`"
    } else {
        "write a time such as `90s`, `30m` or `2h`"
    };
    let read = humantime::parse_duration(text).ok().map(|time| time.as_secs());
    let good = read.filter(|seconds| (1..=366 * 86_400).contains(seconds));
    if good.is_none() {
        let message = format!("`{text}` is no time for `{what}`, from 1 s to a year");
        findings.push(node.place.error("time", message, Some(hint.into())));
    }
    good
}

fn capabilities(node: &Node, findings: &mut Findings) -> Option<Capabilities> {
    let text = string(node, "`none` or `default`", findings)?;
    let found = Capabilities::ALL.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let message = format!("`{text}` is not `none` or `default`");
        let hint =
            "single capabilities cannot be given: `default` are the few that installing packages needs";
        findings.push(node.place.error("capabilities", message, Some(hint.into())));
    }
    found.map(|(_, capabilities)| *capabilities)
}

fn runtime(node: &Node, findings: &mut Findings) -> Option<String> {
    let text = string(node, "the name of a runtime such as `runsc`", findings)?;
    let good = !text.is_empty()
        && text.len() <= 100
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !good {
        let hint = Some("write its name as the engine knows it, or `default`".into());
        findings.push(node.place.error("runtime", format!("`{text}` is no name of a runtime"), hint));
    }
    good.then(|| text.to_owned())
}

/// Reads `engine.require`; what several layers require adds up.
pub(super) fn engine(node: &Node, layer: Layer, draft: &mut Draft, findings: &mut Findings) {
    for (_, _, value) in shape::ENGINE.pairs(node, layer, findings) {
        for item in list(value, "`require` is a list", findings) {
            let words = Requirement::ALL.map(|(word, _)| word);
            let Some(text) = string(item, "a requirement such as `vm`", findings) else { continue };
            match Requirement::ALL.iter().find(|(word, _)| *word == text) {
                Some((_, requirement)) => draft.require.push(*requirement),
                None => {
                    let hint = match nearest(text, &words) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("it is one of {}", words.join(", ")),
                    };
                    let message = format!("`{text}` is no requirement on the engine");
                    findings.push(item.place.error("requirement", message, Some(hint)));
                }
            }
        }
    }
}

/// Reads `tests`: `- allow: TARGET` and `- deny: TARGET`, `- may: TARGET` and `- never: TARGET`.
pub(super) fn tests(node: &Node, layer: Layer, draft: &mut Draft, findings: &mut Findings) {
    for item in list(node, "`tests` is a list", findings) {
        if item.is_refused() {
            continue;
        }
        let Value::Map(pairs) = &item.value else {
            findings.push(no_test(item));
            continue;
        };
        let known = shape::TEST.pairs(item, layer, findings);
        let [(word, _, value)] = known.as_slice() else {
            if known.len() == pairs.len() {
                findings.push(no_test(item));
            }
            continue;
        };
        if known.len() != pairs.len() {
            continue;
        }
        let Some(text) = string(value, "a target such as `https://gitlab.com/`", findings) else { continue };
        match Endpoint::parse(text) {
            Ok(endpoint) => draft.tests.push(Expectation {
                allow: matches!(*word, "allow" | "may"),
                assumed: matches!(*word, "may" | "never"),
                endpoint,
                origin: Origin {
                    layer,
                    file: item.place.file_name().to_owned(),
                    line: item.place.line(),
                    text: format!("{word}: {text}"),
                },
            }),
            Err(error) => {
                let hint = "write https://HOST/PATH, HOST, HOST:PORT, tcp://ADDRESS:PORT or ssh://HOST";
                let message = format!("`{text}` is no target: {error}");
                findings.push(value.place.error("target", message, Some(hint.into())));
            }
        }
    }
}

fn no_test(item: &Node) -> Diagnostic {
    let hint = Some("write `- allow: TARGET`, `- deny: TARGET`, `- may: TARGET` or `- never: TARGET`".into());
    item.place.error("test", "a test says what is allowed or what is denied", hint)
}
