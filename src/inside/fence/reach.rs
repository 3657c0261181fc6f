//! Waiting until a port of this network namespace takes connections: a service's, before the agent
//! begins.

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use netpolicy::service::LONGEST_WITHIN;

use super::failure;
use crate::term::Failure;

/// The time between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// A connection over the loopback takes no longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// The supervisor has given up by then.
const LONGEST: Duration = Duration::from_secs(LONGEST_WITHIN);

/// Returns once something listens on a port of 127.0.0.1.
pub(crate) fn reach(port: u16) -> Result<(), Failure> {
    let (began, at) = (Instant::now(), SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into());
    while TcpStream::connect_timeout(&at, PATIENCE).is_err() {
        if began.elapsed() > LONGEST {
            return Err(failure("nothing listens there"));
        }
        sleep(PAUSE);
    }
    Ok(())
}
