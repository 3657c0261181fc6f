//! The other proxies, each with one worker, on the same core, with a check of the name as a person
//! would write it, and a line of log for each connection or request, as the guard has.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use integration::command::until;

use super::NAME;
use super::world::{SERVER, World};
use crate::process::{Process, installed, pinned};

/// Starts a proxy for a range of virtual addresses.
type Start = fn(&World, u8, &dyn Fn(&str)) -> Result<Option<Process>>;

pub(super) const ALL: [(&str, Start); 2] = [("haproxy", haproxy), ("nginx", nginx)];

fn haproxy(world: &World, network: u8, say: &dyn Fn(&str)) -> Result<Option<Process>> {
    let Some(program) = installed("haproxy", "haproxy", say) else { return Ok(None) };
    let [tls, http] = [free()?, free()?];
    let config = format!(
        "global\n  nbthread 1\n  maxconn 1000\n  log stdout format raw daemon\ndefaults\n  log global\n  \
         timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  option splice-auto\n\
         frontend tls\n  mode tcp\n  option tcplog\n  bind {tls}\n  tcp-request inspect-delay 5s\n  \
         tcp-request content accept if {{ req.ssl_sni -m str {NAME} }}\n  tcp-request content reject\n  default_backend tls\n\
         backend tls\n  mode tcp\n  server one {SERVER}:443\n\
         frontend http\n  mode http\n  option httplog\n  bind {http}\n  http-request deny unless {{ req.hdr(host) -m str {NAME} }}\n  \
         default_backend http\n\
         backend http\n  mode http\n  http-reuse never\n  server one {SERVER}:80\n"
    );
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("haproxy.cfg");
    fs::write(&file, config)?;
    let child = pinned(&program).args(["-db", "-f"]).arg(&file).spawn()?;
    begun(world, network, Process::new(child, directory), tls, http).map(Some)
}

fn nginx(world: &World, network: u8, say: &dyn Fn(&str)) -> Result<Option<Process>> {
    let Some(program) = installed("nginx", "nginx-light libnginx-mod-stream", say) else { return Ok(None) };
    let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
    if !module.exists() {
        say("nginx lacks its module for streams and is not measured: apt-get install libnginx-mod-stream");
        return Ok(None);
    }
    let [tls, http] = [free()?, free()?];
    let directory = tempfile::tempdir()?;
    let config = format!(
        "load_module {};\nuser root;\ndaemon off;\nmaster_process off;\nworker_processes 1;\npid {}/pid;\n\
         error_log /dev/null crit;\nevents {{ worker_connections 8000; }}\n\
         stream {{\n  log_format line '$remote_addr $time_iso8601 $ssl_preread_server_name $upstream_addr $status \
         $bytes_sent $bytes_received $session_time';\n  access_log /dev/null line;\n  map $ssl_preread_server_name $to {{ {NAME} {SERVER}:443; default 127.0.0.1:1; }}\n  \
         server {{ listen {tls}; ssl_preread on; tcp_nodelay on; proxy_pass $to; }}\n}}\n\
         http {{\n  access_log /dev/null;\n  upstream one {{ server {SERVER}:80; keepalive 64; }}\n  \
         server {{ listen {http} default_server; return 403; }}\n  \
         server {{ listen {http}; server_name {NAME}; keepalive_requests 1000000; location / {{ proxy_pass http://one; \
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }}\n}}\n",
        module.display(),
        directory.path().display(),
    );
    let file = directory.path().join("nginx.conf");
    fs::write(&file, config)?;
    let child = pinned(&program).arg("-c").arg(&file).spawn()?;
    begun(world, network, Process::new(child, directory), tls, http).map(Some)
}

/// Waits until a proxy listens, and leads its addresses to it.
fn begun(world: &World, network: u8, process: Process, tls: SocketAddr, http: SocketAddr) -> Result<Process> {
    for at in [tls, http] {
        until("a proxy listens", Duration::from_secs(10), || TcpStream::connect(at).is_ok())
            .with_context(|| format!("no proxy listens at {at}"))?;
    }
    world.redirect(network, tls.port(), http.port())?;
    Ok(process)
}

/// An address that was free a moment ago.
fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
