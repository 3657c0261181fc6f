//! Tests of bytes that an `auto` port lets pass, given to real servers: none of them may take the
//! bytes for a request or a handshake.
//!
//! ```text
//!  openings, requests, ClientHellos ──bent──▶ passes? ──yes──▶ Python, node, nginx, OpenSSL, Go (as far as they are here)
//!                                                                  └─ CANARY, or a handshake record, in the answer: a finding
//! ```

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ::fuzz::proptest::test_runner::TestCaseError;
use ::fuzz::{Bytes, bytes, run};

use super::fuzzing::{TOKENS, hellos, requests};
use crate::inside::guard::auto::{openings, passes};

/// Every server's answer to a request, whatever it asks for.
const CANARY: &[u8] = b"CANARY-OF-A-SERVER";

/// Three servers that take any method: Python's bare one, the one of WSGI, and one that strips
/// lines first.
const PYTHON: &str = r#"
import os, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
class Any(BaseHTTPRequestHandler):
    def __getattr__(self, name):
        if name.startswith('do_'): return self.hit
        raise AttributeError(name)
    def hit(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'CANARY-OF-A-SERVER')
    def log_message(self, *_): pass
class Strips(Any):
    def parse_request(self):
        while self.raw_requestline and not self.raw_requestline.strip():
            self.raw_requestline = self.rfile.readline(65537)
        self.raw_requestline = self.raw_requestline.strip() + b'\r\n'
        return super().parse_request()
class Quiet(WSGIRequestHandler):
    def log_message(self, *_): pass
class Threads(ThreadingMixIn, WSGIServer): daemon_threads = True
def app(_, start):
    start('200 OK', [('Content-Type', 'text/plain')]); return [b'CANARY-OF-A-SERVER']
sys.stderr = open(os.devnull, 'w')
servers = [ThreadingHTTPServer(('127.0.0.1', 0), Any), ThreadingHTTPServer(('127.0.0.1', 0), Strips),
           make_server('127.0.0.1', 0, app, Threads, Quiet)]
for server in servers: threading.Thread(target=server.serve_forever, daemon=True).start()
print(' '.join(str(server.server_address[1]) for server in servers), flush=True)
sys.stdin.read()
os._exit(0)
"#;

/// Two parsers of node, the strict and the lenient one, and TLS.
const NODE: &str = r"
const http = require('http'), https = require('https'), fs = require('fs');
const hit = (_, answer) => answer.end('CANARY-OF-A-SERVER');
const tls = { key: fs.readFileSync('key.pem'), cert: fs.readFileSync('cert.pem') };
const servers = [http.createServer(hit), http.createServer({ insecureHTTPParser: true, requireHostHeader: false }, hit),
                 https.createServer(tls, hit)];
let left = servers.length;
for (const server of servers) server.listen(0, '127.0.0.1', () => {
    if (--left === 0) console.log(servers.map(server => server.address().port).join(' '));
});
process.stdin.on('end', () => process.exit(0)).resume();
";

/// Go's servers, with and without TLS.
const GO: &str = r#"package main
import ("fmt"; "io"; "log"; "net"; "net/http"; "os")
func main() {
	log.SetOutput(io.Discard)
	hit := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "CANARY-OF-A-SERVER") })
	plain, _ := net.Listen("tcp", "127.0.0.1:0")
	tls, _ := net.Listen("tcp", "127.0.0.1:0")
	go http.Serve(plain, hit)
	go http.ServeTLS(tls, hit, "cert.pem", "key.pem")
	fmt.Println(plain.Addr().(*net.TCPAddr).Port, tls.Addr().(*net.TCPAddr).Port)
	io.Copy(io.Discard, os.Stdin)
}
"#;

/// nginx in plain, with TLS, and behind a proxy's header.
const NGINX: &str = "daemon off; master_process off; pid nginx.pid; error_log /dev/null;
events {} http { access_log off; merge_slashes off; ignore_invalid_headers off;
    client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
    ssl_certificate cert.pem; ssl_certificate_key key.pem;
    server { listen 127.0.0.1:PORT0; listen 127.0.0.1:PORT1 ssl; listen 127.0.0.1:PORT2 proxy_protocol;
        return 200 CANARY-OF-A-SERVER; } }";

/// Programs on loopback, ended with this value.
#[derive(Default)]
struct Servers {
    programs: Vec<Child>,
    ports: Vec<(String, u16)>,
    missing: Vec<&'static str>,
}

impl Drop for Servers {
    fn drop(&mut self) {
        for program in &mut self.programs {
            program.kill().ok();
            program.wait().ok();
        }
    }
}

impl Servers {
    /// Starts what is installed.
    fn start(folder: &Path) -> Servers {
        let mut servers = Servers::default();
        let subject = ["-subj", "/CN=gitlab.com", "-keyout", "key.pem", "-out", "cert.pem"];
        let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"];
        let made = Command::new("openssl").args(request).args(subject).current_dir(folder).output();
        let certified = made.is_ok_and(|output| output.status.success());
        servers.add("python3", Command::new("python3").args(["-c", PYTHON]), folder);
        if certified {
            servers.add("node", Command::new("node").args(["-e", NODE]), folder);
            let options =
                ["s_server", "-accept", "127.0.0.1:0", "-www", "-cert", "cert.pem", "-key", "key.pem"];
            servers.add("openssl", Command::new("openssl").args(options), folder);
            servers.add_nginx(folder);
            std::fs::write(folder.join("main.go"), GO).unwrap();
            servers.add("go", Command::new("go").args(["run", "main.go"]), folder);
        } else {
            servers.missing.extend(["node", "openssl", "nginx", "go"]);
        }
        servers
    }

