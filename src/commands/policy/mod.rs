//! `ringfence policy …`: reads files, asks netpolicy, prints.
//!
//! ```text
//!  --policy, --allow, --deny ──load_run_policy──▶ Policy ──▶ run, explain
//!  files ──check──▶ diagnostics
//! ```

mod check;
mod explain;

use std::io::Read;

use netpolicy::diagnostic::{Diagnostic, Severity, render};
use netpolicy::load::{self, Loaded};
use netpolicy::policy::{Layer, Policy};

pub use check::check;
pub use explain::explain;

use crate::error::{COULD_NOT_RUN, Failure};

/// The policy of one run: every `--policy` in order, then the flags. `denied` is `--network denied`.
/// The second half of the answer is what is suspicious about it.
pub fn load_run_policy(
    policies: &[String],
    allow: &[String],
    deny: &[String],
    denied: bool,
) -> Result<(Policy, Vec<Diagnostic>), Failure> {
    let (mut loaded, mut errors) = match load::load_all(policies, Layer::Run, &mut read_file) {
        Ok(loaded) => (loaded, Vec::new()),
        Err(errors) => (Loaded { policy: Policy::nothing(), warnings: Vec::new() }, errors),
    };
    for (flag, texts, rules) in
        [("--allow", allow, &mut loaded.policy.allow), ("--deny", deny, &mut loaded.policy.deny)]
    {
        for text in texts {
            match load::rule_from_flag(flag, text) {
                Ok(rule) => rules.push(rule.into()),
                Err(error) => errors.push(*error),
            }
            loaded.warnings.extend(load::flag_warnings(flag, text));
        }
    }
    if !errors.is_empty() {
        return Err(unusable(&errors));
    }
    if policies.is_empty() && allow.is_empty() && !denied {
        loaded.warnings.push(no_policy());
    }
    loaded.policy.network_denied = denied;
    Ok((loaded.policy, loaded.warnings))
}

fn no_policy() -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        code: "no-policy",
        message: "no policy is given, so nothing is permitted; --policy and --allow permit".to_owned(),
        file: "ringfence".to_owned(),
        line: 0,
        column: 0,
        length: 0,
        source_line: String::new(),
        hint: None,
    }
}

fn unusable(errors: &[Diagnostic]) -> Failure {
    let mut failure = Failure::new(COULD_NOT_RUN, "the policy cannot be used");
    failure.causes = errors.iter().map(|error| render(std::slice::from_ref(error))).collect();
    if errors.iter().any(|error| error.code == "unreadable") {
        failure = failure.hint("give the path of a policy file, or the name of a preset such as `gitlab`");
    } else if errors.iter().any(|error| error.code == "unknown-preset") {
        failure = failure.hint("a file is given by a path with its extension: ./policy.yml");
    }
    failure
}

/// Reads a policy file. Larger ones than netpolicy takes are not read to their end.
fn read_file(path: &str) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let limit = load::MAX_FILE as u64 + 1;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 == limit {
        return Err(format!("it is larger than {} MiB", load::MAX_FILE / 1024 / 1024));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}
