//! Fuzz targets of the gate; CONTRIBUTING.md says how to run them for longer.
//!
//! Each holds the gate against a second, stricter reader of the same bytes: what the gate lets pass
//! must mean the same to it.

use ::fuzz::proptest::test_runner::TestCaseError;
use ::fuzz::{Bytes, bytes, run, segments};

use super::*;
use crate::inside::guard::auto::opening::Opening;
use crate::inside::guard::auto::{judged, openings, passes};
use crate::inside::guard::tls::tests::parsed;

const NAME: &[u8] = b"gitlab.com";

pub(super) fn hellos() -> Vec<Vec<u8>> {
    let with = |name: &[u8]| (0, names(&[(0, name)]));
    vec![
        hello(Some("gitlab.com"), 16_000, 0),
        hello(Some("GitLab.com."), 60, 300),
        hello(None, 16_000, 10),
        hello_with(&[with(b"evil.example")], [3, 1], 16_000),
        hello_with(&[with(NAME), with(b"evil.example")], [3, 3], 16_000),
        hello_with(&[(0, names(&[(0, NAME), (0, b"evil.example")]))], [3, 1], 16_000),
        hello_with(&[(0, names(&[(1, b"evil.example"), (0, NAME)]))], [3, 1], 40),
        hello_with(&[with(NAME), (0xfe0d, vec![0; 60]), (41, vec![0; 40])], [3, 1], 1),
    ]
}

/// Reads the first host name of the one `server_name` extension, as plainly as can be.
fn plain_reading(bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut rest, mut handshake) = (bytes, Vec::new());
    // The version of a record means nothing and is ignored (RFC 8446, 5.1).
    while let [0x16, _, _, high, low, more @ ..] = rest {
        let (record, later) =
            more.split_at_checked(usize::from(*high) << 8 | usize::from(*low)).unwrap_or((more, &[]));
        handshake.extend_from_slice(record);
        rest = later;
    }
    fn vector<'a>(rest: &mut &'a [u8], size: usize) -> Option<&'a [u8]> {
        let (length, more) = rest.split_at_checked(size)?;
        let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (content, later) = more.split_at_checked(length)?;
        *rest = later;
        Some(content)
    }
    let mut rest = handshake.strip_prefix(&[1])?;
    let mut body = vector(&mut rest, 3)?.get(34..)?;
    vector(&mut body, 1)?;
    vector(&mut body, 2)?;
    vector(&mut body, 1)?;
    let mut extensions = vector(&mut body, 2)?;
    let mut found = None;
    while let Some((kind, mut more)) = extensions.split_at_checked(2) {
        let content = vector(&mut more, 2)?;
        extensions = more;
        if kind == [0, 0] {
            let mut content = content;
            let mut list = vector(&mut content, 2)?.strip_prefix(&[0])?;
            if found.replace(vector(&mut list, 2)?.to_vec()).is_some() {
                return None;
            }
        }
    }
    found
}

#[test]
fn fuzz_client_hello() {
    let words: [&[u8]; 8] =
        [NAME, b"evil.example", &[0x16, 3, 1], &[0, 0], &[0xfe, 0x0d], &[1, 0], b"\0", b"."];
    let inputs = (bytes(hellos(), &words, 20_000), segments());
    run("client hello", &inputs, |(Bytes(input), pieces)| {
        let whole = parsed(&input, &[usize::MAX]);
        // Where it was cut changes nothing, save how much of what follows a hello has been seen.
        if parsed(&input, &pieces).ok().flatten() != whole.clone().ok().flatten() {
            return Err(TestCaseError::fail("the cuts decide"));
        }
        if let Ok(Some(Some(name))) = whole {
            let plain = plain_reading(&input).map(|name| name.to_ascii_lowercase());
            let plain = plain.as_deref().map(|name| name.strip_suffix(b".").unwrap_or(name));
            if plain != Some(name.as_str().as_bytes()) {
                return Err(TestCaseError::fail(format!("{name} here, {plain:?} there")));
            }
        }
        Ok(())
    });
}

