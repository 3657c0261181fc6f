//! The fence in real namespaces: made, proven, tampered with, handed over.
//!
//! ```text
//!  a thread ─unshare─▶ its own namespace: lo ─make─▶ eth0 198.18.0.2/29 ══ eth0-end
//! ```
//!
//! No packet can leave the machine: both ends of the only cable lie in a namespace that ends with
//! the test. Needs root.

mod agreement;
mod log;

use std::io::{self, IoSliceMut, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use netpolicy::ruleset::{GATE_PORT, Permit};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrIn, bind, recvmsg, setsockopt,
    socket, sockopt,
};

use super::*;
use crate::wire::handover::{HEARTBEAT, Handover};

const PERMITTED: &str = "25.0.0.1:443";
/// Silence after which a guard of these tests is given up.
const SILENCE: Duration = Duration::from_secs(1);

/// The other end of the fence's cable.
struct Neighbour;

impl Neighbour {
    /// Counts the frames that arrived there: those that left by `eth0`.
    fn heard(&self) -> u64 {
        let dev = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let name = format!("{}:", device::END);
        let line = dev.lines().find_map(|line| line.trim().strip_prefix(&name));
        line.map_or(0, |line| line.split_whitespace().nth(1).unwrap().parse().unwrap())
    }
}

/// Runs a command line in this thread's namespace.
fn sh(line: &str) {
    let mut words = line.split_whitespace();
    let ran = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// Runs a test in a namespace as an engine would make it.
fn in_namespace<T: Send + 'static>(test: impl FnOnce(&Neighbour) -> T + Send + 'static) -> T {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test makes network namespaces: run `sudo -E env PATH=$PATH cargo test -p ringfence fence::`"
    );
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        for switches in ["all", "default"] {
            let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{switches}/disable_ipv6"), "1");
        }
        test(&Neighbour)
    });
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn config() -> FenceConfig {
    let permit = |range: &str, port| Permit::on(range.parse().unwrap(), port);
    FenceConfig {
        workflow: "test".to_owned(),
        permits: vec![permit("25.0.0.1/32", 443), permit("25.0.128.0/17", 22)],
        cut: netpolicy::ruleset::Cut::Nothing,
        connections: netpolicy::ruleset::ConnectionBounds::MOST,
        devices: false,
        given: Vec::new(),
        limits: false,
        covers: Vec::new(),
        init: None,
        kernel: None,
    }
}

/// Returns the proof's doubts after `tamper` has changed a fence that lacks its netdev lock.
fn doubts_after(tamper: &'static [&'static str]) -> (Vec<String>, u64) {
    in_namespace(move |neighbour| {
        let (surroundings, held, _) = make(&config()).unwrap();
        let before = neighbour.heard();
        for line in tamper {
            sh(line);
        }
        let doubts = match proof::prove(&surroundings, &held, &config().permits) {
            Ok(()) => Vec::new(),
            Err(failure) if failure.causes.is_empty() => vec![failure.message],
            Err(failure) => failure.causes,
        };
        (doubts, neighbour.heard() - before)
    })
}

#[test]
fn made_and_proven_with_and_without_the_netdev_lock() {
    in_namespace(|neighbour| {
        let before = neighbour.heard();
        let (surroundings, held, missing) = make(&config()).unwrap();
        assert_eq!(surroundings.own, Ipv4Addr::new(198, 18, 0, 2));
        proof::prove(&surroundings, &held, &config().permits).unwrap();
        lock_devices(&surroundings.plan(&config()), missing);
        proof::prove(&surroundings, &held, &config().permits).unwrap();
        // Twice is once: the same transaction replaces what stands.
        rules::replace(&surroundings.plan(&config()), rules::Logging::IfPossible).unwrap();
        proof::prove(&surroundings, &held, &config().permits).unwrap();
        assert_eq!(neighbour.heard(), before, "frames reached the neighbour");
    });
}

