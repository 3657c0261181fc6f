//! The host and other containers reach nothing in a run.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration::testbed::Testbed;

use crate::{Test, failing};

pub(crate) const TESTS: &[Test] =
    &[("no port of an agent is reached from the host or another container", nothing_comes_in)];

/// The address of every agent.
const ADDRESS: &str = "198.18.0.2";

/// Listens on every address, and reaches itself by its loopback.
const LISTENER: &str = "\
import fcntl, os, socket, struct, threading
def say(line): os.write(1, (line + '\\n').encode())
server = socket.create_server(('0.0.0.0', 9000))
def serve():
    while True:
        connection, peer = server.accept()
        say('reached by ' + peer[0]); connection.close()
threading.Thread(target=serve, daemon=True).start()
asked = fcntl.ioctl(server, 0x8915, struct.pack('256s', b'eth0'))
address = socket.inet_ntoa(asked[20:24])
socket.create_connection(('127.0.0.1', 9000), 2).close()
say('listens on ' + address)
threading.Event().wait()
";

/// Networks from which a container could look for the agent that runs, each with the address to
/// try: its own, and its guard's.
pub(crate) fn ways_in(bed: &Testbed) -> Result<Vec<(&'static str, String)>> {
    let guard = failing::container(bed, "guard")?;
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let guard = bed.engine.docker(&["inspect", "--format", format, &guard])?;
    Ok(vec![
        ("bridge", ADDRESS.to_owned()),
        ("ringfence-uplink", ADDRESS.to_owned()),
        ("ringfence-uplink", guard.trim().to_owned()),
    ])
}

fn nothing_comes_in(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let agent = ["python3", "-u", "-c", LISTENER];
    let reached = |network: &str, address: &str| -> Result<(bool, bool)> {
        let to = format!("{address}:9000").parse()?;
        let by_host = std::net::TcpStream::connect_timeout(&to, Duration::from_secs(2)).is_ok();
        let probe = [
            "run",
            "--rm",
            "--network",
            network,
            &bed.images.agent,
            "probe",
            "tcp",
            &format!("{address}:9000"),
        ];
        let said = bed.engine.docker(&probe)?;
        Ok((by_host, said.contains("\"ok\":true")))
    };
    // The control: the same program in a plain container is reached both ways.
    let plain = bed.engine.docker(&[&["run", "--detach", &bed.images.agent][..], &agent].concat())?;
    let control = (|| {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = bed.engine.docker(&["inspect", "--format", format, plain.trim()])?;
        integration::command::until("the plain one listens", Duration::from_secs(20), || {
            bed.engine.docker(&["logs", plain.trim()]).is_ok_and(|said| said.contains("listens on"))
        })?;
        reached("bridge", address.trim())
    })();
    bed.engine.docker(&["rm", "--force", plain.trim()])?;
    ensure!(control? == (true, true), "a plain container is reached");

    let mut running = bed.ringfence.start(&policy, &[], &bed.images.agent, &agent)?;
    running.wait_for_line("listens on", Duration::from_secs(60))?;
    let mut tried = Vec::new();
    for (network, address) in ways_in(bed)? {
        tried.push((network, reached(network, &address)?, address));
    }
    let lines = running.lines();
    failing::end(bed, running)?;
    ensure!(
        tried.iter().all(|(_, reached, _)| *reached == (false, false)),
        "by the host, by a container: {tried:?}"
    );
    ensure!(
        lines.iter().filter(|line| line.starts_with("reached by")).count() == 1,
        "by itself alone: {lines:?}"
    );
    ensure!(lines.contains(&format!("listens on {ADDRESS}")), "the address that was tried: {lines:?}");
    Ok(())
}
