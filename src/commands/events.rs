//! `ringfence events`: the decision log of a workflow or of a file.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::cli::EventsArgs;
use crate::error::Failure;
use crate::supervisor::summary::Seen;
use crate::supervisor::{engine, inventory, state};

/// What could not be read or is not what was written.
const NOT_GOOD: u8 = 1;
const CANNOT: u8 = 2;

/// Prints the events, refusals only with `--denied`; with `--verify` checks the chain instead.
pub async fn events(engine_host: Option<&str>, args: EventsArgs) -> Result<u8, Failure> {
    let bytes = read(engine_host, &args.source).await?;
    let text = String::from_utf8_lossy(&bytes);
    if args.verify {
        return match broken_link(&text) {
            None => {
                super::print(&format!(
                    "{} events, every one chained to the one before\n",
                    text.lines().count()
                ))?;
                Ok(0)
            }
            Some(line) => {
                super::print(&format!("line {line} is not chained to the line before it\n"))?;
                Ok(NOT_GOOD)
            }
        };
    }
    let mut out = String::new();
    for line in text.lines() {
        let Ok(event) = serde_json::from_str::<Seen>(line) else { continue };
        if args.denied && event.verdict.as_deref() != Some("deny") {
            continue;
        }
        if args.json {
            out.push_str(line);
            out.push('\n');
        } else {
            out.push_str(&row(line));
        }
    }
    super::print(&out)?;
    Ok(0)
}

async fn read(engine_host: Option<&str>, source: &str) -> Result<Vec<u8>, Failure> {
    let path = Path::new(source);
    if path.is_file() {
        return read_file(path);
    }
    // A workflow that still runs has its newest events on the engine; one that ended, in the state directory.
    if let Ok(engine) = engine::connect(engine_host).await {
        let all = inventory::workflows(&engine).await?;
        if let Ok(found) = inventory::pick(&all, source)
            && let Some(saved) = inventory::save_events(&engine, &found.id).await?
        {
            return read_file(&saved);
        }
    }
    let dir = state::events_file("x")?.parent().map(Path::to_owned).unwrap_or_default();
    let mut ended: Vec<_> = std::fs::read_dir(&dir)
        .map_err(|error| Failure::new(CANNOT, format!("cannot read {}", dir.display())).caused_by(&error))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !source.is_empty() && name.starts_with(source) && name.ends_with(".jsonl"))
        .collect();
    ended.sort();
    match ended.as_slice() {
        [one] => read_file(&dir.join(one)),
        [] => Err(Failure::new(CANNOT, format!("no events of `{source}` are here"))
            .hint("give a workflow's id or an events file")),
        _ => Err(Failure::new(CANNOT, format!("`{source}` may mean {} workflows", ended.len()))
            .hint("give more of the id")),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|error| Failure::new(CANNOT, format!("cannot read {}", path.display())).caused_by(&error))
}

/// The first line (from 1) whose `prev` is not the hash of the line before.
fn broken_link(text: &str) -> Option<usize> {
    let mut before: Option<String> = None;
    for (index, line) in text.lines().enumerate() {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else { return Some(index + 1) };
        let prev = value.get("prev").and_then(|prev| prev.as_str()).map(str::to_owned);
        if index > 0 && prev != before {
            return Some(index + 1);
        }
        before = Some(Sha256::digest(line).iter().map(|byte| format!("{byte:02x}")).collect());
    }
    None
}

/// One event as a person reads it. Names come from the agent: nothing of them reaches the terminal raw.
fn row(line: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let text = |key: &str| -> String {
        match value.get(key) {
            Some(serde_json::Value::String(text)) => text.chars().flat_map(char::escape_default).collect(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    };
    let target = [text("host"), text("address")]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    let port = if text("port").is_empty() { String::new() } else { format!(":{}", text("port")) };
    format!(
        "{}  {:<9} {:<5} {:<18} {target}{port}  {}\n",
        text("time"),
        text("kind"),
        text("verdict"),
        text("reason"),
        text("rule"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_or_missing_line_breaks_the_chain() {
        let first = r#"{"seq":1}"#;
        let link: String = Sha256::digest(first).iter().map(|byte| format!("{byte:02x}")).collect();
        let second = format!(r#"{{"seq":2,"prev":"{link}"}}"#);
        assert_eq!(broken_link(&format!("{first}\n{second}\n")), None);
        assert_eq!(broken_link(&format!("{}\n{second}\n", r#"{"seq":9}"#)), Some(2));
        assert_eq!(broken_link("nonsense\n"), Some(1));
    }
}
