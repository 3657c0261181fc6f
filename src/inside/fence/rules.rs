//! The rules that refuse at once what the routes keep inside: the second lock, and the third.
//!
//! ```text
//!  FencePlan ─netpolicy─▶ rules as JSON ─(without logging where the kernel has none)─▶ `nft -j -f -` ─▶ kernel
//! ```
//!
//! Each call is one transaction that replaces the fence's own tables. The inet and arp tables are
//! never optional; the netdev table is loaded apart, since kernels before 5.16 refuse it and would
//! refuse the others with it. What `nft -j` prints is never read: it changes between versions. Its
//! exit status and the proof are the judges.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use netpolicy::ruleset::{self, FencePlan};
use serde::Serialize;
use serde_json::Value;

use super::{failed, failure};
use crate::term::Failure;

/// Path of `nft` in the helper image; elsewhere it is found by the search path.
const NFT: &str = "/usr/sbin/nft";

/// Choice whether refused packets are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logging {
    /// The log group is open, so the rules must log.
    Required,
    /// The kernel cannot.
    Absent,
    /// Try with, then without.
    IfPossible,
}

/// Replaces the inet and arp tables.
pub(crate) fn replace(plan: &FencePlan, logging: Logging) -> Result<(), Failure> {
    let rules = data(&ruleset::ruleset(plan))?;
    match logging {
        Logging::Required => load(&rules),
        Logging::Absent => load(&without_logging(rules)),
        Logging::IfPossible => load(&rules).or_else(|_| load(&without_logging(rules))),
    }
    .map_err(|why| Failure { message: "fence: cannot load the rules".to_owned(), ..why })
}

/// Replaces the netdev table.
pub(super) fn replace_netdev(plan: &FencePlan) -> Result<(), Failure> {
    load(&data(&ruleset::netdev_ruleset(plan))?)
}

fn data(rules: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(rules).map_err(failed("the rules cannot be written as JSON"))
}

/// Returns the rules without their `log` statements.
fn without_logging(mut rules: Value) -> Value {
    match &mut rules {
        Value::Array(items) => {
            items.retain(|item| !is_log(item));
            for item in items {
                *item = without_logging(item.take());
            }
        }
        Value::Object(entries) => {
            for (_, entry) in entries.iter_mut() {
                *entry = without_logging(entry.take());
            }
        }
        _ => {}
    }
    rules
}

fn is_log(statement: &Value) -> bool {
    statement.as_object().is_some_and(|entries| entries.len() == 1 && entries.contains_key("log"))
}

/// Feeds rules to nft. (The nftables crate's own runner loses what nft says on stderr.)
pub(crate) fn load(rules: &Value) -> Result<(), Failure> {
    let program = if Path::new(NFT).exists() { NFT } else { "nft" };
    let mut nft = Command::new(program)
        .args(["-j", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed(format!("cannot run {program}")))?;
    let fed = match nft.stdin.take() {
        Some(mut input) => input.write_all(rules.to_string().as_bytes()),
        None => Ok(()),
    };
    let ended = nft.wait_with_output().map_err(failed(format!("cannot wait for {program}")))?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        let mut refused = failure(format!("{program} refused the rules"));
        refused.causes.push(format!("{program} ended with {}: {said}", ended.status));
        return Err(refused);
    }
    fed.map_err(failed(format!("{program} did not read the rules")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn logging_goes_and_everything_else_stays() {
        let rule = |statements: Value| json!({"nftables": [{"add": {"rule": {"chain": "refuse", "expr": statements}}}]});
        let limit = json!({"limit": {"rate": 200}});
        let before = rule(json!([limit, {"log": {"group": 5}}, {"reject": null}]));
        assert_eq!(without_logging(before), rule(json!([limit, {"reject": null}])));
    }
}
