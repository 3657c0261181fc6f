//! Words between a guard and the supervisor that carries connections to the loopback of its
//! machine.
//!
//! ```text
//!  guard                                              supervisor: holds an exec of `ringfence guard carry`
//!  first conversation: READY ───────────────────────▶ the guard takes connections by it
//!                      ◀───────────────────────────── a beat, again and again
//!  each connection: port, length, name ─────────────▶ permitted? dialled on loopback? an answer, then bytes both ways
//! ```

use std::io;

use netpolicy::host::HostName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::carrier::Conversation;

/// Socket at which the guard waits for the supervisor's stream: in the volume that the fence and
/// the guard share, for the guard's own user alone.
pub(crate) const SOCKET: &str = "/run/ringfence/loopback.sock";
/// Connections at once. Each may hold a window of bytes in the guard.
pub(crate) const CONNECTIONS: usize = 64;
/// Server on the loopback that a connection is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoopbackRequest {
    /// Name of the host that the agent used.
    pub(crate) name: HostName,
    /// The port.
    pub(crate) port: u16,
}

impl LoopbackRequest {
    /// Writes the request.
    pub(crate) async fn write(&self, to: &mut Conversation) -> io::Result<()> {
        to.write_all(&self.bytes()).await?;
        to.flush().await
    }

    fn bytes(&self) -> Vec<u8> {
        let name = self.name.as_str().as_bytes();
        // A name has 253 bytes at the most.
        let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
        [&self.port.to_be_bytes()[..], &[length], name].concat()
    }

    /// Reads a request.
    ///
    /// # Errors
    /// When what comes is none.
    pub(crate) async fn read(from: &mut Conversation) -> io::Result<LoopbackRequest> {
        let port = from.read_u16().await?;
        let mut name = vec![0; usize::from(from.read_u8().await?)];
        from.read_exact(&mut name).await?;
        LoopbackRequest::of(port, &name).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn of(port: u16, name: &[u8]) -> Option<LoopbackRequest> {
        let name = HostName::parse(std::str::from_utf8(name).ok()?).ok()?;
        (port != 0).then_some(LoopbackRequest { name, port })
    }
}

/// Answer of the supervisor to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoopbackAnswer {
    /// The server takes the connection.
    Connected,
    /// Nobody listens there.
    Refused,
    /// The policy does not permit it, as far as the supervisor knows.
    NotPermitted,
    /// There are too many connections.
    Full,
    /// The changes of the run cannot be read, so nobody knows what was taken away.
    CannotTell,
}

impl LoopbackAnswer {
    /// Returns the byte that stands for it.
    pub(crate) fn byte(self) -> u8 {
        match self {
            LoopbackAnswer::Connected => b'+',
            LoopbackAnswer::Refused => b'-',
            LoopbackAnswer::NotPermitted => b'!',
            LoopbackAnswer::Full => b'#',
            LoopbackAnswer::CannotTell => b'?',
        }
    }

    /// Reads a byte.
    pub(crate) fn read(byte: u8) -> Option<LoopbackAnswer> {
        use LoopbackAnswer::{CannotTell, Connected, Full, NotPermitted, Refused};
        let all = [Connected, Refused, NotPermitted, Full, CannotTell];
        all.into_iter().find(|answer| answer.byte() == byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_back_and_nothing_else_is_one() {
        let request = LoopbackRequest { name: HostName::parse("host.docker.internal").unwrap(), port: 3000 };
        let bytes = request.bytes();
        assert_eq!(bytes[2] as usize, bytes.len() - 3);
        assert_eq!(LoopbackRequest::of(3000, &bytes[3..]), Some(request));
        for (port, name) in [
            (0, &b"host.docker.internal"[..]),
            (80, b""),
            (80, b"\xff"),
            (80, b"a b"),
            (80, b"127.0.0.1"),
            (80, b"host.docker.internal\n"),
        ] {
            assert_eq!(LoopbackRequest::of(port, name), None, "{name:?}");
        }
    }

    #[test]
    fn only_its_own_bytes_are_answers() {
        let read: Vec<u8> = (0..=255).filter(|byte| LoopbackAnswer::read(*byte).is_some()).collect();
        assert_eq!(read, [b'!', b'#', b'+', b'-', b'?']);
    }
}
