use std::collections::HashSet;
use std::net::SocketAddr;

use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use netpolicy::settings::Domain;
use tokio::net::UdpSocket;

use super::*;

/// Behaviour of a name server.
#[derive(Clone, Copy)]
enum Manner {
    Silent,
    Says(ResponseCode),
    Address([u8; 4]),
    Many,
}

/// Starts a name server on loopback, and returns it with the names that it was asked for, as
/// they were written.
async fn server(manner: Manner) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let question = Message::from_vec(&buffer[..length]).unwrap();
            let query = question.queries[0].clone();
            log.lock().unwrap().push(query.name().to_ascii());
            let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
            answer.add_query(query.clone());
            let addresses: Vec<[u8; 4]> = match manner {
                Manner::Silent => continue,
                Manner::Says(code) => {
                    answer.metadata.response_code = code;
                    Vec::new()
                }
                Manner::Address(address) => vec![address],
                Manner::Many => (0..60).map(|last| [198, 51, 100, last]).collect(),
            };
            for [a, b, c, d] in addresses {
                if query.query_type() == RecordType::A {
                    let data = RData::A(A::new(a, b, c, d));
                    answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
                }
            }
            socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
        }
    });
    (address, asked)
}

fn resolvers(upstreams: &[SocketAddr], domains: &[(&str, SocketAddr)]) -> Resolvers {
    let dns = Dns {
        upstreams: upstreams.iter().copied().map(Upstream::Plain).collect(),
        domains: domains
            .iter()
            .map(|(name, server)| Domain {
                name: HostName::parse(name).unwrap(),
                upstreams: vec![Upstream::Plain(*server)],
            })
            .collect(),
        ..Dns::default()
    };
    Resolvers::new(&dns, &[]).unwrap()
}

async fn ask(resolvers: &Resolvers, name: &str) -> Result<Resolution, String> {
    resolvers.resolve(&HostName::parse(name).unwrap(), Patience::Full).await
}

fn one(address: [u8; 4]) -> Resolution {
    Resolution::Addresses(vec![IpAddr::from(address)])
}

#[tokio::test]
async fn a_dead_upstream_costs_one_bound_and_only_once() {
    let (dead, asked_dead) = server(Manner::Silent).await;
    let (good, _) = server(Manner::Address([198, 51, 100, 7])).await;
    let resolvers = resolvers(&[dead, good], &[]);
    let began = std::time::Instant::now();
    assert_eq!(ask(&resolvers, "a.test").await, Ok(one([198, 51, 100, 7])));
    assert!(began.elapsed() < QUESTION + Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(!asked_dead.lock().unwrap().is_empty(), "the policy's order is kept while nothing is known");
    let began = std::time::Instant::now();
    assert_eq!(ask(&resolvers, "b.test").await, Ok(one([198, 51, 100, 7])));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn with_all_dead_the_whole_is_bounded_and_a_proxy_is_not_kept_waiting() {
    let mut dead = Vec::new();
    for _ in 0..5 {
        dead.push(server(Manner::Silent).await.0);
    }
    let resolvers = resolvers(&dead, &[]);
    let began = std::time::Instant::now();
    let error = ask(&resolvers, "a.test").await.unwrap_err();
    assert!(began.elapsed() < RESOLUTION + Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(error.matches("no answer").count(), 3, "{error}");
    let name = HostName::parse("b.test").unwrap();
    let began = std::time::Instant::now();
    assert!(resolvers.resolve(&name, Patience::Little).await.is_err());
    assert!(began.elapsed() < RESOLUTION_OR_PROXY + Duration::from_secs(1), "{:?}", began.elapsed());
    let began = std::time::Instant::now();
    assert!(resolvers.resolve(&name, Patience::Little).await.is_err());
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn who_cannot_answer_is_passed_over_and_who_says_no_is_believed() {
    let (good, _) = server(Manner::Address([198, 51, 100, 7])).await;
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let (bad, _) = server(Manner::Says(code)).await;
        assert_eq!(ask(&resolvers(&[bad, good], &[]), "a.test").await, Ok(one([198, 51, 100, 7])), "{code}");
        let alone = ask(&resolvers(&[bad], &[]), "a.test").await.unwrap_err();
        assert!(alone.contains("it answers"), "{alone}");
    }
    let (no, _) = server(Manner::Says(ResponseCode::NXDomain)).await;
    let (good, asked) = server(Manner::Address([198, 51, 100, 7])).await;
    assert_eq!(ask(&resolvers(&[no, good], &[]), "a.test").await, Ok(Resolution::NoName));
    let (nothing, _) = server(Manner::Says(ResponseCode::NoError)).await;
    assert_eq!(ask(&resolvers(&[nothing, good], &[]), "a.test").await, Ok(Resolution::NoAddress));
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_longest_domain_is_asked_and_nobody_else_hears_of_it() {
    let (general, heard_general) = server(Manner::Address([198, 51, 100, 1])).await;
    let (corp, heard_corp) = server(Manner::Address([198, 51, 100, 2])).await;
    let (lab, heard_lab) = server(Manner::Says(ResponseCode::ServFail)).await;
    let resolvers = resolvers(&[general], &[("corp.example", corp), ("lab.corp.example", lab)]);
    assert_eq!(ask(&resolvers, "git.corp.example").await, Ok(one([198, 51, 100, 2])));
    assert_eq!(ask(&resolvers, "corp.example").await, Ok(one([198, 51, 100, 2])));
    assert_eq!(ask(&resolvers, "notcorp.example").await, Ok(one([198, 51, 100, 1])));
    // Its own server fails, and still nobody else is asked.
    assert!(ask(&resolvers, "x.lab.corp.example").await.is_err());
    let heard = |log: &Arc<Mutex<Vec<String>>>| -> HashSet<String> {
        log.lock().unwrap().iter().map(|name| name.to_ascii_lowercase()).collect()
    };
    let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<HashSet<_>>();
    assert_eq!(heard(&heard_general), names(&["notcorp.example."]));
    assert_eq!(heard(&heard_corp), names(&["git.corp.example.", "corp.example."]));
    assert_eq!(heard(&heard_lab), names(&["x.lab.corp.example."]));
}

#[tokio::test]
async fn answers_are_capped_and_questions_written_at_random() {
    let (many, asked) = server(Manner::Many).await;
    let resolvers = resolvers(&[many], &[]);
    let Ok(Resolution::Addresses(addresses)) = ask(&resolvers, "a-long-name-with-many-letters.test").await
    else {
        panic!("no addresses")
    };
    assert_eq!(addresses.len(), ADDRESSES);
    let asked = asked.lock().unwrap();
    assert!(asked.iter().all(|name| name.eq_ignore_ascii_case("a-long-name-with-many-letters.test.")));
    assert!(asked.iter().any(|name| name.chars().any(|c| c.is_ascii_uppercase())), "{asked:?}");
    assert!(asked.iter().any(|name| name.chars().any(|c| c.is_ascii_lowercase())), "{asked:?}");
}

/// Of a name with IPv4 alone the server says nothing for how long there is no IPv6.
#[tokio::test]
async fn a_name_is_asked_for_once_while_its_answer_is_good() {
    let (address, asked) = server(Manner::Address([198, 51, 100, 1])).await;
    let resolvers = resolvers(&[address], &[]);
    for _ in 0..20 {
        assert_eq!(ask(&resolvers, "a.test").await, Ok(one([198, 51, 100, 1])));
    }
    // One question for each type of address.
    assert_eq!(asked.lock().unwrap().len(), 2);
}