#[test]
fn a_network_that_the_engine_gave_unasked_is_refused() {
    in_namespace(|_| {
        sh("ip link add net0 type veth peer name net1");
        make(&config()).unwrap();
    });
    for given in ["ip addr add 172.17.0.2/16 dev net0", "ip link set net0 up"] {
        in_namespace(move |_| {
            sh("ip link add net0 type veth peer name net1");
            sh(given);
            let refused = make(&config()).err().unwrap();
            let what = "gave the fence a network of its own, net0";
            assert!(refused.message.contains(what), "{given}: {}", refused.message);
        });
    }
}

#[test]
fn a_fence_on_another_kernel_than_the_one_whose_addresses_are_known_is_refused() {
    assert!(check_kernel(None).is_ok());
    assert!(check_kernel(kernel::boot_id().as_deref()).is_ok());
    assert!(check_kernel(Some("another")).is_err());
}

#[test]
fn rules_without_logging_prove_as_well() {
    in_namespace(|_| {
        let (surroundings, held, _) = make(&config()).unwrap();
        rules::replace(&surroundings.plan(&config()), rules::Logging::Absent).unwrap();
        proof::prove(&surroundings, &held, &config().permits).unwrap();
    });
}

#[test]
fn whatever_is_taken_from_the_fence_is_a_doubt() {
    let tampers: [(&'static [&'static str], &str); 8] = [
        (&["nft flush ruleset"], "UDP to"),
        (&["nft delete table inet fence"], "straight to the guard's"),
        (&["nft flush chain inet fence nat_out"], "DNS over UDP"),
        (&["nft flush set inet fence permit"], "permitted TCP to 25.0.0.1:443"),
        (&["ip route add 198.18.0.0/29 dev eth0"], "there is another route"),
        (&["ip route del local default dev lo table local"], "is not the only default"),
        (&["ip addr add 198.18.78.2/29 dev eth0"], "more than one IPv4 address"),
        (&["ip link add eth8 type veth peer name eth9"], "changed meanwhile"),
    ];
    for (tamper, expected) in tampers {
        let (doubts, _) = doubts_after(tamper);
        assert!(doubts.iter().any(|doubt| doubt.contains(expected)), "{tamper:?}: {doubts:#?}");
    }
}

#[test]
fn ipv6_that_is_on_is_a_doubt() {
    if !Path::new("/proc/sys/net/ipv6").exists() {
        return;
    }
    let (doubts, _) = doubts_after(&["sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0"]);
    assert!(doubts.iter().any(|doubt| doubt.contains("IPv6 is not off")), "{doubts:#?}");
}

/// Tries the counters alone, once nothing else is left to refuse, with a positive control of the
/// neighbour's ears.
#[test]
fn a_frame_that_leaves_is_seen_by_the_counters() {
    let (doubts, heard) = doubts_after(&["nft delete table inet fence", "nft delete table arp fence"]);
    assert!(doubts.iter().any(|doubt| doubt == "frames left by eth0"), "{doubts:#?}");
    assert!(heard > 0);
}

/// Shows that the chain `last` stops packets that the output hook would let through.
#[test]
fn the_last_chain_holds_alone() {
    let (doubts, heard) = doubts_after(&[
        "nft flush chain inet fence raw_out",
        "nft insert rule inet fence out accept",
        "nft delete table arp fence",
    ]);
    assert_eq!(heard, 0);
    assert!(!doubts.iter().any(|doubt| doubt.starts_with("frames left")), "{doubts:#?}");
    assert!(!doubts.is_empty(), "the refusals are gone all the same");
}

