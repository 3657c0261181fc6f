//! Bytes between a TCP connection and another stream, both ways, with their ends and resets.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;

/// Bytes that are held each way.
const BUFFER: usize = 32 << 10;

/// Carries bytes until both directions have ended. Where one breaks, the TCP connection is reset,
/// so that its other end takes nothing for whole.
pub(crate) async fn relay(
    mut tcp: TcpStream,
    mut other: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    let done = copy_bidirectional_with_sizes(&mut tcp, &mut other, BUFFER, BUFFER).await;
    if done.is_err() {
        reset(&tcp);
    }
    done.map(|_| ())
}

/// Has a connection reset when it is dropped.
pub(crate) fn reset(tcp: &TcpStream) {
    // A connection that cannot be reset is closed.
    let _ = rustix::net::sockopt::set_socket_linger(tcp, Some(std::time::Duration::ZERO));
}
