//! Asking the filter from another container in the fence's namespace: an answer proves that its
//! sockets are the fence's.
//!
//! What is asked costs no event of a refusal: whether `localhost` has a text. The filter says no,
//! in the name of a zone that no other name server has, so an answer that came from elsewhere is
//! told from it.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};

use super::{failed, failure};
use crate::term::Failure;
use crate::wire::handover::FILTER_ZONE;

/// Datagrams may be lost, and a sandbox is slow to start.
const TRIES: u16 = 3;
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks it, at any address: port 53 of every one of them leads to the filter.
pub(crate) fn ask(anywhere: Ipv4Addr) -> Result<(), Failure> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(failed("cannot open a socket"))?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed("cannot wait for an answer"))?;
    let mut last = None;
    for id in 1..=TRIES {
        match exchange(&socket, anywhere, id) {
            Ok(true) => return Ok(()),
            Ok(false) => last = Some("the answer is not the filter's".to_owned()),
            Err(error) => last = Some(error.to_string()),
        }
    }
    let mut nothing = failure("the filter does not answer: this container's network is not the fence's");
    nothing.causes.extend(last);
    Err(nothing)
}

fn exchange(socket: &UdpSocket, to: Ipv4Addr, id: u16) -> std::io::Result<bool> {
    socket.send_to(&question(id)?, SocketAddrV4::new(to, 53))?;
    let mut bytes = [0; 1500];
    let (length, _) = socket.recv_from(&mut bytes)?;
    Ok(bytes.get(..length).is_some_and(|answer| is_the_filters(answer, id)))
}

fn question(id: u16) -> std::io::Result<Vec<u8>> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii("localhost.").map_err(std::io::Error::other)?;
    message.queries.push(Query::query(name, RecordType::TXT));
    message.to_vec().map_err(std::io::Error::other)
}

fn is_the_filters(answer: &[u8], id: u16) -> bool {
    let Ok(message) = Message::from_vec(answer) else { return false };
    message.metadata.id == id
        && message.authorities.iter().any(|record| record.data.to_string().starts_with(FILTER_ZONE))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_filters_answer_is_told_from_another_servers() {
        use hickory_proto::rr::rdata::SOA;
        use hickory_proto::rr::{RData, Record};
        let answer = |zone: &str| {
            let mut message = Message::response(7, OpCode::Query);
            let name = Name::from_ascii(zone).unwrap();
            let data = SOA::new(name.clone(), name, 1, 60, 60, 60, 1);
            message.authorities.push(Record::from_rdata(Name::root(), 1, RData::SOA(data)));
            message.to_vec().unwrap()
        };
        assert!(is_the_filters(&answer(FILTER_ZONE), 7));
        assert!(!is_the_filters(&answer(FILTER_ZONE), 8));
        assert!(!is_the_filters(&answer("a.root-servers.net."), 7));
        assert!(!is_the_filters(&question(7).unwrap(), 7));
    }
}
