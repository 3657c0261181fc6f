//! The other proxies, each with one worker, on the same core, with a check of the name as a person
//! would write it.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use integration::command::until;
use tempfile::TempDir;

use super::world::{SERVER, World};
use super::{NAME, installed};
use crate::CORE;

/// A proxy's process and its configuration; both end with it.
pub(super) struct Process {
    child: Child,
    _directory: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Starts a proxy for a range of virtual addresses; the process whose time counts.
type Start = fn(&World, u8, &dyn Fn(&str)) -> Result<Option<(Process, u32)>>;

pub(super) const ALL: [(&str, Start); 2] = [("haproxy", haproxy), ("nginx", nginx)];

fn haproxy(world: &World, network: u8, say: &dyn Fn(&str)) -> Result<Option<(Process, u32)>> {
    let Some(program) = installed("haproxy", "haproxy", say) else { return Ok(None) };
    let [tls, http] = [free()?, free()?];
    let config = format!(
        "global\n  nbthread 1\n  maxconn 8000\ndefaults\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  \
         option splice-auto\n\
         frontend tls\n  mode tcp\n  bind {tls}\n  tcp-request inspect-delay 5s\n  \
         tcp-request content accept if {{ req.ssl_sni -m str {NAME} }}\n  tcp-request content reject\n  default_backend tls\n\
         backend tls\n  mode tcp\n  server one {SERVER}:443\n\
         frontend http\n  mode http\n  bind {http}\n  http-request deny unless {{ req.hdr(host) -m str {NAME} }}\n  \
         default_backend http\n\
         backend http\n  mode http\n  http-reuse never\n  server one {SERVER}:80\n"
    );
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("haproxy.cfg");
    fs::write(&file, config)?;
    let child = pinned(&program).args(["-db", "-f"]).arg(&file).spawn()?;
    let pid = child.id();
    begun(world, network, Process { child, _directory: directory }, pid, tls, http).map(Some)
}

fn nginx(world: &World, network: u8, say: &dyn Fn(&str)) -> Result<Option<(Process, u32)>> {
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
         stream {{\n  map $ssl_preread_server_name $to {{ {NAME} {SERVER}:443; default 127.0.0.1:1; }}\n  \
         server {{ listen {tls}; ssl_preread on; tcp_nodelay on; proxy_pass $to; }}\n}}\n\
         http {{\n  access_log off;\n  upstream one {{ server {SERVER}:80; keepalive 64; }}\n  \
         server {{ listen {http} default_server; return 403; }}\n  \
         server {{ listen {http}; server_name {NAME}; keepalive_requests 1000000; location / {{ proxy_pass http://one; \
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }}\n}}\n",
        module.display(),
        directory.path().display(),
    );
    let file = directory.path().join("nginx.conf");
    fs::write(&file, config)?;
    let child = pinned(&program).arg("-c").arg(&file).spawn()?;
    let pid = child.id();
    begun(world, network, Process { child, _directory: directory }, pid, tls, http).map(Some)
}

/// A command on the proxies' core, silent.
fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &CORE.to_string()]).arg(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Waits until a proxy listens, and leads its addresses to it.
fn begun(
    world: &World,
    network: u8,
    process: Process,
    pid: u32,
    tls: SocketAddr,
    http: SocketAddr,
) -> Result<(Process, u32)> {
    for at in [tls, http] {
        until("a proxy listens", Duration::from_secs(10), || TcpStream::connect(at).is_ok())
            .with_context(|| format!("no proxy listens at {at}"))?;
    }
    world.redirect(network, tls.port(), http.port())?;
    Ok((process, pid))
}

/// An address that was free a moment ago.
fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
