//! Connections on which a server acknowledges nothing any more.
//!
//! ```text
//!  every few seconds: the kernel's list of sockets ─▶ one that repeats in vain for the n-th time ─▶ event `stalled`, once a connection
//! ```
//! A path that drops large packets without a word (a smaller MTU, its ICMP filtered) looks like a
//! server that thinks: bytes go out, and nothing comes. The connection is left alone, as the kernel
//! leaves it. The list costs one read for all connections, whatever their protocol, and no place in
//! any of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use netpolicy::decide::Reason;
use tokio::net::TcpStream;

use super::Guard;
use super::gate::Link;
use crate::wire::event::{Access, Kind};

/// The time between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Repetitions without an answer: they take six seconds at the least, and twice as long each time.
const REPEATED: u32 = 5;
/// The kernel's lists of sockets.
const LISTS: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];

/// The two ends of a connection of the guard.
type Ends = (SocketAddr, SocketAddr);

/// The guard's own connections.
#[derive(Default)]
pub(crate) struct Stalls(Mutex<HashMap<Ends, Watched>>);

struct Watched {
    since: Instant,
    /// Taken when it was told.
    event: Option<Box<Access>>,
}

impl Stalls {
    /// Watches a connection that was made for a link.
    pub(crate) fn watch(&self, stream: &TcpStream, link: &Link) {
        // One that has ended already is not watched.
        let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return };
        let text = "the server has acknowledged nothing for a while; does the path drop large packets (MTU)?";
        let event = Access {
            reason: Some(Reason::Stalled.into()),
            address: Some(peer.ip()),
            error: Some(text.to_owned()),
            ..link.fill(Access { kind: Kind::Connect, ..Access::default() })
        };
        let watched = Watched { since: Instant::now(), event: Some(Box::new(event)) };
        self.lock().insert((local, peer), watched);
    }

    /// Takes the events of those that repeat in vain; forgets those that the kernel does not list,
    /// unless they are newer than the list.
    fn look(&self, listed: &HashMap<Ends, u32>, began: Instant) -> Vec<Access> {
        let mut told = Vec::new();
        self.lock().retain(|ends, watched| match listed.get(ends) {
            None => watched.since >= began,
            Some(repeated) => {
                if *repeated >= REPEATED {
                    told.extend(watched.event.take().map(|event| *event));
                }
                true
            }
        });
        told
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ends, Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks for ever.
pub(crate) async fn serve(guard: Arc<Guard>) {
    loop {
        tokio::time::sleep(LOOK).await;
        if guard.stalls.lock().is_empty() {
            continue;
        }
        let began = Instant::now();
        let mut listed = HashMap::new();
        for list in LISTS {
            // A kernel without IPv6 has no second list.
            let text = tokio::fs::read_to_string(list).await.unwrap_or_default();
            listed.extend(text.lines().skip(1).filter_map(socket));
        }
        for event in guard.stalls.look(&listed, began) {
            guard.events.write(event);
        }
    }
}

/// Reads the ends of a listed socket, and how often it has repeated what it sent, in vain.
fn socket(line: &str) -> Option<(Ends, u32)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let ends = (end(words.next()?)?, end(words.next()?)?);
    // The state, two queues, a timer.
    let repeated = u32::from_str_radix(words.nth(3)?, 16).ok()?;
    Some((ends, repeated))
}

/// Reads `0100007F:1F90`: words of the machine's own order, and a port.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |from: usize| {
        let digits = address.get(from..from + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (index, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(index * 8)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(local: &str, peer: &str) -> Ends {
        (local.parse().unwrap(), peer.parse().unwrap())
    }

    #[tokio::test]
    async fn the_kernels_list_is_understood() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let text = std::fs::read_to_string(LISTS[0]).unwrap();
        let own = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let listed: HashMap<Ends, u32> = text.lines().skip(1).filter_map(socket).collect();
        assert_eq!(listed.get(&own), Some(&0), "{own:?}");
        let line = "  7: 0100007F:D5E6 076433C6:1E61 01 00010A40:00000000 01:00000342 00000006     0        0 4711 3 0 20 4 30 10 -1";
        if cfg!(target_endian = "little") {
            assert_eq!(socket(line), Some((ends("127.0.0.1:54758", "198.51.100.7:7777"), 6)));
        }
        let six = end("B80D0120000000000000000001000000:0050");
        assert!(cfg!(target_endian = "big") || six == Some("[2001:db8::1]:80".parse().unwrap()), "{six:?}");
        for bad in ["", "x", "7: 01:1 02:2", "7: 0100007F:D5E6 076433C6:1E61 01 0:0 1:1 zz"] {
            assert_eq!(socket(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_connection_is_told_once_and_forgotten_when_it_is_gone() {
        let (stalls, old, new) =
            (Stalls::default(), ends("1.1.1.1:1", "2.2.2.2:2"), ends("1.1.1.1:3", "2.2.2.2:2"));
        let began = Instant::now();
        let watched = |since| Watched { since, event: Some(Box::default()) };
        let before = began.checked_sub(Duration::from_secs(1)).unwrap();
        stalls.lock().insert(old, watched(before));
        assert_eq!(stalls.look(&[(old, REPEATED - 1)].into(), began).len(), 0);
        assert_eq!(stalls.look(&[(old, REPEATED)].into(), began).len(), 1);
        assert_eq!(stalls.look(&[(old, REPEATED + 1)].into(), began).len(), 0, "once");
        stalls.lock().insert(new, watched(began));
        assert_eq!(stalls.look(&HashMap::new(), began).len(), 0);
        assert_eq!(
            stalls.lock().keys().collect::<Vec<_>>(),
            [&new],
            "one that the list is too old for stays"
        );
    }
}
