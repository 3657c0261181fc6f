//! The system calls that an agent has: moby's default profile, narrower.
//!
//! ```text
//!  moby-default.json ─▶ what needs a capability that no agent has: gone
//!                    ─▶ socket, socketpair: a short list of families, everything else EAFNOSUPPORT
//!                    ─▶ socketcall, io_uring, calls that the oldest supported engine's profile does not know: ENOSYS
//!                                                              ─▶ text for the engine's `seccomp=` option
//! ```
//! Why families by list: a filter sees 64 bits of an argument of which the kernel reads 32. "Every
//! family but 40" lets 40 + 2³² pass, which is AF_VSOCK to the kernel, and with it the services of
//! a virtual machine's host. `socketcall` hides the family behind a pointer; io_uring opens sockets
//! without any of these calls.

mod rule;

use std::sync::LazyLock;

use self::rule::{Argument, Profile, Rule};

/// The engines' own profile, see NOTICE beside it.
const MOBY: &str = include_str!("moby-default.json");
const EAFNOSUPPORT: u32 = 97;
const ENOSYS: u32 = 38;
const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const AF_NETLINK: u64 = 16;
/// Netlink for what every program may ask: links and addresses, sockets, devices coming and going.
const NETLINK: [u64; 3] = [0, 4, 15];

/// Calls that moby's profile permits now and did not in its version 20.10, the oldest one that is
/// supported. An agent has none of them on any engine, so that it has nowhere more than a plain
/// container of that engine. Their absence is ENOSYS, as on an older kernel: what programs fall
/// back from (the C library from fchmodat2, debuggers from process_vm_readv). Two of moby's newer
/// calls stay: Landlock's take rights away and give none, and `uretprobe` is the kernel's own,
/// which kills a process that is traced from outside where it is refused.
const NEWER: [&str; 23] = [
    "cachestat",
    "fchmodat2",
    "futex_requeue",
    "futex_wait",
    "futex_waitv",
    "futex_wake",
    "getxattrat",
    "listmount",
    "listxattrat",
    "map_shadow_stack",
    "memfd_secret",
    "mseal",
    "name_to_handle_at",
    "pkey_alloc",
    "pkey_free",
    "pkey_mprotect",
    "process_mrelease",
    "process_vm_readv",
    "process_vm_writev",
    "removexattrat",
    "riscv_hwprobe",
    "setxattrat",
    "statmount",
];

/// The profile, as engines read it.
pub(crate) static PROFILE: LazyLock<String> = LazyLock::new(|| profile().to_json());

fn profile() -> Profile {
    // It is part of the executable, and a test reads it.
    let mut profile: Profile = serde_json::from_str(MOBY).unwrap_or_default();
    // First of all: for 32-bit programs libseccomp makes rules about `socketcall` out of those
    // about `socket`, and they would contradict each other there. A rule without conditions that
    // stands already swallows them.
    let closed = ["socketcall", "io_uring_setup", "io_uring_enter", "io_uring_register"];
    let mut kept = vec![Rule::refuse(&closed, ENOSYS, Vec::new())];
    kept.push(Rule::refuse(&NEWER, ENOSYS, Vec::new()));
    kept.extend(std::mem::take(&mut profile.syscalls).into_iter().filter_map(narrowed));
    kept.extend(families("socket", &[AF_UNIX, AF_INET, AF_INET6, AF_NETLINK]));
    kept.extend(netlink());
    kept.extend(families("socketpair", &[AF_UNIX]));
    profile.syscalls = kept;
    profile
}

/// Takes what is decided here out of a rule of moby's. Returns nothing where nothing is left.
fn narrowed(mut rule: Rule) -> Option<Rule> {
    // What a capability opens: no agent has it.
    if !rule.includes.caps.is_empty() {
        return None;
    }
    // "Not with CAP_SYS_ADMIN" is always so.
    rule.excludes.caps.clear();
    rule.names.retain(|name| {
        !matches!(name.as_str(), "socket" | "socketpair" | "socketcall") && !NEWER.contains(&name.as_str())
    });
    (!rule.names.is_empty()).then_some(rule)
}

/// Lists rules by which `call` works for these families, and for no other. Their conditions never
/// meet, since a filter does not rank them.
fn families(call: &str, permitted: &[u64]) -> Vec<Rule> {
    let last = permitted.iter().copied().max().unwrap_or(0);
    let mut rules = Vec::new();
    for family in 0..=last {
        if !permitted.contains(&family) {
            rules.push(Rule::refuse(&[call], EAFNOSUPPORT, vec![Argument::is(0, family)]));
        } else if (call, family) != ("socket", AF_NETLINK) {
            rules.push(Rule::permit(call, vec![Argument::is(0, family)]));
        }
    }
    rules.push(Rule::refuse(&[call], EAFNOSUPPORT, vec![Argument::above(0, last)]));
    rules
}

