//! The testbed's name server: authoritative for `test`, over UDP and TCP, with a log of what it was asked.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::netns::Netns;

/// Where it answers; the guard's upstream.
pub const ADDRESS: &str = "198.51.100.53";
/// The one address that several names share, as behind a CDN.
pub const SHARED: &str = "198.51.100.10";
/// Where the plain TCP services are.
pub const SERVICES: &str = "198.51.100.20";

/// Where the intranet's name server is: it knows what is below `corp.test`, and nobody else does.
pub const INTRANET: &str = "10.99.0.53";
/// A server whose certificate only the corporate authority signed.
pub const CORPORATE: &str = "198.51.100.30";
/// A reserved address with which the resolver of a VPN answers a public name.
pub const FAKE: &str = "240.77.0.10";

/// Below [`INTRANET`]'s domain.
const INTRANET_ZONE: Zone = &[("wiki.corp.test", &[SHARED]), ("lab.corp.test", &[])];

/// Names whose answers point inside, in every form of IPv6 that carries an IPv4 address.
pub const REBINDING: Zone = &[
    ("plain.rebind.test", &["10.99.0.6"]),
    ("mapped.rebind.test", &["::ffff:10.99.0.6"]),
    ("translated.rebind.test", &["::ffff:0:10.99.0.6"]),
    ("compatible.rebind.test", &["::10.99.0.6"]),
    ("nat64.rebind.test", &["64:ff9b::10.99.0.6"]),
    ("nat64-local.rebind.test", &["64:ff9b:1::10.99.0.6"]),
    ("6to4.rebind.test", &["2002:a63:6::1"]),
    ("teredo.rebind.test", &["2001:0:a63:6::"]),
    ("teredo-client.rebind.test", &["2001:0:c633:640a::f59c:fff9"]),
    ("isatap.rebind.test", &["2606:4700::5efe:10.99.0.6"]),
    ("metadata.rebind.test", &["::ffff:169.254.169.254"]),
    ("loopback.rebind.test", &["::1"]),
    ("unique-local.rebind.test", &["fd00::6"]),
];

/// Names and their addresses.
type Zone = &'static [(&'static str, &'static [&'static str])];

/// Every name and its addresses. A name without addresses fails with SERVFAIL.
const ZONE: Zone = &[
    ("gitlab.test", &[SHARED]),
    ("a.test", &[SHARED]),
    ("b.test", &[SHARED]),
    ("plain.test", &[SHARED]),
    ("model.test", &[SHARED]),
    ("one.wild.test", &[SHARED]),
    ("two.wild.test", &[SHARED]),
    ("deep.corp.test", &[SHARED]),
    ("echo.test", &[SERVICES]),
    ("ssh.test", &[SERVICES]),
    ("mail.test", &[SERVICES]),
    ("ws.test", &[SERVICES]),
    ("dead.test", &["198.51.100.99"]),
    ("broken.test", &[]),
    // What no policy opens, unless it says `private`.
    ("private.test", &["10.99.0.5"]),
    ("meta.test", &["169.254.169.254"]),
    ("loop.test", &["127.0.0.1"]),
    ("mapped.test", &["::ffff:10.99.0.5"]),
    ("host.test", &[super::netns::HOST_LAN]),
    ("link.test", &[super::netns::HOST_LINK]),
    ("mixed.test", &["10.99.0.5", SHARED]),
    ("fake.test", &[FAKE]),
    ("corporate.test", &[CORPORATE]),
    (super::encrypted_dns::NAME, &[ADDRESS]),
    ("proxy.test", &[super::proxy::ADDRESS]),
];
const TTL: u32 = 2;

/// The running server.
#[derive(Debug, Clone, Default)]
pub struct Dns {
    log: Arc<Mutex<Vec<String>>>,
    intranet: bool,
}

/// What the internet's server says about a name; none when it is no name of the internet.
pub(super) fn addresses(name: &str) -> Option<&'static [&'static str]> {
    find(ZONE, name).or_else(|| find(REBINDING, name))
}

fn find(zone: Zone, name: &str) -> Option<&'static [&'static str]> {
    zone.iter().find(|(known, _)| *known == name).map(|(_, addresses)| *addresses)
}

impl Dns {
    /// Starts it in the namespace.
    ///
    /// # Errors
    /// When its port cannot be bound.
    pub fn start(internet: &Netns) -> Result<Self> {
        Self::default().serve(internet, ADDRESS)
    }

    /// Starts the intranet's.
    ///
    /// # Errors
    /// When its port cannot be bound.
    pub fn start_intranet(intranet: &Netns) -> Result<Self> {
        Self { intranet: true, ..Self::default() }.serve(intranet, INTRANET)
    }

    fn serve(self, namespace: &Netns, address: &str) -> Result<Self> {
        let dns = self;
        let (udp, tcp) = namespace.inside(|| {
            Ok((UdpSocket::bind((address, 53))?, TcpListener::bind((address, 53)).context("DNS over TCP")?))
        })?;
        let server = dns.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = udp.recv_from(&mut buffer) {
                if let Some(answer) = server.answer(&buffer[..length]) {
                    udp.send_to(&answer, peer).ok();
                }
            }
        });
        let server = dns.clone();
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let server = server.clone();
                thread::spawn(move || server.converse(stream));
            }
        });
        Ok(dns)
    }

    /// The questions so far, as `name TYPE`; what is none stands there with its bytes.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lock().map(|log| log.clone()).unwrap_or_default()
    }

    fn converse(&self, mut stream: TcpStream) -> Option<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length).ok()?;
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut question).ok()?;
            let answer = self.answer(&question)?;
            stream.write_all(&u16::try_from(answer.len()).ok()?.to_be_bytes()).ok()?;
            stream.write_all(&answer).ok()?;
        }
    }

    pub(super) fn answer(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let question = Message::from_vec(bytes).ok().filter(|question| !question.queries.is_empty());
        let Some(question) = question else {
            self.log.lock().ok()?.push(format!("no question: {}", bytes.escape_ascii()));
            return None;
        };
        let query = question.queries.first()?.clone();
        let asked = query.name().to_lowercase().to_ascii();
        let name = asked.trim_end_matches('.');
        self.log.lock().ok()?.push(format!("{name} {}", query.query_type()));

        let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
        answer.metadata.authoritative = true;
        answer.metadata.recursion_desired = question.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.add_query(query.clone());
        let found = if self.intranet { find(INTRANET_ZONE, name) } else { addresses(name) };
        match found {
            None if name == "test" => {}
            None => answer.metadata.response_code = ResponseCode::NXDomain,
            Some([]) => answer.metadata.response_code = ResponseCode::ServFail,
            Some(addresses) => {
                for address in addresses.iter().filter_map(|text| IpAddr::from_str(text).ok()) {
                    let data = match (address, query.query_type()) {
                        (IpAddr::V4(v4), RecordType::A) => RData::A(A(v4)),
                        (IpAddr::V6(v6), RecordType::AAAA) => RData::AAAA(AAAA(v6)),
                        _ => continue,
                    };
                    answer.add_answer(Record::from_rdata(query.name().clone(), TTL, data));
                }
            }
        }
        if answer.answers.is_empty() {
            let zone = Name::from_str("test.").ok()?;
            let soa = SOA::new(zone.clone(), zone.clone(), 1, 60, 60, 60, TTL);
            answer.add_authority(Record::from_rdata(zone, TTL, RData::SOA(soa)));
        }
        answer.to_vec().ok()
    }
}
