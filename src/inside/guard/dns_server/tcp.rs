//! DNS over TCP: messages with their length before them, answered in their order.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{DnsReply, Guard, Step, full, later, step};
use crate::inside::guard::dns;

/// Connections at once.
const CONNECTIONS: usize = 64;
/// Time that a connection may say nothing.
const IDLE: Duration = Duration::from_secs(30);
/// Time limit for the rest of a message once it began, and for an answer to be taken.
const MESSAGE: Duration = Duration::from_secs(10);

/// Answers on connections for ever.
pub(crate) async fn serve_tcp(listener: TcpListener, guard: Arc<Guard>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            full(&guard, format!("{CONNECTIONS} connections at once to the DNS filter"));
            let _ = stream.set_zero_linger();
            continue;
        };
        let guard = Arc::clone(&guard);
        tokio::spawn(async move {
            // However it ends, it ends: the asker sees the end of the connection.
            let _ = converse(stream, &guard).await;
            drop(permit);
        });
    }
}

/// Answers the questions of one connection in their order.
async fn converse(mut stream: TcpStream, guard: &Guard) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.split();
    let mut read = BufReader::with_capacity(1024, read);
    let mut message = Vec::new();
    while let Some(first) = in_time(IDLE, first_byte(&mut read)).await? {
        let whole = in_time(MESSAGE, rest(first, &mut read, &mut message)).await?;
        let answer = match step(guard, &message, Some(usize::from(u16::MAX))) {
            Step::Silence => return Ok(()),
            Step::Unanswered => continue,
            Step::Now(DnsReply { bytes, .. }) => bytes,
            Step::Later(asked, verdict) => later(guard, &asked, verdict, Some(usize::from(u16::MAX))).await,
        };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
        let framed = [&length.to_be_bytes(), &answer[..]].concat();
        in_time(MESSAGE, write.write_all(&framed)).await?;
        if !whole {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads a message whose length begins with `first`. One that is too long for a question is read as
/// its header alone, which promises more than is there; the connection is of no use then.
async fn rest(first: u8, read: &mut (impl AsyncRead + Unpin), message: &mut Vec<u8>) -> io::Result<bool> {
    let length = usize::from(u16::from_be_bytes([first, read.read_u8().await?]));
    let whole = length <= dns::LONGEST;
    message.resize(if whole { length } else { dns::HEADER }, 0);
    read.read_exact(message).await?;
    Ok(whole)
}

/// Reads the first byte of a message, or nothing at the end.
async fn first_byte(read: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<u8>> {
    let mut byte = [0];
    Ok((read.read(&mut byte).await? == 1).then_some(byte[0]))
}

/// Waits for an operation, at most so long.
async fn in_time<T>(limit: Duration, operation: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, operation).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