/// Receives the line and the sockets as a guard does.
fn take_over(stream: &UnixStream) -> (Handover, Vec<OwnedFd>) {
    let mut line = [0; 1024];
    let mut space = nix::cmsg_space!([RawFd; 8]);
    let mut parts = [IoSliceMut::new(&mut line)];
    let got = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty()).unwrap();
    let length = got.bytes;
    let mut sockets = Vec::new();
    for message in got.cmsgs().unwrap() {
        if let ControlMessageOwned::ScmRights(numbers) = message {
            // Duplicated from /proc instead of adopted, which would take unsafe code.
            sockets.extend(numbers.iter().map(|number| {
                let pidfd = rustix::process::pidfd_open(
                    rustix::process::getpid(),
                    rustix::process::PidfdFlags::empty(),
                );
                let copy = rustix::process::pidfd_getfd(
                    pidfd.unwrap(),
                    *number,
                    rustix::process::PidfdGetfdFlags::empty(),
                )
                .unwrap();
                nix::unistd::close(*number).unwrap();
                copy
            }));
        }
    }
    (serde_json::from_slice(&line[..length]).unwrap(), sockets)
}

fn connect(to: &str) -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(&to.parse().unwrap(), Duration::from_secs(3))
}

/// Waits until a permitted connection is refused; how long that took.
fn until_refused() -> Duration {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(5) {
        match connect(PERMITTED) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return begin.elapsed(),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    panic!("connections are still taken 5 s after the guard was lost");
}

#[test]
fn handed_over_shut_when_the_guard_is_lost_and_handed_over_anew() {
    in_namespace(|_| {
        let (surroundings, held, _) = make(&config()).unwrap();
        proof::prove(&surroundings, &held, &config().permits).unwrap();
        held.forget_the_proof();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guard.sock");
        let guard = UnixListener::bind(&path).unwrap();
        let at = path.clone();
        let fence = std::thread::spawn(move || {
            let stop = stop::Stop::listen().unwrap();
            handover::keep_handing_over(&held, surroundings.own, &at, SILENCE, &stop, || {})
        });

        // A guard that serves.
        let (mut stream, _) = guard.accept().unwrap();
        let (line, mut sockets) = take_over(&stream);
        assert_eq!((line.v, line.own), (1, Ipv4Addr::new(198, 18, 0, 2)));
        assert_eq!(line.sockets.len(), sockets.len());
        stream.write_all(b"ready\n").unwrap();
        let gate = TcpListener::from(sockets.remove(0));
        gate.set_nonblocking(false).unwrap();
        let mut agent = connect(PERMITTED).unwrap();
        let (mut accepted, _) = gate.accept().unwrap();
        assert_eq!(accepted.local_addr().unwrap().port(), GATE_PORT);
        accepted.write_all(b"hello").unwrap();
        // The guard's side closes first: the connection lingers on the port, as after a guard's
        // death.
        drop(accepted);
        let mut hello = String::new();
        agent.read_to_string(&mut hello).unwrap();
        assert_eq!(hello, "hello");
        drop(agent);
        stream.write_all(b"..").unwrap();

        // It dies.
        drop((stream, gate, sockets, guard));
        assert!(until_refused() < Duration::from_millis(500));
        let dns = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        dns.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        dns.connect((Ipv4Addr::new(203, 0, 113, 9), 53)).unwrap();
        let refused = dns.send(b"?").and_then(|_| dns.recv(&mut [0; 9])).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        // Nobody takes its place.
        let thief = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&thief, sockopt::ReuseAddr, &true).unwrap();
        let gate_port = SocketAddrV4::new(Ipv4Addr::LOCALHOST, GATE_PORT);
        assert_eq!(bind(thief.as_raw_fd(), &SockaddrIn::from(gate_port)), Err(nix::errno::Errno::EADDRINUSE));

        // Another guard comes, serves, and then hangs.
        std::fs::remove_file(&path).unwrap();
        let guard = UnixListener::bind(&path).unwrap();
        let (mut stream, _) = guard.accept().unwrap();
        let (_, sockets) = take_over(&stream);
        stream.write_all(b"ready\n").unwrap();
        for _ in 0..6 {
            std::thread::sleep(HEARTBEAT);
            stream.write_all(b".").unwrap();
        }
        connect(PERMITTED).unwrap();
        let silent = until_refused();
        assert!((Duration::from_millis(700)..Duration::from_millis(1500)).contains(&silent), "{silent:?}");
        drop(sockets);
        assert!(!fence.is_finished(), "the fence stays, whatever the guards do");
    });
}

