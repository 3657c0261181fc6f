//! Bytes in, bytes out: what is a question, what is said to what is none, and that no answer is
//! more than one.

use hickory_proto::op::{Edns, Message, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use netpolicy::decide::Reason;
use netpolicy::host::HostName;
use proptest::prelude::*;

use super::*;

/// Returns a question as a stub resolver sends it.
pub(crate) fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.set_edns(Edns::new());
    message.to_vec().unwrap()
}

/// Returns a question whose name is these bytes, without EDNS.
fn with_name(name: &[u8]) -> Vec<u8> {
    [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], name, &[0, 1, 0, 1]].concat()
}

/// Describes the outcome of reading some bytes.
fn outcome(bytes: &[u8]) -> String {
    match read(bytes) {
        Read::Silence => "silence".to_owned(),
        Read::Wrong(answer) => {
            let message = Message::from_vec(&answer).unwrap();
            assert_eq!(answer[..2], bytes[..2], "the id");
            assert_eq!(message.metadata.message_type, MessageType::Response);
            assert!(message.answers.is_empty() && message.authorities.is_empty());
            assert!(answer.len() <= bytes.len(), "a wrong question is not worth more bytes than it has");
            // BADVERS and BADSIG are one number.
            match u16::from(message.metadata.response_code) {
                16 => "BADVERS".to_owned(),
                _ => format!("{:?}", message.metadata.response_code),
            }
        }
        Read::DnsQuestion(asked) => format!("{:?}", asked.subject),
    }
}

#[test]
fn what_is_no_question() {
    let good = question("gitlab.com.", RecordType::A);
    let with = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        outcome(&bytes)
    };
    assert_eq!(outcome(&good), r#"Name(HostName("gitlab.com"))"#);
    assert_eq!(outcome(&[]), "silence");
    assert_eq!(outcome(&good[..11]), "silence");
    assert_eq!(with(2, 0x81), "silence", "an answer");
    for op_code in 1..16 {
        assert_eq!(with(2, op_code << 3), "NotImp", "{:?}", OpCode::from_u8(op_code));
    }
    for (at, what) in [(4, "many questions"), (6, "answers"), (8, "authorities"), (10, "additionals")] {
        assert_eq!(with(at, 1), "FormErr", "256 {what}");
    }
    assert_eq!(with(5, 0), "FormErr", "no question");
    assert_eq!(with(5, 2), "FormErr", "two questions");
    assert_eq!(with(7, 1), "FormErr", "an answer in a question");
    assert_eq!(with(9, 1), "FormErr", "an authority in a question");
    assert_eq!(with(11, 2), "FormErr", "an additional that is not there");
    assert_eq!(with(11, 3), "FormErr", "three additionals");
    assert_eq!(with(11, 0), "FormErr", "bytes behind the end");
    for length in HEADER..good.len() {
        assert_eq!(outcome(&good[..length]), "FormErr", "{length} bytes");
    }
    assert_eq!(outcome(&[&good[..], &[0]].concat()), "FormErr", "a byte behind the end");
    let padded = [&good[..], &vec![0; LONGEST]].concat();
    assert_eq!(outcome(&padded), "FormErr", "over-long");
}

