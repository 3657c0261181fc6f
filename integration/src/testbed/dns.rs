//! The testbed's name server: authoritative for `test`, over UDP and TCP, with a log of what it was
//! asked.

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

use super::addresses::{INTRANET_ZONE, find, of as addresses};
use super::netns::Netns;

pub use super::addresses::{CORPORATE, FAKE, INTRANET, NAME_SERVER as ADDRESS, REBINDING, SERVICES, SHARED};

const TTL: u32 = 2;

/// The running server.
#[derive(Debug, Clone, Default)]
pub struct Dns {
    log: Arc<Mutex<Vec<String>>>,
    intranet: bool,
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
