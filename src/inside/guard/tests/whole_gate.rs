//! The gate as a whole: destinations, deadlines, and what one run may take.

use super::*;

#[tokio::test]
async fn a_permitted_name_with_an_inside_address_is_not_dialled() {
    let (guard, log) = guard_with(policy(), Some(echo().await), None);
    let mut agent = connect(&guard, "inside.example", 443).await;
    agent.write_all(&hello(Some("inside.example"), 16_000, 0)).await.unwrap();
    assert_eq!(read_all(&mut agent).await.unwrap()[6], 49);
    let mut agent = connect(&guard, "gone.example", 443).await;
    agent.write_all(&hello(Some("gone.example"), 16_000, 0)).await.unwrap();
    assert_eq!(read_all(&mut agent).await.unwrap()[6], 112);
    assert_eq!(reasons(&log), ["private-address", "resolve-failed"]);
    assert_eq!(log.lines()[0]["address"], "10.0.0.8");
    assert!(stage(&guard).dialled.lock().unwrap().is_empty());
}

#[tokio::test]
async fn ports_and_addresses_that_are_not_permitted_are_reset() {
    let (guard, log) = guard_with(policy(), Some(echo().await), None);
    let name = virtual_address(&guard, "gitlab.com");
    for (address, port, reason) in [
        (name, 8080, "port"),
        ("25.0.9.9".parse().unwrap(), 8443, "raw-address"),
        ("198.51.100.65".parse().unwrap(), 22, "port"),
        ("127.0.0.1".parse().unwrap(), 65_443, "reserved-port"),
        ("10.0.0.1".parse().unwrap(), 22, "private-address"),
    ] {
        let mut agent = connect_address(&guard, address, port).await;
        assert_eq!(read_all(&mut agent).await, Err(std::io::ErrorKind::ConnectionReset), "{address}:{port}");
        assert_eq!(reasons(&log).last().unwrap(), reason, "{address}:{port}");
    }
    assert!(stage(&guard).dialled.lock().unwrap().is_empty());
    let mut agent = connect_address(&guard, "198.51.100.65".parse().unwrap(), 5432).await;
    agent.write_all(b"x").await.unwrap();
    agent.shutdown().await.unwrap();
    assert_eq!(read_all(&mut agent).await.unwrap(), b"x");
}

#[tokio::test]
async fn after_the_deadline_open_connections_end_and_new_ones_are_refused() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let deadline = u64::try_from(now.as_millis()).unwrap() + 300;
    let (guard, log) = guard_with(policy(), Some(echo().await), Some(deadline));
    let mut agent = connect(&guard, "raw.example", 443).await;
    agent.write_all(b"x").await.unwrap();
    assert_eq!(agent.read_u8().await.unwrap(), b'x');
    tokio::time::sleep(Duration::from_millis(350)).await;
    guard.tick();
    assert!(read_all(&mut agent).await.is_err());
    let mut agent = connect(&guard, "raw.example", 443).await;
    assert!(read_all(&mut agent).await.is_err());
    assert_eq!(stage(&guard).dialled.lock().unwrap().len(), 1);
    eventually(|| reasons(&log).first().is_some_and(|first| first == "deadline")).await;
}

#[tokio::test]
async fn a_full_table_refuses_at_once_says_so_and_frees() {
    let (guard, log) = guard_with(policy(), Some(echo().await), None);
    guard.limits.leave(2, 2, 1000);
    let mut one = connect(&guard, "raw.example", 443).await;
    let mut two = connect(&guard, "raw.example", 443).await;
    for agent in [&mut one, &mut two] {
        agent.write_all(b"x").await.unwrap();
        assert_eq!(agent.read_u8().await.unwrap(), b'x');
    }
    for _ in 0..3 {
        let begin = std::time::Instant::now();
        let mut more = connect(&guard, "gitlab.com", 443).await;
        assert_eq!(read_all(&mut more).await, Err(std::io::ErrorKind::ConnectionReset));
        assert!(begin.elapsed() < Duration::from_millis(500));
    }
    guard.events.finish();
    let refused: Vec<_> = log.lines().into_iter().filter(|line| line["verdict"] == "deny").collect();
    assert_eq!(refused.len(), 2, "a line, and a count of the others: {refused:#?}");
    for line in &refused {
        assert_eq!((&line["reason"], &line["host"]), (&"limit".into(), &"gitlab.com".into()));
    }
    // The open ones are as they were; the end of one makes room for another.
    two.write_all(b"y").await.unwrap();
    assert_eq!(two.read_u8().await.unwrap(), b'y');
    drop(one);
    eventually(|| log.lines().iter().any(|line| line["phase"] == "close")).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut three = connect(&guard, "raw.example", 443).await;
    three.write_all(b"z").await.unwrap();
    assert_eq!(three.read_u8().await.unwrap(), b'z');
}

#[tokio::test]
async fn dials_have_a_budget_even_where_one_connection_makes_many() {
    let (guard, log) = guard_with(policy(), Some(echo().await), None);
    guard.limits.spend();
    let mut agent = connect(&guard, "raw.example", 443).await;
    assert_eq!(read_all(&mut agent).await, Err(std::io::ErrorKind::ConnectionReset));
    assert_eq!(reasons(&log), ["limit"]);
    assert!(stage(&guard).dialled.lock().unwrap().is_empty());
    guard.limits.refill();
    let mut agent = connect(&guard, "raw.example", 443).await;
    agent.write_all(b"x").await.unwrap();
    assert_eq!(agent.read_u8().await.unwrap(), b'x');
}
