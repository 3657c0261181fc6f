//! The agent's notice: one file that says what the agent may reach, which paths are covered, which
//! limits it has, and what to do when something is refused.
//!
//! ```text
//!  policy, surroundings ──netpolicy::permitted──▶ names ──┐
//!  covers, limits, end ───────────────────────────────────┴─▶ text ──▶ volume ──read-only──▶ agent: $RINGFENCE_POLICY
//! ```
//! The supervisor writes it at the start, and the guard anew after each change of the network, by
//! this one function. JSON, so that a script can read it, with sentences, so that a language model
//! can. Nothing is in it that the agent could not find out by itself: no denial, no file and no
//! reason of a policy, no path of the person's machine, no content.

use std::time::{Duration, UNIX_EPOCH};

use netpolicy::floor::Surroundings;
use netpolicy::permitted::permitted;
use netpolicy::policy::{Date, Policy};
use netpolicy::service::ServiceName;
use serde::{Deserialize, Serialize};

use crate::wire::WorkflowId;

/// Facts of a run that no change of its network changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NoticeFacts {
    /// Covered paths in the agent's container.
    pub(crate) covered: Vec<String>,
    /// Bytes of memory.
    pub(crate) memory: u64,
    /// Bytes that the agent may write.
    pub(crate) disk: u64,
    /// Processes and threads.
    pub(crate) pids: u64,
    /// Unix time in milliseconds at which the run ends.
    pub(crate) ends_unix_ms: Option<u64>,
    /// Services beside the agent.
    #[serde(default)]
    pub(crate) services: Vec<NoticeService>,
}

/// A service as the agent reads of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NoticeService {
    /// Name by which the agent reaches it.
    pub(crate) name: ServiceName,
    /// TCP ports that it is known to have.
    pub(crate) ports: Vec<u16>,
}

/// Limits as the agent reads them.
#[derive(Serialize)]
struct ShownLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    ends: Option<String>,
    memory_bytes: u64,
    disk_bytes: u64,
    processes: u64,
}

const NO_NETWORK: &str = "This container has no network: every name and every connection is refused.";
const NOTHING: &str = "Nothing is permitted now: every name and every connection is refused.";
const ONLY_THESE: &str = "Only what `permitted` lists can be reached. Other names do not resolve, and other \
    connections fail. `*.NAME` stands for the names below NAME; single names below it, and single addresses of a \
    range, may be refused all the same. The protocol is what must be spoken there: `tls` for that name, `http` for \
    that host, `auto` for a known protocol, `tcp` for any bytes.";
const OBSERVED: &str = "This run is observed: every public name can be reached, and what is reached is recorded for \
    the person, who makes a policy of it. Private and local addresses, and names that a policy denies, are refused. \
    Reach what the task needs, and nothing else.";
const ONLY_SOME: &str = "Only the hosts that a policy permits can be reached. Their names are not listed here. Other \
    names do not resolve, and other connections fail.";
const NONE_COVERED: &str = "No path is covered.";
const COVERED: &str =
    "The paths that `covered` lists are covered, since they hold secrets or are hidden by a policy.";
const SOME_COVERED: &str = "Some paths are covered, since they hold secrets or are hidden by a policy. Their names \
    are not listed here.";
const OF_COVERS: &str = "What you read there is empty, a stand-in or what git has. Changes there are not kept. \"Device or \
    resource busy\", \"Read-only file system\" or \"Permission denied\" on a path means that it is covered: do not \
    remove, move or replace it, and go on without it. If you need what is in it, ask the person.";
const SERVICES: &str = "Services run beside this container, for this run alone. Reach each at its name, or at \
    localhost. Their ports are taken: listen on others. Ask the person for what they do not have.";
const LIMITS: &str = "A process that needs more memory is killed. A run that writes more to the disk, or goes on \
    after `ends`, is ended whole. Ask the person for a higher limit: it needs a new run.";

/// Writes the notice of a workflow under the policy that is enforced.
pub(crate) fn text(
    workflow: WorkflowId,
    policy: &Policy,
    surroundings: &Surroundings,
    facts: &NoticeFacts,
    today: Date,
) -> String {
    let is_full = policy.notice.is_full();
    let permitted = permitted(policy, surroundings, today);
    let network = match (policy.network_denied, permitted.is_empty(), is_full) {
        (false, ..) if policy.is_observed() => OBSERVED,
        (true, ..) => NO_NETWORK,
        (false, true, _) => NOTHING,
        (false, false, true) => ONLY_THESE,
        (false, false, false) => ONLY_SOME,
    };
    let mut page = Page::default();
    page.field("ringfence", &1);
    page.field("network", &network);
    if is_full {
        page.list("permitted", &permitted);
    }
    if !facts.services.is_empty() {
        page.field("when_served", &SERVICES);
        page.list("services", &facts.services);
    }
    page.field("when_refused", &when_refused(workflow, policy.network_denied));
    page.field("covers", &covers(facts, is_full));
    if is_full {
        page.list("covered", &facts.covered);
    }
    let ends = facts.ends_unix_ms.map(|end| UNIX_EPOCH + Duration::from_millis(end));
    let limits = ShownLimits {
        ends: ends.map(|end| humantime::format_rfc3339_seconds(end).to_string()),
        memory_bytes: facts.memory,
        disk_bytes: facts.disk,
        processes: facts.pids,
    };
    page.field("limits", &limits);
    page.field("when_limited", &LIMITS);
    page.end()
}

