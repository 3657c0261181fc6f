//! HTTP ports: interim responses, and bodies that wait for them.

use super::*;

/// A server that the test plays, and an agent whose gate has it behind gitlab.com:80.
struct Played {
    agent: TcpStream,
    listener: TcpListener,
    log: Log,
}

impl Played {
    async fn new(request: &[u8]) -> Played {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (guard, log) = guard_with(policy(), Some(listener.local_addr().unwrap()), None);
        let mut agent = connect(&guard, "gitlab.com", 80).await;
        agent.write_all(request).await.unwrap();
        Played { agent, listener, log }
    }

    /// Returns the server's side of the connection, and the head that came on it.
    async fn server(&self) -> (TcpStream, String) {
        let (mut server, _) = self.listener.accept().await.unwrap();
        let head = head(&mut server).await;
        (server, head)
    }

    /// Tells whether the agent hears nothing for a moment.
    async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(200), self.agent.read(&mut [0])).await.is_err()
    }
}

const EXPECTING: &[u8] =
    b"POST / HTTP/1.1\r\nHost: gitlab.com\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";

#[tokio::test]
async fn interim_responses_are_the_servers_to_say_and_passed_on() {
    let mut played = Played::new(EXPECTING).await;
    let (mut server, got) = played.server().await;
    assert!(got.contains("Expect: 100-continue"), "{got}");
    assert!(played.is_silent().await, "the gate says nothing by itself");
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n";
    server.write_all(hints.as_bytes()).await.unwrap();
    assert_eq!(head(&mut played.agent).await, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
    server.write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n").await.unwrap();
    assert_eq!(head(&mut played.agent).await, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(head(&mut played.agent).await, "HTTP/1.1 102 Processing\r\n\r\n");
    played.agent.write_all(b"abc").await.unwrap();
    let mut body = [0; 3];
    server.read_exact(&mut body).await.unwrap();
    assert_eq!(&body, b"abc");
    // A body may look like an interim response, and is none.
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    server.write_all(last.as_bytes()).await.unwrap();
    assert!(head(&mut played.agent).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(head(&mut played.agent).await, "HTTP/1.1 100 Continue\r\n\r\n");
    // The connection goes on: another request, with hints of its own.
    played.agent.write_all(b"GET /2 HTTP/1.1\r\nHost: gitlab.com\r\n\r\n").await.unwrap();
    assert!(head(&mut server).await.starts_with("GET /2"));
    server.write_all(b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n").await.unwrap();
    assert_eq!(head(&mut played.agent).await, "HTTP/1.1 103 Early Hints\r\na: b\r\n\r\n");
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(head(&mut played.agent).await.starts_with("HTTP/1.1 204"));
}

#[tokio::test]
async fn a_client_that_does_not_wait_is_served_by_a_server_that_says_nothing() {
    let mut played = Played::new(&[EXPECTING, b"abc"].concat()).await;
    let (mut server, _) = played.server().await;
    let mut body = [0; 3];
    server.read_exact(&mut body).await.unwrap();
    assert_eq!(&body, b"abc");
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    assert!(head(&mut played.agent).await.starts_with("HTTP/1.1 200 OK"));
    assert!(played.is_silent().await, "and the connection stays");
}

#[tokio::test]
async fn a_server_that_answers_before_it_asked_gets_no_body() {
    let mut played = Played::new(EXPECTING).await;
    let (mut server, _) = played.server().await;
    server.write_all(b"HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
    let answer = head(&mut played.agent).await;
    assert!(
        answer.starts_with("HTTP/1.1 417") && answer.to_lowercase().contains("connection: close"),
        "{answer}"
    );
    // What some server would take for another request.
    played.agent.write_all(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n").await.ok();
    assert_eq!(read_all(&mut played.agent).await.unwrap_or_default(), b"no");
    assert_eq!(read_all(&mut server).await.unwrap_or_default(), b"");
    assert_eq!(reasons(&played.log), Vec::<String>::new());
}

#[tokio::test]
async fn clients_of_the_first_version_hear_no_interim_response() {
    let request = b"POST / HTTP/1.0\r\nHost: gitlab.com\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n";
    let mut played = Played::new(request).await;
    let (mut server, got) = played.server().await;
    assert!(!got.contains("Expect"), "{got}");
    server.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    let answer = head(&mut played.agent).await;
    assert!(answer.starts_with("HTTP/1.0 204"), "{answer}");
}

#[tokio::test]
async fn a_server_cannot_fill_the_gate_with_interim_responses() {
    let mut played = Played::new(b"GET / HTTP/1.1\r\nHost: gitlab.com\r\n\r\n").await;
    let (mut server, _) = played.server().await;
    let many = b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n".repeat(400_000);
    let wrote = tokio::time::timeout(Duration::from_secs(20), server.write_all(&many)).await;
    assert!(wrote.is_ok(), "they are read, and left out beyond a bound");
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    played.agent.shutdown().await.unwrap();
    let all = String::from_utf8(read_all(&mut played.agent).await.unwrap_or_default()).unwrap();
    assert!(all.len() < many.len() && all.contains("HTTP/1.1 204 No Content\r\n"), "{}", all.len());
}
