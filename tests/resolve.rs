//! `policy explain --resolve`: the policy's upstream is asked, and each of its answers is decided.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};

/// Names that the upstream knows. Nothing is ever dialled.
const ZONE: [(&str, &[[u8; 4]]); 4] = [
    ("public.example.", &[[93, 184, 216, 34]]),
    ("rebinding.example.", &[[10, 1, 2, 3]]),
    ("mixed.example.", &[[93, 184, 216, 34], [127, 0, 0, 1]]),
    ("denied.example.", &[[93, 184, 216, 99]]),
];

/// An upstream on loopback, and the names that it was asked for.
fn upstream() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("its address");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let question = Message::from_vec(&buffer[..length]).expect("a question");
            let query = question.queries[0].clone();
            let name = query.name().to_ascii().to_ascii_lowercase();
            log.lock().expect("the log").push(name.clone());
            let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
            answer.add_query(query.clone());
            match ZONE.iter().find(|(known, _)| *known == name) {
                None => answer.metadata.response_code = ResponseCode::NXDomain,
                Some((_, addresses)) if query.query_type() == RecordType::A => {
                    for [a, b, c, d] in *addresses {
                        let data = RData::A(A(Ipv4Addr::new(*a, *b, *c, *d)));
                        answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
                    }
                }
                Some(_) => {}
            }
            let bytes = answer.to_vec().expect("an answer");
            socket.send_to(&bytes, peer).expect("sent");
        }
    });
    (address, asked)
}

fn run(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["policy", "explain", "--policy", "p.yml", "--resolve"])
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .env("HOME", dir)
        .output()
        .expect("the program starts")
}

fn explain(dir: &Path, arguments: &[&str]) -> String {
    let output = run(dir, arguments);
    let text = String::from_utf8_lossy(&output.stdout);
    // What was considered is the business of other tests.
    let kept = text.lines().filter(|line| !line.contains('─') && !line.contains("considered"));
    let status = output.status.code().unwrap_or(-1);
    kept.map(|line| format!("{line}\n")).collect::<String>()
        + &format!("{}exit {status}\n\n", String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_address_is_decided_as_the_guard_would() {
    let (address, asked) = upstream();
    let dir = tempfile::tempdir().expect("a folder");
    let rules = "[public.example, rebinding.example, mixed.example, denied.example, nobody.example]";
    let rest =
        format!("deny: [{{cidr: 93.184.216.99/32}}, refused.example], dns: {{upstreams: [\"{address}\"]}}");
    let policy = format!("version: 1\nnetwork: {{allow: {rules}, {rest}}}\n");
    fs::write(dir.path().join("p.yml"), &policy).expect("a policy");
    let all: String = ["public", "rebinding", "mixed", "denied", "nobody", "refused"]
        .iter()
        .map(|name| explain(dir.path(), &[&format!("{name}.example")]))
        .collect();
    insta::assert_snapshot!(all);
    let asked = asked.lock().expect("the log").clone();
    assert!(asked.iter().any(|name| name == "public.example."), "{asked:?}");
    assert!(!asked.iter().any(|name| name == "refused.example."), "a refused name was asked for: {asked:?}");

    // A proxy might dial any of them.
    let proxied = policy.replace("deny:", "proxy: \"http://198.51.100.1:3128\", deny:");
    fs::write(dir.path().join("p.yml"), proxied).expect("a policy");
    insta::assert_snapshot!("beside_a_proxy", explain(dir.path(), &["mixed.example"]));

    fs::write(dir.path().join("p.yml"), &policy).expect("a policy");
    let output = run(dir.path(), &["--json", "mixed.example"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["resolved"]["verdict"], "allow");
    assert_eq!(json["resolved"]["addresses"][1]["verdict"], "deny");
}
