//! Memory that one connection takes at the gate, counted, with what its client and its server take
//! in this test: a regression shows whatever the machine does meanwhile.

use allocation_counter::measure;

use super::*;

/// Pieces of memory for a new TLS connection, from its begin to its end.
const CONNECTION: u64 = 70;

/// Sends some bytes and reads them back.
async fn exchange(agent: &mut TcpStream, bytes: &[u8]) {
    let mut back = [0; 1024];
    agent.write_all(bytes).await.unwrap();
    agent.read_exact(&mut back[..bytes.len()]).await.unwrap();
    assert_eq!(back[..bytes.len()], *bytes);
}

#[test]
fn a_connection_takes_few_pieces_of_memory_and_an_exchange_none() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (guard, log) = runtime.block_on(async { guard_with(policy(), Some(echo().await), None) });
    let hello = hello(Some("gitlab.com"), 16_000, 0);
    let open = || {
        runtime.block_on(async {
            let mut agent = connect(&guard, "gitlab.com", 443).await;
            exchange(&mut agent, &hello).await;
            agent
        })
    };
    let ended = |agent: TcpStream| {
        log.clear();
        drop(agent);
        runtime.block_on(eventually(|| log.lines().iter().any(|line| line["phase"] == "close")));
    };
    ended(open());
    let mut held = None;
    let taken = measure(|| held = Some(open()));
    let mut agent = held.expect("a connection");
    assert!((1..=CONNECTION).contains(&taken.count_total), "{taken:?}");
    runtime.block_on(exchange(&mut agent, b"once"));
    let taken = measure(|| (0..100).for_each(|_| runtime.block_on(exchange(&mut agent, b"again"))));
    assert_eq!(taken.count_total, 0, "{taken:?}");
    ended(agent);
}
