//! Dialling: several addresses, the better ones first, each a little later than the one before (RFC
//! 8305).
//!
//! ```text
//!  addresses ──order──▶ v6, v4, v6, v4, … then those without a route ──race──▶ the first that connects
//! ```

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustix::net::sockopt;

/// Time limit for all dialling.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);
/// Time between the dial of one address and that of the next.
const STAGGER: Duration = Duration::from_millis(250);
/// Silence after which a peer is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Orders the attempts: IPv6 and IPv4 in turn, IPv6 first; addresses without a route come last. Of
/// one family alone the order stays: no question to the kernel would change it, and an attempt
/// without a route fails at once.
pub(crate) fn order(addresses: Vec<SocketAddr>, has_route: impl Fn(IpAddr) -> bool) -> Vec<SocketAddr> {
    if addresses.iter().all(SocketAddr::is_ipv4) || addresses.iter().all(SocketAddr::is_ipv6) {
        return addresses;
    }
    let (reachable, hopeless): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.into_iter().partition(|address| has_route(address.ip()));
    let (six, four): (Vec<SocketAddr>, Vec<SocketAddr>) =
        reachable.into_iter().partition(SocketAddr::is_ipv6);
    let mut ordered = Vec::with_capacity(six.len() + four.len() + hopeless.len());
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    loop {
        let pair = [six.next(), four.next()];
        if pair == [None, None] {
            break;
        }
        ordered.extend(pair.into_iter().flatten());
    }
    ordered.extend(hopeless);
    ordered
}

/// Tells whether the kernel knows a way to an address. Nothing is sent.
pub(super) fn has_route(address: IpAddr) -> bool {
    let any: IpAddr =
        if address.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((address, 9))).is_ok()
}

/// Dials the addresses one beside the other, each a little later, or as soon as the one before has
/// failed.
pub(super) async fn race<S, F>(
    addresses: &[SocketAddr],
    dial: impl Fn(SocketAddr) -> F,
) -> io::Result<(S, SocketAddr)>
where
    F: Future<Output = io::Result<S>>,
{
    let mut attempts = FuturesUnordered::new();
    let mut rest = addresses.iter().copied();
    let mut last: io::Error = io::ErrorKind::NotFound.into();
    let mut more = true;
    loop {
        if more {
            match rest.next() {
                Some(to) => {
                    let attempt = dial(to);
                    attempts.push(async move { Ok((attempt.await?, to)) });
                }
                None if attempts.is_empty() => return Err(last),
                None => {}
            }
        }
        more = tokio::select! {
            Some(done) = attempts.next() => match done {
                Ok(connected) => return Ok(connected),
                Err(error) => { last = error; true }
            },
            () = tokio::time::sleep(STAGGER) => true,
        };
    }
}

/// Makes the kernel ask a silent peer whether it is still there.
pub(crate) fn keep_alive(socket: impl AsFd) {
    // Without it a dead peer is noticed later, no more.
    let _ = sockopt::set_socket_keepalive(&socket, true);
    let _ = sockopt::set_tcp_keepidle(&socket, KEEPALIVE);
    let _ = sockopt::set_tcp_keepintvl(&socket, Duration::from_secs(15));
    let _ = sockopt::set_tcp_keepcnt(&socket, 4);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_what_has_no_route_comes_last() {
        let given =
            all(&["192.0.2.1:1", "192.0.2.2:1", "[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1"]);
        assert_eq!(
            order(given.clone(), |_| true),
            all(&["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "192.0.2.2:1", "[2001:db8::3]:1"])
        );
        assert_eq!(
            order(given, |address| address.is_ipv4()),
            all(&["192.0.2.1:1", "192.0.2.2:1", "[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1"])
        );
    }

    #[tokio::test]
    async fn a_dead_ipv6_costs_a_moment_and_no_more() {
        let addresses = all(&["[2001:db8::1]:1", "192.0.2.1:1"]);
        let began = std::time::Instant::now();
        let (_, won) = race(&addresses, |to| async move {
            if to.is_ipv6() {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(won, addresses[1]);
        let took = began.elapsed();
        assert!(took >= STAGGER && took < STAGGER * 4, "{took:?}");
    }

    #[tokio::test]
    async fn a_refusal_is_not_waited_after_and_the_last_error_is_told() {
        let addresses = all(&["192.0.2.1:1", "192.0.2.2:1"]);
        let began = std::time::Instant::now();
        let refused = |_| async { Err::<(), _>(io::ErrorKind::ConnectionRefused.into()) };
        let error = race(&addresses, refused).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(began.elapsed() < STAGGER, "{:?}", began.elapsed());
    }
}
