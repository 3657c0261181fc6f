//! The DNS filter: whatever the agent sends to port 53 of any address arrives here.
//!
//! ```text
//!  udp: datagrams, in batches ──▶ memo: the same bytes again? ──no──┐
//!  tcp: length and message ─────────────────────────────────────────┴─▶ dns::read ─▶ names ──(a wildcard's name)──▶ upstream: exists?
//!                                                                          answer ◀────┘
//! ```

mod conditions;
mod memo;
mod tcp;
mod udp;

#[cfg(test)]
mod tests;

use hickory_proto::rr::RecordType;
use netpolicy::decide::{Reason, Target, Verdict};

use self::memo::Lasting;
pub(crate) use self::tcp::serve_tcp;
pub(crate) use self::udp::serve_udp;
use super::Guard;
use super::dns::{self, DnsAnswer, DnsQuestion, Read, Subject};
use super::events::{LONG_WHILE, MOMENT, Sameness};
use super::limits::Limit;
use super::names::NameState;
use crate::wire::event::{Access, Decision, Kind};

/// Next step for a question: an answer at once, or after the upstream was asked.
enum Step {
    /// Say nothing.
    Silence,
    /// Say nothing, and go on listening: the question was good.
    Unanswered,
    /// Send this.
    Now(DnsReply),
    /// Ask first.
    Later(Box<DnsQuestion>, Verdict),
}

/// The bytes of an answer.
struct DnsReply {
    bytes: Vec<u8>,
    /// Set when the same question gets the same answer as long as the rules stay.
    lasting: Option<Lasting>,
}

impl DnsReply {
    /// Makes a reply to this question, this time.
    fn once(bytes: Vec<u8>) -> DnsReply {
        DnsReply { bytes, lasting: None }
    }
}

/// Takes one question as far as it goes without waiting.
fn step(guard: &Guard, bytes: &[u8], limit: Option<usize>) -> Step {
    let asked = match dns::read(bytes) {
        Read::Silence => return Step::Silence,
        Read::Wrong(answer) => return Step::Now(DnsReply::once(answer)),
        Read::DnsQuestion(asked) => asked,
    };
    let limit = limit.unwrap_or(asked.payload);
    // What holds for every name stands here, and lasts only this time: whatever changes it calls
    // `names.changed()`.
    if let Some(reason) = guard.closed() {
        let (bytes, _) = finish(guard, &asked, &DnsAnswer::Refused(reason), None, limit);
        return Step::Now(DnsReply::once(bytes));
    }
    if let Some(step) = conditions::step(guard, &asked, limit) {
        return step;
    }
    let (answer, found) = match &asked.subject {
        Subject::Root => (DnsAnswer::NoData(1), None),
        Subject::NoHost => (DnsAnswer::Refused(Reason::NotAllowed), None),
        Subject::Reverse(address) => {
            let answer = asked.answer_reverse(*address, guard.names.told_name_of(*address));
            // What has no name now may have one later.
            let (bytes, _) = finish(guard, &asked, &answer, None, limit);
            return Step::Now(DnsReply::once(bytes));
        }
        Subject::Name(name) => match guard.names.find(name) {
            NameState::Ask(verdict) if asked.kind() == RecordType::A => return Step::Later(asked, verdict),
            found => (asked.answer(&found), Some(found)),
        },
    };
    let passing = matches!(&found, Some(NameState::Ask(_)))
        || matches!(&found, Some(NameState::Refused(verdict)) if verdict.reason == Reason::Limit);
    let (bytes, same) = finish(guard, &asked, &answer, found.as_ref(), limit);
    Step::Now(DnsReply { bytes, lasting: (!passing).then_some(Lasting(same)) })
}

/// Says that a question or a connection was one too many.
fn full(guard: &Guard, limit: String) {
    let reason = Reason::Limit;
    let same = Sameness {
        kind: Some(Kind::Dns),
        allowed: false,
        host: None,
        address: None,
        port: Some(53),
        protocol: 0,
        reason: reason.as_str(),
    };
    guard.events.write_folded(same, MOMENT, || Access {
        port: Some(53),
        limit: Some(limit),
        ..Access::denied(Kind::Dns, reason)
    });
}

/// Asks the upstream about a wildcard's name, then answers.
async fn later(guard: &Guard, asked: &DnsQuestion, verdict: Verdict, limit: Option<usize>) -> Vec<u8> {
    let found = match &asked.subject {
        Subject::Name(name) => guard.names.ask(name, verdict, &guard.outside, &guard.events).await,
        _ => NameState::Unknown,
    };
    let answer = asked.answer(&found);
    finish(guard, asked, &answer, Some(&found), limit.unwrap_or(asked.payload)).0
}

/// Records an answer and makes its bytes.
fn finish(
    guard: &Guard,
    asked: &DnsQuestion,
    answer: &DnsAnswer,
    found: Option<&NameState>,
    limit: usize,
) -> (Vec<u8>, Option<Sameness>) {
    let same = record(guard, asked, answer, found);
    if let DnsAnswer::Address(address) = answer {
        guard.names.tell(*address);
    }
    (asked.write(answer, limit), same)
}

/// Puts an answer into the log: a permitted name once in a while, refusals once a moment. Says
/// under what it is counted.
fn record(
    guard: &Guard,
    asked: &DnsQuestion,
    answer: &DnsAnswer,
    found: Option<&NameState>,
) -> Option<Sameness> {
    let (verdict, reason, window) = match (answer, found) {
        (DnsAnswer::Refused(reason), _) => (Decision::Deny, *reason, MOMENT),
        (DnsAnswer::Failed, _) => (Decision::Deny, Reason::ResolveFailed, MOMENT),
        (_, Some(NameState::Virtual(_) | NameState::Missing | NameState::Ask(_))) => {
            (Decision::Allow, Reason::Allowed, LONG_WHILE)
        }
        // Ancestors, localhost, reverse: nothing is decided.
        _ => return None,
    };
    let host = match &asked.subject {
        Subject::Name(name) => Some(name.clone()),
        _ => None,
    };
    let address = match &asked.subject {
        Subject::Reverse(address) => Some((*address).into()),
        _ => dns::shown(answer),
    };
    // The two address types come together: one event for both.
    let kind = match asked.kind() {
        RecordType::A | RecordType::AAAA => RecordType::A,
        other => other,
    };
    let same = Sameness {
        kind: Some(Kind::Dns),
        allowed: verdict == Decision::Allow,
        host: host.clone(),
        address: if host.is_some() { None } else { address },
        port: Some(u16::from(kind)),
        protocol: 0,
        reason: "",
    };
    guard.events.write_folded(same.clone(), window, || {
        let event = Access {
            kind: Kind::Dns,
            verdict: Some(verdict.into()),
            reason: Some(reason.into()),
            host,
            address,
            limit: (reason == Reason::Limit).then(|| Limit::Names.to_string()),
            ..Access::default()
        };
        match (found, &event.host) {
            (Some(NameState::Refused(verdict)), _) => event.by(verdict),
            (_, Some(host)) if reason == Reason::Allowed => {
                let target = Target::Name(host.clone());
                let verdict = guard.names.decide(&target, None, None);
                if verdict.reason == Reason::Observed { event.by(&verdict) } else { event }
            }
            _ => event,
        }
    });
    Some(same)
}