    /// Starts a program that prints a line with its ports.
    fn add(&mut self, name: &'static str, command: &mut Command, folder: &Path) {
        let command = command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(mut program) = command.stderr(Stdio::null()).spawn() else {
            self.missing.push(name);
            return;
        };
        let mut output = BufReader::new(program.stdout.take().unwrap());
        let mut ports: Vec<u16> = Vec::new();
        let mut line = String::new();
        // OpenSSL says something else before.
        while ports.is_empty() && output.read_line(&mut line).is_ok_and(|length| length > 0) {
            let words = line.split([' ', ':']).filter_map(|word| word.trim().parse::<u16>().ok());
            ports.extend(words.filter(|port| *port > 0));
            line.clear();
        }
        // It may go on talking.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        self.programs.push(program);
        // Something of that name that does not start is as good as nothing.
        if ports.is_empty() {
            self.missing.push(name);
        }
        self.ports.extend(ports.into_iter().map(|port| (name.to_owned(), port)));
    }

    fn add_nginx(&mut self, folder: &Path) {
        let free: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = free.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        let mut configuration = NGINX.to_owned();
        for (number, port) in ports.iter().enumerate() {
            configuration = configuration.replace(&format!("PORT{number}"), &port.to_string());
        }
        std::fs::write(folder.join("nginx.conf"), configuration).unwrap();
        drop(free);
        let mut command = Command::new("nginx");
        command.args(["-e", "/dev/null", "-c", "nginx.conf", "-p"]).arg(folder);
        let Ok(program) = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn() else {
            self.missing.push("nginx");
            return;
        };
        self.programs.push(program);
        for port in ports {
            let up = (0..200).any(|_| {
                std::thread::sleep(Duration::from_millis(20));
                TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            if up {
                self.ports.push(("nginx".to_owned(), port));
            } else if self.missing.last() != Some(&"nginx") {
                self.missing.push("nginx");
            }
        }
    }

    /// Returns the servers that take bytes for a request or a handshake. The bytes come in two
    /// pieces, since some read twice.
    fn taken_in(&self, bytes: &[u8]) -> Vec<&str> {
        let takes = |port: u16| {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
            stream.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
            stream.set_nodelay(true).unwrap();
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut part) {
                answer.extend_from_slice(&part[..length]);
                if answer.len() > 16_000 {
                    break;
                }
            }
            answer.starts_with(&[0x16, 3]) || answer.windows(CANARY.len()).any(|part| part == CANARY)
        };
        self.ports.iter().filter(|(_, port)| takes(*port)).map(|(name, _)| name.as_str()).collect()
    }
}

/// Returns a ClientHello for another name, as a client that would go on sends it.
fn hello() -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config =
        builder.unwrap().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let name = "evil.example".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn fuzz_no_real_server_takes_what_passes_for_a_request_or_a_handshake() {
    let folder = tempfile::tempdir().unwrap();
    let servers = Servers::start(folder.path());
    eprintln!(
        "real servers: {} ports of those that are here; SKIPPED, not installed: {}",
        servers.ports.len(),
        servers.missing.len()
    );
    for name in &servers.missing {
        eprintln!("SKIPPED: {name}");
    }
    // The controls: each server takes what it serves, and lenient ones take what a strict parser
    // refuses.
    let evil = hello();
    let odd = [&[0x16, 4, 3], &evil[3..]].concat();
    let request = b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let long = [&[b'M'; 40][..], b" / HTTP/1.1\r\nHost: evil.example\r\n\r\n"].concat();
    let hidden = b"AMQP\0\0\x09\x01 HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    for (name, serves) in [
        ("python3", &request[..]),
        ("python3", &long),
        ("python3", b"\x0bGET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
        ("python3", hidden),
        ("node", request),
        ("node", &evil),
        ("openssl", &evil),
        ("nginx", request),
        ("nginx", &evil),
        ("nginx", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
        ("go", request),
        ("go", &odd),
    ] {
        assert!(!passes(serves), "{}", serves.escape_ascii());
        let here = servers.ports.iter().any(|(other, _)| other == name) && !servers.missing.contains(&name);
        let taken = servers.taken_in(serves);
        assert!(!here || taken.contains(&name), "{name} serves {}: {taken:?}", serves.escape_ascii());
    }
    let mut seeds: Vec<Vec<u8>> = openings().into_iter().map(|(_, bytes)| bytes).collect();
    for (_, opening) in openings() {
        // What is hidden behind an opening, and in it.
        seeds.push([&opening[..], request].concat());
        seeds.push([&opening[..], b" / HTTP/1.1\r\nHost: evil.example\r\n\r\n"].concat());
        seeds.push([&opening[..], &evil].concat());
    }
    for seed in seeds.iter().filter(|seed| passes(seed)) {
        assert_eq!(servers.taken_in(seed), Vec::<&str>::new(), "{}", seed.escape_ascii());
    }
    seeds.extend(requests());
    seeds.extend(hellos());
    run("real servers", &bytes(seeds, &TOKENS, 1500), |Bytes(input)| {
        if !passes(&input) {
            return Ok(());
        }
        match servers.taken_in(&input) {
            taken if taken.is_empty() => Ok(()),
            taken => Err(TestCaseError::fail(format!("{taken:?} take it"))),
        }
    });
}
