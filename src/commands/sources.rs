//! Decision logs that a person names, and what speaks against each of them.

use crate::commands::events::{self, Log};
use crate::term::{self, Failure, Warning};
use crate::wire::chain::Checked;

/// Reads a log, and warns where nobody vouches for what it says.
pub(crate) async fn read(engine_host: Option<&str>, source: &str) -> Result<Log, Failure> {
    let log = events::read(engine_host, source).await?;
    log.check_events(source)?;
    for why in doubts(&log) {
        term::warn(Warning::EventsUnproven { source: source.to_owned(), why });
    }
    Ok(log)
}

/// Lists what speaks against a log.
pub(crate) fn doubts(log: &Log) -> Vec<String> {
    let mut doubts = Vec::new();
    if !log.is_own {
        doubts.push(
            "ringfence did not keep this log here: anybody who can write it chose its lines".to_owned(),
        );
    }
    let checked = Checked::default().of(&log.bytes);
    if let Some(first) = checked.findings.first() {
        let found = checked.findings.len() as u64 + checked.more;
        let more = if found > 1 { format!(", and {} more findings", found - 1) } else { String::new() };
        doubts.push(format!("its chain is not whole: {first}{more}"));
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_others_and_a_broken_chain_are_told() {
        let line = r#"{"v":1,"seq":0,"time":"2026-11-30T00:00:00.000Z","workflow":"0000002a","kind":"lifecycle","reason":"start"}"#;
        let log = |text: String, is_own| Log { bytes: text.into_bytes(), live: false, is_own, run: None };
        assert_eq!(doubts(&log(format!("{line}\n"), true)), Vec::<String>::new());
        assert!(doubts(&log(format!("{line}\n"), false))[0].contains("anybody who can write it"));
        let broken = doubts(&log(format!("{line}\n{line}\n"), true));
        assert!(broken[0].starts_with("its chain is not whole: "), "{broken:?}");
    }
}
