//! The options of `docker run`, for people who come from there: each has an answer.
//!
//! ```text
//!  table ─▶ Same: an option of ringfence's │ NoEffect: read, told, nothing changes │ Other: refused, with what to write
//!    └────▶ docs/from-docker.md
//! ```

mod table;

use clap::Args;

use crate::term::Warning;

pub(crate) use self::table::FLAGS;

/// One option of `docker run`.
#[derive(Debug)]
pub(crate) struct Flag {
    /// Name, without dashes.
    pub(crate) long: &'static str,
    /// Letter.
    pub(crate) short: Option<char>,
    /// Says whether a value follows.
    pub(crate) takes: Takes,
    /// The answer of `ringfence run`.
    pub(crate) answer: Support,
}

/// The value that follows an option, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// No value follows; `=true` and `=false` are docker's.
    Nothing,
    /// Behind `=` or as the next word.
    Value,
}

/// The answer of `ringfence run` to an option of docker's.
#[derive(Debug)]
pub(crate) enum Support {
    /// An option of ringfence's own does the same; what differs.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test makes docs/from-docker.md of it"))]
    Same(&'static str),
    /// The option is read and told, and changes nothing; the reason.
    NoEffect(&'static str),
    /// The option is refused; the reason, and what to write.
    Other(&'static str),
}

impl Flag {
    /// Returns the option as it is typed: `--publish, -p`.
    pub(crate) fn shown(&self) -> String {
        match self.short {
            Some(short) => format!("--{}, -{short}", self.long),
            None => format!("--{}", self.long),
        }
    }
}

/// Returns the flag that a word of the command line begins: `--publish`, `--publish=80`, `-p`,
/// `-p80`.
pub(super) fn flag_of(word: &str) -> Option<&'static Flag> {
    if let Some(long) = word.strip_prefix("--") {
        let name = long.split('=').next()?;
        return FLAGS.iter().find(|flag| flag.long == name);
    }
    let letter = word.strip_prefix('-')?.chars().next()?;
    FLAGS.iter().find(|flag| flag.short == Some(letter))
}

/// Options of docker's that change nothing here.
#[derive(Debug, Args)]
pub(crate) struct WithoutEffect {
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = on)]
    rm: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = on)]
    init: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = on)]
    sig_proxy: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_content_trust: Option<String>,
}

impl WithoutEffect {
    /// Returns warnings of those that were given.
    pub(crate) fn warnings(&self) -> Vec<Warning> {
        let given = [
            ("rm", self.rm.is_some()),
            ("init", self.init.is_some()),
            ("sig-proxy", self.sig_proxy.is_some()),
            ("disable-content-trust", self.disable_content_trust.is_some()),
        ];
        let warning = |flag: &Flag| match flag.answer {
            Support::NoEffect(why) if given.contains(&(flag.long, true)) => {
                Some(Warning::OptionWithoutEffect { option: flag.long, why })
            }
            _ => None,
        };
        FLAGS.iter().filter_map(warning).collect()
    }
}

/// Reads the value of something that cannot be turned off.
fn on(text: &str) -> Result<bool, String> {
    if truth(text) == Some(true) {
        return Ok(true);
    }
    Err("ringfence always does this, and it cannot be turned off: leave the option out".to_owned())
}

/// Reads a truth value as docker reads it.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
