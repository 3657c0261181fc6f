//! Tests of refusals in the kernel's log, read by the guard's own reader.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::inside::guard::tests as guard;

/// Counts the refusals that lines stand for.
fn stand_for<'l>(lines: impl Iterator<Item = &'l serde_json::Value>) -> u64 {
    lines.map(|line| 1 + line["left_out"].as_u64().unwrap_or(0)).sum()
}

/// Makes a fence whose one permitted pair is gitlab.com:443, and returns the log of its refusals.
fn logged(held: &sockets::FenceSockets) -> (Arc<crate::inside::guard::Guard>, guard::Log) {
    let (guard, log) = guard::guard_with(guard::policy(), None, None);
    let nflog = held.nflog.as_ref().expect("this kernel logs").try_clone().unwrap();
    guard::read_refusals(nflog, &guard);
    (guard, log)
}

fn make_for(guard_policy: &netpolicy::policy::Policy) -> (links::Surroundings, sockets::FenceSockets) {
    let permits = ruleset::permits(guard_policy, &netpolicy::virtual_names::VirtualNames::new(guard_policy));
    let (surroundings, held, _) = make(&FenceConfig { permits, ..config() }).unwrap();
    (surroundings, held)
}

/// Takes connections and ends them, until told.
fn take_and_end(gate: OwnedFd) -> (Arc<AtomicBool>, std::thread::JoinHandle<()>) {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        while !stopped.load(Ordering::SeqCst) {
            if rustix::net::accept(&gate).is_err() {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    });
    (stop, thread)
}

#[test]
fn a_flood_of_refusals_is_counted_whole() {
    in_namespace(|_| {
        let (_, held) = make_for(&guard::policy());
        held.forget_the_proof();
        let (guard, log) = logged(&held);
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for number in 0..5000u32 {
            let to = SocketAddrV4::new(Ipv4Addr::new(8, 8, 8, (number % 7) as u8), 9000);
            assert!(socket.send_to(b"x", to).is_err());
        }
        // One that a flood would hide.
        assert!(connect("10.20.30.40:22").is_err());
        // The kernel keeps what is told of together for a second.
        std::thread::sleep(Duration::from_millis(1500));
        guard::finish(&guard);
        let lines = log.lines();
        let told = |kind: &str| stand_for(lines.iter().filter(|line| line["kind"] == kind));
        assert_eq!(told("datagram"), 5000);
        assert_eq!(told("connect"), 1);
        let hidden = lines.iter().find(|line| line["address"] == "10.20.30.40").expect("it is named");
        assert_eq!(hidden["reason"], "private-address");
        assert!(lines.len() < 60, "{}", lines.len());
    });
}

#[test]
fn a_limit_is_logged_with_its_name_and_the_true_target() {
    in_namespace(|_| {
        let (_, held) = make_for(&guard::policy());
        held.forget_the_proof();
        let (guard, log) = logged(&held);
        let (stop, taking) = take_and_end(held.gate.try_clone().unwrap());
        let to = SocketAddrV4::new(guard::virtual_address(&guard, "gitlab.com"), 443);
        // The kernel tries again what the rate keeps back: nobody is refused.
        let made = |_| TcpStream::connect_timeout(&to.into(), Duration::from_secs(20)).is_ok();
        assert_eq!((0..6000).filter(|number| made(*number)).count(), 6000);
        // Connections to the filter, more than it takes at once.
        let many: Vec<_> = (0..80).filter_map(|_| connect("203.0.113.9:53").ok()).collect();
        assert_eq!(many.len(), 64);
        std::thread::sleep(Duration::from_millis(1500));
        guard::finish(&guard);
        stop.store(true, Ordering::SeqCst);
        taking.join().unwrap();
        let lines: Vec<_> = log.lines().into_iter().filter(|line| line["verdict"] == "deny").collect();
        let of = |words: &str| {
            let named = move |line: &&serde_json::Value| {
                line["limit"].as_str().is_some_and(|limit| limit.contains(words))
            };
            lines.iter().filter(named).collect::<Vec<_>>()
        };
        let new = of("new permitted connections");
        assert!(stand_for(new.iter().copied()) > 0, "the burst is over: {new:#?}");
        assert!(new.iter().all(|line| line["host"] == "gitlab.com" && line["reason"] == "limit"), "{new:#?}");
        let dns = of("connections to the DNS filter");
        assert_eq!(stand_for(dns.iter().copied()), 16, "{dns:#?}");
        assert!(dns.iter().all(|line| line["address"] == "203.0.113.9" && line["kind"] == "dns"), "{dns:#?}");
        assert_eq!(lines.iter().filter(|line| line["reason"] == "host-address").count(), 0, "{lines:#?}");
    });
}

/// Reads how many connections this namespace tracks.
fn tracked() -> u64 {
    let count = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap();
    count.trim().parse().unwrap()
}

