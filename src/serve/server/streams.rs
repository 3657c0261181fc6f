//! Raw connections: attach and exec, once the engine has changed the protocol.
//!
//! ```text
//!  client: Upgrade ─▶ the engine's 101 ─▶ 101 ─▶ bytes both ways, until the engine ends or the client is gone
//!  client: no Upgrade ─▶ the engine's 200 ─▶ output alone
//! ```
//! Before the engine's 101 no byte of the client's is passed on.

use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use super::containers::Received;
use super::http::{Answer, EngineHttp, Sent, empty, passed};
use crate::serve::denied::Denied;
use crate::serve::request::upstream_line::Line;

/// Time between two looks whether a client whose input has ended is gone.
const LOOK: Duration = Duration::from_secs(2);

/// Place of a connection among those that are open at once. It is free when the last who has it
/// lets it go.
pub(crate) type Place = Rc<OwnedSemaphorePermit>;

/// A request for streams of the engine.
pub(crate) struct RawAsk {
    /// The line for the engine.
    pub(crate) line: Line,
    /// Its body.
    pub(crate) sent: Sent,
    /// Set when the client wants to write.
    pub(crate) has_input: bool,
}

/// Attaches a client to streams of the engine.
///
/// # Errors
/// When it wants to write and has not asked for the raw connection.
pub(crate) async fn hijack(engine: &EngineHttp, received: Received, asked: RawAsk) -> Result<Answer, Denied> {
    let Received { head, version, place, .. } = received;
    let RawAsk { line, sent, has_input } = asked;
    if !head.headers.contains_key(UPGRADE) {
        if has_input {
            return Err(Denied::new(
                400,
                "stdin needs the header `Upgrade: tcp`; use a client of this decade",
            ));
        }
        return Ok(passed(engine.send(&line, version, sent).await?));
    }
    let answer = engine.upgrade(&line, version, sent).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(passed(answer));
    }
    let mut switched = Response::new(empty());
    *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    switched.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    switched.headers_mut().insert(UPGRADE, HeaderValue::from_static("tcp"));
    if let Some(kind) = answer.headers().get(CONTENT_TYPE) {
        switched.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    tokio::task::spawn_local(carry(Request::from_parts(head, ()), answer, place));
    Ok(switched)
}

/// Carries bytes until the engine has ended, or the client is gone.
async fn carry(client: Request<()>, engine: Response<Incoming>, place: Place) {
    let both = tokio::try_join!(hyper::upgrade::on(client), hyper::upgrade::on(engine));
    let Ok((client, engine)) = both else { return };
    let Ok(client) = client.downcast::<TokioIo<UnixStream>>() else { return };
    between(client.io.into_inner(), &client.read_buf, TokioIo::new(engine)).await;
    drop(place);
}

/// Carries bytes both ways. A client that has ended its input still reads; one that is gone does
/// not, and a silent engine would never find out.
async fn between(client: UnixStream, first: &[u8], engine: impl AsyncRead + AsyncWrite) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_engine, mut to_engine) = tokio::io::split(engine);
    let input = async {
        if to_engine.write_all(first).await.is_ok() {
            // Either side may go at any time.
            let _ = tokio::io::copy(&mut from_client, &mut to_engine).await;
        }
        let _ = to_engine.shutdown().await;
        until_gone(from_client.as_ref()).await;
    };
    let output = async {
        let _ = tokio::io::copy(&mut from_engine, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::select! {
        () = input => {}
        () = output => {}
    }
}

/// Waits until a client has closed both directions.
async fn until_gone(client: &UnixStream) {
    loop {
        // A hang-up is told whatever is asked for.
        let mut looked = [PollFd::new(client.as_fd(), PollFlags::empty())];
        let told = poll(&mut looked, PollTimeout::ZERO);
        if told.is_ok_and(|count| count > 0) {
            return;
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_gone_is_let_go_and_one_that_only_reads_is_not() {
        let (client, own) = UnixStream::pair().unwrap();
        let (engine, other) = tokio::io::duplex(64);
        let carrying = between(own, b"first ", engine);
        tokio::pin!(carrying);
        let (mut from, mut to) = client.into_split();
        let (mut engine_out, mut engine_in) = tokio::io::split(other);
        let speaking = async {
            to.write_all(b"and more").await.unwrap();
            to.shutdown().await.unwrap();
            let mut input = String::new();
            engine_out.read_to_string(&mut input).await.unwrap();
            assert_eq!(input, "first and more");
            // Its input has ended, and long after that output comes.
            sleep(LOOK * 5).await;
            engine_in.write_all(b"late").await.unwrap();
            let mut output = [0; 4];
            from.read_exact(&mut output).await.unwrap();
            assert_eq!(&output, b"late");
        };
        tokio::select! {
            () = &mut carrying => panic!("it ended before its client"),
            () = speaking => {}
        }
        drop((from, to));
        carrying.await;
    }

    #[tokio::test]
    async fn the_engines_end_is_the_clients() {
        let (mut client, own) = UnixStream::pair().unwrap();
        let (engine, mut other) = tokio::io::duplex(64);
        let speaking = async {
            other.write_all(b"last").await.unwrap();
            drop(other);
            let mut output = String::new();
            client.read_to_string(&mut output).await.unwrap();
            output
        };
        let ((), output) = tokio::join!(between(own, b"", engine), speaking);
        assert_eq!(output, "last");
    }
}
