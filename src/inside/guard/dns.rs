//! DNS questions and answers, as bytes; nothing here waits or is asked of anybody.
//!
//! ```text
//!  bytes ──read──▶ DnsQuestion (type, name) ─ names: NameState ─▶ answer ──write──▶ bytes
//!            └───▶ FORMERR, NOTIMP, REFUSED, BADVERS or silence
//! ```

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{A, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use netpolicy::decide::Reason;
use netpolicy::host::HostName;

use super::names::NameState;
use crate::wire::handover::FILTER_ZONE;

/// Seconds that a client may keep a virtual address: it never changes during a run.
const VIRTUAL_TTL: u32 = 60;
/// Seconds that a client may keep a refusal: a live `allow` must work at once.
const REFUSAL_TTL: u32 = 1;
/// The largest UDP answer that is sent to anybody.
pub(super) const UDP_LIMIT: usize = 1232;
/// The largest UDP answer to somebody who did not say more (RFC 1035).
const UDP_PLAIN: usize = 512;
/// The longest question that is read. A name and its options need no more.
pub(crate) const LONGEST: usize = 4096;
/// Length of a DNS header.
pub(super) const HEADER: usize = 12;
/// Words of a refusal for its reader, as in the gate's 403.
const BLOCKED: &str = "blocked by policy; do not retry; ask the user";
/// The option that carries an Extended DNS Error (RFC 8914).
const EDE: u16 = 15;

/// A question that deserves an answer.
#[derive(Debug)]
pub(crate) struct DnsQuestion {
    metadata: Metadata,
    query: Query,
    edns: bool,
    /// The DO bit, which an answer repeats (RFC 3225).
    dnssec: bool,
    /// The largest UDP answer that the asker takes.
    pub(crate) payload: usize,
    /// Subject of the question.
    pub(crate) subject: Subject,
}

/// Subject of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A name.
    Name(HostName),
    /// An address, by its name below `in-addr.arpa`.
    Reverse(Ipv4Addr),
    /// The root.
    Root,
    /// A name that cannot be one of a host.
    NoHost,
}

/// Outcome of reading a question's bytes.
#[derive(Debug)]
pub(crate) enum Read {
    /// Send nothing: the bytes are no question, and an answer could be a loop.
    Silence,
    /// Send this back.
    Wrong(Vec<u8>),
    /// Find out and answer.
    DnsQuestion(Box<DnsQuestion>),
}

/// Content of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DnsAnswer {
    /// The name has this address.
    Address(Ipv4Addr),
    /// The address has this name.
    Pointer(HostName),
    /// The name is there, without anything of this type.
    NoData(u32),
    /// The name is refused, for this reason.
    Refused(Reason),
    /// The name does not exist.
    NoName,
    /// The upstream cannot tell.
    Failed,
}

/// Reads the bytes of a question.
pub(crate) fn read(bytes: &[u8]) -> Read {
    let &[id_high, id_low, flags, _, ref counts @ ..] = bytes else { return Read::Silence };
    if bytes.len() < HEADER || flags & 0x80 != 0 {
        return Read::Silence;
    }
    let id = u16::from_be_bytes([id_high, id_low]);
    let op_code = OpCode::from_u8((flags >> 3) & 15);
    // One question, no answer, no authority; beside the EDNS record a signature may follow, no
    // more.
    let formed =
        matches!(counts, [0, 1, 0, 0, 0, 0, 0, 0..=2, ..]) && bytes.len() <= LONGEST && !points(bytes);
    let asked = if formed { parse(bytes) } else { None };
    let Some((asked, version)) = asked else {
        let code = if op_code == OpCode::Query { ResponseCode::FormErr } else { ResponseCode::NotImp };
        return Read::Wrong(bare(id, op_code, code));
    };
    // What could be read comes back with a refusal: the question, and an EDNS record for an EDNS
    // record (RFC 6891, 6.1.1).
    let wrong = |code| Read::Wrong(asked.write_with(code, Vec::new(), None, None, usize::MAX));
    if op_code != OpCode::Query {
        return wrong(ResponseCode::NotImp);
    }
    if version != 0 {
        return wrong(ResponseCode::BADVERS);
    }
    if asked.query.query_class() != DNSClass::IN {
        return wrong(ResponseCode::Refused);
    }
    Read::DnsQuestion(Box::new(asked))
}

