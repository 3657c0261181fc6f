//! The filter over TCP: pieces, limits and ends of connections.

use super::*;

#[tokio::test]
async fn tcp_takes_pieces_and_several_questions_in_one() {
    let served = Served::of(policy()).await;
    let mut stream = served.connect().await;
    stream.set_nodelay(true).unwrap();
    let mut bytes = Vec::new();
    for name in ["gitlab.com.", "evil.test.", "a.wild.example.", "com."] {
        let question = question(name, RecordType::A);
        bytes.extend(u16::try_from(question.len()).unwrap().to_be_bytes());
        bytes.extend(question);
    }
    let codes = [ResponseCode::NoError, ResponseCode::NXDomain, ResponseCode::NoError, ResponseCode::NoError];
    for pieces in [1, 7, bytes.len()] {
        for piece in bytes.chunks(pieces) {
            stream.write_all(piece).await.unwrap();
        }
        for code in codes {
            assert_eq!(hear(&mut stream).await.unwrap().metadata.response_code, code);
        }
    }
    // What was asked before the asker stopped talking is answered.
    stream.write_all(&bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    for code in codes {
        assert_eq!(hear(&mut stream).await.unwrap().metadata.response_code, code);
    }
    assert!(hear(&mut stream).await.is_none());
}

#[tokio::test]
async fn tcp_ends_on_what_is_no_question() {
    let served = Served::of(policy()).await;
    let mut answer = question("gitlab.com.", RecordType::A);
    answer[2] |= 0x80;
    for silent in [&b""[..], b"x", &answer] {
        let mut stream = served.connect().await;
        say(&mut stream, silent).await;
        assert!(hear(&mut stream).await.is_none(), "{silent:?}");
    }
    let mut stream = served.connect().await;
    let long = [question("gitlab.com.", RecordType::A), vec![0; 60_000]].concat();
    say(&mut stream, &long[..60_000]).await;
    assert_eq!(hear(&mut stream).await.unwrap().metadata.response_code, ResponseCode::FormErr);
    assert!(hear(&mut stream).await.is_none());
    // One that can be read on is read on.
    let mut stream = served.connect().await;
    let mut two = question("gitlab.com.", RecordType::A);
    two[5] = 2;
    say(&mut stream, &two).await;
    assert_eq!(hear(&mut stream).await.unwrap().metadata.response_code, ResponseCode::FormErr);
    say(&mut stream, &question("gitlab.com.", RecordType::A)).await;
    assert_eq!(hear(&mut stream).await.unwrap().metadata.response_code, ResponseCode::NoError);
}

#[tokio::test]
async fn tcp_connections_have_a_number_and_one_that_ends_makes_room() {
    let served = Served::of(policy()).await;
    let mut open = Vec::new();
    for _ in 0..64 {
        let mut stream = served.connect().await;
        say(&mut stream, &question("gitlab.com.", RecordType::A)).await;
        hear(&mut stream).await.unwrap();
        open.push(stream);
    }
    let mut one_more = served.connect().await;
    assert_eq!(one_more.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(reasons(&served.log), ["limit"]);
    open.pop();
    for _ in 0..100 {
        let mut stream = served.connect().await;
        let framed = [&[0, 28][..], &question("gitlab.com.", RecordType::A)].concat();
        if stream.write_all(&framed).await.is_ok() && stream.read_u8().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no room was made");
}

#[tokio::test(start_paused = true)]
async fn tcp_ends_on_silence_and_on_half_a_message() {
    let served = Served::of(policy()).await;
    for half in [&b""[..], &[0], &[0, 200, 1]] {
        let mut stream = served.connect().await;
        stream.write_all(half).await.unwrap();
        let began = tokio::time::Instant::now();
        assert!(hear(&mut stream).await.is_none());
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    }
}