/// Returns the sentences about refusals: stop, and ask.
fn when_refused(workflow: WorkflowId, network_denied: bool) -> String {
    let stop = "A refusal is decided by the person's policy, and no fault that you can mend. Do not try again, and do \
                not look for another way.";
    match network_denied {
        true => format!(
            "{stop} Do what can be done without a network, and tell the person the exact host and port that you need."
        ),
        false => format!(
            "{stop} Stop what needs it, and ask the person for the exact host and port that was refused. The person \
             permits it with: ringfence allow {workflow} HOST:PORT"
        ),
    }
}

/// Returns the sentences about covered paths.
fn covers(facts: &NoticeFacts, is_full: bool) -> String {
    match (facts.covered.is_empty(), is_full) {
        (true, _) => NONE_COVERED.to_owned(),
        (false, true) => format!("{COVERED} {OF_COVERS}"),
        (false, false) => format!("{SOME_COVERED} {OF_COVERS}"),
    }
}

/// A JSON object whose fields keep their order, each entry of a list on a line of its own.
#[derive(Default)]
struct Page(Vec<String>);

impl Page {
    fn field(&mut self, key: &str, value: &impl Serialize) {
        self.0.push(format!("  \"{key}\": {}", json(value)));
    }

    fn list(&mut self, key: &str, entries: &[impl Serialize]) {
        let lines: Vec<String> = entries.iter().map(|entry| format!("    {}", json(entry))).collect();
        match lines.is_empty() {
            true => self.field(key, &[(); 0]),
            false => self.0.push(format!("  \"{key}\": [\n{}\n  ]", lines.join(",\n"))),
        }
    }

    fn end(self) -> String {
        format!("{{\n{}\n}}\n", self.0.join(",\n"))
    }
}

/// Writes a value on one line. Texts, numbers and plain structures can always be written.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use netpolicy::load::rule_from_flag;
    use netpolicy::settings::NoticeDetail;

    use super::*;

    fn policy(allow: &[&str]) -> Policy {
        let rule = |text: &&str| Arc::new(rule_from_flag("--allow", text).unwrap());
        Policy { allow: allow.iter().map(rule).collect(), ..Policy::default() }
    }

    fn notice(policy: &Policy, covered: &[&str]) -> String {
        let facts = NoticeFacts {
            covered: covered.iter().map(|path| (*path).to_owned()).collect(),
            memory: 4 << 30,
            disk: 10 << 30,
            pids: 1024,
            ends_unix_ms: Some(1_800_000_000_000),
            services: Vec::new(),
        };
        let (id, today) = ("0000002a".parse().unwrap(), "2026-11-30".parse().unwrap());
        let text = text(id, policy, &Surroundings::default(), &facts, today);
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
        text
    }

    #[test]
    fn nothing_is_permitted() {
        insta::assert_snapshot!(notice(&policy(&[]), &[]));
    }

    #[test]
    fn some_names_are_permitted() {
        insta::assert_snapshot!(notice(&policy(&["a.test", "b.test:8443", ".c.test", "*.d.test:80"]), &[]));
    }

    #[test]
    fn the_network_is_denied() {
        insta::assert_snapshot!(notice(&Policy { network_denied: true, ..policy(&["a.test"]) }, &[]));
    }

    #[test]
    fn the_run_is_observed() {
        let observed = Policy { network_observed: true, ..policy(&["a.test"]) };
        insta::assert_snapshot!(notice(&observed, &[]));
    }

    #[test]
    fn paths_are_covered() {
        let covered = ["/workspace/.env", "/workspace/a \"quote\"\n\u{1b}[2J"];
        insta::assert_snapshot!(notice(&policy(&["a.test"]), &covered));
    }

    #[test]
    fn a_brief_notice_has_no_names() {
        let brief = Policy { notice: NoticeDetail::Brief, ..policy(&["a.test"]) };
        let text = notice(&brief, &["/workspace/.env"]);
        assert!(!text.contains("a.test") && !text.contains(".env"), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn services_stand_in_it_by_name_and_port() {
        let services = vec![
            NoticeService { name: "db".parse().unwrap(), ports: vec![5432] },
            NoticeService { name: "worker".parse().unwrap(), ports: vec![] },
        ];
        let facts =
            NoticeFacts { covered: vec![], memory: 1, disk: 1, pids: 1, ends_unix_ms: None, services };
        let (id, today) = ("0000002a".parse().unwrap(), "2026-11-30".parse().unwrap());
        let text = text(id, &policy(&[]), &Surroundings::default(), &facts, today);
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read["services"][0], serde_json::json!({"name": "db", "ports": [5432]}));
        assert_eq!(read["services"][1]["name"], "worker");
    }

    #[test]
    fn nothing_of_the_policys_own_words_is_in_it() {
        let mut rule = rule_from_flag("--allow", "a.test").unwrap();
        (rule.reason, rule.origin.file) = (Some("hidden-reason".to_owned()), "/hidden/file.yml".to_owned());
        let denial = rule_from_flag("--deny", "hidden.test").unwrap();
        let policy = Policy { allow: vec![rule.into()], deny: vec![denial.into()], ..Policy::default() };
        let text = notice(&policy, &[]);
        assert!(text.contains("a.test") && !text.contains("hidden"), "{text}");
    }
}
