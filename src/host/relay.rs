//! Bytes between a TCP connection and another stream, both ways, with their ends and resets.
//!
//! ```text
//!  tcp ──bytes──▶ other   ends when both directions have ended, when one breaks, or when the TCP peer is gone:
//!  tcp ◀──bytes── other     it reset the connection │ it answers the kernel's questions no more
//! ```
//! A peer that has ended its own direction may still read, for as long as it likes. Whether it is
//! still there is asked by the kernel, so that a connection without a peer holds nothing.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::io::InspectWriter;

/// Bytes that are held each way.
const BUFFER: usize = 32 << 10;
/// Silence after which the kernel asks whether the peer is there, and the time between its
/// questions. The peer's kernel answers for a socket that was closed for a minute longer.
const SILENCE: Duration = Duration::from_secs(15);
/// Questions without an answer after which a peer is gone.
const QUESTIONS: u32 = 3;
/// Time within which the other stream must take some of what a connection that was reset has left.
const LEFT: Duration = Duration::from_secs(5);
/// Time between two looks at what is left.
const LOOK: Duration = Duration::from_millis(50);

/// Carries bytes until both directions have ended, or the TCP peer is gone. Where one breaks, the
/// TCP connection is reset, so that its other end takes nothing for whole.
pub(crate) async fn relay(tcp: TcpStream, other: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    relay_until(tcp, other, std::future::pending()).await
}

/// Carries bytes like [`relay`], until something else ends the connection, which breaks it.
pub(crate) async fn relay_until(
    tcp: TcpStream,
    other: impl AsyncRead + AsyncWrite + Unpin,
    over: impl Future<Output = ()>,
) -> io::Result<()> {
    ask_after_peer(&tcp, SILENCE);
    carry(tcp, other, over).await
}

/// Has a connection reset when it is dropped.
pub(crate) fn reset(tcp: &TcpStream) {
    // A connection that cannot be reset is closed.
    let _ = sockopt::set_socket_linger(tcp, Some(Duration::ZERO));
}

/// Has the kernel ask a silent peer whether it is there. The program at the other end need not
/// know: its kernel answers while the socket is open, and resets the connection some time (Linux: a
/// minute, `tcp_fin_timeout`) after the socket was closed.
fn ask_after_peer(tcp: &TcpStream, silence: Duration) {
    // Without it a peer that closed its socket is taken for one that waits, and no more is lost.
    let _ = sockopt::set_socket_keepalive(tcp, true);
    let _ = sockopt::set_tcp_keepidle(tcp, silence);
    let _ = sockopt::set_tcp_keepintvl(tcp, silence);
    let _ = sockopt::set_tcp_keepcnt(tcp, QUESTIONS);
}

async fn carry(
    tcp: TcpStream,
    other: impl AsyncRead + AsyncWrite + Unpin,
    over: impl Future<Output = ()>,
) -> io::Result<()> {
    let carried = AtomicU64::new(0);
    let near = Near { tcp: &tcp, read: AtomicU64::new(0), broken: Notify::new() };
    let mut end = &near;
    let mut other = InspectWriter::new(other, |bytes: &[u8]| {
        carried.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    });
    let broken = || Err(io::ErrorKind::ConnectionReset.into());
    let done = tokio::select! {
        biased;
        () = over => broken(),
        done = copy_bidirectional_with_sizes(&mut end, &mut other, BUFFER, BUFFER) => done.map(drop),
        ended = near.broken_and_carried(&carried) => ended.and(broken()),
    };
    if done.is_err() {
        reset(&tcp);
    }
    done
}

/// A connection that is looked at while it carries bytes. What it breaks with is no error of a read
/// or a write: what had arrived before is carried on.
struct Near<'t> {
    tcp: &'t TcpStream,
    /// Bytes that were read.
    read: AtomicU64,
    /// A read or a write failed.
    broken: Notify,
}

impl Near<'_> {
    /// Waits until the connection is broken, and what had arrived on it is carried or not wanted.
    /// While the other stream takes nothing, nobody reads the connection and learns of its end.
    /// Linux keeps what had arrived readable.
    async fn broken_and_carried(&self, carried: &AtomicU64) -> io::Result<()> {
        tokio::select! {
            ended = self.tcp.ready(Interest::ERROR) => drop(ended?),
            () = self.broken.notified() => {}
        }
        let (mut before, mut since) = (0, Instant::now());
        loop {
            let now = carried.load(Ordering::Relaxed);
            let left = rustix::io::ioctl_fionread(self.tcp)? + self.read.load(Ordering::Relaxed) - now;
            if now > before {
                (before, since) = (now, Instant::now());
            }
            if left == 0 || since.elapsed() > LEFT {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Leaves an error to [`Near::broken_and_carried`].
    fn fail<T>(&self) -> Poll<io::Result<T>> {
        self.broken.notify_one();
        Poll::Pending
    }
}

impl AsyncRead for &Near<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.tcp.poll_read_ready(context))?;
            match self.tcp.try_read(buffer.initialize_unfilled()) {
                Ok(length) => {
                    buffer.advance(length);
                    self.read.fetch_add(length as u64, Ordering::Relaxed);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return self.fail(),
            }
        }
    }
}