/// Parses a message with one question, and the version of its EDNS record, 0 without one.
fn parse(bytes: &[u8]) -> Option<(DnsQuestion, u8)> {
    let mut decoder = BinDecoder::new(bytes);
    let Message { metadata, mut queries, edns, .. } = Message::read(&mut decoder).ok()?;
    let (Some(query), true, true) = (queries.pop(), queries.is_empty(), decoder.is_empty()) else {
        return None;
    };
    let payload = edns.as_ref().map_or(UDP_PLAIN, |edns| usize::from(edns.max_payload()));
    let asked = DnsQuestion {
        subject: subject(&query),
        metadata,
        query,
        edns: edns.is_some(),
        dnssec: edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok),
        payload: payload.clamp(UDP_PLAIN, UDP_LIMIT),
    };
    Some((asked, edns.map_or(0, |edns| edns.version())))
}

/// Tells whether the question's name is compressed: before it there is nothing to point to but the
/// header.
fn points(bytes: &[u8]) -> bool {
    let mut at = HEADER;
    while let Some(&length @ 1..) = bytes.get(at) {
        if length > 63 {
            return true;
        }
        at += 1 + usize::from(length);
    }
    false
}

/// Writes an answer of nothing but a code.
fn bare(id: u16, op_code: OpCode, code: ResponseCode) -> Vec<u8> {
    Message::error_msg(id, op_code, code).to_vec().unwrap_or_default()
}

/// Returns the subject of a question. Labels are as on the wire, in ASCII lower case.
fn subject(query: &Query) -> Subject {
    if query.name().is_root() {
        return Subject::Root;
    }
    let mut text = String::with_capacity(64);
    for label in query.name().iter() {
        if !text.is_empty() {
            text.push('.');
        }
        for &byte in label {
            // A dot inside a label would make two of it; what is not ASCII would be converted.
            if !(byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
                return Subject::NoHost;
            }
            text.push(char::from(byte.to_ascii_lowercase()));
        }
    }
    if let Some(address) = reverse(&text) {
        return Subject::Reverse(address);
    }
    HostName::parse(&text).map_or(Subject::NoHost, Subject::Name)
}

/// Returns the address of a name below `in-addr.arpa`.
fn reverse(name: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut labels = name.strip_suffix(".in-addr.arpa")?.split('.');
    for octet in octets.iter_mut().rev() {
        let label = labels.next()?;
        *octet = label.parse().ok()?;
        if label.len() > 1 && label.starts_with('0') {
            return None;
        }
    }
    labels.next().is_none().then_some(Ipv4Addr::from(octets))
}

/// Name of the made-up zone, and of its mailbox and server.
static ZONE: LazyLock<Name> =
    LazyLock::new(|| Name::from_ascii(FILTER_ZONE).unwrap_or_else(|_| Name::root()));

impl DnsQuestion {
    /// Returns the type of the question, as its number.
    pub(crate) fn kind(&self) -> RecordType {
        self.query.query_type()
    }

    /// Returns the answer for a name in this state.
    pub(crate) fn answer(&self, found: &NameState) -> DnsAnswer {
        let address = self.kind() == RecordType::A;
        match found {
            NameState::Virtual(virtual_address) if address => DnsAnswer::Address(*virtual_address),
            NameState::Localhost if address => DnsAnswer::Address(Ipv4Addr::LOCALHOST),
            NameState::Virtual(_) | NameState::Localhost => DnsAnswer::NoData(VIRTUAL_TTL),
            // Whether it exists only matters to who wants its address: no other type costs an
            // upstream question.
            NameState::Ask(_) if !address => DnsAnswer::NoData(REFUSAL_TTL),
            NameState::Ancestor => DnsAnswer::NoData(REFUSAL_TTL),
            NameState::Refused(verdict) => DnsAnswer::Refused(verdict.reason),
            NameState::Missing => DnsAnswer::NoName,
            NameState::Ask(_) | NameState::Unknown => DnsAnswer::Failed,
        }
    }

