//! Conversations over a stream in memory.

use std::io::ErrorKind;
use std::time::Duration;

use fuzz::proptest::test_runner::TestCaseError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// Both sides of a carrier, which move by themselves.
struct Both {
    opener: Opener,
    accepted: Accepted,
    ended: JoinHandle<Result<(), CarrierError>>,
}

fn both() -> Both {
    let (here, there) = duplex(4 << 10);
    let (opener, driver) = opening(here);
    let (accepted, other) = accepting(there);
    tokio::spawn(other);
    Both { opener, accepted, ended: tokio::spawn(driver) }
}

impl Both {
    /// One conversation, by its ends.
    async fn pair(&mut self) -> (Conversation, Conversation) {
        let mut here = self.opener.open().await.unwrap();
        here.write_all(b"x").await.unwrap();
        here.flush().await.unwrap();
        let mut there = self.accepted.next().await.unwrap();
        assert_eq!(there.read_u8().await.unwrap(), b'x');
        (here, there)
    }
}

#[tokio::test]
async fn bytes_pass_and_each_direction_ends_by_itself() {
    let mut carrier = both();
    let (mut here, mut there) = carrier.pair().await;
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let sent = large.clone();
    let sending = tokio::spawn(async move {
        here.write_all(&sent).await.unwrap();
        here.shutdown().await.unwrap();
        here
    });
    let mut got = Vec::new();
    there.read_to_end(&mut got).await.unwrap();
    assert!(got == large);
    // The other direction is open still.
    let mut here = sending.await.unwrap();
    there.write_all(b"late").await.unwrap();
    there.shutdown().await.unwrap();
    drop(there);
    let mut got = Vec::new();
    here.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"late");
    assert_eq!(here.write_all(b"y").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_conversation_that_is_dropped_is_reset_whatever_ended_before() {
    let mut carrier = both();
    for ended in [false, true] {
        let (mut here, mut there) = carrier.pair().await;
        if ended {
            there.shutdown().await.unwrap();
            assert_eq!(here.read(&mut [0; 9]).await.unwrap(), 0);
        }
        here.write_all(b"abc").await.unwrap();
        here.flush().await.unwrap();
        if ended {
            here.shutdown().await.unwrap();
        }
        drop(here);
        let read = there.read_to_end(&mut Vec::new()).await;
        match ended {
            true => assert_eq!(read.unwrap(), 3),
            false => assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset),
        }
        // The one who still writes hears of it too.
        let (mut here, there) = carrier.pair().await;
        here.shutdown().await.unwrap();
        drop(here);
        let writing = async {
            let mut there = there;
            while there.write_all(&[0; 4096]).await.is_ok() {}
        };
        timeout(SOON, writing).await.expect("the writer is told");
    }
    // A carrier that breaks is no end of anything.
    let (here, mut there) = carrier.pair().await;
    carrier.ended.abort();
    assert!(there.read_u8().await.is_err());
    drop(here);
}

