//! Questions under the conditions `cut` and `dns=…`: they fail, as they would on a bad network.
//!
//! What the agent sees is what a resolver in trouble says, no more; the log has the reason.

use super::{DnsReply, Step};
use crate::inside::guard::Guard;
use crate::inside::guard::dns::{DnsAnswer, DnsQuestion, Subject};
use crate::inside::guard::events::{MOMENT, Sameness};
use crate::wire::conditions::DnsFault;
use crate::wire::event::{Access, Kind};
use netpolicy::decide::Reason;

/// Applies the conditions to a question. Returns `None` where they have no effect, and the question
/// is answered as ever.
pub(crate) fn step(guard: &Guard, asked: &DnsQuestion, limit: usize) -> Option<Step> {
    let name = match &asked.subject {
        Subject::Name(name) => Some(name),
        _ => None,
    };
    let effect = guard.live.effect(name);
    let answer = match (effect.cut, effect.dns) {
        (false, None) => return None,
        // Not the network's to fail.
        _ if name.is_some_and(|name| name.as_str() == "localhost") => return None,
        (true, _) | (_, Some(DnsFault::Timeout)) => None,
        (_, Some(DnsFault::NxDomain)) => Some(DnsAnswer::NoName),
        (_, Some(DnsFault::ServFail)) => Some(DnsAnswer::Failed),
    };
    let same = Sameness {
        kind: Some(Kind::Dns),
        allowed: false,
        host: name.cloned(),
        address: None,
        port: Some(u16::from(asked.kind())),
        protocol: 0,
        reason: Reason::Cut.as_str(),
    };
    guard.events.write_folded(same, MOMENT, || Access {
        host: name.cloned(),
        ..Access::denied(Kind::Dns, Reason::Cut)
    });
    Some(match answer {
        Some(answer) => Step::Now(DnsReply::once(asked.write(&answer, limit))),
        None => Step::Unanswered,
    })
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Message, ResponseCode};
    use hickory_proto::rr::RecordType;

    use super::super::step as whole;
    use super::*;
    use crate::inside::guard::dns::tests::question;
    use crate::inside::guard::tests::{guard_with, policy};
    use crate::wire::control::Change;

    /// Returns the response code for a question of this name; `None` for no answer.
    fn code(guard: &Guard, name: &str) -> Option<ResponseCode> {
        match whole(guard, &question(name, RecordType::A), None) {
            Step::Now(DnsReply { bytes, lasting }) => {
                let code = Message::from_vec(&bytes).unwrap().metadata.response_code;
                assert!(lasting.is_none() || code == ResponseCode::NoError, "{name}: a fault must not last");
                Some(code)
            }
            Step::Unanswered => None,
            Step::Silence => panic!("{name}: not taken for a question"),
            Step::Later(..) => panic!("{name}: the upstream would be asked"),
        }
    }

    #[test]
    fn questions_fail_as_told_for_all_or_for_a_name_and_not_for_localhost() {
        let (guard, log) = guard_with(policy(), None, None);
        let good = Some(ResponseCode::NoError);
        assert_eq!(code(&guard, "gitlab.com."), good);
        for (word, fails) in [
            ("dns=nxdomain", Some(ResponseCode::NXDomain)),
            ("dns=servfail", Some(ResponseCode::ServFail)),
            ("dns=timeout", None),
            ("cut", None),
        ] {
            for host in [None, Some("gitlab.com")] {
                let host = host.map(|host| netpolicy::host::HostPattern::parse(host).unwrap());
                let others = if host.is_some() { good } else { fails };
                guard.live.make(&guard, &Change::Conditions { set: vec![word.parse().unwrap()], host });
                assert_eq!(code(&guard, "gitlab.com."), fails, "{word}");
                assert_eq!(code(&guard, "raw.example."), others, "{word}");
                assert_eq!(code(&guard, "localhost."), good, "{word}");
                guard.live.make(&guard, &Change::Restore { host: None });
                assert_eq!(code(&guard, "gitlab.com."), good, "restored after {word}");
            }
        }
        guard.events.finish();
        let faults: Vec<_> = log.lines().into_iter().filter(|line| line["reason"] == "cut").collect();
        assert!(faults.iter().all(|line| line["kind"] == "dns" && line["verdict"] == "deny"), "{faults:?}");
        assert!(faults.iter().any(|line| line["host"] == "gitlab.com"), "{faults:?}");
    }
}
