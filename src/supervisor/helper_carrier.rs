//! A stream to a helper that opens conversations, and this side that accepts them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::engine::Engine;
use super::exec_stream;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::carrier::{self, Accepted, CarrierError, Conversation};
use crate::wire::upkeep::{BEAT, BEATS, READY};

/// The helper is ready within this time, and takes a beat within this time.
const PATIENCE: Duration = Duration::from_secs(20);

/// A stream by which a helper opens conversations.
#[derive(Debug)]
pub(super) struct HelperCarrier {
    accepted: Accepted,
    control: Conversation,
    driving: JoinSet<Result<(), CarrierError>>,
}

impl HelperCarrier {
    /// Starts a helper's program (`what`, in words), and waits until it takes connections.
    ///
    /// # Errors
    /// When the engine does not start it, or it does not answer.
    pub(super) async fn open(
        engine: &Engine,
        container: &str,
        words: [&str; 2],
        user: Option<&str>,
        what: &str,
    ) -> Result<HelperCarrier, Failure> {
        let (program, stream) = exec_stream::open(engine, container, words, user, what).await?;
        let (mut accepted, driver) = carrier::accepting(stream);
        let mut driving = JoinSet::new();
        driving.spawn(driver);
        match timeout(PATIENCE, greeting(&mut accepted)).await {
            Ok(Ok(control)) => Ok(HelperCarrier { accepted, control, driving }),
            _ => {
                let mut failure = Failure::new(COULD_NOT_RUN, format!("{what} is not ready"));
                failure.causes.extend(program.said.all());
                Err(failure)
            }
        }
    }

    /// Serves until the helper, or the stream to it, is gone. Every connection ends then. `handle`
    /// is told whether more than `most` are open.
    pub(super) async fn serve<H, F>(self, most: usize, handle: H)
    where
        H: Fn(Conversation, bool) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let HelperCarrier { mut accepted, mut control, mut driving } = self;
        let room = Arc::new(Semaphore::new(most));
        let mut connections = JoinSet::new();
        let mut beats = interval(BEATS);
        loop {
            tokio::select! {
                _ = driving.join_next() => return,
                _ = beats.tick() => {
                    let beaten = async { control.write_u8(BEAT).await?; control.flush().await };
                    if timeout(PATIENCE, beaten).await.is_err() {
                        return;
                    }
                }
                Some(_) = connections.join_next() => {}
                conversation = accepted.next() => {
                    let Some(conversation) = conversation else { return };
                    let place = Arc::clone(&room).try_acquire_owned().ok();
                    let handled = handle(conversation, place.is_none());
                    connections.spawn(async move {
                        handled.await;
                        drop(place);
                    });
                }
            }
        }
    }
}

/// Takes the first conversation, by which the helper says that it is ready.
async fn greeting(accepted: &mut Accepted) -> io::Result<Conversation> {
    let mut control = accepted.next().await.ok_or(io::ErrorKind::UnexpectedEof)?;
    match control.read_u8().await? {
        READY => Ok(control),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