pub(crate) fn requests() -> Vec<Vec<u8>> {
    [
        "GET /a?b HTTP/1.1\r\nHost: gitlab.com\r\nUser-Agent: x\r\n\r\n",
        "GET http://gitlab.com/ HTTP/1.1\r\nHost: gitlab.com:80\r\n\r\nGET /2 HTTP/1.1\r\nHost: gitlab.com\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: gitlab.com\r\nContent-Length: 11\r\n\r\nhello worldGET / HTTP/1.1\r\nHost: gitlab.com\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: gitlab.com\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: gitlab.com\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: gitlab.com\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        "GET / HTTP/1.1\r\nHost: gitlab.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: gitlab.com\r\nConnection: keep-alive\r\n\r\n",
        "CONNECT evil.example:80 HTTP/1.1\r\nHost: gitlab.com\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub(crate) const TOKENS: [&[u8]; 24] = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b":",
    b"\r\n ",
    b"\r\n\r\n",
    b"Host: evil.example\r\n",
    b"Host: gitlab.com\r\n",
    b"evil.example",
    b"http://evil.example/",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b", chunked",
    b"0\r\n\r\n",
    b"ffffffff",
    b"GET / HTTP/1.1\r\n",
    b"CONNECT ",
    b"HTTP/1.0",
    b"Connection: close, host\r\n",
    b"\x0b",
    b"\xc2\xa0",
];

/// Starts a server that reads as strictly as can be, and keeps the first thing that it should not
/// have got.
async fn strict() -> (SocketAddr, Arc<Mutex<Option<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let wrong: Arc<Mutex<Option<String>>> = Arc::default();
    let keeps = Arc::clone(&wrong);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let keeps = Arc::clone(&keeps);
            tokio::spawn(async move {
                if let Err(what) = read_strictly(&mut stream).await {
                    keeps.lock().unwrap().get_or_insert(what);
                }
            });
        }
    });
    (address, wrong)
}

/// Reads requests to the end of a connection, and answers each. What ends in the midst of one is
/// the gate's good right.
async fn read_strictly(stream: &mut TcpStream) -> Result<(), String> {
    loop {
        let Some(head) = line_by_line(stream).await else { return Ok(()) };
        let wrong = |what: &str| Err(format!("{what}: {}", head.concat().escape_ascii()));
        let mut lines = head.iter().map(|line| String::from_utf8_lossy(line).into_owned());
        let first = lines.next().unwrap_or_default();
        let words: Vec<&str> = first.split(' ').collect();
        let [method, target, "HTTP/1.1"] = words[..] else { return wrong("request line") };
        if method.is_empty() || !(target.starts_with('/') || target == "*") || method == "CONNECT" {
            return wrong("target");
        }
        let (mut hosts, mut lengths, mut chunked) = (0, Vec::new(), false);
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { return wrong("no header") };
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return wrong("name of a header");
            }
            let value = value.trim();
            if value.contains(|c: char| c.is_control() && c != '\t') {
                return wrong("value of a header");
            }
            match name.to_ascii_lowercase().as_str() {
                "host" => {
                    hosts += 1;
                    let host = value.strip_suffix(":80").unwrap_or(value).to_ascii_lowercase();
                    if host.strip_suffix('.').unwrap_or(&host) != "gitlab.com" {
                        return wrong("host");
                    }
                }
                "content-length" => match value.parse::<usize>() {
                    Ok(length) => lengths.push(length),
                    Err(_) => return wrong("length"),
                },
                "transfer-encoding" if value.eq_ignore_ascii_case("chunked") && !chunked => chunked = true,
                "transfer-encoding" => return wrong("encoding"),
                _ => {}
            }
        }
        if hosts != 1 || lengths.len() > 1 || (chunked && !lengths.is_empty()) {
            return wrong("two meanings");
        }
        let answer: &[u8] =
            if first.contains("upgrade-me") { b"" } else { b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" };
        let mut left = lengths.first().copied().unwrap_or(0);
        loop {
            if chunked {
                let Some(size) = line(stream).await else { return Ok(()) };
                let text = String::from_utf8_lossy(&size).trim_end().to_owned();
                left = match usize::from_str_radix(&text, 16) {
                    Ok(size) if !text.starts_with('+') => size,
                    _ => return wrong(&format!("chunk {text:?}")),
                };
                if left == 0 {
                    let Some(_trailers) = line_by_line(stream).await else { return Ok(()) };
                    break;
                }
            }
            while left > 0 {
                let mut part = vec![0; left.min(4096)];
                match stream.read(&mut part).await {
                    Ok(length @ 1..) => left -= length,
                    _ => return Ok(()),
                }
            }
            if !chunked {
                break;
            }
            match line(stream).await.as_deref() {
                Some(b"\r\n") => {}
                Some(_) => return wrong("end of a chunk"),
                None => return Ok(()),
            }
        }
        if stream.write_all(answer).await.is_err() {
            return Ok(());
        }
    }
}

