use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

/// Makes two ends of a connection.
pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (here, there) = tokio::join!(TcpStream::connect(address), listener.accept());
    (here.unwrap(), there.unwrap().0)
}

/// Makes an agent and a server with a splice between them.
async fn spliced(pipes: &Arc<Pipes>) -> (TcpStream, TcpStream, JoinHandle<io::Result<Counts>>) {
    let (agent, near) = pair().await;
    let (far, server) = pair().await;
    let pipes = Arc::clone(pipes);
    let task = tokio::spawn(async move {
        let counts = Counts::default();
        both(&near, &far, &counts, &pipes, std::future::pending).await.map(|_| counts)
    });
    (agent, server, task)
}

/// Makes bytes of which each place has its own.
fn numbered(length: u32, salt: u32) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(salt) >> 13) as u8).collect()
}

/// Returns stores with pipes, and with none.
fn both_ways() -> [Arc<Pipes>; 2] {
    [Arc::default(), Arc::new(Pipes::at_most(0))]
}

#[tokio::test]
async fn half_close_passes_and_the_other_half_goes_on() {
    for pipes in both_ways() {
        let (mut agent, mut server, task) = spliced(&pipes).await;
        agent.write_all(b"question").await.unwrap();
        agent.shutdown().await.unwrap();
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"question");
        let long = numbered(5 << 20, 0);
        let mut all = Vec::new();
        let written = async {
            server.write_all(&long).await.unwrap();
            server.shutdown().await.unwrap();
        };
        let ((), read) = tokio::join!(written, agent.read_to_end(&mut all));
        read.unwrap();
        assert!(all == long);
        let counts = task.await.unwrap().unwrap();
        assert_eq!(counts.out.into_inner(), 8);
        assert_eq!(counts.back.into_inner(), 5 << 20);
    }
}