#[tokio::test]
async fn a_reader_that_stands_still_stops_its_writer_and_nobody_else() {
    let mut carrier = both();
    let (mut stalled, unread) = carrier.pair().await;
    let written = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&written);
    let writing = tokio::spawn(async move {
        while stalled.write_all(&[0; 1024]).await.is_ok() {
            count.fetch_add(1024, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let (mut here, mut there) = carrier.pair().await;
    for _ in 0..200 {
        here.write_all(&[7; 10_000]).await.unwrap();
        here.flush().await.unwrap();
        there.read_exact(&mut [0; 10_000]).await.unwrap();
    }
    let under_way = written.load(std::sync::atomic::Ordering::SeqCst);
    assert!((WINDOW / 2..WINDOW + 16 * FRAME).contains(&under_way), "{under_way} bytes under way");
    drop(unread);
    timeout(SOON, writing).await.expect("the writer is told").unwrap();
}

#[tokio::test]
async fn thousands_of_conversations_one_after_the_other_and_many_at_once() {
    let Both { opener, mut accepted, ended } = both();
    let echoing = tokio::spawn(async move {
        let mut served = 0;
        while let Some(conversation) = accepted.next().await {
            served += 1;
            tokio::spawn(async move {
                let (mut from, mut to) = tokio::io::split(conversation);
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
        served
    });
    for _ in 0..20 {
        let talks = (0..200).map(|number: u8| {
            let opener = opener.clone();
            tokio::spawn(async move {
                let mut conversation = opener.open().await.unwrap();
                // Some go without a word.
                if number.is_multiple_of(7) {
                    return;
                }
                conversation.write_all(&[number; 300]).await.unwrap();
                conversation.shutdown().await.unwrap();
                let mut back = Vec::new();
                conversation.read_to_end(&mut back).await.unwrap();
                assert_eq!(back, [number; 300]);
            })
        });
        for talk in talks.collect::<Vec<_>>() {
            timeout(SOON, talk).await.unwrap().unwrap();
        }
    }
    drop(opener);
    timeout(SOON, ended).await.unwrap().unwrap().unwrap();
    assert!(timeout(SOON, echoing).await.unwrap().unwrap() >= 20 * 171);
}

/// Opens a conversation from the side that must not, as a helper that is not ours would.
async fn open_from(there: DuplexStream) {
    use tokio_util::compat::TokioAsyncReadCompatExt as _;
    let mut raw = yamux::Connection::new(there.compat(), agreed(), yamux::Mode::Server);
    let stream = std::future::poll_fn(|context| raw.poll_new_outbound(context)).await.unwrap();
    let mut stream = stream;
    let _ = futures_util::AsyncWriteExt::write_all(&mut stream, b"let me out").await;
    let _ = std::future::poll_fn(|context| raw.poll_next_inbound(context)).await;
}

#[tokio::test]
async fn a_side_that_must_not_open_a_conversation_ends_the_carrier() {
    let (here, there) = duplex(4 << 10);
    let (opener, driver) = opening(here);
    tokio::spawn(open_from(there));
    let ended = timeout(SOON, driver).await.expect("it ends");
    assert!(matches!(ended, Err(CarrierError::Unasked)), "{ended:?}");
    assert!(opener.open().await.is_err());
}

/// Gives a side any bytes, and tells whether its carrier ends with them.
async fn ends_with(bytes: &[u8], opens: bool) -> bool {
    let (here, mut there) = duplex(1 << 20);
    let driving = async {
        if opens {
            let (opener, driver) = opening(here);
            let talk = tokio::spawn(async move {
                let mut conversation = opener.open().await.ok()?;
                conversation.write_all(b"hello").await.ok()?;
                conversation.flush().await.ok()?;
                conversation.read_to_end(&mut Vec::new()).await.ok()
            });
            let _ = driver.await;
            let _ = talk.await;
        } else {
            let (mut accepted, driver) = accepting(here);
            let serving = tokio::spawn(async move {
                while let Some(mut conversation) = accepted.next().await {
                    tokio::spawn(async move { conversation.read_to_end(&mut Vec::new()).await.is_ok() });
                }
            });
            let _ = driver.await;
            let _ = serving.await;
        }
    };
    let sending = async {
        let _ = there.write_all(bytes).await;
        let _ = there.shutdown().await;
        let _ = tokio::io::copy(&mut there, &mut tokio::io::sink()).await;
    };
    timeout(SOON, async { tokio::join!(driving, sending) }).await.is_ok()
}

#[test]
fn fuzz_frames() {
    // Version, kind, flags (2), conversation (4), length (4): yamux's head of a frame.
    let data = |id: u8, flags: u8, body: &[u8]| {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[0, 0, 0, flags, 0, 0, 0, id][..], &length, body].concat()
    };
    let seeds = vec![
        data(1, 1, b"\0\x03abc"),
        [data(2, 1, b"\0\x01a"), data(1, 2, b"\0\0"), data(1, 8, b"")].concat(),
        [&[0, 1, 0, 1, 0, 0, 0, 3, 0, 0, 1, 0][..], &[0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7]].concat(),
        vec![0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    let words: [&[u8]; 5] = [&[0, 0, 0, 1], &[0, 2, 0, 2], &[0xff; 4], &[0, 1, 0, 8], &[0, 0, 0, 0]];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    fuzz::run("frames", &fuzz::bytes(seeds, &words, 2000), |fuzz::Bytes(input)| {
        for opens in [true, false] {
            if !runtime.block_on(ends_with(&input, opens)) {
                return Err(TestCaseError::fail(format!("a carrier that opens ({opens}) does not end")));
            }
        }
        Ok(())
    });
}
