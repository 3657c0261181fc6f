//! The corporate proxy: `CONNECT name:port`, its answer read byte for byte, then the connection is
//! the target's.
//!
//! ```text
//!  connection ──CONNECT──▶ proxy ──head, at most 8 KiB, within 15 s──▶ 2xx: bytes from here on are the target's
//!                                                                └────▶ else: what the proxy says, as an error
//! ```
//! What the proxy says is somebody else's text: of it only the status gets into the events. The
//! credentials are written to the proxy and nowhere else.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use netpolicy::floor;
use netpolicy::host::HostName;
use netpolicy::settings::{self, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time that the proxy has to reach the target.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest head of an answer.
const HEAD: usize = 8 * 1024;
/// The most headers in it.
const HEADERS: usize = 64;

/// `user:password`. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials(String);

impl Credentials {
    /// Takes the credentials from the variable's value.
    pub(crate) fn new(text: String) -> Credentials {
        Credentials(text)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Reason for which there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoTunnel {
    /// The connection to the proxy broke.
    #[error("the proxy: {0}")]
    Io(#[from] io::Error),
    /// The proxy did not answer in time.
    #[error("the proxy did not answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// The proxy does not speak HTTP.
    #[error("the proxy's answer is no HTTP")]
    NoHttp,
    /// The proxy wants credentials, and the guard has none.
    #[error("the proxy wants credentials (407): name their variable by `credentials-env`")]
    WantsCredentials,
    /// The proxy does not take the guard's credentials.
    #[error("the proxy does not take the credentials (407)")]
    WrongCredentials,
    /// The proxy's own policy refuses the target.
    #[error("the proxy forbids it ({0})")]
    Forbidden(u16),
    /// The proxy did not reach the target.
    #[error("the proxy cannot reach it ({0})")]
    Unreachable(u16),
    /// The proxy answers with another status.
    #[error("the proxy answered {0}")]
    Status(u16),
}

/// A proxy and what goes around it.
#[derive(Debug)]
pub(crate) struct Proxy {
    settings: settings::Proxy,
    credentials: Option<Credentials>,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.settings.server, self.settings.port)
    }
}

impl Proxy {
    /// Makes a proxy as a policy has it.
    pub(crate) fn new(settings: &settings::Proxy, credentials: Option<Credentials>) -> Proxy {
        Proxy { settings: settings.clone(), credentials }
    }

    /// Returns the proxy's address or name.
    pub(crate) fn server(&self) -> &Server {
        &self.settings.server
    }

    /// Returns the proxy's port.
    pub(crate) fn port(&self) -> u16 {
        self.settings.port
    }

    /// Tells whether the proxy is a program on the person's own machine: by loopback, or by a name
    /// of the host.
    pub(super) fn is_on_the_host(&self) -> bool {
        match &self.settings.server {
            Server::Address(address) => address.is_loopback(),
            Server::Name(name) => floor::refused_name(name).is_some(),
        }
    }

    /// Tells whether a name is dialled without the proxy, whatever it resolves to.
    pub(crate) fn leaves_out(&self, name: &HostName) -> bool {
        self.settings.leaves_out(name)
    }

    /// Tells whether an address is dialled without the proxy.
    pub(crate) fn leaves_out_address(&self, address: IpAddr) -> bool {
        self.settings.leaves_out_address(address)
    }

    /// Turns a connection to the proxy into one to the target.
    pub(crate) async fn tunnel(
        &self,
        mut stream: TcpStream,
        target: &Server,
        port: u16,
    ) -> Result<TcpStream, NoTunnel> {
        let mut request = format!("CONNECT {target}:{port} HTTP/1.1\r\nHost: {target}:{port}\r\n");
        if let Some(Credentials(text)) = &self.credentials {
            request.push_str(&format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(text)));
        }
        request.push_str("\r\n");
        let status = timeout(PATIENCE, async {
            stream.write_all(request.as_bytes()).await?;
            read_status(&mut stream).await
        })
        .await
        .map_err(|_| NoTunnel::Silent)??;
        match status {
            200..=299 => Ok(stream),
            407 if self.credentials.is_none() => Err(NoTunnel::WantsCredentials),
            407 => Err(NoTunnel::WrongCredentials),
            401 | 403 | 451 => Err(NoTunnel::Forbidden(status)),
            500..=599 => Err(NoTunnel::Unreachable(status)),
            other => Err(NoTunnel::Status(other)),
        }
    }
}

/// Reads the status of the answer. Not a byte behind the answer's head is taken: it already belongs
/// to the target.
async fn read_status(stream: &mut TcpStream) -> Result<u16, NoTunnel> {
    loop {
        let head = read_head(stream).await?;
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(&head) {
            Ok(httparse::Status::Complete(_)) => match response.code {
                // An interim answer; the final one follows. The time is bounded by the caller.
                Some(100..=199) => {}
                Some(status) => return Ok(status),
                None => return Err(NoTunnel::NoHttp),
            },
            _ => return Err(NoTunnel::NoHttp),
        }
    }
}

/// Reads a head up to and with its empty line.
async fn read_head(stream: &mut TcpStream) -> Result<Vec<u8>, NoTunnel> {
    const END: &[u8] = b"\r\n\r\n";
    let mut head: Vec<u8> = Vec::new();
    let mut part = [0; 1024];
    while head.len() < HEAD {
        let seen = stream.peek(&mut part).await?;
        if seen == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        // The empty line may lie across what was taken before and what is seen now.
        let before = head.len();
        head.extend_from_slice(&part[..seen]);
        let from = before.saturating_sub(END.len() - 1);
        let end = head[from..].windows(END.len()).position(|window| window == END);
        let whole = end.map(|at| from + at + END.len());
        let take = whole.unwrap_or(head.len()) - before;
        stream.read_exact(&mut part[..take]).await?;
        if let Some(length) = whole {
            head.truncate(length);
            return Ok(head);
        }
    }
    Err(NoTunnel::NoHttp)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn proxy(credentials: Option<&str>) -> Proxy {
        Proxy::new(
            &settings::Proxy {
                server: Server::Name(HostName::parse("proxy.corp.example").unwrap()),
                port: 3128,
                credentials_env: None,
                resolves_names: false,
                direct: Vec::new(),
            },
            credentials.map(|text| Credentials::new(text.to_owned())),
        )
    }

    /// Opens a tunnel by a proxy with this answer, and returns the proxy's view and the outcome.
    async fn ask(answer: &[&'static [u8]], credentials: Option<&str>) -> (String, Result<Vec<u8>, String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let parts = answer.to_vec();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; 4096];
            let length = stream.read(&mut heard).await.unwrap();
            for part in parts {
                stream.write_all(part).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            String::from_utf8(heard[..length].to_vec()).unwrap()
        });
        let stream = TcpStream::connect(address).await.unwrap();
        let target = Server::Name(HostName::parse("gitlab.test").unwrap());
        let tunnel = proxy(credentials).tunnel(stream, &target, 443).await;
        let heard = server.await.unwrap();
        let rest = match tunnel {
            Ok(mut stream) => {
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.unwrap();
                Ok(rest)
            }
            Err(error) => Err(error.to_string()),
        };
        (heard, rest)
    }

    #[tokio::test]
    async fn not_a_byte_of_the_target_is_lost() {
        for answer in [
            &[&b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-x\r\n"[..]][..],
            &[b"HTTP/1.0 200 Connection established\r\nVia: p\r\n\r", b"\nSSH-2.0-x\r\n"],
            &[b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nSSH-", b"2.0-x\r\n"],
        ] {
            let (heard, rest) = ask(answer, None).await;
            assert_eq!(rest.unwrap(), b"SSH-2.0-x\r\n");
            assert_eq!(heard, "CONNECT gitlab.test:443 HTTP/1.1\r\nHost: gitlab.test:443\r\n\r\n");
        }
    }

    #[tokio::test]
    async fn credentials_are_shown_to_the_proxy_and_to_nobody_else() {
        let (heard, _) = ask(&[b"HTTP/1.1 200 OK\r\n\r\n"], Some("user:p4ss")).await;
        assert!(heard.contains("\r\nProxy-Authorization: Basic dXNlcjpwNHNz\r\n"), "{heard}");
        let (_, error) = ask(&[b"HTTP/1.1 407 user:p4ss\r\nX: p4ss\r\n\r\n"], Some("user:p4ss")).await;
        assert_eq!(error.unwrap_err(), "the proxy does not take the credentials (407)");
        assert!(!format!("{:?}", proxy(Some("user:p4ss"))).contains("p4ss"));
    }

    #[tokio::test]
    async fn what_the_proxy_says_becomes_an_error_without_its_text() {
        let mut said = Vec::new();
        for answer in [
            &b"HTTP/1.1 407 Who?\r\n\r\n"[..],
            b"HTTP/1.1 403 <b>No</b>\r\n\r\n",
            b"HTTP/1.1 502 Bad\r\nContent-Length: 1000\r\n\r\n",
            b"HTTP/1.1 302 There\r\nLocation: http://evil\r\n\r\n",
            b"SSH-2.0-proxy\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n",
        ] {
            said.push(ask(&[answer], None).await.1.unwrap_err());
        }
        insta::assert_snapshot!(said.join("\n"), @r"
        the proxy wants credentials (407): name their variable by `credentials-env`
        the proxy forbids it (403)
        the proxy cannot reach it (502)
        the proxy answered 302
        the proxy's answer is no HTTP
        the proxy: unexpected end of file
        ");
        let long: &'static [u8] =
            Box::leak(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(HEAD)).into_boxed_str())
                .as_bytes();
        assert_eq!(ask(&[long], None).await.1.unwrap_err(), "the proxy's answer is no HTTP");
    }
}
