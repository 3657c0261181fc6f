//! Trial of the kernel's features that the fence needs, piece by piece in a scratch table: a
//! version says little, since kernels for virtual machines leave modules out.
//!
//! The pieces are those of `netpolicy::ruleset`; that the whole loads is for the rehearsal to show.
//! Here the piece that is missing gets its name.

use serde_json::{Value, json};

use crate::inside::fence;
use crate::wire::probe::Feature;

const TABLE: &str = "probe";

/// Tries them all.
pub(crate) fn probe() -> Vec<Feature> {
    let rule = |family: &str, statements: Value| {
        in_chain(family, json!({"type": "filter", "hook": "output", "prio": 0}), statements)
    };
    let nat = |statements: Value| {
        in_chain("inet", json!({"type": "nat", "hook": "output", "prio": -100}), statements)
    };
    let tried = [
        ("nftables", true, vec![table("inet")]),
        ("redirects", true, nat(json!([tcp(), {"redirect": {"port": 65443}}]))),
        (
            "sets of ranges and ports",
            true,
            vec![
                table("inet"),
                json!({"add": {"set": {
                    "family": "inet", "table": TABLE, "name": "s", "type": ["ipv4_addr", "inet_service"],
                    "flags": ["interval"], "elem": [{"concat": [{"prefix": {"addr": "198.51.100.0", "len": 24}}, 443]}],
                }}}),
            ],
        ),
        ("resets and refusals", true, rule("inet", json!([tcp(), {"reject": {"type": "tcp reset"}}]))),
        (
            "limits by time",
            true,
            rule("inet", json!([{"limit": {"rate": 200, "per": "second"}}, {"drop": null}])),
        ),
        (
            "limits by connections",
            true,
            rule("inet", json!([tcp(), {"ct count": {"val": 64, "inv": true}}, {"drop": null}])),
        ),
        ("rules for ARP", true, rule("arp", json!([{"drop": null}]))),
        ("a log of refused packets (nflog)", false, rule("inet", json!([{"log": {"group": 5}}]))),
        (
            "a lock at the devices (netdev egress)",
            false,
            in_chain(
                "netdev",
                json!({"type": "filter", "hook": "egress", "prio": 0, "dev": "lo"}),
                json!([{"accept": null}]),
            ),
        ),
    ];
    let mut features: Vec<Feature> = tried
        .into_iter()
        .map(|(name, needed, commands)| Feature { name: name.to_owned(), needed, error: attempt(commands) })
        .collect();
    features.push(Feature { name: "IPv6 turned off".to_owned(), needed: true, error: ipv6_left_on() });
    features
}

/// Loads the commands and takes them away again; the error, where they do not load.
fn attempt(commands: Vec<Value>) -> Option<String> {
    let family = commands[0]["add"]["table"]["family"].clone();
    let result = fence::load_rules(&json!({"nftables": commands}));
    let away = json!({"nftables": [{"delete": {"table": {"family": family, "name": TABLE}}}]});
    match result {
        Ok(()) => fence::load_rules(&away).err(),
        Err(why) => Some(why),
    }
}

fn table(family: &str) -> Value {
    json!({"add": {"table": {"family": family, "name": TABLE}}})
}

fn in_chain(family: &str, base: Value, statements: Value) -> Vec<Value> {
    let mut chain = json!({"family": family, "table": TABLE, "name": "c", "policy": "accept"});
    if let (Value::Object(chain), Value::Object(base)) = (&mut chain, base) {
        chain.extend(base);
    }
    let rule = json!({"family": family, "table": TABLE, "chain": "c", "expr": statements});
    vec![table(family), json!({"add": {"chain": chain}}), json!({"add": {"rule": rule}})]
}

fn tcp() -> Value {
    json!({"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}})
}

/// Tells where IPv6 is left on: the engine was asked to turn it off for this container. A kernel
/// without IPv6 has nothing to turn off.
fn ipv6_left_on() -> Option<String> {
    let switch = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
    match std::fs::read_to_string(switch) {
        Ok(text) if text.trim() == "1" => None,
        Ok(text) => Some(format!("{switch} is {}", text.trim())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("{switch}: {error}")),
    }
}
