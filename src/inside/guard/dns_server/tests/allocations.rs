//! Memory that the hot path takes, counted: a regression shows whatever the machine does meanwhile.

use std::time::Instant;

use allocation_counter::measure;

use super::*;
use crate::inside::guard::dns_server::memo::Memo;

/// Pieces of memory for a question that is not remembered.
const LONG_WAY: u64 = 20;

/// Takes a question the long way; the bytes of its answer, and what makes it last.
fn answered(guard: &Guard, question: &[u8]) -> DnsReply {
    match step(guard, question, None) {
        Step::Now(reply) => reply,
        _ => panic!("no answer at once"),
    }
}

#[tokio::test]
async fn a_question_that_is_asked_again_takes_no_memory() {
    let (guard, _log) = guard_with(policy(), None, None);
    let (mut memo, now) = (Memo::default(), Instant::now());
    let mut out = Vec::with_capacity(64 << 10);
    for (name, kind) in
        [("gitlab.com", RecordType::A), ("gitlab.com", RecordType::AAAA), ("x.example", RecordType::A)]
    {
        let question = question(name, kind);
        // The first repeat begins to count.
        answered(&guard, &question);
        let DnsReply { bytes, lasting } = answered(&guard, &question);
        memo.keep(&question, &bytes, lasting.expect("an answer that lasts"), now);
        let mut given = 0;
        let taken = measure(|| {
            for _ in 0..100 {
                given += u32::from(memo.answer(&question, now, &guard.events, &mut out));
            }
        });
        assert_eq!((given, taken.count_total), (100, 0), "{name} {kind}");
    }
}

#[tokio::test]
async fn another_question_takes_few_pieces_of_memory() {
    let (guard, _log) = guard_with(policy(), None, None);
    let question = question("gitlab.com", RecordType::A);
    answered(&guard, &question);
    let taken = measure(|| drop(answered(&guard, &question)));
    assert!((1..=LONG_WAY).contains(&taken.count_total), "{taken:?}");
}