    /// Writes an answer of at most `limit` bytes; truncated beyond.
    pub(crate) fn write(&self, answer: &DnsAnswer, limit: usize) -> Vec<u8> {
        let record = |ttl, data| vec![Record::from_rdata(self.query.name().clone(), ttl, data)];
        let (code, answers, soa, reason) = match answer {
            DnsAnswer::Address(address) => {
                (ResponseCode::NoError, record(VIRTUAL_TTL, RData::A(A(*address))), None, None)
            }
            DnsAnswer::Pointer(name) => match Name::from_ascii(format!("{name}.")) {
                Ok(name) => (ResponseCode::NoError, record(VIRTUAL_TTL, RData::PTR(PTR(name))), None, None),
                Err(_) => (ResponseCode::ServFail, Vec::new(), None, None),
            },
            DnsAnswer::NoData(ttl) => (ResponseCode::NoError, Vec::new(), Some(*ttl), None),
            DnsAnswer::Refused(reason) => {
                (ResponseCode::NXDomain, Vec::new(), Some(REFUSAL_TTL), Some(*reason))
            }
            DnsAnswer::NoName => (ResponseCode::NXDomain, Vec::new(), Some(REFUSAL_TTL), None),
            DnsAnswer::Failed => (ResponseCode::ServFail, Vec::new(), None, Some(Reason::ResolveFailed)),
        };
        self.write_with(code, answers, soa, reason, limit)
    }

    fn write_with(
        &self,
        code: ResponseCode,
        answers: Vec<Record>,
        soa: Option<u32>,
        reason: Option<Reason>,
        limit: usize,
    ) -> Vec<u8> {
        let mut message = Message::response(self.metadata.id, self.metadata.op_code);
        message.metadata = Metadata::response_from_request(&self.metadata);
        message.metadata.message_type = MessageType::Response;
        message.metadata.recursion_available = true;
        message.metadata.response_code = code;
        message.queries.push(self.query.clone());
        message.answers = answers;
        if let Some(ttl) = soa {
            let data = SOA::new(ZONE.clone(), ZONE.clone(), 1, 60, 60, 60, ttl);
            message.authorities.push(Record::from_rdata(Name::root(), ttl, RData::SOA(data)));
        }
        if self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_LIMIT as u16);
            edns.set_version(0);
            edns.set_dnssec_ok(self.dnssec);
            edns.set_rcode_high((u16::from(code) >> 4) as u8);
            if let Some(reason) = reason {
                edns.options_mut().insert(EdnsOption::Unknown(EDE, explained(reason)));
            }
            message.set_edns(edns);
        }
        let failed = || bare(self.metadata.id, self.metadata.op_code, ResponseCode::ServFail);
        let Ok(bytes) = message.to_vec() else { return failed() };
        if bytes.len() <= limit {
            return bytes;
        }
        message.truncate().to_vec().unwrap_or_else(|_| failed())
    }

    /// Answers the question for the name behind an address.
    pub(super) fn answer_reverse(&self, address: Ipv4Addr, name: Option<HostName>) -> DnsAnswer {
        let localhost = || HostName::parse("localhost").ok().filter(|_| address.is_loopback());
        match name.or_else(localhost) {
            Some(name) if self.kind() == RecordType::PTR => DnsAnswer::Pointer(name),
            Some(_) => DnsAnswer::NoData(VIRTUAL_TTL),
            None => DnsAnswer::Refused(Reason::RawAddress),
        }
    }
}

/// Writes an Extended DNS Error: its code, and the reason with advice, for a reader in the agent.
fn explained(reason: Reason) -> Vec<u8> {
    let (code, hint): (u16, &str) = match reason {
        // Network error.
        Reason::ResolveFailed => (23, "the upstream resolver did not answer"),
        // Filtered: somebody asked for it.
        Reason::DeniedByRule => (17, BLOCKED),
        // Blocked.
        _ => (15, BLOCKED),
    };
    let mut bytes = Vec::from(code.to_be_bytes());
    bytes.extend_from_slice(format!("{reason}: {hint}").as_bytes());
    bytes
}

/// Returns an answer's address as the log wants it.
pub(crate) fn shown(answer: &DnsAnswer) -> Option<IpAddr> {
    match answer {
        DnsAnswer::Address(address) => Some(IpAddr::V4(*address)),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