/// Connects, and returns `None` when the connection is made within a moment, or else the kind of
/// error.
fn reaches(address: &str) -> Option<io::ErrorKind> {
    let address = address.parse().unwrap();
    TcpStream::connect_timeout(&address, Duration::from_millis(300)).err().map(|error| error.kind())
}

/// Tells whether a byte arrives within so many milliseconds.
fn arrives(mut from: &TcpStream, mut to: &TcpStream, within: u64) -> bool {
    to.set_read_timeout(Some(Duration::from_millis(within))).unwrap();
    from.write_all(b"x").unwrap();
    to.read_exact(&mut [0; 1]).is_ok()
}

#[test]
fn what_is_cut_vanishes_both_ways_and_comes_back() {
    in_namespace(|neighbour| {
        let (surroundings, held, _) = make(&config()).unwrap();
        let frames = neighbour.heard();
        let apply = |cut| {
            rules::replace(&FencePlan { cut, ..surroundings.plan(&config()) }, rules::Logging::IfPossible)
                .unwrap()
        };
        let silence = Some(io::ErrorKind::TimedOut);
        let datagrams = UdpSocket::bind("0.0.0.0:0").unwrap();
        let (one, other) = ("25.0.0.1:443", "25.0.128.1:22");

        // Not cut: connections reach the gate, datagrams are an error at once.
        let agent = TcpStream::connect(one).unwrap();
        let gate = loop {
            if let Ok(accepted) = rustix::net::accept(&held.gate) {
                break TcpStream::from(accepted);
            }
        };
        assert!(arrives(&agent, &gate, 1000) && arrives(&gate, &agent, 1000));
        assert_eq!(reaches(other), None);
        assert!(datagrams.send_to(b"x", one).is_err());
        assert_eq!(reaches("25.0.0.1:80"), Some(io::ErrorKind::ConnectionRefused));

        apply(netpolicy::ruleset::Cut::Only(vec![Ipv4Addr::new(25, 0, 0, 1)]));
        assert_eq!((reaches(one), reaches("25.0.0.1:80"), reaches(other)), (silence, silence, None));
        assert!(datagrams.send_to(b"x", one).is_ok(), "a datagram vanishes without an error");
        assert!(!arrives(&agent, &gate, 300) && !arrives(&gate, &agent, 300));

        apply(netpolicy::ruleset::Cut::All);
        assert_eq!((reaches(one), reaches(other), reaches("192.0.2.1:9")), (silence, silence, silence));
        assert_eq!((reaches("192.0.2.1:53"), reaches("127.0.0.1:53")), (silence, silence), "DNS over TCP");
        // A question arrives, for the log; no answer leaves.
        let filter = UdpSocket::from(held.dns_udp.try_clone().unwrap());
        datagrams.send_to(b"question", "192.0.2.1:53").unwrap();
        datagrams.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        filter.set_nonblocking(false).unwrap();
        let (_, asker) = filter.recv_from(&mut [0; 16]).unwrap();
        let _ = filter.send_to(b"answer", asker);
        assert!(datagrams.recv_from(&mut [0; 16]).is_err());
        // The agent's own servers are its own.
        let own = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = own.local_addr().unwrap().port();
        assert_eq!(
            (reaches(&format!("127.0.0.1:{port}")), reaches(&format!("198.18.0.2:{port}"))),
            (None, None)
        );

        apply(netpolicy::ruleset::Cut::Nothing);
        assert_eq!((reaches(one), reaches(other)), (None, None));
        // What was sent meanwhile arrives: one byte each way was under way already.
        let mut waiting = [0; 1];
        for stream in [&agent, &gate] {
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut stream = stream;
            stream.read_exact(&mut waiting).unwrap();
        }
        filter.send_to(b"late", asker).unwrap();
        assert!(datagrams.recv_from(&mut [0; 16]).is_ok());
        assert_eq!(neighbour.heard(), frames, "frames reached the neighbour");
    });
}
