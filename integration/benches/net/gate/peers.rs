//! The other proxies, each with one worker, on the same core, with a check of the name as a person
//! would write it, and a line of log for each connection or request, as the guard has.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use integration::command::until;

use super::NAME;
use super::world::{BYTES, SERVER, World, virtual_address};
use crate::process::{Cores, Process, installed, pinned};

/// A proxy that can be started.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    start: fn(&Start<'_>) -> Result<Option<Process>>,
    logs: bool,
}

/// Means of starting a proxy: the range of its virtual addresses, its cores, and whether it writes
/// a line for each connection.
struct Start<'a> {
    world: &'a World,
    network: u8,
    cores: Cores,
    logs: bool,
    say: &'a dyn Fn(&str),
}

/// All proxies. Those that write no line do less than the guard does.
pub(crate) const ALL: [Peer; 5] = [
    Peer { name: "HAProxy", start: haproxy, logs: true },
    Peer { name: "nginx", start: nginx, logs: true },
    Peer { name: "Squid", start: squid, logs: true },
    Peer { name: "HAProxy, no log", start: haproxy, logs: false },
    Peer { name: "nginx, no log", start: nginx, logs: false },
];
/// Those that write a line, as the guard does.
pub(crate) const LOGGING: [&str; 3] = ["HAProxy", "nginx", "Squid"];

impl Peer {
    /// Starts it, if it is installed.
    pub(crate) fn start(
        &self,
        world: &World,
        network: u8,
        cores: Cores,
        say: &dyn Fn(&str),
    ) -> Result<Option<Process>> {
        (self.start)(&Start { world, network, cores, logs: self.logs, say })
    }
}

fn haproxy(start: &Start<'_>) -> Result<Option<Process>> {
    let Some(program) = installed("haproxy", "haproxy", start.say) else { return Ok(None) };
    let ports = [free()?, free()?, free()?];
    let [tls, http, bytes] = ports;
    let [log, tcp_log, http_log] = match start.logs {
        true => [
            "  log stdout format raw daemon\n",
            "  option tcplog\n  log global\n",
            "  option httplog\n  log global\n",
        ],
        false => ["", "", ""],
    };
    let config = format!(
        "global\n  nbthread 1\n  maxconn 1000\n{log}defaults\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\n  option splice-auto\n\
         frontend tls\n  mode tcp\n{tcp_log}  bind {tls}\n  tcp-request inspect-delay 5s\n  \
         tcp-request content accept if {{ req.ssl_sni -m str {NAME} }}\n  tcp-request content reject\n  default_backend tls\n\
         backend tls\n  mode tcp\n  server one {SERVER}:443\n\
         frontend bytes\n  mode tcp\n{tcp_log}  bind {bytes}\n  default_backend bytes\n\
         backend bytes\n  mode tcp\n  server one {SERVER}:{BYTES}\n\
         frontend http\n  mode http\n{http_log}  bind {http}\n  http-request deny unless {{ req.hdr(host) -m str {NAME} }}\n  \
         default_backend http\n\
         backend http\n  mode http\n  http-reuse never\n  server one {SERVER}:80\n"
    );
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("haproxy.cfg");
    fs::write(&file, config)?;
    let child = pinned(&program, start.cores).args(["-db", "-f"]).arg(&file).spawn()?;
    begun(start, Process::new(child, directory), ports).map(Some)
}

