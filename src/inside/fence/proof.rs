//! Trying to get out, before anybody else can.
//!
//! ```text
//!  links, routes, IPv6 switches ─read back─┐
//!  escapes: must all be refused ───────────┼─▶ doubts ─▶ none: proven · any: the fence is not handed over
//!  controls: must all arrive ──────────────┤
//!  frames sent by every device ─unchanged?─┘
//! ```
//!
//! Engines ignore options they do not know, kernels lack modules, nft can fail in silence: what
//! counts is what happens to a packet. The controls stand beside the escapes so that a namespace in
//! which nothing works does not pass for a fence. The devices' own counters are the last word: they
//! see what a hook missed, answer or no answer.

mod attempts;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use netpolicy::ruleset::Permit;

use self::attempts::{Attempt, attempts};
use super::links::{self, Surroundings};
use super::sockets::FenceSockets;
use super::{failed, failure, routes};
use crate::term::Failure;

/// Folder of the kernel's IPv6 switches.
const IPV6: &str = "/proc/sys/net/ipv6/conf";

/// Proves the fence, or says what is in doubt.
pub(crate) fn prove(
    surroundings: &Surroundings,
    held: &FenceSockets,
    permits: &[Permit],
) -> Result<(), Failure> {
    let mut doubts = Vec::new();
    for _ in 0..2 {
        let before = links::frames_sent()?;
        doubts = doubts_without_counters(surroundings, held, permits)?;
        let sent = more(&before, &links::frames_sent()?);
        if sent.is_empty() {
            break;
        }
        // Once, a kernel that announces a new address may be the cause (`arp_notify`).
        let was_certain = doubts.is_empty();
        doubts.extend(sent.into_iter().map(|device| format!("frames left by {device}")));
        if !was_certain {
            break;
        }
    }
    if doubts.is_empty() {
        return Ok(());
    }
    let mut failure = failure("the fence is in doubt, so no agent may start in it");
    failure.causes = doubts;
    Err(failure)
}

/// Returns the devices that sent something, came or went.
fn more(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<String> {
    let devices = before.keys().chain(after.keys().filter(|device| !before.contains_key(*device)));
    devices.filter(|device| before.get(*device) != after.get(*device)).cloned().collect()
}

fn doubts_without_counters(
    surroundings: &Surroundings,
    held: &FenceSockets,
    permits: &[Permit],
) -> Result<Vec<String>, Failure> {
    let mut doubts = routes::doubts(surroundings.own)?;
    doubts.extend(ipv6_switched_on(Path::new(IPV6))?);
    let attempts = attempts(surroundings, held, permits).map_err(failed("cannot try the fence"))?;
    doubts.extend(attempts.iter().filter_map(Attempt::doubt));
    if links::discover()? != *surroundings {
        doubts.push("devices or addresses changed meanwhile".to_owned());
    }
    Ok(doubts)
}

/// Returns the devices on which IPv6 is on. A kernel without IPv6 has no such folder.
fn ipv6_switched_on(switches: &Path) -> Result<Vec<String>, Failure> {
    let entries = match std::fs::read_dir(switches) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(format!("cannot list {}", switches.display()))(error)),
    };
    let mut on = Vec::new();
    for entry in entries {
        let folder = entry.map_err(failed(format!("cannot list {}", switches.display())))?.path();
        let switch = folder.join("disable_ipv6");
        let state =
            std::fs::read_to_string(&switch).map_err(failed(format!("cannot read {}", switch.display())))?;
        if state.trim() != "1" {
            on.push(format!("IPv6 is not off: {} is {}", switch.display(), state.trim()));
        }
    }
    Ok(on)
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::attempts::{ELSEWHERE, Expect, Outcome, permitted, refused_port};
    use super::*;

    fn judged(expect: Expect, outcome: Outcome) -> bool {
        Attempt { name: "it".to_owned(), expect, outcome }.doubt().is_none()
    }

    #[test]
    fn nothing_that_passes_is_beyond_doubt_but_the_controls() {
        for expect in [Expect::Reset, Expect::ForbiddenByRule, Expect::Denied, Expect::NoConnection] {
            assert!(!judged(expect, Outcome::Passed));
        }
        assert!(judged(Expect::Reached, Outcome::Passed));
        assert!(!judged(Expect::Reached, Outcome::Refused(Errno::ECONNREFUSED)));
    }

    #[test]
    fn silence_is_good_only_where_a_reset_cannot_come_back() {
        assert!(judged(Expect::NoConnection, Outcome::Silence));
        for expect in [Expect::Reset, Expect::ForbiddenByRule, Expect::Denied, Expect::Reached] {
            assert!(!judged(expect, Outcome::Silence));
        }
    }

    #[test]
    fn a_mistake_of_the_attempt_is_no_refusal() {
        assert!(!judged(Expect::Denied, Outcome::Refused(Errno::EINVAL)));
        assert!(!judged(Expect::ForbiddenByRule, Outcome::Refused(Errno::ENETUNREACH)));
        assert!(judged(Expect::Denied, Outcome::Refused(Errno::ENETUNREACH)));
    }

    #[test]
    fn devices_that_sent_came_or_went_are_named() {
        let state = |pairs: &[(&str, u64)]| {
            pairs.iter().map(|(d, n)| ((*d).to_owned(), *n)).collect::<BTreeMap<_, _>>()
        };
        let before = state(&[("eth0", 1), ("eth1", 5)]);
        assert!(more(&before, &before.clone()).is_empty());
        assert_eq!(more(&before, &state(&[("eth0", 2), ("eth2", 0)])), ["eth0", "eth1", "eth2"]);
    }

    #[test]
    fn attempts_avoid_what_is_permitted() {
        let permits = [
            Permit::on("198.51.100.0/24".parse().unwrap(), 9),
            Permit::on("25.0.0.1/32".parse().unwrap(), 53),
            Permit::on("25.0.0.2/32".parse().unwrap(), 443),
        ];
        assert_eq!(refused_port(&permits, ELSEWHERE), 10);
        assert_eq!(refused_port(&[], ELSEWHERE), 9);
        let pairs = ["198.51.100.0:9", "25.0.0.2:443"].map(|pair| pair.parse().unwrap());
        assert_eq!(permitted(&permits), pairs);
        assert!(permitted(&[]).is_empty());
    }

    #[test]
    fn every_ipv6_switch_is_read() {
        let folder = tempfile::tempdir().unwrap();
        for (device, state) in [("all", "1\n"), ("eth0", "0\n")] {
            std::fs::create_dir(folder.path().join(device)).unwrap();
            std::fs::write(folder.path().join(device).join("disable_ipv6"), state).unwrap();
        }
        let on = ipv6_switched_on(folder.path()).unwrap();
        assert!(on.len() == 1 && on[0].contains("eth0"), "{on:?}");
        assert!(ipv6_switched_on(&folder.path().join("no-ipv6")).unwrap().is_empty());
    }
}