/// Reads lines up to an empty one, which is left out; each ends in CR LF and has no other of
/// either.
async fn line_by_line(stream: &mut TcpStream) -> Option<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    loop {
        let mut next = line(stream).await?;
        if next == b"\r\n" {
            return Some(lines);
        }
        if next.ends_with(b"\r\n") {
            next.truncate(next.len() - 2);
        }
        lines.push(next);
    }
}

async fn line(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(stream.read_u8().await.ok()?);
    }
    Some(line)
}

/// Opens one connection of an agent that sends this and waits for the end.
async fn converse(
    guard: &Arc<Guard>,
    port: u16,
    input: &[u8],
    pieces: &[usize],
) -> Result<Vec<u8>, TestCaseError> {
    let agent = connect(guard, "gitlab.com", port).await;
    agent.set_nodelay(true).unwrap();
    let (mut read, mut write) = agent.into_split();
    let mut back = Vec::new();
    let send = async {
        let (mut rest, mut pieces) = (input, pieces.iter().cycle());
        while !rest.is_empty() {
            let size = pieces.next().copied().unwrap_or(usize::MAX).clamp(1, rest.len());
            // The gate may have said no already.
            if write.write_all(&rest[..size]).await.is_err() {
                return;
            }
            rest = &rest[size..];
        }
        write.shutdown().await.ok();
    };
    let both = async { tokio::join!(send, read.read_to_end(&mut back)) };
    match tokio::time::timeout(Duration::from_secs(4), both).await {
        Ok(_) => Ok(back),
        Err(_) => Err(TestCaseError::fail("it hangs")),
    }
}

/// Gives bytes to a port of the gate with the strict server behind it.
fn fuzz_port(target: &str, port: u16, seeds: Vec<Vec<u8>>, longest: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (server, wrong) = runtime.block_on(strict());
    let (guard, log) = runtime.block_on(async { guard_with(policy(), Some(server), None) });
    run(target, &(bytes(seeds, &TOKENS, longest), segments()), |(Bytes(input), pieces)| {
        // Fuzzing has no budget of dials, and its log is not read.
        guard.limits.refill();
        log.clear();
        // Bytes one by one cost a system call each.
        let pieces = if input.len() > 400 && pieces == [1] { vec![97] } else { pieces };
        let talk = || runtime.block_on(converse(&guard, port, &input, &pieces));
        // On a busy machine this program itself may be held up: what hangs hangs twice.
        let back = talk().or_else(|_| talk())?;
        runtime.block_on(async { tokio::task::yield_now().await });
        if let Some(what) = wrong.lock().unwrap().take() {
            return Err(TestCaseError::fail(format!("the server got: {what}")));
        }
        if !back.is_empty() && !back.starts_with(b"HTTP/1.") && port == 80 {
            return Err(TestCaseError::fail(format!("the agent got: {}", back.escape_ascii())));
        }
        Ok(())
    });
    // Nothing is left behind.
    runtime.block_on(eventually(|| guard.limits.is_idle()));
}

#[test]
fn fuzz_http_requests() {
    fuzz_port("http requests", 80, requests(), 3000);
}

#[test]
fn fuzz_first_bytes_elsewhere() {
    let mut seeds = requests();
    seeds.extend(hellos());
    seeds.extend(openings().into_iter().map(|(_, bytes)| bytes));
    run("first bytes", &bytes(seeds, &TOKENS, 3000), |Bytes(input)| {
        // What passes as a protocol of the closed list is no TLS, and no request may hide behind
        // it.
        let passes = passes(&input);
        if passes && matches!(input[..], [0x14..=0x18, 0..=0x0f, _, _, _, 1 | 2, ..]) {
            return Err(TestCaseError::fail("a handshake is let pass as something else"));
        }
        // What a maintained parser takes for a request is one here.
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        let whole = matches!(parsed.parse(&input), Ok(httparse::Status::Complete(_)));
        if whole && (passes || judged(&input) == Opening::Known) {
            return Err(TestCaseError::fail("a request is let pass as something else"));
        }
        Ok(())
    });
}