#[tokio::test]
async fn both_directions_at_once_are_whole() {
    for pipes in both_ways() {
        let (agent, server, task) = spliced(&pipes).await;
        let (out, back) = (numbered(7 << 20, 1), numbered(6 << 20, 2));
        let talk = async |stream: TcpStream, say: &[u8]| {
            let (mut read, mut write) = stream.into_split();
            let mut heard = Vec::new();
            let said = async {
                write.write_all(say).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let ((), done) = tokio::join!(said, read.read_to_end(&mut heard));
            done.unwrap();
            heard
        };
        let (at_agent, at_server) = tokio::join!(talk(agent, &out), talk(server, &back));
        assert!(at_agent == back && at_server == out);
        let counts = task.await.unwrap().unwrap();
        assert_eq!((counts.out.into_inner(), counts.back.into_inner()), (7 << 20, 6 << 20));
    }
}

#[tokio::test]
async fn a_reset_passes_both_ways() {
    for pipes in both_ways() {
        for from_server in [true, false] {
            let (agent, server, task) = spliced(&pipes).await;
            let (ends, mut hears) = if from_server { (server, agent) } else { (agent, server) };
            ends.set_zero_linger().unwrap();
            drop(ends);
            let error = hears.read(&mut [0; 1]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            assert!(task.await.unwrap().is_err());
        }
    }
}

/// Counts the bytes that a writer can send before it has to wait, while nobody reads at the
/// other end.
async fn fill(writer: &mut TcpStream) -> usize {
    let part = [7; 64 << 10];
    let mut sent = 0;
    while let Ok(done) = tokio::time::timeout(Duration::from_millis(300), writer.write(&part)).await {
        sent += done.unwrap();
    }
    sent
}

#[tokio::test]
async fn a_reset_is_noticed_while_the_other_side_stands_still() {
    for pipes in both_ways() {
        for from_server in [true, false] {
            let (agent, server, task) = spliced(&pipes).await;
            let (mut writer, still) = if from_server { (server, agent) } else { (agent, server) };
            fill(&mut writer).await;
            writer.set_zero_linger().unwrap();
            drop(writer);
            let done = tokio::time::timeout(Duration::from_secs(5), task).await.unwrap();
            assert!(done.unwrap().is_err());
            drop(still);
        }
    }
}

#[tokio::test]
async fn an_agent_that_is_gone_for_good_frees_its_place_though_the_server_is_silent() {
    for pipes in both_ways() {
        let (mut agent, mut server, task) = spliced(&pipes).await;
        agent.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
        // After the half-close the agent dies: what its kernel, or a keepalive, answers later
        // is a reset.
        agent.set_zero_linger().unwrap();
        drop(agent);
        let done = tokio::time::timeout(Duration::from_secs(5), task).await.unwrap();
        assert!(done.unwrap().is_err());
    }
}

#[tokio::test]
async fn what_a_server_sent_before_its_reset_arrives() {
    for pipes in both_ways() {
        let (mut agent, mut server, _task) = spliced(&pipes).await;
        server.write_all(&numbered(100_000, 4)).await.unwrap();
        server.set_zero_linger().unwrap();
        drop(server);
        let mut all = Vec::new();
        assert!(agent.read_to_end(&mut all).await.is_err());
        assert!(numbered(100_000, 4).starts_with(&all) && !all.is_empty(), "{}", all.len());
    }
}

#[tokio::test]
async fn a_slow_reader_holds_its_writer_up_and_loses_nothing() {
    for pipes in both_ways() {
        for from_server in [true, false] {
            let (agent, server, task) = spliced(&pipes).await;
            let (mut writer, mut reader) = if from_server { (server, agent) } else { (agent, server) };
            let sent = fill(&mut writer).await;
            assert!(sent > 0, "something fits");
            drop(writer.shutdown().await);
            let mut all = Vec::new();
            reader.read_to_end(&mut all).await.unwrap();
            assert_eq!(all.len(), sent);
            drop((writer, reader));
            let counts = task.await.unwrap().unwrap();
            assert_eq!(counts.sum(), sent as u64);
        }
    }
}

#[tokio::test]
async fn slow_readers_who_hold_every_pipe_stop_nobody_else() {
    let pipes = Arc::new(Pipes::at_most(2));
    let mut stuck = Vec::new();
    for _ in 0..3 {
        let (mut agent, server, task) = spliced(&pipes).await;
        let sent = fill(&mut agent).await;
        stuck.push((agent, server, task, sent));
    }
    assert_eq!(pipes.stock().lent, 2);
    let (mut agent, mut server, _task) = spliced(&pipes).await;
    let long = numbered(3 << 20, 3);
    let mut all = vec![0; long.len()];
    let (written, read) = tokio::join!(agent.write_all(&long), server.read_exact(&mut all));
    written.unwrap();
    read.unwrap();
    assert!(all == long);
    for (agent, mut server, task, sent) in stuck {
        drop(agent);
        let mut all = Vec::new();
        server.read_to_end(&mut all).await.unwrap();
        assert_eq!(all.len(), sent);
        drop(server);
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_waits_holds_no_pipe_and_a_dirty_one_is_never_lent_again() {
    let pipes: Arc<Pipes> = Arc::default();
    let mut open = Vec::new();
    for _ in 0..20 {
        let (mut agent, mut server, task) = spliced(&pipes).await;
        agent.write_all(b"x").await.unwrap();
        server.read_u8().await.unwrap();
        open.push((agent, server, task));
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(pipes.stock().lent, 0);
    assert!(pipes.stock().empty.len() <= KEPT);
    // One that ends with bytes inside: a reader that stands still, then everything is dropped.
    let (mut agent, server, task) = spliced(&pipes).await;
    fill(&mut agent).await;
    assert_eq!(pipes.stock().lent, 1);
    let before = pipes.stock().empty.len();
    task.abort();
    assert!(task.await.is_err());
    assert_eq!(pipes.stock().lent, 0);
    assert_eq!(pipes.stock().empty.len(), before);
    drop((agent, server));
}

#[tokio::test]
async fn it_stops_between_two_bytes_whoever_stands_still() {
    for pipes in both_ways() {
        let (mut agent, near) = pair().await;
        let (far, mut server) = pair().await;
        let stop = Arc::new(tokio::sync::watch::Sender::new(false));
        let (stopped, counts) = (Arc::clone(&stop), Arc::new(Counts::default()));
        let counted = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            let stop = || {
                let mut stopped = stopped.subscribe();
                async move { drop(stopped.wait_for(|stop| *stop).await) }
            };
            let carried = both(&near, &far, &counted, &pipes, stop).await.unwrap();
            (carried, near, far)
        });
        server.write_all(b"hello").await.unwrap();
        agent.read_exact(&mut [0; 5]).await.unwrap();
        // The server stands still, so that bytes are on their way when it stops.
        let sent = fill(&mut agent).await;
        stop.send_replace(true);
        let stopped = tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
        let (Carried::Stopped { to_server, to_agent }, mut near, far) = stopped else {
            panic!("{:?}", stopped.0)
        };
        assert_eq!(to_agent, b"");
        drop(far);
        let mut given = Vec::new();
        server.read_to_end(&mut given).await.unwrap();
        assert_eq!(given.len() as u64, counts.out.load(Ordering::Relaxed));
        drop(agent.shutdown().await);
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.unwrap();
        assert_eq!(given.len() + to_server.len() + rest.len(), sent, "every byte is in one place");
    }
}
