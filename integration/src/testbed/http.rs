//! HTTP as far as the testbed speaks it: a request, and an answer.

use std::io::{BufRead, BufReader, Read, Write};

use anyhow::{Context, Result, bail};

/// The longest body taken.
const BODY_LIMIT: usize = 64 << 20;

/// One request that arrived.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The name in the ClientHello; none over plain HTTP.
    pub sni: Option<String>,
    /// The Host header.
    pub host: String,
    /// GET, POST, …
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The part behind the question mark.
    pub query: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// 200, …
    pub status: u16,
    /// Headers besides the length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Writes an answer.
pub(super) fn respond(output: &mut impl Write, request: &Request, response: &Response) -> Result<()> {
    let mut head = format!("HTTP/1.1 {} -\r\nContent-Length: {}\r\n", response.status, response.body.len());
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    output.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        output.write_all(&response.body)?;
    }
    Ok(output.flush()?)
}

/// Reads a request; none at the connection's end.
pub(super) fn read_request<S: Read + Write>(stream: &mut BufReader<S>) -> Result<Option<Request>> {
    let first = read_line(stream)?;
    if first.is_empty() {
        return Ok(None);
    }
    let mut words = first.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().context("no target")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request =
        Request { method, path: path.to_owned(), query: query.to_owned(), ..Request::default() };
    loop {
        let line = read_line(stream)?;
        let Some((name, value)) = line.split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    request.host = request.header("host").unwrap_or_default().to_owned();
    if request.header("expect").is_some() {
        stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        stream.get_mut().flush()?;
    }
    if request.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        loop {
            let line = read_line(stream)?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)?;
            read_body(stream, size, &mut request.body)?;
            read_line(stream)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = request.header("content-length") {
        let length = length.parse()?;
        read_body(stream, length, &mut request.body)?;
    }
    Ok(Some(request))
}

fn read_line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    stream.by_ref().take(64 << 10).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn read_body(stream: &mut impl Read, length: usize, body: &mut Vec<u8>) -> Result<()> {
    if body.len() + length > BODY_LIMIT {
        bail!("body too long");
    }
    let start = body.len();
    body.resize(start + length, 0);
    Ok(stream.read_exact(&mut body[start..])?)
}