/// Asks with DO, an unknown option and unknown flags, changed, and returns question and answer.
fn asked_otherwise(change: &dyn Fn(&mut Message)) -> (Message, Message) {
    let mut message = Message::from_vec(&question("GitLab.com.", RecordType::A)).unwrap();
    let edns = message.edns.as_mut().unwrap();
    edns.set_dnssec_ok(true);
    edns.flags_mut().z = 0x40;
    edns.options_mut().insert(EdnsOption::Unknown(65_001, vec![1; 9]));
    change(&mut message);
    match read(&message.to_vec().unwrap()) {
        Read::Wrong(answer) => (message, Message::from_vec(&answer).unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn unknown_options_and_flags_are_no_fault() {
    let mut message = Message::from_vec(&question("gitlab.com.", RecordType::A)).unwrap();
    let edns = message.edns.as_mut().unwrap();
    edns.flags_mut().z = 0x40;
    edns.options_mut().insert(EdnsOption::Unknown(65_001, vec![1; 9]));
    message.metadata.authentic_data = true;
    message.metadata.truncation = true;
    message.metadata.authoritative = true;
    let answer = asked(&message.to_vec().unwrap()).write(&DnsAnswer::NoData(60), 1232);
    let answer = Message::from_vec(&answer).unwrap();
    let edns = answer.edns.unwrap();
    assert_eq!((edns.flags().z, edns.flags().dnssec_ok), (0, false));
    assert!(edns.option(65_001.into()).is_none());
    assert!(!answer.metadata.authoritative && !answer.metadata.truncation && !answer.metadata.authentic_data);
}

#[test]
fn classes_versions_and_records_that_are_refused() {
    let message = |change: &dyn Fn(&mut Message)| {
        let mut message = Message::from_vec(&question("gitlab.com.", RecordType::TXT)).unwrap();
        change(&mut message);
        outcome(&message.to_vec().unwrap())
    };
    for class in [DNSClass::CH, DNSClass::HS, DNSClass::NONE, DNSClass::ANY, DNSClass::Unknown(7)] {
        let refused = message(&|message| {
            message.queries[0].set_query_class(class);
        });
        assert_eq!(refused, "Refused", "{class:?}");
    }
    for refused in [
        asked_otherwise(&|message| message.metadata.op_code = OpCode::Status),
        asked_otherwise(&|message| {
            message.queries[0].set_query_class(DNSClass::CH);
        }),
        asked_otherwise(&|message| {
            message.edns.as_mut().unwrap().set_version(1);
        }),
    ] {
        let (question, answer) = refused;
        assert_eq!(answer.queries, question.queries, "the question comes back");
        assert_eq!(answer.metadata.op_code, question.metadata.op_code);
        let edns = answer.edns.expect("EDNS is answered with EDNS");
        assert_eq!((edns.version(), edns.flags().dnssec_ok, edns.flags().z), (0, true, 0));
        assert!(answer.metadata.recursion_desired && !answer.metadata.authoritative);
    }
    // Without EDNS none comes back, and what cannot be read is a header.
    let plain = [&[0, 7, 0x11, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x01x\x00", &[0, 1, 0, 1]].concat();
    let Read::Wrong(answer) = read(&plain) else { panic!("another operation") };
    let answer = Message::from_vec(&answer).unwrap();
    assert!(answer.edns.is_none() && answer.queries.len() == 1);
    let update = [0, 7, 0x28, 0, 0, 1, 0, 0, 0, 1, 0, 0];
    let Read::Wrong(answer) = read(&update) else { panic!("another operation") };
    assert_eq!(answer.len(), HEADER);
    let newer = message(&|message| {
        message.edns.as_mut().unwrap().set_version(1);
    });
    assert_eq!(newer, "BADVERS");
    let good = question("gitlab.com.", RecordType::A);
    let option = &good[good.len() - 11..];
    let mut twice = [&good[..], option].concat();
    twice[11] = 2;
    assert_eq!(outcome(&twice), "FormErr", "two EDNS records");
    let mut named = good.clone();
    named.splice(good.len() - 11..good.len() - 10, *b"\x01x\x00");
    assert_eq!(outcome(&named), "FormErr", "an EDNS record with a name");
    let mut long = good.clone();
    *long.last_mut().unwrap() = 9;
    assert_eq!(outcome(&long), "FormErr", "options that are not there");
}

#[test]
fn names_as_they_can_be_on_the_wire() {
    let longest = [&[63][..], &[b'a'; 63]].concat().repeat(3);
    for (name, expected) in [
        (&b"\x06GitLab\x03cOm\x00"[..], r#"Name(HostName("gitlab.com"))"#),
        (b"\x04_tcp\x01x\x00", r#"Name(HostName("_tcp.x"))"#),
        (b"\x00", "Root"),
        (b"\x0agitlab.com\x00", "NoHost"),
        (b"\x07gitlab.\x03com\x00", "NoHost"),
        (b"\x07gitlab\x00\x03com\x00", "NoHost"),
        (b"\x07gitlab\xff\x03com\x00", "NoHost"),
        (b"\x06g\xc3\xaftlb\x03com\x00", "NoHost"),
        (b"\x07gitlab \x03com\x00", "NoHost"),
        (b"\x06gitlab\x05c\\.om\x00", "NoHost"),
        (b"\x01*\x03com\x00", "NoHost"),
        (b"\x03-ab\x03com\x00", "NoHost"),
        (b"\x03127\x011\x00", "NoHost"),
        (b"\x05xn--0\x03com\x00", "NoHost"),
        (b"\x011\x010\x010\x0225\x07in-addr\x04arpa\x00", "Reverse(25.0.0.1)"),
        (b"\x011\x010\x010\x0225\x07IN-addr\x04arpa\x00", "Reverse(25.0.0.1)"),
        (b"\x0201\x010\x010\x0225\x07in-addr\x04arpa\x00", r#"Name(HostName("01.0.0.25.in-addr.arpa"))"#),
        (b"\x03256\x010\x010\x0225\x07in-addr\x04arpa\x00", r#"Name(HostName("256.0.0.25.in-addr.arpa"))"#),
        // Pointers: to itself, behind itself, into the header, after a label; label types nobody
        // defined.
        (b"\xc0\x0c", "FormErr"),
        (b"\xc0\x10", "FormErr"),
        (b"\xc0\x00", "FormErr"),
        (b"\x06gitlab\xc0\x0c", "FormErr"),
        (b"\x41gitlab\x00", "FormErr"),
        (b"\x80gitlab\x00", "FormErr"),
        (b"\x40", "FormErr"),
        (b"\x3fshort\x00", "FormErr"),
        (b"", "FormErr"),
    ] {
        assert_eq!(outcome(&with_name(name)), expected, "{:?}", name.escape_ascii().to_string());
    }
    let fits = [&longest[..], &[61], &[b'a'; 61], &[0]].concat();
    assert_eq!(fits.len(), 255);
    assert!(outcome(&with_name(&fits)).starts_with("Name("));
    let over = [&longest[..], &[62], &[b'a'; 62], &[0]].concat();
    assert_eq!(outcome(&with_name(&over)), "FormErr");
}

fn asked(bytes: &[u8]) -> Box<DnsQuestion> {
    match read(bytes) {
        Read::DnsQuestion(asked) => asked,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_asker_says_how_much_it_takes_within_bounds() {
    for (said, taken) in [(0, 512), (100, 512), (900, 900), (1232, 1232), (4096, 1232), (65535, 1232)] {
        let mut message = Message::from_vec(&question("gitlab.com.", RecordType::A)).unwrap();
        message.edns.as_mut().unwrap().set_max_payload(said);
        let mut bytes = message.to_vec().unwrap();
        let at = bytes.len() - 8;
        bytes[at..at + 2].copy_from_slice(&said.to_be_bytes());
        assert_eq!(asked(&bytes).payload, taken, "{said}");
    }
    assert_eq!(asked(&with_name(b"\x01x\x00")).payload, 512, "without EDNS");
}

#[test]
fn what_does_not_fit_is_cut_and_says_so() {
    let name = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(50)].join(".");
    let asked = asked(&question("1.0.0.25.in-addr.arpa.", RecordType::PTR));
    let answer = DnsAnswer::Pointer(HostName::parse(&name).unwrap());
    let whole = asked.write(&answer, 512);
    assert!(!Message::from_vec(&whole).unwrap().metadata.truncation);
    let cut = asked.write(&answer, whole.len() - 1);
    let message = Message::from_vec(&cut).unwrap();
    assert!(message.metadata.truncation && message.answers.is_empty() && message.edns.is_some());
    assert_eq!(message.queries.len(), 1);
    assert!(cut.len() < whole.len());
}

#[test]
fn a_refusal_explains_itself_only_to_who_understands() {
    let refused = DnsAnswer::Refused(Reason::NotAllowed);
    let plain = asked(&with_name(b"\x04evil\x04test\x00")).write(&refused, 512);
    assert!(Message::from_vec(&plain).unwrap().edns.is_none());
    let explained = asked(&question("evil.test.", RecordType::A)).write(&refused, 512);
    let text = "not-allowed: blocked by policy; do not retry; ask the user";
    assert!(String::from_utf8_lossy(&explained).contains(text));
}

/// Generates every answer that there is.
fn answers() -> impl Strategy<Value = DnsAnswer> {
    prop_oneof![
        any::<u32>().prop_map(|number| DnsAnswer::Address(number.into())),
        Just(DnsAnswer::Pointer(HostName::parse(&format!("{}.test", "a".repeat(63))).unwrap())),
        Just(DnsAnswer::NoData(60)),
        Just(DnsAnswer::Refused(Reason::DeniedByRule)),
        Just(DnsAnswer::NoName),
        Just(DnsAnswer::Failed),
    ]
}

/// Generates bytes that are nearly a question.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let names = prop_oneof![
        Just("gitlab.com.".to_owned()),
        Just("1.0.0.25.in-addr.arpa.".to_owned()),
        "[a-zA-Z0-9_]{1,60}(\\.[a-zA-Z0-9]{1,60}){0,3}\\.",
    ];
    let bend = (any::<prop::sample::Index>(), any::<u8>());
    (names, any::<u16>(), prop::collection::vec(bend, 0..4)).prop_map(|(name, kind, bends)| {
        let mut bytes = question(&name, RecordType::from(kind));
        for (at, to) in bends {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        read(&bytes);
    }

    #[test]
    fn every_answer_is_one_to_its_question(bytes in nearly(), answer in answers(), tcp in any::<bool>()) {
        match read(&bytes) {
            Read::Silence => prop_assert!(bytes[2] & 0x80 != 0),
            Read::Wrong(answer) => {
                prop_assert_eq!(&answer[..2], &bytes[..2]);
                prop_assert!(answer[2] & 0x80 != 0);
                prop_assert!(answer.len() <= bytes.len());
            }
            Read::DnsQuestion(asked) => {
                let limit = if tcp { usize::from(u16::MAX) } else { asked.payload };
                let written = asked.write(&answer, limit);
                prop_assert!(written.len() <= limit);
                prop_assert_eq!(&written[..2], &bytes[..2]);
                let message = Message::from_vec(&written).unwrap();
                prop_assert_eq!(message.metadata.message_type, MessageType::Response);
                // The question comes back as it was, in its case.
                let end = HEADER + asked.query.name().len() + 4;
                prop_assert_eq!(&written[HEADER..end], &bytes[HEADER..end]);
                prop_assert!(message.answers.len() <= 1 && message.authorities.len() <= 1);
            }
        }
    }
}