/// Lists rules for netlink sockets of the few protocols.
fn netlink() -> Vec<Rule> {
    let last = NETLINK[NETLINK.len() - 1];
    let netlink = || Argument::is(0, AF_NETLINK);
    let mut rules: Vec<Rule> = (0..=last)
        .map(|protocol| {
            let both = vec![netlink(), Argument::is(2, protocol)];
            if NETLINK.contains(&protocol) {
                Rule::permit("socket", both)
            } else {
                Rule::refuse(&["socket"], EAFNOSUPPORT, both)
            }
        })
        .collect();
    rules.push(Rule::refuse(&["socket"], EAFNOSUPPORT, vec![netlink(), Argument::above(2, last)]));
    rules
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Reads the profile as an engine does.
    fn profile() -> Value {
        serde_json::from_str(&PROFILE).unwrap()
    }

    #[test]
    fn every_word_of_mobys_profile_is_understood() {
        let read: Profile = serde_json::from_str(MOBY).unwrap();
        assert_eq!(read.syscalls.len(), 33);
        assert_eq!(
            serde_json::from_str::<Value>(&read.to_json()).unwrap(),
            serde_json::from_str::<Value>(MOBY).unwrap()
        );
    }

    /// Every permission as (call, its conditions), one a call.
    fn permitted(profile: &Value) -> Vec<(String, Value)> {
        let rules = profile["syscalls"].as_array().unwrap();
        rules
            .iter()
            .filter(|rule| rule["action"] == "SCMP_ACT_ALLOW")
            .flat_map(|rule| {
                let when = json!({
                    "args": rule.get("args").cloned().unwrap_or(json!([])),
                    "arches": rule["includes"]["arches"],
                    "not": rule["excludes"]["arches"],
                    "kernel": rule["includes"]["minKernel"],
                });
                let names = rule["names"].as_array().unwrap().iter();
                names.map(|name| (name.as_str().unwrap().to_owned(), when.clone())).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn nothing_that_the_engine_refuses_is_permitted() {
        let mut moby: Value = serde_json::from_str(MOBY).unwrap();
        // Of an agent's capabilities none opens a call, so only rules without one count.
        moby["syscalls"].as_array_mut().unwrap().retain(|rule| rule["includes"]["caps"].is_null());
        let moby = permitted(&moby);
        let unconditional = json!({"args": [], "arches": null, "not": null, "kernel": null});
        let ours = permitted(&profile());
        assert!(ours.len() > 300);
        for (call, when) in &ours {
            // Every family that is permitted lies below 38, up to which moby permits all.
            let by_family = || {
                call == "socket"
                    && when["args"][0]["op"] == "SCMP_CMP_EQ"
                    && when["args"][0]["value"].as_u64() < Some(38)
            };
            let known = moby
                .iter()
                .any(|(other, theirs)| other == call && (theirs == when || *theirs == unconditional));
            assert!(known || by_family(), "{call} {when}");
        }
        for field in ["defaultAction", "archMap"] {
            assert_eq!(profile()[field], serde_json::from_str::<Value>(MOBY).unwrap()[field], "{field}");
        }
        assert_eq!(profile()["defaultAction"], "SCMP_ACT_ERRNO");
    }

    #[test]
    fn the_rule_that_swallows_others_comes_first() {
        assert_eq!(profile()["syscalls"][0]["names"][0], "socketcall");
    }

    #[test]
    fn what_is_closed_is_permitted_nowhere() {
        let ours = permitted(&profile());
        for call in [
            "socketcall",
            "io_uring_setup",
            "io_uring_enter",
            "io_uring_register",
            "mount",
            "umount2",
            "unshare",
            "setns",
            "bpf",
            "keyctl",
            "add_key",
            "request_key",
            "perf_event_open",
            "userfaultfd",
            "open_by_handle_at",
            "init_module",
            "kexec_load",
            "chroot",
            "pivot_root",
            "reboot",
            "syslog",
            "clone3",
            "process_vm_readv",
            "pkey_mprotect",
            "fchmodat2",
            "mseal",
        ] {
            assert!(ours.iter().all(|(permitted, _)| permitted != call), "{call}");
        }
    }

    #[test]
    fn newer_calls_do_not_exist_and_landlock_does() {
        let rules = profile()["syscalls"].as_array().unwrap().clone();
        for call in NEWER {
            let about = |rule: &&Value| rule["names"].as_array().unwrap().iter().any(|name| name == call);
            let found: Vec<&Value> = rules.iter().filter(about).collect();
            assert_eq!(found.len(), 1, "{call}: a filter does not rank rules");
            assert_eq!((&found[0]["action"], &found[0]["errnoRet"]), (&"SCMP_ACT_ERRNO".into(), &38.into()));
        }
        let ours = permitted(&profile());
        for call in ["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "uretprobe"] {
            assert!(ours.iter().any(|(permitted, _)| permitted == call), "{call}");
        }
    }

    /// Returns what a filter makes of `socket(family, _, protocol)`.
    fn answer(family: u64, protocol: u64) -> Vec<String> {
        let profile = profile();
        let holds = |arg: &Value| {
            let given = if arg["index"] == 0 { family } else { protocol };
            let value = arg["value"].as_u64().unwrap();
            match arg["op"].as_str().unwrap() {
                "SCMP_CMP_EQ" => given == value,
                "SCMP_CMP_GT" => given > value,
                other => panic!("{other}"),
            }
        };
        let rules = profile["syscalls"].as_array().unwrap().iter();
        rules
            .filter(|rule| rule["names"][0] == "socket" && rule["args"].as_array().unwrap().iter().all(holds))
            .map(|rule| format!("{}{}", rule["action"].as_str().unwrap(), rule["errnoRet"]))
            .collect()
    }

    #[test]
    fn every_family_meets_one_rule_exactly() {
        let (allow, refused) = (vec!["SCMP_ACT_ALLOWnull".to_owned()], vec!["SCMP_ACT_ERRNO97".to_owned()]);
        for family in (0..64).chain([40 + (1 << 32), 38 + (1 << 32), u64::from(u32::MAX), u64::MAX]) {
            let open = matches!(family, 1 | 2 | 10 | 16);
            assert_eq!(answer(family, 0), if open { &allow } else { &refused }.clone(), "family {family}");
        }
        for protocol in (0..40).chain([1 << 32, u64::MAX]) {
            let open = matches!(protocol, 0 | 4 | 15);
            assert_eq!(
                answer(16, protocol),
                if open { &allow } else { &refused }.clone(),
                "netlink {protocol}"
            );
        }
    }
}
