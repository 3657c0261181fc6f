//! `RINGFENCE_LOG` and `--verbose`: which diagnostics are written.

use std::fmt;

use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::term::{COULD_NOT_RUN, Failure};

/// The variable that chooses them.
pub(crate) const VARIABLE: &str = "RINGFENCE_LOG";
/// Subjects of diagnostics.
const TARGETS: [&str; 4] = ["run", "engine", "guard", "fence"];
const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// A level for each target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Filter([LevelFilter; TARGETS.len()]);

impl Filter {
    /// Reads what a person asked for: the variable, else `--verbose`, which means `debug`.
    ///
    /// # Errors
    /// When the variable says something else than levels and targets.
    pub(crate) fn asked(verbose: bool) -> Result<Option<Filter>, Failure> {
        let value = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
        let Some(value) = value else {
            return Ok(verbose.then_some(Filter([LevelFilter::DEBUG; TARGETS.len()])));
        };
        let text = value.to_string_lossy();
        Filter::parse(&text).map(Some).map_err(|why| {
            Failure::new(COULD_NOT_RUN, format!("{VARIABLE}={text} cannot be used: {why}")).hint(format!(
                "write a level ({}), or TARGET=LEVEL with a target of {}, several with commas between them",
                LEVELS.map(|(name, _)| name).join(", "),
                TARGETS.join(", ")
            ))
        })
    }

    /// Reads `LEVEL` and `TARGET=LEVEL`, with commas between them. The last word on a target
    /// counts.
    pub(super) fn parse(text: &str) -> Result<Filter, String> {
        let mut levels = [LevelFilter::OFF; TARGETS.len()];
        let level = |word: &str| {
            let known = LEVELS.iter().find(|(name, _)| *name == word);
            known.map(|(_, level)| *level).ok_or_else(|| format!("`{word}` is no level"))
        };
        for part in text.split(',') {
            match part.split_once('=') {
                None => levels = [level(part)?; TARGETS.len()],
                Some((target, word)) => {
                    let at = TARGETS.iter().position(|known| *known == target);
                    levels[at.ok_or_else(|| format!("`{target}` is no target"))?] = level(word)?;
                }
            }
        }
        Ok(Filter(levels))
    }

    pub(super) fn targets(self) -> Targets {
        Targets::new().with_targets(TARGETS.into_iter().zip(self.0))
    }

    /// The one that passes steps and nothing else.
    pub(super) fn of_steps() -> Targets {
        Targets::new().with_target("run", LevelFilter::INFO)
    }
}

/// As it is read again, for the helpers of a run.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (target, level)) in TARGETS.iter().zip(self.0).enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{target}={level}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_are_read_and_nothing_else() {
        let (off, debug, warn) = (LevelFilter::OFF, LevelFilter::DEBUG, LevelFilter::WARN);
        for (text, expected) in [
            ("debug", [debug, debug, debug, debug]),
            ("off", [off, off, off, off]),
            ("engine=debug", [off, debug, off, off]),
            ("warn,guard=debug,fence=off", [warn, warn, debug, off]),
            ("guard=debug,warn", [warn, warn, warn, warn]),
        ] {
            let filter = Filter::parse(text).unwrap();
            assert_eq!(filter, Filter(expected), "{text}");
            assert_eq!(Filter::parse(&filter.to_string()), Ok(filter), "{filter}");
        }
        for wrong in [
            "",
            "verbose",
            "DEBUG",
            "debug,",
            "engine",
            "engine=",
            "=debug",
            "hyper=trace",
            "engine=debug=x",
            " debug",
        ] {
            assert!(Filter::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
