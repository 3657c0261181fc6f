//! Answers of one upstream that are still good, by name.
//!
//! The library keeps answers by type, and no negative one without an SOA record. Of a name with
//! IPv4 alone it would ask for IPv6 again with each connection.

use std::collections::HashMap;
use std::net::IpAddr;

use hickory_resolver::proto::rr::Name;
use tokio::time::{Duration, Instant};

use super::Resolution;

/// Longest time that an answer with addresses is kept.
const ADDRESSES_FOR: Duration = Duration::from_secs(60);
/// Longest time that an answer without an address is kept, where the server says for how long
/// (RFC 2308, section 5), and that one with addresses of one type is: the question about the other
/// type may have failed.
const NOTHING_FOR: Duration = Duration::from_secs(5);
/// Time that an answer without an address is kept, where the server does not say. RFC 2308 would
/// not keep it; without any memory an agent that tries again at once would have every try asked.
const NOTHING_SAID_FOR: Duration = Duration::from_secs(1);
/// Answers that are kept at once.
const KEPT: usize = 64;

/// End of an answer's validity, as its server means it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validity {
    /// The answer is good until then.
    Until(Instant),
    /// The answer is good for so many seconds.
    Seconds(u32),
    /// The server does not say.
    Unsaid,
}

/// The answers.
#[derive(Default)]
pub(super) struct Memo(HashMap<Name, (Resolution, Instant)>);

impl Memo {
    /// Returns the answer about a name, while it is good.
    pub(super) fn get(&self, name: &Name, now: Instant) -> Option<Resolution> {
        self.0.get(name).filter(|(_, until)| now < *until).map(|(resolution, _)| resolution.clone())
    }

    /// Keeps an answer for as long as it is good, within the bounds.
    pub(super) fn keep(&mut self, name: &Name, resolution: &Resolution, validity: Validity, now: Instant) {
        let longest = match (resolution, validity) {
            (Resolution::Addresses(all), _) if has_both_types(all) => ADDRESSES_FOR,
            (Resolution::Addresses(_), _) => NOTHING_FOR,
            (_, Validity::Unsaid) => NOTHING_SAID_FOR,
            _ => NOTHING_FOR,
        };
        let until = match validity {
            Validity::Until(until) => until.min(now + longest),
            Validity::Seconds(seconds) => now + Duration::from_secs(seconds.into()).min(longest),
            Validity::Unsaid => now + NOTHING_SAID_FOR,
        };
        if until <= now {
            self.0.remove(name);
            return;
        }
        if self.0.len() >= KEPT && !self.0.contains_key(name) {
            self.0.retain(|_, (_, until)| now < *until);
        }
        if self.0.len() >= KEPT && !self.0.contains_key(name) {
            // All are good: whichever ends first makes room.
            let first = self.0.iter().min_by_key(|(_, (_, until))| *until).map(|(name, _)| name.clone());
            first.and_then(|name| self.0.remove(&name));
        }
        self.0.insert(name.clone(), (resolution.clone(), until));
    }
}

fn has_both_types(addresses: &[IpAddr]) -> bool {
    addresses.iter().any(IpAddr::is_ipv4) && addresses.iter().any(IpAddr::is_ipv6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    #[test]
    fn an_answer_is_kept_as_long_as_it_is_good_and_no_longer() {
        let now = Instant::now();
        let addresses = |all: &[&str]| {
            Resolution::Addresses(all.iter().map(|address| address.parse().unwrap()).collect())
        };
        let (one, both) = (addresses(&["192.0.2.1"]), addresses(&["192.0.2.1", "2001:db8::1"]));
        for (resolution, validity, seconds) in [
            (&both, Validity::Until(now + Duration::from_secs(9)), 9),
            (&both, Validity::Until(now + Duration::from_secs(900)), 60),
            (&both, Validity::Until(now), 0),
            (&one, Validity::Until(now + Duration::from_secs(3)), 3),
            (&one, Validity::Until(now + Duration::from_secs(900)), 5),
            (&Resolution::NoAddress, Validity::Seconds(3), 3),
            (&Resolution::NoName, Validity::Seconds(86_400), 5),
            (&Resolution::NoName, Validity::Seconds(0), 0),
            (&Resolution::NoAddress, Validity::Unsaid, 1),
        ] {
            let mut memo = Memo::default();
            memo.keep(&name("a.test."), resolution, validity, now);
            let end = now + Duration::from_secs(seconds);
            assert_eq!(memo.get(&name("a.test."), end), None, "{resolution:?} {validity:?}");
            let before = end - Duration::from_millis(1);
            let expected = (seconds > 0).then(|| resolution.clone());
            assert_eq!(memo.get(&name("a.test."), before.max(now)), expected, "{resolution:?} {validity:?}");
        }
    }

    #[test]
    fn no_more_than_so_many_are_kept_and_the_one_that_ends_first_goes() {
        let now = Instant::now();
        let mut memo = Memo::default();
        let both = ["192.0.2.1", "2001:db8::1"].map(|address| address.parse().unwrap());
        let both = Resolution::Addresses(both.to_vec());
        for at in 0..=KEPT {
            let until = Validity::Until(now + Duration::from_secs(10 + at as u64));
            memo.keep(&name(&format!("n{at}.test.")), &both, until, now);
        }
        assert_eq!(memo.0.len(), KEPT);
        assert_eq!(memo.get(&name("n0.test."), now), None);
        assert!(memo.get(&name(&format!("n{KEPT}.test.")), now).is_some());
        // An answer that is not good any more is forgotten, not kept on.
        memo.keep(&name("n9.test."), &Resolution::NoName, Validity::Seconds(0), now);
        assert_eq!(memo.get(&name("n9.test."), now), None);
    }
}
