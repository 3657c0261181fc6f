//! apt: sources in their files and in Dockerfiles. Images themselves are fetched by the engine, not
//! by the agent.

use super::collector::Collector;

const SOURCE: &str = "apt source";

pub(super) fn read(name: &str, text: &str, found: &mut Collector) {
    if name.ends_with(".sources") {
        sources(text, found);
    } else if name.ends_with(".list") {
        (1u32..).zip(text.lines()).for_each(|(line, content)| one_line(line, content.trim(), found));
    } else {
        dockerfile(text, found);
    }
}

/// Reads `deb [options] URI suite component…` (sources.list(5)).
fn one_line(line: u32, content: &str, found: &mut Collector) {
    let content = content.split('#').next().unwrap_or(content);
    let Some(rest) = content.strip_prefix("deb-src").or_else(|| content.strip_prefix("deb")) else { return };
    if !rest.starts_with(char::is_whitespace) {
        return;
    }
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']').map_or("", |(_, rest)| rest.trim_start()),
        None => rest,
    };
    if let Some(uri) = rest.split_whitespace().next() {
        transport(line, uri, found);
    }
}

/// Takes a URI; `tor+https`, `mirror+https` and the like are carried by the last word.
fn transport(line: u32, uri: &str, found: &mut Collector) {
    if uri.contains(':') {
        found.reference(line, uri, SOURCE);
    }
}

/// Reads stanzas of fields; a value goes on on indented lines, `Enabled: no` turns a stanza off.
fn sources(text: &str, found: &mut Collector) {
    let mut uris: Vec<(u32, String)> = Vec::new();
    let mut enabled = true;
    let mut field = String::new();
    let end = [(u32::MAX, "")];
    for (line, raw) in (1u32..).zip(text.lines()).chain(end) {
        if raw.trim().is_empty() {
            for (line, uri) in uris.drain(..).filter(|_| enabled) {
                transport(line, &uri, found);
            }
            (enabled, field) = (true, String::new());
            continue;
        }
        if raw.starts_with('#') {
            continue;
        }
        let value = if raw.starts_with([' ', '\t']) {
            raw
        } else {
            let (name, value) = raw.split_once(':').unwrap_or((raw, ""));
            field = name.trim().to_ascii_lowercase();
            value
        };
        match field.as_str() {
            "uris" => uris.extend(value.split_whitespace().map(|uri| (line, uri.to_owned()))),
            "enabled" => {
                enabled = !matches!(value.trim().to_ascii_lowercase().as_str(), "no" | "false" | "0")
            }
            _ => {}
        }
    }
}

/// Takes sources that a Dockerfile's commands write; comments of the Dockerfile are passed over.
fn dockerfile(text: &str, found: &mut Collector) {
    for (line, content) in (1u32..).zip(text.lines().map(str::trim)) {
        if content.starts_with('#') {
            continue;
        }
        let written = content.contains("deb http")
            || content.contains("deb [")
            || content.contains("sources.list")
            || content.starts_with("URIs:");
        if written {
            found.urls_in(line, content, SOURCE);
        }
    }
}