fn nginx(start: &Start<'_>) -> Result<Option<Process>> {
    let Some(program) = installed("nginx", "nginx-light libnginx-mod-stream", start.say) else {
        return Ok(None);
    };
    let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
    if !module.exists() {
        (start.say)("nginx lacks its module for streams and is not measured: cargo bench-net setup");
        return Ok(None);
    }
    let ports = [free()?, free()?, free()?];
    let [tls, http, bytes] = ports;
    let directory = tempfile::tempdir()?;
    let [stream_log, http_log] = match start.logs {
        true => ["access_log /dev/null line;", "access_log /dev/null;"],
        false => ["access_log off;", "access_log off;"],
    };
    let config = format!(
        "load_module {};\nuser root;\ndaemon off;\nmaster_process off;\nworker_processes 1;\npid {}/pid;\n\
         error_log /dev/null crit;\nevents {{ worker_connections 8000; }}\n\
         stream {{\n  log_format line '$remote_addr $time_iso8601 $ssl_preread_server_name $upstream_addr $status \
         $bytes_sent $bytes_received $session_time';\n  {stream_log}\n  map $ssl_preread_server_name $to {{ {NAME} {SERVER}:443; default 127.0.0.1:1; }}\n  \
         server {{ listen {tls}; ssl_preread on; tcp_nodelay on; proxy_pass $to; }}\n  \
         server {{ listen {bytes}; tcp_nodelay on; proxy_pass {SERVER}:{BYTES}; }}\n}}\n\
         http {{\n  {http_log}\n  upstream one {{ server {SERVER}:80; keepalive 64; }}\n  \
         server {{ listen {http} default_server; return 403; }}\n  \
         server {{ listen {http}; server_name {NAME}; keepalive_requests 1000000; location / {{ proxy_pass http://one; \
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }}\n}}\n",
        module.display(),
        directory.path().display(),
    );
    let file = directory.path().join("nginx.conf");
    fs::write(&file, config)?;
    let child = pinned(&program, start.cores).arg("-c").arg(&file).spawn()?;
    begun(start, Process::new(child, directory), ports).map(Some)
}

/// Squid peeks at the ClientHello and splices; it dials where its client wanted to go.
fn squid(start: &Start<'_>) -> Result<Option<Process>> {
    let Some(program) = installed("squid", "squid-openssl", start.say) else { return Ok(None) };
    let ports = [free()?, free()?, free()?];
    let [tls, http, _] = ports;
    let directory = tempfile::tempdir()?;
    let place = directory.path();
    // The workers' user reads the certificate, which nobody is shown.
    let certificate = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
    fs::write(
        place.join("key.pem"),
        format!("{}{}", certificate.signing_key.serialize_pem(), certificate.cert.pem()),
    )?;
    // It compares the name's address with the one that its client wanted.
    fs::write(place.join("hosts"), format!("{} {NAME}\n", virtual_address(start.network)))?;
    fs::set_permissions(place, fs::Permissions::from_mode(0o755))?;
    let config = format!(
        "http_port {http} intercept\nhttps_port {tls} intercept ssl-bump tls-cert={0}/key.pem generate-host-certificates=off\n\
         http_port 127.0.0.1:{1}\n\
         acl first at_step SslBump1\nacl named ssl::server_name {NAME}\nssl_bump peek first\nssl_bump splice named\n\
         ssl_bump terminate all\nhttp_access allow all\ncache deny all\ncache_mem 8 MB\naccess_log stdio:/dev/null\n\
         cache_log /dev/null\npid_filename none\nhost_verify_strict off\nclient_dst_passthru on\n\
         hosts_file {0}/hosts\nshutdown_lifetime 0 seconds\nsslcrtd_program /bin/false\n",
        place.display(),
        free()?.port(),
    );
    let file = place.join("squid.conf");
    fs::write(&file, config)?;
    let child = pinned(&program, start.cores).args(["-N", "-f"]).arg(&file).spawn()?;
    start.world.let_out(start.network, "proxy")?;
    begun(start, Process::new(child, directory), [tls, http, http]).map(Some)
}

/// Waits until a proxy listens, and leads its addresses to it.
fn begun(start: &Start<'_>, process: Process, ports: [SocketAddr; 3]) -> Result<Process> {
    for at in ports {
        until("a proxy listens", Duration::from_secs(20), || TcpStream::connect(at).is_ok())
            .with_context(|| format!("no proxy listens at {at}"))?;
    }
    start.world.redirect(start.network, ports.map(|at| at.port()))?;
    Ok(process)
}

/// An address that was free a moment ago.
fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