impl AsyncWrite for &Near<'_> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.tcp.poll_write_ready(context))?;
            match self.tcp.try_write(bytes) {
                Ok(length) => return Poll::Ready(Ok(length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return self.fail(),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match rustix::net::shutdown(self.tcp, rustix::net::Shutdown::Write) {
            // The peer is gone already: a read says how.
            Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            done => Poll::Ready(done.map_err(Into::into)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns a client, the far end of what is carried for it, and the carrying.
    async fn carried() -> (TcpStream, DuplexStream, JoinHandle<io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, near) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let near = near.unwrap().0;
        ask_after_peer(&near, SECOND);
        let (other, far) = duplex(1024);
        (client.unwrap(), far, tokio::spawn(carry(near, other, std::future::pending())))
    }

    /// Writes until nobody takes any more.
    async fn fill(client: &mut TcpStream) {
        let bytes = [7; 64 << 10];
        while timeout(SECOND / 4, client.write_all(&bytes)).await.is_ok() {}
    }

    #[tokio::test]
    async fn a_client_that_resets_is_noticed_while_nobody_reads_what_it_sent() {
        let (mut client, _far, carrying) = carried().await;
        fill(&mut client).await;
        reset(&client);
        drop(client);
        let ended = timeout(LEFT + SECOND * 5, carrying).await.expect("it ends").unwrap();
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn what_had_arrived_before_a_reset_is_carried() {
        let (mut client, mut far, carrying) = carried().await;
        // More than the carrying holds, less than the kernel does.
        let sent = vec![7; 100 << 10];
        client.write_all(&sent).await.unwrap();
        reset(&client);
        drop(client);
        // The reset has arrived before anybody reads.
        tokio::time::sleep(SECOND / 4).await;
        let mut arrived = Vec::new();
        timeout(SECOND * 5, far.read_to_end(&mut arrived)).await.expect("it ends").unwrap();
        assert_eq!(arrived.len(), sent.len());
        assert_eq!(carrying.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn what_something_else_ends_is_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, near) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut client, near) = (client.unwrap(), near.unwrap().0);
        let (other, _far) = duplex(1024);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let carrying = tokio::spawn(relay_until(near, other, async { _ = ended.await }));
        assert!(timeout(SECOND / 4, client.read_u8()).await.is_err(), "the control: it is open");
        end.send(()).unwrap();
        assert_eq!(client.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(carrying.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn the_kernel_asks_after_every_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, near) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (client, near) = (client.unwrap(), near.unwrap().0);
        let looked_at = near.as_fd().try_clone_to_owned().unwrap();
        assert!(!sockopt::socket_keepalive(&looked_at).unwrap(), "the control");
        let (other, mut far) = duplex(1024);
        let carrying = tokio::spawn(relay(near, other));
        far.write_all(b"begun").await.unwrap();
        let mut client = client;
        client.read_exact(&mut [0; 5]).await.unwrap();
        assert!(sockopt::socket_keepalive(&looked_at).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&looked_at).unwrap(), SILENCE);
        assert_eq!(sockopt::tcp_keepintvl(&looked_at).unwrap(), SILENCE);
        assert_eq!(sockopt::tcp_keepcnt(&looked_at).unwrap(), QUESTIONS);
        drop((client, far));
        assert!(timeout(SECOND * 5, carrying).await.is_ok(), "it ends with both");
    }

    #[tokio::test]
    async fn a_client_that_waits_for_an_answer_is_waited_for() {
        let (mut client, mut far, carrying) = carried().await;
        client.write_all(b"ask").await.unwrap();
        client.shutdown().await.unwrap();
        let mut asked = Vec::new();
        far.read_to_end(&mut asked).await.unwrap();
        // Longer than a client that is gone would be waited for.
        tokio::time::sleep(SECOND * 6).await;
        far.write_all(b"answer").await.unwrap();
        far.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!((&asked[..], &answer[..]), (&b"ask"[..], &b"answer"[..]));
        carrying.await.unwrap().unwrap();
    }
}