#[test]
fn questions_over_the_limit_vanish_without_an_error_or_an_entry() {
    in_namespace(|neighbour| {
        let (_, held) = make_for(&guard::policy());
        held.forget_the_proof();
        let (guard, log) = logged(&held);
        let (frames, began) = (neighbour.heard(), Instant::now());
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        // Another server each time: an entry of its own, were it tracked.
        for number in 0..40_000u32 {
            let to = SocketAddrV4::new(Ipv4Addr::from(0xcb00_0000 + number), 53);
            assert_eq!(socket.send_to(b"x", to).unwrap(), 1, "the asker hears of no limit");
        }
        let permitted = 8000 + 1000 * (began.elapsed().as_secs() + 1);
        assert!(permitted < 39_000, "this machine is too slow to meet the limit");
        let entries = tracked();
        assert!((8000..=permitted + 100).contains(&entries), "{entries}, and {permitted} are permitted");
        std::thread::sleep(Duration::from_millis(1500));
        guard::finish(&guard);
        let lines = log.lines();
        let over = |line: &&serde_json::Value| {
            line["limit"].as_str().is_some_and(|limit| limit.contains("DNS questions in a moment"))
        };
        assert!(stand_for(lines.iter().filter(over)) > 0, "{lines:#?}");
        assert_eq!(neighbour.heard(), frames, "frames reached the neighbour");
    });
}

/// Shows that the mark opens nothing, were an agent able to set it.
#[test]
fn a_marked_packet_gets_nowhere() {
    in_namespace(|neighbour| {
        let (_, held) = make_for(&guard::policy());
        held.forget_the_proof();
        let frames = neighbour.heard();
        let ears = ["0.0.0.0:53", "0.0.0.0:9"].map(|at| {
            let ear = UdpSocket::bind(at).unwrap();
            ear.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            ear
        });
        let filter = UdpSocket::from(held.dns_udp.try_clone().unwrap());
        let send = |mark: u32, to: &str| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            setsockopt(&socket, sockopt::Mark, &mark).unwrap();
            socket.send_to(b"x", to)
        };
        for mark in 1..=4 {
            assert!(send(mark, "203.0.113.9:9").is_err(), "{mark}");
            let stream = connect_marked(mark);
            assert!(stream.is_err(), "{mark}");
        }
        // A question with the limit's mark vanishes, and one with another arrives at the filter.
        send(2, "203.0.113.9:53").unwrap();
        send(2, "127.0.0.1:53").unwrap();
        assert!(ears[0].recv(&mut [0; 9]).is_err() && ears[1].recv(&mut [0; 9]).is_err());
        let mut byte = [0; 9];
        let waiting = |socket: &UdpSocket, byte: &mut [u8]| {
            socket.set_nonblocking(true).unwrap();
            socket.recv(byte).ok()
        };
        // The control.
        send(3, "203.0.113.9:53").unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(waiting(&filter, &mut byte), Some(1));
        assert_eq!(waiting(&filter, &mut byte), None);
        assert_eq!(neighbour.heard(), frames, "frames reached the neighbour");
    });
}

/// Connects to an address that no policy permits, with a mark.
fn connect_marked(mark: u32) -> io::Result<()> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::Mark, &mark)?;
    let to = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 9), 22);
    Ok(nix::sys::socket::connect(fd.as_raw_fd(), &SockaddrIn::from(to))?)
}

#[test]
fn packets_of_a_forgotten_connection_are_no_attempts() {
    in_namespace(|_| {
        let (_, held) = make_for(&guard::policy());
        held.forget_the_proof();
        for (switch, seconds) in [
            ("net/netfilter/nf_conntrack_tcp_timeout_close_wait", "1"),
            ("net/netfilter/nf_conntrack_tcp_timeout_fin_wait", "1"),
            ("net/netfilter/nf_conntrack_tcp_timeout_last_ack", "1"),
            ("net/ipv4/tcp_fin_timeout", "1"),
        ] {
            std::fs::write(format!("/proc/sys/{switch}"), seconds).unwrap();
        }
        let (guard, log) = logged(&held);
        let to = SocketAddrV4::new(guard::virtual_address(&guard, "gitlab.com"), 443);
        let agent = TcpStream::connect(to).unwrap();
        let mut gate = loop {
            if let Ok(accepted) = rustix::net::accept(&held.gate) {
                break TcpStream::from(accepted);
            }
        };
        // The agent gives up; the server answers when nobody remembers the connection.
        drop(agent);
        std::thread::sleep(Duration::from_secs(4));
        gate.write_all(b"a late answer").unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert!(gate.write_all(b"more").is_err(), "the guard is told that the agent has gone");
        // The control: an attempt at the gate's own port is one.
        assert!(connect(&format!("127.0.0.1:{GATE_PORT}")).is_err());
        std::thread::sleep(Duration::from_millis(300));
        guard::finish(&guard);
        let refused: Vec<_> = log.lines().into_iter().filter(|line| line["verdict"] == "deny").collect();
        assert_eq!(stand_for(refused.iter()), 1, "{refused:#?}");
        assert_eq!((&refused[0]["address"], &refused[0]["port"]), (&"127.0.0.1".into(), &GATE_PORT.into()));
    });
}
